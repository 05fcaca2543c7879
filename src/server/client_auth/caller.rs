//! Whoever is at the other end of a connection, asked again at each request.

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
    /// What it presented, its own certificate first.
    chain: Vec<CertificateDer<'static>>,
    state: Mutex<State>,
}

/// What is known of the certificate.
#[derive(Default)]
struct State {
    /// By what it was accepted last.
    accepted: Option<Accepted>,
    /// Whether it ever was.
    known: bool,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is answered.
    Granted,
    /// It is refused.
    Refused,
    /// It is refused on this connection, whose certificate was accepted until a moment ago: another connection may have
    /// a newer one.
    Elsewhere,
}

/// Where nothing ends, this is looked at again after this time.
const LONG: Duration = Duration::from_secs(3600);

impl Caller {
    pub(crate) fn new(
        auth: Arc<ClientAuth>,
        peer: Option<IpAddr>,
        presented: Option<&[CertificateDer<'static>]>,
    ) -> Caller {
        Caller { auth, peer, chain: presented.unwrap_or_default().to_vec(), state: Mutex::default() }
    }

    /// Whether a request with these headers may be answered; what speaks against it is counted and logged.
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

    /// Waits until the certificate is accepted no more, where that has consequences.
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
            return Err(refusal("no_token", "found no header Authorization with one bearer token"));
        };
        match self.auth.tokens.load().as_ref() {
            Some(tokens) if tokens.accept(token) => Ok(()),
            _ => Err(refusal("wrong_token", "found a token that is none of --client-token-file")),
        }
    }
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Caller").field("peer", &self.peer).finish_non_exhaustive()
    }
}
