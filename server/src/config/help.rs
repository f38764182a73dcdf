//! What stands below the options in `--help`, as in a manual page.
//!
//! Lines have at most 80 characters, as many as the least terminal shows: what is longer is broken anywhere.

/// Below `-h` of a node.
pub(super) const SHORT: &str = "\
EXAMPLES:
  dhtd        a node on its own, on 127.0.0.1:7400
  dhtd dev    three nodes on this machine, to try things out
  dhtd --listen 10.0.0.1:7400 --members 10.0.0.1:7400,10.0.0.2:7400

--help says more of each option, and of environment, files, signals and exit
status.";

/// Below `--help` of a node.
pub(super) const NODE: &str = "\
ENVIRONMENT:
  Every option has a variable, shown beside it, that stands in for it: a flag
  goes before its variable, a variable before the file, the file before the
  default. DHT_LOG is that of --log-level.

FILES:
  The file of --config holds settings in TOML, each under the name of its flag;
  `dhtd --print-config` prints one. The members are a list there:
  members = [\"10.0.0.1:7400\", \"10.0.0.2:7400\"]. A name that is no setting is an
  error. A node writes no file.

SIGNALS:
  SIGTERM, SIGINT  Stop: take no new connection, answer what was sent, let the
                   answers go out for --shutdown-timeout.
  SIGHUP           Read the file of --config again. In force at once:
                   max-connections, idle-timeout, stall-timeout, slow-ms,
                   shutdown-timeout, memory-limit, log-level, log-format.
                   The log says what has changed, and names what needs a
                   restart. A file with a mistake changes nothing. Lower
                   limits close no connection and drop no entry.

EXIT STATUS:
  0  It stopped as asked, or printed what was asked for.
  1  It failed: a port in use, a member with other settings, no thread to be
     had.
  2  Wrong usage, or a setting that cannot work. One line on standard error says
     what to do.

EXAMPLES:
  dhtd
      A node on its own, on 127.0.0.1:7400.
  dhtd --listen 10.0.0.1:7400 --members 10.0.0.1:7400,10.0.0.2:7400
      One of two members.
  dhtd --resp 127.0.0.1:6400
      With a port for Redis' clients: redis-cli -p 6400.
  dhtd --memory-limit 4GiB --max-connections 20000 --slow-ms 5 --log-format json
      Bounded, with a slow log, for a collector of logs.
  dhtd --http 127.0.0.1:7500
      Watched on port 7500.
  dhtd --print-config > dhtd.toml; dhtd --config dhtd.toml
      Settings in a file; after a change of it: kill -HUP and the process id.";

/// Below `dhtd dev -h`.
pub(super) const SHORT_DEV: &str = "\
EXAMPLES:
  dhtd dev
  dhtd dev --nodes 5 --base-port 0 --memory-limit 1GiB

--help says more, also of environment, signals and exit status.";

/// Below `dhtd dev --help`.
pub(super) const DEV: &str = "\
ENVIRONMENT:
  DHT_LOG and DHT_LOG_FORMAT stand in for --log-level and --log-format. The
  nodes take DHT_WORKERS, DHT_PARTITIONS, DHT_HASH_KEY, DHT_MAX_CONNECTIONS,
  DHT_IDLE_TIMEOUT, DHT_STALL_TIMEOUT, DHT_SLOW_MS and DHT_SHUTDOWN_TIMEOUT as
  `dhtd node` does. What else is meant for a node by itself, DHT_LISTEN for one,
  they do not see.

FILES:
  None.

SIGNALS:
  SIGINT (Ctrl-C), SIGTERM, SIGHUP
      Stop all nodes. SIGHUP is what a terminal sends that closes; there is no
      file to read again. However it ends, even by SIGKILL, the nodes stop.

EXIT STATUS:
  0  It was stopped.
  1  A node did not start, or ended by itself.
  2  Wrong usage.

EXAMPLES:
  dhtd dev
      Three nodes on ports 7400 to 7402.
  dhtd dev --nodes 5 --base-port 0 --memory-limit 1GiB
      Five nodes on free ports, with a gibibyte together.
  dhtd dev --log-level info
      With what the nodes have to say.";

/// Below `dhtd completions --help`.
pub(super) const COMPLETIONS: &str = "\
ENVIRONMENT, FILES, SIGNALS:
  None is looked at.

EXIT STATUS:
  0  The script was printed.
  1  Standard output cannot be written to.
  2  Wrong usage, or a shell that is not known.

EXAMPLES:
  source <(dhtd completions bash)          in this shell, or in ~/.bashrc
  dhtd completions zsh > ~/.zfunc/_dhtd    a folder of zsh's fpath
  dhtd completions fish > ~/.config/fish/completions/dhtd.fish";

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory};

    use super::super::args::Args;

    #[test]
    fn every_line_fits_the_least_terminal() {
        const COLUMNS: usize = 80;
        let program = Args::command();
        let commands: Vec<&Command> = [&program].into_iter().chain(program.get_subcommands()).collect();
        for command in commands {
            let name = command.get_name();
            let below = [command.get_after_help(), command.get_after_long_help()]
                .into_iter()
                .flatten()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n");
            for line in below.lines() {
                assert!(line.chars().count() <= COLUMNS, "{name}: {line}");
            }
        }
    }
}
