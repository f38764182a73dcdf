//! A partition whose replicas in sync are all gone may begin again, empty: by somebody's word, or by itself where the cluster
//! was told to go on so. Then what was written before may be gone, by design, and nothing else: each era of a partition is
//! judged by itself, from empty tables on.
//!
//! An era begins when the map that says so goes out. What was asked and answered within one is of that. Of a call that was
//! open just then, the version that it was answered with says which era that is: a version names the configuration that it
//! was given under. Before that era it may have been carried out, too, as what came of it is forgotten with all else; after
//! it, it cannot, as requests made under older maps are refused.

use dht_protocol::ids::{Cfg, PartitionId, Version};
use dht_protocol::placement::replica_map::{OnLoss, ReplicaMap};

use crate::linearizability::{Answer, Op, Record};

use super::coordination::place_of;
use super::queue::MS;
use super::scenario::Kind;
use super::world::World;

/// That a partition begins again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beginning {
    pub(super) partition: PartitionId,
    /// When the map that says so went out, true time.
    at: u64,
    /// Versions of this configuration and later ones are of the new era.
    cfg: Cfg,
}

/// Who was heard of so lately was surely told something just now, and may serve, nanoseconds.
const HEARD_LATELY: u64 = 300 * MS;

impl World<'_> {
    /// A map is out that follows `before`.
    pub(super) fn note_beginnings(&mut self, before: &ReplicaMap, map: &ReplicaMap) {
        let at = self.queue.now();
        for (partition, (old, new)) in
            map.ring.partitions().zip(before.partitions.iter().zip(&map.partitions))
        {
            if old.began != new.began {
                self.report.beginnings += 1;
                self.beginnings.push(Beginning { partition, at, cfg: new.began });
            }
        }
    }

    /// The coordinator is to store this map: it lets a partition begin again only if it was told to, and not while a replica in
    /// sync is heard.
    pub(super) fn check_beginnings(&mut self, map: &ReplicaMap) {
        if self.scenario.kind == Kind::TotalLoss || self.decided >= map.epoch {
            return; // Somebody says so, and may be wrong; or it has been decided before, and is stored once more.
        }
        self.decided = map.epoch;
        let Some(before) = self.published.clone() else { return };
        let now = self.queue.now();
        for (partition, (old, new)) in
            map.ring.partitions().zip(before.partitions.iter().zip(&map.partitions))
        {
            if old.began == new.began {
                continue;
            }
            if map.settings.on_loss == OnLoss::Wait {
                return self.fail(format!(
                    "partition {partition} begins again, and nobody has said that it is lost"
                ));
            }
            let heard = old.in_sync().find(|member| {
                let listed =
                    before.node(member.node).map(|listed| &self.nodes[place_of(&listed.address) as usize]);
                listed.is_some_and(|held| {
                    let is_it = |process: &super::process::Process| process.incarnation == member.incarnation;
                    held.process.as_ref().is_some_and(is_it) && now < held.heard_at + HEARD_LATELY
                })
            });
            if let Some(member) = heard {
                return self.fail(format!(
                    "partition {partition} begins again, and {member}, in sync, was heard just now"
                ));
            }
        }
    }

    /// The records of one key of this partition, era by era.
    pub(super) fn eras(&self, partition: PartitionId, records: &[Record]) -> Vec<Vec<Record>> {
        let of_it = |beginning: &&Beginning| beginning.partition == partition;
        let beginnings: Vec<Beginning> = self.beginnings.iter().filter(of_it).copied().collect();
        split(&beginnings, records)
    }
}

fn split(beginnings: &[Beginning], records: &[Record]) -> Vec<Vec<Record>> {
    let mut eras = vec![Vec::new(); beginnings.len() + 1];
    let era_at = |at: u64| beginnings.iter().filter(|beginning| beginning.at <= at).count();
    for record in records {
        let (first, last) = (era_at(record.invoked), era_at(record.returned));
        if first == last {
            eras[first].push(record.clone());
            continue;
        }
        let its = version_of(&record.answer)
            .map(|version| beginnings.iter().filter(|beginning| beginning.cfg <= version.cfg()).count());
        let is_write = !matches!(record.op, Op::Get | Op::Exists);
        let is_open = record.answer != Answer::NotDone;
        for era in first..=last {
            let invoked = if era == first { record.invoked } else { beginnings[era - 1].at };
            if its == Some(era) {
                eras[era].push(Record { invoked, ..record.clone() });
            } else if is_write && is_open && its.is_none_or(|its| era < its) {
                eras[era].push(Record { invoked, answer: Answer::Unknown, ..record.clone() });
            }
        }
    }
    eras
}

/// The version of an entry that there was or is.
fn version_of(answer: &Answer) -> Option<Version> {
    answer.version().filter(|version| *version != Version::ABSENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(invoked: u64, returned: u64, op: Op, answer: Answer) -> Record {
        Record { client: 0, key: b"k".to_vec(), invoked, returned, op, answer }
    }

    #[test]
    fn what_was_open_when_an_era_began_belongs_to_the_one_that_its_version_names() {
        let beginnings = [Beginning { partition: PartitionId(0), at: 100, cfg: Cfg::new(5) }];
        let written = |cfg| Answer::written(Version::new(Cfg::new(cfg), 1));
        let put = || Op::Put(b"x".to_vec());
        let split = |invoked, returned, op: Op, answer| {
            let eras = split(&beginnings, &[record(invoked, returned, op, answer)]);
            let answers =
                |era: &Vec<Record>| era.iter().map(|record| record.answer.clone()).collect::<Vec<_>>();
            (answers(&eras[0]), answers(&eras[1]))
        };
        assert_eq!(split(10, 20, put(), written(4)), (vec![written(4)], vec![]));
        assert_eq!(
            split(110, 120, put(), written(4)),
            (vec![], vec![written(4)]),
            "to be found wanting there"
        );
        assert_eq!(split(90, 120, put(), written(4)), (vec![written(4)], vec![]));
        assert_eq!(split(90, 120, put(), written(5)), (vec![Answer::Unknown], vec![written(5)]));
        assert_eq!(split(90, 120, put(), Answer::Unknown), (vec![Answer::Unknown], vec![Answer::Unknown]));
        assert_eq!(split(90, 120, put(), Answer::NotDone), (vec![], vec![]));
        assert_eq!(split(90, 120, Op::Get, Answer::Missing), (vec![], vec![]));
        let found = Answer::found(Version::new(Cfg::new(6), 9), b"y");
        assert_eq!(split(90, 120, Op::Get, found.clone()), (vec![], vec![found]));
    }
}
