//! The connections to each node: few, opened when needed, replaced when broken.
//!
//! 1. At most `connections_max` connections to a node; a second one is opened only when every open one has a
//!    caller.
//! 2. One caller at a time connects to a node. Without any open connection the others wait for it, and share its
//!    failure.
//! 3. A failed connect stands for `UNREACHABLE_FOR`: in that time nobody tries again, so that a dead node does
//!    not cost every call a connect time-out.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dht_protocol::ids::{ClientId, ClusterId, Incarnation, NodeId};
use dht_protocol::placement::map::Node;

use crate::connection::{Connection, Greeting, OpenError, open};
use crate::limits::UNREACHABLE_FOR;
use crate::sync::{Condvar, Instant, Mutex, lock, wait_until};

/// The connections of one client.
#[derive(Debug)]
pub(crate) struct Pools {
    client_id: ClientId,
    /// The one cluster that every node must belong to.
    cluster_id: ClusterId,
    connect_timeout: Duration,
    connections_max: usize,
    nodes: Mutex<HashMap<NodeId, Arc<NodePool>>>,
}

/// The connections to one node.
#[derive(Debug)]
struct NodePool {
    node: Node,
    state: Mutex<PoolState>,
    /// Notified when an attempt to connect has ended.
    connected: Condvar,
}

#[derive(Debug, Default)]
struct PoolState {
    connections: Vec<Arc<Connection>>,
    connecting: bool,
    /// The last failure to connect, and when it was.
    failed: Option<(Instant, OpenError)>,
    /// The node's incarnation, as of the last connection.
    incarnation: Option<Incarnation>,
}

/// A connection to use.
#[derive(Debug)]
pub(crate) struct Picked {
    pub(crate) connection: Arc<Connection>,
    /// The connection is new, and the node was restarted since the one before.
    pub(crate) restarted: bool,
}

impl Pools {
    pub(crate) fn new(
        client_id: ClientId,
        cluster_id: ClusterId,
        connect_timeout: Duration,
        connections_max: usize,
    ) -> Pools {
        Pools {
            client_id,
            cluster_id,
            connect_timeout,
            connections_max: connections_max.max(1),
            nodes: Mutex::default(),
        }
    }

    /// A connection to `node`, the one with the fewest callers, opened if need be.
    ///
    /// # Errors
    /// [`OpenError`], after at most the connect time-out and not past `deadline`.
    pub(crate) fn pick(&self, node: &Node, deadline: Instant) -> Result<Picked, OpenError> {
        let pool = self.pool(node);
        let mut state = lock(&pool.state);
        loop {
            state.connections.retain(|connection| !connection.is_dead());
            let least = state.connections.iter().min_by_key(|connection| connection.callers_count()).cloned();
            let now = Instant::now();
            let failure = state.failed.as_ref().filter(|(at, _)| now < *at + UNREACHABLE_FOR);
            let may_open = !state.connecting
                && failure.is_none()
                && state.connections.len() < self.connections_max
                && least.as_ref().is_none_or(|connection| connection.callers_count() > 0);
            if may_open {
                state.connecting = true;
                drop(state);
                return self.connect(&pool, least, deadline);
            }
            if let Some(connection) = least {
                return Ok(Picked { connection, restarted: false });
            }
            if let Some((_, error)) = failure {
                return Err(error.clone());
            }
            state = wait_until(&pool.connected, state, deadline)
                .map_err(|_| OpenError::Unreachable("another caller is still connecting".to_owned()))?;
        }
    }

    /// Takes in a connection that was opened to find the cluster.
    pub(crate) fn adopt(&self, node: &Node, connection: Connection) {
        let pool = self.pool(node);
        let mut state = lock(&pool.state);
        if state.connections.len() < self.connections_max {
            state.incarnation = Some(connection.hello().incarnation);
            state.connections.push(Arc::new(connection));
        }
    }

    /// Forgets nodes that are in the map no more.
    pub(crate) fn keep_only(&self, nodes: &[Node]) {
        lock(&self.nodes).retain(|_, pool| nodes.contains(&pool.node));
    }

    /// Connections that are open, and answers on them that came too late.
    pub(crate) fn counts(&self) -> (usize, u64) {
        let pools: Vec<_> = lock(&self.nodes).values().cloned().collect();
        pools.iter().fold((0, 0), |(open, stale), pool| {
            let state = lock(&pool.state);
            let late: u64 = state.connections.iter().map(|connection| connection.stale_answers_count()).sum();
            (open + state.connections.len(), stale + late)
        })
    }

    fn pool(&self, node: &Node) -> Arc<NodePool> {
        let mut nodes = lock(&self.nodes);
        match nodes.get(&node.id) {
            Some(pool) if pool.node.address == node.address => Arc::clone(pool),
            Some(_) | None => {
                let pool = Arc::new(NodePool {
                    node: node.clone(),
                    state: Mutex::default(),
                    connected: Condvar::new(),
                });
                nodes.insert(node.id, Arc::clone(&pool));
                pool
            }
        }
    }

    /// Opens a connection, for everybody. `least` serves the caller if that fails.
    fn connect(
        &self,
        pool: &NodePool,
        least: Option<Arc<Connection>>,
        deadline: Instant,
    ) -> Result<Picked, OpenError> {
        let left = deadline.saturating_duration_since(Instant::now());
        // One more connection is worth a part of the call's time, where there is one that works.
        let timeout = self.connect_timeout.min(if least.is_some() { left / 4 } else { left });
        let greeting = Greeting { client_id: self.client_id, cluster_id: self.cluster_id };
        let opened = open(&pool.node.address, &greeting, timeout).and_then(|connection| {
            let found = connection.hello().node;
            if found == pool.node.id {
                Ok(Arc::new(connection))
            } else {
                Err(OpenError::Unreachable(format!("node {found} is there, not node {}", pool.node.id)))
            }
        });
        let mut state = lock(&pool.state);
        state.connecting = false;
        pool.connected.notify_all();
        match opened {
            Ok(connection) => {
                let incarnation = connection.hello().incarnation;
                let before = state.incarnation.replace(incarnation);
                if before.is_some_and(|before| before != incarnation) {
                    // What has not been written to them yet can still go elsewhere without a doubt.
                    state.connections.iter().for_each(|old| old.kill("the node was restarted"));
                }
                state.failed = None;
                state.connections.push(Arc::clone(&connection));
                Ok(Picked { connection, restarted: before.is_some_and(|before| before != incarnation) })
            }
            Err(error) => {
                // An attempt cut short by the caller's own time says nothing to others, who may have more.
                if timeout >= self.connect_timeout || !matches!(error, OpenError::Unreachable(_)) {
                    state.failed = Some((Instant::now(), error.clone()));
                }
                match least {
                    Some(connection) => Ok(Picked { connection, restarted: false }),
                    None => Err(error),
                }
            }
        }
    }
}
