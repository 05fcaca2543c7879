//! Who may call the webhook: a certificate that callers have to present, and a bearer token.
//!
//! Off unless it is asked for, because an API server presents neither before somebody configures it to. In reading
//! order: `authority` (the CAs that sign certificates of callers), `names` (whom a certificate is for), `token`,
//! `verifier` (the handshake), `caller` (one connection, asked again at each request).
//!
//! Another CA and an end of validity count from the next request on, on connections that are open too; those are told
//! to end, so that callers come again with the certificate they have now. TLS sessions are not resumed while certificates are asked for: a resumed session would bring along a certificate that was verified
//! by the CAs of back then. API servers do not resume sessions.
//!
//! The ConfigMap with a CA is watched by `cluster`.

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
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use rustls::server::danger::ClientCertVerifier;
use tokio::sync::watch;

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

/// How the caller is authenticated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether it is.
    pub mode: Mode,
    /// Certificates that callers have to present.
    pub certificates: Option<Certificates>,
    /// A file with the tokens that callers may present, one a line.
    pub token_file: Option<PathBuf>,
}

/// Whether callers are authenticated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Everybody may call.
    #[default]
    None,
    /// Everybody may call; what [`Mode::Require`] would refuse is logged and counted.
    Request,
    /// Others are refused.
    Require,
}

/// Which certificates are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificates {
    /// Who signed them.
    pub ca: CaSource,
    /// Whom they are for.
    pub names: AllowedNames,
    /// The CA that the cluster's own components are known by. Its certificates are in many hands, so that names have to
    /// be given with it. A file that does not exist means nothing.
    pub cluster_ca: PathBuf,
}

/// Where the CA of callers is.
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

/// Where the CA of the cluster is in every pod that has a ServiceAccount's token.
pub const CLUSTER_CA: &str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";
/// The ConfigMap in which API servers publish the CAs of users and of the aggregation layer.
const SHARED_CONFIG_MAP: (&str, &str) = ("kube-system", "extension-apiserver-authentication");

/// Why callers cannot be authenticated.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The CA.
    #[error("the CA of callers is refused: {0}")]
    Authority(String),
    /// The tokens.
    #[error("the tokens of callers are refused: {0}")]
    Tokens(String),
    /// What is asked for contradicts itself.
    #[error("{0}")]
    Contradiction(&'static str),
}

/// Why a caller is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// A key for metrics.
    pub(crate) reason: &'static str,
    /// What was found and what is accepted: for the log, not for the caller.
    pub(crate) detail: String,
}

/// Authenticates callers.
pub(crate) struct ClientAuth {
    mode: Mode,
    certificates: Option<Certificates>,
    /// The CAs in use, once there are any.
    trust: ArcSwapOption<Trust>,
    /// Told of whenever they are others.
    changed: watch::Sender<()>,
    token_file: Option<PathBuf>,
    tokens: ArcSwapOption<Tokens>,
    /// Why the newest CA and the newest tokens are refused.
    troubles: Mutex<[Option<String>; 2]>,
    gate: Gate,
    metrics: ClientAuthMetrics,
    /// When a line about each reason was last written, and how many were not since.
    told: Mutex<BTreeMap<&'static str, (Instant, u64)>>,
}

/// Places among the troubles.
const CA: usize = 0;
const TOKENS: usize = 1;
/// Name of the gate.
const GATE: &str = "client-auth";
/// A reason has a line of the log this often, however many callers are refused for it.
const TOLD_EVERY: Duration = Duration::from_secs(10);
/// No CA and no list of tokens is this large.
const FILE_BYTES: u64 = 1 << 20;

impl Options {
    /// The files that are read.
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

    /// The ConfigMap that is watched.
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

    /// Reads `NAMESPACE/NAME:KEY`.
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
            _ => Err(format!("found {text:?}; accepted is NAMESPACE/NAME:KEY of a ConfigMap")),
        }
    }
}

impl ConfigMapKey {
    /// Whether what is in it signs certificates for others than API servers that call webhooks.
    fn is_shared(&self) -> bool {
        (self.namespace.as_str(), self.name.as_str()) == SHARED_CONFIG_MAP
    }
}

impl ClientAuth {
    /// Reads what is in files. Gives nothing where everybody may call.
    ///
    /// # Errors
    /// When a file is refused, or nothing is said that callers could be known by.
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
                "callers cannot be authenticated without a CA of their certificates or a file with tokens",
            ));
        }
        if let Some(Certificates { ca: CaSource::ConfigMap(key), names: AllowedNames::Any, .. }) =
            &certificates
            && key.is_shared()
        {
            return Err(Error::Authority(SHARED.to_owned()));
        }
        let gate = readiness.gate(GATE, "the CA of callers is not known yet");
        if mode == Mode::Request {
            // Nobody is refused, so nothing is waited for.
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

    /// Reads the files again; what is refused stays as it was.
    ///
    /// # Errors
    /// When one of them is refused.
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

    /// Puts the CAs of a text in force, or keeps the last good ones.
    ///
    /// # Errors
    /// When the text is refused.
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
                        tracing::info!(authorities = detail, "the CA of callers is another one now");
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

    /// Notes that there should be another CA, and why it is not used.
    pub(crate) fn refused_ca(&self, problem: &str) {
        self.metrics.ca_loaded(None);
        if self.trust.load().is_some() {
            tracing::error!(error = problem, "the CA of callers is refused; the last good one stays");
            self.trouble(CA, Some(format!("the newest CA of callers is refused: {problem}")));
        } else {
            tracing::error!(error = problem, "the CA of callers is refused, and there is no earlier one");
            self.trouble(CA, Some(format!("the CA of callers is refused: {problem}")));
        }
    }

    /// Notes what is wrong with the CA or the tokens, or that nothing is any more, where it can be seen.
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
            // Still closed, unless nobody is refused.
            (Some(_), None, Some(problem)) => self.gate.trouble(problem),
            (Some(_), None, None) => {}
        }
    }

    /// Without names, a CA of the whole cluster would let everybody call who has a certificate of it.
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
                self.trouble(TOKENS, Some(format!("the newest tokens of callers are refused: {problem}")));
                tracing::error!(error = problem, "the tokens of callers are refused");
                Err(Error::Tokens(problem))
            }
        }
    }

    /// Whether callers are refused.
    pub(crate) fn refuses(&self) -> bool {
        self.mode == Mode::Require
    }

    /// What verifies certificates in handshakes, if any are asked for.
    pub(crate) fn verifier(self: &Arc<Self>) -> Option<Arc<dyn ClientCertVerifier>> {
        self.certificates
            .is_some()
            .then(|| Arc::new(Verifier::new(self.clone())) as Arc<dyn ClientCertVerifier>)
    }

    /// The CAs as they count now.
    fn trust(&self, now: i64) -> Option<Arc<Trust>> {
        let trust = self.trust.load_full()?;
        if trust.counts_at(now) {
            return Some(trust);
        }
        // One has expired, or became valid.
        let next = Arc::new(Trust::at(trust.authorities.clone(), now));
        // Others that were installed in the meantime stay.
        self.trust.compare_and_swap(&Some(trust), Some(next.clone()));
        Some(next)
    }

    /// Counts a caller that is refused or would be, and says so in the log, now and then. Gives whether it is refused.
    pub(crate) fn report(&self, refusal: &Refusal, peer: Option<IpAddr>) -> bool {
        let refused = self.refuses();
        let Refusal { reason, detail } = refusal;
        self.metrics.failed(reason, refused);
        if let Some(more) = self.tell(reason) {
            let peer = peer.map(tracing::field::display);
            if refused {
                tracing::warn!(reason, peer, detail, more, "a caller was refused");
            } else {
                tracing::warn!(
                    reason,
                    peer,
                    detail,
                    more,
                    "a caller would be refused by --client-auth=require"
                );
            }
        }
        refused
    }

    /// Whether a reason is to be told of now; gives how many times it was not since.
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

/// Why a CA is refused whose certificates are in many hands.
const SHARED: &str = "found a CA that signs the certificates of the cluster's users and components; with it the allowed \
                      names must be given, not '*'";

impl fmt::Debug for ClientAuth {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ClientAuth").field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// Reads a file that should be small.
fn read(file: &Path) -> Result<Vec<u8>, String> {
    match reading::read(file, FILE_BYTES) {
        Ok(whole) => Ok(whole.bytes.to_vec()),
        // It is named by those who ask.
        Err(error) => {
            let problem = error.to_string();
            let place = format!("{}: ", file.display());
            Err(problem.strip_prefix(&place).unwrap_or(&problem).to_owned())
        }
    }
}

/// Until when something is valid, for the log.
fn until(not_after: i64) -> String {
    format!("valid until {}", date(not_after))
}

#[cfg(test)]
mod tests;
