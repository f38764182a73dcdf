//! The commands on many keys: `mget`, `mput` and `mdel`.
//!
//! 1. What is read and not yet sent is bounded in keys and in bytes, whatever the file.
//! 2. A key that fails is named on standard error and does not keep the others from being done.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use crate::cli::failure::{Failure, say};
use crate::cli::format::{Format, Record, Records, parse_plain_text, unescape};
use crate::cli::output::{escaped, row_of, write_scan_line};
use crate::cli::{args::TypeName, import::is_the_rows_own_fault};
use crate::{Client, Error, Value};

/// Most keys of one call.
const CALL_KEYS_MAX: usize = 4_096;
/// A call is made once it has so many bytes of keys and values.
const CALL_BYTES: usize = 4 << 20;
const INPUT_BUFFER_BYTES: usize = 256 << 10;

pub(crate) fn mget(client: &Client, keys: &[Vec<u8>]) -> Result<(), Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    let (mut all_there, mut line) = (true, Vec::new());
    for keys in keys.chunks(CALL_KEYS_MAX) {
        for (key, found) in keys.iter().zip(client.get_many::<Value, _>(keys)) {
            match found {
                Ok(Some(value)) => {
                    line.clear();
                    write_scan_line(&row_of(key.clone(), &value), &mut line);
                    out.write_all(&line).map_err(Failure::of_output)?;
                }
                Ok(None) => {
                    say("dht", format_args!("no such key: {}", escaped(key)));
                    all_there = false;
                }
                Err(error) => {
                    say("dht", format_args!("{}: {error}", escaped(key)));
                    all_there = false;
                }
            }
        }
    }
    out.flush().map_err(Failure::of_output)?;
    if all_there { Ok(()) } else { Err(Failure::Reported) }
}

pub(crate) fn mdel(client: &Client, keys: &[Vec<u8>], file: Option<&Path>) -> Result<(), Failure> {
    let mut removals = Removals { client, removed_count: 0, all_there: true };
    for keys in keys.chunks(CALL_KEYS_MAX) {
        removals.remove(keys);
    }
    if let Some(file) = file {
        let mut keys: Vec<Vec<u8>> = Vec::new();
        let mut bytes_count = 0;
        let skipped_count = each_line(file, |_, line| {
            let key = line.map(unescape)?;
            bytes_count += key.len();
            keys.push(key.into_owned());
            if keys.len() >= CALL_KEYS_MAX || bytes_count >= CALL_BYTES {
                removals.remove(&keys);
                (bytes_count, keys) = (0, Vec::new());
            }
            Ok(())
        })?;
        removals.remove(&keys);
        removals.all_there &= skipped_count == 0;
    }
    writeln!(io::stdout(), "{}", removals.removed_count).map_err(Failure::of_output)?;
    if removals.all_there { Ok(()) } else { Err(Failure::Reported) }
}

struct Removals<'a> {
    client: &'a Client,
    removed_count: u64,
    all_there: bool,
}

impl Removals<'_> {
    fn remove(&mut self, keys: &[Vec<u8>]) {
        for (key, removed) in keys.iter().zip(self.client.delete_many(keys)) {
            let why = match removed {
                Ok(Some(_)) => {
                    self.removed_count += 1;
                    continue;
                }
                Ok(None) => format!("no such key: {}", escaped(key)),
                Err(error) => format!("{}: {error}", escaped(key)),
            };
            say("dht", why);
            self.all_there = false;
        }
    }
}

pub(crate) fn mput(client: &Client, file: &Path, value_type: TypeName) -> Result<(), Failure> {
    let mut rows = Rows { client, rows: Vec::new(), bytes_count: 0, written_count: 0, failed_count: 0 };
    let mut stop = None;
    let skipped_count = each_line(file, |number, line| {
        if stop.is_some() {
            return Ok(());
        }
        let line = line?;
        let at = line.iter().position(|byte| *byte == b'\t').ok_or("no tab between key and value")?;
        let (key, value) = (unescape(&line[..at]), unescape(&line[at + 1..]));
        let value_type = value_type.value_type();
        let value = Value::from_wire(value_type, &parse_plain_text(value_type, &value)?);
        rows.bytes_count += line.len();
        rows.rows.push((number, key.into_owned(), value));
        if rows.rows.len() >= CALL_KEYS_MAX || rows.bytes_count >= CALL_BYTES {
            stop = rows.write();
        }
        Ok(())
    })?;
    let stop = stop.or_else(|| rows.write());
    let (written_count, passed_over) = (rows.written_count, skipped_count + rows.failed_count);
    match stop {
        Some(failure) => Err(failure),
        None if passed_over > 0 => Err(Failure::Failed(format!(
            "stored {written_count} entries; {passed_over} lines were passed over"
        ))),
        None => {
            say("dht", format_args!("stored {written_count} entries"));
            Ok(())
        }
    }
}

struct Rows<'a> {
    client: &'a Client,
    /// Number of the line, key and value.
    rows: Vec<(u64, Vec<u8>, Value)>,
    bytes_count: usize,
    written_count: u64,
    /// Lines that were read and cannot be stored.
    failed_count: u64,
}

impl Rows<'_> {
    /// Stores what was read; `Some` when the cluster itself fails and the next rows would fare no better.
    fn write(&mut self) -> Option<Failure> {
        let rows = std::mem::take(&mut self.rows);
        self.bytes_count = 0;
        let results = self.client.put_many(rows.iter().map(|(_, key, value)| (key, value)));
        let mut first: Option<(u64, Error)> = None;
        for ((line, ..), result) in rows.iter().zip(results) {
            match result {
                Ok(_) => self.written_count += 1,
                Err(error) if is_the_rows_own_fault(&error) => {
                    self.failed_count += 1;
                    say("dht", format_args!("line {line}: {error}"));
                }
                Err(error) if first.is_none() => first = Some((*line, error)),
                Err(_) => {}
            }
        }
        first.map(|(line, error)| {
            Failure::Failed(format!(
                "stopped at line {line} with {} entries stored: {error}; store the file again",
                self.written_count
            ))
        })
    }
}

/// Gives each line of a file (`-`: standard input) to `take` and names those that it refuses; answers how many
/// these were.
fn each_line(
    file: &Path,
    mut take: impl FnMut(u64, Result<&[u8], String>) -> Result<(), String>,
) -> Result<u64, Failure> {
    let input: Box<dyn BufRead> = if file == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let opened = File::open(file)
            .map_err(|error| Failure::Failed(format!("cannot read {}: {error}", file.display())))?;
        Box::new(BufReader::with_capacity(INPUT_BUFFER_BYTES, opened))
    };
    let mut records = Records::new(input, Format::Tsv);
    let mut skipped_count = 0;
    loop {
        let record = records
            .next()
            .map_err(|error| Failure::Failed(format!("cannot read {}: {error}", file.display())))?;
        let (number, taken) = match record {
            None => return Ok(skipped_count),
            Some(Record::Whole { line, bytes }) => (line, take(line, Ok(bytes))),
            Some(Record::Bad { line, why }) => (line, take(line, Err(why.to_string()))),
        };
        if let Err(why) = taken {
            skipped_count += 1;
            say("dht", format_args!("line {number}: {why}"));
        }
    }
}
