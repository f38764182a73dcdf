//! One message of every kind between daemons: what the hex blocks of PROTOCOL.md say, in the code's words.

use std::sync::Arc;

use dht_protocol::error::Malformed;
use dht_protocol::ids::{
    Cfg, ClientId, ClusterId, Epoch, Incarnation, Member, NodeId, PartitionId, Revision, Seq, Version,
};
use dht_protocol::peer::{
    At, Beat, CopiedEntry, CopyItem, Effect, FromCoordinator, Heartbeat, ListTag, LogEntry, Origin, Outcome,
    OutcomeRecord, PeerBody, PeerMessage, ToCoordinator,
};
use dht_protocol::placement::hash::HashKey;
use dht_protocol::placement::replica_map::{Configuration, ListedNode, OnLoss, ReplicaMap, Settings};
use dht_protocol::placement::ring::Ring;
use dht_protocol::status::Status;
use dht_protocol::value::ValueType;

/// A message of any of the three directions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AnyMessage {
    Peer(PeerMessage),
    To(ToCoordinator),
    From(FromCoordinator),
}

impl AnyMessage {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![];
        match self {
            AnyMessage::Peer(message) => message.encode(&mut out),
            AnyMessage::To(message) => message.encode(&mut out),
            AnyMessage::From(message) => message.encode(&mut out),
        }
        out
    }

    /// Reads bytes as a message of the same direction.
    pub(crate) fn decode(&self, bytes: &[u8]) -> Result<AnyMessage, Malformed> {
        Ok(match self {
            AnyMessage::Peer(_) => AnyMessage::Peer(PeerMessage::decode(bytes)?),
            AnyMessage::To(_) => AnyMessage::To(ToCoordinator::decode(bytes)?),
            AnyMessage::From(_) => AnyMessage::From(FromCoordinator::decode(bytes)?),
        })
    }
}

const A: Member = Member { node: NodeId(0), incarnation: Incarnation(0x1122_3344_5566_7788) };
const B: Member = Member { node: NodeId(1), incarnation: Incarnation(0x99AA_BBCC_DDEE_FF00) };
const AT: At = At { partition: PartitionId(2), cfg: Cfg::new(3) };
const CLIENT: ClientId = ClientId(0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f);

fn name(seq: u64) -> Version {
    Version::new(Cfg::new(3), seq)
}

fn shared(text: &str) -> Arc<[u8]> {
    text.as_bytes().into()
}

fn outcome() -> Outcome {
    Outcome { status: Status::Ok, version: name(9), number: 0 }
}

fn put() -> LogEntry {
    LogEntry {
        name: name(9),
        effect: Effect::Put { key: shared("user:1"), value_type: ValueType::TEXT, value: shared("Ada") },
        origin: Some(Origin { client: CLIENT, seq: 7, floor: 5, outcome: outcome() }),
    }
}

/// One entry of every effect.
fn entries() -> Vec<LogEntry> {
    let plain = |seq, effect| LogEntry { name: name(seq), effect, origin: None };
    vec![
        put(),
        plain(10, Effect::Delete { key: shared("k") }),
        plain(11, Effect::NoOp),
        plain(12, Effect::Forget { client: CLIENT, seq: 7 }),
    ]
}

/// The map of the examples: two nodes, 16 partitions, two copies. Partition 2 has lost its backup.
pub(crate) fn replica_map() -> ReplicaMap {
    let node = |member: Member, port| ListedNode {
        id: member.node,
        address: format!("127.0.0.1:{port}"),
        incarnation: member.incarnation,
    };
    let configuration = |partition: u32| Configuration {
        cfg: Cfg::new(1),
        primary: if partition.is_multiple_of(2) { A } else { B },
        primary_since: Epoch(1),
        began: Cfg::new(1),
        handed_over: false,
        backups: vec![if partition.is_multiple_of(2) { B } else { A }],
        joining: vec![],
    };
    let mut partitions: Vec<Configuration> = (0..16).map(configuration).collect();
    partitions[2] = Configuration { cfg: AT.cfg, backups: vec![], joining: vec![B], ..configuration(2) };
    partitions[3] = Configuration {
        cfg: Cfg::new(2),
        primary: A,
        primary_since: Epoch(4),
        began: Cfg::new(1),
        handed_over: true,
        backups: vec![B],
        joining: vec![],
    };
    let settings = Settings { replicas: 2, min_in_sync: 1, on_loss: OnLoss::Wait, refill_delay_ms: 5_000 };
    ReplicaMap::new(ReplicaMap {
        cluster_id: ClusterId(0x0F0E_0D0C_0B0A_0908_0706_0504_0302_0100),
        epoch: Epoch(5),
        ring: Ring::new(16).unwrap(),
        hash_key: HashKey::GUESSABLE,
        settings,
        nodes: vec![node(A, 7400), node(B, 7401)],
        partitions,
    })
    .unwrap()
}

/// Every message that PROTOCOL.md shows, in its order.
pub(crate) fn all() -> Vec<(&'static str, AnyMessage)> {
    let mut samples = between_nodes();
    samples.extend(copies());
    samples.extend(with_the_coordinator());
    samples
}

fn peer(from: Member, to: Member, body: PeerBody) -> AnyMessage {
    AnyMessage::Peer(PeerMessage { from, to, epoch: Epoch(5), body })
}

fn between_nodes() -> Vec<(&'static str, AnyMessage)> {
    let list = ListTag { revision: Revision(1), base: Seq(9), end: Seq(10) };
    let prepare = PeerBody::Prepare { at: AT, list, commit: Seq(8), entries: entries() };
    let prepared = PeerBody::Prepared { at: AT, revision: Revision(1), upto: Seq(11), refused: true };
    vec![
        ("beacon-message", peer(A, B, PeerBody::Beacon { number: 6 })),
        ("grant-message", peer(B, A, PeerBody::Grant { number: 6 })),
        ("prepare-message", peer(A, B, prepare)),
        ("prepared-message", peer(B, A, prepared)),
    ]
}

fn copies() -> Vec<(&'static str, AnyMessage)> {
    let part = |index, item| peer(A, B, PeerBody::Copy { at: AT, stream: 4, index, item });
    let copied = CopiedEntry {
        key: shared("user:1"),
        version: name(9),
        value_type: ValueType::TEXT,
        value: shared("Ada"),
    };
    let fragment = CopyItem::Fragment {
        key: shared("big"),
        version: name(8),
        value_type: ValueType::BYTES,
        value_bytes: 70_000,
        offset: 65_536,
        bytes: shared("tail"),
    };
    let outcomes = CopyItem::Outcomes {
        records: vec![OutcomeRecord { client: CLIENT, seq: 7, outcome: outcome() }],
        forgotten: vec![(ClientId(1), 3)],
        overflowed: false,
    };
    let delete = LogEntry { name: name(10), effect: Effect::Delete { key: shared("k") }, origin: None };
    let ack = PeerBody::CopyAck { at: AT, stream: 4, next: 6, refused: false };
    vec![
        ("copy-request-message", peer(B, A, PeerBody::CopyRequest { at: AT, applied: Version::ABSENT })),
        ("copy-begin-message", part(0, CopyItem::Begin { fresh: true })),
        ("copy-piece-message", part(1, CopyItem::Piece { entries: vec![copied] })),
        ("copy-fragment-message", part(2, fragment)),
        ("copy-committed-message", part(3, CopyItem::Committed { entry: delete })),
        ("copy-outcomes-message", part(4, outcomes)),
        ("copy-end-message", part(5, CopyItem::End { commit: name(10) })),
        ("copy-ack-message", peer(B, A, ack)),
    ]
}

fn with_the_coordinator() -> Vec<(&'static str, AnyMessage)> {
    let heartbeat = Heartbeat {
        node: Some(NodeId(0)),
        incarnation: A.incarnation,
        address: "127.0.0.1:7400".into(),
        number: 31,
        epoch: Epoch(5),
        checksum: replica_map().checksum(),
        echo: 0x0102_0304_0506_0708,
        turns: 1_000,
        accused: vec![B],
    };
    let beat = Beat {
        incarnation: A.incarnation,
        node: Some(NodeId(0)),
        number: 0x0102_0304_0506_0709,
        heard: 31,
        epoch: Epoch(5),
    };
    let At { partition, cfg } = AT;
    vec![
        ("heartbeat-message", AnyMessage::To(ToCoordinator::Heartbeat(heartbeat))),
        ("propose-message", AnyMessage::To(ToCoordinator::Propose { from: A, partition, cfg, newcomer: B })),
        ("hand-over-message", AnyMessage::To(ToCoordinator::HandOver { from: A, partition, cfg, target: B })),
        ("fetch-map-message", AnyMessage::To(ToCoordinator::FetchMap { from: A })),
        ("beat-message", AnyMessage::From(FromCoordinator::Beat(beat))),
        ("map-message", AnyMessage::From(FromCoordinator::Map(Arc::new(replica_map())))),
        ("move-message", AnyMessage::From(FromCoordinator::Move { to: A, partition, cfg, target: B })),
    ]
}
