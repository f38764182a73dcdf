//! How a [`Value`] goes through serde: naturally in every format, and with its tag kept in this crate's own.
//!
//! Both directions wrap the value into a newtype struct of a private name, which every format but ours sees
//! through. Ours ([`crate::typed`]) knows the name:
//! - Writing, it calls the inner serialization between [`RawRequest::begin`] and its end; the inner one finds
//!   the request and hands over tag and bytes as one byte string instead of the natural form.
//! - Reading, it answers with a map of one private key whose value is tag and bytes.

use std::cell::Cell;
use std::fmt;

use dht_protocol::value::ValueType;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{self, Serialize, Serializer};

use crate::value::Value;

/// Name of the newtype struct, and of the one key of the map.
pub(crate) const PRIVATE_NAME: &str = "$dht_client::private::Value";

thread_local! {
    /// Whether the next serialization of a [`Natural`] on this thread shall hand over tag and bytes.
    static RAW_REQUESTED: Cell<bool> = const { Cell::new(false) };
}

/// Asks for tag and bytes, for as long as it lives.
#[must_use]
pub(crate) struct RawRequest(());

impl RawRequest {
    pub(crate) fn begin() -> RawRequest {
        RAW_REQUESTED.set(true);
        RawRequest(())
    }
}

impl Drop for RawRequest {
    fn drop(&mut self) {
        RAW_REQUESTED.set(false);
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(PRIVATE_NAME, &Natural(self))
    }
}

/// The value in the form that a format without our tags can say.
struct Natural<'a>(&'a Value);

impl Serialize for Natural<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if RAW_REQUESTED.take() {
            let (tag, mut bytes) = self.0.to_wire();
            bytes.insert(0, tag);
            return serializer.serialize_bytes(&bytes);
        }
        match self.0 {
            Value::Bytes(bytes) | Value::User { bytes, .. } | Value::Raw { bytes, .. } => {
                serializer.serialize_bytes(bytes)
            }
            Value::Text(text) => serializer.serialize_str(text),
            Value::Int(number) => serializer.serialize_i64(*number),
            Value::Float(number) => serializer.serialize_f64(*number),
            Value::Bool(truth) => serializer.serialize_bool(*truth),
            Value::Json(text) => serde_json::from_str::<serde_json::Value>(text)
                .map_err(ser::Error::custom)?
                .serialize(serializer),
            Value::MessagePack(bytes) => rmp_serde::from_slice::<serde_json::Value>(bytes)
                .map_err(ser::Error::custom)?
                .serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_newtype_struct(PRIVATE_NAME, ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(NaturalVisitor)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        match map.next_key::<String>()? {
            Some(key) if key == PRIVATE_NAME => Ok(map.next_value::<Tagged>()?.0),
            _ => Err(de::Error::custom("not a value of this crate's own format")),
        }
    }
}

/// Tag and bytes, as our deserializer gives them.
struct Tagged(Value);

impl<'de> Deserialize<'de> for Tagged {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Tagged, D::Error> {
        struct TaggedVisitor;

        impl Visitor<'_> for TaggedVisitor {
            type Value = Tagged;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a type tag and bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Tagged, E> {
                let (tag, bytes) = bytes.split_first().ok_or_else(|| E::custom("a value without a tag"))?;
                let value_type = ValueType::new(*tag).map_err(E::custom)?;
                Ok(Tagged(Value::from_wire(value_type, bytes)))
            }
        }

        deserializer.deserialize_bytes(TaggedVisitor)
    }
}

/// Reads whatever a self-describing format holds; what has parts becomes JSON.
struct NaturalVisitor;

impl NaturalVisitor {
    fn json<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        let json = serde_json::Value::deserialize(deserializer)?;
        Ok(Value::Json(json.to_string()))
    }
}

impl<'de> Visitor<'de> for NaturalVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Int(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(i64::try_from(number).map_or_else(|_| Value::Json(number.to_string()), Value::Int))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Float(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Value, E> {
        Ok(Value::Bytes(bytes.to_vec()))
    }

    fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Value, E> {
        Ok(Value::Bytes(bytes))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Json("null".to_owned()))
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Value, A::Error> {
        Self::json(SeqAccessDeserializer::new(seq))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
        Self::json(MapAccessDeserializer::new(map))
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize as _;
    use serde_json::json;

    use super::*;

    #[test]
    fn other_formats_see_the_natural_form() {
        for (value, natural) in [
            (Value::Text("a".into()), json!("a")),
            (Value::Int(-3), json!(-3)),
            (Value::Float(1.5), json!(1.5)),
            (Value::Bool(true), json!(true)),
            (Value::Json("{\"a\":[1,null]}".into()), json!({"a": [1, null]})),
            (Value::MessagePack(rmp_serde::to_vec(&(1, "x")).unwrap()), json!([1, "x"])),
            (Value::Bytes(vec![1, 2]), json!([1, 2])),
            (Value::User { tag: 200, bytes: vec![1] }, json!([1])),
        ] {
            assert_eq!(serde_json::to_value(&value).unwrap(), natural);
        }
        assert!(serde_json::to_value(Value::Json("{".into())).is_err());
    }

    #[test]
    fn other_formats_read_back_as_the_nearest_value() {
        let read = |json: &str| serde_json::from_str::<Value>(json).unwrap();
        assert_eq!(read("\"a\""), Value::Text("a".into()));
        assert_eq!(read("7"), Value::Int(7));
        assert_eq!(read("18446744073709551615"), Value::Json("18446744073709551615".into()));
        assert_eq!(read("[1,{\"a\":2}]"), Value::Json("[1,{\"a\":2}]".into()));
        assert_eq!(read("null"), Value::Json("null".into()));
    }

    #[test]
    fn a_value_inside_a_struct_keeps_its_natural_form() {
        #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
        struct Row {
            value: Value,
        }
        let row = Row { value: Value::Int(5) };
        let bytes = rmp_serde::to_vec_named(&row).unwrap();
        assert_eq!(rmp_serde::from_slice::<serde_json::Value>(&bytes).unwrap(), json!({"value": 5}));
        assert_eq!(rmp_serde::from_slice::<Row>(&bytes).unwrap(), row);
    }

    #[test]
    fn a_request_for_raw_bytes_ends_with_its_guard() {
        drop(RawRequest::begin());
        assert_eq!(Value::Int(1).serialize(serde_json::value::Serializer).unwrap(), json!(1));
    }
}
