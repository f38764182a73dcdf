//! Requests of doors that have no frames: each is asked with its hash known, and answered by value or straight into
//! the output. The same partitions, locks and refusals as for frames.

use std::array;

use dht_protocol::cursor::Cursor;
use dht_protocol::ids::{NodeId, Version};
use dht_protocol::op::Op;
use dht_protocol::placement::hash::KeyHash;
use dht_protocol::request::{Key, Request};
use dht_protocol::response::{Refusal, Response};
use dht_protocol::status::Status;
use dht_protocol::value::{ValueRef, ValueType};

use super::Dispatcher;
use super::ahead::Access;
use super::found::{FoundShape, show_found};
use super::held::Held;
use super::hosted::{Hosted, HostedInner};
use super::output::Output;
use super::session::Session;
use crate::limits::{GROUP_LOOKUPS_MAX, SCAN_SLOTS_MAX, SCAN_STEPS_MAX};
use crate::metrics::WorkerMetrics;
use crate::store::PageBounds;

/// Where a key lives.
#[derive(Clone, Copy)]
pub(crate) enum Home<'a> {
    /// Here, in this partition.
    Here(&'a Hosted),
    /// At that node.
    There(NodeId),
}

/// An entry written into a buffer of its own.
struct Copied<'a> {
    value: &'a mut Vec<u8>,
    found: Option<(Version, ValueType)>,
}

impl FoundShape for Copied<'_> {
    fn head(&mut self, version: Version, value_type: ValueType, _: usize, _: &mut Vec<u8>) {
        self.found = Some((version, value_type));
    }

    fn tail(&mut self, _: &mut Vec<u8>) {}
}

impl Dispatcher {
    /// The hash of a key.
    #[inline]
    pub(crate) fn hash_of(&self, key: Key<'_>) -> KeyHash {
        self.map().hash_key().hash(key.as_bytes())
    }

    /// Where the key of `hash` lives.
    #[inline]
    pub(crate) fn home_of(&self, hash: KeyHash) -> Home<'_> {
        match self.partitions().get(self.map().ring().partition_of(hash)) {
            Some(hosted) => Home::Here(hosted),
            None => Home::There(self.map().owners(hash).config.primary),
        }
    }

    /// Appends what `key` holds, in `shape`; `false`, and nothing is appended: there is no entry.
    #[inline]
    pub(crate) fn show(
        &self,
        hash: KeyHash,
        key: Key<'_>,
        hosted: &Hosted,
        output: &mut Output,
        shape: &mut impl FoundShape,
        metrics: &WorkerMetrics,
    ) -> bool {
        self.show_held(hash, key, &hosted.lock(), output, shape, metrics)
    }

    /// The same where its partition is held.
    #[inline]
    pub(crate) fn show_held(
        &self,
        hash: KeyHash,
        key: Key<'_>,
        inner: &HostedInner,
        output: &mut Output,
        shape: &mut impl FoundShape,
        metrics: &WorkerMetrics,
    ) -> bool {
        metrics.count_request(Op::Get);
        let found = show_found(&inner.store, hash, key, output, shape);
        metrics.count_answer(if found { Status::Ok } else { Status::NotFound });
        found
    }

    /// Asks for the memory that these look-ups, at most `GROUP_LOOKUPS_MAX`, will touch. Their partitions stay held where
    /// that pays: let go of them before anything that takes a lock, or makes a system call.
    pub(crate) fn look_ahead(&self, accesses: &[Access]) -> Option<Held<'_, Hosted>> {
        debug_assert!(accesses.len() <= GROUP_LOOKUPS_MAX);
        let held = self.hold(&array::from_fn(|number| accesses.get(number).copied()));
        self.may_hold_on().then_some(held)
    }

    /// Carries out a request on one key that lives here. A value that is found is copied into `value`.
    pub(crate) fn ask<'v>(
        &self,
        request: &Request<'_>,
        hash: KeyHash,
        hosted: &Hosted,
        value: &'v mut Vec<u8>,
        metrics: &WorkerMetrics,
    ) -> Response<'v> {
        metrics.count_request(request.op());
        let response = match *request {
            Request::Get { key } => self.copy(hash, key, hosted, value),
            _ => self.carry_out(&Session::default(), request, hash, hosted),
        };
        metrics.count_answer(response.status());
        response
    }

    fn copy<'v>(&self, hash: KeyHash, key: Key<'_>, hosted: &Hosted, value: &'v mut Vec<u8>) -> Response<'v> {
        value.clear();
        let mut output = Output::default();
        let mut copied = Copied { value, found: None };
        show_found(&hosted.lock().store, hash, key, &mut output, &mut copied);
        let Copied { value, found } = copied;
        let Some((version, value_type)) = found else {
            return Response::Refused(Refusal::of(Status::NotFound));
        };
        output.front(usize::MAX).for_each(|bytes| value.extend_from_slice(bytes));
        let bytes = value.as_slice();
        Response::Found { version, value: ValueRef { value_type, bytes } }
    }

    /// Names the keys held here that begin with `prefix` and lie at or past `from`, in bounded steps, until there are
    /// `keys_max` or enough slots have been looked at. Everything before the cursor that it gives has been named;
    /// [`Cursor::END`]: that was all.
    pub(crate) fn walk(
        &self,
        from: Cursor,
        keys_max: usize,
        prefix: &[u8],
        name: &mut dyn FnMut(&[u8]),
    ) -> Cursor {
        let ring = self.map().ring();
        let (mut cursor, mut slots, mut keys) = (from, 0, 0);
        for _ in 0..SCAN_STEPS_MAX {
            let Some(hash) = cursor.first_hash() else { return Cursor::END };
            let Home::Here(hosted) = self.home_of(hash) else {
                cursor = ring.cursor_end(ring.partition_of(hash));
                continue;
            };
            let bounds = PageBounds { entries_max: keys_max - keys, bytes_max: usize::MAX };
            let step = hosted.lock().store.scan_step(cursor, bounds, prefix, &mut |item| name(item.key));
            debug_assert!(step.next > cursor);
            cursor = step.next;
            keys += step.entries;
            slots += step.slots;
            if keys >= keys_max || slots >= SCAN_SLOTS_MAX {
                break;
            }
        }
        cursor
    }

    /// Entries held here. Cost: takes the lock of each partition once, for a moment.
    pub(crate) fn entries_count(&self) -> u64 {
        self.partitions().iter().map(|hosted| hosted.lock().store.usage().entries).sum()
    }
}
