//! From bytes to keys. The bytes may be anything: whoever writes to the cluster may have put them there.

use serde::de::value::U32Deserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, SeqAccess, VariantAccess, Visitor,
};

use super::{KeyError, MORE, NO_MORE, too_deep};

/// Reads a key from the front of `rest`.
pub(super) struct Reader<'a> {
    pub(super) rest: &'a [u8],
    /// Parts within parts that may still be begun.
    pub(super) depth_left: usize,
}

type Read<T> = Result<T, KeyError>;

fn malformed<T>(what: &str) -> Read<T> {
    Err(KeyError(what.to_owned()))
}

impl Reader<'_> {
    /// Reads a part of what is being read.
    fn part<T>(&mut self, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<T> {
        self.depth_left = self.depth_left.checked_sub(1).ok_or_else(too_deep)?;
        let part = read(self);
        self.depth_left += 1;
        part
    }

    fn take<const N: usize>(&mut self) -> Read<[u8; N]> {
        match self.rest.split_first_chunk() {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(*bytes)
            }
            None => malformed("it is cut short"),
        }
    }

    /// One of two bytes, and nothing else.
    fn flag(&mut self, what: &str) -> Read<bool> {
        match self.take()? {
            [NO_MORE] => Ok(false),
            [MORE] => Ok(true),
            [_] => malformed(what),
        }
    }

    fn string(&mut self) -> Read<Vec<u8>> {
        let mut string = Vec::new();
        loop {
            let Some(at) = self.rest.iter().position(|byte| *byte == 0) else {
                return malformed("a string without an end");
            };
            string.extend_from_slice(&self.rest[..at]);
            self.rest = &self.rest[at..];
            match self.take()? {
                [0, 0] => return Ok(string),
                [0, 0xFF] => string.push(0),
                _ => return malformed("a zero byte that is not escaped"),
            }
        }
    }
}

macro_rules! numbers {
    ($($method:ident: $type:ty, $flip:expr, $visit:ident;)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
            visitor.$visit(<$type>::from_be_bytes(self.take()?) ^ $flip)
        })*
    };
}

macro_rules! refusals {
    ($($method:ident: $why:expr;)*) => {
        $(fn $method<V: Visitor<'de>>(self, _: V) -> Read<V::Value> {
            malformed($why)
        })*
    };
}

impl<'de> Deserializer<'de> for &mut Reader<'_> {
    type Error = KeyError;

    numbers! {
        deserialize_u8: u8, 0, visit_u8;
        deserialize_u16: u16, 0, visit_u16;
        deserialize_u32: u32, 0, visit_u32;
        deserialize_u64: u64, 0, visit_u64;
        deserialize_u128: u128, 0, visit_u128;
        deserialize_i8: i8, i8::MIN, visit_i8;
        deserialize_i16: i16, i16::MIN, visit_i16;
        deserialize_i32: i32, i32::MIN, visit_i32;
        deserialize_i64: i64, i64::MIN, visit_i64;
        deserialize_i128: i128, i128::MIN, visit_i128;
    }

    refusals! {
        deserialize_any: "a key's bytes do not say what they are, and its type does not either";
        deserialize_ignored_any: "a key has no part that may be passed over";
        deserialize_identifier: "a key does not name its fields";
        deserialize_f32: "a key cannot hold a float";
        deserialize_f64: "a key cannot hold a float";
        deserialize_map: "a key cannot hold a map";
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        visitor.visit_bool(self.flag("a bool that is neither true nor false")?)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        match char::from_u32(u32::from_be_bytes(self.take()?)) {
            Some(character) => visitor.visit_char(character),
            None => malformed("a character that there is not"),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        self.deserialize_string(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        match String::from_utf8(self.string()?) {
            Ok(text) => visitor.visit_string(text),
            Err(error) => malformed(&error.to_string()),
        }
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        self.deserialize_byte_buf(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        visitor.visit_byte_buf(self.string()?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        if self.flag("an option that is neither some nor none")? {
            self.part(|reader| visitor.visit_some(reader))
        } else {
            visitor.visit_none()
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Read<V::Value> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Read<V::Value> {
        self.part(|reader| visitor.visit_newtype_struct(reader))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        let mut parts = Parts { reader: self, left: None, ended: false };
        let seq = visitor.visit_seq(&mut parts)?;
        if !parts.ended && parts.reader.flag("a sequence without an end")? {
            return malformed("a sequence with elements left over");
        }
        Ok(seq)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Read<V::Value> {
        visitor.visit_seq(Parts { reader: self, left: Some(len), ended: false })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Read<V::Value> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Read<V::Value> {
        self.deserialize_tuple(fields.len(), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Read<V::Value> {
        visitor.visit_enum(self)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// The parts of a tuple, so many; or of a sequence, until it says that there are no more.
struct Parts<'r, 'a> {
    reader: &'r mut Reader<'a>,
    left: Option<usize>,
    ended: bool,
}

impl<'de> SeqAccess<'de> for Parts<'_, '_> {
    type Error = KeyError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Read<Option<T::Value>> {
        match &mut self.left {
            Some(0) => return Ok(None),
            Some(left) => *left -= 1,
            None if self.ended || !self.reader.flag("a sequence without an end")? => {
                self.ended = true;
                return Ok(None);
            }
            None => {}
        }
        self.reader.part(|reader| seed.deserialize(reader)).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        self.left
    }
}

impl<'de> EnumAccess<'de> for &mut Reader<'_> {
    type Error = KeyError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Read<(V::Value, Self)> {
        let index: U32Deserializer<KeyError> = u32::from_be_bytes(self.take()?).into_deserializer();
        Ok((seed.deserialize(index)?, self))
    }
}

impl<'de> VariantAccess<'de> for &mut Reader<'_> {
    type Error = KeyError;

    fn unit_variant(self) -> Read<()> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Read<T::Value> {
        self.part(|reader| seed.deserialize(reader))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Read<V::Value> {
        self.deserialize_tuple(len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Read<V::Value> {
        self.deserialize_tuple(fields.len(), visitor)
    }
}
