//! Any sequence of faults: what must hold from each map to the next.

use std::sync::Arc;

use dht_protocol::ids::{Member, PartitionId};
use dht_protocol::peer::ToCoordinator;
use dht_protocol::placement::replica_map::{Configuration, OnLoss, ReplicaMap};

use super::super::{Loss, StoreOutcome};
use super::scene::{MS, Story, settings};

const SEEDS: u64 = 60;
const STEPS: usize = 250;
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// A source of choices (SplitMix64).
struct Choices(u64);

impl Choices {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn name(&mut self) -> &'static str {
        NAMES[self.below(NAMES.len() as u64) as usize]
    }
}

/// Checks one map against the one before it. `may_lose`: partitions may have begun again, empty.
fn check_next(old: &ReplicaMap, new: &ReplicaMap, may_lose: bool) {
    assert_eq!(new.epoch.0, old.epoch.0 + 1);
    assert_eq!((new.cluster_id, new.ring, new.settings), (old.cluster_id, old.ring, old.settings));
    for (before, after) in old.nodes.iter().zip(&new.nodes) {
        assert_eq!((before.id, &before.address), (after.id, &after.address));
    }
    for (partition, (before, after)) in (0..).map(PartitionId).zip(old.partitions.iter().zip(&new.partitions))
    {
        if before.cfg == after.cfg {
            assert_eq!(before, after, "{partition}: a change without a number");
            continue;
        }
        assert_eq!(after.cfg.get(), before.cfg.get() + 1);
        check_partition(old, new, before, after, may_lose);
    }
}

fn check_partition(
    old: &ReplicaMap,
    new: &ReplicaMap,
    before: &Configuration,
    after: &Configuration,
    may_lose: bool,
) {
    let was_in_sync = |member: Member| before.in_sync().any(|other| other == member);
    if after.primary == before.primary {
        assert_eq!((after.primary_since, after.handed_over), (before.primary_since, before.handed_over));
    } else {
        assert_eq!(after.primary_since, new.epoch);
        if after.handed_over {
            assert!(after.backups.contains(&before.primary), "who gave up stays in sync");
        }
        if !was_in_sync(after.primary) {
            assert!(may_lose && after.backups.is_empty() && !after.handed_over, "it has not every write");
        }
    }
    for backup in &after.backups {
        assert!(was_in_sync(*backup) || before.joining.contains(backup), "{backup} comes from nowhere");
    }
    for joining in after.joining.iter().filter(|joining| !before.members().any(|other| other == **joining)) {
        assert!(new.is_listed(*joining), "who is put on is a start that is listed");
    }
    let most = usize::from(old.settings.replicas).max(before.members().count());
    assert!(after.members().count() <= most);
}

/// One fault, repair, request or order.
fn step(story: &mut Story, choices: &mut Choices, may_lose: bool) {
    let name = choices.name();
    match choices.below(14) {
        0 => story.start(name),
        1 => story.crash(name),
        2..=4 => story.heal(name),
        5 => story.node(name).listens = false,
        6 => story.node(name).works = choices.below(3) > 0,
        7 => {
            let accused = story.map().nodes.iter().find(|node| node.address.starts_with(choices.name()));
            let accused = accused.map(|node| Member { node: node.id, incarnation: node.incarnation });
            story.node(name).accuses = accused.into_iter().filter(|_| choices.below(2) == 0).collect();
        }
        8 => story.pause(choices.below(200) as u32 * 10 * MS),
        9 if story.unanswered.is_empty() => story.restart(),
        10 if may_lose => {
            let _ = story.coordinator.accept_loss(story.now, Loss::All);
        }
        _ => ask(story, choices),
    }
}

/// A primary asks for something that it may ask for.
fn ask(story: &mut Story, choices: &mut Choices) {
    let partition = PartitionId(choices.below(16) as u32);
    let Configuration { cfg, primary: from, backups, joining, .. } = story.at(partition);
    if let (Some(&newcomer), true) = (joining.first(), choices.below(2) == 0) {
        story.say(ToCoordinator::Propose { from, partition, cfg, newcomer });
    } else if let Some(&target) = backups.first() {
        story.say(ToCoordinator::HandOver { from, partition, cfg, target });
    }
}

/// The store fails, or says that it does not know, now and then.
fn upset_store(story: &mut Story, choices: &mut Choices) {
    story.outcome = Some(match choices.below(6) {
        0 => StoreOutcome::Failed,
        1 => StoreOutcome::Ambiguous,
        _ => StoreOutcome::Durable,
    });
}

fn run(seed: u64) {
    let mut choices = Choices(seed);
    let mut settings = settings(1 + (seed % 4) as u8, 1 + u8::from(seed % 4 >= 2), 5);
    let may_lose = seed.is_multiple_of(3);
    settings.settings.refill_delay_ms = choices.below(1_500) as u32;
    if seed.is_multiple_of(6) {
        settings.settings.on_loss = OnLoss::Empty;
    }
    let mut story = Story::begun(settings);
    let mut known = story.map().clone();
    for _ in 0..STEPS {
        step(&mut story, &mut choices, may_lose);
        look_at_map(&story, &mut known, may_lose);
        upset_store(&mut story, &mut choices);
        for _ in 0..choices.below(40) {
            story.pass(10 * MS);
            if std::mem::take(&mut story.reads) > 0 {
                // What was tried is there, or not.
                let tried = story.tried.clone().filter(|_| choices.below(2) == 0);
                let there = tried.as_deref().or(story.stored.as_ref()).cloned();
                story.stored.clone_from(&there);
                story.coordinator.on_read(story.now, there);
                story.act();
            }
            look_at_map(&story, &mut known, may_lose);
        }
        assert_eq!(story.coordinator.halted(), None);
    }
    recover(&mut story, may_lose);
}

fn look_at_map(story: &Story, known: &mut ReplicaMap, may_lose: bool) {
    if story.map() != known {
        check_next(known, story.map(), may_lose);
        known.clone_from(story.map());
    }
}

/// Faults stop: everything that has a replica in sync which is heard has as many replicas as it should, or is filling them.
fn recover(story: &mut Story, may_lose: bool) {
    story.outcome = Some(StoreOutcome::Durable);
    if std::mem::take(&mut story.reads) > 0 {
        let stored = story.stored.clone();
        story.coordinator.on_read(story.now, stored);
    }
    for name in NAMES {
        story.heal(name);
        let node = story.node(name);
        (node.works, node.accuses) = (true, Vec::new());
    }
    story.pass(6_000 * MS);
    if may_lose {
        let _ = story.coordinator.accept_loss(story.now, Loss::All);
        story.pass(2_000 * MS);
    }
    let map = Arc::clone(story.coordinator.map().unwrap());
    for configuration in &map.partitions {
        if configuration.in_sync().any(|member| map.is_listed(member)) {
            assert!(map.is_listed(configuration.primary), "{configuration:?}");
            assert_eq!(
                configuration.members().count(),
                usize::from(map.settings.replicas),
                "{configuration:?}"
            );
            assert!(configuration.members().all(|member| map.is_listed(member)), "{configuration:?}");
        } else {
            assert!(!may_lose, "{configuration:?}");
        }
    }
}

#[test]
fn whatever_happens_each_map_follows_from_the_one_before() {
    for seed in 0..SEEDS {
        println!("seed {seed}");
        run(seed);
    }
}
