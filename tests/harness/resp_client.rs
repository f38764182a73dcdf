//! A client that speaks RESP and nothing more: it sends what a test says, right or wrong, and shows what came back.
//! Every read and write has a time-out.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::daemon::Daemon;
use crate::wait::PATIENCE;

/// One connection.
#[derive(Debug)]
pub struct RespClient {
    stream: TcpStream,
    received: Vec<u8>,
}

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A word: `+OK`.
    Simple(String),
    /// An error, without its `-`.
    Error(String),
    /// A number.
    Integer(i64),
    /// A string.
    Bulk(Vec<u8>),
    /// Nothing, in either protocol's words.
    Null,
    /// An array, or a map as its keys and values.
    Array(Vec<Reply>),
}

impl RespClient {
    /// Connects and says nothing.
    ///
    /// # Panics
    /// When nobody listens there.
    #[must_use]
    #[track_caller]
    pub fn connect(address: &str) -> RespClient {
        let stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        let set = stream
            .set_nodelay(true)
            .and_then(|()| stream.set_read_timeout(Some(PATIENCE)))
            .and_then(|()| stream.set_write_timeout(Some(PATIENCE)));
        set.expect("a socket takes its options");
        RespClient { stream, received: Vec::new() }
    }

    /// `HOST:PORT` of a daemon's RESP door, once it is open.
    ///
    /// # Panics
    /// When it has none.
    #[must_use]
    #[track_caller]
    pub fn address_of(daemon: &mut Daemon) -> String {
        daemon.wait_for_line(PATIENCE, "the line `resp HOST:PORT`", |line| {
            line.strip_prefix("resp ").map(str::to_owned)
        })
    }

    /// Sends bytes as they are.
    ///
    /// # Panics
    /// When the daemon takes none.
    #[track_caller]
    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the daemon takes bytes");
    }

    /// Sends bytes, whether the daemon takes them or not.
    pub fn try_write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Says that no more comes.
    ///
    /// # Panics
    /// When the connection has gone.
    pub fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("the connection stands");
    }

    /// Sends one command and takes its reply.
    #[track_caller]
    pub fn ask(&mut self, words: &[&[u8]]) -> Reply {
        self.write(&command(words));
        self.reply()
    }

    /// Sends one command of words without blanks in them, and takes its reply.
    #[track_caller]
    pub fn say(&mut self, line: &str) -> Reply {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        self.ask(&words)
    }

    /// The next reply.
    ///
    /// # Panics
    /// When none comes, or something else.
    #[track_caller]
    pub fn reply(&mut self) -> Reply {
        self.try_reply().expect("a reply comes before the end of the connection")
    }

    /// All that comes until the end of the connection, as it is.
    ///
    /// # Panics
    /// When the end does not come.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.received);
        self.stream.read_to_end(&mut rest).expect("the connection ends");
        rest
    }

    /// The next reply; `None`: the connection has ended.
    ///
    /// # Panics
    /// When something else comes, or nothing for too long.
    #[track_caller]
    pub fn try_reply(&mut self) -> Option<Reply> {
        loop {
            if let Some((reply, length)) = read(&self.received) {
                self.received.drain(..length);
                return Some(reply);
            }
            let mut piece = vec![0; 256 << 10];
            match self.stream.read(&mut piece) {
                Ok(0) => {
                    assert!(self.received.is_empty(), "half a reply: {:?}", self.received);
                    return None;
                }
                Ok(count) => self.received.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no reply: {error}"),
            }
        }
    }
}

/// A command as its bytes.
#[must_use]
pub fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n", word.len()).into_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

impl Reply {
    /// A string.
    #[must_use]
    pub fn bulk(text: impl AsRef<[u8]>) -> Reply {
        Reply::Bulk(text.as_ref().to_vec())
    }

    /// `OK`.
    #[must_use]
    pub fn ok() -> Reply {
        Reply::Simple("OK".to_owned())
    }

    /// The text of an error.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    #[must_use]
    pub fn error(&self) -> &str {
        match self {
            Reply::Error(text) => text,
            other => panic!("no error: {other:?}"),
        }
    }

    /// The elements of an array.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    #[must_use]
    pub fn elements(self) -> Vec<Reply> {
        match self {
            Reply::Array(elements) => elements,
            other => panic!("no array: {other:?}"),
        }
    }
}

/// The reply at the front of `bytes`, and its length; `None` before all of it is there.
fn read(bytes: &[u8]) -> Option<(Reply, usize)> {
    let end = bytes.windows(2).position(|two| two == b"\r\n")?;
    let text = String::from_utf8_lossy(bytes.get(1..end).unwrap_or_default()).into_owned();
    let number = || text.parse::<i64>().unwrap_or_else(|_| panic!("no number: {text:?}"));
    let behind = end + 2;
    match bytes[0] {
        b'+' => Some((Reply::Simple(text), behind)),
        b'-' => Some((Reply::Error(text), behind)),
        b':' => Some((Reply::Integer(number()), behind)),
        b'_' => Some((Reply::Null, behind)),
        b'$' if number() == -1 => Some((Reply::Null, behind)),
        b'$' | b'=' => {
            let length = number() as usize;
            let string = bytes.get(behind..behind + length)?.to_vec();
            bytes.get(behind + length..behind + length + 2)?;
            Some((Reply::Bulk(string), behind + length + 2))
        }
        kind @ (b'*' | b'%') => {
            let count = if kind == b'%' { 2 * number() } else { number() };
            let (mut elements, mut at) = (Vec::new(), behind);
            for _ in 0..count {
                let (element, length) = read(&bytes[at..])?;
                elements.push(element);
                at += length;
            }
            Some((Reply::Array(elements), at))
        }
        other => panic!("no reply begins with {:?}", char::from(other)),
    }
}
