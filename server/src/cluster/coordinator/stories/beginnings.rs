//! How a cluster begins, and who counts as heard.

use dht_protocol::ids::{Cfg, Epoch, NodeId};
use dht_protocol::peer::ToCoordinator;

use crate::limits::{BEATS_REMEMBERED_MAX, CONTACTS_MAX};
use crate::timings::DETECTION;

use super::scene::{MS, Story, settings};

#[test]
fn a_cluster_begins_when_as_many_nodes_as_expected_are_heard() {
    let mut story = Story::new(settings(2, 1, 3));
    story.start("c");
    story.start("a");
    story.pass(1_000 * MS);
    assert!(story.coordinator.map().is_none(), "two of three");
    story.start("b");
    story.pass(100 * MS);
    assert!(story.coordinator.map().is_none(), "one heartbeat says nothing: it echoes no Beat");
    story.pass(200 * MS);

    let map = story.map();
    assert_eq!(map.epoch, Epoch(1));
    assert_eq!(
        map.nodes.iter().map(|node| (node.id.0, node.address.as_str())).collect::<Vec<_>>(),
        [(0, "a:1"), (1, "b:1"), (2, "c:1")]
    );
    for configuration in &map.partitions {
        assert_eq!((configuration.cfg, configuration.primary_since), (Cfg::new(1), Epoch(1)));
        assert!(
            configuration.backups.len() == 1
                && configuration.joining.is_empty()
                && !configuration.handed_over
        );
    }
    assert_eq!(story.node("a").map.as_ref().unwrap().epoch, Epoch(1), "it is sent to all");
    story.pass(100 * MS);
    assert_eq!(story.node("a").beats.last().unwrap().node, Some(NodeId(0)));
    assert_eq!(story.coordinator.shortfalls(story.now), []);
}

#[test]
pub(super) fn a_node_that_hears_nothing_is_not_heard() {
    let mut story = Story::begun(settings(2, 1, 3));
    let partition = story.led_by("a");
    story.node("a").listens = false;
    story.pass(DETECTION + 600 * MS);
    assert_ne!(story.at(partition).primary, story.member("a"), "its heartbeats echo no fresh Beat");
    assert!(story.coordinator.shortfalls(story.now).len() > 5);
}

#[test]
fn a_node_whose_workers_are_stuck_is_not_heard() {
    let mut story = Story::begun(settings(2, 1, 3));
    let partition = story.led_by("a");
    story.node("a").works = false;
    story.pass(DETECTION + 200 * MS);
    assert_ne!(story.at(partition).primary, story.member("a"));
    story.node("a").works = true;
    story.pass(200 * MS);
    assert!(story.at(partition).joining.contains(&story.member("a")), "it goes on, and may be filled");
}

#[test]
fn heartbeats_that_wait_in_the_network_do_not_make_the_dead_heard() {
    let mut story = Story::begun(settings(2, 1, 3));
    let partition = story.led_by("a");
    // Eight heartbeats are sent, all good ones, and delayed; then the node dies.
    let delayed: Vec<_> = (0..8).map(|_| story.heartbeat("a")).collect();
    story.crash("a");
    let dead = story.member("a");
    for heartbeat in delayed {
        story.pass(100 * MS);
        story.say(ToCoordinator::Heartbeat(heartbeat));
    }
    story.pass(300 * MS);
    assert_ne!(story.at(partition).primary, dead, "the last ones echo a Beat that is too old");
}

#[test]
fn copies_and_late_arrivals_of_heartbeats_are_ignored() {
    let mut story = Story::begun(settings(2, 1, 3));
    let (first, second) = (story.heartbeat("a"), story.heartbeat("a"));
    story.say(ToCoordinator::Heartbeat(second.clone()));
    let (beats, ignored) = (story.node("a").beats.len(), story.coordinator.counts().heartbeats_ignored);
    story.say(ToCoordinator::Heartbeat(second));
    story.say(ToCoordinator::Heartbeat(first));
    assert_eq!(story.node("a").beats.len(), beats);
    assert_eq!(story.coordinator.counts().heartbeats_ignored, ignored + 2);
}

#[test]
fn a_new_start_of_a_node_is_listed_and_changes_no_configuration() {
    let mut story = Story::begun(settings(1, 1, 2));
    let before = story.map().clone();
    let old = story.member("a");
    let late = story.heartbeat("a");
    story.start("a");
    story.pass(300 * MS);
    let after = story.map().clone();
    assert_eq!(after.nodes[0].incarnation, story.node("a").incarnation);
    assert_eq!((after.nodes[0].id, after.epoch), (NodeId(0), Epoch(2)));
    assert_eq!(after.partitions, before.partitions, "nobody else has a replica: what it held waits");

    // A heartbeat of the old one arrives, and echoes a Beat that is not too old.
    story.say(ToCoordinator::Heartbeat(late));
    story.pass(300 * MS);
    assert_eq!(story.map().epoch, Epoch(2), "it is never listed again");
    assert!(story.map().partitions.iter().any(|configuration| configuration.primary == old));
}

#[test]
fn nodes_that_come_later_are_listed_and_get_what_is_missing() {
    let mut story = Story::begun(settings(3, 1, 2));
    assert!(story.map().partitions.iter().all(|configuration| configuration.backups.len() == 1));
    story.start("c");
    story.pass(400 * MS);
    assert_eq!(story.map().nodes.len(), 3);
    let newcomer = story.member("c");
    for configuration in &story.map().partitions {
        assert_eq!((configuration.joining.as_slice(), configuration.cfg), (&[newcomer][..], Cfg::new(2)));
    }
    // One more is listed and has nothing to do.
    story.start("d");
    story.pass(400 * MS);
    assert_eq!(story.map().nodes.len(), 4);
    assert!(story.map().partitions.iter().all(|configuration| configuration.cfg == Cfg::new(2)));
}

#[test]
fn strangers_without_number_take_no_memory_without_end() {
    let mut story = Story::begun(settings(1, 1, 1));
    let like = story.heartbeat("a");
    for number in 0..CONTACTS_MAX as u64 + 10 {
        let mut heartbeat = like.clone();
        heartbeat.incarnation.0 = 0xF000_0000 + number;
        heartbeat.address = format!("x{number}:1");
        (heartbeat.number, heartbeat.echo) = (1, 0);
        story.say(ToCoordinator::Heartbeat(heartbeat));
    }
    assert!(story.coordinator.counts().heartbeats_ignored >= 10);
    for _ in 0..3 * BEATS_REMEMBERED_MAX {
        story.beat("a");
    }
    // Who was known before is still heard.
    story.pass(2_000 * MS);
    assert_eq!(story.map().nodes.len(), 1);
    assert!(story.coordinator.shortfalls(story.now).is_empty());
    // And there is room again once they have been silent.
    story.start("b");
    story.pass(400 * MS);
    assert_eq!(story.map().nodes.len(), 2);
}
