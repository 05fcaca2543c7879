//! The caBundle of entries, selected by name: read, compared and set. Other entries and other fields are never changed.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

use crate::pem::{self, Pem};

/// The field manager with which the server applies caBundles and rules.
pub const CA_BUNDLE_MANAGER: &str = "outrigger-ca-bundle";

/// The field manager with which the commands write configurations.
pub const COMMAND_MANAGER: &str = "outrigger";

/// Annotations that make cert-manager's cainjector write the caBundles of an object.
const INJECTION_ANNOTATIONS: [&str; 3] = [
    "cert-manager.io/inject-ca-from",
    "cert-manager.io/inject-ca-from-secret",
    "cert-manager.io/inject-apiserver-ca",
];

/// The annotation that makes a cainjector write the caBundles of an object, if there is one.
pub fn injection_annotation<'a>(annotations: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    annotations.into_iter().find(|annotation| INJECTION_ANNOTATIONS.contains(annotation))
}

/// Whether a field manager is cert-manager's cainjector: it writes caBundles only where an annotation requests it, and
/// leaves its values when the annotation is removed. Older versions used the program's name, newer ones the user agent.
pub fn is_injector(manager: &str) -> bool {
    matches!(manager, "cert-manager-cainjector" | "cainjector")
}

/// The caBundle of an entry, in base64; `None` if absent or empty.
pub fn ca_bundle(webhook: &Value) -> Option<&str> {
    webhook.pointer("/clientConfig/caBundle")?.as_str().filter(|bundle| !bundle.is_empty())
}

/// Decodes the base64 of a caBundle, if it is valid.
pub fn decode_ca_bundle(bundle: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(bundle).ok()?).ok()
}

/// Parses a caBundle in base64.
pub fn read_ca_bundle(bundle: &str) -> Pem {
    Pem::parse(&STANDARD.decode(bundle).unwrap_or_default())
}

/// Sets the caBundle of the entries selected by name to the certificates of the text, and nothing else of it. Returns
/// whether that changed anything.
pub fn set_ca_bundle(configuration: &mut Value, is_chosen: impl Fn(&str) -> bool, pem: &str) -> bool {
    let wanted = Value::String(encoded(pem));
    let mut changed = false;
    each_client_config(configuration, |name, config| {
        if is_chosen(name) && config.get("caBundle") != Some(&wanted) {
            config.insert("caBundle".to_owned(), wanted.clone());
            changed = true;
        }
    });
    changed
}

/// The form for an entry, which many users can read: only the certificates, newly encoded.
pub(super) fn encoded(pem: &str) -> String {
    certificates_of(&Pem::parse(pem.as_bytes()))
}

/// Copies a caBundle: only its certificates, in base64.
///
/// # Errors
/// Why there are no certificates.
pub(super) fn copied(bundle: &str) -> Result<String, String> {
    let pem = read_ca_bundle(bundle);
    if pem.certificates().next().is_none() {
        return Err(pem.whole().err().or_else(|| pem.only_certificates().err()).unwrap_or_default());
    }
    Ok(certificates_of(&pem))
}

fn certificates_of(pem: &Pem) -> String {
    STANDARD
        .encode(pem.certificates().map(|block| pem::encode(pem::CERTIFICATE, &block.der)).collect::<String>())
}

fn each_client_config(configuration: &mut Value, mut visit: impl FnMut(&str, &mut Map<String, Value>)) {
    let webhooks = configuration.get_mut("webhooks").and_then(Value::as_array_mut).into_iter().flatten();
    for webhook in webhooks {
        let Some(name) = webhook.get("name").and_then(Value::as_str).map(str::to_owned) else { continue };
        if let Some(config) = webhook.get_mut("clientConfig").and_then(Value::as_object_mut) {
            visit(&name, config);
        }
    }
}
