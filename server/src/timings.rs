//! The spans of time that replication rests on, in one table. From a crash to service on another node:
//!
//! | what | at most |
//! |---|---|
//! | the coordinator finds the node silent: [`DETECTION`], looked at every [`COORDINATOR_TICK`] | 550 ms |
//! | it edits the map: [`EDIT_PAUSE`], and makes it durable | 50 ms and a write to disk |
//! | the new primary waits: [`GRACE`] from the last lease that it granted | 500 ms |
//! | a client tries again: [`CLIENT_PAUSE`] | 200 ms |
//!
//! Together [`FAILOVER`], with what is left of 1.5 s for the disk and the network.

use std::time::Duration;

/// A turn of the machines: how often `on_tick` is called.
pub const TICK: Duration = Duration::from_millis(10);
/// Between two heartbeats of a node.
pub const BEAT: Duration = Duration::from_millis(100);
/// A node has been heard *just now* if it was within so long.
pub const TWO_BEATS: Duration = Duration::from_millis(2 * 100);
/// A node that has been silent for so long is struck off.
pub const DETECTION: Duration = Duration::from_millis(500);
/// How often the coordinator looks.
pub const COORDINATOR_TICK: Duration = Duration::from_millis(50);
/// A tick of the coordinator that comes so late says that it was paused: nobody is judged by what it did not hear meanwhile.
pub const COORDINATOR_LATE: Duration = Duration::from_millis(200);
/// At least so long between two edits of the map.
pub const EDIT_PAUSE: Duration = Duration::from_millis(50);
/// A map that could not be stored is not tried again before this.
pub const STORE_RETRY: Duration = Duration::from_millis(200);
/// Between two questions for a lease.
pub const BEACON: Duration = Duration::from_millis(100);
/// A lease counts from when its holder asked for it.
pub const LEASE: Duration = Duration::from_millis(400);
/// A new primary waits so long from when it last granted a lease.
pub const GRACE: Duration = Duration::from_millis(500);
/// A commit point that has gone out with no entry goes out by itself after this.
pub const IDLE_COMMIT: Duration = Duration::from_millis(10);
/// What has not been acknowledged for so long is sent again; if that was in vain, again after twice as long.
pub const RESEND: Duration = Duration::from_millis(50);
/// After so long at the latest, if it is not much.
pub const RESEND_MAX: Duration = Duration::from_millis(200);
/// After so long at the latest, if it is much.
pub const RESEND_LONG_MAX: Duration = Duration::from_millis(1_600);
/// A member that owes a lease or an acknowledgement for so long is accused.
pub const ACCUSATION: Duration = Duration::from_millis(600);
/// A request that waits for a commit for so long is answered *unknown*.
pub const WAIT_MAX: Duration = Duration::from_secs(5);
/// A newcomer that does not go on with its copy for so long is dropped.
pub const COPY_STALL: Duration = Duration::from_millis(2_000);
/// A newcomer that had no memory is not filled again before this; each time in vain not before twice as long.
pub const NEWCOMER_PAUSE: Duration = Duration::from_millis(500);
/// After so long at the latest.
pub const NEWCOMER_PAUSE_MAX: Duration = Duration::from_secs(5);
/// A hand-over whose prepared entries are not committed for so long is called off.
pub const HAND_OVER_WAIT: Duration = Duration::from_millis(500);
/// A request that queues for the end of a hand-over for so long is answered *unavailable*.
pub const QUEUE_WAIT_MAX: Duration = Duration::from_secs(3);
/// A client's first pauses before it tries again, added up.
pub const CLIENT_PAUSE: Duration = Duration::from_millis(200);

/// From a crash to service on another node, but for disk and network.
pub const FAILOVER: Duration = Duration::from_millis(500 + 50 + 50 + 500 + 200);

const fn ms(span: Duration) -> u128 {
    span.as_millis()
}

// Nobody is turned away by a hand-over that is called off.
const _: () = assert!(ms(HAND_OVER_WAIT) < ms(QUEUE_WAIT_MAX));
// A lease must end before its granter serves, clocks differing in rate by less than 25 %.
const _: () = assert!(4 * ms(GRACE) >= 5 * ms(LEASE));
const _: () = assert!(
    ms(FAILOVER) == ms(DETECTION) + ms(COORDINATOR_TICK) + ms(EDIT_PAUSE) + ms(GRACE) + ms(CLIENT_PAUSE)
);
const _: () = assert!(ms(FAILOVER) <= 1_500);
const _: () = assert!(ms(TWO_BEATS) == 2 * ms(BEAT) && ms(TWO_BEATS) < ms(DETECTION));
// A lease survives the loss of two questions.
const _: () = assert!(3 * ms(BEACON) < ms(LEASE));
const _: () = assert!(ms(COORDINATOR_LATE) > ms(COORDINATOR_TICK) && ms(COORDINATOR_LATE) <= ms(DETECTION));
// Who was away for less than an accusation takes is sent what it missed before it is accused; and a copy is not given up
// before it was sent again.
const _: () = assert!(2 * ms(RESEND) <= ms(RESEND_MAX) && 2 * ms(RESEND_MAX) < ms(ACCUSATION));
const _: () = assert!(ms(RESEND_MAX) <= ms(RESEND_LONG_MAX) && ms(RESEND_LONG_MAX) < ms(COPY_STALL));
// Members are accused only after the coordinator would have found out by itself.
const _: () = assert!(ms(ACCUSATION) > ms(DETECTION));
