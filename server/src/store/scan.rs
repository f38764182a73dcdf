//! Scanning: one bounded step at a time.

use dht_protocol::cursor::Cursor;
use dht_protocol::ids::Version;
use dht_protocol::value::ValueType;

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
