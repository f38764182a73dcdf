//! Each coordination between threads as it is, and then with something broken on purpose, which has to be found.

use dht_interleavings::{
    Fault, accounts, callers, clients, gates, holding, seating, sleepers, waiters, with_fault,
};

macro_rules! holds {
    ($($module:ident::$scenario:ident),* $(,)?) => { $(
        #[test]
        fn $scenario() {
            $module::$scenario();
        }
    )* };
}

holds! {
    callers::each_caller_gets_its_own_answer,
    callers::a_caller_whose_time_is_up_hands_its_duties_on,
    callers::frames_that_are_cut_stay_whole,
    callers::a_connection_that_ends_tells_everybody,
    callers::a_connection_that_is_killed_brings_everybody_back,
    callers::pipelines_and_calls_share_the_duties,
    callers::a_look_at_an_idle_connection_leaves_nobody_parked,
    callers::a_slot_that_is_given_back_reaches_a_waiter,
    waiters::a_number_is_given_as_soon_as_the_floor_rises,
    waiters::one_caller_at_a_time_fetches_the_map,
    waiters::nobody_waits_for_more_than_two_fetches,
    waiters::one_caller_connects_for_all,
    sleepers::nothing_handed_over_waits_for_another_event,
    accounts::the_account_never_passes_its_limit,
    accounts::the_budget_of_outcomes_holds,
    clients::a_client_has_one_state_and_nothing_forgotten_is_lost,
    clients::floors_and_what_is_forgotten_only_rise,
    clients::a_write_is_applied_once_whatever_its_copies_do,
    gates::a_shut_gate_is_passed_by_nobody_and_an_open_one_by_all,
    gates::a_closed_gate_ends_everybody,
    gates::nobody_waits_at_a_gate_that_is_no_longer_shut,
    gates::who_ends_is_not_waited_for_and_who_begins_stands,
    gates::two_may_shut_and_open_it,
    holding::groups_that_are_held_read_whole_writes_and_wait_for_nobody,
    seating::no_more_connections_than_seats,
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_lost_wake_between_callers_is_found() {
    with_fault(Fault::LostUnpark, callers::each_caller_gets_its_own_answer);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_lost_wake_in_a_pipeline_is_found() {
    with_fault(Fault::LostUnpark, callers::pipelines_and_calls_share_the_duties);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_lost_wake_at_the_end_of_a_connection_is_found() {
    with_fault(Fault::LostUnpark, callers::a_connection_that_ends_tells_everybody);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_slot_given_back_unheard_is_found() {
    with_fault(Fault::LostNotify, callers::a_slot_that_is_given_back_reaches_a_waiter);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_floor_that_rises_unheard_is_found() {
    with_fault(Fault::LostNotify, waiters::a_number_is_given_as_soon_as_the_floor_rises);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_map_that_comes_unheard_is_found() {
    with_fault(Fault::LostNotify, waiters::one_caller_at_a_time_fetches_the_map);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_connection_that_is_there_unheard_is_found() {
    with_fault(Fault::LostNotify, waiters::one_caller_connects_for_all);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_wake_forgotten_because_nobody_slept_is_found() {
    with_fault(Fault::ForgottenWake, sleepers::nothing_handed_over_waits_for_another_event);
}

#[test]
#[should_panic(expected = "the account is off")]
fn a_check_apart_from_its_charge_is_found() {
    with_fault(Fault::TornUpdate, accounts::the_account_never_passes_its_limit);
}

#[test]
#[should_panic(expected = "fell")]
fn a_floor_that_falls_is_found() {
    with_fault(Fault::TornUpdate, clients::floors_and_what_is_forgotten_only_rise);
}

#[test]
#[should_panic(expected = "applied more than once")]
fn a_lock_let_go_too_early_is_found() {
    clients::a_write_is_applied_twice_where_the_lock_is_let_go();
}

#[test]
#[should_panic(expected = "the budget is off")]
fn a_charge_apart_from_the_budget_is_found() {
    with_fault(Fault::TornUpdate, accounts::the_budget_of_outcomes_holds);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_word_to_stop_that_is_seen_too_late_is_found() {
    with_fault(Fault::StaleFlag, sleepers::nothing_handed_over_waits_for_another_event);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_gate_that_opens_unheard_is_found() {
    with_fault(Fault::LostNotify, gates::a_shut_gate_is_passed_by_nobody_and_an_open_one_by_all);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_gate_that_closes_unheard_is_found() {
    with_fault(Fault::LostNotify, gates::nobody_waits_at_a_gate_that_is_no_longer_shut);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_thread_that_ends_unheard_is_found() {
    with_fault(Fault::LostNotify, gates::who_ends_is_not_waited_for_and_who_begins_stands);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_gate_seen_open_after_the_wake_is_found() {
    with_fault(Fault::StaleFlag, gates::a_shut_gate_is_passed_by_nobody_and_an_open_one_by_all);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_wake_forgotten_on_the_way_to_sleep_past_a_gate_is_found() {
    with_fault(Fault::ForgottenWake, gates::a_shut_gate_is_passed_by_nobody_and_an_open_one_by_all);
}

#[test]
#[should_panic(expected = "a turn at a shut gate")]
fn a_turn_at_a_shut_gate_is_found() {
    gates::a_thread_that_works_while_it_rests_passes_a_shut_gate();
}

#[test]
#[should_panic(expected = "the seats are off")]
fn a_seat_counted_in_two_steps_is_found() {
    with_fault(Fault::TornUpdate, seating::no_more_connections_than_seats);
}

#[test]
#[should_panic(expected = "the seats are off: more")]
fn seats_taken_by_two_are_found() {
    seating::two_who_take_seats_take_too_many();
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_group_that_waits_while_it_holds_is_found() {
    holding::groups_that_wait_while_they_hold_block_each_other();
}

#[test]
#[should_panic(expected = "what is held has changed")]
fn a_group_that_is_let_go_too_early_is_found() {
    holding::groups_that_are_let_go_too_early_change_under_their_readers();
}
