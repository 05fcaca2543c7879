//! A doorkeeper for caches, as in TinyLFU: remembers hashes of keys, because a key that is seen once is not worth
//! caching.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::atomic::{AtomicU64, Ordering},
};

/// The recently seen keys, in a bounded number of slots. A collision evicts a key, or admits one too early; both are
/// harmless.
#[derive(Debug)]
pub(crate) struct Doorkeeper {
    hasher: RandomState,
    hashes: Box<[AtomicU64]>,
}

impl Doorkeeper {
    /// A doorkeeper with the given number of slots.
    pub(crate) fn new(places: usize) -> Doorkeeper {
        Doorkeeper { hasher: RandomState::new(), hashes: (0..places).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Records a key, and returns whether it was seen before.
    pub(crate) fn again(&self, key: impl Hash) -> bool {
        let hash = self.hasher.hash_one(key);
        let place = (hash as usize).checked_rem(self.hashes.len()).and_then(|place| self.hashes.get(place));
        place.is_some_and(|place| place.swap(hash, Ordering::Relaxed) == hash)
    }

    /// Forgets every key.
    pub(crate) fn clear(&self) {
        self.hashes.iter().for_each(|hash| hash.store(0, Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_seen_again_until_it_is_forgotten() {
        let seen = Doorkeeper::new(64);
        assert!(!seen.again("a"));
        assert!(seen.again("a"));
        seen.clear();
        assert!(!seen.again("a"));
        assert!(!Doorkeeper::new(0).again("a"));
    }
}
