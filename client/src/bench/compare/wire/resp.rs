//! Redis' protocol (RESP2): <https://redis.io/docs/latest/develop/reference/protocol-spec/>.

use super::any::{Expected, IdsInOrder, Op, Taken};
use super::line::{Line, decimal, line, put_decimal, shown};

/// The state of one connection.
#[derive(Debug, Default)]
pub(crate) struct Resp {
    ids: IdsInOrder,
    /// Elements that are still to come of the array that has begun.
    elements_left: usize,
}

impl Resp {
    pub(crate) fn get(&mut self, keys: &[u8], key_bytes: usize, out: &mut Vec<u8>) -> u32 {
        let count = keys.len() / key_bytes;
        if count == 1 {
            out.extend_from_slice(b"*2\r\n$3\r\nGET\r\n");
        } else {
            out.push(b'*');
            put_decimal(count + 1, out);
            out.extend_from_slice(b"\r\n$4\r\nMGET\r\n");
        }
        for key in keys.chunks_exact(key_bytes) {
            put_bulk(key, out);
        }
        self.ids.ask(count)
    }

    pub(crate) fn set(&mut self, key: &[u8], value: &[u8], out: &mut Vec<u8>) -> u32 {
        out.extend_from_slice(b"*3\r\n$3\r\nSET\r\n");
        put_bulk(key, out);
        put_bulk(value, out);
        self.ids.ask(1)
    }

    pub(crate) fn take(
        &mut self,
        received: &[u8],
        expected: &Expected,
        mut on_key: impl FnMut(u32),
    ) -> Result<Taken, String> {
        let mut taken = Taken::default();
        while let Line::Whole { text, bytes } = line(&received[taken.bytes..])? {
            let begins_array = expected.op == Op::Mget && self.elements_left == 0;
            match (text.first(), expected.op) {
                (Some(b'*'), _) if begins_array => {
                    if decimal(&text[1..]) != Some(expected.keys_per_request) {
                        return Err(format!("answers {} to an MGET", shown(text)));
                    }
                    self.elements_left = expected.keys_per_request;
                    taken.bytes += bytes;
                    continue;
                }
                (Some(b'+'), Op::Set) => taken.bytes += bytes,
                (Some(b'$'), Op::Get | Op::Mget) if !begins_array => {
                    if text == b"$-1" {
                        taken.misses += 1;
                        taken.bytes += bytes;
                    } else {
                        let Some(bulk) = bulk_end(&received[taken.bytes + bytes..], text, expected)? else {
                            break;
                        };
                        taken.bytes += bytes + bulk;
                    }
                }
                (Some(b'-'), _) => return Err(format!("refuses: {}", shown(&text[1..]))),
                _ => return Err(format!("answers {} to a {}", shown(text), expected.op.name())),
            }
            self.ids.answer(1, &mut on_key)?;
            self.elements_left = self.elements_left.saturating_sub(1);
            taken.keys += 1;
        }
        Ok(taken)
    }
}

/// Bytes that a bulk string takes up behind its head, or `None` while it has not come whole.
fn bulk_end(rest: &[u8], head: &[u8], expected: &Expected) -> Result<Option<usize>, String> {
    let value_bytes = decimal(&head[1..]).ok_or_else(|| format!("answers {} to a GET", shown(head)))?;
    expected.value_end(rest, value_bytes)
}

fn put_bulk(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'$');
    put_decimal(bytes.len(), out);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use dht_protocol::ids::Epoch;

    use super::super::any::testing::{cut_everywhere, expected};
    use super::super::any::{Protocol, Wire};
    use super::*;

    fn asked(keys: &[u8], keys_per_request: usize) -> Wire {
        let mut wire = Wire::new(Protocol::Resp, Epoch(0));
        for keys in keys.chunks(keys_per_request) {
            wire.get(keys, 1, &mut vec![]);
        }
        wire
    }

    #[test]
    fn requests_are_arrays_of_bulk_strings() {
        let (mut wire, mut out) = (Resp::default(), vec![]);
        assert_eq!(wire.get(b"ab", 2, &mut out), 0);
        assert_eq!(wire.get(b"abcdef", 2, &mut out), 1);
        assert_eq!(wire.set(b"k", b"0123456789", &mut out), 4);
        let text = "*2\r\n$3\r\nGET\r\n$2\r\nab\r\n*4\r\n$4\r\nMGET\r\n$2\r\nab\r\n$2\r\ncd\r\n$2\r\nef\r\n\
                    *3\r\n$3\r\nSET\r\n$1\r\nk\r\n$10\r\n0123456789\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), text);
    }

    #[test]
    fn replies_are_read_however_they_are_cut() {
        let outcome = cut_everywhere(
            || asked(b"123", 1),
            &expected(Op::Get, 1),
            b"$3\r\na\r\n\r\n$-1\r\n$3\r\n$-1\r\n",
        );
        assert_eq!(outcome, (3, 1, vec![0, 1, 2]));
        let reply = b"*2\r\n$3\r\nabc\r\n$-1\r\n*2\r\n$3\r\nabc\r\n$3\r\nabc\r\n";
        let outcome = cut_everywhere(|| asked(b"1234", 2), &expected(Op::Mget, 2), reply);
        assert_eq!(outcome, (4, 1, vec![0, 1, 2, 3]));
        let set = || {
            let mut wire = Wire::new(Protocol::Resp, Epoch(0));
            wire.set(b"k", b"v", &mut vec![]);
            wire.set(b"k", b"v", &mut vec![]);
            wire
        };
        assert_eq!(cut_everywhere(set, &expected(Op::Set, 1), b"+OK\r\n+OK\r\n"), (2, 0, vec![0, 1]));
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        for (op, reply, part) in [
            (Op::Get, &b"-OOM no room\r\n"[..], "refuses: OOM no room"),
            (Op::Get, b"$4\r\nabcd\r\n", "4 bytes where 3"),
            (Op::Get, b"$3\r\nabcde", "does not end"),
            (Op::Get, b"$x\r\n", "answers $x"),
            (Op::Get, b"+OK\r\n", "answers +OK to a GET"),
            (Op::Set, b"$3\r\nabc\r\n", "to a SET"),
            (Op::Mget, b"*3\r\n", "answers *3 to an MGET"),
            (Op::Mget, b"$3\r\nabc\r\n", "to a MGET"),
            (Op::Get, b"$3\r\nabc\r\n$3\r\nabc\r\n$3\r\nabc\r\n", "more than was asked"),
            (Op::Get, b"\r\n", "answers  to"),
        ] {
            let keys = if op == Op::Mget { 2 } else { 1 };
            let error = asked(b"12", keys).take(reply, &expected(op, keys), |_| {}).unwrap_err();
            assert!(error.contains(part), "{reply:?}: {error}");
        }
    }
}
