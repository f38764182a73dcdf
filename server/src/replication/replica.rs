//! A replica of a partition: what it has applied, and its role, which follows from the configuration that its node knows of.
//!
//! ```text
//!                 the map names it
//!   nothing ──────────────────────────▶ joining ──── taken in ────▶ backup ──┐
//!      ▲                                   ▲                          ▲  │    │ made primary
//!      │ named no more                     │ struck off               │  └─┐  ▼
//!      └── any role                        └── backup, primary        └── primary
//!                                                            handed over
//! ```
//!
//! Who acts upon a message is decided here: a message is about a partition under a configuration, and comes from one start
//! of a node. One of a lower cfg is too late; one of a higher cfg waits at the node until that map is here; one from somebody
//! whom the configuration does not name so is nobody's.
//!
//! Invariants:
//! 1. The configuration names this node with this incarnation.
//! 2. The role is what the configuration says. (A backup that the map names so before its copy has ended, which no
//!    coordinator does, stays as it is and acknowledges nothing.)

use std::collections::VecDeque;

use dht_protocol::ids::{Cfg, Member, PartitionId, Version};
use dht_protocol::peer::{At, PeerBody};
use dht_protocol::placement::hash::HashKey;
use dht_protocol::placement::replica_map::Configuration;
use dht_protocol::status::Status;

use super::applied::Applied;
use super::backup::{Backup, Prepare};
use super::context::Context;
use super::newcomer::{Newcomer, Part};
use super::operation::{KeyRequest, Ticket};
use super::outcomes::Outcomes;
use super::primary::{Of, Primary};
use super::replica_store::ReplicaStore;
use super::waiters::refusal;
use crate::clock::Time;
use crate::planted::{Bug, is_planted};

/// A replica of a partition.
#[derive(Debug)]
pub(crate) struct Replica<S: ReplicaStore> {
    partition: PartitionId,
    config: Configuration,
    applied: Applied<S>,
    state: State<S::Reservation>,
    /// What the node's budget is charged with for it, bytes.
    charged_bytes: u64,
}

/// The role of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It serves.
    Primary,
    /// It is in sync, and may become primary.
    Backup,
    /// It is being filled.
    Joining,
}

#[derive(Debug)]
enum State<R> {
    Primary(Primary<R>),
    Backup(Backup<R>),
    Joining(Newcomer<R>),
}

/// What can be seen of a replica.
#[derive(Debug)]
pub struct ReplicaView<'a, S> {
    /// Its role.
    pub role: Role,
    /// The configuration that it acts under.
    pub cfg: Cfg,
    /// Name of the last committed entry.
    pub commit: Version,
    /// Entries that are prepared.
    pub prepared: usize,
    /// Requests that wait.
    pub queued: usize,
    /// Outcomes that are remembered.
    pub outcomes: usize,
    /// The table.
    pub store: &'a S,
}

impl<S: ReplicaStore> Replica<S> {
    /// A replica, empty, of a partition whose configuration names it for the first time.
    pub(crate) fn new(
        context: &Context<'_>,
        partition: PartitionId,
        config: &Configuration,
        store: S,
        hash_key: HashKey,
    ) -> Replica<S> {
        let state = State::Joining(Newcomer::new());
        let applied = Applied::new(store, hash_key);
        let mut replica = Replica { partition, config: config.clone(), applied, state, charged_bytes: 0 };
        // This start of the node is in sync and has never had anything: so the partition began like this, and nothing has been
        // committed without it.
        if config.backups.contains(&context.me) {
            replica.state = State::Backup(Backup::new(context.now, VecDeque::new()));
        } else if config.primary == context.me {
            replica.become_primary(context, config);
        }
        replica
    }

    /// The node has a map in which the partition's configuration is this one, and names this replica.
    pub(crate) fn on_config(&mut self, context: &mut Context<'_>, config: &Configuration) {
        if config.cfg == self.config.cfg {
            return;
        }
        let before = std::mem::replace(&mut self.config, config.clone());
        if before.began != config.began && !is_planted(Bug::CatchUpAnyHistory) {
            self.throw_away(context);
        }
        let is_same_primary = before.primary == config.primary;
        if config.primary == context.me {
            let is_new_term =
                before.primary_since != config.primary_since && !is_planted(Bug::SkipGraceAfterMissedTerm);
            if is_new_term && matches!(self.state, State::Primary(_)) {
                // Another has been primary in between, by a map that this node has missed, and may be serving still: this is
                // a new term, with its grace.
                self.become_backup(context);
            }
            self.on_primary_config(context, config);
        } else if config.backups.contains(&context.me) {
            self.become_backup(context);
        } else {
            self.become_joining(context, is_same_primary);
        }
        self.end_turn(context);
    }

    /// The partition has begun again, empty. What is here was lost, and said to be: to bring it back would bring versions back
    /// that have been replaced since.
    fn throw_away(&mut self, context: &mut Context<'_>) {
        let state = std::mem::replace(&mut self.state, State::Joining(Newcomer::new()));
        if let State::Primary(primary) = state {
            primary.into_held(context);
        }
        self.applied.clear();
    }

    fn on_primary_config(&mut self, context: &mut Context<'_>, config: &Configuration) {
        if !matches!(self.state, State::Primary(_)) {
            return self.become_primary(context, config);
        }
        let State::Primary(primary) = &mut self.state else { return };
        primary.on_new_cfg(context.now, self.applied.commit(), config);
        let of = Of { partition: self.partition, config: &self.config };
        primary.end_hand_over(context, of, &mut self.applied);
    }

    fn become_primary(&mut self, context: &Context<'_>, config: &Configuration) {
        let held = match std::mem::replace(&mut self.state, State::Joining(Newcomer::new())) {
            State::Backup(backup) => backup.into_held(),
            // A newcomer that has missed the map that took it in; or one with which the partition begins again, empty.
            State::Joining(newcomer) => newcomer.into_backup().map_or_else(VecDeque::new, Backup::into_held),
            State::Primary(_) => unreachable!("a primary stays one without becoming one"),
        };
        if is_planted(Bug::DropOutcomes) {
            self.applied.outcomes = Outcomes::default();
        }
        let serves_from = if config.handed_over { Time(0) } else { context.leases.end_of_grace() };
        let mut primary = Primary::new(held, self.applied.commit(), serves_from);
        primary.on_new_cfg(context.now, self.applied.commit(), config);
        self.state = State::Primary(primary);
    }

    fn become_backup(&mut self, context: &mut Context<'_>) {
        let state = std::mem::replace(&mut self.state, State::Joining(Newcomer::new()));
        self.state = match state {
            State::Primary(primary) => State::Backup(Backup::new(context.now, primary.into_held(context))),
            State::Backup(mut backup) => {
                backup.on_new_cfg(context.now);
                State::Backup(backup)
            }
            State::Joining(newcomer) if newcomer.is_filled() => {
                let backup = newcomer.into_backup().map(|mut backup| {
                    backup.on_new_cfg(context.now);
                    backup
                });
                backup.map_or(State::Joining(Newcomer::new()), State::Backup)
            }
            State::Joining(newcomer) => State::Joining(newcomer),
        };
    }

    /// It is struck off, or goes on being filled. What is above its commit point is dropped, unless the same primary is filling it.
    fn become_joining(&mut self, context: &mut Context<'_>, is_same_primary: bool) {
        let state = std::mem::replace(&mut self.state, State::Joining(Newcomer::new()));
        match state {
            State::Joining(mut newcomer) if is_same_primary => {
                newcomer.on_new_cfg(context.now);
                self.state = State::Joining(newcomer);
            }
            State::Joining(_) if !self.applied.is_whole => self.applied.clear(),
            State::Joining(_) | State::Backup(_) => {}
            State::Primary(primary) => {
                primary.into_held(context);
            }
        }
    }

    /// The configuration names this replica no more.
    pub(crate) fn on_removed(mut self, context: &mut Context<'_>) {
        context.budget.settle(&mut self.charged_bytes, 0);
        if let State::Primary(primary) = self.state {
            primary.into_held(context);
        }
    }

    /// A request about one of its keys.
    pub(crate) fn on_request(&mut self, context: &mut Context<'_>, ticket: Ticket, request: KeyRequest) {
        match &mut self.state {
            State::Primary(primary) => {
                let of = Of { partition: self.partition, config: &self.config };
                primary.on_request(context, of, &mut self.applied, ticket, request);
                self.end_turn(context);
            }
            State::Backup(_) | State::Joining(_) => {
                context.answer(ticket, refusal(Status::NotOwner, context.epoch));
            }
        }
    }

    /// The coordinator wishes that `target` had the partition.
    pub(crate) fn on_move(&mut self, context: &mut Context<'_>, cfg: Cfg, target: Member) {
        if let State::Primary(primary) = &mut self.state
            && cfg == self.config.cfg
        {
            let of = Of { partition: self.partition, config: &self.config };
            primary.begin_hand_over(context, of, self.applied.commit(), target);
            self.end_turn(context);
        }
    }

    /// A message about this partition. Its cfg is the configuration's.
    pub(crate) fn on_message(&mut self, context: &mut Context<'_>, from: Member, body: PeerBody) {
        let is_from_primary = from == self.config.primary || is_planted(Bug::SkipCfgCheck);
        let (partition, applied) = (self.partition, &mut self.applied);
        let of = Of { partition, config: &self.config };
        match (&mut self.state, body) {
            (State::Primary(primary), PeerBody::Prepared { revision, upto, refused, .. }) => {
                primary.on_ack(context, applied, from, revision, upto, refused);
            }
            (State::Primary(primary), PeerBody::CopyRequest { applied: has, .. }) => {
                primary.on_copy_request(context, of, applied, from, has);
            }
            (State::Primary(primary), PeerBody::CopyAck { stream, next, refused, .. }) => {
                primary.on_copy_ack(context, from, stream, next, refused);
            }
            (State::Backup(backup), PeerBody::Prepare { at: At { cfg, .. }, list, commit, entries })
                if is_from_primary =>
            {
                let is_anyone_away = !self.config.joining.is_empty();
                let message = Prepare { from, cfg, list, commit, entries };
                backup.on_prepare(context, partition, applied, message, is_anyone_away);
            }
            (State::Joining(newcomer), PeerBody::Prepare { at: At { cfg, .. }, list, commit, entries })
                if is_from_primary =>
            {
                let message = Prepare { from, cfg, list, commit, entries };
                newcomer.on_prepare(context, partition, applied, message);
            }
            (State::Joining(newcomer), PeerBody::Copy { at: At { cfg, .. }, stream, index, item })
                if is_from_primary =>
            {
                newcomer.on_part(context, partition, applied, Part { from, cfg, stream, index, item });
            }
            _ => ignore_message_for_another_role(),
        }
        self.end_turn(context);
    }

    /// Time has passed.
    pub(crate) fn on_tick(&mut self, context: &mut Context<'_>) {
        let of = Of { partition: self.partition, config: &self.config };
        match &mut self.state {
            State::Primary(primary) => {
                primary.end_long_waits(context);
                primary.end_long_queues(context);
                primary.go_on_filling(context, of);
            }
            State::Joining(newcomer) if self.config.joining.contains(&context.me) => {
                let (primary, cfg) = (self.config.primary, self.config.cfg);
                newcomer.on_tick(context, self.partition, primary, cfg, &self.applied);
            }
            State::Backup(_) | State::Joining(_) => {}
        }
        self.end_turn(context);
    }

    /// Drops outcomes that floors have passed. For partitions at rest, now and then.
    /// While the budget is short, lets go of more.
    pub(crate) fn sweep(&mut self, context: &mut Context<'_>) {
        self.applied.outcomes.sweep(|client| context.floors.of(client));
        if context.budget.is_short() {
            self.applied.kept.let_go();
            if let State::Primary(primary) = &mut self.state {
                let of = Of { partition: self.partition, config: &self.config };
                primary.sweep(context, of, &mut self.applied);
            }
        }
        self.end_turn(context);
    }

    /// What follows from what has happened, once for all of it: commit, take in what had waited, cut, send.
    fn end_turn(&mut self, context: &mut Context<'_>) {
        self.go_on(context);
        let role = match &self.state {
            State::Primary(primary) => primary.log_bytes(),
            State::Backup(backup) => backup.log_bytes(),
            State::Joining(newcomer) => newcomer.log_bytes(),
        };
        context.budget.settle(&mut self.charged_bytes, self.applied.log_bytes() + role);
    }

    /// What the node's budget is charged with for it.
    pub(crate) fn charged_bytes(&self) -> u64 {
        self.charged_bytes
    }

    fn go_on(&mut self, context: &mut Context<'_>) {
        for (client, seq) in self.applied.forgotten.drain(..) {
            context.floors.forget(client, seq);
        }
        let State::Primary(primary) = &mut self.state else { return };
        let of = Of { partition: self.partition, config: &self.config };
        loop {
            primary.commit(context, of, &mut self.applied);
            let Some((ticket, request)) = primary.again.pop_front() else { break };
            primary.on_request(context, of, &mut self.applied, ticket, request);
        }
        primary.go_on_handing_over(context, of, &mut self.applied);
        primary.commit(context, of, &mut self.applied);
        primary.fill(context, &self.applied);
        primary.send(context, of, self.applied.commit());
    }

    /// Whether it would answer a read at this moment.
    pub(crate) fn is_serving(&self, context: &Context<'_>) -> bool {
        match &self.state {
            State::Primary(primary) => primary.may_answer(context, self.applied.commit()),
            State::Backup(_) | State::Joining(_) => false,
        }
    }

    /// Whether time alone brings nothing about.
    pub(crate) fn is_at_rest(&self) -> bool {
        match &self.state {
            State::Primary(primary) => primary.is_at_rest(self.applied.commit()),
            State::Backup(_) => true,
            State::Joining(_) => false,
        }
    }

    /// The configuration that it acts under.
    pub(crate) fn config(&self) -> &Configuration {
        &self.config
    }

    /// Members that have owed it something since before `since`.
    pub(crate) fn accused(&self, context: &Context<'_>, since: Time) -> Vec<Member> {
        match &self.state {
            State::Primary(primary) => primary.accused(context, since).collect(),
            State::Backup(_) | State::Joining(_) => Vec::new(),
        }
    }

    /// What can be seen of it.
    pub(crate) fn view(&self) -> ReplicaView<'_, S> {
        let (role, prepared, queued) = match &self.state {
            State::Primary(primary) => {
                let queued = primary.waiting_count + primary.queue.len() + primary.again.len();
                (Role::Primary, primary.prepared.len(), queued)
            }
            State::Backup(backup) => (Role::Backup, backup.prepared_count(), 0),
            State::Joining(newcomer) => (Role::Joining, newcomer.prepared_count(), 0),
        };
        let Applied { committed, outcomes, store, .. } = &self.applied;
        let (cfg, commit, outcomes) = (self.config.cfg, *committed, outcomes.len());
        ReplicaView { role, cfg, commit, prepared, queued, outcomes, store }
    }

    /// Checks the invariants. For tests.
    pub(crate) fn check_invariants(&self) {
        self.applied.check_invariants();
        let commit = self.applied.commit();
        match &self.state {
            State::Primary(primary) => primary.check_invariants(commit),
            State::Backup(backup) => backup.check_invariants(commit),
            State::Joining(newcomer) => newcomer.check_invariants(&self.applied),
        }
    }
}

/// It was meant for what this replica was, or will be; whoever sent it will send it again if it still holds.
fn ignore_message_for_another_role() {}
