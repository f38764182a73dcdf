//! The node's counters, as `STATS` gives them: names in one place, each with its unit at the end where it has one.

use std::borrow::Cow;

use super::Dispatcher;
use crate::memory::MemoryKind;
use crate::metrics::{Counter, WorkerMetrics};
use crate::store::PartitionUsage;

type Stat = (Cow<'static, str>, u64);

impl Dispatcher {
    /// Every counter by name. Cost: takes the lock of each partition once, for a moment.
    #[must_use]
    pub fn stats(&self) -> Vec<Stat> {
        let mut stats = vec![];
        self.add_partition_stats(&mut stats);
        self.add_memory_stats(&mut stats);
        self.add_worker_stats(&mut stats);
        let uptime_ms = self.identity().started.elapsed().as_millis() as u64;
        stats.push(("uptime_ms".into(), uptime_ms));
        stats
    }

    fn add_partition_stats(&self, stats: &mut Vec<Stat>) {
        let mut partitions = 0;
        let mut records = 0;
        let mut total = PartitionUsage::default();
        for hosted in self.partitions().iter().flatten() {
            let (usage, dedup_records) = {
                let guard = hosted.lock();
                (guard.store.usage(), guard.dedup.records_count())
            };
            partitions += 1;
            records += dedup_records as u64;
            add_usage(&mut total, &usage);
        }
        let mut push = |name: &'static str, number| stats.push((name.into(), number));
        push("partitions", partitions);
        push("entries", total.entries);
        push("key_bytes", total.key_bytes);
        push("value_bytes", total.value_bytes);
        push("table_bytes", total.table_bytes);
        push("arena_bytes", total.arena_bytes);
        push("arena_dead_bytes", total.dead_bytes);
        push("large_value_bytes", total.large_bytes);
        push("growth_steps", total.growth_steps);
        push("compaction_steps", total.compaction_steps);
        push("step_slots_max", total.step_slots_max);
        push("step_bytes_max", total.step_bytes_max);
        push("write_outcomes", records);
        push("clients", self.clients().known_count() as u64);
    }

    fn add_memory_stats(&self, stats: &mut Vec<Stat>) {
        let memory = self.memory();
        stats.push(("memory_limit_bytes".into(), memory.limit_bytes()));
        stats.push(("memory_used_bytes".into(), memory.used_bytes()));
        for kind in MemoryKind::ALL {
            stats.push((format!("memory_{}_bytes", kind.name()).into(), memory.used_by(kind)));
        }
    }

    fn add_worker_stats(&self, stats: &mut Vec<Stat>) {
        let workers = self.workers_metrics();
        let sum = |counter: fn(&WorkerMetrics) -> &Counter| -> u64 {
            workers.iter().map(|metrics| counter(metrics).get()).sum()
        };
        stats.push(("workers".into(), workers.len() as u64));
        stats.push(("connections".into(), sum(|m| &m.connections)));
        stats.push(("connections_total".into(), sum(|m| &m.connections_total)));
        stats.push(("connections_refused".into(), sum(|m| &m.connections_refused)));
        stats.push(("bytes_in".into(), sum(|m| &m.bytes_in)));
        stats.push(("bytes_out".into(), sum(|m| &m.bytes_out)));
        stats.push(("frames_refused".into(), sum(|m| &m.frames_refused)));
        stats.push(("output_stalls".into(), sum(|m| &m.output_stalls)));
        stats.push(("stale_events".into(), sum(|m| &m.stale_events)));
        for (op, count) in total_by(workers.iter().map(|metrics| metrics.requests())) {
            stats.push((format!("requests_{}", op.name().to_ascii_lowercase()).into(), count));
        }
        for (status, count) in total_by(workers.iter().map(|metrics| metrics.answers())) {
            stats.push((format!("answers_{}", status.name().to_ascii_lowercase()).into(), count));
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
    total.step_slots_max = total.step_slots_max.max(usage.step_slots_max);
    total.step_bytes_max = total.step_bytes_max.max(usage.step_bytes_max);
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
