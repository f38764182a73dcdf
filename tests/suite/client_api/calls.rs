//! The calls on single keys, each with what it answers when it does something and when it does nothing.

use dht_client::{Client, Conditional, Error, Outcome, Status, Value, Version};

use super::{refusal, three_daemons};
use crate::registry::Case;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("client_api::the_life_of_an_entry", the_life_of_an_entry),
        Case::new("client_api::conditional_writes", conditional_writes),
        Case::new("client_api::counters", counters),
        Case::new("client_api::counters_in_text", counters_in_text),
        Case::new("client_api::appends", appends),
        Case::new("client_api::keys_are_any_bytes_but_the_reserved", keys_are_any_bytes),
    ]
}

fn the_life_of_an_entry() {
    let (client, _cluster) = three_daemons();
    for key in (0..50).map(|number| format!("life:{number}")) {
        assert_eq!(client.get::<String>(&key).unwrap(), None);
        assert_eq!(client.get_versioned::<Value>(&key).unwrap(), None);
        assert!(!client.exists(&key).unwrap());
        assert_eq!(client.delete(&key).unwrap(), None);
        let first = client.put(&key, "one").unwrap();
        let second = client.put(&key, "two").unwrap();
        assert!(second > first && !first.is_absent());
        assert!(client.exists(&key).unwrap());
        let found = client.get_versioned::<String>(&key).unwrap().expect("it was put");
        assert_eq!((found.version, found.value.as_str()), (second, "two"));
        let removed = client.delete(&key).unwrap().expect("it was there");
        assert!(removed > second);
        assert_eq!(client.get::<String>(&key).unwrap(), None);
        assert!(client.put(&key, "three").unwrap() > removed, "versions outlive the entry");
    }
}

fn conditional_writes() {
    let (client, _cluster) = three_daemons();
    let refused = |current| Conditional::Refused { current };
    for key in (0..50).map(|number| format!("if:{number}")) {
        assert_eq!(client.replace(&key, &0).unwrap(), refused(Version::ABSENT));
        let stranger = Version(12_345);
        assert_eq!(client.compare_and_put(&key, stranger, &0).unwrap(), refused(Version::ABSENT));
        assert_eq!(client.delete_if(&key, stranger).unwrap(), refused(Version::ABSENT));
        assert!(!client.exists(&key).unwrap(), "nothing of that did anything");

        let first = done(client.put_if_absent(&key, &1).unwrap());
        assert_eq!(client.put_if_absent(&key, &2).unwrap(), refused(first));
        assert_eq!(client.compare_and_put(&key, Version::ABSENT, &2).unwrap(), refused(first));
        let second = done(client.replace(&key, &3).unwrap());
        assert_eq!(client.compare_and_put(&key, first, &4).unwrap(), refused(second));
        let third = done(client.compare_and_put(&key, second, &5).unwrap());
        assert!(first < second && second < third);
        assert_eq!(client.get::<i64>(&key).unwrap(), Some(5));
        assert_eq!(client.delete_if(&key, second).unwrap(), refused(third));
        done(client.delete_if(&key, third).unwrap());
        assert_eq!(client.delete_if(&key, third).unwrap(), refused(Version::ABSENT));
        done(client.compare_and_put(&key, Version::ABSENT, &6).unwrap());
        assert_eq!(client.get::<i64>(&key).unwrap(), Some(6));
    }
}

#[track_caller]
fn done(outcome: Conditional) -> Version {
    match outcome {
        Conditional::Done(version) => version,
        Conditional::Refused { current } => panic!("refused: the version is {current}"),
    }
}

fn counters() {
    let (client, _cluster) = three_daemons();
    assert_eq!(client.add("n", 5).unwrap(), 5);
    assert_eq!(client.add("n", -7).unwrap(), -2);
    assert_eq!(client.add("n", 0).unwrap(), -2);
    assert_eq!(client.get::<Value>("n").unwrap(), Some(Value::Int(-2)));
    assert_eq!(client.add("from nothing", i64::MIN).unwrap(), i64::MIN);
    for (start, delta) in [(i64::MAX, 1), (i64::MIN, -1), (1, i64::MAX), (-2, i64::MIN)] {
        client.put("n", &start).unwrap();
        let result = client.add("n", delta);
        assert_eq!(result.as_ref().map_err(Error::outcome), Err(Outcome::NotDone));
        assert_eq!(refusal(result), Status::Overflow, "{start} + {delta}");
        assert_eq!(client.get::<i64>("n").unwrap(), Some(start), "nothing was changed");
    }
    client.put("n", &i64::MAX).unwrap();
    assert_eq!(client.add("n", i64::MIN).unwrap(), -1);
    for value in [
        Value::Float(1.0),
        Value::Bool(true),
        Value::Bytes(b"1".to_vec()),
        Value::Json("1".into()),
        Value::MessagePack(vec![1]),
        Value::User { tag: 128, bytes: b"1".to_vec() },
    ] {
        client.put("n", &value).unwrap();
        assert_eq!(refusal(client.add("n", 1)), Status::WrongType, "{value:?}");
        assert_eq!(client.get::<Value>("n").unwrap(), Some(value), "nothing was changed");
    }
}

fn counters_in_text() {
    let (client, _cluster) = three_daemons();
    for (text, sum) in
        [("0", "1"), ("-1", "0"), ("9", "10"), ("-9223372036854775808", "-9223372036854775807")]
    {
        client.put("t", text).unwrap();
        assert_eq!(client.add("t", 1).unwrap().to_string(), sum);
        assert_eq!(client.get::<Value>("t").unwrap(), Some(Value::Text(sum.into())), "text stays text");
    }
    for text in ["", "+1", "01", "-0", " 1", "1 ", "1.0", "1e3", "0x1", "-", "9223372036854775808", "١"] {
        client.put("t", text).unwrap();
        assert_eq!(refusal(client.add("t", 1)), Status::WrongType, "{text:?} is not canonical");
    }
    client.put("t", &i64::MAX.to_string()).unwrap();
    assert_eq!(refusal(client.add("t", 1)), Status::Overflow);
    // An int can be told apart from its text: only the text takes a suffix.
    assert_eq!(client.append("t", "0").unwrap(), 20);
}

fn appends() {
    let (client, _cluster) = three_daemons();
    assert_eq!(client.append("log", "ab").unwrap(), 2);
    assert_eq!(client.append("log", "").unwrap(), 2);
    assert_eq!(client.append("log", "ä").unwrap(), 4);
    assert_eq!(client.get::<String>("log").unwrap().as_deref(), Some("abä"));
    assert_eq!(client.append("raw", &Value::Bytes(vec![0xFF])).unwrap(), 1);
    assert_eq!(client.append("raw", &Value::Bytes(vec![0])).unwrap(), 2);
    assert_eq!(client.get::<Value>("raw").unwrap(), Some(Value::Bytes(vec![0xFF, 0])));
    let mine = |bytes: &[u8]| Value::User { tag: 200, bytes: bytes.to_vec() };
    client.append("mine", &mine(b"x")).unwrap();
    client.append("mine", &mine(b"y")).unwrap();
    assert_eq!(client.get::<Value>("mine").unwrap(), Some(mine(b"xy")));

    assert_eq!(refusal(client.append("log", &Value::Bytes(vec![1]))), Status::WrongType);
    assert_eq!(refusal(client.append("mine", &Value::User { tag: 201, bytes: vec![] })), Status::WrongType);
    client.put("n", &1).unwrap();
    assert_eq!(refusal(client.append("n", "1")), Status::WrongType);
    for scalar in [Value::Int(1), Value::Float(1.0), Value::Bool(true), Value::Json("1".into())] {
        let result = client.append("new", &scalar);
        assert!(matches!(result, Err(Error::Encode { .. })), "{result:?}");
    }
    assert!(!client.exists("new").unwrap());
}

fn keys_are_any_bytes() {
    let (client, _cluster) = three_daemons();
    let longest = vec![b'k'; 65_535];
    let keys: Vec<&[u8]> =
        vec![b"\0", b"\xFE\xFF", b"a\xFFb", b"\x80", b"\n\t\r", "ключ".as_bytes(), &longest];
    for (number, key) in (0i64..).zip(&keys) {
        client.put(key, &number).unwrap();
    }
    for (number, key) in (0i64..).zip(&keys) {
        assert_eq!(client.get::<i64>(key).unwrap(), Some(number), "{}", key.escape_ascii());
    }
    let mut listed: Vec<Vec<u8>> = client.iter().map(|entry| entry.unwrap().key.into_bytes()).collect();
    let mut expected: Vec<Vec<u8>> = keys.iter().map(|key| key.to_vec()).collect();
    listed.sort();
    expected.sort();
    assert_eq!(listed, expected);
    for reserved in [&b""[..], b"\xFF", b"\xFFdht"] {
        every_call_refuses(&client, reserved, |error| matches!(error, Error::BadKey { .. }));
    }
    every_call_refuses(&client, &[b'k'; 65_536], |error| {
        matches!(error, Error::TooLarge { what: "key", .. })
    });
}

#[track_caller]
fn every_call_refuses(client: &Client, key: &[u8], right: impl Fn(&Error) -> bool) {
    let version = Version(1);
    for error in [
        client.get::<Value>(key).unwrap_err(),
        client.get_versioned::<Value>(key).unwrap_err(),
        client.exists(key).unwrap_err(),
        client.put(key, &1).unwrap_err(),
        client.put_if_absent(key, &1).unwrap_err(),
        client.replace(key, &1).unwrap_err(),
        client.compare_and_put(key, version, &1).unwrap_err(),
        client.delete(key).unwrap_err(),
        client.delete_if(key, version).unwrap_err(),
        client.add(key, 1).unwrap_err(),
        client.append(key, "1").unwrap_err(),
    ] {
        assert!(right(&error) && error.outcome() == Outcome::NotDone, "{error:?}");
    }
}
