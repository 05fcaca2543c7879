//! The content of the Secret: CAs, keys, the certificate, and the state of a rotation. Pure.
//!
//! Accepts any content, including broken parts, and reports what is wrong with them; `plan` decides what follows.

use std::{collections::BTreeMap, fmt, net::IpAddr, sync::Arc};

use rcgen::{KeyPair, PublicKeyData};
use rustls::{
    InconsistentKeys, RootCertStore,
    client::verify_server_cert_signed_by_trust_anchor,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, UnixTime},
    server::ParsedCertificate,
    sign::CertifiedKey,
};
use x509_parser::extensions::GeneralName;
use zeroize::Zeroizing;

use super::{
    super::tls::{chain::Validity, key, objections::unreadable},
    issue::Made,
    plan::{self, Demand, Phase, Rotation, State},
};
use crate::pem::{self, Pem};

#[cfg(test)]
mod tests;

/// Key of the Secret: the trusted CAs.
pub(crate) const CA: &str = "ca.crt";
/// Key of the Secret: the private key of the signing CA.
pub(crate) const CA_KEY: &str = "ca.key";
/// Key of the Secret, during a rotation: the CA that signs next.
pub(crate) const NEXT_CA: &str = "next-ca.crt";
/// Key of the Secret, during a rotation: its private key.
pub(crate) const NEXT_CA_KEY: &str = "next-ca.key";
/// Key of the Secret: the certificate.
pub(crate) const CERTIFICATE: &str = "tls.crt";
/// Key of the Secret: its private key.
pub(crate) const KEY: &str = "tls.key";
/// Annotation: the phase of a rotation.
pub(crate) const PHASE: &str = "outrigger.dev/ca-rotation";
/// Annotation: the start of the phase, in RFC 3339.
pub(crate) const SINCE: &str = "outrigger.dev/ca-rotation-since";
/// Annotation that requests a new certificate or CA.
pub(crate) const ROTATE: &str = "outrigger.dev/rotate";

const INTRODUCING: &str = "introducing";
const RETIRING: &str = "retiring";
/// Maximum number of CAs in a bundle of ours.
const MOST_CAS: usize = 8;

/// What to write, by key; `None` removes the key.
pub(crate) type Changes<V> = BTreeMap<&'static str, Option<V>>;

/// A trusted CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ca {
    pub(crate) der: CertificateDer<'static>,
    pub(crate) validity: Validity,
    /// Its public key.
    spki: Vec<u8>,
}

/// A private key in PEM. It is wiped on drop and never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Private(Zeroizing<String>);

/// A certificate that can be served.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    pub(crate) certified: Arc<CertifiedKey>,
    pub(crate) validity: Validity,
    names: Vec<String>,
    /// Index of the trusted CA that issued it.
    pub(crate) issuer: Option<usize>,
    chain: String,
    key: Private,
}

/// Everything in the Secret.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    /// The trusted CAs.
    pub(crate) trusted: Vec<Ca>,
    /// Index of the signing CA, and its key.
    pub(crate) signer: Option<(usize, Private)>,
    /// Index of the CA that signs next, and its key.
    pub(crate) next: Option<(usize, Private)>,
    pub(crate) leaf: Option<Leaf>,
    pub(crate) rotation: Option<Rotation>,
    pub(crate) demand: Option<Demand>,
    /// Problems, for operators.
    pub(crate) flaws: Vec<String>,
}

impl Content {
    /// Reads data and annotations of a Secret.
    pub(crate) fn read(data: &BTreeMap<String, Vec<u8>>, annotations: &BTreeMap<String, String>) -> Content {
        let mut content = Content::default();
        content.read_trusted(data);
        content.signer = content.read_signer(data);
        content.next = content.read_next(data);
        content.leaf = match read_leaf(data, &content.trusted) {
            Ok(leaf) => Some(leaf),
            Err(flaw) => {
                content.flaws.push(flaw);
                None
            }
        };
        content.rotation = annotations.get(PHASE).and_then(|phase| {
            let phase = match phase.as_str() {
                INTRODUCING => Phase::Introducing,
                RETIRING => Phase::Retiring,
                _ => return None,
            };
            let since = annotations.get(SINCE).and_then(|since| since.parse::<jiff::Timestamp>().ok());
            Some(Rotation { phase, since: since.map(jiff::Timestamp::as_second) })
        });
        content.demand = annotations.get(ROTATE).map(|demand| match demand.as_str() {
            "leaf" => Demand::Leaf,
            "ca" => Demand::Ca,
            _ => Demand::Unknown,
        });
        content
    }

    /// The input for `plan`.
    pub(crate) fn state(&self, names: &[String]) -> State {
        State {
            trusted: self.trusted.iter().map(|ca| ca.validity).collect(),
            signer: self.signer.as_ref().map(|(at, _)| *at),
            next: self.next.as_ref().map(|(at, _)| *at),
            leaf: self.leaf.as_ref().map(|leaf| plan::Leaf {
                validity: leaf.validity,
                issuer: leaf.issuer,
                named: leaf.is_for(names),
            }),
            rotation: self.rotation,
            demand: self.demand.clone(),
        }
    }

    /// Whether it is complete: a certificate from a trusted CA, and a CA that can sign. Validity periods are not
    /// checked.
    pub(crate) fn whole(&self) -> bool {
        self.signer.is_some() && self.leaf.as_ref().is_some_and(|leaf| leaf.issuer.is_some())
    }

    /// The trusted CAs in PEM, as written to caBundle.
    pub(crate) fn bundle(&self) -> String {
        self.trusted.iter().map(|ca| pem(&ca.der)).collect()
    }

    /// The data to write, and the annotations.
    pub(crate) fn write(&self) -> (Changes<Vec<u8>>, Changes<String>) {
        let key = |of: &Option<(usize, Private)>| of.as_ref().map(|(_, key)| key.pem().as_bytes().to_vec());
        let next = self.next.as_ref().and_then(|(at, _)| self.trusted.get(*at));
        let data = [
            (CA, Some(self.bundle().into_bytes())),
            (CA_KEY, key(&self.signer)),
            (NEXT_CA, next.map(|ca| pem(&ca.der).into_bytes())),
            (NEXT_CA_KEY, key(&self.next)),
            (CERTIFICATE, self.leaf.as_ref().map(|leaf| leaf.chain.as_bytes().to_vec())),
            (KEY, self.leaf.as_ref().map(|leaf| leaf.key.pem().as_bytes().to_vec())),
        ];
        let phase = self.rotation.map(|rotation| match rotation.phase {
            Phase::Introducing => INTRODUCING.to_owned(),
            Phase::Retiring => RETIRING.to_owned(),
        });
        let since = self.rotation.and_then(|rotation| rotation.since);
        let since =
            since.and_then(|since| jiff::Timestamp::from_second(since).ok()).map(|since| since.to_string());
        let annotations = [(PHASE, phase), (SINCE, since), (ROTATE, None)];
        (data.into(), annotations.into())
    }

    /// Adds a trusted CA and returns its index; the oldest ones that do not sign are removed to make room.
    ///
    /// # Errors
    /// When it is not a certificate.
    pub(crate) fn trust(&mut self, made: &Made) -> Result<usize, String> {
        let ca = Ca::read(made.der.clone())?;
        if self.trusted.len() >= MOST_CAS {
            let keep = |at: usize| {
                self.signer.as_ref().is_some_and(|(signer, _)| *signer == at)
                    || self.leaf.as_ref().is_some_and(|leaf| leaf.issuer == Some(at))
            };
            if let Some(oldest) = (0..self.trusted.len()).find(|at| !keep(*at)) {
                self.distrust(|at, _| at != oldest);
            }
        }
        self.trusted.push(ca);
        Ok(self.trusted.len() - 1)
    }

    /// Keeps the CAs that `keep` selects and updates the indices that refer to them.
    pub(crate) fn distrust(&mut self, keep: impl Fn(usize, &Ca) -> bool) {
        let kept: Vec<usize> =
            self.trusted.iter().enumerate().filter(|(at, ca)| keep(*at, ca)).map(|(at, _)| at).collect();
        let moved = |at: usize| kept.iter().position(|kept| *kept == at);
        self.signer = self.signer.take().and_then(|(at, key)| Some((moved(at)?, key)));
        self.next = self.next.take().and_then(|(at, key)| Some((moved(at)?, key)));
        if let Some(leaf) = &mut self.leaf {
            leaf.issuer = leaf.issuer.and_then(moved);
        }
        self.trusted = kept.iter().filter_map(|at| self.trusted.get(*at).cloned()).collect();
    }

    /// Stores a certificate that was just issued.
    ///
    /// # Errors
    /// When it cannot be served.
    pub(crate) fn serve(&mut self, made: &Made) -> Result<(), String> {
        let data = [
            (CERTIFICATE.to_owned(), made.certificate.clone().into_bytes()),
            (KEY.to_owned(), made.key.as_bytes().to_vec()),
        ];
        self.leaf = Some(read_leaf(&data.into(), &self.trusted)?);
        Ok(())
    }

    fn read_trusted(&mut self, data: &BTreeMap<String, Vec<u8>>) {
        let Some(text) = data.get(CA) else {
            self.flaws.push(format!("{CA} is missing"));
            return;
        };
        // The certificates go into caBundle, so they are parsed as an API server parses them.
        let pem = Pem::parse(text);
        if let Err(flaw) = pem.whole() {
            self.flaws.push(format!("{CA}: {flaw}"));
            return;
        }
        for block in pem.certificates() {
            match Ca::read(CertificateDer::from(block.der.clone())) {
                Ok(ca) if self.trusted.contains(&ca) => {}
                Ok(ca) => self.trusted.push(ca),
                Err(flaw) => {
                    self.flaws.push(format!("{CA}: {flaw}"));
                    return;
                }
            }
        }
        if self.trusted.is_empty() {
            self.flaws.push(format!("{CA}: found no certificate; expected CA certificates in PEM"));
        }
    }

    fn read_signer(&mut self, data: &BTreeMap<String, Vec<u8>>) -> Option<(usize, Private)> {
        let found = read_key(data, CA_KEY).and_then(|(key, spki)| {
            let at = self.trusted.iter().position(|ca| ca.spki == spki);
            let at = at.ok_or_else(|| format!("{CA_KEY}: it matches no certificate in {CA}"))?;
            Ok((at, key))
        });
        found.map_err(|flaw| self.flaws.push(flaw)).ok()
    }

    /// The next CA is of use only with its key.
    fn read_next(&mut self, data: &BTreeMap<String, Vec<u8>>) -> Option<(usize, Private)> {
        if !data.contains_key(NEXT_CA) && !data.contains_key(NEXT_CA_KEY) {
            return None;
        }
        let found = read_key(data, NEXT_CA_KEY).and_then(|(key, spki)| {
            let at = self.trusted.iter().position(|ca| ca.spki == spki);
            let at = at.ok_or_else(|| format!("{NEXT_CA_KEY}: it matches no certificate in {CA}"))?;
            Ok((at, key))
        });
        found.map_err(|flaw| self.flaws.push(flaw)).ok()
    }
}

impl Ca {
    fn read(der: CertificateDer<'static>) -> Result<Ca, String> {
        let (_, certificate) = x509_parser::parse_x509_certificate(&der)
            .map_err(|_| "found data that is not X.509; expected CA certificates in PEM".to_owned())?;
        if let Some(problem) = unreadable(&der) {
            return Err(format!("found a certificate that API servers cannot parse: it {problem}"));
        }
        if !certificate.is_ca() {
            return Err("found a certificate that is not a CA certificate; expected CA certificates in PEM"
                .to_owned());
        }
        let (validity, spki) = (Validity::of(&certificate), certificate.public_key().raw.to_vec());
        Ok(Ca { validity, spki, der })
    }
}

impl Leaf {
    /// Whether it is for exactly these names.
    fn is_for(&self, names: &[String]) -> bool {
        // An address has several spellings; a certificate uses one.
        let usual = |name: &String| name.parse().map_or_else(|_| name.clone(), |ip: IpAddr| ip.to_string());
        let mut names: Vec<String> = names.iter().map(usual).collect();
        names.sort();
        names.dedup();
        names == self.names
    }
}

impl Private {
    /// A key in PEM.
    pub(crate) fn new(pem: Zeroizing<String>) -> Private {
        Private(pem)
    }

    /// The key in PEM.
    pub(crate) fn pem(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Private {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Private")
    }
}

/// A private key and its public key.
fn read_key(data: &BTreeMap<String, Vec<u8>>, name: &str) -> Result<(Private, Vec<u8>), String> {
    let bytes = data.get(name).ok_or_else(|| format!("{name} is missing"))?;
    let refused = || format!("{name}: expected one private key in PEM (PKCS#8)");
    let text = std::str::from_utf8(bytes).map_err(|_| refused())?;
    let pair = KeyPair::from_pem(text).map_err(|_| refused())?;
    Ok((Private(Zeroizing::new(text.to_owned())), pair.subject_public_key_info()))
}

fn read_leaf(data: &BTreeMap<String, Vec<u8>>, trusted: &[Ca]) -> Result<Leaf, String> {
    let text = |name: &'static str| {
        let bytes = data.get(name).ok_or_else(|| format!("{name} is missing"))?;
        std::str::from_utf8(bytes).map_err(|_| format!("{name}: found binary data; expected PEM"))
    };
    let (chain, key) = (text(CERTIFICATE)?, text(KEY)?);
    let pem = Pem::parse(chain.as_bytes());
    pem.whole().map_err(|flaw| format!("{CERTIFICATE}: {flaw}"))?;
    let certificates: Vec<CertificateDer<'static>> =
        pem.certificates().map(|block| CertificateDer::from(block.der.clone())).collect();
    let Some(first) = certificates.first().cloned() else {
        return Err(format!("{CERTIFICATE}: found no certificate; expected a chain in PEM"));
    };
    let (_, parsed) = x509_parser::parse_x509_certificate(&first)
        .map_err(|_| format!("{CERTIFICATE}: found data that is not X.509"))?;
    let (validity, names) = (Validity::of(&parsed), alternative_names(&parsed));
    let private = key::read(key.as_bytes()).map_err(|found| format!("{KEY}: found {found}"))?;
    let provider = aws_lc_rs::default_provider();
    let certified = key::certified(certificates, &private).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            format!("{KEY} does not match {CERTIFICATE}")
        }
        _ => format!("{CERTIFICATE} or {KEY} cannot be used"),
    })?;
    let issuer = trusted.iter().position(|ca| issued(ca, &certified.cert, validity, &provider));
    let (chain, key) = (chain.to_owned(), Private(Zeroizing::new(key.to_owned())));
    Ok(Leaf { certified: Arc::new(certified), validity, names, issuer, chain, key })
}

/// Whether a verifier that trusts only this CA accepts the chain when it becomes valid.
fn issued(ca: &Ca, chain: &[CertificateDer<'static>], validity: Validity, provider: &CryptoProvider) -> bool {
    let Some((leaf, rest)) = chain.split_first() else { return false };
    let mut roots = RootCertStore::empty();
    if roots.add(ca.der.clone()).is_err() {
        return false;
    }
    let Ok(leaf) = ParsedCertificate::try_from(leaf) else { return false };
    let start = u64::try_from(validity.not_before).unwrap_or(0);
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(start));
    let algorithms = provider.signature_verification_algorithms.all;
    verify_server_cert_signed_by_trust_anchor(&leaf, &roots, rest, now, algorithms).is_ok()
}

/// The names a certificate is for, sorted.
fn alternative_names(certificate: &x509_parser::certificate::X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let mut names: Vec<String> = extension
        .value
        .general_names
        .iter()
        .map(|name| match name {
            GeneralName::DNSName(name) => (*name).to_owned(),
            GeneralName::IPAddress(bytes) => address(bytes),
            _ => "a name of another type".to_owned(),
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

fn address(bytes: &[u8]) -> String {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return IpAddr::from(bytes).to_string();
    }
    <[u8; 16]>::try_from(bytes)
        .map_or_else(|_| "an invalid address".to_owned(), |bytes| IpAddr::from(bytes).to_string())
}

/// A certificate in PEM.
pub(crate) fn pem(der: &CertificateDer<'_>) -> String {
    pem::encode(pem::CERTIFICATE, der)
}
