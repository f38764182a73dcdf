//! Asking for memory ahead of a batch: what its look-ups will touch, a level of all of them before the next level of any.
//!
//! The partitions of a group are held together meanwhile, and longer where that pays, so that their reads need no
//! lock of their own (`held`).

use std::array;

use dht_protocol::placement::hash::KeyHash;

use super::Dispatcher;
use super::direct::Home;
use super::held::Held;
use super::hosted::Hosted;
use crate::limits::{GROUP_LOOKUPS_MAX, HELD_PARTITIONS_FACTOR};
use crate::store::Probe;

/// A look-up to come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    pub(crate) hash: KeyHash,
    /// Whether a write follows.
    pub(crate) writes: bool,
}

impl Dispatcher {
    /// Asks for the memory that these look-ups will touch. Waits for no lock: what is busy is left out.
    pub(crate) fn prefetch(&self, accesses: &[Access]) {
        for accesses in accesses.chunks(GROUP_LOOKUPS_MAX) {
            drop(self.hold(&array::from_fn(|number| accesses.get(number).copied())));
        }
    }

    /// Takes the locks of their partitions, those that are free, and asks for the memory that these look-ups will touch.
    pub(super) fn hold(&self, accesses: &[Option<Access>; GROUP_LOOKUPS_MAX]) -> Held<'_, Hosted> {
        let hosted = accesses.map(|access| {
            let Access { hash, writes } = access?;
            match self.home_of(hash) {
                Home::Here(hosted) => {
                    hosted.prefetch(writes);
                    Some(hosted)
                }
                Home::There(_) => None,
            }
        });
        let held = Held::take(&hosted);
        let mut probes: [Option<Probe<'_>>; GROUP_LOOKUPS_MAX] = array::from_fn(|number| {
            let Access { hash, writes } = accesses[number]?;
            let inner = held.get(number)?;
            if writes {
                inner.dedup.prefetch();
            }
            Some(inner.store.probe(hash, writes))
        });
        probes.iter_mut().flatten().for_each(Probe::ask_for_line);
        probes.iter_mut().flatten().for_each(Probe::ask_for_chunk);
        probes.iter().flatten().for_each(Probe::ask_for_entry);
        held
    }

    /// Whether a worker may hold on to a group's partitions: there are so many that others seldom access one of them.
    pub(super) fn may_hold_on(&self) -> bool {
        self.partitions().count() >= HELD_PARTITIONS_FACTOR * GROUP_LOOKUPS_MAX * self.workers_metrics().len()
    }
}
