//! A doorkeeper for caches, as in TinyLFU: what was met before, remembered by its hash. What comes once is not worth keeping.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::atomic::{AtomicU64, Ordering},
};

/// Which keys were met lately, in a bounded number of places. To be mistaken costs a key its place or gives it one too
/// early.
#[derive(Debug)]
pub(crate) struct Doorkeeper {
    hasher: RandomState,
    hashes: Box<[AtomicU64]>,
}

impl Doorkeeper {
    /// Room for so many keys.
    pub(crate) fn new(places: usize) -> Doorkeeper {
        Doorkeeper { hasher: RandomState::new(), hashes: (0..places).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Notes a key, and says whether it was noted before.
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
