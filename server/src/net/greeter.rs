//! Greets the other members of a static cluster once after the start, until each has answered: so two daemons that
//! were told different things find it out (`cluster::greeting` judges). Whoever starts later greets as well, so
//! every pair meets at least once.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use dht_protocol::frame::{Cut, cut};
use dht_protocol::header::Header;
use dht_protocol::ids::RequestId;
use dht_protocol::limits::HEADER_BYTES;
use dht_protocol::op::Op;
use dht_protocol::peer::PeerHello;
use dht_protocol::request::Request;
use dht_protocol::response::Response;

use crate::dispatch::Dispatcher;
use crate::limits::{GREETING_PAUSE_MS, GREETING_TIMEOUT_MS};

/// Body of the answer to a greeting, bytes at most: a refusal may carry a sentence.
const ANSWER_BODY_BYTES_MAX: usize = 2 << 10;

/// The running greeter; it ends by itself, or with [`Greeter::stop`].
#[derive(Debug)]
pub struct Greeter {
    stop: Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl Greeter {
    /// Starts greeting every other node of the map.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(dispatcher: Arc<Dispatcher>) -> io::Result<Greeter> {
        let (stop, stopped) = bounded(1);
        let thread =
            thread::Builder::new().name("greeter".into()).spawn(move || greet_all(&dispatcher, &stopped))?;
        Ok(Greeter { stop, thread })
    }

    /// Ends it; waits at most for one greeting's time-outs.
    pub fn stop(self) {
        let _ = self.stop.try_send(());
        if self.thread.join().is_err() {
            log::error!("the greeter thread panicked");
        }
    }
}

fn greet_all(dispatcher: &Dispatcher, stopped: &Receiver<()>) {
    let map = dispatcher.map();
    let mut left: Vec<_> = map.nodes().iter().filter(|node| node.id != dispatcher.identity().node).collect();
    loop {
        left.retain(|node| {
            if !stopped.is_empty() {
                return true;
            }
            let ours = dispatcher.greeting();
            match greet(&node.address, &ours) {
                Ok(theirs) => {
                    dispatcher.judge_peer(&ours, &theirs);
                    false
                }
                Err(error) => {
                    log::debug!("member does not answer yet: address={} error=\"{error}\"", node.address);
                    true
                }
            }
        });
        if left.is_empty() {
            log::debug!("every member has been greeted");
            return;
        }
        match stopped.recv_timeout(Duration::from_millis(GREETING_PAUSE_MS)) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// One greeting, each step with a time-out.
fn greet(address: &str, ours: &PeerHello) -> io::Result<PeerHello> {
    let timeout = Duration::from_millis(GREETING_TIMEOUT_MS);
    let resolved = address.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
    let mut stream = TcpStream::connect_timeout(&resolved, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let mut bytes = Vec::new();
    Request::PeerHello(*ours).encode(RequestId(1), dht_protocol::ids::Epoch(0), &mut bytes);
    stream.write_all(&bytes)?;
    let mut answer = vec![0; HEADER_BYTES];
    stream.read_exact(&mut answer)?;
    if let Cut::NeedMore { frame_bytes } = cut(&answer, ANSWER_BODY_BYTES_MAX) {
        answer.resize(frame_bytes, 0);
        stream.read_exact(&mut answer[HEADER_BYTES..])?;
    }
    read_answer(&answer).ok_or_else(|| io::Error::other("the answer is no greeting"))
}

fn read_answer(answer: &[u8]) -> Option<PeerHello> {
    let header: Header;
    let body = match cut(answer, ANSWER_BODY_BYTES_MAX) {
        Cut::Frame { header: found, body, .. } => {
            header = found;
            body
        }
        Cut::NeedMore { .. } | Cut::Refused { .. } => return None,
    };
    match Response::decode(Op::PeerHello, &header, body) {
        Ok(Response::PeerHello(theirs)) => Some(theirs),
        _ => None,
    }
}
