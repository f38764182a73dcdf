//! `stats --watch`: the counters again and again, and how fast they rise.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::Client;
use crate::cli::cluster::node_stats;
use crate::cli::failure::Failure;
use crate::cli::output;

/// Cursor to the upper left, then everything erased, as terminals since the VT100 understand it.
const CLEAR_SCREEN: &str = "\x1b[H\x1b[2J";

/// Shows the counters every `period`, `count` times or until Ctrl-C.
///
/// # Errors
/// Standard output that takes nothing; a node that gave no counters in the last round.
pub(crate) fn watch(client: &Client, period: Duration, count: Option<u64>) -> Result<(), Failure> {
    let stop = stop_on_signal().map_err(|error| Failure::Failed(format!("cannot catch Ctrl-C: {error}")))?;
    let clear = if io::stdout().is_terminal() { CLEAR_SCREEN } else { "" };
    let mut rates = Rates::default();
    let mut next = Instant::now();
    let mut round = 0;
    loop {
        let (nodes, failed) = node_stats(client);
        let text = rates.advance(&output::stats_lines(&nodes), Instant::now());
        // Without a terminal an empty line ends the round.
        let text = if clear.is_empty() { format!("{text}\n") } else { format!("{clear}{text}") };
        let mut out = io::stdout();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::of_output)?;
        round += 1;
        if count.is_some_and(|count| round >= count) {
            return if failed { Err(Failure::Reported) } else { Ok(()) };
        }
        // A round that took longer than the period is followed by the next at once, not by all that were missed.
        next = (next + period).max(Instant::now());
        match stop.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

/// Says so when Ctrl-C or SIGTERM arrives. Should the command be busy then, the second one ends it.
fn stop_on_signal() -> io::Result<Receiver<()>> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let (told, stop) = mpsc::sync_channel(1);
    thread::spawn(move || {
        for _ in signals.forever() {
            if told.try_send(()).is_err() {
                std::process::exit(0);
            }
        }
    });
    Ok(stop)
}

/// Numbers of the round before.
#[derive(Debug, Default)]
struct Rates {
    before: BTreeMap<String, u64>,
    taken: Option<Instant>,
}

impl Rates {
    /// The lines of a round: name and number, and for numbers that only rise, by how much in a second since the
    /// round before.
    fn advance(&mut self, lines: &[(String, u64)], now: Instant) -> String {
        let seconds = self.taken.map(|taken| now.saturating_duration_since(taken).as_secs_f64());
        let mut text = String::new();
        for (name, number) in lines {
            text.push_str(&format!("{name} {number}"));
            // A node that was started again begins at 0, and one that comes late makes totals jump by its own.
            if only_rises(name)
                && let Some(seconds) = seconds.filter(|seconds| *seconds > 0.0)
                && let Some(risen) = self.before.get(name).and_then(|before| number.checked_sub(*before))
            {
                text.push_str(&format!(" {:.1}/s", risen as f64 / seconds));
            }
            text.push('\n');
        }
        self.before = lines.iter().cloned().collect();
        self.taken = Some(now);
        text
    }
}

/// Whether a counter never falls while its node runs; of a name that is not known, nothing is claimed.
fn only_rises(name: &str) -> bool {
    // Addresses have dots, names have none.
    let name = name.rsplit('.').next().unwrap_or(name);
    name.starts_with("requests_")
        || name.starts_with("answers_")
        || name.ends_with("_total")
        || name.ends_with("_steps")
        || name.starts_with("connections_refused")
        || name.starts_with("connections_timed_out_")
        || ["bytes_in", "bytes_out", "frames_refused", "output_stalls", "stale_events"].contains(&name)
        || ["accept_failures", "slow_requests", "http_requests"].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_rises_has_a_rate_from_the_second_round_on() {
        let lines = |entries: u64, puts: u64| {
            vec![("entries".to_owned(), entries), ("node.127.0.0.1:7400.requests_put".to_owned(), puts)]
        };
        let (mut rates, start) = (Rates::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        let name = "node.127.0.0.1:7400.requests_put";
        assert_eq!(rates.advance(&lines(1, 10), start), format!("entries 1\n{name} 10\n"));
        assert_eq!(rates.advance(&lines(5, 25), after(2)), format!("entries 5\n{name} 25 7.5/s\n"));
        assert_eq!(rates.advance(&lines(5, 25), after(3)), format!("entries 5\n{name} 25 0.0/s\n"));
        assert_eq!(rates.advance(&lines(0, 3), after(4)), format!("entries 0\n{name} 3\n"), "started again");
    }

    #[test]
    fn maxima_and_states_have_no_rate() {
        for name in [
            "entries",
            "step_slots_max",
            "growth_cpu_ns_p9999",
            "connections",
            "connections_max",
            "uptime_ms",
            "memory_used_bytes",
            "key_bytes",
        ] {
            assert!(!only_rises(name), "{name}");
        }
        for name in
            ["requests_get", "answers_ok", "connections_total", "growth_steps", "node.[::1]:7400.bytes_in"]
        {
            assert!(only_rises(name), "{name}");
        }
    }
}
