//! Turns for large bodies: only a few are processed at once, and peers take turns.
//!
//! The next turn goes to the peer with the fewest turns in progress and, among these, the longest wait since its last
//! one, so that a peer that sends one body after another only delays itself. When too many wait, the peer with the
//! most loses its latest.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use crate::server::http::registry::Peer;

/// The bodies that are being processed or waiting.
#[derive(Debug)]
pub(crate) struct Turns {
    /// Bytes processed at once; a larger body is processed alone.
    bytes: usize,
    /// Maximum number of bodies being processed or waiting.
    limit: usize,
    queue: Mutex<Queue>,
}

#[derive(Debug)]
struct Queue {
    free: usize,
    free_bytes: usize,
    /// Numbers the turns.
    next: u64,
    peers: HashMap<Peer, PeerHistory>,
    /// In order of arrival.
    waiting: Vec<Waiter>,
}

/// The history of a peer.
#[derive(Clone, Copy, Debug, Default)]
struct PeerHistory {
    running: usize,
    last: u64,
}

#[derive(Debug)]
struct Waiter {
    peer: Peer,
    bytes: usize,
    turn: oneshot::Sender<Turn>,
}

/// The turn of a body, which ends on drop.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Arc<Turns>,
    peer: Peer,
    bytes: usize,
}

impl Turns {
    pub(crate) fn new(places: usize, bytes: usize, limit: usize) -> Arc<Turns> {
        let queue =
            Queue { free: places, free_bytes: bytes, next: 0, peers: HashMap::new(), waiting: Vec::new() };
        Arc::new(Turns { bytes, limit, queue: Mutex::new(queue) })
    }

    /// Waits for a turn; `None` if too many wait and this peer has the most of them.
    pub(crate) async fn take(self: &Arc<Self>, peer: Peer, bytes: usize) -> Option<Turn> {
        let (turn, mine) = oneshot::channel();
        let waiter = Waiter { peer, bytes: bytes.min(self.bytes), turn };
        self.join(waiter)?;
        self.grant();
        mine.await.ok()
    }

    fn join(&self, waiter: Waiter) -> Option<()> {
        let mut queue = self.lock();
        queue.waiting.retain(|waiter| !waiter.turn.is_closed());
        let running: usize = queue.peers.values().map(|had| had.running).sum();
        if running + queue.waiting.len() >= self.limit {
            let mut counts = HashMap::<Peer, usize>::new();
            for waiter in &queue.waiting {
                *counts.entry(waiter.peer).or_default() += 1;
            }
            let own = counts.get(&waiter.peer).copied().unwrap_or_default();
            let (most, count) = counts.into_iter().max_by_key(|(peer, count)| (*count, *peer))?;
            if count <= own + 1 {
                return None;
            }
            let latest = queue.waiting.iter().rposition(|waiter| waiter.peer == most)?;
            queue.waiting.remove(latest);
        }
        queue.waiting.push(waiter);
        Some(())
    }

    /// Starts the turns for which there is capacity.
    fn grant(self: &Arc<Self>) {
        // Dropped after the queue is unlocked, because dropping locks it.
        let mut unwanted = Vec::new();
        let mut queue = self.lock();
        queue.waiting.retain(|waiter| !waiter.turn.is_closed());
        while queue.free > 0 {
            let had = |waiter: &Waiter| queue.peers.get(&waiter.peer).copied().unwrap_or_default();
            let order = |waiter: &Waiter| (had(waiter).running, had(waiter).last);
            let next = queue.waiting.iter().enumerate().min_by_key(|(at, waiter)| (order(waiter), *at));
            let Some((at, bytes)) = next.map(|(at, waiter)| (at, waiter.bytes)) else { break };
            if bytes > queue.free_bytes {
                break;
            }
            let Waiter { peer, bytes, turn } = queue.waiting.remove(at);
            queue.free -= 1;
            queue.free_bytes -= bytes;
            queue.next += 1;
            let last = queue.next;
            let had = queue.peers.entry(peer).or_default();
            had.running += 1;
            had.last = last;
            unwanted.extend(turn.send(Turn { turns: self.clone(), peer, bytes }).err());
        }
        drop(queue);
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut queue = self.turns.lock();
        queue.free += 1;
        queue.free_bytes += self.bytes;
        if let Some(had) = queue.peers.get_mut(&self.peer) {
            had.running -= 1;
        }
        let queue_of = &mut *queue;
        let waits = |peer: &Peer| queue_of.waiting.iter().any(|waiter| waiter.peer == *peer);
        queue_of.peers.retain(|peer, had| had.running > 0 || waits(peer));
        drop(queue);
        self.turns.grant();
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use futures::FutureExt;

    use super::*;

    fn peer(last: u8) -> Peer {
        Peer::of(IpAddr::from([127, 0, 0, last]))
    }

    //
    #[tokio::test]
    async fn peers_take_turns_however_many_of_one_wait() {
        let turns = Turns::new(1, 100, 10);
        let first = turns.take(peer(1), 1).await.unwrap();
        let mut of_one: Vec<_> = (0..3).map(|_| Box::pin(turns.take(peer(1), 1))).collect();
        for waiting in &mut of_one {
            assert!(waiting.now_or_never().is_none());
        }
        let mut of_two = Box::pin(turns.take(peer(2), 1));
        assert!((&mut of_two).now_or_never().is_none());
        drop(first);
        let second = (&mut of_two).now_or_never().unwrap().unwrap();
        assert!((&mut of_one[0]).now_or_never().is_none());
        drop(second);
        assert!((&mut of_one[0]).now_or_never().unwrap().is_some());
        assert!((&mut of_one[1]).now_or_never().unwrap().is_some(), "a turn that is dropped is over");
    }

    //
    #[tokio::test]
    async fn the_peer_that_has_most_makes_way() {
        let turns = Turns::new(1, 100, 4);
        let running = turns.take(peer(1), 1).await;
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(turns.take(peer(1), 1))).collect();
        for waiting in &mut waiting {
            assert!(waiting.now_or_never().is_none());
        }
        assert!(turns.take(peer(1), 1).now_or_never().unwrap().is_none(), "it has all there are");
        let mut other = Box::pin(turns.take(peer(2), 1));
        assert!((&mut other).now_or_never().is_none());
        assert!((&mut waiting[2]).now_or_never().unwrap().is_none(), "the latest lost its place");
        assert!((&mut waiting[1]).now_or_never().is_none());
        drop(running);
        assert!((&mut other).now_or_never().unwrap().is_some());
    }

    #[tokio::test]
    async fn who_gave_up_is_passed_over_and_large_ones_are_judged_alone() {
        let turns = Turns::new(3, 100, 10);
        let large = turns.take(peer(1), 1000).await.unwrap();
        let mut gone = Box::pin(turns.take(peer(1), 1));
        assert!((&mut gone).now_or_never().is_none());
        drop(gone);
        let mut next = Box::pin(turns.take(peer(1), 60));
        assert!((&mut next).now_or_never().is_none());
        drop(large);
        let _next = (&mut next).now_or_never().unwrap().unwrap();
        assert!(turns.take(peer(1), 40).now_or_never().unwrap().is_some());
        assert!(turns.take(peer(1), 41).now_or_never().is_none());
    }
}
