//! Pages: partition after partition, each in bounded steps under its lock.

use dht_protocol::cursor::Cursor;
use dht_protocol::limits::{SCAN_PAGE_BYTES_MAX, SCAN_PAGE_ENTRIES_MAX};
use dht_protocol::request::Scan;
use dht_protocol::response::{NotOwner, PAGE_ENTRY_HEAD_BYTES, PageEntry, PageWriter, Refusal};
use dht_protocol::status::Status;

use super::Dispatcher;
use super::batch::Frame;
use super::output::Output;
use crate::limits::{SCAN_SLOTS_MAX, SCAN_STEPS_MAX};
use crate::store::PageBounds;
use crate::store::limits::{STEP_BYTES_MAX, STEP_SLOTS_MAX};

/// What a page may still take.
struct Left {
    entries: usize,
    bytes: usize,
    slots: usize,
    steps: usize,
}

impl Left {
    fn is_used_up(&self) -> bool {
        self.entries == 0 || self.bytes == 0 || self.slots == 0 || self.steps == 0
    }
}

impl Dispatcher {
    /// Answers with one page. It ends early, without an error, before a partition that is not served here; only
    /// when that is the first one asked for is the answer `NOT_OWNER`.
    pub(super) fn answer_scan(&self, frame: &Frame<'_>, scan: &Scan<'_>, output: &mut Output) -> Status {
        if let Err(refusal) = self.check_scan(frame, scan) {
            return self.refuse(frame, refusal, output);
        }
        output.append(|out| self.write_page(frame, scan, out));
        Status::Ok
    }

    fn check_scan(&self, frame: &Frame<'_>, scan: &Scan<'_>) -> Result<(), Refusal<'static>> {
        for (at, partition) in scan.partitions.iter().enumerate() {
            let Some(config) = self.map().partition(partition) else {
                return Err(Refusal::Other(Status::Malformed, "no such partition".into()));
            };
            if at == 0 && self.serving(partition, frame.header.epoch).is_none() {
                return Err(Refusal::NotOwner(NotOwner { partition, config }));
            }
        }
        Ok(())
    }

    fn write_page(&self, frame: &Frame<'_>, scan: &Scan<'_>, out: &mut Vec<u8>) {
        let ring = self.map().ring();
        let mut page = PageWriter::begin(frame.header.request_id, self.map().epoch(), out);
        let mut left = Left {
            entries: SCAN_PAGE_ENTRIES_MAX.min(scan.entries_max as usize),
            bytes: SCAN_PAGE_BYTES_MAX,
            slots: SCAN_SLOTS_MAX,
            steps: SCAN_STEPS_MAX,
        };
        let mut partitions_done = 0;
        let mut cursor = scan.cursor;
        for partition in scan.partitions.iter() {
            let start = ring.cursor_start(partition);
            cursor = if partitions_done == 0 { cursor.max(start) } else { start };
            let Some(hosted) = self.serving(partition, frame.header.epoch) else { break };
            let end = ring.cursor_end(partition);
            while cursor < end && !left.is_used_up() {
                // Room for a whole step is made before the lock is taken.
                out.reserve(STEP_RESERVE_BYTES);
                let bounds = PageBounds { entries_max: left.entries, bytes_max: left.bytes };
                let step = hosted.lock().store.scan_step(cursor, bounds, scan.prefix, &mut |item| {
                    let entry = PageEntry {
                        key: item.key,
                        version: item.version,
                        value_type: item.value_type,
                        value_bytes: item.value_bytes,
                        value: item.value,
                    };
                    page.push(&entry, out);
                });
                debug_assert!(step.next > cursor);
                cursor = step.next;
                left.entries = left.entries.saturating_sub(step.entries);
                left.bytes = left.bytes.saturating_sub(step.bytes);
                left.slots = left.slots.saturating_sub(step.slots);
                left.steps -= 1;
            }
            if cursor < end {
                break;
            }
            partitions_done += 1;
        }
        let next = if usize::from(partitions_done) == scan.partitions.len() { Cursor::START } else { cursor };
        page.finish(partitions_done, next, out);
    }
}

/// Room made for the entries of one step, bytes: their keys and values, and the heads of as many as there can be.
const STEP_RESERVE_BYTES: usize = STEP_BYTES_MAX + STEP_SLOTS_MAX * PAGE_ENTRY_HEAD_BYTES;
