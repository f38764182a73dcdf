//! Replies that wait for other nodes, in the order of their commands. Sans-io.
//!
//! Each command that another node must help with has a *slot*; what later commands reply at once stands behind the
//! slot before them. Slots are numbered and never numbered again, so an answer that comes when its connection has
//! moved on finds nothing.

use std::collections::VecDeque;

use dht_protocol::response::Response;

use super::reply::{self, Resp};
use super::want::Want;
use crate::dispatch::Output;

/// The number of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotId(u64);

/// How a request to another node ended.
#[derive(Debug)]
pub(crate) enum Answer<'a> {
    /// It was answered.
    Response(Response<'a>),
    /// It was not, and has not been carried out.
    NotDone(&'a str),
    /// It was not, and may have been carried out.
    Unknown(&'a str),
}

/// Several requests with one reply between them.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    /// Requests under way.
    pub(crate) left: usize,
    /// What has been counted.
    pub(crate) sum: i64,
    /// The first that failed.
    pub(crate) failed: Option<Vec<u8>>,
    /// Whether no more requests come.
    pub(crate) is_closed: bool,
}

#[derive(Debug)]
struct Slot {
    /// `None`: the reply is complete.
    want: Option<Want>,
    reply: Output,
    /// What stands behind it.
    after: Output,
}

/// All slots of a connection.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// Number of the first slot.
    first: u64,
    slots: VecDeque<Slot>,
}

impl Pending {
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Bytes of replies that wait here.
    pub(crate) fn bytes(&self) -> usize {
        self.slots.iter().map(|slot| slot.reply.bytes() + slot.after.bytes()).sum()
    }

    /// Memory that its buffers hold, bytes.
    pub(crate) fn buffer_bytes(&self) -> usize {
        self.slots.iter().map(|slot| slot.reply.buffer_bytes() + slot.after.buffer_bytes()).sum()
    }

    /// Adds a slot behind all others.
    pub(crate) fn open(&mut self, want: Want) -> SlotId {
        self.slots.push_back(Slot { want: Some(want), reply: Output::default(), after: Output::default() });
        SlotId(self.first + self.slots.len() as u64 - 1)
    }

    /// Takes the last slot back: nothing has been asked for it.
    pub(crate) fn cancel_last(&mut self) {
        self.slots.pop_back();
    }

    /// Where the next reply goes that is known at once: behind the last slot, or straight out.
    #[inline]
    pub(crate) fn back<'a>(&'a mut self, output: &'a mut Output) -> &'a mut Output {
        match self.slots.back_mut() {
            None => output,
            Some(slot) => &mut slot.after,
        }
    }

    /// What the slot gathers, if that is what it does.
    pub(crate) fn gather(&mut self, id: SlotId) -> Option<&mut Gather> {
        match &mut self.slot(id)?.want {
            Some(Want::Gather(gather, _)) => Some(gather),
            Some(_) | None => None,
        }
    }

    /// An answer to a request of that slot.
    pub(crate) fn on_answer(&mut self, id: SlotId, resp: Resp, answer: &Answer<'_>) {
        let Some(slot) = self.slot(id) else { return };
        let Some(want) = &mut slot.want else { return };
        if slot.reply.append(|out| want.on_answer(resp, answer, out)) {
            slot.want = None;
        }
    }

    /// Completes a slot with a reply.
    pub(crate) fn complete(&mut self, id: SlotId, write: impl FnOnce(&mut Vec<u8>)) {
        let Some(slot) = self.slot(id) else { return };
        slot.reply.append(write);
        slot.want = None;
    }

    /// No more requests come for a slot that gathers.
    pub(crate) fn close_gather(&mut self, id: SlotId) {
        let Some(slot) = self.slot(id) else { return };
        let Some(want) = &mut slot.want else { return };
        if slot.reply.append(|out| want.close(out)) {
            slot.want = None;
        }
    }

    /// Lets the replies go out that nothing stands before.
    pub(crate) fn drain(&mut self, output: &mut Output) {
        while self.slots.front().is_some_and(|slot| slot.want.is_none()) {
            let Some(slot) = self.slots.pop_front() else { return };
            self.first += 1;
            output.append_output(slot.reply);
            output.append_output(slot.after);
        }
    }

    fn slot(&mut self, id: SlotId) -> Option<&mut Slot> {
        let at = id.0.checked_sub(self.first)?;
        self.slots.get_mut(at as usize)
    }
}

impl Answer<'_> {
    /// The reply to a request that failed; `false`: it did not.
    pub(crate) fn write_failure(&self, out: &mut Vec<u8>) -> bool {
        match self {
            Answer::Response(_) => return false,
            Answer::NotDone(why) => reply::error(out, &format!("ERR {why}; the command was not carried out")),
            Answer::Unknown(why) => {
                reply::error(out, &format!("UNKNOWN {why}; the command may have been carried out"));
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dht_protocol::ids::Version;
    use dht_protocol::value::{ValueRef, ValueType};

    fn text(output: &Output) -> String {
        String::from_utf8(output.front(usize::MAX).flatten().copied().collect()).unwrap()
    }

    fn found(bytes: &[u8]) -> Answer<'_> {
        let value = ValueRef { value_type: ValueType::TEXT, bytes };
        Answer::Response(Response::Found { version: Version(1), value })
    }

    #[test]
    fn replies_keep_the_order_of_commands_however_answers_come() {
        let (mut pending, mut output) = (Pending::default(), Output::default());
        let first = pending.open(Want::Value);
        pending.back(&mut output).append(|out| reply::simple(out, "A"));
        let second = pending.open(Want::Value);
        pending.back(&mut output).append(|out| reply::simple(out, "B"));
        pending.on_answer(second, Resp::Two, &found(b"2"));
        pending.drain(&mut output);
        assert_eq!(text(&output), "");
        pending.on_answer(first, Resp::Two, &found(b"1"));
        pending.drain(&mut output);
        assert_eq!(text(&output), "$1\r\n1\r\n+A\r\n$1\r\n2\r\n+B\r\n");
        assert!(pending.is_empty());
        pending.on_answer(first, Resp::Two, &found(b"late"));
        pending.back(&mut output).append(|out| reply::simple(out, "C"));
        assert!(text(&output).ends_with("+B\r\n+C\r\n"));
    }

    #[test]
    fn a_sum_waits_for_all_its_parts() {
        let (mut pending, mut output) = (Pending::default(), Output::default());
        let id = pending.open(Want::Gather(Gather { sum: 2, ..Gather::default() }, false));
        pending.gather(id).unwrap().left = 2;
        pending.on_answer(id, Resp::Two, &Answer::Response(Response::Version(Version(1))));
        pending.close_gather(id);
        pending.drain(&mut output);
        assert!(output.is_empty());
        pending.on_answer(id, Resp::Two, &Answer::Response(Response::Version(Version(1))));
        pending.drain(&mut output);
        assert_eq!(text(&output), ":4\r\n");
    }

    #[test]
    fn a_failure_says_whether_anything_was_done() {
        let (mut pending, mut output) = (Pending::default(), Output::default());
        let (one, two) = (pending.open(Want::Set), pending.open(Want::Set));
        pending.on_answer(one, Resp::Two, &Answer::NotDone("no"));
        pending.on_answer(two, Resp::Two, &Answer::Unknown("gone"));
        pending.drain(&mut output);
        let expected = "-ERR no; the command was not carried out\r\n\
                        -UNKNOWN gone; the command may have been carried out\r\n";
        assert_eq!(text(&output), expected);
    }
}
