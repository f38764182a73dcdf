//! Where the entries of a leaf go when it is built anew: hash or home of each.
//!
//! Hashes are not stored. To read them again, [`for_each_hashed`] goes to every entry's key. For a leaf that only grows or
//! shrinks, [`move_all`] does without, for nearly all entries: home line and tag together are the top bits of the
//! hash below the leaf's own,
//!
//! ```text
//!   rel    │ T: home bits │ tag: 8 bits │ unknown …          rel = hash bits below the leaf's
//!          └──────── F ────────────────┘
//!   home = ⌊ lines × rel / 2^32 ⌋
//! ```
//!
//! and of all F that end in the tag, only one has its home in a given line, as a line covers 128 to 256 of them. The new home
//! follows from F, unless the border of two lines lies within it. So one entry in a hundred or so is read for that, and the
//! displaced ones, whose home is not known. The tag stays the same as long as the number of home bits does; where that changes,
//! once each time a leaf doubles, all are read.

use dht_protocol::placement::hash::KeyHash;

use super::arena::{Address, Arena};
use super::leaf::{Leaf, TAG_BITS};
use super::limits::{LEAF_ENTRIES_MAX, REHASH_BATCH_ENTRIES};
use super::pool::Pool;
use super::table::HashKeys;

/// Bits of `rel`.
const REL_BITS: u32 = u32::BITS;

/// Calls `on_entry` with hash and offset of each entry of `leaf`. Cost: reads every entry's key.
pub(super) fn for_each_hashed(
    leaf: &Leaf,
    pool: &Pool,
    arena: &Arena,
    hasher: &impl HashKeys,
    on_entry: impl FnMut(KeyHash, u32),
) {
    hash_each(leaf.offsets(pool), arena, hasher, on_entry);
}

/// Calls `on_entry` with hash and offset of each entry at `offsets`, a batch at a time, so that the waits for memory
/// overlap.
fn hash_each(
    mut offsets: impl Iterator<Item = u32>,
    arena: &Arena,
    hasher: &impl HashKeys,
    mut on_entry: impl FnMut(KeyHash, u32),
) {
    let mut batch = [0; REHASH_BATCH_ENTRIES];
    loop {
        let mut count = 0;
        for (slot, offset) in batch.iter_mut().zip(&mut offsets) {
            *slot = offset;
            count += 1;
        }
        if count == 0 {
            return;
        }
        batch[..count].iter().for_each(|&offset| arena.prefetch(Address(offset)));
        for &offset in &batch[..count] {
            on_entry(arena.hash_at(Address(offset), |key| hasher.hash_of(key)), offset);
        }
    }
}

/// Moves the entries of `old` to `new`, a leaf for the same range that can hold them.
pub(super) fn move_all(old: &Leaf, new: &mut Leaf, pool: &Pool, arena: &Arena, hasher: &impl HashKeys) {
    debug_assert_eq!((old.start(), old.bits()), (new.start(), new.bits()));
    if old.home_bits() != new.home_bits() || old.lines_count() == 0 || REL_BITS + old.bits() > u64::BITS {
        for_each_hashed(old, pool, arena, hasher, |hash, offset| new.insert(hash, offset, pool));
        return;
    }
    let known_bits = old.home_bits() + TAG_BITS;
    // Those whose home does not follow; the others are inserted first, so that they get the better places.
    let mut to_read = [0; LEAF_ENTRIES_MAX];
    let mut to_read_count = 0;
    for line in 0..old.lines_count() {
        let slots = old.line(line, pool);
        let (first, last) = knowns_of_line(line, old.lines_count(), known_bits);
        for slot in 0..slots.count() {
            let (tag, offset) = (slots.tag(slot), slots.offset(slot));
            let home = if slot < slots.displaced_from() {
                known_of_tag(first, last, tag).and_then(|known| home_of(known, known_bits, new.lines_count()))
            } else {
                None
            };
            match home {
                Some(home) => new.insert_at(home, tag, offset, pool),
                None => {
                    to_read[to_read_count] = offset;
                    to_read_count += 1;
                }
            }
        }
    }
    let to_read = to_read[..to_read_count].iter().copied();
    hash_each(to_read, arena, hasher, |hash, offset| new.insert(hash, offset, pool));
}

/// The lowest and the highest F that hashes with their home in `line` have.
fn knowns_of_line(line: usize, lines_count: usize, known_bits: u32) -> (u64, u64) {
    let start_of = |line: usize| ((line as u64) << REL_BITS).div_ceil(lines_count as u64);
    let unknown_bits = REL_BITS - known_bits;
    (start_of(line) >> unknown_bits, (start_of(line + 1) - 1) >> unknown_bits)
}

/// The only F from `first` to `last` that ends in `tag`; `None` if there are two.
fn known_of_tag(first: u64, last: u64, tag: u8) -> Option<u64> {
    let known = first + u64::from(tag.wrapping_sub(first as u8));
    debug_assert!(known <= last, "an entry at home has a tag that its line does not cover");
    (known + (1 << TAG_BITS) > last).then_some(known)
}

/// The home of all hashes that begin with `known` in a leaf of `lines_count`; `None` if they have two.
fn home_of(known: u64, known_bits: u32, lines_count: usize) -> Option<usize> {
    let unknown_bits = REL_BITS - known_bits;
    let home = |rel: u64| (rel * lines_count as u64) >> REL_BITS;
    let (first, last) = (home(known << unknown_bits), home(((known + 1) << unknown_bits) - 1));
    (first == last).then_some(first as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_that_is_inferred_is_right() {
        let mut random = 5u64;
        let (mut inferred, mut all) = (0, 0);
        for lines in 1..=36usize {
            let bits = lines.ilog2();
            let known_bits = bits + TAG_BITS;
            for other in (1..=36usize).filter(|other| other.ilog2() == bits) {
                for _ in 0..500 {
                    random = random.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
                    let rel = random >> 32;
                    let home = |lines: usize| (rel * lines as u64) >> REL_BITS;
                    let tag = (rel >> (REL_BITS - known_bits)) as u8;
                    let (first, last) = knowns_of_line(home(lines) as usize, lines, known_bits);
                    let known = known_of_tag(first, last, tag);
                    assert!(known.is_none_or(|known| known == rel >> (REL_BITS - known_bits)));
                    let found = known.and_then(|known| home_of(known, known_bits, other));
                    assert!(found.is_none_or(|found| found as u64 == home(other)));
                    all += 1;
                    inferred += u32::from(found.is_some());
                }
            }
        }
        assert!(inferred * 50 > all * 49, "{inferred} of {all}");
    }
}
