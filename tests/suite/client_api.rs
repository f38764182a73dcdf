//! Every call of the client library against three real daemons.

mod calls;
mod clusters;
mod iteration;
mod values;

use dht_client::{Client, Error, Result, Status};
use dht_tests::cluster::Cluster;

use crate::registry::Case;

/// The tests of the files below.
pub(crate) fn cases() -> Vec<Case> {
    [calls::cases(), clusters::cases(), iteration::cases(), values::cases()].concat()
}

/// Three daemons and a client that was told of one of them.
fn three_daemons() -> (Client, Cluster) {
    let cluster = Cluster::start(3);
    let first = cluster.addresses().next().expect("there are three");
    (Client::connect(first).unwrap(), cluster)
}

/// The status with which a node refused a call.
#[track_caller]
fn refusal<T: std::fmt::Debug>(result: Result<T>) -> Status {
    match result {
        Err(Error::Refused { status, .. }) => status,
        other => panic!("should be refused by a node: {other:?}"),
    }
}
