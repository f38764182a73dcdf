//! Bounds of the load generator.

/// Most keys.
pub(crate) const KEYS_MAX: u64 = 1 << 48;
/// Most keys that a run inserts besides those of the load: days of inserts at millions a second.
pub(crate) const INSERTS_MAX: u64 = 1 << 40;
/// Most entries of a scan's page, as in YCSB's workload E.
pub(crate) const SCAN_ENTRIES_MAX: u64 = 100;
/// Most connections to one node.
pub(crate) const CONNECTIONS_MAX: usize = 4096;
/// Most unanswered requests of a connection: what half a request id can name.
pub(crate) const PIPELINE_MAX: usize = 1 << 16;
/// Most bytes of requests that a connection's pipeline can hold.
pub(crate) const PIPELINE_BYTES_MAX: usize = 256 << 20;
/// Most operations a second that may be asked for; what no machine does.
pub(crate) const RATE_MAX: f64 = 1e9;
/// Most threads.
pub(crate) const THREADS_MAX: usize = 256;
/// Most operations of a worker that wait for a free place on their node's connections.
pub(crate) const BACKLOG_OPS_MAX: usize = 4096;
/// First size of a connection's receive buffer, bytes; it grows to one frame at most.
pub(crate) const INBOX_BYTES: usize = 64 << 10;
/// Events taken from the poll at once.
pub(crate) const EVENTS_MAX: usize = 256;
/// Longest sleep of a worker: how soon it sees Ctrl-C and the end of the run.
pub(crate) const POLL_MS_MAX: u64 = 50;
/// Highest latency that is told apart, nanoseconds (a minute).
pub(crate) const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// How many offsets into the pool of random bytes a value can begin at.
pub(crate) const VALUE_OFFSETS: usize = 4096;

const _: () = assert!(PIPELINE_MAX < dht_protocol::limits::WRITE_SPAN_MAX as usize);
const _: () = assert!(INBOX_BYTES < dht_protocol::limits::FRAME_BYTES_MAX);
