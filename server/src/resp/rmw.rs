//! Commands that read a key and write it depending on what they found, as one step for everybody else. Sans-io: asks
//! one request after the other, wherever the key lives.
//!
//! Where the protocol has an operation that does it at once (`ADD`, `APPEND`), that one is asked first. Else the entry
//! is read and written under the condition that it still has the version that was read; where another write got in
//! between, from the start. A write is never sent twice: after a refusal by condition it has not been done.

use std::borrow::Cow;

use dht_protocol::ids::Version;
use dht_protocol::limits::VALUE_BYTES_MAX;
use dht_protocol::request::{Condition, Key, Request};
use dht_protocol::response::{Refusal, Response};
use dht_protocol::status::Status;
use dht_protocol::value::{ValueRef, ValueType, parse_canonical_decimal};

use super::reply::{self, Resp, text_of};
use crate::limits::RESP_TRIES_MAX;

/// What is to become of the entry.
#[derive(Clone, Debug)]
pub(crate) enum Goal<'a> {
    /// Reply what was there, and put this in its place; `None`: remove it.
    Swap(Option<Cow<'a, [u8]>>, Only),
    /// Add to the number.
    Add(i64),
    /// Lengthen the value.
    Append(Cow<'a, [u8]>),
}

/// When a value is put in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Only {
    Always,
    IfAbsent,
    IfPresent,
}

/// One such command under way.
#[derive(Debug)]
pub(crate) struct Rmw<'a> {
    goal: Goal<'a>,
    key: Cow<'a, [u8]>,
    stage: Stage,
    /// The type with which a suffix is appended.
    suffix_type: ValueType,
    /// What was read.
    old: Option<Old>,
    /// What is to be written.
    new: Vec<u8>,
    tries_left: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The operation that does it at once.
    Direct,
    Read,
    Write,
}

#[derive(Debug)]
struct Old {
    version: Version,
    value_type: ValueType,
    bytes: Vec<u8>,
}

/// What follows from a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The reply has been written.
    Done,
    /// Ask [`Rmw::request`].
    Ask,
}

impl<'a> Rmw<'a> {
    pub(crate) fn new(key: Key<'a>, goal: Goal<'a>) -> Rmw<'a> {
        let stage = match goal {
            Goal::Swap(..) => Stage::Read,
            Goal::Add(_) | Goal::Append(_) => Stage::Direct,
        };
        Rmw {
            goal,
            key: Cow::Borrowed(key.as_bytes()),
            stage,
            suffix_type: ValueType::BYTES,
            old: None,
            new: Vec::new(),
            tries_left: RESP_TRIES_MAX,
        }
    }

    /// The same, of its own: its words may go.
    pub(crate) fn into_owned(self) -> Rmw<'static> {
        let owned = |bytes: Cow<'_, [u8]>| Cow::Owned(bytes.into_owned());
        let goal = match self.goal {
            Goal::Swap(value, only) => Goal::Swap(value.map(owned), only),
            Goal::Add(delta) => Goal::Add(delta),
            Goal::Append(suffix) => Goal::Append(owned(suffix)),
        };
        Rmw { goal, key: owned(self.key), ..self }
    }

    /// What to ask now. [`Rmw::on_response`] changes it.
    pub(crate) fn request(&self) -> Request<'_> {
        let key = Key::new(&self.key).expect("it was made of a key that keeps the rules");
        match (self.stage, &self.goal) {
            (Stage::Direct, Goal::Add(delta)) => Request::Add { key, delta: *delta, token: None },
            (Stage::Direct, Goal::Append(suffix)) => {
                let suffix = ValueRef { value_type: self.suffix_type, bytes: suffix };
                Request::Append { key, suffix, token: None }
            }
            (Stage::Direct, Goal::Swap(..)) | (Stage::Read, _) => Request::Get { key },
            (Stage::Write, goal) => {
                let condition =
                    Condition::IfVersion(self.old.as_ref().map_or(Version::ABSENT, |old| old.version));
                let put = |value_type, bytes| {
                    let value = ValueRef { value_type, bytes };
                    Request::Put { key, value, condition, token: None }
                };
                match goal {
                    Goal::Swap(None, _) => Request::Delete { key, condition, token: None },
                    Goal::Swap(Some(value), _) => put(ValueType::BYTES, value),
                    Goal::Add(_) => put(self.counter_type(), &self.new),
                    Goal::Append(_) => put(ValueType::BYTES, &self.new),
                }
            }
        }
    }

    /// A number written as plain bytes becomes text, which every door counts with; other types stay.
    fn counter_type(&self) -> ValueType {
        match &self.old {
            Some(old) if old.value_type != ValueType::BYTES => old.value_type,
            Some(_) | None => ValueType::TEXT,
        }
    }

    /// The response to the last request.
    pub(crate) fn on_response(&mut self, resp: Resp, response: &Response<'_>, out: &mut Vec<u8>) -> Step {
        match (self.stage, response) {
            (Stage::Direct, Response::Counted { value, .. }) => done(|| reply::integer(out, *value)),
            (Stage::Direct, Response::Appended { value_bytes, .. }) => {
                done(|| reply::integer(out, i64::from(*value_bytes)))
            }
            (Stage::Direct, Response::Refused(refusal)) if refusal.status() == Status::WrongType => {
                self.try_again(Stage::Read, out)
            }
            (Stage::Read, Response::Found { version, value }) => {
                let (value_type, bytes) = (value.value_type, value.bytes.to_vec());
                self.old = Some(Old { version: *version, value_type, bytes });
                self.on_read(resp, out)
            }
            (Stage::Read, Response::Refused(refusal)) if refusal.status() == Status::NotFound => {
                self.old = None;
                self.on_read(resp, out)
            }
            (Stage::Write, Response::Version(_)) => done(|| self.reply_written(resp, out)),
            (Stage::Write, Response::Refused(Refusal::ConditionFailed(_))) => {
                self.try_again(Stage::Read, out)
            }
            (_, Response::Refused(refusal)) => done(|| reply::refusal(out, refusal)),
            (_, _) => {
                done(|| reply::error(out, "ERR the node that has this key gave an answer of another kind"))
            }
        }
    }

    fn try_again(&mut self, stage: Stage, out: &mut Vec<u8>) -> Step {
        self.tries_left -= 1;
        if self.tries_left == 0 {
            return done(|| {
                reply::error(
                    out,
                    "BUSY other writes to this key keep getting in between, nothing was changed: try again",
                );
            });
        }
        self.stage = stage;
        Step::Ask
    }

    fn on_read(&mut self, resp: Resp, out: &mut Vec<u8>) -> Step {
        match &self.goal {
            Goal::Swap(value, only) => {
                let writes = match (value, only, self.old.is_some()) {
                    (None, _, is_there) => is_there,
                    (Some(_), Only::Always, _) => true,
                    (Some(_), Only::IfAbsent, is_there) => !is_there,
                    (Some(_), Only::IfPresent, is_there) => is_there,
                };
                if !writes {
                    return done(|| self.reply_written(resp, out));
                }
                self.stage = Stage::Write;
                Step::Ask
            }
            Goal::Add(delta) => self.on_read_number(*delta, out),
            Goal::Append(_) => self.on_read_head(out),
        }
    }

    fn on_read_number(&mut self, delta: i64, out: &mut Vec<u8>) -> Step {
        let number = match &self.old {
            // It has changed since: the operation of its own can do it now.
            None => return self.try_again(Stage::Direct, out),
            Some(old) if old.value_type == ValueType::INT => return self.try_again(Stage::Direct, out),
            Some(old) if matches!(old.value_type, ValueType::FLOAT | ValueType::BOOL) => None,
            Some(old) => parse_canonical_decimal(&old.bytes),
        };
        let Some(number) = number else {
            return done(|| reply::error(out, "ERR value is not an integer or out of range"));
        };
        let Some(sum) = number.checked_add(delta) else {
            return done(|| reply::error(out, "ERR increment or decrement would overflow"));
        };
        self.new = sum.to_string().into_bytes();
        self.stage = Stage::Write;
        Step::Ask
    }

    fn on_read_head(&mut self, out: &mut Vec<u8>) -> Step {
        let Goal::Append(suffix) = &self.goal else { return Step::Ask };
        let Some(old) = &self.old else { return self.try_again(Stage::Direct, out) };
        if old.value_type.is_appendable() {
            self.suffix_type = old.value_type;
            return self.try_again(Stage::Direct, out);
        }
        let head = text_of(ValueRef { value_type: old.value_type, bytes: &old.bytes });
        if head.len() + suffix.len() > VALUE_BYTES_MAX {
            return done(|| reply::error(out, "ERR string exceeds maximum allowed size (16 MiB)"));
        }
        self.new = [&head, &suffix[..]].concat();
        self.stage = Stage::Write;
        Step::Ask
    }

    fn reply_written(&self, resp: Resp, out: &mut Vec<u8>) {
        match (&self.goal, &self.old) {
            (Goal::Swap(..), Some(old)) => {
                reply::bulk(out, &text_of(ValueRef { value_type: old.value_type, bytes: &old.bytes }));
            }
            (Goal::Swap(..), None) => reply::null(resp, out),
            // What was written is decimal text.
            (Goal::Add(_), _) => reply::integer(out, parse_canonical_decimal(&self.new).unwrap_or_default()),
            (Goal::Append(_), _) => reply::integer(out, self.new.len() as i64),
        }
    }
}

/// Writes the reply, and that was all.
fn done(write: impl FnOnce()) -> Step {
    write();
    Step::Done
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key<'static> {
        Key::new(b"k").unwrap()
    }

    fn found(version: u64, tag: u8, bytes: &[u8]) -> Response<'_> {
        Response::Found { version: Version(version), value: ValueRef::new(tag, bytes).unwrap() }
    }

    fn refused(status: Status) -> Response<'static> {
        Response::Refused(Refusal::of(status))
    }

    #[test]
    fn a_swap_that_another_write_overtakes_starts_over() {
        let mut swap = Rmw::new(key(), Goal::Swap(Some(Cow::Borrowed(b"new")), Only::Always));
        let mut out = vec![];
        assert_eq!(swap.request(), Request::Get { key: key() });
        assert_eq!(swap.on_response(Resp::Two, &found(7, 0, b"old"), &mut out), Step::Ask);
        let put = |version| Request::Put {
            key: key(),
            value: ValueRef { value_type: ValueType::BYTES, bytes: b"new" },
            condition: Condition::IfVersion(version),
            token: None,
        };
        assert_eq!(swap.request(), put(Version(7)));
        let overtaken = Response::Refused(Refusal::ConditionFailed(Version(8)));
        assert_eq!(swap.on_response(Resp::Two, &overtaken, &mut out), Step::Ask);
        assert_eq!(swap.on_response(Resp::Two, &refused(Status::NotFound), &mut out), Step::Ask);
        assert_eq!(swap.request(), put(Version::ABSENT));
        assert_eq!(swap.on_response(Resp::Two, &Response::Version(Version(9)), &mut out), Step::Done);
        assert_eq!(out, b"$-1\r\n", "what was there when it was replaced");
    }

    #[test]
    fn a_number_written_as_bytes_counts_and_becomes_text() {
        let mut add = Rmw::new(key(), Goal::Add(5));
        let mut out = vec![];
        assert_eq!(add.on_response(Resp::Two, &refused(Status::WrongType), &mut out), Step::Ask);
        assert_eq!(add.on_response(Resp::Two, &found(3, 0, b"-2"), &mut out), Step::Ask);
        let Request::Put { value, condition, .. } = add.request() else { panic!("a write") };
        assert_eq!((value.value_type, value.bytes), (ValueType::TEXT, &b"3"[..]));
        assert_eq!(condition, Condition::IfVersion(Version(3)));
        assert_eq!(add.on_response(Resp::Two, &Response::Version(Version(4)), &mut out), Step::Done);
        assert_eq!(out, b":3\r\n");
        for (tag, bytes, text) in [
            (0, &b"x"[..], "-ERR value is not an integer or out of range\r\n"),
            (3, &[0x31; 8], "-ERR value is not an integer or out of range\r\n"),
            (0, b"9223372036854775807", "-ERR increment or decrement would overflow\r\n"),
        ] {
            let (mut add, mut out) = (Rmw::new(key(), Goal::Add(5)), vec![]);
            assert_eq!(add.on_response(Resp::Two, &refused(Status::WrongType), &mut out), Step::Ask);
            assert_eq!(add.on_response(Resp::Two, &found(3, tag, bytes), &mut out), Step::Done);
            assert_eq!(out, text.as_bytes());
        }
    }

    #[test]
    fn a_suffix_takes_the_type_that_is_there() {
        let mut append = Rmw::new(key(), Goal::Append(Cow::Borrowed(b"x")));
        let mut out = vec![];
        assert_eq!(append.on_response(Resp::Two, &refused(Status::WrongType), &mut out), Step::Ask);
        assert_eq!(append.on_response(Resp::Two, &found(3, 1, b"text"), &mut out), Step::Ask);
        let Request::Append { suffix, .. } = append.request() else { panic!("an append") };
        assert_eq!((suffix.value_type, suffix.bytes), (ValueType::TEXT, &b"x"[..]));
        assert_eq!(append.on_response(Resp::Two, &refused(Status::WrongType), &mut out), Step::Ask);
        assert_eq!(append.on_response(Resp::Two, &found(4, 2, &12i64.to_be_bytes()), &mut out), Step::Ask);
        let Request::Put { value, .. } = append.request() else { panic!("a write") };
        assert_eq!(value.bytes, b"12x");
    }

    #[test]
    fn a_key_that_never_rests_is_given_up() {
        let mut swap = Rmw::new(key(), Goal::Swap(None, Only::Always));
        let mut out = vec![];
        for version in 1..=RESP_TRIES_MAX as u64 {
            assert_eq!(swap.on_response(Resp::Two, &found(version, 0, b""), &mut out), Step::Ask);
            let overtaken = Response::Refused(Refusal::ConditionFailed(Version(version + 1)));
            let step = swap.on_response(Resp::Two, &overtaken, &mut out);
            assert_eq!(step == Step::Done, version == RESP_TRIES_MAX as u64);
        }
        assert!(out.starts_with(b"-BUSY "));
    }

    #[test]
    fn a_condition_that_does_not_hold_writes_nothing() {
        for (only, is_there, reply) in [
            (Only::IfAbsent, true, Some("$3\r\nold\r\n")),
            (Only::IfAbsent, false, None),
            (Only::IfPresent, true, None),
            (Only::IfPresent, false, Some("$-1\r\n")),
        ] {
            let mut swap = Rmw::new(key(), Goal::Swap(Some(Cow::Borrowed(b"new")), only)).into_owned();
            let mut out = vec![];
            let read = if is_there { found(1, 0, b"old") } else { refused(Status::NotFound) };
            let step = swap.on_response(Resp::Two, &read, &mut out);
            assert_eq!((step == Step::Done).then_some(out.as_slice()), reply.map(str::as_bytes));
        }
    }
}
