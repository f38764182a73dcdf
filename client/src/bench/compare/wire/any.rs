//! One end of a connection in any of the protocols.
//!
//! A request is for one key, or for the keys of one `MGET`. Every key that is asked for has an id, rising by one from
//! 0 on each connection, and every answered id is handed on once, so that what an answer belongs to is known in the
//! protocol that may answer out of order, too.

use clap::ValueEnum;
use dht_protocol::ids::Epoch;
use serde::Serialize;

use super::binary::Binary;
use super::memcached::Memcached;
use super::resp::Resp;

/// A protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Protocol {
    /// Ours.
    Binary,
    /// Redis'.
    Resp,
    /// memcached's text protocol.
    Memcached,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Op {
    /// The value of one key.
    Get,
    /// The values of several keys at once. Ours asks for them as clients of it do, by so many requests in one go.
    Mget,
    /// To store a value.
    Set,
}

/// What the replies on a connection must be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    /// What was asked.
    pub(crate) op: Op,
    /// Keys of each request.
    pub(crate) keys_per_request: usize,
    /// Bytes of the shortest value that there is.
    pub(crate) value_bytes_min: usize,
    /// Bytes of the longest.
    pub(crate) value_bytes_max: usize,
}

/// What has been read off the front of what was received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Bytes, which need not be shown again.
    pub(crate) bytes: usize,
    /// Keys that were answered.
    pub(crate) keys: usize,
    /// How many of them were not found.
    pub(crate) misses: usize,
}

/// The ids of keys where replies come in the order of requests.
#[derive(Debug, Default)]
pub(crate) struct IdsInOrder {
    /// Id of the next key that is asked for.
    next: u32,
    /// Id of the next key to be answered.
    answered: u32,
}

/// The state of one connection above its socket.
#[derive(Debug)]
pub(crate) enum Wire {
    Binary(Binary),
    Resp(Resp),
    Memcached(Memcached),
}

impl Wire {
    /// The state of a fresh connection; `epoch` is that of the map of a cluster of ours.
    pub(crate) fn new(protocol: Protocol, epoch: Epoch) -> Wire {
        match protocol {
            Protocol::Binary => Wire::Binary(Binary::new(epoch)),
            Protocol::Resp => Wire::Resp(Resp::default()),
            Protocol::Memcached => Wire::Memcached(Memcached::default()),
        }
    }

    /// Appends a request for the value of each of the keys, which lie behind each other in `keys`, `key_bytes` bytes
    /// each; answers the id of the first.
    pub(crate) fn get(&mut self, keys: &[u8], key_bytes: usize, out: &mut Vec<u8>) -> u32 {
        match self {
            Wire::Binary(wire) => wire.get(keys, key_bytes, out),
            Wire::Resp(wire) => wire.get(keys, key_bytes, out),
            Wire::Memcached(wire) => wire.get(keys, key_bytes, out),
        }
    }

    /// Appends a request to store a value.
    pub(crate) fn set(&mut self, key: &[u8], value: &[u8], out: &mut Vec<u8>) -> u32 {
        match self {
            Wire::Binary(wire) => wire.set(key, value, out),
            Wire::Resp(wire) => wire.set(key, value, out),
            Wire::Memcached(wire) => wire.set(key, value, out),
        }
    }

    /// Takes all that is whole from the front of `received`, and hands on the id of every key that is answered.
    ///
    /// # Errors
    /// A refusal, or what no server of this protocol would answer; the connection is of no more use.
    pub(crate) fn take(
        &mut self,
        received: &[u8],
        expected: &Expected,
        on_key: impl FnMut(u32),
    ) -> Result<Taken, String> {
        match self {
            Wire::Binary(wire) => wire.take(received, expected, on_key),
            Wire::Resp(wire) => wire.take(received, expected, on_key),
            Wire::Memcached(wire) => wire.take(received, expected, on_key),
        }
    }
}

impl IdsInOrder {
    /// Gives ids to the next `count` keys that are asked for, and says the first.
    pub(crate) fn ask(&mut self, count: usize) -> u32 {
        let first = self.next;
        self.next = first.wrapping_add(count as u32);
        first
    }

    /// Hands on the ids of the next `count` keys, which have been answered.
    ///
    /// # Errors
    /// So many were not asked for; none is handed on.
    pub(crate) fn answer(&mut self, count: usize, on_key: &mut impl FnMut(u32)) -> Result<(), String> {
        if (self.next.wrapping_sub(self.answered) as usize) < count {
            return Err("answers more than was asked".to_owned());
        }
        for _ in 0..count {
            on_key(self.answered);
            self.answered = self.answered.wrapping_add(1);
        }
        Ok(())
    }
}

impl Protocol {
    /// Its name for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Protocol::Binary => "binary",
            Protocol::Resp => "RESP",
            Protocol::Memcached => "memcached text",
        }
    }

    /// Its name as an argument.
    pub(crate) fn argument(self) -> &'static str {
        match self {
            Protocol::Binary => "binary",
            Protocol::Resp => "resp",
            Protocol::Memcached => "memcached",
        }
    }
}

impl Op {
    /// Its name for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Op::Get => "GET",
            Op::Mget => "MGET",
            Op::Set => "SET",
        }
    }
}

impl Expected {
    /// Bytes that a value of `value_bytes` and its end, CR LF, take up at the front of `rest`, or `None` while they have
    /// not come whole.
    ///
    /// # Errors
    /// It is none of those that were stored, or ends in something else.
    pub(crate) fn value_end(&self, rest: &[u8], value_bytes: usize) -> Result<Option<usize>, String> {
        self.check_value(value_bytes)?;
        match rest.get(value_bytes..value_bytes + 2) {
            None => Ok(None),
            Some(b"\r\n") => Ok(Some(value_bytes + 2)),
            Some(_) => Err("a value does not end where it should".to_owned()),
        }
    }

    /// Whether a value of so many bytes is one of those that were stored.
    ///
    /// # Errors
    /// That it is not.
    pub(crate) fn check_value(&self, bytes: usize) -> Result<(), String> {
        if (self.value_bytes_min..=self.value_bytes_max).contains(&bytes) {
            return Ok(());
        }
        Err(format!(
            "answers a value of {bytes} bytes where {} to {} were stored",
            self.value_bytes_min, self.value_bytes_max
        ))
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! What the tests of all protocols do alike.

    use super::*;

    /// Three-byte values, one or two keys a request.
    pub(crate) fn expected(op: Op, keys_per_request: usize) -> Expected {
        Expected { op, keys_per_request, value_bytes_min: 3, value_bytes_max: 3 }
    }

    /// Shows `reply` to the wire cut at every byte, and byte by byte; answers keys, misses and ids, which must be the
    /// same every time. `fresh` makes the wire, with all requests sent.
    pub(crate) fn cut_everywhere(
        fresh: impl Fn() -> Wire,
        expected: &Expected,
        reply: &[u8],
    ) -> (usize, usize, Vec<u32>) {
        let read = |cuts: &[usize]| {
            let (mut wire, mut held, mut sum, mut ids) = (fresh(), vec![], Taken::default(), vec![]);
            let mut from = 0;
            for &to in cuts.iter().chain([&reply.len()]) {
                held.extend_from_slice(&reply[from..to]);
                from = to;
                let taken = wire.take(&held, expected, |id| ids.push(id)).expect("these replies are sound");
                held.drain(..taken.bytes);
                (sum.keys, sum.misses) = (sum.keys + taken.keys, sum.misses + taken.misses);
            }
            assert!(held.is_empty(), "{} bytes are left over", held.len());
            (sum.keys, sum.misses, ids)
        };
        let whole = read(&[]);
        for at in 0..reply.len() {
            assert_eq!(read(&[at]), whole, "cut at byte {at}");
        }
        assert_eq!(read(&(0..reply.len()).collect::<Vec<_>>()), whole, "byte by byte");
        whole
    }
}
