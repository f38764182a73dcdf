//! From keys to bytes.

use serde::Serialize;
use serde::ser::{
    Impossible, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple, SerializeTupleStruct,
    SerializeTupleVariant, Serializer,
};

use super::{KeyError, MORE, NO_MORE, too_deep};

/// Appends a key to `out`.
pub(super) struct Writer<'a> {
    pub(super) out: &'a mut Vec<u8>,
    /// Parts within parts that may still be begun.
    pub(super) depth_left: usize,
}

type Done = Result<(), KeyError>;

fn refuse<T>(what: &str, instead: &str) -> Result<T, KeyError> {
    Err(KeyError(format!("a key cannot hold {what}: {instead}")))
}

impl Writer<'_> {
    /// Appends a part of what is being written.
    fn part<T: Serialize + ?Sized>(&mut self, part: &T) -> Done {
        self.depth_left = self.depth_left.checked_sub(1).ok_or_else(too_deep)?;
        let done = part.serialize(&mut *self);
        self.depth_left += 1;
        done
    }

    fn put(&mut self, bytes: &[u8]) -> Done {
        self.out.extend_from_slice(bytes);
        Ok(())
    }
}

macro_rules! numbers {
    ($($method:ident: $type:ty, $flip:expr;)*) => {
        $(fn $method(self, number: $type) -> Done {
            self.put(&(number ^ $flip).to_be_bytes())
        })*
    };
}

impl<'w> Serializer for &mut Writer<'w> {
    type Ok = ();
    type Error = KeyError;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Impossible<(), KeyError>;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    numbers! {
        serialize_u8: u8, 0;
        serialize_u16: u16, 0;
        serialize_u32: u32, 0;
        serialize_u64: u64, 0;
        serialize_u128: u128, 0;
        serialize_i8: i8, i8::MIN;
        serialize_i16: i16, i16::MIN;
        serialize_i32: i32, i32::MIN;
        serialize_i64: i64, i64::MIN;
        serialize_i128: i128, i128::MIN;
    }

    fn serialize_bool(self, truth: bool) -> Done {
        self.put(&[u8::from(truth)])
    }

    fn serialize_char(self, character: char) -> Done {
        self.put(&u32::from(character).to_be_bytes())
    }

    fn serialize_f32(self, _: f32) -> Done {
        refuse("a float", "keep it as an integer, such as thousandths")
    }

    fn serialize_f64(self, number: f64) -> Done {
        self.serialize_f32(number as f32)
    }

    fn serialize_str(self, text: &str) -> Done {
        self.serialize_bytes(text.as_bytes())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Done {
        for (at, part) in bytes.split(|byte| *byte == 0).enumerate() {
            if at > 0 {
                self.put(&[0, 0xFF])?;
            }
            self.put(part)?;
        }
        self.put(&[0, 0])
    }

    fn serialize_none(self) -> Done {
        self.put(&[NO_MORE])
    }

    fn serialize_some<T: Serialize + ?Sized>(self, inner: &T) -> Done {
        self.put(&[MORE])?;
        self.part(inner)
    }

    fn serialize_unit(self) -> Done {
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Done {
        Ok(())
    }

    fn serialize_unit_variant(self, _: &'static str, index: u32, _: &'static str) -> Done {
        self.serialize_u32(index)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, inner: &T) -> Done {
        self.part(inner)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        inner: &T,
    ) -> Done {
        self.put(&index.to_be_bytes())?;
        self.part(inner)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, KeyError> {
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, KeyError> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, KeyError> {
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, KeyError> {
        self.put(&index.to_be_bytes())?;
        Ok(self)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, KeyError> {
        refuse("a map", "use a struct, or a sequence of pairs")
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, KeyError> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, KeyError> {
        self.put(&index.to_be_bytes())?;
        Ok(self)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

impl SerializeSeq for &mut Writer<'_> {
    type Ok = ();
    type Error = KeyError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, element: &T) -> Done {
        self.put(&[MORE])?;
        self.part(element)
    }

    fn end(self) -> Done {
        self.put(&[NO_MORE])
    }
}

/// What has a known number of parts is nothing but its parts.
macro_rules! parts {
    ($($trait:ident, $method:ident($($name:ty)?);)*) => {
        $(impl $trait for &mut Writer<'_> {
            type Ok = ();
            type Error = KeyError;

            fn $method<T: Serialize + ?Sized>(&mut self, $(_: $name,)? part: &T) -> Done {
                self.part(part)
            }

            fn end(self) -> Done {
                Ok(())
            }
        })*
    };
}

parts! {
    SerializeTuple, serialize_element();
    SerializeTupleStruct, serialize_field();
    SerializeTupleVariant, serialize_field();
    SerializeStruct, serialize_field(&'static str);
    SerializeStructVariant, serialize_field(&'static str);
}
