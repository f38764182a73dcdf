//! What has been read from a peer and not yet been answered. No socket: bytes come in, frames go out.
//!
//! A worker reads into a buffer that all its connections share. What is left over, a started frame or frames that
//! wait until the peer takes its answers, is kept here. A frame longer than a few kilobytes is gathered here as it
//! arrives, so memory follows what has been sent, not what has been announced. Where the memory limit forbids
//! even that, the rest of the frame passes by unread and its request is refused. Whole frames that wait are never
//! given up: they are as many as one read brought, and a connection reads little once the limit is reached. At the
//! HTTP door there are heads in place of frames, each of them short. At the RESP door there are commands; one for which
//! there is no memory ends the connection.

use std::sync::Arc;

use dht_protocol::frame::{Cut, cut};
use dht_protocol::header::Header;
use dht_protocol::limits::{BODY_BYTES_MAX, HEADER_BYTES, LENGTH_FIELD_BYTES};

use super::door::Door;
use crate::limits::{
    GATHERED_FRAME_BYTES_MIN, HTTP_HEAD_BYTES_MAX, IDLE_BUFFER_BYTES_MAX, READ_BYTES_MAX_AT_MEMORY_LIMIT,
};
use crate::memory::{Charge, MemoryAccount, MemoryKind};
use crate::resp::{Measure, Measured};

/// Bytes not yet answered.
#[derive(Debug)]
pub(crate) struct Inbox {
    door: Door,
    kept: Vec<u8>,
    /// Covers the capacity of `kept`.
    charge: Charge,
    /// A frame for which there was no memory: bytes of it still to come, and its header.
    passing: Option<(usize, Header)>,
    /// How far the RESP command at the front has been looked at.
    measure: Measure,
    /// There was no memory for a RESP command.
    is_refused: bool,
}

impl Inbox {
    pub(crate) fn new(door: Door, memory: &Arc<MemoryAccount>) -> Inbox {
        let charge = Charge::empty(Arc::clone(memory), MemoryKind::Connections);
        Inbox {
            door,
            kept: Vec::new(),
            charge,
            passing: None,
            measure: Measure::default(),
            is_refused: false,
        }
    }

    /// Bytes kept.
    pub(crate) fn kept(&self) -> &[u8] {
        &self.kept
    }

    /// Whether part of a request has come. (Or whole ones that wait for the peer to take its answers.)
    pub(crate) fn is_started(&self) -> bool {
        !self.kept.is_empty() || self.passing.is_some()
    }

    /// What is kept is shorter than this, bytes, where no frame is gathered and nothing whole waits.
    pub(crate) fn start_bytes_max(&self) -> usize {
        match self.door {
            Door::Binary | Door::Resp => GATHERED_FRAME_BYTES_MIN,
            Door::Http => HTTP_HEAD_BYTES_MAX,
        }
    }

    /// Bytes that are missing from a frame that is gathered here; `None`: none is, and what is kept goes in front
    /// of the next bytes.
    pub(crate) fn missing_bytes(&mut self) -> Option<usize> {
        match self.door {
            Door::Binary => {}
            Door::Http => return None,
            Door::Resp => return self.missing_command_bytes(),
        }
        match cut(&self.kept, BODY_BYTES_MAX) {
            Cut::NeedMore { frame_bytes } if frame_bytes >= GATHERED_FRAME_BYTES_MIN => {
                Some(frame_bytes - self.kept.len())
            }
            Cut::NeedMore { .. } | Cut::Frame { .. } | Cut::Refused { .. } => None,
        }
    }

    /// The same at the RESP door, where what comes may also begin the next command.
    fn missing_command_bytes(&mut self) -> Option<usize> {
        match self.measure.go_on(&self.kept) {
            Measured::NeedMore(bytes) if bytes.max(self.kept.len() + 1) > GATHERED_FRAME_BYTES_MIN => {
                Some((bytes - self.kept.len()).max(READ_BYTES_MAX_AT_MEMORY_LIMIT))
            }
            Measured::NeedMore(_) | Measured::Whole => None,
        }
    }

    /// Whether the RESP command at the front is all there, or cannot become one.
    pub(crate) fn has_whole_command(&mut self) -> bool {
        !self.kept.is_empty() && self.measure.go_on(&self.kept) == Measured::Whole
    }

    /// Whether there was no memory for a RESP command: the connection must end.
    pub(crate) fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// Keeps `bytes`, the rest of what has been read, in place of what was kept.
    pub(crate) fn keep(&mut self, bytes: &[u8]) {
        self.kept.clear();
        self.measure = Measure::default();
        self.append(bytes);
        self.shrink();
    }

    /// Keeps `bytes` behind what is kept: no more than the frame that is gathered here misses. Where there is no
    /// memory for them, that frame begins to pass by; ask [`Inbox::swallow`] whether it has already.
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        let needed = self.kept.len() + bytes.len();
        if needed <= self.kept.capacity() || self.grow(needed, bytes) {
            self.kept.extend_from_slice(bytes);
        }
    }

    /// Takes the kept bytes out, to be given back with [`Inbox::put_back`].
    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.kept)
    }

    /// Gives back what [`Inbox::take`] took, less `used` bytes at its front.
    pub(crate) fn put_back(&mut self, mut bytes: Vec<u8>, used: usize) {
        if used > 0 {
            bytes.drain(..used);
            self.measure = Measure::default();
        }
        self.kept = bytes;
        self.shrink();
    }

    /// How many bytes at the front of `bytes` belong to a frame that passes by, and that frame's header when this
    /// was the last of it.
    pub(crate) fn swallow(&mut self, bytes: &[u8]) -> (usize, Option<Header>) {
        let Some((missing, header)) = self.passing else { return (0, None) };
        let count = missing.min(bytes.len());
        if count < missing {
            self.passing = Some((missing - count, header));
            (count, None)
        } else {
            self.passing = None;
            (count, Some(header))
        }
    }

    /// Makes room for `needed` bytes in all, `bytes` the last of them; `false`: there is none, and their frame
    /// passes by. What any connection may hold is taken even at the memory limit, and so is what whole frames take
    /// that wait for their answers: they have come, and are bounded by one read.
    fn grow(&mut self, needed: usize, bytes: &[u8]) -> bool {
        if self.door == Door::Resp {
            return self.grow_for_command(needed, bytes);
        }
        let gathered = self.front(bytes).filter(|&(frame_bytes, _)| {
            let whole_frames_wait = self.kept.is_empty() && frame_bytes <= bytes.len();
            needed > IDLE_BUFFER_BYTES_MAX && !whole_frames_wait
        });
        let capacity =
            gathered.map_or(needed, |(frame_bytes, _)| needed.next_power_of_two().min(frame_bytes));
        let more_bytes = (capacity as u64).saturating_sub(self.charge.bytes());
        match gathered {
            None => self.charge.grow_over_limit(more_bytes),
            Some((frame_bytes, header)) => {
                if self.charge.try_grow(more_bytes).is_err() {
                    self.kept = Vec::new();
                    self.shrink();
                    self.passing = Some((frame_bytes - needed, header));
                    return false;
                }
            }
        }
        self.kept.reserve_exact(capacity - self.kept.len());
        true
    }

    /// The same at the RESP door: a command for which there is no memory is given up, and the connection with it.
    fn grow_for_command(&mut self, needed: usize, bytes: &[u8]) -> bool {
        let whole_commands_wait = self.kept.is_empty() && Measure::default().go_on(bytes) == Measured::Whole;
        if needed <= IDLE_BUFFER_BYTES_MAX || whole_commands_wait {
            self.charge.grow_over_limit((needed as u64).saturating_sub(self.charge.bytes()));
            self.kept.reserve_exact(needed - self.kept.len());
            return true;
        }
        let capacity = match self.measure.go_on(&self.kept) {
            // Of a long string nearly all is still to come: no more than it takes.
            Measured::NeedMore(front) if front >= needed => needed.next_power_of_two().min(front),
            Measured::NeedMore(_) | Measured::Whole => needed.next_power_of_two(),
        };
        if self.charge.try_grow((capacity as u64).saturating_sub(self.charge.bytes())).is_err() {
            self.kept = Vec::new();
            self.shrink();
            self.is_refused = true;
            return false;
        }
        self.kept.reserve_exact(capacity - self.kept.len());
        true
    }

    /// Length and header of the frame at the front of what is kept and `bytes` behind it; `None` before all of its
    /// header is there. (Its length is within bounds: any other has ended the connection.)
    fn front(&self, bytes: &[u8]) -> Option<(usize, Header)> {
        match self.door {
            Door::Binary => {}
            // A head is short, and is never let pass; nor is a command.
            Door::Http | Door::Resp => return None,
        }
        let mut head = [0; HEADER_BYTES];
        let mut front = self.kept.iter().chain(bytes);
        for byte in &mut head {
            *byte = *front.next()?;
        }
        let (length, header) = Header::decode(&head);
        Some((LENGTH_FIELD_BYTES + length as usize, header))
    }

    fn shrink(&mut self) {
        if self.kept.is_empty() && self.kept.capacity() > IDLE_BUFFER_BYTES_MAX {
            self.kept = Vec::new();
        }
        self.charge.shrink_to(self.kept.capacity() as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dht_protocol::ids::{Epoch, RequestId};

    const HEADER: Header =
        Header { version: 1, code: 0x12, flags: 0, request_id: RequestId(7), epoch: Epoch(1) };

    fn frame(body_bytes: usize) -> Vec<u8> {
        let mut bytes = HEADER.encode(body_bytes).to_vec();
        bytes.resize(HEADER_BYTES + body_bytes, 7);
        bytes
    }

    #[test]
    fn a_long_frame_is_gathered_as_it_arrives_and_its_memory_goes_back() {
        let memory = MemoryAccount::new(10 << 20);
        let mut inbox = Inbox::new(Door::Binary, &memory);
        let whole = frame(1 << 20);
        inbox.keep(&whole[..20]);
        assert_eq!(inbox.missing_bytes(), Some(whole.len() - 20));
        assert!(memory.used_bytes() < 100, "the length is announced, the bytes are not there");
        for piece in whole[20..].chunks(100_000) {
            inbox.append(piece);
            assert!(memory.used_bytes() <= 2 * inbox.kept().len() as u64);
        }
        assert_eq!(inbox.missing_bytes(), None);
        let taken = inbox.take();
        assert!(taken == whole);
        inbox.put_back(taken, whole.len());
        assert_eq!(memory.used_bytes(), 0);
    }

    #[test]
    fn without_memory_a_long_frame_passes_by_and_the_next_one_is_read() {
        let memory = MemoryAccount::new(64 << 10);
        let mut inbox = Inbox::new(Door::Binary, &memory);
        let whole = frame(200_000);
        inbox.keep(&whole[..50_000]);
        inbox.append(&whole[50_000..70_000]);
        assert_eq!(inbox.missing_bytes(), None, "the frame is not gathered any more");
        assert!(inbox.is_started() && inbox.kept().is_empty());
        assert_eq!(memory.used_bytes(), 0);
        assert_eq!(inbox.swallow(&whole[70_000..170_000]), (100_000, None));
        let mut rest = whole[170_000..].to_vec();
        rest.extend(frame(3));
        assert_eq!(inbox.swallow(&rest), (whole.len() - 170_000, Some(HEADER)));
        assert_eq!(inbox.swallow(&frame(3)), (0, None));
        assert!(!inbox.is_started());
    }

    #[test]
    fn a_short_start_is_kept_even_at_the_limit() {
        let memory = MemoryAccount::new(1 << 20);
        memory.charge_over_limit(MemoryKind::Arena, 1 << 20);
        let mut inbox = Inbox::new(Door::Binary, &memory);
        let whole = frame(4_000);
        for byte in &whole[..whole.len() - 1] {
            inbox.append(&[*byte]);
        }
        assert_eq!(inbox.kept(), &whole[..whole.len() - 1]);
    }

    #[test]
    fn a_frame_whose_last_bytes_find_no_room_has_passed_by_at_once() {
        let memory = MemoryAccount::new(100_000);
        let mut inbox = Inbox::new(Door::Binary, &memory);
        let whole = frame(200_000);
        inbox.keep(&whole[..60_000]);
        inbox.append(&whole[60_000..]);
        assert_eq!(inbox.kept(), b"");
        assert_eq!(inbox.swallow(&[]), (0, Some(HEADER)));
        assert_eq!(inbox.swallow(&frame(3)), (0, None));
    }

    #[test]
    fn a_gathered_frame_takes_no_more_than_itself() {
        let memory = MemoryAccount::new(10 << 20);
        let mut inbox = Inbox::new(Door::Binary, &memory);
        let whole = frame(1_100_000);
        inbox.keep(&whole[..20]);
        whole[20..].chunks(100_000).for_each(|piece| inbox.append(piece));
        assert_eq!(inbox.kept().len(), whole.len());
        assert_eq!(memory.used_bytes(), whole.len() as u64);
    }

    #[test]
    fn whole_frames_that_wait_are_kept_even_at_the_limit() {
        let memory = MemoryAccount::new(1 << 20);
        memory.charge_over_limit(MemoryKind::Arena, 1 << 20);
        let mut inbox = Inbox::new(Door::Binary, &memory);
        let waiting = [frame(3_000), frame(3_000), frame(3_000)[..1_000].to_vec()].concat();
        inbox.keep(&waiting);
        assert_eq!(inbox.kept(), waiting);
        let taken = inbox.take();
        inbox.put_back(taken, waiting.len());
        assert_eq!(memory.used_bytes(), 1 << 20);
    }

    fn set(value_bytes: usize) -> Vec<u8> {
        let head = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${value_bytes}\r\n");
        [head.as_bytes(), &vec![7; value_bytes], b"\r\n"].concat()
    }

    #[test]
    fn a_long_command_is_gathered_as_it_arrives_and_its_memory_goes_back() {
        let memory = MemoryAccount::new(10 << 20);
        let mut inbox = Inbox::new(Door::Resp, &memory);
        let whole = set(1_100_000);
        inbox.keep(&whole[..40]);
        assert!(inbox.missing_bytes().is_some_and(|missing| missing >= whole.len() - 40));
        assert!(memory.used_bytes() < 100, "the length is announced, the bytes are not there");
        for piece in whole[40..].chunks(100_000) {
            assert!(!inbox.has_whole_command());
            inbox.append(piece);
            assert!(memory.used_bytes() <= 2 * inbox.kept().len() as u64);
        }
        assert!(inbox.has_whole_command() && inbox.missing_bytes().is_none());
        assert_eq!(memory.used_bytes(), whole.len() as u64, "no more than itself");
        let taken = inbox.take();
        assert!(taken == whole);
        inbox.put_back(taken, whole.len());
        assert_eq!(memory.used_bytes(), 0);
    }

    #[test]
    fn a_command_that_there_is_no_memory_for_is_given_up() {
        let memory = MemoryAccount::new(64 << 10);
        let mut inbox = Inbox::new(Door::Resp, &memory);
        let whole = set(200_000);
        inbox.keep(&whole[..50_000]);
        assert!(!inbox.is_refused());
        inbox.append(&whole[50_000..70_000]);
        assert!(inbox.is_refused() && inbox.kept().is_empty());
        assert_eq!(memory.used_bytes(), 0);
    }

    #[test]
    fn whole_commands_that_wait_are_kept_even_at_the_limit() {
        let memory = MemoryAccount::new(1 << 20);
        memory.charge_over_limit(MemoryKind::Arena, 1 << 20);
        let mut inbox = Inbox::new(Door::Resp, &memory);
        let waiting = [set(3_000), set(3_000), set(3_000)[..1_000].to_vec()].concat();
        inbox.keep(&waiting);
        assert_eq!(inbox.kept(), waiting);
        assert!(inbox.has_whole_command() && !inbox.is_refused());
        let taken = inbox.take();
        inbox.put_back(taken, waiting.len());
        assert_eq!(memory.used_bytes(), 1 << 20);
    }
}
