//! The file formats of `dht import` and `dht export`: JSON Lines, CSV and TSV, each both ways. No cluster and no
//! threads here: bytes to rows and rows to bytes.
//!
//! ```text
//! file ─ records ─ parser ─ Row ─▶ cluster          cluster ─▶ Row ─ writer ─ file
//!                     └ jsonl · table (csv, tsv) ┘       └ jsonl · table ┘
//! ```
//!
//! 1. What the writer makes of a row, the parser reads to the same key, type and bytes.
//! 2. A record that cannot be read costs that record alone, and is named by the number of its line.
//! 3. No record longer than `records::RECORD_BYTES_MAX` is held in memory.

mod file_format;
mod jsonl;
mod parser;
mod records;
mod row;
mod table;
mod tsv;
mod writer;

pub(crate) use file_format::Format;
pub(crate) use jsonl::{Exactness, write_json_row};
pub(crate) use parser::Parser;
pub(crate) use records::{Record, Records};
pub(crate) use row::{Row, parse_plain_text};
pub(crate) use tsv::unescape;
pub(crate) use writer::Writer;
