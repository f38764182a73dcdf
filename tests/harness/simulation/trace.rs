//! What happened, for people: of one key, of one partition, or of the cluster as a whole.

use dht_protocol::ids::PartitionId;
use dht_protocol::peer::{CopyItem, Effect, LogEntry, PeerBody, PeerMessage};

/// What is to be told.
#[derive(Clone, Debug, Default)]
pub struct Tracing {
    /// Operations on this key, and all about its partition.
    pub key: Option<String>,
    /// All about this partition.
    pub partition: Option<u32>,
    /// Starts, crashes, faults and maps.
    pub cluster: bool,
}

/// What a line is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Subject {
    Key(usize),
    Partition(PartitionId),
    Cluster,
}

/// The lines go here.
pub(super) type Sink<'s> = &'s mut dyn FnMut(&str);

/// A run's trace.
pub(super) struct Trace<'s> {
    sink: Option<Sink<'s>>,
    key: Option<usize>,
    partition: Option<PartitionId>,
    cluster: bool,
}

impl<'s> Trace<'s> {
    /// A trace that tells nothing.
    pub(super) const fn none() -> Trace<'s> {
        Trace { sink: None, key: None, partition: None, cluster: false }
    }

    /// A trace of this.
    pub(super) fn of(
        key: Option<usize>,
        partition: Option<PartitionId>,
        cluster: bool,
        sink: Sink<'s>,
    ) -> Trace<'s> {
        let cluster = cluster || key.is_some() || partition.is_some();
        Trace { sink: Some(sink), key, partition, cluster }
    }

    /// Whether a line about that is to be told.
    pub(super) fn wants(&self, subject: Subject) -> bool {
        self.sink.is_some()
            && match subject {
                Subject::Key(key) => self.key == Some(key),
                Subject::Partition(partition) => self.partition == Some(partition),
                Subject::Cluster => self.cluster,
            }
    }

    /// Whether a line about this message is to be told.
    pub(super) fn wants_message(&self, message: &PeerMessage) -> bool {
        self.sink.is_some()
            && partition_of(&message.body).is_some_and(|id| self.wants(Subject::Partition(id)))
    }

    /// Tells it.
    pub(super) fn say(&mut self, now: u64, text: impl AsRef<str>) {
        if let Some(sink) = &mut self.sink {
            sink(&format!("{:>4}.{:06} {}", now / 1_000_000_000, now / 1_000 % 1_000_000, text.as_ref()));
        }
    }
}

/// A message in few words: long values are not shown.
pub(super) fn shown(body: &PeerBody) -> String {
    match body {
        PeerBody::Prepare { at, list, commit, entries } => {
            let entries: Vec<String> = entries.iter().map(shown_entry).collect();
            format!("prepare {at:?} {list:?} commit {} [{}]", commit.0, entries.join(", "))
        }
        PeerBody::Copy { at, stream, index, item } => {
            format!("copy {at:?} stream {stream} #{index} {}", shown_item(item))
        }
        other => format!("{other:?}"),
    }
}

fn shown_entry(entry: &LogEntry) -> String {
    let name = format!("{}.{}", entry.name.cfg().get(), entry.name.seq());
    let effect = match &entry.effect {
        Effect::NoOp => "no-op".to_owned(),
        Effect::Put { key, value, .. } => format!("put {} ({} B)", key.escape_ascii(), value.len()),
        Effect::Delete { key } => format!("delete {}", key.escape_ascii()),
        Effect::Forget { client, seq } => format!("forget {client:?} {seq}"),
    };
    match &entry.origin {
        Some(origin) => format!("{name} {effect} by #{} of {:08x}", origin.seq, origin.client.0 as u32),
        None => format!("{name} {effect}"),
    }
}

fn shown_item(item: &CopyItem) -> String {
    match item {
        CopyItem::Piece { entries } => {
            let keys: Vec<String> = entries
                .iter()
                .map(|entry| format!("{}@{}", entry.key.escape_ascii(), entry.version))
                .collect();
            format!("piece [{}]", keys.join(", "))
        }
        CopyItem::Fragment { key, version, value_bytes, offset, bytes, .. } => {
            format!("fragment {}@{version} {offset}+{} of {value_bytes}", key.escape_ascii(), bytes.len())
        }
        CopyItem::Committed { entry } => format!("committed {}", shown_entry(entry)),
        CopyItem::Outcomes { records, forgotten, .. } => {
            format!("{} outcomes, {} forgotten", records.len(), forgotten.len())
        }
        other => format!("{other:?}"),
    }
}

/// The partition that a message is about.
pub(super) fn partition_of(body: &PeerBody) -> Option<PartitionId> {
    match body {
        PeerBody::Beacon { .. } | PeerBody::Grant { .. } => None,
        PeerBody::Prepare { at, .. }
        | PeerBody::Prepared { at, .. }
        | PeerBody::CopyRequest { at, .. }
        | PeerBody::Copy { at, .. }
        | PeerBody::CopyAck { at, .. } => Some(at.partition),
    }
}
