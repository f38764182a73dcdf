//! Requests in few words.

use dht_protocol::cursor::Cursor;
use dht_protocol::ids::Version;
use dht_protocol::request::{Condition, Key, PartitionList, Request, Scan, WriteToken};
use dht_protocol::value::{ValueRef, ValueType};

/// A key that keeps the rules.
///
/// # Panics
/// When it does not.
#[must_use]
#[track_caller]
pub fn key(bytes: &[u8]) -> Key<'_> {
    Key::new(bytes).expect("the test gives a key that keeps the rules")
}

/// `GET`.
#[must_use]
#[track_caller]
pub fn get(name: &[u8]) -> Request<'_> {
    Request::Get { key: key(name) }
}

/// `EXISTS`.
#[must_use]
#[track_caller]
pub fn exists(name: &[u8]) -> Request<'_> {
    Request::Exists { key: key(name) }
}

/// `PUT` of raw bytes, whatever is there, without a token.
#[must_use]
#[track_caller]
pub fn put<'a>(name: &'a [u8], bytes: &'a [u8]) -> Request<'a> {
    put_if(name, bytes, Condition::Always)
}

/// `PUT` of raw bytes under a condition, without a token.
#[must_use]
#[track_caller]
pub fn put_if<'a>(name: &'a [u8], bytes: &'a [u8], condition: Condition) -> Request<'a> {
    let value = ValueRef { value_type: ValueType::BYTES, bytes };
    Request::Put { key: key(name), value, condition, token: None }
}

/// `PUT` of any type, without a token.
#[must_use]
#[track_caller]
pub fn put_typed<'a>(name: &'a [u8], value_type: ValueType, bytes: &'a [u8]) -> Request<'a> {
    let value = ValueRef { value_type, bytes };
    Request::Put { key: key(name), value, condition: Condition::Always, token: None }
}

/// `DELETE` of whatever is there, without a token.
#[must_use]
#[track_caller]
pub fn delete(name: &[u8]) -> Request<'_> {
    Request::Delete { key: key(name), condition: Condition::Always, token: None }
}

/// `DELETE` of one version, without a token.
#[must_use]
#[track_caller]
pub fn delete_version(name: &[u8], version: u64) -> Request<'_> {
    Request::Delete { key: key(name), condition: Condition::IfVersion(Version(version)), token: None }
}

/// `ADD` without a token.
#[must_use]
#[track_caller]
pub fn add(name: &[u8], delta: i64) -> Request<'_> {
    Request::Add { key: key(name), delta, token: None }
}

/// `APPEND` of raw bytes without a token.
#[must_use]
#[track_caller]
pub fn append<'a>(name: &'a [u8], bytes: &'a [u8]) -> Request<'a> {
    append_typed(name, ValueType::BYTES, bytes)
}

/// `APPEND` of any type, without a token.
#[must_use]
#[track_caller]
pub fn append_typed<'a>(name: &'a [u8], value_type: ValueType, bytes: &'a [u8]) -> Request<'a> {
    Request::Append { key: key(name), suffix: ValueRef { value_type, bytes }, token: None }
}

/// `SCAN` of `partitions`, as they stand in a frame.
#[must_use]
pub fn scan<'a>(
    cursor: Cursor,
    entries_max: u32,
    prefix: &'a [u8],
    partitions: &'a [[u8; 4]],
) -> Request<'a> {
    Request::Scan(Scan { cursor, entries_max, prefix, partitions: PartitionList::from_wire(partitions) })
}

/// The write `request` under number `seq` and floor `floor`, as its first copy.
///
/// # Panics
/// When it is no write.
#[must_use]
#[track_caller]
pub fn first(request: Request<'_>, seq: u64, floor: u64) -> Request<'_> {
    with_token(request, WriteToken { seq, floor, retry: false })
}

/// The write `request` under number `seq` and floor `floor`, marked as sent before.
///
/// # Panics
/// When it is no write.
#[must_use]
#[track_caller]
pub fn retry(request: Request<'_>, seq: u64, floor: u64) -> Request<'_> {
    with_token(request, WriteToken { seq, floor, retry: true })
}

#[track_caller]
fn with_token(mut request: Request<'_>, name: WriteToken) -> Request<'_> {
    match &mut request {
        Request::Put { token, .. }
        | Request::Delete { token, .. }
        | Request::Add { token, .. }
        | Request::Append { token, .. } => *token = Some(name),
        other => panic!("{:?} is no write", other.op()),
    }
    request
}
