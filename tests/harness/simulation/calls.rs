//! The clients' part of the world: how a call goes from its slot to a node and back, with as many attempts as the product's
//! own machine allows.

use std::sync::Arc;
use std::time::Duration;

use dht_protocol::ids::{Epoch, Incarnation, NodeId, Version};
use dht_protocol::status::{Meaning, Status};
use dht_server::replication::operation::{KeyAnswer, KeyRequest, Ticket};

use crate::linearizability::{Answer, Op, Record};

use super::client::{Call, Link, Stage, TicketInfo};
use super::injected::Ending;
use super::machines::{
    ATTEMPTS_MAX_DEFAULT, Failure, Outcome, REFRESH_PAUSE, Retry, Step, UNREACHABLE_FOR, Verdict,
};
use super::network::Network;
use super::queue::{Event, MS};
use super::session::{Down, SessionId, SlotRef, Up};
use super::trace::Subject;
use super::workload::{operation, recorded};
use super::world::World;

/// Longest that a client waits for the answer to a greeting, nanoseconds.
const CONNECT_TIMEOUT: u64 = 500 * MS;

impl<'a> World<'a> {
    /// A slot has waited for as long as it was to.
    pub(super) fn slot_wakes(&mut self, client: u16, at: SlotRef) {
        let slot = &self.clients[client as usize].slots[at.slot as usize];
        if slot.generation != at.generation {
            return;
        }
        match slot.stage {
            Stage::Resting => self.begin_call(client, at.slot),
            Stage::BackingOff => self.attempt(client, at.slot),
            Stage::Connecting(session) => {
                self.abandon(client, session);
                self.failed(client, at.slot, Failure::NotSent);
            }
            Stage::Waiting(session, _, node, incarnation) => {
                if self.random.percent(30) {
                    self.abandon(client, session);
                }
                self.refresh_elsewhere(client, session);
                self.failed(client, at.slot, Failure::Lost(node, incarnation));
            }
            Stage::Refreshing(_) => self.failed(client, at.slot, Failure::Refused),
        }
    }

    fn begin_call(&mut self, client: u16, slot: u16) {
        let now = self.queue.now();
        if !self.takes_calls {
            return self.stay(client, slot, Stage::Resting, u64::MAX);
        }
        let (key, op) = self.workload.draw(now, &mut self.random, &self.clients[client as usize].seen);
        self.call(client, slot, key, op);
    }

    /// Begins a call on this key.
    pub(super) fn call(&mut self, client: u16, slot: u16, key: usize, op: Op) {
        let now = self.queue.now();
        let info = &self.workload.keys[key];
        let operation = operation(&op, info.kind);
        let (is_write, deadline) = (operation.is_write(), now + self.scenario.op_timeout);
        let until = self.instant(deadline);
        let seed = self.random.next_u64();
        let tokens = self.clients[client as usize].tokens;
        let write = if is_write { tokens.open(until) } else { None };
        let retry = Retry::replicated(is_write, until, ATTEMPTS_MAX_DEFAULT, seed);
        let version_before = self.promises.highest(info.partition);
        if self.trace.wants(Subject::Key(key)) {
            let text = format!("client {client}.{slot} asks {op:?}");
            self.trace.say(now, text);
        }
        self.clients[client as usize].slots[slot as usize].call =
            Some(Call { key, op, operation, invoked: now, deadline, retry, write, version_before });
        self.attempt(client, slot);
    }

    /// The slot waits in this stage for so long.
    fn stay(&mut self, client: u16, slot: u16, stage: Stage, span: u64) {
        let place = &mut self.clients[client as usize].slots[slot as usize];
        place.generation = place.generation.wrapping_add(1);
        place.stage = stage;
        let generation = place.generation;
        if span != u64::MAX {
            self.queue.after(span, Event::Slot { client, slot, generation });
        }
    }

    fn attempt(&mut self, client: u16, slot: u16) {
        let now = self.queue.now();
        let state = &self.clients[client as usize];
        let Some(call) = &state.slots[slot as usize].call else { return };
        let primary = state.map.as_ref().and_then(|map| {
            let primary = map.partition(self.workload.keys[call.key].partition)?.primary;
            map.node(primary.node).map(|node| super::coordination::place_of(&node.address))
        });
        let Some(node) = primary else {
            self.refresh_somewhere(client, None);
            return self.failed(client, slot, Failure::NotSent);
        };
        match self.clients[client as usize].links[node as usize] {
            Link::Open(session, incarnation) => self.send_call(client, slot, node, session, incarnation),
            Link::Closed(not_before) if now < not_before => {
                self.refresh_somewhere(client, Some(node));
                self.failed(client, slot, Failure::NotSent);
            }
            Link::Closed(_) => {
                let session = self.open(client, node, false);
                self.stay(client, slot, Stage::Connecting(session), CONNECT_TIMEOUT);
            }
            Link::Opening(session, _) => self.stay(client, slot, Stage::Connecting(session), CONNECT_TIMEOUT),
        }
    }

    fn open(&mut self, client: u16, node: u16, wants_map: bool) -> SessionId {
        let id = self.clients[client as usize].id;
        let session = self.sessions.open(client, id, node);
        self.clients[client as usize].links[node as usize] = Link::Opening(session, wants_map);
        self.send_up(session, Up::Hello);
        session
    }

    fn send_call(&mut self, client: u16, slot: u16, node: u16, session: SessionId, incarnation: Incarnation) {
        let now = self.queue.now();
        let ticket = Ticket(self.tickets.len() as u64);
        let state = &mut self.clients[client as usize];
        let epoch = state.map.as_ref().map_or(Epoch(0), |map| map.epoch);
        let place = &mut state.slots[slot as usize];
        let Some(call) = &place.call else { return };
        let info = &self.workload.keys[call.key];
        let retry = call.retry.in_doubt();
        let request = KeyRequest {
            epoch,
            key: Arc::clone(&info.name),
            hash: info.hash,
            operation: call.operation.clone(),
            writer: call.write.as_ref().map(|write| (state.id, write.token(retry))),
        };
        let (is_write, key, partition) = (call.write.is_some(), call.key as u16, info.partition);
        let left = call.deadline.saturating_sub(now);
        let owner = state
            .map
            .as_ref()
            .and_then(|map| map.partition(info.partition))
            .map_or(NodeId(0), |held| held.primary.node);
        if self.trace.wants(Subject::Key(call.key)) {
            let text = format!("client {client}.{slot} sends to n{node} as {ticket:?} {:?}", request.writer);
            self.trace.say(now, text);
        }
        let wait = left.min(self.scenario.attempt_timeout).max(1);
        self.stay(client, slot, Stage::Waiting(session, ticket, owner, incarnation), wait);
        let generation = self.clients[client as usize].slots[slot as usize].generation;
        let at = SlotRef { slot, generation };
        self.tickets.push(TicketInfo {
            slot: at,
            session,
            node,
            key,
            partition,
            retry,
            is_write,
            answered: false,
        });
        self.send_up(session, Up::Request(ticket, request));
    }

    /// An attempt has failed: again, later or never.
    fn failed(&mut self, client: u16, slot: u16, failure: Failure) {
        let now = self.instant(self.queue.now());
        let place = &mut self.clients[client as usize].slots[slot as usize];
        let Some(call) = &mut place.call else { return };
        match call.retry.on_failure(now, failure) {
            Step::Again(at) => {
                let span = at.saturating_duration_since(now).as_nanos() as u64;
                self.stay(client, slot, Stage::BackingOff, span);
            }
            Step::TimeUp | Step::AttemptsUsedUp => {
                let answer = unanswered(call.retry.outcome());
                self.finish(client, slot, answer);
            }
        }
    }

    pub(super) fn finish(&mut self, client: u16, slot: u16, answer: Answer) {
        let now = self.queue.now();
        let state = &mut self.clients[client as usize];
        let Some(call) = state.slots[slot as usize].call.take() else { return };
        match &answer {
            Answer::Found { version: Some(version), .. }
            | Answer::Present { version: Some(version) }
            | Answer::Written { version: Some(version) }
            | Answer::Refused { seen: Some(version) } => state.seen[call.key] = *version,
            Answer::Missing => state.seen[call.key] = Version::ABSENT,
            _ => {}
        }
        if self.trace.wants(Subject::Key(call.key)) {
            self.trace.say(now, format!("client {client}.{slot} is told {answer:?} to {:?}", call.op));
        }
        let partition = self.workload.keys[call.key].partition;
        let wrong = self.promises.on_answer(partition, call.version_before, &answer);
        if let Err(text) = wrong {
            let name = String::from_utf8_lossy(&self.workload.keys[call.key].name).into_owned();
            self.fail(format!("{text} (key {name}, partition {partition}, {:?} -> {answer:?})", call.op));
        }
        self.report.operations += 1;
        self.report.unknown += u64::from(answer == Answer::Unknown);
        self.report.not_done += u64::from(answer == Answer::NotDone);
        let record = Record {
            client: u32::from(client),
            key: self.workload.keys[call.key].name.to_vec(),
            invoked: call.invoked,
            returned: now,
            op: call.op,
            answer,
        };
        self.digest(now, record.invoked);
        self.history.push(record);
        drop(call.write);
        let rest = self.rest_span();
        self.stay(client, slot, Stage::Resting, rest);
        if self.is_chaos && self.random.percent(self.scenario.lives_end) {
            self.plan(0, Ending::ReplaceClient(client));
        }
    }

    /// How long a slot rests between two calls.
    fn rest_span(&mut self) -> u64 {
        let now = self.queue.now();
        if self.workload.hot.is_some_and(|(_, until)| now < until) || !self.workload.unfilled.is_empty() {
            return MS / 4 + self.random.below(3 * MS);
        }
        if self.random.percent(20) {
            return 1;
        }
        let slots = (self.scenario.clients * self.scenario.slots) as u64;
        MS + self.random.below(slots * self.scenario.span_min * 3 / self.scenario.operations_min)
    }

    /// All who rest begin at once, most of them on keys of this partition, for so long.
    pub(super) fn rush(&mut self, partition: dht_protocol::ids::PartitionId, span: u64) {
        if !self.takes_calls || !self.workload.partitions.contains(&partition) {
            return;
        }
        let now = self.queue.now();
        self.workload.hot = Some((partition, now + span));
        for client in 0..self.clients.len() as u16 {
            for slot in 0..self.scenario.slots as u16 {
                let place = &self.clients[client as usize].slots[slot as usize];
                if place.stage == Stage::Resting {
                    let soon = self.random.below(4 * MS);
                    self.stay(client, slot, Stage::Resting, soon);
                }
            }
        }
    }

    /// Something came to a client.
    pub(super) fn on_down(&mut self, session: SessionId) {
        let now = self.queue.now();
        let held = self.sessions.get(session);
        let (client, node) = (held.client, held.node);
        let bytes = held.down.front().map_or(0, Down::bytes);
        if self.network.swallows(node, self.client_end(client), bytes) {
            let span = Network::retransmission(&mut self.random);
            return self.queue.after(span, Event::Down(session));
        }
        let Some(down) = self.sessions.get(session).down.pop_front() else { return };
        if self.sessions.get(session).abandoned {
            return;
        }
        match down {
            Down::Hello(incarnation) => self.opened(client, node, session, incarnation),
            Down::Answer(ticket, answer) => self.answered(client, session, ticket, &answer),
            Down::Map(for_whom, map) => {
                let newer = self.clients[client as usize].take_map(map);
                if let Some(at) = for_whom {
                    let slot = &self.clients[client as usize].slots[at.slot as usize];
                    if slot.generation == at.generation && slot.stage == Stage::Refreshing(session) {
                        let failure = if newer { Failure::Moved } else { Failure::Refused };
                        self.failed(client, at.slot, failure);
                    }
                }
            }
            Down::Reset => {
                let unreachable_for = UNREACHABLE_FOR.as_nanos() as u64;
                self.lost(client, node, session, now + unreachable_for);
            }
        }
    }

    fn opened(&mut self, client: u16, node: u16, session: SessionId, incarnation: Incarnation) {
        let Link::Opening(opening, wants_map) = self.clients[client as usize].links[node as usize] else {
            return;
        };
        if opening != session {
            return;
        }
        self.clients[client as usize].links[node as usize] = Link::Open(session, incarnation);
        if wants_map {
            self.send_up(session, Up::FetchMap(None));
        }
        for slot in 0..self.scenario.slots as u16 {
            if self.clients[client as usize].slots[slot as usize].stage == Stage::Connecting(session) {
                self.send_call(client, slot, node, session, incarnation);
            }
        }
    }

    /// The connection is no more.
    fn lost(&mut self, client: u16, node: u16, session: SessionId, not_before: u64) {
        self.abandon_until(client, session, not_before);
        self.refresh_somewhere(client, Some(node));
        for slot in 0..self.scenario.slots as u16 {
            match self.clients[client as usize].slots[slot as usize].stage {
                Stage::Connecting(of) if of == session => self.failed(client, slot, Failure::NotSent),
                Stage::Waiting(of, _, node, incarnation) if of == session => {
                    self.failed(client, slot, Failure::Lost(node, incarnation));
                }
                Stage::Refreshing(of) if of == session => self.failed(client, slot, Failure::Refused),
                _ => {}
            }
        }
    }

    fn abandon(&mut self, client: u16, session: SessionId) {
        self.abandon_until(client, session, self.queue.now() + UNREACHABLE_FOR.as_nanos() as u64);
    }

    pub(super) fn abandon_until(&mut self, client: u16, session: SessionId, not_before: u64) {
        let held = self.sessions.get(session);
        if std::mem::replace(&mut held.abandoned, true) {
            return;
        }
        let node = held.node;
        self.send_up(session, Up::Close);
        let link = &mut self.clients[client as usize].links[node as usize];
        match *link {
            Link::Opening(of, _) | Link::Open(of, _) if of == session => *link = Link::Closed(not_before),
            Link::Opening(..) | Link::Open(..) | Link::Closed(_) => {}
        }
    }

    fn answered(&mut self, client: u16, session: SessionId, ticket: Ticket, answer: &KeyAnswer) {
        let info = &self.tickets[ticket.0 as usize];
        let at = info.slot;
        let place = &self.clients[client as usize].slots[at.slot as usize];
        if place.generation != at.generation {
            return;
        }
        let Some(call) = &place.call else { return };
        match call.retry.judge(answer.status) {
            Verdict::NotOwner => {
                self.stay(client, at.slot, Stage::Refreshing(session), CONNECT_TIMEOUT);
                let generation = self.clients[client as usize].slots[at.slot as usize].generation;
                self.send_up(session, Up::FetchMap(Some(SlotRef { slot: at.slot, generation })));
            }
            Verdict::Failed(failure) => {
                if failure == Failure::Forgotten {
                    self.renew_number(client, at.slot);
                }
                self.failed(client, at.slot, failure);
            }
            Verdict::Final(outcome) => match told(&call.op, answer, outcome) {
                Ok(answer) => self.finish(client, at.slot, answer),
                Err(text) => self.fail(text),
            },
        }
    }

    /// A write that nobody has applied, nor will, goes on under a new number.
    fn renew_number(&mut self, client: u16, slot: u16) {
        let state = &mut self.clients[client as usize];
        let Some(call) = &mut state.slots[slot as usize].call else { return };
        // The old number is settled first, so that it does not hold up the new one.
        call.write = None;
        call.write = state.tokens.open(self.began + Duration::from_nanos(call.deadline));
    }

    /// A node does not answer: perhaps another one has a newer map. Now and then only.
    fn refresh_elsewhere(&mut self, client: u16, session: SessionId) {
        let node = self.sessions.get(session).node;
        self.refresh_somewhere(client, Some(node));
    }

    fn refresh_somewhere(&mut self, client: u16, but: Option<u16>) {
        let now = self.queue.now();
        let state = &mut self.clients[client as usize];
        if state.refreshed_at > 0 && now < state.refreshed_at + REFRESH_PAUSE.as_nanos() as u64 {
            return;
        }
        state.refreshed_at = now;
        let nodes = self.nodes.len() as u64;
        let mut node = self.random.below(nodes) as u16;
        if Some(node) == but {
            node = ((u64::from(node) + 1) % nodes) as u16;
        }
        match &mut self.clients[client as usize].links[node as usize] {
            Link::Open(session, _) => {
                let session = *session;
                self.send_up(session, Up::FetchMap(None));
            }
            Link::Opening(_, wants_map) => *wants_map = true,
            Link::Closed(_) => {
                self.open(client, node, true);
            }
        }
    }

    /// Sends along a connection, behind what is on its way already.
    fn send_up(&mut self, session: SessionId, up: Up) {
        let (client, node) = self.sessions.get(session).ends();
        let delay = self.stream_delay(self.client_end(client), node, up.bytes());
        let now = self.queue.now();
        self.sessions.push_up(session, up);
        let held = self.sessions.get(session);
        held.up_due = held.up_due.max(now + delay);
        self.queue.at(held.up_due, Event::Up(session));
    }

    /// Sends back along a connection.
    pub(super) fn send_down(&mut self, session: SessionId, down: Down) {
        let (client, node) = self.sessions.get(session).ends();
        let delay = self.stream_delay(node, self.client_end(client), down.bytes());
        let now = self.queue.now();
        let held = self.sessions.get(session);
        held.down.push_back(down);
        held.down_due = held.down_due.max(now + delay);
        self.queue.at(held.down_due, Event::Down(session));
    }

    /// What is lost on the way of a stream is sent again.
    fn stream_delay(&mut self, from: u16, to: u16, bytes: usize) -> u64 {
        let mut delay = self.network.delay(&mut self.random) + self.network.span_of(from, to, bytes);
        if self.random.below(10_000) < self.network.weather.loss {
            delay += Network::retransmission(&mut self.random);
        }
        delay
    }

    pub(super) fn instant(&self, at: u64) -> std::time::Instant {
        self.began + Duration::from_nanos(at)
    }
}

/// What a history says of a final answer.
fn told(op: &Op, answer: &KeyAnswer, outcome: Outcome) -> Result<Answer, String> {
    let version = Some(answer.version);
    Ok(match answer.status {
        Status::Ok => match op {
            Op::Get => {
                let Some((value_type, bytes)) = &answer.value else {
                    return Err("a GET is answered OK without a value".to_owned());
                };
                Answer::Found { version, value: recorded(*value_type, bytes) }
            }
            Op::Exists => Answer::Present { version },
            Op::Add(_) => Answer::Counted { version, value: answer.number },
            Op::Put(_)
            | Op::PutIfAbsent(_)
            | Op::Replace(_)
            | Op::CompareAndPut(..)
            | Op::Delete
            | Op::DeleteIf(_)
            | Op::Append(_) => Answer::Written { version },
        },
        Status::NotFound => Answer::Missing,
        Status::ConditionFailed => Answer::Refused { seen: version },
        Status::WrongType | Status::Overflow => Answer::Refused { seen: None },
        status if status.meaning() == Meaning::Done => {
            return Err(format!("a {op:?} is answered {}", status.name()));
        }
        _ => unanswered(outcome),
    })
}

/// What a history says of a call that ends without an answer.
fn unanswered(outcome: Outcome) -> Answer {
    match outcome {
        Outcome::Unknown => Answer::Unknown,
        Outcome::NotDone => Answer::NotDone,
    }
}
