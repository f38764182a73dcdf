//! Responses: what a node answers, and how that reads and writes. A body's layout follows from the request's
//! operation and the response's status.

use std::borrow::Cow;

use crate::cursor::Cursor;
use crate::error::Malformed;
use crate::frame;
use crate::header::{Header, PROTOCOL_VERSION};
use crate::ids::{ClusterId, Epoch, Incarnation, NodeId, PartitionId, RequestId, Version};
use crate::limits::{HEADER_BYTES, REFUSAL_TEXT_BYTES_MAX, STAT_NAME_BYTES_MAX, STATS_MAX, VALUE_BYTES_MAX};
use crate::op::Op;
use crate::peer::PeerHello;
use crate::placement::map::{ClusterMap, PartitionConfig};
use crate::request::Key;
use crate::status::Status;
use crate::value::{ValueRef, ValueType};
use crate::wire::{Reader, put_u8, put_u16, put_u32, put_u64};

/// Body of the answer to `HELLO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HelloAnswer {
    /// Protocol version of every later frame on this connection.
    pub version: u8,
    /// Features in force; none is defined yet.
    pub features: u64,
    /// The cluster that the node belongs to.
    pub cluster_id: ClusterId,
    /// Which start of the node this is.
    pub incarnation: Incarnation,
    /// The node's own id.
    pub node: NodeId,
    /// Longest value that the node takes, bytes.
    pub value_bytes_max: u32,
    /// Longest body of a frame that the node takes, bytes.
    pub body_bytes_max: u32,
    /// Widest gap between a write's number and the client's floor.
    pub write_span_max: u32,
}

/// Body of `NOT_OWNER`: the partition's configuration in the node's map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotOwner {
    /// The partition of the key that was asked for.
    pub partition: PartitionId,
    /// Who serves it.
    pub config: PartitionConfig,
}

/// One entry of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageEntry<'a> {
    /// The key.
    pub key: &'a [u8],
    /// State of the entry.
    pub version: Version,
    /// Type of the value.
    pub value_type: ValueType,
    /// Length of the value, bytes.
    pub value_bytes: u32,
    /// The value, unless the page leaves it out.
    pub value: Option<&'a [u8]>,
}

/// Body of the answer to `SCAN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page<'a> {
    /// How many of the partitions asked for are done with, from the first.
    pub partitions_done: u16,
    /// Where the first of the others goes on; without meaning when all are done.
    pub next: Cursor,
    entries_count: u32,
    entries: &'a [u8],
}

/// The body says why; the status is one of the refusals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal<'a> {
    /// `CONDITION_FAILED`: the entry's version, [`Version::ABSENT`] when there is none.
    ConditionFailed(Version),
    /// `NOT_OWNER`.
    NotOwner(NotOwner),
    /// Any other status but `OK`, with a sentence for people.
    Other(Status, Cow<'a, str>),
}

/// A response, in somebody else's buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response<'a> {
    /// To `HELLO`.
    Hello(HelloAnswer),
    /// To `MAP`.
    Map(Box<ClusterMap>),
    /// To `PING`.
    Pong,
    /// To `STATS`: names and numbers.
    Stats(Vec<(Cow<'a, str>, u64)>),
    /// To `GET`.
    Found {
        /// State of the entry.
        version: Version,
        /// Its value.
        value: ValueRef<'a>,
    },
    /// To `EXISTS`, `PUT`, `DELETE`: the entry's version, or the write's.
    Version(Version),
    /// To `ADD`.
    Counted {
        /// The write's version.
        version: Version,
        /// The counter after it.
        value: i64,
    },
    /// To `APPEND`.
    Appended {
        /// The write's version.
        version: Version,
        /// Length of the value after it, bytes.
        value_bytes: u32,
    },
    /// To `SCAN`.
    Page(Page<'a>),
    /// To `PEER_HELLO`.
    PeerHello(PeerHello),
    /// The status is not `OK`.
    Refused(Refusal<'a>),
}

/// Bytes of a found entry's body before the value: version 8, type 1.
pub const FOUND_HEAD_BYTES: usize = 9;

/// Bytes of a page's entry before its key: version 8, type 1, flags 1, key length 2, value length 4.
pub const PAGE_ENTRY_HEAD_BYTES: usize = 16;

/// Entry flag in a page: the value is left out.
const VALUE_LEFT_OUT: u8 = 1;

impl<'a> Refusal<'a> {
    /// The status of the response.
    #[must_use]
    pub const fn status(&self) -> Status {
        match self {
            Refusal::ConditionFailed(_) => Status::ConditionFailed,
            Refusal::NotOwner(_) => Status::NotOwner,
            Refusal::Other(status, _) => *status,
        }
    }

    /// A refusal with the status's own sentence; for any status but `OK`, `CONDITION_FAILED` and `NOT_OWNER`.
    #[must_use]
    pub const fn of(status: Status) -> Refusal<'a> {
        Refusal::Other(status, Cow::Borrowed(status.text()))
    }
}

impl<'a> Response<'a> {
    /// The status of the response.
    #[must_use]
    pub const fn status(&self) -> Status {
        match self {
            Response::Refused(refusal) => refusal.status(),
            _ => Status::Ok,
        }
    }

    /// Appends the response's frame to `out`.
    pub fn encode(&self, request_id: RequestId, epoch: Epoch, out: &mut Vec<u8>) {
        let start = frame::begin(out, &response_header(self.status(), request_id, epoch));
        match self {
            Response::Pong => {}
            Response::Hello(answer) => encode_hello_answer(answer, out),
            Response::Map(map) => map.encode(out),
            Response::Stats(stats) => encode_stats(stats, out),
            Response::Found { version, value } => {
                put_u64(out, version.0);
                put_u8(out, value.value_type.tag());
                out.extend_from_slice(value.bytes);
            }
            Response::Version(version) => put_u64(out, version.0),
            Response::Counted { version, value } => {
                put_u64(out, version.0);
                put_u64(out, *value as u64);
            }
            Response::Appended { version, value_bytes } => {
                put_u64(out, version.0);
                put_u32(out, *value_bytes);
            }
            Response::Page(page) => {
                put_page_head(out, page.partitions_done, page.next, page.entries_count);
                out.extend_from_slice(page.entries);
            }
            Response::PeerHello(hello) => hello.encode(out),
            Response::Refused(refusal) => encode_refusal(refusal, out),
        }
        frame::finish(out, start);
    }

    /// Reads the response to a request of operation `op`.
    ///
    /// # Errors
    /// [`Malformed`]: the node does not keep to PROTOCOL.md, and the connection is of no more use.
    pub fn decode(op: Op, header: &Header, body: &'a [u8]) -> Result<Response<'a>, Malformed> {
        if header.version != PROTOCOL_VERSION {
            return Err(Malformed("protocol version of a response"));
        }
        if header.flags != 0 {
            return Err(Malformed("flags of a response"));
        }
        let status = Status::from_number(header.code).ok_or(Malformed("status"))?;
        let mut reader = Reader::new(body);
        if status != Status::Ok {
            return decode_refusal(status, reader).map(Response::Refused);
        }
        let response = match op {
            Op::Hello => Response::Hello(decode_hello_answer(&mut reader)?),
            Op::Map => return ClusterMap::decode(body).map(Box::new).map(Response::Map),
            Op::Ping => Response::Pong,
            Op::Stats => Response::Stats(decode_stats(&mut reader)?),
            Op::Get => return decode_found(reader),
            Op::Exists | Op::Put | Op::Delete => Response::Version(Version(reader.u64()?)),
            Op::Add => Response::Counted { version: Version(reader.u64()?), value: reader.u64()? as i64 },
            Op::Append => Response::Appended { version: Version(reader.u64()?), value_bytes: reader.u32()? },
            Op::Scan => return Page::decode(reader).map(Response::Page),
            Op::PeerHello => return PeerHello::decode(body).map(Response::PeerHello),
        };
        reader.end()?;
        Ok(response)
    }
}

/// Header of a response.
#[must_use]
pub const fn response_header(status: Status, request_id: RequestId, epoch: Epoch) -> Header {
    Header { version: PROTOCOL_VERSION, code: status as u8, flags: 0, request_id, epoch }
}

/// Appends the frame of a found entry up to the value, whose `value_bytes` bytes the caller sends behind it: how
/// a large value goes out without a copy.
#[inline]
pub fn encode_found_head(
    request_id: RequestId,
    epoch: Epoch,
    version: Version,
    value_type: ValueType,
    value_bytes: usize,
    out: &mut Vec<u8>,
) {
    let header = response_header(Status::Ok, request_id, epoch);
    // In one piece, as this is the most frequent of answers.
    let mut head = [0; HEADER_BYTES + FOUND_HEAD_BYTES];
    head[..HEADER_BYTES].copy_from_slice(&header.encode(FOUND_HEAD_BYTES + value_bytes));
    head[HEADER_BYTES..HEADER_BYTES + size_of::<Version>()].copy_from_slice(&version.0.to_be_bytes());
    head[HEADER_BYTES + size_of::<Version>()] = value_type.tag();
    out.extend_from_slice(&head);
}

/// Builds the frame of a page, entry by entry.
#[derive(Debug)]
pub struct PageWriter {
    start: frame::FrameStart,
    head_at: usize,
    entries_count: u32,
}

impl PageWriter {
    /// Starts the frame at the end of `out`.
    pub fn begin(request_id: RequestId, epoch: Epoch, out: &mut Vec<u8>) -> PageWriter {
        let start = frame::begin(out, &response_header(Status::Ok, request_id, epoch));
        let head_at = out.len();
        put_page_head(out, 0, Cursor::START, 0);
        PageWriter { start, head_at, entries_count: 0 }
    }

    /// Appends an entry.
    pub fn push(&mut self, entry: &PageEntry<'_>, out: &mut Vec<u8>) {
        debug_assert!(entry.value.is_none_or(|value| value.len() == entry.value_bytes as usize));
        put_u64(out, entry.version.0);
        put_u8(out, entry.value_type.tag());
        put_u8(out, if entry.value.is_some() { 0 } else { VALUE_LEFT_OUT });
        put_u16(out, entry.key.len() as u16);
        put_u32(out, entry.value_bytes);
        out.extend_from_slice(entry.key);
        out.extend_from_slice(entry.value.unwrap_or(&[]));
        self.entries_count += 1;
    }

    /// Entries so far.
    #[must_use]
    pub const fn entries_count(&self) -> u32 {
        self.entries_count
    }

    /// Bytes of the body so far.
    #[must_use]
    pub const fn body_bytes(&self, out: &[u8]) -> usize {
        out.len() - self.head_at
    }

    /// Completes the frame.
    pub fn finish(self, partitions_done: u16, next: Cursor, out: &mut [u8]) {
        let mut head = Vec::with_capacity(PAGE_HEAD_BYTES);
        put_page_head(&mut head, partitions_done, next, self.entries_count);
        out[self.head_at..self.head_at + PAGE_HEAD_BYTES].copy_from_slice(&head);
        frame::finish(out, self.start);
    }
}

/// partitions done 2, reserved 2, next cursor 8, entries 4
const PAGE_HEAD_BYTES: usize = 16;

fn put_page_head(out: &mut Vec<u8>, partitions_done: u16, next: Cursor, entries_count: u32) {
    put_u16(out, partitions_done);
    put_u16(out, 0);
    put_u64(out, next.get());
    put_u32(out, entries_count);
}

impl<'a> Page<'a> {
    /// How many entries there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries_count as usize
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries_count == 0
    }

    /// The entries, by rising cursor within each partition.
    pub fn entries(&self) -> impl Iterator<Item = PageEntry<'a>> {
        let mut reader = Reader::new(self.entries);
        // `decode` has read them all once without an error.
        std::iter::from_fn(move || read_page_entry(&mut reader).ok())
    }

    fn decode(mut reader: Reader<'a>) -> Result<Page<'a>, Malformed> {
        let partitions_done = reader.u16()?;
        reader.reserved_u16()?;
        let next = Cursor::new(reader.u64()?).ok_or(Malformed("cursor of a page"))?;
        let entries_count = reader.u32()?;
        let entries = reader.rest();
        let mut check = Reader::new(entries);
        for _ in 0..entries_count {
            read_page_entry(&mut check)?;
        }
        check.end()?;
        Ok(Page { partitions_done, next, entries_count, entries })
    }
}

fn read_page_entry<'a>(reader: &mut Reader<'a>) -> Result<PageEntry<'a>, Malformed> {
    let version = Version(reader.u64()?);
    let value_type = ValueType::new(reader.u8()?).map_err(|_| Malformed("value type in a page"))?;
    let left_out = match reader.u8()? {
        0 => false,
        VALUE_LEFT_OUT => true,
        _ => return Err(Malformed("flags of a page's entry")),
    };
    let key_bytes = usize::from(reader.u16()?);
    let value_bytes = reader.u32()?;
    if value_bytes as usize > VALUE_BYTES_MAX {
        return Err(Malformed("value in a page is too long"));
    }
    let key = Key::new(reader.bytes(key_bytes)?).map_err(|_| Malformed("key in a page"))?.as_bytes();
    let value = if left_out { None } else { Some(reader.bytes(value_bytes as usize)?) };
    if value.is_some_and(|bytes| ValueRef::new(value_type.tag(), bytes).is_err()) {
        return Err(Malformed("value in a page does not fit its type"));
    }
    Ok(PageEntry { key, version, value_type, value_bytes, value })
}

fn decode_found(mut reader: Reader<'_>) -> Result<Response<'_>, Malformed> {
    let version = Version(reader.u64()?);
    let tag = reader.u8()?;
    let bytes = reader.rest();
    if bytes.len() > VALUE_BYTES_MAX {
        return Err(Malformed("value is too long"));
    }
    let value = ValueRef::new(tag, bytes).map_err(|_| Malformed("value type or length"))?;
    Ok(Response::Found { version, value })
}

/// version 1, reserved 3, node 4, features 8, cluster id 16, incarnation 8, limits 4 each
fn encode_hello_answer(answer: &HelloAnswer, out: &mut Vec<u8>) {
    put_u8(out, answer.version);
    put_u8(out, 0);
    put_u16(out, 0);
    put_u32(out, answer.node.0);
    put_u64(out, answer.features);
    out.extend_from_slice(&answer.cluster_id.0.to_be_bytes());
    put_u64(out, answer.incarnation.0);
    put_u32(out, answer.value_bytes_max);
    put_u32(out, answer.body_bytes_max);
    put_u32(out, answer.write_span_max);
}

fn decode_hello_answer(reader: &mut Reader<'_>) -> Result<HelloAnswer, Malformed> {
    let version = reader.u8()?;
    reader.reserved_u8()?;
    reader.reserved_u16()?;
    let node = NodeId(reader.u32()?);
    Ok(HelloAnswer {
        version,
        node,
        features: reader.u64()?,
        cluster_id: ClusterId(reader.u128()?),
        incarnation: Incarnation(reader.u64()?),
        value_bytes_max: reader.u32()?,
        body_bytes_max: reader.u32()?,
        write_span_max: reader.u32()?,
    })
}

fn encode_stats(stats: &[(Cow<'_, str>, u64)], out: &mut Vec<u8>) {
    debug_assert!(stats.len() <= STATS_MAX);
    put_u16(out, stats.len() as u16);
    for (name, number) in stats {
        debug_assert!(name.len() <= STAT_NAME_BYTES_MAX);
        put_u8(out, name.len() as u8);
        out.extend_from_slice(name.as_bytes());
        put_u64(out, *number);
    }
}

fn decode_stats<'a>(reader: &mut Reader<'a>) -> Result<Vec<(Cow<'a, str>, u64)>, Malformed> {
    let count = usize::from(reader.u16()?);
    if count > STATS_MAX {
        return Err(Malformed("too many statistics"));
    }
    (0..count)
        .map(|_| {
            let length = usize::from(reader.u8()?);
            let name =
                std::str::from_utf8(reader.bytes(length)?).map_err(|_| Malformed("name of a statistic"))?;
            Ok((Cow::Borrowed(name), reader.u64()?))
        })
        .collect()
}

fn encode_refusal(refusal: &Refusal<'_>, out: &mut Vec<u8>) {
    match refusal {
        Refusal::ConditionFailed(version) => put_u64(out, version.0),
        Refusal::NotOwner(not_owner) => {
            put_u32(out, not_owner.partition.0);
            put_u32(out, not_owner.config.cfg.get());
            put_u32(out, not_owner.config.primary.0);
        }
        Refusal::Other(status, text) => {
            // These have bodies of their own: whoever reads the response would not find a text there.
            debug_assert!(!matches!(status, Status::Ok | Status::ConditionFailed | Status::NotOwner));
            let end = text.floor_char_boundary(REFUSAL_TEXT_BYTES_MAX);
            out.extend_from_slice(&text.as_bytes()[..end]);
        }
    }
}

fn decode_refusal(status: Status, mut reader: Reader<'_>) -> Result<Refusal<'_>, Malformed> {
    let refusal = match status {
        Status::ConditionFailed => Refusal::ConditionFailed(Version(reader.u64()?)),
        Status::NotOwner => Refusal::NotOwner(NotOwner {
            partition: PartitionId(reader.u32()?),
            config: PartitionConfig { cfg: reader.cfg()?, primary: NodeId(reader.u32()?) },
        }),
        _ => {
            return decode_refusal_text(reader.rest())
                .map(|text| Refusal::Other(status, Cow::Borrowed(text)));
        }
    };
    reader.end()?;
    Ok(refusal)
}

fn decode_refusal_text(bytes: &[u8]) -> Result<&str, Malformed> {
    if bytes.len() > REFUSAL_TEXT_BYTES_MAX {
        return Err(Malformed("text of a refusal is too long"));
    }
    std::str::from_utf8(bytes).map_err(|_| Malformed("text of a refusal is not UTF-8"))
}
