//! Writing into an arena: appending, overwriting in place, killing.

use dht_protocol::placement::hash::KeyHash;

use super::super::entry::{
    self, Entry, HEAD_BYTES_MAX, LARGE_BODY_BYTES, OVERWRITTEN_VERSION_BYTES, STRETCHED_VERSION_BYTES_MAX,
};
use super::super::heap::Limit;
use super::chunks::{Address, Arena, NOWHERE};
use crate::memory::OutOfMemory;

/// A part of an entry: what of it lies in one chunk.
#[derive(Clone, Copy)]
pub(super) struct Part {
    pub(super) chunk: u32,
    pub(super) place: usize,
    pub(super) bytes: usize,
}

/// The parts of an entry, one after the other. What comes next is known before a part is given, so that part may be freed
/// with its chunk.
pub(super) struct Parts {
    next: Option<Part>,
    /// Bytes behind that.
    left: usize,
}

impl Arena {
    /// Appends an entry whose key has hash `hash`, its version in at least `version_bytes_min` bytes.
    ///
    /// # Errors
    /// [`OutOfMemory`]: refused by the account (under [`Limit::Hold`] only), or no chunk is left; nothing changed.
    pub(in super::super) fn append(
        &mut self,
        entry: &Entry<'_>,
        hash: KeyHash,
        version_bytes_min: usize,
        limit: Limit,
    ) -> Result<Address, OutOfMemory> {
        let mut index = [0; LARGE_BODY_BYTES];
        let body = entry.body.bytes(&mut index);
        let mut head = [0; HEAD_BYTES_MAX];
        if let Some((chunk, room)) = self.tail_room() {
            let head_bytes = entry.write_head(chunk.base, hash, version_bytes_min, &mut head);
            let extent = head_bytes + entry.key.len() + body.len();
            if extent <= room {
                let place = self.tail_bytes;
                let target = &mut self.bytes_mut(self.tail)[place..place + extent];
                write_whole(target, &head[..head_bytes], entry.key, body);
                self.tail_bytes += extent;
                self.used_bytes += extent as u64;
                return Ok(Address::new(self.tail, place));
            }
        }
        self.append_across(entry, hash, version_bytes_min, limit)
    }

    /// The same where the tail, as it is, has not enough room.
    #[inline(never)]
    fn append_across(
        &mut self,
        entry: &Entry<'_>,
        hash: KeyHash,
        version_bytes_min: usize,
        limit: Limit,
    ) -> Result<Address, OutOfMemory> {
        let mut index = [0; LARGE_BODY_BYTES];
        let body = entry.body.bytes(&mut index);
        let body_bytes = entry.key.len() + body.len();
        let class = self.class(body_bytes);
        let new_base = entry::base_for(entry.version);
        let mut base = self.tail_base(class).unwrap_or(new_base);
        let mut head = [0; HEAD_BYTES_MAX];
        let mut head_bytes = entry.write_head(base, hash, version_bytes_min, &mut head);
        self.grow_tail(head_bytes + body_bytes, class, limit);
        let tail_room = self.tail_room().map_or(0, |(_, room)| room);
        if tail_room == 0 && base != new_base {
            // The entry was to go on in a full tail, which did not grow.
            base = new_base;
            head_bytes = entry.write_head(base, hash, version_bytes_min, &mut head);
        }
        let extent = head_bytes + body_bytes;
        let first_new = self.open_chunks(extent.saturating_sub(tail_room), class, new_base, limit)?;
        let start = if tail_room > 0 {
            self.chunks[self.tail as usize].next = first_new;
            Address::new(self.tail, self.tail_bytes)
        } else {
            (self.tail, self.tail_bytes) = (first_new, 0);
            Address::new(first_new, 0)
        };
        for part in [&head[..head_bytes], entry.key, body] {
            self.write_at_tail(part, start);
        }
        self.used_bytes += extent as u64;
        Ok(start)
    }

    /// Writes `bytes`, a part of the entry that begins at `start`, at the end of the tail and on into the chunks behind it.
    fn write_at_tail(&mut self, mut bytes: &[u8], start: Address) {
        while !bytes.is_empty() {
            if self.tail_bytes == self.size_of(self.tail) {
                self.tail = self.chunks[self.tail as usize].next;
                self.tail_bytes = 0;
                self.upkeep[self.tail as usize].origin = start;
            }
            let place = self.tail_bytes;
            let target = &mut self.bytes_mut(self.tail)[place..];
            let count = target.len().min(bytes.len());
            target[..count].copy_from_slice(&bytes[..count]);
            self.tail_bytes += count;
            bytes = &bytes[count..];
        }
    }

    /// Writes an entry over the one at `address` if it takes no more room; says whether it did.
    pub(in super::super) fn overwrite(&mut self, address: Address, entry: &Entry<'_>, hash: KeyHash) -> bool {
        let (chunk, old) = self.head_at(address);
        let mut head = [0; HEAD_BYTES_MAX];
        let base = chunk.base;
        let mut head_bytes = entry.write_head(base, hash, OVERWRITTEN_VERSION_BYTES, &mut head);
        let mut index = [0; LARGE_BODY_BYTES];
        let body = entry.body.bytes(&mut index);
        let mut extent = head_bytes + entry.key.len() + body.len();
        let Some(unused) = old.extent_bytes().checked_sub(extent) else { return false };
        if unused > 0 {
            // Room that would not even hold an entry: better a longer version than a dead run.
            let stretched = (OVERWRITTEN_VERSION_BYTES + unused).min(STRETCHED_VERSION_BYTES_MAX);
            let stretched_bytes = entry.write_head(base, hash, stretched, &mut head);
            extent += stretched_bytes - head_bytes;
            head_bytes = stretched_bytes;
        }
        let (chunk, place) = (address.chunk(), address.place());
        if place + old.extent_bytes() <= self.size_of(chunk) {
            let target = &mut self.bytes_mut(chunk)[place..place + extent];
            write_whole(target, &head[..head_bytes], entry.key, body);
            let unused = Part { chunk, place: place + extent, bytes: old.extent_bytes() - extent };
            self.kill_part(unused, false);
            return true;
        }
        let mut sources = [&head[..head_bytes], entry.key, body].into_iter();
        let mut source: &[u8] = &[];
        let mut left = extent;
        let mut parts = self.parts(address, old.extent_bytes());
        while let Some(part) = parts.take(self) {
            let written = left.min(part.bytes);
            let mut at = part.place;
            while at < part.place + written {
                while source.is_empty() {
                    source = sources.next().expect("the sources are as long as the extent");
                }
                let count = source.len().min(part.place + written - at);
                self.bytes_mut(part.chunk)[at..at + count].copy_from_slice(&source[..count]);
                (source, at) = (&source[count..], at + count);
            }
            left -= written;
            let unused = Part { place: at, bytes: part.bytes - written, ..part };
            self.kill_part(unused, written == 0);
        }
        true
    }

    /// Marks the entry at `address` dead, and frees chunks of which it was the last live part.
    pub(in super::super) fn kill(&mut self, address: Address) {
        let (_, head) = self.head_at(address);
        self.kill_extent(address, head.extent_bytes());
    }

    /// As [`Arena::kill`], the entry being known to take `extent_bytes`.
    pub(in super::super) fn kill_extent(&mut self, address: Address, extent_bytes: usize) {
        let (chunk, place) = (address.chunk(), address.place());
        if place + extent_bytes <= self.size_of(chunk) {
            self.kill_part(Part { chunk, place, bytes: extent_bytes }, false);
            return;
        }
        let mut parts = self.parts(address, extent_bytes);
        while let Some(part) = parts.take(self) {
            self.kill_part(part, part.chunk != address.chunk());
        }
    }

    /// The parts of the entry of `extent_bytes` at `address`.
    pub(super) fn parts(&self, address: Address, extent_bytes: usize) -> Parts {
        let (chunk, place) = (address.chunk(), address.place());
        let bytes = extent_bytes.min(self.size_of(chunk) - place);
        Parts { next: Some(Part { chunk, place, bytes }), left: extent_bytes - bytes }
    }

    /// Makes a part of an entry a dead run, `ends_origin` saying that nothing of the entry is left in that chunk which began in
    /// another.
    pub(super) fn kill_part(&mut self, part: Part, ends_origin: bool) {
        if ends_origin {
            self.upkeep[part.chunk as usize].origin = NOWHERE;
        }
        if part.bytes == 0 {
            return;
        }
        entry::write_dead(&mut self.bytes_mut(part.chunk)[part.place..part.place + part.bytes]);
        self.upkeep[part.chunk as usize].dead_bytes += part.bytes as u16;
        self.dead_bytes += part.bytes as u64;
        let filled = self.filled_bytes(part.chunk);
        if usize::from(self.upkeep[part.chunk as usize].dead_bytes) == filled {
            self.free_chunk(part.chunk, filled);
        }
    }
}

/// Writes an entry that lies in one chunk; `target` has its length.
#[inline]
fn write_whole(target: &mut [u8], head: &[u8], key: &[u8], body: &[u8]) {
    let (head_at, rest) = target.split_at_mut(head.len());
    let (key_at, body_at) = rest.split_at_mut(key.len());
    head_at.copy_from_slice(head);
    key_at.copy_from_slice(key);
    body_at.copy_from_slice(body);
}

impl Parts {
    /// The next part.
    pub(super) fn take(&mut self, arena: &Arena) -> Option<Part> {
        let part = self.next?;
        self.next = (self.left > 0).then(|| {
            let chunk = arena.chunks[part.chunk as usize].next;
            Part { chunk, place: 0, bytes: self.left.min(arena.size_of(chunk)) }
        });
        self.left -= self.next.map_or(0, |next| next.bytes);
        Some(part)
    }
}
