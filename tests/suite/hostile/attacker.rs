//! A connection of somebody who means no good: it sends what it likes, and does not mind being cut off.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use dht_protocol::frame::{Cut, cut};
use dht_protocol::header::Header;
use dht_protocol::ids::{Epoch, RequestId};
use dht_protocol::limits::{BODY_BYTES_MAX, LENGTH_FIELD_BYTES};
use dht_protocol::request::Request;
use dht_tests::raw_client::{Answer, hello_request};
use dht_tests::requests::put;
use dht_tests::wait::PATIENCE;

/// One connection.
#[derive(Debug)]
pub(super) struct Attacker {
    stream: TcpStream,
}

impl Attacker {
    #[track_caller]
    pub(super) fn connect(address: &str) -> Attacker {
        let stream = TcpStream::connect(address).expect("the daemon listens");
        stream.set_nodelay(true).expect("a socket takes its options");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes its options");
        Attacker { stream }
    }

    /// Connects and has said `HELLO`; the answer is not waited for.
    #[track_caller]
    pub(super) fn greeted(address: &str) -> Attacker {
        let mut attacker = Attacker::connect(address);
        attacker.send(&frame_of(&hello_request(0, 0)));
        attacker
    }

    /// Sends bytes to a daemon that may have closed by now; whether all of them went.
    pub(super) fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends what goes without waiting; how many bytes did.
    pub(super) fn send_what_goes(&mut self, bytes: &[u8]) -> usize {
        self.stream.set_nonblocking(true).expect("a socket takes its options");
        let mut sent_bytes = 0;
        while sent_bytes < bytes.len() {
            match self.stream.write(&bytes[sent_bytes..]) {
                Ok(count) => sent_bytes += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        self.stream.set_nonblocking(false).expect("a socket takes its options");
        sent_bytes
    }

    /// Says that nothing more will be sent; the daemon may have closed by now.
    pub(super) fn finish_writing(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Everything that still comes, to the end of the stream. A daemon that closes while bytes are still under way to
    /// it resets the connection, which ends the stream as well.
    #[track_caller]
    pub(super) fn last_words(mut self) -> Vec<u8> {
        let mut words = Vec::new();
        match self.stream.read_to_end(&mut words) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the daemon neither answers nor closes: {error}"),
        }
        words
    }

    /// Half-closes, and takes the frames that still come.
    #[track_caller]
    pub(super) fn last_answers(self) -> Vec<Answer> {
        self.finish_writing();
        answers_in(&self.last_words())
    }

    /// One byte, or the end.
    #[track_caller]
    pub(super) fn byte_or_end(&mut self) -> Option<u8> {
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(0) => None,
            Ok(_) => Some(byte[0]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("the daemon neither answers nor closes: {error}"),
        }
    }
}

/// A request's frame, under the epoch of a fresh cluster's map.
pub(super) fn frame_of(request: &Request<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    request.encode(RequestId(1), Epoch(1), &mut bytes);
    bytes
}

/// A frame with any header and body.
pub(super) fn raw_frame(version: u8, code: u8, flags: u16, body: &[u8]) -> Vec<u8> {
    let header = Header { version, code, flags, request_id: RequestId(1), epoch: Epoch(1) };
    [header.encode(body.len()).as_slice(), body].concat()
}

/// The frame of a `PUT` without its value, which has `value_bytes` bytes and goes out behind it.
pub(super) fn put_head(name: &[u8], value_bytes: usize) -> Vec<u8> {
    let mut bytes = frame_of(&put(name, b""));
    let length = (bytes.len() - LENGTH_FIELD_BYTES + value_bytes) as u32;
    bytes[..LENGTH_FIELD_BYTES].copy_from_slice(&length.to_be_bytes());
    bytes
}

/// A header that announces `length` bytes behind the length field.
pub(super) fn announcing(length: u32, code: u8) -> Vec<u8> {
    let mut bytes = raw_frame(1, code, 0, b"");
    bytes[..LENGTH_FIELD_BYTES].copy_from_slice(&length.to_be_bytes());
    bytes
}

/// The frames of a whole stream.
#[track_caller]
pub(super) fn answers_in(mut bytes: &[u8]) -> Vec<Answer> {
    let mut answers = Vec::new();
    while !bytes.is_empty() {
        match cut(bytes, BODY_BYTES_MAX) {
            Cut::Frame { header, body, frame_bytes } => {
                answers.push(Answer { header, body: body.to_vec() });
                bytes = &bytes[frame_bytes..];
            }
            other => panic!("the daemon sent no whole frame: {other:?}"),
        }
    }
    answers
}
