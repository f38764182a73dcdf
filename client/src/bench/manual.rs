//! What `--help` says of `dht-bench` below its options, as in a manual page. `-h` leaves it out.
//!
//! Lines have at most 80 characters, as many as the least terminal shows: what is longer is broken anywhere.

pub(crate) const RUN: &str = "\
Workloads a to f are the core workloads of YCSB (Cooper et al., SoCC 2010):
  a  50 % reads, 50 % updates             zipfian
  b  95 % reads, 5 % updates              zipfian
  c  reads only                           zipfian
  d  95 % reads, 5 % inserts              latest
  e  95 % scans, 5 % inserts              zipfian; a scan is one page of 1 to
                                          100 entries, from the place of a key
                                          in the order of hashes
  f  50 % reads, 50 % read-modify-writes  zipfian; GET, then PUT of the same
                                          key: one operation, whose latency
                                          spans both
A read that finds no key is a miss, as is a scan of no entry; neither is an
error.

Every connection keeps --pipeline requests unanswered (closed loop); a latency,
in microseconds, runs from the moment that a request is handed to its connection
to the moment that its answer is read. With --rate (open loop) it runs from the
moment that the operation was due, so that a daemon that is too slow shows in
latencies; what was due and not sent at the end is the backlog. Threads then
look for answers without sleeping when operations are due within a millisecond.

Settings come from flags, then the environment, then the TOML file that --config
names, then the defaults. Ctrl-C ends the run with the figures so far.

EXAMPLES
  dht-bench run --workload load --keys 10000000 --key-size 16 --value-size 32
  dht-bench run --keys 1000000 --distribution zipfian --json result.json
  dht-bench run --servers db1:7400 --no-load --ops 5000000 --read-share 0.5
  dht-bench run --workload a --keys 1000000 --seconds 30
  dht-bench run --workload b --rate 20000 --seconds 30 --warm-up 5

EXIT STATUS
  0  done
  1  failed; any request that failed counts
  2  wrong usage; nothing was sent

Errors are one line on standard error that says what to do.

ENVIRONMENT
  DHT_SERVERS, DHT_CONFIG    stand in for --servers and --config
  DHT_BENCH_KEYS, …          stand in for the other flags: each says which
  DHT_LOG   what to log on standard error: off (default), error, warn, info,
            debug or trace";

pub(crate) const COMPLETIONS: &str = "\
EXAMPLES
  source <(dht-bench completions bash)              in this shell, or ~/.bashrc
  dht-bench completions zsh > ~/.zfunc/_dht-bench   a folder of zsh's fpath
  dht-bench completions fish > ~/.config/fish/completions/dht-bench.fish

EXIT STATUS
  0  done
  1  the script cannot be written
  2  wrong usage";

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory};

    use super::super::settings::BenchArgs;

    #[test]
    fn every_line_fits_the_least_terminal() {
        const COLUMNS: usize = 80;
        let program = BenchArgs::command();
        let commands: Vec<&Command> = [&program].into_iter().chain(program.get_subcommands()).collect();
        for command in commands {
            let name = command.get_name();
            let below =
                command.get_after_long_help().unwrap_or_else(|| panic!("{name} has none")).to_string();
            for line in below.lines() {
                assert!(line.chars().count() <= COLUMNS, "{name}: {line}");
            }
        }
    }
}
