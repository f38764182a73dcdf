//! A whole cluster inside this process, for tests of programs that use the client: real nodes on local ports, each
//! of which can be killed, started again, paused and resumed. It starts and stops nodes; what a node is, and how one
//! dies or stands still, is the server's business.
//!
//! Behind the feature `test-cluster`; see [`TestCluster`].

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use dht_protocol::ids::NodeId;
use dht_protocol::placement::hash::HashKey;
use dht_protocol::placement::map::ClusterMap;
use dht_protocol::placement::planner::static_map;
use dht_protocol::placement::ring::Ring;
use dht_server::net::{Door, Listener, Reservation, bind};
use dht_server::server::{Server, ServerSettings};

use crate::client::Client;
use crate::error::Result;
use crate::sync::lock;

/// Most nodes of one [`TestCluster`].
pub const NODES_MAX: usize = 64;
/// Memory limit of each node of a [`TestCluster`], bytes.
pub const NODE_MEMORY_LIMIT_BYTES: u64 = 256 << 20;
/// Arcs of the hash ring of a [`TestCluster`], dealt out to its nodes in turn.
const PARTITIONS: u32 = 256;

const _: () = assert!(PARTITIONS as usize >= NODES_MAX);

/// Nodes of one static cluster in this process, numbered from 0, on ports of 127.0.0.1 that the system chooses.
///
/// To test your own code against it, ask for the feature where only tests see it:
///
/// ```toml
/// [dev-dependencies]
/// dht-client = { path = "../dht/client", features = ["test-cluster"] }
/// ```
///
/// ```
/// use std::time::Duration;
///
/// use dht_client::test_cluster::TestCluster;
/// use dht_client::{Client, Error, Outcome};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cluster = TestCluster::start(3)?;
/// // `cluster.client()` has the settings that any client has; this one gives up soon.
/// let timeout = Duration::from_millis(500);
/// let client = Client::builder().servers(&cluster.servers()).op_timeout(timeout).connect()?;
/// client.put("greeting", "hello")?;
///
/// // A node that hangs: calls to its keys end with their time, all others go on.
/// let hanging = cluster.owner_of("greeting");
/// cluster.pause(hanging);
/// let error = client.put("greeting", "hi").unwrap_err();
/// assert_eq!(error.outcome(), Outcome::Unknown); // it may come to it yet, and it does
/// cluster.resume(hanging);
///
/// // A node that dies, with all that it holds, and comes back empty under the same address.
/// cluster.kill(hanging);
/// assert!(matches!(client.get::<String>("greeting"), Err(Error::Unreachable { .. })));
/// cluster.restart(hanging)?;
/// assert_eq!(client.get::<String>("greeting")?, None);
/// # Ok(())
/// # }
/// ```
///
/// Each node has one worker thread and [`NODE_MEMORY_LIMIT_BYTES`]. Node `i` of a cluster of n serves the same keys in
/// every run ([`TestCluster::owner_of`] says which), so a test finds the same keys on the same nodes.
///
/// Nothing process-wide is touched: no logger, no signals, no panic hook. Any number of clusters may live at once.
/// All calls take `&self`, so that threads may kill and pause nodes while others ask them. When it is dropped its
/// nodes are killed, and their threads are waited for.
pub struct TestCluster {
    /// In the order of their node ids.
    nodes: Vec<TestNode>,
    map: Arc<ClusterMap>,
}

struct TestNode {
    /// Held as long as the cluster lives, so that nobody else gets the port while the node is dead.
    port: Reservation,
    /// `None`: killed.
    server: Mutex<Option<Server>>,
}

/// The system did not give what a node needs: ports, threads, descriptors. Nothing runs that did not run before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestClusterError(String);

impl TestCluster {
    /// Starts `nodes_count` nodes, which serve when this returns.
    ///
    /// # Errors
    /// [`TestClusterError`]; also when `nodes_count` is not within 1 and [`NODES_MAX`].
    pub fn start(nodes_count: usize) -> std::result::Result<TestCluster, TestClusterError> {
        if !(1..=NODES_MAX).contains(&nodes_count) {
            return Err(TestClusterError(format!(
                "a test cluster has 1 to {NODES_MAX} nodes, not {nodes_count}"
            )));
        }
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let ports: std::io::Result<Vec<Reservation>> =
            (0..nodes_count).map(|_| Reservation::of(any_port)).collect();
        let mut ports = ports.map_err(|error| failed("a port", &error))?;
        // Ids are places in the sorted list of addresses.
        ports.sort_by_key(|port| port.address().to_string());
        let addresses: Vec<String> = ports.iter().map(|port| port.address().to_string()).collect();
        let ring = Ring::new(PARTITIONS).expect("a power of two within the limits");
        let map =
            static_map(&addresses, ring, HashKey::GUESSABLE).map_err(|error| failed("a map", &error))?;
        let nodes = ports.into_iter().map(|port| TestNode { port, server: Mutex::new(None) }).collect();
        // From here on dropping it ends what was started.
        let cluster = TestCluster { nodes, map: Arc::new(map) };
        // All listen before any serves, so that the nodes find each other at once.
        let listeners: Vec<Listener> =
            cluster.nodes.iter().map(TestNode::listen).collect::<std::result::Result<_, _>>()?;
        for (at, listener) in listeners.into_iter().enumerate() {
            cluster.serve(at, listener, &mut cluster.nodes[at].lock())?;
        }
        Ok(cluster)
    }

    /// All addresses, dead nodes' too, as [`Builder::servers`](crate::Builder::servers) takes them:
    /// `"HOST:PORT,HOST:PORT"`.
    #[must_use]
    pub fn servers(&self) -> String {
        self.nodes.iter().map(|node| node.port.address().to_string()).collect::<Vec<_>>().join(",")
    }

    /// `HOST:PORT` of node `i`, the same for as long as the cluster lives.
    ///
    /// # Panics
    /// `no node 3: the test cluster has 3, numbered from 0`, when there is none of that number.
    #[must_use]
    #[track_caller]
    pub fn address(&self, i: usize) -> String {
        self.node(i).port.address().to_string()
    }

    /// How many nodes there are, dead ones included.
    #[must_use]
    pub fn nodes_count(&self) -> usize {
        self.nodes.len()
    }

    /// A client of this cluster with default settings.
    ///
    /// # Errors
    /// As [`Builder::connect`](crate::Builder::connect): when no node answers.
    pub fn client(&self) -> Result<Client> {
        Client::connect(&self.servers())
    }

    /// The number of the node that serves `key`, dead or alive.
    #[must_use]
    pub fn owner_of(&self, key: impl AsRef<[u8]>) -> usize {
        self.map.owners(self.map.hash_key().hash(key.as_ref())).config.primary.0 as usize
    }

    /// Whether node `i` runs, paused or not.
    ///
    /// # Panics
    /// As [`TestCluster::address`].
    #[must_use]
    #[track_caller]
    pub fn is_running(&self, i: usize) -> bool {
        self.node(i).lock().is_some()
    }

    /// Ends node `i` as a power cut would, paused or not: no request is answered any more, and when this returns its
    /// sockets are closed, its threads have ended and its memory is given back. Its clients see a reset or the end of
    /// the stream, and whoever connects is refused. Its port stays its own. Nothing happens to a dead node.
    ///
    /// # Panics
    /// As [`TestCluster::address`].
    #[track_caller]
    pub fn kill(&self, i: usize) {
        let mut server = self.node(i).lock();
        if let Some(server) = server.take() {
            server.kill();
        }
    }

    /// Starts the dead node `i` again, empty, under its old address; it serves when this returns.
    ///
    /// # Errors
    /// [`TestClusterError`]; the node is still dead then.
    ///
    /// # Panics
    /// `node 1 runs: kill it before it is started again`; and as [`TestCluster::address`].
    #[track_caller]
    pub fn restart(&self, i: usize) -> std::result::Result<(), TestClusterError> {
        let node = self.node(i);
        let mut server = node.lock();
        assert!(server.is_none(), "node {i} runs: kill it before it is started again");
        self.serve(i, node.listen()?, &mut server)
    }

    /// Makes node `i` stand still: when this returns none of its threads does anything until it is resumed, while
    /// its sockets stay open. Connections come about and requests are taken by the system, so clients wait until
    /// their time is up. Nothing more happens to a paused node.
    ///
    /// Returns after the turns in hand, so within milliseconds.
    ///
    /// # Panics
    /// `node 1 is dead: start it again first`; and as [`TestCluster::address`].
    #[track_caller]
    pub fn pause(&self, i: usize) {
        let server = self.node(i).lock();
        server.as_ref().unwrap_or_else(|| panic!("node {i} is dead: start it again first")).pause();
    }

    /// Lets the paused node `i` go on where it stopped: it answers what came meanwhile. Nothing happens to a node
    /// that is not paused.
    ///
    /// # Panics
    /// As [`TestCluster::pause`].
    #[track_caller]
    pub fn resume(&self, i: usize) {
        let server = self.node(i).lock();
        server.as_ref().unwrap_or_else(|| panic!("node {i} is dead: start it again first")).resume();
    }

    #[track_caller]
    fn node(&self, i: usize) -> &TestNode {
        let nodes_count = self.nodes.len();
        self.nodes
            .get(i)
            .unwrap_or_else(|| panic!("no node {i}: the test cluster has {nodes_count}, numbered from 0"))
    }

    fn serve(
        &self,
        at: usize,
        listener: Listener,
        server: &mut Option<Server>,
    ) -> std::result::Result<(), TestClusterError> {
        let settings =
            ServerSettings { memory_limit_bytes: NODE_MEMORY_LIMIT_BYTES, ..ServerSettings::default() };
        let started = Server::start_unwatched(listener, Arc::clone(&self.map), NodeId(at as u32), &settings);
        *server = Some(started.map_err(|error| TestClusterError(error.to_string()))?);
        Ok(())
    }
}

impl TestNode {
    fn listen(&self) -> std::result::Result<Listener, TestClusterError> {
        let address = self.port.address().to_string();
        bind(Door::Binary, &address).map_err(|error| failed("a listener", &error))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Server>> {
        lock(&self.server)
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        for node in &self.nodes {
            if let Some(server) = node.lock().take() {
                server.kill();
            }
        }
    }
}

fn failed(what: &str, error: &impl fmt::Display) -> TestClusterError {
    TestClusterError(format!(
        "the system does not give {what}: {error}; raise the limits of this process (ulimit -a)"
    ))
}

impl fmt::Debug for TestCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestCluster").field("servers", &self.servers()).finish_non_exhaustive()
    }
}

impl fmt::Display for TestClusterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TestClusterError {}

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use dht_server::memory::MemoryAccount;

    use super::*;

    /// The account of a node's memory, which lives as long as anything that is charged to it.
    fn memory(cluster: &TestCluster, i: usize) -> Weak<MemoryAccount> {
        Arc::downgrade(cluster.nodes[i].lock().as_ref().unwrap().dispatcher().memory())
    }

    #[test]
    fn the_memory_of_a_killed_node_is_given_back_at_once() {
        let cluster = TestCluster::start(2).unwrap();
        let client = cluster.client().unwrap();
        let big = "v".repeat(1 << 20);
        for number in 0..64 {
            client.put(format!("key {number}"), &big).unwrap();
        }
        let memories = [memory(&cluster, 0), memory(&cluster, 1)];
        assert!(memories.iter().all(|memory| memory.upgrade().unwrap().used_bytes() > 8 << 20));
        cluster.kill(0);
        assert_eq!(memories[0].strong_count(), 0);
        assert_ne!(memories[1].strong_count(), 0);
        drop(cluster);
        assert_eq!(memories[1].strong_count(), 0);
    }
}
