//! Reading the configuration file again: what it says now against what is in force. Nothing is applied in here.

use std::fs;
use std::path::Path;

use crate::config::{ConfigError, NodeArgs, NodeSettings};

/// Settings that a running daemon takes; any other needs a restart.
const LIVE: [&str; 8] = [
    "max-connections",
    "idle-timeout",
    "stall-timeout",
    "slow-ms",
    "shutdown-timeout",
    "memory-limit",
    "log-level",
    "log-format",
];
/// Settings whose value is nobody's business.
const SECRET: [&str; 1] = ["hash-key"];
/// Stands for a value where there is none.
const NOT_SET: &str = "none";

/// A setting that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its name.
    pub name: &'static str,
    /// The value in force so far.
    pub from: String,
    /// The value that is asked for now.
    pub to: String,
    /// Whether it takes a restart.
    pub needs_restart: bool,
}

/// What was given at the start besides the file, and what is in force.
#[derive(Debug)]
pub struct Reloader {
    /// Flags and environment: they go before the file as they did at the start.
    args: NodeArgs,
    in_force: NodeSettings,
}

impl Reloader {
    /// `in_force` came of `args` and the file that they name.
    #[must_use]
    pub fn new(args: NodeArgs, in_force: NodeSettings) -> Reloader {
        Reloader { args, in_force }
    }

    /// The file; `None`: there is none to read.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.args.config.as_deref()
    }

    /// The settings in force.
    #[must_use]
    pub fn in_force(&self) -> &NodeSettings {
        &self.in_force
    }

    /// Reads the file again. What can change is in force from now on as far as [`Reloader::in_force`] goes; what
    /// cannot is told of each time until the restart. There are never to be more connections than `connections_bound`.
    ///
    /// # Errors
    /// As at the start, and when the file is none that can be read twice; everything stays as it was.
    pub fn reread(&mut self, connections_bound: usize) -> Result<Vec<Change>, ConfigError> {
        self.args.config.as_deref().map_or(Ok(()), check_readable_twice)?;
        let mut asked = NodeSettings::resolve(self.args.clone())?;
        asked.tuning.connections_max =
            asked.max_connections.map_or(connections_bound, |asked| asked.min(connections_bound));
        let changes = changes_between(&self.in_force.entries(), &asked.entries());
        let NodeSettings { memory_limit, max_connections, tuning, log_level, log_format, .. } = asked;
        let old = self.in_force.clone();
        self.in_force = NodeSettings { memory_limit, max_connections, tuning, log_level, log_format, ..old };
        Ok(changes)
    }
}

/// A pipe, as of a shell's `--config <(command)`, is empty when it is read again, which would mean every default, or it
/// keeps its reader waiting, deaf to SIGTERM.
fn check_readable_twice(path: &Path) -> Result<(), ConfigError> {
    let error = |why: String| Err(ConfigError::File { path: path.to_owned(), why });
    match fs::metadata(path) {
        Ok(found) if found.is_file() => Ok(()),
        Ok(_) => error("only a plain file can be read again".to_owned()),
        Err(why) => error(why.to_string()),
    }
}

type Entries = [(&'static str, String)];

fn changes_between(old: &Entries, new: &Entries) -> Vec<Change> {
    let gone = old.iter().filter(|(name, _)| value_of(new, name).is_none());
    let names = new.iter().chain(gone).map(|(name, _)| *name);
    names.filter_map(|name| change_of(name, value_of(old, name), value_of(new, name))).collect()
}

fn change_of(name: &'static str, from: Option<&str>, to: Option<&str>) -> Option<Change> {
    if from == to {
        return None;
    }
    let shown = |value: Option<&str>| match value {
        None => NOT_SET.to_owned(),
        Some(_) if SECRET.contains(&name) => "secret".to_owned(),
        Some(text) => text.trim_matches('"').to_owned(),
    };
    Some(Change { name, from: shown(from), to: shown(to), needs_restart: !LIVE.contains(&name) })
}

fn value_of<'a>(entries: &'a Entries, name: &str) -> Option<&'a str> {
    entries.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;
    use std::time::Duration;

    #[test]
    fn a_file_read_again_story() {
        let dir = std::env::temp_dir().join(format!("dhtd-reload-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("dhtd.toml");
        let args = NodeArgs { config: Some(path.clone()), idle_timeout: Some(5), ..NodeArgs::default() };
        let key = |digit: &str| format!("hash-key = \"{}\"\n", digit.repeat(32));
        fs::write(&path, format!("workers = 1\nslow-ms = 3\n{}", key("0"))).unwrap();
        let settings = NodeSettings::resolve(args.clone()).unwrap();
        let mut reloader = Reloader::new(args, settings);
        assert_eq!(reloader.path(), Some(path.as_path()));
        let bound = reloader.in_force().tuning.connections_max;
        assert_eq!(reloader.reread(bound), Ok(vec![]), "nothing has changed");

        fs::write(&path, format!("workers = 2\nidle-timeout = 9\nlog-level = \"warn\"\n{}", key("1")))
            .unwrap();
        let change = |name, from: &str, to: &str, needs_restart| Change {
            name,
            from: from.into(),
            to: to.into(),
            needs_restart,
        };
        assert_eq!(
            reloader.reread(bound).unwrap(),
            [
                change("workers", "1", "2", true),
                change("hash-key", "secret", "secret", true),
                change("log-level", "info", "warn", false),
                change("slow-ms", "3", "none", false),
            ],
            "the flag --idle-timeout goes before the file"
        );
        assert_eq!(reloader.in_force().workers, 1, "until the restart");
        assert_eq!(reloader.in_force().tuning.slow, None);
        assert!(reloader.reread(bound).unwrap().iter().any(|change| change.name == "workers"), "told again");

        fs::write(&path, "workers = 1\nslow-ms = x\n").unwrap();
        assert!(matches!(reloader.reread(bound), Err(ConfigError::File { .. })));
        assert_eq!(reloader.in_force().log_level, log::LevelFilter::Warn, "the old settings stay");
        fs::write(&path, "workers = 1\nslow-ms = 0\n").unwrap();
        let _ = reloader.reread(7).unwrap();
        assert_eq!(reloader.in_force().tuning.slow, Some(Duration::ZERO));
        assert_eq!(reloader.in_force().tuning.connections_max, 7, "no more than the process can have");
        fs::remove_dir_all(&dir).unwrap();
    }

    /// A pipe was read as an empty file, which put every default in force, and a pipe without a writer kept the daemon
    /// from ever looking at another signal.
    #[test]
    fn a_pipe_is_not_read_again() {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(writer);
        let settings = NodeSettings::resolve(NodeArgs { slow_ms: Some(3), ..NodeArgs::default() }).unwrap();
        let path = format!("/dev/fd/{}", reader.as_raw_fd());
        let args = NodeArgs { config: Some(path.into()), ..NodeArgs::default() };
        let mut reloader = Reloader::new(args, settings);
        let error = reloader.reread(1).unwrap_err().to_string();
        assert!(error.contains("plain file"), "{error}");
        assert_eq!(reloader.in_force().tuning.slow, Some(Duration::from_millis(3)));
    }

    #[test]
    fn every_live_setting_has_that_name() {
        let args = NodeArgs { slow_ms: Some(1), ..NodeArgs::default() };
        let entries = NodeSettings::resolve(args).unwrap().entries();
        for name in LIVE {
            assert!(value_of(&entries, name).is_some(), "{name}");
        }
    }
}
