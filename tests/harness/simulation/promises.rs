//! What is checked as it happens, by what clients are told and what the coordinator publishes: versions never fall, and maps
//! rise, are durable before they are out, and are one for each epoch.

use std::collections::BTreeMap;

use dht_protocol::ids::{Epoch, PartitionId, Version};
use dht_protocol::placement::replica_map::ReplicaMap;

use crate::linearizability::Answer;

/// What has been promised so far.
pub(super) struct Promises {
    /// By partition: the highest version that anybody was told.
    highest: Vec<Version>,
    /// Versions of writes.
    written: BTreeMap<Version, PartitionId>,
    /// Checksums of the maps that are out.
    maps: BTreeMap<Epoch, u64>,
}

impl Promises {
    /// Nothing yet.
    pub(super) fn new(partitions: u32) -> Promises {
        Promises {
            highest: vec![Version::ABSENT; partitions as usize],
            written: BTreeMap::new(),
            maps: BTreeMap::new(),
        }
    }

    /// The highest version of that partition that anybody was told.
    pub(super) fn highest(&self, partition: PartitionId) -> Version {
        self.highest[partition.0 as usize]
    }

    /// A client is told this of an operation before which `before` was the highest version of the partition.
    pub(super) fn on_answer(
        &mut self,
        partition: PartitionId,
        before: Version,
        answer: &Answer,
    ) -> Result<(), String> {
        let (version, is_write) = match answer {
            Answer::Written { version: Some(version) } | Answer::Counted { version: Some(version), .. } => {
                (*version, true)
            }
            Answer::Found { version: Some(version), .. }
            | Answer::Present { version: Some(version) }
            | Answer::Refused { seen: Some(version) } => (*version, false),
            _ => return Ok(()),
        };
        if is_write {
            if version <= before {
                return Err(format!("a write gets version {version}, after {before} was seen"));
            }
            if let Some(other) = self.written.insert(version, partition)
                && other == partition
            {
                return Err(format!("two writes get version {version}"));
            }
        }
        let highest = &mut self.highest[partition.0 as usize];
        *highest = (*highest).max(version);
        Ok(())
    }

    /// A map goes out while this is the highest durable epoch.
    pub(super) fn on_map(&mut self, map: &ReplicaMap, durable: Epoch) -> Result<(), String> {
        if map.epoch > durable {
            return Err(format!("map {} goes out, and {} is durable", map.epoch.0, durable.0));
        }
        if self.maps.contains_key(&map.epoch) {
            return Ok(());
        }
        let checksum = map.checksum();
        match self.maps.insert(map.epoch, checksum) {
            Some(other) if other != checksum => Err(format!("there are two maps of epoch {}", map.epoch.0)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTITION: PartitionId = PartitionId(3);

    #[test]
    fn a_version_that_falls_or_is_given_twice_is_found() {
        let mut promises = Promises::new(16);
        let mut told = |before, answer| promises.on_answer(PARTITION, Version(before), &answer).is_ok();
        assert!(told(0, Answer::written(Version(5))));
        assert!(told(5, Answer::counted(Version(6), 1)));
        assert!(told(5, Answer::found(Version(5), b"x")), "an older entry may be read");
        assert!(!told(6, Answer::written(Version(6))));
        assert!(!told(6, Answer::written(Version(4))));
        assert!(!told(0, Answer::written(Version(5))));
        assert_eq!(promises.highest(PARTITION), Version(6));
    }
}
