//! The public face of calls on many keys.

use std::marker::PhantomData;

use dht_protocol::ids::Version;
use dht_protocol::op::Op;
use dht_protocol::request::{Condition, Key, Request};
use dht_protocol::response::Response;
use dht_protocol::status::Status;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bulk::Entries;
use crate::client::{Client, checked_key, encode, value_ref};
use crate::error::Result;
use crate::typed;

/// Calls on many keys.
///
/// Any number of keys: each server is sent its share, all servers at once, with a bounded number of requests and
/// bytes under way. There is one result for each key, in the order given, and none speaks for another: some may fail
/// while others succeed. A call that must not go on for ever where servers fail: an entry has
/// [`Builder::op_timeout`](crate::Builder::op_timeout) from when it is first sent, and entries that wait for their
/// turn fail, not done, once their server has answered none for as long.
///
/// For the length of the call, and when several servers have a share, threads help that end with it; that is why
/// values must be `Send` or `Sync`.
impl Client {
    /// The values of many keys; `None` where there is none.
    ///
    /// ```no_run
    /// # fn main() -> dht_client::Result<()> {
    /// # let client = dht_client::Client::connect("127.0.0.1:7400")?;
    /// for found in client.get_many::<String, _>(["one", "two"]) {
    ///     println!("{:?}", found?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// At each place as of [`Client::get`].
    pub fn get_many<T, K>(&self, keys: impl IntoIterator<Item = K>) -> Vec<Result<Option<T>>>
    where
        T: DeserializeOwned + Send,
        K: AsRef<[u8]>,
    {
        let keys: Vec<K> = keys.into_iter().collect();
        let keys = keys.iter().map(K::as_ref);
        self.core.call_many(keys.clone().map(checked_key).collect(), &Gets(keys.collect(), PhantomData))
    }

    /// Stores many values, whatever was there. Where a key comes twice, its later value is stored later and stays.
    ///
    /// ```no_run
    /// # fn main() -> dht_client::Result<()> {
    /// # let client = dht_client::Client::connect("127.0.0.1:7400")?;
    /// for stored in client.put_many([("one", &1), ("two", &2)]) {
    ///     println!("version {}", stored?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// At each place as of [`Client::put`]; [`Error::outcome`](crate::Error::outcome) says whether that entry was
    /// written. What a failed earlier value of the same key was to do does not keep the later one from being stored.
    pub fn put_many<'v, T, K>(&self, pairs: impl IntoIterator<Item = (K, &'v T)>) -> Vec<Result<Version>>
    where
        T: Serialize + Sync + ?Sized + 'v,
        K: AsRef<[u8]>,
    {
        let pairs: Vec<(K, &T)> = pairs.into_iter().collect();
        let keys = pairs.iter().map(|(key, _)| checked_key(key.as_ref())).collect();
        let puts = pairs.iter().map(|(key, value)| (key.as_ref(), *value)).collect();
        self.core.call_many(keys, &Puts(puts))
    }

    /// Removes many keys; answers the version of each removal, `None` where there was no entry.
    ///
    /// # Errors
    /// At each place as of [`Client::delete`].
    pub fn delete_many<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Vec<Result<Option<Version>>> {
        let keys: Vec<K> = keys.into_iter().collect();
        let keys = keys.iter().map(K::as_ref);
        self.core.call_many(keys.clone().map(checked_key).collect(), &Deletes(keys.collect()))
    }
}

struct Gets<'a, T>(Vec<&'a [u8]>, PhantomData<fn() -> T>);

impl<T: DeserializeOwned + Send> Entries for Gets<'_, T> {
    type Done = Option<T>;

    const OP: Op = Op::Get;

    fn with_request<R>(&self, at: usize, use_it: impl FnOnce(Request<'_>) -> R) -> Result<R> {
        Ok(use_it(Request::Get { key: checked_key(self.0[at])? }))
    }

    fn read(response: Response<'_>) -> Option<Result<Option<T>>> {
        match response {
            Response::Found { value, .. } => Some(typed::decode(value).map(Some)),
            Response::Refused(refusal) if refusal.status() == Status::NotFound => Some(Ok(None)),
            _ => None,
        }
    }
}

struct Puts<'a, T: ?Sized>(Vec<(&'a [u8], &'a T)>);

impl<T: Serialize + Sync + ?Sized> Entries for Puts<'_, T> {
    type Done = Version;

    const OP: Op = Op::Put;

    /// The value is brought into its stored form when it is its turn, so that few are held in both forms.
    fn with_request<R>(&self, at: usize, use_it: impl FnOnce(Request<'_>) -> R) -> Result<R> {
        let (key, value) = self.0[at];
        let encoded = encode(value)?;
        let (key, value) = (checked_key(key)?, value_ref(&encoded)?);
        Ok(use_it(Request::Put { key, value, condition: Condition::Always, token: None }))
    }

    fn read(response: Response<'_>) -> Option<Result<Version>> {
        match response {
            Response::Version(version) => Some(Ok(version)),
            _ => None,
        }
    }
}

struct Deletes<'a>(Vec<&'a [u8]>);

impl Entries for Deletes<'_> {
    type Done = Option<Version>;

    const OP: Op = Op::Delete;

    fn with_request<R>(&self, at: usize, use_it: impl FnOnce(Request<'_>) -> R) -> Result<R> {
        let key: Key<'_> = checked_key(self.0[at])?;
        Ok(use_it(Request::Delete { key, condition: Condition::Always, token: None }))
    }

    fn read(response: Response<'_>) -> Option<Result<Option<Version>>> {
        match response {
            Response::Version(version) => Some(Ok(Some(version))),
            Response::Refused(refusal) if refusal.status() == Status::NotFound => Some(Ok(None)),
            _ => None,
        }
    }
}
