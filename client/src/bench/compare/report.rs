//! The figures of a comparison; their JSON form is what `--json` writes. Units stand in the names of fields.

use serde::Serialize;

use super::limits::CONNECTIONS_UNPIPELINED;
use super::machine::Machine;
use super::peer::{Family, LeftOut, Role, Subject};
use super::records::{Metric, Records, Series};
use super::round::{Cell, LATENCY_PERMILLES, steps};
use super::settings::CompareSettings;
use super::wire::{Op, Protocol};

/// Everything that a comparison says at its end.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct CompareReport {
    /// What was asked for.
    pub(crate) settings: CompareSettings,
    /// The day in UTC.
    pub(crate) date: String,
    pub(crate) machine: Machine,
    /// What was measured; figures name them by `name`.
    pub(crate) servers: Vec<ServerInfo>,
    /// Peers that were asked for and are not installed.
    pub(crate) left_out: Vec<LeftOut>,
    /// By rising number of entries.
    pub(crate) overhead: Vec<Overhead>,
    /// By operation and rising pipeline.
    pub(crate) cells: Vec<CellFigures>,
    pub(crate) open_loop: OpenLoop,
}

/// A server under comparison.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ServerInfo {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) protocol: Protocol,
    /// Product and version.
    pub(crate) version: String,
    pub(crate) program: String,
}

/// One kind of figure of every server.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Comparison {
    /// The peer with the lowest median, which ratios are to.
    pub(crate) best_peer: Option<String>,
    pub(crate) servers: Vec<Figure>,
}

/// A figure of one server.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: String,
    #[serde(flatten)]
    pub(crate) series: Series,
    /// How many times that of the best peer: median of the ratios of each round.
    pub(crate) ratio_to_best_peer: Option<f64>,
    /// How many times that of the limit loop of the same protocol: likewise. None for memory.
    pub(crate) ratio_to_limit: Option<f64>,
}

/// Memory at a number of entries.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Overhead {
    pub(crate) entries: u64,
    /// (resident after − resident before − bytes of keys and values) / entries.
    pub(crate) overhead_bytes_per_entry: Comparison,
}

/// One load.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct CellFigures {
    pub(crate) op: Op,
    pub(crate) pipeline: usize,
    pub(crate) connections: usize,
    pub(crate) keys_per_request: usize,
    /// User and system time of the server for each key asked for.
    pub(crate) cpu_ns_per_key: Comparison,
    /// What the server and this load came to; higher is better, and so are higher ratios.
    pub(crate) keys_per_second: Vec<Rate>,
}

/// Throughput of one server.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Rate {
    pub(crate) name: String,
    #[serde(flatten)]
    pub(crate) series: Series,
}

/// `GET`s at one rate for all.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct OpenLoop {
    pub(crate) requests_per_second: f64,
    pub(crate) connections: usize,
    pub(crate) latency_us: Vec<Quantile>,
}

/// Latencies below which this share of requests stays.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Quantile {
    pub(crate) permille: u32,
    #[serde(flatten)]
    pub(crate) of: Comparison,
}

impl CompareReport {
    pub(crate) fn new(
        settings: CompareSettings,
        date: String,
        machine: Machine,
        subjects: &[Subject],
        left_out: Vec<LeftOut>,
        records: &Records,
        rate: f64,
    ) -> CompareReport {
        let compare = |metric| Comparison::new(metric, subjects, records);
        let overhead = steps(settings.keys).into_iter().map(|entries| Overhead {
            entries,
            overhead_bytes_per_entry: compare(Metric::Overhead { entries }),
        });
        let cells = [Op::Get, Op::Set, Op::Mget].into_iter().flat_map(Cell::of).map(|cell| {
            let Cell { op, pipeline } = cell;
            CellFigures {
                op,
                pipeline,
                connections: cell.connections(),
                keys_per_request: cell.keys_per_request(),
                cpu_ns_per_key: compare(Metric::CpuNs { op, pipeline }),
                keys_per_second: rates(Metric::KeysPerSecond { op, pipeline }, subjects, records),
            }
        });
        let latency_us = LATENCY_PERMILLES
            .into_iter()
            .map(|permille| Quantile { permille, of: compare(Metric::LatencyUs { permille }) });
        CompareReport {
            overhead: overhead.collect(),
            cells: cells.collect(),
            open_loop: OpenLoop {
                requests_per_second: rate,
                connections: CONNECTIONS_UNPIPELINED,
                latency_us: latency_us.collect(),
            },
            servers: subjects.iter().map(ServerInfo::of).collect(),
            settings,
            date,
            machine,
            left_out,
        }
    }

    /// The JSON form.
    ///
    /// # Errors
    /// What the serialiser says.
    pub(crate) fn json(&self) -> Result<String, String> {
        serde_json::to_string_pretty(self).map(|text| text + "\n").map_err(|error| error.to_string())
    }
}

impl ServerInfo {
    fn of(subject: &Subject) -> ServerInfo {
        ServerInfo {
            name: subject.name.clone(),
            role: subject.family.role(),
            protocol: subject.family.protocol(),
            version: subject.version.clone(),
            program: subject.program.display().to_string(),
        }
    }
}

impl Comparison {
    fn new(metric: Metric, subjects: &[Subject], records: &Records) -> Comparison {
        let all: Vec<(usize, Series)> =
            (0..subjects.len()).filter_map(|at| Some((at, records.series(metric, at)?))).collect();
        let peers = all.iter().filter(|(at, _)| subjects[*at].family.role() == Role::Peer);
        let best = peers.min_by(|(_, a), (_, b)| a.median.total_cmp(&b.median)).map(|(at, _)| *at);
        let servers = all.into_iter().map(|(at, series)| {
            let limit = Family::Limit(subjects[at].family.protocol());
            let limit = subjects.iter().position(|subject| subject.family == limit);
            Figure {
                name: subjects[at].name.clone(),
                series,
                ratio_to_best_peer: best.and_then(|best| records.ratio(metric, at, best)),
                ratio_to_limit: limit.and_then(|limit| records.ratio(metric, at, limit)),
            }
        });
        Comparison { servers: servers.collect(), best_peer: best.map(|at| subjects[at].name.clone()) }
    }
}

fn rates(metric: Metric, subjects: &[Subject], records: &Records) -> Vec<Rate> {
    let of = |at: usize| Some(Rate { name: subjects[at].name.clone(), series: records.series(metric, at)? });
    (0..subjects.len()).filter_map(of).collect()
}

#[cfg(test)]
pub(crate) mod testing {
    //! A report with figures that are easy to foresee.

    use std::path::PathBuf;

    use super::super::settings::CompareGiven;
    use super::*;

    /// The servers of [`report`]: ours, its limit, and two peers.
    pub(crate) const NAMES: [&str; 4] = ["limit-binary", "dhtd-binary", "redis", "memcached"];

    /// Three rounds in which server `i` of [`NAMES`] took `i + 1` times what the limit took; in rounds 1 and 2 all of
    /// it is twice and three times as much.
    pub(crate) fn report() -> CompareReport {
        let families = [
            Family::Limit(Protocol::Binary),
            Family::Daemon(Protocol::Binary),
            Family::Redis,
            Family::Memcached,
        ];
        let subjects: Vec<Subject> = NAMES
            .into_iter()
            .zip(families)
            .map(|(name, family)| Subject {
                name: name.to_owned(),
                family,
                program: PathBuf::from("/bin").join(name),
                version: format!("{name} 1.0"),
            })
            .collect();
        let settings = CompareSettings::resolve(CompareGiven::default(), CompareGiven::default())
            .expect("defaults are sound");
        let mut records = Records::default();
        let cells = || [Op::Get, Op::Set, Op::Mget].into_iter().flat_map(Cell::of);
        let metrics = cells()
            .flat_map(|Cell { op, pipeline }| {
                [Metric::CpuNs { op, pipeline }, Metric::KeysPerSecond { op, pipeline }]
            })
            .chain(LATENCY_PERMILLES.map(|permille| Metric::LatencyUs { permille }));
        for metric in
            metrics.chain(steps(settings.keys).into_iter().map(|entries| Metric::Overhead { entries }))
        {
            for at in 0..subjects.len() {
                if matches!(metric, Metric::Overhead { .. }) && at == 0 {
                    continue;
                }
                (1..=3).for_each(|round| records.push(metric, at, (round * (at + 1) * 10) as f64));
            }
        }
        let left_out =
            vec![LeftOut { name: "valkey".to_owned(), why: "valkey-server is not installed".to_owned() }];
        let machine = Machine {
            processor: "Example CPU".to_owned(),
            processors: 2,
            kernel: "Linux 6.1".to_owned(),
            server_cpu: Some(1),
            load_cpu: Some(0),
        };
        CompareReport::new(settings, "2026-11-20".to_owned(), machine, &subjects, left_out, &records, 5e4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_has_its_ratios() {
        let report = testing::report();
        assert_eq!((report.overhead.len(), report.cells.len()), (4, 9));
        let cell = &report.cells[1];
        assert_eq!((cell.op, cell.pipeline, cell.connections, cell.keys_per_request), (Op::Get, 16, 8, 1));
        assert_eq!(cell.cpu_ns_per_key.best_peer.as_deref(), Some("redis"));
        let ours = &cell.cpu_ns_per_key.servers[1];
        assert_eq!((ours.name.as_str(), ours.series.median), ("dhtd-binary", 40.0));
        assert_eq!((ours.ratio_to_best_peer, ours.ratio_to_limit), (Some(2.0 / 3.0), Some(2.0)));
        let redis = &cell.cpu_ns_per_key.servers[2];
        assert_eq!(
            (redis.ratio_to_best_peer, redis.ratio_to_limit),
            (Some(1.0), None),
            "no limit of RESP here"
        );
        let memory = &report.overhead[3].overhead_bytes_per_entry;
        assert_eq!(memory.servers.len(), 3, "the limit stores nothing");
        assert_eq!(memory.servers[0].ratio_to_limit, None);
        assert_eq!((report.open_loop.latency_us[2].permille, report.open_loop.connections), (999, 50));
    }

    #[test]
    fn json_has_units_in_its_names() {
        let json: serde_json::Value = serde_json::from_str(&testing::report().json().unwrap()).unwrap();
        assert_eq!(json["cells"][0]["op"], "get");
        assert_eq!(
            json["cells"][0]["cpu_ns_per_key"]["servers"][1]["rounds"],
            serde_json::json!([20.0, 40.0, 60.0])
        );
        assert_eq!(json["cells"][0]["keys_per_second"][1]["median"], 40.0);
        assert_eq!(json["overhead"][0]["overhead_bytes_per_entry"]["best_peer"], "redis");
        assert_eq!(json["open_loop"]["latency_us"][1]["servers"][0]["lowest"], 10.0);
        assert_eq!(json["left_out"][0]["name"], "valkey");
        assert_eq!(
            (&json["servers"][0]["role"], &json["servers"][0]["protocol"]),
            (&"limit".into(), &"binary".into())
        );
    }
}
