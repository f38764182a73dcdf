//! Compaction: emptying chunks that are partly dead, a few entries at a time.
//!
//! One chunk is evacuated at a time; its live entries are appended to the tail and their slots changed, and
//! with the last of them the chunk is freed. Until then every entry has one live copy, so a step may stop
//! anywhere. Three occasions:
//!
//! - A write or delete pays a little while more than a ninth of the arena is dead: ten bytes moved for each
//!   byte that it let die, more than the eight that keep up at that ninth.
//! - [`Table::maintain`] works until less than a twelfth is dead.
//! - A put that was refused memory does a step, whatever the dead part of the arena, and is tried once more.
//!
//! Evacuation may charge past the memory limit, at most one chunk (4 KiB) and one entry a partition, until it has freed the
//! chunk.

use dht_protocol::placement::hash::KeyHash;

use super::arena::{Address, BatchBounds, EVACUATION_BATCH_ENTRIES};
use super::entry::{Body, Entry};
use super::heap::Limit;
use super::limits::{
    COMPACTION_SLOTS_MAX, DEAD_BYTES_MIN, DEAD_PARTS_CHUNK, DEAD_PARTS_IDLE, DEAD_PARTS_WRITE,
    GROWTH_BYTES_MAX, MAINTENANCE_BYTES_MAX, STEP_BYTES_MAX, STEP_SLOTS_MAX, VICTIMS_PER_STEP_MAX,
    WRITE_COMPACTION_BYTES_FACTOR, WRITE_COMPACTION_BYTES_MIN,
};
use super::steps::{Step, StepKind};
use super::table::{HashKeys, Table};
use super::usage::Maintained;
use crate::memory::OutOfMemory;

/// How much one call may do, and whether it may turn to another chunk.
struct Budget {
    /// Entries visited.
    slots: usize,
    /// Bytes after which it stops.
    bytes: usize,
    /// Chunks that it may begin with.
    victims: usize,
    /// Bytes of the step that are left to whoever comes after it.
    kept_bytes: usize,
}

impl<H: HashKeys> Table<H> {
    /// One bounded step towards an arena that is less than a twelfth dead, or a sixteenth where memory is short.
    pub(super) fn maintain(&mut self, memory_is_short: bool) -> Maintained {
        self.step = Step::default();
        let victims = if self.wants_maintenance(memory_is_short) { VICTIMS_PER_STEP_MAX } else { 0 };
        if victims == 0 && !self.arena.is_evacuating() && !self.pool.is_shrinking() {
            return Maintained::default();
        }
        let timer = self.begin_step(StepKind::Maintenance);
        let budget =
            Budget { slots: COMPACTION_SLOTS_MAX, bytes: MAINTENANCE_BYTES_MAX, victims, kept_bytes: 0 };
        let mut done = self.compact(&budget);
        let mut is_moving = false;
        if done.bytes == 0 && self.pool.is_shrinking() {
            is_moving = self.relocate();
            done.bytes = self.step.bytes;
        }
        if self.step.slots > 0 {
            self.steps.end(&timer, self.step, self.pool.step_books());
        }
        self.end_step();
        let pending = self.arena.is_evacuating() || self.wants_maintenance(memory_is_short);
        Maintained { more: is_moving || (pending && done.more), ..done }
    }

    fn wants_maintenance(&self, memory_is_short: bool) -> bool {
        // Where more than one part in so many of all chunks is dead, some chunk has as much and can be evacuated.
        let short = memory_is_short && self.arena.is_wasteful(DEAD_PARTS_CHUNK);
        short || self.wants_compaction(DEAD_PARTS_IDLE)
    }

    fn wants_compaction(&self, parts: u64) -> bool {
        self.arena.dead_bytes() >= DEAD_BYTES_MIN && self.arena.is_wasteful(parts)
    }

    /// What a write does for the bytes it let die, once enough are dead.
    pub(super) fn pay_for_compaction(&mut self, dead_bytes_before: u64) {
        let wants = self.wants_compaction(DEAD_PARTS_WRITE);
        if !wants && !self.arena.is_evacuating() {
            return;
        }
        let died = self.arena.dead_bytes().saturating_sub(dead_bytes_before) as usize;
        let left = STEP_SLOTS_MAX.saturating_sub(self.step.slots);
        self.compact_with_a_write(&Budget {
            slots: left.min(COMPACTION_SLOTS_MAX),
            bytes: WRITE_COMPACTION_BYTES_MIN + died * WRITE_COMPACTION_BYTES_FACTOR,
            victims: usize::from(wants),
            kept_bytes: 0,
        });
    }

    /// Tries to make room for a put of `hash` that was refused memory, leaving enough of the step for trying again, which will
    /// copy `put_bytes`. Says whether anything was freed. An entry that is too long to be moved along with such a put is left to
    /// shorter ones and to [`Table::maintain`].
    pub(super) fn reclaim(&mut self, hash: KeyHash, put_bytes: usize) -> bool {
        let leaf_len = self.directory.locate(hash).map_or(0, |at| self.directory.leaf(at).len());
        let charged_before = self.arena.charged_bytes();
        let left = STEP_SLOTS_MAX.saturating_sub(2 * self.step.slots + leaf_len + 1);
        self.compact_with_a_write(&Budget {
            slots: left.min(COMPACTION_SLOTS_MAX),
            bytes: STEP_BYTES_MAX / 4,
            victims: VICTIMS_PER_STEP_MAX,
            kept_bytes: put_bytes + GROWTH_BYTES_MAX,
        });
        self.arena.charged_bytes() < charged_before
    }

    fn compact_with_a_write(&mut self, budget: &Budget) {
        let (timer, before) = (self.begin_step(StepKind::Compaction), self.step);
        self.compact(budget);
        let work = Step { slots: self.step.slots - before.slots, bytes: self.step.bytes - before.bytes };
        if work.slots > 0 {
            self.steps.end(&timer, work, self.pool.step_books());
        }
    }

    /// Moves entries out of the chunk under evacuation, and of further ones, as far as `budget` goes and the
    /// step allows.
    fn compact(&mut self, budget: &Budget) -> Maintained {
        let (mut done, mut visited, mut victims) = (Maintained { more: true, ..Maintained::default() }, 0, 0);
        while visited < budget.slots && done.bytes < budget.bytes {
            if !self.arena.is_evacuating() {
                if victims == budget.victims || !self.arena.begin_evacuation() {
                    break;
                }
                victims += 1;
            }
            // An entry that was moved to make room, and what then came, may have used it up.
            let left = STEP_BYTES_MAX.saturating_sub(self.step.bytes + budget.kept_bytes);
            // Tails grow by at most what is appended, and what was in one before.
            let left_with_growth = left.saturating_sub(2 * GROWTH_BYTES_MAX) / 2;
            let bounds = BatchBounds {
                items_max: budget.slots - visited,
                bytes_max: (budget.bytes - done.bytes).min(left_with_growth),
                first_bytes_max: left,
            };
            let batch = self.arena.next_to_evacuate(&bounds);
            visited += batch.items;
            if batch.items == 0 {
                // The next entry is too long for what is left of the step.
                break;
            }
            (done.entries, done.bytes) = (done.entries + batch.count, done.bytes + batch.bytes);
            self.step.bytes += batch.bytes;
            if self.move_entries(&batch.addresses[..batch.count]).is_err() {
                // No chunk is left to move to; more steps would not help.
                done.more = false;
                break;
            }
        }
        self.step.slots += visited;
        done
    }

    /// Moves live entries of the evacuated chunk to the tail. The slots that this will change are asked for first, so that
    /// the waits for them overlap.
    fn move_entries(&mut self, addresses: &[Address]) -> Result<(), OutOfMemory> {
        let mut hashes = [KeyHash(0); EVACUATION_BATCH_ENTRIES];
        for (hash, &address) in hashes.iter_mut().zip(addresses) {
            *hash = self.arena.hash_at(address, |key| self.hasher.hash_of(key));
            self.prefetch_slots(*hash);
        }
        for (&hash, &address) in hashes.iter().zip(addresses) {
            if let Err(refused) = self.move_entry(hash, address) {
                self.arena.go_back_to(address);
                return Err(refused);
            }
        }
        Ok(())
    }

    /// Moves the live entry of `hash` at `address` to the tail.
    fn move_entry(&mut self, hash: KeyHash, address: Address) -> Result<(), OutOfMemory> {
        let at = self.directory.locate(hash).expect("a live entry has a leaf");
        let view = self.arena.view(address);
        let (key_bytes, body_bytes) = (view.key.len(), view.body.len());
        let extent_bytes = view.head.extent_bytes();
        let (mut short, mut middling, mut long);
        let bytes = key_bytes + body_bytes;
        let copy: &mut [u8] = if bytes <= SHORT_ENTRY_BYTES {
            short = [0; SHORT_ENTRY_BYTES];
            &mut short
        } else if bytes <= MIDDLING_ENTRY_BYTES {
            middling = [0; MIDDLING_ENTRY_BYTES];
            &mut middling
        } else {
            long = vec![0; bytes];
            &mut long
        };
        view.key.copy_to(copy);
        view.body.copy_to(&mut copy[key_bytes..]);
        let (key, body) = copy[..bytes].split_at(key_bytes);
        let body = match view.large_index() {
            None => Body::Inline(body),
            Some(index) => Body::Large { index, value_bytes: view.head.value_bytes as u32 },
        };
        let entry = Entry { version: view.version, value_type: view.head.value_type, key, body };
        let moved = self.arena.append(&entry, hash, 1, Limit::Exceed)?;
        self.step.bytes += self.arena.take_grown_bytes();
        if let Err(refused) = self.widen_for(moved, at, Limit::Exceed) {
            self.arena.kill(moved);
            return Err(refused);
        }
        let slot = self.slot_of(at, hash, address);
        self.directory.leaf_mut(at).set_offset(slot, moved.0, &self.pool);
        self.arena.kill_extent(address, extent_bytes);
        Ok(())
    }
}

/// An entry of so many bytes of key and value is moved by way of the stack. Two sizes, as room there has to be cleared first.
const SHORT_ENTRY_BYTES: usize = 128;
/// See [`SHORT_ENTRY_BYTES`].
const MIDDLING_ENTRY_BYTES: usize = 1_024;
