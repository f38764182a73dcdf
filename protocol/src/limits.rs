//! Every bound of the wire format, by name. A peer may announce smaller ones in its `HELLO`; none may be
//! larger than what stands here. Lengths are checked against these before anything is allocated for them.

/// Shortest key, bytes.
pub const KEY_BYTES_MIN: usize = 1;
/// Longest key, bytes: what a 16-bit length can say.
pub const KEY_BYTES_MAX: usize = 65_535;
/// First byte that no key of a user may have. No UTF-8 text begins so; the cluster keeps such names for itself.
pub const KEY_RESERVED_FIRST_BYTE: u8 = 0xFF;
/// Longest value, bytes (16 MiB), its type tag not counted.
pub const VALUE_BYTES_MAX: usize = 16 << 20;

/// Header of every frame, bytes, the length field included.
pub const HEADER_BYTES: usize = 16;
/// The part of the header that the length field itself does not count, bytes.
pub const LENGTH_FIELD_BYTES: usize = 4;
/// Room for the fixed fields of any body, bytes (the largest is that of a conditional `PUT`).
pub const BODY_FIXED_BYTES_MAX: usize = 64;
/// Longest body of a request or response, bytes.
pub const BODY_BYTES_MAX: usize = VALUE_BYTES_MAX + KEY_BYTES_MAX + BODY_FIXED_BYTES_MAX;
/// Longest frame, bytes, header and length field included.
pub const FRAME_BYTES_MAX: usize = HEADER_BYTES + BODY_BYTES_MAX;

/// Most entries in one page of a scan.
pub const SCAN_PAGE_ENTRIES_MAX: usize = 4_096;
/// A page of a scan is closed once it holds this many bytes of keys and values.
pub const SCAN_PAGE_BYTES_MAX: usize = 1 << 20;
/// Longest value that a page carries, bytes. A page leaves out a longer one, and may leave out any: it then gives
/// version, type and length alone, and the reader fetches the value with `GET`.
pub const SCAN_VALUE_INLINE_BYTES_MAX: usize = 32 << 10;
/// Most partitions that one scan request may name.
pub const SCAN_PARTITIONS_MAX: usize = 1_024;

/// Fewest partitions of a cluster, as a power of two (16).
pub const PARTITIONS_LOG2_MIN: u32 = 4;
/// Most partitions of a cluster, as a power of two (65,536).
pub const PARTITIONS_LOG2_MAX: u32 = 16;
/// Partitions of a cluster unless told otherwise.
pub const PARTITIONS_DEFAULT: u32 = 4_096;
/// Most nodes of a cluster.
pub const NODES_MAX: usize = 1_024;
/// Longest `HOST:PORT` of a node, bytes.
pub const ADDRESS_BYTES_MAX: usize = 255;

/// Most replicas, joining ones too, that a map with replicas names in all its partitions together.
pub const MAP_MEMBERS_MAX: usize = 1 << 20;
/// Longest wire form of a map with replicas, bytes.
pub const REPLICA_MAP_BYTES_MAX: usize = 16 << 20;
/// Most members that one heartbeat accuses.
pub const ACCUSED_MAX: usize = NODES_MAX;
/// Most log entries in one message.
pub const PREPARE_ENTRIES_MAX: usize = 4_096;
/// Most entries in one piece of a copy.
pub const COPY_PIECE_ENTRIES_MAX: usize = 4_096;
/// Most remembered outcomes, and most forgotten clients, in one part of a copy.
pub const COPY_OUTCOMES_MAX: usize = 65_536;
/// Longest message between nodes or with their coordinator, bytes: one log entry of the longest key and value, or a map.
pub const PEER_MESSAGE_BYTES_MAX: usize = BODY_BYTES_MAX + PEER_MESSAGE_FIXED_BYTES_MAX;
/// Room for what such a message says besides keys and values, bytes.
pub const PEER_MESSAGE_FIXED_BYTES_MAX: usize = 256;

/// Widest gap between a client's lowest unanswered write and its newest one. A server refuses a wider one and
/// a client waits before it opens one, so that the outcomes kept for retries stay few.
pub const WRITE_SPAN_MAX: u64 = 1 << 20;

/// Longest explanation in a refusal, bytes of UTF-8.
pub const REFUSAL_TEXT_BYTES_MAX: usize = 1_024;
/// Longest name of a statistic, bytes.
pub const STAT_NAME_BYTES_MAX: usize = 255;
/// Most statistics in one answer.
pub const STATS_MAX: usize = 1_024;

const _: () = assert!(KEY_BYTES_MAX == u16::MAX as usize);
const _: () = assert!(FRAME_BYTES_MAX < u32::MAX as usize);
const _: () = assert!(PARTITIONS_DEFAULT.is_power_of_two());
const _: () = assert!(PARTITIONS_DEFAULT.trailing_zeros() >= PARTITIONS_LOG2_MIN);
const _: () = assert!(PARTITIONS_DEFAULT.trailing_zeros() <= PARTITIONS_LOG2_MAX);
// One page always fits into a frame: it is closed at the first entry that reaches the bound, and one entry is
// at most a key, an inline value and its fixed fields. (Entries that share one cursor step may exceed it; the
// bound on the frame leaves room for more than a hundred of them.)
const _: () = assert!(
    SCAN_PAGE_BYTES_MAX + 64 * (KEY_BYTES_MAX + SCAN_VALUE_INLINE_BYTES_MAX + BODY_FIXED_BYTES_MAX)
        < BODY_BYTES_MAX
);
const _: () = assert!(SCAN_VALUE_INLINE_BYTES_MAX <= SCAN_PAGE_BYTES_MAX);
const _: () = assert!(REPLICA_MAP_BYTES_MAX + PEER_MESSAGE_FIXED_BYTES_MAX <= PEER_MESSAGE_BYTES_MAX);
const _: () = assert!(NODES_MAX <= u16::MAX as usize);
const _: () = assert!(ADDRESS_BYTES_MAX <= u16::MAX as usize);
const _: () = assert!(PREPARE_ENTRIES_MAX <= u16::MAX as usize);
const _: () = assert!(COPY_PIECE_ENTRIES_MAX <= u16::MAX as usize);
// Every partition has room for a few replicas, however many there are.
const _: () = assert!(MAP_MEMBERS_MAX >> PARTITIONS_LOG2_MAX >= 16);
