//! The arguments of `dht`, and the help that teaches them.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use dht_protocol::value::ValueType;

use crate::cli::format::Format;
use crate::cli::manual;
use crate::cli::settings::{Given, Span};

/// Reads and writes a distributed hash table.
#[derive(Debug, Parser)]
#[command(name = "dht", version, after_long_help = manual::DHT, max_term_width = 110, disable_help_subcommand = true)]
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
    #[command(after_long_help = manual::PUT)]
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
    #[command(after_long_help = manual::GET)]
    Get {
        /// The key.
        key: OsString,
        /// Prints an object with key, type, version and value; bytes and the like in base64.
        #[arg(long)]
        json: bool,
    },

    /// Removes keys and prints how many there were.
    #[command(after_long_help = manual::DEL)]
    Del {
        /// The keys.
        #[arg(required = true)]
        keys: Vec<OsString>,
    },

    /// Prints the values of many keys at once, in their order: key, tab, value.
    #[command(after_long_help = manual::MGET)]
    Mget {
        /// The keys.
        #[arg(required = true)]
        keys: Vec<OsString>,
    },

    /// Stores many values at once: lines of key, tab, value.
    #[command(after_long_help = manual::MPUT)]
    Mput {
        /// The file; - is standard input.
        file: PathBuf,
        /// How to interpret the values.
        #[arg(long = "type", value_enum, default_value_t = TypeName::Text)]
        value_type: TypeName,
    },

    /// Removes many keys at once and prints how many there were.
    #[command(after_long_help = manual::MDEL)]
    Mdel {
        /// The keys.
        #[arg(required_unless_present = "file")]
        keys: Vec<OsString>,
        /// A file of keys, one a line, written as for `dht mput`; - is standard input.
        #[arg(long, value_name = "FILE", conflicts_with = "keys")]
        file: Option<PathBuf>,
    },

    /// Adds to a counter, which begins at 0, and prints its new value.
    #[command(after_long_help = manual::INCR)]
    Incr {
        /// The key: an int, or text that is a whole number.
        key: OsString,
        /// How much to add; may be negative.
        #[arg(default_value_t = 1, allow_negative_numbers = true)]
        by: i64,
    },

    /// Stores a value if the entry still has a version, and prints the new version.
    #[command(after_long_help = manual::CAS)]
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
    #[command(after_long_help = manual::SCAN)]
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
    #[command(after_long_help = manual::IMPORT)]
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
    #[command(after_long_help = manual::EXPORT)]
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
    #[command(after_long_help = manual::MAP)]
    Map,

    /// Prints counters, name and number: totals of the cluster, then node.HOST:PORT.NAME for every node.
    #[command(after_long_help = manual::STATS)]
    Stats {
        /// Repeats, every so many seconds.
        #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1")]
        watch: Option<Span>,
        /// Ends after so many rounds.
        #[arg(long, value_name = "N", requires = "watch", value_parser = clap::value_parser!(u64).range(1..))]
        count: Option<u64>,
    },

    /// Asks every node for a sign of life and prints how long it took.
    #[command(after_long_help = manual::PING)]
    Ping,

    /// Prints a script that teaches a shell to complete this command's arguments.
    #[command(after_long_help = manual::COMPLETIONS)]
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
