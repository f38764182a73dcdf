//! `dht import`: from a file to the cluster, many rows at a time.
//!
//! ```text
//! file ─ records ─ parser ─ queue ─ writer ─ put_many ─▶ cluster
//!      (the main thread)            (takes whatever waits: a batch)
//! ```
//!
//! 1. One batch is written at a time, and a call on many keys keeps the order of each key's rows: the last one wins.
//! 2. What is read and not yet written is bounded in rows and in bytes, whatever the file. The writer never waits for
//!    a batch to fill up, so rows that trickle in are stored as they come.
//! 3. A row that cannot be stored is named by its line and passed over; when the cluster itself fails, the import
//!    stops.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::failure::{Failure, say};
use crate::cli::format::{Format, Parser, Record, Records, Row};
use crate::{Client, Error, Status, Value};

/// Most rows of one call.
const BATCH_ROWS_MAX: usize = 4_096;
/// A batch is not added to once it has so many bytes of keys and values.
const BATCH_BYTES: usize = 4 << 20;
/// Most rows that wait for the writer.
const QUEUE_ROWS_MAX: usize = 2 * BATCH_ROWS_MAX;
/// Most bytes of rows that are read and not yet written.
const BYTES_IN_FLIGHT_MAX: usize = 32 << 20;
const INPUT_BUFFER_BYTES: usize = 256 << 10;

const _: () = assert!(
    BYTES_IN_FLIGHT_MAX > dht_protocol::limits::VALUE_BYTES_MAX + dht_protocol::limits::KEY_BYTES_MAX
);

/// What to import and how to read it.
#[derive(Debug)]
pub(crate) struct Plan {
    /// `None`: standard input.
    path: Option<PathBuf>,
    format: Format,
    key: Option<String>,
}

/// A row and the number of its line.
type Numbered = (u64, Row);

/// What the reader and the writers share.
#[derive(Default)]
struct Shared {
    bar: Option<ProgressBar>,
    written_count: AtomicU64,
    skipped_count: AtomicU64,
    bytes_in_flight: Mutex<usize>,
    bytes_freed: Condvar,
    stopped: AtomicBool,
    /// Why the import stopped, and at which line.
    stop: Mutex<Option<(u64, String)>>,
}

impl Plan {
    pub(crate) fn new(file: &Path, format: Option<Format>, key: Option<&str>) -> Result<Plan, Failure> {
        let path = (file != Path::new("-")).then(|| file.to_owned());
        let format = format_of(file, format)?;
        Ok(Plan { path, format, key: key.map(str::to_owned) })
    }
}

/// The format that was asked for, or the one that the file's ending names.
pub(crate) fn format_of(file: &Path, format: Option<Format>) -> Result<Format, Failure> {
    format.or_else(|| Format::of_path(file)).ok_or_else(|| {
        Failure::Usage(format!(
            "the name '{}' tells no format: give --format jsonl, csv or tsv",
            file.display()
        ))
    })
}

pub(crate) fn run(client: &Client, plan: &Plan) -> Result<(), Failure> {
    let Some(path) = &plan.path else {
        return import(client, plan, io::stdin().lock(), progress(None));
    };
    let failed = |error| Failure::Failed(format!("cannot read {}: {error}", path.display()));
    let file = File::open(path).map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    import(client, plan, BufReader::with_capacity(INPUT_BUFFER_BYTES, file), progress(Some(bytes)))
}

fn import(client: &Client, plan: &Plan, input: impl BufRead, bar: ProgressBar) -> Result<(), Failure> {
    let shared = Shared { bar: Some(bar), ..Shared::default() };
    let mut records = Records::new(input, plan.format);
    let outcome = thread::scope(|scope| {
        let (queue, receiver) = sync_channel(QUEUE_ROWS_MAX);
        let shared = &shared;
        scope.spawn(move || write_rows(&receiver, shared, |rows| put_all(client, rows)));
        read_rows(plan, &mut records, shared, |numbered| {
            // The writer ends only when the queue is closed, so there is always somebody to take the row.
            let _ = queue.send(numbered);
        })
        // The queue closes here, and the scope waits until it is empty.
    });
    if let Some(bar) = &shared.bar {
        bar.finish_and_clear();
    }
    outcome?;
    shared.conclude()
}

/// Reads the file to its end, or until the writer says stop.
fn read_rows(
    plan: &Plan,
    records: &mut Records<impl BufRead>,
    shared: &Shared,
    mut send: impl FnMut(Numbered),
) -> Result<(), Failure> {
    let mut parser = (plan.format == Format::Jsonl).then(|| Parser::of_json_lines(plan.key.as_deref()));
    let name =
        plan.path.as_ref().map_or_else(|| "standard input".to_owned(), |path| path.display().to_string());
    while !shared.stopped.load(Ordering::Relaxed) {
        let record = records.next();
        let record = record.map_err(|error| Failure::Failed(format!("cannot read {name}: {error}")))?;
        match (record, &parser) {
            (None, None) => {
                return Err(Failure::Failed(format!(
                    "{name} is empty: its first line must name the columns"
                )));
            }
            (None, Some(_)) => break,
            (Some(Record::Bad { line, why }), Some(_)) => shared.skip(line, &why),
            (Some(Record::Bad { line, why }), None) => {
                return Err(Failure::Failed(format!("{name}, line {line}: {why}; it must name the columns")));
            }
            (Some(Record::Whole { line, bytes }), Some(parser)) => match parser.parse(bytes) {
                Ok(row) => {
                    shared.take_room(row_bytes(&row));
                    send((line, row));
                }
                Err(why) => shared.skip(line, &why),
            },
            (Some(Record::Whole { line, bytes }), None) => {
                let table = Parser::of_table(plan.format, bytes, plan.key.as_deref());
                parser = Some(table.map_err(|why| Failure::Failed(format!("{name}, line {line}: {why}")))?);
            }
        }
        if let Some(bar) = &shared.bar {
            bar.set_position(records.bytes_count());
        }
    }
    Ok(())
}

/// The life of the writer. `write` answers one result for each row, in their order.
fn write_rows(
    queue: &Receiver<Numbered>,
    shared: &Shared,
    mut write: impl FnMut(&[Numbered]) -> Vec<crate::Result<()>>,
) {
    let mut batch = Vec::new();
    while let Ok(first) = queue.recv() {
        let mut bytes = row_bytes(&first.1);
        batch.push(first);
        while batch.len() < BATCH_ROWS_MAX
            && bytes < BATCH_BYTES
            && let Ok(next) = queue.try_recv()
        {
            bytes += row_bytes(&next.1);
            batch.push(next);
        }
        // Once stopped, the queue is only emptied, so that the reader never waits for room in vain.
        if !shared.stopped.load(Ordering::Relaxed) {
            for ((line, _), result) in batch.iter().zip(write(&batch)) {
                match result {
                    Ok(()) => {
                        shared.written_count.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(error) if is_the_rows_own_fault(&error) => shared.skip(*line, &error.to_string()),
                    Err(error) => shared.stop_at(*line, error.to_string()),
                }
            }
        }
        batch.clear();
        shared.give_room(bytes);
    }
}

fn put_all(client: &Client, rows: &[Numbered]) -> Vec<crate::Result<()>> {
    let value_of = |row: &Row| Value::from_wire(row.value_type, &row.bytes);
    let values: Vec<Value> = rows.iter().map(|(_, row)| value_of(row)).collect();
    let results = client.put_many(rows.iter().map(|(_, row)| &row.key).zip(&values));
    results.into_iter().map(|result| result.map(drop)).collect()
}

/// Whether the next row may fare better.
pub(crate) fn is_the_rows_own_fault(error: &Error) -> bool {
    match error {
        Error::BadKey { .. } | Error::TooLarge { .. } | Error::Encode { .. } => true,
        Error::Refused { status, .. } => {
            matches!(status, Status::TooLarge | Status::BadKey | Status::BadValue | Status::Crowded)
        }
        _ => false,
    }
}

fn row_bytes(row: &Row) -> usize {
    row.key.len() + row.bytes.len()
}

impl Shared {
    /// Waits until so many bytes more may be in flight.
    fn take_room(&self, bytes: usize) {
        let mut in_flight = lock(&self.bytes_in_flight);
        while *in_flight > 0 && *in_flight + bytes > BYTES_IN_FLIGHT_MAX {
            in_flight = self.bytes_freed.wait(in_flight).unwrap_or_else(PoisonError::into_inner);
        }
        *in_flight += bytes;
    }

    fn give_room(&self, bytes: usize) {
        *lock(&self.bytes_in_flight) -= bytes;
        self.bytes_freed.notify_one();
    }

    /// Names a line that is passed over.
    fn skip(&self, line: u64, why: &str) {
        self.skipped_count.fetch_add(1, Ordering::Relaxed);
        let report = || say("dht", format_args!("line {line}: {why}"));
        match &self.bar {
            Some(bar) => bar.suspend(report),
            None => report(),
        }
    }

    /// Stops the import; the lowest line that failed is the one to tell.
    fn stop_at(&self, line: u64, why: String) {
        let mut stop = lock(&self.stop);
        if stop.as_ref().is_none_or(|(earlier, _)| line < *earlier) {
            *stop = Some((line, why));
        }
        self.stopped.store(true, Ordering::Relaxed);
    }

    fn conclude(self) -> Result<(), Failure> {
        let written_count = self.written_count.into_inner();
        let skipped_count = self.skipped_count.into_inner();
        if let Some((line, why)) = self.stop.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(Failure::Failed(format!(
                "stopped at line {line} with {written_count} entries imported: {why}; import the file again"
            )));
        }
        if skipped_count > 0 {
            return Err(Failure::Failed(format!(
                "imported {written_count} entries; {skipped_count} lines were passed over"
            )));
        }
        say("dht", format_args!("imported {written_count} entries"));
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that holds these locks can panic half-way through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A bar on standard error, where that is a terminal.
fn progress(bytes: Option<u64>) -> ProgressBar {
    let (bar, template) = match bytes {
        Some(bytes) => {
            (ProgressBar::new(bytes), "{bar:40} {percent}% {bytes}/{total_bytes} {bytes_per_sec} eta {eta}")
        }
        None => (ProgressBar::new_spinner(), "{spinner} {bytes} {bytes_per_sec}"),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(format: Format) -> Plan {
        Plan { path: None, format, key: None }
    }

    fn read(format: Format, file: &str) -> (Vec<(u64, String)>, u64, Result<(), Failure>) {
        let shared = Shared::default();
        let mut rows = vec![];
        let outcome =
            read_rows(&plan(format), &mut Records::new(file.as_bytes(), format), &shared, |(line, row)| {
                rows.push((line, String::from_utf8(row.key).unwrap()));
            });
        (rows, shared.skipped_count.into_inner(), outcome)
    }

    #[test]
    fn malformed_lines_are_passed_over_and_counted() {
        let file = "id,n\na,1\nb\n\"c\nc\",3\n\n,4\nd,5\n";
        let (rows, skipped_count, outcome) = read(Format::Csv, file);
        assert_eq!(rows, [(2, "a".to_owned()), (4, "c\nc".to_owned()), (8, "d".to_owned())]);
        assert_eq!((skipped_count, outcome), (2, Ok(())));
    }

    #[test]
    fn a_table_without_a_header_is_refused() {
        assert!(matches!(read(Format::Tsv, "").2, Err(Failure::Failed(text)) if text.contains("is empty")));
        assert!(
            matches!(read(Format::Csv, "\"a\n").2, Err(Failure::Failed(text)) if text.contains("line 1"))
        );
        assert_eq!(read(Format::Jsonl, "").2, Ok(()));
    }

    fn row(key: &str) -> Row {
        let value_type = dht_protocol::value::ValueType::TEXT;
        Row { key: key.as_bytes().to_vec(), value_type, bytes: vec![] }
    }

    fn write(
        rows: &[&str],
        mut fail: impl FnMut(&[u8]) -> Option<Error>,
    ) -> (Vec<String>, Result<(), Failure>) {
        let shared = Shared::default();
        let (sender, receiver) = sync_channel(rows.len());
        for (line, key) in rows.iter().enumerate() {
            shared.take_room(key.len());
            sender.send((line as u64 + 1, row(key))).unwrap();
        }
        drop(sender);
        let mut written = vec![];
        write_rows(&receiver, &shared, |rows| {
            let write = |(_, row): &Numbered| match fail(&row.key) {
                Some(error) => Err(error),
                None => {
                    written.push(String::from_utf8(row.key.clone()).unwrap());
                    Ok(())
                }
            };
            rows.iter().map(write).collect()
        });
        assert_eq!(*lock(&shared.bytes_in_flight), 0);
        (written, shared.conclude())
    }

    #[test]
    fn a_refused_row_is_passed_over_but_a_failing_cluster_stops_the_import() {
        let refused = |status| Error::Refused { status, text: "no".to_owned() };
        let (written, outcome) =
            write(&["a", "b", "c"], |key| (key == b"b").then(|| refused(Status::BadValue)));
        assert_eq!(written, ["a", "c"]);
        assert!(matches!(outcome, Err(Failure::Failed(text)) if text.contains("1 lines were passed over")));
        let (written, outcome) =
            write(&["a", "b", "c"], |key| (key == b"b").then(|| refused(Status::OutOfMemory)));
        // What went out together with the row that failed may have been stored, and counts.
        assert_eq!(written, ["a", "c"]);
        let message = "stopped at line 2 with 2 entries imported";
        assert!(matches!(outcome, Err(Failure::Failed(text)) if text.contains(message)));
    }

    #[test]
    fn what_waits_is_written_in_batches_within_bounds_and_nothing_after_a_failure() {
        let shared = Shared::default();
        let rows_count = 3 * BATCH_ROWS_MAX;
        let (sender, receiver) = sync_channel(rows_count);
        let send = |row: Row, line: usize| {
            shared.take_room(row_bytes(&row));
            sender.send((line as u64, row)).unwrap();
        };
        for line in 0..BATCH_ROWS_MAX + 10 {
            send(row("k"), line);
        }
        for line in 0..3 {
            send(Row { bytes: vec![b'v'; BATCH_BYTES / 2], ..row("k") }, 10_000 + line);
        }
        send(row("fails"), 20_000);
        for line in 0..BATCH_ROWS_MAX {
            send(row("late"), 30_000 + line);
        }
        drop(sender);
        let mut batches = vec![];
        write_rows(&receiver, &shared, |rows| {
            batches.push(rows.len());
            let no_memory = || Error::Refused { status: Status::OutOfMemory, text: "no".to_owned() };
            rows.iter().map(|(line, _)| if *line == 20_000 { Err(no_memory()) } else { Ok(()) }).collect()
        });
        assert_eq!(batches, [BATCH_ROWS_MAX, 12, BATCH_ROWS_MAX]);
        assert_eq!(*lock(&shared.bytes_in_flight), 0);
    }

    #[test]
    fn the_name_tells_the_format() {
        for (name, format) in
            [("a.jsonl", Format::Jsonl), ("a.ndjson", Format::Jsonl), ("a.CSV", Format::Csv)]
        {
            assert_eq!(format_of(Path::new(name), None), Ok(format));
        }
        assert_eq!(format_of(Path::new("a.csv"), Some(Format::Tsv)), Ok(Format::Tsv));
        assert!(matches!(format_of(Path::new("-"), None), Err(Failure::Usage(_))));
    }
}
