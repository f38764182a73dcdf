//! The nodes' part of the world: starts and crashes, ticks, what reaches them and what they send.

use dht_protocol::ids::{Incarnation, PartitionId};
use dht_protocol::peer::{FromCoordinator, PeerMessage, ToCoordinator};
use dht_protocol::status::Status;
use dht_server::replication::NodeAction;
use dht_server::replication::operation::{KeyAnswer, Ticket};
use dht_server::timings;

use super::clock::Clock;
use super::coordination::place_of;
use super::network::Network;
use super::process::{Datagram, Input, Process};
use super::queue::{Event, MS, SECOND};
use super::session::{Down, SessionId, Up};
use super::trace::Subject;
use super::world::World;

impl World<'_> {
    /// Starts the node at this address anew, with nothing.
    pub(super) fn start_node(&mut self, node: u16) {
        let now = self.queue.now();
        let incarnation = Incarnation(self.random.next_u64());
        let shown = self.random.below(1_000 * SECOND);
        let held = &mut self.nodes[node as usize];
        if held.process.is_some() {
            return;
        }
        held.starts += 1;
        let clock = Clock::new(now, shown, held.rate);
        held.process = Some(Process::start(now, clock, incarnation, &held.address, self.scenario.pace));
        let start = held.starts;
        if self.trace.wants(Subject::Cluster) {
            self.trace.say(now, format!("n{node} starts as {:016x}", incarnation.0));
        }
        let soon = self.random.below(10 * MS);
        self.queue.after(soon, Event::NodeTick { node, start });
    }

    /// The node's process is gone.
    pub(super) fn stop_node(&mut self, node: u16) {
        let now = self.queue.now();
        let held = &mut self.nodes[node as usize];
        if held.process.take().is_none() {
            return;
        }
        let start = held.starts;
        self.serving.drop_claims(node);
        if self.trace.wants(Subject::Cluster) {
            self.trace.say(now, format!("n{node} crashes"));
        }
        for session in self.sessions.taken_by(node, start) {
            self.sessions.get(session).taken_by = Some(u32::MAX);
            self.send_down(session, Down::Reset);
        }
    }

    /// A node's turn.
    pub(super) fn node_tick(&mut self, node: u16, start: u32) {
        let now = self.queue.now();
        let held = &mut self.nodes[node as usize];
        let Some(process) = held.process.as_mut().filter(|_| held.starts == start) else { return };
        if process.is_paused() {
            process.tick_is_due = true;
            return;
        }
        process.turns += u64::from(process.stuck == 0);
        process.machine.on_tick(process.clock.local(now), process.turns);
        let span = process.clock.true_span(timings::TICK);
        self.queue.after(span, Event::NodeTick { node, start });
        self.drain_node(node);
        self.look_at_roles(node);
    }

    /// A pause is over, or its workers go on: what has waited is handled, in order.
    pub(super) fn catch_up(&mut self, node: u16) {
        let start = self.nodes[node as usize].starts;
        let tick_first = self.random.percent(50);
        let is_due = |world: &mut Self| {
            world.nodes[node as usize]
                .process
                .as_mut()
                .is_some_and(|process| !process.is_paused() && std::mem::take(&mut process.tick_is_due))
        };
        if tick_first && is_due(self) {
            self.node_tick(node, start);
        }
        let waiting =
            self.nodes[node as usize].process.as_mut().map(|process| std::mem::take(&mut process.inbox));
        for input in waiting.into_iter().flatten() {
            self.take_in(node, input);
        }
        if is_due(self) {
            self.node_tick(node, start);
        }
    }

    /// A message of another process arrives at a node.
    pub(super) fn on_datagram(&mut self, node: u16, datagram: Datagram) {
        self.take_in(node, Input::Datagram(datagram));
    }

    /// Something of a client arrives at a node.
    pub(super) fn on_up(&mut self, session: SessionId) {
        let held = self.sessions.get(session);
        let (client, node) = (held.client, held.node);
        let bytes = held.up.front().map_or(0, Up::bytes);
        if self.network.swallows(self.client_end(client), node, bytes) {
            let span = Network::retransmission(&mut self.random);
            return self.queue.after(span, Event::Up(session));
        }
        let Some(up) = self.sessions.pop_up(session) else { return };
        let taken_by = self.sessions.get(session).taken_by;
        let held = &self.nodes[node as usize];
        let is_first = matches!(up, Up::Hello);
        if held.process.is_none() || (!is_first && taken_by != Some(held.starts)) {
            if matches!(up, Up::Close) {
                return;
            }
            return self.send_down(session, Down::Reset);
        }
        if is_first {
            self.sessions.get(session).taken_by = Some(self.nodes[node as usize].starts);
        }
        self.take_in(node, Input::Up(session, up));
    }

    fn take_in(&mut self, node: u16, input: Input) {
        let Some(process) = self.nodes[node as usize].process.as_mut() else { return };
        if !process.takes(&input) {
            process.keep(input);
            return;
        }
        match input {
            Input::Datagram(datagram) => self.handle(node, datagram),
            Input::Up(session, up) => self.serve(node, session, up),
        }
    }

    fn handle(&mut self, node: u16, datagram: Datagram) {
        let now = self.queue.now();
        let Some(process) = self.nodes[node as usize].process.as_mut() else { return };
        let local = process.clock.local(now);
        let (bytes, is_map) = match datagram {
            Datagram::Peer(bytes) => {
                match PeerMessage::decode(&bytes) {
                    Ok(message) => process.machine.on_peer(local, message),
                    Err(error) => return self.fail(format!("a peer message does not read back: {error:?}")),
                }
                (bytes, false)
            }
            Datagram::FromCoordinator(bytes) => {
                match FromCoordinator::decode(&bytes) {
                    Ok(message) => process.machine.on_coordinator(local, message),
                    Err(error) => {
                        return self.fail(format!("a coordinator's message does not read back: {error:?}"));
                    }
                }
                (bytes, true)
            }
            Datagram::ToCoordinator(bytes) => (bytes, false),
        };
        self.recycle(bytes);
        if is_map {
            self.look_at_roles(node);
        }
        self.drain_node(node);
    }

    fn serve(&mut self, node: u16, session: SessionId, up: Up) {
        let now = self.queue.now();
        let Some(process) = self.nodes[node as usize].process.as_mut() else { return };
        match up {
            Up::Hello => {
                let incarnation = process.incarnation;
                process.machine.floors().on_session_opened(self.sessions.get(session).id);
                self.send_down(session, Down::Hello(incarnation));
            }
            Up::Close => {
                process.machine.floors().on_session_closed(self.sessions.get(session).id);
            }
            Up::FetchMap(for_whom) => {
                let map = process.machine.map().cloned();
                self.send_down(session, Down::Map(for_whom, map));
            }
            Up::Request(ticket, request) => {
                process.machine.on_request(process.clock.local(now), ticket, request);
                self.drain_node(node);
            }
        }
    }

    /// Does what the machine wants done, and looks whether that was right.
    fn drain_node(&mut self, node: u16) {
        while let Some(process) = self.nodes[node as usize].process.as_mut() {
            let Some(action) = process.machine.poll_action() else { break };
            match action {
                NodeAction::Peer(message) => self.send_peer(node, &message),
                NodeAction::Coordinator(message) => self.send_to_coordinator(node, &message),
                NodeAction::Answer(ticket, answer) => self.send_answer(node, ticket, answer),
                NodeAction::Abandon(ticket) => self.abandon_request(node, ticket),
            }
        }
        self.check_serving(node);
    }

    fn send_peer(&mut self, node: u16, message: &PeerMessage) {
        let Some(to) = self.address_of(message.to.node) else { return };
        let mut bytes = self.spare.pop().unwrap_or_default();
        message.encode(&mut bytes);
        if self.trace.wants_message(message) {
            let now = self.queue.now();
            self.trace.say(now, format!("n{node} -> n{to}: {}", super::trace::shown(&message.body)));
        }
        self.send(node, to, Datagram::Peer(bytes));
        self.aim_at_peer_message(node, to, message);
    }

    fn send_to_coordinator(&mut self, node: u16, message: &ToCoordinator) {
        let mut bytes = self.spare.pop().unwrap_or_default();
        message.encode(&mut bytes);
        if let ToCoordinator::Propose { partition, .. } | ToCoordinator::HandOver { partition, .. } = message
            && self.trace.wants(Subject::Partition(*partition))
        {
            let now = self.queue.now();
            self.trace.say(now, format!("n{node} -> coordinator: {message:?}"));
        }
        if let ToCoordinator::Heartbeat(heartbeat) = message
            && !heartbeat.accused.is_empty()
        {
            self.nodes[node as usize].accused_at = self.queue.now();
        }
        let to = self.coordinator_end();
        self.send(node, to, Datagram::ToCoordinator(bytes));
        self.aim_at_request(node, message);
    }

    /// Puts a datagram on its way, if it has one.
    pub(super) fn send(&mut self, from: u16, to: u16, datagram: Datagram) {
        self.report.messages += 1;
        let bytes = match &datagram {
            Datagram::Peer(bytes) | Datagram::ToCoordinator(bytes) | Datagram::FromCoordinator(bytes) => {
                bytes
            }
        };
        let bytes_count = bytes.len();
        let mut sum = u64::from(from) << 48 | u64::from(to) << 32 | bytes_count as u64;
        for word in bytes.chunks_exact(8).take(16) {
            sum = (sum ^ u64::from_le_bytes(word.try_into().unwrap_or_default()))
                .wrapping_mul(0x9E37_79B9_7F4A_7C15);
        }
        self.digest(self.queue.now(), sum);
        let now = self.queue.now();
        let [first, second] = self.network.fate(&mut self.random, now, (from, to), bytes_count);
        if let Some(delay) = second {
            self.queue.after(delay, Event::Datagram { to, datagram: datagram.clone() });
        }
        match first {
            Some(delay) => self.queue.after(delay, Event::Datagram { to, datagram }),
            None => {
                let (Datagram::Peer(bytes)
                | Datagram::ToCoordinator(bytes)
                | Datagram::FromCoordinator(bytes)) = datagram;
                self.recycle(bytes);
            }
        }
    }

    fn send_answer(&mut self, node: u16, ticket: Ticket, answer: KeyAnswer) {
        let Some(info) = self.tickets.get_mut(ticket.0 as usize) else {
            return self.fail(format!("n{node} answers {ticket:?}, which nobody asked"));
        };
        if std::mem::replace(&mut info.answered, true) || info.node != node {
            return self
                .fail(format!("n{node} answers {ticket:?} a second time, or in place of another node"));
        }
        let (session, at, key, first_write) =
            (info.session, info.slot, info.key as usize, info.is_write && !info.retry);
        let partition = info.partition;
        // Of a write that was sent once. (One that is answered again was committed when enough were in sync.)
        let slots = &self.clients[self.sessions.get(session).client as usize].slots;
        let is_only_attempt = slots[at.slot as usize].generation == at.generation;
        if first_write && is_only_attempt && answer.status == Status::Ok {
            self.check_min_in_sync(node, partition);
        }
        if self.trace.wants(Subject::Key(key)) {
            let now = self.queue.now();
            let text = format!("n{node} answers {ticket:?} {} at {}", answer.status.name(), answer.version);
            self.trace.say(now, text);
        }
        self.send_down(session, Down::Answer(ticket, answer));
    }

    /// A node gives up a request without an answer: its connection breaks.
    fn abandon_request(&mut self, node: u16, ticket: Ticket) {
        let Some(info) = self.tickets.get_mut(ticket.0 as usize) else {
            return self.fail(format!("n{node} gives up {ticket:?}, which nobody asked"));
        };
        if std::mem::replace(&mut info.answered, true) || info.node != node {
            return self.fail(format!("n{node} gives up {ticket:?}, which was answered"));
        }
        let session = info.session;
        let held = self.sessions.get(session);
        held.taken_by = Some(u32::MAX);
        let client = held.id;
        if let Some(process) = self.nodes[node as usize].process.as_mut() {
            process.machine.floors().on_session_closed(client);
        }
        self.send_down(session, Down::Reset);
    }

    /// A write is answered OK only while enough replicas are in sync.
    fn check_min_in_sync(&mut self, node: u16, partition: PartitionId) {
        let process = self.nodes[node as usize].process.as_ref();
        let Some(map) = process.and_then(|process| process.machine.map()) else { return };
        let Some(held) = map.partition(partition) else { return };
        let (count, wanted) = (held.in_sync().count(), map.settings.min_in_sync as usize);
        if count < wanted {
            self.fail(format!(
                "n{node} answers a write to partition {partition} with {count} replicas in sync, {wanted} are wanted"
            ));
        }
    }

    /// At which place the node of this number is.
    pub(super) fn address_of(&self, node: dht_protocol::ids::NodeId) -> Option<u16> {
        self.published.as_ref()?.node(node).map(|listed| place_of(&listed.address))
    }

    /// Keeps a buffer for the next message.
    pub(super) fn recycle(&mut self, mut bytes: Vec<u8>) {
        if self.spare.len() < 256 && bytes.capacity() <= 1 << 16 {
            bytes.clear();
            self.spare.push(bytes);
        }
    }
}
