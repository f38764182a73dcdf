//! A value whose type is known only when it is read: what an iterator gives, and what `get::<Value>` answers.

use std::fmt;

use dht_protocol::value::{ValueRef, ValueType};

use crate::key::fmt_bytes;

/// A value with its type tag.
///
/// Its serde form is natural in every format but this crate's own, which keeps the tag: `put("k", &value)`
/// stores exactly this value and `get::<Value>("k")` gives whatever is stored.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Raw bytes.
    Bytes(Vec<u8>),
    /// UTF-8 text.
    Text(String),
    /// A signed 64-bit integer; what counters are made of.
    Int(i64),
    /// A 64-bit float.
    Float(f64),
    /// A boolean.
    Bool(bool),
    /// JSON text; not checked.
    Json(String),
    /// MessagePack; not checked.
    MessagePack(Vec<u8>),
    /// A type of the user's own.
    User {
        /// 128..=255.
        tag: u8,
        /// The value.
        bytes: Vec<u8>,
    },
    /// A stored value whose bytes do not keep the promise of its type, such as text that is not UTF-8.
    Raw {
        /// The stored type.
        value_type: ValueType,
        /// The stored bytes.
        bytes: Vec<u8>,
    },
}

impl Value {
    /// The value of that type and these bytes; nothing is lost, whatever they are.
    #[must_use]
    pub fn from_wire(value_type: ValueType, bytes: &[u8]) -> Value {
        let raw = || Value::Raw { value_type, bytes: bytes.to_vec() };
        let number = || <[u8; 8]>::try_from(bytes).ok();
        let text = || std::str::from_utf8(bytes).ok().map(str::to_owned);
        match value_type {
            ValueType::BYTES => Value::Bytes(bytes.to_vec()),
            ValueType::TEXT => text().map_or_else(raw, Value::Text),
            ValueType::INT => number().map_or_else(raw, |bytes| Value::Int(i64::from_be_bytes(bytes))),
            ValueType::FLOAT => number().map_or_else(raw, |bytes| Value::Float(f64::from_be_bytes(bytes))),
            ValueType::BOOL => match bytes {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                _ => raw(),
            },
            ValueType::JSON => text().map_or_else(raw, Value::Json),
            ValueType::MESSAGE_PACK => Value::MessagePack(bytes.to_vec()),
            user => Value::User { tag: user.tag(), bytes: bytes.to_vec() },
        }
    }

    /// The tag and bytes that travel. A user type below 128 is none: it gets a reserved tag, which is refused when it is
    /// sent.
    #[must_use]
    pub fn to_wire(&self) -> (u8, Vec<u8>) {
        let (value_type, bytes) = match self {
            Value::Bytes(bytes) => (ValueType::BYTES, bytes.clone()),
            Value::Text(text) => (ValueType::TEXT, text.as_bytes().to_vec()),
            Value::Int(number) => (ValueType::INT, number.to_be_bytes().to_vec()),
            Value::Float(number) => (ValueType::FLOAT, number.to_be_bytes().to_vec()),
            Value::Bool(truth) => (ValueType::BOOL, vec![u8::from(*truth)]),
            Value::Json(text) => (ValueType::JSON, text.as_bytes().to_vec()),
            Value::MessagePack(bytes) => (ValueType::MESSAGE_PACK, bytes.clone()),
            Value::User { tag, bytes } if *tag < ValueType::USER_MIN.tag() => {
                return (ValueType::MESSAGE_PACK.tag() + 1, bytes.clone());
            }
            Value::User { tag, bytes } => return (*tag, bytes.clone()),
            Value::Raw { value_type, bytes } => (*value_type, bytes.clone()),
        };
        (value_type.tag(), bytes)
    }

    /// The type, for people: `text`, `int`, … as the command line names them.
    #[must_use]
    pub fn type_name(&self) -> String {
        let value_type = match self {
            Value::Bytes(_) => ValueType::BYTES,
            Value::Text(_) => ValueType::TEXT,
            Value::Int(_) => ValueType::INT,
            Value::Float(_) => ValueType::FLOAT,
            Value::Bool(_) => ValueType::BOOL,
            Value::Json(_) => ValueType::JSON,
            Value::MessagePack(_) => ValueType::MESSAGE_PACK,
            Value::User { tag, .. } => return format!("user{tag}"),
            Value::Raw { value_type, .. } => *value_type,
        };
        value_type.to_string()
    }
}

impl From<ValueRef<'_>> for Value {
    fn from(value: ValueRef<'_>) -> Value {
        Value::from_wire(value.value_type, value.bytes)
    }
}

impl fmt::Display for Value {
    /// Text and numbers as they are; bytes as text with `\xNN` for what is not UTF-8; MessagePack as the JSON
    /// that says the same, where there is one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(text) | Value::Json(text) => f.write_str(text),
            Value::Int(number) => write!(f, "{number}"),
            Value::Float(number) => write!(f, "{number}"),
            Value::Bool(truth) => write!(f, "{truth}"),
            Value::MessagePack(bytes) => match rmp_serde::from_slice::<serde_json::Value>(bytes) {
                Ok(json) => write!(f, "{json}"),
                Err(_) => fmt_bytes(bytes, f),
            },
            Value::Bytes(bytes) | Value::User { bytes, .. } | Value::Raw { bytes, .. } => fmt_bytes(bytes, f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_whatever_is_stored() {
        for tag in (0..=6).chain(128..=255) {
            let value_type = ValueType::new(tag).unwrap();
            for bytes in [&b""[..], b"a", b"\xFF\x00", b"12345678", &[1], &[2]] {
                let value = Value::from_wire(value_type, bytes);
                assert_eq!(value.to_wire(), (tag, bytes.to_vec()), "{value:?}");
                assert_eq!(value.type_name(), value_type.to_string());
            }
        }
    }

    #[test]
    fn shows_what_people_can_read() {
        assert_eq!(Value::Bytes(b"a\xFF".to_vec()).to_string(), "a\\xFF");
        assert_eq!(Value::MessagePack(rmp_serde::to_vec(&[1, 2]).unwrap()).to_string(), "[1,2]");
        assert_eq!(Value::Float(0.5).to_string(), "0.5");
    }
}
