//! What the commands print, as pure functions.

use std::borrow::Cow;
use std::collections::BTreeMap;

use dht_protocol::value::ValueType;

use crate::Value;
use crate::cli::format::Row;

/// An entry in its stored form.
pub(crate) fn row_of(key: Vec<u8>, value: &Value) -> Row {
    let (tag, bytes) = value.to_wire();
    // Whatever comes from the cluster has a type that the wire knows.
    let value_type = ValueType::new(tag).unwrap_or(ValueType::BYTES);
    Row { key, value_type, bytes }
}

/// A value for people: numbers in digits, MessagePack as the JSON that says the same, where there is one,
/// everything else as its bytes are.
pub(crate) fn value_text(row: &Row) -> Cow<'_, [u8]> {
    if row.value_type == ValueType::MESSAGE_PACK
        && let Ok(json) = rmp_serde::from_slice::<serde_json::Value>(&row.bytes)
    {
        return Cow::Owned(json.to_string().into_bytes());
    }
    row.plain_text()
}

/// Appends the line of an entry: key, tab, value.
pub(crate) fn write_scan_line(row: &Row, out: &mut Vec<u8>) {
    write_escaped(&row.key, out);
    out.push(b'\t');
    write_escaped(&value_text(row), out);
    out.push(b'\n');
}

/// Text as it is; tab, newline, carriage return and backslash as `\t \n \r \\`; other control characters and
/// bytes that are no UTF-8 as `\xNN`.
fn write_escaped(bytes: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.utf8_chunks() {
        let valid = chunk.valid();
        // Up to here the text stands in `out`.
        let mut written = 0;
        for (at, character) in valid.char_indices().filter(|(_, c)| c.is_control() || *c == '\\') {
            let end = at + character.len_utf8();
            out.extend_from_slice(&valid.as_bytes()[written..at]);
            match character {
                '\t' => out.extend_from_slice(b"\\t"),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\\' => out.extend_from_slice(b"\\\\"),
                _ => write_hex(&valid.as_bytes()[at..end], out),
            }
            written = end;
        }
        out.extend_from_slice(&valid.as_bytes()[written..]);
        write_hex(chunk.invalid(), out);
    }
}

/// Bytes for an error message.
pub(crate) fn escaped(bytes: &[u8]) -> String {
    let mut out = Vec::new();
    write_escaped(bytes, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        let digits = [byte >> 4, byte & 0xF].map(|digit| DIGITS[usize::from(digit)]);
        out.extend_from_slice(&[b'\\', b'x', digits[0], digits[1]]);
    }
}

/// Counters of one node.
pub(crate) type NodeStats = Vec<(String, u64)>;

/// The counters of a cluster: totals first, then each node's.
pub(crate) fn stats_lines(nodes: &[(String, NodeStats)]) -> NodeStats {
    let mut totals: Vec<(&str, u64)> = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, number) in nodes.iter().flat_map(|(_, stats)| stats) {
        let at = *places.entry(name).or_insert_with(|| {
            totals.push((name, 0));
            totals.len() - 1
        });
        let total = &mut totals[at].1;
        *total = if is_no_sum(name) { (*total).max(*number) } else { total.saturating_add(*number) };
    }
    let mut lines: NodeStats = totals.into_iter().map(|(name, number)| (name.to_owned(), number)).collect();
    for (address, stats) in nodes {
        lines.extend(stats.iter().map(|(name, number)| (format!("node.{address}.{name}"), *number)));
    }
    lines
}

/// Whether the total of a counter is the greatest of the nodes': of maxima and of percentiles, as `_p99`.
fn is_no_sum(name: &str) -> bool {
    let end = name.rsplit('_').next().unwrap_or(name);
    end == "max"
        || end.strip_prefix('p').is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))
}

/// The line of a node in `map`; a dash for what a node did not say.
pub(crate) fn map_line(address: &str, partitions_count: usize, stats: Option<&NodeStats>) -> String {
    let number = |wanted: &str| stats?.iter().find(|(name, _)| name == wanted).map(|(_, number)| *number);
    let shown = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let bytes =
        number("key_bytes").zip(number("value_bytes")).map(|(keys, values)| keys.saturating_add(values));
    format!("{address}\t{partitions_count}\t{}\t{}\n", shown(number("entries")), shown(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(numbers: &[(&str, u64)]) -> NodeStats {
        numbers.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect()
    }

    #[test]
    fn a_line_of_scan_is_one_line() {
        let row = |bytes: &[u8]| Row {
            key: b"a\tb\xFE".to_vec(),
            value_type: ValueType::TEXT,
            bytes: bytes.to_vec(),
        };
        let mut out = vec![];
        write_scan_line(&row("é\n\r\\\0\u{85}\u{1b}".as_bytes()), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "a\\tb\\xFE\té\\n\\r\\\\\\x00\\xC2\\x85\\x1B\n");
    }

    #[test]
    fn values_for_people() {
        let text =
            |value: Value| String::from_utf8(value_text(&row_of(vec![], &value)).into_owned()).unwrap();
        assert_eq!(text(Value::Int(-5)), "-5");
        assert_eq!(text(Value::Float(1.0)), "1.0");
        assert_eq!(text(Value::Bool(false)), "false");
        assert_eq!(text(Value::Json("{ }".to_owned())), "{ }");
        assert_eq!(text(Value::MessagePack(rmp_serde::to_vec(&("a", 1)).unwrap())), "[\"a\",1]");
        let broken = row_of(vec![], &Value::MessagePack(b"\xC1".to_vec()));
        assert_eq!(&*value_text(&broken), b"\xC1");
    }

    #[test]
    fn totals_come_first_and_maxima_are_not_summed() {
        let nodes = [
            ("a:1".to_owned(), stats(&[("entries", 1), ("batch_max", 7), ("cpu_ns_p99", 3)])),
            ("b:2".to_owned(), stats(&[("entries", 2), ("batch_max", 5), ("extra", 4), ("cpu_ns_p99", 9)])),
        ];
        assert_eq!(
            stats_lines(&nodes),
            stats(&[
                ("entries", 3),
                ("batch_max", 7),
                ("cpu_ns_p99", 9),
                ("extra", 4),
                ("node.a:1.entries", 1),
                ("node.a:1.batch_max", 7),
                ("node.a:1.cpu_ns_p99", 3),
                ("node.b:2.entries", 2),
                ("node.b:2.batch_max", 5),
                ("node.b:2.extra", 4),
                ("node.b:2.cpu_ns_p99", 9),
            ])
        );
    }

    #[test]
    fn a_node_that_says_nothing_has_dashes() {
        let known = stats(&[("entries", 3), ("key_bytes", 10), ("value_bytes", 20)]);
        assert_eq!(map_line("a:1", 16, Some(&known)), "a:1\t16\t3\t30\n");
        assert_eq!(map_line("a:1", 16, None), "a:1\t16\t-\t-\n");
    }
}
