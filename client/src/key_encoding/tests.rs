//! The promises of the encoding, on random keys.

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;

fn bytes_of<K: Serialize + ?Sized>(key: &K) -> Vec<u8> {
    let mut out = Vec::new();
    encode(key, &mut out).unwrap();
    out
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Kind {
    Nothing,
    One(i8),
    Two(String, bool),
    Named { at: u16, tags: Vec<String> },
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Wrapped(i64);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Parts {
    text: String,
    signed: (i8, i16, i32, Wrapped, i128),
    unsigned: (u8, u16, u32, u64, u128),
    small: (bool, char, Option<u8>, ()),
    kinds: Vec<Kind>,
    array: [u16; 2],
}

/// Short, with zero bytes and 0xFF-like ends, so that escapes meet.
fn text() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        proptest::sample::select(&['\0', '\u{1}', 'a', 'b', 'ÿ', '\u{10FFFF}'][..]),
        0..4,
    )
    .prop_map(String::from_iter)
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Nothing),
        any::<i8>().prop_map(Kind::One),
        (text(), any::<bool>()).prop_map(|(text, truth)| Kind::Two(text, truth)),
        (0u16..3, proptest::collection::vec(text(), 0..3)).prop_map(|(at, tags)| Kind::Named { at, tags }),
    ]
}

fn parts() -> impl Strategy<Value = Parts> {
    let signed = (any::<i8>(), any::<i16>(), any::<i32>(), any::<i64>().prop_map(Wrapped), any::<i128>());
    let unsigned = (any::<u8>(), any::<u16>(), any::<u32>(), any::<u64>(), any::<u128>());
    let small = (any::<bool>(), any::<char>(), any::<Option<u8>>(), Just(()));
    (text(), signed, unsigned, small, proptest::collection::vec(kind(), 0..3), any::<[u16; 2]>()).prop_map(
        |(text, signed, unsigned, small, kinds, array)| Parts { text, signed, unsigned, small, kinds, array },
    )
}

macro_rules! promises {
    ($($name:ident: $type:ty = $strategy:expr;)*) => {
        $(proptest! {
            #[test]
            fn $name(one in $strategy, two in $strategy, noise in any::<u8>(), at in any::<usize>()) {
                let (first, second) = (bytes_of(&one), bytes_of(&two));
                prop_assert_eq!(&decode::<$type>(&first).unwrap(), &one);
                prop_assert_eq!(first.cmp(&second), one.cmp(&two), "order");
                prop_assert!(one == two || !second.starts_with(&first), "prefix");
                // What is no key is an error; what is one has these bytes and no others.
                let mut broken = first.clone();
                let at = at % broken.len().max(1);
                if let Some(byte) = broken.get_mut(at) {
                    *byte = noise;
                }
                if let Ok(key) = decode::<$type>(&broken) {
                    prop_assert_eq!(bytes_of(&key), broken);
                }
                prop_assert!(first.is_empty() || decode::<$type>(&first[..at]).is_err(), "cut");
            }
        })*
    };
}

promises! {
    strings: String = text();
    pairs_of_strings: (String, String) = (text(), text());
    signed_numbers: (i8, i128) = (any::<i8>(), any::<i128>());
    enums: Kind = kind();
    options_of_sequences: Option<Vec<Option<u8>>> = any::<Option<Vec<Option<u8>>>>();
    structs: Parts = parts();
}

#[test]
fn the_bytes_of_the_table() {
    let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(" ");
    assert_eq!(hex(bytes_of(&("t", "ab", -1i16))), "74 00 00 61 62 00 00 7F FF");
    assert_eq!(hex(bytes_of("a\0b")), "61 00 FF 62 00 00");
    assert_eq!(hex(bytes_of(&(7u32, i8::MIN, true, 'ä'))), "00 00 00 07 00 01 00 00 00 E4");
    assert_eq!(hex(bytes_of(&[Some(1u8), None])), "01 01 00");
    assert_eq!(hex(bytes_of(&vec![1u8, 2])), "01 01 01 02 00");
    assert_eq!(hex(bytes_of(&Kind::One(-128))), "00 00 00 01 00");
}

#[test]
fn maps_and_floats_are_refused() {
    let mut out = Vec::new();
    assert!(encode(&(1, 0.5f64), &mut out).unwrap_err().0.contains("float"));
    assert!(encode(&std::collections::BTreeMap::from([(1, 2)]), &mut out).unwrap_err().0.contains("map"));
    assert!(decode::<f32>(&[0; 4]).is_err() && decode::<serde_json::Value>(&[0; 4]).is_err());
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Chain {
    End,
    Link(Box<Chain>),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Nest(Vec<Nest>);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Stack {
    below: Option<Box<Stack>>,
}

#[test]
fn parts_nested_too_deep_are_refused_both_ways() {
    let chain = |links| (0..links).fold(Chain::End, |chain, _| Chain::Link(Box::new(chain)));
    let deepest = bytes_of(&chain(KEY_DEPTH_MAX));
    assert_eq!(decode::<Chain>(&deepest).unwrap(), chain(KEY_DEPTH_MAX));
    let error = encode(&chain(KEY_DEPTH_MAX + 1), &mut Vec::new()).unwrap_err();
    assert_eq!(error.0, "its parts are nested more than 64 deep");
    let one_more = [&[0, 0, 0, 1][..], &deepest].concat();
    assert_eq!(decode::<Chain>(&one_more), Err(error.clone()));
    // Bytes that would use up the stack: as many levels as a key has room for.
    assert_eq!(decode::<Chain>(&[0, 0, 0, 1].repeat(16_000)), Err(error.clone()));
    assert_eq!(decode::<Nest>(&[MORE; 65_000]), Err(error.clone()));
    assert_eq!(decode::<Stack>(&[MORE; 65_000]), Err(error));
    // Breadth is no depth.
    let broad = Nest((0..1_000).map(|_| Nest(vec![])).collect());
    assert_eq!(decode::<Nest>(&bytes_of(&broad)).unwrap(), broad);
}
