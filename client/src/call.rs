//! One call: from a request through as many attempts as it takes to an answer or an error.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use dht_protocol::error::Malformed;
use dht_protocol::ids::{ClusterId, Epoch, NodeId};
use dht_protocol::op::Op;
use dht_protocol::placement::map::{ClusterMap, Node};
use dht_protocol::request::{Request, WriteToken};
use dht_protocol::response::{Refusal, Response};
use dht_protocol::status::{Meaning, Status};

use crate::builder::open_failed;
use crate::connection::{Answer, CallError, Connection, OpenError};
use crate::error::{Error, Outcome, Result};
use crate::limits::REFRESH_PAUSE;
use crate::pool::{Picked, Pools};
use crate::request_size::too_large;
use crate::retry::{Failure, Retry, Step, Verdict, splitmix64};
use crate::router::Router;
use crate::sync::lock;
use crate::write_tokens::{OpenWrite, WriteTokens};

/// What every clone of a client shares.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) op_timeout: Duration,
    pub(crate) attempts_max: u32,
    pub(crate) connect_timeout: Duration,
    pub(crate) pools: Pools,
    pub(crate) router: Router,
    pub(crate) tokens: WriteTokens,
    /// Random; drawn from for back-off and choice of nodes.
    pub(crate) random: AtomicU64,
    /// When the map was last asked for because a node did not answer.
    pub(crate) refreshed_at: Mutex<Option<Instant>>,
}

/// What a call asks, and whom, under a given map.
pub(crate) trait Operation {
    /// The node to ask. Called before each attempt.
    fn route(&mut self, map: &ClusterMap) -> NodeId;

    /// What to ask; a write's token is put in later.
    fn request(&self) -> Request<'_>;
}

/// How an attempt went that brought no final answer.
pub(crate) enum Failed {
    /// The call may go on.
    Retryable(Failure, Last),
    /// The call is over.
    Final(Error),
}

/// What the last attempt ran into.
#[derive(Clone, Debug)]
pub(crate) enum Last {
    Unreachable { address: String, reason: String },
    Lost { address: String, reason: String },
    NoAnswer { address: String },
    Refused { address: String, status: Status, text: String },
    TooManyOpen,
}

/// One call on its way.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) retry: Retry,
    pub(crate) deadline: Instant,
    op_timeout: Duration,
    write: Option<OpenWrite<'a>>,
}

impl Core {
    /// Asks until there is an answer. `read` understands it; `None` says that the node must not answer so.
    ///
    /// # Errors
    /// [`Error`].
    pub(crate) fn call<T>(
        &self,
        operation: &mut dyn Operation,
        read: impl FnMut(Response<'_>) -> Option<Result<T>>,
    ) -> Result<T> {
        self.call_with(self.attempts_max, operation, read)
    }

    /// As [`Core::call`], with so many attempts.
    pub(crate) fn call_with<T>(
        &self,
        attempts_max: u32,
        operation: &mut dyn Operation,
        mut read: impl FnMut(Response<'_>) -> Option<Result<T>>,
    ) -> Result<T> {
        let mut call = self.begin(attempts_max, is_write(operation.request().op()))?;
        loop {
            let map = self.router.map();
            let (failure, last) = match self.attempt(&mut call, &map, operation, &mut read) {
                Ok(answer) => return answer,
                Err(Failed::Final(error)) => return Err(error),
                Err(Failed::Retryable(failure, last)) => (failure, last),
            };
            if failure == Failure::Forgotten && !call.renew_token(&self.tokens) {
                return Err(call.time_up(last));
            }
            let now = Instant::now();
            match call.retry.on_failure(now, failure) {
                Step::Again(at) => thread::sleep(at.saturating_duration_since(now)),
                Step::TimeUp => return Err(call.time_up(last)),
                Step::AttemptsUsedUp => return Err(call.attempts_used_up(last)),
            }
        }
    }

    fn begin(&self, attempts_max: u32, is_write: bool) -> Result<Call<'_>> {
        let deadline = Instant::now() + self.op_timeout;
        self.begin_within(attempts_max, is_write, deadline).ok_or(Error::TimedOut {
            outcome: Outcome::NotDone,
            after: self.op_timeout,
            last: Some(Last::TooManyOpen.to_string()),
        })
    }

    /// A call that has its time from now on. `None` when too many writes are open, and that lasts past
    /// `wait_until`.
    pub(crate) fn begin_within(
        &self,
        attempts_max: u32,
        is_write: bool,
        wait_until: Instant,
    ) -> Option<Call<'_>> {
        let deadline = Instant::now() + self.op_timeout;
        let write = if is_write { Some(self.tokens.open(wait_until)?) } else { None };
        let retry = Retry::new(is_write, deadline, attempts_max, self.next_random());
        Some(Call { retry, deadline, op_timeout: self.op_timeout, write })
    }

    /// A call of which nothing is in doubt, to put a failure in words.
    pub(crate) fn never_sent(&self) -> Call<'_> {
        let deadline = Instant::now() + self.op_timeout;
        let retry = Retry::new(false, deadline, 1, 0);
        Call { retry, deadline, op_timeout: self.op_timeout, write: None }
    }

    fn attempt<T>(
        &self,
        call: &mut Call<'_>,
        map: &ClusterMap,
        operation: &mut dyn Operation,
        read: &mut impl FnMut(Response<'_>) -> Option<Result<T>>,
    ) -> std::result::Result<Result<T>, Failed> {
        let node_id = operation.route(map);
        let Some(node) = map.node(node_id) else {
            // Only a caller that names a node by itself can name one that has left.
            let reason = "it is not in the cluster map".to_owned();
            let error = Error::Unreachable { address: format!("node {node_id}"), reason };
            return Err(Failed::Final(call.unless_in_doubt(error)));
        };
        let connection = self
            .connection(node, map, call.deadline)
            .map_err(|error| unopened(node, map.cluster_id(), error).unless_in_doubt(call))?;
        let request = self.ready_to_send(call, node, &connection, operation.request())?;
        match connection.call(call.deadline, |id, out| request.encode(id, map.epoch(), out)) {
            Ok(answer) => self.understand(call, map, request.op(), &connection, &answer, read),
            Err(error) => Err(self.unanswered(call, map, node, &connection, error)),
        }
    }

    /// `request` as it goes out on `connection`, with the write's token.
    ///
    /// # Errors
    /// It must not go there, for good.
    pub(crate) fn ready_to_send<'r>(
        &self,
        call: &Call<'_>,
        node: &Node,
        connection: &Connection,
        request: Request<'r>,
    ) -> std::result::Result<Request<'r>, Failed> {
        if !call.retry.may_send(node.id, connection.hello().incarnation) {
            let reason = format!(
                "between a write and its retry its node was restarted, or {} took its place",
                node.address
            );
            return Err(Failed::Final(Error::Unknown { reason }));
        }
        if let Some(error) = too_large(&request, connection.hello()) {
            return Err(Failed::Final(call.unless_in_doubt(error)));
        }
        let token = call.write.as_ref().map(|write| write.token(call.retry.in_doubt()));
        Ok(with_token(request, token))
    }

    /// An attempt whose answer did not come.
    pub(crate) fn unanswered(
        &self,
        call: &Call<'_>,
        map: &ClusterMap,
        node: &Node,
        connection: &Connection,
        error: CallError,
    ) -> Failed {
        let address = node.address.clone();
        let (sent, last) = match error {
            CallError::Lost { sent, reason } => (sent, Last::Lost { address, reason }),
            CallError::TimedOut { sent } => (sent, Last::NoAnswer { address }),
        };
        self.refresh_elsewhere(node.id, map, call.deadline);
        let incarnation = connection.hello().incarnation;
        Failed::Retryable(if sent { Failure::Lost(node.id, incarnation) } else { Failure::NotSent }, last)
    }

    /// A connection to `node`, and a look at the map if the node was restarted.
    pub(crate) fn connection(
        &self,
        node: &Node,
        map: &ClusterMap,
        deadline: Instant,
    ) -> std::result::Result<Arc<Connection>, OpenError> {
        match self.pools.pick(node, deadline) {
            Ok(Picked { connection, restarted }) => {
                self.tokens.narrow_span(connection.hello().write_span_max);
                if restarted {
                    self.refresh_from(&connection, map.epoch(), deadline);
                }
                Ok(connection)
            }
            Err(error) => {
                if matches!(error, OpenError::Unreachable(_)) {
                    self.refresh_elsewhere(node.id, map, deadline);
                }
                Err(error)
            }
        }
    }

    /// What an answer means for its call.
    pub(crate) fn understand<T>(
        &self,
        call: &Call<'_>,
        map: &ClusterMap,
        op: Op,
        connection: &Arc<Connection>,
        answer: &Answer,
        read: &mut impl FnMut(Response<'_>) -> Option<Result<T>>,
    ) -> std::result::Result<Result<T>, Failed> {
        let address = connection.address();
        let response = match Response::decode(op, &answer.header, &answer.body) {
            Ok(response) => response,
            Err(problem) => return Err(Failed::Final(broken(connection, op, problem))),
        };
        let (status, text) = match &response {
            Response::Refused(Refusal::Other(status, text)) => (*status, text.clone().into_owned()),
            refused_or_done => (refused_or_done.status(), refused_or_done.status().text().to_owned()),
        };
        let verdict = call.retry.judge(status);
        let failed = |failure, text| {
            let last = Last::Refused { address: address.to_owned(), status, text };
            Err(Failed::Retryable(failure, last))
        };
        let outcome = match verdict {
            Verdict::NotOwner => {
                let moved = self.refresh_from(connection, map.epoch(), call.deadline);
                return failed(if moved { Failure::Moved } else { Failure::Refused }, text);
            }
            Verdict::Failed(Failure::Forgotten) => {
                let text =
                    "not applied, as the node cannot tell it from writes that it forgot; send it again";
                return failed(Failure::Forgotten, text.to_owned());
            }
            Verdict::Failed(failure) => return failed(failure, text),
            Verdict::Final(outcome) => outcome,
        };
        if let Some(result) = read(response) {
            return Ok(result);
        }
        Err(Failed::Final(match (status.meaning(), outcome) {
            (Meaning::Done, _) => broken(connection, op, Malformed("answer to another request")),
            (Meaning::Unknown, _) => Error::Unknown { reason: format!("{address} says: {text}") },
            (Meaning::NotDone, Outcome::NotDone) => Error::Refused { status, text },
            (Meaning::NotDone, Outcome::Unknown) => {
                Error::Unknown { reason: format!("{address} refused a retry with {}", status.name()) }
            }
        }))
    }

    /// Fetches the map over `connection`; answers whether there is a newer one than `seen` now.
    pub(crate) fn refresh_from(&self, connection: &Connection, seen: Epoch, deadline: Instant) -> bool {
        // A node that hangs must not keep everybody from asking another one.
        let deadline = deadline.min(Instant::now() + self.connect_timeout);
        let newer = self.router.refresh(seen, deadline, || fetch_map(connection, deadline).ok());
        if newer {
            self.pools.keep_only(self.router.map().nodes());
        }
        newer
    }

    /// A node does not answer: perhaps others know who serves in its place. Asks one of them, now and then.
    fn refresh_elsewhere(&self, silent: NodeId, map: &ClusterMap, deadline: Instant) {
        let now = Instant::now();
        {
            let mut refreshed_at: MutexGuard<'_, Option<Instant>> = lock(&self.refreshed_at);
            if now >= deadline || refreshed_at.is_some_and(|at| now < at + REFRESH_PAUSE) {
                return;
            }
            *refreshed_at = Some(now);
        }
        let others: Vec<&Node> = map.nodes().iter().filter(|node| node.id != silent).collect();
        if others.is_empty() {
            return;
        }
        let node = others[(self.next_random() % others.len() as u64) as usize];
        let deadline = deadline.min(now + self.connect_timeout);
        if let Ok(picked) = self.pools.pick(node, deadline) {
            self.refresh_from(&picked.connection, map.epoch(), deadline);
        }
    }

    pub(crate) fn next_random(&self) -> u64 {
        splitmix64(self.random.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed))
    }
}

impl<'a> Call<'a> {
    /// Gives a write that nobody has applied, nor will, a new number. `false`: too many are open, for too long.
    pub(crate) fn renew_token(&mut self, tokens: &'a WriteTokens) -> bool {
        // The old number is settled first, so that it does not hold up the new one.
        self.write = None;
        self.write = tokens.open(self.deadline);
        self.write.is_some()
    }
}

impl Call<'_> {
    fn unless_in_doubt(&self, error: Error) -> Error {
        match self.retry.outcome() {
            Outcome::NotDone => error,
            Outcome::Unknown => {
                Error::Unknown { reason: format!("a write was lost on the way, then: {error}") }
            }
        }
    }

    pub(crate) fn time_up(&self, last: Last) -> Error {
        match (self.retry.outcome(), last) {
            (Outcome::NotDone, Last::Unreachable { address, reason }) => {
                Error::Unreachable { address, reason }
            }
            (outcome, last) => {
                Error::TimedOut { outcome, after: self.op_timeout, last: Some(last.to_string()) }
            }
        }
    }

    pub(crate) fn attempts_used_up(&self, last: Last) -> Error {
        match (self.retry.outcome(), last) {
            (Outcome::NotDone, Last::Unreachable { address, reason }) => {
                Error::Unreachable { address, reason }
            }
            (Outcome::NotDone, Last::Refused { status, text, .. }) => Error::Refused { status, text },
            (Outcome::Unknown, last @ Last::Refused { .. }) => Error::Unknown { reason: last.to_string() },
            (outcome, Last::Lost { address, reason } | Last::Unreachable { address, reason }) => {
                Error::ConnectionLost { outcome, address, reason }
            }
            (outcome, last @ (Last::NoAnswer { .. } | Last::TooManyOpen)) => {
                Error::TimedOut { outcome, after: self.op_timeout, last: Some(last.to_string()) }
            }
        }
    }
}

impl Failed {
    /// The same, as it stands for a call of which an earlier attempt may have arrived.
    pub(crate) fn unless_in_doubt(self, call: &Call<'_>) -> Failed {
        match self {
            Failed::Final(error) => Failed::Final(call.unless_in_doubt(error)),
            retryable @ Failed::Retryable(..) => retryable,
        }
    }
}

/// There is no connection to `node`.
pub(crate) fn unopened(node: &Node, cluster_id: ClusterId, error: OpenError) -> Failed {
    let address = node.address.clone();
    match error {
        OpenError::Unreachable(reason) => {
            Failed::Retryable(Failure::NotSent, Last::Unreachable { address, reason })
        }
        OpenError::Refused(status, text) if status.may_retry() => {
            Failed::Retryable(Failure::NotSent, Last::Refused { address, status, text })
        }
        error => Failed::Final(open_failed(&address, cluster_id, error)),
    }
}

impl std::fmt::Display for Last {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Last::Unreachable { address, reason } | Last::Lost { address, reason } => {
                write!(f, "{address}: {reason}")
            }
            Last::NoAnswer { address } => write!(f, "{address} does not answer"),
            Last::Refused { address, status, text } => write!(f, "{address}: {}, {text}", status.name()),
            Last::TooManyOpen => f.write_str("too many writes of this client are unanswered"),
        }
    }
}

/// Asks for the map over `connection`.
pub(crate) fn fetch_map(
    connection: &Connection,
    deadline: Instant,
) -> std::result::Result<ClusterMap, String> {
    let answer =
        connection.call(deadline, |id, out| Request::Map.encode(id, Epoch(0), out)).map_err(|error| {
            match error {
                CallError::Lost { reason, .. } => reason,
                CallError::TimedOut { .. } => "the cluster map did not come in time".to_owned(),
            }
        })?;
    match Response::decode(Op::Map, &answer.header, &answer.body) {
        Ok(Response::Map(map)) => Ok(*map),
        Ok(Response::Refused(refusal)) => Err(format!("the cluster map is refused: {}", refusal.status())),
        Ok(_) => Err("the answer to MAP is no map".to_owned()),
        Err(problem) => {
            connection.kill(&problem.to_string());
            Err(problem.to_string())
        }
    }
}

/// A node that answers nonsense is of no more use on this connection.
fn broken(connection: &Connection, op: Op, problem: Malformed) -> Error {
    connection.kill(&problem.to_string());
    let outcome = if is_write(op) { Outcome::Unknown } else { Outcome::NotDone };
    Error::Protocol { outcome, address: connection.address().to_owned(), problem }
}

pub(crate) const fn is_write(op: Op) -> bool {
    match op {
        Op::Put | Op::Delete | Op::Add | Op::Append => true,
        Op::Hello | Op::Map | Op::Ping | Op::Stats | Op::Get | Op::Exists | Op::Scan | Op::PeerHello => false,
    }
}

fn with_token(mut request: Request<'_>, write_token: Option<WriteToken>) -> Request<'_> {
    match &mut request {
        Request::Put { token, .. }
        | Request::Delete { token, .. }
        | Request::Add { token, .. }
        | Request::Append { token, .. } => *token = write_token,
        Request::Hello(_)
        | Request::Map
        | Request::Ping
        | Request::Stats
        | Request::Get { .. }
        | Request::Exists { .. }
        | Request::Scan(_)
        | Request::PeerHello(_) => {}
    }
    request
}
