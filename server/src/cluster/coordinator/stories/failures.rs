//! Silence, accusations and pauses: who is struck off, and who follows.

use crate::timings::{COORDINATOR_LATE, COORDINATOR_TICK, DETECTION, EDIT_PAUSE, TWO_BEATS};

use super::super::ShortfallReason;
use super::scene::{MS, Story, settings};

#[test]
fn a_dead_primary_is_followed_by_a_backup_within_the_time_allowed() {
    let mut story = Story::begun(settings(2, 1, 3));
    let partition = story.led_by("a");
    let before = story.at(partition);
    let backup = story.names(before.backups.iter().copied())[0].to_owned();
    story.crash("a");
    let crashed = story.now;
    while story.at(partition).primary == before.primary {
        story.pass(10 * MS);
    }
    assert!(story.now.since(crashed) <= DETECTION + COORDINATOR_TICK, "{:?}", story.now.since(crashed));

    let after = story.at(partition);
    assert_eq!(story.standing(partition), (vec![backup.as_str()], vec!["a"]), "it waits for the dead one");
    assert_eq!(after.cfg.get(), before.cfg.get() + 1);
    assert_eq!((after.primary_since, after.handed_over), (story.map().epoch, false));
    assert!(
        story.coordinator.shortfalls(story.now).iter().all(|short| short.reason == ShortfallReason::Joining)
    );

    // After the refill delay the third node gets what the dead one had.
    story.pass(1_100 * MS);
    let third = if backup == "b" { "c" } else { "b" };
    assert_eq!(story.standing(partition), (vec![backup.as_str()], vec![third]));
    // Everything else has kept its cfg.
    let untouched = story.map().partitions.iter().filter(|c| c.cfg == dht_protocol::ids::Cfg::new(1)).count();
    assert_eq!(
        untouched,
        16 - story.map().partitions.iter().filter(|c| c.cfg > dht_protocol::ids::Cfg::new(1)).count()
    );
    assert!(untouched > 0);
}

#[test]
fn where_all_are_silent_nobody_is_struck_off_and_the_first_heard_again_is_primary() {
    let mut story = Story::begun(settings(3, 1, 3));
    let partition = story.led_by("a");
    let before = story.at(partition);
    ["a", "b", "c"].into_iter().for_each(|name| story.crash(name));
    story.pass(5_000 * MS);
    assert_eq!(story.at(partition), before);
    assert!(
        story.coordinator.shortfalls(story.now).iter().all(|short| short.reason == ShortfallReason::Lost)
    );

    story.heal("c");
    story.pass(400 * MS);
    let (in_sync, joining) = story.standing(partition);
    assert_eq!((in_sync, joining.len()), (vec!["c"], 2), "it has every acknowledged write; the others wait");
    story.crash("c");
    story.pass(5_000 * MS);
    assert_eq!(story.standing(partition).0, ["c"], "the last one is never struck off");
}

#[test]
pub(super) fn a_replica_that_is_being_filled_does_not_become_primary() {
    let mut story = Story::begun(settings(2, 1, 2));
    let partition = story.led_by("a");
    story.crash("b");
    story.pass(700 * MS);
    assert_eq!(story.standing(partition), (vec!["a"], vec!["b"]));
    story.heal("b");
    story.pass(200 * MS);
    story.crash("a");
    story.pass(5_000 * MS);
    assert_eq!(story.standing(partition), (vec!["a"], vec!["b"]), "it waits for the one that has everything");
}

#[test]
pub(super) fn of_a_backup_and_one_that_is_being_filled_the_backup_follows() {
    let mut story = Story::begun(settings(3, 1, 3));
    let partition = story.led_by("a");
    story.crash("c");
    story.pass(700 * MS);
    story.heal("c");
    story.pass(200 * MS);
    assert_eq!(story.standing(partition), (vec!["a", "b"], vec!["c"]));
    story.crash("a");
    story.pass(700 * MS);
    assert_eq!(story.standing(partition).0, ["b"], "although the other serves nothing yet");
}

#[test]
fn who_vouches_for_others_has_been_heard_within_two_beats() {
    let mut story = Story::begun(settings(2, 1, 2));
    let partition = story.led_by("a");
    let before = story.at(partition);
    story.crash("a");
    story.pass(DETECTION - TWO_BEATS - 100 * MS);
    story.crash("b");
    story.pass(2_000 * MS);
    assert_eq!(story.at(partition), before, "when one was silent for long, so was the other for a while");
}

#[test]
fn a_restarted_node_comes_back_empty_and_counts_for_nothing_until_filled() {
    let mut story = Story::begun(settings(2, 1, 3));
    let partition = story.led_by("a");
    let backup = story.standing(partition).0[1].to_owned();
    story.start("a");
    story.pass(300 * MS);
    assert_eq!(
        story.standing(partition),
        (vec![backup.as_str()], vec!["a"]),
        "at once: its earlier start is gone"
    );
    assert!(story.at(partition).joining.contains(&story.member("a")), "and it is its new start that joins");
}

#[test]
pub(super) fn a_coordinator_that_was_paused_removes_nobody() {
    let mut story = Story::begun(settings(3, 1, 3));
    let before = story.map().clone();
    story.pause(60_000 * MS);
    story.pass(5_000 * MS);
    assert_eq!(*story.map(), before);
    assert_eq!(story.coordinator.counts().pauses, 1);

    // It starts again: nobody has been heard by this process.
    story.restart();
    story.pass(5_000 * MS);
    assert_eq!(*story.map(), before);

    // Who really is silent is found out a detection after the pause.
    story.crash("a");
    story.pause(COORDINATOR_LATE + 100 * MS);
    story.pass(DETECTION - 100 * MS);
    assert_eq!(*story.map(), before);
    story.pass(200 * MS);
    assert_ne!(*story.map(), before);
}

#[test]
fn many_failures_are_one_edit_and_edits_keep_their_distance() {
    let mut story = Story::begun(settings(3, 1, 5));
    let before = story.map().epoch;
    story.crash("a");
    story.crash("b");
    story.pass(DETECTION + COORDINATOR_TICK);
    assert_eq!(story.map().epoch.0, before.0 + 1);
    assert!(EDIT_PAUSE >= COORDINATOR_TICK);
    let primaries: Vec<usize> = ["c", "d", "e"]
        .iter()
        .map(|name| story.map().partitions.iter().filter(|c| c.primary == story.member(name)).count())
        .collect();
    assert_eq!(primaries.iter().sum::<usize>(), 16);
    assert!(primaries.iter().all(|count| (4..=7).contains(count)), "those with few take over: {primaries:?}");
}

#[test]
fn backups_that_a_primary_accuses_are_struck_off_if_enough_are_left() {
    let mut story = Story::begun(settings(3, 2, 3));
    let partition = story.led_by("a");
    let backup = story.standing(partition).0[1].to_owned();
    story.node("a").accuses = vec![story.member(&backup)];
    story.pass(200 * MS);
    let (in_sync, joining) = story.standing(partition);
    assert_eq!((in_sync[0], in_sync.len(), joining), ("a", 2, vec![backup.as_str()]));
}

#[test]
fn a_primary_that_accuses_too_many_is_struck_off_itself() {
    let mut story = Story::begun(settings(3, 2, 3));
    let partition = story.led_by("a");
    let others: Vec<_> = ["b", "c"].iter().map(|name| story.member(name)).collect();
    story.node("a").accuses = others.clone();
    story.pass(200 * MS);
    let after = story.at(partition);
    assert!(others.contains(&after.primary) && after.backups.len() == 1, "{after:?}");
    assert_eq!(story.standing(partition).1, ["a"]);
    // Where it is no primary its word counts for nothing.
    let led_by_b = story.led_by("b");
    assert_eq!(story.standing(led_by_b).0[0], "b");
}

#[test]
fn an_accusation_under_an_older_map_is_past() {
    let mut story = Story::begun(settings(3, 2, 4));
    let partition = story.led_by("a");
    let (old_map, backups) = (story.node("a").map.clone(), story.at(partition).backups);
    let unconcerned = story.standing(partition).0;
    let fourth = ["b", "c", "d"].into_iter().find(|name| !unconcerned.contains(name)).unwrap();
    story.crash(fourth);
    story.pass(700 * MS);
    let epoch = story.map().epoch;
    let before = story.at(partition);
    // The node accuses while it still has the map from before.
    (story.node("a").map, story.node("a").accuses) = (old_map.clone(), vec![backups[0]]);
    let heartbeat = story.heartbeat("a");
    story.node("a").accuses.clear();
    story.say(dht_protocol::peer::ToCoordinator::Heartbeat(heartbeat));
    story.coordinator.on_tick(story.now + COORDINATOR_TICK);
    story.now = story.now + COORDINATOR_TICK;
    story.act();
    assert!(old_map.unwrap().epoch < epoch);
    assert_eq!(story.at(partition), before);
}
