//! The commands of `dht-bench`, the arguments of `dht-bench run`, and what they come to together with environment, file and defaults.

use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use dht_protocol::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use serde::{Deserialize, Serialize};

#[cfg(target_os = "linux")]
use crate::bench::compare::CompareGiven;
use crate::bench::keys::Keys;
use crate::bench::limits::{
    CONNECTIONS_MAX, INSERTS_MAX, KEYS_MAX, PIPELINE_BYTES_MAX, PIPELINE_MAX, RATE_MAX, THREADS_MAX,
};
use crate::bench::manual;
use crate::bench::source::Shares;

/// Puts load on a distributed hash table and measures it.
#[derive(Debug, Parser)]
#[command(name = "dht-bench", version, max_term_width = 110, disable_help_subcommand = true, after_long_help = manual::RUN)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub(crate) command: BenchCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Prints a script that teaches a shell to complete this program's arguments.
    #[command(after_long_help = manual::COMPLETIONS)]
    Completions {
        /// The shell.
        shell: Shell,
    },

    /// Runs one workload.
    #[command(after_long_help = manual::RUN)]
    Run {
        #[command(flatten)]
        given: Box<Given>,

        /// TOML file of settings; its keys are the names of these flags.
        #[arg(long, env = "DHT_CONFIG", value_name = "FILE")]
        config: Option<PathBuf>,

        /// Prints the settings in force as TOML and ends.
        #[arg(long)]
        print_config: bool,
    },

    /// Compares the daemon with Redis, memcached and their kin.
    #[cfg(target_os = "linux")]
    #[command(after_long_help = manual::COMPARE)]
    Compare {
        #[command(flatten)]
        given: Box<CompareGiven>,

        /// TOML file of settings; its keys are the names of these flags.
        #[arg(long, env = "DHT_CONFIG", value_name = "FILE")]
        config: Option<PathBuf>,

        /// Prints the settings in force as TOML and ends.
        #[arg(long)]
        print_config: bool,
    },
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Workload {
    /// Inserts each key once, in random order, and measures that.
    Load,
    /// Loads, then measures reads and overwrites.
    Mixed,
    /// Loads, then measures YCSB's update-heavy mix.
    A,
    /// Loads, then measures YCSB's read-mostly mix.
    B,
    /// Loads, then measures reads only.
    C,
    /// Loads, then measures reads of the latest keys while others are inserted.
    D,
    /// Loads, then measures short scans while keys are inserted.
    E,
    /// Loads, then measures reads and read-modify-writes.
    F,
}

impl Workload {
    /// How often each kind of operation comes; `read_share` matters to `mixed` alone.
    pub(crate) fn shares(self, read_share: Option<f64>) -> Shares {
        let none = Shares::default();
        match self {
            Workload::Load => Shares { insert: 1.0, ..none },
            Workload::Mixed => {
                let read = read_share.unwrap_or(READ_SHARE_DEFAULT);
                Shares { read, update: 1.0 - read, ..none }
            }
            Workload::A => Shares { read: 0.5, update: 0.5, ..none },
            Workload::B => Shares { read: 0.95, update: 0.05, ..none },
            Workload::C => Shares { read: 1.0, ..none },
            Workload::D => Shares { read: 0.95, insert: 0.05, ..none },
            Workload::E => Shares { scan: 0.95, insert: 0.05, ..none },
            Workload::F => Shares { read: 0.5, read_modify_write: 0.5, ..none },
        }
    }

    fn distribution(self) -> Distribution {
        match self {
            Workload::Load | Workload::Mixed => Distribution::Uniform,
            Workload::A | Workload::B | Workload::C | Workload::E | Workload::F => Distribution::Zipfian,
            Workload::D => Distribution::Latest,
        }
    }

    /// Whether keys are inserted besides those of the load.
    fn inserts(self) -> bool {
        matches!(self, Workload::D | Workload::E)
    }
}

/// Share of reads in the mixed workload.
const READ_SHARE_DEFAULT: f64 = 0.95;

/// How keys are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Distribution {
    /// Each as often as any other.
    Uniform,
    /// As YCSB does, with its constant 0.99: few keys very often, scattered over all.
    Zipfian,
    /// Zipfian over recency: the later a key was inserted, the more often.
    Latest,
}

/// What was set on one level; nothing where the next level decides.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Given {
    /// One or more nodes of the cluster; the others are found through them. [default: 127.0.0.1:7400]
    #[arg(long, env = "DHT_SERVERS", value_name = "HOST:PORT[,…]")]
    servers: Option<String>,
    /// What to do. [default: mixed]
    #[arg(long, env = "DHT_BENCH_WORKLOAD", value_enum)]
    workload: Option<Workload>,
    /// Share of reads in the mixed workload, 0 to 1. [default: 0.95]
    #[arg(long, env = "DHT_BENCH_READ_SHARE", value_name = "SHARE")]
    read_share: Option<f64>,
    /// How many keys there are, 1 to 2^48. [default: 100000]
    #[arg(long, env = "DHT_BENCH_KEYS", value_name = "N")]
    keys: Option<u64>,
    /// Bytes of every key, 1 to 65,535. [default: 16]
    #[arg(long, env = "DHT_BENCH_KEY_SIZE", value_name = "B")]
    key_size: Option<usize>,
    /// Bytes of every value, 0 to 16,777,216. [default: 32]
    #[arg(long, env = "DHT_BENCH_VALUE_SIZE", value_name = "B")]
    value_size: Option<usize>,
    /// Connections to every node, 1 to 4,096. [default: 8]
    #[arg(long, env = "DHT_BENCH_CONNECTIONS", value_name = "C")]
    connections: Option<usize>,
    /// Unanswered requests on every connection, 1 to 65,536. [default: 16]
    #[arg(long, env = "DHT_BENCH_PIPELINE", value_name = "D")]
    pipeline: Option<usize>,
    /// Threads, among which the connections are shared, 1 to 256. [default: cores, but not more than connections]
    #[arg(long, env = "DHT_BENCH_THREADS", value_name = "T")]
    threads: Option<usize>,
    /// How long it is measured, after the load, seconds. [default: 10]
    #[arg(long, env = "DHT_BENCH_SECONDS", value_name = "S", conflicts_with = "ops")]
    seconds: Option<f64>,
    /// How many operations are measured after the load, instead of how long.
    #[arg(long, env = "DHT_BENCH_OPS", value_name = "N")]
    ops: Option<u64>,
    /// Operations a second in all (open loop), 0.001 to 1,000,000,000: each has its time on a fixed schedule and its latency counts from
    /// then, however busy its connection is. [default: as many as the connections take]
    #[arg(long, env = "DHT_BENCH_RATE", value_name = "R")]
    rate: Option<f64>,
    /// How keys are chosen. [default: that of the workload; uniform for mixed]
    #[arg(long, env = "DHT_BENCH_DISTRIBUTION", value_enum)]
    distribution: Option<Distribution>,
    /// How long it runs before it is measured, seconds. [default: 0]
    #[arg(long, env = "DHT_BENCH_WARM_UP", value_name = "S")]
    warm_up: Option<f64>,
    /// Same seed, same operations. [default: 1]
    #[arg(long, env = "DHT_BENCH_SEED", value_name = "X")]
    seed: Option<u64>,
    /// Writes settings and figures as JSON to a file, or with - to standard output (the table then goes to
    /// standard error).
    #[arg(long, env = "DHT_BENCH_JSON", value_name = "FILE|-")]
    json: Option<String>,
    /// Does not load first: the keys are there.
    #[arg(long, env = "DHT_BENCH_NO_LOAD", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    no_load: Option<bool>,
}

/// The settings in force.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Settings {
    pub(crate) servers: String,
    pub(crate) workload: Workload,
    pub(crate) keys: u64,
    pub(crate) key_size: usize,
    pub(crate) value_size: usize,
    pub(crate) connections: usize,
    pub(crate) pipeline: usize,
    pub(crate) threads: usize,
    pub(crate) seed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) json: Option<String>,
    /// What `load` does not have.
    #[serde(flatten)]
    pub(crate) mix: Option<Mix>,
}

/// Settings of a mix of operations.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Mix {
    /// For `mixed` alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) read_share: Option<f64>,
    pub(crate) distribution: Distribution,
    pub(crate) warm_up: f64,
    pub(crate) no_load: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ops: Option<u64>,
}

impl Settings {
    /// Flags and environment before the file, the file before the defaults.
    ///
    /// # Errors
    /// What makes no sense, in a sentence for people.
    pub(crate) fn resolve(given: Given, file: Given) -> Result<Settings, String> {
        // How long and how many exclude each other, so they are decided on one level.
        let (seconds, ops) = match (given.seconds, given.ops) {
            (None, None) => (file.seconds, file.ops),
            of_flags => of_flags,
        };
        let workload = given.workload.or(file.workload).unwrap_or(Workload::Mixed);
        let only_mixed = [
            ("--read-share", given.read_share.or(file.read_share).is_some()),
            ("--seconds", seconds.is_some()),
            ("--ops", ops.is_some()),
            ("--distribution", given.distribution.or(file.distribution).is_some()),
            ("--warm-up", given.warm_up.or(file.warm_up).is_some()),
            ("--no-load", given.no_load.or(file.no_load).is_some()),
        ];
        let mix = match workload {
            Workload::Load => match only_mixed.iter().find(|(_, set)| *set) {
                Some((name, _)) => return Err(format!("{name} has no meaning with --workload load")),
                None => None,
            },
            other => Some(Mix {
                read_share: read_share_of(other, given.read_share.or(file.read_share))?,
                distribution: given.distribution.or(file.distribution).unwrap_or(other.distribution()),
                warm_up: given.warm_up.or(file.warm_up).unwrap_or(0.0),
                no_load: given.no_load.or(file.no_load).unwrap_or(false),
                seconds: if ops.is_none() { seconds.or(Some(10.0)) } else { seconds },
                ops,
            }),
        };
        let connections = given.connections.or(file.connections).unwrap_or(8);
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let settings = Settings {
            servers: given.servers.or(file.servers).unwrap_or_else(|| "127.0.0.1:7400".to_owned()),
            workload,
            keys: given.keys.or(file.keys).unwrap_or(100_000),
            key_size: given.key_size.or(file.key_size).unwrap_or(16),
            value_size: given.value_size.or(file.value_size).unwrap_or(32),
            connections,
            pipeline: given.pipeline.or(file.pipeline).unwrap_or(16),
            threads: given.threads.or(file.threads).unwrap_or(cores.min(connections)),
            seed: given.seed.or(file.seed).unwrap_or(1),
            rate: given.rate.or(file.rate),
            json: given.json.or(file.json),
            mix,
        };
        settings.check()?;
        Ok(settings)
    }

    /// Most keys that there can be in the course of the run.
    pub(crate) fn keys_most(&self) -> u64 {
        self.keys + if self.workload.inserts() { INSERTS_MAX } else { 0 }
    }

    fn check(&self) -> Result<(), String> {
        within("--keys", self.keys, 1, KEYS_MAX)?;
        within("--key-size", self.key_size, 1, KEY_BYTES_MAX)?;
        within("--value-size", self.value_size, 0, VALUE_BYTES_MAX)?;
        within("--connections", self.connections, 1, CONNECTIONS_MAX)?;
        within("--pipeline", self.pipeline, 1, PIPELINE_MAX)?;
        within("--threads", self.threads, 1, THREADS_MAX)?;
        if let Some(rate) = self.rate {
            within("--rate", rate, 0.001, RATE_MAX)?;
        }
        if self.threads > self.connections {
            return Err(format!(
                "{} threads cannot share {} connections: raise --connections or lower --threads",
                self.threads, self.connections
            ));
        }
        if Keys::new(self.keys_most(), self.key_size).is_none() {
            if self.workload.inserts() && Keys::new(self.keys, self.key_size).is_some() {
                return Err("the workload inserts keys besides --keys: raise --key-size".to_owned());
            }
            return Err(format!(
                "{} keys do not all differ in {} bytes: raise --key-size or lower --keys",
                self.keys, self.key_size
            ));
        }
        if self.pipeline * (self.key_size + self.value_size) > PIPELINE_BYTES_MAX {
            return Err("the requests of one connection exceed 256 MiB: lower --pipeline".to_owned());
        }
        self.mix.as_ref().map_or(Ok(()), Mix::check)
    }
}

impl Mix {
    fn check(&self) -> Result<(), String> {
        within("--read-share", self.read_share.unwrap_or(READ_SHARE_DEFAULT), 0.0, 1.0)?;
        within("--warm-up", self.warm_up, 0.0, DAYS_MAX)?;
        if let Some(seconds) = self.seconds {
            within("--seconds", seconds, 0.001, DAYS_MAX)?;
        }
        match (self.ops, self.seconds) {
            (Some(_), Some(_)) => Err("give --seconds or --ops, not both".to_owned()),
            (Some(ops), None) => within("--ops", ops, 1, u64::MAX),
            (None, _) => Ok(()),
        }
    }

    /// How long to run before measuring.
    pub(crate) fn warm_up(&self) -> Duration {
        Duration::from_secs_f64(self.warm_up)
    }

    /// How long to measure, unless a number of operations says when to end.
    pub(crate) fn measured(&self) -> Option<Duration> {
        self.seconds.map(Duration::from_secs_f64)
    }
}

fn read_share_of(workload: Workload, given: Option<f64>) -> Result<Option<f64>, String> {
    match (workload, given) {
        (Workload::Mixed, given) => Ok(Some(given.unwrap_or(READ_SHARE_DEFAULT))),
        (_, None) => Ok(None),
        (_, Some(_)) => Err("--read-share has a meaning with --workload mixed only".to_owned()),
    }
}

/// A hundred days, seconds.
const DAYS_MAX: f64 = 8_640_000.0;

pub(crate) fn within<T: Copy + PartialOrd + std::fmt::Display>(
    name: &str,
    number: T,
    min: T,
    max: T,
) -> Result<(), String> {
    if number >= min && number <= max {
        Ok(())
    } else {
        Err(format!("{name} is {number}: give a number from {min} to {max}"))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn given(line: &str) -> Given {
        let words = ["dht-bench", "run"].into_iter().chain(line.split_ascii_whitespace());
        match BenchArgs::try_parse_from(words).unwrap().command {
            BenchCommand::Run { given, .. } => *given,
            other => panic!("{other:?}"),
        }
    }

    fn resolve(line: &str) -> Result<Settings, String> {
        Settings::resolve(given(line), Given::default())
    }

    #[test]
    fn the_definition_is_sound() {
        BenchArgs::command().debug_assert();
    }

    #[test]
    fn flags_go_before_the_file_and_the_file_before_the_defaults() {
        let file: Given =
            toml::from_str("keys = 5\nseconds = 3.0\nno-load = true\nworkload = 'mixed'").unwrap();
        let settings = Settings::resolve(given("--keys 7 --ops 9"), file.clone()).unwrap();
        let mix = settings.mix.unwrap();
        assert_eq!((settings.keys, mix.ops, mix.seconds, mix.no_load), (7, Some(9), None, true));
        let settings = Settings::resolve(Given::default(), file).unwrap();
        assert_eq!((settings.keys, settings.mix.unwrap().seconds), (5, Some(3.0)));
        assert_eq!(resolve("").unwrap().mix.unwrap().seconds, Some(10.0));
        assert!(toml::from_str::<Given>("key = 5").is_err());
    }

    #[test]
    fn what_is_printed_reads_back() {
        for line in
            ["", "--ops 5 --json - --no-load", "--workload load --keys 3", "--workload d --rate 1000.5"]
        {
            let settings = resolve(line).unwrap();
            let text = toml::to_string(&settings).unwrap();
            let file = toml::from_str(&text).unwrap_or_else(|error| panic!("{text}\n{error}"));
            assert_eq!(Settings::resolve(Given::default(), file), Ok(settings), "{text}");
        }
    }

    #[test]
    fn each_workload_has_its_mix_and_its_distribution() {
        for (name, distribution, read) in [
            ("mixed", Distribution::Uniform, 0.95),
            ("a", Distribution::Zipfian, 0.5),
            ("b", Distribution::Zipfian, 0.95),
            ("c", Distribution::Zipfian, 1.0),
            ("d", Distribution::Latest, 0.95),
            ("e", Distribution::Zipfian, 0.0),
            ("f", Distribution::Zipfian, 0.5),
        ] {
            let settings = resolve(&format!("--workload {name}")).unwrap();
            let mix = settings.mix.unwrap();
            assert_eq!(mix.distribution, distribution, "{name}");
            let shares = settings.workload.shares(mix.read_share);
            assert!((shares.read - read).abs() < 1e-9, "{name}");
            let sum = shares.read + shares.update + shares.insert + shares.scan + shares.read_modify_write;
            assert!((sum - 1.0).abs() < 1e-9, "{name}");
            let other = resolve(&format!("--workload {name} --distribution uniform")).unwrap();
            assert_eq!(other.mix.unwrap().distribution, Distribution::Uniform, "{name}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (line, part) in [
            ("--workload load --seconds 5", "no meaning"),
            ("--workload load --no-load", "no meaning"),
            ("--workload a --read-share 0.5", "mixed only"),
            ("--workload e --key-size 5", "raise --key-size"),
            ("--keys 63 --key-size 1", "raise --key-size"),
            ("--threads 3 --connections 2", "raise --connections"),
            ("--read-share 1.1", "from 0 to 1"),
            ("--read-share NaN", "from 0 to 1"),
            ("--keys 0", "--keys is 0"),
            ("--rate 0", "--rate is 0"),
            ("--rate NaN", "--rate is NaN"),
            ("--value-size 16777216 --pipeline 100", "lower --pipeline"),
        ] {
            let error = resolve(line).unwrap_err();
            assert!(error.contains(part), "{line}: {error}");
        }
    }
}
