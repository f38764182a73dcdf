//! Settings in force: every choice made, every bound checked.

use std::fmt;
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use dht_protocol::limits::PARTITIONS_DEFAULT;
use dht_protocol::placement::hash::HashKey;
use dht_protocol::placement::ring::Ring;
use log::LevelFilter;

use super::args::{DevArgs, NodeArgs};
use super::file;
use super::size::ByteSize;
use crate::limits::{
    CONNECTIONS_PER_WORKER_MAX, IDLE_TIMEOUT_S_MAX, MEMORY_LIMIT_BYTES_MIN, SHUTDOWN_TIMEOUT_S_MAX,
    SLOW_MS_MAX, STALL_TIMEOUT_S_DEFAULT, STALL_TIMEOUT_S_MAX, WORKERS_MAX,
};
use crate::log_format::LogFormat;
use crate::process;
use crate::tuning::Tuning;

/// How far above a node's port `dhtd dev` puts its HTTP port; more than it has nodes.
pub(crate) const DEV_HTTP_PORT_OFFSET: u16 = 100;
/// How far above it is the port for RESP.
pub(crate) const DEV_RESP_PORT_OFFSET: u16 = 200;
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
    /// Address to answer RESP on, if any.
    pub resp: Option<String>,
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
    /// Connections that were asked for; `None`: as many as there can be.
    pub max_connections: Option<usize>,
    /// Connections, time-outs and the slow log.
    pub tuning: Tuning,
    /// Which lines the log has.
    pub log_level: LevelFilter,
    /// How they look.
    pub log_format: LogFormat,
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
    /// Which lines the nodes' logs have.
    pub log_level: LevelFilter,
    /// How they look.
    pub log_format: LogFormat,
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
        let listen = args.listen.take().unwrap_or_else(|| LISTEN_DEFAULT.to_owned());
        check_address("--listen", &listen)?;
        args.advertise.iter().try_for_each(|address| check_address("--advertise", address))?;
        if let Some(advertise) = args.advertise.as_ref().filter(|address| address.ends_with(":0")) {
            return bad(format!("--advertise {advertise}: nobody can connect to port 0; name the real port"));
        }
        args.http.iter().try_for_each(|address| check_address("--http", address))?;
        args.resp.iter().try_for_each(|address| check_address("--resp", address))?;
        let tuning = tuning_of(&args, workers)?;
        let log_level = args.log_level.unwrap_or(LevelFilter::Info);
        let log_format = args.log_format.unwrap_or(LogFormat::Text);
        let (advertise, http, resp, hash_key) = (args.advertise, args.http, args.resp, args.hash_key);
        Ok(NodeSettings {
            listen,
            advertise,
            http,
            resp,
            members,
            workers,
            ring,
            hash_key,
            memory_limit,
            max_connections: args.max_connections,
            tuning,
            log_level,
            log_format,
        })
    }

    /// The settings as a file that `--config` takes.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        for (name, value) in self.entries() {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name} = {value}");
        }
        text
    }

    /// Every setting that has a value: its name, and the value as TOML has it.
    #[must_use]
    pub fn entries(&self) -> Vec<(&'static str, String)> {
        let mut entries = Vec::new();
        let mut line = |name: &'static str, value: &dyn fmt::Display| entries.push((name, value.to_string()));
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        line("listen", &quoted(&self.listen));
        if let Some(advertise) = &self.advertise {
            line("advertise", &quoted(advertise));
        }
        if let Some(http) = &self.http {
            line("http", &quoted(http));
        }
        if let Some(resp) = &self.resp {
            line("resp", &quoted(resp));
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
        let tuning = &self.tuning;
        line("max-connections", &tuning.connections_max);
        line("idle-timeout", &tuning.idle_timeout_s);
        line("stall-timeout", &tuning.stall_timeout_s);
        if let Some(slow) = tuning.slow {
            line("slow-ms", &slow.as_millis());
        }
        line("shutdown-timeout", &tuning.shutdown_timeout.as_secs());
        line("log-level", &quoted(&self.log_level.as_str().to_ascii_lowercase()));
        line("log-format", &quoted(&self.log_format.to_string()));
        entries
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
        let last = u32::from(args.base_port) + u32::from(args.nodes) - 1 + u32::from(DEV_RESP_PORT_OFFSET);
        if args.base_port != 0 && last > u32::from(u16::MAX) {
            return Err(ConfigError::Value(format!(
                "--base-port {}: {} nodes need ports up to {last}, past 65535; choose a lower one",
                args.base_port, args.nodes
            )));
        }
        Ok(DevSettings {
            nodes: args.nodes,
            base_port: args.base_port,
            memory_limit_per_node,
            log_level: args.log_level,
            log_format: args.log_format,
        })
    }
}

/// The members of a comma-separated list, blanks around them dropped.
#[must_use]
pub(crate) fn split_members(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|member| !member.is_empty()).map(str::to_owned).collect()
}

/// Connections, time-outs and the slow log.
fn tuning_of(args: &NodeArgs, workers: usize) -> Result<Tuning, ConfigError> {
    let connections_max = args
        .max_connections
        .unwrap_or_else(|| process::connections_max_within(process::descriptors_max(), workers));
    let connections_bound = CONNECTIONS_PER_WORKER_MAX * workers;
    if connections_max == 0 || connections_max > connections_bound {
        return Err(ConfigError::Value(format!(
            "--max-connections {connections_max}: use 1 to {connections_bound}, which is {CONNECTIONS_PER_WORKER_MAX} \
             a worker"
        )));
    }
    let at_most = |flag: &str, given: Option<u64>, default: u64, max: u64, unit: &str| {
        let number = given.unwrap_or(default);
        let why = || ConfigError::Value(format!("{flag} {number}: use at most {max} {unit}"));
        if number > max { Err(why()) } else { Ok(number) }
    };
    let seconds = |flag: &str, given, default, max| at_most(flag, given, default, max, "seconds");
    let idle_s = seconds("--idle-timeout", args.idle_timeout, 0, IDLE_TIMEOUT_S_MAX)?;
    let stall_s =
        seconds("--stall-timeout", args.stall_timeout, STALL_TIMEOUT_S_DEFAULT, STALL_TIMEOUT_S_MAX)?;
    let shutdown_s = seconds(
        "--shutdown-timeout",
        args.shutdown_timeout,
        SHUTDOWN_TIMEOUT_DEFAULT_S,
        SHUTDOWN_TIMEOUT_S_MAX,
    )?;
    let slow_ms = at_most("--slow-ms", args.slow_ms, 0, SLOW_MS_MAX, "milliseconds")?;
    Ok(Tuning {
        connections_max,
        // The bounds are far below.
        idle_timeout_s: idle_s as u32,
        stall_timeout_s: stall_s as u32,
        slow: args.slow_ms.map(|_| Duration::from_millis(slow_ms)),
        shutdown_timeout: Duration::from_secs(shutdown_s),
    })
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
        let Tuning { connections_max, idle_timeout_s, stall_timeout_s, slow, shutdown_timeout } =
            settings.tuning;
        assert!(connections_max >= 1);
        assert_eq!((idle_timeout_s, stall_timeout_s, slow), (0, 60, None));
        assert_eq!(shutdown_timeout, Duration::from_secs(10));
        assert_eq!((settings.log_level, settings.log_format), (LevelFilter::Info, LogFormat::Text));
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
        assert!(error(|args| args.resp = Some("6400".into())).contains("--resp"));
        assert!(error(|args| args.advertise = Some(":7400".into())).contains("HOST:PORT"));
        assert!(error(|args| args.advertise = Some("host:0".into())).contains("real port"));
        assert!(error(|args| args.shutdown_timeout = Some(u64::MAX)).contains("86400"));
        assert!(
            error(|args| args.idle_timeout = Some(2_592_001)).contains("--idle-timeout 2592001: use at most")
        );
        assert!(error(|args| args.stall_timeout = Some(86_401)).contains("86400 seconds"));
        assert!(error(|args| args.slow_ms = Some(3_600_001)).contains("3600000 milliseconds"));
        assert!(error(|args| args.max_connections = Some(0)).contains("--max-connections 0: use 1 to"));
        let too_many = |args: &mut NodeArgs| (args.workers, args.max_connections) = (Some(2), Some(131_073));
        assert!(error(too_many).contains("1 to 131072"));
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
            args.resp = Some("a:3".into());
            args.hash_key = Some(HashKey::GUESSABLE);
            args.memory_limit = Some(ByteSize(3 << 20));
            args.workers = Some(3);
            args.max_connections = Some(9);
            args.idle_timeout = Some(8);
            args.stall_timeout = Some(0);
            args.slow_ms = Some(0);
            args.log_level = Some(LevelFilter::Warn);
            args.log_format = Some(LogFormat::Json);
        })
        .unwrap();
        assert_eq!(settings.tuning.slow, Some(Duration::ZERO), "0 is not the same as none");
        std::fs::write(&path, settings.to_toml()).unwrap();
        let again = resolve(|args| args.config = Some(path.clone())).unwrap();
        assert_eq!(again.to_toml(), settings.to_toml());
        assert_eq!(again.entries().len(), 16, "every setting has its line");
        assert_eq!(again.tuning, settings.tuning);
        let flag_wins = resolve(|args| {
            args.config = Some(path.clone());
            args.workers = Some(5);
        });
        assert_eq!(flag_wins.unwrap().workers, 5);
        std::fs::write(&path, "worker = 3\n").unwrap();
        let error = resolve(|args| args.config = Some(path.clone())).unwrap_err().to_string();
        assert!(error.contains("settings.toml") && error.contains("worker"), "{error}");
        assert!(!error.contains('\n'));
        for (text, word) in
            [("log-level = \"loud\"\n", "log-level: \"loud\""), ("log-format = \"xml\"\n", "json")]
        {
            std::fs::write(&path, text).unwrap();
            let error = resolve(|args| args.config = Some(path.clone())).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(matches!(resolve(|args| args.config = Some(path)), Err(ConfigError::File { .. })));
    }
}
