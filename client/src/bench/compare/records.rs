//! What was measured, round by round, and what the rounds come to.

use std::collections::BTreeMap;

use serde::Serialize;

use super::wire::Op;

/// What a number measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Metric {
    /// Resident bytes that an entry costs beyond those of its key and value, at so many entries.
    Overhead { entries: u64 },
    /// Processor time of the server for each key asked for, nanoseconds.
    CpuNs { op: Op, pipeline: usize },
    /// Keys that were answered a second.
    KeysPerSecond { op: Op, pipeline: usize },
    /// Latency in the open loop, microseconds, below which this share of requests stays, in thousandths.
    LatencyUs { permille: u32 },
}

/// Every number, by what it measures and of which server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Records {
    values: BTreeMap<(Metric, usize), Vec<f64>>,
}

/// A number of every round, and what they come to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Series {
    pub(crate) median: f64,
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
    pub(crate) rounds: Vec<f64>,
}

impl Records {
    /// Adds the number of the next round.
    pub(crate) fn push(&mut self, metric: Metric, server: usize, value: f64) {
        self.values.entry((metric, server)).or_default().push(value);
    }

    /// What the rounds of one server come to; `None` when it was not measured.
    pub(crate) fn series(&self, metric: Metric, server: usize) -> Option<Series> {
        self.values.get(&(metric, server)).and_then(|rounds| Series::new(rounds.clone()))
    }

    /// How many times that of another server, round by round, and the median of that: rounds in which the machine
    /// was slower, or its memory lay worse, are slower for both.
    pub(crate) fn ratio(&self, metric: Metric, server: usize, to: usize) -> Option<f64> {
        let (of, to) = (self.values.get(&(metric, server))?, self.values.get(&(metric, to))?);
        let ratios = of.iter().zip(to).filter(|(_, to)| **to > 0.0).map(|(of, to)| of / to);
        Series::new(ratios.collect()).map(|series| series.median)
    }
}

impl Series {
    fn new(rounds: Vec<f64>) -> Option<Series> {
        let mut sorted = rounds.clone();
        sorted.sort_by(f64::total_cmp);
        let (lowest, highest) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Some(Series { median, lowest, highest, rounds })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRIC: Metric = Metric::CpuNs { op: Op::Get, pipeline: 16 };

    fn records(of: &[&[f64]]) -> Records {
        let mut records = Records::default();
        for (server, rounds) in of.iter().enumerate() {
            rounds.iter().for_each(|&value| records.push(METRIC, server, value));
        }
        records
    }

    #[test]
    fn median_and_spread() {
        let records = records(&[&[3.0, 1.0, 2.0], &[4.0, 1.0, 2.0, 3.0]]);
        let odd = records.series(METRIC, 0).unwrap();
        assert_eq!((odd.median, odd.lowest, odd.highest), (2.0, 1.0, 3.0));
        assert_eq!(odd.rounds, [3.0, 1.0, 2.0], "in the order of the rounds");
        assert_eq!(records.series(METRIC, 1).unwrap().median, 2.5);
        assert_eq!(records.series(METRIC, 2), None);
        assert_eq!(records.series(Metric::Overhead { entries: 5 }, 0), None);
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        // The second round was ten times as slow for both; the medians alone would say 1.0.
        let records = records(&[&[1.0, 20.0, 3.0], &[2.0, 10.0, 3.0], &[]]);
        assert_eq!(records.ratio(METRIC, 0, 1), Some(1.0));
        let records = self::records(&[&[2.0, 60.0, 2.0], &[1.0, 20.0, 1.0]]);
        assert_eq!(records.ratio(METRIC, 0, 1), Some(2.0));
        assert_eq!(records.ratio(METRIC, 0, 7), None);
    }
}
