//! Drives node and model side by side.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dht_protocol::frame::{self, Cut};
use dht_protocol::ids::{ClientId, Version};
use dht_protocol::limits::BODY_BYTES_MAX;
use dht_protocol::op::Op;
use dht_protocol::request::Request;
use dht_protocol::response::Response;
use dht_protocol::status::Status;
use dht_server::dispatch::{AnswerBounds, BatchEnd, Frame};
use dht_server::limits::{
    BATCH_REQUESTS_MAX, IDLE_BUFFER_BYTES_MAX, OUTPUT_BYTES_MAX, OUTPUT_BYTES_MAX_AT_MEMORY_LIMIT,
    WRITE_PIECES_MAX,
};
use dht_server::memory::MemoryKind;

use super::super::draw::Draw;
use super::answers::{Came, Room, Sent};
use super::ending;
use super::meddle::{Honest, Meddle};
use super::model::Model;
use super::node::{Connection, Node};
use super::requests::{CLIENTS, Requests, client_id};
use super::script::{self, Action, CONNECTIONS, STEPS_MAX, Step};

/// What a run came to: answers by operation and status.
pub type Tally = BTreeMap<(&'static str, &'static str), u64>;

/// A script under way.
pub(super) struct Run<'a> {
    pub(super) node: Node,
    pub(super) model: Model,
    pub(super) requests: Requests,
    connections: Vec<Connection>,
    /// Connections that only keep the node's memory of the clients alive.
    anchors: Vec<Connection>,
    /// What waits to be sent together, and on which connection.
    batch: (usize, Vec<Sent>),
    meddler: &'a mut dyn Meddle,
    tally: Tally,
}

/// Checks one input.
///
/// # Panics
/// When something does not hold.
pub fn check(input: &[u8]) {
    if let Err(fault) = run(input, &mut Honest) {
        panic!("{fault}");
    }
}

/// Runs a script with `meddler` between node and checker.
///
/// # Errors
/// What did not hold.
pub fn run(input: &[u8], meddler: &mut dyn Meddle) -> Result<Tally, String> {
    let mut draw = Draw::new(input);
    let mut run = Run::start(&mut draw, meddler)?;
    for number in 0..STEPS_MAX {
        let Some(step) = script::next(&mut draw) else { break };
        run.meddler.memory(&run.node.memory);
        run.step(step, &mut draw).map_err(|fault| format!("step {number}, {step:?}: {fault}"))?;
    }
    run.flush(&mut draw)?;
    run.end()
}

impl<'a> Run<'a> {
    fn start(draw: &mut Draw<'_>, meddler: &'a mut dyn Meddle) -> Result<Run<'a>, String> {
        let node = Node::new(draw);
        let model = Model::new(&node);
        let requests = Requests::new(node.map.epoch(), node.map.cluster_id());
        let connections = (0..CONNECTIONS).map(|_| Connection::default()).collect();
        let anchors = Vec::new();
        let batch = (0, Vec::new());
        let mut run =
            Run { node, model, requests, connections, anchors, batch, meddler, tally: Tally::new() };
        let choice = draw.byte();
        if choice & 1 != 0 {
            for number in 0..CLIENTS {
                let mut anchor = Connection::default();
                run.greet(&mut anchor, client_id(number))?;
                run.anchors.push(anchor);
            }
        }
        if choice & 6 != 0 {
            // Two connections of one client, one of another, and one without a name.
            for (number, client) in
                [client_id(0), client_id(0), client_id(1), ClientId(0)].into_iter().enumerate()
            {
                run.with(number, |run, connection| run.greet(connection, client))?;
            }
        }
        Ok(run)
    }

    fn greet(&mut self, connection: &mut Connection, client: ClientId) -> Result<(), String> {
        let hello = self.requests.hello_of(client);
        self.exchange(connection, &[hello])
    }

    fn step(&mut self, step: Step, draw: &mut Draw<'_>) -> Result<(), String> {
        if self.batch.0 != step.connection {
            self.flush(draw)?;
            self.batch.0 = step.connection;
        }
        match step.action {
            Action::Bulk => {
                let writes = self.requests.bulk(draw);
                self.batch.1.extend(writes);
            }
            Action::KeepHouse => {
                self.flush(draw)?;
                let mut steps_left = u32::from(draw.byte());
                self.node.dispatcher.keep_house(|| {
                    steps_left = steps_left.saturating_sub(1);
                    steps_left > 0
                });
                if draw.byte() < 32 {
                    self.node.dispatcher.check_invariants();
                }
            }
            Action::Reconnect => {
                self.flush(draw)?;
                let client = client_id(draw.byte().into());
                let greets = !draw.byte().is_multiple_of(4);
                self.with(step.connection, |run, connection| {
                    run.lose(connection);
                    if greets { run.greet(connection, client) } else { Ok(()) }
                })?;
            }
            Action::Take => {
                let (pieces, bytes) = (usize::from(draw.byte()), draw.number() as usize);
                take(&mut self.connections[step.connection], pieces % WRITE_PIECES_MAX, bytes % 100_000)?;
            }
            action => {
                let client = self.connections[step.connection].greeting.client;
                let entries = &self.model.entries;
                let versions = |key: &[u8]| entries.get(key).map_or(Version::ABSENT, |entry| entry.version);
                let sent = self.requests.build(action, draw, client, &versions);
                self.batch.1.push(sent);
            }
        }
        if !step.holds || self.batch.1.len() > BATCH_REQUESTS_MAX {
            self.flush(draw)?;
        }
        self.check_memory()
    }

    /// The connection is gone: its answers are dropped unread, and the node forgets who it was.
    fn lose(&mut self, connection: &mut Connection) {
        if let Some(id) = connection.greeting.client {
            self.model.writers.disconnected(id);
        }
        *connection = Connection::default();
    }

    /// Lends a connection out.
    fn with<R>(&mut self, number: usize, work: impl FnOnce(&mut Self, &mut Connection) -> R) -> R {
        let mut connection = std::mem::take(&mut self.connections[number]);
        let result = work(self, &mut connection);
        self.connections[number] = connection;
        result
    }

    /// Sends what waits, under bounds that the script chooses.
    fn flush(&mut self, draw: &mut Draw<'_>) -> Result<(), String> {
        let (number, batch) = (self.batch.0, std::mem::take(&mut self.batch.1));
        if batch.is_empty() {
            return Ok(());
        }
        let choice = if batch.len() > 1 { draw.byte() } else { 0 };
        let output_bytes_max =
            [OUTPUT_BYTES_MAX, OUTPUT_BYTES_MAX_AT_MEMORY_LIMIT, 1, 300][usize::from(choice & 3)];
        let hurry = choice & 4 != 0;
        let keeps_answers = choice & 8 != 0;
        self.with(number, |run, connection| {
            let mut rest = batch.as_slice();
            while !rest.is_empty() {
                let done = run.answer(connection, rest, output_bytes_max, hurry)?;
                rest = &rest[done..];
                if !rest.is_empty() || !keeps_answers {
                    take(connection, usize::MAX, usize::MAX)?;
                }
            }
            Ok(())
        })
    }

    /// Sends requests under the usual bounds, and takes all answers.
    pub(super) fn exchange(&mut self, connection: &mut Connection, batch: &[Sent]) -> Result<(), String> {
        let mut rest = batch;
        while !rest.is_empty() {
            let done = self.answer(connection, rest, OUTPUT_BYTES_MAX, false)?;
            rest = &rest[done..];
            take(connection, usize::MAX, usize::MAX)?;
        }
        Ok(())
    }

    /// Lets the node answer once, and checks how far it came and every answer. How many requests are done with.
    fn answer(
        &mut self,
        connection: &mut Connection,
        batch: &[Sent],
        output_bytes_max: usize,
        hurry: bool,
    ) -> Result<usize, String> {
        let frames: Vec<Frame<'_>> =
            batch.iter().map(|sent| Frame { header: sent.header, body: &sent.body }).collect();
        let now = Instant::now();
        let turn_ends = if hurry { now } else { now + Duration::from_secs(3_600) };
        let bounds = AnswerBounds { output_bytes_max, turn_ends, slow_ns: None };
        let used_bytes = self.node.memory.used_bytes();
        let mut room = Room { left_bytes: self.node.memory.limit_bytes().saturating_sub(used_bytes) };
        let before = connection.output.bytes();
        let (session, output) = (&mut connection.session, &mut connection.output);
        let end = self.node.dispatcher.answer(session, &frames, output, bounds, &self.node.metrics);
        let mut answers = new_bytes(connection)?;
        check_end(batch, &end, before, &answers, bounds, hurry)?;
        connection.waiting.extend_from_slice(&answers);
        self.meddler.answers(&mut answers);
        let mut rest = answers.as_slice();
        for sent in &batch[..end.frames_done] {
            let Cut::Frame { header, body, frame_bytes } = frame::cut(rest, BODY_BYTES_MAX) else {
                return Err(format!("{} bytes that are no frame where an answer is expected", rest.len()));
            };
            let came = Came { header, body };
            self.model.check_answer(&mut connection.greeting, sent, came, &mut room)?;
            self.note(sent, came);
            rest = &rest[frame_bytes..];
        }
        if !rest.is_empty() {
            return Err(format!("{} bytes behind the last answer", rest.len()));
        }
        if end.close {
            self.lose(connection);
            return Ok(batch.len());
        }
        Ok(end.frames_done)
    }

    /// Counts an answer, and takes in where a scan goes on.
    fn note(&mut self, sent: &Sent, came: Came<'_>) {
        let status = Status::from_number(came.header.code).map_or("?", Status::name);
        let op = Op::from_number(sent.header.code).map_or("?", Op::name);
        *self.tally.entry((op, status)).or_default() += 1;
        let Ok(Response::Page(page)) = Response::decode(sent.op(), &came.header, came.body) else { return };
        let (Some(open), Ok(Request::Scan(scan))) =
            (self.requests.scan.take(), Request::decode(&sent.header, &sent.body))
        else {
            return;
        };
        let partitions: Vec<[u8; 4]> =
            scan.partitions.iter().map(|partition| partition.0.to_be_bytes()).collect();
        let left = partitions[usize::from(page.partitions_done)..].to_vec();
        if !left.is_empty() {
            let prefix = scan.prefix.to_vec();
            self.requests.scan =
                Some(super::requests::OpenScan { cursor: page.next, partitions: left, prefix, ..open });
        }
    }

    pub(super) fn check_memory(&self) -> Result<(), String> {
        let memory = &self.node.memory;
        let (used, most) = (memory.used_bytes(), self.node.used_bytes_max());
        let by_kind: u64 = MemoryKind::ALL.iter().map(|kind| memory.used_by(*kind)).sum();
        if used > most {
            return Err(format!(
                "{used} bytes used, {most} are the most at a limit of {}",
                memory.limit_bytes()
            ));
        }
        if used != by_kind {
            return Err(format!("{used} bytes used, {by_kind} by kind"));
        }
        Ok(())
    }

    /// Everything is deleted; what is left is looked at.
    fn end(mut self) -> Result<Tally, String> {
        for number in 0..CONNECTIONS {
            self.with(number, Run::lose);
        }
        ending::check(&mut self).map_err(|fault| format!("at the end: {fault}"))?;
        self.anchors.clear();
        Ok(self.tally)
    }

    /// Answers counted so far.
    pub(super) fn answers_count(&self) -> u64 {
        self.tally.values().sum()
    }
}

/// What came to the output since it was last looked at. What had been there must stand in front of it, unchanged.
fn new_bytes(connection: &Connection) -> Result<Vec<u8>, String> {
    let all = connection.output.front(usize::MAX).collect::<Vec<_>>().concat();
    if all.len() != connection.output.bytes() {
        return Err(format!("{} bytes wait, the output says {}", all.len(), connection.output.bytes()));
    }
    match all.strip_prefix(connection.waiting.as_slice()) {
        Some(new) => Ok(new.to_vec()),
        None => Err("answers that wait for the peer were changed".into()),
    }
}

/// Takes answers from the output: at most `bytes_max` of the first `pieces_max` pieces.
fn take(connection: &mut Connection, pieces_max: usize, bytes_max: usize) -> Result<(), String> {
    let front = connection.output.front(pieces_max).collect::<Vec<_>>().concat();
    let count = front.len().min(bytes_max);
    if front[..count] != connection.waiting[..count] {
        return Err("what goes out is not what was answered".into());
    }
    connection.output.advance(count);
    connection.waiting.drain(..count);
    connection.output.shrink(IDLE_BUFFER_BYTES_MAX);
    let kept = connection.output.buffer_bytes();
    if connection.output.is_empty() && kept > IDLE_BUFFER_BYTES_MAX {
        return Err(format!("an empty output keeps {kept} bytes"));
    }
    Ok(())
}

/// Holds how far the node came against the bounds that it was given.
fn check_end(
    batch: &[Sent],
    end: &BatchEnd,
    before: usize,
    answers: &[u8],
    bounds: AnswerBounds,
    hurry: bool,
) -> Result<(), String> {
    let (done, most) = (end.frames_done, bounds.output_bytes_max);
    let refused: Vec<Status> = batch[..done]
        .iter()
        .filter_map(|sent| Request::decode(&sent.header, &sent.body).err())
        .map(|error| error.status)
        .collect();
    if end.refused().collect::<Vec<_>>() != refused {
        return Err(format!(
            "refused {:?} where {refused:?} do not follow the protocol",
            end.refused().collect::<Vec<_>>()
        ));
    }
    let mut starts = Vec::new();
    let mut at = 0;
    while let Cut::Frame { frame_bytes, .. } = frame::cut(&answers[at..], BODY_BYTES_MAX) {
        starts.push(at);
        at += frame_bytes;
    }
    if starts.len() != done {
        return Err(format!("{} answers to {done} requests", starts.len()));
    }
    if starts.last().is_some_and(|last| before + last >= most) {
        return Err(format!(
            "one answer more begins at {:?} where {most} bytes are the bound",
            starts.last()
        ));
    }
    let may_stop = done == batch.len()
        || done == BATCH_REQUESTS_MAX
        || before + answers.len() >= most
        || end.close
        || (hurry && done > 0 && matches!(batch[done - 1].op(), Op::Scan | Op::Append | Op::Stats));
    if may_stop {
        Ok(())
    } else {
        Err(format!("stopped after {done} of {} requests for no reason", batch.len()))
    }
}
