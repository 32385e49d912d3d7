//! A store in memory that counts what is asked of it, and fails, cuts and calls as it is told.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use stronghold_net::{
    BoxFuture,
    mailbox::{Listing, ObjectKind, PairKeys, Store, StoreError, Writer},
};

use super::Two;
use crate::common::between;

type Hook = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Vec<u8>>,
    /// Number of names that a listing has at most.
    most: Option<usize>,
    /// Number of further puts after which each fails.
    puts_left: Option<usize>,
    before_get: Option<Hook>,
    before_put: Option<Hook>,
    requests: Vec<&'static str>,
    bytes: u64,
}

/// A store in memory. Clones are the same one.
#[derive(Clone, Default)]
pub(super) struct Memory(Arc<Mutex<State>>);

impl Memory {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(super) fn len(&self) -> usize {
        self.state().objects.len()
    }

    /// Returns the requests and the bytes of objects since the last call.
    pub(super) fn asked(&self) -> (Vec<&'static str>, u64) {
        let mut state = self.state();
        (std::mem::take(&mut state.requests), std::mem::take(&mut state.bytes))
    }

    pub(super) fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        self.state().objects.clone()
    }

    pub(super) fn set(&self, objects: BTreeMap<String, Vec<u8>>) {
        self.state().objects = objects;
    }

    pub(super) fn cut_listings_at(&self, most: Option<usize>) {
        self.state().most = most;
    }

    pub(super) fn fail_puts_after(&self, puts: Option<usize>) {
        self.state().puts_left = puts;
    }

    pub(super) fn before_get(&self, hook: impl FnOnce() + Send + 'static) {
        self.state().before_get = Some(Box::new(hook));
    }

    pub(super) fn before_put(&self, hook: impl FnOnce() + Send + 'static) {
        self.state().before_put = Some(Box::new(hook));
    }

    /// Returns the names of the objects of a writer and kind, in the order of their numbers.
    pub(super) fn of(&self, pair: &Two, writer: Writer, kind: ObjectKind) -> Vec<String> {
        let keys = keys(pair);
        let mut found = BTreeMap::new();
        for name in self.state().objects.keys() {
            if let Some(opened) =
                keys.open_name(name).filter(|name| (name.writer, name.kind) == (writer, kind))
            {
                found.insert(opened.point, name.clone());
            }
        }
        found.into_values().collect()
    }

    /// Returns the numbers of cards and letters of the first device, and of those of the second;
    /// of the cards only whether there are some.
    pub(super) fn kinds(&self, pair: &Two) -> [usize; 4] {
        let own = keys(pair).own();
        let other = if own == Writer::Smaller { Writer::Larger } else { Writer::Smaller };
        let count = |writer, kind| self.of(pair, writer, kind).len();
        [
            count(own, ObjectKind::Card).min(1),
            count(other, ObjectKind::Card).min(1),
            count(own, ObjectKind::Letter),
            count(other, ObjectKind::Letter),
        ]
    }
}

/// Returns the keys of a pair, as the first device has them.
pub(super) fn keys(pair: &Two) -> PairKeys {
    let (one, two) = (pair.one.device(), pair.two.device());
    PairKeys::new(&between(&one, &two), &one, &two)
}

impl Store for Memory {
    fn list(&self, limit: usize) -> BoxFuture<Result<Listing, StoreError>> {
        let mut state = self.state();
        state.requests.push("list");
        let most = state.most.unwrap_or(limit);
        let names: Vec<String> = state.objects.keys().take(most).cloned().collect();
        let is_complete = names.len() == state.objects.len();
        Box::pin(async move { Ok(Listing { names, others: 0, is_complete }) })
    }

    fn get(&self, name: &str, limit: usize) -> BoxFuture<Result<Option<Vec<u8>>, StoreError>> {
        let hook = self.state().before_get.take();
        hook.into_iter().for_each(|hook| hook());
        let mut state = self.state();
        state.requests.push("get");
        let object = state.objects.get(name).cloned();
        state.bytes += object.as_ref().map_or(0, |object| object.len() as u64);
        let object = match object {
            Some(object) if object.len() > limit => Err(StoreError::TooLong(limit)),
            object => Ok(object),
        };
        Box::pin(async { object })
    }

    fn put(&self, name: &str, object: Vec<u8>) -> BoxFuture<Result<(), StoreError>> {
        let hook = self.state().before_put.take();
        hook.into_iter().for_each(|hook| hook());
        let mut state = self.state();
        state.requests.push("put");
        if let Some(left) = &mut state.puts_left {
            if *left == 0 {
                return Box::pin(async { Err(io::Error::other("the stick was pulled out").into()) });
            }
            *left -= 1;
        }
        state.bytes += object.len() as u64;
        assert!(state.objects.insert(name.into(), object).is_none(), "an object never replaces another");
        Box::pin(async { Ok(()) })
    }

    fn delete(&self, name: &str) -> BoxFuture<Result<(), StoreError>> {
        let mut state = self.state();
        state.requests.push("delete");
        state.objects.remove(name);
        Box::pin(async { Ok(()) })
    }
}
