//! memcached's text protocol: <https://github.com/memcached/memcached/blob/master/doc/protocol.txt>.
//!
//! One key is asked for by the meta command `mg`, which memcached has had since 1.6: it answers pipelined ones with one
//! write, where it answers each `get` with a write of its own. Several keys are one `get`, as is its custom.

use super::any::{Expected, IdsInOrder, Op, Taken};
use super::line::{Line, decimal, line, put_decimal, shown};

/// The state of one connection.
#[derive(Debug, Default)]
pub(crate) struct Memcached {
    ids: IdsInOrder,
    /// Values that have come of the reply under way.
    values_seen: usize,
}

impl Memcached {
    pub(crate) fn get(&mut self, keys: &[u8], key_bytes: usize, out: &mut Vec<u8>) -> u32 {
        if keys.len() == key_bytes {
            out.extend_from_slice(b"mg ");
            out.extend_from_slice(keys);
            out.extend_from_slice(b" v\r\n");
            return self.ids.ask(1);
        }
        out.extend_from_slice(b"get");
        for key in keys.chunks_exact(key_bytes) {
            out.push(b' ');
            out.extend_from_slice(key);
        }
        out.extend_from_slice(b"\r\n");
        self.ids.ask(keys.len() / key_bytes)
    }

    pub(crate) fn set(&mut self, key: &[u8], value: &[u8], out: &mut Vec<u8>) -> u32 {
        out.extend_from_slice(b"set ");
        out.extend_from_slice(key);
        out.extend_from_slice(b" 0 0 ");
        put_decimal(value.len(), out);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
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
            let rest = &received[taken.bytes + bytes..];
            let answered = match expected.op {
                Op::Set if text == b"STORED" => 1,
                Op::Get if text == b"EN" => {
                    taken.misses += 1;
                    1
                }
                Op::Get if text.starts_with(b"VA ") => {
                    let Some(data) = data_end(rest, text, expected)? else { break };
                    taken.bytes += data;
                    1
                }
                // The keys that came with no value are told by the end, and no request is answered before it.
                Op::Mget if text == b"END" => {
                    taken.misses += expected.keys_per_request - self.values_seen;
                    self.values_seen = 0;
                    expected.keys_per_request
                }
                Op::Mget if text.starts_with(b"VALUE ") => {
                    if self.values_seen == expected.keys_per_request {
                        return Err("answers more than was asked".to_owned());
                    }
                    let Some(data) = data_end(rest, text, expected)? else { break };
                    self.values_seen += 1;
                    taken.bytes += data;
                    0
                }
                _ => return Err(refusal(text, expected.op)),
            };
            taken.bytes += bytes;
            self.ids.answer(answered, &mut on_key)?;
            taken.keys += answered;
        }
        Ok(taken)
    }
}

/// Bytes of a value behind its line, its end included, or `None` while it has not come whole.
fn data_end(rest: &[u8], head: &[u8], expected: &Expected) -> Result<Option<usize>, String> {
    let digits = head.rsplit(|&byte| byte == b' ').next().unwrap_or_default();
    let value_bytes = decimal(digits).ok_or_else(|| refusal(head, expected.op))?;
    expected.value_end(rest, value_bytes)
}

fn refusal(text: &[u8], op: Op) -> String {
    format!("answers {} to a {}", shown(text), op.name())
}

#[cfg(test)]
mod tests {
    use dht_protocol::ids::Epoch;

    use super::super::any::testing::{cut_everywhere, expected};
    use super::super::any::{Protocol, Wire};
    use super::*;

    fn asked(keys: &[u8], keys_per_request: usize) -> Wire {
        let mut wire = Wire::new(Protocol::Memcached, Epoch(0));
        for keys in keys.chunks(keys_per_request) {
            wire.get(keys, 1, &mut vec![]);
        }
        wire
    }

    #[test]
    fn requests_are_lines() {
        let (mut wire, mut out) = (Memcached::default(), vec![]);
        assert_eq!(wire.get(b"ab", 2, &mut out), 0);
        assert_eq!(wire.get(b"abcdef", 2, &mut out), 1);
        assert_eq!(wire.set(b"k", b"0123456789", &mut out), 4);
        let text = "mg ab v\r\nget ab cd ef\r\nset k 0 0 10\r\n0123456789\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), text);
    }

    #[test]
    fn replies_are_read_however_they_are_cut() {
        let reply = b"VA 3\r\nEN\r\r\nEN\r\nVA 3\r\n\r\n \r\n";
        let outcome = cut_everywhere(|| asked(b"123", 1), &expected(Op::Get, 1), reply);
        assert_eq!(outcome, (3, 1, vec![0, 1, 2]));
        let reply = b"VALUE 2 0 3\r\nabc\r\nEND\r\nVALUE 3 0 3\r\nabc\r\nVALUE 4 0 3\r\nabc\r\nEND\r\n";
        let outcome = cut_everywhere(|| asked(b"1234", 2), &expected(Op::Mget, 2), reply);
        assert_eq!(outcome, (4, 1, vec![0, 1, 2, 3]));
        let set = || {
            let mut wire = Wire::new(Protocol::Memcached, Epoch(0));
            wire.set(b"k", b"v", &mut vec![]);
            wire.set(b"k", b"v", &mut vec![]);
            wire
        };
        assert_eq!(cut_everywhere(set, &expected(Op::Set, 1), b"STORED\r\nSTORED\r\n"), (2, 0, vec![0, 1]));
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        for (op, reply, part) in [
            (Op::Set, &b"SERVER_ERROR out of memory storing object\r\n"[..], "SERVER_ERROR out of memory"),
            (Op::Get, b"ERROR\r\n", "answers ERROR to a GET"),
            (Op::Get, b"VA 4\r\nabcd\r\n", "4 bytes where 3"),
            (Op::Get, b"VA 3\r\nabcde", "does not end"),
            (Op::Get, b"VA x\r\n", "answers VA x to a GET"),
            (Op::Get, b"EN\r\nEN\r\nEN\r\n", "more than was asked"),
            (Op::Mget, b"VALUE k 0 3\r\nabc\r\nVALUE k 0 3\r\nabc\r\nVALUE k 0 3\r\n", "more than was asked"),
            (Op::Mget, b"END\r\nEND\r\n", "more than was asked"),
            (Op::Mget, b"VALUE k 0 4\r\nabcd\r\n", "4 bytes where 3"),
            (Op::Set, b"STORED\r\nSTORED\r\nSTORED\r\n", "more than was asked"),
        ] {
            let keys = if op == Op::Mget { 2 } else { 1 };
            let error = asked(b"12", keys).take(reply, &expected(op, keys), |_| {}).unwrap_err();
            assert!(error.contains(part), "{reply:?}: {error}");
        }
    }
}
