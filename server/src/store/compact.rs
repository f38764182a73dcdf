//! Compaction: emptying segments that are partly dead, a few entries at a time.
//!
//! One segment is evacuated at a time; its live entries are appended to the tail and their slots changed, and
//! with the last of them the segment is freed. Until then every entry has one live copy, so a step may stop
//! anywhere. Three occasions:
//!
//! - A write or delete pays a little while more than a quarter of the arena is dead: four bytes moved for each
//!   byte that it let die, more than the three that keep up at that quarter.
//! - [`Table::maintain`] works until less than an eighth is dead.
//! - A put that was refused memory takes what its step has left, whatever the dead part of the arena.
//!
//! Evacuation may charge past the memory limit, at most one segment (32 KiB) a partition, until it has freed the
//! segment.

use dht_protocol::placement::hash::KeyHash;

use super::arena::Address;
use super::entry;
use super::limits::{
    DEAD_BYTES_MIN, DEAD_PARTS_IDLE, DEAD_PARTS_SEGMENT, DEAD_PARTS_WRITE, STEP_BYTES_MAX, STEP_SLOTS_MAX,
    VICTIMS_PER_STEP_MAX, WRITE_COMPACTION_BYTES_FACTOR, WRITE_COMPACTION_BYTES_MIN,
    WRITE_COMPACTION_SLOTS_MAX,
};
use super::table::{HashKeys, Step, Table};
use super::usage::Maintained;
use crate::memory::OutOfMemory;

/// How much one call may do, and whether it may turn to another segment.
struct Budget {
    /// Entries visited.
    slots: usize,
    /// Bytes after which it stops.
    bytes: usize,
    /// Segments that it may begin with.
    victims: usize,
}

impl<H: HashKeys> Table<H> {
    /// One bounded step towards an arena that is less than an eighth dead, or a sixteenth where memory is short.
    pub(super) fn maintain(&mut self, memory_is_short: bool) -> Maintained {
        self.step = Step::default();
        let victims = if self.wants_maintenance(memory_is_short) { VICTIMS_PER_STEP_MAX } else { 0 };
        let done = self.compact(&Budget { slots: STEP_SLOTS_MAX, bytes: STEP_BYTES_MAX, victims });
        self.end_step();
        let pending = self.arena.evacuation().is_some() || self.wants_maintenance(memory_is_short);
        Maintained { more: pending && done.more, ..done }
    }

    fn wants_maintenance(&self, memory_is_short: bool) -> bool {
        // Where more than one part in so many of all segments is dead, some segment has as much and can be evacuated.
        let short = memory_is_short && self.arena.is_wasteful(DEAD_PARTS_SEGMENT);
        short || self.wants_compaction(DEAD_PARTS_IDLE)
    }

    fn wants_compaction(&self, parts: u64) -> bool {
        self.arena.dead_bytes() >= DEAD_BYTES_MIN && self.arena.is_wasteful(parts)
    }

    /// What a write does for the bytes it let die, once enough are dead.
    pub(super) fn pay_for_compaction(&mut self, dead_bytes_before: u64) {
        let wants = self.wants_compaction(DEAD_PARTS_WRITE);
        if !wants && self.arena.evacuation().is_none() {
            return;
        }
        let died = self.arena.dead_bytes().saturating_sub(dead_bytes_before) as usize;
        let left = STEP_SLOTS_MAX.saturating_sub(self.step.slots);
        self.compact(&Budget {
            slots: left.min(WRITE_COMPACTION_SLOTS_MAX),
            bytes: WRITE_COMPACTION_BYTES_MIN + died * WRITE_COMPACTION_BYTES_FACTOR,
            victims: usize::from(wants),
        });
    }

    /// Tries to make room for a put of `hash` that was refused memory, leaving enough of the step for trying again.
    /// Says whether anything was moved or freed.
    pub(super) fn reclaim(&mut self, hash: KeyHash) -> bool {
        let leaf_len = self.directory.locate(hash).map_or(0, |at| self.directory.leaf(at).len());
        let charged_before = self.arena.charged_bytes();
        self.compact(&Budget {
            slots: STEP_SLOTS_MAX.saturating_sub(2 * self.step.slots + leaf_len + 1),
            bytes: STEP_BYTES_MAX / 4,
            victims: VICTIMS_PER_STEP_MAX,
        });
        self.arena.charged_bytes() < charged_before
    }

    /// Moves entries out of the segment under evacuation, and of further ones, as far as `budget` goes and the
    /// step allows.
    fn compact(&mut self, budget: &Budget) -> Maintained {
        let (mut done, mut visited, mut victims) = (Maintained { more: true, ..Maintained::default() }, 0, 0);
        while visited < budget.slots && done.bytes < budget.bytes {
            let Some((address, extent, dead)) = self.arena.next_to_evacuate() else {
                if victims == budget.victims || !self.arena.begin_evacuation() {
                    break;
                }
                victims += 1;
                continue;
            };
            if dead {
                self.arena.advance_evacuation(extent);
            } else {
                let cost = self.arena.append_cost_bytes(extent);
                if self.step.bytes + cost > STEP_BYTES_MAX {
                    break;
                }
                if self.move_entry(address, extent).is_err() {
                    // No segment is left to move to; more steps would not help.
                    done.more = false;
                    break;
                }
                done.entries += 1;
                done.bytes += cost;
                self.step.bytes += cost;
            }
            visited += 1;
        }
        self.step.slots += visited;
        self.compaction_steps += u64::from(visited > 0);
        done
    }

    /// Moves the live entry of the evacuated segment at `address`.
    fn move_entry(&mut self, address: Address, extent_bytes: usize) -> Result<(), OutOfMemory> {
        let hash = entry::hash_of(self.arena.bytes_at(address), |key| self.hasher.hash_of(key));
        let at = self.directory.locate(hash).expect("a live entry has a leaf");
        let slot = self.directory.leaf(at).find(hash, |offset| offset == address.0);
        let slot = slot.expect("a live entry has a slot");
        let moved = self.arena.copy_to_tail(address, extent_bytes)?;
        self.directory.leaf_mut(at).set_offset(slot, moved.0);
        self.arena.advance_evacuation(extent_bytes);
        self.arena.kill(address);
        Ok(())
    }
}
