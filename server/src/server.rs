//! A daemon as one object: bind, start, stop. Nothing process-wide happens here (no logger, no signals), so that
//! several can live in one process.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};
use dht_protocol::ids::{Cfg, Incarnation, NodeId};
use dht_protocol::limits::PARTITIONS_DEFAULT;
use dht_protocol::placement::hash::HashKey;
use dht_protocol::placement::map::ClusterMap;
use dht_protocol::placement::planner::single_node_map;
use dht_protocol::placement::ring::Ring;

use crate::control::StopReason;
use crate::dispatch::{Dispatcher, Identity};
use crate::gate::Gate;
use crate::housekeeping::Housekeeping;
use crate::memory::MemoryAccount;
use crate::metrics::WorkerMetrics;
use crate::net::{Acceptor, Door, Greeter, Listener, Worker, bind};
use crate::tuning::Tuning;

/// What a daemon needs besides a listener and a map.
#[derive(Clone, Copy, Debug)]
pub struct ServerSettings {
    /// Worker threads, at least 1.
    pub workers: usize,
    /// Bytes that tables, values and buffers may take.
    pub memory_limit_bytes: u64,
    /// How long answers may take to go out at the end.
    pub shutdown_timeout: Duration,
}

impl Default for ServerSettings {
    /// Little, for a node inside another program, a test say: one worker, 256 MiB, a second to stop.
    fn default() -> ServerSettings {
        ServerSettings { workers: 1, memory_limit_bytes: 256 << 20, shutdown_timeout: Duration::from_secs(1) }
    }
}

/// The system did not give what a start needs. What had been started has been stopped again.
#[derive(Debug)]
pub struct StartError {
    what: &'static str,
    why: String,
}

/// A daemon that serves.
pub struct Server {
    acceptor: Acceptor,
    workers: Vec<Worker>,
    housekeeping: Housekeeping,
    greeter: Greeter,
    dispatcher: Arc<Dispatcher>,
    /// Passed by all its threads.
    gate: Arc<Gate>,
}

impl Server {
    /// Starts serving what `map` gives to `node` on `listeners`, each at its door. Wants to end by itself are sent to `stop`.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(
        listeners: Vec<Listener>,
        map: Arc<ClusterMap>,
        node: NodeId,
        settings: &ServerSettings,
        stop: Sender<StopReason>,
    ) -> Result<Server, StartError> {
        let tuning = Tuning { shutdown_timeout: settings.shutdown_timeout, ..Tuning::default() };
        Server::start_tuned(listeners, map, node, settings, tuning, stop)
    }

    /// The same with every setting that may change later; its shutdown time-out goes before that of `settings`.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start_tuned(
        listeners: Vec<Listener>,
        map: Arc<ClusterMap>,
        node: NodeId,
        settings: &ServerSettings,
        tuning: Tuning,
        stop: Sender<StopReason>,
    ) -> Result<Server, StartError> {
        let identity = draw_identity(node)?;
        let memory = MemoryAccount::new(settings.memory_limit_bytes);
        let metrics: Vec<Arc<WorkerMetrics>> = (0..settings.workers).map(|_| Arc::default()).collect();
        let dispatcher = Arc::new(Dispatcher::new(map, identity, memory, metrics.clone(), stop));
        dispatcher.tuning().set(tuning);
        let gate = Gate::new();
        let mut workers = Vec::with_capacity(settings.workers);
        for (number, metrics) in metrics.into_iter().enumerate() {
            match Worker::start(number, Arc::clone(&dispatcher), metrics, gate.passer()) {
                Ok(worker) => workers.push(worker),
                Err(error) => {
                    stop_workers(workers);
                    return Err(StartError::of("a worker thread", &error));
                }
            }
        }
        let others = || -> io::Result<(Housekeeping, Greeter, Acceptor)> {
            let housekeeping = Housekeeping::start(Arc::clone(&dispatcher), gate.passer())?;
            let greeter = Greeter::start(Arc::clone(&dispatcher), gate.passer())?;
            let handles = workers.iter().map(Worker::handle).collect();
            let acceptor = Acceptor::start(listeners, handles, Arc::clone(&dispatcher), gate.passer())?;
            Ok((housekeeping, greeter, acceptor))
        };
        match others() {
            Ok((housekeeping, greeter, acceptor)) => {
                Ok(Server { acceptor, workers, housekeeping, greeter, dispatcher, gate })
            }
            Err(error) => {
                stop_workers(workers);
                Err(StartError::of("its threads", &error))
            }
        }
    }

    /// Starts a node on its own on `listen` (`HOST:PORT`; port 0: any free one) and answers with its address: a
    /// whole daemon inside a program that wants to test against one. Nobody watches its wishes to end; it has none
    /// while it is alone.
    ///
    /// # Errors
    /// When the address cannot be bound, or as [`Server::start`].
    pub fn start_alone(listen: &str, settings: &ServerSettings) -> Result<(Server, SocketAddr), StartError> {
        let listener = bind(Door::Binary, listen).map_err(|error| StartError::of("the address", &error))?;
        let address = listener.address();
        let ring = Ring::new(PARTITIONS_DEFAULT).expect("the default is within the limits");
        let map = single_node_map(&address.to_string(), ring, HashKey::GUESSABLE)
            .map_err(|error| StartError::of("a map", &error))?;
        let server = Server::start_unwatched(listener, Arc::new(map), NodeId(0), settings)?;
        Ok((server, address))
    }

    /// As [`Server::start`], at the binary door and with nobody to watch its wishes to end: for members that live
    /// inside one program, which gives all of them the same map, so that they have no such wish.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_unwatched(
        listener: Listener,
        map: Arc<ClusterMap>,
        node: NodeId,
        settings: &ServerSettings,
    ) -> Result<Server, StartError> {
        let (stop, _) = bounded(1);
        Server::start(vec![listener], map, node, settings, stop)
    }

    /// The dispatcher, for what is not asked over a socket.
    #[must_use]
    pub fn dispatcher(&self) -> &Arc<Dispatcher> {
        &self.dispatcher
    }

    /// Puts other settings in force, for the connections that there are as well. Where there are more of these than
    /// may be, none is closed, and none taken until enough have gone.
    pub fn tune(&self, tuning: Tuning) {
        self.dispatcher.tuning().set(tuning);
        self.workers.iter().for_each(Worker::wake);
    }

    /// Makes all threads stand still, each before its next turn, while sockets stay open: the system still takes
    /// connections and bytes, and nobody looks at them. Returns once all stand: after the turns in hand (and
    /// what [`Server::kill`] says of the greeter).
    pub fn pause(&self) {
        self.gate.shut(|| {
            self.acceptor.wake();
            self.workers.iter().for_each(Worker::wake);
        });
    }

    /// Lets paused threads go on where they stopped.
    pub fn resume(&self) {
        self.gate.open();
    }

    /// Ends without a word, paused or not: each thread after the turn in hand; the greeter, which looks for members
    /// that have not answered yet, within `GREETING_TIMEOUT_MS` unless the system's look-up of a name hangs. What has come is not answered, answers that wait are lost, and when this returns all
    /// sockets are closed and all memory is given back. Peers see a reset, or the end of the stream.
    pub fn kill(self) {
        self.gate.close();
        self.acceptor.stop();
        stop_workers(self.workers);
        self.housekeeping.stop();
        self.greeter.join();
    }

    /// Stops accepting, answers what has been read, lets the answers go out (for as long as the settings say), and
    /// closes. A paused server goes on for that.
    pub fn stop(self) {
        self.gate.open();
        self.dispatcher.begin_stop();
        self.acceptor.stop();
        stop_workers(self.workers);
        self.housekeeping.stop();
        self.greeter.stop();
    }
}

fn stop_workers(workers: Vec<Worker>) {
    workers.iter().for_each(Worker::begin_stop);
    workers.into_iter().for_each(Worker::join);
}

fn draw_identity(node: NodeId) -> Result<Identity, StartError> {
    let random = || getrandom::u64().map_err(|error| StartError::of("random numbers", &error));
    let incarnation = Incarnation(random()?);
    // Without a coordinator the configuration number is drawn, so that a version from before a restart does not
    // match by accident; never 0, the map's "not known".
    let cfg = Cfg::new((random()? % u64::from(Cfg::MAX.get())) as u32 + 1);
    Ok(Identity { node, incarnation, cfg, started: Instant::now() })
}

impl StartError {
    /// `what` the system did not give, and what it said.
    #[must_use]
    pub fn of(what: &'static str, why: &impl fmt::Display) -> StartError {
        StartError { what, why: why.to_string() }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the system does not give {}: {}; raise the limits of this process (ulimit -a)",
            self.what, self.why
        )
    }
}

impl std::error::Error for StartError {}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::Weak;

    use dht_protocol::ids::{Epoch, RequestId};
    use dht_protocol::request::Request;

    use super::*;
    use crate::limits::ACCEPTS_PER_TURN_MAX;
    use crate::net::Reservation;
    use dht_protocol::placement::planner::static_map;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn start() -> (Server, SocketAddr) {
        Server::start_alone("127.0.0.1:0", &ServerSettings::default()).unwrap()
    }

    fn ping(mut stream: &TcpStream) {
        let mut frame = Vec::new();
        Request::Ping.encode(RequestId(1), Epoch(1), &mut frame);
        stream.write_all(&frame).unwrap();
    }

    /// Whether an answer comes within `patience`.
    fn pong(mut stream: &TcpStream, patience: Duration) -> bool {
        stream.set_read_timeout(Some(patience)).unwrap();
        stream.read_exact(&mut [0; 16]).is_ok()
    }

    #[test]
    fn a_paused_server_answers_nothing_and_a_resumed_one_everything() {
        let (server, address) = start();
        let old = TcpStream::connect(address).unwrap();
        for _ in 0..20 {
            ping(&old);
            assert!(pong(&old, PATIENCE));
            server.pause();
            let new = TcpStream::connect(address).unwrap();
            ping(&old);
            ping(&new);
            for silent in [&old, &new] {
                assert!(!pong(silent, Duration::from_millis(5)));
            }
            server.resume();
            assert!(pong(&old, PATIENCE) && pong(&new, PATIENCE));
        }
        server.pause();
        server.stop();
        assert!(!pong(&old, PATIENCE));
    }

    /// The poll tells of a listener once, and the acceptor takes so many in one go.
    #[test]
    fn more_connections_than_one_turn_takes_are_all_taken() {
        let (server, address) = start();
        server.pause();
        let peers: Vec<TcpStream> =
            (0..ACCEPTS_PER_TURN_MAX + 44).map(|_| TcpStream::connect(address).unwrap()).collect();
        peers.iter().for_each(ping);
        server.resume();
        assert!(peers.iter().all(|peer| pong(peer, PATIENCE)));
        server.stop();
    }

    #[test]
    fn a_killed_server_leaves_neither_sockets_nor_memory() {
        for paused in [false, true] {
            let (server, address) = start();
            let reader = TcpStream::connect(address).unwrap();
            ping(&reader);
            assert!(pong(&reader, PATIENCE));
            let memory: Weak<Dispatcher> = Arc::downgrade(server.dispatcher());
            if paused {
                server.pause();
                ping(&reader);
            }
            server.kill();
            assert_eq!(memory.strong_count(), 0);
            reader.set_read_timeout(Some(PATIENCE)).unwrap();
            // The end, or a reset where something lay there unread; never an answer.
            match (&reader).read(&mut [0; 16]) {
                Ok(read) => assert_eq!(read, 0),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
            }
            assert!(TcpStream::connect(address).is_err());
        }
    }

    #[test]
    fn a_killed_member_does_not_wait_for_one_that_hangs() {
        let kept = Reservation::of(([127, 0, 0, 1], 0).into()).unwrap();
        let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
        let addresses = [kept.address(), deaf.local_addr().unwrap()].map(|address| address.to_string());
        let listener = bind(Door::Binary, &addresses[0]).unwrap();
        let map = static_map(&addresses, Ring::new(16).unwrap(), HashKey::GUESSABLE).unwrap();
        let node = map.nodes().iter().find(|node| node.address == addresses[0]).unwrap().id;
        let settings = ServerSettings::default();
        let server = Server::start_unwatched(listener, Arc::new(map), node, &settings).unwrap();
        // Its greeter has been taken by the system, and waits for an answer from now on.
        let _greeter = deaf.accept().unwrap();
        let memory = Arc::downgrade(server.dispatcher());
        server.pause();
        server.kill();
        assert_eq!(memory.strong_count(), 0);
    }
}
