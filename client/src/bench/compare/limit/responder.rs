//! From requests as bytes to fixed replies as bytes.
//!
//! Only as much of a request is read as it takes to find its end and to tell a read from a write; requests are taken
//! to be those of the load, and what is none of them is an error.

use dht_protocol::frame::{Cut, cut};
use dht_protocol::header::{HEADER_COUNTED_BYTES, PROTOCOL_VERSION};
use dht_protocol::ids::{ClusterId, Epoch, Incarnation, NodeId, RequestId, Version};
use dht_protocol::limits::{BODY_BYTES_MAX, HEADER_BYTES, VALUE_BYTES_MAX, WRITE_SPAN_MAX};
use dht_protocol::op::Op as Opcode;
use dht_protocol::response::{HelloAnswer, Response};
use dht_protocol::value::{ValueRef, ValueType};

use crate::bench::compare::wire::{Line, Protocol, decimal, line};

/// Where the request id stands in a frame.
const REQUEST_ID_AT: std::ops::Range<usize> = 8..12;

/// What to answer.
#[derive(Clone, Debug)]
pub(crate) struct Responder {
    protocol: Protocol,
    /// The answer to a `GET`: whole in our protocol, the part for one key in the others.
    found: Vec<u8>,
    /// The answer to a `mg`, which memcached's protocol has beside `get`.
    found_alone: Vec<u8>,
    /// The answer to a write.
    stored: Vec<u8>,
}

impl Responder {
    pub(crate) fn new(protocol: Protocol, key_bytes: usize, value_bytes: usize) -> Responder {
        let value = vec![b'v'; value_bytes];
        let (mut found, mut found_alone, mut stored) = (Vec::new(), Vec::new(), Vec::new());
        match protocol {
            Protocol::Binary => {
                let value = ValueRef { value_type: ValueType::BYTES, bytes: &value };
                let version = Version(1);
                Response::Found { version, value }.encode(RequestId(0), Epoch(1), &mut found);
                Response::Version(version).encode(RequestId(0), Epoch(1), &mut stored);
            }
            Protocol::Resp => {
                found.extend_from_slice(format!("${value_bytes}\r\n").as_bytes());
                found.extend_from_slice(&value);
                found.extend_from_slice(b"\r\n");
                stored.extend_from_slice(b"+OK\r\n");
            }
            Protocol::Memcached => {
                let head = format!("VALUE {} 0 {value_bytes}\r\n", "k".repeat(key_bytes));
                found.extend_from_slice(head.as_bytes());
                found.extend_from_slice(&value);
                found.extend_from_slice(b"\r\n");
                found_alone.extend_from_slice(format!("VA {value_bytes}\r\n").as_bytes());
                found_alone.extend_from_slice(&value);
                found_alone.extend_from_slice(b"\r\n");
                stored.extend_from_slice(b"STORED\r\n");
            }
        }
        Responder { protocol, found, found_alone, stored }
    }

    /// Answers every whole request at the front of `received`, and says how many bytes they take up.
    ///
    /// # Errors
    /// What is no request of the load.
    pub(crate) fn answer(&self, received: &[u8], out: &mut Vec<u8>) -> Result<usize, String> {
        let mut taken = 0;
        loop {
            let rest = &received[taken..];
            let request = match self.protocol {
                Protocol::Binary => self.answer_frame(rest, out)?,
                Protocol::Resp => self.answer_array(rest, out)?,
                Protocol::Memcached => self.answer_line(rest, out)?,
            };
            match request {
                Some(bytes) => taken += bytes,
                None => return Ok(taken),
            }
        }
    }

    fn answer_frame(&self, received: &[u8], out: &mut Vec<u8>) -> Result<Option<usize>, String> {
        let Some(head) = received.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let [a, b, c, d, _, opcode, ..] = *head;
        let frame_bytes = u32::from_be_bytes([a, b, c, d]) as usize + HEADER_BYTES - HEADER_COUNTED_BYTES;
        if received.len() < frame_bytes {
            return Ok(None);
        }
        let reply = match opcode {
            of if of == Opcode::Get as u8 => &self.found,
            of if of == Opcode::Put as u8 => &self.stored,
            _ => return greet(received, out).map(Some),
        };
        let at = out.len();
        out.extend_from_slice(reply);
        out[at + REQUEST_ID_AT.start..at + REQUEST_ID_AT.end].copy_from_slice(&head[REQUEST_ID_AT]);
        Ok(Some(frame_bytes))
    }

    fn answer_array(&self, received: &[u8], out: &mut Vec<u8>) -> Result<Option<usize>, String> {
        let Some((elements, mut at)) = head(received, b'*')? else { return Ok(None) };
        let mut name = &b""[..];
        for element in 0..elements {
            let Some((bytes, head_bytes)) = head(&received[at..], b'$')? else { return Ok(None) };
            at += head_bytes;
            if received.len() < at + bytes + 2 {
                return Ok(None);
            }
            if element == 0 {
                name = &received[at..at + bytes];
            }
            at += bytes + 2;
        }
        match name {
            b"GET" => out.extend_from_slice(&self.found),
            b"SET" => out.extend_from_slice(&self.stored),
            b"PING" => out.extend_from_slice(b"+PONG\r\n"),
            b"MGET" => {
                out.extend_from_slice(format!("*{}\r\n", elements - 1).as_bytes());
                (1..elements).for_each(|_| out.extend_from_slice(&self.found));
            }
            _ => return Err("a command that is none of the load's".to_owned()),
        }
        Ok(Some(at))
    }

    fn answer_line(&self, received: &[u8], out: &mut Vec<u8>) -> Result<Option<usize>, String> {
        // The line of a long `get` has no limit but the buffer's.
        let Some(end) = received.iter().position(|&byte| byte == b'\n') else { return Ok(None) };
        let text = received[..end].strip_suffix(b"\r").ok_or("a line without CR")?;
        if text.starts_with(b"mg ") {
            out.extend_from_slice(&self.found_alone);
            return Ok(Some(end + 1));
        }
        if let Some(keys) = text.strip_prefix(b"get ") {
            let count = 1 + keys.iter().filter(|&&byte| byte == b' ').count();
            (0..count).for_each(|_| out.extend_from_slice(&self.found));
            out.extend_from_slice(b"END\r\n");
            return Ok(Some(end + 1));
        }
        if text.starts_with(b"set ") {
            let digits = text.rsplit(|&byte| byte == b' ').next().unwrap_or_default();
            let bytes = decimal(digits).ok_or("a set without a length")?;
            let whole = end + 1 + bytes + 2;
            if received.len() < whole {
                return Ok(None);
            }
            out.extend_from_slice(&self.stored);
            return Ok(Some(whole));
        }
        if text == b"version" {
            out.extend_from_slice(b"VERSION limit\r\n");
            return Ok(Some(end + 1));
        }
        Err("a command that is none of the load's".to_owned())
    }
}

/// The number behind `mark` in the line at the front, and the bytes of that line.
fn head(received: &[u8], mark: u8) -> Result<Option<(usize, usize)>, String> {
    let Line::Whole { text, bytes } = line(received)? else { return Ok(None) };
    match text.split_first() {
        Some((first, digits)) if *first == mark => {
            let number = decimal(digits).ok_or("a length that is no number")?;
            Ok(Some((number, bytes)))
        }
        _ => Err("what is no command".to_owned()),
    }
}

/// Answers a greeting of our protocol, which is whole; answers its bytes.
fn greet(received: &[u8], out: &mut Vec<u8>) -> Result<usize, String> {
    let Cut::Frame { header, frame_bytes, .. } = cut(received, BODY_BYTES_MAX) else {
        return Err("what is no frame".to_owned());
    };
    if header.code != Opcode::Hello as u8 {
        return Err("an operation that is none of the load's".to_owned());
    }
    let answer = HelloAnswer {
        version: PROTOCOL_VERSION,
        features: 0,
        cluster_id: ClusterId(1),
        incarnation: Incarnation(1),
        node: NodeId(0),
        value_bytes_max: VALUE_BYTES_MAX as u32,
        body_bytes_max: BODY_BYTES_MAX as u32,
        write_span_max: WRITE_SPAN_MAX as u32,
    };
    Response::Hello(answer).encode(header.request_id, Epoch(1), out);
    Ok(frame_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::compare::wire::{Expected, Op, Wire};

    /// Requests of every kind that the load has: the answers are what the load takes for hits, however the requests
    /// are cut.
    #[test]
    fn the_load_takes_every_answer_for_a_hit() {
        for protocol in [Protocol::Binary, Protocol::Resp, Protocol::Memcached] {
            for (op, keys) in [(Op::Get, 1), (Op::Mget, 3), (Op::Set, 1)] {
                let (mut wire, mut requests) = (Wire::new(protocol, Epoch(1)), vec![]);
                for _ in 0..5 {
                    match op {
                        Op::Set => wire.set(b"key0", b"some\r\nvalue", &mut requests),
                        _ => wire.get(&b"key0key1key2"[..keys * 4], 4, &mut requests),
                    };
                }
                let expected =
                    Expected { op, keys_per_request: keys, value_bytes_min: 9, value_bytes_max: 9 };
                let responder = Responder::new(protocol, 4, 9);
                let mut whole = vec![];
                assert_eq!(responder.answer(&requests, &mut whole), Ok(requests.len()));
                for at in 0..requests.len() {
                    let mut out = vec![];
                    let taken = responder.answer(&requests[..at], &mut out).unwrap();
                    responder.answer(&requests[taken..], &mut out).unwrap();
                    assert_eq!(out, whole, "{protocol:?} {op:?} cut at {at}");
                }
                let taken = wire.take(&whole, &expected, |_| {}).unwrap();
                assert_eq!((taken.bytes, taken.keys, taken.misses), (whole.len(), 5 * keys, 0));
            }
        }
    }

    #[test]
    fn what_the_load_never_sends_is_an_error() {
        for (protocol, request) in [
            (Protocol::Resp, &b"*1\r\n$8\r\nFLUSHALL\r\n"[..]),
            (Protocol::Resp, b"GET key\r\n"),
            (Protocol::Memcached, b"delete key\r\n"),
            (Protocol::Memcached, b"set key 0 0 x\r\n"),
            (Protocol::Binary, &[0, 0, 0, 12, 1, 2, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]),
        ] {
            assert!(Responder::new(protocol, 4, 9).answer(request, &mut vec![]).is_err(), "{request:?}");
        }
    }
}
