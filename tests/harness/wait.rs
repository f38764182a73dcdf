//! Waiting for something that will be so soon: asked again and again until a deadline, never a fixed sleep.

use std::time::{Duration, Instant};

/// Time for anything that takes milliseconds on an idle machine; tests run on busy ones.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(2);

/// Waits until `condition` holds.
///
/// # Panics
/// When it does not within `deadline`; the message says that `what` did not come.
#[track_caller]
pub fn wait_until(deadline: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    if wait_for(deadline, || condition().then_some(())).is_none() {
        panic!("waited {deadline:?} in vain: {what}");
    }
}

/// Waits until `look` gives something; `None` when it does not within `deadline`. It is asked at least once.
pub fn wait_for<T>(deadline: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if started.elapsed() >= deadline {
            return None;
        }
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_as_long_as_needed_and_no_longer() {
        let mut looks = 0;
        wait_until(PATIENCE, "the third look", || {
            looks += 1;
            looks == 3
        });
        assert_eq!(looks, 3);
        assert_eq!(wait_for(Duration::ZERO, || Some(1)), Some(1));
    }

    #[test]
    #[should_panic(expected = "in vain: the impossible")]
    fn says_what_did_not_come() {
        wait_until(Duration::from_millis(5), "the impossible", || false);
    }
}
