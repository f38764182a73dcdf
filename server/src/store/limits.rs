//! Every bound of the store, by name. The maxima that belong together are tied by assertions at the end.

use dht_protocol::limits::SCAN_VALUE_INLINE_BYTES_MAX;

/// Most slots that one step under a partition's lock touches. A slot is touched when its entry is visited:
/// hashed, compared, moved or emitted.
pub const STEP_SLOTS_MAX: usize = 1_024;
/// Most bytes of values that one step under a partition's lock copies.
pub const STEP_BYTES_MAX: usize = 64 << 10;

/// Longest value that lives in the arena. A longer one is *large*: a reference-counted block of its own.
pub const INLINE_VALUE_BYTES_MAX: usize = SCAN_VALUE_INLINE_BYTES_MAX;
/// Longest entry (header, key and value) whose value lives in the arena.
pub const INLINE_ENTRY_BYTES_MAX: usize = STEP_BYTES_MAX;

/// Slots that a probe looks at together, and the step of all leaf sizes.
pub const GROUP_SLOTS: usize = 8;
/// A leaf this big splits instead of growing.
pub const LEAF_SLOTS_MAX: usize = 512;
/// A leaf that a split leaves unbalanced, or that cannot be split any more, may still grow to this. No more, so
/// that a look-up that has to compare every key of a leaf, and a rebuild of it, fit into one step.
pub const LEAF_SLOTS_HARD_MAX: usize = 560;
/// Tenths of a leaf's slots that may be in use.
pub const LOAD_TENTHS_MAX: usize = 9;
/// Groups that a probe may pass before the leaf is split or grown.
pub const PROBE_GROUPS_MAX: usize = 16;
/// A leaf grows by one part in this many.
pub const LEAF_GROWTH_PARTS: usize = 8;
/// Two buddy leaves become one when they hold at most this many entries together. Such a leaf has at most
/// [`PROBE_GROUPS_MAX`] groups, so that a merge never calls for a split.
pub const MERGE_ENTRIES_MAX: usize = 112;
/// Most hash bits that a leaf's place may fix: those of a cursor, so that no cursor step straddles leaves.
pub const LEAF_BITS_MAX: u32 = dht_protocol::cursor::CURSOR_BITS;
/// Most leaves in a block of the directory.
pub const BLOCK_LEAVES_MAX: usize = 256;

/// Offsets in the arena count in units of this many bytes.
pub const UNIT_BYTES: usize = 2;
/// Biggest segment, unless it holds a single entry that is bigger.
pub const SEGMENT_BYTES_MAX: usize = 32 << 10;
/// The last segment is full at one part in this many of the arena. (One big segment that grew with its partition
/// left a hole wherever it had been: measured at 18 bytes an entry of resident memory that nobody accounts for.)
pub const SEGMENT_FULL_PARTS: usize = 8;
/// It is not full below this.
pub const SEGMENT_FULL_BYTES_MIN: usize = 2 << 10;
/// Smallest step by which the last segment grows.
pub const SEGMENT_GROWTH_BYTES_MIN: usize = 128;
/// The last segment grows by one part in this many.
pub const SEGMENT_GROWTH_PARTS: usize = 16;
/// Most segments of a partition: what a 32-bit offset can name (8 GiB).
pub const SEGMENTS_MAX: usize = 1 << (u32::BITS - (SEGMENT_BYTES_MAX / UNIT_BYTES).trailing_zeros());
/// Items in a chunk of a chunked list.
pub const CHUNK_ITEMS: usize = 1_024;
/// A key at least this long keeps its hash, so that moving its entry does not hash it again.
pub const STORED_HASH_KEY_BYTES_MIN: usize = 128;

/// Writes pay for compaction while more than one byte in this many is dead.
pub const DEAD_PARTS_WRITE: u64 = 4;
/// [`super::Partition::maintain`] compacts while more than one byte in this many is dead.
pub const DEAD_PARTS_IDLE: u64 = 8;
/// A segment is worth its evacuation when more than one byte in this many is dead.
pub const DEAD_PARTS_SEGMENT: u64 = 16;
/// Fewer dead bytes than this are left alone, unless memory was refused.
pub const DEAD_BYTES_MIN: u64 = 1 << 10;
/// Segments that one step begins to evacuate at most.
pub const VICTIMS_PER_STEP_MAX: usize = 4;
/// Segments that one step looks at for one to evacuate.
pub const VICTIM_WINDOW: usize = 64;
/// Entries that a write moves at most to pay for compaction.
pub const WRITE_COMPACTION_SLOTS_MAX: usize = 64;
/// Bytes of entries that a write moves for each byte it lets die.
pub const WRITE_COMPACTION_BYTES_FACTOR: usize = 4;
/// Bytes of entries that a write moves besides.
pub const WRITE_COMPACTION_BYTES_MIN: usize = 2 << 10;

const _: () = assert!(2 * (LEAF_SLOTS_HARD_MAX * LOAD_TENTHS_MAX / 10) + 2 <= STEP_SLOTS_MAX);
const _: () = assert!(LEAF_SLOTS_MAX < LEAF_SLOTS_HARD_MAX);
const _: () = assert!(LEAF_SLOTS_MAX.is_multiple_of(GROUP_SLOTS));
const _: () = assert!(LEAF_SLOTS_HARD_MAX.is_multiple_of(GROUP_SLOTS));
const _: () = assert!(MERGE_ENTRIES_MAX * 10 <= PROBE_GROUPS_MAX * GROUP_SLOTS * LOAD_TENTHS_MAX);
const _: () = assert!(LOAD_TENTHS_MAX < 10);
// A write may lengthen the last segment (which may move it) and copy its own value in one step.
const _: () = assert!(SEGMENT_BYTES_MAX + INLINE_VALUE_BYTES_MAX <= STEP_BYTES_MAX);
const _: () = assert!(SEGMENTS_MAX.is_power_of_two() && UNIT_BYTES.is_power_of_two());
const _: () = assert!(DEAD_PARTS_WRITE <= DEAD_PARTS_IDLE && DEAD_PARTS_IDLE <= DEAD_PARTS_SEGMENT);
