//! The operations on one key, each under the lock of its partition.
//!
//! Nothing long happens under the lock: a large value is copied before it is taken or after it is let go, and
//! what a write displaced is dropped after it.

use std::sync::Arc;

use dht_protocol::ids::Version;
use dht_protocol::limits::VALUE_BYTES_MAX;
use dht_protocol::placement::hash::KeyHash;
use dht_protocol::request::{Condition, Key, Request, WriteToken};
use dht_protocol::response::{Refusal, Response};
use dht_protocol::status::Status;
use dht_protocol::value::{ValueRef, ValueType};

use super::Dispatcher;
use super::batch::Frame;
use super::found::{FrameShape, show_found};
use super::hosted::{Hosted, HostedInner};
use super::output::Output;
use super::session::Session;
use crate::limits::{APPEND_TRIES_MAX, ROOM_TRIES_MAX};
use crate::replication::clients::ClientState;
use crate::replication::dedup::{Admission, Outcome};
use crate::store::{
    Found, LargeValue, NewValue, Partition, Pieces, StoreError, StoredValue, Written, is_large,
};
use crate::sync::MutexGuard;

/// Longest decimal form of a 64-bit number: 19 digits and a sign.
pub(crate) const DECIMAL_BYTES_MAX: usize = 20;

/// A write's way from admission to its outcome, the same for every kind of write.
struct Write<'a> {
    dispatcher: &'a Dispatcher,
    hash: KeyHash,
    key: Key<'a>,
    writer: Option<(&'a Arc<ClientState>, WriteToken)>,
}

/// What a write under the lock came to, and what is to be dropped once the lock is gone.
type Done = Result<(Outcome, Option<Arc<LargeValue>>), Refusal<'static>>;

impl Dispatcher {
    /// Answers a request that has a key and is ours.
    pub(super) fn answer_key(
        &self,
        session: &Session,
        frame: &Frame<'_>,
        request: &Request<'_>,
        hash: KeyHash,
        hosted: &Hosted,
        output: &mut Output,
    ) -> Status {
        if let Request::Get { key } = *request {
            return self.answer_get(frame, hash, key, &hosted.lock().store, output);
        }
        self.respond(frame, &self.carry_out(session, request, hash, hosted), output)
    }

    /// Carries out a request that has a key and is ours, any but `GET`.
    pub(super) fn carry_out(
        &self,
        session: &Session,
        request: &Request<'_>,
        hash: KeyHash,
        hosted: &Hosted,
    ) -> Response<'static> {
        match *request {
            Request::Exists { key } => match hosted.lock().store.get(hash, key.as_bytes()) {
                Some(found) => Response::Version(found.version),
                None => Response::Refused(Refusal::of(Status::NotFound)),
            },
            Request::Put { key, value, condition, token } => {
                let put = |write: Write<'_>| put(&write, hosted, value, condition);
                respond(self.write(session, hash, key, token).and_then(put), |done| {
                    Response::Version(done.version)
                })
            }
            Request::Delete { key, condition, token } => {
                let delete = |write: Write<'_>| delete(&write, hosted, condition);
                respond(self.write(session, hash, key, token).and_then(delete), |done| {
                    Response::Version(done.version)
                })
            }
            Request::Add { key, delta, token } => {
                let add = |write: Write<'_>| add(&write, hosted, delta);
                respond(self.write(session, hash, key, token).and_then(add), |done| Response::Counted {
                    version: done.version,
                    value: done.number,
                })
            }
            Request::Append { key, suffix, token } => {
                let append = |write: Write<'_>| append(&write, hosted, suffix);
                respond(self.write(session, hash, key, token).and_then(append), |done| Response::Appended {
                    version: done.version,
                    value_bytes: done.number as u32,
                })
            }
            Request::Get { .. }
            | Request::Hello(_)
            | Request::Map
            | Request::Ping
            | Request::Stats
            | Request::Scan(_)
            | Request::PeerHello(_) => {
                unreachable!("only requests with a key come here, and GET goes its own way")
            }
        }
    }

    /// Answers a `GET`, its partition being held.
    #[inline]
    pub(super) fn answer_get(
        &self,
        frame: &Frame<'_>,
        hash: KeyHash,
        key: Key<'_>,
        store: &Partition,
        output: &mut Output,
    ) -> Status {
        let mut found_in = FrameShape { request_id: frame.header.request_id, epoch: self.map().epoch() };
        match show_found(store, hash, key, output, &mut found_in) {
            true => Status::Ok,
            false => self.refuse(frame, Refusal::of(Status::NotFound), output),
        }
    }

    fn write<'a>(
        &'a self,
        session: &'a Session,
        hash: KeyHash,
        key: Key<'a>,
        token: Option<WriteToken>,
    ) -> Result<Write<'a>, Refusal<'static>> {
        Ok(Write { dispatcher: self, hash, key, writer: session.writer(token)? })
    }
}

fn respond(
    outcome: Result<Outcome, Refusal<'static>>,
    answer: impl FnOnce(Outcome) -> Response<'static>,
) -> Response<'static> {
    match outcome {
        Ok(outcome) => answer(outcome),
        Err(refusal) => Response::Refused(refusal),
    }
}

impl Write<'_> {
    /// Takes the lock, sees whether the write may be applied, and applies it with `apply`. Where that is refused
    /// memory, it is tried again for as long as the partition's own dead entries give some back.
    fn run(
        &self,
        hosted: &Hosted,
        mut apply: impl FnMut(&mut HostedInner) -> Done,
    ) -> Result<Outcome, Refusal<'static>> {
        let mut tries_left = ROOM_TRIES_MAX;
        loop {
            self.dispatcher.pool().stock_up();
            let mut guard = hosted.lock();
            if let Some(decided) = self.admit(&guard) {
                return decided;
            }
            let done = apply(&mut guard);
            tries_left -= 1;
            let out_of_memory = matches!(done, Err(Refusal::Other(Status::OutOfMemory, _)));
            if !out_of_memory || tries_left == 0 {
                return self.finish(guard, done);
            }
            drop(guard);
            let step = hosted.lock().store.maintain(true);
            if !step.more && step.entries == 0 {
                // Others may have written meanwhile, so it is to be admitted once more.
                tries_left = 1;
            }
        }
    }

    /// Refuses the write before it got to the table. A copy of one that was applied still gets that one's answer,
    /// and the refusal of a retry is remembered, as any other outcome.
    fn refuse(&self, hosted: &Hosted, refusal: Refusal<'static>) -> Result<Outcome, Refusal<'static>> {
        let guard = hosted.lock();
        match self.admit(&guard) {
            Some(decided) => decided,
            None => self.finish(guard, Err(refusal)),
        }
    }

    /// Remembers what the write came to, and lets go of the lock.
    fn finish(
        &self,
        mut guard: MutexGuard<'_, HostedInner>,
        done: Done,
    ) -> Result<Outcome, Refusal<'static>> {
        if let Some((client, token)) = self.writer {
            let outcome = match &done {
                Ok((outcome, _)) => *outcome,
                Err(refusal) => outcome_of(refusal),
            };
            let dispatcher = self.dispatcher;
            guard.dedup.record(client, token, outcome, dispatcher.dedup_budget(), dispatcher.clients());
        }
        // Freeing a large value takes long: not under the lock.
        drop(guard);
        done.map(|(outcome, _displaced)| outcome)
    }

    /// The answer of a write that must not be applied (again); `None`: go on.
    fn admit(&self, inner: &HostedInner) -> Option<Result<Outcome, Refusal<'static>>> {
        let (client, token) = self.writer?;
        match inner.dedup.admit(client, token) {
            Admission::New => None,
            Admission::Replay(outcome) => Some(replay(outcome)),
            Admission::Unknown => Some(Err(Refusal::of(Status::OutcomeUnknown))),
        }
    }

    fn get<'a>(&self, inner: &'a HostedInner) -> Option<Found<'a>> {
        inner.store.get(self.hash, self.key.as_bytes())
    }

    fn store(&self, inner: &mut HostedInner, value: NewValue<'_>, number: i64) -> Done {
        let written = inner.store.put(self.hash, self.key.as_bytes(), value).map_err(refusal_of)?;
        Ok(finished(written, number))
    }

    /// A copy of `parts`, one after the other, outside the arena. Long parts are not to be copied under the lock.
    fn large(&self, parts: [&[u8]; 2]) -> Result<Arc<LargeValue>, Refusal<'static>> {
        LargeValue::concat(&parts, self.dispatcher.memory()).map_err(|_| Refusal::of(Status::OutOfMemory))
    }
}

fn finished(written: Written, number: i64) -> (Outcome, Option<Arc<LargeValue>>) {
    (Outcome { status: Status::Ok, version: written.version, number }, written.displaced)
}

/// What is remembered of a refused write.
fn outcome_of(refusal: &Refusal<'_>) -> Outcome {
    let version = match refusal {
        Refusal::ConditionFailed(version) => *version,
        Refusal::NotOwner(_) | Refusal::Other(..) => Version::ABSENT,
    };
    Outcome { status: refusal.status(), version, number: 0 }
}

/// The answer that was given before.
fn replay(outcome: Outcome) -> Result<Outcome, Refusal<'static>> {
    match outcome.status {
        Status::Ok => Ok(outcome),
        Status::ConditionFailed => Err(Refusal::ConditionFailed(outcome.version)),
        status => Err(Refusal::of(status)),
    }
}

fn refusal_of(error: StoreError) -> Refusal<'static> {
    match error {
        StoreError::OutOfMemory => Refusal::of(Status::OutOfMemory),
        StoreError::Crowded => Refusal::of(Status::Crowded),
        StoreError::SequenceExhausted => Refusal::Other(
            Status::Crowded,
            "the partition has used up its 2^40 versions: restart the node".into(),
        ),
    }
}

fn check_condition(condition: Condition, current: Option<Version>) -> Result<(), Refusal<'static>> {
    let holds = match condition {
        Condition::Always => true,
        Condition::IfAbsent => current.is_none(),
        Condition::IfPresent => current.is_some(),
        Condition::IfVersion(version) => version == current.unwrap_or(Version::ABSENT),
    };
    if holds { Ok(()) } else { Err(Refusal::ConditionFailed(current.unwrap_or(Version::ABSENT))) }
}

fn put(
    write: &Write<'_>,
    hosted: &Hosted,
    value: ValueRef<'_>,
    condition: Condition,
) -> Result<Outcome, Refusal<'static>> {
    let new = if is_large(write.key.as_bytes().len(), value.bytes.len()) {
        match write.large([value.bytes, &[]]) {
            Ok(copy) => NewValue::Large(value.value_type, copy),
            Err(refusal) => return write.refuse(hosted, refusal),
        }
    } else {
        NewValue::Inline(value)
    };
    write.run(hosted, |inner| {
        if condition != Condition::Always {
            check_condition(condition, write.get(inner).map(|found| found.version))?;
        }
        write.store(inner, new.clone(), 0)
    })
}

fn delete(write: &Write<'_>, hosted: &Hosted, condition: Condition) -> Result<Outcome, Refusal<'static>> {
    write.run(hosted, |inner| {
        if condition != Condition::Always {
            let current = write.get(inner).map(|found| found.version);
            // There is nothing to remove where there is no entry, whichever version was expected.
            current.ok_or(Refusal::ConditionFailed(Version::ABSENT))?;
            check_condition(condition, current)?;
        }
        let written = inner.store.delete(write.hash, write.key.as_bytes());
        written.map(|written| finished(written, 0)).ok_or(Refusal::of(Status::NotFound))
    })
}

fn add(write: &Write<'_>, hosted: &Hosted, delta: i64) -> Result<Outcome, Refusal<'static>> {
    write.run(hosted, |inner| {
        let (value_type, before) = match write.get(inner) {
            None => (ValueType::INT, 0),
            Some(found) => (found.value_type, counter_of(&found).ok_or(Refusal::of(Status::WrongType))?),
        };
        let after = before.checked_add(delta).ok_or(Refusal::of(Status::Overflow))?;
        let mut decimal = [0; DECIMAL_BYTES_MAX];
        let binary = after.to_be_bytes();
        let bytes = if value_type == ValueType::TEXT {
            write_decimal(after, &mut decimal)
        } else {
            binary.as_slice()
        };
        let new = if is_large(write.key.as_bytes().len(), bytes.len()) {
            // The key alone fills an entry. A number is short enough to be copied under the lock.
            NewValue::Large(value_type, write.large([bytes, &[]])?)
        } else {
            NewValue::Inline(ValueRef { value_type, bytes })
        };
        write.store(inner, new, after)
    })
}

fn counter_of(found: &Found<'_>) -> Option<i64> {
    if found.value.len() > DECIMAL_BYTES_MAX {
        return None;
    }
    let mut bytes = [0; DECIMAL_BYTES_MAX];
    let length = found.value.copy_to(&mut bytes);
    ValueRef { value_type: found.value_type, bytes: &bytes[..length] }.as_counter()
}

/// Writes the canonical decimal form, without an allocation as this happens under a lock.
pub(crate) fn write_decimal(number: i64, buffer: &mut [u8; DECIMAL_BYTES_MAX]) -> &[u8] {
    let mut at = buffer.len();
    let mut rest = number.unsigned_abs();
    loop {
        at -= 1;
        buffer[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        at -= 1;
        buffer[at] = b'-';
    }
    &buffer[at..]
}

/// What an append finds.
enum Head {
    /// Old and new together are small: both have been joined.
    Short(Vec<u8>),
    /// They are to be joined outside the lock.
    LongInline(Version, Vec<u8>),
    LongLarge(Version, Arc<LargeValue>),
}

/// A long value is joined outside the lock, and put in place if no other write got in between.
fn append(write: &Write<'_>, hosted: &Hosted, suffix: ValueRef<'_>) -> Result<Outcome, Refusal<'static>> {
    let mut joined: Option<(Version, Arc<LargeValue>)> = None;
    for _ in 0..APPEND_TRIES_MAX {
        let mut head = None;
        let result = write.run(hosted, |inner| {
            let current = write.get(inner);
            let version = current.map_or(Version::ABSENT, |found| found.version);
            if let Some((expected, value)) = &joined
                && *expected == version
            {
                let number = value.as_bytes().len() as i64;
                return write.store(inner, NewValue::Large(suffix.value_type, Arc::clone(value)), number);
            }
            match head_of(write.key, current, suffix)? {
                Head::Short(bytes) => {
                    let value = ValueRef { value_type: suffix.value_type, bytes: &bytes };
                    write.store(inner, NewValue::Inline(value), bytes.len() as i64)
                }
                long => {
                    head = Some(long);
                    Err(Refusal::of(Status::Busy))
                }
            }
        });
        let (version, copy) = match head {
            None | Some(Head::Short(_)) => return result,
            Some(Head::LongInline(version, old)) => (version, write.large([&old, suffix.bytes])),
            Some(Head::LongLarge(version, old)) => (version, write.large([old.as_bytes(), suffix.bytes])),
        };
        match copy {
            Ok(copy) => joined = Some((version, copy)),
            Err(refusal) => return write.refuse(hosted, refusal),
        }
    }
    Err(Refusal::Other(Status::Busy, "other writes to this long value keep getting in between".into()))
}

fn head_of(key: Key<'_>, current: Option<Found<'_>>, suffix: ValueRef<'_>) -> Result<Head, Refusal<'static>> {
    let (version, old) = match &current {
        None => (Version::ABSENT, StoredValue::Inline(Pieces::whole(&[]))),
        Some(found) if found.value_type != suffix.value_type => return Err(Refusal::of(Status::WrongType)),
        Some(found) => (found.version, found.value),
    };
    let length = old.len() + suffix.bytes.len();
    if length > VALUE_BYTES_MAX {
        return Err(Refusal::Other(Status::TooLarge, "the value would be longer than 16 MiB".into()));
    }
    Ok(match old {
        StoredValue::Inline(pieces) if !is_large(key.as_bytes().len(), length) => {
            let mut joined = Vec::with_capacity(length);
            pieces.append_to(&mut joined);
            joined.extend_from_slice(suffix.bytes);
            Head::Short(joined)
        }
        StoredValue::Inline(pieces) => Head::LongInline(version, pieces.to_vec()),
        StoredValue::Large(value) => Head::LongLarge(version, Arc::clone(value)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals() {
        for number in [0, 1, -1, 9, 10, -10, 12_345, i64::MAX, i64::MIN] {
            assert_eq!(write_decimal(number, &mut [0; DECIMAL_BYTES_MAX]), number.to_string().as_bytes());
        }
    }

    #[test]
    fn conditions() {
        let (one, two) = (Version(1), Version(2));
        let holds = |condition, current| check_condition(condition, current).is_ok();
        assert!(holds(Condition::Always, None) && holds(Condition::Always, Some(one)));
        assert!(holds(Condition::IfAbsent, None) && !holds(Condition::IfAbsent, Some(one)));
        assert!(!holds(Condition::IfPresent, None) && holds(Condition::IfPresent, Some(one)));
        assert!(holds(Condition::IfVersion(one), Some(one)) && !holds(Condition::IfVersion(one), Some(two)));
        assert!(holds(Condition::IfVersion(Version::ABSENT), None));
        assert!(!holds(Condition::IfVersion(one), None));
        assert_eq!(
            check_condition(Condition::IfVersion(one), None),
            Err(Refusal::ConditionFailed(Version::ABSENT))
        );
        assert_eq!(check_condition(Condition::IfAbsent, Some(two)), Err(Refusal::ConditionFailed(two)));
    }
}
