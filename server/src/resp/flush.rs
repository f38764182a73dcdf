//! `FLUSHDB`: removes the keys of every node, a few at a time, so that nobody else waits for it. Keys that are written
//! while it runs may stay.

use dht_protocol::cursor::Cursor;
use dht_protocol::request::{Condition, Key, Request};
use dht_protocol::response::Response;
use dht_protocol::status::Status;

use super::pending::Answer;
use super::reply;
use super::scan::{Asked, Position};
use crate::dispatch::{Dispatcher, Home};
use crate::limits::RESP_FLUSH_STEP_KEYS;
use crate::metrics::WorkerMetrics;

/// One under way.
#[derive(Debug)]
pub(crate) struct Flush {
    position: Position,
    /// What a page is asked for while one is under way.
    asked: Option<Asked>,
    /// Keys of the last page that are still to be removed, at the same node.
    keys: Vec<Vec<u8>>,
    /// Where it goes on once they are.
    behind: Option<Position>,
    /// Requests under way.
    left: usize,
    failed: Option<Vec<u8>>,
}

/// What it needs next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Answers that have not come.
    Wait,
    /// Another step, here.
    Go,
    /// This request is to go to the node of that place in the map.
    Ask(usize),
    /// All is done, or something failed.
    Done,
}

impl Flush {
    pub(crate) fn new() -> Flush {
        Flush {
            position: Position::START,
            asked: None,
            keys: Vec::new(),
            behind: None,
            left: 0,
            failed: None,
        }
    }

    /// Takes a bounded step here, or says what it needs. After [`Next::Ask`]: [`Flush::request`], and
    /// [`Flush::on_sent`] once that is on its way.
    pub(crate) fn step(&mut self, dispatcher: &Dispatcher, metrics: &WorkerMetrics) -> Next {
        if self.left > 0 && self.keys.is_empty() {
            return Next::Wait;
        }
        if self.keys.is_empty()
            && let Some(behind) = self.behind.take()
        {
            self.position = behind;
        }
        let nodes = dispatcher.map().nodes();
        if self.failed.is_some() && self.left == 0 {
            return Next::Done;
        }
        let Some(node) = nodes.get(self.position.place) else { return Next::Done };
        if node.id == dispatcher.identity().node {
            self.step_here(dispatcher, metrics);
            return Next::Go;
        }
        if self.keys.is_empty() && self.asked.is_none() {
            self.asked = Asked::new(dispatcher.map(), self.position);
            if self.asked.is_none() {
                self.position = self.position.at(Cursor::END);
                return Next::Go;
            }
        }
        Next::Ask(self.position.place)
    }

    /// The request for the node that is cleared: a key to be removed, or a page of them.
    pub(crate) fn request<'a>(&'a self, dispatcher: &Dispatcher) -> Option<Request<'a>> {
        if let Some(key) = self.keys.last() {
            let key = Key::new(key).ok()?;
            return Some(Request::Delete { key, condition: Condition::Always, token: None });
        }
        let asked = self.asked.as_ref()?;
        Some(asked.request(dispatcher.map(), self.position.cursor, RESP_FLUSH_STEP_KEYS, b""))
    }

    /// The request is on its way.
    pub(crate) fn on_sent(&mut self) {
        self.keys.pop();
        self.left += 1;
    }

    /// An answer to one of the requests.
    pub(crate) fn on_answer(&mut self, answer: &Answer<'_>) {
        self.left -= 1;
        match answer {
            Answer::Response(Response::Page(page)) => {
                if let Some(asked) = self.asked.take() {
                    self.keys = page.entries().map(|entry| entry.key.to_vec()).collect();
                    self.behind = Some(self.position.at(asked.next(page)));
                }
            }
            Answer::Response(Response::Version(_)) => {}
            Answer::Response(Response::Refused(refusal)) if refusal.status() == Status::NotFound => {}
            Answer::Response(Response::Refused(refusal)) => self.fail(|out| reply::refusal(out, refusal)),
            Answer::Response(_) => {
                self.fail(|out| reply::error(out, "ERR another node gave an answer of another kind"));
            }
            Answer::NotDone(_) | Answer::Unknown(_) => self.fail(|out| {
                answer.write_failure(out);
            }),
        }
    }

    /// The reply.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match &self.failed {
            None => reply::ok(out),
            Some(failed) => out.extend_from_slice(failed),
        }
    }

    fn fail(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.keys.clear();
        self.failed.get_or_insert_with(|| {
            let mut text = Vec::new();
            write(&mut text);
            text
        });
    }

    fn step_here(&mut self, dispatcher: &Dispatcher, metrics: &WorkerMetrics) {
        let mut keys: Vec<Vec<u8>> = Vec::new();
        let next = dispatcher
            .walk(self.position.cursor, RESP_FLUSH_STEP_KEYS, b"", &mut |key| keys.push(key.to_vec()));
        let mut value = Vec::new();
        for key in &keys {
            let Ok(key) = Key::new(key) else { continue };
            let hash = dispatcher.hash_of(key);
            let Home::Here(hosted) = dispatcher.home_of(hash) else { continue };
            let request = Request::Delete { key, condition: Condition::Always, token: None };
            let response = dispatcher.ask(&request, hash, hosted, &mut value, metrics);
            if let Response::Refused(refusal) = response
                && refusal.status() != Status::NotFound
            {
                self.fail(|out| reply::refusal(out, &refusal));
            }
        }
        self.position = self.position.at(next);
    }
}
