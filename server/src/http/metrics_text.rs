//! The figures of a node in the text format of Prometheus, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>). No key and no value is in them.

use std::fmt::Write as _;

use crate::metrics::{HistogramTotal, MetricKind, Sample, Unit};

/// What every name begins with.
const PREFIX: &str = "dht_";

/// All of `samples`, the histogram of requests' durations, and what was built.
#[must_use]
pub fn metrics_text(samples: &[Sample], request_durations: &HistogramTotal) -> String {
    let mut text = String::new();
    let mut declared = "";
    for sample in samples {
        if declared != sample.metric.name {
            declared = sample.metric.name;
            let kind = match sample.metric.kind {
                MetricKind::Counter => "counter",
                MetricKind::Gauge => "gauge",
            };
            declare(&mut text, declared, kind, sample.metric.help);
        }
        add_sample(&mut text, sample);
    }
    add_durations(&mut text, request_durations);
    declare(&mut text, "build_info", "gauge", "What this node was built from; always 1.");
    line(&mut text, format_args!("build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION")));
    text
}

fn add_sample(text: &mut String, sample: &Sample) {
    let name = sample.metric.name;
    let value = match sample.metric.unit {
        Unit::Plain => sample.value.to_string(),
        Unit::Milliseconds => format!("{}.{:03}", sample.value / 1_000, sample.value % 1_000),
        Unit::Nanoseconds => seconds(sample.value),
    };
    match &sample.label {
        None => line(text, format_args!("{name} {value}")),
        // Labels are our own words: nothing in them needs an escape.
        Some((label, of)) => line(text, format_args!("{name}{{{label}=\"{of}\"}} {value}")),
    }
}

fn add_durations(text: &mut String, durations: &HistogramTotal) {
    const NAME: &str = "request_duration_seconds";
    let help = "Time from reading a request to its answer standing ready; requests of one batch share it.";
    declare(text, NAME, "histogram", help);
    for (bound_ns, count) in durations.cumulative() {
        line(text, format_args!("{NAME}_bucket{{le=\"{}\"}} {count}", seconds(bound_ns)));
    }
    line(text, format_args!("{NAME}_bucket{{le=\"+Inf\"}} {}", durations.count()));
    line(text, format_args!("{NAME}_sum {}", seconds(durations.sum_ns())));
    line(text, format_args!("{NAME}_count {}", durations.count()));
}

fn declare(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {PREFIX}{name} {help}\n# TYPE {PREFIX}{name} {kind}");
}

fn line(text: &mut String, rest: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{PREFIX}{rest}");
}

/// Nanoseconds as seconds, exact.
fn seconds(ns: u64) -> String {
    format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Histogram, Metric};

    #[test]
    fn figures_stand_under_their_declaration() {
        let by = Metric::counter("requests_*", "requests_total", "Requests.");
        let uptime = Metric::gauge("uptime_ms", "uptime_seconds", "Age.").in_milliseconds();
        let cpu = Metric::gauge("cpu_ns_*", "cpu_seconds", "Cpu.").in_nanoseconds();
        let samples = [
            by.labelled("operation", "get", 7),
            by.labelled("operation", "put", 0),
            uptime.sample(61_005),
            cpu.labelled("quantile", "p99", 1_000_000_007),
        ];
        let histogram = Histogram::default();
        histogram.record(1_500, 2);
        let mut durations = HistogramTotal::default();
        durations.add(&histogram);
        let text = metrics_text(&samples, &durations);
        let begin = "# HELP dht_requests_total Requests.\n# TYPE dht_requests_total counter\n\
                     dht_requests_total{operation=\"get\"} 7\ndht_requests_total{operation=\"put\"} 0\n\
                     # HELP dht_uptime_seconds Age.\n# TYPE dht_uptime_seconds gauge\ndht_uptime_seconds 61.005\n\
                     # HELP dht_cpu_seconds Cpu.\n# TYPE dht_cpu_seconds gauge\n\
                     dht_cpu_seconds{quantile=\"p99\"} 1.000000007\n\
                     # HELP dht_request_duration_seconds ";
        assert!(text.starts_with(begin), "{text}");
        for line in [
            "dht_request_duration_seconds_bucket{le=\"0.000001024\"} 0",
            "dht_request_duration_seconds_bucket{le=\"0.000002048\"} 2",
            "dht_request_duration_seconds_bucket{le=\"+Inf\"} 2",
            "dht_request_duration_seconds_sum 0.000003000",
            "dht_request_duration_seconds_count 2",
            concat!("dht_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing:\n{text}");
        }
    }
}
