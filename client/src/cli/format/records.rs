//! Cutting a file into records, each with the number of its first line.
//!
//! A record is a line, except in CSV, where a quoted field may hold line breaks. A line may end in LF or CRLF
//! (in TSV the header decides: a value may end in a carriage return that nobody escaped). Empty lines are
//! passed over. A record that is too long or whose quotes do not close is reported and passed over as well.

use std::io::{self, BufRead, Read};

use crate::cli::format::Format;

/// Longest record, bytes. The longest value in its longest writing fits: 16 MiB of control characters, six
/// bytes each in JSON.
pub(crate) const RECORD_BYTES_MAX: usize = 128 << 20;

const _: () = assert!(
    RECORD_BYTES_MAX
        > 6 * (dht_protocol::limits::VALUE_BYTES_MAX + dht_protocol::limits::KEY_BYTES_MAX) + 1024
);

/// CR and LF.
const LINE_END_BYTES_MAX: usize = 2;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// What stands next in a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    /// A record without its line end.
    Whole {
        /// Number of its first line, from 1.
        line: u64,
        /// Its bytes.
        bytes: &'a [u8],
    },
    /// Something that is no record.
    Bad {
        /// Number of its first line, from 1.
        line: u64,
        /// What is wrong.
        why: String,
    },
}

/// The records of a file.
pub(crate) struct Records<R> {
    input: R,
    format: Format,
    bytes_max: usize,
    /// Lines read so far.
    lines_count: u64,
    /// Bytes read so far.
    bytes_count: u64,
    /// TSV: whether the header ended in CRLF; `None` before it was read.
    crlf: Option<bool>,
    buffer: Vec<u8>,
}

/// Where in a CSV record a byte leaves us.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    FieldStart,
    Unquoted,
    Quoted,
    /// Behind a quote inside a quoted field: it closes the field, or a second one makes it a quote.
    AfterQuote,
    /// Behind something that RFC 4180 does not have.
    Broken,
}

impl<R: BufRead> Records<R> {
    pub(crate) fn new(input: R, format: Format) -> Records<R> {
        Records::with_bytes_max(input, format, RECORD_BYTES_MAX)
    }

    fn with_bytes_max(input: R, format: Format, bytes_max: usize) -> Records<R> {
        let buffer = Vec::new();
        Records { input, format, bytes_max, lines_count: 0, bytes_count: 0, crlf: None, buffer }
    }

    /// Bytes of the file that have been read.
    pub(crate) fn bytes_count(&self) -> u64 {
        self.bytes_count
    }

    /// The next record; `None` at the end of the file.
    ///
    /// # Errors
    /// What the file says.
    pub(crate) fn next(&mut self) -> io::Result<Option<Record<'_>>> {
        loop {
            let line = self.lines_count + 1;
            self.buffer.clear();
            let Some(outcome) = self.read_record()? else { return Ok(None) };
            if let Err(why) = outcome {
                return Ok(Some(Record::Bad { line, why }));
            }
            self.cut_line_end();
            if self.buffer.len() > self.bytes_max {
                return Ok(Some(Record::Bad { line, why: self.too_long() }));
            }
            if line == 1 && self.buffer.starts_with(BYTE_ORDER_MARK) {
                self.buffer.drain(..BYTE_ORDER_MARK.len());
            }
            if !self.buffer.is_empty() {
                return Ok(Some(Record::Whole { line, bytes: &self.buffer }));
            }
        }
    }

    /// Reads a record with its line end into the buffer; `None` at the end of the file.
    fn read_record(&mut self) -> io::Result<Option<Result<(), String>>> {
        let mut place = Place::FieldStart;
        let mut too_long = false;
        loop {
            let seen = self.buffer.len();
            let ended = self.read_line_piece()?;
            let piece = &self.buffer[seen..];
            let at_end = piece.is_empty();
            if at_end && seen == 0 && !too_long {
                return Ok(None);
            }
            if self.format == Format::Csv {
                place = piece.iter().fold(place, |place, &byte| place.after(byte));
            }
            if at_end || (ended && place != Place::Quoted) {
                break;
            }
            if self.buffer.len() > self.bytes_max + LINE_END_BYTES_MAX {
                // Read on to where the record ends, but keep none of it.
                too_long = true;
                self.buffer.clear();
            }
        }
        Ok(Some(match place {
            _ if too_long => Err(self.too_long()),
            Place::Quoted => Err("a quote is not closed".to_owned()),
            Place::Broken => Err("text behind a closing quote".to_owned()),
            Place::FieldStart | Place::Unquoted | Place::AfterQuote => Ok(()),
        }))
    }

    /// Appends up to the end of the line, but never much more than a record may have. True behind a line end.
    fn read_line_piece(&mut self) -> io::Result<bool> {
        let room = (self.bytes_max + LINE_END_BYTES_MAX + 1).saturating_sub(self.buffer.len()) as u64;
        let read = self.input.by_ref().take(room).read_until(b'\n', &mut self.buffer)?;
        self.bytes_count += read as u64;
        let ended = read > 0 && self.buffer.ends_with(b"\n");
        self.lines_count += u64::from(ended);
        Ok(ended)
    }

    fn too_long(&self) -> String {
        format!("longer than {} bytes", self.bytes_max)
    }

    fn cut_line_end(&mut self) {
        let ended = self.buffer.pop_if(|byte| *byte == b'\n').is_some();
        let crlf = self.buffer.ends_with(b"\r");
        let cut = match self.format {
            Format::Jsonl | Format::Csv => crlf,
            Format::Tsv => crlf && *self.crlf.get_or_insert(ended && crlf),
        };
        if self.format == Format::Tsv {
            self.crlf.get_or_insert(false);
        }
        if cut {
            self.buffer.pop();
        }
    }
}

impl Place {
    fn after(self, byte: u8) -> Place {
        match (self, byte) {
            (Place::Quoted, b'"') => Place::AfterQuote,
            (Place::Quoted, _) => Place::Quoted,
            (Place::FieldStart | Place::AfterQuote, b'"') => Place::Quoted,
            (Place::Broken, _) => Place::Broken,
            (_, b',') => Place::FieldStart,
            (Place::AfterQuote, b'\r' | b'\n') => Place::AfterQuote,
            (Place::AfterQuote, _) => Place::Broken,
            (Place::FieldStart | Place::Unquoted, _) => Place::Unquoted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(format: Format, text: &str) -> Vec<(u64, Result<String, String>)> {
        let mut records = Records::with_bytes_max(text.as_bytes(), format, 20);
        let mut all = vec![];
        while let Some(record) = records.next().unwrap() {
            all.push(match record {
                Record::Whole { line, bytes } => (line, Ok(String::from_utf8(bytes.to_vec()).unwrap())),
                Record::Bad { line, why } => (line, Err(why)),
            });
        }
        assert_eq!(records.bytes_count(), text.len() as u64);
        all
    }

    fn good(line: u64, text: &str) -> (u64, Result<String, String>) {
        (line, Ok(text.to_owned()))
    }

    #[test]
    fn lines_end_in_lf_or_crlf_or_not_at_all() {
        let expected = [good(1, "a"), good(2, "b"), good(4, "c")];
        assert_eq!(read(Format::Jsonl, "a\r\nb\n\nc"), expected);
        assert_eq!(read(Format::Csv, "\u{FEFF}a\r\nb\n\r\nc\n"), expected);
        assert_eq!(read(Format::Tsv, "a\r\nb\r\n\r\nc\r\n"), expected);
        assert_eq!(read(Format::Tsv, ""), []);
    }

    #[test]
    fn a_carriage_return_in_tsv_is_kept_when_the_header_has_none() {
        assert_eq!(read(Format::Tsv, "a\nb\r\n"), [good(1, "a"), good(2, "b\r")]);
    }

    #[test]
    fn a_quoted_field_may_hold_line_ends() {
        assert_eq!(
            read(Format::Csv, "a,\"b\n\"\"c\"\nd,e\"f\n\"\",\"\"\r\n"),
            [good(1, "a,\"b\n\"\"c\""), good(3, "d,e\"f"), good(4, "\"\",\"\"")]
        );
        assert_eq!(read(Format::Tsv, "\"a\nb\"\n"), [good(1, "\"a"), good(2, "b\"")]);
    }

    #[test]
    fn what_is_no_record_is_passed_over() {
        let long = "x".repeat(20);
        let text = format!("{long}\n{long}y\n{long}yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\nz\n");
        let too_long = || Err("longer than 20 bytes".to_owned());
        let expected = [good(1, &long), (2, too_long()), (3, too_long()), good(4, "z")];
        assert_eq!(read(Format::Jsonl, &text), expected);
        assert_eq!(read(Format::Csv, &text), expected);
        assert_eq!(
            read(Format::Csv, "\"a\"b\nc\n\"open\nd"),
            [
                (1, Err("text behind a closing quote".to_owned())),
                good(2, "c"),
                (3, Err("a quote is not closed".to_owned()))
            ]
        );
    }
}
