//! The replica that serves a partition: it numbers writes, has every replica in sync prepare them, and commits.
//!
//! ```text
//!   applied │ prepared: commit+1 … last, each with the requests that wait for it
//! ```
//!
//! An entry is committed when every follower has it and the one before it is committed. Then the table changes and the
//! client gets its answer. Followers are the backups, and newcomers from the moment that their copy has been cut to the end.
//!
//! **What it takes over.** A replica that becomes primary commits all that it holds before it answers anything: a write
//! that was acknowledged is among it, and a read that was answered from it must not be contradicted. Those entries commit
//! with whatever set there is, so that reads go on; while the set is smaller than a write needs, who asks for one of those
//! writes again is told *unknown*.
//!
//! **Lists.** [`Primary::begin_list`] makes a new list of all above the commit point: at the start of each configuration,
//! when a newcomer begins to count (so that an acknowledgement from an earlier attempt to fill it counts for nothing), and
//! when a replica refused an entry for want of memory. That one and every later one of its key become no-ops; the client is told
//! *out of memory* when the no-op is committed, and what stood behind the others is evaluated again.
//!
//! Files: this one keeps list, followers and commit; `admission.rs` takes requests in; `hand_over.rs` gives the partition
//! away; `filling.rs` brings newcomers in.
//!
//! Invariants:
//! 1. `prepared` begins behind the last applied entry and has no gap.
//! 2. Nothing is answered that is a read without [`Primary::may_answer`] at that moment.
//! 3. Nothing is committed that a follower has not acknowledged as part of the present list.

use std::collections::VecDeque;
use std::sync::Arc;

use dht_protocol::ids::{Member, PartitionId, Revision, Seq, Version};
use dht_protocol::peer::{Effect, ListTag, LogEntry, Origin, Outcome};
use dht_protocol::placement::replica_map::{Configuration, OnLoss};
use dht_protocol::status::Status;

use super::applied::Applied;
use super::budget::price_of;
use super::context::Context;
use super::copy::Copy;
use super::filling::TurnedDown;
use super::follower::Follower;
use super::hand_over::{HandOver, QueuedUp};
use super::log::{Prepared, seq_of};
use super::operation::{KeyAnswer, KeyRequest, Ticket};
use super::replica_store::ReplicaStore;
use super::waiters::{Waiter, Why, answer_of, refusal};
use crate::clock::Time;
use crate::planted::{Bug, is_planted};
use crate::timings::{IDLE_COMMIT, WAIT_MAX};

/// The state of a primary.
#[derive(Debug)]
pub(super) struct Primary<R> {
    pub(super) list: ListTag,
    pub(super) prepared: VecDeque<Pending<R>>,
    /// Bytes of keys and values in them.
    pub(super) prepared_bytes: usize,
    pub(super) followers: Vec<Follower>,
    pub(super) copies: Vec<Copy>,
    /// Newcomers that had no memory for what they were sent. Each is one of the configuration's.
    pub(super) turned_down: Vec<TurnedDown>,
    /// What it took over: entries behind the first number, up to the second.
    taken_over: (Seq, Seq),
    /// Until then others may be serving under leases that this node granted.
    serves_from: Time,
    pub(super) hand_over: Option<HandOver>,
    /// Requests that wait for the end of a hand-over.
    pub(super) queue: VecDeque<QueuedUp>,
    /// Requests that wait for entries.
    pub(super) waiting_count: usize,
    /// Since when some follower has not been told the commit point.
    untold_since: Option<Time>,
    /// Requests to be evaluated again.
    pub(super) again: VecDeque<(Ticket, KeyRequest)>,
}

/// A prepared entry, and who waits for it.
#[derive(Debug)]
pub(super) struct Pending<R> {
    pub(super) prepared: Prepared<R>,
    pub(super) waiters: Vec<Waiter>,
}

/// The partition and its configuration, as every step of a primary needs them.
#[derive(Clone, Copy)]
pub(super) struct Of<'a> {
    pub(super) partition: PartitionId,
    pub(super) config: &'a Configuration,
}

impl<R> Primary<R> {
    /// The primary of a partition of which it holds `held` above `commit`; it serves from `serves_from` on.
    pub(super) fn new(held: VecDeque<Prepared<R>>, commit: Seq, serves_from: Time) -> Primary<R> {
        let prepared_bytes = held.iter().map(|prepared| prepared.entry.effect.bytes()).sum();
        let end = Seq(commit.0 + held.len() as u64);
        let pending = |prepared| Pending { prepared, waiters: Vec::new() };
        Primary {
            list: ListTag { revision: Revision(0), base: commit.next(), end },
            prepared: held.into_iter().map(pending).collect(),
            prepared_bytes,
            followers: Vec::new(),
            copies: Vec::new(),
            turned_down: Vec::new(),
            taken_over: (commit, end),
            serves_from,
            hand_over: None,
            queue: VecDeque::new(),
            waiting_count: 0,
            untold_since: None,
            again: VecDeque::new(),
        }
    }

    /// Takes the set of a new configuration, and makes its list.
    pub(super) fn on_new_cfg(&mut self, now: Time, commit: Seq, config: &Configuration) {
        let joining = |member: &Member| config.joining.contains(member);
        let mut followers: Vec<Follower> =
            config.backups.iter().map(|&member| Follower::new(now, member, None)).collect();
        // A newcomer that has all there is goes on to count, and is proposed again under this configuration.
        let newcomers = self.followers.iter().filter(|follower| joining(&follower.member));
        followers.extend(newcomers.filter_map(|follower| {
            let mut candidacy = follower.newcomer?;
            candidacy.proposed_at = None;
            Some(Follower::new(now, follower.member, Some(candidacy)))
        }));
        self.followers = followers;
        self.copies.retain(|copy| joining(&copy.newcomer));
        self.turned_down.retain(|turned_down| joining(&turned_down.newcomer));
        self.list.revision = Revision(0);
        self.begin_list(now, commit);
    }

    /// Makes a new list of everything above the commit point.
    pub(super) fn begin_list(&mut self, now: Time, commit: Seq) {
        let revision = Revision(self.list.revision.0 + 1);
        self.list = ListTag { revision, base: commit.next(), end: self.last(commit) };
        for follower in &mut self.followers {
            follower.on_new_list(now, self.list);
        }
    }

    /// Last prepared entry.
    pub(super) fn last(&self, commit: Seq) -> Seq {
        Seq(commit.0 + self.prepared.len() as u64)
    }

    /// Whether everything that was taken over is committed.
    pub(super) fn is_settled(&self, commit: Seq) -> bool {
        commit >= self.taken_over.1 || is_planted(Bug::ServeBeforeCommit)
    }

    /// Whether what is committed here is the newest there is, at this moment: nobody else can be serving.
    pub(super) fn may_answer(&self, context: &Context<'_>, commit: Seq) -> bool {
        let gave_up = self.hand_over.as_ref().is_some_and(HandOver::has_given_up);
        (!gave_up || is_planted(Bug::ServeAfterGivingUp))
            && self.is_settled(commit)
            && context.now >= self.serves_from
            && context.now < self.leases_end(context)
    }

    /// Until when nobody else can be serving, by the leases that are held; the end of time where none is needed.
    fn leases_end(&self, context: &Context<'_>) -> Time {
        let counted = self.counted().map(|follower| context.leases.end(follower.member));
        // A primary and all its backups may be cut off from the coordinator together, and then it gives the partition away.
        let from_coordinator =
            (context.settings.on_loss == OnLoss::Empty).then_some(context.coordinator_lease_end);
        counted.chain(from_coordinator).min().unwrap_or(Time(u64::MAX))
    }

    /// An answer that tells what is committed at this moment. It is to be sent while the leases hold.
    pub(super) fn read_answer(&self, context: &Context<'_>, answer: KeyAnswer) -> KeyAnswer {
        KeyAnswer { valid_until: Some(self.leases_end(context)), ..answer }
    }

    /// The followers that count.
    fn counted(&self) -> impl Iterator<Item = &Follower> {
        self.followers
            .iter()
            .filter(|follower| follower.newcomer.is_none() || !is_planted(Bug::UncountedNewcomer))
    }

    /// Whether the outcome of the entry `version` may be told: not while it was taken over and the set is too small for it.
    pub(super) fn is_firm(&self, context: &Context<'_>, of: Of<'_>, version: Version) -> bool {
        let (after, upto) = self.taken_over;
        let is_own = version.seq() <= after.0 || version.seq() > upto.0;
        is_own || has_enough(context, of.config)
    }

    /// A follower says how far it has the list.
    pub(super) fn on_ack<S: ReplicaStore<Reservation = R>>(
        &mut self,
        context: &mut Context<'_>,
        applied: &Applied<S>,
        from: Member,
        revision: Revision,
        upto: Seq,
        is_refusal: bool,
    ) {
        let last = self.last(applied.commit());
        if revision != self.list.revision || upto > last {
            return;
        }
        let Some(follower) = self.followers.iter_mut().find(|follower| follower.member == from) else {
            return;
        };
        let may_be_dropped = follower.newcomer.is_some() && !follower.is_proposed();
        if !is_refusal {
            follower.on_ack(context.now, upto);
        } else if is_planted(Bug::IgnoreRefusal) {
            follower.on_ack(context.now, upto.next().min(last));
        } else if may_be_dropped {
            // It counts by this replica's word alone: those in sync have room.
            self.turn_down(context.now, from);
        } else {
            self.on_refusal(context, applied, upto.next());
        }
    }

    /// A follower has no memory for entry `seq`: it and all later ones of its key become no-ops, in a new list.
    fn on_refusal<S: ReplicaStore<Reservation = R>>(
        &mut self,
        context: &mut Context<'_>,
        applied: &Applied<S>,
        seq: Seq,
    ) {
        let commit = applied.commit();
        if seq <= commit || seq > self.last(commit) {
            return;
        }
        let first = (seq.0 - commit.0 - 1) as usize;
        let Some(key) = self.prepared[first].prepared.entry.effect.key().map(Arc::clone) else { return };
        for place in first..self.prepared.len() {
            let pending = &mut self.prepared[place];
            if !pending.may_depend_on(&key) {
                continue;
            }
            self.prepared_bytes -= pending.prepared.entry.effect.bytes();
            pending.prepared.reservation = None;
            pending.prepared.entry.effect = Effect::NoOp;
            if place == first {
                pending.refuse();
            } else {
                pending.prepared.entry.origin = None;
                pending.waiters.iter_mut().for_each(|waiter| waiter.why = Why::Again);
            }
        }
        self.begin_list(context.now, commit);
    }

    /// Commits what every follower has.
    pub(super) fn commit<S: ReplicaStore<Reservation = R>>(
        &mut self,
        context: &mut Context<'_>,
        of: Of<'_>,
        applied: &mut Applied<S>,
    ) {
        let acked = self.counted().map(|follower| follower.acked().unwrap_or(Seq::ZERO));
        let last = self.last(applied.commit());
        let mut common = acked.min().map_or(last, |acked| acked.min(last));
        if is_planted(Bug::AckBeforeAll) && self.followers.iter().any(|follower| follower.has_all(last)) {
            common = last;
        }
        let kept_max = context.budget.kept_max(!of.config.joining.is_empty());
        while applied.commit() < common {
            let is_own = applied.commit() >= self.taken_over.1;
            if is_own && !has_enough(context, of.config) && !is_planted(Bug::SkipMinInSync) {
                return;
            }
            let Some(pending) = self.prepared.pop_front() else { return };
            self.prepared_bytes -= pending.prepared.entry.effect.bytes();
            self.waiting_count -= pending.waiters.len();
            let entry = pending.prepared.entry.clone();
            let hash = entry.effect.key().map(|key| applied.hash_of(key));
            applied.apply(pending.prepared, kept_max);
            for copy in &mut self.copies {
                copy.on_committed(&entry, hash);
            }
            for waiter in pending.waiters {
                if waiter.why == Why::Again {
                    self.again.push_back((waiter.ticket, waiter.request));
                } else {
                    self.answer_waiter(context, of, applied.commit(), &entry, &waiter);
                }
            }
            self.untold_since.get_or_insert(context.now);
        }
    }

    fn answer_waiter(
        &mut self,
        context: &mut Context<'_>,
        of: Of<'_>,
        commit: Seq,
        entry: &LogEntry,
        waiter: &Waiter,
    ) {
        let is_firm = self.is_firm(context, of, entry.name);
        let answer = match waiter.why {
            Why::Own(outcome) => answer_of(final_outcome(entry, outcome), context.epoch),
            Why::Again => unreachable!("it is evaluated again instead"),
            // What is not a write of its own is a read, and needs what reads need.
            Why::Twin | Why::Depends(_) if !self.may_answer(context, commit) => {
                refusal(Status::Unavailable, context.epoch)
            }
            Why::Twin if !is_firm => refusal(Status::OutcomeUnknown, context.epoch),
            Why::Twin => {
                let remembered = entry.origin.map_or(OUT_OF_MEMORY, |origin| origin.outcome);
                self.read_answer(context, answer_of(remembered, context.epoch))
            }
            Why::Depends(outcome) => self.read_answer(context, answer_of(outcome, context.epoch)),
        };
        context.answer(waiter.ticket, answer);
    }

    /// Lets go of those who have waited for too long. Their entries stay, so nobody may be told that nothing was done; nor that
    /// it is unknown, which to a write sent once would say that it will not be done.
    pub(super) fn end_long_waits(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        for pending in &mut self.prepared {
            for waiter in pending.waiters.extract_if(.., |waiter| now.since(waiter.since) >= WAIT_MAX) {
                self.waiting_count -= 1;
                if matches!(waiter.why, Why::Depends(_)) || is_planted(Bug::UnknownAsNotDone) {
                    context.answer(waiter.ticket, refusal(Status::Unavailable, context.epoch));
                } else {
                    context.abandon(waiter.ticket);
                }
            }
        }
    }

    /// Sends to followers what they lack, and newcomers the next parts of their copies.
    pub(super) fn send(&mut self, context: &mut Context<'_>, of: Of<'_>, commit: Seq) {
        let tell = self.untold_since.is_some_and(|since| context.now.since(since) >= IDLE_COMMIT);
        for follower in &mut self.followers {
            let prepared = self.prepared.iter().map(|pending| &pending.prepared.entry);
            follower.send(context, (of.partition, of.config.cfg), self.list, commit, &prepared, tell);
        }
        if !self.followers.iter().any(|follower| follower.lacks_commit(commit)) {
            self.untold_since = None;
        }
        for copy in &mut self.copies {
            copy.send(context, of.partition, of.config.cfg);
        }
    }

    /// It is primary no longer. Gives the entries that it holds; who waited is to ask again elsewhere.
    pub(super) fn into_held(mut self, context: &mut Context<'_>) -> VecDeque<Prepared<R>> {
        let queued = self.queue.drain(..).map(|queued| queued.ticket);
        for ticket in queued.chain(self.again.drain(..).map(|(ticket, _)| ticket)) {
            context.answer(ticket, refusal(Status::NotOwner, context.epoch));
        }
        let mut held = VecDeque::with_capacity(self.prepared.len());
        for pending in self.prepared {
            for waiter in pending.waiters {
                if is_planted(Bug::UnknownAsNotDone) {
                    context.answer(waiter.ticket, refusal(Status::NotOwner, context.epoch));
                } else {
                    context.abandon(waiter.ticket);
                }
            }
            held.push_back(pending.prepared);
        }
        held
    }

    /// Whether time alone brings nothing about.
    pub(super) fn is_at_rest(&self, commit: Seq) -> bool {
        self.prepared.is_empty()
            && self.copies.is_empty()
            && self.hand_over.is_none()
            && self.untold_since.is_none()
            && self.followers.iter().all(|follower| follower.newcomer.is_none() && follower.has_all(commit))
    }

    /// Members that have owed an acknowledgement or a lease since before `since`.
    pub(super) fn accused(&self, context: &Context<'_>, since: Time) -> impl Iterator<Item = Member> {
        let is_late = move |at: Option<Time>| at.is_some_and(|at| at <= since);
        let leases = context.leases;
        let now = context.now;
        self.followers
            .iter()
            .filter(move |follower| {
                follower.newcomer.is_none()
                    && (is_late(follower.owes_since) || is_late(leases.owed_since(now, follower.member)))
            })
            .map(|follower| follower.member)
    }

    /// What entries take of memory.
    pub(super) fn log_bytes(&self) -> u64 {
        let copies: u64 = self.copies.iter().map(Copy::log_bytes).sum();
        price_of(self.prepared.len(), self.prepared_bytes) + copies
    }

    /// Checks the invariants. For tests.
    pub(super) fn check_invariants(&self, commit: Seq) {
        let mut bytes = 0;
        let mut waiting = 0;
        for (place, pending) in self.prepared.iter().enumerate() {
            assert_eq!(seq_of(&pending.prepared.entry).0, commit.0 + 1 + place as u64, "a gap");
            bytes += pending.prepared.entry.effect.bytes();
            waiting += pending.waiters.len();
        }
        assert_eq!((bytes, waiting), (self.prepared_bytes, self.waiting_count));
        assert!(self.list.base <= commit.next());
        for follower in &self.followers {
            assert!(follower.acked().is_none_or(|acked| acked <= self.last(commit)));
        }
    }
}

impl<R> Pending<R> {
    /// Whether it is about `key`, or may be: a refusal that is remembered does not say of which key.
    fn may_depend_on(&self, key: &Arc<[u8]>) -> bool {
        let entry = &self.prepared.entry;
        match entry.effect.key() {
            Some(its) => its == key,
            None => entry.effect == Effect::NoOp && entry.origin.is_some(),
        }
    }

    /// There is no memory for it. Its client is told so when the no-op is committed; if another copy of the write may still be
    /// on its way, that is what is remembered. Those who only built on it are evaluated again.
    fn refuse(&mut self) {
        let may_come_again = |waiter: &Waiter| {
            waiter.why == Why::Twin || waiter.request.writer.is_some_and(|(_, token)| token.retry)
        };
        let origin = self.prepared.entry.origin.take().filter(|_| self.waiters.iter().any(may_come_again));
        self.prepared.entry.origin = origin.map(|origin| Origin { outcome: OUT_OF_MEMORY, ..origin });
        for waiter in self.waiters.iter_mut().filter(|waiter| matches!(waiter.why, Why::Depends(_))) {
            waiter.why = Why::Again;
        }
    }
}

/// What a write came to for which some replica had no memory.
const OUT_OF_MEMORY: Outcome = Outcome { status: Status::OutOfMemory, version: Version::ABSENT, number: 0 };

/// Whether the set has as many replicas in sync as a write needs.
pub(super) fn has_enough(context: &Context<'_>, config: &Configuration) -> bool {
    1 + config.backups.len() >= usize::from(context.settings.min_in_sync)
}

/// What became of a write that was to come to `outcome`: its entry may have been made a no-op since.
fn final_outcome(entry: &LogEntry, outcome: Outcome) -> Outcome {
    match (&entry.origin, &entry.effect) {
        (Some(origin), _) => origin.outcome,
        (None, Effect::NoOp) => OUT_OF_MEMORY,
        (None, _) => outcome,
    }
}
