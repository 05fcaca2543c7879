//! The peer of a connection, checked again for each request.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hyper::HeaderMap;
use rustls::pki_types::CertificateDer;

use super::{ClientAuth, Refusal, token, verifier::Accepted};
use crate::server::clock::unix_now;

/// The peer of one connection.
pub(crate) struct Caller {
    auth: Arc<ClientAuth>,
    peer: Option<IpAddr>,
    /// The certificates it presented, its own first.
    chain: Vec<CertificateDer<'static>>,
    state: Mutex<State>,
}

/// The state of the certificate.
#[derive(Default)]
struct State {
    /// The CAs that it was last accepted with.
    accepted: Option<Accepted>,
    /// Whether it was ever accepted.
    known: bool,
}

/// The outcome for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is processed.
    Granted,
    /// It is rejected.
    Refused,
    /// It is rejected on this connection, whose certificate was accepted until recently; the client may have a newer
    /// one for another connection.
    Elsewhere,
}

/// Interval between checks if nothing expires.
const LONG: Duration = Duration::from_secs(3600);

impl Caller {
    pub(crate) fn new(
        auth: Arc<ClientAuth>,
        peer: Option<IpAddr>,
        presented: Option<&[CertificateDer<'static>]>,
    ) -> Caller {
        Caller { auth, peer, chain: presented.unwrap_or_default().to_vec(), state: Mutex::default() }
    }

    /// Checks whether a request with these headers may be processed. Problems are counted and logged.
    pub(crate) fn admit(&self, headers: &HeaderMap) -> Admission {
        let (refusal, admission) = match self.certificate() {
            Ok(()) => match self.token(headers) {
                Ok(()) => return Admission::Granted,
                Err(refusal) => (refusal, Admission::Refused),
            },
            Err(refusal) if self.state().known => (refusal, Admission::Elsewhere),
            Err(refusal) => (refusal, Admission::Refused),
        };
        if self.auth.report(&refusal, self.peer) { admission } else { Admission::Granted }
    }

    /// Waits until the certificate is no longer accepted, if that has consequences.
    pub(crate) async fn outdated(&self) {
        let mut changed = self.auth.changed.subscribe();
        if !self.auth.refuses() || self.auth.certificates.is_none() {
            return std::future::pending().await;
        }
        while self.certificate().is_ok() {
            let end = self.state().accepted.as_ref().map_or(i64::MAX, |accepted| accepted.span.1);
            let seconds = u64::try_from(end.saturating_sub(unix_now()).saturating_add(1)).unwrap_or_default();
            tokio::select! {
                told = changed.changed() => if told.is_err() { return std::future::pending().await },
                () = tokio::time::sleep(LONG.min(Duration::from_secs(seconds))) => {}
            }
        }
    }

    fn certificate(&self) -> Result<(), Refusal> {
        if self.auth.certificates.is_none() {
            return Ok(());
        }
        let now = unix_now();
        let mut state = self.state();
        let generation = self.auth.trust(now).map(|trust| trust.generation);
        if let Some(Accepted { generation: by, span }) = &state.accepted
            && Some(*by) == generation
            && span.0 <= now
            && now <= span.1
        {
            return Ok(());
        }
        state.accepted = None;
        state.accepted = Some(self.auth.verify(&self.chain).map_err(|refused| refused.refusal)?);
        state.known = true;
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn token(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        if self.auth.token_file.is_none() {
            return Ok(());
        }
        let refusal = |reason, detail: &str| Refusal { reason, detail: detail.to_owned() };
        let Some(token) = token::bearer(headers) else {
            return Err(refusal("no_token", "found no Authorization header with exactly one bearer token"));
        };
        match self.auth.tokens.load().as_ref() {
            Some(tokens) if tokens.accept(token) => Ok(()),
            _ => Err(refusal("wrong_token", "found a token that is not in --client-token-file")),
        }
    }
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Caller").field("peer", &self.peer).finish_non_exhaustive()
    }
}
