//! What the end-to-end tests share: a checker of histories, and the means to start daemons, run the command
//! line and wait for something without sleeping a fixed time.
//!
//! ```text
//! linearizability/  histories recorded from many threads, and whether they could have come from one register
//! binaries          builds dhtd, dht and dht-bench once and finds them
//! process           a child process whose output is kept for the report of a failure
//! daemon, cluster   dhtd alone, and several as a static cluster
//! proxy             a bad network between a client and a daemon
//! program           runs dht or dht-bench to its end, under a deadline
//! raw_client        one connection that speaks frames, right or wrong
//! resp_client       one connection that speaks Redis' protocol, right or wrong
//! requests          requests in few words
//! routed            a connection to each node, chosen by the map
//! resident          how much memory a process holds
//! descriptors       how many files and sockets a process has open, and may have
//! siege, bystander  an attack on a daemon, and a client who must not notice it
//! wait              polls a condition under a deadline
//! fuzzing/          what every input must keep to: for cargo-fuzz, and for seeded runs in the test command
//! simulation/       a cluster in one thread, from one seed, under every fault there is
//! random            seeded numbers, so that a failing run can be repeated
//! ```

#![forbid(unsafe_code)]

pub mod binaries;
pub mod bystander;
pub mod cluster;
pub mod daemon;
pub mod descriptors;
pub mod fuzzing;
pub mod linearizability;
pub mod process;
pub mod program;
pub mod proxy;
pub mod random;
pub mod raw_client;
pub mod requests;
pub mod resident;
pub mod resp_client;
pub mod routed;
pub mod siege;
pub mod simulation;
pub mod wait;
