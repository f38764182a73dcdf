//! The names of the formats, and how a file's own name tells them.

use std::path::Path;

/// A file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// JSON Lines: one object a line.
    Jsonl,
    /// Comma-separated values, RFC 4180, with a header.
    Csv,
    /// Tab-separated values with a header, unquoted: `\t`, `\n`, `\r` and `\\` stand for what they name.
    Tsv,
}

impl Format {
    /// The format that a file's ending names.
    pub(crate) fn of_path(path: &Path) -> Option<Format> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        match ending.as_str() {
            "jsonl" | "ndjson" => Some(Format::Jsonl),
            "csv" => Some(Format::Csv),
            "tsv" => Some(Format::Tsv),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_name_formats() {
        for (name, format) in [
            ("a.jsonl", Some(Format::Jsonl)),
            ("dir.csv/a.ndjson", Some(Format::Jsonl)),
            ("a.CSV", Some(Format::Csv)),
            ("a.b.tsv", Some(Format::Tsv)),
            ("a.json", None),
            ("tsv", None),
            ("-", None),
        ] {
            assert_eq!(Format::of_path(Path::new(name)), format, "{name}");
        }
    }
}
