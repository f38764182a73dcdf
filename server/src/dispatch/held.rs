//! Locks that are held together: those of a group's partitions that were free.
//!
//! 1. Nobody waits for a lock while he holds one of these: they are asked for and never waited for, so there is no order to
//!    keep among them, and no circle of waiting. Who holds them lets go of all before he takes any other lock.
//! 2. What is read under one of them is read as it was when all were taken: a guard is kept until all are let go.

use std::array;
use std::ops::Deref;
use std::ptr;

use crate::limits::GROUP_LOOKUPS_MAX;

/// A lock that can be asked for.
pub(crate) trait Askable {
    /// What shows that it is held.
    type Guard<'a>: Deref
    where
        Self: 'a;

    /// Takes it if it is free.
    fn ask(&self) -> Option<Self::Guard<'_>>;
}

/// Locks that are held for a group, by place in it.
pub(crate) struct Held<'a, L: Askable + 'a> {
    guards: [Option<L::Guard<'a>>; GROUP_LOOKUPS_MAX],
    /// By place: whose guard is for its lock.
    guard_of: [usize; GROUP_LOOKUPS_MAX],
}

impl<'a, L: Askable> Held<'a, L> {
    /// Takes those of `asked` that are free. One that is asked for twice is taken once.
    pub(crate) fn take(asked: &[Option<&'a L>; GROUP_LOOKUPS_MAX]) -> Held<'a, L> {
        let mut held = Held { guards: array::from_fn(|_| None), guard_of: array::from_fn(|place| place) };
        for (place, lock) in asked.iter().enumerate() {
            let Some(lock) = *lock else { continue };
            held.guards[place] = lock.ask();
            if held.guards[place].is_none() {
                // It may be one of ours.
                let is_it = |other: &Option<&L>| other.is_some_and(|other| ptr::eq(other, lock));
                held.guard_of[place] = asked.iter().position(is_it).unwrap_or(place);
            }
        }
        held
    }

    /// What the lock at `place` guards, if it is held.
    #[inline]
    pub(crate) fn get(&self, place: usize) -> Option<&<L::Guard<'a> as Deref>::Target> {
        self.guards[self.guard_of[place]].as_deref()
    }
}
