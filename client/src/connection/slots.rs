//! The unanswered requests of a connection. No socket, no lock.

use dht_protocol::header::Header;
use dht_protocol::ids::RequestId;

use crate::limits::{SLOT_BITS, SLOTS_MAX};
use crate::sync::Thread;

/// A response, not yet understood.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) header: Header,
    pub(crate) body: Vec<u8>,
}

/// The table. Grows to what was needed at once, at most `SLOTS_MAX`, and never shrinks.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u16>,
    /// Bit by slot: its caller is parked and nobody has woken it.
    parked: [u64; SLOTS_MAX / 64],
    /// Answers that found no slot.
    stale_count: u64,
}

#[derive(Debug)]
struct Slot {
    /// From 1; never 0, so that no request has id 0, which `HELLO` uses.
    generation: u32,
    state: SlotState,
}

#[derive(Debug)]
enum SlotState {
    Free,
    Waiting { caller: Thread, sent: bool },
    Answered(Answer),
}

const INDEX_MASK: u32 = SLOTS_MAX as u32 - 1;
const GENERATION_MAX: u32 = u32::MAX >> SLOT_BITS;

impl Slots {
    /// A slot for `caller`; `None` while all are taken.
    pub(crate) fn take(&mut self, caller: Thread) -> Option<RequestId> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.slots.len() < SLOTS_MAX => {
                self.slots.push(Slot { generation: 1, state: SlotState::Free });
                (self.slots.len() - 1) as u16
            }
            None => return None,
        };
        let slot = &mut self.slots[usize::from(index)];
        slot.state = SlotState::Waiting { caller, sent: false };
        Some(RequestId(slot.generation << SLOT_BITS | u32::from(index)))
    }

    /// Hands an answer to its caller and wakes it; an answer that nobody waits for is ignored and counted.
    pub(crate) fn deliver(&mut self, answer: Answer) {
        let id = answer.header.request_id;
        let Some(slot) = self.slot(id) else { return self.ignore_stale() };
        match std::mem::replace(&mut slot.state, SlotState::Answered(answer)) {
            SlotState::Waiting { caller, .. } => {
                self.set_parked(id, false);
                caller.unpark();
            }
            // A second answer to one request: the first one stands.
            first @ (SlotState::Free | SlotState::Answered(_)) => {
                slot.state = first;
                self.ignore_stale();
            }
        }
    }

    /// The answer, if it is there; the slot is free then.
    pub(crate) fn take_answer(&mut self, id: RequestId) -> Option<Answer> {
        let slot = self.slot(id)?;
        match std::mem::replace(&mut slot.state, SlotState::Free) {
            SlotState::Answered(answer) => {
                self.release(id);
                Some(answer)
            }
            waiting @ (SlotState::Waiting { .. } | SlotState::Free) => {
                slot.state = waiting;
                None
            }
        }
    }

    /// The caller waits no longer: frees its slot. Answers whether a byte of the request may have been written.
    pub(crate) fn give_up(&mut self, id: RequestId) -> bool {
        let Some(slot) = self.slot(id) else { return false };
        let sent = !matches!(slot.state, SlotState::Waiting { sent: false, .. });
        self.set_parked(id, false);
        self.release(id);
        sent
    }

    /// Says whether a byte of the request may have been written; answers whether anybody waits for it.
    pub(crate) fn set_sent(&mut self, id: RequestId, now_sent: bool) -> bool {
        match self.slot(id).map(|slot| &mut slot.state) {
            Some(SlotState::Waiting { sent, .. }) => {
                *sent = now_sent;
                true
            }
            Some(SlotState::Free | SlotState::Answered(_)) | None => false,
        }
    }

    /// The caller parks, or has come back from it.
    pub(crate) fn set_parked(&mut self, id: RequestId, parked: bool) {
        let index = (id.0 & INDEX_MASK) as usize;
        let bit = 1 << (index % 64);
        if parked {
            self.parked[index / 64] |= bit;
        } else {
            self.parked[index / 64] &= !bit;
        }
    }

    /// Wakes one parked caller; `false` when there is none.
    pub(crate) fn wake_one(&mut self) -> bool {
        let Some(word) = self.parked.iter().position(|word| *word != 0) else { return false };
        let index = word * 64 + self.parked[word].trailing_zeros() as usize;
        self.parked[word] &= self.parked[word] - 1;
        match self.slots.get(index).map(|slot| &slot.state) {
            Some(SlotState::Waiting { caller, .. }) => {
                caller.unpark();
                true
            }
            Some(SlotState::Free | SlotState::Answered(_)) | None => {
                debug_assert!(false, "a slot without a caller is parked");
                false
            }
        }
    }

    /// Wakes everybody.
    pub(crate) fn wake_all(&mut self) {
        self.parked = [0; SLOTS_MAX / 64];
        for slot in &self.slots {
            if let SlotState::Waiting { caller, .. } = &slot.state {
                caller.unpark();
            }
        }
    }

    /// Answers that came too late, or that nobody asked for.
    pub(crate) fn stale_count(&self) -> u64 {
        self.stale_count
    }

    fn slot(&mut self, id: RequestId) -> Option<&mut Slot> {
        let slot = self.slots.get_mut((id.0 & INDEX_MASK) as usize)?;
        (slot.generation == id.0 >> SLOT_BITS).then_some(slot)
    }

    fn release(&mut self, id: RequestId) {
        if let Some(slot) = self.slot(id) {
            slot.generation = if slot.generation == GENERATION_MAX { 1 } else { slot.generation + 1 };
            slot.state = SlotState::Free;
            self.free.push((id.0 & INDEX_MASK) as u16);
        }
    }

    fn ignore_stale(&mut self) {
        self.stale_count += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use dht_protocol::ids::Epoch;
    use dht_protocol::response::response_header;
    use dht_protocol::status::Status;

    use super::*;

    fn answer(id: RequestId) -> Answer {
        Answer { header: response_header(Status::Ok, id, Epoch(1)), body: vec![] }
    }

    #[test]
    fn a_late_answer_does_not_reach_the_next_request_in_the_slot() {
        let mut slots = Slots::default();
        let first = slots.take(thread::current()).unwrap();
        slots.set_sent(first, true);
        assert!(slots.give_up(first));
        let second = slots.take(thread::current()).unwrap();
        assert_eq!(first.0 & INDEX_MASK, second.0 & INDEX_MASK);
        slots.deliver(answer(first));
        assert_eq!((slots.take_answer(second), slots.stale_count()), (None, 1));
        slots.deliver(answer(second));
        slots.deliver(answer(second));
        assert_eq!(slots.take_answer(second), Some(answer(second)));
        assert_eq!((slots.take_answer(second), slots.stale_count()), (None, 2));
    }

    #[test]
    fn a_request_that_was_not_written_is_given_up_without_doubt() {
        let mut slots = Slots::default();
        let id = slots.take(thread::current()).unwrap();
        assert!(!slots.give_up(id));
        let id = slots.take(thread::current()).unwrap();
        slots.set_sent(id, true);
        slots.set_sent(id, false);
        assert!(!slots.give_up(id));
    }

    #[test]
    fn the_table_is_bounded_and_every_slot_comes_back() {
        let mut slots = Slots::default();
        let ids: Vec<_> = (0..SLOTS_MAX).map(|_| slots.take(thread::current()).unwrap()).collect();
        assert_eq!(slots.take(thread::current()), None);
        for id in ids {
            slots.give_up(id);
        }
        assert!((0..SLOTS_MAX).all(|_| slots.take(thread::current()).is_some()));
    }

    #[test]
    fn generations_wrap_past_zero() {
        let mut slots = Slots::default();
        let id = slots.take(thread::current()).unwrap();
        slots.give_up(id);
        slots.slots[0].generation = GENERATION_MAX;
        let last = slots.take(thread::current()).unwrap();
        assert_eq!(last.0, !INDEX_MASK);
        slots.give_up(last);
        assert_eq!(slots.take(thread::current()), Some(RequestId(1 << SLOT_BITS)));
    }

    #[test]
    fn answers_to_ids_that_never_were_are_ignored() {
        let mut slots = Slots::default();
        for id in [0, 1, 1 << SLOT_BITS, u32::MAX] {
            slots.deliver(answer(RequestId(id)));
        }
        assert_eq!(slots.stale_count(), 4);
    }
}
