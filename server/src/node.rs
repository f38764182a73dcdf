//! The life of one node as a process: bind, learn the members, serve, stop when told to.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded, never};
use dht_protocol::ids::NodeId;
use dht_protocol::placement::hash::HashKey;
use dht_protocol::placement::map::ClusterMap;
use dht_protocol::placement::planner::{PlanError, single_node_map, static_map};

use crate::config::{Members, NodeArgs, NodeSettings, split_members};
use crate::control::StopReason;
use crate::limits::MEMBERS_BYTES_MAX;
use crate::log_format;
use crate::net::{BindError, Door, Listener, bind};
use crate::process;
use crate::reload::Reloader;
use crate::server::{Server, ServerSettings, StartError};
use crate::store::allocator;

/// Why a node did not come to serve, or had to stop.
#[derive(Debug)]
pub enum NodeError {
    /// Its address cannot be listened on.
    Bind(BindError),
    /// The list of members makes no cluster.
    Plan(PlanError),
    /// The list of members does not name this node.
    NotAMember {
        /// How this node is reached.
        advertise: String,
    },
    /// It listens on all addresses, and nobody said by which one it is reached.
    NoAdvertise {
        /// Where it listens.
        listen: String,
    },
    /// Standard input did not give a list of members.
    MembersInput(String),
    /// The system does not give something.
    Start(StartError),
    /// The system gives no signals.
    Signals(io::Error),
    /// It served, and cannot go on.
    Stopped(String),
}

impl NodeError {
    /// Whether the settings are at fault rather than the system.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            NodeError::Plan(_) | NodeError::NotAMember { .. } | NodeError::NoAdvertise { .. } => true,
            NodeError::Bind(_)
            | NodeError::MembersInput(_)
            | NodeError::Start(_)
            | NodeError::Signals(_)
            | NodeError::Stopped(_) => false,
        }
    }
}

/// Runs a node until it is told to stop. `settings` came of `args` and the file that they name, which is read again on
/// SIGHUP. `announce_ready` is called with the addresses of the binary, the HTTP and the RESP door once they are bound.
///
/// # Errors
/// [`NodeError`].
pub fn run(
    mut settings: NodeSettings,
    args: NodeArgs,
    announce_ready: impl FnOnce(SocketAddr, Option<SocketAddr>, Option<SocketAddr>),
) -> Result<(), NodeError> {
    allocator::keep_long_blocks_apart();
    let (stop, stopped) = bounded(1);
    let (reload, reloads) = bounded(1);
    process::watch_signals(stop.clone(), Some(reload)).map_err(NodeError::Signals)?;
    let connections_bound = process::connections_max_within(process::raise_descriptors(), settings.workers);
    hold_to(connections_bound, &mut settings);
    let listener = bind(Door::Binary, &settings.listen).map_err(NodeError::Bind)?;
    let http = settings.http.as_ref().map(|address| bind(Door::Http, address)).transpose();
    let http = http.map_err(NodeError::Bind)?;
    let resp = settings.resp.as_ref().map(|address| bind(Door::Resp, address)).transpose();
    let resp = resp.map_err(NodeError::Bind)?;
    let bound = listener.address();
    let http_bound = http.as_ref().map(Listener::address);
    let resp_bound = resp.as_ref().map(Listener::address);
    let advertise = advertised_address(&settings, bound)?;
    let known = match &settings.members {
        Members::Alone => Some(alone(&settings, &advertise)?),
        Members::Listed(members) => Some(member_of(&settings, members, &advertise)?),
        Members::FromStandardInput => None,
    };
    announce_ready(bound, http_bound, resp_bound);
    let (map, node) = match known {
        Some(known) => known,
        None => match members_from_input(&stop, &stopped)? {
            Some(members) => member_of(&settings, &members, &advertise)?,
            None => return Ok(()),
        },
    };
    warn_of_dangers(&settings);
    let server_settings = ServerSettings {
        workers: settings.workers,
        memory_limit_bytes: settings.memory_limit.0,
        shutdown_timeout: settings.tuning.shutdown_timeout,
    };
    let map = Arc::new(map);
    let listeners = [Some(listener), http, resp].into_iter().flatten().collect();
    let tuning = settings.tuning;
    let server = Server::start_tuned(listeners, Arc::clone(&map), node, &server_settings, tuning, stop)
        .map_err(NodeError::Start)?;
    log::info!(
        version = env!("CARGO_PKG_VERSION"), listen:% = bound, advertise, node:% = node, nodes = map.nodes().len(),
        partitions = map.partitions_of(node).count(), of = map.ring().partitions_count(),
        workers = settings.workers, memory_limit:% = settings.memory_limit,
        max_connections = tuning.connections_max, cluster:% = map.cluster_id(),
        http = http_bound.map_or("off".to_owned(), |address| address.to_string()),
        resp = resp_bound.map_or("off".to_owned(), |address| address.to_string());
        "started"
    );
    let mut reloader = Reloader::new(args, settings);
    let reason =
        serve_until_stopped(&stopped, reloads, || reload_file(&mut reloader, &server, connections_bound));
    log::info!(reason:% = reason; "stopping");
    server.stop();
    log::info!("stopped");
    match reason {
        StopReason::Signal(_) | StopReason::LauncherGone => Ok(()),
        StopReason::Fatal(why) => Err(NodeError::Stopped(why)),
    }
}

/// Waits for a reason to stop, and calls `reload` whenever the file is to be read again.
fn serve_until_stopped(
    stopped: &Receiver<StopReason>,
    mut reloads: Receiver<()>,
    mut reload: impl FnMut(),
) -> StopReason {
    loop {
        crossbeam_channel::select! {
            recv(stopped) -> reason => return reason.unwrap_or(StopReason::LauncherGone),
            recv(reloads) -> told => match told {
                Ok(()) => reload(),
                // Nobody watches for signals any more; other reasons to stop may still come.
                Err(_) => reloads = never(),
            },
        }
    }
}

/// Reads the configuration file again, says what has changed, and puts in force what can be.
fn reload_file(reloader: &mut Reloader, server: &Server, connections_bound: usize) {
    let Some(path) = reloader.path().map(|path| path.display().to_string()) else {
        log::info!("SIGHUP: nothing to read again, as there is no --config");
        return;
    };
    let level_before = reloader.in_force().log_level;
    let changes = match reloader.reread(connections_bound) {
        Ok(changes) => changes,
        Err(error) => {
            log::error!(error:% = error; "SIGHUP: the old settings stay in force");
            return;
        }
    };
    let NodeSettings { memory_limit, max_connections, tuning, log_level, log_format, .. } =
        *reloader.in_force();
    // Whoever asks for fewer lines from now on still learns that this was heard.
    log_format::tune(log_level.max(level_before), log_format);
    server.tune(tuning);
    server.dispatcher().memory().set_limit_bytes(memory_limit.0);
    log::info!(file = path, changes = changes.len(); "SIGHUP: the configuration file has been read again");
    for change in &changes {
        let (setting, from, to) = (change.name, change.from.as_str(), change.to.as_str());
        if change.needs_restart {
            log::warn!(setting, from, to; "setting needs a restart, the old value stays in force");
        } else {
            log::info!(setting, from, to; "setting changed");
        }
    }
    warn_if_lowered(max_connections, connections_bound);
    log_format::tune(log_level, log_format);
}

/// Lowers the number of connections to what the process can have.
fn hold_to(connections_bound: usize, settings: &mut NodeSettings) {
    warn_if_lowered(settings.max_connections, connections_bound);
    let connections_max = &mut settings.tuning.connections_max;
    *connections_max = connections_bound.min(*connections_max);
}

fn warn_if_lowered(asked: Option<usize>, connections_bound: usize) {
    if let Some(asked) = asked.filter(|&asked| asked > connections_bound) {
        log::warn!(
            asked, max_connections = connections_bound;
            "--max-connections is more than the limit of descriptors leaves room for; raise it with ulimit -n"
        );
    }
}

/// How others reach this node: as told, or as bound, in the words in which it was told to listen.
fn advertised_address(settings: &NodeSettings, bound: SocketAddr) -> Result<String, NodeError> {
    if let Some(advertise) = &settings.advertise {
        return Ok(advertise.clone());
    }
    if bound.ip().is_unspecified() {
        return Err(NodeError::NoAdvertise { listen: settings.listen.clone() });
    }
    Ok(match settings.listen.rsplit_once(':') {
        Some((host, port)) if port.parse() == Ok(0u16) => format!("{host}:{}", bound.port()),
        _ => settings.listen.clone(),
    })
}

fn alone(settings: &NodeSettings, advertise: &str) -> Result<(ClusterMap, NodeId), NodeError> {
    if let Some(key) = settings.hash_key {
        let map = static_map(&[advertise.to_owned()], settings.ring, key).map_err(NodeError::Plan)?;
        return find(map, advertise);
    }
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| NodeError::Start(StartError::of("random numbers", &error)))?;
    let drawn = HashKey::from_bytes(bytes);
    find(single_node_map(advertise, settings.ring, drawn).map_err(NodeError::Plan)?, advertise)
}

fn member_of(
    settings: &NodeSettings,
    members: &[String],
    advertise: &str,
) -> Result<(ClusterMap, NodeId), NodeError> {
    let hash_key = settings.hash_key.unwrap_or(HashKey::GUESSABLE);
    find(static_map(members, settings.ring, hash_key).map_err(NodeError::Plan)?, advertise)
}

/// The map, and which of its nodes this one is.
fn find(map: ClusterMap, advertise: &str) -> Result<(ClusterMap, NodeId), NodeError> {
    let node = map.nodes().iter().find(|node| node.address == advertise).map(|node| node.id);
    node.map(|node| (map, node)).ok_or_else(|| NodeError::NotAMember { advertise: advertise.to_owned() })
}

/// Reads the first line of standard input as the list of members, and from then on watches for its end, which
/// stops the node. `None`: the node was stopped before the list came.
fn members_from_input(
    stop: &Sender<StopReason>,
    stopped: &Receiver<StopReason>,
) -> Result<Option<Vec<String>>, NodeError> {
    let (line_found, line) = bounded(1);
    let stop = stop.clone();
    let watch = move || {
        let mut input = BufReader::new(io::stdin().lock().take(MEMBERS_BYTES_MAX));
        let mut text = String::new();
        let read = input.read_line(&mut text).map(|_| text).map_err(|error| error.to_string());
        let _ = line_found.send(read);
        // Whatever else comes is not looked at; its end is all that counts.
        let _ = io::copy(&mut input.into_inner().into_inner(), &mut io::sink());
        let _ = stop.try_send(StopReason::LauncherGone);
    };
    thread::Builder::new()
        .name("standard-input".into())
        .spawn(watch)
        .map_err(|error| NodeError::Start(StartError::of("a thread", &error)))?;
    let (read, ended) = crossbeam_channel::select! {
        recv(line) -> read => (read, false),
        recv(stopped) -> reason => match reason {
            // The end comes behind the line, so the line is there; which of the two is seen first is chance.
            Ok(StopReason::LauncherGone) => (line.recv(), true),
            Ok(StopReason::Signal(_) | StopReason::Fatal(_)) | Err(_) => return Ok(None),
        },
    };
    match read {
        Ok(Ok(text)) if text.ends_with('\n') => Ok(Some(split_members(&text)).filter(|_| !ended)),
        Ok(Ok(_)) => Err(NodeError::MembersInput("it ended before a whole line had come".into())),
        Ok(Err(error)) => Err(NodeError::MembersInput(error)),
        Err(_) => Err(NodeError::MembersInput("it cannot be read".into())),
    }
}

fn warn_of_dangers(settings: &NodeSettings) {
    if process::swap_is_possible() {
        log::warn!(
            "swap is on: entries may be moved to disk and reads may take milliseconds; turn it off with swapoff -a"
        );
    }
    if settings.members != Members::Alone && settings.hash_key.is_none() {
        log::warn!(
            "no --hash-key: key names can be chosen to collide; give all members the same 32 hexadecimal digits where \
             strangers choose keys"
        );
    }
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NodeError::Bind(error) => error.fmt(f),
            NodeError::Plan(error) => write!(f, "--members: {error}"),
            NodeError::NotAMember { advertise } => write!(
                f,
                "the member list does not name this node, {advertise}: add it, or say with --advertise how the list \
                 names it"
            ),
            NodeError::NoAdvertise { listen } => {
                write!(
                    f,
                    "--listen {listen} is every address of this machine: say with --advertise HOST:PORT which one others use"
                )
            }
            NodeError::MembersInput(why) => {
                write!(
                    f,
                    "--members -: no list on standard input: {why}; write one line HOST:PORT,HOST:PORT and keep it open"
                )
            }
            NodeError::Start(error) => error.fmt(f),
            NodeError::Signals(error) => {
                write!(f, "cannot watch for signals: {error}; raise the limits of this process")
            }
            NodeError::Stopped(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for NodeError {}
