//! The caBundle of entries by name: read, compared and set. Other entries and other fields are never touched.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

use crate::pem::{self, Pem};

/// The field manager as which the server applies caBundles and rules.
pub const CA_BUNDLE_MANAGER: &str = "outrigger-ca-bundle";

/// The field manager as which the commands write configurations.
pub const COMMAND_MANAGER: &str = "outrigger";

/// Annotations that ask cert-manager's cainjector to write the caBundles of an object.
const INJECTION_ANNOTATIONS: [&str; 3] = [
    "cert-manager.io/inject-ca-from",
    "cert-manager.io/inject-ca-from-secret",
    "cert-manager.io/inject-apiserver-ca",
];

/// The annotation, if any of these is one, that asks a cainjector to write the caBundles of an object.
pub fn injection_annotation<'a>(annotations: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    annotations.into_iter().find(|annotation| INJECTION_ANNOTATIONS.contains(annotation))
}

/// Whether a field manager is cert-manager's cainjector: it writes caBundles only where an annotation asks it to, and
/// leaves what it wrote when that is taken away. Its name was that of the program until it came from the user agent.
pub fn is_injector(manager: &str) -> bool {
    matches!(manager, "cert-manager-cainjector" | "cainjector")
}

/// The caBundle of an entry as it stands there, in base64; nothing if there is none or it is empty.
pub fn ca_bundle(webhook: &Value) -> Option<&str> {
    webhook.pointer("/clientConfig/caBundle")?.as_str().filter(|bundle| !bundle.is_empty())
}

/// The text that a caBundle in base64 stands for, if it is one.
pub fn decode_ca_bundle(bundle: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(bundle).ok()?).ok()
}

/// What a caBundle in base64 holds.
pub fn read_ca_bundle(bundle: &str) -> Pem {
    Pem::parse(&STANDARD.decode(bundle).unwrap_or_default())
}

/// Gives the entries that are chosen by name these certificates, and nothing else of the text. Tells whether that changed anything.
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

/// As it stands in an entry, which many may read: the certificates and nothing else, written anew.
pub(super) fn encoded(pem: &str) -> String {
    certificates_of(&Pem::parse(pem.as_bytes()))
}

/// A caBundle to be copied: the certificates of one in base64, and nothing else that may be in it.
///
/// # Errors
/// Why there are none.
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
