//! The duties that callers take on for each other: to write what is queued, and to read what comes.
//!
//! 1. A turn takes a slice of time at most. What a writer has not got rid of by then goes back to where the next one
//!    finds it, so nobody is held by somebody else's frame for longer, and a writer whose own time is up leaves
//!    the others a stream that can be gone on with.
//! 2. The connection dies when the node has taken no byte for `STUCK_MAX` of what was to be written.

use crate::connection::outgoing::Batch;
use crate::connection::shared::{Connection, Guard, State};
use crate::connection::socket::{Socket, is_no_failure};
use crate::limits::{BLOCKED_READ_SLICE, IDLE_LOOK_AFTER, STUCK_MAX, WRITE_BATCH_FRAMES_MAX};
use crate::sync::{Instant, lock};

/// How a write ended.
enum Written {
    /// All is out.
    All,
    /// The node took `bytes`, and no more within a slice that began at `begun_at`.
    Part { bytes: usize, begun_at: Instant },
    /// The stream is broken.
    Failed(String),
}

impl<S: Socket> Connection<S> {
    /// A node that went away while nobody used the connection has closed it. Found out before a request is
    /// written, that leaves no doubt about the request; found out after, a write could have arrived.
    pub(super) fn look_if_idle<'a>(&'a self, mut state: Guard<'a>) -> Guard<'a> {
        if state.reading || state.writing || state.heard_at.elapsed() < IDLE_LOOK_AFTER {
            return state;
        }
        // Both duties, so that nobody else uses the socket meanwhile.
        (state.reading, state.writing) = (true, true);
        drop(state);
        let looked = self.socket.look();
        let mut state = lock(&self.state);
        (state.reading, state.writing) = (false, false);
        if let Err(reason) = looked {
            self.die(&mut state, reason);
        }
        state
    }

    /// A caller goes: what it was doing for others is somebody else's turn. When the only other caller is the reader,
    /// which sleeps in the system call, its frame is written before that; unless the node takes none, as then the
    /// reader's slice is soon enough.
    pub(super) fn leave<'a>(&'a self, mut state: Guard<'a>) {
        while !state.wake_for_duties() && state.needs_writer() && state.stuck_since.is_none() {
            state = self.write_once(state);
        }
        drop(state);
        self.slot_free.notify_one();
    }

    /// Writes what is queued, once. A node stops reading while its answers pile up, and nobody may be there to take
    /// them but the writer: so that one reads where it cannot write.
    pub(super) fn write_turn<'a>(&'a self, state: Guard<'a>) -> Guard<'a> {
        let state = self.write_once(state);
        if state.stuck_since.is_some() && !state.reading && state.dead.is_none() {
            return self.read_turn(state, Instant::now() + BLOCKED_READ_SLICE);
        }
        state
    }

    fn write_once<'a>(&'a self, mut state: Guard<'a>) -> Guard<'a> {
        let mut batch = state.outgoing.take(WRITE_BATCH_FRAMES_MAX);
        for frame in batch.frames() {
            state.slots.set_sent(frame.id, true);
        }
        state.writing = true;
        state.wake_for_duties();
        drop(state);
        let written = self.write_batch(&mut batch);
        let mut state = lock(&self.state);
        state.writing = false;
        if !batch.is_empty() {
            // Whoever has given up a frame since was told that it may have been written: it may go, or stay.
            batch.retain(|frame| frame.is_begun() || state.slots.set_sent(frame.id, false));
            state.outgoing.put_back(batch);
        }
        match written {
            Written::All => state.stuck_since = None,
            Written::Part { bytes, begun_at } => self.note_stuck(&mut state, bytes, begun_at),
            Written::Failed(reason) => self.die(&mut state, reason),
        }
        state
    }

    fn write_batch(&self, batch: &mut Batch) -> Written {
        let begun_at = Instant::now();
        let slices = batch.slices();
        let wanted: usize = slices.iter().map(|slice| slice.len()).sum();
        match self.socket.write(&slices) {
            Ok(0) => Written::Failed("the node takes no more bytes".to_owned()),
            Ok(bytes) => {
                batch.advance(bytes);
                if bytes == wanted { Written::All } else { Written::Part { bytes, begun_at } }
            }
            Err(error) if is_no_failure(&error) => Written::Part { bytes: 0, begun_at },
            Err(error) => Written::Failed(error.to_string()),
        }
    }

    /// The node has not taken all.
    fn note_stuck(&self, state: &mut State, bytes: usize, begun_at: Instant) {
        if state.dead.is_some() {
            return;
        }
        let now = Instant::now();
        if bytes > 0 {
            // Room in a buffer that was full: the node has read. The first time, the buffer is only filled.
            if state.stuck_since.is_some() {
                (state.heard_at, state.silent_since) = (now, None);
            }
            state.stuck_since = Some(now);
            return;
        }
        let since = *state.stuck_since.get_or_insert(begun_at);
        let stuck = now.saturating_duration_since(since);
        if stuck >= STUCK_MAX {
            self.die(state, format!("the node takes no bytes for {stuck:?}"));
        }
    }

    /// Reads once and hands out the answers that came.
    pub(super) fn read_turn<'a>(&'a self, mut state: Guard<'a>, deadline: Instant) -> Guard<'a> {
        state.reading = true;
        drop(state);
        let result = self.socket.read(deadline);
        let mut state = lock(&self.state);
        state.reading = false;
        match result {
            Ok((answers, heard)) => {
                if heard {
                    state.heard_at = Instant::now();
                    state.silent_since = None;
                }
                for answer in answers {
                    state.slots.deliver(answer);
                }
            }
            Err(reason) => self.die(&mut state, reason),
        }
        state
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use dht_protocol::frame::{Cut, cut};
    use dht_protocol::ids::{ClientId, ClusterId, Epoch, RequestId, Version};
    use dht_protocol::limits::BODY_BYTES_MAX;
    use dht_protocol::request::{Condition, Key, Request};
    use dht_protocol::response::Response;
    use dht_protocol::value::ValueRef;

    use super::*;
    use crate::connection::frame_reader::FrameReader;
    use crate::connection::shared::CallError;
    use crate::connection::slots::Answer;
    use crate::connection::socket::{TcpSocket, prepare};
    use crate::connection::{Greeting, open};
    use crate::testing::{FakeNode, Reply};

    /// More than the buffers of both sockets take.
    const LONG_BYTES: usize = 16 << 20;

    fn after(milliseconds: u64) -> Instant {
        Instant::now() + Duration::from_millis(milliseconds)
    }

    /// A connection, and the other end of its stream, which does what the test says and nothing else.
    fn connection_to_test() -> (Connection, TcpStream) {
        let node = FakeNode::alone(|_| Reply::Silence);
        let greeting = Greeting { client_id: ClientId(1), cluster_id: ClusterId(0) };
        let hello = *open(&node.address, &greeting, Duration::from_secs(5)).unwrap().hello();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        prepare(&stream).unwrap();
        let (peer, _) = listener.accept().unwrap();
        (Connection::new("the test".into(), hello, TcpSocket::new(stream, FrameReader::new())), peer)
    }

    fn put(connection: &Connection, value: &[u8], deadline: Instant) -> Result<Answer, CallError> {
        let request = Request::Put {
            key: Key::new(b"k").unwrap(),
            value: ValueRef::new(0, value).unwrap(),
            condition: Condition::Always,
            token: None,
        };
        connection.call(deadline, |id, out| request.encode(id, Epoch(1), out))
    }

    fn wait_for(condition: impl Fn() -> bool) {
        let deadline = after(20_000);
        while !condition() {
            assert!(Instant::now() < deadline, "waited in vain");
            thread::yield_now();
        }
    }

    /// Reads `count` requests, answers each, and says how long their bodies were.
    fn answer(peer: &mut TcpStream, count: usize) -> Vec<usize> {
        let (mut buffer, mut chunk, mut lengths) = (Vec::new(), vec![0; 1 << 20], Vec::new());
        while lengths.len() < count {
            match cut(&buffer, BODY_BYTES_MAX) {
                Cut::Frame { header, body, frame_bytes } => {
                    lengths.push(body.len());
                    let mut out = Vec::new();
                    Response::Version(Version(1)).encode(header.request_id, Epoch(1), &mut out);
                    peer.write_all(&out).unwrap();
                    buffer.drain(..frame_bytes);
                }
                Cut::NeedMore { .. } => {
                    let bytes = peer.read(&mut chunk).unwrap();
                    assert!(bytes > 0, "the connection is gone");
                    buffer.extend_from_slice(&chunk[..bytes]);
                }
                Cut::Refused { error, .. } => panic!("the stream is broken: {error:?}"),
            }
        }
        lengths
    }

    #[test]
    fn a_writer_whose_time_is_up_leaves_the_rest_of_its_frame_to_the_next() {
        let (connection, mut peer) = connection_to_test();
        let long = vec![7; LONG_BYTES];
        thread::scope(|scope| {
            let begun_at = Instant::now();
            let writer = scope.spawn(|| put(&connection, &long, after(300)));
            wait_for(|| lock(&connection.state).writing);
            let behind = scope.spawn(|| put(&connection, b"behind", after(20_000)));
            assert_eq!(writer.join().unwrap(), Err(CallError::TimedOut { sent: true }));
            assert!(begun_at.elapsed() < STUCK_MAX, "the test was too slow to see anything");
            assert!(!connection.is_dead() && !behind.is_finished());
            let lengths = answer(&mut peer, 2);
            assert!(lengths[0] > LONG_BYTES && lengths[1] < 100, "{lengths:?}");
            assert!(behind.join().unwrap().is_ok());
        });
        assert_eq!(connection.stale_answers_count(), 1, "the late answer to the long frame");
        assert!(!connection.is_dead());
    }

    #[test]
    fn a_half_written_frame_is_gone_on_with_though_nobody_waited_meanwhile() {
        let (connection, mut peer) = connection_to_test();
        let late = put(&connection, &vec![7; LONG_BYTES], after(150)).unwrap_err();
        assert_eq!(late, CallError::TimedOut { sent: true });
        assert!(!lock(&connection.state).outgoing.is_empty());
        thread::scope(|scope| {
            let next = scope.spawn(|| put(&connection, b"next", after(20_000)));
            assert_eq!(answer(&mut peer, 2).len(), 2);
            assert!(next.join().unwrap().is_ok());
        });
        assert!(lock(&connection.state).outgoing.is_empty());
    }

    #[test]
    fn a_request_behind_a_half_written_frame_is_given_up_without_doubt() {
        let (connection, _deaf) = connection_to_test();
        thread::scope(|scope| {
            let writer = scope.spawn(|| put(&connection, &vec![7; LONG_BYTES], after(400)));
            wait_for(|| lock(&connection.state).stuck_since.is_some());
            assert_eq!(put(&connection, b"behind", after(150)), Err(CallError::TimedOut { sent: false }));
            assert_eq!(writer.join().unwrap(), Err(CallError::TimedOut { sent: true }));
        });
    }

    #[test]
    fn a_caller_with_its_answer_is_not_held_by_the_frame_of_another() {
        let (connection, mut peer) = connection_to_test();
        let long = vec![7; LONG_BYTES];
        thread::scope(|scope| {
            // Its answer comes while it is the one that writes, and the node takes no more bytes.
            let first = scope.spawn(|| put(&connection, b"first", after(20_000)));
            wait_for(|| lock(&connection.state).reading);
            let second = scope.spawn(|| put(&connection, &long, after(60_000)));
            wait_for(|| lock(&connection.state).stuck_since.is_some());
            let mut head = vec![0; 16];
            peer.read_exact(&mut head).unwrap();
            let id = RequestId(u32::from_be_bytes([head[8], head[9], head[10], head[11]]));
            let mut out = Vec::new();
            Response::Version(Version(1)).encode(id, Epoch(1), &mut out);
            peer.write_all(&out).unwrap();
            let (told, done) = mpsc::channel();
            scope.spawn(move || told.send(first.join().unwrap().is_ok()));
            assert_eq!(done.recv_timeout(STUCK_MAX * 3 / 4), Ok(true), "held by the long frame");
            assert!(!second.is_finished());
            drop(peer);
            assert!(matches!(second.join().unwrap(), Err(CallError::Lost { sent: true, .. })));
        });
    }

    #[test]
    fn a_node_that_takes_no_bytes_for_long_ends_the_connection_and_leaves_no_doubt_about_what_was_not_begun()
    {
        let (connection, _deaf) = connection_to_test();
        let begun_at = Instant::now();
        thread::scope(|scope| {
            let writer = scope.spawn(|| put(&connection, &vec![7; LONG_BYTES], after(20_000)));
            wait_for(|| lock(&connection.state).stuck_since.is_some());
            let behind = put(&connection, b"behind", after(20_000)).unwrap_err();
            assert!(matches!(behind, CallError::Lost { sent: false, .. }), "{behind:?}");
            let lost = writer.join().unwrap().unwrap_err();
            assert!(matches!(lost, CallError::Lost { sent: true, .. }), "{lost:?}");
        });
        assert!(connection.is_dead() && begun_at.elapsed() >= STUCK_MAX);
    }

    #[test]
    fn a_node_that_takes_bytes_slowly_is_alive_however_short_the_calls() {
        let (connection, mut peer) = connection_to_test();
        let long = vec![7; LONG_BYTES];
        // Nothing is ever answered, so bytes taken are the only sign of life.
        thread::scope(|scope| {
            let reader = scope.spawn(move || {
                let mut chunk = vec![0; 256 << 10];
                let mut rest = LONG_BYTES;
                while rest > 0 {
                    let bytes = peer.read(&mut chunk).unwrap_or(0);
                    if bytes == 0 {
                        return None;
                    }
                    rest = rest.saturating_sub(bytes);
                    thread::park_timeout(Duration::from_millis(20));
                }
                Some(peer)
            });
            let late = put(&connection, &long, Instant::now() + crate::limits::SILENCE_MIN).unwrap_err();
            assert_eq!(late, CallError::TimedOut { sent: true });
            assert!(!connection.is_dead(), "a slow node was taken for a dead one");
            connection.kill("the test is over");
            reader.join().unwrap();
        });
    }
}
