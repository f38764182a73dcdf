//! CSV and TSV: a header that names the columns, then one record an entry.
//!
//! A table of exactly the columns `key`, `type` and `value`, in any order, holds exported entries. In any other,
//! one column holds the key, and the others become a JSON object of strings, in their order. Bytes that are no
//! UTF-8 may stand in keys of exported entries, as they are.

use std::cell::RefCell;

use dht_protocol::value::ValueType;

use crate::cli::format::jsonl::{KEY, TYPE, VALUE, json_string, push_member};
use crate::cli::format::row::{Row, field_of_value, shown, value_of_field};
use crate::cli::format::{Format, tsv};

/// How the columns of a table make an entry.
pub(crate) enum Layout {
    /// Places of the columns of exported entries.
    Entries {
        /// Place of `key`.
        key: usize,
        /// Place of `type`.
        value_type: usize,
        /// Place of `value`.
        value: usize,
    },
    /// Anything else.
    Columns {
        /// Place of the key.
        key: usize,
        /// All columns.
        names: Vec<String>,
    },
}

impl Layout {
    /// What the header says. `key_column` is the column of the key; unless given, the first.
    pub(crate) fn of_header(
        format: Format,
        header: &[u8],
        key_column: Option<&str>,
    ) -> Result<Layout, String> {
        let names = split(format, header)?;
        let names: Vec<String> = names
            .into_iter()
            .map(|name| String::from_utf8(name).map_err(|_| "a column's name is no UTF-8".to_owned()))
            .collect::<Result<_, _>>()?;
        let place = |wanted: &str| names.iter().position(|name| name == wanted);
        if let Some(double) = names.iter().enumerate().find(|(at, name)| place(name) != Some(*at)) {
            return Err(format!("column {:?} stands twice", double.1));
        }
        if let (3, None | Some(KEY), Some(key), Some(value_type), Some(value)) =
            (names.len(), key_column, place(KEY), place(TYPE), place(VALUE))
        {
            return Ok(Layout::Entries { key, value_type, value });
        }
        let key = match key_column {
            None => 0,
            Some(wanted) => place(wanted).ok_or_else(|| format!("there is no column {wanted:?}"))?,
        };
        Ok(Layout::Columns { key, names })
    }

    /// Reads one record.
    pub(crate) fn parse(&self, format: Format, record: &[u8]) -> Result<Row, String> {
        let mut fields = split(format, record)?;
        let expected = match self {
            Layout::Entries { .. } => 3,
            Layout::Columns { names, .. } => names.len(),
        };
        if fields.len() != expected {
            return Err(format!("{} fields, the header has {expected}", fields.len()));
        }
        match self {
            Layout::Entries { key, value_type, value } => {
                let (value_type, bytes) = value_of_field(&fields[*value_type], &fields[*value])?;
                Ok(Row { key: std::mem::take(&mut fields[*key]), value_type, bytes })
            }
            Layout::Columns { key, names } => {
                let mut object = vec![b'{'];
                for (at, (name, field)) in names.iter().zip(&fields).enumerate() {
                    if at != *key {
                        let text = std::str::from_utf8(field)
                            .map_err(|_| format!("column {name:?} is no UTF-8: {}", shown(field)))?;
                        push_member(name, &json_string(text)?, &mut object)?;
                    }
                }
                object.push(b'}');
                Ok(Row { key: std::mem::take(&mut fields[*key]), value_type: ValueType::JSON, bytes: object })
            }
        }
    }
}

/// Appends the record of one exported entry.
pub(crate) fn write_entry(format: Format, row: &Row, out: &mut Vec<u8>) -> Result<(), String> {
    let (type_name, value) = field_of_value(row.value_type, &row.bytes);
    write_record(format, &[&row.key, type_name.as_bytes(), &value], out)
}

/// Appends one record with its line end.
pub(crate) fn write_record(format: Format, fields: &[&[u8]], out: &mut Vec<u8>) -> Result<(), String> {
    if format == Format::Tsv {
        for (at, field) in fields.iter().enumerate() {
            if at > 0 {
                out.push(b'\t');
            }
            tsv::escape(field, out);
        }
        out.push(b'\n');
        return Ok(());
    }
    let mut writer = csv::WriterBuilder::new().from_writer(out);
    writer
        .write_record(fields)
        .and_then(|()| writer.flush().map_err(csv::Error::from))
        .map_err(|e| e.to_string())
}

fn split(format: Format, record: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    if format == Format::Tsv {
        return Ok(record
            .split(|&byte| byte == b'\t')
            .map(|field| tsv::unescape(field).into_owned())
            .collect());
    }
    split_csv(record)
}

thread_local! {
    /// A reader that has a record, and with it a possible byte order mark, behind it. Building one costs more than
    /// reading a record.
    static CSV_READER: RefCell<csv_core::Reader> = RefCell::new({
        let mut reader = csv_core::Reader::new();
        reader.read_record(b"-\n", &mut [0; 2], &mut [0; 2]);
        reader
    });
}

/// The fields of a CSV record whose quotes are known to close.
fn split_csv(record: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    CSV_READER.with_borrow_mut(|reader| split_csv_with(reader, record))
}

fn split_csv_with(reader: &mut csv_core::Reader, record: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    // One byte more than there can be, so that only the end of the input ends the reading.
    let mut bytes = vec![0; record.len() + 1];
    let mut ends = vec![0; record.iter().filter(|&&byte| byte == b',').count() + 2];
    let (result, _, bytes_count, ends_count) = reader.read_record(record, &mut bytes, &mut ends);
    if result != csv_core::ReadRecordResult::InputEmpty {
        return Err("a carriage return outside quotes".to_owned());
    }
    // No input ends the record.
    let (_, _, _, more_ends) = reader.read_record(&[], &mut bytes[bytes_count..], &mut ends[ends_count..]);
    ends.truncate(ends_count + more_ends);
    let starts = std::iter::once(0).chain(ends.iter().copied());
    Ok(starts.zip(&ends).map(|(start, end)| bytes[start..*end].to_vec()).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn records_read_as_the_csv_crate_reads_them(record in "[a,\" ]{1,12}") {
            let Ok(fields) = split_csv(record.as_bytes()) else { return Ok(()) };
            let mut reader =
                csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(record.as_bytes());
            let first = reader.byte_records().next().unwrap().unwrap();
            prop_assert_eq!(fields, first.iter().map(<[u8]>::to_vec).collect::<Vec<_>>());
        }

        #[test]
        fn records_read_as_the_csv_crate_writes_them(fields in proptest::collection::vec("[a,\"\r\n ]{0,5}", 1..4)) {
            let mut record = vec![];
            let fields: Vec<&[u8]> = fields.iter().map(String::as_bytes).collect();
            write_record(Format::Csv, &fields, &mut record).unwrap();
            record.pop();
            prop_assert_eq!(split_csv(&record).unwrap(), fields);
        }
    }

    fn columns(
        format: Format,
        header: &str,
        key: Option<&str>,
        record: &str,
    ) -> Result<(String, String), String> {
        let row = Layout::of_header(format, header.as_bytes(), key)?.parse(format, record.as_bytes())?;
        assert_eq!(row.value_type, ValueType::JSON);
        Ok((String::from_utf8(row.key).unwrap(), String::from_utf8(row.bytes).unwrap()))
    }

    #[test]
    fn columns_become_an_object_in_their_order() {
        let expected = ("2".to_owned(), r#"{"z":"1","a":"say \"hi\", Ann"}"#.to_owned());
        assert_eq!(
            columns(Format::Csv, "z,id,a", Some("id"), "1,2,\"say \"\"hi\"\", Ann\""),
            Ok(expected.clone())
        );
        assert_eq!(columns(Format::Tsv, "z\tid\ta", Some("id"), "1\t2\tsay \"hi\", Ann"), Ok(expected));
        assert_eq!(columns(Format::Tsv, "id", None, "x"), Ok(("x".to_owned(), "{}".to_owned())));
        assert_eq!(
            columns(Format::Tsv, "key\ttype\tvalue", Some("type"), "k\tint\t5"),
            Ok(("int".to_owned(), r#"{"key":"k","value":"5"}"#.to_owned()))
        );
    }

    #[test]
    fn exported_entries_are_known_by_their_columns_in_any_order() {
        let layout = Layout::of_header(Format::Csv, b"value,key,type", None).unwrap();
        let row = layout.parse(Format::Csv, b"5,k\xFE,int").unwrap();
        let expected =
            Row { key: b"k\xFE".to_vec(), value_type: ValueType::INT, bytes: 5i64.to_be_bytes().to_vec() };
        assert_eq!(row, expected);
    }

    #[test]
    fn malformed_tables_say_what_is_wrong() {
        for (header, record, part) in [
            ("a,a", "1,2", "stands twice"),
            ("b,c", "1,2", "no column \"a\""),
            ("a,b", "1", "1 fields, the header has 2"),
            ("a,b", "1,2,3", "3 fields"),
            ("a,b", "1,2\r3,4", "carriage return"),
        ] {
            let error = columns(Format::Csv, header, Some("a"), record).unwrap_err();
            assert!(error.contains(part), "{header} {record}: {error}");
        }
    }
}
