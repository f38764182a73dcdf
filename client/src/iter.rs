//! Iteration over all entries of the cluster: page by page, node by node, one page in memory.
//!
//! 1. `pending` holds the partitions that are not done with. `cursor` says how far the first of them is; no other
//!    has been begun.
//! 2. A page covers the first partitions of `pending` up to one of another owner. Under a newer map `pending` is
//!    sorted again, the first partition staying first, so that each page covers as much as it can.
//! 3. A page is asked for by cursor and the node keeps nothing, so asking again, there or elsewhere, gives every
//!    key once.

use std::collections::VecDeque;
use std::sync::Arc;

use dht_protocol::cursor::Cursor;
use dht_protocol::error::Malformed;
use dht_protocol::ids::{Epoch, NodeId, PartitionId, Version};
use dht_protocol::limits::{KEY_BYTES_MAX, SCAN_PAGE_ENTRIES_MAX, SCAN_PARTITIONS_MAX};
use dht_protocol::placement::map::ClusterMap;
use dht_protocol::placement::ring::Ring;
use dht_protocol::request::{PartitionList, Request, Scan};
use dht_protocol::response::{Page, Response};
use dht_protocol::status::Status;
use dht_protocol::value::ValueRef;
use serde::de::DeserializeOwned;

use crate::call::{Core, Operation};
use crate::client::OnKey;
use crate::error::{Error, Outcome, Result};
use crate::key::Key;
use crate::limits::PAGE_ENTRIES_DEFAULT;
use crate::typed;
use crate::value::Value;

/// All entries of the cluster, or those under a prefix: [`Client::iter`](crate::Client::iter).
///
/// Every key that is there from start to end comes exactly once; one that is written or deleted meanwhile comes
/// once or not at all. An error comes once and ends the iteration.
#[derive(Debug)]
pub struct Iter {
    core: Arc<Core>,
    scan: ScanPages,
    page: VecDeque<Fetched>,
    failed: bool,
}

/// One entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its key.
    pub key: Key,
    /// Its state.
    pub version: Version,
    /// Its value.
    pub value: Value,
}

/// An entry of a page, copied out of it.
#[derive(Debug)]
struct Fetched {
    key: Vec<u8>,
    version: Version,
    /// `None`: the page left it out.
    value: Option<Value>,
}

/// Where the iteration is.
#[derive(Debug)]
struct ScanPages {
    prefix: Vec<u8>,
    page_entries: usize,
    pending: VecDeque<PartitionId>,
    cursor: Cursor,
    /// The map under which `pending` is sorted.
    epoch: Epoch,
    ring: Ring,
    /// The partitions of the page that is being asked for, as they travel.
    asked: Vec<[u8; 4]>,
}

impl Iter {
    pub(crate) fn new(core: Arc<Core>) -> Iter {
        let map = core.router.map();
        let scan = ScanPages {
            prefix: Vec::new(),
            page_entries: PAGE_ENTRIES_DEFAULT,
            pending: map.ring().partitions().collect(),
            cursor: Cursor::START,
            epoch: Epoch(0),
            ring: map.ring(),
            asked: Vec::new(),
        };
        Iter { core, scan, page: VecDeque::new(), failed: false }
    }

    /// Only keys that begin with `prefix`. To be said before the first entry is taken.
    #[must_use]
    pub fn prefix(mut self, prefix: impl AsRef<[u8]>) -> Iter {
        self.scan.prefix = prefix.as_ref().to_vec();
        self
    }

    /// Most entries that are fetched at once, 1 to 4,096; 1,024 unless told otherwise.
    #[must_use]
    pub fn page_size(mut self, entries: usize) -> Iter {
        self.scan.page_entries = entries.clamp(1, SCAN_PAGE_ENTRIES_MAX);
        self
    }

    fn next_entry(&mut self) -> Result<Option<Entry>> {
        loop {
            while let Some(Fetched { key, version, value }) = self.page.pop_front() {
                match value {
                    Some(value) => return Ok(Some(Entry { key: Key::from(key), version, value })),
                    None => {
                        if let Some((version, value)) = self.fetch_value(&key)? {
                            return Ok(Some(Entry { key: Key::from(key), version, value }));
                        }
                    }
                }
            }
            if self.scan.pending.is_empty() {
                return Ok(None);
            }
            self.fetch_page()?;
        }
    }

    fn fetch_page(&mut self) -> Result<()> {
        let bytes = self.scan.prefix.len();
        if bytes > KEY_BYTES_MAX {
            return Err(Error::TooLarge { what: "prefix", bytes, bytes_max: KEY_BYTES_MAX });
        }
        let (partitions_done, next, page) = self.core.call(&mut self.scan, |response| match response {
            Response::Page(page) => Some(Ok((page.partitions_done, page.next, copy_out(&page)))),
            _ => None,
        })?;
        self.scan.on_page(usize::from(partitions_done), next).map_err(|problem| Error::Protocol {
            outcome: Outcome::NotDone,
            address: "a node".to_owned(),
            problem,
        })?;
        self.page = page;
        Ok(())
    }

    /// A value that its page left out; `None` when the entry is gone.
    fn fetch_value(&self, key: &[u8]) -> Result<Option<(Version, Value)>> {
        let malformed = |_| Error::Protocol {
            outcome: Outcome::NotDone,
            address: "a node".to_owned(),
            problem: Malformed("key in a page"),
        };
        let key = dht_protocol::request::Key::new(key).map_err(malformed)?;
        self.core.call(&mut OnKey { key, request: Request::Get { key } }, |response| match response {
            Response::Found { version, value } => Some(Ok(Some((version, Value::from(value))))),
            Response::Refused(refusal) if refusal.status() == Status::NotFound => Some(Ok(None)),
            _ => None,
        })
    }
}

impl Iterator for Iter {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        if self.failed {
            return None;
        }
        let next = self.next_entry().transpose();
        self.failed = matches!(next, Some(Err(_)));
        next
    }
}

impl std::iter::FusedIterator for Iter {}

impl Entry {
    /// The value as a `T`.
    ///
    /// # Errors
    /// [`Error::Decode`] when it is none.
    pub fn get<T: DeserializeOwned>(&self) -> Result<T> {
        let (tag, bytes) = self.value.to_wire();
        match ValueRef::new(tag, &bytes) {
            Ok(value) => typed::decode(value),
            // Only a value that the caller has put there by hand.
            Err(error) => Err(Error::Encode { reason: error.to_string() }),
        }
    }
}

fn copy_out(page: &Page<'_>) -> VecDeque<Fetched> {
    page.entries()
        .map(|entry| Fetched {
            key: entry.key.to_vec(),
            version: entry.version,
            value: entry.value.map(|bytes| Value::from_wire(entry.value_type, bytes)),
        })
        .collect()
}

impl Operation for ScanPages {
    fn route(&mut self, map: &ClusterMap) -> NodeId {
        if map.epoch() != self.epoch {
            self.sort_under(map);
        }
        let owner = |partition: PartitionId| map.partition(partition).map(|config| config.primary);
        let first = self.pending.front().copied().and_then(owner);
        self.asked.clear();
        self.asked.extend(
            self.pending
                .iter()
                .take(SCAN_PARTITIONS_MAX)
                .take_while(|partition| owner(**partition) == first)
                .map(|partition| partition.0.to_be_bytes()),
        );
        // There is a first partition whenever a page is asked for, and the map has an owner for each.
        first.unwrap_or(NodeId(u32::MAX))
    }

    fn request(&self) -> Request<'_> {
        Request::Scan(Scan {
            cursor: self.cursor,
            entries_max: self.page_entries as u32,
            prefix: &self.prefix,
            partitions: PartitionList::from_wire(&self.asked),
        })
    }
}

impl ScanPages {
    /// Brings what is left to do into the shape of `map` (rule 2).
    fn sort_under(&mut self, map: &ClusterMap) {
        self.split_arcs(map.ring());
        let owner = |partition: PartitionId| map.partition(partition).map(|config| config.primary);
        if let Some(first) = self.pending.front().copied() {
            let key = |partition: &PartitionId| {
                let owner_now = owner(*partition);
                (*partition != first, owner_now != owner(first), owner_now, *partition)
            };
            self.pending.make_contiguous().sort_unstable_by_key(key);
            if self.epoch == Epoch(0) {
                self.cursor = self.ring.cursor_start(first);
            }
        }
        self.epoch = map.epoch();
    }

    /// A ring whose arcs were split has several in place of each; those that the cursor has passed are done.
    fn split_arcs(&mut self, ring: Ring) {
        let log2 = ring.partitions_log2().saturating_sub(self.ring.partitions_log2());
        if log2 == 0 {
            return;
        }
        let parts =
            |partition: &PartitionId| (partition.0 << log2..(partition.0 + 1) << log2).map(PartitionId);
        let mut split: VecDeque<_> = self.pending.iter().flat_map(parts).collect();
        while split.front().is_some_and(|first| ring.cursor_end(*first) <= self.cursor) {
            split.pop_front();
        }
        self.pending = split;
        self.ring = ring;
    }

    /// A page has come: moves on, if the node moved on at all.
    fn on_page(&mut self, partitions_done: usize, next: Cursor) -> std::result::Result<(), Malformed> {
        if partitions_done > self.asked.len() {
            return Err(Malformed("more partitions done than were asked for"));
        }
        self.pending.drain(..partitions_done);
        let Some(first) = self.pending.front().copied() else { return Ok(()) };
        if partitions_done == self.asked.len() {
            self.cursor = self.ring.cursor_start(first);
            return Ok(());
        }
        let (start, end) = (self.ring.cursor_start(first), self.ring.cursor_end(first));
        if next < start || next > end || (partitions_done == 0 && next <= self.cursor) {
            return Err(Malformed("next cursor of a page"));
        }
        self.cursor = next;
        Ok(())
    }
}
