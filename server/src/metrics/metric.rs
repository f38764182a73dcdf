//! A metric: what a figure is called, what kind it is and what it means. It knows nothing of any wire format.
//!
//! Names end in the unit (`bytes`, `seconds`); those of counters, at the HTTP door, in `_total` as well.

use std::borrow::Cow;

/// How a figure moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// It only rises, from 0 at the start of the process.
    Counter,
    /// It rises and falls.
    Gauge,
}

/// In what a figure is taken and shown in `STATS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// As its name says: a number of things, or bytes.
    Plain,
    /// Milliseconds; at the HTTP door it is seconds.
    Milliseconds,
    /// Nanoseconds; at the HTTP door it is seconds.
    Nanoseconds,
}

/// The declaration of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name in `STATS`; `*` stands where the value of a label goes.
    pub stat: &'static str,
    /// Its name at the HTTP door, without the prefix that all share.
    pub name: &'static str,
    /// How it moves.
    pub kind: MetricKind,
    /// What it means, a sentence.
    pub help: &'static str,
    /// In what it is taken.
    pub unit: Unit,
}

/// A metric's value at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Of which metric.
    pub metric: Metric,
    /// Name and value of its label, where the metric has several values.
    pub label: Option<(&'static str, String)>,
    /// The figure.
    pub value: u64,
}

impl Metric {
    /// A figure that only rises.
    #[must_use]
    pub const fn counter(stat: &'static str, name: &'static str, help: &'static str) -> Metric {
        Metric { stat, name, kind: MetricKind::Counter, help, unit: Unit::Plain }
    }

    /// A figure that rises and falls.
    #[must_use]
    pub const fn gauge(stat: &'static str, name: &'static str, help: &'static str) -> Metric {
        Metric { stat, name, kind: MetricKind::Gauge, help, unit: Unit::Plain }
    }

    /// The same, taken in milliseconds.
    #[must_use]
    pub const fn in_milliseconds(self) -> Metric {
        Metric { unit: Unit::Milliseconds, ..self }
    }

    /// The same, taken in nanoseconds.
    #[must_use]
    pub const fn in_nanoseconds(self) -> Metric {
        Metric { unit: Unit::Nanoseconds, ..self }
    }

    /// Its only value.
    #[must_use]
    pub const fn sample(self, value: u64) -> Sample {
        Sample { metric: self, label: None, value }
    }

    /// One of its values.
    #[must_use]
    pub fn labelled(self, label: &'static str, label_value: &str, value: u64) -> Sample {
        Sample { metric: self, label: Some((label, label_value.to_owned())), value }
    }
}

impl Sample {
    /// What `STATS` calls it.
    #[must_use]
    pub fn stat_name(&self) -> Cow<'static, str> {
        match &self.label {
            None => self.metric.stat.into(),
            Some((_, value)) => self.metric.stat.replace('*', value).into(),
        }
    }
}
