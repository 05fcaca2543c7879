//! Reads a request's body within its size limit, the memory budget of all peers, and its deadline.
//!
//! Most bodies are small and arrive at once; they cost nothing here. A body that is waited for has a share of the
//! budget, and is reclaimed when other peers need more, or when it arrives too slowly.

use std::{
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use http_body_util::BodyExt;
use hyper::{
    HeaderMap,
    body::{Body, Bytes, Frame},
    header::{CONTENT_LENGTH, EXPECT},
};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::server::http::budget::Claim;
use crate::server::http::state::ConnectionState;
use crate::server::webhook::refusal::{Refusal, Shed};

/// Limits on a body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Maximum size in bytes.
    pub(super) limit: usize,
    /// The deadline.
    pub(super) deadline: Instant,
    /// Grace period in which it may arrive at any rate.
    pub(super) grace: Duration,
    /// Minimum rate in bytes per second after that.
    pub(super) rate: usize,
}

/// A body in memory.
pub(super) struct Held {
    pub(super) bytes: Bytes,
    /// Its share of the budget, if it is large or had to be waited for.
    pub(super) claim: Option<Claim>,
}

/// Bodies up to this size have no share of the budget if they arrive at once.
const SMALL: usize = 64 << 10;

/// Gives a waiting request its share of the budget.
pub(super) fn claim(headers: &HeaderMap, connection: &Arc<ConnectionState>) -> Result<Claim, Refusal> {
    let claim = Claim::body(connection).ok_or(Refusal::Shed(Shed::Body))?;
    let bytes = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if claim.grow(bytes) { Ok(claim) } else { Err(Refusal::Shed(Shed::Body)) }
}

/// Reads a body. `held` is the request's existing share of the budget.
pub(super) async fn read(
    headers: &HeaderMap,
    body: impl Body<Data = Bytes> + Send,
    held: Option<Claim>,
    connection: &Arc<ConnectionState>,
    terms: Terms,
) -> Result<Held, Refusal> {
    let announced = announced(headers);
    if announced.is_some_and(|length| length > terms.limit) {
        return Err(Refusal::BodyTooLarge { limit: terms.limit });
    }
    let mut body = pin!(body);
    let mut gathered = Gathered { announced: announced.unwrap_or_default(), ..Gathered::default() };
    let mut waiting = held.map(|claim| Waiting::begin(claim, terms));
    loop {
        let frame = match &mut waiting {
            Some(waiting) => waiting.next(body.as_mut(), gathered.len()).await?,
            None => {
                match std::future::poll_fn(|context| Poll::Ready(body.as_mut().poll_frame(context))).await {
                    Poll::Ready(frame) => frame,
                    Poll::Pending => {
                        let claim = claim(headers, connection)?;
                        if !claim.grow(gathered.len()) {
                            return Err(Refusal::Shed(Shed::Body));
                        }
                        waiting = Some(Waiting::begin(claim, terms));
                        continue;
                    }
                }
            }
        };
        let frame = match frame {
            None => break,
            Some(Err(_)) => return Err(Refusal::ClientGone),
            Some(Ok(frame)) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        if data.len() > terms.limit - gathered.len() {
            return Err(Refusal::BodyTooLarge { limit: terms.limit });
        }
        // A peer that announces a large body may send little, so memory is counted as bytes arrive.
        let room = match &waiting {
            Some(waiting) => waiting.claim.grow(data.len()),
            None if gathered.len() + data.len() <= SMALL => true,
            None => {
                let claim = claim(headers, connection)?;
                let room = claim.grow(gathered.len() + data.len());
                waiting = Some(Waiting::begin(claim, terms));
                room
            }
        };
        if !room {
            return Err(Refusal::Shed(Shed::Body));
        }
        gathered.add(data);
        if body.is_end_stream() {
            break;
        }
    }
    let claim = waiting.map(|waiting| waiting.claim);
    if let Some(claim) = &claim {
        claim.complete();
    }
    Ok(Held { bytes: gathered.whole(), claim })
}

/// The announced size of a body.
fn announced(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The part of the body that has arrived.
#[derive(Default)]
struct Gathered {
    announced: usize,
    first: Bytes,
    bytes: Vec<u8>,
}

impl Gathered {
    fn len(&self) -> usize {
        self.bytes.len().max(self.first.len())
    }

    fn add(&mut self, data: Bytes) {
        if self.first.is_empty() {
            // Most bodies arrive in one piece, which is used in place.
            self.first = data;
            return;
        }
        if self.bytes.is_empty() {
            // The system provides memory when it is written to: capacity for the announced size costs nothing yet,
            // and avoids copying the earlier bytes each time more arrive.
            self.bytes.reserve_exact(self.announced.max(self.first.len() + data.len()));
            self.bytes.extend_from_slice(&self.first);
        }
        self.bytes.extend_from_slice(&data);
    }

    fn whole(self) -> Bytes {
        if self.bytes.is_empty() { self.first } else { self.bytes.into() }
    }
}

/// A body that is waited for.
struct Waiting {
    claim: Claim,
    terms: Terms,
    began: Instant,
    timer: Pin<Box<tokio::time::Sleep>>,
}

type Next<E> = Option<Result<Frame<Bytes>, E>>;

impl Waiting {
    fn begin(claim: Claim, terms: Terms) -> Waiting {
        let began = Instant::now();
        let timer = Box::pin(sleep_until(terms.deadline.min(began + terms.grace)));
        Waiting { claim, terms, began, timer }
    }

    /// The next piece of a body, after this many bytes have arrived.
    async fn next<B: Body<Data = Bytes>>(
        &mut self,
        mut body: Pin<&mut B>,
        there: usize,
    ) -> Result<Next<B::Error>, Refusal> {
        std::future::poll_fn(|context| {
            if let Poll::Ready(frame) = body.as_mut().poll_frame(context) {
                return Poll::Ready(Ok(frame));
            }
            if self.claim.poll_given_up(context).is_ready() {
                return Poll::Ready(Err(Refusal::Shed(Shed::Body)));
            }
            while self.timer.as_mut().poll(context).is_ready() {
                let now = Instant::now();
                if now >= self.terms.deadline {
                    return Poll::Ready(Err(Refusal::BodyTimeout));
                }
                let slow_from = self.terms.slow_from(self.began, there);
                if now >= slow_from {
                    return Poll::Ready(Err(Refusal::BodyTooSlow { rate: self.terms.rate }));
                }
                self.timer.as_mut().reset(self.terms.deadline.min(slow_from));
            }
            Poll::Pending
        })
        .await
    }
}

impl Terms {
    /// The time from which a body is too slow if nothing more of it arrives.
    fn slow_from(self, began: Instant, there: usize) -> Instant {
        // Bodies are far below 2^52 bytes.
        let paid_for = Duration::from_secs_f64(there as f64 / self.rate.max(1) as f64);
        began + self.grace + paid_for
    }
}

/// Bodies up to this size are read and discarded so that their connection can be reused; the connection of a larger
/// one is closed.
const CHEAP: usize = 64 << 10;
/// How long to wait for them. API servers send header and body at once.
const SHORTLY: Duration = Duration::from_secs(1);

/// Discards the body of a request that is refused for a reason other than its body. Returns false if the rest of it
/// is still to come.
pub(super) async fn discard(headers: &HeaderMap, body: impl Body + Send) -> bool {
    let mut body = pin!(body);
    if body.is_end_stream() {
        return true;
    }
    // A client that expects a 100 has not sent the body, and is told not to.
    if headers.contains_key(EXPECT) || announced(headers).is_none_or(|length| length > CHEAP) {
        return false;
    }
    let discarded = async {
        while let Some(frame) = body.frame().await {
            if frame.is_err() {
                return false;
            }
        }
        true
    };
    timeout_at(Instant::now() + SHORTLY, discarded).await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    // H-02
    #[test]
    fn a_body_has_to_come_at_a_rate_once_its_grace_is_over() {
        let began = Instant::now();
        let (grace, rate) = (Duration::from_secs(5), 4096);
        let terms = Terms { limit: 1 << 20, deadline: began + Duration::from_secs(15), grace, rate };
        for (there, seconds) in [(0, 5.0), (1, 5.0 + 1.0 / 4096.0), (4096, 6.0), (40_960, 15.0)] {
            assert_eq!(terms.slow_from(began, there) - began, Duration::from_secs_f64(seconds), "{there}");
        }
    }
}
