//! The arena: entries one after another in chunks. Written at the end, never moved by anything but compaction.
//!
//! ```text
//!   Address (32 bits) = │ chunk: 20 bits │ place: 12 bits │
//!
//!   chunk 0 │ entry │ entry │ dead │ entry │ entr▶ next: chunk 2
//!   chunk 2 ▶y │ entry │ dead │ …  ┆ room │        origin: where the entry begins of which the first bytes are
//!   chunk 1 (free, names the next free one)
//! ```
//!
//! A chunk is a block of the pool: 1 KiB in a small arena, up to 2 or 4 in bigger ones. All but the tail are full: an
//! entry that does not fit goes on in the next chunk, so no room is lost, however entries and chunks measure. A
//! chunk that is all dead is freed at once; one that is partly dead is evacuated by compaction (`compact.rs`): its
//! live entries, also those that only begin or end in it, are appended to the tail, each old copy dies, and so the last one
//! frees the chunk.
//!
//! Invariants:
//! 1. A chunk is a gap-free row of entries and dead runs, but for the tail's room. The bytes before its first
//!    entry or run are the end of the entry at `origin`; there are none if that is [`NOWHERE`].
//! 2. An entry goes on from the end of its chunk at the start of the chunk's `next`.
//! 3. `dead_bytes` of a chunk is the sum of its dead runs, and less than what it holds unless that is nothing;
//!    `dead_bytes` and `used_bytes` of the arena are sums over chunks.
//! 4. The tail is not being evacuated. A freed chunk is neither.
//! 5. The charge is the price of the list of chunks; their blocks are charged by the pool, and counted here.
//!
//! Files: `chunks` (the structure, opening and freeing), `tail` (the chunk that is appended to), `look`, `write`, `evacuate`.

mod chunks;
mod evacuate;
mod look;
mod tail;
mod write;

pub(super) use chunks::{Address, Arena};
pub(super) use evacuate::{BatchBounds, EVACUATION_BATCH_ENTRIES};
pub(super) use look::View;
