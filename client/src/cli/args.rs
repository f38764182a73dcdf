//! The arguments of `dht`, and the help that teaches them.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use dht_protocol::value::ValueType;

use crate::cli::format::Format;
use crate::cli::settings::{Given, Span};

// Lines of at most 95 characters: help is broken at 100 where there is no terminal.
const EXAMPLES: &str = "\
Examples:
  dht put greeting 'hello, world'          store text
  dht put answer 42 --type int             store a number
  dht get greeting                         print the value
  dht get greeting --json                  print key, type, version and value
  dht mget one two three                   print many values, key and value a line
  dht mput pairs.txt                       store lines of key, tab, value
  dht incr visits                          count, from 0
  dht cas answer \"$VERSION\" 43 --type int  write only if nobody else did
  dht scan --prefix user: --limit 10       list entries
  dht import packages.tsv --key package    load a file
  dht --servers db1:7400,db2:7400 stats    ask another cluster

Settings come from flags, then the environment (DHT_SERVERS, DHT_TIMEOUT), then the TOML file
that --config or DHT_CONFIG names (servers = \"…\", timeout = \"5s\"), then the defaults.
DHT_LOG=debug shows what the client does.

Exit codes: 0 done, 1 failed (or no such key), 2 wrong usage. Errors are one line on standard
error.";

const FORMATS: &str = "\
Formats, by the file's ending or --format:
  jsonl  (.jsonl, .ndjson) one JSON object a line
  csv    (.csv)            RFC 4180; the first line names the columns; lines end in LF
  tsv    (.tsv)            the first line names the columns; nothing is quoted: tab, newline,
                           carriage return and backslash are written \\t \\n \\r \\\\
                           (when read, a backslash before anything else stands for itself)

Entries have the columns or members key, type and value. Types: text, int, float, bool, json,
and in base64 bytes, msgpack, user128 to user255. Text that is no UTF-8, and JSON that is none
or (in JSON Lines) spreads over lines, is in base64 too, as text+base64 and json+base64. A key
that is no UTF-8 is the member key_base64 in JSON Lines, and stands in CSV and TSV as its bytes
are.";

/// Reads and writes a distributed hash table.
#[derive(Debug, Parser)]
#[command(name = "dht", version, after_help = EXAMPLES, max_term_width = 110, disable_help_subcommand = true)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) given: Given,

    /// TOML file of settings.
    #[arg(long, env = "DHT_CONFIG", global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Prints the settings in force as TOML and ends.
    #[arg(long, global = true)]
    pub(crate) print_config: bool,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Stores a value.
    #[command(after_help = "\
Examples:
  dht put greeting 'hello, world'
  dht put offset --type int -- -5
  dht put settings '{\"colour\":\"blue\"}' --type json
  version=$(dht put answer 42 --type int --print-version)

A value that was there is replaced, its type too. Prints nothing without --print-version. Exits
with 2 if the value does not fit --type, and stores nothing then.")]
    Put {
        /// 1 to 65,535 bytes.
        key: OsString,
        /// The value; behind `--` if it begins with a dash.
        #[arg(allow_negative_numbers = true)]
        value: OsString,
        /// How to interpret the value; what does not fit is refused.
        #[arg(long = "type", value_enum, default_value_t = TypeName::Text)]
        value_type: TypeName,
        /// Prints the version that the entry has now, for `cas`.
        #[arg(long)]
        print_version: bool,
    },

    /// Prints a value. Numbers in digits, MessagePack as JSON, bytes as they are; a newline behind it.
    #[command(after_help = "\
Examples:
  dht get greeting
  dht get greeting --json    {\"key\":\"greeting\",\"type\":\"text\",\"version\":…,\"value\":\"hello, world\"}

Exits with 1, and prints nothing on standard output, if there is no such key.")]
    Get {
        /// The key.
        key: OsString,
        /// Prints an object with key, type, version and value; bytes and the like in base64.
        #[arg(long)]
        json: bool,
    },

    /// Removes keys and prints how many there were.
    #[command(after_help = "\
Example:
  dht del greeting answer

Exits with 1 if a key was missing; the others are removed all the same.")]
    Del {
        /// The keys.
        #[arg(required = true)]
        keys: Vec<OsString>,
    },

    /// Prints the values of many keys at once, in their order: key, tab, value.
    #[command(
        after_help = "Tab, newline, carriage return and backslash are shown as \\t \\n \\r \\\\, other \
                            control characters and bytes that are no UTF-8 as \\xNN. Exits with 1 if a key was \
                            missing or failed; it is named on standard error, and the others are printed all the \
                            same."
    )]
    Mget {
        /// The keys.
        #[arg(required = true)]
        keys: Vec<OsString>,
    },

    /// Stores many values at once: lines of key, tab, value.
    #[command(after_help = "\
Example:
  printf 'one\\t1\\ntwo\\t2\\n' | dht mput - --type int

Everything behind the first tab is the value. In keys and values, tab, newline, carriage return
and backslash are written \\t \\n \\r \\\\; a backslash before anything else stands for itself.
A key that stands twice keeps its last value. A line that cannot be read or stored is named on
standard error and passed over; the exit code is then 1. For tables with a header line and for
JSON, see `dht import`.")]
    Mput {
        /// The file; - is standard input.
        file: PathBuf,
        /// How to interpret the values.
        #[arg(long = "type", value_enum, default_value_t = TypeName::Text)]
        value_type: TypeName,
    },

    /// Removes many keys at once and prints how many there were.
    #[command(
        after_help = "Exits with 1 if a key was missing or failed; it is named on standard error, and the \
                            others are removed all the same."
    )]
    Mdel {
        /// The keys.
        #[arg(required_unless_present = "file")]
        keys: Vec<OsString>,
        /// A file of keys, one a line, written as for `dht mput`; - is standard input.
        #[arg(long, value_name = "FILE", conflicts_with = "keys")]
        file: Option<PathBuf>,
    },

    /// Adds to a counter, which begins at 0, and prints its new value.
    #[command(after_help = "\
Examples:
  dht incr visits          1, then 2, …
  dht incr stock -12       down by 12

Exits with 1, and changes nothing, if the value is no whole number or the sum leaves 64 bits.")]
    Incr {
        /// The key: an int, or text that is a whole number.
        key: OsString,
        /// How much to add; may be negative.
        #[arg(default_value_t = 1, allow_negative_numbers = true)]
        by: i64,
    },

    /// Stores a value if the entry still has a version, and prints the new version.
    #[command(after_help = "\
Examples:
  dht cas lock 0 me                                 only if there is no such key
  version=$(dht put answer 42 --type int --print-version)
  dht cas answer \"$version\" 43 --type int          only if it is still that 42

Exits with 1, and writes nothing, if the entry has another version, and names that one on standard
error.")]
    Cas {
        /// The key.
        key: OsString,
        /// The version that `put --print-version`, `cas` and `get --json` print; 0: only if there is no entry.
        version: u64,
        /// The value; behind `--` if it begins with a dash.
        #[arg(allow_negative_numbers = true)]
        value: OsString,
        /// How to interpret the value; what does not fit is refused.
        #[arg(long = "type", value_enum, default_value_t = TypeName::Text)]
        value_type: TypeName,
    },

    /// Prints all entries, in no particular order: key, tab, value.
    #[command(
        after_help = "Examples:\n  dht scan --prefix user: --limit 10\n  dht scan --json > entries.jsonl\n\n\
                            Tab, newline, carriage return and backslash are shown as \\t \\n \\r \\\\, other \
                            control characters and bytes that are no UTF-8 as \\xNN."
    )]
    Scan {
        /// Only keys that begin with this.
        #[arg(long, value_name = "P", default_value = "", hide_default_value = true)]
        prefix: OsString,
        /// At most so many.
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        /// An object a line, with key, type, version and value.
        #[arg(long)]
        json: bool,
    },

    /// Stores the entries of a file.
    #[command(after_help = FORMATS)]
    #[command(long_about = "Stores the entries of a file.\n\n\
        A file of exactly the columns or members key, type and value holds entries, as `dht export` writes them \
        (in JSON Lines, type may be missing: a string is text, a whole number int, another number float, true \
        and false bool, anything else json). In any other file --key names the column or member that holds the \
        key, and the others, in their order, become a JSON object.\n\n\
        A line that cannot be read is named on standard error and passed over; the exit code is then 1. A key \
        that stands twice keeps its last value.")]
    Import {
        /// The file; - is standard input.
        file: PathBuf,
        /// Format of the file, whatever its ending.
        #[arg(long, value_enum)]
        format: Option<Format>,
        /// Column or member that holds the key. [default: the first column; in JSON Lines key]
        #[arg(long, value_name = "FIELD")]
        key: Option<String>,
    },

    /// Writes all entries to a file, in no particular order.
    #[command(after_help = FORMATS)]
    #[command(long_about = "Writes all entries to a file, in no particular order.\n\n\
        The file appears under its name when it is complete, and replaces one that was there. With --columns, \
        the key and members of JSON objects are written as columns: a string as its text, null and what is \
        missing as nothing, anything else as its JSON. Entries that are no JSON object are then named on \
        standard error and passed over; the exit code is then 1.")]
    Export {
        /// The file; - is standard output.
        file: PathBuf,
        /// Format of the file, whatever its ending.
        #[arg(long, value_enum)]
        format: Option<Format>,
        /// Names of columns: the first for the key, the others for members of the value.
        #[arg(long, value_name = "A,B,C", value_delimiter = ',')]
        columns: Vec<String>,
    },

    /// Prints the nodes: address, partitions, keys, bytes of keys and values; tabs between.
    #[command(after_help = "\
Example of a line:
  127.0.0.1:7400  1366  33402  1603296

Exits with 1 if a node did not answer; its keys and bytes are then a dash.")]
    Map,

    /// Prints counters, name and number: totals of the cluster, then node.HOST:PORT.NAME for every node.
    #[command(after_help = "\
A total is the sum over the nodes; of names that end in _max, the greatest. Names that end in
_bytes count bytes, in _ms milliseconds.

With --watch, a counter that only rises is followed by its rate since the round before, as in
\"requests_get 5000 312.5/s\". A terminal is cleared between rounds; anywhere else an empty line
ends each. Ctrl-C ends it with exit code 0.

Examples:
  dht stats
  dht stats --watch                 every second
  dht stats --watch 5 --count 12    for a minute

Exits with 1 if a node did not answer (with --watch, in the last round).")]
    Stats {
        /// Repeats, every so many seconds.
        #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1")]
        watch: Option<Span>,
        /// Ends after so many rounds.
        #[arg(long, value_name = "N", requires = "watch", value_parser = clap::value_parser!(u64).range(1..))]
        count: Option<u64>,
    },

    /// Asks every node for a sign of life and prints how long it took.
    #[command(after_help = "\
Prints a line a node: address, tab, ok, tab, milliseconds.

Exits with 1 if a node did not answer; it is named on standard error.")]
    Ping,

    /// Prints a script that teaches a shell to complete this command's arguments.
    #[command(after_help = "\
Examples:
  source <(dht completions bash)                                    in this shell, or in ~/.bashrc
  dht completions zsh > ~/.zfunc/_dht                               a folder of zsh's fpath
  dht completions fish > ~/.config/fish/completions/dht.fish")]
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// The types that a value on the command line can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TypeName {
    /// UTF-8 text.
    Text,
    /// Whole number of 64 bits.
    Int,
    /// Floating-point number of 64 bits.
    Float,
    /// true or false.
    Bool,
    /// JSON text.
    Json,
    /// The argument's bytes as they are.
    Bytes,
}

impl TypeName {
    pub(crate) fn value_type(self) -> ValueType {
        match self {
            TypeName::Text => ValueType::TEXT,
            TypeName::Int => ValueType::INT,
            TypeName::Float => ValueType::FLOAT,
            TypeName::Bool => ValueType::BOOL,
            TypeName::Json => ValueType::JSON,
            TypeName::Bytes => ValueType::BYTES,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Args::try_parse_from(line.split(' ')).map(|args| args.command.unwrap())
    }

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn numbers_below_zero_are_values() {
        assert!(matches!(parse("dht incr k -5"), Ok(Command::Incr { by: -5, .. })));
        assert!(matches!(parse("dht incr k"), Ok(Command::Incr { by: 1, .. })));
        let put = parse("dht put k -1.5 --type float").unwrap();
        assert!(matches!(put, Command::Put { value, value_type: TypeName::Float, .. } if value == "-1.5"));
        let put = parse("dht put --type text k -- --type").unwrap();
        assert!(matches!(put, Command::Put { value, .. } if value == "--type"));
        assert!(parse("dht put k --tpye").is_err());
    }

    #[test]
    fn global_flags_stand_anywhere() {
        for line in ["dht --servers a:1 ping", "dht ping --servers a:1"] {
            let args = Args::try_parse_from(line.split(' ')).unwrap();
            let settings = crate::cli::settings::Settings::resolve(args.given, Given::default());
            assert_eq!(settings.servers, "a:1");
        }
    }

    #[test]
    fn columns_are_split_at_commas() {
        let export = parse("dht export out --format tsv --columns a,b,c").unwrap();
        assert!(matches!(export, Command::Export { columns, .. } if columns == ["a", "b", "c"]));
        assert!(parse("dht export out --format xml").is_err());
        assert!(parse("dht del").is_err());
    }
}
