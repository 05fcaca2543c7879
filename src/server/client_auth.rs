//! Authentication of clients that call the webhook: a client certificate, a bearer token, or both.
//!
//! Off by default, because an API server presents neither until it is configured to. In reading order: `authority`
//! (the CAs that sign client certificates), `names` (the names in a certificate), `token`, `verifier` (the
//! handshake), `caller` (one connection, checked again for each request).
//!
//! A new CA and the end of a certificate's validity take effect with the next request, even on open connections. Such
//! connections are told to close, so that clients reconnect with their current certificate. TLS sessions are not
//! resumed while certificates are requested, because a resumed session would carry a certificate that was verified
//! with the CAs in effect at that time. API servers do not resume sessions.
//!
//! The ConfigMap with a CA is watched by `config_map`.

mod authority;
mod caller;
pub(in crate::server) mod config_map;
pub(in crate::server) mod metrics;
mod names;
mod token;
mod verifier;

use std::{
    collections::BTreeMap,
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use rustls::server::danger::ClientCertVerifier;
use tokio::{sync::watch, time::Instant};

use self::metrics::ClientAuthMetrics;
pub use self::names::AllowedNames;
use self::{
    authority::{Authorities, Trust},
    token::Tokens,
};
pub(crate) use self::{
    caller::{Admission, Caller},
    token::bearer,
    verifier::{Verifier, no_certificate, noting, part},
};
use crate::server::clock::unix_now;
use crate::server::readiness::{Gate, Readiness};
use crate::server::reading;
use crate::server::tls::chain::date;

/// Options for client authentication.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether clients are authenticated.
    pub mode: Mode,
    /// Client certificates to require.
    pub certificates: Option<Certificates>,
    /// A file with the accepted tokens, one per line.
    pub token_file: Option<PathBuf>,
}

/// Whether callers are authenticated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Every client may call.
    #[default]
    None,
    /// Every client may call; those that [`Mode::Require`] would reject are logged and counted.
    Request,
    /// Unauthenticated clients are rejected.
    Require,
}

/// Which certificates are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificates {
    /// The CA that signs them.
    pub ca: CaSource,
    /// The names they must have.
    pub names: AllowedNames,
    /// Accept the CA of the cluster's own components. Many parties have certificates from it, so names are required
    /// with it. A missing file disables it.
    pub cluster_ca: PathBuf,
}

/// The source of the CA for client certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaSource {
    /// A PEM file, read again whenever it changes.
    File(PathBuf),
    /// A key of a ConfigMap, which is watched.
    ConfigMap(ConfigMapKey),
}

/// A key of a ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigMapKey {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The key.
    pub key: String,
}

/// The path of the cluster's CA in every pod with a ServiceAccount token.
pub const CLUSTER_CA: &str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";
/// The ConfigMap in which API servers publish the CAs of users and of the aggregation layer.
const SHARED_CONFIG_MAP: (&str, &str) = ("kube-system", "extension-apiserver-authentication");

/// Why clients cannot be authenticated.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The CA.
    #[error("client CA rejected: {0}")]
    Authority(String),
    /// The tokens.
    #[error("client tokens rejected: {0}")]
    Tokens(String),
    /// The options contradict each other.
    #[error("{0}")]
    Contradiction(&'static str),
}

/// Why a client is rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// A label value for metrics.
    pub(crate) reason: &'static str,
    /// What was found and what was expected: for the log, not for the client.
    pub(crate) detail: String,
}

/// Authenticates clients.
pub(crate) struct ClientAuth {
    mode: Mode,
    certificates: Option<Certificates>,
    /// The CAs in use, once there are any.
    trust: ArcSwapOption<Trust>,
    /// Notifies about every change of the CAs.
    changed: watch::Sender<()>,
    token_file: Option<PathBuf>,
    tokens: ArcSwapOption<Tokens>,
    /// Why the newest CA and the newest tokens were rejected.
    troubles: Mutex<[Option<String>; 2]>,
    gate: Gate,
    metrics: ClientAuthMetrics,
    /// When each reason was last logged, and how many events were not logged since.
    told: Mutex<BTreeMap<&'static str, (Instant, u64)>>,
}

/// Indices into the problems.
const CA: usize = 0;
const TOKENS: usize = 1;
/// Name of the gate.
const GATE: &str = "client-auth";
/// Log interval per reason, however many clients are rejected for it.
const TOLD_EVERY: Duration = Duration::from_secs(10);
/// Maximum size of a CA file or list of tokens.
const FILE_BYTES: u64 = 1 << 20;

impl Options {
    /// The watched files.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        if self.mode == Mode::None {
            return Vec::new();
        }
        let ca = match self.certificates.as_ref().map(|certificates| &certificates.ca) {
            Some(CaSource::File(file)) => Some(file.clone()),
            _ => None,
        };
        ca.into_iter().chain(self.token_file.clone()).collect()
    }

    /// The watched ConfigMap.
    pub(crate) fn config_map(&self) -> Option<&ConfigMapKey> {
        match (self.mode, self.certificates.as_ref().map(|certificates| &certificates.ca)) {
            (Mode::Request | Mode::Require, Some(CaSource::ConfigMap(key))) => Some(key),
            _ => None,
        }
    }
}

impl fmt::Display for ConfigMapKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}:{}", self.namespace, self.name, self.key)
    }
}

impl FromStr for ConfigMapKey {
    type Err = String;

    /// Parses `NAMESPACE/NAME:KEY`.
    fn from_str(text: &str) -> Result<ConfigMapKey, String> {
        let parts =
            text.split_once('/').and_then(|(namespace, rest)| Some((namespace, rest.split_once(':')?)));
        let is_good = |part: &str| {
            !part.is_empty()
                && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))
        };
        match parts {
            Some((namespace, (name, key))) if [namespace, name, key].into_iter().all(is_good) => {
                Ok(ConfigMapKey { namespace: namespace.into(), name: name.into(), key: key.into() })
            }
            _ => Err(format!("found {text:?}; expected NAMESPACE/NAME:KEY of a ConfigMap")),
        }
    }
}

impl ConfigMapKey {
    /// Whether its CA also signs certificates of clients other than API servers that call webhooks.
    fn is_shared(&self) -> bool {
        (self.namespace.as_str(), self.name.as_str()) == SHARED_CONFIG_MAP
    }
}

impl ClientAuth {
    /// Loads the files. Returns `None` if every client may call.
    ///
    /// # Errors
    /// When a file is rejected, or no option says how to authenticate clients.
    pub(crate) fn new(
        options: &Options,
        readiness: &Readiness,
        metrics: ClientAuthMetrics,
    ) -> Result<Option<Arc<ClientAuth>>, Error> {
        let Options { mode, certificates, token_file } = options.clone();
        if mode == Mode::None {
            return Ok(None);
        }
        if certificates.is_none() && token_file.is_none() {
            return Err(Error::Contradiction(
                "client authentication needs a client CA or a file with tokens",
            ));
        }
        if let Some(Certificates { ca: CaSource::ConfigMap(key), names: AllowedNames::Any, .. }) =
            &certificates
            && key.is_shared()
        {
            return Err(Error::Authority(SHARED.to_owned()));
        }
        let gate = readiness.gate(GATE, "client CA not loaded yet");
        if mode == Mode::Request {
            // No client is rejected, so nothing is waited for.
            gate.open_with("", gate.state().problem);
        }
        let auth = ClientAuth {
            mode,
            certificates,
            trust: ArcSwapOption::empty(),
            changed: watch::Sender::new(()),
            token_file,
            tokens: ArcSwapOption::empty(),
            troubles: Mutex::default(),
            gate,
            metrics,
            told: Mutex::default(),
        };
        auth.read()?;
        Ok(Some(Arc::new(auth)))
    }

    /// Reads the files again. A rejected file keeps its previous content in effect.
    ///
    /// # Errors
    /// When one of them is rejected.
    pub(crate) fn read(&self) -> Result<(), Error> {
        let ca = match self.certificates.as_ref().map(|certificates| &certificates.ca) {
            Some(CaSource::File(file)) => {
                self.install(read(file), |text| format!("{}: {text}", file.display()))
            }
            _ => Ok(()),
        };
        let tokens = self.token_file.as_ref().map_or(Ok(()), |file| self.read_tokens(file));
        ca.and(tokens)
    }

    /// Applies the CAs in a PEM text, or keeps the last good ones.
    ///
    /// # Errors
    /// When the text is rejected.
    pub(crate) fn install_ca(&self, text: &[u8], place: &str) -> Result<(), Error> {
        self.install(Ok(text.to_vec()), |problem| format!("{place}: {problem}"))
    }

    fn install(&self, text: Result<Vec<u8>, String>, placed: impl Fn(&str) -> String) -> Result<(), Error> {
        let now = unix_now();
        let read =
            text.and_then(|text| Authorities::parse(&text, now)).and_then(|found| self.unshared(found));
        match read {
            Ok(authorities) => {
                let not_after = authorities.not_after();
                let detail = authorities.to_string();
                let before = self.trust.load();
                if before.as_ref().is_none_or(|trust| trust.authorities != authorities) {
                    self.trust.store(Some(Arc::new(Trust::at(authorities, now))));
                    self.changed.send_replace(());
                    if before.is_some() {
                        tracing::info!(authorities = detail, "client CA changed");
                    }
                }
                self.metrics.ca_loaded(Some(not_after));
                self.trouble(CA, None);
                Ok(())
            }
            Err(problem) => {
                let problem = placed(&problem);
                self.refused_ca(&problem);
                Err(Error::Authority(problem))
            }
        }
    }

    /// Records that a new CA was rejected, and why.
    pub(crate) fn refused_ca(&self, problem: &str) {
        self.metrics.ca_loaded(None);
        if self.trust.load().is_some() {
            tracing::error!(error = problem, "client CA rejected; keeping the last good one");
            self.trouble(CA, Some(format!("the newest client CA was rejected: {problem}")));
        } else {
            tracing::error!(error = problem, "client CA rejected; no earlier one to keep");
            self.trouble(CA, Some(format!("the client CA was rejected: {problem}")));
        }
    }

    /// Records or clears a problem with the CA or the tokens, and publishes it.
    fn trouble(&self, with: usize, trouble: Option<String>) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of) = troubles.get_mut(with) {
            *of = trouble;
        }
        let all: Vec<&str> = troubles.iter().flatten().map(String::as_str).collect();
        let problem = (!all.is_empty()).then(|| all.join("; "));
        let trust = self.trust.load();
        match (&self.certificates, trust.as_ref(), problem) {
            (None, _, problem) => drop(self.gate.open_with("tokens", problem)),
            (Some(_), Some(trust), problem) => {
                drop(self.gate.open_with(trust.authorities.to_string(), problem));
            }
            // Still closed, unless no client is rejected.
            (Some(_), None, Some(problem)) => self.gate.trouble(problem),
            (Some(_), None, None) => {}
        }
    }

    /// Without names, a CA of the whole cluster would admit every client with a certificate from it.
    fn unshared(&self, authorities: Authorities) -> Result<Authorities, String> {
        match &self.certificates {
            Some(Certificates { names: AllowedNames::Any, cluster_ca, .. }) => {
                let of_cluster = std::fs::read(cluster_ca).unwrap_or_default();
                if authorities.has_any_of(&of_cluster) { Err(SHARED.to_owned()) } else { Ok(authorities) }
            }
            _ => Ok(authorities),
        }
    }

    fn read_tokens(&self, file: &Path) -> Result<(), Error> {
        match read(file).and_then(|text| Tokens::parse(&zeroize::Zeroizing::new(text))) {
            Ok(tokens) => {
                self.tokens.store(Some(Arc::new(tokens)));
                self.metrics.tokens_loaded(true);
                self.trouble(TOKENS, None);
                Ok(())
            }
            Err(problem) => {
                let problem = format!("{}: {problem}", file.display());
                self.metrics.tokens_loaded(false);
                self.trouble(TOKENS, Some(format!("the newest client tokens were rejected: {problem}")));
                tracing::error!(error = problem, "client tokens rejected; keeping the last good ones");
                Err(Error::Tokens(problem))
            }
        }
    }

    /// Whether unauthenticated clients are rejected.
    pub(crate) fn refuses(&self) -> bool {
        self.mode == Mode::Require
    }

    /// The certificate verifier for handshakes, if certificates are requested.
    pub(crate) fn verifier(self: &Arc<Self>) -> Option<Arc<dyn ClientCertVerifier>> {
        self.certificates
            .is_some()
            .then(|| Arc::new(Verifier::new(self.clone())) as Arc<dyn ClientCertVerifier>)
    }

    /// The CAs that are valid now.
    fn trust(&self, now: i64) -> Option<Arc<Trust>> {
        let trust = self.trust.load_full()?;
        if trust.counts_at(now) {
            return Some(trust);
        }
        // One has expired or become valid.
        let next = Arc::new(Trust::at(trust.authorities.clone(), now));
        // CAs that were installed in the meantime stay.
        self.trust.compare_and_swap(&Some(trust), Some(next.clone()));
        Some(next)
    }

    /// Counts a client that is rejected or would be, and logs it at a limited rate. Returns whether it is rejected.
    pub(crate) fn report(&self, refusal: &Refusal, peer: Option<IpAddr>) -> bool {
        let refused = self.refuses();
        let Refusal { reason, detail } = refusal;
        self.metrics.failed(reason, refused);
        if let Some(more) = self.tell(reason) {
            let peer = peer.map(tracing::field::display);
            if refused {
                tracing::warn!(reason, peer, detail, more, "client rejected");
            } else {
                tracing::warn!(
                    reason,
                    peer,
                    detail,
                    more,
                    "client would be rejected by --client-auth=require"
                );
            }
        }
        refused
    }

    /// Whether a reason is to be logged now; returns how many events were not logged since the last time.
    fn tell(&self, reason: &'static str) -> Option<u64> {
        let now = Instant::now();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match told.get_mut(reason) {
            Some((at, more)) if now.duration_since(*at) < TOLD_EVERY => {
                *more += 1;
                None
            }
            Some((at, more)) => {
                *at = now;
                Some(std::mem::take(more))
            }
            None => {
                told.insert(reason, (now, 0));
                Some(0)
            }
        }
    }
}

/// Why a widely used CA is rejected without names.
const SHARED: &str = "found a CA that signs the certificates of the cluster's users and components; expected names in \
                      --client-allowed-names with it, not '*'";

impl fmt::Debug for ClientAuth {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ClientAuth").field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// Reads a small file.
fn read(file: &Path) -> Result<Vec<u8>, String> {
    match reading::read(file, FILE_BYTES) {
        Ok(whole) => Ok(whole.bytes.to_vec()),
        // The callers add its name.
        Err(error) => {
            let problem = error.to_string();
            let place = format!("{}: ", file.display());
            Err(problem.strip_prefix(&place).unwrap_or(&problem).to_owned())
        }
    }
}

/// The end of a validity period, for the log.
fn until(not_after: i64) -> String {
    format!("valid until {}", date(not_after))
}

#[cfg(test)]
mod tests;
