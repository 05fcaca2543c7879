//! Reading a request's body: within its size, within all bodies' size, within its time.

use std::{sync::Arc, time::Duration};

use axum::{body::Body, http::HeaderMap, http::header::CONTENT_LENGTH};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Why a body was not read.
#[derive(Debug)]
pub(super) enum Refused {
    /// Larger than one body may be; the rest of it is still to come.
    TooLarge(Body),
    /// All bodies together are larger than they may be.
    Crowded(Body),
    /// It did not arrive in time.
    Late,
    /// The peer went away, or spoke no HTTP.
    Gone,
}

/// A body in memory.
pub(super) struct Held {
    pub(super) bytes: Vec<u8>,
    /// Gives the memory back.
    _memory: Option<OwnedSemaphorePermit>,
}

/// Reads a body. `memory` has one permit for each byte that bodies may hold together.
pub(super) async fn read(
    headers: &HeaderMap,
    mut body: Body,
    limit: usize,
    memory: &Arc<Semaphore>,
    within: Duration,
) -> Result<Held, Refused> {
    let announced =
        headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(Refused::TooLarge(body));
    }
    let deadline = tokio::time::Instant::now() + within;
    // A peer that announces much may send little: memory is taken as bytes arrive.
    let mut bytes = Vec::with_capacity(announced.unwrap_or_default().min(64 << 10));
    let mut held: Option<OwnedSemaphorePermit> = None;
    loop {
        let frame = match tokio::time::timeout_at(deadline, body.frame()).await {
            Err(_) => return Err(Refused::Late),
            Ok(None) => return Ok(Held { bytes, _memory: held }),
            Ok(Some(Err(_))) => return Err(Refused::Gone),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        if data.len() > limit - bytes.len() {
            return Err(Refused::TooLarge(body));
        }
        let Ok(more) = memory.clone().try_acquire_many_owned(u32::try_from(data.len()).unwrap_or(u32::MAX))
        else {
            return Err(Refused::Crowded(body));
        };
        match &mut held {
            Some(held) => held.merge(more),
            None => held = Some(more),
        }
        bytes.extend_from_slice(&data);
    }
}

/// Reads on for a moment and throws it away, so that the peer gets to read the answer: closing a connection with
/// unread bytes makes the kernel reset it, and the answer is lost with it.
pub(super) fn linger(mut body: Body) {
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
