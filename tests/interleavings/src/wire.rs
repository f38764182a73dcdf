//! A socket without a system, and the node at its other end.

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use dht_protocol::frame::{Cut, cut};
use dht_protocol::header::Header;
use dht_protocol::ids::{ClusterId, Epoch, Incarnation, NodeId};
use dht_protocol::limits::BODY_BYTES_MAX;
use dht_protocol::response::{HelloAnswer, response_header};
use dht_protocol::status::Status;
use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::{Condvar, Mutex, MutexGuard};
use shuttle::thread::{self, JoinHandle};

use crate::connection::socket::Socket;
use crate::connection::{Answer, Connection};
use crate::sync::{FOREVER, Instant, lock, pass};

/// A slice of the socket's time, by the clock of the scenario.
const SLICE: Duration = Duration::from_millis(1);

/// What the two ends share.
#[derive(Debug, Default)]
struct Bytes {
    to_node: Vec<u8>,
    to_client: VecDeque<Answer>,
    reading: bool,
    writing: bool,
    shut: bool,
    /// No caller is left.
    over: bool,
}

/// The client's end.
#[derive(Clone, Debug)]
pub(crate) struct Wire(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    bytes: Mutex<Bytes>,
    changed: Condvar,
    /// Bytes on their way to the node at most; `None`: any number, and waits of the system have no slices, so that
    /// nobody may count on one to end.
    room: Option<usize>,
}

impl Wire {
    pub(crate) fn new(room: Option<usize>) -> Wire {
        Wire(Arc::new(Shared { bytes: Mutex::default(), changed: Condvar::new(), room }))
    }

    fn lock(&self) -> MutexGuard<'_, Bytes> {
        lock(&self.0.bytes)
    }

    fn wait<'a>(&self, bytes: MutexGuard<'a, Bytes>) -> MutexGuard<'a, Bytes> {
        self.0.changed.wait(bytes).expect("a panic ends the scenario")
    }

    /// Says that no caller is left, and so that the node may end.
    pub(crate) fn finish(&self) {
        self.lock().over = true;
        self.0.changed.notify_all();
    }
}

impl Socket for Wire {
    fn read(&self, deadline: Instant) -> Result<(Vec<Answer>, bool), String> {
        let mut bytes = self.lock();
        assert!(!std::mem::replace(&mut bytes.reading, true), "two callers read at once");
        let result = loop {
            if bytes.shut {
                break Err("closed".to_owned());
            }
            if !bytes.to_client.is_empty() {
                break Ok((bytes.to_client.drain(..).collect(), true));
            }
            let left = deadline - Instant::now();
            if self.0.room.is_some() || left < FOREVER / 2 {
                drop(bytes);
                pass(left.min(SLICE));
                thread::yield_now();
                bytes = self.lock();
                break Ok((Vec::new(), false));
            }
            bytes = self.wait(bytes);
        };
        bytes.reading = false;
        result
    }

    fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut bytes = self.lock();
        assert!(!std::mem::replace(&mut bytes.writing, true), "two callers write at once");
        drop(bytes);
        thread::yield_now();
        let mut bytes = self.lock();
        bytes.writing = false;
        if bytes.shut {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        let room = self.0.room.map_or(usize::MAX, |room| room - bytes.to_node.len());
        if room == 0 {
            pass(SLICE);
            return Err(ErrorKind::WouldBlock.into());
        }
        let taken = all.len().min(room);
        bytes.to_node.extend_from_slice(&all[..taken]);
        self.0.changed.notify_all();
        Ok(taken)
    }

    fn look(&self) -> Result<(), String> {
        if self.lock().shut { Err("closed".to_owned()) } else { Ok(()) }
    }

    fn shut_down(&self) {
        self.lock().shut = true;
        self.0.changed.notify_all();
    }
}

/// How the node behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manners {
    /// Answers everything, in any order; but not the key `never`.
    Polite,
    /// Closes the connection after so many requests.
    Leaves(usize),
}

/// A node, which ends when told, and says which keys reached it.
pub(crate) type Node = JoinHandle<BTreeSet<Vec<u8>>>;

/// A connection over a wire, and the node at its other end.
pub(crate) fn connect(room: Option<usize>, manners: Manners) -> (Arc<Connection<Wire>>, Wire, Node) {
    let wire = Wire::new(room);
    let hello = HelloAnswer {
        version: 1,
        features: 0,
        cluster_id: ClusterId(1),
        incarnation: Incarnation(1),
        node: NodeId(0),
        value_bytes_max: 1 << 20,
        body_bytes_max: 1 << 20,
        write_span_max: 1 << 20,
    };
    let connection = Arc::new(Connection::new("wire".to_owned(), hello, wire.clone()));
    let node = wire.clone();
    (connection, wire, thread::spawn(move || serve(&node, manners)))
}

fn serve(wire: &Wire, manners: Manners) -> BTreeSet<Vec<u8>> {
    let (mut buffer, mut seen, mut pending) = (Vec::new(), BTreeSet::new(), Vec::new());
    loop {
        let mut bytes = wire.lock();
        while bytes.to_node.is_empty() && pending.is_empty() && !bytes.over {
            bytes = wire.wait(bytes);
        }
        if bytes.over {
            return seen;
        }
        buffer.append(&mut bytes.to_node);
        if bytes.shut {
            // Nobody listens any more.
            pending.clear();
        }
        drop(bytes);
        while let Cut::Frame { header, body, frame_bytes } = cut_sound(&buffer) {
            assert!(seen.insert(body.to_vec()), "a request arrived twice");
            if !body.ends_with(b"never") {
                pending.push((header, body.to_vec()));
            }
            buffer.drain(..frame_bytes);
        }
        if matches!(manners, Manners::Leaves(after) if seen.len() >= after) {
            wire.shut_down();
        }
        answer_some(wire, &mut pending);
    }
}

fn cut_sound(buffer: &[u8]) -> Cut<'_> {
    let found = cut(buffer, BODY_BYTES_MAX);
    assert!(!matches!(found, Cut::Refused { .. }), "the stream is broken");
    found
}

fn answer_some(wire: &Wire, pending: &mut Vec<(Header, Vec<u8>)>) {
    let count = thread_rng().gen_range(0..=pending.len());
    for _ in 0..count {
        let (header, body) = pending.swap_remove(thread_rng().gen_range(0..pending.len()));
        let header = response_header(Status::Ok, header.request_id, Epoch(1));
        wire.lock().to_client.push_back(Answer { header, body });
        wire.0.changed.notify_all();
    }
    if count == 0 {
        thread::yield_now();
    }
}
