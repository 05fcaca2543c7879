//! All connections of a listener and their peers' addresses, so that whatever runs short is taken from the peer that
//! has the most of it.
//!
//! Shares are enforced only when a resource runs short: a single API server may use everything, and all API servers
//! of a cluster may share one address. At the connection cap, a connection is evicted for a new one, starting with
//! those that never had a valid response, so that a flood evicts its own connections before those of an API server. The
//! memory held for a peer is in `budget`.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::server::http::holding::Holding;
use crate::server::http::log_throttle::LogThrottle;
use crate::server::http::metrics::{Held, HttpMetrics};
use crate::server::http::overload::Share;

/// The address of a peer. For IPv6, the first 64 bits, because the peer chooses the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Peer(IpAddr);

impl Peer {
    /// The peer of a connection.
    pub(crate) fn of(address: IpAddr) -> Peer {
        Peer(match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            address @ IpAddr::V4(_) => address,
        })
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => address.fmt(out),
            IpAddr::V6(address) => write!(out, "{address}/64"),
        }
    }
}

/// A connection, as a candidate for eviction.
pub(super) trait Member: Send + Sync {
    /// The peer it belongs to.
    fn account(&self) -> &Arc<Account>;
    /// Whether it had a valid response.
    fn is_trusted(&self) -> bool;
    /// Its state for eviction.
    fn standing(&self) -> Standing;
    /// The memory held for it.
    fn holdings(&self) -> MutexGuard<'_, Vec<Arc<Holding>>>;
    /// Closes it.
    fn evict(&self);
}

/// The state of a connection that decides about eviction.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct Standing {
    /// It had a valid response.
    pub(in crate::server) trusted: bool,
    /// How long there has been no request; `None` while there is one.
    pub(in crate::server) idle: Option<Duration>,
    /// How long the request has made no progress because of the peer.
    pub(in crate::server) stalled_for: Duration,
}

/// One peer's share of the limited resources.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) peer: Peer,
    pub(in crate::server) registry: Arc<ConnectionRegistry>,
    /// Open connections; changes under the lock of the registry.
    connections: AtomicUsize,
    /// Bytes held for it, see `budget`.
    pub(in crate::server) held: AtomicUsize,
    /// Until when it gets no more bytes, in milliseconds since the registry's start.
    pub(in crate::server) full_until: AtomicU64,
    /// Its requests during overload.
    pub(crate) share: Share,
}

impl Account {
    /// Bytes held for this peer.
    pub(in crate::server) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

/// Connections by number, in order of arrival, and their peers.
pub(crate) struct ConnectionRegistry {
    pub(in crate::server) start: Instant,
    /// Bytes that may be held for all peers together.
    pub(in crate::server) limit: usize,
    pub(in crate::server) held: Held,
    /// Held while memory is reclaimed, which examines everything: one task does it for all that wait.
    pub(in crate::server) making_room: Mutex<()>,
    pub(in crate::server) metrics: HttpMetrics,
    pub(in crate::server) reminder: LogThrottle,
    members: Mutex<Members>,
}

#[derive(Default)]
struct Members {
    next: u64,
    present: BTreeMap<u64, Arc<dyn Member>>,
    accounts: HashMap<Peer, Arc<Account>>,
}

/// A connection without a valid response that has made no progress for this long is considered stalled.
pub(in crate::server) const STALLED: Duration = Duration::from_secs(1);

impl ConnectionRegistry {
    /// A registry whose peers may make the server hold this many bytes; `held` counts them.
    pub(crate) fn new(limit: usize, held: Held, metrics: HttpMetrics) -> Arc<ConnectionRegistry> {
        Arc::new(ConnectionRegistry {
            start: Instant::now(),
            limit,
            held,
            making_room: Mutex::default(),
            metrics,
            reminder: LogThrottle::default(),
            members: Mutex::default(),
        })
    }

    /// Registers a connection of a peer. Returns its number and its peer's account.
    pub(super) fn enter<M: Member + 'static>(
        self: &Arc<Self>,
        peer: Peer,
        make: impl FnOnce(Arc<Account>) -> Arc<M>,
    ) -> (u64, Arc<M>) {
        let mut members = self.lock();
        let number = members.next;
        members.next += 1;
        let account = members.accounts.entry(peer).or_insert_with(|| {
            Arc::new(Account {
                peer,
                registry: self.clone(),
                connections: AtomicUsize::new(0),
                held: AtomicUsize::new(0),
                full_until: AtomicU64::new(0),
                share: Share::default(),
            })
        });
        account.connections.fetch_add(1, Ordering::Relaxed);
        let member = make(account.clone());
        members.present.insert(number, member.clone());
        (number, member)
    }

    /// Removes a connection.
    pub(super) fn leave(&self, number: u64, account: &Account) {
        let mut members = self.lock();
        members.present.remove(&number);
        // The account disappears with its last connection; answers being written may hold its bytes a little longer.
        if account.connections.fetch_sub(1, Ordering::Relaxed) == 1 {
            members.accounts.remove(&account.peer);
        }
    }

    /// Evicts one connection in favor of a new one of this peer, if there is a candidate.
    ///
    /// No working connection is disturbed for a peer that has as many connections itself; then only silent and
    /// stalled connections are candidates, and those idle for longer than `spared`. The peer with the most connections
    /// loses any that never had a valid response.
    pub(crate) fn evict(&self, spared: Duration, newcomer: Peer) -> bool {
        let members = self.lock();
        let count = |account: &Account| account.connections.load(Ordering::Relaxed);
        let own = members.accounts.get(&newcomer).map_or(0, |account| count(account));
        let most = members.accounts.values().map(|account| count(account)).max().unwrap_or_default();
        let candidates = members.present.values().filter_map(|activity| {
            let connections = count(activity.account());
            // The new connection's peer would have as many, so only inactive connections are evicted for it.
            let must = connections == most && most > own + 1;
            let standing = activity.standing();
            let rank = match (standing.trusted, standing.idle) {
                (false, Some(idle)) if idle > spared => 0,
                (false, None) if standing.stalled_for >= STALLED.max(spared) => 1,
                (true, Some(idle)) if idle > spared => 2,
                (false, _) if must => 3,
                (true, Some(_)) if must => 4,
                _ => return None,
            };
            let since = standing.idle.unwrap_or(standing.stalled_for);
            Some(((std::cmp::Reverse(connections), rank, std::cmp::Reverse(since)), activity))
        });
        let Some((_, activity)) = candidates.min_by_key(|(order, _)| *order) else { return false };
        let victim = activity.clone();
        drop(members);
        victim.evict();
        true
    }

    /// All registered connections.
    pub(super) fn members(&self) -> Vec<Arc<dyn Member>> {
        self.lock().present.values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ConnectionRegistry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ConnectionRegistry")
            .field("limit", &self.limit)
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(in crate::server) mod tests {
    use super::*;

    /// A registry that was created a minute ago.
    pub(in crate::server) fn registry(limit: usize) -> Arc<ConnectionRegistry> {
        let mut registry = ConnectionRegistry::new(limit, Held::default(), HttpMetrics::default());
        let earlier = Instant::now().checked_sub(Duration::from_secs(60)).unwrap();
        Arc::get_mut(&mut registry).unwrap().start = earlier;
        registry
    }

    pub(in crate::server) fn peer(last: u8) -> Peer {
        Peer::of(IpAddr::from([10, 0, 0, last]))
    }

    /// The numbers of the registered connections.
    pub(in crate::server) fn present(registry: &ConnectionRegistry) -> Vec<u64> {
        registry.lock().present.keys().copied().collect()
    }

    /// How many peers have connections.
    pub(in crate::server) fn peers(registry: &ConnectionRegistry) -> usize {
        registry.lock().accounts.len()
    }

    #[test]
    fn peers_are_addresses_and_networks_of_ipv6() {
        let named = |address: &str| Peer::of(address.parse().unwrap()).to_string();
        assert_eq!(named("10.1.2.3"), "10.1.2.3");
        assert_eq!(named("::ffff:10.1.2.3"), "10.1.2.3");
        assert_eq!(named("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
    }
}
