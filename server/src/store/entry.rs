//! How an entry lies in the arena. The only file that knows.
//!
//! ```text
//!   live   │0 ttt kkkk│k vvvvvvv│ type? │ key len? │ value len? │ version: 1 to 10 │ hash? 8 │ key │ value
//!   dead   │1 length, 14 bits and more …│ nothing that matters         │    or │11111111│: one byte
//! ```
//!
//! Small entries, the usual ones, take two bytes for type and lengths:
//! * `t`, three bits: the type, if below 7; at 7 a byte says it.
//! * `k`, five bits: the key's length from 1 to 30; at 31 a byte says it, at 0 two bytes.
//! * `v`, seven bits: the value's length up to 112; from 113 to 124 a byte more says it, up to 3,184; at 125 two bytes do; at
//!   126 the value is *large*: four bytes say its length, and four bytes in its place where it is kept. 127 is kept for entries
//!   with further fields (expiry).
//!
//! The version is a difference to a base that entries of one chunk share, zigzag-coded, seven bits a byte: one byte for
//! entries written one after the other. A key of 128 bytes or more has its hash before it.
//!
//! Invariants:
//! 1. The length of an entry, and of a dead run, follows from its first [`HEAD_BYTES_MAX`] bytes: a chunk can be walked.
//! 2. A dead run lies within one chunk, so that 15 bits hold its length.

use byteorder::{BigEndian, ByteOrder, LittleEndian};
use dht_protocol::ids::Version;
use dht_protocol::placement::hash::KeyHash;
use dht_protocol::value::ValueType;

use super::limits::STORED_HASH_KEY_BYTES_MIN;

/// Most bytes before the key.
pub(super) const HEAD_BYTES_MAX: usize = 2 + 1 + 2 + 4 + 10 + HASH_BYTES;
/// Bytes of an entry in place of a large value.
pub(super) const LARGE_BODY_BYTES: usize = 4;

/// Bytes that the version of an entry takes at least which replaces another: so that the next write to the key fits in its
/// place, although the partition's versions have gone on by thousands meanwhile. One that was only ever written once takes one.
pub(super) const OVERWRITTEN_VERSION_BYTES: usize = 2;
/// Most bytes to which a version is stretched, to fill a place that is a little too big.
pub(super) const STRETCHED_VERSION_BYTES_MAX: usize = 4;

/// First byte of what is dead.
const DEAD: u8 = 0x80;
/// A dead run of a single byte.
const DEAD_BYTE: u8 = 0xFF;
/// A longer one is shorter than this, so that it never begins as a single one does.
const DEAD_RUN_BYTES_BOUND: usize = 0x7F00;

/// Type: a byte says it.
const TYPE_EXPLICIT: u16 = 7;
/// Key length: two bytes say it.
const KEY_BYTES_IN_TWO: u16 = 0;
/// Key length: a byte says it.
const KEY_BYTES_IN_ONE: u16 = 31;
/// Longest value whose length is in the first two bytes.
const SHORT_VALUE_BYTES_MAX: usize = 112;
/// Value length: the first of the codes that say, with a byte more, how much longer than the longest short value it is.
const VALUE_BYTES_IN_ONE: u16 = SHORT_VALUE_BYTES_MAX as u16 + 1;
/// Value length: two bytes say it.
const VALUE_BYTES_IN_TWO: u16 = 125;
/// Longest value whose length one byte says, with its code.
const MIDDLING_VALUE_BYTES_MAX: usize =
    SHORT_VALUE_BYTES_MAX + ((VALUE_BYTES_IN_TWO - VALUE_BYTES_IN_ONE) as usize) * 256;
/// The value is large.
const VALUE_IS_LARGE: u16 = 126;

const HASH_BYTES: usize = 8;
/// By how much the base of a chunk is ahead of its first version: the versions that follow come to it and pass it.
const BASE_AHEAD: u64 = 60;

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

/// An entry about to be written.
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

/// What the head of an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Bytes of the head.
    pub(super) head_bytes: usize,
    pub(super) key_bytes: usize,
    /// Length of the value, wherever it is.
    pub(super) value_bytes: usize,
    pub(super) is_large: bool,
    pub(super) value_type: ValueType,
    /// The version's difference to the base.
    delta: i64,
}

/// What begins at some place of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Live(Head),
    Dead { bytes: usize },
}

/// The base of a chunk whose first entry has `version`.
pub(super) fn base_for(version: Version) -> Version {
    Version(version.0.wrapping_add(BASE_AHEAD))
}

const fn has_hash(key_bytes: usize) -> bool {
    key_bytes >= STORED_HASH_KEY_BYTES_MIN
}

impl Item {
    /// Reads what begins at the start of `window`: at least [`HEAD_BYTES_MAX`] bytes, or padded to so many.
    #[inline]
    pub(super) fn read(window: &[u8]) -> Item {
        if window[0] & DEAD == 0 {
            return Item::Live(Head::read(window));
        }
        let bytes =
            if window[0] == DEAD_BYTE { 1 } else { usize::from(BigEndian::read_u16(window) & 0x7FFF) };
        Item::Dead { bytes }
    }
}

/// Writes a dead run over the whole of `bytes`, which is not empty.
pub(super) fn write_dead(bytes: &mut [u8]) {
    debug_assert!(bytes.len() < DEAD_RUN_BYTES_BOUND);
    if bytes.len() == 1 {
        bytes[0] = DEAD_BYTE;
    } else {
        BigEndian::write_u16(bytes, u16::from(DEAD) << 8 | bytes.len() as u16);
    }
}

impl Head {
    /// Reads the head at the start of `window`: at least [`HEAD_BYTES_MAX`] bytes, or padded to so many.
    #[inline]
    pub(super) fn read(window: &[u8]) -> Head {
        let window: &[u8; HEAD_BYTES_MAX] = window.first_chunk().expect("whoever calls pads the window");
        let first = BigEndian::read_u16(window);
        debug_assert!(first >> 15 == 0, "read as live what is dead");
        let (tag, key_bytes, value_bytes) = (first >> 12 & 7, first >> 7 & 0x1F, first & 0x7F);
        let is_usual = tag < TYPE_EXPLICIT
            && matches!(key_bytes, 1..KEY_BYTES_IN_ONE)
            && value_bytes <= SHORT_VALUE_BYTES_MAX as u16;
        let (low, high) = (u64::from(window[2]), u64::from(window[3]));
        let (zigzag, version_bytes) = if low < 0x80 { (low, 1) } else { (low & 0x7F | high << 7, 2) };
        if !is_usual || (version_bytes == 2 && high >= 0x80) {
            return Head::read_any(window);
        }
        Head {
            head_bytes: 2 + version_bytes,
            key_bytes: usize::from(key_bytes),
            value_bytes: usize::from(value_bytes),
            is_large: false,
            value_type: ValueType::new(tag as u8).expect("only valid types are written"),
            delta: delta_of(zigzag),
        }
    }

    /// The same for a head of any kind.
    #[inline(never)]
    fn read_any(window: &[u8; HEAD_BYTES_MAX]) -> Head {
        let first = BigEndian::read_u16(window);
        let mut at = 2;
        let mut next = |bytes: usize| {
            at += bytes;
            at - bytes
        };
        let tag = match first >> 12 & 7 {
            TYPE_EXPLICIT => window[next(1)],
            tag => tag as u8,
        };
        let key_bytes = match first >> 7 & 0x1F {
            KEY_BYTES_IN_ONE => usize::from(window[next(1)]),
            KEY_BYTES_IN_TWO => usize::from(LittleEndian::read_u16(&window[next(2)..])),
            bytes => usize::from(bytes),
        };
        let value_code = first & 0x7F;
        let value_bytes = match value_code {
            VALUE_BYTES_IN_ONE..VALUE_BYTES_IN_TWO => {
                SHORT_VALUE_BYTES_MAX
                    + 1
                    + usize::from(value_code - VALUE_BYTES_IN_ONE) * 256
                    + usize::from(window[next(1)])
            }
            VALUE_BYTES_IN_TWO => usize::from(LittleEndian::read_u16(&window[next(2)..])),
            VALUE_IS_LARGE => LittleEndian::read_u32(&window[next(4)..]) as usize,
            bytes => usize::from(bytes),
        };
        let (zigzag, version_bytes) = read_varint(&window[at..]);
        let hash_bytes = if has_hash(key_bytes) { HASH_BYTES } else { 0 };
        Head {
            head_bytes: at + version_bytes + hash_bytes,
            key_bytes,
            value_bytes,
            is_large: value_code == VALUE_IS_LARGE,
            value_type: ValueType::new(tag).expect("only valid types are written"),
            delta: delta_of(zigzag),
        }
    }

    /// The version, given the chunk's base.
    #[inline]
    pub(super) fn version(&self, base: Version) -> Version {
        Version(base.0.wrapping_add_signed(self.delta))
    }

    /// Bytes that stand behind the key.
    #[inline]
    pub(super) fn body_bytes(&self) -> usize {
        if self.is_large { LARGE_BODY_BYTES } else { self.value_bytes }
    }

    /// Bytes of the whole entry.
    #[inline]
    pub(super) fn extent_bytes(&self) -> usize {
        self.head_bytes + self.key_bytes + self.body_bytes()
    }

    /// Bytes of key and value that moving the entry copies.
    #[inline]
    pub(super) fn copied_bytes(&self) -> usize {
        self.key_bytes + if self.is_large { 0 } else { self.value_bytes }
    }

    /// The hash that stands in the head, from the same window; `None` for a short key.
    #[inline]
    pub(super) fn stored_hash(&self, window: &[u8]) -> Option<KeyHash> {
        has_hash(self.key_bytes)
            .then(|| KeyHash(LittleEndian::read_u64(&window[self.head_bytes - HASH_BYTES..])))
    }
}

impl Body<'_> {
    /// The bytes that stand behind the key; `index` is where those of a large value's name are put.
    pub(super) fn bytes<'b>(&'b self, index: &'b mut [u8; LARGE_BODY_BYTES]) -> &'b [u8] {
        match *self {
            Body::Inline(value) => value,
            Body::Large { index: large, .. } => {
                *index = large.to_le_bytes();
                index
            }
        }
    }
}

impl Entry<'_> {
    /// Length of the value.
    fn value_bytes(&self) -> usize {
        match self.body {
            Body::Inline(value) => value.len(),
            Body::Large { value_bytes, .. } => value_bytes as usize,
        }
    }

    /// Writes the head, in a chunk of `base`, and says how long it is. `hash` is the key's. The version takes at least
    /// `version_bytes_min` bytes: see [`OVERWRITTEN_VERSION_BYTES`].
    pub(super) fn write_head(
        &self,
        base: Version,
        hash: KeyHash,
        version_bytes_min: usize,
        head: &mut [u8; HEAD_BYTES_MAX],
    ) -> usize {
        let (tag, key_bytes, value_bytes) =
            (u16::from(self.value_type.tag()), self.key.len(), self.value_bytes());
        let mut at = 2;
        let mut put = |bytes: &[u8]| {
            head[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        let type_code = tag.min(TYPE_EXPLICIT);
        if type_code == TYPE_EXPLICIT {
            put(&[tag as u8]);
        }
        let key_code = match key_bytes {
            1..31 => key_bytes as u16,
            ..256 => KEY_BYTES_IN_ONE,
            _ => KEY_BYTES_IN_TWO,
        };
        match key_code {
            KEY_BYTES_IN_ONE => put(&[key_bytes as u8]),
            KEY_BYTES_IN_TWO => put(&(key_bytes as u16).to_le_bytes()),
            _ => {}
        }
        let value_code = match self.body {
            Body::Large { .. } => VALUE_IS_LARGE,
            Body::Inline(_) if value_bytes <= SHORT_VALUE_BYTES_MAX => value_bytes as u16,
            Body::Inline(_) if value_bytes <= MIDDLING_VALUE_BYTES_MAX => {
                VALUE_BYTES_IN_ONE + ((value_bytes - SHORT_VALUE_BYTES_MAX - 1) / 256) as u16
            }
            Body::Inline(_) => VALUE_BYTES_IN_TWO,
        };
        match value_code {
            VALUE_BYTES_IN_ONE..VALUE_BYTES_IN_TWO => {
                put(&[((value_bytes - SHORT_VALUE_BYTES_MAX - 1) % 256) as u8]);
            }
            VALUE_IS_LARGE => put(&(value_bytes as u32).to_le_bytes()),
            VALUE_BYTES_IN_TWO => put(&(value_bytes as u16).to_le_bytes()),
            _ => {}
        }
        let delta = self.version.0.wrapping_sub(base.0) as i64;
        let mut rest = ((delta << 1) ^ (delta >> (u64::BITS - 1))) as u64;
        let mut bytes_left = version_bytes_min;
        while rest > 0x7F || bytes_left > 1 {
            put(&[rest as u8 | 0x80]);
            rest >>= 7;
            bytes_left = bytes_left.saturating_sub(1);
        }
        put(&[rest as u8]);
        if has_hash(key_bytes) {
            put(&hash.0.to_le_bytes());
        }
        BigEndian::write_u16(head, type_code << 12 | key_code << 7 | value_code);
        at
    }
}

#[inline]
fn delta_of(zigzag: u64) -> i64 {
    (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64)
}

/// A number of seven bits a byte, lowest first, and how many bytes it takes.
#[inline]
fn read_varint(bytes: &[u8]) -> (u64, usize) {
    let mut number = u64::from(bytes[0] & 0x7F);
    let mut count = 1;
    while bytes[count - 1] & 0x80 != 0 {
        number |= u64::from(bytes[count] & 0x7F) << (7 * count);
        count += 1;
    }
    (number, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_reads_back() {
        let text: Vec<u8> = (0..=255).cycle().take(if cfg!(miri) { 300 } else { 70_000 }).collect();
        let versions = [0, 1, 60, 63, 64, 1 << 13, 1 << 40, u64::MAX].map(Version);
        for key_bytes in [1, 2, 16, 30, 31, 127, 128, 255, 256, if cfg!(miri) { 257 } else { 65_535 }] {
            let longest = if cfg!(miri) { 3_186 } else { 32 << 10 };
            for value_bytes in [0, 1, 7, 112, 113, 368, 369, 3_184, 3_185, longest] {
                for (large, tag) in [(false, 0), (true, 6), (true, 200), (false, 255)] {
                    let Ok(value_type) = ValueType::new(tag) else { continue };
                    for (version, stretch) in versions.into_iter().zip([0, 1, 2, 4].into_iter().cycle()) {
                        let entry = Entry {
                            version,
                            value_type,
                            key: &text[..key_bytes],
                            body: if large {
                                Body::Large { index: 9, value_bytes: 3 + value_bytes as u32 }
                            } else {
                                Body::Inline(&text[9..9 + value_bytes])
                            },
                        };
                        let base = base_for(versions[3]);
                        let mut window = [0xEE; HEAD_BYTES_MAX];
                        let head_bytes = entry.write_head(base, KeyHash(77), stretch, &mut window);
                        let Item::Live(head) = Item::read(&window) else { panic!("reads as dead") };
                        assert_eq!(head.head_bytes, head_bytes);
                        assert_eq!((head.key_bytes, head.value_bytes), (key_bytes, entry.value_bytes()));
                        assert_eq!((head.is_large, head.value_type), (large, value_type));
                        assert_eq!(head.version(base), version);
                        let hash = (key_bytes >= STORED_HASH_KEY_BYTES_MIN).then_some(KeyHash(77));
                        assert_eq!(head.stored_hash(&window), hash);
                    }
                }
            }
        }
    }

    #[test]
    fn dead_runs_of_every_length_read_back() {
        for length in 1..=4_096 {
            let mut bytes = vec![0; length.max(HEAD_BYTES_MAX)];
            write_dead(&mut bytes[..length]);
            assert_eq!(Item::read(&bytes), Item::Dead { bytes: length });
        }
    }

    #[test]
    fn the_usual_entry_has_a_head_of_three_bytes() {
        let entry = |version| Entry {
            version: Version(version),
            value_type: ValueType::BYTES,
            key: &[1; 16],
            body: Body::Inline(&[2; 32]),
        };
        for ahead in 0..120 {
            let head_bytes = entry(1_000_000 + ahead).write_head(
                base_for(Version(1_000_000)),
                KeyHash(0),
                1,
                &mut [0; HEAD_BYTES_MAX],
            );
            assert_eq!(head_bytes, 3);
        }
    }
}
