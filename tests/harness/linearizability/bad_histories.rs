//! Histories written by hand: each kind of wrong answer is found, and what looks wrong but is not passes.

use dht_protocol::ids::Version;

use super::{Answer, Failure, History, Limits, Op, Record};

/// A history as a story: clients are rows, time is what is written between the brackets.
#[derive(Default)]
struct Story(History);

impl Story {
    /// Client `client` asked `op` at `invoked` and was told `answer` at `returned`.
    fn on(mut self, client: u32, invoked: u64, returned: u64, op: Op, answer: Answer) -> Story {
        self.0.records.push(Record { client, key: b"k".to_vec(), invoked, returned, op, answer });
        self
    }

    /// One after another, by one client: `then` happens after everything so far.
    fn then(self, op: Op, answer: Answer) -> Story {
        let now = self.0.records.iter().map(|record| record.returned.max(record.invoked)).max();
        let now = now.unwrap_or(0);
        self.on(0, now + 1, now + 2, op, answer)
    }

    #[track_caller]
    fn passes(self) {
        if let Err(failure) = self.0.check() {
            panic!("{failure}");
        }
    }

    #[track_caller]
    fn fails(self) -> String {
        match self.0.check() {
            Err(failure @ Failure::NotLinearizable { .. }) => failure.to_string(),
            other => panic!("should not be linearizable: {other:?}"),
        }
    }
}

fn story() -> Story {
    Story::default()
}

fn put(value: &str) -> Op {
    Op::Put(value.into())
}

fn done(version: u64) -> Answer {
    Answer::written(Version(version))
}

fn found(version: u64, value: &str) -> Answer {
    Answer::found(Version(version), value)
}

fn refused(version: u64) -> Answer {
    Answer::refused(Version(version))
}

const UNTOLD: Answer = Answer::Written { version: None };

fn found_untold(value: &str) -> Answer {
    Answer::Found { version: None, value: value.into() }
}

#[test]
fn every_operation_as_it_should_be() {
    story()
        .then(Op::Get, Answer::Missing)
        .then(Op::Exists, Answer::Missing)
        .then(Op::Delete, Answer::Missing)
        .then(Op::Delete, refused(0))
        .then(Op::Replace(b"x".to_vec()), refused(0))
        .then(Op::CompareAndPut(Version(9), b"x".to_vec()), Answer::Missing)
        .then(Op::PutIfAbsent(b"a".to_vec()), done(3))
        .then(Op::PutIfAbsent(b"b".to_vec()), refused(3))
        .then(Op::Exists, Answer::present(Version(3)))
        .then(Op::Replace(b"b".to_vec()), done(4))
        .then(Op::CompareAndPut(Version(3), b"x".to_vec()), refused(4))
        .then(Op::CompareAndPut(Version(4), b"c".to_vec()), done(6))
        .then(Op::Append(b"d".to_vec()), done(7))
        .then(Op::Get, found(7, "cd"))
        .then(Op::Add(1), refused(7))
        .then(Op::DeleteIf(Version(6)), refused(7))
        .then(Op::DeleteIf(Version(7)), done(8))
        .then(Op::Add(5), Answer::counted(Version(9), 5))
        .then(Op::Add(-7), Answer::counted(Version(10), -2))
        .then(Op::Get, found(10, "-2"))
        .then(Op::Delete, done(11))
        .then(Op::CompareAndPut(Version(0), b"e".to_vec()), done(12))
        .then(put("lost on the way"), Answer::NotDone)
        .then(Op::Get, Answer::Unknown)
        .then(Op::Get, found(12, "e"))
        .passes();
}

#[test]
fn a_stale_read() {
    let text = story().then(put("a"), done(1)).then(put("b"), done(2)).then(Op::Get, found(1, "a")).fails();
    assert!(text.contains("key \"k\"") && text.contains("get -> \"a\" at version 1"), "{text}");
    story().then(put("a"), UNTOLD).then(put("b"), UNTOLD).then(Op::Get, found_untold("a")).fails();
}

#[test]
fn a_read_beside_a_write_may_see_either() {
    for (version, value) in [(1, "a"), (2, "b")] {
        story()
            .then(put("a"), done(1))
            .on(1, 10, 20, put("b"), done(2))
            .on(2, 11, 19, Op::Get, found(version, value))
            .passes();
    }
}

#[test]
fn two_reads_one_after_the_other_go_back_in_time() {
    let reads = |first: Answer, second: Answer| {
        story().then(put("a"), UNTOLD).on(1, 10, 20, put("b"), UNTOLD).on(2, 11, 12, Op::Get, first).on(
            3,
            13,
            14,
            Op::Get,
            second,
        )
    };
    reads(found_untold("a"), found_untold("b")).passes();
    reads(found_untold("b"), found_untold("a")).fails();
}

#[test]
fn a_phantom_value() {
    story().then(put("a"), done(1)).then(Op::Get, found(1, "never written")).fails();
    story().then(Op::Get, found(1, "never written")).fails();
    story().then(Op::Exists, Answer::present(Version(1))).fails();
}

#[test]
fn a_read_before_the_write_was_asked_for() {
    story().on(1, 1, 2, Op::Get, found(1, "a")).on(2, 3, 4, put("a"), done(1)).fails();
    story().on(1, 1, 2, Op::Get, found(1, "a")).on(2, 3, 0, put("a"), Answer::Unknown).fails();
}

#[test]
fn a_lost_write() {
    story().then(put("a"), done(1)).then(Op::Get, Answer::Missing).fails();
    story().then(put("a"), done(1)).then(Op::PutIfAbsent(b"b".to_vec()), done(2)).fails();
}

#[test]
fn a_lost_update() {
    let add = |value| Answer::Counted { version: None, value };
    story().on(1, 1, 9, Op::Add(1), add(1)).on(2, 2, 8, Op::Add(1), add(2)).passes();
    story().on(1, 1, 9, Op::Add(1), add(1)).on(2, 2, 8, Op::Add(1), add(1)).fails();
    story()
        .then(Op::Append(b"a".to_vec()), done(1))
        .then(Op::Append(b"b".to_vec()), done(2))
        .then(Op::Get, found(2, "b"))
        .fails();
}

#[test]
fn two_winners_of_one_condition() {
    let cas = |value: &str| Op::CompareAndPut(Version(1), value.into());
    story().then(put("a"), done(1)).on(1, 10, 20, cas("b"), done(2)).on(2, 11, 19, cas("c"), done(3)).fails();
    story()
        .on(1, 1, 9, Op::PutIfAbsent(b"a".to_vec()), UNTOLD)
        .on(2, 2, 8, Op::PutIfAbsent(b"b".to_vec()), UNTOLD)
        .fails();
    story()
        .then(put("a"), done(1))
        .on(1, 10, 20, Op::Delete, UNTOLD)
        .on(2, 11, 19, Op::Delete, UNTOLD)
        .fails();
}

#[test]
fn a_condition_that_should_have_held() {
    story().then(put("a"), done(1)).then(Op::CompareAndPut(Version(1), b"b".to_vec()), refused(1)).fails();
    story().then(put("a"), done(1)).then(Op::DeleteIf(Version(1)), Answer::Refused { seen: None }).fails();
    story().then(put("a"), done(1)).then(Op::Replace(b"b".to_vec()), refused(0)).fails();
    story().then(Op::PutIfAbsent(b"b".to_vec()), Answer::Refused { seen: None }).fails();
    story().then(Op::Add(1), Answer::Refused { seen: None }).fails();
    story().then(put("7"), done(1)).then(Op::Add(1), refused(1)).fails();
}

#[test]
fn a_condition_that_should_not_have_held() {
    story().then(put("a"), done(2)).then(Op::CompareAndPut(Version(1), b"b".to_vec()), done(3)).fails();
    story().then(put("a"), done(2)).then(Op::DeleteIf(Version(1)), done(3)).fails();
    story().then(Op::Replace(b"a".to_vec()), done(1)).fails();
    story().then(Op::Delete, done(1)).fails();
    story().then(put("x"), done(1)).then(Op::Add(1), Answer::counted(Version(2), 1)).fails();
    story()
        .then(put(&i64::MAX.to_string()), done(1))
        .then(Op::Add(1), Answer::counted(Version(2), i64::MIN))
        .fails();
}

#[test]
fn a_sum_applied_twice() {
    story().then(Op::Add(1), Answer::counted(Version(1), 2)).fails();
    story().then(Op::Add(1), Answer::counted(Version(1), 1)).then(Op::Get, found(1, "2")).fails();
    // Once with an unknown outcome, so it may have been applied, but only once.
    let retried = |value: &str| {
        story()
            .then(Op::Add(1), Answer::counted(Version(1), 1))
            .then(Op::Add(1), Answer::Unknown)
            .then(Op::Get, found_untold(value))
    };
    retried("1").passes();
    retried("2").passes();
    retried("3").fails();
}

#[test]
fn versions_go_backwards_or_stand_still() {
    story().then(put("a"), done(5)).then(put("b"), done(4)).fails();
    story().then(put("a"), done(5)).then(put("b"), done(5)).fails();
    story().then(put("a"), done(5)).then(Op::Delete, UNTOLD).then(put("b"), done(5)).fails();
    story().then(put("a"), done(5)).then(Op::Delete, done(6)).then(put("b"), done(6)).fails();
    story().then(put("a"), done(5)).then(put("b"), Answer::Unknown).then(Op::Get, found(4, "b")).fails();
}

#[test]
fn unknown_writes_need_versions_of_their_own() {
    let squeezed = |version| {
        story()
            .then(put("a"), done(5))
            .then(Op::Append(b"b".to_vec()), Answer::Unknown)
            .then(Op::Append(b"c".to_vec()), done(version))
            .then(Op::Get, found(version, "abc"))
    };
    squeezed(7).passes();
    squeezed(6).fails();
}

#[test]
fn one_version_names_one_entry() {
    story().then(put("a"), done(1)).then(Op::Get, found(2, "a")).fails();
    story().then(put("a"), Answer::Unknown).then(Op::Get, found(3, "a")).then(Op::Get, found(4, "a")).fails();
    story().then(put("a"), done(1)).then(Op::Exists, Answer::present(Version(2))).fails();
    story().then(put("a"), done(1)).then(Op::PutIfAbsent(b"b".to_vec()), refused(2)).fails();
}

#[test]
fn an_unknown_write_may_come_late_or_never() {
    story()
        .then(put("a"), done(1))
        .then(put("b"), Answer::Unknown)
        .then(Op::Get, found(1, "a"))
        .then(put("c"), done(2))
        .then(Op::Get, found(2, "c"))
        .then(Op::Get, found(3, "b"))
        .passes();
    story().then(put("b"), Answer::Unknown).then(Op::Get, Answer::Missing).passes();
    story().then(Op::Delete, Answer::Unknown).then(put("a"), done(1)).then(Op::Get, Answer::Missing).passes();
}

#[test]
fn an_unknown_write_that_was_seen_disappears() {
    story()
        .then(put("a"), done(1))
        .then(put("b"), Answer::Unknown)
        .then(Op::Get, found(2, "b"))
        .then(Op::Get, found(1, "a"))
        .fails();
    story()
        .then(put("b"), Answer::Unknown)
        .then(Op::Get, found_untold("b"))
        .then(Op::Get, Answer::Missing)
        .fails();
}

#[test]
fn an_unknown_write_applied_twice() {
    story()
        .then(put("b"), Answer::Unknown)
        .then(Op::Get, found_untold("b"))
        .then(put("c"), UNTOLD)
        .then(Op::Get, found_untold("b"))
        .fails();
    story().then(Op::Append(b"x".to_vec()), Answer::Unknown).then(Op::Get, found_untold("xx")).fails();
}

#[test]
fn unknown_twins_may_both_apply() {
    let twins = |value: &str| {
        story()
            .then(Op::Add(1), Answer::Unknown)
            .then(Op::Add(1), Answer::Unknown)
            .then(Op::Get, found_untold(value))
    };
    twins("1").passes();
    twins("2").passes();
    twins("3").fails();
}

#[test]
fn an_unknown_condition_must_have_held() {
    let conditional = |expected| {
        story()
            .then(put("a"), done(4))
            .then(Op::CompareAndPut(Version(expected), b"b".to_vec()), Answer::Unknown)
            .then(Op::Get, found(5, "b"))
    };
    conditional(4).passes();
    conditional(3).fails();
}

#[test]
fn a_deleted_entry_comes_back() {
    story().then(put("a"), done(1)).then(Op::Delete, done(2)).then(Op::Get, found(1, "a")).fails();
    story().then(put("a"), UNTOLD).then(Op::Delete, UNTOLD).then(Op::Get, found_untold("a")).fails();
    story()
        .then(put("a"), done(1))
        .then(Op::Delete, done(2))
        .then(Op::Exists, Answer::present(Version(1)))
        .fails();
}

#[test]
fn an_answer_to_another_question() {
    story().then(put("a"), Answer::counted(Version(1), 1)).fails();
    story().then(Op::Add(1), done(1)).fails();
    story().then(Op::Get, done(1)).fails();
    story().then(put("a"), refused(0)).fails();
    story().then(put("a"), Answer::Missing).fails();
    story().then(put("a"), done(1)).then(Op::Exists, found(1, "a")).fails();
    story().then(put("a"), done(1)).then(Op::Get, Answer::present(Version(1))).fails();
}

#[test]
fn keys_do_not_see_each_other() {
    let mut history = story().then(put("a"), done(1)).0;
    let mut other = story().then(Op::Get, Answer::Missing).0.records;
    other[0].key = b"other".to_vec();
    other[0].invoked = 100;
    other[0].returned = 101;
    history.records.extend(other);
    assert_eq!(history.check().unwrap().keys_count, 2);
}

#[test]
fn gives_up_rather_than_run_for_ever() {
    // Without versions, 16 values written at once and read in an impossible way leave 16! orders.
    let mut crowd = story();
    for client in 0..16 {
        crowd = crowd.on(client, 1, 100, put(&client.to_string()), UNTOLD);
    }
    let crowd = crowd.then(Op::Get, found_untold("none of them"));
    let verdict = crowd.0.check_within(Limits { configurations_max: 1_000 });
    assert!(matches!(verdict, Err(Failure::TooHard { .. })), "{verdict:?}");
}

#[test]
fn only_a_number_refuses_a_suffix() {
    let refused = || Answer::Refused { seen: None };
    story()
        .then(Op::Add(5), Answer::counted(Version(1), 5))
        .then(Op::Append(b"x".to_vec()), refused())
        .passes();
    story().then(put("a"), done(1)).then(Op::Append(b"x".to_vec()), refused()).fails();
    story().then(Op::Append(b"x".to_vec()), refused()).fails();
}
