//! Every bound of the store, by name. The maxima that belong together are tied by assertions at the end.

use dht_protocol::limits::{KEY_BYTES_MAX, SCAN_VALUE_INLINE_BYTES_MAX};

/// Most slots that one step under a partition's lock touches. A slot is touched when its entry is visited:
/// hashed, compared, moved or emitted.
pub const STEP_SLOTS_MAX: usize = 1_024;
/// Most bytes of keys and values that one step under a partition's lock copies.
pub const STEP_BYTES_MAX: usize = 64 << 10;

/// Longest value that lives in the arena. A longer one is *large*: a reference-counted block of its own.
pub const INLINE_VALUE_BYTES_MAX: usize = SCAN_VALUE_INLINE_BYTES_MAX;
/// Longest entry (header, key and value) whose value lives in the arena.
pub const INLINE_ENTRY_BYTES_MAX: usize = STEP_BYTES_MAX;

/// A leaf of so many pieces splits instead of growing.
pub const LEAF_PIECES_MAX: usize = 15;
/// A leaf that a split leaves unbalanced, or that cannot be split any more, may still grow to this. No more, so
/// that a look-up that has to compare every key of a leaf, and a rebuild of it, fit into one step.
pub const LEAF_PIECES_HARD_MAX: usize = 18;
/// Percent of a leaf's slots that may be in use.
pub const LOAD_PERCENT_MAX: usize = 93;
/// Most entries of a leaf.
pub const LEAF_ENTRIES_MAX: usize = 502;
/// Lines that a probe may pass before the leaf is split.
pub const PROBE_LINES_MAX: usize = 8;
/// A leaf grows by one part in this many, a piece at least.
pub const LEAF_GROWTH_PARTS: usize = 8;
/// Two buddy leaves become one when they hold at most this many entries together. Such a leaf has at most
/// [`PROBE_LINES_MAX`] lines, so that a merge never calls for a split.
pub const MERGE_ENTRIES_MAX: usize = 80;
/// Entries whose keys are read together, so that their cache misses overlap.
pub const REHASH_BATCH_ENTRIES: usize = 32;
/// Most hash bits that a leaf's place may fix: those of a cursor, so that no cursor step straddles leaves.
pub const LEAF_BITS_MAX: u32 = dht_protocol::cursor::CURSOR_BITS;
/// Most leaves in a block of the directory.
pub const BLOCK_LEAVES_MAX: usize = 256;

/// Addresses that the pool of a node reserves, and so the most that entries which are not large can take, bytes: what the
/// name of a block can tell apart. They cost nothing until they are used.
pub const REGION_BYTES_MAX: u64 = if cfg!(test) { 1 << 30 } else { 128 << 30 };
/// Where less than this is in use, bytes, no huge pages are made: each is resident as a whole.
pub const HUGE_POOL_BYTES_MIN: u64 = 128 << 20;
/// Pages given back to the system in one call.
pub const TRIM_PAGES_MAX: u32 = 1_024;

/// Chunks grow to 2 KiB and then to 4 KiB once the arena is this big, bytes; they keep to 1 KiB before.
pub const CHUNK2_ARENA_BYTES_MIN: u64 = 48 << 10;
/// See [`CHUNK2_ARENA_BYTES_MIN`].
pub const CHUNK4_ARENA_BYTES_MIN: u64 = 160 << 10;
/// Chunks that cannot hold so many entries like the next one grow beyond that once the arena is
/// [`LONG_ENTRIES_ARENA_BYTES_MIN`] big: of few entries, few die at a time, whatever the size of a chunk.
pub const CHUNK_ENTRIES_MIN: usize = 4;
/// See [`CHUNK_ENTRIES_MIN`]; bytes.
pub const LONG_ENTRIES_ARENA_BYTES_MIN: u64 = 8 << 10;
/// For an entry longer than this the tail does not grow: what both copy is not to add up.
pub const GROWTH_ENTRY_BYTES_MAX: usize = 4 << 10;
/// Most bytes that the growth of a tail copies.
pub const GROWTH_BYTES_MAX: usize = 2 << 10;
/// Bits of an address that say the place within its chunk.
pub const PLACE_BITS: u32 = 12;
/// Most chunks of a partition: what the rest of a 32-bit address can name (4 GiB).
pub const CHUNKS_MAX: usize = 1 << (u32::BITS - PLACE_BITS);
/// Items in a part of a chunked list.
pub const CHUNK_ITEMS: usize = 1_024;
/// A key at least this long keeps its hash, so that moving its entry does not hash it again.
pub const STORED_HASH_KEY_BYTES_MIN: usize = 128;

/// Writes pay for compaction while more than one byte in this many is dead.
pub const DEAD_PARTS_WRITE: u64 = 9;
/// [`super::Partition::maintain`] compacts while more than one byte in this many is dead.
pub const DEAD_PARTS_IDLE: u64 = 12;
/// A chunk is worth its evacuation when more than one byte in this many is dead.
pub const DEAD_PARTS_CHUNK: u64 = 16;
/// Entries and dead runs that a step of compaction visits at most, whoever takes it. Far fewer than [`STEP_SLOTS_MAX`], as each
/// is read, hashed and copied, and its slot looked for: 0.25 to 0.6 µs at 20,000,000 entries, up to 1.8 µs now and then, and
/// others wait meanwhile. So a step takes less than 0.1 ms.
pub const COMPACTION_SLOTS_MAX: usize = 32;
/// Bytes of entries, or of blocks, after which a step of housekeeping ends.
pub const MAINTENANCE_BYTES_MAX: usize = STEP_BYTES_MAX / 2;
/// Blocks that a step of housekeeping looks at, for some to move to lower places.
pub const MOVE_LOOKS_MAX: usize = STEP_SLOTS_MAX - COMPACTION_SLOTS_MAX;
/// Blocks for which it looks for a lower place.
pub const MOVE_TRIES_MAX: usize = 128;
/// Fewer dead bytes than this are left alone, unless memory was refused.
pub const DEAD_BYTES_MIN: u64 = 1 << 8;
/// Chunks that one step begins to evacuate at most.
pub const VICTIMS_PER_STEP_MAX: usize = 4;
/// Chunks that one step looks at for one to evacuate.
pub const VICTIM_WINDOW: usize = 64;
/// Bytes of entries that a write moves for each byte it lets die.
pub const WRITE_COMPACTION_BYTES_FACTOR: usize = 10;
/// Bytes of entries that a write moves besides.
pub const WRITE_COMPACTION_BYTES_MIN: usize = 2 << 10;

const _: () = assert!(2 * LEAF_ENTRIES_MAX + 2 <= STEP_SLOTS_MAX);
const _: () = assert!(COMPACTION_SLOTS_MAX <= STEP_SLOTS_MAX && MAINTENANCE_BYTES_MAX <= STEP_BYTES_MAX);
// A step may have visited dead runs before it turns to blocks.
const _: () = assert!(COMPACTION_SLOTS_MAX + MOVE_LOOKS_MAX <= STEP_SLOTS_MAX);
// Otherwise no leaf would ever be looked at.
const _: () = assert!(LEAF_PIECES_HARD_MAX <= MOVE_TRIES_MAX && MOVE_TRIES_MAX <= MOVE_LOOKS_MAX);
const _: () = assert!(LEAF_PIECES_MAX < LEAF_PIECES_HARD_MAX);
const _: () = assert!(LOAD_PERCENT_MAX < 100);
// Any entry can be written, and moved, in one step: housekeeping, which copies nothing else, comes past each.
const _: () = assert!(INLINE_ENTRY_BYTES_MAX <= STEP_BYTES_MAX && KEY_BYTES_MAX <= STEP_BYTES_MAX);
const _: () = assert!(
    LONG_ENTRIES_ARENA_BYTES_MIN <= CHUNK2_ARENA_BYTES_MIN && CHUNK2_ARENA_BYTES_MIN < CHUNK4_ARENA_BYTES_MIN
);
const _: () = assert!(DEAD_PARTS_WRITE <= DEAD_PARTS_IDLE && DEAD_PARTS_IDLE <= DEAD_PARTS_CHUNK);
