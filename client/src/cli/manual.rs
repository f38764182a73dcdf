//! What `--help` says of each command of `dht` below its options: notes, examples, exit status and environment, as in
//! a manual page. `-h` leaves it out.
//!
//! Lines have at most 80 characters, as many as the least terminal shows: what is longer is broken anywhere.

/// A command's manual: notes, examples, and when it exits with 1.
macro_rules! manual {
    ($notes:expr, $examples:literal, $failed:literal) => {
        concat!(
            $notes,
            "EXAMPLES\n",
            $examples,
            "\n\nEXIT STATUS\n  0  done\n  1  ",
            $failed,
            "\n  2  wrong usage; nothing was sent\n\n\
             Errors are one line on standard error that says what to do.\n\n\
             ENVIRONMENT\n  \
             DHT_SERVERS, DHT_TIMEOUT, DHT_CONFIG\n            \
             stand in for --servers, --timeout and --config\n  \
             DHT_LOG   what to log on standard error: off (default), error, warn, info,\n            \
             debug or trace"
        )
    };
}

/// Notes of the commands that read and write files.
macro_rules! formats {
    () => {
        "\
Formats, by the file's ending or --format:
  jsonl  (.jsonl, .ndjson) one JSON object a line
  csv    (.csv)            RFC 4180; the first line names the columns; lines end
                           in LF
  tsv    (.tsv)            the first line names the columns; nothing is quoted:
                           tab, newline, carriage return and backslash are
                           written \\t \\n \\r \\\\ (when read, a backslash before
                           anything else stands for itself)

Entries have the columns or members key, type and value. Types: text, int,
float, bool, json, and in base64 bytes, msgpack, user128 to user255. Text that
is no UTF-8, and JSON that is none or (in JSON Lines) spreads over lines, is in
base64 too, as text+base64 and json+base64. A key that is no UTF-8 is the member
key_base64 in JSON Lines, and stands in CSV and TSV as its bytes are.

"
    };
}

pub(crate) const DHT: &str = manual!(
    "\
Settings come from flags, then the environment, then the TOML file that --config
names (servers = \"…\", timeout = \"5s\"), then the defaults. 'dht COMMAND --help'
says more of each.

",
    "  dht put greeting 'hello, world'          store text
  dht put answer 42 --type int             store a number
  dht get greeting                         print the value
  dht get greeting --json                  print key, type, version and value
  dht mget one two three                   print many values, a line each
  dht mput pairs.txt                       store lines of key, tab, value
  dht incr visits                          count, from 0
  dht cas answer \"$VERSION\" 43 --type int  write only if nobody else did
  dht scan --prefix user: --limit 10       list entries
  dht import packages.tsv --key package    load a file
  dht --servers db1:7400,db2:7400 stats    ask another cluster",
    "failed, or there is no such key"
);

pub(crate) const PUT: &str = manual!(
    "\
A value that was there is replaced, its type too. Prints nothing without
--print-version. Keys have 1 to 65,535 bytes, values up to 16 MiB.

",
    "  dht put greeting 'hello, world'
  dht put offset --type int -- -5
  dht put settings '{\"colour\":\"blue\"}' --type json
  version=$(dht put answer 42 --type int --print-version)",
    "failed; the message says whether the write may have been applied"
);

pub(crate) const GET: &str = manual!(
    "",
    "  dht get greeting
  dht get greeting --json
      {\"key\":\"greeting\",\"type\":\"text\",\"version\":…,\"value\":\"hello, world\"}",
    "failed, or there is no such key; nothing is printed on standard
     output then"
);

pub(crate) const DEL: &str = manual!(
    "",
    "  dht del greeting answer",
    "failed, or a key was missing; the others are removed all the same"
);

pub(crate) const MGET: &str = manual!(
    "\
Tab, newline, carriage return and backslash are shown as \\t \\n \\r \\\\, other
control characters and bytes that are no UTF-8 as \\xNN.

",
    "  dht mget one two three
  dht mget $(cat keys.txt)",
    "a key was missing or failed; it is named on standard error, the others
     are printed"
);

pub(crate) const MPUT: &str = manual!(
    "\
Everything behind the first tab is the value. In keys and values, tab, newline,
carriage return and backslash are written \\t \\n \\r \\\\; a backslash before
anything else stands for itself. A key that stands twice keeps its last value. A
line that cannot be read or stored is named on standard error and passed over.
For tables with a header line and for JSON, see `dht import`.

",
    "  printf 'one\\t1\\ntwo\\t2\\n' | dht mput - --type int
  dht mput pairs.txt",
    "failed, or a line was passed over"
);

pub(crate) const MDEL: &str = manual!(
    "",
    "  dht mdel one two three
  dht mdel --file keys.txt",
    "a key was missing or failed; it is named on standard error, the others
     are removed"
);

pub(crate) const INCR: &str = manual!(
    "",
    "  dht incr visits          1, then 2, …
  dht incr stock -12       down by 12",
    "failed, or the value is no whole number, or the sum leaves 64 bits: then
     nothing changed"
);

pub(crate) const CAS: &str = manual!(
    "",
    "  dht cas lock 0 me                            only if there is no such key
  version=$(dht put answer 42 --type int --print-version)
  dht cas answer \"$version\" 43 --type int     only if it is still that 42",
    "failed, or the entry has another version: nothing is written, and that one
     is named on standard error"
);

pub(crate) const SCAN: &str = manual!(
    "\
Tab, newline, carriage return and backslash are shown as \\t \\n \\r \\\\, other
control characters and bytes that are no UTF-8 as \\xNN. A key that is there from
start to end comes exactly once; one that is written or deleted meanwhile comes
once or not at all.

",
    "  dht scan --prefix user: --limit 10
  dht scan --json > entries.jsonl",
    "failed; what was printed until then is right, but not all"
);

pub(crate) const IMPORT: &str = manual!(
    formats!(),
    "  dht import packages.tsv --key package
      A table: rows become JSON objects.
  dht import entries.jsonl
      What 'dht export entries.jsonl' wrote.
  zcat log.csv.gz | dht import - --format csv
      From a pipe, by its first column.",
    "failed, or a line was passed over. 'stopped at line N': the cluster failed;
     import the file again, rows that are there already are overwritten"
);

pub(crate) const EXPORT: &str = manual!(
    formats!(),
    "  dht export entries.jsonl
      Everything, types included.
  dht export cities.tsv --columns city,country
      Members of JSON objects as a table.
  dht export - --format csv | gzip > entries.csv.gz
      To a pipe.",
    "failed, and no file appears; or an entry was passed over"
);

pub(crate) const MAP: &str = manual!(
    "",
    "  dht map          a line a node, as in
                   127.0.0.1:7400  1366  33402  1603296",
    "a node did not answer; its keys and bytes are then a dash"
);

pub(crate) const STATS: &str = manual!(
    "\
A total is the sum over the nodes; of names that end in _max or in a percentile
as _p99, the greatest. Names that end in _bytes count bytes, in _ms
milliseconds; those with _ns_ in them nanoseconds.

Tables grow and entries are moved together in steps, each under the lock of one
partition: growth_ with writes, compaction_ with writes, maintenance_ in the
background. Of each kind there are _steps, the most slots and bytes that one
step touched and moved (_slots_max, at most 1,024; _bytes_max, at most 65,536),
and the processor time of one (_cpu_ns_p50, _p99, _p9999 for 99.99 in 100, and
_max), taken of one step in 4, of compaction one in 64 (_timed_steps).
step_slots_max and step_bytes_max are those of a whole operation.

With --watch, a counter that only rises is followed by its rate since the round
before, as in \"requests_get 5000 312.5/s\". A terminal is cleared between
rounds; anywhere else an empty line ends each. Ctrl-C ends it with exit status
0.

",
    "  dht stats
  dht stats --watch                 every second
  dht stats --watch 5 --count 12    for a minute",
    "a node did not answer (with --watch, in the last round)"
);

pub(crate) const PING: &str = manual!(
    "\
Prints a line a node: address, tab, ok, tab, milliseconds. All nodes are asked
at once.

",
    "  dht ping
  dht ping --timeout 500ms --servers db1:7400",
    "a node did not answer; it is named on standard error"
);

pub(crate) const COMPLETIONS: &str = manual!(
    "",
    "  source <(dht completions bash)         in this shell, or in ~/.bashrc
  dht completions zsh > ~/.zfunc/_dht    a folder of zsh's fpath
  dht completions fish > ~/.config/fish/completions/dht.fish",
    "the script cannot be written"
);

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
            let below =
                command.get_after_long_help().unwrap_or_else(|| panic!("{name} has none")).to_string();
            for line in below.lines() {
                assert!(line.chars().count() <= COLUMNS, "{name}: {line}");
            }
        }
    }
}
