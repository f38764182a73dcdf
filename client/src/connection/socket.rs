//! What a connection asks of its socket. All of the coordination between callers goes through this seam, so that it
//! can be run without a socket, under a scheduler that tries orders no kernel happens to choose (`tests/interleavings`).

use std::fmt::Debug;
use std::io::{self, ErrorKind, IoSlice, Write};
use std::net::{Shutdown, TcpStream};

use crate::connection::frame_reader::FrameReader;
use crate::connection::slots::Answer;
use crate::limits::SOCKET_SLICE;
use crate::sync::{Instant, Mutex, lock};

/// Both directions of a stream of frames. A connection lets at most one caller read and at most one write.
pub(crate) trait Socket: Debug {
    /// Reads once, for no longer than a slice nor past `deadline`, and answers the whole frames that are there now, and
    /// whether any byte came.
    ///
    /// # Errors
    /// Why the connection is of no more use.
    fn read(&self, deadline: Instant) -> Result<(Vec<Answer>, bool), String>;

    /// Writes once, for no longer than a slice; answers how many bytes were taken. Fewer than all: the peer would not
    /// take more within the slice.
    ///
    /// # Errors
    /// [`is_no_failure`] when no byte was taken within the slice; else the connection is of no more use.
    fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Looks, without waiting, whether the peer has closed the stream; both duties must be the caller's.
    ///
    /// # Errors
    /// How the stream ended.
    fn look(&self) -> Result<(), String>;

    /// Ends both directions, and brings back whoever reads or writes.
    fn shut_down(&self);
}

/// A TCP stream.
#[derive(Debug)]
pub(crate) struct TcpSocket {
    stream: TcpStream,
    /// Locked only by the one caller that reads.
    reader: Mutex<FrameReader>,
}

impl TcpSocket {
    /// Takes over a stream that [`prepare`] has seen, and what was read from it.
    pub(crate) fn new(stream: TcpStream, reader: FrameReader) -> TcpSocket {
        TcpSocket { stream, reader: Mutex::new(reader) }
    }
}

impl Socket for TcpSocket {
    fn read(&self, deadline: Instant) -> Result<(Vec<Answer>, bool), String> {
        lock(&self.reader).read(&self.stream, deadline)
    }

    fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        (&self.stream).write_vectored(slices)
    }

    fn look(&self) -> Result<(), String> {
        let looked = self.stream.set_nonblocking(true).and_then(|()| {
            let peeked = self.stream.peek(&mut [0]);
            self.stream.set_nonblocking(false).and(peeked)
        });
        match looked {
            Ok(0) => Err("closed by the node while idle".to_owned()),
            Err(error) if !is_no_failure(&error) => Err(error.to_string()),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn shut_down(&self) {
        // That it is closed already is no matter.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// Sets the options that a shared connection needs. The read time-out is the reader's own business.
pub(crate) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(SOCKET_SLICE))
}

/// Whether a read or write only came back early.
pub(crate) fn is_no_failure(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
