//! How an entry lies in the arena. The only file that knows.
//!
//! ```text
//!   0       1      2            10                          12 / 16
//!   ┌───────┬──────┬────────────┬─────────────┬─────────────┬────────┬─────┬──────┬─────┐
//!   │ flags │ type │ version: 8 │ key len     │ value len   │ hash:8 │ key │ body │ pad │
//!   └───────┴──────┴────────────┴─────────────┴─────────────┴────────┴─────┴──────┴─────┘
//!                                 1, or 2 wide  1, or 4 wide  HASHED         value, or 4 bytes: where the
//!                                                                            large value is kept
//! ```
//!
//! Invariants:
//! 1. An entry's length, padding included, follows from its own bytes, dead or not: a segment can be walked.
//! 2. `WIDE` is set if and only if a length needs it or the value is large, `HASHED` if and only if the key is
//!    long: the same content always takes the same room.
//! 3. Flag bits 4 to 7 are 0; they are kept for expiry.

use byteorder::{ByteOrder, LittleEndian};
use dht_protocol::ids::Version;
use dht_protocol::placement::hash::KeyHash;
use dht_protocol::value::ValueType;

use super::limits::{STORED_HASH_KEY_BYTES_MIN, UNIT_BYTES};

/// The entry is no longer of use.
const DEAD: u8 = 1;
/// Lengths take 2 and 4 bytes instead of 1 and 1.
const WIDE: u8 = 2;
/// The body says where the large value is kept.
const LARGE: u8 = 4;
/// The hash stands before the key.
const HASHED: u8 = 8;

const VERSION_AT: usize = 2;
const LENGTHS_AT: usize = 10;
const NARROW_HEADER_BYTES: usize = LENGTHS_AT + 2;
const WIDE_HEADER_BYTES: usize = LENGTHS_AT + 6;
const HASH_BYTES: usize = 8;
/// Body of an entry with a large value.
const LARGE_BODY_BYTES: usize = 4;

/// What an entry holds for its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body<'a> {
    /// The value itself.
    Inline(&'a [u8]),
    /// Where the large value is kept, and how long it is.
    Large {
        /// Its place among the partition's large values.
        index: u32,
        /// Its length.
        value_bytes: u32,
    },
}

/// An entry, read or about to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    /// The write that made it.
    pub(super) version: Version,
    /// How to interpret the value.
    pub(super) value_type: ValueType,
    /// The key.
    pub(super) key: &'a [u8],
    /// The value.
    pub(super) body: Body<'a>,
}

/// Bytes in the arena of an entry whose value is not large.
pub(super) const fn inline_extent_bytes(key_bytes: usize, value_bytes: usize) -> usize {
    extent_bytes(key_bytes, value_bytes, is_wide(key_bytes, value_bytes))
}

const fn is_wide(key_bytes: usize, value_bytes: usize) -> bool {
    key_bytes > u8::MAX as usize || value_bytes > u8::MAX as usize
}

const fn is_hashed(key_bytes: usize) -> bool {
    key_bytes >= STORED_HASH_KEY_BYTES_MIN
}

const fn extent_bytes(key_bytes: usize, body_bytes: usize, wide: bool) -> usize {
    let header = if wide { WIDE_HEADER_BYTES } else { NARROW_HEADER_BYTES };
    let hash = if is_hashed(key_bytes) { HASH_BYTES } else { 0 };
    (header + hash + key_bytes + body_bytes).next_multiple_of(UNIT_BYTES)
}

/// Where the parts of an entry lie, from its first bytes.
struct Layout {
    key_at: usize,
    key_bytes: usize,
    value_bytes: usize,
    body_bytes: usize,
    extent_bytes: usize,
}

impl Layout {
    #[inline]
    fn read(bytes: &[u8]) -> Layout {
        let header: &[u8; NARROW_HEADER_BYTES] = first_chunk(bytes);
        let flags = header[0];
        let wide = flags & WIDE != 0;
        let (key_bytes, value_bytes) = if wide {
            let lengths = &first_chunk::<WIDE_HEADER_BYTES>(bytes)[LENGTHS_AT..];
            (LittleEndian::read_u16(lengths).into(), LittleEndian::read_u32(&lengths[2..]) as usize)
        } else {
            (header[LENGTHS_AT].into(), header[LENGTHS_AT + 1].into())
        };
        let body_bytes = if flags & LARGE == 0 { value_bytes } else { LARGE_BODY_BYTES };
        let header_bytes = if wide { WIDE_HEADER_BYTES } else { NARROW_HEADER_BYTES };
        Layout {
            key_at: header_bytes + if is_hashed(key_bytes) { HASH_BYTES } else { 0 },
            key_bytes,
            value_bytes,
            body_bytes,
            extent_bytes: extent_bytes(key_bytes, body_bytes, wide),
        }
    }

    #[inline]
    fn key<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.key_at..self.key_at + self.key_bytes]
    }
}

#[inline]
fn first_chunk<const N: usize>(bytes: &[u8]) -> &[u8; N] {
    bytes.first_chunk().expect("an entry is never cut short: its segment holds it whole")
}

/// The key of the entry at the start of `bytes`.
#[inline]
pub(super) fn key_of(bytes: &[u8]) -> &[u8] {
    Layout::read(bytes).key(bytes)
}

/// The room, in bytes, that the entry at the start of `bytes` takes.
pub(super) fn extent_of(bytes: &[u8]) -> usize {
    Layout::read(bytes).extent_bytes
}

/// Whether the entry at the start of `bytes` is dead.
pub(super) fn is_dead(bytes: &[u8]) -> bool {
    bytes[0] & DEAD != 0
}

/// Marks the entry at the start of `bytes` dead.
pub(super) fn kill(bytes: &mut [u8]) {
    bytes[0] |= DEAD;
}

/// The hash that the entry at the start of `bytes` keeps, or what `hash` makes of its key.
#[inline]
pub(super) fn hash_of(bytes: &[u8], hash: impl FnOnce(&[u8]) -> KeyHash) -> KeyHash {
    let layout = Layout::read(bytes);
    if bytes[0] & HASHED == 0 {
        hash(layout.key(bytes))
    } else {
        KeyHash(LittleEndian::read_u64(&bytes[layout.key_at - HASH_BYTES..]))
    }
}

impl<'a> Entry<'a> {
    /// Reads the entry at the start of `bytes`.
    #[inline]
    pub(super) fn read(bytes: &'a [u8]) -> Entry<'a> {
        let layout = Layout::read(bytes);
        let body = &bytes[layout.key_at + layout.key_bytes..][..layout.body_bytes];
        Entry {
            version: Version(LittleEndian::read_u64(&bytes[VERSION_AT..])),
            value_type: ValueType::new(bytes[1]).expect("only valid types are written"),
            key: layout.key(bytes),
            body: if bytes[0] & LARGE == 0 {
                Body::Inline(body)
            } else {
                Body::Large { index: LittleEndian::read_u32(body), value_bytes: layout.value_bytes as u32 }
            },
        }
    }

    /// Length of the value.
    pub(super) fn value_bytes(&self) -> usize {
        match self.body {
            Body::Inline(value) => value.len(),
            Body::Large { value_bytes, .. } => value_bytes as usize,
        }
    }

    fn is_wide(&self) -> bool {
        match self.body {
            Body::Inline(value) => is_wide(self.key.len(), value.len()),
            Body::Large { .. } => true,
        }
    }

    /// The room, in bytes, that this entry takes.
    pub(super) fn extent_bytes(&self) -> usize {
        let body_bytes = match self.body {
            Body::Inline(value) => value.len(),
            Body::Large { .. } => LARGE_BODY_BYTES,
        };
        extent_bytes(self.key.len(), body_bytes, self.is_wide())
    }

    /// Writes this entry over the whole of `bytes`, which is [`Entry::extent_bytes`] long. `hash` is its key's.
    pub(super) fn write(&self, hash: KeyHash, bytes: &mut [u8]) {
        debug_assert_eq!(bytes.len(), self.extent_bytes());
        let (wide, hashed) = (self.is_wide(), is_hashed(self.key.len()));
        let large = matches!(self.body, Body::Large { .. });
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        bytes[0] = flag(wide, WIDE) | flag(large, LARGE) | flag(hashed, HASHED);
        bytes[1] = self.value_type.tag();
        LittleEndian::write_u64(&mut bytes[VERSION_AT..LENGTHS_AT], self.version.0);
        let (key_bytes, value_bytes) = (self.key.len(), self.value_bytes());
        let mut at = LENGTHS_AT;
        let mut put = |part: &[u8]| {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        };
        if wide {
            put(&(key_bytes as u16).to_le_bytes());
            put(&(value_bytes as u32).to_le_bytes());
        } else {
            put(&[key_bytes as u8, value_bytes as u8]);
        }
        if hashed {
            put(&hash.0.to_le_bytes());
        }
        put(self.key);
        match self.body {
            Body::Inline(value) => put(value),
            Body::Large { index, .. } => put(&index.to_le_bytes()),
        }
        bytes[at..].fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_reads_back() {
        let text: Vec<u8> = (0..=255).cycle().take(if cfg!(miri) { 300 } else { 70_000 }).collect();
        for key_bytes in [1, 2, 16, 127, 128, 255, 256, if cfg!(miri) { 257 } else { 65_535 }] {
            for value_bytes in [0, 1, 7, 32, 255, 256, if cfg!(miri) { 257 } else { 32 << 10 }] {
                for large in [false, true] {
                    let entry = Entry {
                        version: Version(0xFEDC_BA98_7654_3210),
                        value_type: ValueType::JSON,
                        key: &text[..key_bytes],
                        body: if large {
                            Body::Large { index: 0xABCD_EF01, value_bytes: 3 + value_bytes as u32 }
                        } else {
                            Body::Inline(&text[9..9 + value_bytes])
                        },
                    };
                    let mut bytes = vec![0xEE; entry.extent_bytes()];
                    entry.write(KeyHash(77), &mut bytes);
                    let extent = bytes.len();
                    bytes.extend_from_slice(&[0xEE; 9]);
                    assert_eq!(Entry::read(&bytes), entry);
                    assert_eq!(extent_of(&bytes), extent);
                    assert_eq!(key_of(&bytes), entry.key);
                    let computed = hash_of(&bytes, |_| KeyHash(1)).0;
                    assert_eq!(computed, if key_bytes >= STORED_HASH_KEY_BYTES_MIN { 77 } else { 1 });
                    if !large {
                        assert_eq!(inline_extent_bytes(key_bytes, value_bytes), extent);
                    }
                    assert!(!is_dead(&bytes));
                    kill(&mut bytes);
                    assert!(is_dead(&bytes) && extent_of(&bytes) == extent);
                }
            }
        }
    }

    #[test]
    fn the_usual_entry_is_small() {
        assert_eq!(inline_extent_bytes(16, 32), 60);
    }
}
