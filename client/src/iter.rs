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
use dht_protocol::placement::hash::HashKey;
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
use crate::limits::{ITER_ERRORS_IN_A_ROW_MAX, PAGE_ENTRIES_DEFAULT};
use crate::typed;
use crate::value::Value;

/// All entries of the cluster, or those under a prefix: [`Client::iter`](crate::Client::iter).
///
/// Every key that is there from start to end comes exactly once; one that is written or deleted meanwhile comes
/// once or not at all.
///
/// An error does not end it: the next call asks once more for what could not be fetched, and goes on from there, so
/// that nothing is passed over and nothing comes twice. A loop that wants the whole or nothing stops at the first
/// error (`let entry = entry?`). It ends after 8 errors in a row with no entry between, and after a prefix that no key
/// can have.
#[derive(Debug)]
pub struct Iter {
    core: Arc<Core>,
    scan: ScanPages,
    page: VecDeque<Fetched>,
    /// Errors since the last entry.
    errors_in_a_row: u32,
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
        Iter { core, scan, page: VecDeque::new(), errors_in_a_row: 0 }
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
            while let Some(first) = self.page.front_mut() {
                let found = match first.value.take() {
                    Some(value) => Some((first.version, value)),
                    // It leaves the page once its value has come, so that an error loses nothing.
                    None => fetch_value(&self.core, &first.key)?,
                };
                let first = self.page.pop_front();
                if let (Some(Fetched { key, .. }), Some((version, value))) = (first, found) {
                    return Ok(Some(Entry { key: Key::from(key), version, value }));
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
        let map = self.core.router.map();
        let hash_key = (map.nodes().len() > 1).then(|| map.hash_key());
        let checked = self.scan.check_page(usize::from(partitions_done), next).and_then(|()| {
            page.iter().try_for_each(|entry| {
                self.scan.check_key(&entry.key, hash_key, usize::from(partitions_done), next)
            })
        });
        checked.map_err(malformed)?;
        self.scan.on_page(usize::from(partitions_done), next);
        self.page = page;
        Ok(())
    }
}

fn malformed(problem: Malformed) -> Error {
    Error::Protocol { outcome: Outcome::NotDone, address: "a node".to_owned(), problem }
}

/// A value that its page left out; `None` when the entry is gone.
fn fetch_value(core: &Core, key: &[u8]) -> Result<Option<(Version, Value)>> {
    let key = dht_protocol::request::Key::new(key).map_err(|_| malformed(Malformed("key in a page")))?;
    core.call(&mut OnKey { key, request: Request::Get { key } }, |response| match response {
        Response::Found { version, value } => Some(Ok(Some((version, Value::from(value))))),
        Response::Refused(refusal) if refusal.status() == Status::NotFound => Some(Ok(None)),
        _ => None,
    })
}

impl Iterator for Iter {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        if self.errors_in_a_row >= ITER_ERRORS_IN_A_ROW_MAX {
            return None;
        }
        let next = self.next_entry().transpose();
        self.errors_in_a_row = match &next {
            Some(Err(Error::TooLarge { what: "prefix", .. })) => ITER_ERRORS_IN_A_ROW_MAX,
            Some(Err(_)) => self.errors_in_a_row + 1,
            Some(Ok(_)) | None => 0,
        };
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

    /// Whether a page says that it ends within what was asked for, and past where it began: a node that does not
    /// move on would keep its client for ever.
    fn check_page(&self, partitions_done: usize, next: Cursor) -> std::result::Result<(), Malformed> {
        if partitions_done > self.asked.len() {
            return Err(Malformed("more partitions done than were asked for"));
        }
        if partitions_done == self.asked.len() {
            return Ok(());
        }
        let begun = self.pending[partitions_done];
        let (start, end) = (self.ring.cursor_start(begun), self.ring.cursor_end(begun));
        if next < start || next > end || (partitions_done == 0 && next <= self.cursor) {
            return Err(Malformed("next cursor of a page"));
        }
        Ok(())
    }

    /// Whether a key belongs on the page that was asked for. A node on its own draws a hash key at each start, and
    /// the client may hold an older one; so where a key stands is looked at only with a `hash_key` that is known.
    fn check_key(
        &self,
        key: &[u8],
        hash_key: Option<HashKey>,
        partitions_done: usize,
        next: Cursor,
    ) -> std::result::Result<(), Malformed> {
        if !key.starts_with(&self.prefix) || dht_protocol::request::Key::new(key).is_err() {
            return Err(Malformed("a page with a key that was not asked for"));
        }
        let Some(hash_key) = hash_key else { return Ok(()) };
        let hash = hash_key.hash(key);
        let (at, partition) = (Cursor::of_hash(hash), self.ring.partition_of(hash));
        // The first goes on from a page before; the others stand in their order (rule 2).
        let place = if self.pending.front() == Some(&partition) {
            (at >= self.cursor).then_some(0)
        } else {
            let others = self.asked.get(1..).unwrap_or_default();
            others.binary_search(&partition.0.to_be_bytes()).ok().map(|place| place + 1)
        };
        match place {
            Some(place) if place < partitions_done || (place == partitions_done && at < next) => Ok(()),
            Some(_) | None => Err(Malformed("a page with a key from elsewhere")),
        }
    }

    /// A page has come, and was checked: moves on.
    fn on_page(&mut self, partitions_done: usize, next: Cursor) {
        let is_whole = partitions_done == self.asked.len();
        self.pending.drain(..partitions_done);
        let Some(first) = self.pending.front().copied() else { return };
        self.cursor = if is_whole { self.ring.cursor_start(first) } else { next };
        if !is_whole && next == self.ring.cursor_end(first) {
            self.pending.pop_front();
            self.cursor = self.pending.front().map_or(Cursor::END, |first| self.ring.cursor_start(*first));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, OnceLock};

    use super::*;
    use crate::Client;
    use crate::sync::lock;
    use crate::testing::{CLUSTER, FakeNode, FakeStore, Reply, map_of};

    /// Three nodes that each have all entries and answer for the partitions that they are asked for.
    fn three_nodes(inline_bytes_max: usize) -> (Vec<FakeNode>, Arc<FakeStore>, Client) {
        let store = Arc::new(FakeStore::new(inline_bytes_max));
        let scripts = (0..3).map(|_| {
            let store = Arc::clone(&store);
            Box::new(move |asked: &crate::testing::Asked<'_>| store.answer(asked)) as Box<_>
        });
        let nodes = FakeNode::cluster(scripts.collect());
        let client = Client::connect(&nodes[1].address).unwrap();
        (nodes, store, client)
    }

    fn keys(iter: Iter) -> Vec<String> {
        iter.map(|entry| entry.unwrap().key.to_string()).collect()
    }

    fn once_each(keys: Vec<String>) -> BTreeSet<String> {
        let count = keys.len();
        let set = BTreeSet::from_iter(keys);
        assert_eq!(set.len(), count, "a key came twice");
        set
    }

    #[test]
    fn every_key_once_whatever_the_page_size() {
        let (_nodes, _, client) = three_nodes(100);
        let all: BTreeSet<_> = (0..200).map(|number| format!("key{number}")).collect();
        for key in &all {
            client.put(key, &1).unwrap();
        }
        for page_size in [0, 1, 7, 200, 1_000_000] {
            assert_eq!(once_each(keys(client.iter().page_size(page_size))), all, "{page_size}");
        }
        let some = once_each(keys(client.iter().prefix("key19").page_size(2)));
        assert_eq!(some.len(), 11);
        assert!(keys(client.iter().prefix("none")).is_empty());
    }

    #[test]
    fn an_empty_cluster_has_no_entries() {
        let (_nodes, _, client) = three_nodes(100);
        let mut iter = client.iter();
        assert!(iter.next().is_none() && iter.next().is_none());
    }

    #[test]
    fn values_left_out_of_the_page_are_fetched_and_skipped_when_gone() {
        let (_nodes, store, client) = three_nodes(10);
        client.put("long", &"x".repeat(1_000)).unwrap();
        client.put("gone", &"y".repeat(1_000)).unwrap();
        client.put("short", "z").unwrap();
        let mut seen = BTreeSet::new();
        let iter = client.iter();
        for entry in iter {
            store.remove("gone");
            let entry = entry.unwrap();
            assert_eq!(entry.value.to_string(), entry.get::<String>().unwrap());
            seen.insert((entry.key.to_string(), entry.get::<String>().unwrap().len()));
        }
        seen.retain(|(key, _)| key != "gone");
        assert_eq!(seen, BTreeSet::from([("long".to_owned(), 1_000), ("short".to_owned(), 1)]));
    }

    #[test]
    fn a_new_map_in_the_middle_neither_repeats_nor_misses_a_key() {
        let store = Arc::new(FakeStore::new(100));
        let moved = Arc::new(AtomicBool::new(false));
        let nodes = Arc::new(OnceLock::<Vec<FakeNode>>::new());
        let scripts = (0..2).map(|node| {
            let (store, moved, nodes) = (Arc::clone(&store), Arc::clone(&moved), Arc::clone(&nodes));
            Box::new(move |asked: &crate::testing::Asked<'_>| {
                if let Request::Scan(scan) = asked.request
                    && moved.load(Ordering::Relaxed)
                    && node == 1
                {
                    // Node 1 has given everything to node 0.
                    assert!(!scan.partitions.is_empty());
                    let addresses: Vec<_> =
                        nodes.get().unwrap().iter().map(|node| node.address.as_str()).collect();
                    let all_to_0 = map_of(CLUSTER, 2, &addresses[..1]);
                    lock(&nodes.get().unwrap()[1].identity).map = all_to_0;
                    return asked.send(&Response::Refused(dht_protocol::response::Refusal::NotOwner(
                        dht_protocol::response::NotOwner {
                            partition: PartitionId(0),
                            config: dht_protocol::placement::map::PartitionConfig {
                                cfg: dht_protocol::ids::Cfg::new(1),
                                primary: NodeId(0),
                            },
                        },
                    )));
                }
                store.answer(asked)
            }) as Box<_>
        });
        assert!(nodes.set(FakeNode::cluster(scripts.collect())).is_ok());
        let client = Client::connect(&nodes.get().unwrap()[0].address).unwrap();
        let all: BTreeSet<_> = (0..100).map(|number| format!("key{number}")).collect();
        for key in &all {
            client.put(key, &1).unwrap();
        }
        let mut seen = Vec::new();
        for entry in client.iter().page_size(3) {
            seen.push(entry.unwrap().key.to_string());
            // Half of the keys are node 1's, so some of its pages have come and some have not.
            moved.store(seen.len() > 70, Ordering::Relaxed);
        }
        assert_eq!(once_each(seen), all);
        assert_eq!(client.map().epoch(), Epoch(2));
    }

    #[test]
    fn errors_in_a_row_end_the_iteration_in_the_end() {
        let node = FakeNode::alone(|asked| asked.refuse(Status::OutOfMemory));
        let client = Client::connect(&node.address).unwrap();
        let mut iter = client.iter();
        for _ in 0..ITER_ERRORS_IN_A_ROW_MAX {
            assert!(matches!(iter.next(), Some(Err(Error::Refused { status: Status::OutOfMemory, .. }))));
        }
        assert!(iter.next().is_none() && iter.next().is_none());
        let mut too_long = client.iter().prefix([b'a'; 70_000]);
        assert!(matches!(too_long.next(), Some(Err(Error::TooLarge { what: "prefix", .. }))));
        assert!(too_long.next().is_none());
    }

    #[test]
    fn after_an_error_the_iteration_goes_on_where_it_was() {
        let store = Arc::new(FakeStore::new(10));
        // Every second question is refused, be it for a page or for a value that its page left out.
        let node = FakeNode::alone(move |asked| match asked.request {
            Request::Scan(_) | Request::Get { .. } if asked.number % 2 == 0 => {
                asked.refuse(Status::OutOfMemory)
            }
            _ => store.answer(asked),
        });
        let client = Client::connect(&node.address).unwrap();
        let all: BTreeSet<_> = (0..20).map(|number| format!("key{number}")).collect();
        for (number, key) in all.iter().enumerate() {
            client.put(key, &"v".repeat(number)).unwrap();
        }
        let (mut seen, mut errors) = (Vec::new(), 0);
        for entry in client.iter().page_size(3) {
            match entry {
                Ok(entry) => seen.push(entry.key.to_string()),
                Err(error) => {
                    assert!(matches!(error, Error::Refused { status: Status::OutOfMemory, .. }), "{error}");
                    errors += 1;
                }
            }
        }
        assert_eq!(once_each(seen), all);
        assert!(errors > 10, "{errors}");
    }

    #[test]
    fn keys_that_were_not_asked_for_are_an_error() {
        // Both nodes answer with the same key and say that they are done, whatever they are asked.
        fn answers(key: &'static [u8]) -> Vec<FakeNode> {
            let script = move |asked: &crate::testing::Asked<'_>| {
                let Request::Scan(scan) = asked.request else { panic!("{:?}", asked.request) };
                let mut out = Vec::new();
                let mut page =
                    dht_protocol::response::PageWriter::begin(asked.header.request_id, asked.epoch, &mut out);
                let value_type = dht_protocol::value::ValueType::TEXT;
                let entry = dht_protocol::response::PageEntry {
                    key,
                    version: Version(1),
                    value_type,
                    value_bytes: 0,
                    value: Some(b""),
                };
                page.push(&entry, &mut out);
                page.finish(scan.partitions.len() as u16, Cursor::END, &mut out);
                Reply::Send(out)
            };
            FakeNode::cluster(vec![Box::new(script), Box::new(script)])
        }
        let nodes = answers(b"foreign");
        let client = Client::connect(&nodes[0].address).unwrap();
        let mut outside = client.iter().prefix("mine");
        assert!(matches!(outside.next(), Some(Err(Error::Protocol { .. }))));
        let results: Vec<_> = client.iter().map(|entry| entry.map(|entry| entry.key.to_string())).collect();
        let (good, bad): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        assert!(good.len() <= 1, "a key that one of them holds came twice: {good:?}");
        assert_eq!(bad.len(), ITER_ERRORS_IN_A_ROW_MAX as usize);
        let reserved = answers(b"\xFF");
        let client = Client::connect(&reserved[0].address).unwrap();
        assert!(matches!(client.iter().next(), Some(Err(Error::Protocol { .. }))));
    }

    #[test]
    fn a_node_that_does_not_move_on_is_an_error_and_no_endless_loop() {
        let node = FakeNode::alone(|asked| {
            let mut out = Vec::new();
            let page =
                dht_protocol::response::PageWriter::begin(asked.header.request_id, asked.epoch, &mut out);
            page.finish(0, Cursor::START, &mut out);
            Reply::Send(out)
        });
        let client = Client::connect(&node.address).unwrap();
        assert!(matches!(client.iter().next(), Some(Err(Error::Protocol { .. }))));
    }

    #[test]
    fn split_arcs_go_on_where_the_cursor_is() {
        let (_nodes, _, client) = three_nodes(100);
        let mut scan = client.iter().scan;
        let sixteen = scan.ring;
        scan.pending.drain(..3);
        scan.cursor = Cursor::new(sixteen.cursor_start(PartitionId(3)).get() + 1).unwrap();
        let thirty_two = Ring::new(32).unwrap();
        scan.split_arcs(thirty_two);
        assert_eq!(
            scan.pending.iter().copied().collect::<Vec<_>>(),
            (6..32).map(PartitionId).collect::<Vec<_>>()
        );
        scan.cursor = thirty_two.cursor_start(PartitionId(7));
        scan.split_arcs(Ring::new(64).unwrap());
        assert_eq!(scan.pending.front(), Some(&PartitionId(14)));
    }
}
