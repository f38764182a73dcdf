//! Holds log lines that a peer or a shortage can cause to a number in each window of time, and counts the others,
//! so that neither a flood of connections nor a flood of slow requests becomes a flood of lines.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::limits::LOG_WINDOW_S;

/// Lines of one kind, written by one thread.
#[derive(Debug)]
pub struct Throttle {
    lines_max: u32,
    state: Cell<State>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// When the window in hand began.
    begun: Option<Instant>,
    /// Lines written in it.
    lines: u32,
    /// Lines left out since the last one that was written.
    suppressed: u64,
}

impl Throttle {
    /// At most `lines_max` lines in each window of `LOG_WINDOW_S`.
    #[must_use]
    pub fn new(lines_max: u32) -> Throttle {
        Throttle { lines_max, state: Cell::default() }
    }

    /// Asks for a line at `now`. `Some`: write it; inside, how many were left out before it, if any.
    pub fn admit(&self, now: Instant) -> Option<Option<u64>> {
        let mut state = self.state.get();
        let window = Duration::from_secs(LOG_WINDOW_S);
        if state.begun.is_none_or(|begun| now.saturating_duration_since(begun) >= window) {
            state = State { begun: Some(now), lines: 0, ..state };
        }
        let admitted = state.lines < self.lines_max;
        let suppressed = state.suppressed;
        if admitted {
            state.lines += 1;
            state.suppressed = 0;
        } else {
            state.suppressed += 1;
        }
        self.state.set(state);
        admitted.then_some(Some(suppressed).filter(|&suppressed| suppressed > 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_becomes_a_few_lines_and_a_number() {
        let throttle = Throttle::new(2);
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(throttle.admit(at(0)), Some(None));
        assert_eq!(throttle.admit(at(1)), Some(None));
        for ms in 2..500 {
            assert_eq!(throttle.admit(at(ms)), None);
        }
        let next = LOG_WINDOW_S * 1_000;
        assert_eq!(throttle.admit(at(next - 1)), None);
        assert_eq!(throttle.admit(at(next)), Some(Some(499)), "the next window says what was left out");
        assert_eq!(throttle.admit(at(next + 1)), Some(None));
        assert_eq!(throttle.admit(at(next + 2)), None);
        assert_eq!(throttle.admit(at(3 * next)), Some(Some(1)));
    }
}
