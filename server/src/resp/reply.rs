//! Replies, as RESP2 and RESP3 write them.

use dht_protocol::ids::Version;
use dht_protocol::response::Refusal;
use dht_protocol::status::Status;
use dht_protocol::value::{ValueRef, ValueType};

use crate::dispatch::{DECIMAL_BYTES_MAX, FoundShape, write_decimal};

/// Which protocol a connection has asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Resp {
    /// What a connection begins with.
    #[default]
    Two,
    /// After `HELLO 3`.
    Three,
}

/// A found value as a bulk string; numbers that other doors keep in eight bytes, as decimal text.
pub(crate) struct Bulk;

impl FoundShape for Bulk {
    #[inline]
    fn head(&mut self, _: Version, _: ValueType, value_bytes: usize, out: &mut Vec<u8>) {
        header(out, b'$', value_bytes as i64);
    }

    #[inline]
    fn tail(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\r\n");
    }

    fn shows_numbers_as_text(&self) -> bool {
        true
    }

    fn number(&mut self, _: Version, value: ValueRef<'_>, out: &mut Vec<u8>) {
        bulk(out, &text_of(value));
    }
}

/// A value as RESP shows it: its bytes, or the decimal text of a number.
pub(crate) fn text_of(value: ValueRef<'_>) -> std::borrow::Cow<'_, [u8]> {
    let eight = || <[u8; 8]>::try_from(value.bytes).unwrap_or_default();
    match value.value_type {
        ValueType::INT => i64::from_be_bytes(eight()).to_string().into_bytes().into(),
        ValueType::FLOAT => f64::from_be_bytes(eight()).to_string().into_bytes().into(),
        ValueType::BOOL if value.bytes == [1] => b"1".as_slice().into(),
        ValueType::BOOL => b"0".as_slice().into(),
        _ => value.bytes.into(),
    }
}

/// A byte that says what follows, a number, and the end of the line.
#[inline]
fn header(out: &mut Vec<u8>, kind: u8, number: i64) {
    out.push(kind);
    if let 0..=9 = number {
        out.push(b'0' + number as u8);
    } else {
        out.extend_from_slice(write_decimal(number, &mut [0; DECIMAL_BYTES_MAX]));
    }
    out.extend_from_slice(b"\r\n");
}

pub(crate) fn ok(out: &mut Vec<u8>) {
    out.extend_from_slice(b"+OK\r\n");
}

/// A word without a line's end.
pub(crate) fn simple(out: &mut Vec<u8>, text: &str) {
    out.push(b'+');
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\r\n");
}

pub(crate) fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    header(out, b'$', bytes.len() as i64);
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

pub(crate) fn integer(out: &mut Vec<u8>, number: i64) {
    header(out, b':', number);
}

/// The start of an array; its elements follow.
pub(crate) fn array(out: &mut Vec<u8>, count: usize) {
    header(out, b'*', count as i64);
}

/// The start of a map; keys and values follow. An array of twice as many in RESP2.
pub(crate) fn map(resp: Resp, out: &mut Vec<u8>, count: usize) {
    match resp {
        Resp::Two => header(out, b'*', 2 * count as i64),
        Resp::Three => header(out, b'%', count as i64),
    }
}

/// Text that a program does not read.
pub(crate) fn verbatim(resp: Resp, out: &mut Vec<u8>, text: &str) {
    match resp {
        Resp::Two => bulk(out, text.as_bytes()),
        Resp::Three => {
            header(out, b'=', text.len() as i64 + 4);
            out.extend_from_slice(b"txt:");
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

pub(crate) fn null(resp: Resp, out: &mut Vec<u8>) {
    out.extend_from_slice(match resp {
        Resp::Two => b"$-1\r\n",
        Resp::Three => b"_\r\n",
    });
}

/// An error: a word in capitals, a blank and a sentence. Line ends in it become blanks.
pub(crate) fn error(out: &mut Vec<u8>, text: &str) {
    out.push(b'-');
    out.extend(text.bytes().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
    out.extend_from_slice(b"\r\n");
}

/// A refusal of the dispatcher, in the words that Redis has for it where it has any.
pub(crate) fn refusal(out: &mut Vec<u8>, refusal: &Refusal<'_>) {
    let status = refusal.status();
    let text = match refusal {
        Refusal::ConditionFailed(_) | Refusal::NotOwner(_) => status.text(),
        Refusal::Other(_, text) => text,
    };
    match status {
        Status::WrongType => error(out, "ERR value is not an integer or out of range"),
        Status::Overflow => error(out, "ERR increment or decrement would overflow"),
        Status::OutOfMemory => error(out, "OOM command not allowed when used memory > 'maxmemory'."),
        Status::Busy => error(out, &format!("BUSY {text}")),
        Status::OutcomeUnknown => error(out, &format!("UNKNOWN {text}")),
        _ => error(out, &format!("ERR {text}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = vec![];
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_protocol_has_its_own_nulls_maps_and_texts() {
        assert_eq!(written(|out| null(Resp::Two, out)), "$-1\r\n");
        assert_eq!(written(|out| null(Resp::Three, out)), "_\r\n");
        assert_eq!(written(|out| map(Resp::Two, out, 3)), "*6\r\n");
        assert_eq!(written(|out| map(Resp::Three, out, 3)), "%3\r\n");
        assert_eq!(written(|out| verbatim(Resp::Two, out, "ab")), "$2\r\nab\r\n");
        assert_eq!(written(|out| verbatim(Resp::Three, out, "ab")), "=6\r\ntxt:ab\r\n");
    }

    #[test]
    fn numbers_and_strings() {
        assert_eq!(written(|out| integer(out, -10)), ":-10\r\n");
        assert_eq!(written(|out| integer(out, i64::MIN)), ":-9223372036854775808\r\n");
        assert_eq!(written(|out| bulk(out, b"")), "$0\r\n\r\n");
        assert_eq!(written(|out| bulk(out, b"0123456789")), "$10\r\n0123456789\r\n");
        assert_eq!(written(|out| error(out, "ERR a\r\nb")), "-ERR a  b\r\n");
    }

    #[test]
    fn numbers_of_other_doors_are_shown_as_text() {
        let shown = |tag, bytes: &[u8]| text_of(ValueRef::new(tag, bytes).unwrap()).into_owned();
        assert_eq!(shown(2, &(-5i64).to_be_bytes()), b"-5");
        assert_eq!(shown(3, &0.5f64.to_be_bytes()), b"0.5");
        assert_eq!((shown(4, &[1]), shown(4, &[0])), (b"1".to_vec(), b"0".to_vec()));
        assert_eq!(shown(1, b"text"), b"text");
    }
}
