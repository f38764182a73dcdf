//! Whether a node takes a request of that size: nodes may take shorter values and requests than the protocol allows,
//! and say so when they are greeted. What they would refuse is refused here, before it is sent.

use dht_protocol::ids::{Epoch, RequestId};
use dht_protocol::limits::HEADER_BYTES;
use dht_protocol::request::Request;
use dht_protocol::response::HelloAnswer;

use crate::error::Error;

/// What is too long in `request` for the node that said `hello`. Costs a look at some lengths, but for a request that
/// only just fits, or only just does not.
pub(crate) fn too_large(request: &Request<'_>, hello: &HelloAnswer) -> Option<Error> {
    if let Request::Put { value, .. } | Request::Append { suffix: value, .. } = request {
        let (bytes, bytes_max) = (value.bytes.len(), hello.value_bytes_max as usize);
        if bytes > bytes_max {
            return Some(Error::TooLarge { what: "value", bytes, bytes_max });
        }
    }
    let bytes_max = hello.body_bytes_max as usize;
    if body_bytes_at_most(request) <= bytes_max {
        return None;
    }
    // It is close, so it is made once more to know.
    let mut frame = Vec::new();
    request.encode(RequestId(0), Epoch(0), &mut frame);
    let bytes = frame.len() - HEADER_BYTES;
    (bytes > bytes_max).then_some(Error::TooLarge { what: "request", bytes, bytes_max })
}

/// Not less than a request's body takes: what it carries, and more than its fixed parts and its token.
fn body_bytes_at_most(request: &Request<'_>) -> usize {
    const FIXED_BYTES: usize = 64;
    FIXED_BYTES
        + match request {
            Request::Put { key, value, .. } | Request::Append { key, suffix: value, .. } => {
                key.as_bytes().len() + value.bytes.len()
            }
            Request::Get { key }
            | Request::Exists { key }
            | Request::Delete { key, .. }
            | Request::Add { key, .. } => key.as_bytes().len(),
            Request::Scan(scan) => scan.prefix.len() + 4 * scan.partitions.len(),
            Request::Hello(_) | Request::Map | Request::Ping | Request::Stats | Request::PeerHello(_) => 0,
        }
}

#[cfg(test)]
mod tests {
    use dht_protocol::cursor::Cursor;
    use dht_protocol::ids::{ClusterId, Incarnation, NodeId};
    use dht_protocol::request::{Condition, Key, PartitionList, Scan, WriteToken};
    use dht_protocol::value::ValueRef;

    use super::*;

    fn hello(value_bytes_max: u32, body_bytes_max: u32) -> HelloAnswer {
        HelloAnswer {
            version: 1,
            features: 0,
            cluster_id: ClusterId(1),
            incarnation: Incarnation(1),
            node: NodeId(0),
            value_bytes_max,
            body_bytes_max,
            write_span_max: 1,
        }
    }

    #[test]
    fn a_request_is_refused_exactly_when_its_body_is_too_long() {
        let (key, value) = (Key::new(b"a key").unwrap(), ValueRef::new(0, &[7; 100]).unwrap());
        let token = Some(WriteToken { seq: 2, floor: 1, retry: true });
        let partitions = [[0; 4]; 9];
        let partitions = PartitionList::from_wire(&partitions);
        let scan = Scan { cursor: Cursor::START, entries_max: 1, prefix: b"pre", partitions };
        let requests = [
            Request::Put {
                key,
                value,
                condition: Condition::IfVersion(dht_protocol::ids::Version(1)),
                token,
            },
            Request::Append { key, suffix: value, token },
            Request::Delete { key, condition: Condition::IfVersion(dht_protocol::ids::Version(1)), token },
            Request::Add { key, delta: 1, token },
            Request::Get { key },
            Request::Exists { key },
            Request::Scan(scan),
            Request::Map,
            Request::Ping,
            Request::Stats,
        ];
        for request in requests {
            let mut frame = Vec::new();
            request.encode(RequestId(1), Epoch(1), &mut frame);
            let body_bytes = frame.len() - HEADER_BYTES;
            assert!(body_bytes <= body_bytes_at_most(&request), "{request:?}");
            assert!(too_large(&request, &hello(100, body_bytes as u32)).is_none(), "{request:?}");
            let Some(one_less) = body_bytes.checked_sub(1) else { continue };
            match too_large(&request, &hello(100, one_less as u32)) {
                Some(Error::TooLarge { what: "request", bytes, bytes_max }) => {
                    assert_eq!((bytes, bytes_max), (body_bytes, one_less));
                }
                other => panic!("{request:?}: {other:?}"),
            }
        }
    }
}
