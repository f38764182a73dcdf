//! What every load does at its end of a non-blocking socket: send what is to go out, and keep what has come in until whole
//! answers can be taken from it.

use std::io::{Error, ErrorKind, Read, Write};

use dht_protocol::limits::FRAME_BYTES_MAX;

use super::limits::INBOX_BYTES;

/// How a connection was lost.
#[derive(Debug)]
pub(crate) enum Lost {
    /// The other end has closed it.
    Closed,
    /// The socket takes no bytes.
    TakesNothing,
    /// An answer is longer than any may be.
    TooLong,
    /// What the system says.
    System(Error),
}

/// Received bytes that have not been taken yet.
#[derive(Debug)]
pub(crate) struct Inbox {
    /// They lie in `bytes[start..end]`.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

/// What a read has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// Nothing: the socket is empty.
    Nothing,
    /// Some bytes, fewer than there was room for: the socket holds no more, and later bytes wake the poll again.
    All,
    /// Some bytes; there may be more.
    Some,
}

/// Sends until all of `bytes` is sent or the socket takes no more; answers how many it took.
///
/// # Errors
/// How the connection was lost.
pub(crate) fn send(stream: &mut impl Write, bytes: &[u8]) -> Result<usize, Lost> {
    let mut sent = 0;
    while sent < bytes.len() {
        match stream.write(&bytes[sent..]) {
            Ok(0) => return Err(Lost::TakesNothing),
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(Lost::System(error)),
        }
    }
    Ok(sent)
}

impl Inbox {
    pub(crate) fn new() -> Inbox {
        Inbox { bytes: vec![0; INBOX_BYTES], start: 0, end: 0 }
    }

    /// Reads once.
    ///
    /// # Errors
    /// How the connection was lost.
    pub(crate) fn read(&mut self, stream: &mut impl Read) -> Result<Came, Lost> {
        self.make_room()?;
        loop {
            let room = &mut self.bytes[self.end..];
            match stream.read(room) {
                Ok(0) => return Err(Lost::Closed),
                Ok(count) => {
                    let came = if count < room.len() { Came::All } else { Came::Some };
                    self.end += count;
                    return Ok(came);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Came::Nothing),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Lost::System(error)),
            }
        }
    }

    /// What has come and was not taken.
    pub(crate) fn received(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Takes so many bytes from the front of [`Inbox::received`].
    pub(crate) fn take(&mut self, bytes: usize) {
        self.start += bytes;
        debug_assert!(self.start <= self.end);
    }

    /// Leaves room to read into. One unfinished answer is all that can fill the buffer, so the longest that may be bounds
    /// its growth.
    fn make_room(&mut self) -> Result<(), Lost> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.bytes.len() {
            if self.start > 0 {
                self.bytes.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
            } else if self.end < FRAME_BYTES_MAX {
                self.bytes.resize((self.bytes.len() * 2).min(FRAME_BYTES_MAX), 0);
            } else {
                return Err(Lost::TooLong);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_taken_stays_in_front_of_what_comes_next() {
        let stream: Vec<u8> = (0..400_000u32).map(|number| number as u8).collect();
        let (mut rest, mut inbox, mut taken) = (&stream[..], Inbox::new(), Vec::new());
        while taken.len() < stream.len() {
            let came = if rest.is_empty() { Came::Nothing } else { inbox.read(&mut rest).unwrap() };
            let ready = if came == Came::Some { inbox.received().len() / 3 } else { inbox.received().len() };
            taken.extend_from_slice(&inbox.received()[..ready]);
            inbox.take(ready);
        }
        assert!(taken == stream && inbox.received().is_empty());
        assert!(matches!(inbox.read(&mut rest), Err(Lost::Closed)));
    }

    #[test]
    fn an_answer_without_end_is_given_up() {
        let mut inbox = Inbox::new();
        let mut endless = std::io::repeat(7);
        let lost = loop {
            if let Err(lost) = inbox.read(&mut endless) {
                break lost;
            }
        };
        assert!(matches!(lost, Lost::TooLong));
        assert_eq!(inbox.received().len(), FRAME_BYTES_MAX);
    }

    #[test]
    fn sending_stops_where_the_socket_takes_no_more() {
        let mut room = [0; 10];
        let mut socket = &mut room[..];
        assert_eq!(send(&mut socket, &[1; 7]).unwrap(), 7);
        assert!(matches!(send(&mut socket, &[2; 7]), Err(Lost::TakesNothing)));
        assert_eq!(room, [1, 1, 1, 1, 1, 1, 1, 2, 2, 2]);
    }
}
