//! Reading a request's body: within its size, within all bodies' size, within its time.

use std::{sync::Arc, time::Duration};

use http_body_util::BodyExt;
use hyper::{
    HeaderMap,
    body::{Bytes, Incoming},
    header::CONTENT_LENGTH,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

/// Why a body was not read.
#[derive(Debug)]
pub(super) enum Refused {
    /// Larger than one body may be; the rest of it is still to come.
    TooLarge(Incoming),
    /// All bodies together are larger than they may be.
    Crowded(Incoming),
    /// It did not arrive in time.
    Late,
    /// The peer went away, or spoke no HTTP.
    Gone,
}

/// A body in memory.
pub(super) struct Held {
    pub(super) bytes: Bytes,
    /// Gives the memory back.
    _memory: Option<OwnedSemaphorePermit>,
}

/// Reads a body until `deadline`. `memory` has one permit for each byte that bodies may hold together.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Incoming,
    limit: usize,
    memory: &Arc<Semaphore>,
    deadline: Instant,
) -> Result<Held, Refused> {
    let announced = announced(headers);
    if announced.is_some_and(|length| length > limit) {
        return Err(Refused::TooLarge(body));
    }
    let gathered = gather(body, announced.unwrap_or_default(), limit, memory);
    timeout_at(deadline, gathered).await.unwrap_or(Err(Refused::Late))
}

fn announced(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

async fn gather(
    mut body: Incoming,
    announced: usize,
    limit: usize,
    memory: &Arc<Semaphore>,
) -> Result<Held, Refused> {
    let mut first = Bytes::new();
    let mut bytes = Vec::new();
    let mut held: Option<OwnedSemaphorePermit> = None;
    loop {
        let frame = match body.frame().await {
            None if bytes.is_empty() => return Ok(Held { bytes: first, _memory: held }),
            None => return Ok(Held { bytes: bytes.into(), _memory: held }),
            Some(Err(_)) => return Err(Refused::Gone),
            Some(Ok(frame)) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        if data.len() > limit - bytes.len().max(first.len()) {
            return Err(Refused::TooLarge(body));
        }
        // A peer that announces much may send little: memory is taken as bytes arrive.
        let Ok(more) = memory.clone().try_acquire_many_owned(u32::try_from(data.len()).unwrap_or(u32::MAX))
        else {
            return Err(Refused::Crowded(body));
        };
        match &mut held {
            Some(held) => held.merge(more),
            None => held = Some(more),
        }
        if first.is_empty() {
            // Most bodies come in one piece, which is used where it is.
            first = data;
            continue;
        }
        if bytes.is_empty() {
            // The system gives memory when it is written to: room for what is announced costs nothing yet, and saves
            // copying what has arrived each time more arrives.
            bytes.reserve_exact(announced.max(first.len() + data.len()));
            bytes.extend_from_slice(&first);
        }
        bytes.extend_from_slice(&data);
    }
}

/// Bodies up to this size are read and thrown away so that their connection can be used again; the connection of a
/// larger one is closed.
const CHEAP: usize = 64 << 10;

/// Throws away the body of a request that is refused as such, not because of its body. Gives false if the rest of it is
/// still to come.
pub(super) async fn discard(headers: &HeaderMap, mut body: Incoming, deadline: Instant) -> bool {
    if announced(headers).is_none_or(|length| length > CHEAP) {
        linger(body);
        return false;
    }
    let discarded = async { while let Some(Ok(_)) = body.frame().await {} };
    timeout_at(deadline, discarded).await.is_ok()
}

/// Reads on for a moment and throws it away, so that the peer gets to read the answer: closing a connection with
/// unread bytes makes the kernel reset it, and the answer is lost with it.
pub(super) fn linger(mut body: Incoming) {
    const MOMENT: Duration = Duration::from_secs(2);
    const BYTES: usize = 32 << 20;
    tokio::spawn(async move {
        let read = async {
            let mut bytes = 0;
            while let Some(Ok(frame)) = body.frame().await {
                bytes += frame.data_ref().map_or(0, |data| data.len());
                if bytes > BYTES {
                    break;
                }
            }
        };
        let _ = tokio::time::timeout(MOMENT, read).await;
    });
}
