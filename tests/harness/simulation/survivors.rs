//! Which nodes may be lost: one in-sync replica of every partition stays alive, by every map that may be the truth, unless the
//! cluster goes on without.

use dht_protocol::ids::Member;
use dht_protocol::placement::replica_map::{Configuration, ReplicaMap};

use super::coordination::place_of;
use super::queue::{MS, SECOND};
use super::world::World;

impl World<'_> {
    /// Whether these nodes may go, with what they hold.
    pub(super) fn may_lose(&self, victims: &[u16]) -> bool {
        let keeps = |map: &ReplicaMap, held: &Configuration, victims: &[u16]| {
            held.in_sync().any(|member| self.is_alive(map, member, victims))
        };
        let fine = |map: &ReplicaMap| {
            // What is lost already is not lost again.
            map.partitions.iter().all(|held| keeps(map, held, victims) || !keeps(map, held, &[]))
        };
        self.scenario.is_ruthless || self.coordinator.possible().all(|map| fine(map))
    }

    /// Whether this node is what another's crash left, a moment ago: it has to be heard until that is known.
    pub(super) fn is_protected(&self, node: u16) -> bool {
        self.nodes.get(node as usize).is_some_and(|held| held.protected_until > self.queue.now())
    }

    /// For each partition of which this node may be in sync, or come to be, another one that surely stays so if it goes now: the coordinator
    /// hears that one well, and nobody has told it otherwise. (A replica is struck off while another has been heard within two
    /// beats, which may be dead by then.)
    pub(super) fn sure_heirs(&self, node: u16) -> Option<Vec<u16>> {
        let now = self.queue.now();
        let calm = self.network.weather.loss == self.network.usual.loss
            && self.network.weather.late == self.network.usual.late
            && self.coordinator.is_up()
            && now > self.coordinator.back_since + SECOND
            && self.nodes.iter().all(|other| now > other.accused_at + 1_500 * MS || other.accused_at == 0);
        let mut heirs = Vec::new();
        for map in self.coordinator.possible() {
            let holds = |held: &&Configuration| {
                held.members().any(|member| {
                    map.node(member.node).is_some_and(|listed| place_of(&listed.address) == node)
                })
            };
            for held in map.partitions.iter().filter(holds) {
                let heir = held.in_sync().find_map(|member| self.healthy_place(map, member, node))?;
                if !heirs.contains(&heir) {
                    heirs.push(heir);
                }
            }
        }
        calm.then_some(heirs)
    }

    fn healthy_place(&self, map: &ReplicaMap, member: Member, but: u16) -> Option<u16> {
        let place = place_of(&map.node(member.node)?.address);
        let held = &self.nodes[place as usize];
        let end = self.coordinator_end();
        let is_well = place != but
            && self.is_alive(map, member, &[])
            && held.process.as_ref().is_some_and(|process| process.pauses == 0 && process.stuck == 0)
            && self.queue.now() < held.heard_at + 250 * MS
            && self.queue.now() > held.unwell_at + 1_200 * MS
            && [(place, end), (end, place), (place, but), (but, place)]
                .into_iter()
                .all(|(from, to)| self.network.is_clear(from, to));
        is_well.then_some(place)
    }

    fn is_alive(&self, map: &ReplicaMap, member: Member, victims: &[u16]) -> bool {
        let Some(listed) = map.node(member.node) else { return false };
        let place = place_of(&listed.address);
        let process = self.nodes[place as usize].process.as_ref();
        !victims.contains(&place) && process.is_some_and(|process| process.incarnation == member.incarnation)
    }
}
