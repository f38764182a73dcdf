//! How many orders of a scenario are tried, and how they are chosen.

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::thread::JoinHandle;
use shuttle::{Config, Runner};

use crate::sync::reset_clock;

/// Bytes of a thread's stack: the product's code keeps nothing large on it.
const STACK_BYTES: usize = 256 << 10;
/// Points where the order is turned against the threads' priorities, in orders chosen by priority (PCT: *A Randomized
/// Scheduler with Probabilistic Guarantees of Finding Bugs*, ASPLOS 2010).
const PRIORITY_CHANGES: usize = 3;

fn config() -> Config {
    let mut config = Config::new();
    config.stack_size = STACK_BYTES;
    config
}

fn begin(scenario: &(impl Fn() + Send + Sync + Clone + 'static)) -> impl Fn() + Send + Sync + 'static {
    let scenario = scenario.clone();
    move || {
        reset_clock();
        scenario();
    }
}

/// Tries `orders` orders drawn at random, and half as many by priority. For scenarios in which nobody waits by asking
/// again and again: whoever has the highest priority would ask for ever.
pub(crate) fn explore(seed: u64, orders: usize, scenario: impl Fn() + Send + Sync + Clone + 'static) {
    explore_at_random(seed, orders, scenario.clone());
    let by_priority = PctScheduler::new_from_seed(seed, PRIORITY_CHANGES, orders / 2);
    Runner::new(by_priority, config()).run(begin(&scenario));
}

/// Tries `orders` orders drawn at random.
pub(crate) fn explore_at_random(
    seed: u64,
    orders: usize,
    scenario: impl Fn() + Send + Sync + Clone + 'static,
) {
    let at_random = RandomScheduler::new_from_seed(seed, orders);
    Runner::new(at_random, config()).run(begin(&scenario));
}

/// What a thread of the scenario came to.
pub(crate) fn join<T>(thread: JoinHandle<T>) -> T {
    thread.join().expect("a panic ends the scenario")
}
