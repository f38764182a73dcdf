//! Bytes from a socket, cut into answers. Memory grows as bytes arrive, never by an announced length alone.

use std::io::{self, Read};
use std::net::TcpStream;
use std::time::Duration;

use dht_protocol::frame::{Cut, FrameError, cut};
use dht_protocol::limits::BODY_BYTES_MAX;

use crate::connection::slots::Answer;
use crate::connection::socket::is_no_failure;
use crate::limits::{READ_BUFFER_BYTES, READ_BUFFER_KEPT_BYTES_MAX, SOCKET_SLICE};
use crate::sync::Instant;

/// What has come and is not yet a whole answer. `buffer[start..end]` holds it.
#[derive(Debug)]
pub(crate) struct FrameReader {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes that the frame at `start` needs in all, as far as is known.
    frame_bytes: usize,
    /// Read time-out that the socket has.
    timeout: Duration,
}

impl FrameReader {
    pub(crate) fn new() -> FrameReader {
        FrameReader { buffer: Vec::new(), start: 0, end: 0, frame_bytes: 0, timeout: Duration::ZERO }
    }

    /// Reads once, for no longer than until `deadline`, and answers the whole frames that are there now, and
    /// whether any byte came.
    ///
    /// # Errors
    /// Why the connection is of no more use.
    pub(crate) fn read(
        &mut self,
        mut stream: &TcpStream,
        deadline: Instant,
    ) -> Result<(Vec<Answer>, bool), String> {
        self.set_timeout(stream, deadline).map_err(|error| error.to_string())?;
        self.make_room();
        match stream.read(&mut self.buffer[self.end..]) {
            Ok(0) => Err("closed by the node".to_owned()),
            Ok(bytes) => {
                self.end += bytes;
                Ok((self.cut_answers()?, true))
            }
            Err(error) if is_no_failure(&error) => Ok((Vec::new(), false)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// A time-out costs a system call to set, so it stays at the slice unless less time than that is left.
    fn set_timeout(&mut self, stream: &TcpStream, deadline: Instant) -> io::Result<()> {
        let timeout = slice_until(deadline);
        if timeout != self.timeout {
            stream.set_read_timeout(Some(timeout))?;
            self.timeout = timeout;
        }
        Ok(())
    }

    fn make_room(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.buffer.len() > READ_BUFFER_KEPT_BYTES_MAX {
                self.buffer = Vec::new();
            }
        }
        if self.start > 0 && self.start + self.frame_bytes > self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.buffer.len() {
            let doubled = (self.buffer.len() * 2).max(READ_BUFFER_BYTES);
            let wanted = self.frame_bytes.max(READ_BUFFER_BYTES);
            // At least one byte of room: a frame that fits the buffer would have been cut.
            self.buffer.resize(doubled.min(wanted).max(self.end + 1), 0);
        }
    }

    fn cut_answers(&mut self) -> Result<Vec<Answer>, String> {
        let mut answers = Vec::new();
        loop {
            match cut(&self.buffer[self.start..self.end], BODY_BYTES_MAX) {
                Cut::Frame { header, body, frame_bytes } => {
                    answers.push(Answer { header, body: body.to_vec() });
                    self.start += frame_bytes;
                }
                Cut::NeedMore { frame_bytes } => {
                    self.frame_bytes = frame_bytes;
                    return Ok(answers);
                }
                Cut::Refused { error, .. } => {
                    return Err(match error {
                        FrameError::TooShort => "malformed answer: length below that of a header".to_owned(),
                        FrameError::TooLong => "malformed answer: length over the limit".to_owned(),
                    });
                }
            }
        }
    }
}

/// The time-out for a socket: a slice, or what is left until `deadline`; never zero, which sockets refuse.
fn slice_until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).clamp(Duration::from_millis(1), SOCKET_SLICE)
}
