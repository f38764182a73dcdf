//! A worker's links to the other nodes of the map, and who waits for room in one.
//!
//! A node that is named by a name is looked up and connected by a thread of its own, one a link at a time: the resolver
//! may hang, a name may have several addresses, and a worker must not wait.

use std::io;
use std::net::{self, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, TryRecvError, bounded};
use dht_protocol::ids::NodeId;
use dht_protocol::limits::NODES_MAX;
use dht_protocol::request::Request;
use mio::net::TcpStream;
use mio::{Registry, Token};

use super::handover::Wake;
use super::peer_link::{Common, Deliver, PeerLink, Taken};
use super::waker::Waker;
use crate::dispatch::Dispatcher;
use crate::limits::{CONNECTIONS_PER_WORKER_MAX, PEER_CONNECT_TIMEOUT_MS};
use crate::metrics::WorkerMetrics;
use crate::resp::{Answer, SlotId};

/// Tokens of links stand before the waker's; no connection has one of them.
const TOKENS_FIRST: usize = usize::MAX - (CONNECTIONS_PER_WORKER_MAX - 1);
const _: () = assert!(NODES_MAX < CONNECTIONS_PER_WORKER_MAX);

/// What connecting by a name came to.
type Lookup = Receiver<io::Result<net::TcpStream>>;

/// Links of one worker.
#[derive(Debug)]
pub(crate) struct PeerLinks {
    common: Common,
    waker: Waker,
    metrics: Arc<WorkerMetrics>,
    /// By place of the node in the map.
    peers: Vec<Peer>,
    /// Requests that were refused at once: their connections are told with the next [`PeerLinks::go_on`].
    refused: Vec<(Token, SlotId, usize)>,
    /// Places of links that have something to write, or more to read.
    busy: Vec<usize>,
}

#[derive(Debug)]
struct Peer {
    id: NodeId,
    address: String,
    link: PeerLink,
    lookup: Option<Lookup>,
    /// Connections that found the link full.
    waiting: Vec<Token>,
}

impl PeerLinks {
    pub(crate) fn new(dispatcher: &Dispatcher, metrics: Arc<WorkerMetrics>, waker: Waker) -> PeerLinks {
        let map = dispatcher.map();
        let memory = Arc::clone(dispatcher.memory());
        let common = Common { memory, epoch: map.epoch(), cluster_id: map.cluster_id() };
        let peer = |node: &dht_protocol::placement::map::Node| Peer {
            id: node.id,
            address: node.address.clone(),
            link: PeerLink::new(&common),
            lookup: None,
            waiting: Vec::new(),
        };
        let peers = map.nodes().iter().map(peer).collect();
        PeerLinks { common, waker, metrics, peers, refused: Vec::new(), busy: Vec::new() }
    }

    /// The place of the link that a token belongs to; `None`: it is a connection's.
    pub(crate) fn place_of(&self, token: Token) -> Option<usize> {
        token.0.checked_sub(TOKENS_FIRST).filter(|&place| place < self.peers.len())
    }

    /// Takes a request for the connection of `token`. `false`: the link is full, and the connection is named by
    /// [`PeerLinks::go_on`] once it has room.
    pub(crate) fn send(&mut self, node: NodeId, request: &Request<'_>, token: Token, slot: SlotId) -> bool {
        let place = self.peers.partition_point(|peer| peer.id < node);
        let peer = &mut self.peers[place];
        match peer.link.take(request, (token, slot), Instant::now(), &self.common) {
            Taken::Yes => {
                self.metrics.peer_requests.add(1);
                self.busy.push(place);
            }
            Taken::Failed => self.refused.push((token, slot, place)),
            Taken::Full => {
                peer.waiting.push(token);
                return false;
            }
        }
        true
    }

    /// Whether [`PeerLinks::go_on`] has something to do at once.
    pub(crate) fn has_work(&self) -> bool {
        !self.refused.is_empty() || !self.busy.is_empty()
    }

    /// How long the worker may sleep; `None`: for as long as it likes.
    pub(crate) fn timeout(&self, now: Instant) -> Option<Duration> {
        let due = self.peers.iter().filter_map(|peer| peer.link.due()).min()?;
        Some(due.saturating_duration_since(now))
    }

    /// An event of that link's socket.
    pub(crate) fn on_event(&mut self, place: usize) {
        self.busy.push(place);
    }

    /// A wake: names may have been looked up.
    pub(crate) fn on_wake(&mut self) {
        let looked_up = self.peers.iter().enumerate().filter(|(_, peer)| peer.lookup.is_some());
        self.busy.extend(looked_up.map(|(place, _)| place));
    }

    /// Connects, writes, reads, and ends what is overdue. Answers go to `deliver`; the tokens are of connections that
    /// found a link full which has room now.
    pub(crate) fn go_on(
        &mut self,
        registry: &Registry,
        buffer: &mut [u8],
        deliver: &mut Deliver<'_>,
    ) -> Vec<Token> {
        for (token, slot, place) in std::mem::take(&mut self.refused) {
            self.metrics.peer_failures.add(1);
            deliver(token, slot, &Answer::NotDone(&unreachable_text(&self.peers[place].address)));
        }
        let mut busy = std::mem::take(&mut self.busy);
        let now = Instant::now();
        let overdue = |peer: &Peer| peer.link.due().is_some_and(|due| due <= now);
        busy.extend(self.peers.iter().enumerate().filter(|(_, peer)| overdue(peer)).map(|(place, _)| place));
        busy.sort_unstable();
        busy.dedup();
        let mut have_room = Vec::new();
        for place in busy {
            self.turn(place, now, registry, buffer, deliver);
            let peer = &mut self.peers[place];
            if peer.link.has_room() {
                have_room.append(&mut peer.waiting);
            }
        }
        have_room
    }

    fn turn(
        &mut self,
        place: usize,
        now: Instant,
        registry: &Registry,
        buffer: &mut [u8],
        deliver: &mut Deliver<'_>,
    ) {
        let peer = &mut self.peers[place];
        let ended = if peer.link.due().is_some_and(|due| due <= now) {
            Err(io::ErrorKind::TimedOut.into())
        } else {
            peer.go_on(Token(TOKENS_FIRST + place), registry, &self.waker, buffer, deliver)
        };
        match ended {
            Ok(false) => {}
            Ok(true) => self.busy.push(place),
            Err(error) => {
                let failures = peer.link.asked_count();
                self.metrics.peer_failures.add(failures as u64);
                log::debug!(address = peer.address, error:% = error, failures; "link to another node ended");
                let why = unreachable_text(&peer.address);
                peer.link.break_off(&why, now, registry, &self.common, deliver);
            }
        }
    }
}

impl Peer {
    /// `true`: there may be more to read.
    fn go_on(
        &mut self,
        token: Token,
        registry: &Registry,
        waker: &Waker,
        buffer: &mut [u8],
        deliver: &mut Deliver<'_>,
    ) -> io::Result<bool> {
        if self.link.wants_stream() {
            match self.connect(waker)? {
                Some(stream) => self.link.adopt(stream, token, registry)?,
                None => return Ok(false),
            }
        }
        self.link.write()?;
        self.link.read(buffer, deliver)
    }

    /// A stream to the node, perhaps still to be connected; `None`: its name is being looked up, and a wake follows.
    fn connect(&mut self, waker: &Waker) -> io::Result<Option<TcpStream>> {
        if let Ok(address) = self.address.parse::<SocketAddr>() {
            return TcpStream::connect(address).map(Some);
        }
        if let Some(lookup) = &self.lookup {
            let found = match lookup.try_recv() {
                Ok(found) => found.map(|stream| Some(TcpStream::from_std(stream))),
                Err(TryRecvError::Empty) => return Ok(None),
                Err(TryRecvError::Disconnected) => Err(io::ErrorKind::NotFound.into()),
            };
            self.lookup = None;
            return found;
        }
        let (found, lookup) = bounded(1);
        let (name, waker) = (self.address.clone(), waker.clone());
        let look = move || {
            let _ = found.send(connect_by_name(&name));
            waker.wake();
        };
        thread::Builder::new().name("resolver".into()).spawn(look)?;
        self.lookup = Some(lookup);
        Ok(None)
    }
}

/// Connects to the first address of the name that takes a connection.
fn connect_by_name(name: &str) -> io::Result<net::TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in name.to_socket_addrs()? {
        match net::TcpStream::connect_timeout(&address, Duration::from_millis(PEER_CONNECT_TIMEOUT_MS)) {
            Ok(stream) => return stream.set_nonblocking(true).map(|()| stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn unreachable_text(address: &str) -> String {
    format!("the node {address} cannot be reached or does not answer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_connected_by_the_first_of_its_addresses_that_answers() {
        // Where the name has an address of IPv6 too, nobody listens there.
        let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
        let name = format!("localhost:{}", listener.local_addr().unwrap().port());
        let stream = connect_by_name(&name).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), listener.local_addr().unwrap());
        drop((stream, listener));
        assert!(connect_by_name(&name).is_err());
    }
}
