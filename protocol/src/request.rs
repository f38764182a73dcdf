//! Requests: what a client asks of a node, and how that reads and writes.

use crate::cursor::Cursor;
use crate::error::RequestError;
use crate::frame;
use crate::header::{Header, PROTOCOL_VERSION};
use crate::ids::{ClientId, ClusterId, Epoch, PartitionId, RequestId, Version};
use crate::limits::{
    KEY_BYTES_MAX, KEY_BYTES_MIN, KEY_RESERVED_FIRST_BYTE, SCAN_PARTITIONS_MAX, VALUE_BYTES_MAX,
};
use crate::op::{Op, flags};
use crate::peer::PeerHello;
use crate::status::Status;
use crate::value::ValueRef;
use crate::wire::{Reader, put_u8, put_u16, put_u32, put_u64};

/// A key that keeps the rules: 1..=65,535 bytes, the first of them not 0xFF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key<'a>(&'a [u8]);

/// Name of a write, so that a retry of it never applies twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteToken {
    /// The client's number for this write, from 1; its retries carry the same.
    pub seq: u64,
    /// The client's lowest unanswered number at the time of sending: `1..=seq`.
    pub floor: u64,
    /// Whether this may be a second arrival.
    pub retry: bool,
}

/// What must hold of the entry for a conditional write to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    Always,
    /// There is no entry.
    IfAbsent,
    /// There is an entry.
    IfPresent,
    /// The entry has this version; [`Version::ABSENT`]: there is no entry.
    IfVersion(Version),
}

/// Body of `HELLO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Lowest protocol version that the client speaks.
    pub version_min: u8,
    /// Highest protocol version that the client speaks.
    pub version_max: u8,
    /// Features that the client asks for; none is defined yet.
    pub features: u64,
    /// Who writes on this connection; zero: writes carry no token.
    pub client_id: ClientId,
    /// The cluster that the client was given; zero: any.
    pub cluster_id: ClusterId,
}

/// Body of `SCAN`: a page of these partitions, in this order, from `cursor` in the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan<'a> {
    /// Where in the first partition to begin.
    pub cursor: Cursor,
    /// Most entries in the page, from 1; the server takes a number above `SCAN_PAGE_ENTRIES_MAX` for that one.
    /// A page has more only when they share the last cursor step.
    pub entries_max: u32,
    /// Only keys that begin with this: 0..=`KEY_BYTES_MAX` bytes.
    pub prefix: &'a [u8],
    /// 1..=`SCAN_PARTITIONS_MAX` partitions.
    pub partitions: PartitionList<'a>,
}

/// Partition numbers as they stand in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionList<'a>(&'a [[u8; 4]]);

/// A request, in somebody else's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// First exchange.
    Hello(Hello),
    /// The cluster map.
    Map,
    /// Are you there?
    Ping,
    /// The node's counters.
    Stats,
    /// Version, type and value of a key.
    Get {
        /// The key.
        key: Key<'a>,
    },
    /// Version of a key.
    Exists {
        /// The key.
        key: Key<'a>,
    },
    /// Writes an entry.
    Put {
        /// The key.
        key: Key<'a>,
        /// Its new value.
        value: ValueRef<'a>,
        /// When to.
        condition: Condition,
        /// The write's name.
        token: Option<WriteToken>,
    },
    /// Removes an entry.
    Delete {
        /// The key.
        key: Key<'a>,
        /// When to: [`Condition::Always`] or [`Condition::IfVersion`].
        condition: Condition,
        /// The write's name.
        token: Option<WriteToken>,
    },
    /// Adds to the counter of that key, which begins at 0.
    Add {
        /// The key.
        key: Key<'a>,
        /// What to add.
        delta: i64,
        /// The write's name.
        token: Option<WriteToken>,
    },
    /// Lengthens the value of that key, which begins empty with the suffix's type.
    Append {
        /// The key.
        key: Key<'a>,
        /// What to append; its type must be the stored one.
        suffix: ValueRef<'a>,
        /// The write's name.
        token: Option<WriteToken>,
    },
    /// One page of entries.
    Scan(Scan<'a>),
    /// One daemon greets another.
    PeerHello(PeerHello),
}

impl<'a> Key<'a> {
    /// A key, if the bytes keep the rules.
    ///
    /// # Errors
    /// [`Status::BadKey`] or [`Status::TooLarge`].
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Result<Key<'a>, RequestError> {
        if bytes.len() > KEY_BYTES_MAX {
            return Err(RequestError {
                status: Status::TooLarge,
                text: "the key is longer than 65,535 bytes",
            });
        }
        if bytes.len() < KEY_BYTES_MIN {
            return Err(RequestError { status: Status::BadKey, text: "the key is empty" });
        }
        if bytes[0] == KEY_RESERVED_FIRST_BYTE {
            return Err(RequestError {
                status: Status::BadKey,
                text: "the key begins with the reserved byte 0xFF",
            });
        }
        Ok(Key(bytes))
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }
}

impl<'a> PartitionList<'a> {
    /// How many there are.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The numbers, in order.
    pub fn iter(self) -> impl ExactSizeIterator<Item = PartitionId> + 'a {
        self.0.iter().map(|bytes| PartitionId(u32::from_be_bytes(*bytes)))
    }

    /// The list that these big-endian numbers make: what [`PartitionList::iter`] answers.
    #[must_use]
    pub const fn from_wire(numbers: &'a [[u8; 4]]) -> PartitionList<'a> {
        PartitionList(numbers)
    }
}

impl<'a> Request<'a> {
    /// The operation.
    #[must_use]
    pub const fn op(&self) -> Op {
        match self {
            Request::Hello(_) => Op::Hello,
            Request::Map => Op::Map,
            Request::Ping => Op::Ping,
            Request::Stats => Op::Stats,
            Request::Get { .. } => Op::Get,
            Request::Exists { .. } => Op::Exists,
            Request::Put { .. } => Op::Put,
            Request::Delete { .. } => Op::Delete,
            Request::Add { .. } => Op::Add,
            Request::Append { .. } => Op::Append,
            Request::Scan(_) => Op::Scan,
            Request::PeerHello(_) => Op::PeerHello,
        }
    }

    /// Reads a request from its frame. Nothing of it has been carried out when this fails.
    ///
    /// # Errors
    /// The status to answer with, and a sentence for people.
    #[inline]
    pub fn decode(header: &Header, body: &'a [u8]) -> Result<Request<'a>, RequestError> {
        if header.version != PROTOCOL_VERSION {
            return Err(Status::UnknownVersion.into());
        }
        let op = Op::from_number(header.code).ok_or(Status::UnknownOpcode)?;
        if header.flags & !op.flags_known() != 0 {
            return Err(Status::UnknownFlag.into());
        }
        let reader = Reader::new(body);
        match op {
            Op::Get => Ok(Request::Get { key: Key::new(body)? }),
            Op::Exists => Ok(Request::Exists { key: Key::new(body)? }),
            Op::Put => decode_put(reader, header.flags),
            Op::Delete => decode_delete(reader, header.flags),
            Op::Add => decode_add(reader, header.flags),
            Op::Append => decode_append(reader, header.flags),
            Op::Scan => decode_scan(reader),
            Op::Hello => decode_hello(reader),
            Op::PeerHello => Ok(Request::PeerHello(PeerHello::decode(body)?)),
            Op::Map => reader.end().map(|()| Request::Map).map_err(RequestError::from),
            Op::Ping => reader.end().map(|()| Request::Ping).map_err(RequestError::from),
            Op::Stats => reader.end().map(|()| Request::Stats).map_err(RequestError::from),
        }
    }

    /// Appends the request's frame to `out`.
    pub fn encode(&self, request_id: RequestId, epoch: Epoch, out: &mut Vec<u8>) {
        let header = Header {
            version: PROTOCOL_VERSION,
            code: self.op() as u8,
            flags: self.flags(),
            request_id,
            epoch,
        };
        let start = frame::begin(out, &header);
        match *self {
            Request::Map | Request::Ping | Request::Stats => {}
            Request::Get { key } | Request::Exists { key } => out.extend_from_slice(key.0),
            Request::Put { key, value, condition, token } => {
                put_write_head(out, key, value.value_type.tag(), token);
                put_expected_version(out, condition);
                out.extend_from_slice(key.0);
                out.extend_from_slice(value.bytes);
            }
            Request::Delete { key, condition, token } => {
                put_write_head(out, key, 0, token);
                put_expected_version(out, condition);
                out.extend_from_slice(key.0);
            }
            Request::Add { key, delta, token } => {
                put_write_head(out, key, 0, token);
                put_u64(out, delta as u64);
                out.extend_from_slice(key.0);
            }
            Request::Append { key, suffix, token } => {
                put_write_head(out, key, suffix.value_type.tag(), token);
                out.extend_from_slice(key.0);
                out.extend_from_slice(suffix.bytes);
            }
            Request::Scan(scan) => encode_scan(&scan, out),
            Request::Hello(hello) => encode_hello(&hello, out),
            Request::PeerHello(hello) => hello.encode(out),
        }
        frame::finish(out, start);
    }

    fn flags(&self) -> u16 {
        match *self {
            Request::Put { condition, token, .. } | Request::Delete { condition, token, .. } => {
                condition.flag() | retry_flag(token)
            }
            Request::Add { token, .. } | Request::Append { token, .. } => retry_flag(token),
            Request::Hello(_)
            | Request::Map
            | Request::Ping
            | Request::Stats
            | Request::Get { .. }
            | Request::Exists { .. }
            | Request::Scan(_)
            | Request::PeerHello(_) => 0,
        }
    }
}

impl Condition {
    const fn flag(self) -> u16 {
        match self {
            Condition::Always => 0,
            Condition::IfAbsent => flags::IF_ABSENT,
            Condition::IfPresent => flags::IF_PRESENT,
            Condition::IfVersion(_) => flags::IF_VERSION,
        }
    }
}

fn retry_flag(token: Option<WriteToken>) -> u16 {
    if token.is_some_and(|token| token.retry) { flags::RETRY } else { 0 }
}

/// key length 2, type 1, reserved 1, seq 8, floor 8
fn put_write_head(out: &mut Vec<u8>, key: Key<'_>, tag: u8, token: Option<WriteToken>) {
    put_u16(out, key.0.len() as u16);
    put_u8(out, tag);
    put_u8(out, 0);
    put_u64(out, token.map_or(0, |token| token.seq));
    put_u64(out, token.map_or(0, |token| token.floor));
}

fn put_expected_version(out: &mut Vec<u8>, condition: Condition) {
    if let Condition::IfVersion(version) = condition {
        put_u64(out, version.0);
    }
}

struct WriteHead {
    key_bytes: usize,
    tag: u8,
    token: Option<WriteToken>,
}

fn read_write_head(reader: &mut Reader<'_>, header_flags: u16) -> Result<WriteHead, RequestError> {
    let key_bytes = usize::from(reader.u16()?);
    let tag = reader.u8()?;
    reader.reserved_u8()?;
    let (seq, floor) = (reader.u64()?, reader.u64()?);
    let retry = header_flags & flags::RETRY != 0;
    let token = match (seq, floor) {
        (0, 0) if retry => return Err(malformed("a retry needs a token")),
        (0, 0) => None,
        (seq, floor) if floor == 0 || floor > seq => return Err(malformed("floor must be 1 to seq")),
        (seq, floor) => Some(WriteToken { seq, floor, retry }),
    };
    Ok(WriteHead { key_bytes, tag, token })
}

fn read_condition(reader: &mut Reader<'_>, header_flags: u16) -> Result<Condition, RequestError> {
    match header_flags & (flags::IF_ABSENT | flags::IF_PRESENT | flags::IF_VERSION) {
        0 => Ok(Condition::Always),
        flags::IF_ABSENT => Ok(Condition::IfAbsent),
        flags::IF_PRESENT => Ok(Condition::IfPresent),
        flags::IF_VERSION => Ok(Condition::IfVersion(Version(reader.u64()?))),
        _ => Err(malformed("more than one condition")),
    }
}

fn read_value(tag: u8, bytes: &[u8]) -> Result<ValueRef<'_>, RequestError> {
    if bytes.len() > VALUE_BYTES_MAX {
        return Err(RequestError { status: Status::TooLarge, text: "the value is longer than 16 MiB" });
    }
    ValueRef::new(tag, bytes).map_err(|_| Status::BadValue.into())
}

fn no_tag(head: &WriteHead) -> Result<(), RequestError> {
    if head.tag == 0 { Ok(()) } else { Err(malformed("reserved byte is not 0")) }
}

fn decode_put(mut reader: Reader<'_>, header_flags: u16) -> Result<Request<'_>, RequestError> {
    let head = read_write_head(&mut reader, header_flags)?;
    let condition = read_condition(&mut reader, header_flags)?;
    let key = Key::new(reader.bytes(head.key_bytes)?)?;
    let value = read_value(head.tag, reader.rest())?;
    Ok(Request::Put { key, value, condition, token: head.token })
}

fn decode_delete(mut reader: Reader<'_>, header_flags: u16) -> Result<Request<'_>, RequestError> {
    let head = read_write_head(&mut reader, header_flags)?;
    no_tag(&head)?;
    let condition = read_condition(&mut reader, header_flags)?;
    let key = Key::new(reader.bytes(head.key_bytes)?)?;
    reader.end()?;
    Ok(Request::Delete { key, condition, token: head.token })
}

fn decode_add(mut reader: Reader<'_>, header_flags: u16) -> Result<Request<'_>, RequestError> {
    let head = read_write_head(&mut reader, header_flags)?;
    no_tag(&head)?;
    let delta = reader.u64()? as i64;
    let key = Key::new(reader.bytes(head.key_bytes)?)?;
    reader.end()?;
    Ok(Request::Add { key, delta, token: head.token })
}

fn decode_append(mut reader: Reader<'_>, header_flags: u16) -> Result<Request<'_>, RequestError> {
    let head = read_write_head(&mut reader, header_flags)?;
    let key = Key::new(reader.bytes(head.key_bytes)?)?;
    let suffix = read_value(head.tag, reader.rest())?;
    if !suffix.value_type.is_appendable() {
        return Err(RequestError {
            status: Status::BadValue,
            text: "only bytes, text and user types can be appended",
        });
    }
    Ok(Request::Append { key, suffix, token: head.token })
}

/// cursor 8, entries 4, partitions 2, prefix length 2, partitions 4 each, prefix
fn encode_scan(scan: &Scan<'_>, out: &mut Vec<u8>) {
    debug_assert!(scan.partitions.len() <= SCAN_PARTITIONS_MAX && scan.prefix.len() <= KEY_BYTES_MAX);
    put_u64(out, scan.cursor.get());
    put_u32(out, scan.entries_max);
    put_u16(out, scan.partitions.len() as u16);
    put_u16(out, scan.prefix.len() as u16);
    out.extend_from_slice(scan.partitions.0.as_flattened());
    out.extend_from_slice(scan.prefix);
}

fn decode_scan(mut reader: Reader<'_>) -> Result<Request<'_>, RequestError> {
    let cursor = Cursor::new(reader.u64()?).ok_or(malformed("cursor past the end of the ring"))?;
    let entries_max = reader.u32()?;
    let partitions_count = usize::from(reader.u16()?);
    let prefix_bytes = usize::from(reader.u16()?);
    let (partitions, _) = reader.bytes(partitions_count * 4)?.as_chunks::<4>();
    let prefix = reader.bytes(prefix_bytes)?;
    reader.end()?;
    if entries_max == 0 {
        return Err(malformed("a page of 0 entries"));
    }
    if partitions.is_empty() || partitions.len() > SCAN_PARTITIONS_MAX {
        return Err(malformed("a scan names 1 to 1,024 partitions"));
    }
    Ok(Request::Scan(Scan { cursor, entries_max, prefix, partitions: PartitionList(partitions) }))
}

/// lowest version 1, highest version 1, reserved 2, features 8, client id 16, cluster id 16
fn encode_hello(hello: &Hello, out: &mut Vec<u8>) {
    put_u8(out, hello.version_min);
    put_u8(out, hello.version_max);
    put_u16(out, 0);
    put_u64(out, hello.features);
    out.extend_from_slice(&hello.client_id.0.to_be_bytes());
    out.extend_from_slice(&hello.cluster_id.0.to_be_bytes());
}

fn decode_hello(mut reader: Reader<'_>) -> Result<Request<'_>, RequestError> {
    let (version_min, version_max) = (reader.u8()?, reader.u8()?);
    reader.reserved_u16()?;
    let hello = Hello {
        version_min,
        version_max,
        features: reader.u64()?,
        client_id: ClientId(reader.u128()?),
        cluster_id: ClusterId(reader.u128()?),
    };
    reader.end()?;
    if version_min > version_max {
        return Err(malformed("version range is empty"));
    }
    Ok(Request::Hello(hello))
}

fn malformed(text: &'static str) -> RequestError {
    RequestError { status: Status::Malformed, text }
}
