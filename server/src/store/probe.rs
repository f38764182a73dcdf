//! Look-ups of a batch, level by level. The memory that one will touch is asked for one level at a time; between two
//! levels of one look-up go those of all the others, so that their waits overlap.
//!
//! ```text
//!   partition ─▶ directory: leaf ─▶ line of slots ─▶ arena: chunk ─▶ entry
//! ```
//!
//! Nothing here decides anything: a guess that is wrong costs the look-up a wait.

use dht_protocol::placement::hash::KeyHash;

use super::arena::{Address, Arena};
use super::directory::Directory;
use super::leaf::Leaf;
use super::pool::Pool;

/// A look-up on its way. The partition's lock is held while it lives. Each of its levels comes once, in order.
pub struct Probe<'a> {
    directory: &'a Directory,
    arena: &'a Arena,
    pool: &'a Pool,
    hash: KeyHash,
    /// Whether a write follows, which touches the end of the arena too.
    writes: bool,
    /// Known from the second level on,
    leaf: Option<&'a Leaf>,
    /// and this from the third: where the entry most likely is.
    address: Option<Address>,
}

impl<'a> Probe<'a> {
    /// First level, the partition's own fields being there: the leaf that most likely covers the hash.
    #[inline]
    pub(super) fn new(
        directory: &'a Directory,
        arena: &'a Arena,
        pool: &'a Pool,
        hash: KeyHash,
        writes: bool,
    ) -> Probe<'a> {
        directory.prefetch(hash);
        if writes {
            arena.prefetch_tail_chunk();
        }
        Probe { directory, arena, pool, hash, writes, leaf: None, address: None }
    }

    /// Second level: the line where the hash is at home.
    #[inline]
    pub fn ask_for_line(&mut self) {
        if self.writes {
            self.arena.prefetch_tail();
        }
        self.leaf = self.directory.locate(self.hash).map(|at| self.directory.leaf(at));
        if let Some(leaf) = self.leaf {
            leaf.prefetch(self.hash, self.pool);
        }
    }

    /// Third level: what says where the bytes of the entry are.
    #[inline]
    pub fn ask_for_chunk(&mut self) {
        self.address = self.leaf.and_then(|leaf| leaf.likely_offset(self.hash, self.pool)).map(Address);
        if let Some(address) = self.address {
            self.arena.prefetch_chunk(address);
        }
    }

    /// Fourth level: the entry.
    #[inline]
    pub fn ask_for_entry(&self) {
        if let Some(address) = self.address {
            self.arena.prefetch(address);
        }
    }
}
