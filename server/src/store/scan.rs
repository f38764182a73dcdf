//! Scanning: one bounded step at a time.
//!
//! A step takes whole leaves, as far as its slots go. From a leaf it takes the entries at or past the cursor,
//! sorts them by hash, and emits them in *groups* (keys that share a cursor) until the page is full. As a leaf
//! covers a range of hashes and no group straddles leaves, it does not matter where probing put an entry, nor
//! what becomes of the leaf between two steps: the next step looks up the leaf that covers the cursor then.
//!
//! Invariants:
//! 1. A step emits exactly the entries whose cursor lies in [from, next) and whose key has the prefix, each once,
//!    in cursor order.
//! 2. `next > from` unless the scan is done: at least one group is passed.
//! 3. At most `STEP_SLOTS_MAX` slots are touched, at most `STEP_BYTES_MAX` bytes of values emitted; in a group that
//!    has more, the values that go beyond are left out.

use dht_protocol::cursor::Cursor;
use dht_protocol::ids::Version;
use dht_protocol::placement::hash::KeyHash;
use dht_protocol::value::ValueType;

use super::arena::{Address, View};
use super::directory::LeafAt;
use super::limits::{LEAF_ENTRIES_MAX, STEP_BYTES_MAX, STEP_SLOTS_MAX};
use super::pieces::Pieces;
use super::rehash::for_each_hashed;
use super::table::{HashKeys, Table};

/// How much a page may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageBounds {
    /// Most entries.
    pub entries_max: usize,
    /// Bytes of keys and values after which the page is closed.
    pub bytes_max: usize,
}

/// An entry on a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanItem<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The write that put the value there.
    pub version: Version,
    /// How to interpret the value.
    pub value_type: ValueType,
    /// The value; `None` where the page leaves it out: always if it is large, and where many keys share one
    /// cursor step that would copy too much.
    pub value: Option<&'a [u8]>,
    /// Length of the value, whether it is on the page or not.
    pub value_bytes: u32,
}

/// How far a step of a scan came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanStep {
    /// Where the next step goes on: everything before it was emitted. The partition's end when it is done.
    pub next: Cursor,
    /// Entries emitted.
    pub entries: usize,
    /// Bytes of keys and values emitted.
    pub bytes: usize,
    /// Slots touched.
    pub slots: usize,
}

/// A page being filled.
struct Page<'a> {
    bounds: PageBounds,
    prefix: &'a [u8],
    sink: &'a mut dyn FnMut(ScanItem<'_>),
    entries: usize,
    bytes: usize,
    /// Bytes of values among `bytes`.
    value_bytes: usize,
}

impl<H: HashKeys> Table<H> {
    /// One bounded step of a scan of this table's range: see [`super::Partition::scan_step`].
    pub(super) fn scan_step(
        &self,
        from: Cursor,
        bounds: PageBounds,
        prefix: &[u8],
        sink: &mut dyn FnMut(ScanItem<'_>),
    ) -> ScanStep {
        let end = self.span.end();
        let from = from.max(Cursor::of_hash(KeyHash(self.span.start)));
        let bounds = PageBounds {
            entries_max: bounds.entries_max.max(1),
            bytes_max: bounds.bytes_max.min(STEP_BYTES_MAX),
        };
        let mut page = Page { bounds, prefix, sink, entries: 0, bytes: 0, value_bytes: 0 };
        let mut slots = 0;
        let first = from.first_hash().filter(|_| from < end);
        let mut at = first.and_then(|hash| self.directory.locate(hash));
        let mut next = end;
        while let Some(leaf_at) = at {
            let leaf = self.directory.leaf(leaf_at);
            if slots + leaf.len() > STEP_SLOTS_MAX {
                next = Cursor::of_hash(KeyHash(leaf.start()));
                break;
            }
            slots += leaf.len();
            if let Some(stopped) = self.scan_leaf(leaf_at, from, &mut page) {
                next = stopped;
                break;
            }
            at = self.directory.next(leaf_at);
        }
        ScanStep { next, entries: page.entries, bytes: page.bytes, slots }
    }

    /// Emits the entries of one leaf from `from` on; says where it stopped if the page was full.
    fn scan_leaf(&self, at: LeafAt, from: Cursor, page: &mut Page<'_>) -> Option<Cursor> {
        let mut hashed = [(KeyHash(0), 0); LEAF_ENTRIES_MAX];
        let mut count = 0;
        for_each_hashed(self.directory.leaf(at), &self.pool, &self.arena, &self.hasher, |hash, offset| {
            if Cursor::of_hash(hash) >= from {
                hashed[count] = (hash, offset);
                count += 1;
            }
        });
        let hashed = &mut hashed[..count];
        hashed.sort_unstable();
        for group in hashed.chunk_by(|(a, _), (b, _)| Cursor::of_hash(*a) == Cursor::of_hash(*b)) {
            let cursor = Cursor::of_hash(group[0].0);
            if !self.scan_group(group, page) {
                return Some(cursor);
            }
        }
        None
    }

    /// Emits the keys that share a cursor, all or none; says whether they fitted.
    fn scan_group(&self, group: &[(KeyHash, u32)], page: &mut Page<'_>) -> bool {
        let (mut entries, mut bytes) = (0, 0);
        for &(_, offset) in group {
            let view = self.arena.view(Address(offset));
            if view.key.starts_with(page.prefix) {
                entries += 1;
                bytes += view.key.len() + if_inline(&view).map_or(0, |value| value.len());
            }
        }
        let fits =
            page.entries + entries <= page.bounds.entries_max && page.bytes + bytes <= page.bounds.bytes_max;
        if entries > 0 && page.entries > 0 && !fits {
            return false;
        }
        for &(_, offset) in group {
            let view = self.arena.view(Address(offset));
            if view.key.starts_with(page.prefix) {
                page.emit(&view);
            }
        }
        true
    }
}

fn if_inline<'a>(view: &View<'a>) -> Option<Pieces<'a>> {
    (!view.head.is_large).then_some(view.body)
}

impl Page<'_> {
    fn emit(&mut self, view: &View<'_>) {
        let left = STEP_BYTES_MAX - self.value_bytes;
        let value = if_inline(view).filter(|value| value.len() <= left);
        let copied = value.map_or(0, |value| value.len());
        self.entries += 1;
        self.value_bytes += copied;
        self.bytes += view.key.len() + copied;
        // What lies in two chunks is brought together first; a few entries in a hundred do.
        let (key_copy, value_copy);
        let key = match view.key.as_whole() {
            Some(key) => key,
            None => {
                key_copy = view.key.to_vec();
                &key_copy
            }
        };
        let value = match value.map(|value| (value.as_whole(), value)) {
            None => None,
            Some((Some(value), _)) => Some(value),
            Some((None, pieces)) => {
                value_copy = pieces.to_vec();
                Some(value_copy.as_slice())
            }
        };
        (self.sink)(ScanItem {
            key,
            version: view.version,
            value_type: view.head.value_type,
            value,
            value_bytes: view.head.value_bytes as u32,
        });
    }
}
