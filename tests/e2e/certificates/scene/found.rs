//! The Secret with CA and certificate, as it was found.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::api::core::v1::Secret;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde_json::{Value, json};

/// The Secret at a point in time.
#[derive(Clone, Debug)]
pub struct Found(pub(super) Secret);

impl Found {
    /// A value of the data as text.
    pub fn text(&self, key: &str) -> String {
        let value = self.0.data.as_ref().and_then(|data| data.get(key)).map(|value| value.0.clone());
        String::from_utf8(value.unwrap_or_default()).expect("text")
    }

    /// The certificate.
    pub fn leaf(&self) -> Vec<u8> {
        CertificateDer::from_pem_slice(self.text("tls.crt").as_bytes())
            .map(|der| der.to_vec())
            .unwrap_or_default()
    }

    pub(super) fn authorities(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.text("ca.crt").as_bytes()).filter_map(Result::ok).collect()
    }

    /// The number of trusted CAs.
    pub fn cas(&self) -> usize {
        self.authorities().len()
    }

    /// The expected content of the caBundle.
    pub fn ca_bundle(&self) -> String {
        STANDARD.encode(self.text("ca.crt"))
    }

    pub fn data(&self) -> BTreeMap<String, Vec<u8>> {
        self.0.data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone())).collect()
    }

    pub fn annotations(&self) -> BTreeMap<String, String> {
        self.0.metadata.annotations.clone().unwrap_or_default()
    }

    pub fn uid(&self) -> String {
        self.0.metadata.uid.clone().unwrap_or_default()
    }

    pub fn version(&self) -> String {
        self.0.metadata.resource_version.clone().unwrap_or_default()
    }

    /// The data as a patch.
    pub fn as_patch(&self) -> Value {
        json!({"data": self.0.data})
    }
}
