//! Keys and values at and beyond their limits.

use dht_protocol::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use dht_protocol::op::Op;
use dht_protocol::status::Status;
use dht_tests::daemon::Daemon;
use dht_tests::raw_client::RawClient;
use dht_tests::requests::{append, delete, get, put};
use dht_tests::siege::Siege;

use super::attacker::raw_frame;
use super::{MIB, NOISE_BYTES};
use crate::registry::Case;

/// The tests of this file.
pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("hostile::keys_of_every_kind", keys),
        Case::new("hostile::values_at_the_limit_and_beyond", values).heavy(),
    ]
}

/// The body of a `PUT` of nothing under a key of these bytes, whose length may be a lie.
fn put_body(key_length: u16, key: &[u8]) -> Vec<u8> {
    [&key_length.to_be_bytes()[..], &[0; 18], key].concat()
}

fn keys() {
    let mut daemon = Daemon::start(&["--memory-limit", "64MiB"]);
    Siege::new("keys of every kind", NOISE_BYTES, NOISE_BYTES).run(&mut daemon, |field| {
        let mut client = RawClient::greeted(field.address(), 0);
        let longest = vec![0xFE; KEY_BYTES_MAX];
        let too_long = vec![b'k'; KEY_BYTES_MAX + 1];
        let [put_code, get_code, exists_code] = [Op::Put, Op::Get, Op::Exists].map(|op| op as u8);
        for (what, code, body, status) in [
            ("none", put_code, put_body(0, b""), Status::BadKey),
            ("none", get_code, vec![], Status::BadKey),
            ("none", exists_code, vec![], Status::BadKey),
            ("reserved", put_code, put_body(1, b"\xFF"), Status::BadKey),
            ("reserved", get_code, vec![0xFF; KEY_BYTES_MAX], Status::BadKey),
            ("longer than its body", put_code, put_body(u16::MAX, b"k"), Status::Malformed),
            ("too long", get_code, too_long.clone(), Status::TooLarge),
            ("too long", exists_code, too_long, Status::TooLarge),
        ] {
            client.write(&raw_frame(1, code, 0, &body));
            assert_eq!(client.answer().status(), status, "{what}, opcode {code:#x}");
        }
        // What is no text is a key like any other.
        let names: [&[u8]; 6] = [&longest, b"\0", b"\0\0", b"\xC3\x28", b"\xFE\xFF", b"a\0b\xFF\n"];
        for name in names {
            let version = client.call(&put(name, name)).version();
            let answer = client.call(&get(name));
            assert!(answer.found().0 == version && answer.found().2 == name, "{} bytes", name.len());
        }
        for name in names {
            assert_eq!(client.call(&delete(name)).status(), Status::Ok);
            assert_eq!(client.call(&get(name)).status(), Status::NotFound);
        }
    });
}

fn values() {
    let mut daemon = Daemon::start(&["--memory-limit", "256MiB"]);
    // A value and the frame that it comes in, and the same once more while one takes the place of another.
    let longest_bytes = VALUE_BYTES_MAX as u64;
    let siege = Siege::new("values at the limit", 4 * longest_bytes + NOISE_BYTES, NOISE_BYTES + MIB);
    siege.run(&mut daemon, |field| {
        let mut client = RawClient::greeted(field.address(), 0);
        let longest = vec![b'x'; VALUE_BYTES_MAX];
        let too_long = vec![b'y'; VALUE_BYTES_MAX + 1];
        let _ = client.call(&put(b"empty", b"")).version();
        assert_eq!(client.call(&get(b"empty")).found().2, b"");
        for _ in 0..4 {
            let version = client.call(&put(b"longest", &longest)).version();
            assert_eq!(client.call(&put(b"longest", &too_long)).status(), Status::TooLarge);
            assert_eq!(client.call(&append(b"longest", b"z")).status(), Status::TooLarge);
            let answer = client.call(&get(b"longest"));
            assert!(answer.found().0 == version && answer.found().2 == longest);
        }
        for name in [&b"empty"[..], b"longest"] {
            assert_eq!(client.call(&delete(name)).status(), Status::Ok);
        }
    });
}
