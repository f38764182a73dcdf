//! The plain register that a key is compared with: what one operation does to it, and whether the answer is the
//! one that the register would have given.
//!
//! Invariants:
//! 1. `floor` is the lowest version that the last write can have had: versions are whole numbers, and each write's
//!    is above those of all writes before it. It never falls.
//! 2. An entry is *pinned* when its version is known; that version is then `floor`. An entry that an operation of
//!    unknown outcome wrote (or a door that tells no versions) is not: its version is `floor` or above, and the
//!    first answer that tells it pins it.
//!
//! Limit: an entry that is not pinned may be taken to have any version, even one that a condition guessed and was
//! refused for. Clients learn versions from answers, and an answer pins.

use std::collections::HashMap;
use std::rc::Rc;

use dht_protocol::ids::Version;
use dht_protocol::value::parse_canonical_decimal;

use super::history::{Answer, Op, Record, shown};

/// A value by number, so that states are small and compare fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ValueId(u32);

/// All values that came up while one key is checked.
#[derive(Debug, Default)]
pub(super) struct Values {
    entries: Vec<ValueEntry>,
    ids: HashMap<Rc<[u8]>, ValueId>,
    /// What appending gave, so that long values are not joined again on every path of the search.
    appended: HashMap<(ValueId, ValueId), ValueId>,
    /// What adding gave.
    added: HashMap<(Option<ValueId>, i64), (ValueId, i64)>,
}

#[derive(Debug)]
struct ValueEntry {
    bytes: Rc<[u8]>,
    /// What `add` counts with.
    number: Option<i64>,
}

/// The register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct State {
    /// The entry's value, `None` when there is no entry.
    pub(super) value: Option<ValueId>,
    /// See the invariants.
    pub(super) floor: Version,
    /// Whether `floor` is the entry's own version. Never without an entry.
    pub(super) pinned: bool,
}

/// [`Op`], with values by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Action {
    Get,
    Exists,
    Put(ValueId),
    PutIfAbsent(ValueId),
    Replace(ValueId),
    CompareAndPut(Version, ValueId),
    Delete,
    DeleteIf(Version),
    Add(i64),
    Append(ValueId),
}

/// [`Answer`], with values by number, and without those that bind nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Found { version: Option<Version>, value: ValueId },
    Present { version: Option<Version> },
    Missing,
    Written { version: Option<Version> },
    Counted { version: Option<Version>, value: i64 },
    Refused { seen: Option<Version> },
    Unknown,
}

impl ValueId {
    /// The number itself.
    pub(super) fn number(self) -> u32 {
        self.0
    }
}

impl Values {
    /// The number of `bytes`.
    pub(super) fn intern(&mut self, bytes: &[u8]) -> ValueId {
        if let Some(&id) = self.ids.get(bytes) {
            return id;
        }
        let id = ValueId(u32::try_from(self.entries.len()).expect("fewer values than operations"));
        let bytes: Rc<[u8]> = bytes.into();
        self.entries.push(ValueEntry { number: parse_canonical_decimal(&bytes), bytes: Rc::clone(&bytes) });
        self.ids.insert(bytes, id);
        id
    }

    fn add(&mut self, value: Option<ValueId>, delta: i64) -> Option<(ValueId, i64)> {
        if let Some(&known) = self.added.get(&(value, delta)) {
            return Some(known);
        }
        let before = match value {
            None => 0,
            Some(id) => self.entries[id.0 as usize].number?,
        };
        let after = before.checked_add(delta)?;
        let sum = (self.intern(after.to_string().as_bytes()), after);
        self.added.insert((value, delta), sum);
        Some(sum)
    }

    /// Whether the value could be that of a counter.
    fn is_number(&self, id: ValueId) -> bool {
        self.entries[id.0 as usize].number.is_some()
    }

    fn append(&mut self, value: Option<ValueId>, suffix: ValueId) -> ValueId {
        let Some(value) = value else { return suffix };
        if let Some(&id) = self.appended.get(&(value, suffix)) {
            return id;
        }
        let bytes = |id: ValueId| &*self.entries[id.0 as usize].bytes;
        let joined = [bytes(value), bytes(suffix)].concat();
        let id = self.intern(&joined);
        self.appended.insert((value, suffix), id);
        id
    }

    /// `state` in words, for a report.
    pub(super) fn describe(&self, state: State) -> String {
        let value = state.value.map(|id| shown(&self.entries[id.0 as usize].bytes));
        match value {
            None => format!("no entry (versions so far up to {})", state.floor),
            Some(value) if state.pinned => format!("{value} at version {}", state.floor),
            Some(value) => format!("{value} at a version of {} or above that nobody was told", state.floor),
        }
    }
}

impl Action {
    /// What `op` does.
    pub(super) fn of(op: &Op, values: &mut Values) -> Action {
        match op {
            Op::Get => Action::Get,
            Op::Exists => Action::Exists,
            Op::Put(value) => Action::Put(values.intern(value)),
            Op::PutIfAbsent(value) => Action::PutIfAbsent(values.intern(value)),
            Op::Replace(value) => Action::Replace(values.intern(value)),
            Op::CompareAndPut(version, value) => Action::CompareAndPut(*version, values.intern(value)),
            Op::Delete => Action::Delete,
            Op::DeleteIf(version) => Action::DeleteIf(*version),
            Op::Add(delta) => Action::Add(*delta),
            Op::Append(suffix) => Action::Append(values.intern(suffix)),
        }
    }
}

impl Told {
    /// What the answer of `record` binds; `None` when it binds nothing and the record can be left out: what was
    /// surely not done, and a read without an answer.
    pub(super) fn of(record: &Record, values: &mut Values) -> Option<Told> {
        Some(match &record.answer {
            Answer::Found { version, value } => {
                Told::Found { version: *version, value: values.intern(value) }
            }
            Answer::Present { version } => Told::Present { version: *version },
            Answer::Missing => Told::Missing,
            Answer::Written { version } => Told::Written { version: *version },
            Answer::Counted { version, value } => Told::Counted { version: *version, value: *value },
            Answer::Refused { seen } => Told::Refused { seen: *seen },
            Answer::Unknown if matches!(record.op, Op::Get | Op::Exists) => return None,
            Answer::Unknown => Told::Unknown,
            Answer::NotDone => return None,
        })
    }

    /// Whether the answer says that nothing was written.
    pub(super) fn is_read(self) -> bool {
        match self {
            Told::Found { .. } | Told::Present { .. } | Told::Missing | Told::Refused { .. } => true,
            Told::Written { .. } | Told::Counted { .. } | Told::Unknown => false,
        }
    }

    /// The version that the register's floor has once this answer was given. Floors never fall, so answers that
    /// have one come in this order.
    pub(super) fn floor_after(self) -> Option<Version> {
        let version = match self {
            Told::Found { version, .. }
            | Told::Present { version }
            | Told::Written { version }
            | Told::Counted { version, .. }
            | Told::Refused { seen: version } => version,
            Told::Missing | Told::Unknown => None,
        };
        version.filter(|version| !version.is_absent())
    }
}

impl State {
    /// No entry, and no write yet.
    pub(super) const EMPTY: State = State { value: None, floor: Version::ABSENT, pinned: false };

    /// The register after `action`, if it would have answered `told`; `None` if it would not.
    pub(super) fn step(self, values: &mut Values, action: Action, told: Told) -> Option<State> {
        match told {
            Told::Found { version, value } => {
                let fits = action == Action::Get && self.value == Some(value);
                if fits { self.observed(version) } else { None }
            }
            Told::Present { version } => {
                let fits = action == Action::Exists && self.value.is_some();
                if fits { self.observed(version) } else { None }
            }
            Told::Missing => {
                let fits = matches!(action, Action::Get | Action::Exists) || action.needs_an_entry();
                (fits && self.value.is_none()).then_some(self)
            }
            Told::Refused { seen } => {
                let observed = self.observed(seen)?;
                observed.refuses(values, action).then_some(observed)
            }
            Told::Written { version } if !matches!(action, Action::Add(_)) => {
                self.effect(values, action)?.written(version)
            }
            Told::Counted { version, value } => {
                let Action::Add(delta) = action else { return None };
                let (after, number) = values.add(self.value, delta)?;
                if number == value { State { value: Some(after), ..self }.written(version) } else { None }
            }
            Told::Written { .. } => None,
            Told::Unknown => self.effect(values, action)?.written(None),
        }
    }

    /// Whether whatever can follow `other` can follow this as well.
    pub(super) fn allows_all_that(self, other: State) -> bool {
        let same_floor = self.floor == other.floor;
        self.value == other.value
            && self.pinned == other.pinned
            && (same_floor || (self.floor < other.floor && !self.pinned))
    }

    /// Someone was told the entry's version.
    fn observed(self, told: Option<Version>) -> Option<State> {
        let Some(version) = told else { return Some(self) };
        let fits = match self.value {
            None => version.is_absent(),
            Some(_) if self.pinned => version == self.floor,
            Some(_) => version >= self.floor,
        };
        if !fits {
            return None;
        }
        if self.value.is_some() { Some(State { floor: version, pinned: true, ..self }) } else { Some(self) }
    }

    /// A write made the register what it is now, and got this version.
    fn written(self, told: Option<Version>) -> Option<State> {
        match told {
            Some(version) if version <= self.floor => None,
            Some(version) => Some(State { floor: version, pinned: self.value.is_some(), ..self }),
            None => Some(State { floor: Version(self.floor.0.checked_add(1)?), pinned: false, ..self }),
        }
    }

    /// The register with the write's value, its version not yet looked at; `None` if the write does nothing here.
    fn effect(self, values: &mut Values, action: Action) -> Option<State> {
        let put = |state: State, value: ValueId| Some(State { value: Some(value), ..state });
        match action {
            Action::Get | Action::Exists => None,
            Action::Put(value) => put(self, value),
            Action::PutIfAbsent(value) => {
                if self.value.is_none() {
                    put(self, value)
                } else {
                    None
                }
            }
            Action::Replace(value) => {
                if self.value.is_some() {
                    put(self, value)
                } else {
                    None
                }
            }
            Action::CompareAndPut(expected, value) => put(self.observed(Some(expected))?, value),
            Action::Delete => self.value.map(|_| State { value: None, ..self }),
            Action::DeleteIf(expected) => {
                self.value?;
                Some(State { value: None, ..self.observed(Some(expected))? })
            }
            Action::Add(delta) => put(self, values.add(self.value, delta)?.0),
            Action::Append(suffix) => put(self, values.append(self.value, suffix)),
        }
    }

    /// Whether the register turns `action` down.
    fn refuses(self, values: &mut Values, action: Action) -> bool {
        let present = self.value.is_some();
        match action {
            Action::Get | Action::Exists | Action::Put(_) => false,
            // Only what may be kept as a number: text takes any suffix.
            Action::Append(_) => self.value.is_some_and(|id| values.is_number(id)),
            Action::PutIfAbsent(_) => present,
            Action::Replace(_) | Action::Delete => !present,
            Action::CompareAndPut(Version::ABSENT, _) => present,
            Action::CompareAndPut(expected, _) | Action::DeleteIf(expected) => {
                !present || !self.pinned || self.floor != expected
            }
            Action::Add(delta) => present && values.add(self.value, delta).is_none(),
        }
    }
}

impl Action {
    /// Whether a write does nothing where there is no entry, so that "missing" may answer it.
    fn needs_an_entry(self) -> bool {
        match self {
            Action::Replace(_) | Action::Delete | Action::DeleteIf(_) => true,
            Action::CompareAndPut(expected, _) => !expected.is_absent(),
            Action::Get
            | Action::Exists
            | Action::Put(_)
            | Action::PutIfAbsent(_)
            | Action::Add(_)
            | Action::Append(_) => false,
        }
    }
}
