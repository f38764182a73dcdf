//! Typed collections: keys and values of one type each, under one name.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use dht_protocol::ids::Version;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client::{Client, Conditional, Versioned};
use crate::error::{Error, Result};
use crate::iter::{Entry, Iter};
use crate::key_encoding;

/// Entries whose keys are `K`s and whose values are `V`s: [`Client::typed`].
///
/// A key may be an integer, a `bool`, a `char`, a string, or a tuple, struct, enum, option or sequence of these: what
/// serde can write and read, but for floats, maps, and parts nested more than 64 deep. It is stored as bytes that begin with the collection's name
/// and keep the order of the keys; the table is in `client/src/key_encoding.rs`. Keys of different collections never
/// meet. A program that reads a collection must give it the same name and a key type of the same parts; names of
/// fields do not matter.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let cluster = dht_client::test_cluster::TestCluster::start(1)?;
/// # let client = cluster.client()?;
/// let visits = client.typed::<(String, u32), i64>("visits");
/// visits.put(&("Ada".into(), 2026), &3)?;
/// assert_eq!(visits.get(&("Ada".into(), 2026))?, Some(3));
/// for entry in visits.iter() {
///     let ((name, year), count) = entry?;
///     println!("{name} in {year}: {count}");
/// }
/// # Ok(())
/// # }
/// ```
pub struct Typed<K, V> {
    client: Client,
    /// The collection's name, as all its keys begin.
    prefix: Vec<u8>,
    types: PhantomData<fn() -> (K, V)>,
}

/// The entries of a collection: [`Typed::iter`].
#[derive(Debug)]
pub struct TypedIter<K, V> {
    entries: Iter,
    prefix_bytes: usize,
    types: PhantomData<fn() -> (K, V)>,
}

impl Client {
    /// The collection of that name, with keys and values of these types. Costs nothing: a collection is there as
    /// soon as it has an entry.
    #[must_use]
    pub fn typed<K, V>(&self, name: &str) -> Typed<K, V> {
        let mut prefix = Vec::new();
        // Text always has an encoding.
        let encoded = key_encoding::encode(name, &mut prefix);
        debug_assert!(encoded.is_ok());
        Typed { client: self.clone(), prefix, types: PhantomData }
    }
}

impl<K, V> Typed<K, V>
where
    K: Serialize + DeserializeOwned,
    V: Serialize + DeserializeOwned,
{
    /// The value of `key`; `None` when there is none.
    ///
    /// # Errors
    /// [`Error::KeyType`] when the key has no bytes, here and in every method; else as [`Client::get`].
    pub fn get(&self, key: &K) -> Result<Option<V>> {
        self.client.get(self.key_bytes(key)?)
    }

    /// The value of `key` with its version, for [`Typed::compare_and_put`].
    ///
    /// # Errors
    /// As [`Client::get_versioned`].
    pub fn get_versioned(&self, key: &K) -> Result<Option<Versioned<V>>> {
        self.client.get_versioned(self.key_bytes(key)?)
    }

    /// Stores `value` under `key`, whatever was there.
    ///
    /// # Errors
    /// As [`Client::put`].
    pub fn put(&self, key: &K, value: &V) -> Result<Version> {
        self.client.put(self.key_bytes(key)?, value)
    }

    /// Stores `value` under `key` if there is no entry.
    ///
    /// # Errors
    /// As [`Client::put_if_absent`].
    pub fn put_if_absent(&self, key: &K, value: &V) -> Result<Conditional> {
        self.client.put_if_absent(self.key_bytes(key)?, value)
    }

    /// Stores `value` under `key` if the entry has version `expected`; [`Version::ABSENT`]: if there is none.
    ///
    /// # Errors
    /// As [`Client::compare_and_put`].
    pub fn compare_and_put(&self, key: &K, expected: Version, value: &V) -> Result<Conditional> {
        self.client.compare_and_put(self.key_bytes(key)?, expected, value)
    }

    /// Removes `key`; answers the version of the removal, `None` when there was no entry.
    ///
    /// # Errors
    /// As [`Client::delete`].
    pub fn delete(&self, key: &K) -> Result<Option<Version>> {
        self.client.delete(self.key_bytes(key)?)
    }

    /// Whether `key` has an entry.
    ///
    /// # Errors
    /// As [`Client::exists`].
    pub fn exists(&self, key: &K) -> Result<bool> {
        self.client.exists(self.key_bytes(key)?)
    }

    /// The values of many keys, in the order of the keys.
    ///
    /// # Errors
    /// At each place as [`Client::get_many`].
    pub fn get_many<'k>(&self, keys: impl IntoIterator<Item = &'k K>) -> Vec<Result<Option<V>>>
    where
        K: 'k,
        V: Send,
    {
        let mut refused = Refused::new();
        let bytes: Vec<_> = keys.into_iter().map(|key| self.key_or_none(key, &mut refused)).collect();
        put_back(refused, self.client.get_many(bytes))
    }

    /// Stores many values; where a key comes twice, its later value stays.
    ///
    /// # Errors
    /// At each place as [`Client::put_many`].
    pub fn put_many<'v>(&self, pairs: impl IntoIterator<Item = (&'v K, &'v V)>) -> Vec<Result<Version>>
    where
        K: 'v,
        V: Sync + 'v,
    {
        let mut refused = Refused::new();
        let pairs = pairs.into_iter().map(|(key, value)| (self.key_or_none(key, &mut refused), value));
        let pairs: Vec<_> = pairs.collect();
        put_back(refused, self.client.put_many(pairs))
    }

    /// All entries, in no order that means anything.
    #[must_use]
    pub fn iter(&self) -> TypedIter<K, V> {
        TypedIter {
            entries: self.client.iter().prefix(&self.prefix),
            prefix_bytes: self.prefix.len(),
            types: PhantomData,
        }
    }

    fn key_bytes(&self, key: &K) -> Result<Vec<u8>> {
        let mut bytes = self.prefix.clone();
        key_encoding::encode(key, &mut bytes).map_err(|error| no_key::<K>(&error))?;
        Ok(bytes)
    }

    /// The bytes of the next key of many; none, which no call takes for a key, when it has none.
    fn key_or_none(&self, key: &K, refused: &mut Refused) -> Vec<u8> {
        let bytes = self.key_bytes(key).map_err(|error| refused.errors.insert(refused.keys_count, error));
        refused.keys_count += 1;
        bytes.unwrap_or_default()
    }
}

/// Keys among many that have no bytes, by their place.
struct Refused {
    errors: BTreeMap<usize, Error>,
    /// Keys so far.
    keys_count: usize,
}

impl Refused {
    fn new() -> Refused {
        Refused { errors: BTreeMap::new(), keys_count: 0 }
    }
}

/// Says of each key that has no bytes why.
fn put_back<T>(refused: Refused, mut results: Vec<Result<T>>) -> Vec<Result<T>> {
    for (at, error) in refused.errors {
        results[at] = Err(error);
    }
    results
}

fn no_key<K>(error: &key_encoding::KeyError) -> Error {
    Error::KeyType { wanted: std::any::type_name::<K>(), reason: error.to_string() }
}

impl<K: DeserializeOwned, V: DeserializeOwned> TypedIter<K, V> {
    /// Most entries that are fetched at once, as [`Iter::page_size`].
    #[must_use]
    pub fn page_size(mut self, entries: usize) -> Self {
        self.entries = self.entries.page_size(entries);
        self
    }

    fn read(&self, entry: &Entry) -> Result<(K, V)> {
        let bytes = entry.key.as_bytes().get(self.prefix_bytes..).unwrap_or_default();
        let key = key_encoding::decode(bytes).map_err(|error| no_key::<K>(&error))?;
        Ok((key, entry.get()?))
    }
}

/// An entry that is none of the collection's types is an error in its place, and the iteration goes on; any other
/// error ends it.
impl<K: DeserializeOwned, V: DeserializeOwned> Iterator for TypedIter<K, V> {
    type Item = Result<(K, V)>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.entries.next()?.and_then(|entry| self.read(&entry)))
    }
}

impl<K, V> Clone for Typed<K, V> {
    fn clone(&self) -> Self {
        Typed { client: self.client.clone(), prefix: self.prefix.clone(), types: PhantomData }
    }
}

impl<K, V> fmt::Debug for Typed<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Typed")
            .field("prefix", &self.prefix.escape_ascii().to_string())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::testing::{FakeNode, FakeStore};

    fn client() -> (FakeNode, Client) {
        let store = FakeStore::new(100);
        let node = FakeNode::alone(move |asked| store.answer(asked));
        let client = Client::connect(&node.address).unwrap();
        (node, client)
    }

    #[test]
    fn the_life_of_a_typed_entry() {
        let (_node, client) = client();
        let users = client.typed::<(String, i32), f64>("users");
        let key = ("Ada".to_owned(), -1);
        assert_eq!((users.get(&key).unwrap(), users.exists(&key).unwrap()), (None, false));
        let Conditional::Done(first) = users.put_if_absent(&key, &0.5).unwrap() else { panic!() };
        assert_eq!(users.put_if_absent(&key, &1.5).unwrap(), Conditional::Refused { current: first });
        assert!(matches!(users.compare_and_put(&key, first, &2.5).unwrap(), Conditional::Done(_)));
        assert_eq!(users.get_versioned(&key).unwrap().unwrap().value, 2.5);
        assert!(users.put(&key, &3.5).unwrap() > first);
        assert!(users.delete(&key).unwrap().is_some() && users.delete(&key).unwrap().is_none());
    }

    #[test]
    fn collections_do_not_meet_and_iterate_over_their_own() {
        let (_node, client) = client();
        for name in ["", "a", "a\0", "ab"] {
            let numbers = client.typed::<u16, String>(name);
            let pairs: Vec<_> = (0..300).map(|at| (at, format!("{name}{at}"))).collect();
            assert!(
                numbers.put_many(pairs.iter().map(|(key, value)| (key, value))).iter().all(Result::is_ok)
            );
        }
        for name in ["", "a", "a\0", "ab"] {
            let numbers = client.typed::<u16, String>(name);
            let all: BTreeSet<_> = numbers.iter().page_size(7).map(Result::unwrap).collect();
            assert_eq!(all, (0..300).map(|at| (at, format!("{name}{at}"))).collect());
            let found = numbers.get_many(&[299, 300, 0]);
            assert_eq!(found[0].as_ref().unwrap().as_deref(), Some(&*format!("{name}299")));
            assert!(matches!(found[1..], [Ok(None), Ok(Some(_))]));
        }
    }

    #[test]
    fn keys_that_have_no_bytes_fail_alone() {
        let (_node, client) = client();
        let odd = client.typed::<Option<f32>, i32>("odd");
        assert!(matches!(odd.put(&Some(0.5), &1), Err(Error::KeyType { .. })));
        let results = odd.put_many([(&None, &1), (&Some(0.5), &2), (&None, &3)]);
        assert!(matches!(results[..], [Ok(_), Err(Error::KeyType { .. }), Ok(_)]), "{results:?}");
        assert_eq!(odd.get(&None).unwrap(), Some(3));
    }

    #[test]
    fn an_entry_of_another_type_is_an_error_in_its_place() {
        let (_node, client) = client();
        client.typed::<u8, i32>("mixed").put(&1, &1).unwrap();
        client.typed::<(u8, u8), i32>("mixed").put(&(1, 2), &2).unwrap();
        let (right, wrong): (Vec<_>, Vec<_>) =
            client.typed::<u8, i32>("mixed").iter().partition(Result::is_ok);
        assert_eq!((right.len(), wrong.len()), (1, 1));
        assert!(matches!(wrong[0], Err(Error::KeyType { .. })));
    }
}
