//! One edit at a time, nothing published before it is durable, and when to stop.

use std::sync::Arc;

use dht_protocol::ids::Epoch;
use dht_protocol::peer::ToCoordinator;

use crate::limits::RECOVERY_STEP;
use crate::timings::{COORDINATOR_TICK, DETECTION, STORE_RETRY};

use super::super::{Coordinator, Halted, OrderError, StoreOutcome};
use super::scene::{MS, Story, settings};

/// A cluster in which an edit is being stored.
fn with_an_edit_under_way() -> Story {
    let mut story = Story::begun(settings(2, 1, 3));
    story.outcome = None;
    story.crash("a");
    story.pass(DETECTION + 2 * COORDINATOR_TICK);
    assert_eq!((story.map().epoch, story.unanswered.len()), (Epoch(1), 1));
    story
}

#[test]
pub(super) fn nothing_is_published_before_it_is_durable() {
    let mut story = with_an_edit_under_way();
    story.pass(2_000 * MS);
    assert_eq!((story.map().epoch, story.unanswered.len()), (Epoch(1), 1), "and nothing else is begun");
    assert!(!story.published.contains(&2));
    story.answer_store(StoreOutcome::Durable);
    story.act();
    assert_eq!(story.map().epoch, Epoch(2));
    assert_eq!(story.node("b").map.as_ref().unwrap().epoch, Epoch(2));
}

#[test]
fn a_map_that_was_not_stored_is_made_anew_after_a_pause() {
    let mut story = with_an_edit_under_way();
    story.heal("a");
    story.pass(200 * MS);
    story.answer_store(StoreOutcome::Failed);
    story.act();
    story.pass(STORE_RETRY - 20 * MS);
    assert!(story.unanswered.is_empty());
    story.pass(2_000 * MS);
    assert!(story.unanswered.is_empty() && story.map().epoch == Epoch(1), "its reason has gone");
    assert_eq!(story.coordinator.counts().stores_failed, 1);
}

#[test]
fn a_request_outlives_an_edit_that_failed() {
    let mut story = Story::begun(settings(2, 1, 2));
    story.outcome = None;
    let partition = story.led_by("a");
    let before = story.at(partition);
    let (from, cfg, target) = (before.primary, before.cfg, before.backups[0]);
    story.say(ToCoordinator::HandOver { from, partition, cfg, target });
    story.answer_store(StoreOutcome::Failed);
    story.outcome = Some(StoreOutcome::Durable);
    story.pass(STORE_RETRY + COORDINATOR_TICK);
    assert_eq!((story.at(partition).primary, story.at(partition).handed_over), (target, true));
}

#[test]
fn after_an_open_answer_the_store_is_read_and_what_is_there_confirmed() {
    let mut story = with_an_edit_under_way();
    let tried = story.unanswered[0].clone();
    story.answer_store(StoreOutcome::Ambiguous);
    story.act();
    story.pass(1_000 * MS);
    assert_eq!((story.reads, story.unanswered.len(), story.map().epoch), (1, 0, Epoch(1)));
    story.coordinator.on_read(story.now, Some((*tried).clone()));
    story.pass(2 * COORDINATOR_TICK);
    assert_eq!(story.map().epoch, Epoch(1), "what is read need not be durable");
    assert_eq!(story.unanswered, [Arc::clone(&tried)]);
    story.answer_store(StoreOutcome::Durable);
    story.act();
    assert_eq!(*story.map(), *tried);
}

/// What had been read back was not taken for what the store holds. When storing it once more failed, and the next answer was
/// open too, the store held a map that the coordinator did not know as its own, and it stopped.
#[test]
fn what_was_read_back_is_known_to_be_there_even_if_it_cannot_be_confirmed() {
    let mut story = with_an_edit_under_way();
    let tried = (*story.unanswered[0]).clone();
    story.answer_store(StoreOutcome::Ambiguous);
    story.act();
    story.coordinator.on_read(story.now, Some(tried.clone()));
    story.pass(2 * COORDINATOR_TICK);
    story.answer_store(StoreOutcome::Failed);
    story.pass(STORE_RETRY + COORDINATOR_TICK);
    assert_eq!(story.unanswered.len(), 1, "the edit is made anew");
    story.answer_store(StoreOutcome::Ambiguous);
    story.act();
    story.coordinator.on_read(story.now, Some(tried));
    assert_eq!(story.coordinator.halted(), None);
    story.outcome = Some(StoreOutcome::Durable);
    story.pass(STORE_RETRY + COORDINATOR_TICK);
    assert_eq!(story.map().epoch, Epoch(2));
}

#[test]
fn after_an_open_answer_what_was_there_before_means_another_try() {
    let mut story = with_an_edit_under_way();
    story.answer_store(StoreOutcome::Ambiguous);
    story.act();
    let before = story.stored.clone();
    story.coordinator.on_read(story.now, before);
    story.outcome = Some(StoreOutcome::Durable);
    story.pass(STORE_RETRY + COORDINATOR_TICK);
    assert_eq!(story.map().epoch, Epoch(2));
}

#[test]
fn after_an_open_answer_anything_else_in_the_store_ends_it() {
    let mut story = with_an_edit_under_way();
    story.answer_store(StoreOutcome::Ambiguous);
    story.act();
    let mut other = (**story.coordinator.map().unwrap()).clone();
    other.epoch = Epoch(2);
    story.coordinator.on_read(story.now, Some(other));
    assert_eq!(story.coordinator.halted(), Some(&Halted::StoreChanged));
    story.pass(1_000 * MS);
    assert_eq!(story.map().epoch, Epoch(1));
}

#[test]
fn answers_to_no_question_change_nothing() {
    let mut story = Story::begun(settings(2, 1, 2));
    let before = story.map().clone();
    for outcome in [StoreOutcome::Durable, StoreOutcome::Failed, StoreOutcome::Ambiguous] {
        story.coordinator.on_stored(story.now, outcome);
    }
    story.coordinator.on_read(story.now, None);
    story.act();
    story.pass(300 * MS);
    assert_eq!((story.coordinator.halted(), story.map()), (None, &before));
}

#[test]
fn a_coordinator_that_hears_of_a_newer_map_stops_and_says_nothing_more() {
    let mut story = Story::begun(settings(2, 1, 3));
    // The store is put back to an older state.
    let old = story.stored.clone();
    story.crash("a");
    story.pass(1_000 * MS);
    assert!(story.map().epoch > Epoch(1));
    (story.stored, story.outcome) = (old, Some(StoreOutcome::Durable));
    story.restart();
    story.beat("b");
    let heard = story.node("b").map.as_ref().unwrap().epoch;
    assert_eq!(story.coordinator.halted(), Some(&Halted::HigherEpoch { heard, own: Epoch(1) }));

    let beats = story.node("c").beats.len();
    story.published.clear();
    story.pass(5_000 * MS);
    let from = story.node("c").incarnation;
    story.say(ToCoordinator::FetchMap {
        from: dht_protocol::ids::Member { node: story.map().nodes[2].id, incarnation: from },
    });
    assert_eq!(story.map().epoch, Epoch(1), "it edits nothing");
    assert_eq!(
        story.node("c").beats.len(),
        beats,
        "a Beat may be a lease, of which another coordinator knows nothing"
    );
    assert!(story.published.is_empty());
    let (now, partition) = (story.now, dht_protocol::ids::PartitionId(0));
    let node = story.map().nodes[0].id;
    assert_eq!(story.coordinator.order_move(now, partition, node), Err(OrderError::Halted));
}

#[test]
fn a_coordinator_that_hears_of_another_map_of_its_epoch_stops() {
    let mut story = Story::begun(settings(2, 1, 3));
    let mut heartbeat = story.heartbeat("a");
    assert_eq!((heartbeat.epoch, heartbeat.checksum), (Epoch(1), story.map().checksum()));
    heartbeat.checksum ^= 1;
    story.say(ToCoordinator::Heartbeat(heartbeat));
    assert_eq!(story.coordinator.halted(), Some(&Halted::OtherChecksum { epoch: Epoch(1) }));
}

#[test]
fn a_coordinator_without_a_map_that_hears_of_one_stops() {
    let mut story = Story::begun(settings(2, 1, 3));
    story.stored = None;
    story.restart();
    story.beat("a");
    assert_eq!(story.coordinator.halted(), Some(&Halted::HigherEpoch { heard: Epoch(1), own: Epoch(0) }));
}

#[test]
fn a_lost_store_is_rebuilt_from_what_nodes_have() {
    let mut story = Story::begun(settings(2, 1, 3));
    let partition = story.led_by("a");
    let (from, cfg, target) = (story.member("a"), story.at(partition).cfg, story.at(partition).backups[0]);
    story.say(ToCoordinator::HandOver { from, partition, cfg, target });
    let newest = story.map().clone();
    story.stored = None;
    story.outcome = None;
    let settings = story.settings.clone();
    story.coordinator = Coordinator::recover_from(story.now, settings, newest.clone(), 99);
    story.act();
    story.pass(1_000 * MS);
    assert_eq!(story.map().epoch, newest.epoch, "nothing new before it is durable");
    story.answer_store(StoreOutcome::Failed);
    story.outcome = Some(StoreOutcome::Durable);
    story.pass(1_000 * MS);

    assert_eq!(story.map().epoch.0, newest.epoch.0 + RECOVERY_STEP);
    for (old, new) in newest.partitions.iter().zip(&story.map().partitions) {
        assert_eq!(new.cfg.get(), old.cfg.get() + RECOVERY_STEP);
        assert_eq!((new.primary, &new.backups, new.handed_over), (old.primary, &old.backups, false));
    }
    let epoch = story.map().epoch;
    assert_eq!(story.node("b").map.as_ref().unwrap().epoch, epoch);
    assert_eq!(story.coordinator.halted(), None);
}
