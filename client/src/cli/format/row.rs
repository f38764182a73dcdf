//! One entry as it stands in a file: a key, a type and the value's bytes, and how each type reads and writes as
//! text.
//!
//! Numbers are written so that they read back to the same bits: a float in the fewest digits that do, `inf`,
//! `-inf` and `NaN` by name, and any other NaN with its bits, `NaN(0xfff8000000000001)`. Bytes, MessagePack and
//! the user's own types are written in base64. Text that is no UTF-8 and JSON that is no JSON (the server does
//! not look into either) are written in base64 too, under the types `text+base64` and `json+base64`.

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use dht_protocol::request::Key;
use dht_protocol::value::{ValueRef, ValueType};
use serde::de::IgnoredAny;

/// Ending of a type's name that says: whatever the type, the value is in base64.
pub(crate) const BASE64_SUFFIX: &str = "+base64";

/// An entry in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// The key; any bytes that the wire takes for one.
    pub(crate) key: Vec<u8>,
    /// How to interpret the value.
    pub(crate) value_type: ValueType,
    /// The value as the wire has it.
    pub(crate) bytes: Vec<u8>,
}

impl Row {
    /// Checks what the cluster would refuse, before it is asked.
    pub(crate) fn check(&self) -> Result<(), String> {
        Key::new(&self.key).map_err(|error| error.text.to_owned())?;
        ValueRef::new(self.value_type.tag(), &self.bytes).map_err(|error| error.to_string())?;
        if self.bytes.len() > dht_protocol::limits::VALUE_BYTES_MAX {
            return Err("the value is longer than 16 MiB".to_owned());
        }
        Ok(())
    }

    /// The value as a person reads it: numbers in digits, everything else as its bytes are.
    pub(crate) fn plain_text(&self) -> Cow<'_, [u8]> {
        plain_text(self.value_type, &self.bytes)
    }
}

/// The type of that name: `bytes`, `text`, …, `user128` to `user255`.
pub(crate) fn type_of_name(name: &str) -> Option<ValueType> {
    let named = [
        ValueType::BYTES,
        ValueType::TEXT,
        ValueType::INT,
        ValueType::FLOAT,
        ValueType::BOOL,
        ValueType::JSON,
        ValueType::MESSAGE_PACK,
    ];
    named.into_iter().find(|value_type| value_type.to_string() == name).or_else(|| {
        let tag = name.strip_prefix("user")?.parse().ok()?;
        ValueType::new(tag).ok().filter(|value_type| value_type.to_string() == name)
    })
}

/// The value as a person types and reads it: numbers in digits, everything else as its bytes are.
pub(crate) fn plain_text(value_type: ValueType, bytes: &[u8]) -> Cow<'_, [u8]> {
    number_text(value_type, bytes).map_or(Cow::Borrowed(bytes), |text| Cow::Owned(text.into_bytes()))
}

/// The bytes of a value that a person typed: the reverse of [`plain_text`].
///
/// # Errors
/// A sentence that says what a value of this type looks like.
pub(crate) fn parse_plain_text(value_type: ValueType, text: &[u8]) -> Result<Vec<u8>, String> {
    match value_type {
        ValueType::INT => {
            let number = parse_text::<i64>(text);
            number.map(|number| number.to_be_bytes().to_vec()).ok_or_else(|| {
                format!("{} is no int: give a whole number from {} to {}", shown(text), i64::MIN, i64::MAX)
            })
        }
        ValueType::FLOAT => match parse_float(text) {
            Some(number) => Ok(number.to_be_bytes().to_vec()),
            None => Err(format!("{} is no float: give a number such as 1.5, 6e23, inf or NaN", shown(text))),
        },
        ValueType::BOOL => match text {
            b"true" => Ok(vec![1]),
            b"false" => Ok(vec![0]),
            _ => Err(format!("{} is no bool: give true or false", shown(text))),
        },
        ValueType::JSON => match is_json(text) {
            true => Ok(text.to_vec()),
            false => Err(format!("{} is no JSON: strings need double quotes", shown(text))),
        },
        ValueType::TEXT if std::str::from_utf8(text).is_err() => {
            Err(format!("{} is no UTF-8 text: give it as bytes", shown(text)))
        }
        _ => Ok(text.to_vec()),
    }
}

/// A value as one field of a table: the name of its type, which may say that the field is in base64, and the
/// field.
pub(crate) fn field_of_value(value_type: ValueType, bytes: &[u8]) -> (String, Cow<'_, [u8]>) {
    let name = value_type.to_string();
    let readable = match value_type {
        ValueType::TEXT => std::str::from_utf8(bytes).is_ok(),
        ValueType::JSON => is_json(bytes),
        _ => true,
    };
    if !readable {
        return (name + BASE64_SUFFIX, Cow::Owned(BASE64_STANDARD.encode(bytes).into_bytes()));
    }
    if is_binary(value_type) {
        return (name, Cow::Owned(BASE64_STANDARD.encode(bytes).into_bytes()));
    }
    (name, plain_text(value_type, bytes))
}

/// Type and bytes of a value that stands as one field of a table.
///
/// # Errors
/// A sentence that says what is wrong with the type or the field.
pub(crate) fn value_of_field(type_name: &[u8], field: &[u8]) -> Result<(ValueType, Vec<u8>), String> {
    let name = std::str::from_utf8(type_name).unwrap_or("");
    let (plain_name, in_base64) =
        name.strip_suffix(BASE64_SUFFIX).map_or((name, false), |plain_name| (plain_name, true));
    let value_type =
        type_of_name(plain_name).ok_or_else(|| format!("{} is no type of value", shown(type_name)))?;
    if in_base64 || is_binary(value_type) {
        let bytes =
            BASE64_STANDARD.decode(field).map_err(|error| format!("the value is no base64: {error}"))?;
        return Ok((value_type, bytes));
    }
    parse_plain_text(value_type, field).map(|bytes| (value_type, bytes))
}

/// Whether the bytes are one JSON text in UTF-8.
pub(crate) fn is_json(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

/// Whether values of this type are written in base64.
pub(crate) fn is_binary(value_type: ValueType) -> bool {
    !matches!(
        value_type,
        ValueType::TEXT | ValueType::INT | ValueType::FLOAT | ValueType::BOOL | ValueType::JSON
    )
}

/// A float in the fewest digits that read back to the same bits.
pub(crate) fn float_text(number: f64) -> String {
    if number.is_nan() && number.to_bits() != f64::NAN.to_bits() {
        return format!("NaN(0x{:016x})", number.to_bits());
    }
    format!("{number:?}")
}

/// A piece of foreign bytes for an error message: quoted, escaped, and cut when long.
pub(crate) fn shown(bytes: &[u8]) -> String {
    const SHOWN_BYTES_MAX: usize = 40;
    let cut = &bytes[..bytes.len().min(SHOWN_BYTES_MAX)];
    let dots = if cut.len() < bytes.len() { "…" } else { "" };
    format!("'{}{dots}'", String::from_utf8_lossy(cut).escape_debug())
}

/// Digits of an int, float or bool; `None` for the other types, and for bytes that do not fit theirs.
fn number_text(value_type: ValueType, bytes: &[u8]) -> Option<String> {
    match value_type {
        ValueType::INT => Some(i64::from_be_bytes(bytes.try_into().ok()?).to_string()),
        ValueType::FLOAT => Some(float_text(f64::from_be_bytes(bytes.try_into().ok()?))),
        ValueType::BOOL => Some((bytes != [0]).to_string()),
        _ => None,
    }
}

fn parse_float(text: &[u8]) -> Option<f64> {
    if let Some(bits) = text.strip_prefix(b"NaN(0x").and_then(|rest| rest.strip_suffix(b")")) {
        let bits = u64::from_str_radix(std::str::from_utf8(bits).ok()?, 16).ok()?;
        return Some(f64::from_bits(bits)).filter(|number| number.is_nan());
    }
    parse_text(text)
}

fn parse_text<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for tag in (0..=6).chain(128..=255) {
            let value_type = ValueType::new(tag).unwrap();
            assert_eq!(type_of_name(&value_type.to_string()), Some(value_type));
        }
        for name in ["", "Text", "user", "user127", "user256", "user0128", "user+128"] {
            assert_eq!(type_of_name(name), None, "{name}");
        }
    }

    #[test]
    fn floats_read_back_to_the_same_bits() {
        for bits in [
            0,
            1 << 63,
            f64::NAN.to_bits(),
            f64::NAN.to_bits() | 1,
            f64::NAN.to_bits() | 1 << 63,
            f64::INFINITY.to_bits(),
            f64::NEG_INFINITY.to_bits(),
            f64::MIN_POSITIVE.to_bits(),
            1,
            0.1f64.to_bits(),
            f64::MAX.to_bits(),
            5e300f64.to_bits(),
        ] {
            let text = float_text(f64::from_bits(bits));
            let bytes = parse_plain_text(ValueType::FLOAT, text.as_bytes()).unwrap();
            assert_eq!(bytes, bits.to_be_bytes(), "{text}");
        }
        assert_eq!(float_text(-0.0), "-0.0");
        assert_eq!(float_text(f64::NAN), "NaN");
    }

    #[test]
    fn what_does_not_fit_its_type_is_refused() {
        for (value_type, text) in [
            (ValueType::INT, &b"9223372036854775808"[..]),
            (ValueType::INT, b"1.0"),
            (ValueType::INT, b""),
            (ValueType::FLOAT, b"one"),
            (ValueType::FLOAT, b"NaN(0x0)"),
            (ValueType::BOOL, b"yes"),
            (ValueType::JSON, b"{a:1}"),
            (ValueType::JSON, b""),
            (ValueType::JSON, b"1 2"),
            (ValueType::TEXT, b"\xFE"),
        ] {
            assert!(parse_plain_text(value_type, text).is_err(), "{value_type} {}", shown(text));
        }
        assert!(value_of_field(b"number", b"1").is_err());
        assert!(value_of_field(b"bytes", b"not base64").is_err());
    }

    #[test]
    fn text_that_is_none_travels_in_base64() {
        let (name, field) = field_of_value(ValueType::TEXT, b"\xFE");
        assert_eq!((name.as_str(), &*field), ("text+base64", &b"/g=="[..]));
        assert_eq!(value_of_field(name.as_bytes(), &field), Ok((ValueType::TEXT, vec![0xFE])));
        let (name, field) = field_of_value(ValueType::JSON, b"{");
        assert_eq!(value_of_field(name.as_bytes(), &field), Ok((ValueType::JSON, b"{".to_vec())));
    }
}
