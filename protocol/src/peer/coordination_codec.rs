//! The wire form of what nodes and their coordinator say to each other. What each kind is, and the bytes of it, stand in
//! PROTOCOL.md.

use std::sync::Arc;

use crate::error::Malformed;
use crate::ids::{Epoch, Incarnation, NodeId};
use crate::limits::ACCUSED_MAX;
use crate::placement::replica_map::ReplicaMap;
use crate::wire::{Reader, put_address, put_member, put_u8, put_u16, put_u32, put_u64};

use super::coordination::{Beat, FromCoordinator, Heartbeat, ToCoordinator};
use super::message::At;
use super::message_codec::{PEER_FORMAT, begin_reading};

const HEARTBEAT: u8 = 0x20;
const PROPOSE: u8 = 0x21;
const HAND_OVER: u8 = 0x22;
const FETCH_MAP: u8 = 0x23;

const BEAT: u8 = 0x40;
const MAP: u8 = 0x41;
const MOVE: u8 = 0x42;

const UNKNOWN_KIND: Malformed = Malformed("message: unknown kind");

impl ToCoordinator {
    /// Appends the wire form to `out`.
    ///
    /// # Panics
    /// When a list or an address is longer than its maximum in `limits`: nobody makes one.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_u8(out, PEER_FORMAT);
        match self {
            ToCoordinator::Heartbeat(heartbeat) => {
                put_u8(out, HEARTBEAT);
                heartbeat.encode(out);
            }
            ToCoordinator::Propose { from, partition, cfg, newcomer: whom }
            | ToCoordinator::HandOver { from, partition, cfg, target: whom } => {
                put_u8(out, if matches!(self, ToCoordinator::Propose { .. }) { PROPOSE } else { HAND_OVER });
                put_member(out, *from);
                At { partition: *partition, cfg: *cfg }.encode(out);
                put_member(out, *whom);
            }
            ToCoordinator::FetchMap { from } => {
                put_u8(out, FETCH_MAP);
                put_member(out, *from);
            }
        }
    }

    /// Reads the wire form.
    ///
    /// # Errors
    /// [`Malformed`] when the bytes are no message to a coordinator of a known format.
    pub fn decode(bytes: &[u8]) -> Result<ToCoordinator, Malformed> {
        let (mut reader, kind) = begin_reading(bytes)?;
        let message = match kind {
            HEARTBEAT => ToCoordinator::Heartbeat(Heartbeat::decode(&mut reader)?),
            PROPOSE => {
                let (from, At { partition, cfg }) = (reader.member()?, At::decode(&mut reader)?);
                ToCoordinator::Propose { from, partition, cfg, newcomer: reader.member()? }
            }
            HAND_OVER => {
                let (from, At { partition, cfg }) = (reader.member()?, At::decode(&mut reader)?);
                ToCoordinator::HandOver { from, partition, cfg, target: reader.member()? }
            }
            FETCH_MAP => ToCoordinator::FetchMap { from: reader.member()? },
            _ => return Err(UNKNOWN_KIND),
        };
        reader.end()?;
        Ok(message)
    }
}

impl FromCoordinator {
    /// Appends the wire form to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_u8(out, PEER_FORMAT);
        match self {
            FromCoordinator::Beat(beat) => {
                put_u8(out, BEAT);
                put_u64(out, beat.incarnation.0);
                put_node(out, beat.node);
                put_u64(out, beat.number);
                put_u64(out, beat.heard);
                put_u32(out, beat.epoch.0);
            }
            FromCoordinator::Map(map) => {
                put_u8(out, MAP);
                map.encode(out);
            }
            FromCoordinator::Move { to, partition, cfg, target } => {
                put_u8(out, MOVE);
                put_member(out, *to);
                At { partition: *partition, cfg: *cfg }.encode(out);
                put_member(out, *target);
            }
        }
    }

    /// Reads the wire form.
    ///
    /// # Errors
    /// [`Malformed`] when the bytes are no message from a coordinator of a known format.
    pub fn decode(bytes: &[u8]) -> Result<FromCoordinator, Malformed> {
        let (mut reader, kind) = begin_reading(bytes)?;
        let message = match kind {
            BEAT => FromCoordinator::Beat(Beat {
                incarnation: Incarnation(reader.u64()?),
                node: node(&mut reader)?,
                number: reader.u64()?,
                heard: reader.u64()?,
                epoch: Epoch(reader.u32()?),
            }),
            MAP => return Ok(FromCoordinator::Map(Arc::new(ReplicaMap::decode(reader.rest())?))),
            MOVE => {
                let (to, At { partition, cfg }) = (reader.member()?, At::decode(&mut reader)?);
                FromCoordinator::Move { to, partition, cfg, target: reader.member()? }
            }
            _ => return Err(UNKNOWN_KIND),
        };
        reader.end()?;
        Ok(message)
    }
}

impl Heartbeat {
    fn encode(&self, out: &mut Vec<u8>) {
        put_node(out, self.node);
        put_u64(out, self.incarnation.0);
        put_u64(out, self.number);
        put_u32(out, self.epoch.0);
        put_u64(out, self.checksum);
        put_u64(out, self.echo);
        put_u64(out, self.turns);
        put_address(out, &self.address);
        assert!(self.accused.len() <= ACCUSED_MAX, "{} accused", self.accused.len());
        put_u16(out, self.accused.len() as u16);
        self.accused.iter().for_each(|member| put_member(out, *member));
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Heartbeat, Malformed> {
        let node = node(reader)?;
        let incarnation = Incarnation(reader.u64()?);
        let number = reader.u64()?;
        let epoch = Epoch(reader.u32()?);
        let (checksum, echo, turns) = (reader.u64()?, reader.u64()?, reader.u64()?);
        let address = reader.address()?.to_owned();
        let accused_count = usize::from(reader.u16()?);
        if accused_count > ACCUSED_MAX {
            return Err(Malformed("heartbeat: too many accused"));
        }
        let accused = reader.members(accused_count)?;
        Ok(Heartbeat { node, incarnation, address, number, epoch, checksum, echo, turns, accused })
    }
}

/// Whether there is one 1, its number 4: 0 without one.
fn put_node(out: &mut Vec<u8>, node: Option<NodeId>) {
    put_u8(out, u8::from(node.is_some()));
    put_u32(out, node.map_or(0, |node| node.0));
}

fn node(reader: &mut Reader<'_>) -> Result<Option<NodeId>, Malformed> {
    match (reader.boolean()?, reader.u32()?) {
        (true, number) => Ok(Some(NodeId(number))),
        (false, 0) => Ok(None),
        (false, _) => Err(Malformed("a number of no node")),
    }
}
