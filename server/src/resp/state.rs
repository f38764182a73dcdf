//! What a RESP connection keeps, and the answering of its commands, a batch at a time: cut and hash all, prefetch all,
//! answer all.
//!
//! 1. Commands are begun in order, and replies go out in order. A command may begin while earlier ones wait for other
//!    nodes; those of one key go to the same node over the same link, which keeps their order.
//! 2. A command of several steps ends before the next one begins.
//! 3. A command with many keys stops where a bound is reached and goes on from there: its bytes stay in the inbox, and
//!    [`Progress`] says how far it has come.

use std::time::Instant;

use dht_protocol::ids::NodeId;
use dht_protocol::placement::hash::KeyHash;
use dht_protocol::request::{Key, Request};

use super::args::Args;
use super::command::Verb;
use super::execute::Flow;
use super::flush::Flush;
use super::parse::{CommandError, Cut, Words, cut};
use super::pending::{Answer, Gather, Pending, SlotId};
use super::rmw::{Rmw, Step};
use super::session::RespSession;
use crate::dispatch::{Access, AnswerBounds, Dispatcher, Output};
use crate::limits::{BATCH_REQUESTS_MAX, RESP_PENDING_MAX, RESP_WORDS_KEPT_MAX};
use crate::metrics::WorkerMetrics;

/// The way to other nodes.
pub(crate) trait Peers {
    /// Sends a request of that slot to `node`; its answer comes later, whatever happens. `false`: the link has all it
    /// takes at the moment; the connection gets a turn when that has changed.
    fn send(&mut self, node: NodeId, request: &Request<'_>, slot: SlotId) -> bool;
}

/// What a worker lends for answering. Nothing in it is of meaning between two batches.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    words: Words,
    commands: Vec<Command>,
    pub(super) accesses: Vec<Access>,
    /// A value that was read.
    pub(super) value: Vec<u8>,
}

/// A command after the first pass.
#[derive(Clone, Copy, Debug)]
struct Command {
    verb: Option<Verb>,
    first_word: usize,
    words: usize,
    /// Where its bytes end.
    end: usize,
    /// Of its only key.
    hash: Option<KeyHash>,
}

/// What answering needs besides the connection's own state.
pub(crate) struct Environment<'e> {
    pub(crate) dispatcher: &'e Dispatcher,
    pub(crate) metrics: &'e WorkerMetrics,
    pub(crate) peers: &'e mut dyn Peers,
    pub(crate) scratch: &'e mut Scratch,
    pub(crate) bounds: AnswerBounds,
}

/// A RESP connection's own state.
#[derive(Debug)]
pub(crate) struct RespState {
    pub(super) session: RespSession,
    pub(super) pending: Pending,
    pub(super) progress: Progress,
    pub(super) active: Option<Active>,
    /// Whether a link was full when it was last asked.
    pub(super) is_held_by_link: bool,
}

/// How far the command at the front of the bytes has come.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Whether it has begun.
    pub(super) has_begun: bool,
    /// Keys, or nodes, done.
    pub(super) keys: usize,
    /// What they have come to, where they share one reply,
    pub(super) gather: Gather,
    /// and the slot that has it instead, once another node was asked.
    pub(super) slot: Option<SlotId>,
}

/// A command of several steps that has begun.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) slot: SlotId,
    pub(super) work: Work,
}

#[derive(Debug)]
pub(super) enum Work {
    /// The node that has the key, and whether it is to be asked now.
    Rmw(Box<Rmw<'static>>, NodeId, bool),
    Flush(Box<Flush>),
}

/// A command that took as long as was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlowCommand {
    pub(crate) name: &'static str,
    pub(crate) request_bytes: usize,
    pub(crate) answer_bytes: usize,
    pub(crate) took_ns: u64,
}

/// How far a batch came.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Bytes of the commands that are done with.
    pub(crate) used: usize,
    /// How many they are.
    pub(crate) commands: usize,
    pub(crate) slow: Vec<SlowCommand>,
    pub(crate) end: BatchEnd,
}

/// Why a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BatchEnd {
    /// It was full: there may be more.
    Full,
    /// No whole command follows.
    NeedMore,
    /// A bound is reached, or other nodes must answer first.
    Stopped,
    /// The connection must be closed once its answers are out.
    Close(&'static str),
    /// What follows is no command.
    Refused(CommandError),
}

impl RespState {
    /// `id` names the connection for as long as the daemon runs.
    pub(crate) fn new(id: u64) -> RespState {
        RespState {
            session: RespSession::new(id),
            pending: Pending::default(),
            progress: Progress::default(),
            active: None,
            is_held_by_link: false,
        }
    }

    /// Whether replies wait for other nodes.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether no command may begin before other nodes have answered.
    pub(crate) fn is_held(&self) -> bool {
        self.is_held_by_link || self.pending.len() >= RESP_PENDING_MAX || self.active.is_some()
    }

    /// Bytes of replies that wait behind those of other nodes.
    pub(crate) fn waiting_bytes(&self) -> usize {
        if self.pending.is_empty() { 0 } else { self.pending.bytes() }
    }

    /// Memory that they take, bytes.
    pub(crate) fn buffer_bytes(&self) -> usize {
        if self.pending.is_empty() { 0 } else { self.pending.buffer_bytes() }
    }

    /// Where the next reply goes.
    #[inline]
    pub(crate) fn back<'a>(&'a mut self, output: &'a mut Output) -> &'a mut Output {
        self.pending.back(output)
    }

    /// Another node's answer. Call [`RespState::go_on`] afterwards.
    pub(crate) fn on_answer(&mut self, id: SlotId, answer: &Answer<'_>) {
        match &mut self.active {
            Some(active) if active.slot == id => match &mut active.work {
                Work::Flush(flush) => flush.on_answer(answer),
                Work::Rmw(rmw, _, asks_now) => {
                    let mut reply = Vec::new();
                    let step = match answer {
                        Answer::Response(response) => {
                            rmw.on_response(self.session.resp, response, &mut reply)
                        }
                        Answer::NotDone(_) | Answer::Unknown(_) => {
                            answer.write_failure(&mut reply);
                            Step::Done
                        }
                    };
                    match step {
                        Step::Ask => *asks_now = true,
                        Step::Done => {
                            self.active = None;
                            self.pending.complete(id, |out| *out = reply);
                        }
                    }
                }
            },
            Some(_) | None => self.pending.on_answer(id, self.session.resp, answer),
        }
    }

    /// A link has room again. A turn must follow.
    pub(crate) fn on_link_room(&mut self) {
        self.is_held_by_link = false;
    }

    /// Lets replies go out that nothing stands before any more, and goes on with a command of several steps; `true`:
    /// it could go on at once, and is to get another turn.
    pub(crate) fn go_on(&mut self, output: &mut Output, env: &mut Environment<'_>) -> bool {
        let again = self.go_on_active(env);
        self.pending.drain(output);
        again
    }

    fn go_on_active(&mut self, env: &mut Environment<'_>) -> bool {
        let Some(Active { slot, work }) = &mut self.active else { return false };
        let slot = *slot;
        match work {
            Work::Rmw(rmw, node, asks_now) => {
                if *asks_now && !self.is_held_by_link {
                    *asks_now = !env.peers.send(*node, &rmw.request(), slot);
                    self.is_held_by_link = *asks_now;
                }
                false
            }
            Work::Flush(_) if self.is_held_by_link => false,
            Work::Flush(flush) => loop {
                use super::flush::Next;
                match flush.step(env.dispatcher, env.metrics) {
                    Next::Wait => return false,
                    Next::Go if Instant::now() >= env.bounds.turn_ends => return true,
                    Next::Go => {}
                    Next::Ask(place) => {
                        let node = env.dispatcher.map().nodes()[place].id;
                        let Some(request) = flush.request(env.dispatcher) else { return false };
                        if !env.peers.send(node, &request, slot) {
                            self.is_held_by_link = true;
                            return false;
                        }
                        flush.on_sent();
                    }
                    Next::Done => {
                        self.pending.complete(slot, |out| flush.write(out));
                        self.active = None;
                        return false;
                    }
                }
            },
        }
    }

    /// Answers the commands at the front of `bytes`, at most a batch, until a bound is reached.
    pub(crate) fn answer(&mut self, bytes: &[u8], output: &mut Output, env: &mut Environment<'_>) -> Batch {
        let mut batch = Batch { used: 0, commands: 0, slow: Vec::new(), end: BatchEnd::Stopped };
        if self.is_held() {
            return batch;
        }
        let mut words = std::mem::take(&mut env.scratch.words);
        let mut commands = std::mem::take(&mut env.scratch.commands);
        let behind = cut_batch(bytes, &mut words, &mut commands, env);
        if env.scratch.accesses.len() > 1 {
            env.dispatcher.prefetch(&env.scratch.accesses);
        }
        let mut last = env.bounds.slow_ns.map(|_| Instant::now());
        batch.end = behind;
        for command in &commands {
            let args = Args::new(&words, bytes, command.first_word, command.words);
            let bytes_before = output.bytes();
            match self.execute(command.verb, command.hash, args, output, env) {
                Flow::Done => {}
                Flow::Stop => {
                    batch.end = BatchEnd::Stopped;
                    break;
                }
                Flow::Close(why) => {
                    batch.end = BatchEnd::Close(why);
                    break;
                }
            }
            if self.progress.has_begun {
                self.progress = Progress::default();
            }
            let request_bytes = command.end - batch.used;
            batch.used = command.end;
            batch.commands += 1;
            if let (Some(last), Some(slow_ns)) = (&mut last, env.bounds.slow_ns) {
                let answer_bytes = output.bytes() - bytes_before;
                batch.slow.extend(lap(last, slow_ns, command.verb, request_bytes, answer_bytes));
            }
            if output.bytes() + self.waiting_bytes() >= env.bounds.output_bytes_max || self.is_held() {
                batch.end = BatchEnd::Stopped;
                break;
            }
        }
        give_back(env.scratch, words, commands);
        batch
    }
}

/// First pass: cuts and hashes; says what follows the commands that were cut.
fn cut_batch(
    bytes: &[u8],
    words: &mut Words,
    commands: &mut Vec<Command>,
    env: &mut Environment<'_>,
) -> BatchEnd {
    words.clear();
    commands.clear();
    env.scratch.accesses.clear();
    let mut at = 0;
    while commands.len() < BATCH_REQUESTS_MAX {
        let first_word = words.len();
        match cut(bytes, at, words) {
            Cut::NeedMore => return BatchEnd::NeedMore,
            Cut::Refused(error) => return BatchEnd::Refused(error),
            Cut::Command { words: count, bytes: length } => {
                at += length;
                let args = Args::new(words, bytes, first_word, count);
                let verb =
                    if count > 0 { Verb::named(args.get(0)).filter(|verb| verb.takes(count)) } else { None };
                let hash = verb
                    .filter(|verb| verb.has_one_key())
                    .and_then(|_| Key::new(args.get(1)).ok().map(|key| env.dispatcher.hash_of(key)));
                let writes = verb.is_some_and(Verb::writes);
                env.scratch.accesses.extend(hash.map(|hash| Access { hash, writes }));
                commands.push(Command { verb, first_word, words: count, end: at, hash });
            }
        }
    }
    BatchEnd::Full
}

/// Keeps the scratch for the next batch, unless it has grown large.
fn give_back(scratch: &mut Scratch, words: Words, commands: Vec<Command>) {
    if words.len() <= RESP_WORDS_KEPT_MAX {
        scratch.words = words;
    }
    scratch.commands = commands;
    if scratch.value.capacity() > RESP_WORDS_KEPT_MAX {
        scratch.value = Vec::new();
    }
}

fn lap(
    last: &mut Instant,
    slow_ns: u64,
    verb: Option<Verb>,
    request_bytes: usize,
    answer_bytes: usize,
) -> Option<SlowCommand> {
    let now = Instant::now();
    let took_ns = (now - *last).as_nanos() as u64;
    *last = now;
    let name = verb?.spec().name;
    (took_ns >= slow_ns).then_some(SlowCommand { name, request_bytes, answer_bytes, took_ns })
}
