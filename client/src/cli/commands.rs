//! The commands on single keys, and `scan`.

use std::ffi::OsStr;
use std::io::{self, BufWriter, Write};

use dht_protocol::ids::Version;

use crate::cli::args::TypeName;
use crate::cli::failure::{Failure, say};
use crate::cli::format::{Exactness, Row, parse_plain_text, write_json_row};
use crate::cli::output::{self, row_of};
use crate::{Client, Conditional, Error, Value};

/// Entries that `scan` fetches at once when it needs no more than a few.
const SCAN_PAGE_ENTRIES: usize = 1024;

/// The value of an argument.
pub(crate) fn parse_value(type_name: TypeName, argument: &OsStr) -> Result<Value, Failure> {
    let value_type = type_name.value_type();
    let bytes = parse_plain_text(value_type, argument.as_encoded_bytes()).map_err(Failure::Usage)?;
    Ok(Value::from_wire(value_type, &bytes))
}

pub(crate) fn put(client: &Client, key: &[u8], value: &Value, print_version: bool) -> Result<(), Failure> {
    let version = client.put(key, value).map_err(|error| failure_of(&error))?;
    if print_version { print_line(version) } else { Ok(()) }
}

pub(crate) fn get(client: &Client, key: Vec<u8>, json: bool) -> Result<(), Failure> {
    let found = client.get_versioned::<Value>(&key).map_err(|error| failure_of(&error))?;
    let Some(found) = found else {
        say("dht", format_args!("no such key: {}", output::escaped(&key)));
        return Err(Failure::Reported);
    };
    let row = row_of(key, &found.value);
    let mut text = Vec::new();
    if json {
        write_json_row(&row, Some(found.version), Exactness::Readable, &mut text).map_err(Failure::Failed)?;
    } else {
        text.extend_from_slice(&output::value_text(&row));
        text.push(b'\n');
    }
    io::stdout().write_all(&text).map_err(Failure::of_output)
}

pub(crate) fn del(client: &Client, keys: impl Iterator<Item = Vec<u8>>) -> Result<(), Failure> {
    let mut removed_count = 0u64;
    let mut missing = false;
    for key in keys {
        match client.delete(&key) {
            Ok(Some(_)) => removed_count += 1,
            Ok(None) => {
                say("dht", format_args!("no such key: {}", output::escaped(&key)));
                missing = true;
            }
            Err(error) => {
                print_line(removed_count)?;
                return Err(failure_of(&error));
            }
        }
    }
    print_line(removed_count)?;
    if missing { Err(Failure::Reported) } else { Ok(()) }
}

pub(crate) fn incr(client: &Client, key: &[u8], by: i64) -> Result<(), Failure> {
    let value = client.add(key, by).map_err(|error| failure_of(&error))?;
    print_line(value)
}

pub(crate) fn cas(client: &Client, key: &[u8], expected: u64, value: &Value) -> Result<(), Failure> {
    match client.compare_and_put(key, Version(expected), value).map_err(|error| failure_of(&error))? {
        Conditional::Done(version) => print_line(version),
        Conditional::Refused { current } => Err(Failure::Failed(if current.is_absent() {
            format!("there is no entry {} (version 0), nothing was written", output::escaped(key))
        } else {
            format!("the entry's version is {current}, nothing was written")
        })),
    }
}

pub(crate) fn scan(client: &Client, prefix: &[u8], limit: Option<usize>, json: bool) -> Result<(), Failure> {
    let limit = limit.unwrap_or(usize::MAX);
    if limit == 0 {
        return Ok(());
    }
    let mut out = BufWriter::new(io::stdout().lock());
    let mut line = Vec::new();
    for entry in client.iter().prefix(prefix).page_size(limit.min(SCAN_PAGE_ENTRIES)).take(limit) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                out.flush().map_err(Failure::of_output)?;
                return Err(failure_of(&error));
            }
        };
        let row: Row = row_of(entry.key.into_bytes(), &entry.value);
        line.clear();
        if json {
            write_json_row(&row, Some(entry.version), Exactness::Readable, &mut line)
                .map_err(Failure::Failed)?;
        } else {
            output::write_scan_line(&row, &mut line);
        }
        out.write_all(&line).map_err(Failure::of_output)?;
    }
    out.flush().map_err(Failure::of_output)
}

/// A call that failed: wrong usage where nothing could have come of it, else failed.
pub(crate) fn failure_of(error: &Error) -> Failure {
    match error {
        Error::NoServers | Error::BadAddress { .. } | Error::BadKey { .. } | Error::TooLarge { .. } => {
            Failure::Usage(error.to_string())
        }
        _ => Failure::Failed(error.to_string()),
    }
}

fn print_line(text: impl std::fmt::Display) -> Result<(), Failure> {
    writeln!(io::stdout(), "{text}").map_err(Failure::of_output)
}
