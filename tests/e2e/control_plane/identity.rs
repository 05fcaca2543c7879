//! Identities in a control plane of the tests: one CA, the API server's certificate, client certificates, kubeconfigs.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde_json::{Value, json};

const BACKDATED: Duration = Duration::from_secs(3600);
const VALID: Duration = Duration::from_secs(30 * 86_400);

/// A CA in memory.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key in PEM.
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl Authority {
    /// Makes a CA.
    pub fn new(name: &str) -> Authority {
        let mut parameters = parameters(name, &[]);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().expect("a key");
        let pem = parameters.self_signed(&key).expect("a CA").pem();
        Authority { issuer: Issuer::new(parameters, key), pem }
    }

    /// The CA's certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The CA's certificate as a `caBundle`.
    pub fn ca_bundle(&self) -> String {
        STANDARD.encode(&self.pem)
    }

    /// A certificate for a server of these names and addresses.
    pub fn server(&self, names: &[&str]) -> Pair {
        let mut parameters = parameters("server", names);
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(&parameters)
    }

    /// A certificate for a client; RBAC knows it by `group`.
    pub fn client(&self, user: &str, group: &str) -> Pair {
        let mut parameters = parameters(user, &[]);
        parameters.distinguished_name.push(DnType::OrganizationName, group);
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&parameters)
    }

    /// A certificate for a client that expired an hour ago.
    pub fn expired_client(&self, user: &str) -> Pair {
        let mut parameters = parameters(user, &[]);
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        parameters.not_before = (SystemTime::now() - 2 * BACKDATED).into();
        parameters.not_after = (SystemTime::now() - BACKDATED).into();
        self.sign(&parameters)
    }

    fn sign(&self, parameters: &CertificateParams) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.signed_by(&key, &self.issuer).expect("a certificate");
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

impl Pair {
    /// Writes `STEM.crt` and `STEM.key` into a folder.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn write(&self, folder: &Path, stem: &str) -> io::Result<(PathBuf, PathBuf)> {
        let files = (folder.join(format!("{stem}.crt")), folder.join(format!("{stem}.key")));
        fs::write(&files.0, &self.certificate)?;
        fs::write(&files.1, &self.key)?;
        Ok(files)
    }
}

fn parameters(name: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut parameters = CertificateParams::new(names).expect("names of a certificate");
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.not_before = (SystemTime::now() - BACKDATED).into();
    parameters.not_after = (SystemTime::now() + VALID).into();
    parameters
}

/// The credentials of a client.
pub enum Proof<'a> {
    /// By a client certificate.
    Certificate(&'a Pair),
    /// By a token.
    Token(&'a str),
}

/// A self-contained kubeconfig.
pub fn kubeconfig(server: &str, ca: &str, proof: &Proof<'_>, namespace: &str) -> Value {
    let user = match proof {
        Proof::Certificate(pair) => json!({
            "client-certificate-data": STANDARD.encode(&pair.certificate),
            "client-key-data": STANDARD.encode(&pair.key),
        }),
        Proof::Token(token) => json!({"token": token}),
    };
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "e2e",
        "clusters": [{"name": "e2e", "cluster": {"server": server, "certificate-authority-data": STANDARD.encode(ca)}}],
        "users": [{"name": "e2e", "user": user}],
        "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": "e2e", "namespace": namespace}}],
    })
}
