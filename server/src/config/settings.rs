//! Settings in force: every choice made, every bound checked.

use std::fmt;
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use dht_protocol::limits::PARTITIONS_DEFAULT;
use dht_protocol::placement::hash::HashKey;
use dht_protocol::placement::ring::Ring;

use super::args::{DevArgs, NodeArgs};
use super::file;
use super::size::ByteSize;
use crate::limits::{MEMORY_LIMIT_BYTES_MIN, SHUTDOWN_TIMEOUT_S_MAX, WORKERS_MAX};
use crate::process;

/// How far above a node's port `dhtd dev` puts its HTTP port; more than it has nodes.
pub(crate) const DEV_HTTP_PORT_OFFSET: u16 = 100;
/// Where a node listens unless told otherwise: this machine only.
const LISTEN_DEFAULT: &str = "127.0.0.1:7400";
/// How long answers may take to go out at the end, seconds.
const SHUTDOWN_TIMEOUT_DEFAULT_S: u64 = 10;

/// The list of members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Members {
    /// None: a node on its own.
    Alone,
    /// This list.
    Listed(Vec<String>),
    /// To be read from standard input once the node has bound its port.
    FromStandardInput,
}

/// Settings of a node.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    /// Address to listen on.
    pub listen: String,
    /// Address that others reach this node by; `None`: the one bound.
    pub advertise: Option<String>,
    /// Address to answer HTTP on, if any.
    pub http: Option<String>,
    /// The other members.
    pub members: Members,
    /// Worker threads.
    pub workers: usize,
    /// The ring of the cluster.
    pub ring: Ring,
    /// Key of the hash, if one was given.
    pub hash_key: Option<HashKey>,
    /// Memory for entries and buffers.
    pub memory_limit: ByteSize,
    /// How long answers may take to go out at the end.
    pub shutdown_timeout: Duration,
}

/// Settings of `dhtd dev`.
#[derive(Clone, Copy, Debug)]
pub struct DevSettings {
    /// How many nodes.
    pub nodes: u16,
    /// Port of the first; 0: free ports.
    pub base_port: u16,
    /// Memory of each node.
    pub memory_limit_per_node: ByteSize,
}

/// Why settings cannot be used. Nothing has been started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// The file cannot be read or understood.
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A setting has a value that it cannot have; the sentence says which and what to do.
    Value(String),
}

impl NodeSettings {
    /// Fills in file and defaults, and checks everything.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn resolve(mut args: NodeArgs) -> Result<NodeSettings, ConfigError> {
        if let Some(path) = args.config.take() {
            file::fill_in(&mut args, &path)?;
        }
        let bad = |text: String| Err(ConfigError::Value(text));
        let partitions = args.partitions.unwrap_or(PARTITIONS_DEFAULT);
        let Some(ring) = Ring::new(partitions) else {
            return bad(format!("--partitions {partitions}: use a power of two from 16 to 65536"));
        };
        let workers = args.workers.unwrap_or_else(process::processors_count).min(WORKERS_MAX);
        if workers == 0 || args.workers.is_some_and(|workers| workers > WORKERS_MAX) {
            return bad(format!("--workers: use 1 to {WORKERS_MAX}"));
        }
        let memory_limit =
            args.memory_limit.unwrap_or_else(|| ByteSize(process::default_memory_limit_bytes()));
        check_memory_limit(memory_limit)?;
        let members = match args.members.as_deref() {
            None => Members::Alone,
            Some("-") => Members::FromStandardInput,
            Some(list) => Members::Listed(split_members(list)),
        };
        let listen = args.listen.unwrap_or_else(|| LISTEN_DEFAULT.to_owned());
        check_address("--listen", &listen)?;
        args.advertise.iter().try_for_each(|address| check_address("--advertise", address))?;
        if let Some(advertise) = args.advertise.as_ref().filter(|address| address.ends_with(":0")) {
            return bad(format!("--advertise {advertise}: nobody can connect to port 0; name the real port"));
        }
        args.http.iter().try_for_each(|address| check_address("--http", address))?;
        let shutdown_timeout_s = args.shutdown_timeout.unwrap_or(SHUTDOWN_TIMEOUT_DEFAULT_S);
        if shutdown_timeout_s > SHUTDOWN_TIMEOUT_S_MAX {
            return bad(format!(
                "--shutdown-timeout {shutdown_timeout_s}: use at most {SHUTDOWN_TIMEOUT_S_MAX} seconds"
            ));
        }
        let shutdown_timeout = Duration::from_secs(shutdown_timeout_s);
        let (advertise, http, hash_key) = (args.advertise, args.http, args.hash_key);
        Ok(NodeSettings {
            listen,
            advertise,
            http,
            members,
            workers,
            ring,
            hash_key,
            memory_limit,
            shutdown_timeout,
        })
    }

    /// The settings as a file that `--config` takes.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: &dyn fmt::Display| {
            let _ = writeln!(text, "{name} = {value}");
        };
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        line("listen", &quoted(&self.listen));
        if let Some(advertise) = &self.advertise {
            line("advertise", &quoted(advertise));
        }
        if let Some(http) = &self.http {
            line("http", &quoted(http));
        }
        match &self.members {
            Members::Alone => {}
            Members::Listed(list) => {
                let list: Vec<String> = list.iter().map(|member| quoted(member)).collect();
                line("members", &format!("[{}]", list.join(", ")));
            }
            Members::FromStandardInput => line("members", &"[\"-\"]"),
        }
        line("workers", &self.workers);
        line("partitions", &self.ring.partitions_count());
        if let Some(hash_key) = self.hash_key {
            line("hash-key", &quoted(&hash_key.to_string()));
        }
        line("memory-limit", &quoted(&self.memory_limit.to_string()));
        line("shutdown-timeout", &self.shutdown_timeout.as_secs());
        text
    }
}

impl DevSettings {
    /// Fills in defaults and checks everything.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn resolve(args: &DevArgs) -> Result<DevSettings, ConfigError> {
        let total = args.memory_limit.map_or_else(process::default_memory_limit_bytes, |limit| limit.0);
        let memory_limit_per_node = ByteSize(total / u64::from(args.nodes));
        check_memory_limit(memory_limit_per_node)?;
        let last = u32::from(args.base_port) + u32::from(args.nodes) - 1 + u32::from(DEV_HTTP_PORT_OFFSET);
        if args.base_port != 0 && last > u32::from(u16::MAX) {
            return Err(ConfigError::Value(format!(
                "--base-port {}: {} nodes need ports up to {last}, past 65535; choose a lower one",
                args.base_port, args.nodes
            )));
        }
        Ok(DevSettings { nodes: args.nodes, base_port: args.base_port, memory_limit_per_node })
    }
}

/// The members of a comma-separated list, blanks around them dropped.
#[must_use]
pub(crate) fn split_members(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|member| !member.is_empty()).map(str::to_owned).collect()
}

fn check_memory_limit(limit: ByteSize) -> Result<(), ConfigError> {
    if limit.0 < MEMORY_LIMIT_BYTES_MIN {
        let least = ByteSize(MEMORY_LIMIT_BYTES_MIN);
        return Err(ConfigError::Value(format!("--memory-limit {limit}: a node needs at least {least}")));
    }
    Ok(())
}

fn check_address(flag: &str, address: &str) -> Result<(), ConfigError> {
    let has_port =
        address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if has_port {
        return Ok(());
    }
    Err(ConfigError::Value(format!("{flag} {address:?}: use HOST:PORT, as in {LISTEN_DEFAULT}")))
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::File { path, why } => {
                write!(
                    f,
                    "cannot use the configuration file {}: {why}; correct it or leave --config out",
                    path.display()
                )
            }
            ConfigError::Value(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(change: impl FnOnce(&mut NodeArgs)) -> Result<NodeSettings, ConfigError> {
        let mut args = NodeArgs::default();
        change(&mut args);
        NodeSettings::resolve(args)
    }

    #[test]
    fn defaults_are_local_and_alone() {
        let settings = resolve(|_| {}).unwrap();
        assert_eq!(settings.listen, "127.0.0.1:7400");
        assert_eq!(settings.members, Members::Alone);
        assert_eq!(settings.ring.partitions_count(), 4096);
        assert!(settings.workers >= 1);
    }

    #[test]
    fn values_out_of_bounds_are_refused_with_a_remedy() {
        let error = |change: fn(&mut NodeArgs)| resolve(change).unwrap_err().to_string();
        assert!(error(|args| args.partitions = Some(100)).contains("power of two"));
        assert!(error(|args| args.workers = Some(0)).contains("1 to 256"));
        assert!(error(|args| args.workers = Some(257)).contains("1 to 256"));
        assert!(error(|args| args.memory_limit = Some(ByteSize(7))).contains("at least 1MiB"));
        assert!(error(|args| args.listen = Some("nonsense".into())).contains("HOST:PORT"));
        assert!(error(|args| args.listen = Some("host:99999".into())).contains("HOST:PORT"));
        assert!(error(|args| args.http = Some("7500".into())).contains("--http"));
        assert!(error(|args| args.advertise = Some(":7400".into())).contains("HOST:PORT"));
        assert!(error(|args| args.advertise = Some("host:0".into())).contains("real port"));
        assert!(error(|args| args.shutdown_timeout = Some(u64::MAX)).contains("86400"));
    }

    #[test]
    fn what_print_config_shows_is_a_file_that_gives_the_same() {
        let dir = std::env::temp_dir().join(format!("dhtd-config-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("settings.toml");
        let settings = resolve(|args| {
            args.members = Some("a:1, b:2".into());
            args.advertise = Some("a:1".into());
            args.http = Some("a:2".into());
            args.hash_key = Some(HashKey::GUESSABLE);
            args.memory_limit = Some(ByteSize(3 << 20));
            args.workers = Some(3);
        })
        .unwrap();
        std::fs::write(&path, settings.to_toml()).unwrap();
        let again = resolve(|args| args.config = Some(path.clone())).unwrap();
        assert_eq!(again.to_toml(), settings.to_toml());
        let flag_wins = resolve(|args| {
            args.config = Some(path.clone());
            args.workers = Some(5);
        });
        assert_eq!(flag_wins.unwrap().workers, 5);
        std::fs::write(&path, "worker = 3\n").unwrap();
        let error = resolve(|args| args.config = Some(path.clone())).unwrap_err().to_string();
        assert!(error.contains("settings.toml") && error.contains("worker"), "{error}");
        assert!(!error.contains('\n'));
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(matches!(resolve(|args| args.config = Some(path)), Err(ConfigError::File { .. })));
    }
}
