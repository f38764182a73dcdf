//! Greets the other members of a static cluster once after the start, until each has answered: so two daemons that
//! were told different things find it out (`cluster::greeting` judges). Whoever starts later greets as well, so
//! every pair meets at least once.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use dht_protocol::frame::{Cut, cut};
use dht_protocol::header::Header;
use dht_protocol::ids::{Epoch, RequestId};
use dht_protocol::op::Op;
use dht_protocol::peer::PeerHello;
use dht_protocol::request::Request;
use dht_protocol::response::Response;

use crate::dispatch::Dispatcher;
use crate::gate::Passer;
use crate::limits::{GREETING_PAUSE_MS, GREETING_SLICE_MS, GREETING_TIMEOUT_MS};

/// Body of the answer to a greeting, bytes at most: a refusal may carry a sentence.
const ANSWER_BODY_BYTES_MAX: usize = 2 << 10;

/// The running greeter; it ends by itself, or with [`Greeter::stop`].
#[derive(Debug)]
pub struct Greeter {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Greeter {
    /// Starts greeting every other node of the map.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(dispatcher: Arc<Dispatcher>, passer: Passer) -> io::Result<Greeter> {
        let (stop, stopped) = bounded(1);
        let greet = move || greet_all(&dispatcher, &stopped, &passer);
        let thread = thread::Builder::new().name("greeter".into()).spawn(greet)?;
        Ok(Greeter { stop, thread })
    }

    /// Asks it to end after the greeting in hand, and does not wait: that one may hang in the resolver.
    pub fn stop(self) {
        let _ = self.stop.try_send(());
    }

    /// Asks it to end, and waits for that: `GREETING_TIMEOUT_MS` at most, less where members are on this machine; but
    /// longer where they are named by names and the resolver hangs.
    pub(crate) fn join(self) {
        let _ = self.stop.try_send(());
        if self.thread.join().is_err() {
            log::error!("the greeter thread panicked");
        }
    }
}

fn greet_all(dispatcher: &Dispatcher, stopped: &Receiver<()>, passer: &Passer) {
    let map = dispatcher.map();
    let mut left: Vec<_> = map.nodes().iter().filter(|node| node.id != dispatcher.identity().node).collect();
    loop {
        left.retain(|node| {
            let go_on = || stopped.is_empty() && passer.pass();
            if !go_on() {
                return true;
            }
            match greet(&node.address, || dispatcher.greeting(), go_on) {
                Ok((ours, theirs)) => {
                    dispatcher.judge_peer(&ours, &theirs);
                    false
                }
                Err(error) => {
                    log::debug!(address = node.address, error:% = error; "member does not answer yet");
                    true
                }
            }
        });
        if left.is_empty() {
            log::debug!("every member has been greeted");
            return;
        }
        let pause = Duration::from_millis(GREETING_PAUSE_MS);
        match passer.rest(|| stopped.recv_timeout(pause)) {
            Some(Err(RecvTimeoutError::Timeout)) => {}
            Some(Ok(()) | Err(RecvTimeoutError::Disconnected)) | None => return,
        }
    }
}

/// One greeting within `GREETING_TIMEOUT_MS`, name resolution aside: what was sent, and what came back. Asks
/// `go_on` every `GREETING_SLICE_MS` while it waits for the answer.
fn greet(
    address: &str,
    greeting: impl FnOnce() -> PeerHello,
    go_on: impl Fn() -> bool,
) -> io::Result<(PeerHello, PeerHello)> {
    let resolved = address.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
    let deadline = Instant::now() + Duration::from_millis(GREETING_TIMEOUT_MS);
    let left = || match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::Error::from(io::ErrorKind::TimedOut)),
        left => Ok(left),
    };
    let mut stream = TcpStream::connect_timeout(&resolved, left()?)?;
    // Taken when the other one is there to answer, so that both ages are of the same moment.
    let ours = greeting();
    let mut bytes = Vec::new();
    Request::PeerHello(ours).encode(RequestId(1), Epoch(0), &mut bytes);
    stream.set_write_timeout(Some(left()?))?;
    stream.write_all(&bytes)?;
    let mut answer = Vec::new();
    loop {
        if let Cut::Frame { .. } | Cut::Refused { .. } = cut(&answer, ANSWER_BODY_BYTES_MAX) {
            break;
        }
        let mut piece = [0; 256];
        stream.set_read_timeout(Some(left()?.min(Duration::from_millis(GREETING_SLICE_MS))))?;
        match stream.read(&mut piece) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => answer.extend_from_slice(&piece[..count]),
            Err(error) if is_no_failure(&error) && go_on() => {}
            Err(error) => return Err(error),
        }
    }
    let theirs = read_answer(&answer).ok_or_else(|| io::Error::other("the answer is no greeting"))?;
    Ok((ours, theirs))
}

/// Whether the wait for bytes was only interrupted.
fn is_no_failure(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
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
