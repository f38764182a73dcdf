//! Calls on many keys at once: every server is sent its share, many requests at a time.
//!
//! ```text
//! entries ─▶ by server ─▶ a thread each: pass ─▶ pipeline ─▶ answers, by place
//!                           ▲        │
//!                           └ pause ─┘ what is not done yet, under the newest map
//! ```
//!
//! 1. Each entry is a call of its own: its own token, attempts and time, by the rules of `retry`. What becomes of it
//!    does not depend on its neighbours.
//! 2. A write's token is opened when the write first goes out, so that what waits for its turn does not widen the
//!    span of open writes.
//! 3. Writes to one key are never under way together: the second goes out when the first has ended.
//! 4. Entries that wait for their turn have no time of their own. They end, not done, when their server answered
//!    nothing for as long as a call may take, or failed as often as a call may.
//! 5. The first failure ends a pass: nothing new is sent to a server that is full, that has moved or that is gone.

use std::collections::{BTreeMap, HashMap};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use dht_protocol::ids::NodeId;
use dht_protocol::op::Op;
use dht_protocol::placement::map::{ClusterMap, Node};
use dht_protocol::request::{Key, Request};
use dht_protocol::response::Response;

use crate::call::{Call, Core, Failed, Last, is_write, unopened};
use crate::connection::{Answer, CallError, Connection, Pipeline};
use crate::error::{Error, Result};
use crate::limits::BULK_THREADS_MAX;
use crate::retry::{Failure, Retry, Step};

/// What a bulk call asks: entries by their place, from 0.
pub(crate) trait Entries: Sync {
    /// What the answer to one of them holds.
    type Done: Send;

    /// What they ask.
    const OP: Op;
    /// Whether they change anything.
    const ARE_WRITES: bool = is_write(Self::OP);

    /// The request at a place, handed to `use_it`; a write's token is put in later. Called for each attempt.
    ///
    /// # Errors
    /// There is none: the value cannot be stored.
    fn with_request<R>(&self, at: usize, use_it: impl FnOnce(Request<'_>) -> R) -> Result<R>;

    /// Understands an answer; `None` says that the node must not answer so.
    fn read(response: Response<'_>) -> Option<Result<Self::Done>>;
}

/// An entry and how its call ended.
type Ended<D> = (usize, Result<D>);

impl Core {
    /// Asks for all entries; a key that is an error is the result at its place.
    ///
    /// # Panics
    /// When a value's serializer does.
    pub(crate) fn call_many<E: Entries>(
        &self,
        keys: Vec<Result<Key<'_>>>,
        entries: &E,
    ) -> Vec<Result<E::Done>> {
        let mut results: Vec<Option<Result<E::Done>>> = Vec::with_capacity(keys.len());
        let mut rounds = Vec::new();
        let mut seen: HashMap<&[u8], usize> = HashMap::new();
        for (at, key) in keys.into_iter().enumerate() {
            let key = match key {
                Ok(key) => key,
                Err(error) => {
                    results.push(Some(Err(error)));
                    continue;
                }
            };
            results.push(None);
            let count = if E::ARE_WRITES { seen.entry(key.as_bytes()).or_default() } else { &mut 0 };
            if rounds.len() == *count {
                rounds.push(Vec::new());
            }
            rounds[*count].push((at, key));
            *count += 1;
        }
        drop(seen);
        for round in rounds {
            for (at, result) in self.call_round(&round, entries) {
                results[at] = Some(result);
            }
        }
        let all = results.into_iter().map(|result| result.expect("every place ends once"));
        all.collect()
    }

    /// One round of distinct keys (or of reads): all servers at once.
    fn call_round<E: Entries>(&self, round: &[(usize, Key<'_>)], entries: &E) -> Vec<Ended<E::Done>> {
        let map = self.router.map();
        let mut shares: BTreeMap<NodeId, Vec<Task<'_, '_>>> = BTreeMap::new();
        for &(at, key) in round {
            shares.entry(owner(&map, key)).or_default().push(Task { at, key, call: None });
        }
        let threads_count = shares.len().clamp(1, BULK_THREADS_MAX);
        let mut workers: Vec<Worker<'_, '_, E>> =
            (0..threads_count).map(|_| Worker::new(self, entries)).collect();
        for (number, share) in shares.into_values().enumerate() {
            workers[number % threads_count].pending.extend(share);
        }
        let Some(own) = workers.pop() else { return Vec::new() };
        thread::scope(|scope| {
            let others: Vec<_> = workers.into_iter().map(|worker| scope.spawn(|| worker.run())).collect();
            let mut ended = own.run();
            for other in others {
                ended.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
            }
            ended
        })
    }
}

fn owner(map: &ClusterMap, key: Key<'_>) -> NodeId {
    map.owners(map.hash_key().hash(key.as_bytes())).config.primary
}

/// An entry that has not ended.
#[derive(Debug)]
struct Task<'k, 'a> {
    at: usize,
    key: Key<'k>,
    /// `None` until it is its turn.
    call: Option<Box<Call<'a>>>,
}

/// One thread's share.
struct Worker<'k, 'a, E: Entries> {
    core: &'a Core,
    entries: &'a E,
    pending: Vec<Task<'k, 'a>>,
    ended: Vec<Ended<E::Done>>,
    /// How long and how often the server may fail for those that wait (rule 4); begun anew by every answer.
    patience: Retry,
    /// Why the pass ended before those that wait had their turn.
    held_up: Option<(Failure, Last)>,
    /// An entry was answered in this pass.
    progress: bool,
    /// When the next pass begins.
    next_pass_at: Instant,
}

impl<'k, 'a, E: Entries> Worker<'k, 'a, E> {
    fn new(core: &'a Core, entries: &'a E) -> Self {
        Worker {
            core,
            entries,
            pending: Vec::new(),
            ended: Vec::new(),
            patience: patience(core),
            held_up: None,
            progress: false,
            next_pass_at: Instant::now(),
        }
    }

    fn run(mut self) -> Vec<Ended<E::Done>> {
        self.patience = patience(self.core);
        while !self.pending.is_empty() {
            (self.held_up, self.progress, self.next_pass_at) = (None, false, Instant::now());
            self.pass(&self.core.router.map());
            if self.progress {
                self.patience = patience(self.core);
            }
            if let Some((failure, last)) = self.held_up.take() {
                self.hold_up(failure, &last);
            }
            if !self.pending.is_empty() {
                thread::sleep(self.next_pass_at.saturating_duration_since(Instant::now()));
            }
        }
        self.ended
    }

    /// Sends everything that is pending once, to whom it belongs under `map`.
    fn pass(&mut self, map: &ClusterMap) {
        let mut shares: BTreeMap<NodeId, Vec<Task<'k, 'a>>> = BTreeMap::new();
        for task in std::mem::take(&mut self.pending) {
            shares.entry(owner(map, task.key)).or_default().push(task);
        }
        for (node_id, mut tasks) in shares {
            // Those that were sent before come first: they have the least time left.
            tasks.sort_by_key(|task| task.call.is_none());
            // The owner of a partition is in the map: a map without it is refused when it is read.
            let Some(node) = map.node(node_id) else { continue };
            let deadline = Instant::now() + self.core.connect_timeout;
            match self.core.connection(node, map, deadline) {
                Ok(connection) => Share { map, node, connection: &connection }.send(self, tasks),
                Err(error) => {
                    for task in tasks {
                        self.fail(task, unopened(node, map.cluster_id(), error.clone()));
                    }
                }
            }
        }
    }

    /// An attempt has failed: the entry ends, or waits for the next pass.
    fn fail(&mut self, mut task: Task<'k, 'a>, failed: Failed) {
        let at = task.at;
        let failed = match &task.call {
            Some(call) => failed.unless_in_doubt(call),
            None => failed,
        };
        match (failed, &mut task.call) {
            (Failed::Final(error), _) => self.ended.push((at, Err(error))),
            (Failed::Retryable(failure, last), Some(call)) => {
                if failure == Failure::Forgotten && !call.renew_token(&self.core.tokens) {
                    self.ended.push((at, Err(call.time_up(last))));
                    return;
                }
                match call.retry.on_failure(Instant::now(), failure) {
                    Step::Again(again_at) => {
                        self.next_pass_at = self.next_pass_at.max(again_at);
                        self.pending.push(task);
                    }
                    Step::TimeUp => self.ended.push((at, Err(call.time_up(last)))),
                    Step::AttemptsUsedUp => self.ended.push((at, Err(call.attempts_used_up(last)))),
                }
            }
            (Failed::Retryable(failure, last), None) => {
                self.held_up = Some((failure, last));
                self.pending.push(task);
            }
        }
    }

    /// What becomes of those that wait, after a pass in which they had no turn.
    fn hold_up(&mut self, failure: Failure, last: &Last) {
        // Nothing of theirs was sent, whatever became of others.
        let failure = if failure == Failure::Moved { failure } else { Failure::NotSent };
        let step = self.patience.on_failure(Instant::now(), failure);
        if let Step::Again(at) = step {
            self.next_pass_at = self.next_pass_at.max(at);
            return;
        }
        for task in std::mem::take(&mut self.pending) {
            if task.call.is_some() {
                self.pending.push(task);
                continue;
            }
            let call = self.core.never_sent();
            let error = match step {
                Step::TimeUp | Step::Again(_) => call.time_up(last.clone()),
                Step::AttemptsUsedUp => call.attempts_used_up(last.clone()),
            };
            self.ended.push((task.at, Err(error)));
        }
    }
}

fn patience(core: &Core) -> Retry {
    Retry::new(false, Instant::now() + core.op_timeout, core.attempts_max, core.next_random())
}

/// One server's entries in one pass.
struct Share<'s> {
    map: &'s ClusterMap,
    node: &'s Node,
    connection: &'s Arc<Connection>,
}

impl Share<'_> {
    fn send<'k, 'a, E: Entries>(&self, worker: &mut Worker<'k, 'a, E>, tasks: Vec<Task<'k, 'a>>) {
        let mut pipeline = self.connection.pipeline();
        let mut waiting = tasks.into_iter();
        let mut stopped = None;
        loop {
            while stopped.is_none() && waiting.len() > 0 {
                match pipeline.has_room(Instant::now() + worker.core.op_timeout) {
                    Ok(false) => break,
                    Ok(true) => {
                        let Some(task) = waiting.next() else { break };
                        stopped = self.send_one(worker, &mut pipeline, task);
                    }
                    Err(error) => stopped = Some(self.no_slot(error)),
                }
            }
            let Some((task, result)) = pipeline.next() else { break };
            if let Some(stop) = self.on_end(worker, task, result) {
                stopped = Some(stop);
            }
        }
        // Without a failure all have had their turn.
        for task in waiting {
            worker.pending.push(task);
            worker.held_up.clone_from(&stopped);
        }
    }

    /// Sends an entry. `Some` says to send no more.
    fn send_one<'k, 'a, E: Entries>(
        &self,
        worker: &mut Worker<'k, 'a, E>,
        pipeline: &mut Pipeline<'_, Task<'k, 'a>>,
        mut task: Task<'k, 'a>,
    ) -> Option<(Failure, Last)> {
        let core = worker.core;
        let call = match task.call.take() {
            Some(call) => call,
            None => {
                // Whoever has writes under way must not wait here: it is for their answers that the span waits.
                let alone = pipeline.is_empty() && worker.pending.iter().all(|task| task.call.is_none());
                let wait = if alone { core.op_timeout } else { Duration::ZERO };
                let begun = core.begin_within(core.attempts_max, E::ARE_WRITES, Instant::now() + wait);
                let Some(call) = begun else {
                    worker.pending.push(task);
                    let why = (Failure::NotSent, Last::TooManyOpen);
                    worker.held_up = Some(why.clone());
                    return Some(why);
                };
                Box::new(call)
            }
        };
        let (deadline, in_doubt) = (call.deadline, call.retry.in_doubt());
        let (at, key) = (task.at, task.key);
        let outcome = worker.entries.with_request(at, |request| {
            match core.ready_to_send(&call, self.node, self.connection, request) {
                Ok(request) => {
                    let task = Task { at, key, call: Some(call) };
                    pipeline.send(task, deadline, |id, out| request.encode(id, self.map.epoch(), out));
                    None
                }
                Err(failed) => Some((Task { at, key, call: Some(call) }, failed)),
            }
        });
        match outcome {
            Ok(None) => {}
            Ok(Some((task, failed))) => worker.fail(task, failed),
            // A value that was stored once and cannot be brought into its form again.
            Err(error) if in_doubt => {
                let reason = format!("a write was lost on the way, then: {error}");
                worker.ended.push((at, Err(Error::Unknown { reason })));
            }
            Err(error) => worker.ended.push((at, Err(error))),
        }
        None
    }

    /// A request has ended. `Some` says to send no more.
    fn on_end<'k, 'a, E: Entries>(
        &self,
        worker: &mut Worker<'k, 'a, E>,
        task: Task<'k, 'a>,
        result: std::result::Result<Answer, CallError>,
    ) -> Option<(Failure, Last)> {
        let call = task.call.as_ref().expect("sent, so begun");
        let failed = match result {
            Ok(answer) => {
                match worker.core.understand(call, self.map, E::OP, self.connection, &answer, &mut E::read) {
                    Ok(result) => {
                        worker.progress = true;
                        worker.ended.push((task.at, result));
                        return None;
                    }
                    Err(failed) => failed,
                }
            }
            Err(error) => worker.core.unanswered(call, self.map, self.node, self.connection, error),
        };
        let stop = match &failed {
            Failed::Retryable(failure, last) => Some((*failure, last.clone())),
            Failed::Final(_) => None,
        };
        worker.fail(task, failed);
        stop
    }

    fn no_slot(&self, error: CallError) -> (Failure, Last) {
        let address = self.node.address.clone();
        let last = match error {
            CallError::Lost { reason, .. } => Last::Lost { address, reason },
            CallError::TimedOut { .. } => Last::NoAnswer { address },
        };
        (Failure::NotSent, last)
    }
}
