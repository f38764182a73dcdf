//! `dht export`: from the cluster to a file.
//!
//! A file is written under a temporary name beside its own (`.NAME.PID.part`) and gets its name when it is
//! complete and synced: a file of that name is never half an export. Devices, pipes and standard output are
//! written to directly.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};

use crate::Client;
use crate::cli::commands::failure_of;
use crate::cli::failure::{Failure, say};
use crate::cli::format::{Format, Writer};
use crate::cli::import::format_of;
use crate::cli::output::{escaped, row_of};

const OUTPUT_BUFFER_BYTES: usize = 256 << 10;

/// What to export to and how to write it.
#[derive(Debug)]
pub(crate) struct Plan {
    /// `None`: standard output.
    path: Option<PathBuf>,
    format: Format,
    columns: Vec<String>,
}

/// A file that replaces another when it is complete; dropped before, it leaves nothing behind.
struct Pending {
    file: File,
    temporary: PathBuf,
    target: PathBuf,
    complete: bool,
}

impl Plan {
    pub(crate) fn new(file: &Path, format: Option<Format>, columns: Vec<String>) -> Result<Plan, Failure> {
        if let Some(at) = (1..columns.len()).find(|at| columns[..*at].contains(&columns[*at])) {
            return Err(Failure::Usage(format!("column {:?} stands twice in --columns", columns[at])));
        }
        let path = (file != Path::new("-")).then(|| file.to_owned());
        Ok(Plan { path, format: format_of(file, format)?, columns })
    }
}

pub(crate) fn run(client: &Client, plan: &Plan) -> Result<(), Failure> {
    let Some(path) = &plan.path else {
        return export(client, plan, io::stdout().lock(), Failure::of_output);
    };
    let failed = |error: io::Error| Failure::Failed(format!("cannot write {}: {error}", path.display()));
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        let file = File::options().write(true).open(path).map_err(failed)?;
        return export(client, plan, file, failed);
    }
    let mut pending = Pending::create(path).map_err(failed)?;
    // Passed-over entries are reported, but what was written is complete.
    match export(client, plan, &mut pending.file, failed) {
        outcome @ (Ok(()) | Err(Failure::Reported)) => {
            pending.complete().map_err(failed)?;
            outcome
        }
        outcome => outcome,
    }
}

fn export(
    client: &Client,
    plan: &Plan,
    output: impl Write,
    failed: impl Fn(io::Error) -> Failure,
) -> Result<(), Failure> {
    let bar = progress(client);
    let writer = Writer::new(plan.format, plan.columns.clone());
    let mut output = BufWriter::with_capacity(OUTPUT_BUFFER_BYTES, output);
    let (mut written_count, mut skipped_count) = (0u64, 0u64);
    let mut record = Vec::new();
    writer.write_header(&mut record).map_err(Failure::Failed)?;
    output.write_all(&record).map_err(&failed)?;
    for entry in client.iter() {
        let entry = entry.map_err(|error| failure_of(&error))?;
        let row = row_of(entry.key.into_bytes(), &entry.value);
        record.clear();
        match writer.write(&row, &mut record) {
            Ok(()) => {
                output.write_all(&record).map_err(&failed)?;
                written_count += 1;
            }
            Err(why) => {
                bar.suspend(|| say("dht", format_args!("key {}: {why}", escaped(&row.key))));
                skipped_count += 1;
            }
        }
        bar.inc(1);
    }
    output.flush().map_err(&failed)?;
    bar.finish_and_clear();
    if skipped_count > 0 {
        say("dht", format_args!("exported {written_count} entries; {skipped_count} were passed over"));
        return Err(Failure::Reported);
    }
    say("dht", format_args!("exported {written_count} entries"));
    Ok(())
}

impl Pending {
    fn create(path: &Path) -> io::Result<Pending> {
        // Through a link, the file that it points to is replaced, not the link.
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
        let temporary = target.with_file_name(format!(".{name}.{}.part", std::process::id()));
        let file = File::create_new(&temporary)?;
        Ok(Pending { file, temporary, target, complete: false })
    }

    fn complete(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.temporary, &self.target)?;
        self.complete = true;
        Ok(())
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.complete {
            // What stays behind has a name that says what it is.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// A bar on standard error, where that is a terminal.
fn progress(client: &Client) -> ProgressBar {
    let bar = ProgressBar::no_length();
    if bar.is_hidden() {
        return bar;
    }
    let entries = client.stats().into_iter().filter_map(|(_, answer)| answer.ok());
    bar.set_length(entries.flatten().filter(|(name, _)| name == "entries").map(|(_, number)| number).sum());
    match ProgressStyle::with_template("{bar:40} {percent}% {human_pos} entries {per_sec} eta {eta}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_gets_its_name_when_it_is_complete() {
        let dir = std::env::temp_dir().join(format!("dht-export-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("out.csv");
        fs::write(&path, "old").unwrap();

        let mut pending = Pending::create(&path).unwrap();
        pending.file.write_all(b"half").unwrap();
        drop(pending);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "nothing is left behind");

        let mut pending = Pending::create(&path).unwrap();
        pending.file.write_all(b"new").unwrap();
        pending.complete().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn columns_are_named_once() {
        let columns = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        assert!(Plan::new(Path::new("a.csv"), None, columns(&["a", "b"])).is_ok());
        assert!(matches!(
            Plan::new(Path::new("a.csv"), None, columns(&["a", "b", "a"])),
            Err(Failure::Usage(_))
        ));
    }
}
