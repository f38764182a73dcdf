//! Moving whole blocks, chunks and leaves' pieces, to lower places of the pool where that asks for it, so that pages become
//! idle and can be given back to the system.
//!
//! A pass goes over all blocks of the table, some of them a step, chunks first and then leaves in hash order. Where it stopped
//! is an index or a hash, so it holds whatever becomes of chunks and leaves between two steps: what is missed has
//! moved by itself, or is met in the next pass.

use dht_protocol::placement::hash::KeyHash;

use super::limits::{LEAF_PIECES_HARD_MAX, MAINTENANCE_BYTES_MAX, MOVE_LOOKS_MAX, MOVE_TRIES_MAX};
use super::pool::Class;
use super::table::{HashKeys, Table};

/// Where a pass goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relocation {
    /// At this chunk.
    Chunks(u32),
    /// At the leaf that covers this hash.
    Leaves(KeyHash),
}

impl Relocation {
    /// The start of a pass.
    pub(super) const START: Relocation = Relocation::Chunks(0);
}

/// What moving blocks may still do in one step.
#[derive(Clone, Copy, Debug)]
pub(super) struct MoveBudget {
    /// Blocks that may be looked at.
    pub(super) looks: usize,
    /// Blocks for which a lower place may be looked for.
    pub(super) tries: usize,
    /// Bytes that may be moved.
    pub(super) bytes: usize,
}

impl MoveBudget {
    /// Whether `blocks_count` more may be moved, a chunk or some pieces.
    pub(super) fn allows(&self, blocks_count: usize) -> bool {
        self.looks >= blocks_count && self.tries >= blocks_count && self.bytes >= MOVED_TOGETHER_BYTES_MAX
    }

    /// Takes off a look at one block.
    pub(super) fn on_look(&mut self) {
        self.looks = self.looks.saturating_sub(1);
    }
}

/// A chunk, or the pieces of a leaf, at most.
const MOVED_TOGETHER_BYTES_MAX: usize = Class::Chunk4.bytes();

const _: () = assert!(LEAF_PIECES_HARD_MAX * Class::Piece.bytes() <= MOVED_TOGETHER_BYTES_MAX);

impl<H: HashKeys> Table<H> {
    /// One bounded step of a pass; says whether there are more to come in it.
    pub(super) fn relocate(&mut self) -> bool {
        let full = MoveBudget { looks: MOVE_LOOKS_MAX, tries: MOVE_TRIES_MAX, bytes: MAINTENANCE_BYTES_MAX };
        let mut budget = full;
        let leaves_from = match self.relocation {
            Relocation::Leaves(from) => Ok(from),
            Relocation::Chunks(from) => match self.arena.relocate(from, &mut budget) {
                Some(from) => Err(Relocation::Chunks(from)),
                None => Ok(KeyHash(self.span.start)),
            },
        };
        let goes_on_at = match leaves_from {
            Err(chunks) => Some(chunks),
            Ok(from) => self.directory.relocate(from, &self.pool, &mut budget).map(Relocation::Leaves),
        };
        self.relocation = goes_on_at.unwrap_or(Relocation::START);
        self.step.slots += full.looks - budget.looks;
        self.step.bytes += full.bytes - budget.bytes;
        goes_on_at.is_some()
    }
}
