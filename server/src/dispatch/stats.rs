//! The node's figures: each is declared here once, beside where it is taken, with its names, kind and meaning.
//! `STATS` and `/metrics` both show what [`Dispatcher::samples`] gives, so they cannot differ.

use std::borrow::Cow;

use super::{Dispatcher, step_stats};
use crate::memory::MemoryKind;
use crate::metrics::{Counter, HistogramTotal, Metric, Sample, WorkerMetrics};
use crate::resp::verb_names;
use crate::store::PartitionUsage;

impl Dispatcher {
    /// Every figure by its name in `STATS`. Cost: as [`Dispatcher::samples`].
    #[must_use]
    pub fn stats(&self) -> Vec<(Cow<'static, str>, u64)> {
        self.samples().iter().map(|sample| (sample.stat_name(), sample.value)).collect()
    }

    /// Every figure as it is now; those of one metric stand together. Cost: takes the lock of each partition once,
    /// for a moment.
    #[must_use]
    pub fn samples(&self) -> Vec<Sample> {
        let mut samples = Vec::new();
        self.add_partition_samples(&mut samples);
        self.add_memory_samples(&mut samples);
        self.add_worker_samples(&mut samples);
        let uptime_ms = self.identity().started.elapsed().as_millis() as u64;
        let uptime = Metric::gauge("uptime_ms", "uptime_seconds", "Time since the node started.");
        samples.push(uptime.in_milliseconds().sample(uptime_ms));
        samples
    }

    /// How long requests took, in all workers together.
    #[must_use]
    pub fn request_durations(&self) -> HistogramTotal {
        let mut total = HistogramTotal::default();
        self.workers_metrics().iter().for_each(|metrics| total.add(&metrics.request_durations));
        total
    }

    fn add_partition_samples(&self, samples: &mut Vec<Sample>) {
        let mut partitions = 0;
        let mut records = 0;
        let mut total = PartitionUsage::default();
        for hosted in self.partitions().iter() {
            let (usage, dedup_records) = {
                let guard = hosted.lock();
                (guard.store.usage(), guard.dedup.records_count())
            };
            partitions += 1;
            records += dedup_records as u64;
            add_usage(&mut total, &usage);
        }
        let mut gauge = |name, help, value| samples.push(Metric::gauge(name, name, help).sample(value));
        gauge("partitions", "Partitions served here.", partitions);
        gauge("entries", "Entries held.", total.entries);
        gauge("key_bytes", "Bytes of the keys held.", total.key_bytes);
        gauge("value_bytes", "Bytes of the values held.", total.value_bytes);
        gauge("table_bytes", "Bytes of the look-up tables.", total.table_bytes);
        gauge("arena_bytes", "Bytes of the segments that hold entries.", total.arena_bytes);
        gauge("arena_dead_bytes", "Bytes in segments that compaction will win back.", total.dead_bytes);
        gauge("large_value_bytes", "Bytes of values that lie outside the segments.", total.large_bytes);
        let mut push = |metric: Metric, value| samples.push(metric.sample(value));
        let help = "Outcomes of writes remembered, so that a retry is not applied twice.";
        push(Metric::gauge("write_outcomes", "write_outcomes", help), records);
        let help = "Clients whose writes are numbered.";
        push(Metric::gauge("clients", "clients", help), self.clients().known_count() as u64);
        step_stats::add_samples(samples, &total, self.pool().step_books());
    }

    fn add_memory_samples(&self, samples: &mut Vec<Sample>) {
        let memory = self.memory();
        let mut push = |metric: Metric, value| samples.push(metric.sample(value));
        let help = "Bytes that tables, values and buffers may take.";
        push(Metric::gauge("memory_limit_bytes", "memory_limit_bytes", help), memory.limit_bytes());
        let help = "Bytes that they take.";
        push(Metric::gauge("memory_used_bytes", "memory_used_bytes", help), memory.used_bytes());
        let by_kind = Metric::gauge("memory_*_bytes", "memory_bytes", "Bytes taken, by what for.");
        for kind in MemoryKind::ALL {
            samples.push(by_kind.labelled("kind", kind.name(), memory.used_by(kind)));
        }
    }

    fn add_worker_samples(&self, samples: &mut Vec<Sample>) {
        let workers = self.workers_metrics();
        let sum = |counter: fn(&WorkerMetrics) -> &Counter| -> u64 {
            workers.iter().map(|metrics| counter(metrics).get()).sum()
        };
        let mut push = |metric: Metric, value| samples.push(metric.sample(value));
        push(Metric::gauge("workers", "workers", "Worker threads."), workers.len() as u64);
        let help = "Connections open, at every door.";
        push(Metric::gauge("connections", "connections", help), sum(|m| &m.connections));
        let help = "Connections opened.";
        push(Metric::counter("connections_total", "connections_total", help), sum(|m| &m.connections_total));
        let acceptor = self.acceptor_metrics();
        let help = "Connections that there may be, at every door.";
        let connections_max = Metric::gauge("connections_max", "connections_max", help);
        push(connections_max, self.tuning().connections_max() as u64);
        let help = "Connections closed at once because there were too many.";
        let refused = Metric::counter("connections_refused", "connections_refused_total", help);
        push(refused, sum(|m| &m.connections_refused) + acceptor.connections_refused.get());
        let help = "Connections closed at once because too many waited for their worker.";
        let busy = Metric::counter("connections_refused_busy", "connections_refused_busy_total", help);
        push(busy, acceptor.connections_refused_busy.get());
        let help = "Times that the system had no descriptor or memory for one more connection.";
        push(
            Metric::counter("accept_failures", "accept_failures_total", help),
            acceptor.accept_failures.get(),
        );
        let help = "Requests that took as long as the slow log asks for.";
        push(Metric::counter("slow_requests", "slow_requests_total", help), sum(|m| &m.slow_requests));
        let help = "Bytes read from clients.";
        push(Metric::counter("bytes_in", "received_bytes_total", help), sum(|m| &m.bytes_in));
        let help = "Bytes written to clients.";
        push(Metric::counter("bytes_out", "sent_bytes_total", help), sum(|m| &m.bytes_out));
        let help = "Frames, and requests over HTTP, that do not follow their protocol.";
        push(Metric::counter("frames_refused", "frames_refused_total", help), sum(|m| &m.frames_refused));
        let help = "Times that a connection was not served because its peer does not take its answers.";
        push(Metric::counter("output_stalls", "output_stalls_total", help), sum(|m| &m.output_stalls));
        let help = "Events of connections that had gone.";
        push(Metric::counter("stale_events", "stale_events_total", help), sum(|m| &m.stale_events));
        let help = "Requests over HTTP that were answered.";
        push(Metric::counter("http_requests", "http_requests_total", help), sum(|m| &m.http_requests));
        let help = "Commands over RESP that are not known or have a wrong number of words.";
        push(Metric::counter("commands_refused", "commands_refused_total", help), sum(|m| &m.resp_refused));
        let help = "Requests sent to other nodes, for clients of this one.";
        push(Metric::counter("peer_requests", "peer_requests_total", help), sum(|m| &m.peer_requests));
        let help = "Requests sent to other nodes that were not answered.";
        push(Metric::counter("peer_failures", "peer_failures_total", help), sum(|m| &m.peer_failures));
        let help = "Connections closed because they were silent for too long: idle, half a request sent, answers not taken.";
        let by_reason = Metric::counter("connections_timed_out_*", "connections_timed_out_total", help);
        for (reason, count) in [
            ("idle", sum(|m| &m.connections_closed_idle)),
            ("request", sum(|m| &m.connections_closed_request)),
            ("answers", sum(|m| &m.connections_closed_answers)),
        ] {
            samples.push(by_reason.labelled("reason", reason, count));
        }
        let by_command = Metric::counter("resp_*", "resp_commands_total", "Commands over RESP, by command.");
        let commands = workers.iter().map(|metrics| verb_names().zip(metrics.commands()));
        for (name, count) in total_by(commands) {
            samples.push(by_command.labelled("command", name, count));
        }
        let by_op = Metric::counter("requests_*", "requests_total", "Requests, by operation, at every door.");
        for (op, count) in total_by(workers.iter().map(|metrics| metrics.requests())) {
            samples.push(by_op.labelled("operation", &op.name().to_ascii_lowercase(), count));
        }
        let by_status = Metric::counter("answers_*", "answers_total", "Answers, by status.");
        for (status, count) in total_by(workers.iter().map(|metrics| metrics.answers())) {
            samples.push(by_status.labelled("status", &status.name().to_ascii_lowercase(), count));
        }
    }
}

fn add_usage(total: &mut PartitionUsage, usage: &PartitionUsage) {
    total.entries += usage.entries;
    total.key_bytes += usage.key_bytes;
    total.value_bytes += usage.value_bytes;
    total.table_bytes += usage.table_bytes;
    total.arena_bytes += usage.arena_bytes;
    total.dead_bytes += usage.dead_bytes;
    total.large_bytes += usage.large_bytes;
    total.growth_steps += usage.growth_steps;
    total.compaction_steps += usage.compaction_steps;
    total.maintenance_steps += usage.maintenance_steps;
}

/// Adds up lists of the same keys in the same order.
fn total_by<K: Copy>(lists: impl Iterator<Item = impl Iterator<Item = (K, u64)>>) -> Vec<(K, u64)> {
    let mut total: Vec<(K, u64)> = vec![];
    for list in lists {
        for (at, (key, count)) in list.enumerate() {
            match total.get_mut(at) {
                Some((_, sum)) => *sum += count,
                None => total.push((key, count)),
            }
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::dispatch::Identity;
    use crate::memory::MemoryAccount;
    use crate::metrics::{MetricKind, Unit};
    use dht_protocol::ids::{Cfg, Incarnation, NodeId};
    use dht_protocol::limits::STATS_MAX;
    use dht_protocol::placement::hash::HashKey;
    use dht_protocol::placement::planner::single_node_map;
    use dht_protocol::placement::ring::Ring;
    use std::sync::Arc;
    use std::time::Instant;

    fn samples() -> Vec<Sample> {
        let map = single_node_map("a:1", Ring::new(16).unwrap(), HashKey::GUESSABLE).unwrap();
        let identity = Identity {
            node: NodeId(0),
            incarnation: Incarnation(1),
            cfg: Cfg::new(1),
            started: Instant::now(),
        };
        let (stop, _) = crossbeam_channel::bounded(1);
        let memory = MemoryAccount::new(1 << 20);
        Dispatcher::new(Arc::new(map), identity, memory, vec![Arc::default()], stop).samples()
    }

    #[test]
    fn no_two_figures_share_a_name() {
        let samples = samples();
        let stats: BTreeSet<_> = samples.iter().map(Sample::stat_name).collect();
        assert_eq!(stats.len(), samples.len(), "two of one name in STATS");
        assert!(samples.len() <= STATS_MAX);
        let lines: BTreeSet<_> =
            samples.iter().map(|sample| (sample.metric.name, sample.label.clone())).collect();
        assert_eq!(lines.len(), samples.len(), "two of one name at the HTTP door");
        let mut metrics: Vec<Metric> = samples.iter().map(|sample| sample.metric).collect();
        metrics.dedup();
        let names: BTreeSet<_> = metrics.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), metrics.len(), "one metric is declared twice, or its figures stand apart");
    }

    #[test]
    fn names_follow_the_rules() {
        for Sample { metric, label, .. } in samples() {
            let Metric { stat, name, kind, help, unit } = metric;
            assert_eq!(name.ends_with("_total"), kind == MetricKind::Counter, "{name}");
            let is_name = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            assert!(is_name(name) && is_name(&stat.replace('*', "")), "{name} {stat}");
            assert_eq!(stat.contains('*'), label.is_some(), "{stat}");
            let is_value = |text: &str| is_name(text.trim_end_matches(|c: char| c.is_ascii_digit()));
            assert!(label.is_none_or(|(name, value)| is_name(name) && is_value(&value)), "{name}");
            assert_eq!(unit == Unit::Milliseconds, stat.ends_with("_ms"), "{stat}");
            assert_eq!(unit == Unit::Nanoseconds, stat.ends_with("_ns_*"), "{stat}");
            assert_eq!(unit != Unit::Plain, name.ends_with("_seconds"), "{name}");
            let bytes = stat.contains("bytes");
            assert_eq!(bytes, name.trim_end_matches("_total").ends_with("_bytes"), "{name} {stat}");
            assert!(help.ends_with('.') && !help.contains(['\n', '\\']), "{help}");
        }
    }
}
