//! What reply a command makes of the responses to its requests: the same for keys that live here and elsewhere.

use dht_protocol::response::Response;
use dht_protocol::status::Status;

use super::pending::{Answer, Gather};
use super::reply::{self, Resp, text_of};
use super::scan::PageWant;

/// The reply that is to come.
#[derive(Debug)]
pub(crate) enum Want {
    /// The value, or null: `GET`, `MGET`.
    Value,
    /// Its length: `STRLEN`.
    Length,
    /// `string` or `none`: `TYPE`.
    Kind,
    /// OK, or null where a condition does not hold: `SET`.
    Set,
    /// 1, or 0 where there is an entry: `SETNX`.
    SetNx,
    /// One reply of several requests: their number as far as there was an entry, or OK where the flag is set.
    Gather(Gather, bool),
    /// Keys of a page: `SCAN`.
    Page(Box<PageWant>),
    /// A command of several steps, kept elsewhere.
    Steps,
}

impl Want {
    /// Makes the reply of an answer; `false`: it is not complete.
    pub(crate) fn on_answer(&mut self, resp: Resp, answer: &Answer<'_>, out: &mut Vec<u8>) -> bool {
        if let Want::Gather(gather, is_ok) = self {
            gather.left -= 1;
            gather.on_answer(answer);
            return gather.write_if_complete(*is_ok, out);
        }
        match answer {
            Answer::Response(response) => self.write(resp, response, out),
            Answer::NotDone(_) | Answer::Unknown(_) => {
                answer.write_failure(out);
            }
        }
        true
    }

    /// No more requests come; `true`: the reply is complete.
    pub(crate) fn close(&mut self, out: &mut Vec<u8>) -> bool {
        match self {
            Want::Gather(gather, is_ok) => {
                gather.is_closed = true;
                gather.write_if_complete(*is_ok, out)
            }
            _ => false,
        }
    }

    /// The reply that follows from one response.
    #[inline]
    pub(crate) fn write(&self, resp: Resp, response: &Response<'_>, out: &mut Vec<u8>) {
        let status = response.status();
        match (self, response) {
            (Want::Set, Response::Version(_)) => reply::ok(out),
            (Want::Set, _) if status == Status::ConditionFailed => reply::null(resp, out),
            (Want::SetNx, Response::Version(_)) => reply::integer(out, 1),
            (Want::SetNx, _) if status == Status::ConditionFailed => reply::integer(out, 0),
            (Want::Value, Response::Found { value, .. }) => reply::bulk(out, &text_of(*value)),
            (Want::Value, _) if status == Status::NotFound => reply::null(resp, out),
            (Want::Length, Response::Found { value, .. }) => {
                reply::integer(out, text_of(*value).len() as i64);
            }
            (Want::Length, _) if status == Status::NotFound => reply::integer(out, 0),
            (Want::Kind, Response::Version(_)) => reply::simple(out, "string"),
            (Want::Kind, _) if status == Status::NotFound => reply::simple(out, "none"),
            (Want::Page(want), Response::Page(page)) => want.write(page, out),
            (_, Response::Refused(refusal)) => reply::refusal(out, refusal),
            (_, _) => reply::error(out, "ERR the node that has this key gave an answer of another kind"),
        }
    }
}

impl Gather {
    /// Counts one response in.
    pub(crate) fn on_answer(&mut self, answer: &Answer<'_>) {
        match answer {
            Answer::Response(response) => self.on_response(response),
            Answer::NotDone(_) | Answer::Unknown(_) => self.fail(|out| {
                answer.write_failure(out);
            }),
        }
    }

    pub(crate) fn on_response(&mut self, response: &Response<'_>) {
        match response {
            Response::Version(_) => self.sum += 1,
            Response::Stats(stats) => {
                let entries = stats.iter().find(|(name, _)| name == "entries");
                self.sum += entries.map_or(0, |(_, count)| *count as i64);
            }
            Response::Refused(refusal) if refusal.status() == Status::NotFound => {}
            Response::Refused(refusal) => self.fail(|out| reply::refusal(out, refusal)),
            _ => self.fail(|out| reply::error(out, "ERR another node gave an answer of another kind")),
        }
    }

    /// Notes a failure; the first is told.
    pub(crate) fn fail(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.failed.get_or_insert_with(|| {
            let mut text = Vec::new();
            write(&mut text);
            text
        });
    }

    /// The reply, once there is one.
    pub(crate) fn write_if_complete(&self, is_ok: bool, out: &mut Vec<u8>) -> bool {
        if self.left > 0 || !self.is_closed {
            return false;
        }
        match (&self.failed, is_ok) {
            (Some(failed), _) => out.extend_from_slice(failed),
            (None, true) => reply::ok(out),
            (None, false) => reply::integer(out, self.sum),
        }
        true
    }
}
