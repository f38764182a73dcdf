//! From a request to its answer: who owns the key, may the write be applied, what does the table say. No socket
//! in here; every door (the binary one, and HTTP) brings its requests to the same [`Dispatcher`].

mod ahead;
mod batch;
mod direct;
mod dispatcher;
mod found;
mod group;
mod held;
mod hosted;
mod keys;
mod output;
mod route;
mod scan;
mod session;
mod slow;
mod stats;
mod step_stats;
#[cfg(test)]
mod stress_tests;

pub(crate) use ahead::Access;
pub use batch::{AnswerBounds, BatchEnd, Frame};
pub(crate) use direct::Home;
pub use dispatcher::{Dispatcher, Identity};
pub(crate) use found::FoundShape;
pub(crate) use group::Group;
pub(crate) use keys::{DECIMAL_BYTES_MAX, write_decimal};
pub use output::{Output, Piece};
pub use session::Session;
pub use slow::SlowRequest;
