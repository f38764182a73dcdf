//! What nodes say to each other about the partitions that they replicate.

use std::sync::Arc;

use crate::ids::{Cfg, ClientId, Epoch, Member, PartitionId, Revision, Seq, Version};
use crate::value::ValueType;

use super::entry::{CopiedEntry, LogEntry, OutcomeRecord};

/// A message from one node to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerMessage {
    /// Who sends it.
    pub from: Member,
    /// For whom it is; another start of that node ignores it.
    pub to: Member,
    /// Epoch of the sender's map.
    pub epoch: Epoch,
    /// What it says.
    pub body: PeerBody,
}

/// The partition that a message is about, and the configuration under which it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// The partition.
    pub partition: PartitionId,
    /// Its configuration, as the sender's map has it.
    pub cfg: Cfg,
}

/// The list of prepared entries that an entry belongs to. A backup that has not got this list yet gathers the entries from
/// `base` to `end`, and only when it has them all do they take the place of whatever it held above its commit point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListTag {
    /// Rises with every list of one configuration.
    pub revision: Revision,
    /// First entry of the list: the one after the primary's commit point when the list was made.
    pub base: Seq,
    /// Last entry that stood in the list when it was made; `base` less one: none did.
    pub end: Seq,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerBody {
    /// Will nobody else serve my partitions for a while? (Asks for a lease.)
    Beacon {
        /// Number of the question.
        number: u64,
    },
    /// Nobody will, by me, for as long as a grace lasts from now: a lease, counted by its holder from when it asked.
    Grant {
        /// The question's number.
        number: u64,
    },
    /// Primary to backup: log entries in order without a gap, perhaps none, and the commit point.
    Prepare {
        /// What it is about.
        at: At,
        /// The list that the entries belong to.
        list: ListTag,
        /// Number of the last committed entry.
        commit: Seq,
        /// The entries.
        entries: Vec<LogEntry>,
    },
    /// Backup to primary: how far I have the list.
    Prepared {
        /// What it is about.
        at: At,
        /// Of the list.
        revision: Revision,
        /// Last entry up to which nothing is missing.
        upto: Seq,
        /// The entry after that was refused, for want of memory.
        refused: bool,
    },
    /// Newcomer to primary: I am to be filled.
    CopyRequest {
        /// What it is about.
        at: At,
        /// Name of the last entry that I have applied; absent: I have nothing.
        applied: Version,
    },
    /// Primary to newcomer: the next part of a copy.
    Copy {
        /// What it is about.
        at: At,
        /// Which copy.
        stream: u64,
        /// Place of this part in it, from 0.
        index: u64,
        /// The part.
        item: CopyItem,
    },
    /// Newcomer to primary: how far I am with the copy.
    CopyAck {
        /// What it is about.
        at: At,
        /// Which copy.
        stream: u64,
        /// Next part that is expected.
        next: u64,
        /// The next part was refused, for want of memory; the copy is over.
        refused: bool,
    },
}

/// A part of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyItem {
    /// The first one.
    Begin {
        /// Whether the newcomer is to throw away what it has; else what follows goes on from there.
        fresh: bool,
    },
    /// Entries of the table, in order of hash.
    Piece {
        /// The entries.
        entries: Vec<CopiedEntry>,
    },
    /// A part of an entry that is too long for a piece. All of them follow each other.
    Fragment {
        /// The key.
        key: Arc<[u8]>,
        /// The write that put the value there.
        version: Version,
        /// How to interpret the value.
        value_type: ValueType,
        /// Length of the whole value.
        value_bytes: u32,
        /// Where in it these bytes belong.
        offset: u32,
        /// The bytes.
        bytes: Arc<[u8]>,
    },
    /// An entry was committed that is about what has been copied already.
    Committed {
        /// The entry.
        entry: LogEntry,
    },
    /// Outcomes of writes that may come again.
    Outcomes {
        /// The outcomes.
        records: Vec<OutcomeRecord>,
        /// Clients of whom some were forgotten, oldest first, and up to which number.
        forgotten: Vec<(ClientId, u64)>,
        /// Whether such a client has itself been forgotten.
        overflowed: bool,
    },
    /// The last one: what follows comes as to a backup.
    End {
        /// Name of the last committed entry: all up to it has been copied.
        commit: Version,
    },
}
