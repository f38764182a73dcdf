//! A siege: an attack on a daemon, a bystander who must not notice it, and an account of what the daemon held before,
//! at most, and after.

use std::fmt;
use std::time::Duration;

use crate::bystander::{Bystander, Testimony};
use crate::daemon::Daemon;
use crate::descriptors;
use crate::raw_client::RawClient;
use crate::requests::get;
use crate::resident::{resident_bytes, resident_bytes_max};
use crate::wait::{PATIENCE, wait_for};

/// How long a daemon may take to give back what an attack took.
const RECOVERY: Duration = PATIENCE;

/// What an attack may cost the daemon.
#[derive(Clone, Debug)]
#[must_use]
pub struct Siege {
    case: &'static str,
    growth_bytes_max: u64,
    kept_bytes_max: u64,
    memory_runs_out: bool,
}

/// What an attacker sees of the field.
#[derive(Debug)]
pub struct Field<'a> {
    daemon: &'a Daemon,
    bystander: &'a Bystander,
}

/// How it went.
#[derive(Clone, Debug)]
struct Outcome {
    before: Footing,
    /// Most bytes ever resident.
    peak_bytes: u64,
    after: Footing,
    testimony: Testimony,
}

/// What a process holds.
#[derive(Clone, Copy, Debug)]
struct Footing {
    resident_bytes: u64,
    descriptors_count: usize,
}

impl Siege {
    /// An attack called `case`, during which the daemon may grow by `growth_bytes_max` and after which it may keep
    /// `kept_bytes_max` of that.
    pub const fn new(case: &'static str, growth_bytes_max: u64, kept_bytes_max: u64) -> Siege {
        Siege { case, growth_bytes_max, kept_bytes_max, memory_runs_out: false }
    }

    /// The bystander's writes may be refused for lack of memory, its reads and removals may not.
    pub const fn memory_runs_out(mut self) -> Siege {
        self.memory_runs_out = true;
        self
    }

    /// Lets `attack` loose on `daemon` and waits until memory and descriptors are back. Prints one line.
    ///
    /// # Panics
    /// When the daemon ends, the bystander is not served as it should be, or a bound is passed.
    #[track_caller]
    pub fn run<R>(self, daemon: &mut Daemon, attack: impl FnOnce(&Field<'_>) -> R) -> R {
        let bystander = Bystander::start(daemon.address());
        let before = Footing::of(daemon);
        let result = attack(&Field { daemon, bystander: &bystander });
        let is_back = |after: &Footing| {
            after.descriptors_count == before.descriptors_count
                && after.resident_bytes <= before.resident_bytes + self.kept_bytes_max
        };
        let recovered = wait_for(RECOVERY, || Some(Footing::of(daemon)).filter(is_back));
        let after = recovered.unwrap_or_else(|| Footing::of(daemon));
        bystander.wait_for_calls(1);
        let testimony = bystander.stop();
        assert!(daemon.is_running(), "{}: it ended\n{}", self.case, daemon.report());
        let peak_bytes = resident_bytes_max(daemon.id()).expect("a running process has a high-water mark");
        let outcome = Outcome { before, peak_bytes, after, testimony };
        #[expect(clippy::print_stderr, reason = "the figures of the run")]
        {
            eprintln!("{}: {outcome}", self.case);
        }
        self.judge(&outcome, recovered.is_some());
        let _ = RawClient::greeted(daemon.address(), 0).call(&get(b"nobody's key")).status();
        result
    }

    #[track_caller]
    fn judge(&self, outcome: &Outcome, has_recovered: bool) {
        let Outcome { before, testimony, .. } = outcome;
        assert!(testimony.errors.is_empty(), "{}: {:?}", self.case, testimony.errors);
        let refused = testimony.refused_count;
        assert!(self.memory_runs_out || refused == 0, "{}: {refused} writes found no memory", self.case);
        let grown_bytes = outcome.peak_bytes.saturating_sub(before.resident_bytes);
        assert!(grown_bytes <= self.growth_bytes_max, "{}: it grew too much: {outcome}", self.case);
        assert!(has_recovered, "{}: not back after {RECOVERY:?}: {outcome}", self.case);
    }
}

impl Field<'_> {
    /// `HOST:PORT` of the daemon.
    #[must_use]
    pub fn address(&self) -> &str {
        self.daemon.address()
    }

    /// The daemon.
    #[must_use]
    pub fn daemon(&self) -> &Daemon {
        self.daemon
    }

    /// Waits until the bystander has had `count` more answers.
    ///
    /// # Panics
    /// When it does not get them in time.
    #[track_caller]
    pub fn wait_for_bystander(&self, count: u64) {
        self.bystander.wait_for_calls(count);
    }
}

impl Footing {
    #[track_caller]
    fn of(daemon: &Daemon) -> Footing {
        Footing {
            resident_bytes: resident_bytes(daemon.id()),
            descriptors_count: descriptors::open_count(daemon.id()),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let [before, peak, after] =
            [self.before.resident_bytes, self.peak_bytes, self.after.resident_bytes].map(mib);
        let (fds_before, fds_after) = (self.before.descriptors_count, self.after.descriptors_count);
        write!(
            f,
            "bystander {}; resident {before:.1} MiB, at most {peak:.1}, then {after:.1}; descriptors {fds_before}, then \
             {fds_after}",
            self.testimony
        )
    }
}
