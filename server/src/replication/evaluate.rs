//! What a write does to a key, given what the key holds: the effect that the log carries, or why there is none. Pure.

use std::sync::Arc;

use dht_protocol::ids::Version;
use dht_protocol::limits::VALUE_BYTES_MAX;
use dht_protocol::peer::{Effect, Outcome};
use dht_protocol::request::Condition;
use dht_protocol::status::Status;
use dht_protocol::value::{ValueRef, ValueType};

use super::operation::Operation;
use super::replica_store::Stored;

/// What a write comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Evaluated {
    /// It has this effect, and its answer this number.
    Effect(Effect, i64),
    /// It has none.
    Refused(Outcome),
}

/// Evaluates a write to `key`, which holds `current`.
pub(super) fn evaluate(operation: &Operation, key: &Arc<[u8]>, current: Option<&Stored>) -> Evaluated {
    let version = current.map_or(Version::ABSENT, |found| found.version);
    match operation {
        Operation::Get | Operation::Exists => unreachable!("reads are not evaluated"),
        Operation::Put { value_type, value, condition } => {
            if !holds(*condition, version) {
                return refused(Status::ConditionFailed, version);
            }
            put(key, *value_type, Arc::clone(value), 0)
        }
        Operation::Delete { condition } => match current {
            None if *condition == Condition::Always => refused(Status::NotFound, Version::ABSENT),
            // There is nothing to remove where there is no entry, whichever version was expected.
            None => refused(Status::ConditionFailed, Version::ABSENT),
            Some(_) if !holds(*condition, version) => refused(Status::ConditionFailed, version),
            Some(_) => Evaluated::Effect(Effect::Delete { key: Arc::clone(key) }, 0),
        },
        Operation::Add { delta } => add(key, current, *delta),
        Operation::Append { value_type, suffix } => append(key, current, *value_type, suffix),
    }
}

fn add(key: &Arc<[u8]>, current: Option<&Stored>, delta: i64) -> Evaluated {
    let (value_type, before) = match current {
        None => (ValueType::INT, Some(0)),
        Some(found) => {
            let value = ValueRef { value_type: found.value_type, bytes: &found.value };
            (found.value_type, value.as_counter())
        }
    };
    let Some(before) = before else { return refused(Status::WrongType, Version::ABSENT) };
    let Some(after) = before.checked_add(delta) else { return refused(Status::Overflow, Version::ABSENT) };
    let bytes: Arc<[u8]> = if value_type == ValueType::TEXT {
        after.to_string().into_bytes().into()
    } else {
        Arc::new(after.to_be_bytes())
    };
    put(key, value_type, bytes, after)
}

fn append(key: &Arc<[u8]>, current: Option<&Stored>, value_type: ValueType, suffix: &Arc<[u8]>) -> Evaluated {
    let joined: Arc<[u8]> = match current {
        None => Arc::clone(suffix),
        Some(found) if found.value_type != value_type => return refused(Status::WrongType, Version::ABSENT),
        Some(found) if found.value.len() + suffix.len() > VALUE_BYTES_MAX => {
            return refused(Status::TooLarge, Version::ABSENT);
        }
        Some(found) => [&found.value[..], suffix].concat().into(),
    };
    let length = joined.len() as i64;
    put(key, value_type, joined, length)
}

fn put(key: &Arc<[u8]>, value_type: ValueType, value: Arc<[u8]>, number: i64) -> Evaluated {
    Evaluated::Effect(Effect::Put { key: Arc::clone(key), value_type, value }, number)
}

fn refused(status: Status, version: Version) -> Evaluated {
    Evaluated::Refused(Outcome { status, version, number: 0 })
}

fn holds(condition: Condition, current: Version) -> bool {
    match condition {
        Condition::Always => true,
        Condition::IfAbsent => current.is_absent(),
        Condition::IfPresent => !current.is_absent(),
        Condition::IfVersion(version) => version == current,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Arc<[u8]> {
        Arc::from(&b"key"[..])
    }

    fn stored(value_type: ValueType, value: &[u8]) -> Stored {
        Stored { version: Version(7), value_type, value: Arc::from(value) }
    }

    fn value_of(evaluated: Evaluated) -> (Vec<u8>, i64) {
        match evaluated {
            Evaluated::Effect(Effect::Put { value, .. }, number) => (value.to_vec(), number),
            other => panic!("{other:?}"),
        }
    }

    fn status_of(evaluated: &Evaluated) -> (Status, Version) {
        match evaluated {
            Evaluated::Refused(outcome) => (outcome.status, outcome.version),
            Evaluated::Effect(..) => panic!("{evaluated:?}"),
        }
    }

    #[test]
    fn conditions() {
        let put = |condition| Operation::Put { value_type: ValueType::TEXT, value: key(), condition };
        let there = stored(ValueType::TEXT, b"x");
        let works = |condition, current: Option<&Stored>| {
            matches!(evaluate(&put(condition), &key(), current), Evaluated::Effect(..))
        };
        for (condition, when_there, when_absent) in [
            (Condition::Always, true, true),
            (Condition::IfAbsent, false, true),
            (Condition::IfPresent, true, false),
            (Condition::IfVersion(Version(7)), true, false),
            (Condition::IfVersion(Version(8)), false, false),
            (Condition::IfVersion(Version::ABSENT), false, true),
        ] {
            assert_eq!(works(condition, Some(&there)), when_there, "{condition:?}");
            assert_eq!(works(condition, None), when_absent, "{condition:?}");
        }
        let failed = evaluate(&put(Condition::IfAbsent), &key(), Some(&there));
        assert_eq!(status_of(&failed), (Status::ConditionFailed, Version(7)));
    }

    #[test]
    fn deletes() {
        let delete = |condition| Operation::Delete { condition };
        let there = stored(ValueType::TEXT, b"x");
        let absent = evaluate(&delete(Condition::Always), &key(), None);
        assert_eq!(status_of(&absent), (Status::NotFound, Version::ABSENT));
        let absent = evaluate(&delete(Condition::IfVersion(Version::ABSENT)), &key(), None);
        assert_eq!(status_of(&absent), (Status::ConditionFailed, Version::ABSENT));
        let other = evaluate(&delete(Condition::IfVersion(Version(8))), &key(), Some(&there));
        assert_eq!(status_of(&other), (Status::ConditionFailed, Version(7)));
        let gone = evaluate(&delete(Condition::IfVersion(Version(7))), &key(), Some(&there));
        assert_eq!(gone, Evaluated::Effect(Effect::Delete { key: key() }, 0));
    }

    #[test]
    fn counters_keep_their_type() {
        let add = |delta| Operation::Add { delta };
        assert_eq!(value_of(evaluate(&add(5), &key(), None)), (5i64.to_be_bytes().to_vec(), 5));
        let text = stored(ValueType::TEXT, b"41");
        assert_eq!(value_of(evaluate(&add(1), &key(), Some(&text))), (b"42".to_vec(), 42));
        let word = stored(ValueType::TEXT, b"x");
        assert_eq!(status_of(&evaluate(&add(1), &key(), Some(&word))).0, Status::WrongType);
        let most = stored(ValueType::INT, &i64::MAX.to_be_bytes());
        assert_eq!(status_of(&evaluate(&add(1), &key(), Some(&most))).0, Status::Overflow);
    }

    #[test]
    fn appends_keep_to_type_and_length() {
        let append = Operation::Append { value_type: ValueType::TEXT, suffix: Arc::from(&b"lo"[..]) };
        assert_eq!(value_of(evaluate(&append, &key(), None)), (b"lo".to_vec(), 2));
        let there = stored(ValueType::TEXT, b"hel");
        assert_eq!(value_of(evaluate(&append, &key(), Some(&there))), (b"hello".to_vec(), 5));
        let number = stored(ValueType::INT, &[0; 8]);
        assert_eq!(status_of(&evaluate(&append, &key(), Some(&number))).0, Status::WrongType);
        let full = stored(ValueType::TEXT, &vec![b'x'; VALUE_BYTES_MAX - 1]);
        assert_eq!(status_of(&evaluate(&append, &key(), Some(&full))).0, Status::TooLarge);
    }
}
