//! The arguments of `dht-bench compare`, and what they come to together with environment, file and defaults.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::limits::{
    CELL_SECONDS_DEFAULT, CELL_SECONDS_MAX, KEY_BYTES_MAX, KEYS_DEFAULT, KEYS_FULL, KEYS_MAX, KEYS_MIN,
    ROUNDS_DEFAULT, ROUNDS_MAX, VALUE_BYTES_MAX, VALUE_BYTES_MIN,
};
use super::peer;
use super::source::Entries;
use crate::bench::settings::within;

/// What was set on one level; nothing where the next level decides.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct CompareGiven {
    /// Whom to compare with: redis, valkey, keydb and memcached by name, others as NAME=PATH of a program that is one
    /// of these. Those by name that are not installed are left out; '' leaves out all. [default: redis,memcached]
    #[arg(long, env = "DHT_COMPARE_PEERS", value_name = "NAME[=PATH][,…]")]
    peers: Option<String>,
    /// The daemon. [default: dhtd beside this program, or in PATH]
    #[arg(long, env = "DHT_COMPARE_DAEMON", value_name = "PATH")]
    daemon: Option<PathBuf>,
    /// Entries of every server, 1,000 to 1,000,000,000. Memory is measured at 1, 2, 3, 5, 10, 15 and 20 million on the
    /// way, and at the end. [default: 5000000]
    #[arg(long, env = "DHT_COMPARE_KEYS", value_name = "N", conflicts_with = "full")]
    keys: Option<u64>,
    /// The same as --keys 20000000.
    #[arg(long, env = "DHT_COMPARE_FULL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    full: Option<bool>,
    /// Bytes of every key, 1 to 250. [default: 16]
    #[arg(long, env = "DHT_COMPARE_KEY_SIZE", value_name = "B")]
    key_size: Option<usize>,
    /// Bytes of every value of the load, 2 to 4,096. SET overwrites with half to twice as many. [default: 32]
    #[arg(long, env = "DHT_COMPARE_VALUE_SIZE", value_name = "B")]
    value_size: Option<usize>,
    /// How often everything is measured, each time on fresh servers, 1 to 1,000. [default: 5]
    #[arg(long, env = "DHT_COMPARE_ROUNDS", value_name = "N")]
    rounds: Option<usize>,
    /// How long each load is measured on each server, seconds, 0.001 to 3,600; the open loop three times as long.
    /// [default: 0.4]
    #[arg(long, env = "DHT_COMPARE_SECONDS", value_name = "S")]
    seconds: Option<f64>,
    /// Same seed, same keys in the same order. [default: 1]
    #[arg(long, env = "DHT_COMPARE_SEED", value_name = "X")]
    seed: Option<u64>,
    /// Writes all figures as JSON to a file, or with - to standard output (the table then goes to standard error).
    #[arg(long, env = "DHT_COMPARE_JSON", value_name = "FILE|-")]
    json: Option<String>,
    /// Draws the figures as bars, an SVG file.
    #[arg(long, env = "DHT_COMPARE_SVG", value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// The settings in force.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct CompareSettings {
    pub(crate) peers: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) daemon: Option<PathBuf>,
    pub(crate) keys: u64,
    pub(crate) key_size: usize,
    pub(crate) value_size: usize,
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
    pub(crate) seed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) json: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) svg: Option<PathBuf>,
}

impl CompareSettings {
    /// Flags and environment before the file, the file before the defaults.
    ///
    /// # Errors
    /// What makes no sense, in a sentence for people.
    pub(crate) fn resolve(given: CompareGiven, file: CompareGiven) -> Result<CompareSettings, String> {
        // How many and --full exclude each other, so they are decided on one level.
        let (keys, full) = match (given.keys, given.full) {
            (None, None) => (file.keys, file.full),
            of_flags => of_flags,
        };
        let keys = match (keys, full) {
            (Some(_), Some(true)) => return Err("give --keys or --full, not both".to_owned()),
            (None, Some(true)) => KEYS_FULL,
            (keys, _) => keys.unwrap_or(KEYS_DEFAULT),
        };
        let settings = CompareSettings {
            peers: given.peers.or(file.peers).unwrap_or_else(|| "redis,memcached".to_owned()),
            daemon: given.daemon.or(file.daemon),
            keys,
            key_size: given.key_size.or(file.key_size).unwrap_or(16),
            value_size: given.value_size.or(file.value_size).unwrap_or(32),
            rounds: given.rounds.or(file.rounds).unwrap_or(ROUNDS_DEFAULT),
            seconds: given.seconds.or(file.seconds).unwrap_or(CELL_SECONDS_DEFAULT),
            seed: given.seed.or(file.seed).unwrap_or(1),
            json: given.json.or(file.json),
            svg: given.svg.or(file.svg),
        };
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), String> {
        peer::parse(&self.peers)?;
        within("--keys", self.keys, KEYS_MIN, KEYS_MAX)?;
        within("--key-size", self.key_size, 1, KEY_BYTES_MAX)?;
        within("--value-size", self.value_size, VALUE_BYTES_MIN, VALUE_BYTES_MAX)?;
        within("--rounds", self.rounds, 1, ROUNDS_MAX)?;
        within("--seconds", self.seconds, 0.001, CELL_SECONDS_MAX)?;
        self.entries().map(|_| ())
    }

    /// The entries to store.
    ///
    /// # Errors
    /// So many keys cannot all differ in so many bytes.
    pub(crate) fn entries(&self) -> Result<Entries, String> {
        Entries::new(self.keys, self.key_size, self.value_size, self.seed).ok_or_else(|| {
            format!(
                "{} keys do not all differ in {} bytes: raise --key-size or lower --keys",
                self.keys, self.key_size
            )
        })
    }

    /// How long each cell is measured.
    pub(crate) fn cell_time(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        given: CompareGiven,
    }

    fn resolve_with(line: &str, file: &str) -> Result<CompareSettings, String> {
        let words = ["compare"].into_iter().chain(line.split_ascii_whitespace());
        let given = Line::try_parse_from(words).map_err(|error| error.to_string())?.given;
        CompareSettings::resolve(given, toml::from_str(file).unwrap())
    }

    #[test]
    fn flags_go_before_the_file_and_the_file_before_the_defaults() {
        let settings = resolve_with("--rounds 7", "rounds = 3\nfull = true\npeers = ''").unwrap();
        assert_eq!((settings.rounds, settings.keys, settings.peers.as_str()), (7, 20_000_000, ""));
        let settings = resolve_with("--keys 5000", "full = true").unwrap();
        assert_eq!(settings.keys, 5_000, "decided by the flag alone");
        assert_eq!(resolve_with("--full", "keys = 5000").unwrap().keys, 20_000_000);
        assert_eq!(resolve_with("--full=false", "").unwrap().keys, 5_000_000);
        assert!(toml::from_str::<CompareGiven>("round = 5").is_err());
    }

    #[test]
    fn what_is_printed_reads_back() {
        for line in ["", "--full --json - --svg a.svg", "--keys 5000 --daemon /bin/dhtd --peers memcached"] {
            let settings = resolve_with(line, "").unwrap();
            let text = toml::to_string(&settings).unwrap();
            assert_eq!(resolve_with("", &text), Ok(settings), "{text}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (line, part) in [
            ("--keys 999", "--keys is 999"),
            ("--keys 5000 --full", "cannot be used with"),
            ("--key-size 251", "--key-size is 251"),
            ("--key-size 3", "raise --key-size"),
            ("--value-size 1", "--value-size is 1"),
            ("--rounds 0", "--rounds is 0"),
            ("--seconds NaN", "--seconds is NaN"),
            ("--peers etcd", "etcd is no known peer"),
        ] {
            let error = resolve_with(line, "").unwrap_err();
            assert!(error.contains(part), "{line}: {error}");
        }
        assert!(resolve_with("", "full = true\nkeys = 5000").unwrap_err().contains("not both"));
    }
}
