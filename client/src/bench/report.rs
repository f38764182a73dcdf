//! The figures of a run, as a table for people and as JSON for programs.

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::bench::phase::Figures;
use crate::bench::settings::{Distribution, Settings, Workload};
use crate::bench::source::Kind;
use crate::bench::tally::{Tally, new_histogram, place_of};

/// Everything that a run says at its end; its JSON form is what `--json` writes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Report {
    /// What was asked for.
    pub(crate) settings: Settings,
    /// How many nodes there were.
    pub(crate) nodes: usize,
    /// Whether the run was ended before its time.
    pub(crate) interrupted: bool,
    /// How long was measured.
    pub(crate) seconds: f64,
    /// Operations that were answered and not refused.
    pub(crate) ops: u64,
    /// Requests that were refused or lost, and connections that failed.
    pub(crate) errors: u64,
    /// The first of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first_error: Option<String>,
    /// `ops` a second.
    pub(crate) ops_per_second: f64,
    /// Under `--rate`, how it was kept to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rate: Option<RateFigures>,
    /// Reads that found their key, and scans that found an entry.
    pub(crate) hits: u64,
    /// Reads and scans that found none.
    pub(crate) misses: u64,
    /// Writes; with hits and misses they make up `ops`.
    pub(crate) writes: u64,
    /// Latencies of `ops`, microseconds.
    pub(crate) latency_us: Latency,
    /// The same by kind of operation.
    pub(crate) operations: Operations,
}

/// What was asked for under `--rate`, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct RateFigures {
    /// Operations a second that were asked for.
    pub(crate) intended: f64,
    /// Operations a second that were answered.
    pub(crate) achieved: f64,
    /// Operations that were due and not even sent at the end.
    pub(crate) backlog: u64,
    /// Operations that were sent and not answered at the end.
    pub(crate) unanswered: u64,
}

/// Figures by kind of operation; together they make up `ops`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Operations {
    pub(crate) read: OperationFigures,
    pub(crate) update: OperationFigures,
    pub(crate) insert: OperationFigures,
    pub(crate) scan: OperationFigures,
    pub(crate) read_modify_write: OperationFigures,
}

/// Figures of one kind of operation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct OperationFigures {
    /// How many were answered and not refused.
    pub(crate) ops: u64,
    /// Their latencies, microseconds.
    pub(crate) latency_us: Latency,
}

/// Latencies, microseconds; 0 where there was no request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Latency {
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl Report {
    pub(crate) fn new(settings: Settings, nodes: usize, interrupted: bool, figures: Figures) -> Report {
        let Figures { tally, seconds } = figures;
        let operations = Operations::of(&tally);
        let ops_per_second = if seconds > 0.0 { tally.ops_count as f64 / seconds } else { 0.0 };
        let rate = settings.rate.map(|intended| RateFigures {
            intended,
            achieved: ops_per_second,
            backlog: tally.backlog_count,
            unanswered: tally.unanswered_count,
        });
        Report {
            settings,
            nodes,
            interrupted,
            seconds,
            ops: tally.ops_count,
            errors: tally.errors_count,
            first_error: tally.first_error,
            ops_per_second,
            rate,
            hits: tally.hits_count,
            misses: tally.misses_count,
            writes: tally.writes_count,
            latency_us: Latency::of(&tally.latency_ns),
            operations,
        }
    }

    /// The table.
    pub(crate) fn table(&self) -> String {
        let settings = &self.settings;
        let mut text = self.headline();
        text.push_str(&format!(
            "{} node(s), {} connections each × pipeline {}, {} thread(s), seed {}\n\n",
            self.nodes, settings.connections, settings.pipeline, settings.threads, settings.seed
        ));
        if self.interrupted {
            text.push_str("ended before its time\n");
        }
        let mut line = |name: &str, number: String| text.push_str(&format!("{name:<12}{number:>16}\n"));
        line("seconds", format!("{:.3}", self.seconds));
        line("ops", grouped(self.ops));
        line("ops/s", grouped(self.ops_per_second.round() as u64));
        if let Some(rate) = &self.rate {
            line("  intended", grouped(rate.intended.round() as u64));
            line("  backlog", grouped(rate.backlog));
            line("  unanswered", grouped(rate.unanswered));
        }
        line("errors", grouped(self.errors));
        line("hits", grouped(self.hits));
        line("misses", grouped(self.misses));
        line("writes", grouped(self.writes));
        text.push_str("latency, µs\n");
        let latency = &self.latency_us;
        for (name, number) in [
            ("  mean", latency.mean),
            ("  p50", latency.p50),
            ("  p90", latency.p90),
            ("  p99", latency.p99),
            ("  p99.9", latency.p999),
            ("  max", latency.max),
        ] {
            text.push_str(&format!("{name:<12}{number:>16.1}\n"));
        }
        text + &self.operations.table()
    }

    fn headline(&self) -> String {
        let settings = &self.settings;
        let sizes = format!(
            "{} keys of {} B, values of {} B",
            grouped(settings.keys),
            settings.key_size,
            settings.value_size
        );
        let Some(mix) = &settings.mix else {
            return format!("load: {sizes}, each inserted once\n");
        };
        let distribution = match mix.distribution {
            Distribution::Uniform => "uniform",
            Distribution::Zipfian => "zipfian",
            Distribution::Latest => "latest",
        };
        let name = match settings.workload {
            Workload::Load | Workload::Mixed => "mixed",
            Workload::A => "YCSB A",
            Workload::B => "YCSB B",
            Workload::C => "YCSB C",
            Workload::D => "YCSB D",
            Workload::E => "YCSB E",
            Workload::F => "YCSB F",
        };
        let mut shares = settings.workload.shares(mix.read_share);
        if settings.workload == Workload::Mixed {
            // Said by the share of reads, even where that is 0.
            (shares.read, shares.update) = (mix.read_share.unwrap_or(shares.read), 0.0);
        }
        let kinds = [
            (shares.read, "reads"),
            (shares.update, "updates"),
            (shares.insert, "inserts"),
            (shares.scan, "scans"),
            (shares.read_modify_write, "read-modify-writes"),
        ];
        let kinds: Vec<String> = kinds
            .iter()
            .filter(|(share, kind)| *share > 0.0 || settings.workload == Workload::Mixed && *kind == "reads")
            .map(|(share, kind)| format!("{} % {kind}", share * 100.0))
            .collect();
        format!("{name}: {}, {distribution}, {sizes}\n", kinds.join(", "))
    }

    /// The JSON, with a line end.
    pub(crate) fn json(&self) -> Result<String, String> {
        let text = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
        Ok(text + "\n")
    }
}

impl Operations {
    fn of(tally: &Tally) -> Operations {
        let of = |kind| {
            let latency_ns = tally.kinds_latency_ns[place_of(kind)].as_ref();
            OperationFigures {
                ops: latency_ns.map_or(0, Histogram::len),
                latency_us: latency_ns.map_or_else(|| Latency::of(&new_histogram()), Latency::of),
            }
        };
        Operations {
            read: of(Kind::Read),
            update: of(Kind::Update),
            insert: of(Kind::Insert),
            scan: of(Kind::Scan { entries: 0 }),
            read_modify_write: of(Kind::ReadModifyWrite),
        }
    }

    /// A line for each kind that there was.
    fn table(&self) -> String {
        let mut text =
            format!("{:<20}{:>12}{:>12}{:>12}{:>12}\n", "", "ops", "p50, µs", "p99, µs", "p99.9, µs");
        for (name, figures) in [
            ("read", &self.read),
            ("update", &self.update),
            ("insert", &self.insert),
            ("scan", &self.scan),
            ("read-modify-write", &self.read_modify_write),
        ] {
            if figures.ops > 0 {
                let Latency { p50, p99, p999, .. } = figures.latency_us;
                let ops = grouped(figures.ops);
                text.push_str(&format!("{name:<20}{ops:>12}{p50:>12.1}{p99:>12.1}{p999:>12.1}\n"));
            }
        }
        text
    }
}

impl Latency {
    fn of(latency_ns: &Histogram<u64>) -> Latency {
        let micros = |nanos: u64| nanos as f64 / 1000.0;
        let at = |quantile| micros(latency_ns.value_at_quantile(quantile));
        Latency {
            mean: latency_ns.mean() / 1000.0,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: micros(latency_ns.max()),
        }
    }
}

/// A number in groups of three digits.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::settings::Given;

    fn report(tally: Tally) -> Report {
        let settings = Settings::resolve(Given::default(), Given::default()).unwrap();
        Report::new(settings, 3, false, Figures { tally, seconds: 2.0 })
    }

    #[test]
    fn the_json_has_its_shape() {
        let mut tally = Tally::new();
        tally.ops_count = 1000;
        tally.hits_count = 900;
        tally.misses_count = 60;
        tally.writes_count = 40;
        tally.latency_ns.record_n(250_000, 1000).unwrap();
        let mut updates = new_histogram();
        updates.record_n(250_000, 40).unwrap();
        tally.kinds_latency_ns[place_of(Kind::Update)] = Some(updates);
        let report = report(tally);
        let line =
            report.table().lines().last().unwrap().split_whitespace().take(2).collect::<Vec<_>>().join(" ");
        assert_eq!(line, "update 40", "only what there was is shown");
        let json: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
        let operations = &json["operations"];
        assert_eq!((&operations["update"]["ops"], &operations["scan"]["ops"]), (&40.into(), &0.into()));
        assert_eq!(operations["read_modify_write"]["latency_us"]["p99"], 0.0);
        assert_eq!((&json["ops"], &json["hits"]), (&1000.into(), &900.into()));
        assert_eq!((&json["misses"], &json["writes"]), (&60.into(), &40.into()));
        assert_eq!((&json["errors"], &json["ops_per_second"]), (&0.into(), &500.0.into()));
        assert_eq!(json["settings"]["workload"], "mixed");
        assert_eq!(json["settings"]["key-size"], 16);
        for name in ["mean", "p50", "p90", "p99", "p999", "max"] {
            let micros = json["latency_us"][name].as_f64().unwrap();
            assert!((249.0..251.0).contains(&micros), "{name}: {micros}");
        }
    }

    #[test]
    fn nothing_measured_is_all_zeros() {
        let report = Report::new(
            Settings::resolve(Given::default(), Given::default()).unwrap(),
            1,
            true,
            Figures { tally: Tally::new(), seconds: 0.0 },
        );
        assert_eq!((report.ops_per_second, report.latency_us.mean, report.latency_us.max), (0.0, 0.0, 0.0));
        assert!(report.table().contains("ended before its time"));
    }

    #[test]
    fn digits_in_groups() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
