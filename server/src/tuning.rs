//! Settings that may change while the daemon serves. Whoever needs one reads it where it is needed; nothing is
//! handed out again. One number each, so a reader never sees half of one.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::limits::{CONNECTIONS_MAX, STALL_TIMEOUT_S_DEFAULT};

/// Values of all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// Connections at all doors together.
    pub connections_max: usize,
    /// A connection that says nothing for so long is closed, seconds; 0: never.
    pub idle_timeout_s: u32,
    /// A connection in the middle of a request or of taking its answers that does nothing for so long is closed,
    /// seconds; 0: never.
    pub stall_timeout_s: u32,
    /// Requests that take so long are written to the log; `None`: none is.
    pub slow: Option<Duration>,
    /// How long answers may take to go out when the daemon stops.
    pub shutdown_timeout: Duration,
}

/// How long a connection may be silent, seconds; 0: for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SilenceLimits {
    /// With nothing under way.
    pub idle_s: u32,
    /// In the middle of a request, or with answers that it does not take.
    pub stall_s: u32,
}

/// The values in force. Written by whoever starts or tunes the daemon, read by all of its threads; relaxed, as nothing
/// else is published through them.
#[derive(Debug)]
pub struct LiveTuning {
    connections_max: AtomicUsize,
    idle_timeout_s: AtomicU32,
    stall_timeout_s: AtomicU32,
    /// Nanoseconds; `u64::MAX`: off.
    slow_ns: AtomicU64,
    shutdown_timeout_ms: AtomicU64,
}

/// No request takes so long.
const SLOW_OFF_NS: u64 = u64::MAX;

impl Default for Tuning {
    fn default() -> Tuning {
        Tuning {
            connections_max: CONNECTIONS_MAX,
            idle_timeout_s: 0,
            stall_timeout_s: STALL_TIMEOUT_S_DEFAULT as u32,
            slow: None,
            shutdown_timeout: Duration::from_secs(10),
        }
    }
}

impl Default for LiveTuning {
    fn default() -> LiveTuning {
        let live = LiveTuning {
            connections_max: AtomicUsize::default(),
            idle_timeout_s: AtomicU32::default(),
            stall_timeout_s: AtomicU32::default(),
            slow_ns: AtomicU64::default(),
            shutdown_timeout_ms: AtomicU64::default(),
        };
        live.set(Tuning::default());
        live
    }
}

impl SilenceLimits {
    /// Whether no silence is too long.
    #[must_use]
    pub fn are_off(self) -> bool {
        self.idle_s == 0 && self.stall_s == 0
    }
}

impl LiveTuning {
    /// Puts `tuning` in force.
    pub fn set(&self, tuning: Tuning) {
        let slow_ns = tuning.slow.map_or(SLOW_OFF_NS, |slow| slow.as_nanos() as u64);
        self.connections_max.store(tuning.connections_max, Ordering::Relaxed);
        self.idle_timeout_s.store(tuning.idle_timeout_s, Ordering::Relaxed);
        self.stall_timeout_s.store(tuning.stall_timeout_s, Ordering::Relaxed);
        self.slow_ns.store(slow_ns, Ordering::Relaxed);
        self.shutdown_timeout_ms.store(tuning.shutdown_timeout.as_millis() as u64, Ordering::Relaxed);
    }

    /// Connections at all doors together.
    #[must_use]
    pub fn connections_max(&self) -> usize {
        self.connections_max.load(Ordering::Relaxed)
    }

    /// How long a connection may be silent.
    #[must_use]
    pub fn silence_limits(&self) -> SilenceLimits {
        SilenceLimits {
            idle_s: self.idle_timeout_s.load(Ordering::Relaxed),
            stall_s: self.stall_timeout_s.load(Ordering::Relaxed),
        }
    }

    /// Requests that take so long, nanoseconds, are written to the log; `None`: none is, and none is timed.
    #[must_use]
    #[inline]
    pub fn slow_ns(&self) -> Option<u64> {
        Some(self.slow_ns.load(Ordering::Relaxed)).filter(|&slow_ns| slow_ns != SLOW_OFF_NS)
    }

    /// How long answers may take to go out when the daemon stops.
    #[must_use]
    pub fn shutdown_timeout(&self) -> Duration {
        Duration::from_millis(self.shutdown_timeout_ms.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_in_force() {
        let live = LiveTuning::default();
        assert_eq!((live.slow_ns(), live.connections_max()), (None, CONNECTIONS_MAX));
        let slow = Some(Duration::ZERO);
        let shutdown_timeout = Duration::from_secs(86_400);
        live.set(Tuning {
            connections_max: 7,
            idle_timeout_s: 3,
            stall_timeout_s: 0,
            slow,
            shutdown_timeout,
        });
        assert_eq!((live.slow_ns(), live.connections_max()), (Some(0), 7));
        assert_eq!(live.silence_limits(), SilenceLimits { idle_s: 3, stall_s: 0 });
        assert!(!live.silence_limits().are_off());
        assert_eq!(live.shutdown_timeout(), shutdown_timeout);
    }
}
