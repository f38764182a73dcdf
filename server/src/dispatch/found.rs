//! A found entry on its way into an answer, in the shape of whichever door asked.

use std::sync::Arc;

use dht_protocol::ids::{Epoch, RequestId, Version};
use dht_protocol::placement::hash::KeyHash;
use dht_protocol::request::Key;
use dht_protocol::response::encode_found_head;
use dht_protocol::value::{ValueRef, ValueType};

use super::output::Output;
use crate::store::{Partition, StoredValue};

/// Most bytes of a stored integer, float or truth value.
const NUMBER_BYTES: usize = 8;

/// How a door writes a found entry around the bytes of its value.
pub(crate) trait FoundShape {
    /// Appends what stands before the value.
    fn head(&mut self, version: Version, value_type: ValueType, value_bytes: usize, out: &mut Vec<u8>);
    /// Appends what stands behind it.
    fn tail(&mut self, out: &mut Vec<u8>);
    /// Whether numbers and truth values, eight bytes at most, go through [`FoundShape::number`].
    fn shows_numbers_as_text(&self) -> bool {
        false
    }
    /// Appends one of those, all of it.
    fn number(&mut self, _version: Version, _value: ValueRef<'_>, _out: &mut Vec<u8>) {}
}

fn is_number(value_type: ValueType) -> bool {
    matches!(value_type, ValueType::INT | ValueType::FLOAT | ValueType::BOOL)
}

/// A found entry in a frame.
pub(super) struct FrameShape {
    pub(super) request_id: RequestId,
    pub(super) epoch: Epoch,
}

impl FoundShape for FrameShape {
    #[inline]
    fn head(&mut self, version: Version, value_type: ValueType, value_bytes: usize, out: &mut Vec<u8>) {
        encode_found_head(self.request_id, self.epoch, version, value_type, value_bytes, out);
    }

    #[inline]
    fn tail(&mut self, _: &mut Vec<u8>) {}
}

/// Appends what `key` holds, in the door's `shape`; `false`, and nothing is appended: there is no entry.
#[inline]
pub(super) fn show_found(
    store: &Partition,
    hash: KeyHash,
    key: Key<'_>,
    output: &mut Output,
    shape: &mut impl FoundShape,
) -> bool {
    let Some(found) = store.get(hash, key.as_bytes()) else { return false };
    let (version, value_type, value_bytes) = (found.version, found.value_type, found.value.len());
    // A number has eight bytes; what only says that it is one goes out as it is.
    let mut number = [0; NUMBER_BYTES];
    if shape.shows_numbers_as_text() && is_number(value_type) && value_bytes <= NUMBER_BYTES {
        let length = found.value.copy_to(&mut number);
        let value = ValueRef { value_type, bytes: &number[..length] };
        output.append(|out| shape.number(version, value, out));
        return true;
    }
    match found.value {
        StoredValue::Inline(pieces) => output.append(|out| {
            shape.head(version, value_type, value_bytes, out);
            pieces.append_to(out);
            shape.tail(out);
        }),
        StoredValue::Large(value) => {
            output.append(|out| shape.head(version, value_type, value_bytes, out));
            output.append_large(Arc::clone(value));
            output.append(|out| shape.tail(out));
        }
    }
    true
}
