//! Bounds and constants of a comparison.

use std::time::Duration;

/// Numbers of entries at which memory is measured, as far as `--keys` goes; `--keys` itself always is one.
pub(crate) const ENTRIES_STEPS: [u64; 7] =
    [1_000_000, 2_000_000, 3_000_000, 5_000_000, 10_000_000, 15_000_000, 20_000_000];
/// Entries of a comparison, unless told otherwise.
pub(crate) const KEYS_DEFAULT: u64 = ENTRIES_STEPS[3];
/// Entries under `--full`.
pub(crate) const KEYS_FULL: u64 = ENTRIES_STEPS[6];
/// Fewest entries: below, a batch of keys would name the same one again and again.
pub(crate) const KEYS_MIN: u64 = 1_000;
/// Most entries.
pub(crate) const KEYS_MAX: u64 = 1_000_000_000;
/// Longest key, bytes: that of memcached.
pub(crate) const KEY_BYTES_MAX: usize = 250;
/// Longest value of the load, bytes. A connection's requests hold as many as 64 × 100 at once.
pub(crate) const VALUE_BYTES_MAX: usize = 4_096;
/// Shortest value of the load, bytes: half of it is what a `SET` writes at least.
pub(crate) const VALUE_BYTES_MIN: usize = 2;
/// A `SET` writes at most so many times the value of the load, and at least one so-manyth.
pub(crate) const VALUE_SPREAD: usize = 2;
/// Most rounds.
pub(crate) const ROUNDS_MAX: usize = 1_000;
/// Rounds, unless told otherwise.
pub(crate) const ROUNDS_DEFAULT: usize = 5;
/// How long each cell is measured, unless told otherwise, seconds.
pub(crate) const CELL_SECONDS_DEFAULT: f64 = 0.4;
/// Longest that a cell can be measured, seconds.
pub(crate) const CELL_SECONDS_MAX: f64 = 3_600.0;
/// What part of a cell's time the same load runs before it counts.
pub(crate) const WARM_UP_SHARE: f64 = 0.1;
/// How many times as long as a cell the open loop runs: its rarest latencies need the most requests.
pub(crate) const OPEN_LOOP_CELLS: f64 = 3.0;
/// What part of the slowest server's peak the open loop asks for.
pub(crate) const OPEN_LOOP_SHARE: f64 = 0.5;
/// Most unanswered requests of a connection in the open loop.
pub(crate) const OPEN_LOOP_PIPELINE_MAX: usize = 64;

/// Unanswered requests of a connection, cell by cell.
pub(crate) const PIPELINES: [usize; 3] = [1, 16, 64];
/// Connections where each has one request unanswered.
pub(crate) const CONNECTIONS_UNPIPELINED: usize = 50;
/// Connections where each has several.
pub(crate) const CONNECTIONS_PIPELINED: usize = 8;
/// Keys of an `MGET`.
pub(crate) const MGET_KEYS: usize = 100;
/// Unanswered requests of each connection of a load that is not measured.
pub(crate) const LOAD_PIPELINE: usize = 64;
/// After a load so many keys are read, as a part of all, one in so many: what a server does bit by bit as it
/// answers, such as moving to a larger table, is done before memory is measured.
pub(crate) const SETTLING_READS_PART: u64 = 5;
/// Before `SET` is measured, so many keys are overwritten, one in so many: a table that has only been filled has no
/// dead bytes to reclaim.
pub(crate) const SETTLING_WRITES_PART: u64 = 2;

/// Longest wait for a started server to answer.
pub(crate) const START_MAX: Duration = Duration::from_secs(15);
/// Longest wait for what a program says of its version.
pub(crate) const VERSION_MAX: Duration = Duration::from_secs(5);
/// Pause between two looks at something that will be so soon.
pub(crate) const LOOK_PERIOD: Duration = Duration::from_millis(10);
/// How often a server is started on another port when it ends before it answers: a port can be taken in between.
pub(crate) const START_ATTEMPTS_MAX: usize = 2;
/// Longest that a server may leave everything unanswered.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(20);
/// Memory has settled when it has not fallen for so long …
pub(crate) const SETTLED_AFTER: Duration = Duration::from_millis(250);
/// … by more than so many bytes …
pub(crate) const SETTLED_BYTES: u64 = 64 << 10;
/// … and is taken as it is after so long.
pub(crate) const SETTLE_MAX: Duration = Duration::from_secs(3);

/// Most bytes kept of what a server prints, from its end.
pub(crate) const TAIL_BYTES_MAX: usize = 2_048;
/// Bytes of what a server printed that an error shows, from its end.
pub(crate) const TAIL_SHOWN_BYTES_MAX: usize = 400;
/// Longest wait for the last words of a server that has ended.
pub(crate) const TAIL_END_MAX: Duration = Duration::from_secs(1);
/// Most peers.
pub(crate) const PEERS_MAX: usize = 8;
/// Longest name of a peer, bytes.
pub(crate) const PEER_NAME_BYTES_MAX: usize = 24;
/// Longest line of a reply, bytes, in the protocols that have lines.
pub(crate) const LINE_BYTES_MAX: usize = 1_024;
/// Bytes that the limit loop reads at once.
pub(crate) const LIMIT_READ_BYTES: usize = 64 << 10;
/// The limit loop stops reading from a connection that has left so many bytes of answers untaken.
pub(crate) const LIMIT_OUTPUT_BYTES_MAX: usize = 16 << 20;
/// Connections that the limit loop serves.
pub(crate) const LIMIT_CONNECTIONS_MAX: usize = 1_024;

const _: () = assert!(KEYS_DEFAULT == 5_000_000 && KEYS_FULL == 20_000_000);
const _: () = assert!(KEYS_MIN > MGET_KEYS as u64 && KEYS_FULL <= KEYS_MAX);
const _: () = assert!(VALUE_BYTES_MIN >= VALUE_SPREAD && OPEN_LOOP_PIPELINE_MAX.is_power_of_two());
const _: () = assert!(CONNECTIONS_UNPIPELINED <= LIMIT_CONNECTIONS_MAX);
// A line of memcached names a key; a reply of any protocol ends within a buffer that doubles a few times.
const _: () = assert!(LINE_BYTES_MAX > 2 * KEY_BYTES_MAX);
const _: () = assert!(KEY_BYTES_MAX <= dht_protocol::limits::KEY_BYTES_MAX);
const _: () = assert!(VALUE_BYTES_MAX * VALUE_SPREAD <= dht_protocol::limits::VALUE_BYTES_MAX);
const _: () = assert!(TAIL_SHOWN_BYTES_MAX <= TAIL_BYTES_MAX);
