//! JSON Lines: one entry an object.
//!
//! What is written has the members `key` (or `key_base64`, where the key is no text), `type` and `value`; a row
//! of exactly these, `type` being optional, is read as the same entry. Any other object is stored as JSON under
//! the key that one of its members holds, its other members in their order and with every digit of their
//! numbers.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use dht_protocol::ids::Version;
use dht_protocol::value::ValueType;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::cli::format::row::{
    BASE64_SUFFIX, Row, float_text, is_binary, is_json, parse_plain_text, shown, value_of_field,
};

/// Names of the members, and of the columns of a table.
pub(crate) const KEY: &str = "key";
pub(crate) const KEY_BASE64: &str = "key_base64";
pub(crate) const TYPE: &str = "type";
pub(crate) const VALUE: &str = "value";

/// What a JSON value that spreads over lines is turned into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exactness {
    /// For a file: base64, so that every blank comes back.
    Exact,
    /// For people and programs that read along: the same JSON in one line.
    Readable,
}

/// Members of an object in their order, values as they are written.
pub(crate) struct Members<'a>(pub(crate) Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members<'de>, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                let mut names = std::collections::HashSet::new();
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    if !names.insert(name.clone()) {
                        return Err(A::Error::custom(format!("member {name:?} stands twice")));
                    }
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

impl<'a> Members<'a> {
    /// Reads an object.
    pub(crate) fn parse(text: &'a [u8]) -> Result<Members<'a>, String> {
        serde_json::from_slice(text).map_err(|error| format!("no JSON object: {error}"))
    }

    /// Takes out the member of that name.
    fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        let at = self.0.iter().position(|(other, _)| other == name)?;
        Some(self.0.remove(at).1)
    }
}

/// Reads one line. `key_member` is the member that holds the key of an object that is no exported entry.
pub(crate) fn parse_line(line: &[u8], key_member: &str) -> Result<Row, String> {
    let mut members = Members::parse(line)?;
    if key_member == KEY && is_exported_entry(&members) {
        return parse_entry(&mut members);
    }
    let key = members.take(key_member).ok_or_else(|| format!("there is no member {key_member:?}"))?;
    let key = parse_key(key)?;
    let mut object = vec![b'{'];
    for (name, value) in &members.0 {
        push_member(name, value.get().as_bytes(), &mut object)?;
    }
    object.push(b'}');
    Ok(Row { key, value_type: ValueType::JSON, bytes: object })
}

/// Appends one entry as a line.
pub(crate) fn write_json_row(
    row: &Row,
    version: Option<Version>,
    exactness: Exactness,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    out.push(b'{');
    match std::str::from_utf8(&row.key) {
        Ok(key) => push_member(KEY, &json_string(key)?, out)?,
        Err(_) => push_member(KEY_BASE64, &json_base64(&row.key), out)?,
    }
    let (suffix, value) = json_value(row, exactness)?;
    push_member(TYPE, format!("\"{}{suffix}\"", row.value_type).as_bytes(), out)?;
    if let Some(version) = version {
        push_member("version", version.to_string().as_bytes(), out)?;
    }
    push_member(VALUE, &value, out)?;
    out.extend_from_slice(b"}\n");
    Ok(())
}

/// Appends a member to an object that is open at the end of `out`.
pub(crate) fn push_member(name: &str, value: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    out.extend_from_slice(&json_string(name)?);
    out.push(b':');
    out.extend_from_slice(value);
    Ok(())
}

/// A JSON string.
pub(crate) fn json_string(text: &str) -> Result<Vec<u8>, String> {
    serde_json::to_vec(text).map_err(|error| error.to_string())
}

fn json_base64(bytes: &[u8]) -> Vec<u8> {
    format!("\"{}\"", BASE64_STANDARD.encode(bytes)).into_bytes()
}

/// What to add to the name of the type, and the value.
fn json_value(row: &Row, exactness: Exactness) -> Result<(&'static str, Vec<u8>), String> {
    let bytes = &row.bytes;
    match row.value_type {
        ValueType::INT | ValueType::BOOL => Ok(("", row.plain_text().into_owned())),
        ValueType::FLOAT => {
            let number = bytes.as_slice().try_into().map_or(f64::NAN, f64::from_be_bytes);
            let text = float_text(number);
            Ok(("", if number.is_finite() { text.into_bytes() } else { json_string(&text)? }))
        }
        ValueType::TEXT => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(("", json_string(text)?)),
            Err(_) => Ok((BASE64_SUFFIX, json_base64(bytes))),
        },
        ValueType::JSON => {
            let in_one_line = !bytes.iter().any(|byte| matches!(byte, b'\n' | b'\r'));
            if !is_json(bytes) {
                Ok((BASE64_SUFFIX, json_base64(bytes)))
            } else if in_one_line && bytes.trim_ascii() == bytes {
                Ok(("", bytes.clone()))
            } else if exactness == Exactness::Readable {
                // A line break cannot stand inside a string, so all of them are mere blanks.
                let line = bytes.trim_ascii().iter();
                Ok(("", line.map(|&byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }).collect()))
            } else {
                Ok((BASE64_SUFFIX, json_base64(bytes)))
            }
        }
        _ => Ok(("", json_base64(bytes))),
    }
}

/// Whether the members are exactly `key` or `key_base64`, `value`, and perhaps `type`.
fn is_exported_entry(members: &Members<'_>) -> bool {
    let has = |name| members.0.iter().any(|(other, _)| other == name);
    let keys = usize::from(has(KEY)) + usize::from(has(KEY_BASE64));
    keys == 1 && has(VALUE) && members.0.len() == 2 + usize::from(has(TYPE))
}

fn parse_entry(members: &mut Members<'_>) -> Result<Row, String> {
    let key = match (members.take(KEY), members.take(KEY_BASE64)) {
        (Some(key), _) => parse_key(key)?,
        (None, Some(key)) => {
            let text = parse_string(key).ok_or("the key is no string")?;
            BASE64_STANDARD.decode(text).map_err(|error| format!("the key is no base64: {error}"))?
        }
        (None, None) => return Err("there is no key".to_owned()),
    };
    let value = members.take(VALUE).ok_or("there is no value")?;
    let (value_type, bytes) = match members.take(TYPE) {
        Some(name) => parse_typed(&parse_string(name).ok_or("the type is no string")?, value)?,
        None => parse_untyped(value)?,
    };
    Ok(Row { key, value_type, bytes })
}

/// A key is a string, or an integer, which stands for its digits.
fn parse_key(raw: &RawValue) -> Result<Vec<u8>, String> {
    let is_integer = || raw.get().bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    match parse_string(raw) {
        Some(key) => Ok(key.into_bytes()),
        None if is_integer() => Ok(raw.get().as_bytes().to_vec()),
        None => Err(format!("the key {} is neither a string nor an integer", shown(raw.get().as_bytes()))),
    }
}

fn parse_string(raw: &RawValue) -> Option<String> {
    if raw.get().starts_with('"') { serde_json::from_str(raw.get()).ok() } else { None }
}

fn parse_typed(type_name: &str, raw: &RawValue) -> Result<(ValueType, Vec<u8>), String> {
    let string = parse_string(raw);
    if type_name == ValueType::JSON.to_string() {
        return Ok((ValueType::JSON, raw.get().as_bytes().to_vec()));
    }
    let must_be_string = type_name.ends_with(BASE64_SUFFIX)
        || super::row::type_of_name(type_name)
            .is_some_and(|value_type| value_type == ValueType::TEXT || is_binary(value_type));
    match string {
        Some(text) => value_of_field(type_name.as_bytes(), text.as_bytes()),
        None if must_be_string => Err(format!("a value of type {type_name} must be a string")),
        None => value_of_field(type_name.as_bytes(), raw.get().as_bytes()),
    }
}

/// The type follows from the JSON: string text, integer int, other number float, true and false bool, anything
/// else json.
fn parse_untyped(raw: &RawValue) -> Result<(ValueType, Vec<u8>), String> {
    let text = raw.get();
    let value_type = match text.as_bytes().first() {
        Some(b'"') => {
            let string = parse_string(raw).ok_or("the value is no string of Unicode")?;
            return Ok((ValueType::TEXT, string.into_bytes()));
        }
        Some(b't' | b'f') => ValueType::BOOL,
        Some(b'{' | b'[' | b'n') => ValueType::JSON,
        _ if text.parse::<i64>().is_ok() => ValueType::INT,
        _ => ValueType::FLOAT,
    };
    let bytes = parse_plain_text(value_type, text.as_bytes())?;
    if value_type == ValueType::FLOAT && text.parse::<f64>().is_ok_and(f64::is_infinite) {
        return Err(format!("{text} is too large for a float"));
    }
    Ok((value_type, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<(String, String, Vec<u8>), String> {
        let row = parse_line(line.as_bytes(), KEY)?;
        Ok((String::from_utf8(row.key).unwrap(), row.value_type.to_string(), row.bytes))
    }

    fn entry(value_type: &str, bytes: &[u8]) -> Result<(String, String, Vec<u8>), String> {
        Ok(("k".to_owned(), value_type.to_owned(), bytes.to_vec()))
    }

    fn line(value_type: ValueType, bytes: &[u8], exactness: Exactness) -> String {
        let row = Row { key: b"k".to_vec(), value_type, bytes: bytes.to_vec() };
        let mut out = vec![];
        write_json_row(&row, None, exactness, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn without_a_type_it_follows_from_the_json() {
        assert_eq!(parse(r#"{"key":"k","value":"ä\n"}"#), entry("text", "ä\n".as_bytes()));
        assert_eq!(parse(r#"{"value":-5,"key":"k"}"#), entry("int", &(-5i64).to_be_bytes()));
        assert_eq!(parse(r#"{"key":"k","value":0.5}"#), entry("float", &0.5f64.to_be_bytes()));
        assert_eq!(
            parse(r#"{"key":"k","value":9223372036854775808}"#),
            entry("float", &2f64.powi(63).to_be_bytes())
        );
        assert_eq!(parse(r#"{"key":"k","value":true}"#), entry("bool", &[1]));
        assert_eq!(parse(r#"{"key":"k","value":null}"#), entry("json", b"null"));
        assert_eq!(
            parse(r#"{"key":"k","value": {"b": 1.0, "a" :[] } }"#),
            entry("json", br#"{"b": 1.0, "a" :[] }"#)
        );
        assert!(parse(r#"{"key":"k","value":1e999}"#).is_err());
    }

    #[test]
    fn with_a_type_the_value_must_fit_it() {
        assert_eq!(parse(r#"{"key":"k","type":"int","value":"7"}"#), entry("int", &7i64.to_be_bytes()));
        assert_eq!(parse(r#"{"key":"k","type":"float","value":7}"#), entry("float", &7f64.to_be_bytes()));
        assert_eq!(parse(r#"{"key":"k","type":"json","value":"7"}"#), entry("json", b"\"7\""));
        assert_eq!(parse(r#"{"key":"k","type":"user128","value":"AP8="}"#), entry("user128", &[0, 255]));
        for wrong in [
            r#"{"key":"k","type":"int","value":1.5}"#,
            r#"{"key":"k","type":"text","value":5}"#,
            r#"{"key":"k","type":"bytes","value":"?"}"#,
            r#"{"key":"k","type":"number","value":5}"#,
            r#"{"key":"k","type":7,"value":5}"#,
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn other_objects_are_stored_as_they_are() {
        assert_eq!(
            parse(r#"{"z":1.10,"key":"k","a":{"n":123456789012345678901234567890},"value":2}"#),
            entry("json", br#"{"z":1.10,"a":{"n":123456789012345678901234567890},"value":2}"#)
        );
        assert_eq!(parse(r#"{"key":"k"}"#), entry("json", b"{}"));
        let row = parse_line(br#"{"id":17,"key":"k","value":2}"#, "id").unwrap();
        assert_eq!(row.key, b"17");
        assert_eq!(row.bytes, br#"{"key":"k","value":2}"#);
    }

    #[test]
    fn malformed_lines_say_what_is_wrong() {
        for (line, part) in [
            ("", "no JSON object"),
            ("[1]", "no JSON object"),
            (r#"{"key":"k","value":1"#, "no JSON object"),
            (r#"{"key":"k","value":1} x"#, "no JSON object"),
            (r#"{"key":"k","value":1,"value":2}"#, "stands twice"),
            (r#"{"id":"k"}"#, "no member"),
            (r#"{"key":1.5,"value":1}"#, "neither a string nor an integer"),
            (r#"{"key_base64":"?","value":1}"#, "no base64"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(part), "{line}: {error}");
        }
    }

    #[test]
    fn lines_for_files_and_lines_for_people() {
        assert_eq!(
            line(ValueType::INT, &5i64.to_be_bytes(), Exactness::Exact),
            "{\"key\":\"k\",\"type\":\"int\",\"value\":5}\n"
        );
        assert!(
            line(ValueType::FLOAT, &f64::NAN.to_be_bytes(), Exactness::Exact).contains(r#""value":"NaN"}"#)
        );
        assert!(line(ValueType::BYTES, &[0], Exactness::Exact).contains(r#""type":"bytes","value":"AA=="}"#));
        let pretty = b"{\n  \"a\": 1\n}\n";
        assert!(line(ValueType::JSON, pretty, Exactness::Exact).contains("json+base64"));
        assert!(
            line(ValueType::JSON, pretty, Exactness::Readable)
                .contains(r#""type":"json","value":{   "a": 1 }}"#)
        );
    }
}
