//! What a node counts about itself: counters and a histogram that a worker writes alone, and the form in which the
//! figures are declared and handed out.

mod counters;
mod histogram;
mod metric;

pub use counters::{AcceptorMetrics, Counter, WorkerMetrics};
pub use histogram::{Histogram, HistogramTotal};
pub use metric::{Metric, MetricKind, Sample, Unit};
