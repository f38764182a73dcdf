//! The wire form of messages from node to node. What each kind is, and the bytes of it, stand in PROTOCOL.md.

use crate::error::Malformed;
use crate::ids::{Cfg, ClientId, Epoch, PartitionId, Revision, Seq, Version};
use crate::limits::{
    COPY_OUTCOMES_MAX, COPY_PIECE_ENTRIES_MAX, PEER_MESSAGE_BYTES_MAX, PREPARE_ENTRIES_MAX, VALUE_BYTES_MAX,
};
use crate::wire::{Reader, put_member, put_u8, put_u16, put_u32, put_u64, put_u128};

use super::entry::{CopiedEntry, LogEntry, OutcomeRecord};
use super::entry_codec::{key_head, put_key_head, put_value_bytes, value_bytes};
use super::message::{At, CopyItem, ListTag, PeerBody, PeerMessage};

/// Number of the wire form of messages between daemons that this release writes and reads.
pub const PEER_FORMAT: u8 = 1;

const BEACON: u8 = 0x01;
const GRANT: u8 = 0x02;
const PREPARE: u8 = 0x03;
const PREPARED: u8 = 0x04;
const COPY_REQUEST: u8 = 0x05;
const COPY: u8 = 0x06;
const COPY_ACK: u8 = 0x07;

const ITEM_BEGIN: u8 = 0x01;
const ITEM_PIECE: u8 = 0x02;
const ITEM_FRAGMENT: u8 = 0x03;
const ITEM_COMMITTED: u8 = 0x04;
const ITEM_OUTCOMES: u8 = 0x05;
const ITEM_END: u8 = 0x06;

/// Refuses what is too long or of a format that is not known, and gives the kind.
pub(super) fn begin_reading<'a>(bytes: &'a [u8]) -> Result<(Reader<'a>, u8), Malformed> {
    if bytes.len() > PEER_MESSAGE_BYTES_MAX {
        return Err(Malformed("message: too long"));
    }
    let mut reader = Reader::new(bytes);
    if reader.u8()? != PEER_FORMAT {
        return Err(Malformed("message of an unknown format: this program is too old or too new"));
    }
    let kind = reader.u8()?;
    Ok((reader, kind))
}

impl PeerMessage {
    /// Appends the wire form to `out`.
    ///
    /// # Panics
    /// When a list is longer than its maximum in `limits`, or a key or value: nobody makes one.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_u8(out, PEER_FORMAT);
        put_u8(out, self.body.kind());
        put_u32(out, self.epoch.0);
        put_member(out, self.from);
        put_member(out, self.to);
        self.body.encode(out);
    }

    /// Reads the wire form.
    ///
    /// # Errors
    /// [`Malformed`] when the bytes are no message from node to node of a known format.
    pub fn decode(bytes: &[u8]) -> Result<PeerMessage, Malformed> {
        let (mut reader, kind) = begin_reading(bytes)?;
        let epoch = Epoch(reader.u32()?);
        let (from, to) = (reader.member()?, reader.member()?);
        let body = PeerBody::decode(kind, &mut reader)?;
        reader.end()?;
        Ok(PeerMessage { from, to, epoch, body })
    }
}

impl PeerBody {
    fn kind(&self) -> u8 {
        match self {
            PeerBody::Beacon { .. } => BEACON,
            PeerBody::Grant { .. } => GRANT,
            PeerBody::Prepare { .. } => PREPARE,
            PeerBody::Prepared { .. } => PREPARED,
            PeerBody::CopyRequest { .. } => COPY_REQUEST,
            PeerBody::Copy { .. } => COPY,
            PeerBody::CopyAck { .. } => COPY_ACK,
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            PeerBody::Beacon { number } | PeerBody::Grant { number } => put_u64(out, *number),
            PeerBody::Prepare { at, list, commit, entries } => {
                at.encode(out);
                put_u32(out, list.revision.0);
                put_u64(out, list.base.0);
                put_u64(out, list.end.0);
                put_u64(out, commit.0);
                assert!(entries.len() <= PREPARE_ENTRIES_MAX, "{} entries in a message", entries.len());
                put_u16(out, entries.len() as u16);
                entries.iter().for_each(|entry| entry.encode(out));
            }
            PeerBody::Prepared { at, revision, upto, refused } => {
                at.encode(out);
                put_u32(out, revision.0);
                put_u64(out, upto.0);
                put_u8(out, u8::from(*refused));
            }
            PeerBody::CopyRequest { at, applied } => {
                at.encode(out);
                put_u64(out, applied.0);
            }
            PeerBody::Copy { at, stream, index, item } => {
                at.encode(out);
                put_u64(out, *stream);
                put_u64(out, *index);
                item.encode(out);
            }
            PeerBody::CopyAck { at, stream, next, refused } => {
                at.encode(out);
                put_u64(out, *stream);
                put_u64(out, *next);
                put_u8(out, u8::from(*refused));
            }
        }
    }

    fn decode(kind: u8, reader: &mut Reader<'_>) -> Result<PeerBody, Malformed> {
        Ok(match kind {
            BEACON => PeerBody::Beacon { number: reader.u64()? },
            GRANT => PeerBody::Grant { number: reader.u64()? },
            PREPARE => PeerBody::Prepare {
                at: At::decode(reader)?,
                list: ListTag {
                    revision: Revision(reader.u32()?),
                    base: Seq(reader.u64()?),
                    end: Seq(reader.u64()?),
                },
                commit: Seq(reader.u64()?),
                entries: {
                    let count = usize::from(reader.u16()?);
                    read_list(count, PREPARE_ENTRIES_MAX, reader, LogEntry::decode)?
                },
            },
            PREPARED => PeerBody::Prepared {
                at: At::decode(reader)?,
                revision: Revision(reader.u32()?),
                upto: Seq(reader.u64()?),
                refused: reader.boolean()?,
            },
            COPY_REQUEST => {
                PeerBody::CopyRequest { at: At::decode(reader)?, applied: Version(reader.u64()?) }
            }
            COPY => PeerBody::Copy {
                at: At::decode(reader)?,
                stream: reader.u64()?,
                index: reader.u64()?,
                item: CopyItem::decode(reader)?,
            },
            COPY_ACK => PeerBody::CopyAck {
                at: At::decode(reader)?,
                stream: reader.u64()?,
                next: reader.u64()?,
                refused: reader.boolean()?,
            },
            _ => return Err(Malformed("message: unknown kind")),
        })
    }
}

impl At {
    pub(super) fn encode(self, out: &mut Vec<u8>) {
        put_u32(out, self.partition.0);
        put_u32(out, self.cfg.get());
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<At, Malformed> {
        let (partition, cfg): (u32, Cfg) = (reader.u32()?, reader.cfg()?);
        Ok(At { partition: PartitionId(partition), cfg })
    }
}

impl CopyItem {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            CopyItem::Begin { fresh } => {
                put_u8(out, ITEM_BEGIN);
                put_u8(out, u8::from(*fresh));
            }
            CopyItem::Piece { entries } => {
                put_u8(out, ITEM_PIECE);
                assert!(entries.len() <= COPY_PIECE_ENTRIES_MAX, "{} entries in a piece", entries.len());
                put_u16(out, entries.len() as u16);
                entries.iter().for_each(|entry| entry.encode(out));
            }
            CopyItem::Fragment { key, version, value_type, value_bytes, offset, bytes } => {
                put_u8(out, ITEM_FRAGMENT);
                put_u64(out, version.0);
                put_key_head(out, key, *value_type);
                put_value_bytes(out, *value_bytes as usize);
                put_u32(out, *offset);
                put_value_bytes(out, bytes.len());
                out.extend_from_slice(key);
                out.extend_from_slice(bytes);
            }
            CopyItem::Committed { entry } => {
                put_u8(out, ITEM_COMMITTED);
                entry.encode(out);
            }
            CopyItem::Outcomes { records, forgotten, overflowed } => {
                put_u8(out, ITEM_OUTCOMES);
                put_u8(out, u8::from(*overflowed));
                assert!(records.len() <= COPY_OUTCOMES_MAX, "{} outcomes", records.len());
                assert!(forgotten.len() <= COPY_OUTCOMES_MAX, "{} forgotten clients", forgotten.len());
                put_u32(out, records.len() as u32);
                put_u32(out, forgotten.len() as u32);
                records.iter().for_each(|record| record.encode(out));
                for (client, seq) in forgotten {
                    put_u128(out, client.0);
                    put_u64(out, *seq);
                }
            }
            CopyItem::End { commit } => {
                put_u8(out, ITEM_END);
                put_u64(out, commit.0);
            }
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<CopyItem, Malformed> {
        Ok(match reader.u8()? {
            ITEM_BEGIN => CopyItem::Begin { fresh: reader.boolean()? },
            ITEM_PIECE => {
                let count = usize::from(reader.u16()?);
                let entries = read_list(count, COPY_PIECE_ENTRIES_MAX, reader, CopiedEntry::decode)?;
                CopyItem::Piece { entries }
            }
            ITEM_FRAGMENT => decode_fragment(reader)?,
            ITEM_COMMITTED => CopyItem::Committed { entry: LogEntry::decode(reader)? },
            ITEM_OUTCOMES => {
                let overflowed = reader.boolean()?;
                let (records, forgotten) = (reader.u32()? as usize, reader.u32()? as usize);
                let forgotten_client =
                    |reader: &mut Reader<'_>| Ok((ClientId(reader.u128()?), reader.u64()?));
                CopyItem::Outcomes {
                    overflowed,
                    records: read_list(records, COPY_OUTCOMES_MAX, reader, OutcomeRecord::decode)?,
                    forgotten: read_list(forgotten, COPY_OUTCOMES_MAX, reader, forgotten_client)?,
                }
            }
            ITEM_END => CopyItem::End { commit: Version(reader.u64()?) },
            _ => return Err(Malformed("copy: unknown part")),
        })
    }
}

fn decode_fragment(reader: &mut Reader<'_>) -> Result<CopyItem, Malformed> {
    let version = Version(reader.u64()?);
    let (key_bytes, value_type) = key_head(reader)?;
    let whole = value_bytes(reader)?;
    let offset = reader.u32()? as usize;
    let length = value_bytes(reader)?;
    // Both are at most VALUE_BYTES_MAX, or the first check fails: their sum does not overflow.
    if offset > VALUE_BYTES_MAX || offset + length > whole {
        return Err(Malformed("copy: a fragment lies outside its value"));
    }
    Ok(CopyItem::Fragment {
        key: reader.bytes(key_bytes)?.into(),
        version,
        value_type,
        value_bytes: whole as u32,
        offset: offset as u32,
        bytes: reader.bytes(length)?.into(),
    })
}

/// Reads so many of something. Nothing is set aside for the count: the list grows as its members are read.
fn read_list<T>(
    count: usize,
    count_max: usize,
    reader: &mut Reader<'_>,
    read: impl Fn(&mut Reader<'_>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    if count > count_max {
        return Err(Malformed("a list is longer than its limit"));
    }
    let mut list = Vec::new();
    for _ in 0..count {
        list.push(read(reader)?);
    }
    Ok(list)
}
