//! Every bound of the client that is not one of the protocol, by name.

use std::time::Duration;

/// Longest that a call takes, unless told otherwise.
pub(crate) const OP_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
/// Shortest time-out; a shorter one is taken as this.
pub(crate) const TIMEOUT_MIN: Duration = Duration::from_millis(1);
/// Longest time-out; a longer one is taken as this.
pub(crate) const TIMEOUT_MAX: Duration = Duration::from_secs(86_400);
/// Longest that an attempt to connect takes, unless told otherwise.
pub(crate) const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(1);
/// Most attempts of a call, unless told otherwise.
pub(crate) const ATTEMPTS_MAX_DEFAULT: u32 = 16;
/// Attempts of a question to one node, such as a ping: the second one is for a connection that broke unseen.
pub(crate) const NODE_ATTEMPTS_MAX: u32 = 2;
/// Most connections to a node, unless told otherwise.
pub(crate) const CONNECTIONS_PER_NODE_DEFAULT: usize = 2;
/// Most servers that a client can be given.
pub(crate) const SERVERS_MAX: usize = 1_024;

/// Most unanswered requests of a connection; further callers wait. A power of two: the slot's number is the
/// low part of a request id.
pub(crate) const SLOTS_MAX: usize = 1 << SLOT_BITS;
/// Bits of a slot's number in a request id; the others are its generation.
pub(crate) const SLOT_BITS: u32 = 10;
/// Most frames that go out in one system call.
pub(crate) const WRITE_BATCH_FRAMES_MAX: usize = 64;
/// A read or write that takes longer comes back to look at the clock and at who else waits.
pub(crate) const SOCKET_SLICE: Duration = Duration::from_millis(100);
/// First size of a read buffer, and what it shrinks back to, bytes.
pub(crate) const READ_BUFFER_BYTES: usize = 64 << 10;
/// A read buffer that a long answer made longer than this is given back once it is empty, bytes.
pub(crate) const READ_BUFFER_KEPT_BYTES_MAX: usize = 1 << 20;
/// A connection that nobody used for this long is looked at before a request goes out on it.
pub(crate) const IDLE_LOOK_AFTER: Duration = Duration::from_millis(20);
/// A connection on which nothing came for at least this long, and for all of a call that ended without an
/// answer, is taken for dead.
pub(crate) const SILENCE_MIN: Duration = Duration::from_secs(1);
/// A connection on which the node takes no byte for this long, although there is something to write, is dead.
pub(crate) const STUCK_MAX: Duration = Duration::from_secs(2);
/// A writer that the node takes no bytes from reads for so long before it tries again.
pub(crate) const BLOCKED_READ_SLICE: Duration = Duration::from_millis(10);

/// For so long after a connect failed nobody tries that node again.
pub(crate) const UNREACHABLE_FOR: Duration = Duration::from_millis(50);
/// At most once in this time is the map asked for because a node does not answer.
pub(crate) const REFRESH_PAUSE: Duration = Duration::from_millis(250);

/// First back-off; it doubles with every failure.
pub(crate) const BACKOFF_MIN: Duration = Duration::from_millis(2);
/// Longest back-off.
pub(crate) const BACKOFF_MAX: Duration = Duration::from_millis(400);

/// Most requests of one bulk call that are under way on a connection. Others still find slots there.
pub(crate) const BULK_IN_FLIGHT_MAX: usize = 256;
/// Most bytes of such requests, and of their answers as far as these can be foreseen. A longer request goes alone.
pub(crate) const BULK_BYTES_IN_FLIGHT_MAX: usize = 1 << 20;
/// Most threads that one bulk call uses, its caller's included. Servers beyond take turns.
pub(crate) const BULK_THREADS_MAX: usize = 32;

/// Most threads that ask nodes at once, the caller's included, where every node is asked. Nodes beyond take turns.
pub(crate) const EVERY_NODE_THREADS_MAX: usize = 32;

/// Deepest nesting of the parts of a typed key. A recursive type could otherwise use up a thread's stack, and what is
/// read may have been put there by anybody.
pub(crate) const KEY_DEPTH_MAX: usize = 64;

/// Errors in a row, without an entry between them, after which an iteration ends.
pub(crate) const ITER_ERRORS_IN_A_ROW_MAX: u32 = 8;
/// Most entries of a page, unless told otherwise.
pub(crate) const PAGE_ENTRIES_DEFAULT: usize = 1_024;

const _: () = assert!(SLOTS_MAX.is_multiple_of(64));
const _: () = assert!(BULK_IN_FLIGHT_MAX <= SLOTS_MAX / 2);
const _: () = assert!(BACKOFF_MIN.as_nanos() < BACKOFF_MAX.as_nanos());
const _: () = assert!(READ_BUFFER_BYTES <= READ_BUFFER_KEPT_BYTES_MAX);
const _: () = assert!(UNREACHABLE_FOR.as_nanos() < BACKOFF_MAX.as_nanos());
const _: () = assert!(SILENCE_MIN.as_nanos() <= STUCK_MAX.as_nanos());
const _: () = assert!(BLOCKED_READ_SLICE.as_nanos() < SOCKET_SLICE.as_nanos());
const _: () = assert!(SOCKET_SLICE.as_nanos() < STUCK_MAX.as_nanos() / 2);
