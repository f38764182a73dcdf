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
        let mut workers = Vec::with_capacity(settings.workers);
        for (number, metrics) in metrics.into_iter().enumerate() {
            match Worker::start(number, Arc::clone(&dispatcher), metrics) {
                Ok(worker) => workers.push(worker),
                Err(error) => {
                    stop_workers(workers);
                    return Err(StartError::of("a worker thread", &error));
                }
            }
        }
        let others = || -> io::Result<(Housekeeping, Greeter, Acceptor)> {
            let housekeeping = Housekeeping::start(Arc::clone(&dispatcher))?;
            let greeter = Greeter::start(Arc::clone(&dispatcher))?;
            let handles = workers.iter().map(Worker::handle).collect();
            let acceptor = Acceptor::start(listeners, handles, Arc::clone(&dispatcher))?;
            Ok((housekeeping, greeter, acceptor))
        };
        match others() {
            Ok((housekeeping, greeter, acceptor)) => {
                Ok(Server { acceptor, workers, housekeeping, greeter, dispatcher })
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
        let (stop, _) = bounded(1);
        let server = Server::start(vec![listener], Arc::new(map), NodeId(0), settings, stop)?;
        Ok((server, address))
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

    /// Stops accepting, answers what has been read, lets the answers go out (for as long as the settings say), and
    /// closes.
    pub fn stop(self) {
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
