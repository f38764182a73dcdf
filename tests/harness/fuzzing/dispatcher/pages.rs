//! Pages of a scan, as section 11 of PROTOCOL.md has them.

use dht_protocol::ids::PartitionId;
use dht_protocol::limits::{SCAN_PAGE_BYTES_MAX, SCAN_PAGE_ENTRIES_MAX};
use dht_protocol::request::Scan;
use dht_protocol::response::{Page, PageEntry};
use dht_server::store::is_large;

use super::model::{Entry, Model};

/// Holds a page against what the model holds: exactly the entries from the cursor asked for up to the next one, in
/// order, each as it is, and no more of them than fit.
pub(super) fn check_page(model: &Model, scan: &Scan<'_>, page: &Page<'_>) -> Result<(), String> {
    let partitions: Vec<PartitionId> = scan.partitions.iter().collect();
    let done = usize::from(page.partitions_done);
    if done > partitions.len() {
        return Err(format!("{done} of {} partitions done", partitions.len()));
    }
    let ring = model.map.ring();
    let from = |at: usize| {
        let start = ring.cursor_start(partitions[at]);
        if at == 0 { scan.cursor.max(start) } else { start }
    };
    if done == 0 && page.next <= from(0) {
        return Err(format!("no progress: {:?} after {:?}", page.next, from(0)));
    }
    let unserved = partitions.iter().position(|partition| !model.serves(*partition));
    if unserved.is_some_and(|unserved| done > unserved) {
        return Err("a partition is done that is not served here".into());
    }
    let mut expected = Vec::new();
    for (at, partition) in partitions.iter().copied().enumerate().take(done + 1) {
        let end = if at == done { page.next } else { ring.cursor_end(partition) };
        if end > ring.cursor_end(partition) {
            return Err(format!("next cursor {end:?} past the end of partition {partition}"));
        }
        expected.extend(model.entries_between(from(at), end, scan.prefix));
    }
    let entries: Vec<PageEntry<'_>> = page.entries().collect();
    if entries.len() != expected.len() {
        return Err(format!("{} entries on the page, {} expected", entries.len(), expected.len()));
    }
    for (found, (key, entry)) in entries.iter().zip(expected) {
        check_entry(found, key, entry)?;
    }
    check_bounds(scan, &entries)
}

fn check_entry(found: &PageEntry<'_>, key: &[u8], entry: &Entry) -> Result<(), String> {
    let value = (!is_large(key.len(), entry.bytes.len())).then_some(entry.bytes.as_slice());
    let expected = PageEntry {
        key,
        version: entry.version,
        value_type: entry.value_type,
        value_bytes: entry.bytes.len() as u32,
        value,
    };
    if *found == expected { Ok(()) } else { Err(format!("entry {found:?} where {expected:?} is expected")) }
}

/// None of the keys of a script shares a cursor step with another, so the bounds are exact.
fn check_bounds(scan: &Scan<'_>, entries: &[PageEntry<'_>]) -> Result<(), String> {
    let entries_max = SCAN_PAGE_ENTRIES_MAX.min(scan.entries_max as usize);
    if entries.len() > entries_max {
        return Err(format!("{} entries where {entries_max} were asked for", entries.len()));
    }
    let sizes = entries.iter().map(|entry| entry.key.len() + entry.value.map_or(0, <[u8]>::len));
    let before_last: usize = sizes.rev().skip(1).sum();
    if before_last >= SCAN_PAGE_BYTES_MAX {
        return Err(format!("{before_last} bytes before the last entry of a page"));
    }
    Ok(())
}
