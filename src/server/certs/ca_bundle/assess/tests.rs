use serde_json::json;

use super::*;
use crate::server::certs::content::pem;

const SUFFIX: &str = "sidecar-injector.istio.io";

fn ca() -> CertificateDer<'static> {
    super::super::super::issue::authority(1_800_000_000, 1000).unwrap().der
}

/// What is in a caBundle and which manager set it.
struct Bundle<'a>(&'a str, Option<&'a str>);

fn configuration(webhooks: &[(&str, Bundle<'_>)]) -> MutatingWebhookConfiguration {
    use base64::Engine as _;
    let list: Vec<Value> = webhooks
        .iter()
        .map(|(name, Bundle(bundle, _))| {
            json!({"name": name, "admissionReviewVersions": ["v1"], "sideEffects": "None", "clientConfig": {
                "url": "https://x", "caBundle": base64::engine::general_purpose::STANDARD.encode(bundle),
            }})
        })
        .collect();
    let managers: Vec<Value> = webhooks
        .iter()
        .filter_map(|(name, Bundle(_, manager))| {
            let key = format!("k:{}", json!({"name": name}));
            manager.map(|manager| {
                json!({"manager": manager, "operation": "Update", "fieldsType": "FieldsV1",
                    "fieldsV1": {"f:webhooks": {key: {"f:clientConfig": {"f:caBundle": {}}}}}})
            })
        })
        .collect();
    serde_json::from_value(json!({
        "metadata": {"name": "m", "resourceVersion": "7", "managedFields": managers}, "webhooks": list,
    }))
    .unwrap()
}

fn standing(bundle: &str, manager: Option<&str>, trusted: &[CertificateDer<'static>]) -> Standing {
    let name = format!("namespace.{SUFFIX}");
    let configuration = configuration(&[(&name, Bundle(bundle, manager))]);
    let entries = assess(&configuration, &[SUFFIX.to_owned()], &trusted.iter().cloned().collect());
    entries[0].standing.clone()
}

// T-07
#[test]
fn what_nobody_can_use_is_ours_to_set_whoever_wrote_it() {
    let ours = [ca()];
    assert_eq!(standing("", None, &ours), Standing::Wrong(Wrong::Empty));
    // What charts write as a placeholder.
    assert_eq!(standing("\n", Some("helm"), &ours), Standing::Wrong(Wrong::Empty));
    for garbage in [
        "garbage",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\n",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    ] {
        assert_eq!(
            standing(garbage, Some("kubectl-edit"), &ours),
            Standing::Wrong(Wrong::Garbage),
            "{garbage}"
        );
    }
}

// A more lenient reader would call it right, and every pod would be refused.
#[test]
fn what_only_others_could_read_is_garbage() {
    let ours = [ca()];
    let pem = pem(&ours[0]);
    for broken in [
        pem.lines().fold(String::new(), |text, line| text + "  " + line + "\n"),
        format!("{}{pem}", pem.trim_end()),
        pem.replacen("-----\n", "-----\nProc-Type: 4\n\n", 1),
        format!("\u{feff}{pem}"),
    ] {
        assert_eq!(standing(&broken, Some("kubectl"), &ours), Standing::Wrong(Wrong::Garbage), "{broken}");
    }
}

#[test]
fn a_private_key_is_seen() {
    let ours = ca();
    let key = crate::pem::encode("EC PRIVATE KEY", b"secret");
    let name = format!("namespace.{SUFFIX}");
    let assessed = |bundle: &str| {
        let configuration = configuration(&[(&name, Bundle(bundle, Some("kubectl")))]);
        assess(&configuration, &[SUFFIX.to_owned()], &[ours.clone()].into()).remove(0)
    };
    let entry = assessed(&format!("{}{key}", pem(&ours)));
    assert_eq!((entry.standing, entry.holds_key), (Standing::Right, true));
    assert!(!assessed(&pem(&ours)).holds_key);
}

#[test]
fn what_holds_only_our_own_cas_is_ours_to_set() {
    let trusted = [ca(), ca()];
    // During a rotation, whoever wrote the old bundle.
    assert_eq!(standing(&pem(&trusted[0]), Some("kubectl"), &trusted), Standing::Wrong(Wrong::Outdated));
    assert_eq!(standing(&pem(&ca()), Some(MANAGER), &trusted), Standing::Wrong(Wrong::Outdated));
}

// O-03
#[test]
fn a_bundle_of_somebody_else_is_left_alone() {
    let by = "cert-manager-cainjector".to_owned();
    let foreign = standing(&pem(&ca()), Some(&by), &[ca()]);
    assert_eq!(foreign, Standing::Foreign { by, partly: false });
    let foreign = standing(&pem(&ca()), None, &[ca()]);
    assert_eq!(foreign, Standing::Foreign { by: "nobody who is known".to_owned(), partly: false });
}

// T-08
#[test]
fn a_bundle_that_trusts_more_than_our_ca_works_and_is_left_alone() {
    let trusted = [ca(), ca()];
    let by = "kubectl-edit".to_owned();
    let more = format!("{}{}{}", pem(&trusted[1]), pem(&ca()), pem(&trusted[0]));
    assert_eq!(standing(&more, Some(&by), &trusted), Standing::Extended { by: by.clone() });
    // With one of ours missing a rotation has to wait for it.
    let part = format!("{}{}", pem(&trusted[0]), pem(&ca()));
    assert_eq!(standing(&part, Some(&by), &trusted), Standing::Foreign { by, partly: true });
}

#[test]
fn the_same_cas_in_another_order_are_right() {
    let trusted = [ca(), ca()];
    let turned = format!("# a comment\n{}\n{}", pem(&trusted[1]), pem(&trusted[0]));
    assert_eq!(standing(&turned, Some("kubectl"), &trusted), Standing::Right);
}

#[test]
fn suffixes_end_at_dots() {
    for (name, suffix, ours) in [
        ("rev.namespace.sidecar-injector.istio.io", "sidecar-injector.istio.io", true),
        ("rev.namespace.sidecar-injector.istio.io", ".sidecar-injector.istio.io", true),
        ("sidecar-injector.istio.io", "sidecar-injector.istio.io", true),
        ("other-sidecar-injector.istio.io", "sidecar-injector.istio.io", false),
        ("vault.hashicorp.com", "sidecar-injector.istio.io", false),
        ("", "sidecar-injector.istio.io", false),
    ] {
        assert_eq!(ends_with(name, suffix), ours, "{name} {suffix}");
    }
}

// O-03
#[test]
fn only_our_entries_are_written_in_the_order_they_are_in() {
    let (ours, theirs) = (ca(), ca());
    let (b, a, c) = (format!("b.{SUFFIX}"), format!("a.{SUFFIX}"), format!("c.{SUFFIX}"));
    let configuration = configuration(&[
        (&b, Bundle("", None)),
        ("vault.hashicorp.com", Bundle("", None)),
        (&a, Bundle(&pem(&ours), Some(MANAGER))),
        (&c, Bundle(&pem(&theirs), Some("cainjector"))),
    ]);
    let entries = assess(&configuration, &[SUFFIX.to_owned()], &[ours.clone()].into());
    let applied = application(&configuration, &entries, "pem", false).unwrap();
    let names: Vec<_> =
        applied["webhooks"].as_array().unwrap().iter().map(|webhook| &webhook["name"]).collect();
    // The one that is right stays ours; the one of somebody else stays theirs.
    assert_eq!(names, [&json!(b), &json!(a)]);
    assert_eq!(applied["webhooks"][0], json!({"name": b, "clientConfig": {"caBundle": "cGVt"}}));
    assert_eq!(applied["metadata"], json!({"name": "m", "resourceVersion": "7"}));
}

#[test]
fn nothing_is_written_when_nothing_is_wrong() {
    let ours = ca();
    let name = format!("a.{SUFFIX}");
    let configuration = configuration(&[(&name, Bundle(&pem(&ours), Some("kubectl")))]);
    let entries = assess(&configuration, &[SUFFIX.to_owned()], &[ours].into());
    assert_eq!(application(&configuration, &entries, "pem", false), None);
}

fn with_rules(mut configuration: MutatingWebhookConfiguration, at: usize) -> MutatingWebhookConfiguration {
    let rules = serde_json::from_value(crate::webhook_config::rules()).unwrap();
    configuration.webhooks.as_mut().unwrap()[at].rules = Some(rules);
    configuration
}

// An entry without rules stops no pod, whatever its policy for failures is: it gets them when somebody serves.
#[test]
fn entries_without_rules_get_them_when_a_replica_serves() {
    let (ours, theirs) = (ca(), ca());
    let (a, b, c, d) =
        (format!("a.{SUFFIX}"), format!("b.{SUFFIX}"), format!("c.{SUFFIX}"), format!("d.{SUFFIX}"));
    let trusted: HashSet<_> = [ours.clone()].into();
    let all = configuration(&[
        (&a, Bundle("", None)),
        (&b, Bundle(&pem(&ours), Some(MANAGER))),
        (&c, Bundle(&pem(&theirs), Some("cainjector"))),
        (&d, Bundle(&format!("{}{}", pem(&theirs), pem(&ours)), Some("kubectl"))),
    ]);
    let entries = assess(&all, &[SUFFIX.to_owned()], &trusted);
    assert!(entries.iter().all(|entry| !entry.active));
    let before = application(&all, &entries, "pem", false).unwrap();
    assert_eq!(before["webhooks"].as_array().unwrap().len(), 2, "the caBundle does not wait");
    assert_eq!(before["webhooks"][0].get("rules"), None);
    let rules = crate::webhook_config::rules();
    let serving = application(&all, &entries, "pem", true).unwrap();
    let bundle = json!({"caBundle": "cGVt"});
    assert_eq!(
        serving["webhooks"],
        json!([
            {"name": a, "clientConfig": bundle, "rules": rules},
            {"name": b, "clientConfig": bundle, "rules": rules},
            // The one that does not trust us stays as it is, and the caBundle of the last one is somebody else's.
            {"name": d, "rules": rules},
        ])
    );
    // With the right caBundle the rules alone are a reason to write.
    let one = configuration(&[(&b, Bundle(&pem(&ours), Some(MANAGER)))]);
    let entries = assess(&one, &[SUFFIX.to_owned()], &trusted);
    assert_eq!(application(&one, &entries, "pem", false), None);
    assert!(application(&one, &entries, "pem", true).is_some());
}

#[test]
fn rules_of_others_are_left_alone_and_our_own_are_applied_again() {
    let ours = ca();
    let (a, b) = (format!("a.{SUFFIX}"), format!("b.{SUFFIX}"));
    let trusted: HashSet<_> = [ours.clone()].into();
    let mut found = with_rules(configuration(&[(&a, Bundle("", None)), (&b, Bundle("", None))]), 0);
    found = with_rules(found, 1);
    let key = format!("k:{}", json!({"name": b}));
    let fields = json!({"f:webhooks": {key: {"f:rules": {}}}});
    found.metadata.managed_fields = serde_json::from_value(json!([
        {"manager": MANAGER, "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": fields},
    ]))
    .unwrap();
    let entries = assess(&found, &[SUFFIX.to_owned()], &trusted);
    for serving in [false, true] {
        let applied = application(&found, &entries, "pem", serving).unwrap();
        assert_eq!(applied["webhooks"][0].get("rules"), None);
        assert_eq!(applied["webhooks"][1]["rules"], crate::webhook_config::rules(), "or else they would go");
    }
}
