//! From Rust types to stored values and back.
//!
//! | Rust, at the top level | stored as |
//! |---|---|
//! | `i8` to `i64` | int |
//! | `f32`, `f64` | float |
//! | `bool` | bool |
//! | `str`, `String`, `char` | text |
//! | a byte string (`serde_bytes`, [`Value::Bytes`](crate::Value::Bytes)) | bytes |
//! | [`Value`](crate::Value) | what it says |
//! | anything else (unsigned integers, options, structs, sequences, maps, enums …) | MessagePack, fields by name |
//!
//! A newtype struct is stored as what it wraps. Reading goes by the stored type, not by the wanted one: any
//! number type into which an int fits will do, a `Vec<u8>` reads bytes, and JSON and MessagePack read as any
//! type of their shape.

use std::fmt;

use dht_protocol::value::{ValueRef, ValueType};
use serde::Serialize;
use serde::de::value::{BytesDeserializer, SeqDeserializer, StrDeserializer};
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, Visitor,
};
use serde::ser::{self, Impossible, Serializer};

use crate::error::{Error, Result};
use crate::value_serde::{PRIVATE_NAME, RawRequest};

/// A value in its stored form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Encoded {
    pub(crate) tag: u8,
    pub(crate) bytes: Vec<u8>,
}

/// Brings `value` into its stored form.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Encoded> {
    match value.serialize(Scalar) {
        Ok(encoded) => Ok(encoded),
        Err(NotScalar::Composite) => rmp_serde::to_vec_named(value)
            .map(|bytes| Encoded { tag: ValueType::MESSAGE_PACK.tag(), bytes })
            .map_err(|error| Error::Encode { reason: error.to_string() }),
        Err(NotScalar::Failed(reason)) => Err(Error::Encode { reason }),
    }
}

/// Reads a stored value as a `T`.
pub(crate) fn decode<T: DeserializeOwned>(value: ValueRef<'_>) -> Result<T> {
    T::deserialize(Stored(value)).map_err(|error| Error::Decode {
        stored: value.value_type,
        wanted: std::any::type_name::<T>(),
        reason: error.0,
    })
}

/// Serializer of what has a type of its own; refuses everything that has parts.
struct Scalar;

/// Why [`Scalar`] does not serialize a value.
#[derive(Debug)]
enum NotScalar {
    /// It has parts, or no type of its own: MessagePack's business.
    Composite,
    /// Its own serialization failed.
    Failed(String),
}

impl fmt::Display for NotScalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotScalar::Composite => f.write_str("has parts"),
            NotScalar::Failed(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for NotScalar {}

impl ser::Error for NotScalar {
    fn custom<T: fmt::Display>(message: T) -> NotScalar {
        NotScalar::Failed(message.to_string())
    }
}

type ScalarResult = std::result::Result<Encoded, NotScalar>;
type Never = Impossible<Encoded, NotScalar>;
type CompositeResult = std::result::Result<Never, NotScalar>;

fn stored(value_type: ValueType, bytes: &[u8]) -> ScalarResult {
    Ok(Encoded { tag: value_type.tag(), bytes: bytes.to_vec() })
}

macro_rules! ints {
    ($($method:ident: $type:ty,)*) => {
        $(fn $method(self, number: $type) -> ScalarResult {
            stored(ValueType::INT, &i64::from(number).to_be_bytes())
        })*
    };
}

macro_rules! composites {
    ($($method:ident($($argument:ty),*) -> $result:ty;)*) => {
        $(fn $method(self, $(_: $argument),*) -> $result {
            Err(NotScalar::Composite)
        })*
    };
}

impl Serializer for Scalar {
    type Ok = Encoded;
    type Error = NotScalar;
    type SerializeSeq = Never;
    type SerializeTuple = Never;
    type SerializeTupleStruct = Never;
    type SerializeTupleVariant = Never;
    type SerializeMap = Never;
    type SerializeStruct = Never;
    type SerializeStructVariant = Never;

    ints! {
        serialize_i8: i8,
        serialize_i16: i16,
        serialize_i32: i32,
        serialize_i64: i64,
    }

    fn serialize_bool(self, truth: bool) -> ScalarResult {
        stored(ValueType::BOOL, &[u8::from(truth)])
    }

    fn serialize_f32(self, number: f32) -> ScalarResult {
        self.serialize_f64(f64::from(number))
    }

    fn serialize_f64(self, number: f64) -> ScalarResult {
        stored(ValueType::FLOAT, &number.to_be_bytes())
    }

    fn serialize_char(self, character: char) -> ScalarResult {
        self.serialize_str(character.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, text: &str) -> ScalarResult {
        stored(ValueType::TEXT, text.as_bytes())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> ScalarResult {
        stored(ValueType::BYTES, bytes)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, inner: &T) -> ScalarResult {
        if name != PRIVATE_NAME {
            return inner.serialize(self);
        }
        let request = RawRequest::begin();
        let mut encoded = inner.serialize(self)?;
        drop(request);
        if encoded.bytes.is_empty() {
            return Err(NotScalar::Failed("a value without a tag".to_owned()));
        }
        encoded.tag = encoded.bytes.remove(0);
        ValueRef::new(encoded.tag, &encoded.bytes).map_err(|error| NotScalar::Failed(error.to_string()))?;
        Ok(encoded)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> ScalarResult {
        Err(NotScalar::Composite)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> ScalarResult {
        Err(NotScalar::Composite)
    }

    composites! {
        serialize_i128(i128) -> ScalarResult;
        serialize_u8(u8) -> ScalarResult;
        serialize_u16(u16) -> ScalarResult;
        serialize_u32(u32) -> ScalarResult;
        serialize_u64(u64) -> ScalarResult;
        serialize_u128(u128) -> ScalarResult;
        serialize_none() -> ScalarResult;
        serialize_unit() -> ScalarResult;
        serialize_unit_struct(&'static str) -> ScalarResult;
        serialize_unit_variant(&'static str, u32, &'static str) -> ScalarResult;
        serialize_seq(Option<usize>) -> CompositeResult;
        serialize_tuple(usize) -> CompositeResult;
        serialize_tuple_struct(&'static str, usize) -> CompositeResult;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> CompositeResult;
        serialize_map(Option<usize>) -> CompositeResult;
        serialize_struct(&'static str, usize) -> CompositeResult;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> CompositeResult;
    }

    /// As [`rmp_serde`], so that a type looks the same to both.
    fn is_human_readable(&self) -> bool {
        false
    }
}

/// Deserializer of a stored value.
#[derive(Clone, Copy)]
struct Stored<'de>(ValueRef<'de>);

/// What does not fit.
#[derive(Debug)]
struct Mismatch(String);

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Mismatch {}

impl de::Error for Mismatch {
    fn custom<T: fmt::Display>(message: T) -> Mismatch {
        Mismatch(message.to_string())
    }
}

type Decoded<T> = std::result::Result<T, Mismatch>;

impl<'de> Stored<'de> {
    fn json<T>(
        self,
        read: impl FnOnce(&mut serde_json::Deserializer<serde_json::de::SliceRead<'de>>) -> serde_json::Result<T>,
    ) -> Decoded<T> {
        let mut deserializer = serde_json::Deserializer::from_slice(self.0.bytes);
        let out = read(&mut deserializer).map_err(de::Error::custom)?;
        deserializer.end().map_err(de::Error::custom)?;
        Ok(out)
    }

    fn message_pack<T>(
        self,
        read: impl FnOnce(
            &mut rmp_serde::Deserializer<rmp_serde::decode::ReadReader<&mut &'de [u8]>>,
        ) -> std::result::Result<T, rmp_serde::decode::Error>,
    ) -> Decoded<T> {
        let mut rest = self.0.bytes;
        let out = read(&mut rmp_serde::Deserializer::new(&mut rest)).map_err(de::Error::custom)?;
        match rest {
            [] => Ok(out),
            rest => Err(de::Error::custom(format_args!("{} bytes follow the value", rest.len()))),
        }
    }

    /// What is neither JSON nor MessagePack gives what it holds.
    fn scalar<V: Visitor<'de>>(self, visitor: V) -> Decoded<V::Value> {
        let bytes = self.0.bytes;
        let number = || <[u8; 8]>::try_from(bytes).map_err(|_| Mismatch(format!("{} bytes", bytes.len())));
        match self.0.value_type {
            ValueType::INT => visitor.visit_i64(i64::from_be_bytes(number()?)),
            ValueType::FLOAT => visitor.visit_f64(f64::from_be_bytes(number()?)),
            ValueType::BOOL => visitor.visit_bool(bytes != [0]),
            ValueType::TEXT => match std::str::from_utf8(bytes) {
                Ok(text) => visitor.visit_borrowed_str(text),
                Err(error) => Err(de::Error::custom(error)),
            },
            _ => visitor.visit_borrowed_bytes(bytes),
        }
    }

    /// Bytes give a sequence of bytes, so that a `Vec<u8>` or a `[u8; N]` reads them.
    fn scalar_seq<V: Visitor<'de>>(self, visitor: V) -> Decoded<V::Value> {
        if self.0.value_type != ValueType::BYTES && self.0.value_type < ValueType::USER_MIN {
            return self.scalar(visitor);
        }
        let mut seq = SeqDeserializer::new(self.0.bytes.iter().copied());
        let out = visitor.visit_seq(&mut seq)?;
        seq.end()?;
        Ok(out)
    }

    /// Text names a variant without fields.
    fn scalar_enum<V: Visitor<'de>>(self, visitor: V) -> Decoded<V::Value> {
        match (self.0.value_type, std::str::from_utf8(self.0.bytes)) {
            (ValueType::TEXT, Ok(text)) => visitor.visit_enum(text.into_deserializer()),
            _ => self.scalar(visitor),
        }
    }
}

/// Methods of the deserializer: each goes to the format that the stored type names, or to the scalar one.
macro_rules! forward {
    ($($method:ident($($argument:ident: $type:ty),*) else $scalar:ident;)*) => {
        $(fn $method<V: Visitor<'de>>(self, $($argument: $type,)* visitor: V) -> Decoded<V::Value> {
            match self.0.value_type {
                ValueType::JSON => self.json(|json| json.$method($($argument,)* visitor)),
                ValueType::MESSAGE_PACK => self.message_pack(|pack| pack.$method($($argument,)* visitor)),
                _ => self.$scalar(visitor),
            }
        })*
    };
}

impl<'de> Deserializer<'de> for Stored<'de> {
    type Error = Mismatch;

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Decoded<V::Value> {
        if name == PRIVATE_NAME {
            return visitor.visit_map(PrivateMap { value: Some(self.0) });
        }
        match self.0.value_type {
            ValueType::JSON => self.json(|json| json.deserialize_newtype_struct(name, visitor)),
            ValueType::MESSAGE_PACK => {
                self.message_pack(|pack| pack.deserialize_newtype_struct(name, visitor))
            }
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Decoded<V::Value> {
        match self.0.value_type {
            ValueType::JSON => self.json(|json| json.deserialize_option(visitor)),
            ValueType::MESSAGE_PACK => self.message_pack(|pack| pack.deserialize_option(visitor)),
            _ => visitor.visit_some(self),
        }
    }

    forward! {
        deserialize_any() else scalar;
        deserialize_bool() else scalar;
        deserialize_i8() else scalar;
        deserialize_i16() else scalar;
        deserialize_i32() else scalar;
        deserialize_i64() else scalar;
        deserialize_i128() else scalar;
        deserialize_u8() else scalar;
        deserialize_u16() else scalar;
        deserialize_u32() else scalar;
        deserialize_u64() else scalar;
        deserialize_u128() else scalar;
        deserialize_f32() else scalar;
        deserialize_f64() else scalar;
        deserialize_char() else scalar;
        deserialize_str() else scalar;
        deserialize_string() else scalar;
        deserialize_bytes() else scalar;
        deserialize_byte_buf() else scalar;
        deserialize_unit() else scalar;
        deserialize_unit_struct(name: &'static str) else scalar;
        deserialize_seq() else scalar_seq;
        deserialize_tuple(len: usize) else scalar_seq;
        deserialize_tuple_struct(name: &'static str, len: usize) else scalar_seq;
        deserialize_map() else scalar;
        deserialize_struct(name: &'static str, fields: &'static [&'static str]) else scalar;
        deserialize_enum(name: &'static str, variants: &'static [&'static str]) else scalar_enum;
        deserialize_identifier() else scalar;
        deserialize_ignored_any() else scalar;
    }

    fn is_human_readable(&self) -> bool {
        self.0.value_type == ValueType::JSON
    }
}

/// The one entry under the private name, from which a `Value` reads tag and bytes.
struct PrivateMap<'de> {
    value: Option<ValueRef<'de>>,
}

impl<'de> MapAccess<'de> for PrivateMap<'de> {
    type Error = Mismatch;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Decoded<Option<K::Value>> {
        if self.value.is_none() {
            return Ok(None);
        }
        seed.deserialize(StrDeserializer::new(PRIVATE_NAME)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Decoded<V::Value> {
        let value = self.value.take().ok_or_else(|| Mismatch("a value read twice".to_owned()))?;
        let mut tagged = Vec::with_capacity(value.bytes.len() + 1);
        tagged.push(value.value_type.tag());
        tagged.extend_from_slice(value.bytes);
        seed.deserialize(BytesDeserializer::new(&tagged))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;
    use crate::value::Value;

    fn tag_of<T: Serialize + ?Sized>(value: &T) -> ValueType {
        ValueType::new(encode(value).unwrap().tag).unwrap()
    }

    fn read<T: DeserializeOwned>(value_type: ValueType, bytes: &[u8]) -> Result<T> {
        decode(ValueRef::new(value_type.tag(), bytes).unwrap())
    }

    fn round_trip<T: Serialize + DeserializeOwned + PartialEq + fmt::Debug>(value: &T) {
        let encoded = encode(value).unwrap();
        let read: T = decode(ValueRef::new(encoded.tag, &encoded.bytes).unwrap()).unwrap();
        assert_eq!(&read, value);
    }

    #[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
    struct User {
        name: String,
        age: u8,
        tags: Vec<String>,
    }

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Meters(i64);

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    enum Shape {
        Dot,
        Circle { radius: f64 },
    }

    fn ann() -> User {
        User { name: "Ann".into(), age: 30, tags: vec!["a".into()] }
    }

    #[test]
    fn each_type_gets_its_tag() {
        assert_eq!(tag_of(&1i8), ValueType::INT);
        assert_eq!(tag_of(&1), ValueType::INT);
        assert_eq!(tag_of(&1i64), ValueType::INT);
        assert_eq!(tag_of(&1.0f32), ValueType::FLOAT);
        assert_eq!(tag_of(&true), ValueType::BOOL);
        assert_eq!(tag_of("text"), ValueType::TEXT);
        assert_eq!(tag_of(&String::new()), ValueType::TEXT);
        assert_eq!(tag_of(&'c'), ValueType::TEXT);
        assert_eq!(tag_of(&Meters(1)), ValueType::INT);
        assert_eq!(tag_of(&1u8), ValueType::MESSAGE_PACK);
        assert_eq!(tag_of(&Some(1)), ValueType::MESSAGE_PACK);
        assert_eq!(tag_of(&()), ValueType::MESSAGE_PACK);
        assert_eq!(tag_of(&[1u8, 2][..]), ValueType::MESSAGE_PACK);
        assert_eq!(tag_of(&ann()), ValueType::MESSAGE_PACK);
        assert_eq!(tag_of(&Shape::Dot), ValueType::MESSAGE_PACK);
    }

    #[test]
    fn what_was_put_is_got() {
        round_trip(&i64::MIN);
        round_trip(&-1i8);
        round_trip(&u64::MAX);
        round_trip(&1.5f32);
        round_trip(&'ä');
        round_trip(&"text".to_owned());
        round_trip(&Some(7));
        round_trip(&None::<i32>);
        round_trip(&());
        round_trip(&(1u8, "a".to_owned(), [1.0, 2.0]));
        round_trip(&vec![0u8, 255]);
        round_trip(&ann());
        round_trip(&vec![Shape::Dot, Shape::Circle { radius: 2.0 }]);
        round_trip(&BTreeMap::from([("a".to_owned(), Meters(1))]));
    }

    #[test]
    fn a_value_keeps_its_tag() {
        for value in [
            Value::Bytes(vec![0, 255]),
            Value::Text("a".into()),
            Value::Int(-1),
            Value::Float(0.1),
            Value::Bool(true),
            Value::Json("{ \"a\" : 1 }".into()),
            Value::MessagePack(vec![0xC0]),
            Value::User { tag: 255, bytes: vec![] },
            Value::Raw { value_type: ValueType::TEXT, bytes: vec![0xFF] },
        ] {
            let (tag, bytes) = value.to_wire();
            let encoded = encode(&value).unwrap();
            assert_eq!((encoded.tag, &encoded.bytes), (tag, &bytes));
            assert_eq!(decode::<Value>(ValueRef::new(tag, &bytes).unwrap()).unwrap(), value);
        }
        for tag in [0, 1, 6, 7, 127] {
            assert!(
                matches!(encode(&Value::User { tag, bytes: vec![] }), Err(Error::Encode { .. })),
                "{tag}"
            );
        }
    }

    #[test]
    fn reading_goes_by_the_stored_type() {
        let int = |number: i64| number.to_be_bytes();
        assert_eq!(read::<u8>(ValueType::INT, &int(255)).unwrap(), 255);
        assert_eq!(read::<f64>(ValueType::INT, &int(2)).unwrap(), 2.0);
        assert_eq!(read::<Option<i64>>(ValueType::INT, &int(2)).unwrap(), Some(2));
        assert_eq!(read::<Meters>(ValueType::INT, &int(2)).unwrap(), Meters(2));
        assert_eq!(read::<Vec<u8>>(ValueType::BYTES, &[0, 255]).unwrap(), [0, 255]);
        assert_eq!(read::<[u8; 2]>(ValueType::BYTES, &[0, 255]).unwrap(), [0, 255]);
        assert_eq!(read::<Shape>(ValueType::TEXT, b"Dot").unwrap(), Shape::Dot);
        let json = br#"{"name":"Ann","age":30,"tags":["a"]}"#;
        assert_eq!(read::<User>(ValueType::JSON, json).unwrap(), ann());
        assert_eq!(read::<serde_json::Value>(ValueType::INT, &int(3)).unwrap(), 3);
        let user = ValueType::new(200).unwrap();
        assert_eq!(read::<Vec<u8>>(user, b"ab").unwrap(), b"ab");
    }

    #[test]
    fn a_mismatch_names_both_types() {
        let refused = |error: Error| match error {
            Error::Decode { stored, wanted, reason } => (stored, wanted, reason),
            other => panic!("{other:?}"),
        };
        let (stored, wanted, reason) =
            refused(read::<u8>(ValueType::INT, &256i64.to_be_bytes()).unwrap_err());
        assert_eq!((stored, wanted), (ValueType::INT, "u8"));
        assert!(reason.contains("256"), "{reason}");
        refused(read::<i64>(ValueType::TEXT, b"1").unwrap_err());
        refused(read::<i64>(ValueType::FLOAT, &1f64.to_be_bytes()).unwrap_err());
        refused(read::<String>(ValueType::TEXT, b"\xFF").unwrap_err());
        refused(read::<String>(ValueType::INT, &1i64.to_be_bytes()).unwrap_err());
        refused(read::<Vec<u8>>(ValueType::TEXT, b"ab").unwrap_err());
        refused(read::<[u8; 2]>(ValueType::BYTES, b"abc").unwrap_err());
        refused(read::<User>(ValueType::JSON, b"{} x").unwrap_err());
        refused(read::<u8>(ValueType::MESSAGE_PACK, &[1, 2]).unwrap_err());
    }

    proptest! {
        #[test]
        fn stored_bytes_of_any_kind_never_panic(tag in 0u8..=255, bytes: Vec<u8>) {
            if let Ok(value) = ValueRef::new(tag, &bytes) {
                let _ = decode::<User>(value);
                let _ = decode::<Vec<Option<i64>>>(value);
                let _ = decode::<String>(value);
                prop_assert_eq!(decode::<Value>(value).unwrap().to_wire(), (tag, bytes.clone()));
            }
        }
    }
}
