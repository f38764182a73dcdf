//! The command line of `dhtd`, and the environment variables that stand in for its flags.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use clap_complete::Shell;
use dht_protocol::placement::hash::HashKey;
use log::LevelFilter;

use super::help;
use super::size::{ByteSize, parse_byte_size};
use crate::log_format::{LogFormat, parse_level};

/// The daemon of a distributed hash table: keeps keys and values in memory and serves them over TCP.
///
/// Without --members it is a node on its own. With --members it is one of a static cluster: every member is given
/// the same list, each key lives on one of them, and clients find out which by themselves. What a node holds is gone
/// when it stops.
///
/// On standard output it prints `ready HOST:PORT` once it can be reached, and behind it `http HOST:PORT` where --http
/// was given, and `resp HOST:PORT` where --resp was. The log goes to standard error.
#[derive(Debug, Parser)]
#[command(
    name = "dhtd",
    version,
    args_conflicts_with_subcommands = true,
    after_help = help::SHORT,
    after_long_help = help::NODE
)]
pub struct Args {
    /// What to run instead of a node.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Settings of a node.
    #[command(flatten)]
    pub node: NodeArgs,
}

/// Programs besides a node.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run one node (the default)
    ///
    /// Without --members it is a node on its own. With --members it is one of a static cluster: every member is given
    /// the same list, each key lives on one of them, and clients find out which by themselves. What a node holds is
    /// gone when it stops.
    ///
    /// On standard output it prints `ready HOST:PORT` once it can be reached, and behind it `http HOST:PORT` where
    /// --http was given, and `resp HOST:PORT` where --resp was. The log goes to standard error.
    #[command(after_help = help::SHORT, after_long_help = help::NODE)]
    Node(Box<NodeArgs>),
    /// Run several nodes on this machine and stop them together
    ///
    /// For trying things out: each node is a process of its own, listens on a local port, and opens an HTTP port 100
    /// above it and one for RESP 200 above it. A table of them goes to standard output, with what to try. When one node ends, all are stopped, and
    /// what they hold is gone.
    #[command(after_help = help::SHORT_DEV, after_long_help = help::DEV)]
    Dev(DevArgs),
    /// Print a script that teaches a shell to complete this program's arguments
    ///
    /// The script goes to standard output. It knows every command and flag of this version: print it again after an
    /// update.
    #[command(after_long_help = help::COMPLETIONS)]
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Settings of a node; what is not given comes from the file or is a default.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct NodeArgs {
    /// Address to listen on; port 0 takes a free one [default: 127.0.0.1:7400]
    ///
    /// The default is reached from this machine only. There is no authentication: listen on other addresses in a
    /// network that you trust.
    #[arg(long, env = "DHT_LISTEN", value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// Address that others reach this node by [default: that of --listen]
    ///
    /// Clients are sent to it, and --members names the node by it. Needed where --listen is every address (0.0.0.0)
    /// or lies behind a translation of addresses.
    #[arg(long, env = "DHT_ADVERTISE", value_name = "HOST:PORT")]
    pub advertise: Option<String>,
    /// Address to answer HTTP on: /metrics, /healthz, /readyz; port 0 takes a free one [default: none]
    ///
    /// /metrics is for Prometheus; /healthz answers 200 while the process can answer; /readyz 200 while the node
    /// serves, and 503 once it was told to stop. Shows figures, never a key or a value.
    #[arg(long, env = "DHT_HTTP", value_name = "HOST:PORT")]
    pub http: Option<String>,
    /// Address to answer Redis' protocol (RESP2 and RESP3) on; port 0 takes a free one [default: none]
    ///
    /// For redis-cli, redis-benchmark and the client libraries of Redis: GET, SET, DEL, INCR, SCAN and others. There is
    /// no authentication. A node asked for a key that another one has fetches it from there.
    #[arg(long, env = "DHT_RESP", value_name = "HOST:PORT")]
    pub resp: Option<String>,
    /// All members of a static cluster, this one included; - reads the list from standard input
    ///
    /// The list must be the same on every member, and so must --partitions and --hash-key; of two that differ the one
    /// that started later stops with exit status 1. With - one line is read, and the node stops when standard input
    /// is closed.
    #[arg(long, env = "DHT_MEMBERS", value_name = "A,B,C|-")]
    pub members: Option<String>,
    /// Worker threads, 1 to 256 [default: one a processor]
    ///
    /// Each serves its share of the connections. More than there are processors gains nothing.
    #[arg(long, env = "DHT_WORKERS", value_name = "N")]
    pub workers: Option<usize>,
    /// Partitions of the cluster, a power of two from 16 to 65536; the same on every member [default: 4096]
    ///
    /// More of them spread keys and locks more evenly, and each takes some memory even while it is empty.
    #[arg(long, env = "DHT_PARTITIONS", value_name = "Q")]
    pub partitions: Option<u32>,
    /// Key of the hash, 32 hexadecimal digits; the same on every member [default: see --help]
    ///
    /// Without it a static cluster uses one that is public, and whoever may choose key names can make them collide; a
    /// node on its own draws one. Better given in the environment or the file than as a flag, which every user of the
    /// machine can read.
    #[arg(long, env = "DHT_HASH_KEY", value_name = "HEX", hide_env_values = true)]
    pub hash_key: Option<HashKey>,
    /// Memory for entries and buffers, as in 4GiB [default: 80 % of what the machine or its cgroup has]
    ///
    /// A number of bytes, or one with KiB, MiB, GiB or TiB; at least 1MiB. At the limit writes are refused with
    /// OUT_OF_MEMORY; reads and deletes go on, and deleting makes room.
    #[arg(long, env = "DHT_MEMORY_LIMIT", value_name = "SIZE", value_parser = parse_byte_size)]
    pub memory_limit: Option<ByteSize>,
    /// Connections at all ports together [default: what the limit of descriptors leaves room for]
    ///
    /// From 1 to 65536 a worker. One more is closed at once, counted as connections_refused and logged. The HTTP port
    /// takes 8 more than this, so that a monitor reaches a node that is full. At its start the node raises its own
    /// limit of descriptors (ulimit -n) as far as it may, and lowers this setting where that does not suffice.
    #[arg(long, env = "DHT_MAX_CONNECTIONS", value_name = "N")]
    pub max_connections: Option<usize>,
    /// Close a connection that has been idle for so long, seconds; 0: never [default: 0]
    ///
    /// At most 2592000 (thirty days). Idle is who has neither a request nor an answer under way. The default suits
    /// clients that keep connections for later. A peer that has gone without a word is noticed in any case, within
    /// three minutes, by TCP keep-alive.
    #[arg(long, env = "DHT_IDLE_TIMEOUT", value_name = "S")]
    pub idle_timeout: Option<u64>,
    /// Close a connection that stops in the middle of something for so long, seconds; 0: never [default: 60]
    ///
    /// At most 86400. That is one that has sent part of a request and no more of it, or that takes none of the answers
    /// that wait for it. So nobody holds buffers by doing nothing.
    #[arg(long, env = "DHT_STALL_TIMEOUT", value_name = "S")]
    pub stall_timeout: Option<u64>,
    /// Log requests that took at least so long, milliseconds; 0: every one [default: none]
    ///
    /// At most 3600000. A line at level warn gives operation, partition, sizes of request and answer, the time and the
    /// peer, never a key or a value. The time is that of the request's own work, without what it waited for others.
    /// At most 100 lines of each worker in 10 seconds; the next line says how many were left out, and slow_requests
    /// counts all. Without it no request is timed by itself.
    #[arg(long, env = "DHT_SLOW_MS", value_name = "MS")]
    pub slow_ms: Option<u64>,
    /// How long answers may take to go out when the daemon stops, seconds [default: 10]
    ///
    /// At most 86400. Peers that have taken theirs do not hold up the stop.
    #[arg(long, env = "DHT_SHUTDOWN_TIMEOUT", value_name = "S")]
    pub shutdown_timeout: Option<u64>,
    /// Lines of the log: off, error, warn, info, debug or trace [default: info]
    ///
    /// Each includes those before it. debug has a line for every connection.
    #[arg(long, env = "DHT_LOG", value_name = "LEVEL", value_parser = parse_level)]
    pub log_level: Option<LevelFilter>,
    /// How lines of the log look: text or json [default: text]
    ///
    /// text is for people: time, level, message, and name=value pairs. json is one object a line with ts (RFC 3339),
    /// level, message, and the pairs as members.
    #[arg(long, env = "DHT_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// TOML file with settings named as the flags: listen = "127.0.0.1:7400"
    ///
    /// Flags and environment go before it. Read again on SIGHUP, if it is a plain file and no pipe.
    #[arg(long, env = "DHT_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print the settings in force as such a file, and exit
    #[arg(long)]
    pub print_config: bool,
}

/// Settings of `dhtd dev`.
#[derive(Clone, Debug, clap::Args)]
pub struct DevArgs {
    /// Nodes to start
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub nodes: u16,
    /// Port of the first node, the others follow; those for HTTP lie 100 above, for RESP 200; 0 takes free ports
    #[arg(long, value_name = "PORT", default_value_t = 7400)]
    pub base_port: u16,
    /// Memory of all nodes together [default: 80 % of what the machine or its cgroup has]
    ///
    /// As in 1GiB; each node gets an equal part, at least 1MiB.
    #[arg(long, value_name = "SIZE", value_parser = parse_byte_size)]
    pub memory_limit: Option<ByteSize>,
    /// Lines of the nodes' logs: off, error, warn, info, debug or trace
    #[arg(long, env = "DHT_LOG", value_name = "LEVEL", value_parser = parse_level, default_value = "error")]
    pub log_level: LevelFilter,
    /// How they look: text or json
    #[arg(long, env = "DHT_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}
