//! How a client is made: settings, then first contact with the cluster.

use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use dht_protocol::ids::{ClientId, ClusterId};
use dht_protocol::placement::map::ClusterMap;

use crate::call::{Core, fetch_map};
use crate::client::Client;
use crate::connection::{Connection, Greeting, OpenError, open};
use crate::error::{Error, Outcome, Result};
use crate::limits::{
    ATTEMPTS_MAX_DEFAULT, CONNECT_TIMEOUT_DEFAULT, CONNECTIONS_PER_NODE_DEFAULT, OP_TIMEOUT_DEFAULT,
    SERVERS_MAX, TIMEOUT_MAX, TIMEOUT_MIN,
};
use crate::pool::Pools;
use crate::router::Router;
use crate::write_tokens::WriteTokens;

/// The settings of a client: [`Client::builder`].
#[derive(Clone, Debug)]
pub struct Builder {
    servers: String,
    op_timeout: Duration,
    connect_timeout: Duration,
    attempts_max: u32,
    connections_max: usize,
    /// Zero: any.
    cluster_id: ClusterId,
}

impl Builder {
    pub(crate) fn new() -> Builder {
        Builder {
            servers: String::new(),
            op_timeout: OP_TIMEOUT_DEFAULT,
            connect_timeout: CONNECT_TIMEOUT_DEFAULT,
            attempts_max: ATTEMPTS_MAX_DEFAULT,
            connections_max: CONNECTIONS_PER_NODE_DEFAULT,
            cluster_id: ClusterId(0),
        }
    }

    /// One or more nodes of the cluster: `"HOST:PORT[,HOST:PORT…]"`.
    ///
    /// A name is looked up by the system at every connect, and no time-out of this client holds while it does that: where
    /// a resolver that hangs must not hold up calls, name nodes by number, here and in the daemons' `--members`.
    #[must_use]
    pub fn servers(mut self, servers: &str) -> Builder {
        servers.clone_into(&mut self.servers);
        self
    }

    /// Longest that any call takes, from a millisecond to a day, the system's look-up of a name aside; 5 seconds unless
    /// told otherwise. The attempts of [`Builder::retry_budget`] may be used up before.
    #[must_use]
    pub fn op_timeout(mut self, timeout: Duration) -> Builder {
        self.op_timeout = timeout.clamp(TIMEOUT_MIN, TIMEOUT_MAX);
        self
    }

    /// Longest that one attempt to connect takes, from a millisecond to a day, the system's look-up of a name aside; 1
    /// second unless told otherwise.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Builder {
        self.connect_timeout = timeout.clamp(TIMEOUT_MIN, TIMEOUT_MAX);
        self
    }

    /// Most attempts that a call makes, 1 or more; 16 unless told otherwise.
    #[must_use]
    pub fn retry_budget(mut self, attempts: u32) -> Builder {
        self.attempts_max = attempts.max(1);
        self
    }

    /// Most connections to a node, 1 or more; 2 unless told otherwise.
    #[must_use]
    pub fn connections_per_node(mut self, connections: usize) -> Builder {
        self.connections_max = connections.max(1);
        self
    }

    /// The one cluster that the client may talk to; unless given, the one that it meets first.
    #[must_use]
    pub fn cluster_id(mut self, cluster_id: ClusterId) -> Builder {
        self.cluster_id = cluster_id;
        self
    }

    /// Asks each server in turn, from a random one on, until one gives the cluster map.
    ///
    /// # Errors
    /// [`Error::NoServers`], [`Error::BadAddress`], and when no server gives a map, why: a server of another
    /// cluster counts for more than one that does not answer.
    pub fn connect(self) -> Result<Client> {
        let servers = parse_servers(&self.servers)?;
        let client_id = ClientId(u128::from(random()?) << 64 | u128::from(random()?) | 1);
        let seed = random()?;
        let deadline = Instant::now() + self.op_timeout;
        let greeting = Greeting { client_id, cluster_id: self.cluster_id };
        let first = (seed % servers.len() as u64) as usize;
        let mut worst: Option<Error> = None;
        for at in 0..servers.len() {
            let address = servers[(first + at) % servers.len()];
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            match first_contact(address, &greeting, self.connect_timeout.min(left), deadline) {
                Ok((map, connection)) => return Ok(self.finish(client_id, seed, map, connection)),
                Err(error) if matches!(worst, Some(Error::WrongCluster { .. })) => drop(error),
                Err(error) => worst = Some(error),
            }
        }
        Err(worst.unwrap_or(Error::NoServers))
    }

    fn finish(self, client_id: ClientId, seed: u64, map: ClusterMap, connection: Connection) -> Client {
        let pools = Pools::new(client_id, map.cluster_id(), self.connect_timeout, self.connections_max);
        let tokens = WriteTokens::new();
        tokens.narrow_span(connection.hello().write_span_max);
        if let Some(node) = map.node(connection.hello().node) {
            pools.adopt(node, connection);
        }
        Client::from(Core {
            op_timeout: self.op_timeout,
            attempts_max: self.attempts_max,
            connect_timeout: self.connect_timeout,
            pools,
            router: Router::new(map),
            tokens,
            random: AtomicU64::new(seed),
            refreshed_at: Mutex::new(None),
        })
    }
}

fn first_contact(
    address: &str,
    greeting: &Greeting,
    connect_timeout: Duration,
    deadline: Instant,
) -> Result<(ClusterMap, Connection)> {
    let unreachable = |reason| Error::Unreachable { address: address.to_owned(), reason };
    let connection = open(address, greeting, connect_timeout)
        .map_err(|error| open_failed(address, greeting.cluster_id, error))?;
    // A server that hangs must leave time for the others.
    let map = fetch_map(&connection, deadline.min(Instant::now() + connect_timeout)).map_err(unreachable)?;
    if map.cluster_id() != connection.hello().cluster_id {
        return Err(unreachable("its cluster map is of another cluster than itself".to_owned()));
    }
    Ok((map, connection))
}

/// The error for a connection that did not come about.
pub(crate) fn open_failed(address: &str, expected: ClusterId, error: OpenError) -> Error {
    let address = address.to_owned();
    match error {
        OpenError::Unreachable(reason) => Error::Unreachable { address, reason },
        OpenError::WrongCluster(found) => Error::WrongCluster { address, expected, found },
        OpenError::Refused(status, text) => Error::Refused { status, text },
        OpenError::Malformed(problem) => Error::Protocol { outcome: Outcome::NotDone, address, problem },
    }
}

fn parse_servers(servers: &str) -> Result<Vec<&str>> {
    let addresses: Vec<&str> =
        servers.split(',').map(str::trim).filter(|address| !address.is_empty()).take(SERVERS_MAX).collect();
    let is_address = |address: &str| {
        address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
    };
    match addresses.iter().find(|address| !is_address(address)) {
        Some(bad) => Err(Error::BadAddress { address: (*bad).to_owned() }),
        None if addresses.is_empty() => Err(Error::NoServers),
        None => Ok(addresses),
    }
}

fn random() -> Result<u64> {
    getrandom::u64().map_err(|error| Error::NoRandom { reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_servers() {
        assert_eq!(parse_servers("a:1, [::1]:2,").unwrap(), ["a:1", "[::1]:2"]);
        assert!(matches!(parse_servers(""), Err(Error::NoServers)));
        assert!(matches!(parse_servers(" , "), Err(Error::NoServers)));
        for bad in ["a", ":1", "a:", "a:x", "a:70000", "a:1,b"] {
            assert!(matches!(parse_servers(bad), Err(Error::BadAddress { .. })), "{bad}");
        }
    }
}
