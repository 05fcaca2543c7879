//! Maintains the caBundle of the webhook for advice, a ValidatingWebhookConfiguration. Its failure policy is `Ignore`: without
//! the right caBundle nobody gets advice, and nothing else happens. So no replica waits for it, and only problems are reported.

use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{IDLE, RETRY, Tools, Trust, assess::MANAGER};
use crate::server::certs::repairs::Repairs;
use crate::server::kube::follow::{Follower, ObjectState};
use crate::server::kube::request::{TIMEOUT, Target, call};

/// Maintains one configuration for as long as the future is polled.
pub(super) async fn keep(name: String, mut tools: Tools) {
    let target = Target::named("validatingwebhookconfigurations", &name);
    let api: Api<ValidatingWebhookConfiguration> = Api::all(tools.client.clone());
    let mut follower = Follower::new(tools.client.clone(), target.clone(), |client, _| Api::all(client));
    let mut repairs = Repairs::default();
    loop {
        let trust = tools.trust.borrow_and_update().clone();
        let leads = *tools.leading.borrow_and_update() && tools.leading.has_changed().is_ok();
        let mut pause = IDLE;
        if leads
            && let Some(trust) = trust
            && let ObjectState::Present(configuration) = follower.state().clone()
            && let Some(application) = application(&configuration, &tools.suffixes, &trust)
        {
            if let Some(delay) = repairs.delay(Instant::now()) {
                pause = delay;
            } else {
                let parameters = PatchParams::apply(MANAGER).force();
                let patch = Patch::Apply(application);
                match call("patch", &target, TIMEOUT, api.patch(&name, &parameters, &patch)).await {
                    Ok(configuration) => {
                        repairs.note(Instant::now());
                        follower.put(Some(configuration));
                        tracing::info!(config = name, "caBundle of the webhook for advice set");
                    }
                    Err(error) => {
                        if !error.is_conflict() {
                            tracing::warn!(config = name, %error, "cannot set the caBundle of the webhook for advice");
                        }
                        let _ = follower.look().await;
                        pause = RETRY;
                    }
                }
            }
        }
        tokio::select! {
            () = follower.changed() => {}
            changed = tools.trust.changed() => if changed.is_err() {
                return;
            },
            Ok(()) = tools.leading.changed() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// The object to apply, as the manager of only the caBundles; `None` if all of ours are as they should be.
fn application(
    configuration: &ValidatingWebhookConfiguration,
    suffixes: &[String],
    trust: &Trust,
) -> Option<Value> {
    use base64::Engine as _;
    let ours: Vec<_> = configuration
        .webhooks
        .iter()
        .flatten()
        .filter(|webhook| suffixes.iter().any(|suffix| super::assess::ends_with(&webhook.name, suffix)))
        .collect();
    let is_right = |bundle: Option<&k8s_openapi::ByteString>| {
        bundle.is_some_and(|bundle| bundle.0 == trust.bundle.as_bytes())
    };
    if ours.iter().all(|webhook| is_right(webhook.client_config.ca_bundle.as_ref())) {
        return None;
    }
    let encoded = base64::engine::general_purpose::STANDARD.encode(&trust.bundle);
    let webhooks: Vec<Value> = ours
        .iter()
        .map(|webhook| json!({"name": webhook.name, "clientConfig": {"caBundle": encoded}}))
        .collect();
    Some(json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {
            "name": configuration.metadata.name,
            "resourceVersion": configuration.metadata.resource_version,
        },
        "webhooks": webhooks,
    }))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rustls::pki_types::CertificateDer;

    use super::*;

    fn configuration(bundles: [Option<&str>; 2]) -> ValidatingWebhookConfiguration {
        use base64::Engine as _;
        let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        let webhook = |name: &str, bundle: Option<&str>| {
            let mut webhook = json!({"name": name, "clientConfig": {}, "sideEffects": "None",
                "admissionReviewVersions": ["v1"]});
            if let Some(bundle) = bundle {
                webhook["clientConfig"]["caBundle"] = json!(encode(bundle));
            }
            webhook
        };
        serde_json::from_value(json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "a", "resourceVersion": "7"},
            "webhooks": [webhook("advice.example.org", bundles[0]), webhook("advice.other.org", bundles[1])],
        }))
        .unwrap()
    }

    #[test]
    fn only_our_entries_get_our_ca_and_only_if_they_lack_it() {
        let trust = Trust {
            bundle: "ours".to_owned(),
            certificates: HashSet::new(),
            issuer: CertificateDer::from(vec![1]),
        };
        let suffixes = ["example.org".to_owned()];
        for wrong in [None, Some("theirs"), Some("")] {
            let application = application(&configuration([wrong, None]), &suffixes, &trust).unwrap();
            let webhooks = application["webhooks"].as_array().unwrap();
            assert_eq!(webhooks.len(), 1, "{application}");
            assert_eq!(webhooks[0]["name"], "advice.example.org");
            assert_eq!(webhooks[0]["clientConfig"], json!({"caBundle": "b3Vycw=="}));
            assert_eq!(application["metadata"]["resourceVersion"], "7");
        }
        assert_eq!(application(&configuration([Some("ours"), Some("theirs")]), &suffixes, &trust), None);
        assert_eq!(application(&configuration([None, None]), &["none.org".to_owned()], &trust), None);
    }
}
