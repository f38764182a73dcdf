//! From a row to a record, whatever the format: as an entry with its type, or as chosen columns of its JSON.

use std::borrow::Cow;

use dht_protocol::value::ValueType;
use serde_json::value::RawValue;

use crate::cli::format::jsonl::{Exactness, Members, json_string, push_member, write_json_row};
use crate::cli::format::row::shown;
use crate::cli::format::{Format, Row, jsonl, table};

/// Writes the records of one file.
pub(crate) struct Writer {
    format: Format,
    /// The first stands for the key, the others for members of the value; empty: entries as they are.
    columns: Vec<String>,
}

impl Writer {
    pub(crate) fn new(format: Format, columns: Vec<String>) -> Writer {
        Writer { format, columns }
    }

    /// Appends what stands before the first record.
    pub(crate) fn write_header(&self, out: &mut Vec<u8>) -> Result<(), String> {
        if self.format == Format::Jsonl {
            return Ok(());
        }
        let names: Vec<&[u8]> = match self.columns.as_slice() {
            [] => [jsonl::KEY, jsonl::TYPE, jsonl::VALUE].map(str::as_bytes).to_vec(),
            columns => columns.iter().map(String::as_bytes).collect(),
        };
        table::write_record(self.format, &names, out)
    }

    /// Appends one record.
    ///
    /// # Errors
    /// Why the row cannot stand in such a file; `out` may hold the beginning of its record.
    pub(crate) fn write(&self, row: &Row, out: &mut Vec<u8>) -> Result<(), String> {
        let Some((key_column, columns)) = self.columns.split_first() else {
            return match self.format {
                Format::Jsonl => write_json_row(row, None, Exactness::Exact, out),
                Format::Csv | Format::Tsv => table::write_entry(self.format, row, out),
            };
        };
        if row.value_type != ValueType::JSON {
            return Err(format!("a value of type {} has no columns", row.value_type));
        }
        let Members(members) =
            Members::parse(&row.bytes).map_err(|_| "the value is no JSON object".to_owned())?;
        let member =
            |wanted: &String| members.iter().find(|(name, _)| name == wanted).map(|(_, value)| *value);
        if self.format == Format::Jsonl {
            let key = std::str::from_utf8(&row.key)
                .map_err(|_| format!("the key {} is no UTF-8", shown(&row.key)))?;
            out.push(b'{');
            push_member(key_column, &json_string(key)?, out)?;
            for column in columns {
                if let Some(value) = member(column) {
                    push_member(column, &in_one_line(value), out)?;
                }
            }
            out.extend_from_slice(b"}\n");
            return Ok(());
        }
        let fields = columns.iter().map(|column| column_field(member(column)));
        let fields: Vec<Vec<u8>> = fields.collect::<Result<_, _>>()?;
        let record: Vec<&[u8]> = std::iter::once(&row.key).chain(&fields).map(Vec::as_slice).collect();
        table::write_record(self.format, &record, out)
    }
}

/// A member as a field: the text of a string, nothing for `null` or a member that is not there, else the JSON.
fn column_field(value: Option<&RawValue>) -> Result<Vec<u8>, String> {
    match value.map(RawValue::get) {
        None | Some("null") => Ok(vec![]),
        Some(text) if text.starts_with('"') => {
            let text: Cow<'_, str> = serde_json::from_str(text).map_err(|error| error.to_string())?;
            Ok(text.into_owned().into_bytes())
        }
        Some(text) => Ok(text.as_bytes().to_vec()),
    }
}

/// The same JSON without line breaks, which cannot stand inside its strings.
fn in_one_line(value: &RawValue) -> Vec<u8> {
    let bytes = value.get().bytes();
    bytes.map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cli::format::{Parser, Record, Records};

    fn import(format: Format, file: &[u8], key: Option<&str>) -> Result<Vec<Row>, String> {
        let mut records = Records::new(file, format);
        let mut parser = (format == Format::Jsonl).then(|| Parser::of_json_lines(key));
        let mut rows = vec![];
        while let Some(record) = records.next().unwrap() {
            match (record, &parser) {
                (Record::Bad { line, why }, _) => return Err(format!("line {line}: {why}")),
                (Record::Whole { bytes, .. }, Some(parser)) => rows.push(parser.parse(bytes)?),
                (Record::Whole { bytes, .. }, None) => parser = Some(Parser::of_table(format, bytes, key)?),
            }
        }
        Ok(rows)
    }

    fn export(format: Format, columns: &[&str], rows: &[Row]) -> Vec<u8> {
        let writer = Writer::new(format, columns.iter().map(|&name| name.to_owned()).collect());
        let mut out = vec![];
        writer.write_header(&mut out).unwrap();
        rows.iter().for_each(|row| writer.write(row, &mut out).unwrap());
        out
    }

    fn awkward_bytes() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![any::<u8>(), proptest::sample::select(&b"\\\t\r\n\",tnr {}\0"[..])];
        proptest::collection::vec(byte, 0..30)
    }

    fn any_row() -> impl Strategy<Value = Row> {
        let json = prop_oneof![
            Just("[]".to_owned()),
            Just(" {\"b\": 1.0,\n\"a\":\"\\u0000\"}\n".to_owned()),
            Just("\"x\"".to_owned()),
            Just("-0".to_owned()),
            Just("1e400".to_owned()),
            ".{0,5}",
        ];
        let value = prop_oneof![
            any::<i64>().prop_map(|number| (2, number.to_be_bytes().to_vec())),
            any::<u64>().prop_map(|bits| (3, bits.to_be_bytes().to_vec())),
            any::<bool>().prop_map(|truth| (4, vec![u8::from(truth)])),
            json.prop_map(|text| (5, text.into_bytes())),
            ".{0,20}".prop_map(|text| (1, text.into_bytes())),
            (proptest::sample::select(vec![0, 1, 5, 6, 128, 255]), awkward_bytes()),
        ];
        let key = prop_oneof![".{1,10}".prop_map(String::into_bytes), awkward_bytes()]
            .prop_filter("a key", |key| !key.is_empty() && key[0] != 0xFF);
        (key, value).prop_map(|(key, (tag, bytes))| Row {
            key,
            value_type: ValueType::new(tag).unwrap(),
            bytes,
        })
    }

    proptest! {
        #[test]
        fn what_is_exported_is_imported_the_same(rows in proptest::collection::vec(any_row(), 0..8)) {
            for format in [Format::Jsonl, Format::Csv, Format::Tsv] {
                let file = export(format, &[], &rows);
                prop_assert_eq!(import(format, &file, None), Ok(rows.clone()), "{:?}\n{}", format, file.escape_ascii());
            }
        }

        #[test]
        fn columns_go_in_and_out(cells in proptest::collection::vec("\\PC{1,5}[\\t\\r\\n\",\\\\]{0,3}\\PC{0,5}", 3..4)) {
            for format in [Format::Csv, Format::Tsv] {
                let mut file = vec![];
                table::write_record(format, &[b"a", b"b", b"c"], &mut file).unwrap();
                let cells: Vec<&[u8]> = cells.iter().map(String::as_bytes).collect();
                table::write_record(format, &cells, &mut file).unwrap();
                let rows = import(format, &file, Some("b")).unwrap();
                let file = export(format, &["b", "a", "c"], &rows);
                let mut expected = vec![];
                table::write_record(format, &[b"b", b"a", b"c"], &mut expected).unwrap();
                table::write_record(format, &[cells[1], cells[0], cells[2]], &mut expected).unwrap();
                prop_assert_eq!(file, expected);
            }
        }
    }

    #[test]
    fn a_tsv_of_another_program_comes_out_byte_for_byte() {
        let file = "package\tversion\tsize\tsummary\nfile:amd64\t1:5.44-3\t79\tRecognize \"magic\", 'é' & more\nx\t\t\t\n";
        let rows = import(Format::Tsv, file.as_bytes(), Some("package")).unwrap();
        let out = export(Format::Tsv, &["package", "version", "size", "summary"], &rows);
        assert_eq!(String::from_utf8(out).unwrap(), file);
    }

    #[test]
    fn columns_of_json_that_no_table_wrote() {
        let bytes = b"{\"n\": 1.50, \"o\": {\n\"x\": null}, \"z\": null}".to_vec();
        let row = Row { key: b"k".to_vec(), value_type: ValueType::JSON, bytes };
        let rows = [row];
        assert_eq!(export(Format::Csv, &["id", "z", "n", "gone"], &rows), b"id,z,n,gone\nk,,1.50,\n");
        assert_eq!(
            export(Format::Jsonl, &["id", "o", "gone"], &rows),
            b"{\"id\":\"k\",\"o\":{ \"x\": null}}\n"
        );
        let text = Row { value_type: ValueType::TEXT, ..rows[0].clone() };
        let writer = Writer::new(Format::Csv, vec!["id".to_owned()]);
        assert!(writer.write(&text, &mut vec![]).is_err());
    }
}
