//! The end of a script: everything deleted, and what is left then.

use dht_protocol::ids::ClientId;
use dht_protocol::request::{Condition, Key, Request, WriteToken};
use dht_protocol::status::Status;
use dht_server::memory::MemoryKind;

use super::node::Connection;
use super::run::Run;

/// A number above all that a script gives to its writes.
const LAST_SEQ: u64 = 1 << 50;
/// Rounds of housekeeping after which nothing may be left to do.
const ROUNDS_MAX: usize = 40;

/// Deletes everything, keeps house, and looks at what is still charged.
pub(super) fn check(run: &mut Run<'_>) -> Result<(), String> {
    run.check_memory()?;
    run.node.dispatcher.check_invariants();
    // The channel takes notice of a daemon that was told other things; nobody has said so.
    if !run.node.stopped.is_empty() {
        return Err("the node was told to stop".into());
    }
    settle_writers(run)?;
    delete_everything(run)?;
    keep_house(run)?;
    run.node.dispatcher.check_invariants();
    let memory = &run.node.memory;
    for kind in MemoryKind::ALL {
        let used = memory.used_by(kind);
        if used > 0 {
            return Err(format!("{used} bytes of {} are left when nothing is", kind.name()));
        }
    }
    let counted: u64 = run.node.metrics.answers().map(|(_, count)| count).sum();
    if counted != run.answers_count() {
        return Err(format!("{counted} answers counted, {} came", run.answers_count()));
    }
    Ok(())
}

/// Each client says that it waits for nothing any more.
fn settle_writers(run: &mut Run<'_>) -> Result<(), String> {
    let absent = (0..u32::MAX)
        .map(|number| format!("absent{number}").into_bytes())
        .find(|key| !run.model.entries.contains_key(key) && run.model.serves(run.model.partition_of(key)));
    let absent = absent.ok_or("every key is present")?;
    for id in run.model.writers.ids() {
        let mut connection = Connection::default();
        let hello = run.requests.hello_of(id);
        let token = Some(WriteToken { seq: LAST_SEQ, floor: LAST_SEQ, retry: false });
        let key = Key::new(&absent).map_err(|error| error.to_string())?;
        let delete = run.requests.sent(&Request::Delete { key, condition: Condition::Always, token });
        run.exchange(&mut connection, &[hello, delete])?;
        run.model.writers.disconnected(id);
    }
    Ok(())
}

fn delete_everything(run: &mut Run<'_>) -> Result<(), String> {
    let mut connection = Connection::default();
    let hello = run.requests.hello_of(ClientId(0));
    run.exchange(&mut connection, &[hello])?;
    let keys: Vec<Vec<u8>> = run.model.entries.keys().cloned().collect();
    for name in &keys {
        let key = Key::new(name).map_err(|error| error.to_string())?;
        let delete = Request::Delete { key, condition: Condition::Always, token: None };
        let sent = run.requests.sent(&delete);
        run.exchange(&mut connection, &[sent])?;
        run.check_memory()?;
    }
    match run.model.entries.len() {
        0 => Ok(()),
        left => Err(format!("{left} entries left by {}", Status::Ok.name())),
    }
}

fn keep_house(run: &mut Run<'_>) -> Result<(), String> {
    for _ in 0..ROUNDS_MAX {
        let before = run.node.memory.used_bytes();
        let mut steps: u32 = 0;
        run.node.dispatcher.keep_house(|| {
            steps += 1;
            steps < 100_000
        });
        if steps >= 100_000 {
            return Err("housekeeping finds no end".into());
        }
        run.check_memory()?;
        if run.node.memory.used_bytes() == before {
            return Ok(());
        }
    }
    Err(format!("memory is still given back after {ROUNDS_MAX} rounds of housekeeping"))
}
