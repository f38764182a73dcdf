//! Looking into an arena: an entry, its key, its hash, whether it lies in one chunk or in several.

use dht_protocol::ids::Version;
use dht_protocol::placement::hash::KeyHash;

use super::super::entry::{self, HEAD_BYTES_MAX, Head};
use super::super::pieces::Pieces;
use super::super::prefetch::{prefetch, prefetch_item};
use super::chunks::{Address, Arena, Chunk, NO_CHUNK};

/// Bytes of an entry that are asked for beforehand: head, key and a short value.
const PREFETCH_BYTES: usize = 128;
/// Bytes of the entries to be moved next: a few of them.
const EVACUATED_PREFETCH_BYTES: usize = 512;

/// An entry as it lies in the arena.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct View<'a> {
    pub(in super::super) head: Head,
    pub(in super::super) version: Version,
    pub(in super::super) key: Pieces<'a>,
    /// The value, or the name of a large one.
    pub(in super::super) body: Pieces<'a>,
}

impl View<'_> {
    /// Where a large value is kept.
    pub(in super::super) fn large_index(&self) -> Option<u32> {
        let mut index = [0; entry::LARGE_BODY_BYTES];
        self.head.is_large.then(|| {
            self.body.copy_to(&mut index);
            u32::from_le_bytes(index)
        })
    }
}

impl Arena {
    /// The entry at `address`.
    #[inline]
    pub(in super::super) fn view(&self, address: Address) -> View<'_> {
        let (chunk, head) = self.head_at(address);
        let rest = &self.chunk_bytes(chunk)[address.place()..];
        View {
            head,
            version: head.version(chunk.base),
            key: self.pieces(rest, chunk, head.head_bytes, head.key_bytes),
            body: self.pieces(rest, chunk, head.head_bytes + head.key_bytes, head.body_bytes()),
        }
    }

    /// The entry at `address`, if it is that of `key`.
    #[inline]
    pub(in super::super) fn view_of(&self, address: Address, key: &[u8]) -> Option<View<'_>> {
        let (chunk, head) = self.head_at(address);
        if head.key_bytes != key.len() {
            return None;
        }
        let rest = &self.chunk_bytes(chunk)[address.place()..];
        let found = self.pieces(rest, chunk, head.head_bytes, head.key_bytes);
        found.is(key).then(|| View {
            head,
            version: head.version(chunk.base),
            key: found,
            body: self.pieces(rest, chunk, head.head_bytes + head.key_bytes, head.body_bytes()),
        })
    }

    /// The hash that the entry at `address` keeps, or what `hash` makes of its key.
    pub(in super::super) fn hash_at(&self, address: Address, hash: impl FnOnce(&[u8]) -> KeyHash) -> KeyHash {
        let chunk = &self.chunks[address.chunk() as usize];
        let (head, stored) = self.with_window(chunk, address.place(), |window| {
            let head = Head::read(window);
            (head, head.stored_hash(window))
        });
        stored.unwrap_or_else(|| {
            let rest = &self.chunk_bytes(chunk)[address.place()..];
            let key = self.pieces(rest, chunk, head.head_bytes, head.key_bytes);
            match key.as_whole() {
                Some(whole) => hash(whole),
                None => hash(&key.to_vec()),
            }
        })
    }

    /// Asks for what names the memory of the entry at `address`.
    #[inline]
    pub(in super::super) fn prefetch_chunk(&self, address: Address) {
        prefetch_item(&self.chunks[address.chunk() as usize]);
    }

    /// Asks for what names the memory that the next entry goes to, and that of the entries that a write moves then.
    #[inline]
    pub(in super::super) fn prefetch_tail_chunk(&self) {
        if self.tail != NO_CHUNK {
            prefetch_item(&self.chunks[self.tail as usize]);
        }
        if let Some(evacuation) = &self.evacuation {
            prefetch_item(&self.chunks[evacuation.chunk as usize]);
        }
    }

    /// Asks for the memory that the next entry goes to, and for the entries that a write moves then.
    #[inline]
    pub(in super::super) fn prefetch_tail(&self) {
        if self.tail != NO_CHUNK {
            prefetch(&self.chunk_bytes(&self.chunks[self.tail as usize])[self.tail_bytes..], PREFETCH_BYTES);
        }
        if let Some(evacuation) = &self.evacuation {
            let bytes = self.chunk_bytes(&self.chunks[evacuation.chunk as usize]);
            prefetch(&bytes[evacuation.place.min(bytes.len())..], EVACUATED_PREFETCH_BYTES);
        }
    }

    /// Asks for the memory of the entry at `address`.
    #[inline]
    pub(in super::super) fn prefetch(&self, address: Address) {
        let chunk = &self.chunks[address.chunk() as usize];
        prefetch(&self.chunk_bytes(chunk)[address.place()..], PREFETCH_BYTES);
    }

    /// All bytes of `chunk`, and the chunk that goes on from it: for entries that come in pieces.
    pub(in super::super) fn continuation(&self, chunk: u32) -> (&[u8], u32) {
        let chunk = &self.chunks[chunk as usize];
        (self.chunk_bytes(chunk), chunk.next)
    }

    /// The `length` bytes that begin `skip` bytes behind the start of `rest`, which is the rest of chunk `chunk`.
    #[inline]
    fn pieces<'a>(&'a self, rest: &'a [u8], chunk: &Chunk, skip: usize, length: usize) -> Pieces<'a> {
        match rest.get(skip..skip + length) {
            Some(whole) => Pieces::whole(whole),
            None => self.split_pieces(rest, chunk, skip, length),
        }
    }

    #[inline(never)]
    fn split_pieces<'a>(&'a self, rest: &'a [u8], chunk: &Chunk, skip: usize, length: usize) -> Pieces<'a> {
        if skip <= rest.len() {
            return Pieces::split(&rest[skip..], self, chunk.next, skip + length - rest.len());
        }
        let (next_bytes, _) = self.continuation(chunk.next);
        self.pieces(next_bytes, &self.chunks[chunk.next as usize], skip - rest.len(), length)
    }

    /// Calls `with` with a window on the item at `place` of `chunk`, long enough for its head, and with the rest of the chunk.
    #[inline]
    pub(super) fn with_window<R>(&self, chunk: &Chunk, place: usize, with: impl FnOnce(&[u8]) -> R) -> R {
        let rest = &self.chunk_bytes(chunk)[place..];
        if rest.len() >= HEAD_BYTES_MAX {
            return with(rest);
        }
        let mut window = [0; HEAD_BYTES_MAX];
        window[..rest.len()].copy_from_slice(rest);
        // Whether the item goes on in the next chunk is not known yet; if it does not, what is read there means nothing.
        if chunk.next != NO_CHUNK && self.chunks[chunk.next as usize].block.is_some() {
            let (next_bytes, _) = self.continuation(chunk.next);
            window[rest.len()..].copy_from_slice(&next_bytes[..HEAD_BYTES_MAX - rest.len()]);
        }
        with(&window)
    }

    #[inline]
    pub(super) fn head_at(&self, address: Address) -> (&Chunk, Head) {
        let chunk = &self.chunks[address.chunk() as usize];
        (chunk, self.with_window(chunk, address.place(), Head::read))
    }
}
