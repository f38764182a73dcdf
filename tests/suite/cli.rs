//! The command line as a person or a script meets it: what goes to which stream, and the exit code.

mod cluster;
mod entries;
mod scan;
mod settings;

use dht_tests::program::Output;

use crate::registry::Case;

/// The tests of the files below.
pub(crate) fn cases() -> Vec<Case> {
    [cluster::cases(), entries::cases(), scan::cases(), settings::cases()].concat()
}

/// A run that failed: nothing on standard output, and on standard error one line that begins with the program's
/// name and says all of `parts`.
#[track_caller]
fn assert_one_line(output: &Output, parts: &[&str]) {
    assert_eq!(output.stdout, "", "{}", output.report());
    let line = output.stderr.strip_suffix('\n').unwrap_or_default();
    let one = line.starts_with("dht: ") && !line.contains('\n');
    assert!(one && parts.iter().all(|part| line.contains(part)), "expected {parts:?}\n{}", output.report());
}
