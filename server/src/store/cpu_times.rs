//! How long steps kept the processor: a clock, and a histogram that many threads write.
//!
//! Buckets are eight to each power of two, so a percentile is at most an eighth too high and never too low; the maximum is
//! exact.

use std::sync::atomic::{AtomicU64, Ordering};

/// Buckets of a power of two: 2 to this.
const PARTS_LOG2: u32 = 3;
const PARTS: usize = 1 << PARTS_LOG2;
/// Times from 2 to this power, nanoseconds (4.3 seconds), share the last bucket.
const LAST_LOG2: u32 = 32;
/// Below [`PARTS`] nanoseconds each has a bucket of its own.
const BUCKETS: usize = (LAST_LOG2 - PARTS_LOG2 + 1) as usize * PARTS + 1;

/// How long things took.
#[derive(Debug)]
pub(super) struct CpuHistogram {
    buckets: [AtomicU64; BUCKETS],
    max_ns: AtomicU64,
}

/// Processor time of the steps of one kind that were timed, nanoseconds; 0 where none was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTimes {
    /// How many were timed.
    pub timed: u64,
    /// Half of them took at most so long,
    pub p50_ns: u64,
    /// and 99 in 100,
    pub p99_ns: u64,
    /// and 9,999 in 10,000,
    pub p9999_ns: u64,
    /// and all.
    pub max_ns: u64,
}

impl Default for CpuHistogram {
    fn default() -> CpuHistogram {
        CpuHistogram { buckets: std::array::from_fn(|_| AtomicU64::new(0)), max_ns: AtomicU64::new(0) }
    }
}

impl CpuHistogram {
    /// Notes a step that took `took_ns`.
    pub(super) fn record(&self, took_ns: u64) {
        self.buckets[bucket_of(took_ns)].fetch_add(1, Ordering::Relaxed);
        self.max_ns.fetch_max(took_ns, Ordering::Relaxed);
    }

    /// What was noted so far.
    pub(super) fn times(&self) -> CpuTimes {
        let buckets = self.buckets.each_ref().map(|bucket| bucket.load(Ordering::Relaxed));
        let max_ns = self.max_ns.load(Ordering::Relaxed);
        let timed: u64 = buckets.iter().sum();
        let at_most_ns = |per_ten_thousand: u64| {
            let rank = (timed * per_ten_thousand).div_ceil(10_000);
            let mut count = 0;
            let bucket = buckets.iter().position(|in_bucket| {
                count += in_bucket;
                count >= rank
            });
            bucket.filter(|_| timed > 0).map_or(0, |bucket| highest_of(bucket).min(max_ns))
        };
        CpuTimes {
            timed,
            p50_ns: at_most_ns(5_000),
            p99_ns: at_most_ns(9_900),
            p9999_ns: at_most_ns(9_999),
            max_ns,
        }
    }
}

/// Processor time that this thread has used, nanoseconds. Cost: a system call, 0.2 to 0.3 µs.
pub(super) fn thread_cpu_ns() -> u64 {
    // The interpreter has no such clock.
    if cfg!(miri) {
        return 0;
    }
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn bucket_of(ns: u64) -> usize {
    if ns < PARTS as u64 {
        return ns as usize;
    }
    let log2 = ns.ilog2();
    if log2 >= LAST_LOG2 {
        return BUCKETS - 1;
    }
    let part = (ns >> (log2 - PARTS_LOG2)) as usize - PARTS;
    (log2 - PARTS_LOG2 + 1) as usize * PARTS + part
}

/// The longest time that belongs to a bucket, nanoseconds.
fn highest_of(bucket: usize) -> u64 {
    if bucket < PARTS {
        return bucket as u64;
    }
    if bucket == BUCKETS - 1 {
        return u64::MAX;
    }
    let shift = bucket / PARTS - 1;
    let part = (bucket % PARTS + PARTS) as u64;
    ((part + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_tile_the_times() {
        assert_eq!((bucket_of(0), highest_of(0)), (0, 0));
        for bucket in 0..BUCKETS - 1 {
            let highest = highest_of(bucket);
            assert_eq!(bucket_of(highest), bucket);
            assert_eq!(bucket_of(highest + 1), bucket + 1);
            let lowest = bucket.checked_sub(1).map_or(0, |before| highest_of(before) + 1);
            assert!(highest - lowest <= lowest / PARTS as u64, "{lowest} to {highest}");
        }
        assert_eq!((bucket_of(1 << LAST_LOG2), bucket_of(u64::MAX)), (BUCKETS - 1, BUCKETS - 1));
    }

    #[test]
    fn percentiles_are_an_eighth_too_high_at_most() {
        let histogram = CpuHistogram::default();
        assert_eq!(histogram.times(), CpuTimes::default());
        (1..=20_000).for_each(|ns| histogram.record(ns));
        let found = histogram.times();
        assert_eq!((found.timed, found.max_ns), (20_000, 20_000));
        for (percentile, exact) in [(found.p50_ns, 10_000), (found.p99_ns, 19_800), (found.p9999_ns, 19_998)]
        {
            assert!(percentile >= exact && percentile <= exact * 9 / 8, "{percentile} for {exact}");
        }
        let histogram = CpuHistogram::default();
        histogram.record(u64::MAX);
        assert_eq!(histogram.times().p50_ns, u64::MAX);
    }

    #[test]
    #[cfg_attr(miri, ignore = "the interpreter has no such clock")]
    fn the_clock_moves_with_work() {
        let begun = thread_cpu_ns();
        while thread_cpu_ns() - begun < 1_000 {
            std::hint::spin_loop();
        }
    }
}
