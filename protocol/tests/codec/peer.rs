//! Messages between daemons: every kind reads back, cut anywhere it is refused, and whatever is read is written as the very
//! bytes that it was read from.

use dht_protocol::ids::{Cfg, Epoch, Incarnation, Member, NodeId};
use dht_protocol::limits::{MAP_MEMBERS_MAX, PEER_MESSAGE_BYTES_MAX, PREPARE_ENTRIES_MAX};
use dht_protocol::peer::{FromCoordinator, PEER_FORMAT, PeerBody, PeerMessage, ToCoordinator};
use dht_protocol::placement::replica_map::ReplicaMap;
use dht_protocol::placement::ring::Ring;
use proptest::prelude::*;

use crate::peer_samples::{self, AnyMessage, replica_map};

#[test]
fn every_message_reads_back() {
    for (name, message) in peer_samples::all() {
        assert_eq!(message.decode(&message.encode()), Ok(message), "{name}");
    }
}

#[test]
fn a_message_cut_anywhere_or_lengthened_is_refused() {
    for (name, message) in peer_samples::all() {
        let mut bytes = message.encode();
        for length in 0..bytes.len() {
            assert!(message.decode(&bytes[..length]).is_err(), "{name} cut to {length} bytes");
        }
        bytes.push(0);
        assert!(message.decode(&bytes).is_err(), "{name} with one byte more");
    }
}

#[test]
fn a_message_with_any_bit_flipped_is_refused_or_says_something_else() {
    for (name, message) in peer_samples::all() {
        let bytes = message.encode();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 0x80 >> (bit % 8);
            if let Ok(read) = message.decode(&flipped) {
                assert_ne!(read, message, "{name}: bit {bit} means nothing");
                assert_eq!(read.encode(), flipped, "{name}: bit {bit}");
            }
        }
    }
}

#[test]
fn a_message_is_of_one_direction_alone() {
    for (name, message) in peer_samples::all() {
        let bytes = message.encode();
        let read = [
            PeerMessage::decode(&bytes).is_ok(),
            ToCoordinator::decode(&bytes).is_ok(),
            FromCoordinator::decode(&bytes).is_ok(),
        ];
        let expected = match message {
            AnyMessage::Peer(_) => [true, false, false],
            AnyMessage::To(_) => [false, true, false],
            AnyMessage::From(_) => [false, false, true],
        };
        assert_eq!(read, expected, "{name}");
    }
}

#[test]
fn a_format_that_is_not_known_is_refused_by_name() {
    for (name, message) in peer_samples::all() {
        let mut bytes = message.encode();
        assert_eq!(bytes[0], PEER_FORMAT);
        bytes[0] += 1;
        let why = message.decode(&bytes).unwrap_err();
        assert!(why.0.contains("unknown format"), "{name}: {why}");
    }
    let too_long = vec![PEER_FORMAT; PEER_MESSAGE_BYTES_MAX + 1];
    assert_eq!(PeerMessage::decode(&too_long).unwrap_err().0, "message: too long");
}

#[test]
fn a_list_that_is_announced_longer_than_its_limit_is_refused() {
    let (_, message) = peer_samples::all().into_iter().find(|(name, _)| *name == "prepare-message").unwrap();
    let mut bytes = message.encode();
    // format 1, kind 1, epoch 4, from 12, to 12, at 8, list 20, commit 8
    let count = 66..68;
    assert_eq!(bytes[count.clone()], [0, 4]);
    bytes[count].copy_from_slice(&(PREPARE_ENTRIES_MAX as u16 + 1).to_be_bytes());
    assert_eq!(message.decode(&bytes).unwrap_err().0, "a list is longer than its limit");
}

#[test]
fn a_fragment_lies_within_its_value() {
    let (_, message) =
        peer_samples::all().into_iter().find(|(name, _)| *name == "copy-fragment-message").unwrap();
    let AnyMessage::Peer(PeerMessage { body: PeerBody::Copy { .. }, .. }) = message else {
        panic!("no copy")
    };
    let bytes = message.encode();
    // ... at 8, stream 8, index 8, kind 1, version 8, length of the key 2, type 1, reserved 1, length of the value 4
    let offset = 30 + 24 + 1 + 12 + 4;
    for (wrong, is_refused) in [(65_536_u32, false), (69_996, false), (69_997, true), (u32::MAX, true)] {
        let mut bytes = bytes.clone();
        bytes[offset..offset + 4].copy_from_slice(&wrong.to_be_bytes());
        assert_eq!(message.decode(&bytes).is_err(), is_refused, "at {wrong}");
    }
}

#[test]
fn a_map_that_breaks_an_invariant_is_refused() {
    let refusal = |change: fn(&mut ReplicaMap)| {
        let mut map = replica_map();
        change(&mut map);
        let mut bytes = vec![];
        map.encode(&mut bytes);
        assert_eq!(map.check_invariants(), ReplicaMap::decode(&bytes).map(|_| ()));
        ReplicaMap::decode(&bytes).unwrap_err().0
    };
    let stranger = Member { node: NodeId(9), incarnation: Incarnation(1) };
    assert_eq!(refusal(|map| map.nodes.swap(0, 1)), "map: node ids must rise");
    assert_eq!(refusal(|map| map.nodes[1].id = NodeId(0)), "map: node ids must rise");
    assert_eq!(
        refusal(|map| map.nodes[1].address = map.nodes[0].address.clone()),
        "map: two nodes of one address"
    );
    assert_eq!(refusal(|map| map.nodes[0].address.clear()), "length of an address");
    assert_eq!(refusal(|map| map.epoch = Epoch(0)), "map: epoch 0");
    assert_eq!(refusal(|map| map.settings.replicas = 0), "map: replicas");
    assert_eq!(refusal(|map| map.settings.min_in_sync = 3), "map: replicas that a write needs");
    assert_eq!(refusal(|map| map.settings.min_in_sync = 0), "map: replicas that a write needs");
    assert_eq!(refusal(|map| map.partitions[4].cfg = Cfg::new(0)), "map: configuration number 0");
    assert_eq!(refusal(|map| map.partitions[4].primary_since = Epoch(0)), "map: since when a primary is one");
    assert_eq!(refusal(|map| map.partitions[4].primary_since = Epoch(6)), "map: since when a primary is one");
    let two_of_one_node = "map: two replicas of a partition on one node";
    assert_eq!(refusal(|map| map.partitions[4].joining = map.partitions[4].backups.clone()), two_of_one_node);
    assert_eq!(refusal(|map| map.partitions[4].primary = map.partitions[4].backups[0]), two_of_one_node);
    let mut map = replica_map();
    map.partitions[5].joining.push(stranger);
    assert_eq!(map.check_invariants().unwrap_err().0, "map: a replica on no node");
    map.partitions[5].joining.clear();
    map.partitions.pop();
    assert_eq!(map.check_invariants().unwrap_err().0, "map: partition count");
    // 65,536 partitions have room for 16 replicas each.
    let ring = Ring::new(65_536).unwrap();
    map.settings.replicas = (MAP_MEMBERS_MAX >> 16) as u8;
    assert_eq!(map.settings.check(ring), Ok(()));
    map.settings.replicas += 1;
    assert_eq!(map.settings.check(ring).unwrap_err().0, "map: too many replicas for so many partitions");
}

#[test]
fn clients_are_told_who_serves_what_and_nothing_else() {
    let map = replica_map();
    let told = map.cluster_map();
    assert_eq!((told.cluster_id(), told.epoch(), told.ring()), (map.cluster_id, map.epoch, map.ring));
    assert_eq!(told.nodes().iter().map(|node| node.id).collect::<Vec<_>>(), [NodeId(0), NodeId(1)]);
    for (partition, configuration) in map.ring.partitions().zip(&map.partitions) {
        let config = told.partition(partition).unwrap();
        assert_eq!((config.cfg, config.primary), (configuration.cfg, configuration.primary.node));
    }
}

#[test]
fn a_checksum_tells_maps_apart() {
    let map = replica_map();
    let mut other = map.clone();
    other.partitions[2].joining.clear();
    assert_ne!(map.checksum(), 0);
    assert_eq!(map.checksum(), map.clone().checksum());
    assert_ne!(map.checksum(), other.checksum());
}

proptest! {
    /// Any bytes behind a known beginning are refused, or are what is written again.
    #[test]
    fn random_bytes_are_refused_or_read_exactly(kind in 0_u8..0x50, rest in proptest::collection::vec(any::<u8>(), 0..300)) {
        let bytes = [&[PEER_FORMAT, kind], rest.as_slice()].concat();
        for (_, like) in peer_samples::all() {
            if let Ok(read) = like.decode(&bytes) {
                prop_assert_eq!(read.encode(), bytes.clone());
            }
        }
    }
}
