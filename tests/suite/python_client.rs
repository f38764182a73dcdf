//! The client in Python that was written from PROTOCOL.md alone, against real daemons.

use dht_tests::binaries;
use dht_tests::cluster::Cluster;
use dht_tests::daemon::Daemon;
use dht_tests::program::Program;

use crate::registry::Case;

/// The tests of this file.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("python_client::it_agrees_with_the_document", self_test).needs(&["python3"]),
        Case::new("python_client::it_talks_to_one_node", one_node).needs(&["python3"]),
        Case::new("python_client::it_talks_to_a_cluster", cluster).needs(&["python3"]),
    ]
}

fn client(argument: &str) {
    let script = binaries::repository().join("tests/python/dht_client.py");
    // Nothing is left behind in the source tree.
    let output = Program::new("python3").arg("-B").arg(script).arg(argument).run().success();
    assert!(output.stdout.ends_with("ok\n"), "{}", output.report());
}

fn self_test() {
    client("--self-test");
}

fn one_node() {
    let daemon = Daemon::start(&["--partitions", "64"]);
    client(daemon.address());
}

fn cluster() {
    let cluster = Cluster::start(3);
    cluster.addresses().for_each(client);
}
