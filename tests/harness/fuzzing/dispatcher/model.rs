//! What PROTOCOL.md says that a node holds, in a plain map, and what becomes of it by a write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dht_protocol::cursor::Cursor;
use dht_protocol::ids::{ClientId, NodeId, PartitionId, Version};
use dht_protocol::limits::VALUE_BYTES_MAX;
use dht_protocol::placement::hash::KeyHash;
use dht_protocol::placement::map::ClusterMap;
use dht_protocol::request::{Condition, Key, Request, WriteToken};
use dht_protocol::status::Status;
use dht_protocol::value::{ValueRef, ValueType};
use dht_server::dispatch::Identity;

use super::node::Node;
use super::writers::{Outcome, Writers};

/// What a connection has agreed on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Greeting {
    pub(super) greeted: bool,
    /// Who writes on it; `None`: nobody with a name.
    pub(super) client: Option<ClientId>,
}

/// What a key holds.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) version: Version,
    pub(super) value_type: ValueType,
    pub(super) bytes: Vec<u8>,
}

/// Everything that a node holds.
pub(super) struct Model {
    pub(super) map: Arc<ClusterMap>,
    pub(super) identity: Identity,
    pub(super) entries: BTreeMap<Vec<u8>, Entry>,
    /// The keys of `entries` in the order of a scan.
    keys_by_hash: BTreeSet<(KeyHash, Vec<u8>)>,
    pub(super) writers: Writers,
    /// Number of the last write, by partition.
    seqs: Vec<u64>,
}

/// A request that writes, without its key and token.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change<'a> {
    Put(ValueRef<'a>, Condition),
    Delete(Condition),
    Add(i64),
    Append(ValueRef<'a>),
}

/// What a write comes to, and what the key holds after it; `None`: what it held before.
type Evaluated = (Outcome, Option<Option<(ValueType, Vec<u8>)>>);

impl Model {
    pub(super) fn new(node: &Node) -> Model {
        Model {
            map: Arc::clone(&node.map),
            identity: node.identity,
            entries: BTreeMap::new(),
            keys_by_hash: BTreeSet::new(),
            writers: Writers::new(node.may_forget()),
            seqs: vec![0; node.map.ring().partitions_count() as usize],
        }
    }

    /// Whether this node is the partition's primary.
    pub(super) fn serves(&self, partition: PartitionId) -> bool {
        self.primary_of(partition) == Some(self.identity.node)
    }

    pub(super) fn primary_of(&self, partition: PartitionId) -> Option<NodeId> {
        self.map.partition(partition).map(|config| config.primary)
    }

    /// Partition of a key.
    pub(super) fn partition_of(&self, key: &[u8]) -> PartitionId {
        self.map.ring().partition_of(self.map.hash_key().hash(key))
    }

    /// The entries with a cursor in [`from`, `end`), in order, whose key begins with `prefix`.
    pub(super) fn entries_between<'a>(
        &'a self,
        from: Cursor,
        end: Cursor,
        prefix: &'a [u8],
    ) -> impl Iterator<Item = (&'a [u8], &'a Entry)> {
        let hashed = self.keys_by_hash.range((from.first_hash().unwrap_or(KeyHash(u64::MAX)), Vec::new())..);
        let within = hashed.take_while(move |(hash, _)| Cursor::of_hash(*hash) < end);
        let wanted = within.filter(move |(_, key)| key.starts_with(prefix));
        wanted.filter_map(|(_, key)| Some((key.as_slice(), self.entries.get(key)?)))
    }

    /// What a write would come to now.
    pub(super) fn evaluate(&self, key: &[u8], change: Change<'_>) -> Evaluated {
        let current = self.entries.get(key);
        let next = Version::new(self.identity.cfg, self.seqs[self.partition_of(key).0 as usize] + 1);
        let refused = |status| (Outcome { status, version: Version::ABSENT, number: 0 }, None);
        let done = |number, after| (Outcome { status: Status::Ok, version: next, number }, Some(after));
        match change {
            Change::Put(value, condition) => match unmet(condition, current) {
                Some(version) => (Outcome { status: Status::ConditionFailed, version, number: 0 }, None),
                None => done(0, Some((value.value_type, value.bytes.to_vec()))),
            },
            Change::Delete(condition) => match (condition, current) {
                (Condition::Always, None) => refused(Status::NotFound),
                (Condition::Always, Some(_)) => done(0, None),
                (condition, current) => match unmet(condition, current) {
                    None if current.is_some() => done(0, None),
                    unmet => {
                        let version = unmet.unwrap_or(Version::ABSENT);
                        (Outcome { status: Status::ConditionFailed, version, number: 0 }, None)
                    }
                },
            },
            Change::Add(delta) => {
                let before = match current {
                    None => Some(0),
                    Some(entry) => counter(entry),
                };
                let Some(before) = before else { return refused(Status::WrongType) };
                let Some(sum) = before.checked_add(delta) else { return refused(Status::Overflow) };
                match current.map(|entry| entry.value_type) {
                    Some(ValueType::TEXT) => done(sum, Some((ValueType::TEXT, sum.to_string().into_bytes()))),
                    _ => done(sum, Some((ValueType::INT, sum.to_be_bytes().to_vec()))),
                }
            }
            Change::Append(suffix) => {
                let before = current.map_or(&[][..], |entry| &entry.bytes);
                if current.is_some_and(|entry| entry.value_type != suffix.value_type) {
                    return refused(Status::WrongType);
                }
                if before.len() + suffix.bytes.len() > VALUE_BYTES_MAX {
                    return refused(Status::TooLarge);
                }
                let joined = [before, suffix.bytes].concat();
                done(joined.len() as i64, Some((suffix.value_type, joined)))
            }
        }
    }

    /// Applies what [`Model::evaluate`] gave.
    pub(super) fn apply(&mut self, key: &[u8], (outcome, after): Evaluated) {
        let Some(after) = after else { return };
        let partition = self.partition_of(key).0 as usize;
        self.seqs[partition] += 1;
        let hash = self.map.hash_key().hash(key);
        match after {
            None => {
                self.entries.remove(key);
                self.keys_by_hash.remove(&(hash, key.to_vec()));
            }
            Some((value_type, bytes)) => {
                self.keys_by_hash.insert((hash, key.to_vec()));
                let entry = Entry { version: outcome.version, value_type, bytes };
                self.entries.insert(key.to_vec(), entry);
            }
        }
    }
}

/// Key, change and token of a request that writes.
pub(super) fn change_of<'a>(request: &Request<'a>) -> Option<(Key<'a>, Change<'a>, Option<WriteToken>)> {
    match *request {
        Request::Put { key, value, condition, token } => Some((key, Change::Put(value, condition), token)),
        Request::Delete { key, condition, token } => Some((key, Change::Delete(condition), token)),
        Request::Add { key, delta, token } => Some((key, Change::Add(delta), token)),
        Request::Append { key, suffix, token } => Some((key, Change::Append(suffix), token)),
        Request::Hello(_)
        | Request::Map
        | Request::Ping
        | Request::Stats
        | Request::Get { .. }
        | Request::Exists { .. }
        | Request::Scan(_)
        | Request::PeerHello(_) => None,
    }
}

/// The version to refuse with, where a condition does not hold.
fn unmet(condition: Condition, current: Option<&Entry>) -> Option<Version> {
    let version = current.map_or(Version::ABSENT, |entry| entry.version);
    let holds = match condition {
        Condition::Always => true,
        Condition::IfAbsent => current.is_none(),
        Condition::IfPresent => current.is_some(),
        Condition::IfVersion(expected) => expected == version,
    };
    (!holds).then_some(version)
}

/// The number that `ADD` counts with.
fn counter(entry: &Entry) -> Option<i64> {
    match entry.value_type {
        ValueType::INT => entry.bytes.as_slice().try_into().ok().map(i64::from_be_bytes),
        ValueType::TEXT => {
            let text = std::str::from_utf8(&entry.bytes).ok()?;
            let number: i64 = text.parse().ok()?;
            // There is one way to write it.
            (number.to_string() == text).then_some(number)
        }
        _ => None,
    }
}
