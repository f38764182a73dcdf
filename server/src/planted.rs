//! Bugs that can be switched on, to show that the simulator finds them. Each is one that somebody could make: a check that is
//! left out, a step too early. Without the feature `planted-bugs` there is none, and nothing of this is compiled in.

/// A bug, by what it does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Bug {
    /// A write is answered before all backups have it.
    AckBeforeAll = 1,
    /// A backup acknowledges entries behind a gap.
    CommitAcrossGap,
    /// Messages of another configuration are taken.
    SkipCfgCheck,
    /// Messages for an earlier start of a node, or from one, are taken.
    SkipIncarnationCheck,
    /// Reads are served when leases have run out.
    ReadAfterLease,
    /// A grant counts although its granter has a newer map than its holder.
    LeaseUnderNewerMap,
    /// A lease counts from the answer, not from the question.
    LeaseFromAnswer,
    /// A replica that is being filled may become primary.
    PromoteJoining,
    /// A new primary serves before it has committed the list it took over.
    ServeBeforeCommit,
    /// A new primary does not wait out the grace.
    SkipGrace,
    /// Who is made primary again, and has missed the term of another in between, goes on as before.
    SkipGraceAfterMissedTerm,
    /// A backup keeps its own entries where the new primary's list has others.
    MixLists,
    /// A backup drops what it holds above its commit point before it has the new primary's list.
    LoseTail,
    /// A condition that failed on a prepared entry is answered at once.
    AnswerFromPrepared,
    /// The mark of a hand-over outlives an edit that makes another replica primary.
    KeepHandedOver,
    /// A primary that has asked to be relieved goes on serving.
    ServeAfterGivingUp,
    /// A newcomer does not count before its addition is proposed.
    UncountedNewcomer,
    /// A committed delete overtakes the piece of the copy that it is about.
    DeleteOvertakesPiece,
    /// A new primary knows no outcomes of earlier writes.
    DropOutcomes,
    /// A second arrival does not wait for the first, which is prepared.
    TwinDoesNotWait,
    /// A backup's refusal for want of memory is taken for an acknowledgement.
    IgnoreRefusal,
    /// The last replica in sync is struck off, and a joining one made primary.
    StrikeOffLast,
    /// The coordinator publishes a map before it is durable.
    PublishBeforeDurable,
    /// A coordinator that was paused strikes off everybody it has not heard meanwhile.
    RemoveAllAfterPause,
    /// What is not known is reported as not done.
    UnknownAsNotDone,
    /// A request made under a map older than the primary's term is taken.
    TakeOldRequests,
    /// The number of replicas in sync is not looked at when a write commits.
    SkipMinInSync,
    /// A replica that comes back is filled up from what it has, whatever history that is of.
    CatchUpAnyHistory,
    /// A heartbeat counts although its node hears nothing.
    HeartbeatWithoutEcho,
}

impl Bug {
    /// All of them.
    pub const ALL: &'static [Bug] = &[
        Bug::AckBeforeAll,
        Bug::CommitAcrossGap,
        Bug::SkipCfgCheck,
        Bug::SkipIncarnationCheck,
        Bug::ReadAfterLease,
        Bug::LeaseUnderNewerMap,
        Bug::LeaseFromAnswer,
        Bug::PromoteJoining,
        Bug::ServeBeforeCommit,
        Bug::SkipGrace,
        Bug::SkipGraceAfterMissedTerm,
        Bug::MixLists,
        Bug::LoseTail,
        Bug::AnswerFromPrepared,
        Bug::KeepHandedOver,
        Bug::ServeAfterGivingUp,
        Bug::UncountedNewcomer,
        Bug::DeleteOvertakesPiece,
        Bug::DropOutcomes,
        Bug::TwinDoesNotWait,
        Bug::IgnoreRefusal,
        Bug::StrikeOffLast,
        Bug::PublishBeforeDurable,
        Bug::RemoveAllAfterPause,
        Bug::UnknownAsNotDone,
        Bug::TakeOldRequests,
        Bug::SkipMinInSync,
        Bug::CatchUpAnyHistory,
        Bug::HeartbeatWithoutEcho,
    ];
}

#[cfg(feature = "planted-bugs")]
mod switch {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Switches one bug on in this thread, or all off.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    /// Whether it is switched on in this thread.
    #[must_use]
    #[inline]
    pub fn is_planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }
}

#[cfg(not(feature = "planted-bugs"))]
mod switch {
    use super::Bug;

    /// Whether it is switched on: there is none in this build.
    #[must_use]
    #[inline(always)]
    pub const fn is_planted(_: Bug) -> bool {
        false
    }
}

pub use switch::is_planted;
#[cfg(feature = "planted-bugs")]
pub use switch::plant;
