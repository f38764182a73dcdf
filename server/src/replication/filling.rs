//! How a primary brings newcomers in: it copies to them, lets them count, and proposes them.
//!
//! From the moment that the last part of the copy has been cut the newcomer counts for commit and for leases, so that nothing can
//! be committed, or read, that it does not know of once the map names it. Before it is proposed it may be dropped at will: it begins to
//! count only while its lease is held, and is dropped when that is about to end, so that one that dies holds nobody up for longer.
//! Afterwards it may not, until a map with a higher cfg is here: the coordinator may have taken it in already, and then
//! it may become primary.

use std::time::Duration;

use dht_protocol::ids::{Member, Version};
use dht_protocol::peer::ToCoordinator;

use super::applied::Applied;
use super::context::Context;
use super::copy::{Copy, Progress};
use super::follower::{Candidacy, Follower};
use super::limits::COPIES_MAX;
use super::primary::{Of, Primary};
use super::replica_store::ReplicaStore;
use crate::clock::Time;
use crate::timings::{BEAT, COPY_STALL, NEWCOMER_PAUSE, NEWCOMER_PAUSE_MAX, TICK};

/// A newcomer that had no memory, and when it is filled again. While it is tried in vain, the pauses grow.
#[derive(Clone, Copy, Debug)]
pub(super) struct TurnedDown {
    pub(super) newcomer: Member,
    until: Time,
    pause: Duration,
}

impl<R> Primary<R> {
    /// A newcomer asks to be filled; the last entry it has applied is `has`.
    pub(super) fn on_copy_request<S: ReplicaStore<Reservation = R>>(
        &mut self,
        context: &mut Context<'_>,
        of: Of<'_>,
        applied: &Applied<S>,
        newcomer: Member,
        has: Version,
    ) {
        // A candidate that asks has lost what it had. Before it is proposed it can start over.
        let lost = |follower: &Follower| {
            let candidacy = follower.newcomer.filter(|candidacy| candidacy.is_filled);
            follower.member == newcomer && candidacy.is_some() && !follower.is_proposed()
        };
        if self.followers.iter().any(lost) {
            self.drop_newcomer(newcomer);
        }
        let is_under_way = self.copies.iter().any(|copy| copy.newcomer == newcomer)
            || self.followers.iter().any(|follower| follower.member == newcomer);
        let is_turned_down = self
            .turned_down
            .iter()
            .any(|turned_down| turned_down.newcomer == newcomer && context.now < turned_down.until);
        let is_wanted =
            of.config.joining.contains(&newcomer) && self.is_settled(applied.commit()) && !is_turned_down;
        if is_under_way || !is_wanted || self.copies.len() >= COPIES_MAX {
            return;
        }
        *context.next_stream += 1;
        self.copies.push(Copy::begin(context.now, *context.next_stream, newcomer, has, applied));
    }

    /// A newcomer says how far it is.
    pub(super) fn on_copy_ack(
        &mut self,
        context: &Context<'_>,
        newcomer: Member,
        stream: u64,
        next: u64,
        refused: bool,
    ) {
        let Some(place) = self.copies.iter().position(|copy| copy.newcomer == newcomer) else { return };
        match self.copies[place].on_ack(context.now, stream, next, refused) {
            Progress::GoesOn => {}
            Progress::Arrived => {
                self.copies.remove(place);
                for follower in self.followers.iter_mut().filter(|follower| follower.member == newcomer) {
                    follower.newcomer = Some(Candidacy { is_filled: true, proposed_at: None });
                    follower.on_new_list(context.now, self.list);
                }
            }
            Progress::Refused => self.turn_down(context.now, newcomer),
        }
    }

    /// A newcomer has no memory for what it was sent.
    pub(super) fn turn_down(&mut self, now: Time, newcomer: Member) {
        self.drop_newcomer(newcomer);
        let before = self.turned_down.iter().find(|turned_down| turned_down.newcomer == newcomer);
        let pause = before.map_or(NEWCOMER_PAUSE, |before| (2 * before.pause).min(NEWCOMER_PAUSE_MAX));
        self.turned_down.retain(|turned_down| turned_down.newcomer != newcomer);
        self.turned_down.push(TurnedDown { newcomer, until: now + pause, pause });
    }

    fn drop_newcomer(&mut self, newcomer: Member) {
        self.copies.retain(|copy| copy.newcomer != newcomer);
        self.followers.retain(|follower| follower.member != newcomer || follower.newcomer.is_none());
    }

    /// Cuts pieces; who has the last one begins to count.
    pub(super) fn fill<S: ReplicaStore<Reservation = R>>(
        &mut self,
        context: &Context<'_>,
        applied: &Applied<S>,
    ) {
        for place in 0..self.copies.len() {
            let newcomer = self.copies[place].newcomer;
            // From the end of its copy on it counts for leases, too.
            let holds_lease = context.leases.holds(context.now, newcomer);
            if self.copies[place].fill(context.pace, applied, holds_lease) {
                self.followers.push(Follower::new(context.now, newcomer, Some(Candidacy::default())));
                self.begin_list(context.now, applied.commit());
            }
        }
    }

    /// Drops newcomers that stand still, and proposes those that have everything.
    pub(super) fn go_on_filling(&mut self, context: &mut Context<'_>, of: Of<'_>) {
        let now = context.now;
        let mut hopeless: Vec<Member> =
            self.copies.iter().filter(|copy| copy.is_hopeless(now)).map(|copy| copy.newcomer).collect();
        // Once it is silent it would keep reads from being answered, as it keeps writes already.
        let is_silent = |member: Member| context.leases.end(member) <= now + 2 * TICK;
        let stands_still = |follower: &&Follower| {
            let Some(candidacy) = follower.newcomer.filter(|_| !follower.is_proposed()) else { return false };
            let is_late = follower.owes_since.is_some_and(|since| now.since(since) >= COPY_STALL);
            (candidacy.is_filled && is_late) || is_silent(follower.member)
        };
        hopeless.extend(self.followers.iter().filter(stands_still).map(|follower| follower.member));
        for newcomer in hopeless {
            self.drop_newcomer(newcomer);
        }
        for follower in &mut self.followers {
            let Some(candidacy) = follower.newcomer else { continue };
            let is_due = candidacy.proposed_at.is_none_or(|at| now.since(at) >= BEAT);
            // Once proposed it is proposed until the map has moved on.
            let is_ready =
                candidacy.is_filled && (follower.has_all(self.list.end) || candidacy.proposed_at.is_some());
            if is_ready && is_due {
                follower.newcomer = Some(Candidacy { proposed_at: Some(now), ..candidacy });
                context.send_to_coordinator(ToCoordinator::Propose {
                    from: context.me,
                    partition: of.partition,
                    cfg: of.config.cfg,
                    newcomer: follower.member,
                });
            }
        }
    }
}
