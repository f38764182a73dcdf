//! What is going to happen, in order of true time, and of its being planned where that is the same.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::injected::Ending;
use super::process::Datagram;
use super::session::SessionId;

/// One millisecond of true time.
pub(super) const MS: u64 = 1_000_000;
/// One second of true time.
pub(super) const SECOND: u64 = 1_000 * MS;

/// Something that happens.
#[derive(Debug)]
pub(super) enum Event {
    /// A node's turn, by its own clock; `start` says which start of it.
    NodeTick { node: u16, start: u32 },
    /// The coordinator's turn.
    CoordinatorTick { start: u32 },
    /// A message between processes arrives.
    Datagram { to: u16, datagram: Datagram },
    /// What lies first in a connection arrives at its node.
    Up(SessionId),
    /// What lies first in a connection arrives at its client.
    Down(SessionId),
    /// The coordinator's store has come to an end with what it was asked.
    Stored { start: u32 },
    /// The coordinator's store answers with what it holds.
    Read { start: u32 },
    /// A client's slot is done waiting.
    Slot { client: u16, slot: u16, generation: u32 },
    /// Time for another fault.
    Strike,
    /// A fault ends, or goes on.
    Ending(Ending),
    /// Time for a look at everything.
    Inspect,
}

struct Entry {
    at: u64,
    sequence: u64,
    event: Event,
}

/// The queue, and true time: that of the event taken last, nanoseconds from the start.
#[derive(Default)]
pub(super) struct Queue {
    now: u64,
    sequence: u64,
    heap: BinaryHeap<Reverse<Entry>>,
}

impl Queue {
    /// True time.
    pub(super) const fn now(&self) -> u64 {
        self.now
    }

    /// Plans `event` for so many nanoseconds from now.
    pub(super) fn after(&mut self, span: u64, event: Event) {
        self.at(self.now + span, event);
    }

    /// Plans `event`; what lies in the past happens next.
    pub(super) fn at(&mut self, at: u64, event: Event) {
        self.sequence += 1;
        self.heap.push(Reverse(Entry { at: at.max(self.now), sequence: self.sequence, event }));
    }

    /// The next event; true time moves on to it.
    pub(super) fn pop(&mut self) -> Option<Event> {
        let Reverse(entry) = self.heap.pop()?;
        self.now = entry.at;
        Some(entry.event)
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.sequence == other.sequence
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Entry) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_planned_first_happens_first() {
        let mut queue = Queue::default();
        queue.after(5, Event::CoordinatorTick { start: 2 });
        queue.after(5, Event::CoordinatorTick { start: 3 });
        queue.after(1, Event::CoordinatorTick { start: 1 });
        for expected in 1..=3 {
            assert!(matches!(queue.pop(), Some(Event::CoordinatorTick { start }) if start == expected));
        }
        assert_eq!(queue.now(), 5);
        queue.at(2, Event::Strike);
        assert!(queue.pop().is_some() && queue.pop().is_none());
        assert_eq!(queue.now(), 5);
    }
}
