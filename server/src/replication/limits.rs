//! Every bound of replication, by name, and what happens at it.

/// Entries of a partition that are prepared and not committed. One more write is answered *busy*.
pub const PREPARED_ENTRIES_MAX: usize = 256;
/// Bytes of keys and values in them. One more write is answered *busy*, unless nothing is prepared.
pub const PREPARED_BYTES_MAX: usize = 4 << 20;
/// How far past its last acknowledged entry a backup takes entries that come before those between. What is further ahead it
/// ignores; it is sent again.
pub const WINDOW_ENTRIES_MAX: u64 = PREPARED_ENTRIES_MAX as u64;
/// Bytes of entries in one message, unless a single one has more.
pub const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// Entries in one message.
pub const MESSAGE_ENTRIES_MAX: usize = 64;
/// Requests of a partition that wait for a commit or for the end of a hand-over. One more is answered *busy*.
pub const WAITERS_MAX: usize = 1_024;
/// Newcomers that a primary fills at once, of one partition. One more waits until there is room: it asks again.
pub const COPIES_MAX: usize = 2;
/// Parts of a copy that are under way. While there are so many, or a long value waits, no further piece is cut.
pub const COPY_WINDOW: usize = 16;
/// Parts and long values of a copy that wait, the window among them: what is committed meanwhile comes on top of pieces. Past
/// that the newcomer is too slow, and its copy is dropped.
pub const COPY_QUEUE_MAX: usize = 4_096;
/// Bytes of keys and values in what was committed meanwhile and waits. Past that the same.
pub const COPY_QUEUE_BYTES_MAX: usize = 64 << 20;
/// Entries of one piece of a copy, unless more share a cursor.
pub const PIECE_ENTRIES_MAX: usize = 512;
/// Bytes of one piece of a copy, and of a fragment of an entry that is longer.
pub const PIECE_BYTES_MAX: usize = 48 << 10;
/// Bytes of long values of which one piece holds references, and no more are taken than the one that reaches it: those
/// that are overwritten meanwhile stay in memory until they have been sent.
pub const PIECE_LONG_BYTES_MAX: usize = 16 << 20;
/// Committed entries that are kept for replicas that come back, while none is known to be away.
pub const KEPT_ENTRIES_IDLE: usize = 16;
/// Committed entries that are kept while one is away.
pub const KEPT_ENTRIES_MAX: usize = 1_024;
/// Bytes of keys and values in them. The oldest goes when one more comes.
pub const KEPT_BYTES_MAX: usize = 1 << 20;
/// Bytes of logs and outcomes of all replicas of a node, unless it is told otherwise: see `budget`.
pub const LOG_BYTES_MAX: u64 = 256 << 20;
/// What an entry of a log takes besides key and value.
pub const LOG_ENTRY_BYTES: usize = 128;
/// What an outcome takes that is remembered.
pub const OUTCOME_BYTES: usize = 96;
/// Outcomes of writes that a partition remembers while that budget is short.
pub const OUTCOMES_SHORT_MAX: usize = 64;
/// Outcomes of writes that a partition remembers. Past that the client with the most is forgotten, by an entry of the log.
pub const OUTCOMES_MAX: usize = 1_024;
/// Outcomes in one part of a copy.
pub const OUTCOMES_PER_PART: usize = 256;
/// Clients of whom a partition still knows that it has forgotten something. Past that the oldest goes, and every retry
/// without an outcome is answered *unknown* from then on.
pub const FORGOTTEN_CLIENTS_MAX: usize = 64;
/// Messages under a configuration that is not known here yet, of all partitions. Past that they are dropped; they are sent again.
pub const HELD_MESSAGES_MAX: usize = 256;
/// Bytes of them. Past that the same.
pub const HELD_BYTES_MAX: usize = 4 << 20;
/// Questions for a lease without an answer that a node remembers, of one peer. The oldest goes when one more is asked.
pub const BEACONS_MAX: usize = 8;
/// Clients whose floors a node knows without a session that is open. The longest unheard goes first.
pub const FLOORS_MAX: usize = 65_536;
/// Members that one heartbeat accuses.
pub const ACCUSED_MAX: usize = 64;

/// How fast newcomers are filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyPace {
    /// Bytes of one piece, at most [`PIECE_BYTES_MAX`].
    pub piece_bytes: usize,
    /// Parts of a copy under way, at most [`COPY_WINDOW`].
    pub window: usize,
}

impl CopyPace {
    /// As fast as the bounds allow.
    pub const FULL: CopyPace = CopyPace { piece_bytes: PIECE_BYTES_MAX, window: COPY_WINDOW };
}

const _: () = assert!(OUTCOMES_SHORT_MAX < OUTCOMES_MAX);
const _: () = assert!(PIECE_BYTES_MAX < MESSAGE_BYTES_MAX);
const _: () = assert!(COPY_WINDOW < COPY_QUEUE_MAX && KEPT_ENTRIES_IDLE <= KEPT_ENTRIES_MAX);
// Catching up from the kept entries fits into a copy's queue, and so does what is committed meanwhile.
const _: () = assert!(2 * KEPT_ENTRIES_MAX <= COPY_QUEUE_MAX);
