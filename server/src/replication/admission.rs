//! How a primary takes requests in.
//!
//! Every answer that is not a committed write of its own is a read: what a key holds, a failed condition, a delete of an absent
//! key, an answer given before. A read tells committed state only, and only while the primary may answer. An outcome that
//! follows from an entry which is prepared waits for that entry.
//!
//! Order of the checks on a write: is it a late copy (floor), was it carried out (outcomes), is it being carried out (prepared),
//! may it have been (forgotten); is there room, are there replicas enough; then what it comes to, and memory for it.

use std::sync::Arc;

use dht_protocol::ids::{ClientId, Seq, Version};
use dht_protocol::peer::{Effect, LogEntry, Origin, Outcome};
use dht_protocol::request::WriteToken;
use dht_protocol::status::Status;

use super::applied::Applied;
use super::context::Context;
use super::evaluate::{Evaluated, evaluate};
use super::limits::{PREPARED_BYTES_MAX, PREPARED_ENTRIES_MAX, WAITERS_MAX};
use super::log::Prepared;
use super::operation::{KeyAnswer, KeyRequest, Operation, Ticket};
use super::outcomes::Known;
use super::primary::{Of, Pending, Primary, has_enough};
use super::replica_store::{ReplicaStore, Stored};
use super::waiters::{Waiter, Why, answer_of, refusal};
use crate::planted::{Bug, is_planted};

impl<R> Primary<R> {
    /// A request has come.
    pub(super) fn on_request<S: ReplicaStore<Reservation = R>>(
        &mut self,
        context: &mut Context<'_>,
        of: Of<'_>,
        applied: &mut Applied<S>,
        ticket: Ticket,
        request: KeyRequest,
    ) {
        // It was sent to an earlier term of this primary, or to another's: who knows what became of it since.
        let is_old = request.epoch < of.config.primary_since && !is_planted(Bug::TakeOldRequests);
        if is_old {
            return context.answer(ticket, refusal(Status::NotOwner, context.epoch));
        }
        if let Some(hand_over) = &self.hand_over
            && (request.operation.is_write() || hand_over.has_given_up())
            && !is_planted(Bug::ServeAfterGivingUp)
        {
            return self.queue_up(context, ticket, request);
        }
        if !self.may_answer(context, applied.commit()) {
            return context.answer(ticket, refusal(Status::Unavailable, context.epoch));
        }
        match request.operation {
            Operation::Get | Operation::Exists => {
                let found = applied.read(request.hash, &request.key);
                let answer = self.read_answer(context, found_answer(&request.operation, found, context));
                context.answer(ticket, answer);
            }
            _ => self.admit(context, of, applied, ticket, request),
        }
    }

    fn admit<S: ReplicaStore<Reservation = R>>(
        &mut self,
        context: &mut Context<'_>,
        of: Of<'_>,
        applied: &mut Applied<S>,
        ticket: Ticket,
        request: KeyRequest,
    ) {
        if let Some((client, token)) = request.writer {
            match self.known(context, of, applied, client, token) {
                Some(Ok(outcome)) => {
                    let answer = self.read_answer(context, answer_of(outcome, context.epoch));
                    return context.answer(ticket, answer);
                }
                Some(Err(twin)) => return self.wait_for(context, twin, ticket, request, Why::Twin),
                None => {}
            }
        }
        // An entry that forgets a client may come before the write's own.
        let is_full = self.prepared.len() + 2 > PREPARED_ENTRIES_MAX
            // What is prepared has its client wait for it: there must be room for that before.
            || self.waiting_count >= WAITERS_MAX
            || (!self.prepared.is_empty()
                && (self.prepared_bytes >= PREPARED_BYTES_MAX || context.budget.is_used_up()));
        if is_full {
            return context.answer(ticket, refusal(Status::Busy, context.epoch));
        }
        if !has_enough(context, of.config) && !is_planted(Bug::SkipMinInSync) {
            return context.answer(ticket, refusal(Status::NotEnoughReplicas, context.epoch));
        }
        self.forget_surplus(context, of, applied);
        self.evaluate(context, of, applied, ticket, request);
    }

    /// Has all replicas forget outcomes, where there are too many.
    fn forget_surplus<S: ReplicaStore<Reservation = R>>(
        &mut self,
        context: &Context<'_>,
        of: Of<'_>,
        applied: &mut Applied<S>,
    ) {
        let leaving = self.prepared.iter().filter_map(|pending| match pending.prepared.entry.effect {
            Effect::Forget { client, seq } => Some((client, seq)),
            Effect::Put { .. } | Effect::Delete { .. } | Effect::NoOp => None,
        });
        if let Some((client, seq)) = applied.outcomes.surplus(context.budget.outcomes_max(), leaving) {
            let _ = self.push(of, applied, Effect::Forget { client, seq }, None);
        }
    }

    /// Forgets outcomes of a partition that is not written to, while memory for them is short.
    pub(super) fn sweep<S: ReplicaStore<Reservation = R>>(
        &mut self,
        context: &Context<'_>,
        of: Of<'_>,
        applied: &mut Applied<S>,
    ) {
        let is_idle = self.prepared.is_empty() && self.hand_over.is_none();
        let is_able = is_idle && has_enough(context, of.config);
        if context.budget.is_short() && is_able && self.may_answer(context, applied.commit()) {
            self.forget_surplus(context, of, applied);
        }
    }

    /// What is known of a write already: its outcome, or the place of its entry in the list.
    fn known<S: ReplicaStore<Reservation = R>>(
        &self,
        context: &mut Context<'_>,
        of: Of<'_>,
        applied: &Applied<S>,
        client: ClientId,
        token: WriteToken,
    ) -> Option<Result<Outcome, usize>> {
        let unknown = Outcome { status: Status::OutcomeUnknown, version: Version::ABSENT, number: 0 };
        context.floors.raise(client, token.floor);
        if token.seq < context.floors.of(client) {
            return Some(Ok(unknown));
        }
        match applied.outcomes.look_up(client, token.seq, token.retry) {
            Known::Outcome(outcome) if self.is_firm(context, of, outcome.version) => {
                return Some(Ok(outcome));
            }
            Known::Outcome(_) | Known::Forgotten => return Some(Ok(unknown)),
            Known::New if token.seq <= context.floors.forgotten(client) => return Some(Ok(unknown)),
            Known::New => {}
        }
        let is_twin = |pending: &Pending<R>| {
            let origin = pending.prepared.entry.origin;
            origin.is_some_and(|origin| (origin.client, origin.seq) == (client, token.seq))
        };
        let twin = self.prepared.iter().position(is_twin);
        twin.filter(|_| !is_planted(Bug::TwinDoesNotWait)).map(Err)
    }

    fn wait_for(
        &mut self,
        context: &mut Context<'_>,
        place: usize,
        ticket: Ticket,
        request: KeyRequest,
        why: Why,
    ) {
        if self.waiting_count >= WAITERS_MAX {
            return context.answer(ticket, refusal(Status::Busy, context.epoch));
        }
        self.waiting_count += 1;
        self.prepared[place].waiters.push(Waiter { ticket, request, why, since: context.now });
    }

    /// Finds out what a write comes to, and prepares it.
    fn evaluate<S: ReplicaStore<Reservation = R>>(
        &mut self,
        context: &mut Context<'_>,
        of: Of<'_>,
        applied: &mut Applied<S>,
        ticket: Ticket,
        request: KeyRequest,
    ) {
        let is_about = |pending: &Pending<R>| pending.prepared.entry.effect.key() == Some(&request.key);
        let depends_on = self.prepared.iter().rposition(is_about);
        let current = match depends_on {
            Some(place) => stored_by(&self.prepared[place].prepared.entry),
            None => applied.read(request.hash, &request.key),
        };
        match evaluate(&request.operation, &request.key, current.as_ref()) {
            Evaluated::Effect(effect, number) => {
                let version = self.next_name(of, applied.commit());
                if version.is_absent() {
                    return context.answer(ticket, refusal(Status::Crowded, context.epoch));
                }
                let outcome = Outcome { status: Status::Ok, version, number };
                let origin = origin_of(&request, outcome);
                if self.push(of, applied, effect, origin).is_some() {
                    let own = self.prepared.len() - 1;
                    return self.wait_for(context, own, ticket, request, Why::Own(outcome));
                }
                let none = Outcome { status: Status::OutOfMemory, version: Version::ABSENT, number: 0 };
                self.decline(context, of, applied, None, ticket, request, none);
            }
            Evaluated::Refused(outcome) => {
                self.decline(context, of, applied, depends_on, ticket, request, outcome);
            }
        }
    }

    /// A write comes to nothing. Where an earlier copy of it may still arrive, that is remembered on every replica: its client
    /// has been told.
    #[expect(clippy::too_many_arguments, reason = "what a request is about, and what it came to")]
    fn decline<S: ReplicaStore<Reservation = R>>(
        &mut self,
        context: &mut Context<'_>,
        of: Of<'_>,
        applied: &mut Applied<S>,
        depends_on: Option<usize>,
        ticket: Ticket,
        request: KeyRequest,
        outcome: Outcome,
    ) {
        if request.writer.is_some_and(|(_, token)| token.retry) && !outcome.status.may_retry() {
            let origin = origin_of(&request, outcome);
            let _ = self.push(of, applied, Effect::NoOp, origin);
            let own = self.prepared.len() - 1;
            return self.wait_for(context, own, ticket, request, Why::Own(outcome));
        }
        match depends_on.filter(|_| !is_planted(Bug::AnswerFromPrepared)) {
            Some(place) => self.wait_for(context, place, ticket, request, Why::Depends(outcome)),
            None => {
                let answer = self.read_answer(context, answer_of(outcome, context.epoch));
                context.answer(ticket, answer);
            }
        }
    }

    /// The name of the next entry; absent: the partition has used up its numbers.
    fn next_name(&self, of: Of<'_>, commit: Seq) -> Version {
        let seq = self.last(commit).next().0;
        if seq > Version::SEQ_MAX { Version::ABSENT } else { Version::new(of.config.cfg, seq) }
    }

    /// Prepares an entry; `None`: there is no memory for it.
    fn push<S: ReplicaStore<Reservation = R>>(
        &mut self,
        of: Of<'_>,
        applied: &mut Applied<S>,
        effect: Effect,
        origin: Option<Origin>,
    ) -> Option<()> {
        let reservation = applied.reserve(&effect)?;
        let name = self.next_name(of, applied.commit());
        self.prepared_bytes += effect.bytes();
        let entry = LogEntry { name, effect, origin };
        self.prepared.push_back(Pending { prepared: Prepared { entry, reservation }, waiters: Vec::new() });
        Some(())
    }
}

fn origin_of(request: &KeyRequest, outcome: Outcome) -> Option<Origin> {
    let (client, token) = request.writer?;
    Some(Origin { client, seq: token.seq, floor: token.floor, outcome })
}

/// What the key of an entry holds once it is committed.
fn stored_by(entry: &LogEntry) -> Option<Stored> {
    match &entry.effect {
        Effect::Put { value_type, value, .. } => {
            Some(Stored { version: entry.name, value_type: *value_type, value: Arc::clone(value) })
        }
        Effect::Delete { .. } | Effect::NoOp | Effect::Forget { .. } => None,
    }
}

fn found_answer(operation: &Operation, found: Option<Stored>, context: &Context<'_>) -> KeyAnswer {
    let Some(found) = found else { return refusal(Status::NotFound, context.epoch) };
    let value = matches!(operation, Operation::Get).then_some((found.value_type, found.value));
    KeyAnswer { version: found.version, value, ..refusal(Status::Ok, context.epoch) }
}
