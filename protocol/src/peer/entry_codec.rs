//! The wire form of what messages between nodes carry of a partition's contents: log entries, copied entries, outcomes.
//!
//! Lengths are checked against their limits before bytes are taken for them, and lists grow as their members are read:
//! nothing is set aside for what is only announced.

use std::sync::Arc;

use crate::error::Malformed;
use crate::ids::{ClientId, Version};
use crate::limits::{KEY_BYTES_MAX, KEY_BYTES_MIN, VALUE_BYTES_MAX};
use crate::status::Status;
use crate::value::ValueType;
use crate::wire::{Reader, put_u8, put_u16, put_u32, put_u64, put_u128};

use super::entry::{CopiedEntry, Effect, LogEntry, Origin, Outcome, OutcomeRecord};

const NO_OP: u8 = 0;
const PUT: u8 = 1;
const DELETE: u8 = 2;
const FORGET: u8 = 3;

impl LogEntry {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.name.0);
        let kind = match &self.effect {
            Effect::NoOp => NO_OP,
            Effect::Put { .. } => PUT,
            Effect::Delete { .. } => DELETE,
            Effect::Forget { .. } => FORGET,
        };
        put_u8(out, kind);
        put_u8(out, u8::from(self.origin.is_some()));
        match &self.effect {
            Effect::NoOp => {}
            Effect::Put { key, value_type, value } => put_key_value(out, key, *value_type, value),
            Effect::Delete { key } => {
                put_key_bytes(out, key);
                out.extend_from_slice(key);
            }
            Effect::Forget { client, seq } => {
                put_u128(out, client.0);
                put_u64(out, *seq);
            }
        }
        if let Some(origin) = &self.origin {
            put_u128(out, origin.client.0);
            put_u64(out, origin.seq);
            put_u64(out, origin.floor);
            origin.outcome.encode(out);
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<LogEntry, Malformed> {
        let name = Version(reader.u64()?);
        let kind = reader.u8()?;
        let has_origin = reader.boolean()?;
        let effect = match kind {
            NO_OP => Effect::NoOp,
            PUT => {
                let (key, value_type, value) = key_value(reader)?;
                Effect::Put { key, value_type, value }
            }
            DELETE => {
                let key_bytes = key_bytes(reader)?;
                Effect::Delete { key: reader.bytes(key_bytes)?.into() }
            }
            FORGET => Effect::Forget { client: ClientId(reader.u128()?), seq: reader.u64()? },
            _ => return Err(Malformed("log entry: unknown effect")),
        };
        let origin = if has_origin { Some(Origin::decode(reader)?) } else { None };
        Ok(LogEntry { name, effect, origin })
    }
}

impl Origin {
    fn decode(reader: &mut Reader<'_>) -> Result<Origin, Malformed> {
        Ok(Origin {
            client: ClientId(reader.u128()?),
            seq: reader.u64()?,
            floor: reader.u64()?,
            outcome: Outcome::decode(reader)?,
        })
    }
}

impl Outcome {
    fn encode(&self, out: &mut Vec<u8>) {
        put_u8(out, self.status as u8);
        put_u64(out, self.version.0);
        put_u64(out, self.number as u64);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Outcome, Malformed> {
        Ok(Outcome {
            status: Status::from_number(reader.u8()?).ok_or(Malformed("outcome: unknown status"))?,
            version: Version(reader.u64()?),
            number: reader.u64()? as i64,
        })
    }
}

impl OutcomeRecord {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_u128(out, self.client.0);
        put_u64(out, self.seq);
        self.outcome.encode(out);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<OutcomeRecord, Malformed> {
        Ok(OutcomeRecord {
            client: ClientId(reader.u128()?),
            seq: reader.u64()?,
            outcome: Outcome::decode(reader)?,
        })
    }
}

impl CopiedEntry {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.version.0);
        put_key_value(out, &self.key, self.value_type, &self.value);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<CopiedEntry, Malformed> {
        let version = Version(reader.u64()?);
        let (key, value_type, value) = key_value(reader)?;
        Ok(CopiedEntry { key, version, value_type, value })
    }
}

/// Length of the key 2, type 1, reserved 1, length of the value 4, key, value.
fn put_key_value(out: &mut Vec<u8>, key: &[u8], value_type: ValueType, value: &[u8]) {
    put_key_head(out, key, value_type);
    put_value_bytes(out, value.len());
    out.extend_from_slice(key);
    out.extend_from_slice(value);
}

/// What [`put_key_value`] wrote: key, type, value.
type KeyValue = (Arc<[u8]>, ValueType, Arc<[u8]>);

fn key_value(reader: &mut Reader<'_>) -> Result<KeyValue, Malformed> {
    let (key_bytes, value_type) = key_head(reader)?;
    let value_bytes = value_bytes(reader)?;
    Ok((reader.bytes(key_bytes)?.into(), value_type, reader.bytes(value_bytes)?.into()))
}

/// Length of the key 2, type 1, reserved 1.
pub(super) fn put_key_head(out: &mut Vec<u8>, key: &[u8], value_type: ValueType) {
    put_key_bytes(out, key);
    put_u8(out, value_type.tag());
    put_u8(out, 0);
}

pub(super) fn key_head(reader: &mut Reader<'_>) -> Result<(usize, ValueType), Malformed> {
    let key_bytes = key_bytes(reader)?;
    let value_type = ValueType::new(reader.u8()?).map_err(|_| Malformed("type of a value"))?;
    reader.reserved_u8()?;
    Ok((key_bytes, value_type))
}

fn put_key_bytes(out: &mut Vec<u8>, key: &[u8]) {
    assert!((KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&key.len()), "a key of {} bytes", key.len());
    put_u16(out, key.len() as u16);
}

fn key_bytes(reader: &mut Reader<'_>) -> Result<usize, Malformed> {
    let key_bytes = usize::from(reader.u16()?);
    if (KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&key_bytes) {
        Ok(key_bytes)
    } else {
        Err(Malformed("length of a key"))
    }
}

pub(super) fn put_value_bytes(out: &mut Vec<u8>, value_bytes: usize) {
    assert!(value_bytes <= VALUE_BYTES_MAX, "a value of {value_bytes} bytes");
    put_u32(out, value_bytes as u32);
}

pub(super) fn value_bytes(reader: &mut Reader<'_>) -> Result<usize, Malformed> {
    let value_bytes = reader.u32()? as usize;
    if value_bytes <= VALUE_BYTES_MAX { Ok(value_bytes) } else { Err(Malformed("length of a value")) }
}
