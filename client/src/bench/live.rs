//! The line that shows, once a second on a terminal, how a run is going.
//!
//! Workers hand over a copy of what they have counted, now and then; what the line shows is the difference to
//! the second before.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::bench::tally::new_histogram;

const PERIOD: Duration = Duration::from_secs(1);
/// How often a worker hands over what it has.
pub(crate) const PUBLISH_PERIOD: Duration = Duration::from_millis(200);

/// Where workers leave their latencies for the line.
pub(crate) struct Live {
    /// For each worker, its latencies from the start of the run.
    published: Vec<Mutex<Histogram<u64>>>,
}

/// The line itself; only the main thread has it.
pub(crate) struct Line {
    before: Histogram<u64>,
    shown: Instant,
}

impl Live {
    /// A place for each worker; `None` when standard error is no terminal.
    pub(crate) fn on_terminal(workers: usize) -> Option<Live> {
        io::stderr().is_terminal().then(|| Live::new(workers))
    }

    fn new(workers: usize) -> Live {
        Live { published: (0..workers).map(|_| Mutex::new(new_histogram())).collect() }
    }

    /// Leaves a copy of what worker number `worker` has.
    pub(crate) fn publish(&self, worker: usize, latency_ns: &Histogram<u64>) {
        lock(&self.published[worker]).clone_from(latency_ns);
    }

    fn sum(&self) -> Histogram<u64> {
        let mut sum = new_histogram();
        for published in &self.published {
            // Histograms of one range always add up.
            let _ = sum.add(&*lock(published));
        }
        sum
    }
}

impl Line {
    pub(crate) fn new() -> Line {
        Line { before: new_histogram(), shown: Instant::now() }
    }

    /// Shows the line when a second is over.
    pub(crate) fn show(&mut self, live: &Live, title: &str) {
        let took = self.shown.elapsed();
        if took < PERIOD {
            return;
        }
        self.shown = Instant::now();
        let text = self.advance(live.sum(), took);
        // A line that cannot be shown is no reason to stop.
        let _ = write!(io::stderr(), "\r\x1b[K{title}: {text}");
    }

    /// Takes the line off the terminal.
    pub(crate) fn clear(&self) {
        let _ = write!(io::stderr(), "\r\x1b[K");
    }

    fn advance(&mut self, sum: Histogram<u64>, took: Duration) -> String {
        let mut recent = sum.clone();
        // `sum` never shrinks, so that there is nothing that cannot be taken away.
        let _ = recent.subtract(&self.before);
        self.before = sum;
        format!(
            "{:.0} ops/s, p50 {:.0} µs, p99 {:.0} µs",
            recent.len() as f64 / took.as_secs_f64(),
            recent.value_at_quantile(0.5) as f64 / 1000.0,
            recent.value_at_quantile(0.99) as f64 / 1000.0,
        )
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A histogram that a panic left half-copied is shown for a second at most.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_what_came_since_the_last_time() {
        let live = Live::new(2);
        let mut line = Line::new();
        let mut mine = new_histogram();
        mine.record_n(100_000, 500).unwrap();
        live.publish(0, &mine);
        live.publish(1, &mine);
        assert_eq!(line.advance(live.sum(), PERIOD), "1000 ops/s, p50 100 µs, p99 100 µs");
        mine.record_n(200_000, 30).unwrap();
        live.publish(1, &mine);
        assert_eq!(line.advance(live.sum(), PERIOD * 2), "15 ops/s, p50 200 µs, p99 200 µs");
    }
}
