//! The machine and the day, which every figure belongs to.

use std::fs;
use std::num::NonZero;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::pinning::Cores;

/// What a comparison ran on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Machine {
    /// The processor's own name.
    pub(crate) processor: String,
    /// Processors that this process may use.
    pub(crate) processors: usize,
    /// Name and release of the kernel.
    pub(crate) kernel: String,
    /// The processor that the servers ran on; `None`: not pinned.
    pub(crate) server_cpu: Option<usize>,
    /// The processor that the load ran on.
    pub(crate) load_cpu: Option<usize>,
}

impl Machine {
    pub(crate) fn here(cores: Option<Cores>) -> Machine {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let processor = read("/proc/cpuinfo").lines().find_map(|line| {
            line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim().to_owned())
        });
        Machine {
            processor: processor.unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            processors: std::thread::available_parallelism().map_or(1, NonZero::get),
            kernel: format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
            server_cpu: cores.map(|cores| cores.servers),
            load_cpu: cores.map(|cores| cores.load),
        }
    }
}

/// Today in UTC, `2026-11-20`.
pub(crate) fn today() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    date(since.as_secs() / 86_400)
}

/// The date so many days after 1970-01-01. Years are counted from March here, so that a leap day is the last of its
/// year.
fn date(days: u64) -> String {
    const DAYS_PER_400_YEARS: u64 = 146_097;
    // From the first of March of the year 0.
    let days = days + 719_468;
    let (era, day) = (days / DAYS_PER_400_YEARS, days % DAYS_PER_400_YEARS);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    // Months from March have 31, 30, 31, 30, 31 days, over and over: 153 in five.
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!("{:04}-{month:02}-{day_of_month:02}", era * 400 + year + next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_agree_with_the_calendar() {
        for (days, text) in [
            (0, "1970-01-01"),
            (58, "1970-02-28"),
            (59, "1970-03-01"),
            (789, "1972-02-29"),
            (790, "1972-03-01"),
            (11_016, "2000-02-29"),
            (11_322, "2000-12-31"),
            (11_323, "2001-01-01"),
            (20_777, "2026-11-20"),
            (47_540, "2100-02-28"),
            (47_541, "2100-03-01"),
        ] {
            assert_eq!(date(days), text, "day {days}");
        }
    }

    #[test]
    fn the_machine_has_a_name() {
        let machine = Machine::here(Some(Cores { servers: 1, load: 0 }));
        assert!(!machine.processor.is_empty() && machine.processors > 0);
        assert!(machine.kernel.len() > "Linux ".len(), "{}", machine.kernel);
    }
}
