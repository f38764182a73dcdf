//! Each bug that can be planted in the coordinator breaks the story that it is about.

use std::panic;

use crate::planted::{Bug, plant};

use super::{beginnings, failures, requests, storing};

#[test]
fn every_planted_bug_breaks_its_story() {
    let stories: [(Bug, fn()); 6] = [
        (Bug::PromoteJoining, failures::of_a_backup_and_one_that_is_being_filled_the_backup_follows),
        (Bug::StrikeOffLast, failures::a_replica_that_is_being_filled_does_not_become_primary),
        (Bug::KeepHandedOver, requests::a_hand_over_is_marked_and_the_mark_lives_as_long_as_the_primary),
        (Bug::PublishBeforeDurable, storing::nothing_is_published_before_it_is_durable),
        (Bug::RemoveAllAfterPause, failures::a_coordinator_that_was_paused_removes_nobody),
        (Bug::HeartbeatWithoutEcho, beginnings::a_node_that_hears_nothing_is_not_heard),
    ];
    for (bug, story) in stories {
        story();
        plant(Some(bug));
        let outcome = panic::catch_unwind(story);
        plant(None);
        assert!(outcome.is_err(), "{bug:?} changes nothing");
    }
}
