//! Every bound of the daemon, by name. What travels is bounded in `dht_protocol::limits`, the store in
//! `store::limits`.

use dht_protocol::limits::{
    BODY_BYTES_MAX, HEADER_BYTES, KEY_BYTES_MAX, NODES_MAX, SCAN_PAGE_BYTES_MAX, SCAN_PAGE_ENTRIES_MAX,
    VALUE_BYTES_MAX,
};

/// Most worker threads.
pub const WORKERS_MAX: usize = 256;

/// Requests taken together: hashed, then prefetched, then looked up and answered.
pub const BATCH_REQUESTS_MAX: usize = 64;
/// Look-ups that go together: enough for their waits for memory to overlap, few enough for their partitions to be held
/// meanwhile.
pub const GROUP_LOOKUPS_MAX: usize = 16;

/// Buffer into which a worker reads, bytes; shared by its connections, so that an idle one holds none.
pub const READ_BUFFER_BYTES: usize = 256 << 10;
/// What one read may bring once the memory limit is reached, bytes: whole frames of it that cannot be answered at
/// once are kept all the same.
pub const READ_BYTES_MAX_AT_MEMORY_LIMIT: usize = 16 << 10;
/// What is read from a connection that is served together with others, bytes, before it has a turn of its own.
pub const GATHERED_READ_BYTES: usize = 16 << 10;
/// A frame at least so long, bytes, is gathered in a buffer of its own when it does not arrive at once; the start
/// of a shorter one is kept and put in front of what comes next.
pub const GATHERED_FRAME_BYTES_MIN: usize = IDLE_BUFFER_BYTES_MAX;
/// What one connection may read before the worker turns to the others, bytes.
pub const READ_TURN_BYTES_MAX: usize = 1 << 20;
/// A connection with more unsent answers than this, bytes, is neither read from nor served until the peer has
/// taken some. One answer more may be on top.
pub const OUTPUT_BYTES_MAX: usize = 1 << 20;
/// The same once the memory limit is reached.
pub const OUTPUT_BYTES_MAX_AT_MEMORY_LIMIT: usize = 16 << 10;
/// Time that one connection may take before the worker turns to the others, milliseconds. One request more may be
/// on top.
pub const TURN_MS: u64 = 2;
/// Pieces handed to one gathering write.
pub const WRITE_PIECES_MAX: usize = 32;
/// Space that a connection's buffers may keep while it is idle, and take even at the memory limit, bytes.
pub const IDLE_BUFFER_BYTES_MAX: usize = 4 << 10;

/// Partitions for each that workers may hold at once to answer a group of reads; where there are fewer, they let go
/// of all of them first.
pub const HELD_PARTITIONS_FACTOR: usize = 8;
/// Bytes of answers after which a worker lets go of what it holds for a group of reads.
pub const HELD_ANSWER_BYTES_MAX: usize = 16 << 10;

/// Head of an HTTP request, bytes.
pub const HTTP_HEAD_BYTES_MAX: usize = 8 << 10;
/// Header fields of an HTTP request.
pub const HTTP_HEADERS_MAX: usize = 64;

/// One word of a RESP command, bytes: a value.
pub const RESP_BULK_BYTES_MAX: usize = VALUE_BYTES_MAX;
/// Words of a RESP command.
pub const RESP_ARGS_MAX: usize = 1 << 16;
/// A RESP command, bytes.
pub const RESP_COMMAND_BYTES_MAX: usize = 64 << 20;
/// A line of a RESP command that is written inline, bytes.
pub const RESP_LINE_BYTES_MAX: usize = 64 << 10;
/// Words that a worker keeps room for between two batches of RESP commands.
pub const RESP_WORDS_KEPT_MAX: usize = 4_096;
/// Name that a RESP client gives to its connection, bytes.
pub const RESP_CLIENT_NAME_BYTES_MAX: usize = 256;
/// Most keys that one `SCAN` over RESP names; `COUNT` asks for no more.
pub const RESP_SCAN_COUNT_MAX: usize = SCAN_PAGE_ENTRIES_MAX;
/// Keys that one step of a `FLUSHDB` removes.
pub const RESP_FLUSH_STEP_KEYS: usize = 256;
/// Characters of a `MATCH` pattern that one key may be compared with: a pattern of many stars tries many ways.
pub const RESP_MATCH_STEPS_MAX: usize = 1 << 16;
/// Commands of one connection that wait for other nodes.
pub const RESP_PENDING_MAX: usize = 256;
/// Requests that a worker has under way to one other node.
pub const PEER_REQUESTS_MAX: usize = 1_024;
/// How long a connection to another node may take, the look-up of its name included, milliseconds.
pub const PEER_CONNECT_TIMEOUT_MS: u64 = 1_000;
/// How long another node may take to answer a request, milliseconds.
pub const PEER_ANSWER_TIMEOUT_MS: u64 = 5_000;
/// After a failure another node is left alone for so long, milliseconds: requests fail at once meanwhile.
pub const PEER_RETRY_MS: u64 = 100;
/// Rounds of answers and what follows from them before a worker looks at its poll again.
pub const PEER_ROUNDS_MAX: usize = 4;
/// Times that a command which reads and then writes a key starts over because another write got in between.
pub const RESP_TRIES_MAX: usize = 1_000;

/// Connections that the system has made and the acceptor has not yet taken. The system may have a lower limit
/// (`net.core.somaxconn`).
pub const LISTEN_QUEUE_MAX: i32 = 1_024;
/// Connections accepted but not yet taken over by their worker.
pub const HANDOVER_QUEUE_MAX: usize = 1_024;
/// Connections of one worker; one more is closed at once, and counted.
pub const CONNECTIONS_PER_WORKER_MAX: usize = 1 << 16;
/// Connections of a daemon, whatever it is told.
pub const CONNECTIONS_MAX: usize = CONNECTIONS_PER_WORKER_MAX * WORKERS_MAX;
/// Connections that the HTTP door takes past `--max-connections`, so that a monitor reaches a node that is full.
pub const HTTP_CONNECTIONS_RESERVED: usize = 8;
/// Descriptors that are no connections: standard streams, listeners, polls, a file that is read again, and some to
/// spare.
pub const DESCRIPTORS_RESERVED: u64 = 32;
/// Descriptors that each worker takes for itself: its poll and what wakes it.
pub const DESCRIPTORS_PER_WORKER: u64 = 2;
/// Events that one poll returns.
pub const POLL_EVENTS_MAX: usize = 1_024;
/// Connections that the acceptor takes at one listener before it looks at the next, and whether it is to stop.
pub const ACCEPTS_PER_TURN_MAX: usize = 256;
/// Pause of the acceptor when the system has no descriptor or memory for one more connection, milliseconds.
pub const ACCEPT_RETRY_MS: u64 = 50;
/// Refused frames of one connection that are logged; further ones are only counted.
pub const REFUSALS_LOGGED_PER_CONNECTION_MAX: u32 = 3;

/// Every connection is looked at so often whether it has been silent for too long, milliseconds.
pub const SWEEP_PERIOD_MS: u64 = 1_000;
/// Places of the connection table that are looked at in one go; a longer table is gone through in several, spread
/// over the period.
pub const SWEEP_SLOTS_MAX: usize = 1_024;
/// Longest `--idle-timeout`, seconds: thirty days.
pub const IDLE_TIMEOUT_S_MAX: u64 = 30 * 86_400;
/// A connection in the middle of something (a request half sent, answers not taken) may be silent for so long unless
/// told otherwise, seconds.
pub const STALL_TIMEOUT_S_DEFAULT: u64 = 60;
/// Longest `--stall-timeout`, seconds: a day.
pub const STALL_TIMEOUT_S_MAX: u64 = 86_400;
/// After so long without a byte the system asks the peer's whether the connection is still there, seconds.
pub const KEEPALIVE_IDLE_S: u64 = 120;
/// Time between two such questions that are not answered, seconds.
pub const KEEPALIVE_INTERVAL_S: u64 = 15;
/// Questions not answered after which the connection is gone.
pub const KEEPALIVE_PROBES: u32 = 4;

/// Largest `--slow-ms`, milliseconds: an hour.
pub const SLOW_MS_MAX: u64 = 3_600_000;
/// Lines of one kind are held to a number in each window of so long, seconds; what is left out is counted.
pub const LOG_WINDOW_S: u64 = 10;
/// Lines about connections refused, and about failures to accept, in a window.
pub const ACCEPT_LINES_PER_WINDOW_MAX: u32 = 3;
/// Lines of one worker about connections that were silent for too long, or when the daemon stopped, in a window.
pub const OVERDUE_LINES_PER_WINDOW_MAX: u32 = 10;
/// Lines of one worker about frames and connections that it refused, in a window.
pub const REFUSED_LINES_PER_WINDOW_MAX: u32 = 100;
/// Lines of one worker about slow requests, in a window.
pub const SLOW_LINES_PER_WINDOW_MAX: u32 = 100;

/// A daemon that stops looks so often which connections have been quiet, milliseconds.
pub const SHUTDOWN_TICK_MS: u64 = 20;
/// So long it goes on reading from peers that keep asking, milliseconds.
pub const SHUTDOWN_READ_MS: u64 = 500;

/// Times that a long append starts over because another write got in between.
pub const APPEND_TRIES_MAX: usize = 64;
/// Bounded steps of one scan request, over all its partitions.
pub const SCAN_STEPS_MAX: usize = 2_048;
/// A page that searches in vain (a prefix that few keys have) is closed after this many slots.
pub const SCAN_SLOTS_MAX: usize = 1 << 18;

/// Bytes for outcomes of writes, in all partitions together, unless the memory limit is small.
pub const DEDUP_BYTES_MAX: u64 = 64 << 20;
/// Part of the memory limit that outcomes of writes may take: one in so many.
pub const DEDUP_MEMORY_SHARE: u64 = 16;
/// Outcomes of writes in one partition: each write to it looks through them.
pub const DEDUP_RECORDS_PER_PARTITION_MAX: usize = 1_024;
/// Clients that have gone and of whom an outcome was forgotten.
pub const FORGOTTEN_CLIENTS_MAX: usize = 65_536;

/// Smallest memory limit that makes sense, bytes.
pub const MEMORY_LIMIT_BYTES_MIN: u64 = 1 << 20;
/// Part of the machine's memory that is the limit by default, percent.
pub const MEMORY_LIMIT_DEFAULT_PERCENT: u64 = 80;

/// Pauses of housekeeping in a round over all partitions, milliseconds together.
pub const HOUSEKEEPING_PAUSE_MS: u64 = 200;
/// Partitions that housekeeping looks at between two of them: where there is little to do, 20 microseconds of work.
pub const HOUSEKEEPING_SLICE_PARTITIONS: usize = 256;
/// Its pause between two steps on one partition whose lock somebody waits for, milliseconds. A waiter that is woken needs a
/// part of that to take the lock; the rest keeps housekeeping from fighting with those who write there, and pay for
/// compaction themselves.
pub const HOUSEKEEPING_STEP_PAUSE_MS: u64 = 1;
/// Housekeeping gives free pages back to the system where so many bytes more are resident than are in use,
pub const GIVE_BACK_BYTES_MIN: u64 = 8 << 20;
/// and they are one part in so many of those in use: looking for them takes the longer the more there are.
pub const GIVE_BACK_SHARE: u64 = 8;
/// That takes at most one part in so many of the time, whatever is freed.
pub const GIVE_BACK_TIME_SHARE: u32 = 100;
/// Memory is short, and housekeeping compacts more, above this part of the memory limit, percent.
pub const MEMORY_SHORT_PERCENT: u64 = 90;
/// Bounded steps of compaction that a write refused memory may cause in its own partition, the lock let go between
/// two of them.
pub const ROOM_TRIES_MAX: usize = 256;
/// Outcomes that housekeeping looks at in one partition before it lets go of the lock.
pub const HOUSEKEEPING_RECORDS_MAX: usize = 1_024;

/// How long one daemon waits for another's greeting, milliseconds.
pub const GREETING_TIMEOUT_MS: u64 = 1_000;
/// A greeter that waits for an answer looks so often whether it should end, milliseconds.
pub const GREETING_SLICE_MS: u64 = 20;
/// Pause before members that did not answer are greeted again, milliseconds.
pub const GREETING_PAUSE_MS: u64 = 1_000;

/// Longest time that answers may take to go out when a daemon stops, seconds.
pub const SHUTDOWN_TIMEOUT_S_MAX: u64 = 86_400;

/// Longest list of members on standard input, bytes.
pub const MEMBERS_BYTES_MAX: u64 = 1 << 20;

const _: () = assert!(GATHERED_FRAME_BYTES_MIN < READ_BUFFER_BYTES);
const _: () = assert!(HTTP_HEAD_BYTES_MAX < READ_BUFFER_BYTES);
const _: () = assert!(PEER_CONNECT_TIMEOUT_MS < PEER_ANSWER_TIMEOUT_MS);
const _: () = assert!(RESP_PENDING_MAX < PEER_REQUESTS_MAX);
const _: () = assert!(RESP_LINE_BYTES_MAX < READ_BUFFER_BYTES);
const _: () = assert!(RESP_COMMAND_BYTES_MAX > 2 * RESP_BULK_BYTES_MAX + KEY_BYTES_MAX);
// Places in a buffer are 32-bit numbers.
const _: () = assert!(RESP_COMMAND_BYTES_MAX + READ_BUFFER_BYTES < u32::MAX as usize);
const _: () = assert!(READ_BYTES_MAX_AT_MEMORY_LIMIT < READ_BUFFER_BYTES);
const _: () = assert!(GATHERED_READ_BYTES <= READ_BYTES_MAX_AT_MEMORY_LIMIT);
const _: () = assert!(GROUP_LOOKUPS_MAX <= BATCH_REQUESTS_MAX);
const _: () = assert!(GREETING_SLICE_MS < GREETING_TIMEOUT_MS);
const _: () = assert!(SHUTDOWN_TICK_MS < SHUTDOWN_READ_MS);
const _: () = assert!(SCAN_PAGE_BYTES_MAX <= OUTPUT_BYTES_MAX);
const _: () = assert!(BODY_BYTES_MAX > GATHERED_FRAME_BYTES_MIN);
const _: () = assert!(GATHERED_FRAME_BYTES_MIN >= HEADER_BYTES);
const _: () = assert!(STALL_TIMEOUT_S_DEFAULT <= STALL_TIMEOUT_S_MAX);
// The system's own limit for what is not acknowledged is a 32-bit number of milliseconds.
const _: () = assert!(STALL_TIMEOUT_S_MAX * 1_000 <= i32::MAX as u64);
const _: () = assert!(IDLE_TIMEOUT_S_MAX <= u32::MAX as u64 / 2);
const _: () = assert!(SWEEP_SLOTS_MAX <= CONNECTIONS_PER_WORKER_MAX);

/// Starts of nodes that a coordinator keeps account of, whether they are listed or not.
pub const CONTACTS_MAX: usize = 2 * NODES_MAX;
/// A start of a node that has sent nothing for so long is no longer kept account of, seconds.
pub const CONTACT_KEPT_S: u64 = 60;
/// Answers to one start of a node that a coordinator remembers, so as to know their echo.
pub const BEATS_REMEMBERED_MAX: usize = 16;
/// Messages that a coordinator has ready at once. One more is dropped, and counted: any of them may be lost on its way too.
pub const COORDINATOR_ACTIONS_MAX: usize = 8 * NODES_MAX;
/// By how much a coordinator whose store was lost raises the epoch, and each configuration's number: past all that it may have
/// given out and not know of.
pub const RECOVERY_STEP: u32 = 1_024;

// A map goes to every node, and each may have been answered meanwhile.
const _: () = assert!(COORDINATOR_ACTIONS_MAX >= 4 * NODES_MAX);
