//! Copies made again after a loss.

use super::super::ShortfallReason;
use super::scene::{MS, Story, settings};

#[test]
fn without_a_node_to_spare_a_replica_that_is_back_goes_on_being_filled() {
    let mut story = Story::begun(settings(2, 1, 2));
    let partition = story.led_by("a");
    story.crash("b");
    story.pass(700 * MS);
    story.heal("b");
    story.pass(60_000 * MS);
    assert_eq!(story.standing(partition), (vec!["a"], vec!["b"]), "however long it takes");
    let cfg = story.at(partition).cfg;
    story.pass(10_000 * MS);
    assert_eq!(story.at(partition).cfg, cfg, "and nothing disturbs it");
}

#[test]
fn a_replica_that_stays_away_is_taken_off_and_its_partitions_are_short() {
    let mut story = Story::begun(settings(2, 1, 2));
    let partition = story.led_by("a");
    story.crash("b");
    story.pass(3_000 * MS);
    assert_eq!(story.standing(partition), (vec!["a"], vec![]));
    let short = story.coordinator.shortfalls(story.now);
    assert_eq!(short.len(), 16);
    assert!(short.iter().all(|short| (short.in_sync, short.wanted) == (1, 2)));
    assert!(short.iter().all(|short| short.reason == ShortfallReason::NoNodeLeft));
    // It comes back, as it was: it is to be filled.
    story.heal("b");
    story.pass(400 * MS);
    assert_eq!(story.standing(partition), (vec!["a"], vec!["b"]));
    assert!(
        story.coordinator.shortfalls(story.now).iter().all(|short| short.reason == ShortfallReason::Joining)
    );
}

#[test]
fn a_replica_that_cannot_be_caught_up_makes_room_for_another_after_the_delay() {
    let mut story = Story::begun(settings(3, 2, 4));
    let partition = story.led_by("a");
    let backup = story.standing(partition).0[1].to_owned();
    story.node("a").accuses = vec![story.member(&backup)];
    story.pass(200 * MS);
    story.node("a").accuses.clear();
    assert_eq!(story.standing(partition).1, [backup.as_str()]);
    story.pass(800 * MS);
    assert_eq!(story.standing(partition).1, [backup.as_str()], "the delay is not over");
    story.pass(400 * MS);
    let fourth = ["b", "c", "d"]
        .into_iter()
        .find(|name| *name != backup && !story.standing(partition).0.contains(name));
    assert_eq!(story.standing(partition).1, [fourth.unwrap()]);
    let cfg = story.at(partition).cfg;
    story.pass(30_000 * MS);
    assert_eq!(story.at(partition).cfg, cfg, "who is being filled is left alone");
}

#[test]
fn another_start_of_a_joining_node_takes_its_place_at_once() {
    let mut story = Story::begun(settings(2, 1, 2));
    let partition = story.led_by("a");
    story.start("b");
    story.pass(300 * MS);
    let first = story.member("b");
    assert_eq!(story.at(partition).joining, [first]);
    story.start("b");
    story.pass(300 * MS);
    assert_eq!(story.at(partition).joining, [story.member("b")]);
    assert_ne!(story.member("b"), first);
}

#[test]
fn what_a_dead_node_held_is_filled_where_there_is_least() {
    let mut story = Story::begun(settings(2, 1, 5));
    story.crash("a");
    story.pass(5_000 * MS);
    let held = |name: &str| {
        let member = story.member(name);
        story.map().partitions.iter().filter(|c| c.members().any(|other| other == member)).count()
    };
    let counts: Vec<usize> = ["b", "c", "d", "e"].into_iter().map(held).collect();
    assert_eq!(counts.iter().sum::<usize>(), 32);
    assert!(counts.iter().all(|count| (7..=9).contains(count)), "{counts:?}");
    assert_eq!(held("a"), 0);
}
