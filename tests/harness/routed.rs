//! Connections to all nodes of a cluster: a request for a key goes to the node that the map names.

use std::collections::BTreeMap;

use dht_protocol::ids::NodeId;
use dht_protocol::placement::map::ClusterMap;
use dht_protocol::request::Request;

use crate::raw_client::{Answer, RawClient};

/// A client of a whole cluster.
#[derive(Debug)]
pub struct RoutedClient {
    map: ClusterMap,
    nodes: BTreeMap<NodeId, RawClient>,
}

impl RoutedClient {
    /// Takes the map from the daemon at `address` and connects to every node in it as client `client_id`.
    ///
    /// # Panics
    /// When one does not answer.
    #[must_use]
    #[track_caller]
    pub fn connect(address: &str, client_id: u128) -> RoutedClient {
        let map = RawClient::greeted(address, client_id).map();
        let connect = |node: &dht_protocol::placement::map::Node| {
            (node.id, RawClient::greeted(&node.address, client_id))
        };
        let nodes = map.nodes().iter().map(connect).collect();
        RoutedClient { map, nodes }
    }

    /// The map.
    #[must_use]
    pub fn map(&self) -> &ClusterMap {
        &self.map
    }

    /// The connection to the node that serves `key`.
    ///
    /// # Panics
    /// Never: every primary is one of the nodes.
    pub fn owner(&mut self, key: &[u8]) -> &mut RawClient {
        let primary = self.map.owners(self.map.hash_key().hash(key)).config.primary;
        self.nodes.get_mut(&primary).expect("every primary is one of the nodes")
    }

    /// A connection to a node that does not serve `key`.
    ///
    /// # Panics
    /// When there is one node only.
    pub fn stranger(&mut self, key: &[u8]) -> &mut RawClient {
        let primary = self.map.owners(self.map.hash_key().hash(key)).config.primary;
        let other = self.nodes.iter_mut().find(|(node, _)| **node != primary);
        other.expect("there are several nodes").1
    }

    /// The connection to that node.
    ///
    /// # Panics
    /// When there is none.
    pub fn node(&mut self, node: NodeId) -> &mut RawClient {
        self.nodes.get_mut(&node).expect("the map names that node")
    }

    /// Sends a request for a key to its node and waits for the answer.
    ///
    /// # Panics
    /// When the request has no key, or no answer comes.
    #[track_caller]
    pub fn call(&mut self, request: &Request<'_>) -> Answer {
        let key = match request {
            Request::Get { key }
            | Request::Exists { key }
            | Request::Put { key, .. }
            | Request::Delete { key, .. }
            | Request::Add { key, .. }
            | Request::Append { key, .. } => key,
            other => panic!("{:?} has no key", other.op()),
        };
        self.owner(key.as_bytes()).call(request)
    }
}
