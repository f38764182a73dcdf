//! PROTOCOL.md against the code: its hex blocks are what the code writes, its tables what the code defines.
//!
//! A hex block is fenced and named (```` ```hex name=put-request ````); on each line, what follows `#` is a
//! comment. A table that is read here stands below a comment (`<!-- table: statuses -->`).

use std::collections::BTreeSet;

use dht_protocol::cursor::Cursor;
use dht_protocol::header::PROTOCOL_VERSION;
use dht_protocol::limits::*;
use dht_protocol::op::{Op, flags};
use dht_protocol::placement::hash::HashKey;
use dht_protocol::placement::ring::Ring;
use dht_protocol::status::{Meaning, Status};
use dht_protocol::value::ValueType;

use crate::{peer_samples, samples};

const DOCUMENT: &str = include_str!("../../PROTOCOL.md");
const LIMITS_SOURCE: &str = include_str!("../../src/limits.rs");

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(|character| !character.is_whitespace()).collect();
    assert!(digits.len().is_multiple_of(2), "odd number of digits: {text}");
    digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()).collect()
}

/// Names and bytes of the hex blocks, in order.
fn hex_blocks() -> Vec<(&'static str, Vec<u8>)> {
    DOCUMENT
        .split("```hex name=")
        .skip(1)
        .map(|block| {
            let (block, _) = block.split_once("```").unwrap();
            let (name, lines) = block.split_once('\n').unwrap();
            let bytes = lines.lines().map(|line| line.split('#').next().unwrap()).collect::<String>();
            (name, hex(&bytes))
        })
        .collect()
}

/// Rows of the table of that name, without its head: the text of each cell.
fn table(name: &str) -> Vec<Vec<&'static str>> {
    let (_, rest) = DOCUMENT.split_once(&format!("<!-- table: {name} -->\n")).unwrap();
    let rows = rest.lines().take_while(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

fn number(text: &str) -> u64 {
    let plain = text.replace(',', "");
    plain.strip_prefix("0x").map_or_else(|| plain.parse(), |digits| u64::from_str_radix(digits, 16)).unwrap()
}

#[test]
fn the_version_is_that_of_the_code() {
    assert!(DOCUMENT.starts_with(&format!("# The wire protocol, version {PROTOCOL_VERSION}\n")));
}

#[test]
fn every_hex_block_is_what_the_code_writes() {
    let blocks = hex_blocks();
    let frames = samples::all().into_iter().map(|sample| (sample.name, sample.frame));
    let messages = peer_samples::all().into_iter().map(|(name, message)| (name, message.encode()));
    let samples: Vec<(&str, Vec<u8>)> = frames.chain(messages).collect();
    let names: BTreeSet<&str> = blocks.iter().map(|(name, _)| *name).collect();
    assert_eq!(names.len(), blocks.len(), "a name stands twice");
    assert_eq!(names, samples.iter().map(|(name, _)| *name).collect::<BTreeSet<_>>());
    for (name, bytes) in blocks {
        let (_, expected) = samples.iter().find(|(known, _)| *known == name).unwrap();
        assert_eq!(bytes, *expected, "{name}");
    }
}

#[test]
fn the_operations_are_those_of_the_code() {
    let flag_names = flag_names();
    let known = |op: Op| -> Vec<&str> {
        flag_names.iter().filter(|(bit, _)| op.flags_known() & bit != 0).map(|(_, name)| *name).collect()
    };
    let expected: Vec<Vec<String>> = Op::ALL
        .iter()
        .map(|op| vec![format!("0x{:02x}", *op as u8), op.name().to_owned(), known(*op).join(", ")])
        .collect();
    assert_eq!(table("operations"), expected);
}

fn flag_names() -> Vec<(u16, &'static str)> {
    table("flags").iter().map(|row| (number(row[0]) as u16, row[1])).collect()
}

#[test]
fn the_flags_are_those_of_the_code() {
    let expected = vec![
        (flags::IF_ABSENT, "IF_ABSENT"),
        (flags::IF_PRESENT, "IF_PRESENT"),
        (flags::IF_VERSION, "IF_VERSION"),
        (flags::RETRY, "RETRY"),
    ];
    assert_eq!(flag_names(), expected);
    let all = Op::ALL.iter().fold(0, |all, op| all | op.flags_known());
    assert_eq!(all, expected.iter().fold(0, |all, (bit, _)| all | bit), "a flag that no table names");
}

#[test]
fn the_statuses_are_those_of_the_code() {
    let rows = table("statuses");
    let expected: Vec<_> = Status::ALL
        .iter()
        .map(|status| {
            let meaning = match status.meaning() {
                Meaning::Done => "done",
                Meaning::NotDone => "not done",
                Meaning::Unknown => "unknown",
            };
            let may_retry = if status.may_retry() { "yes" } else { "no" };
            vec![(*status as u8).to_string(), status.name().into(), meaning.into(), may_retry.into()]
        })
        .collect();
    assert_eq!(rows.iter().map(|row| row[..4].to_vec()).collect::<Vec<_>>(), expected);
    let closing: Vec<&str> = rows.iter().filter(|row| row[4] != "no").map(|row| row[1]).collect();
    assert_eq!(closing, ["MALFORMED", "UNKNOWN_VERSION", "TOO_LARGE"]);
}

#[test]
fn the_types_are_those_of_the_code() {
    let mut next_tag = 0;
    for row in table("types") {
        let (first, last) = row[0].split_once("..=").unwrap_or((row[0], row[0]));
        let (first, last) = (number(first), number(last));
        assert_eq!(first, next_tag, "{row:?}");
        next_tag = last + 1;
        for tag in first as u8..=last as u8 {
            let name = ValueType::new(tag).map_or("reserved".to_owned(), |known| known.to_string());
            assert_eq!(name.trim_end_matches(|end: char| end.is_ascii_digit()), row[1], "tag {tag}");
        }
    }
    assert_eq!(next_tag, 256);
}

#[test]
#[expect(clippy::cast_lossless, reason = "limits of several widths in one macro")]
fn the_limits_are_those_of_the_code() {
    macro_rules! limits {
        ($($name:ident),* $(,)?) => { vec![$((stringify!($name), $name as u64)),*] };
    }
    let limits = limits![
        KEY_BYTES_MIN,
        KEY_BYTES_MAX,
        KEY_RESERVED_FIRST_BYTE,
        VALUE_BYTES_MAX,
        HEADER_BYTES,
        LENGTH_FIELD_BYTES,
        BODY_FIXED_BYTES_MAX,
        BODY_BYTES_MAX,
        FRAME_BYTES_MAX,
        SCAN_PAGE_ENTRIES_MAX,
        SCAN_PAGE_BYTES_MAX,
        SCAN_VALUE_INLINE_BYTES_MAX,
        SCAN_PARTITIONS_MAX,
        PARTITIONS_LOG2_MIN,
        PARTITIONS_LOG2_MAX,
        PARTITIONS_DEFAULT,
        NODES_MAX,
        ADDRESS_BYTES_MAX,
        MAP_MEMBERS_MAX,
        REPLICA_MAP_BYTES_MAX,
        ACCUSED_MAX,
        PREPARE_ENTRIES_MAX,
        COPY_PIECE_ENTRIES_MAX,
        COPY_OUTCOMES_MAX,
        PEER_MESSAGE_BYTES_MAX,
        PEER_MESSAGE_FIXED_BYTES_MAX,
        WRITE_SPAN_MAX,
        REFUSAL_TEXT_BYTES_MAX,
        STAT_NAME_BYTES_MAX,
        STATS_MAX,
    ];
    let in_document: Vec<_> = table("limits").iter().map(|row| (row[0], number(row[1]))).collect();
    assert_eq!(in_document, limits);
    let in_source: Vec<&str> =
        LIMITS_SOURCE.lines().filter_map(|line| line.strip_prefix("pub const ")?.split(':').next()).collect();
    assert_eq!(in_source, limits.iter().map(|(name, _)| *name).collect::<Vec<_>>(), "limits.rs has others");
}

#[test]
fn the_kinds_of_messages_are_those_of_the_code() {
    let rows: Vec<(u64, &str)> = table("messages").iter().map(|row| (number(row[0]), row[1])).collect();
    assert!(rows.is_sorted_by(|a, b| a.0 < b.0));
    let mut shown = BTreeSet::new();
    for (name, message) in peer_samples::all() {
        let kind = u64::from(message.encode()[1]);
        let (_, upper) = rows.iter().find(|(known, _)| *known == kind).unwrap();
        // `COPY` is shown once for each of its parts.
        let lower = upper.to_lowercase().replace('_', "-");
        assert!(name.strip_suffix("-message").unwrap().starts_with(&lower), "{name} is a {upper}");
        shown.insert(kind);
    }
    assert_eq!(shown, rows.iter().map(|(kind, _)| *kind).collect());
}

#[test]
fn the_hash_vectors_are_what_the_code_computes() {
    let rows = table("hashes");
    assert!(rows.len() >= 3);
    for row in rows {
        let key: HashKey = row[0].parse().unwrap();
        let hash = key.hash(&hex(row[1]));
        assert_eq!(format!("{:016x}", hash.0), row[2]);
        for (count, cell) in [(4_096, row[3]), (16, row[4])] {
            let partition = Ring::new(count).unwrap().partition_of(hash);
            assert_eq!(u64::from(partition.0), number(cell), "{row:?}");
        }
        assert_eq!(Cursor::of_hash(hash).get(), number(row[5]), "{row:?}");
    }
    assert!(DOCUMENT.contains(&HashKey::GUESSABLE.to_string()));
}
