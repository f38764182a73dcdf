//! How long things took, in buckets whose bounds are powers of two. One thread writes a histogram, any reads it;
//! recording is a handful of instructions and no search.

use super::counters::Counter;

/// Upper bound of the first bucket: 2 to this power, nanoseconds (1.024 microseconds).
const FIRST_BOUND_LOG2: u32 = 10;
/// Buckets with an upper bound; the last one's is 2^33 nanoseconds, 8.6 seconds.
const BOUNDED_COUNT: usize = 24;

/// Durations by size. The last bucket takes what is longer than every bound.
#[derive(Debug)]
pub struct Histogram {
    buckets: [Counter; BOUNDED_COUNT + 1],
    sum_ns: Counter,
}

/// Several histograms added up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramTotal {
    buckets: [u64; BOUNDED_COUNT + 1],
    sum_ns: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { buckets: std::array::from_fn(|_| Counter::default()), sum_ns: Counter::default() }
    }
}

impl Histogram {
    /// Records that each of `count` things took `duration_ns`. Only the owning thread may call this.
    #[inline]
    pub fn record(&self, duration_ns: u64, count: u64) {
        self.buckets[bucket_of(duration_ns)].add(count);
        self.sum_ns.add(duration_ns.saturating_mul(count));
    }
}

impl HistogramTotal {
    /// Adds what `histogram` holds now.
    pub fn add(&mut self, histogram: &Histogram) {
        for (total, bucket) in self.buckets.iter_mut().zip(&histogram.buckets) {
            *total += bucket.get();
        }
        self.sum_ns = self.sum_ns.wrapping_add(histogram.sum_ns.get());
    }

    /// Each bound, nanoseconds, and how many things took no longer than that.
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut count = 0;
        self.buckets[..BOUNDED_COUNT].iter().zip(FIRST_BOUND_LOG2..).map(move |(bucket, log2)| {
            count += bucket;
            (1 << log2, count)
        })
    }

    /// How many things there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// How long they took together, nanoseconds.
    #[must_use]
    pub fn sum_ns(&self) -> u64 {
        self.sum_ns
    }
}

/// The bucket with the least bound that is not below `duration_ns`.
#[inline]
fn bucket_of(duration_ns: u64) -> usize {
    let bound_log2 = u64::BITS - duration_ns.saturating_sub(1).leading_zeros();
    (bound_log2.saturating_sub(FIRST_BOUND_LOG2) as usize).min(BOUNDED_COUNT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_goes_to_the_least_bound_that_holds_it() {
        for duration_ns in [0, 1, 1023, 1024, 1025, 2048, 2049, 1 << 20, (1 << 33) - 1, 1 << 33] {
            let histogram = Histogram::default();
            histogram.record(duration_ns, 3);
            let mut total = HistogramTotal::default();
            total.add(&histogram);
            for (bound_ns, count) in total.cumulative() {
                assert_eq!(count, if duration_ns <= bound_ns { 3 } else { 0 }, "{duration_ns} in {bound_ns}");
            }
            assert_eq!((total.count(), total.sum_ns()), (3, 3 * duration_ns));
        }
    }

    #[test]
    fn what_is_longer_than_every_bound_is_counted() {
        let (one, other) = (Histogram::default(), Histogram::default());
        one.record((1 << 33) + 1, 1);
        other.record(u64::MAX, 2);
        let mut total = HistogramTotal::default();
        total.add(&one);
        total.add(&other);
        assert!(total.cumulative().all(|(_, count)| count == 0));
        assert_eq!(total.count(), 3);
    }
}
