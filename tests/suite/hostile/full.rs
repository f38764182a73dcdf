//! Large values from many at once, and a daemon at its memory limit. (What a full daemon refuses and how room comes
//! back entry by entry is in `memory_limit`.)

use std::thread;

use dht_protocol::limits::VALUE_BYTES_MAX;
use dht_protocol::status::Status;
use dht_tests::daemon::Daemon;
use dht_tests::raw_client::RawClient;
use dht_tests::requests::{delete, get, put};
use dht_tests::siege::Siege;
use dht_tests::wait::{PATIENCE, wait_until};

use super::attacker::put_head;
use super::{MIB, NOISE_BYTES};
use crate::registry::Case;

/// The tests of this file.
pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("hostile::many_large_values_at_once_under_a_small_limit", large_values).heavy(),
        Case::new("hostile::write_delete_and_write_again_at_the_memory_limit", write_delete_write),
    ]
}

/// What the process may hold on top of its memory limit: code, stacks and read buffers, and what the allocator keeps.
const ALLOWANCE_BYTES: u64 = 16 * MIB;

fn large_values() {
    const PEERS: usize = 64;
    const LIMIT_BYTES: u64 = 64 * MIB;
    let mut daemon = Daemon::start(&["--memory-limit", "64MiB"]);
    let siege =
        Siege::new("large values at once", LIMIT_BYTES + ALLOWANCE_BYTES, NOISE_BYTES).memory_runs_out();
    siege.run(&mut daemon, |field| {
        let value = vec![b'v'; VALUE_BYTES_MAX];
        let statuses: Vec<Status> = thread::scope(|scope| {
            let value = &value;
            let threads: Vec<_> = (0..PEERS)
                .map(|number| {
                    scope.spawn(move || {
                        let mut client = RawClient::greeted(field.address(), 0);
                        let name = format!("large {number}");
                        // Straight from the one copy: 64 of them would be a gigabyte.
                        client.write(&put_head(name.as_bytes(), value.len()));
                        client.write(value);
                        client.answer().status()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("each gets its answer")).collect()
        });
        let kept_count = statuses.iter().filter(|status| **status == Status::Ok).count();
        let refused_count = statuses.iter().filter(|status| **status == Status::OutOfMemory).count();
        assert_eq!(kept_count + refused_count, PEERS, "{statuses:?}");
        assert!(kept_count <= 3 && refused_count > 0, "four do not fit: {statuses:?}");
        let mut client = RawClient::greeted(field.address(), 0);
        for (number, status) in statuses.iter().enumerate() {
            let answer = client.call(&get(format!("large {number}").as_bytes()));
            match status {
                Status::Ok => assert!(answer.found().2 == value),
                _ => assert_eq!(answer.status(), Status::NotFound, "refused is not done"),
            }
            let _ = client.call(&delete(format!("large {number}").as_bytes())).status();
        }
        // The next large one finds room.
        assert_eq!(client.call(&put(b"large", &value)).status(), Status::Ok);
        assert_eq!(client.call(&delete(b"large")).status(), Status::Ok);
    });
}

fn write_delete_write() {
    const LIMIT_BYTES: u64 = 32 * MIB;
    const VALUE_BYTES: usize = 1 << 20;
    let mut daemon = Daemon::start(&["--memory-limit", "32MiB"]);
    let siege =
        Siege::new("at the memory limit", LIMIT_BYTES + ALLOWANCE_BYTES, NOISE_BYTES).memory_runs_out();
    siege.run(&mut daemon, |field| {
        let mut client = RawClient::greeted(field.address(), 0);
        let value = vec![b'v'; VALUE_BYTES];
        let name_of = |number: usize| format!("full {number}").into_bytes();
        let mut count = 0;
        while client.call(&put(&name_of(count), &value)).status() == Status::Ok {
            count += 1;
        }
        assert!(count > 16, "{count} values of 1 MiB fit into 32 MiB");
        for number in 0..count {
            assert_eq!(client.call(&put(b"one more", &value)).status(), Status::OutOfMemory);
            assert!(client.call(&get(&name_of(number))).found().2 == value, "reads go on");
            assert_eq!(client.call(&delete(&name_of(number))).status(), Status::Ok, "deletes go on");
            assert_eq!(
                client.call(&put(&name_of(number), &value)).status(),
                Status::Ok,
                "there is room again"
            );
        }
        for number in 0..count {
            assert_eq!(client.call(&delete(&name_of(number))).status(), Status::Ok);
        }
        wait_until(PATIENCE, "the memory to be given back", || client.stat("memory_used_bytes") < 4 * MIB);
    });
}
