//! Proposals and hand-overs: each is answered by a map in which the cfg is higher.

use dht_protocol::ids::{Cfg, Incarnation, Member, NodeId, PartitionId};
use dht_protocol::peer::ToCoordinator;

use super::super::OrderError;
use super::scene::{MS, Story, settings};

/// A cluster whose partition has `a` as primary and `b` joining, heard again.
fn with_a_newcomer() -> (Story, PartitionId) {
    let mut story = Story::begun(settings(2, 1, 2));
    let partition = story.led_by("a");
    story.crash("b");
    story.pass(700 * MS);
    story.heal("b");
    story.pass(300 * MS);
    assert_eq!(story.standing(partition), (vec!["a"], vec!["b"]));
    (story, partition)
}

fn propose(story: &mut Story, partition: PartitionId, newcomer: Member) {
    let (from, cfg) = (story.member("a"), story.at(partition).cfg);
    story.say(ToCoordinator::Propose { from, partition, cfg, newcomer });
}

fn hand_over(story: &mut Story, partition: PartitionId, target: Member) {
    let from = story.at(partition).primary;
    let cfg = story.at(partition).cfg;
    story.say(ToCoordinator::HandOver { from, partition, cfg, target });
}

#[test]
fn a_newcomer_that_is_heard_is_taken_in() {
    let (mut story, partition) = with_a_newcomer();
    let before = story.at(partition);
    let newcomer = story.member("b");
    propose(&mut story, partition, newcomer);
    assert_eq!(story.standing(partition), (vec!["a", "b"], vec![]), "without waiting for a tick");
    let after = story.at(partition);
    assert_eq!(after.cfg.get(), before.cfg.get() + 1);
    assert_eq!((after.primary_since, after.handed_over), (before.primary_since, before.handed_over));
    story.pass(5_000 * MS);
    assert_eq!(story.at(partition), after);
}

#[test]
fn a_newcomer_that_is_not_heard_is_taken_off_and_the_cfg_is_raised() {
    let (mut story, partition) = with_a_newcomer();
    let before = story.at(partition);
    story.crash("b");
    story.pass(300 * MS);
    let newcomer = story.member("b");
    propose(&mut story, partition, newcomer);
    assert_eq!(story.standing(partition), (vec!["a"], vec![]));
    assert_eq!(story.at(partition).cfg.get(), before.cfg.get() + 1);
}

#[test]
fn a_newcomer_that_is_not_joining_is_refused_by_a_higher_cfg() {
    let (mut story, partition) = with_a_newcomer();
    let before = story.at(partition);
    let stranger = Member { node: NodeId(1), incarnation: Incarnation(4) };
    propose(&mut story, partition, stranger);
    let after = story.at(partition);
    assert_eq!(after.cfg.get(), before.cfg.get() + 1);
    assert_eq!((after.in_sync().collect::<Vec<_>>(), after.joining), (vec![before.primary], before.joining));
}

#[test]
fn what_has_been_answered_is_answered_again_with_the_map() {
    let (mut story, partition) = with_a_newcomer();
    let (from, cfg, newcomer) = (story.member("a"), story.at(partition).cfg, story.member("b"));
    propose(&mut story, partition, newcomer);
    story.node("a").map = None;
    story.say(ToCoordinator::Propose { from, partition, cfg, newcomer });
    let answer = story.node("a").map.clone().expect("the map that moved on");
    assert!(answer.partition(partition).unwrap().cfg > cfg);
    let epoch = story.map().epoch;
    story.pass(200 * MS);
    assert_eq!(story.map().epoch, epoch, "nothing is edited twice");
    // Whoever asks for the map gets it.
    story.node("b").map = None;
    story.say(ToCoordinator::FetchMap { from: newcomer });
    assert_eq!(story.node("b").map.as_ref().unwrap().epoch, epoch);
}

#[test]
fn only_the_primary_of_that_very_configuration_asks() {
    let (mut story, partition) = with_a_newcomer();
    let (before, newcomer, cfg) = (story.at(partition), story.member("b"), story.at(partition).cfg);
    let next = Cfg::new(cfg.get() + 1);
    story.say(ToCoordinator::Propose { from: newcomer, partition, cfg, newcomer });
    story.say(ToCoordinator::Propose { from: before.primary, partition, cfg: next, newcomer });
    story.say(ToCoordinator::Propose { from: before.primary, partition: PartitionId(99), cfg, newcomer });
    story.pass(100 * MS);
    assert_eq!(story.at(partition), before);
}

#[test]
fn of_two_requests_under_one_cfg_the_first_is_done_and_answers_both() {
    let mut story = Story::begun(settings(3, 1, 3));
    let partition = story.led_by("a");
    let backups = story.at(partition).backups;
    story.outcome = None;
    story.crash("c");
    story.pass(600 * MS);
    // An edit is being stored; meanwhile two hand-overs are asked for.
    assert_eq!(story.unanswered.len(), 1);
    let before = story.at(partition);
    backups.iter().for_each(|&target| hand_over(&mut story, partition, target));
    story.outcome = Some(super::super::StoreOutcome::Durable);
    story.answer_store(super::super::StoreOutcome::Durable);
    story.act();
    story.pass(100 * MS);
    // The edit under way had raised the cfg already: that is the answer.
    assert_eq!(story.at(partition).cfg.get(), before.cfg.get() + 1);
    assert_eq!(story.at(partition).primary, before.primary);
}

#[test]
pub(super) fn a_hand_over_is_marked_and_the_mark_lives_as_long_as_the_primary() {
    let mut story = Story::begun(settings(3, 1, 3));
    let partition = story.led_by("a");
    let before = story.at(partition);
    let target = story.member("b");
    hand_over(&mut story, partition, target);
    let after = story.at(partition);
    assert_eq!((after.primary, after.handed_over), (target, true));
    assert_eq!((after.cfg.get(), after.primary_since), (before.cfg.get() + 1, story.map().epoch));
    assert!(after.backups.contains(&before.primary) && after.joining.is_empty());

    story.crash("c");
    story.pass(700 * MS);
    let (in_sync, joining) = story.standing(partition);
    assert_eq!((in_sync, joining), (vec!["b", "a"], vec!["c"]));
    assert!(story.at(partition).handed_over, "whoever served before has still given up");

    story.crash("b");
    story.pass(700 * MS);
    assert_eq!(story.standing(partition).0, ["a"]);
    assert!(!story.at(partition).handed_over, "who served before has not given up, but fallen silent");
}

#[test]
fn a_hand_over_to_nobody_who_could_is_refused_by_a_higher_cfg() {
    let mut story = Story::begun(settings(2, 1, 3));
    let partition = story.led_by("a");
    let before = story.at(partition);
    let backup = story.standing(partition).0[1].to_owned();
    let other = if backup == "b" { "c" } else { "b" };
    let no_replica = story.member(other);
    hand_over(&mut story, partition, no_replica);
    let refused = story.at(partition);
    assert_eq!(refused.cfg.get(), before.cfg.get() + 1);
    assert_eq!((refused.primary, refused.handed_over), (before.primary, false));

    story.crash(&backup);
    story.pass(300 * MS);
    let silent = story.member(&backup);
    hand_over(&mut story, partition, silent);
    assert_eq!(story.at(partition).cfg.get(), before.cfg.get() + 2, "not heard within two beats");
    assert_eq!(story.at(partition).primary, before.primary);
}

#[test]
fn a_move_is_a_wish_that_the_primary_is_told() {
    let mut story = Story::begun(settings(2, 1, 3));
    let partition = story.led_by("a");
    let target = story.at(partition).backups[0];
    let (now, primary, cfg) = (story.now, story.member("a"), story.at(partition).cfg);
    assert_eq!(story.coordinator.order_move(now, partition, target.node), Ok(()));
    story.act();
    assert_eq!(story.moves, [(primary, partition, cfg, target)]);
    assert_eq!(
        story.coordinator.order_move(now, partition, primary.node),
        Err(OrderError::NoBackup(primary.node))
    );
    let none = PartitionId(16);
    assert_eq!(story.coordinator.order_move(now, none, target.node), Err(OrderError::UnknownPartition(none)));
}
