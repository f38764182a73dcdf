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

#[cfg(target_os = "linux")]
pub(crate) const COMPARE: &str = "\
Starts every server on free ports of 127.0.0.1, with one thread and nothing on
disk: the daemon for its own protocol, the daemon for RESP, every peer, and for
each protocol a limit loop, which answers with a fixed reply and looks nothing
up. All get the same requests, in rounds on fresh servers, one server after
another in a changing order. Servers run on one processor and the load on
another, where there are two.

What is measured in each round:
  overhead  (resident memory - that of the empty server - bytes of keys and
            values) / entries, after a fifth of the keys have been read
  CPU       user and system time of the server's process for each key: GET,
            SET and MGET of 100 keys, at 1 request unanswered on each of 50
            connections, and at 16 and 64 on each of 8. A connection sends its
            requests in one go and waits for all answers. Keys are drawn
            evenly, and all of them are there. Before SET is measured, half as
            many keys as there are have been overwritten
  latency   of GET in an open loop on 50 connections, at half of what the
            slowest server answers at pipeline 1, the same for all; counted
            from when a request was due
Each is asked in the way that suits it. Our daemon gets an MGET as its clients
send it, a GET for each key in one go, and its writes are named, so that retries
are not applied twice. memcached (1.6 or later) gets a GET as mg, for it answers
pipelined ones together, which it does not with get; its MGET is a get of 100
keys.

The table has median, lowest and highest of the rounds. A ratio is taken round
by round, and its median is shown: to the peer with the lowest median, and to
the limit loop of the same protocol. A miss, a refusal or a server that ends
makes the comparison fail. The default takes less than ten minutes on two
cores.

JSON
  settings, date, machine, left_out [{name, why}]
  servers   [{name, role (ours, peer, limit), protocol, version, program}]
  overhead  [{entries, overhead_bytes_per_entry}]
  cells     [{op, pipeline, connections, keys_per_request, cpu_ns_per_key,
            keys_per_second [{name, median, lowest, highest, rounds}]}]
  open_loop {requests_per_second, connections, latency_us [{permille, …}]}
Figures are {best_peer, servers [{name, median, lowest, highest, rounds,
ratio_to_best_peer, ratio_to_limit}]}; what there is none of is null.

Settings come from flags, then the environment, then the TOML file that --config
names, then the defaults. Ctrl-C stops every server and ends without figures.

EXAMPLES
  dht-bench compare
  dht-bench compare --rounds 7 --json compare.json --svg compare.svg
  dht-bench compare --peers redis,old=/opt/redis-6/bin/redis-server
  dht-bench compare --keys 20000 --rounds 1 --seconds 0.05

EXIT STATUS
  0  done
  1  failed: a server did not start, ended, refused or missed
  2  wrong usage; nothing was started

Errors are one line on standard error that says what to do.

ENVIRONMENT
  DHT_CONFIG         stands in for --config
  DHT_COMPARE_KEYS, …  stand in for the other flags: each says which";

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
