//! From a record to a row, whatever the format.

use crate::cli::format::table::Layout;
use crate::cli::format::{Format, Row, jsonl};

/// Reads the records of one file.
pub(crate) struct Parser(Kind);

enum Kind {
    JsonLines { key_member: String },
    Table { format: Format, layout: Layout },
}

impl Parser {
    /// A parser of JSON Lines; `key` is the member that holds the key, `key` unless given.
    pub(crate) fn of_json_lines(key: Option<&str>) -> Parser {
        Parser(Kind::JsonLines { key_member: key.unwrap_or(jsonl::KEY).to_owned() })
    }

    /// A parser of a table with that header; `key` is the column that holds the key, the first unless given.
    pub(crate) fn of_table(format: Format, header: &[u8], key: Option<&str>) -> Result<Parser, String> {
        Ok(Parser(Kind::Table { format, layout: Layout::of_header(format, header, key)? }))
    }

    /// Reads one record.
    ///
    /// # Errors
    /// What is wrong with it; the next one may be right.
    pub(crate) fn parse(&self, record: &[u8]) -> Result<Row, String> {
        let row = match &self.0 {
            Kind::JsonLines { key_member } => jsonl::parse_line(record, key_member)?,
            Kind::Table { format, layout } => layout.parse(*format, record)?,
        };
        row.check()?;
        Ok(row)
    }
}
