//! What primaries ask of the coordinator: to take a newcomer in (rule 9), and to be relieved (rule 11).
//!
//! Each is answered by a map in which the cfg of that partition is higher than the one that was named. That is all that the
//! primary waits for, and it may wait for nothing else: from before it asked for a newcomer it counts it, and from before it
//! asked to be relieved it does not serve, until it has seen such a map. So an edit follows even where the answer is no.
//!
//! Invariants:
//! 1. At most one request a partition is kept: the first under its present cfg. The edit that answers it is the answer to all
//!    others under that cfg.
//! 2. It comes from the primary of exactly that configuration. Any other is answered with the map that is out, or is of
//!    nobody's concern.
//! 3. It is kept until a map is out that answers it, so that it survives an edit that could not be stored.

use std::collections::BTreeMap;

use dht_protocol::ids::{Cfg, Member, PartitionId};
use dht_protocol::placement::replica_map::ReplicaMap;

use super::failure_detector::Standings;
use super::map_edit::{Former, MapEdit};

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// To take this joining replica in among those in sync.
    TakeIn(Member),
    /// To be followed by this backup.
    HandOver(Member),
}

/// A request of a partition's primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub from: Member,
    pub partition: PartitionId,
    pub cfg: Cfg,
    pub wish: Wish,
}

/// Those that wait for an edit.
#[derive(Debug, Default)]
pub(super) struct Requests {
    waiting: BTreeMap<PartitionId, Request>,
}

/// What follows from a request at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reception {
    /// It waits for the next edit.
    Kept,
    /// The map that is out answers it.
    Answered,
    /// It is of no partition, or of a configuration that is not out.
    Ignored,
}

impl Requests {
    /// Takes in a request, by the newest map that is out.
    pub(super) fn on_request(&mut self, request: Request, map: &ReplicaMap) -> Reception {
        let Some(configuration) = map.partition(request.partition) else { return Reception::Ignored };
        if configuration.cfg > request.cfg {
            return Reception::Answered;
        }
        if configuration.cfg < request.cfg || configuration.primary != request.from {
            return Reception::Ignored;
        }
        self.waiting.entry(request.partition).or_insert(request);
        Reception::Kept
    }

    /// Edits the map as they ask for, or at least raises the cfg of each partition.
    pub(super) fn apply(&self, edit: &mut MapEdit, standings: &Standings) {
        for request in self.waiting.values() {
            let partition = request.partition;
            let configuration = edit.at(partition);
            if configuration.cfg != request.cfg || configuration.primary != request.from {
                continue;
            }
            match request.wish {
                Wish::TakeIn(newcomer) => {
                    let is_joining = configuration.joining.contains(&newcomer);
                    match (is_joining, standings.just_now(newcomer)) {
                        (true, true) => edit.take_in(partition, newcomer),
                        (true, false) => edit.take_off(partition, newcomer),
                        (false, _) => edit.raise(partition),
                    }
                }
                Wish::HandOver(target) => {
                    if configuration.backups.contains(&target) && standings.just_now(target) {
                        edit.make_primary(partition, target, Former::HandedOver);
                    } else {
                        edit.raise(partition);
                    }
                }
            }
        }
    }

    /// A map is out: what it answers waits no more.
    pub(super) fn on_published(&mut self, map: &ReplicaMap) {
        self.waiting.retain(|partition, request| {
            map.partition(*partition).is_some_and(|configuration| configuration.cfg <= request.cfg)
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn check_invariants(&self, map: &ReplicaMap) {
        for (partition, request) in &self.waiting {
            let configuration = map.partition(*partition).expect("invariant 2: a partition of the map");
            assert!(request.partition == *partition && request.cfg == configuration.cfg, "invariant 2");
            assert_eq!(request.from, configuration.primary, "invariant 2");
        }
    }
}
