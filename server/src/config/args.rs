//! The command line of `dhtd`, and the environment variables that stand in for its flags.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use clap_complete::Shell;
use dht_protocol::placement::hash::HashKey;

use super::size::{ByteSize, parse_byte_size};

/// The daemon of a distributed hash table: keeps keys and values in memory and serves them over TCP.
///
/// Without --members it is a node on its own. With --members it is one of a static cluster: every member is given
/// the same list, each key lives on one of them, and clients find out which by themselves.
#[derive(Debug, Parser)]
#[command(
    name = "dhtd",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "EXAMPLES:\n  \
        dhtd                                      a node on its own, on 127.0.0.1:7400\n  \
        dhtd dev                                  three nodes on this machine, to try things out\n  \
        dhtd --listen 10.0.0.1:7400 --members 10.0.0.1:7400,10.0.0.2:7400\n\n\
        Settings come from flags, then DHT_… environment variables, then the file given by --config.\n\
        Log lines go to standard error; DHT_LOG sets their level (error, warn, info, debug).\n\
        Exit code: 0 stopped as asked, 1 failed, 2 wrong usage."
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
    Node(NodeArgs),
    /// Run several nodes on this machine and stop them together
    Dev(DevArgs),
    /// Print a script that teaches a shell to complete this program's arguments
    #[command(after_help = "EXAMPLES:\n  \
        source <(dhtd completions bash)                              in this shell, or in ~/.bashrc\n  \
        dhtd completions zsh > ~/.zfunc/_dhtd                        a folder of zsh's fpath\n  \
        dhtd completions fish > ~/.config/fish/completions/dhtd.fish")]
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Settings of a node; what is not given comes from the file or is a default.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct NodeArgs {
    /// Address to listen on; port 0 takes a free one [default: 127.0.0.1:7400]
    #[arg(long, env = "DHT_LISTEN", value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// Address that others reach this node by [default: that of --listen]
    #[arg(long, env = "DHT_ADVERTISE", value_name = "HOST:PORT")]
    pub advertise: Option<String>,
    /// Address to answer HTTP on: /metrics for Prometheus, /healthz, /readyz; port 0 takes a free one
    /// [default: none]
    #[arg(long, env = "DHT_HTTP", value_name = "HOST:PORT")]
    pub http: Option<String>,
    /// All members of a static cluster, this one included; - reads the list from standard input, one line, and
    /// stops the daemon when that is closed
    #[arg(long, env = "DHT_MEMBERS", value_name = "A,B,C|-")]
    pub members: Option<String>,
    /// Worker threads [default: one a processor]
    #[arg(long, env = "DHT_WORKERS", value_name = "N")]
    pub workers: Option<usize>,
    /// Partitions of the cluster, a power of two from 16 to 65536; the same on every member [default: 4096]
    #[arg(long, env = "DHT_PARTITIONS", value_name = "Q")]
    pub partitions: Option<u32>,
    /// Key of the hash, 32 hexadecimal digits; the same on every member. Without it a static cluster uses one that
    /// is public, and whoever may choose key names can make them collide; a node on its own draws one
    #[arg(long, env = "DHT_HASH_KEY", value_name = "HEX", hide_env_values = true)]
    pub hash_key: Option<HashKey>,
    /// Memory for entries and buffers, as in 4GiB; at the limit writes are refused and deletes make room
    /// [default: 80 % of what the machine or its cgroup has]
    #[arg(long, env = "DHT_MEMORY_LIMIT", value_name = "SIZE", value_parser = parse_byte_size)]
    pub memory_limit: Option<ByteSize>,
    /// How long answers may take to go out when the daemon stops, seconds [default: 10]
    #[arg(long, env = "DHT_SHUTDOWN_TIMEOUT", value_name = "S")]
    pub shutdown_timeout: Option<u64>,
    /// TOML file with settings named as the flags: listen = "127.0.0.1:7400"
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
    /// Port of the first node, the others follow; their HTTP ports lie 100 above; 0 takes free ports
    #[arg(long, value_name = "PORT", default_value_t = 7400)]
    pub base_port: u16,
    /// Memory of all nodes together [default: 80 % of what the machine or its cgroup has]
    #[arg(long, value_name = "SIZE", value_parser = parse_byte_size)]
    pub memory_limit: Option<ByteSize>,
}
