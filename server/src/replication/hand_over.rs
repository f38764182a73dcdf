//! Giving a partition away on purpose, without a failed request.
//!
//! The primary stops admitting writes, which queue up, and commits what is prepared; if that takes too long it goes on
//! as before, without having asked anybody. Then it gives up for good: it asks the coordinator to make the target primary,
//! and answers nothing until a map with a higher cfg says who is. (If it went on when an answer stays away, the coordinator
//! might have moved the partition all the same, and the new primary does not wait out the grace.) With that map, what is
//! queued is carried out here or sent on. What has queued for too long, as no coordinator is up, is turned away: it was never
//! prepared, so its client may be told that nothing was done. The partition stays given up.

use dht_protocol::ids::Member;
use dht_protocol::peer::ToCoordinator;
use dht_protocol::status::Status;

use super::applied::Applied;
use super::context::Context;
use super::limits::WAITERS_MAX;
use super::operation::{KeyRequest, Ticket};
use super::primary::{Of, Primary};
use super::replica_store::ReplicaStore;
use super::waiters::refusal;
use crate::clock::Time;
use crate::timings::{BEAT, HAND_OVER_WAIT, QUEUE_WAIT_MAX};

/// A hand-over under way.
#[derive(Debug)]
pub(super) struct HandOver {
    target: Member,
    since: Time,
    /// When the coordinator was last asked; from the first time on the partition is given up.
    asked_at: Option<Time>,
}

/// A request that waits for the end of a hand-over. Nothing of it is prepared.
#[derive(Debug)]
pub(super) struct QueuedUp {
    pub(super) ticket: Ticket,
    request: KeyRequest,
    since: Time,
}

impl HandOver {
    /// Whether it can no longer be called off.
    pub(super) fn has_given_up(&self) -> bool {
        self.asked_at.is_some()
    }
}

impl<R> Primary<R> {
    /// The coordinator wishes that `target` had this partition. Ignored unless it is a backup and this replica serves.
    pub(super) fn begin_hand_over(
        &mut self,
        context: &Context<'_>,
        of: Of<'_>,
        commit: dht_protocol::ids::Seq,
        target: Member,
    ) {
        let is_possible = of.config.backups.contains(&target) && self.may_answer(context, commit);
        if is_possible && self.hand_over.is_none() {
            self.hand_over = Some(HandOver { target, since: context.now, asked_at: None });
        }
    }

    /// Goes on with a hand-over.
    pub(super) fn go_on_handing_over<S: ReplicaStore<Reservation = R>>(
        &mut self,
        context: &mut Context<'_>,
        of: Of<'_>,
        applied: &mut Applied<S>,
    ) {
        let may_answer = self.may_answer(context, applied.commit());
        let Some(hand_over) = &mut self.hand_over else { return };
        let is_first = hand_over.asked_at.is_none();
        // Only a primary that is serving at this very moment may vouch that nobody else is.
        let is_ready = self.prepared.is_empty() && self.again.is_empty() && may_answer;
        let is_due = hand_over.asked_at.is_none_or(|at| context.now.since(at) >= BEAT);
        if (!is_first || is_ready) && is_due {
            hand_over.asked_at = Some(context.now);
            let (from, partition, cfg, target) = (context.me, of.partition, of.config.cfg, hand_over.target);
            context.send_to_coordinator(ToCoordinator::HandOver { from, partition, cfg, target });
        } else if is_first && context.now.since(hand_over.since) >= HAND_OVER_WAIT {
            self.end_hand_over(context, of, applied);
        }
    }

    /// The partition stays here: takes in what is queued.
    pub(super) fn end_hand_over<S: ReplicaStore<Reservation = R>>(
        &mut self,
        context: &mut Context<'_>,
        of: Of<'_>,
        applied: &mut Applied<S>,
    ) {
        self.hand_over = None;
        for QueuedUp { ticket, request, .. } in std::mem::take(&mut self.queue) {
            self.on_request(context, of, applied, ticket, request);
        }
    }

    /// A request has come while a hand-over is under way.
    pub(super) fn queue_up(&mut self, context: &mut Context<'_>, ticket: Ticket, request: KeyRequest) {
        if self.queue.len() < WAITERS_MAX {
            self.queue.push_back(QueuedUp { ticket, request, since: context.now });
        } else {
            context.answer(ticket, refusal(Status::Busy, context.epoch));
        }
    }

    /// Turns away those who have queued for too long.
    pub(super) fn end_long_queues(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        while self.queue.front().is_some_and(|first| now.since(first.since) >= QUEUE_WAIT_MAX)
            && let Some(first) = self.queue.pop_front()
        {
            context.answer(first.ticket, refusal(Status::Unavailable, context.epoch));
        }
    }
}
