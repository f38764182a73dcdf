//! What came of a seed, and of many.

use std::fmt;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum FaultKind {
    /// A node is gone with its memory; another start of it comes back.
    Crash,
    /// A node does nothing for a while, and gets everything late.
    Pause,
    /// A node reaches nobody of some, and nobody of them reaches it.
    Cut,
    /// Messages get through in one direction only.
    OneWayCut,
    /// Only short messages get through.
    Narrow,
    /// Messages get through as slowly as they are long.
    Slow,
    /// Two halves meet only through one node, or not at all.
    Halves,
    /// Many messages are lost.
    Loss,
    /// Many messages are late.
    Delay,
    /// A node has no memory left.
    MemoryFull,
    /// A node's clock runs at another rate from now on.
    ClockRate,
    /// A node's workers make no progress, while it beats on.
    StuckWorkers,
    /// A client is gone, with calls open and requests on their way.
    ClientCrash,
    /// The coordinator does nothing for a while.
    CoordinatorPause,
    /// The coordinator is gone, with what it has not synced, and started again.
    CoordinatorRestart,
    /// The coordinator's store fails, or does not say whether it did.
    StoreTrouble,
    /// A partition is ordered to move.
    Move,
    /// All replicas of a partition are gone.
    TotalLoss,
}

impl FaultKind {
    /// All of them, with their names.
    pub const ALL: &'static [(FaultKind, &'static str)] = &[
        (FaultKind::Crash, "crash"),
        (FaultKind::Pause, "pause"),
        (FaultKind::Cut, "cut"),
        (FaultKind::OneWayCut, "one-way cut"),
        (FaultKind::Narrow, "only short ones pass"),
        (FaultKind::Slow, "slow link"),
        (FaultKind::Halves, "halves or bridge"),
        (FaultKind::Loss, "loss"),
        (FaultKind::Delay, "delay"),
        (FaultKind::MemoryFull, "memory full"),
        (FaultKind::ClockRate, "clock rate"),
        (FaultKind::StuckWorkers, "stuck workers"),
        (FaultKind::ClientCrash, "client crash"),
        (FaultKind::CoordinatorPause, "coordinator pause"),
        (FaultKind::CoordinatorRestart, "coordinator restart"),
        (FaultKind::StoreTrouble, "store trouble"),
        (FaultKind::Move, "ordered move"),
        (FaultKind::TotalLoss, "total loss"),
    ];
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();
}

/// What a seed came to.
#[derive(Clone, Debug, Default)]
pub struct SeedReport {
    /// The seed.
    pub seed: u64,
    /// Simulated time, nanoseconds.
    pub nanos: u64,
    /// Events handled.
    pub events: u64,
    /// Messages between processes.
    pub messages: u64,
    /// Client operations that were checked.
    pub operations: u64,
    /// Those of them whose outcome the client did not learn.
    pub unknown: u64,
    /// Those that were surely not done.
    pub not_done: u64,
    /// Keys whose history was too hard to judge.
    pub unjudged: u64,
    /// Faults, by kind.
    pub faults: [u64; FaultKind::COUNT],
    /// Times that a partition got another primary.
    pub promotions: u64,
    /// Times that a newcomer was taken in.
    pub additions: u64,
    /// Times that a partition began again, empty.
    pub beginnings: u64,
    /// Two runs that have this in common were the same.
    pub digest: u64,
}

/// What was found wrong.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The seed.
    pub seed: u64,
    /// When, true time in nanoseconds.
    pub at: u64,
    /// What.
    pub text: String,
}

/// Many seeds together.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Seeds that were run to their end, or to a finding.
    pub seeds: u64,
    /// All of their reports added up.
    pub sum: SeedReport,
}

impl SeedReport {
    /// Faults of every kind.
    #[must_use]
    pub fn faults_count(&self) -> u64 {
        self.faults.iter().sum()
    }
}

impl Totals {
    /// Adds a seed.
    pub fn add(&mut self, report: &SeedReport) {
        self.seeds += 1;
        self.add_up(report);
    }

    /// Adds what other seeds came to.
    pub fn merge(&mut self, other: &Totals) {
        self.seeds += other.seeds;
        self.add_up(&other.sum);
    }

    fn add_up(&mut self, report: &SeedReport) {
        let sum = &mut self.sum;
        sum.nanos += report.nanos;
        sum.events += report.events;
        sum.messages += report.messages;
        sum.operations += report.operations;
        sum.unknown += report.unknown;
        sum.not_done += report.not_done;
        sum.unjudged += report.unjudged;
        sum.promotions += report.promotions;
        sum.additions += report.additions;
        sum.beginnings += report.beginnings;
        for (sum, faults) in sum.faults.iter_mut().zip(report.faults) {
            *sum += faults;
        }
        // In whatever order they come.
        sum.digest = sum.digest.wrapping_add(report.digest);
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, micros) = (self.at / 1_000_000_000, self.at / 1_000 % 1_000_000);
        write!(f, "seed {} at {seconds}.{micros:06} s: {}", self.seed, self.text)
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = &self.sum;
        writeln!(f, "{} seeds, {:.2} simulated hours", self.seeds, sum.nanos as f64 / 3.6e12)?;
        writeln!(f, "{} events, {} messages between processes", sum.events, sum.messages)?;
        writeln!(
            f,
            "{} operations checked: {} of unknown outcome, {} not done; {} keys not judged",
            sum.operations, sum.unknown, sum.not_done, sum.unjudged
        )?;
        writeln!(
            f,
            "{} changes of primary, {} newcomers taken in, {} partitions begun again",
            sum.promotions, sum.additions, sum.beginnings
        )?;
        write!(f, "{} faults:", sum.faults_count())?;
        for (kind, name) in FaultKind::ALL {
            write!(f, " {} {name},", sum.faults[*kind as usize])?;
        }
        write!(f, " digest {:016x}", sum.digest)
    }
}
