//! Typed and untyped values: what is put is got, under the type that the documentation promises.

use std::collections::BTreeMap;
use std::fmt::Debug;

use dht_client::{Client, Error, Outcome, Status, Value, ValueType};
use dht_protocol::limits::VALUE_BYTES_MAX;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{refusal, three_daemons};
use crate::registry::Case;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("client_api::rust_values_come_back_under_their_types", rust_values_come_back),
        Case::new("client_api::untyped_values_come_back_bit_by_bit", untyped_values_come_back),
        Case::new("client_api::a_value_is_read_as_any_type_that_it_fits", values_are_read_as_what_fits),
        Case::new("client_api::a_number_in_json_is_read_to_its_last_bit", json_numbers_are_exact),
        Case::new("client_api::a_type_that_does_not_fit_is_a_decode_error", mismatches_are_decode_errors),
        Case::new("client_api::values_grow_to_16_mib_and_no_further", big_values),
    ]
}

#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
struct Package {
    name: String,
    size: u64,
    depends: Vec<String>,
    section: Option<Section>,
}

#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
enum Section {
    Main,
    Other { name: String },
}

#[derive(Serialize, Deserialize, PartialEq, Debug, Clone, Copy)]
struct Metres(i64);

fn package() -> Package {
    let section = Some(Section::Other { name: "contrib".into() });
    Package { name: "zlib1g".into(), size: u64::MAX, depends: vec!["libc6".into()], section }
}

/// Puts a value and reads it back, under several keys, so that every daemon has a say.
#[track_caller]
fn round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(
    client: &Client,
    value: &T,
    stored: ValueType,
) {
    for key in ["a", "b", "c", "d", "e", "f"] {
        let version = client.put(key, value).unwrap();
        let found = client.get_versioned::<T>(key).unwrap().expect("it was put");
        assert_eq!((found.version, &found.value), (version, value));
        let tag = client.get::<Value>(key).unwrap().expect("it was put").to_wire().0;
        assert_eq!(tag, stored.tag(), "{value:?} is stored as {stored}");
    }
}

fn rust_values_come_back() {
    let (client, _cluster) = three_daemons();
    for number in [i64::MIN, -1, 0, 1, i64::MAX] {
        round_trip(&client, &number, ValueType::INT);
    }
    round_trip(&client, &i8::MIN, ValueType::INT);
    round_trip(&client, &i16::MAX, ValueType::INT);
    round_trip(&client, &i32::MIN, ValueType::INT);
    round_trip(&client, &Metres(-3), ValueType::INT);
    for number in [0.1, f64::MAX, f64::MIN_POSITIVE, f64::INFINITY, f64::NEG_INFINITY] {
        round_trip(&client, &number, ValueType::FLOAT);
    }
    round_trip(&client, &1.5f32, ValueType::FLOAT);
    round_trip(&client, &true, ValueType::BOOL);
    round_trip(&client, &false, ValueType::BOOL);
    for text in ["", "hello", "ä\0\n\u{1F980}"] {
        round_trip(&client, &text.to_owned(), ValueType::TEXT);
    }
    round_trip(&client, &'ß', ValueType::TEXT);
    let pack = ValueType::MESSAGE_PACK;
    round_trip(&client, &u8::MAX, pack);
    round_trip(&client, &u32::MAX, pack);
    round_trip(&client, &u64::MAX, pack);
    round_trip(&client, &Some(7), pack);
    round_trip(&client, &None::<i32>, pack);
    round_trip(&client, &(), pack);
    round_trip(&client, &(1u8, "x".to_owned(), [0.5, -0.5]), pack);
    round_trip(&client, &vec![0u8, 255], pack);
    round_trip(&client, &Section::Main, pack);
    round_trip(&client, &package(), pack);
    let by_name: BTreeMap<String, Package> = [("zlib1g".to_owned(), package())].into();
    round_trip(&client, &by_name, pack);
}

fn untyped_values_come_back() {
    let (client, _cluster) = three_daemons();
    let negative_zero = Value::Float(-0.0);
    for value in [
        Value::Bytes(vec![]),
        Value::Bytes((0..=255).collect()),
        Value::Text(String::new()),
        Value::Text("text".into()),
        Value::Int(i64::MIN),
        negative_zero,
        Value::Float(f64::from_bits(0x7FF8_0000_0000_0001)),
        Value::Bool(true),
        Value::Json("{ \"b\": 1.10, \"a\": [] }".into()),
        Value::Json("no JSON, and nobody looks".into()),
        Value::MessagePack(vec![0x93, 1, 2, 3]),
        Value::MessagePack(vec![]),
        Value::User { tag: 128, bytes: vec![] },
        Value::User { tag: 255, bytes: b"mine".to_vec() },
        Value::Raw { value_type: ValueType::TEXT, bytes: vec![0xFF, 0xFE] },
        Value::Raw { value_type: ValueType::JSON, bytes: vec![0x80] },
    ] {
        client.put("k", &value).unwrap();
        let found = client.get::<Value>("k").unwrap().expect("it was put");
        // By the wire form: a NaN is not equal to itself.
        assert_eq!(found.to_wire(), value.to_wire(), "{value:?}");
    }
    for tag in [7, 127] {
        let reserved = client.put("k", &Value::User { tag, bytes: vec![] });
        assert!(matches!(reserved, Err(Error::Encode { .. })), "{reserved:?}");
    }
}

fn values_are_read_as_what_fits() {
    let (client, _cluster) = three_daemons();
    client.put("k", &255).unwrap();
    assert_eq!(client.get::<u8>("k").unwrap(), Some(255));
    assert_eq!(client.get::<f64>("k").unwrap(), Some(255.0));
    assert_eq!(client.get::<Option<i64>>("k").unwrap(), Some(Some(255)));
    assert_eq!(client.get::<Metres>("k").unwrap(), Some(Metres(255)));
    client.put("k", &Value::Bytes(vec![1, 2])).unwrap();
    assert_eq!(client.get::<Vec<u8>>("k").unwrap(), Some(vec![1, 2]));
    assert_eq!(client.get::<[u8; 2]>("k").unwrap(), Some([1, 2]));
    client.put("k", "Main").unwrap();
    assert_eq!(client.get::<Section>("k").unwrap(), Some(Section::Main));
    client.put("k", &Value::Json(r#"{"name":"zlib1g","size":18446744073709551615,"depends":["libc6"],"section":{"Other":{"name":"contrib"}}}"#.into())).unwrap();
    assert_eq!(client.get::<Package>("k").unwrap(), Some(package()));
    client.put("k", &package()).unwrap();
    assert_eq!(client.get::<serde_json::Value>("k").unwrap().unwrap()["section"]["Other"]["name"], "contrib");
}

/// JSON was once read by a method that is fast and may miss by a bit: 6e23 came back as 5.9999999999999995e23.
fn json_numbers_are_exact() {
    let (client, _cluster) = three_daemons();
    for text in ["6e23", "0.1", "1e-323", "1.7976931348623157e308", "9007199254740993.0"] {
        client.put("k", &Value::Json(text.into())).unwrap();
        let number: f64 = text.parse().unwrap();
        assert_eq!(client.get::<f64>("k").unwrap().map(f64::to_bits), Some(number.to_bits()), "{text}");
    }
}

fn mismatches_are_decode_errors() {
    #[track_caller]
    fn decode_error<T: DeserializeOwned + Debug>(client: &Client, stored: ValueType) {
        match client.get::<T>("k") {
            Err(ref error @ Error::Decode { stored: found, .. }) => {
                assert_eq!((found, error.outcome()), (stored, Outcome::NotDone));
                let text = error.to_string();
                assert!(
                    text.contains(&stored.to_string()) && text.contains(std::any::type_name::<T>()),
                    "{text}"
                );
            }
            other => panic!("should not decode: {other:?}"),
        }
    }
    let (client, _cluster) = three_daemons();
    client.put("k", "12").unwrap();
    decode_error::<i64>(&client, ValueType::TEXT);
    decode_error::<Vec<u8>>(&client, ValueType::TEXT);
    assert_eq!(client.get::<String>("k").unwrap().as_deref(), Some("12"), "nothing was changed");
    client.put("k", &256).unwrap();
    decode_error::<u8>(&client, ValueType::INT);
    decode_error::<bool>(&client, ValueType::INT);
    client.put("k", &1.0).unwrap();
    decode_error::<i64>(&client, ValueType::FLOAT);
    client.put("k", &package()).unwrap();
    decode_error::<Section>(&client, ValueType::MESSAGE_PACK);
    client.put("k", &Value::Json("{".into())).unwrap();
    decode_error::<serde_json::Value>(&client, ValueType::JSON);
    client.put("k", &Value::Raw { value_type: ValueType::TEXT, bytes: vec![0xFF] }).unwrap();
    decode_error::<String>(&client, ValueType::TEXT);
}

fn big_values() {
    let (client, _cluster) = three_daemons();
    let longest: Vec<u8> = (0..VALUE_BYTES_MAX).map(|at| ((at * 31) >> 8) as u8).collect();
    let version = client.put("big", &Value::Bytes(longest.clone())).unwrap();
    assert!(client.get::<Value>("big").unwrap() == Some(Value::Bytes(longest.clone())), "16 MiB come back");

    let longer = client.put("big", &"x".repeat(VALUE_BYTES_MAX + 1));
    assert!(matches!(longer, Err(Error::TooLarge { what: "value", .. })), "{longer:?}");
    assert_eq!(refusal(client.append("big", &Value::Bytes(vec![1]))), Status::TooLarge);
    let found = client.get_versioned::<Value>("big").unwrap().expect("it is still there");
    assert!(found.version == version && found.value == Value::Bytes(longest), "nothing was changed");

    // Longer and longer, through every way in which the store keeps a value.
    let piece = "0123456789abcdef".repeat(1 << 15);
    for pieces_count in 1..=VALUE_BYTES_MAX / piece.len() {
        assert_eq!(client.append("grown", &piece).unwrap(), (pieces_count * piece.len()) as u64);
    }
    assert_eq!(refusal(client.append("grown", "x")), Status::TooLarge);
    let grown = client.get::<String>("grown").unwrap().expect("it was appended to");
    assert!(grown == piece.repeat(VALUE_BYTES_MAX / piece.len()));
}
