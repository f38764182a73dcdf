//! The checker against one that tries every order, with a register written another way, on tiny histories.

use dht_protocol::ids::Version;
use dht_protocol::value::parse_canonical_decimal;

use super::simulated::{Mutation, Simulation, mutate};
use super::{Answer, Failure, History, Op, Record};

/// The register: here every write gets a version at once. Where nobody was told, each version that the history
/// mentions is tried, and the lowest that there can be.
#[derive(Clone, Default)]
struct Register {
    entry: Option<Entry>,
    highest: u64,
}

#[derive(Clone)]
struct Entry {
    value: Vec<u8>,
    version: u64,
    /// Whether an answer has told it.
    told: bool,
}

/// Whether `version` of a told answer is that of the entry (or of no entry).
fn agrees(register: &mut Register, told: Option<Version>) -> bool {
    let Some(Version(told)) = told else { return true };
    match &mut register.entry {
        None => told == 0,
        Some(entry) => {
            entry.told = true;
            entry.version == told
        }
    }
}

/// The new value, if the write takes effect: `Some(None)` for a delete.
fn outcome(register: &Register, op: &Op) -> Option<Option<Vec<u8>>> {
    let value = register.entry.as_ref().map(|entry| entry.value.clone());
    let version = register.entry.as_ref().map(|entry| entry.version);
    let held = |expected: Version| match version {
        None => expected.0 == 0,
        Some(version) => version == expected.0,
    };
    match op {
        Op::Put(new) => Some(Some(new.clone())),
        Op::PutIfAbsent(new) if value.is_none() => Some(Some(new.clone())),
        Op::Replace(new) if value.is_some() => Some(Some(new.clone())),
        Op::CompareAndPut(expected, new) if held(*expected) => Some(Some(new.clone())),
        Op::Delete if value.is_some() => Some(None),
        Op::DeleteIf(expected) if value.is_some() && held(*expected) => Some(None),
        Op::Append(suffix) => Some(Some([value.unwrap_or_default(), suffix.clone()].concat())),
        Op::Add(delta) => {
            let before = value.map_or(Some(0), |value| parse_canonical_decimal(&value))?;
            Some(Some(before.checked_add(*delta)?.to_string().into_bytes()))
        }
        _ => None,
    }
}

/// Whether a refusal is right.
fn refusal_is_right(register: &Register, op: &Op) -> bool {
    let guessed = register.entry.as_ref().is_some_and(|entry| !entry.told);
    match op {
        Op::Get | Op::Exists | Op::Put(_) => false,
        Op::Append(_) => {
            let number = |entry: &Entry| parse_canonical_decimal(&entry.value);
            register.entry.as_ref().and_then(number).is_some()
        }
        // The checker lets an entry whose version nobody was told refuse any version.
        Op::CompareAndPut(expected, _) | Op::DeleteIf(expected) if guessed && expected.0 != 0 => true,
        _ => outcome(register, op).is_none(),
    }
}

/// The registers after `record`, if it comes now.
fn after(register: &Register, record: &Record, versions: &[u64]) -> Vec<Register> {
    let mut next = register.clone();
    match &record.answer {
        Answer::Found { version, value } => {
            let same = record.op == Op::Get
                && register.entry.as_ref().is_some_and(|entry| entry.value == *value)
                && agrees(&mut next, *version);
            if same { vec![next] } else { vec![] }
        }
        Answer::Present { version } => {
            let same = record.op == Op::Exists && register.entry.is_some() && agrees(&mut next, *version);
            if same { vec![next] } else { vec![] }
        }
        Answer::Missing => {
            let reads = matches!(record.op, Op::Get | Op::Exists);
            let unmet = match &record.op {
                Op::Replace(_) | Op::Delete | Op::DeleteIf(_) => true,
                Op::CompareAndPut(expected, _) => expected.0 != 0,
                _ => false,
            };
            if register.entry.is_none() && (reads || unmet) { vec![next] } else { vec![] }
        }
        Answer::Refused { seen } => {
            if agrees(&mut next, *seen) && refusal_is_right(&next, &record.op) {
                vec![next]
            } else {
                vec![]
            }
        }
        Answer::Written { .. } if matches!(record.op, Op::Add(_)) => vec![],
        Answer::Counted { version, value } => {
            let counts = matches!(record.op, Op::Add(_))
                && outcome(register, &record.op) == Some(Some(value.to_string().into_bytes()));
            if counts { writes(register, record, *version, versions) } else { vec![] }
        }
        Answer::Written { version } => writes(register, record, *version, versions),
        Answer::Unknown => writes(register, record, None, versions),
        Answer::NotDone => unreachable!("left out before"),
    }
}

fn writes(register: &Register, record: &Record, told: Option<Version>, versions: &[u64]) -> Vec<Register> {
    let Some(value) = outcome(register, &record.op) else { return vec![] };
    let choices: Vec<u64> = match told {
        Some(version) => vec![version.0],
        None => versions.iter().copied().chain([register.highest + 1]).collect(),
    };
    let rising = choices.into_iter().filter(|&version| version > register.highest);
    let after = |version| Register {
        highest: version,
        entry: value.clone().map(|value| Entry { value, version, told: told.is_some() }),
    };
    rising.map(after).collect()
}

fn can_end(register: &Register, left: &[&Record], versions: &[u64]) -> bool {
    let known = |record: &&Record| record.answer != Answer::Unknown;
    if !left.iter().any(known) {
        return true;
    }
    let first_return = left.iter().filter(|record| known(record)).map(|record| record.returned).min();
    (0..left.len()).any(|at| {
        if first_return.is_some_and(|first| left[at].invoked > first) {
            return false;
        }
        let mut rest = left.to_vec();
        rest.remove(at);
        after(register, left[at], versions).iter().any(|next| can_end(next, &rest, versions))
    })
}

fn mentioned(records: &[&Record]) -> Vec<u64> {
    let answers = records.iter().filter_map(|record| record.answer.version());
    let conditions = records.iter().filter_map(|record| match &record.op {
        Op::CompareAndPut(expected, _) | Op::DeleteIf(expected) => Some(*expected),
        _ => None,
    });
    let mut versions: Vec<u64> = answers.chain(conditions).map(|version| version.0).collect();
    versions.sort_unstable();
    versions.dedup();
    versions.retain(|&version| version > 0);
    versions
}

fn linearizable_by_brute_force(history: &History) -> bool {
    let counts = |record: &&Record| match record.answer {
        Answer::NotDone => false,
        Answer::Unknown => !matches!(record.op, Op::Get | Op::Exists),
        _ => true,
    };
    let records: Vec<&Record> = history.records.iter().filter(counts).collect();
    can_end(&Register::default(), &records, &mentioned(&records))
}

#[test]
fn agrees_with_trying_every_order() {
    let mut verdicts = [0u32; 2];
    for seed in 0..6_000 {
        let mut simulation = Simulation::tiny(seed);
        let mut history = simulation.run();
        if seed % 3 > 0 {
            mutate(&mut history, &mut simulation.random, Mutation::PerhapsPossible);
        }
        let expected = linearizable_by_brute_force(&history);
        let actual = match history.check() {
            Ok(_) => true,
            Err(Failure::NotLinearizable { .. }) => false,
            Err(failure) => panic!("seed {seed}: {failure}"),
        };
        assert_eq!(actual, expected, "seed {seed}: {:#?}", history.records);
        assert!(expected || seed % 3 > 0, "seed {seed}: a register's own history");
        verdicts[usize::from(expected)] += 1;
    }
    assert!(verdicts.iter().all(|&times| times > 1_000), "both verdicts come up: {verdicts:?}");
}
