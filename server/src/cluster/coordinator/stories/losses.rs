//! Partitions that have lost all their replicas in sync.

use dht_protocol::ids::{NodeId, PartitionId};
use dht_protocol::placement::replica_map::OnLoss;

use crate::timings::{COORDINATOR_TICK, DETECTION, GRACE};

use super::super::{Loss, OrderError, StoreOutcome};
use super::scene::{MS, Story, settings};

#[test]
fn what_is_lost_waits_until_somebody_states_that_it_is() {
    let mut story = Story::begun(settings(1, 1, 3));
    let partition = story.led_by("a");
    let before = story.at(partition);
    let (of_b, loss) = (story.led_by("b"), Loss::Partition(partition));
    assert_eq!(story.coordinator.accept_loss(story.now, loss), Err(OrderError::StillHeard(before.primary)));
    story.crash("a");
    story.pass(10_000 * MS);
    assert_eq!(story.at(partition), before);
    let heard = Err(OrderError::StillHeard(story.member("b")));
    assert_eq!(story.coordinator.accept_loss(story.now, Loss::Partition(of_b)), heard);

    assert_eq!(story.coordinator.accept_loss(story.now, loss), Ok(()));
    story.pass(100 * MS);
    let after = story.at(partition);
    assert_ne!(after.primary, before.primary);
    assert!(after.cfg > before.cfg && after.backups.is_empty() && after.joining.is_empty());
    assert_eq!((after.primary_since, after.handed_over), (story.map().epoch, false));
    // It was about that partition alone.
    let others = story.map().partitions.iter().filter(|other| other.primary == before.primary).count();
    assert_eq!(others, 5);
}

#[test]
fn a_node_is_stated_lost_with_what_nobody_else_has() {
    let mut story = Story::begun(settings(2, 1, 3));
    story.crash("a");
    story.pass(700 * MS);
    assert_eq!(story.coordinator.accept_loss(story.now, Loss::Node(NodeId(0))), Err(OrderError::NothingLost));
    assert_eq!(story.coordinator.accept_loss(story.now, Loss::All), Err(OrderError::NothingLost));
    let none = NodeId(9);
    assert_eq!(
        story.coordinator.accept_loss(story.now, Loss::Node(none)),
        Err(OrderError::UnknownNode(none))
    );
    let none = PartitionId(99);
    let unknown = Err(OrderError::UnknownPartition(none));
    assert_eq!(story.coordinator.accept_loss(story.now, Loss::Partition(none)), unknown);

    // `b` is the last that has what it shared with `a`, and dies too.
    let lost: Vec<PartitionId> =
        story.map().ring.partitions().filter(|&partition| story.standing(partition).0 == ["b"]).collect();
    assert!(!lost.is_empty());
    story.crash("b");
    story.pass(5_000 * MS);
    assert_eq!(story.coordinator.accept_loss(story.now, Loss::Node(NodeId(1))), Ok(()));
    story.pass(100 * MS);
    assert!(lost.iter().all(|&partition| story.standing(partition).0 == ["c"]));
    assert!(story.map().partitions.iter().all(|configuration| configuration.primary == story.member("c")));
}

#[test]
fn who_was_being_filled_goes_on_rather_than_another() {
    let mut settings = settings(2, 1, 2);
    settings.settings.refill_delay_ms = 60_000;
    let mut story = Story::begun(settings);
    let partition = story.led_by("a");
    story.start("c");
    story.crash("b");
    story.pass(700 * MS);
    story.heal("b");
    story.pass(200 * MS);
    let joining = story.standing(partition).1[0].to_owned();
    story.crash("a");
    story.pass(700 * MS);
    assert_eq!(story.coordinator.accept_loss(story.now, Loss::All), Ok(()));
    story.pass(COORDINATOR_TICK);
    assert_eq!(story.standing(partition).0, [joining.as_str()]);
}

#[test]
fn a_loss_stated_for_a_configuration_that_is_past_is_stated_for_nothing() {
    let mut story = Story::begun(settings(1, 1, 2));
    let partition = story.led_by("a");
    let before = story.at(partition);
    story.crash("a");
    story.pass(700 * MS);
    assert_eq!(story.coordinator.accept_loss(story.now, Loss::All), Ok(()));
    // Before the next edit it is heard again.
    story.heal("a");
    story.beat("a");
    story.beat("a");
    story.pass(2_000 * MS);
    assert_eq!(story.at(partition), before);
}

#[test]
fn nothing_is_lost_for_a_coordinator_that_has_not_listened_for_long() {
    let mut story = Story::begun(settings(1, 1, 2));
    let partition = story.led_by("a");
    story.crash("a");
    story.pass(700 * MS);
    story.restart();
    story.pass(DETECTION - 100 * MS);
    let heard = Err(OrderError::StillHeard(story.member("a")));
    assert_eq!(story.coordinator.accept_loss(story.now, Loss::Partition(partition)), heard);
    story.pass(200 * MS);
    assert_eq!(story.coordinator.accept_loss(story.now, Loss::Partition(partition)), Ok(()));
    story.crash("b");
    story.pass(DETECTION + 100 * MS);
    assert_eq!(story.coordinator.accept_loss(story.now, Loss::All), Err(OrderError::NoLiveNode));
}

fn going_on_empty(expect: usize) -> Story {
    let mut settings = settings(1, 1, expect);
    settings.settings.on_loss = OnLoss::Empty;
    Story::begun(settings)
}

#[test]
fn a_cluster_told_to_go_on_empty_does_so_after_the_grace() {
    let mut story = going_on_empty(2);
    let partition = story.led_by("a");
    let before = story.at(partition);
    story.crash("a");
    let crashed = story.now;
    while story.at(partition) == before {
        story.pass(10 * MS);
    }
    let waited = story.now.since(crashed);
    assert!(waited >= GRACE && waited <= DETECTION + GRACE + 2 * COORDINATOR_TICK, "{waited:?}");
    assert_eq!(story.standing(partition).0, ["b"]);
}

#[test]
fn who_is_still_told_something_is_not_given_up() {
    let mut story = going_on_empty(2);
    let partition = story.led_by("a");
    let before = story.at(partition);
    // It sends and hears nothing: silent, but each heartbeat is answered, and an answer may be a lease.
    story.node("a").works = false;
    story.pass(10_000 * MS);
    assert_eq!(story.at(partition), before);
    story.crash("a");
    story.pass(DETECTION + GRACE + 2 * COORDINATOR_TICK);
    assert_ne!(story.at(partition), before);
}

#[test]
fn a_coordinator_that_just_began_does_not_know_what_others_were_told_before() {
    let mut story = going_on_empty(2);
    let partition = story.led_by("a");
    let before = story.at(partition);
    story.crash("a");
    story.pass(DETECTION);
    story.restart();
    story.pass(DETECTION + GRACE - 50 * MS);
    assert_eq!(story.at(partition), before);
    story.pass(200 * MS);
    assert_ne!(story.at(partition), before);
}

#[test]
fn who_is_being_given_up_is_told_nothing_until_that_has_failed() {
    let mut story = going_on_empty(2);
    let partition = story.led_by("a");
    story.crash("a");
    story.outcome = None;
    story.pass(DETECTION + GRACE + 100 * MS);
    assert_eq!(story.unanswered.len(), 1, "the map without it is being stored");
    story.heal("a");
    let beats = story.node("a").beats.len();
    story.pass(500 * MS);
    assert_eq!(story.node("a").beats.len(), beats, "it may not serve when that map comes out");
    story.answer_store(StoreOutcome::Failed);
    story.act();
    story.pass(500 * MS);
    assert!(story.node("a").beats.len() > beats);
    assert_eq!(story.standing(partition).0, ["a"], "it is back, and nothing is lost");
    assert!(story.unanswered.is_empty());
}
