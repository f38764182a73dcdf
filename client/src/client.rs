//! The public face: a client and its operations.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dht_protocol::ids::{NodeId, Version};
use dht_protocol::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use dht_protocol::placement::map::{ClusterMap, Node};
use dht_protocol::request::{Condition, Key, Request};
use dht_protocol::response::{Refusal, Response};
use dht_protocol::status::Status;
use dht_protocol::value::ValueRef;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::builder::Builder;
use crate::call::{Core, Operation};
use crate::error::{Error, Result};
use crate::iter::Iter;
use crate::limits::{EVERY_NODE_THREADS_MAX, NODE_ATTEMPTS_MAX};
use crate::typed::{self, Encoded};

/// A client of one cluster. Clones share everything, connections included.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) core: Arc<Core>,
}

/// A value and the version under which it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    /// State of the entry; what [`Client::compare_and_put`] and [`Client::delete_if`] compare.
    pub version: Version,
    /// The value.
    pub value: T,
}

/// What became of a conditional write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a conditional write may not have been done"]
pub enum Conditional {
    /// It took place, under this version.
    Done(Version),
    /// The entry was not as expected; nothing was changed.
    Refused {
        /// The entry's version; [`Version::ABSENT`] when there is none.
        current: Version,
    },
}

/// A node's counters: names and numbers.
pub type NodeStats = Vec<(String, u64)>;

/// Answer of [`Client::local_stats`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LocalStats {
    /// Connections that are open.
    pub connections_open: usize,
    /// Answers on them that came after their callers had given up, and were ignored.
    pub stale_answers: u64,
}

impl Client {
    /// Connects to the cluster of which `servers` names one or more nodes: `"HOST:PORT[,HOST:PORT…]"`.
    ///
    /// # Errors
    /// See [`Builder::connect`].
    pub fn connect(servers: &str) -> Result<Client> {
        Client::builder().servers(servers).connect()
    }

    /// A client with settings of your own.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// The value of `key`; `None` when there is none.
    ///
    /// # Errors
    /// [`Error::Decode`] when the stored value is no `T`; else see [`Error`].
    pub fn get<T: DeserializeOwned>(&self, key: impl AsRef<[u8]>) -> Result<Option<T>> {
        Ok(self.get_versioned(key)?.map(|found| found.value))
    }

    /// The value of `key` with its version; `None` when there is none.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn get_versioned<T: DeserializeOwned>(&self, key: impl AsRef<[u8]>) -> Result<Option<Versioned<T>>> {
        let key = checked_key(key.as_ref())?;
        self.core.call(&mut OnKey { key, request: Request::Get { key } }, |response| match response {
            Response::Found { version, value } => {
                Some(typed::decode(value).map(|value| Some(Versioned { version, value })))
            }
            Response::Refused(refusal) if refusal.status() == Status::NotFound => Some(Ok(None)),
            _ => None,
        })
    }

    /// Stores `value` under `key`, whatever was there.
    ///
    /// | Rust, at the top level | stored as |
    /// |---|---|
    /// | `i8` to `i64` | int, which [`Client::add`] counts with |
    /// | `f32`, `f64` | float |
    /// | `bool` | bool |
    /// | `str`, `String`, `char` | text, which [`Client::append`] lengthens |
    /// | a byte string (`serde_bytes`, [`Value::Bytes`](crate::Value::Bytes)) | bytes, which [`Client::append`] lengthens |
    /// | [`Value`](crate::Value) | what it says |
    /// | anything else (unsigned integers, options, structs, `Vec<u8>` and other sequences, maps, enums …) | MessagePack, fields by name |
    ///
    /// So begin a counter with `&0i64` or with `add` itself, and give bytes as `&Value::Bytes(bytes)`: serde cannot
    /// tell a `Vec<u8>` from a list of numbers.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn put<T: Serialize + ?Sized>(&self, key: impl AsRef<[u8]>, value: &T) -> Result<Version> {
        match self.put_if(key.as_ref(), value, Condition::Always)? {
            Conditional::Done(version) => Ok(version),
            Conditional::Refused { .. } => {
                let status = Status::ConditionFailed;
                Err(Error::Refused { status, text: "a write without a condition".to_owned() })
            }
        }
    }

    /// Stores `value` under `key` if there is no entry.
    ///
    /// # Errors
    /// See [`Error`]; an entry that is there is no error.
    pub fn put_if_absent<T: Serialize + ?Sized>(
        &self,
        key: impl AsRef<[u8]>,
        value: &T,
    ) -> Result<Conditional> {
        self.put_if(key.as_ref(), value, Condition::IfAbsent)
    }

    /// Stores `value` under `key` if there is an entry.
    ///
    /// # Errors
    /// See [`Error`]; an entry that is not there is no error.
    pub fn replace<T: Serialize + ?Sized>(&self, key: impl AsRef<[u8]>, value: &T) -> Result<Conditional> {
        self.put_if(key.as_ref(), value, Condition::IfPresent)
    }

    /// Stores `value` under `key` if the entry has version `expected`; [`Version::ABSENT`]: if there is none.
    ///
    /// # Errors
    /// See [`Error`]; another version is no error.
    pub fn compare_and_put<T: Serialize + ?Sized>(
        &self,
        key: impl AsRef<[u8]>,
        expected: Version,
        value: &T,
    ) -> Result<Conditional> {
        self.put_if(key.as_ref(), value, Condition::IfVersion(expected))
    }

    /// Removes `key`; answers the version of the removal, `None` when there was no entry.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<Option<Version>> {
        let key = checked_key(key.as_ref())?;
        let request = Request::Delete { key, condition: Condition::Always, token: None };
        self.core.call(&mut OnKey { key, request }, |response| match response {
            Response::Version(version) => Some(Ok(Some(version))),
            Response::Refused(refusal) if refusal.status() == Status::NotFound => Some(Ok(None)),
            _ => None,
        })
    }

    /// Removes `key` if its entry has version `expected`.
    ///
    /// # Errors
    /// See [`Error`]; another version, or no entry, is no error.
    pub fn delete_if(&self, key: impl AsRef<[u8]>, expected: Version) -> Result<Conditional> {
        let key = checked_key(key.as_ref())?;
        let request = Request::Delete { key, condition: Condition::IfVersion(expected), token: None };
        self.core.call(&mut OnKey { key, request }, read_conditional)
    }

    /// Whether `key` has an entry.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn exists(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        let key = checked_key(key.as_ref())?;
        self.core.call(&mut OnKey { key, request: Request::Exists { key } }, |response| match response {
            Response::Version(version) => Some(Ok(!version.is_absent())),
            Response::Refused(refusal) if refusal.status() == Status::NotFound => Some(Ok(false)),
            _ => None,
        })
    }

    /// Adds `delta` to the counter `key`, which begins at 0, and answers its new value.
    ///
    /// # Errors
    /// [`Error::Refused`] with `WRONG_TYPE` or `OVERFLOW`, nothing changed; else see
    /// [`Error`].
    pub fn add(&self, key: impl AsRef<[u8]>, delta: i64) -> Result<i64> {
        let key = checked_key(key.as_ref())?;
        let request = Request::Add { key, delta, token: None };
        self.core.call(&mut OnKey { key, request }, |response| match response {
            Response::Counted { value, .. } => Some(Ok(value)),
            _ => None,
        })
    }

    /// Appends `suffix` to the value of `key`, which begins empty, and answers its new length in bytes. Text,
    /// bytes and user types only, and the suffix's type must be the stored one.
    ///
    /// # Errors
    /// [`Error::Encode`] for another type; else see [`Error`].
    pub fn append<T: Serialize + ?Sized>(&self, key: impl AsRef<[u8]>, suffix: &T) -> Result<u64> {
        let key = checked_key(key.as_ref())?;
        let encoded = encode(suffix)?;
        let suffix = value_ref(&encoded)?;
        if !suffix.value_type.is_appendable() {
            let reason = format!("{} cannot be appended: only text, bytes and user types", suffix.value_type);
            return Err(Error::Encode { reason });
        }
        let request = Request::Append { key, suffix, token: None };
        self.core.call(&mut OnKey { key, request }, |response| match response {
            Response::Appended { value_bytes, .. } => Some(Ok(u64::from(value_bytes))),
            _ => None,
        })
    }

    /// All entries of the cluster, in no order that means anything.
    #[must_use]
    pub fn iter(&self) -> Iter {
        Iter::new(Arc::clone(&self.core))
    }

    /// The cluster map as this client knows it.
    #[must_use]
    pub fn map(&self) -> Arc<ClusterMap> {
        self.core.router.map()
    }

    /// Asks every node of the map for its counters, one after the other; each may take up to `op_timeout`.
    #[must_use]
    pub fn stats(&self) -> Vec<(Node, Result<NodeStats>)> {
        self.ask_every_node(|core, node| {
            core.call_with(NODE_ATTEMPTS_MAX, &mut OnNode { node, request: Request::Stats }, |response| {
                match response {
                    Response::Stats(stats) => Some(Ok(stats
                        .into_iter()
                        .map(|(name, number)| (name.into_owned(), number))
                        .collect())),
                    _ => None,
                }
            })
        })
    }

    /// Asks every node of the map for a sign of life, all at once (32 at a time), and answers how long that took; each
    /// may take up to `op_timeout`. For the length of the call threads help, where there is more than one node.
    #[must_use]
    pub fn ping(&self) -> Vec<(Node, Result<Duration>)> {
        self.ask_every_node(|core, node| {
            let begun = Instant::now();
            core.call_with(NODE_ATTEMPTS_MAX, &mut OnNode { node, request: Request::Ping }, |response| {
                match response {
                    Response::Pong => Some(Ok(begun.elapsed())),
                    _ => None,
                }
            })
        })
    }

    /// What this client itself can tell, without asking anybody.
    #[must_use]
    pub fn local_stats(&self) -> LocalStats {
        let (connections_open, stale_answers) = self.core.pools.counts();
        LocalStats { connections_open, stale_answers }
    }

    fn put_if<T: Serialize + ?Sized>(
        &self,
        key: &[u8],
        value: &T,
        condition: Condition,
    ) -> Result<Conditional> {
        let key = checked_key(key)?;
        let encoded = encode(value)?;
        let request = Request::Put { key, value: value_ref(&encoded)?, condition, token: None };
        self.core.call(&mut OnKey { key, request }, read_conditional)
    }

    /// Asks all nodes at once, so that silent ones cost one time-out together.
    fn ask_every_node<T: Send>(
        &self,
        ask: impl Fn(&Core, NodeId) -> Result<T> + Sync,
    ) -> Vec<(Node, Result<T>)> {
        let map = self.core.router.map();
        let nodes = map.nodes();
        let next = AtomicUsize::new(0);
        let ask_some = || {
            let turns = std::iter::from_fn(|| {
                let at = next.fetch_add(1, Ordering::Relaxed);
                nodes.get(at).map(|node| (at, (node.clone(), ask(&self.core, node.id))))
            });
            turns.collect::<Vec<_>>()
        };
        let mut answers = thread::scope(|scope| {
            let helpers_count = nodes.len().min(EVERY_NODE_THREADS_MAX).saturating_sub(1);
            let helpers: Vec<_> = (0..helpers_count).map(|_| scope.spawn(ask_some)).collect();
            let mut answers = ask_some();
            for helper in helpers {
                answers.extend(helper.join().unwrap_or_else(|panic| resume_unwind(panic)));
            }
            answers
        });
        answers.sort_unstable_by_key(|(at, _)| *at);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }
}

impl From<Core> for Client {
    fn from(core: Core) -> Client {
        Client { core: Arc::new(core) }
    }
}

/// An operation on a key: its owner answers it.
pub(crate) struct OnKey<'a> {
    pub(crate) key: Key<'a>,
    pub(crate) request: Request<'a>,
}

impl Operation for OnKey<'_> {
    fn route(&mut self, map: &ClusterMap) -> NodeId {
        map.owners(map.hash_key().hash(self.key.as_bytes())).config.primary
    }

    fn request(&self) -> Request<'_> {
        self.request
    }
}

/// A question to one node.
struct OnNode<'a> {
    node: NodeId,
    request: Request<'a>,
}

impl Operation for OnNode<'_> {
    fn route(&mut self, _: &ClusterMap) -> NodeId {
        self.node
    }

    fn request(&self) -> Request<'_> {
        self.request
    }
}

fn read_conditional(response: Response<'_>) -> Option<Result<Conditional>> {
    match response {
        Response::Version(version) => Some(Ok(Conditional::Done(version))),
        Response::Refused(Refusal::ConditionFailed(current)) => Some(Ok(Conditional::Refused { current })),
        Response::Refused(refusal) if refusal.status() == Status::NotFound => {
            Some(Ok(Conditional::Refused { current: Version::ABSENT }))
        }
        _ => None,
    }
}

pub(crate) fn checked_key(bytes: &[u8]) -> Result<Key<'_>> {
    Key::new(bytes).map_err(|error| match error.status {
        Status::TooLarge => Error::TooLarge { what: "key", bytes: bytes.len(), bytes_max: KEY_BYTES_MAX },
        _ => Error::BadKey { reason: error.text },
    })
}

pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Encoded> {
    let encoded = typed::encode(value)?;
    let bytes = encoded.bytes.len();
    if bytes > VALUE_BYTES_MAX {
        return Err(Error::TooLarge { what: "value", bytes, bytes_max: VALUE_BYTES_MAX });
    }
    Ok(encoded)
}

/// The value as it travels. What was encoded is a value, so this does not fail.
pub(crate) fn value_ref(encoded: &Encoded) -> Result<ValueRef<'_>> {
    ValueRef::new(encoded.tag, &encoded.bytes).map_err(|error| Error::Encode { reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::testing::{FakeNode, FakeStore, dead_address};
    use crate::value::Value;

    fn node() -> (FakeNode, Client) {
        let store = FakeStore::new(100);
        let node = FakeNode::alone(move |asked| store.answer(asked));
        let client = Client::connect(&node.address).unwrap();
        (node, client)
    }

    fn refused_with<T: std::fmt::Debug>(result: Result<T>) -> Status {
        match result {
            Err(Error::Refused { status, .. }) => status,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_life_of_an_entry() {
        let (_node, client) = node();
        assert_eq!(client.get::<String>("a").unwrap(), None);
        assert!(!client.exists("a").unwrap());
        let first = client.put("a", "one").unwrap();
        assert_eq!(
            client.get_versioned::<String>("a").unwrap(),
            Some(Versioned { version: first, value: "one".to_owned() })
        );
        let second = client.put("a", &2).unwrap();
        assert!(second > first);
        assert_eq!(client.get::<i32>("a").unwrap(), Some(2));
        assert!(client.exists("a").unwrap());
        assert!(client.delete("a").unwrap().is_some());
        assert_eq!(client.delete("a").unwrap(), None);
        client.put("v", &Value::Json("{\"x\":[1]}".into())).unwrap();
        assert_eq!(client.get::<Value>("v").unwrap(), Some(Value::Json("{\"x\":[1]}".into())));
        assert_eq!(
            client.get::<BTreeMap<String, Vec<u8>>>("v").unwrap(),
            Some(BTreeMap::from([("x".to_owned(), vec![1])]))
        );
    }

    #[test]
    fn conditional_writes() {
        let (_node, client) = node();
        let Conditional::Done(first) = client.put_if_absent("a", &1).unwrap() else { panic!() };
        assert_eq!(client.put_if_absent("a", &2).unwrap(), Conditional::Refused { current: first });
        assert_eq!(client.replace("b", &1).unwrap(), Conditional::Refused { current: Version::ABSENT });
        let Conditional::Done(second) = client.replace("a", &3).unwrap() else { panic!() };
        assert_eq!(client.compare_and_put("a", first, &4).unwrap(), Conditional::Refused { current: second });
        let Conditional::Done(third) = client.compare_and_put("a", second, &4).unwrap() else { panic!() };
        assert!(matches!(client.compare_and_put("b", Version::ABSENT, &4).unwrap(), Conditional::Done(_)));
        assert_eq!(client.delete_if("a", first).unwrap(), Conditional::Refused { current: third });
        assert!(matches!(client.delete_if("a", third).unwrap(), Conditional::Done(_)));
        assert_eq!(client.delete_if("a", third).unwrap(), Conditional::Refused { current: Version::ABSENT });
    }

    #[test]
    fn counters_and_appends() {
        let (_node, client) = node();
        assert_eq!(client.add("n", 5).unwrap(), 5);
        assert_eq!(client.add("n", -7).unwrap(), -2);
        client.put("n", &i64::MAX).unwrap();
        assert_eq!(refused_with(client.add("n", 1)), Status::Overflow);
        client.put("t", "12").unwrap();
        assert_eq!(client.add("t", 1).unwrap(), 13);
        assert_eq!(client.append("log", "ab").unwrap(), 2);
        assert_eq!(client.append("log", "ä").unwrap(), 4);
        assert_eq!(refused_with(client.append("log", &Value::Bytes(vec![1]))), Status::WrongType);
        assert!(matches!(client.append("log", &1), Err(Error::Encode { .. })));
        assert_eq!(client.get::<String>("log").unwrap().as_deref(), Some("abä"));
    }

    #[test]
    fn what_cannot_be_sent_is_refused_at_home() {
        let (node, client) = node();
        assert!(matches!(client.put("", &1), Err(Error::BadKey { .. })));
        assert!(matches!(client.get::<i64>([0xFF, 1]), Err(Error::BadKey { .. })));
        assert!(matches!(client.delete([b'k'; 65_536]), Err(Error::TooLarge { what: "key", .. })));
        let long = "v".repeat(VALUE_BYTES_MAX + 1);
        assert!(matches!(client.put("k", &long), Err(Error::TooLarge { what: "value", .. })));
        assert!(node.tokens().is_empty());
        let longest = "v".repeat(VALUE_BYTES_MAX);
        client.put("k", &longest).unwrap();
        assert_eq!(client.get::<String>("k").unwrap().unwrap().len(), VALUE_BYTES_MAX);
    }

    #[test]
    fn a_node_that_takes_shorter_values_is_not_sent_longer_ones() {
        let (node, _) = node();
        crate::sync::lock(&node.identity).hello.value_bytes_max = 4;
        let client = Client::connect(&node.address).unwrap();
        client.put("k", "1234").unwrap();
        assert!(matches!(client.put("k", "12345"), Err(Error::TooLarge { bytes: 5, bytes_max: 4, .. })));
    }

    #[test]
    fn a_node_that_takes_shorter_requests_is_not_sent_longer_ones() {
        let (node, _) = node();
        crate::sync::lock(&node.identity).hello.body_bytes_max = 200;
        let client = Client::connect(&node.address).unwrap();
        client.put("k", &"v".repeat(100)).unwrap();
        let sent = node.tokens().len();
        let error = client.put("k", &"v".repeat(200)).unwrap_err();
        assert!(matches!(error, Error::TooLarge { what: "request", bytes_max: 200, .. }), "{error}");
        let many = client.put_many([("k", &"v".repeat(200)), ("l", &"v".repeat(10))]);
        assert!(
            matches!(many[0], Err(Error::TooLarge { what: "request", .. })) && many[1].is_ok(),
            "{many:?}"
        );
        assert!(matches!(client.get::<String>("k".repeat(300)), Err(Error::TooLarge { .. })));
        assert_eq!(node.tokens().len(), sent + 1);
    }

    #[test]
    fn a_value_of_another_type_is_a_decode_error() {
        let (_node, client) = node();
        client.put("k", "text").unwrap();
        let error = client.get::<i64>("k").unwrap_err();
        assert!(
            error.to_string().starts_with("the stored value is text, which does not read as i64"),
            "{error}"
        );
    }

    #[test]
    fn every_node_is_asked() {
        let nodes = FakeNode::cluster(
            (0..3)
                .map(|_| {
                    let store = FakeStore::new(100);
                    Box::new(move |asked: &crate::testing::Asked<'_>| store.answer(asked)) as Box<_>
                })
                .collect(),
        );
        let client = Client::connect(&format!("{},{}", dead_address(), nodes[2].address)).unwrap();
        let pings = client.ping();
        assert_eq!(pings.len(), 3);
        assert!(pings.iter().all(|(_, result)| result.is_ok()), "{pings:?}");
        let stats = client.stats();
        assert!(stats.iter().all(|(_, result)| matches!(&result, Ok(stats) if stats[0].0 == "keys")));
    }

    #[test]
    fn every_node_is_asked_at_once() {
        let together = Arc::new(std::sync::Barrier::new(3));
        let script = |_| {
            let together = Arc::clone(&together);
            // None answers before all have been asked.
            Box::new(move |asked: &crate::testing::Asked<'_>| {
                together.wait();
                asked.send(&Response::Pong)
            }) as Box<_>
        };
        let nodes = FakeNode::cluster((0..3).map(script).collect());
        let client = Client::connect(&nodes[0].address).unwrap();
        let pings = client.ping();
        let asked: Vec<&str> = pings.iter().map(|(node, _)| node.address.as_str()).collect();
        assert_eq!(asked, nodes.iter().map(|node| node.address.as_str()).collect::<Vec<_>>());
        assert!(pings.iter().all(|(_, result)| result.is_ok()), "{pings:?}");
    }

    #[test]
    fn threads_share_one_client() {
        let (node, client) = node();
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        client.clone().add("n", 1).unwrap();
                    }
                });
            }
        });
        assert_eq!(client.get::<u32>("n").unwrap(), Some(800));
        assert!(node.connections() <= 2);
        let mut seqs: Vec<_> = node.tokens().iter().map(|token| token.seq).collect();
        seqs.sort_unstable();
        assert_eq!(seqs, (1..=800).collect::<Vec<_>>());
    }

    #[test]
    fn the_promised_traits() {
        fn is<T: Clone + Send + Sync + 'static>() {}
        is::<Client>();
    }
}
