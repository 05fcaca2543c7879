use serde_json::json;

use super::*;
use crate::server::certs::content::pem;

const SUFFIX: &str = "sidecar-injector.istio.io";

pub(in crate::server) fn ca() -> CertificateDer<'static> {
    issue::authority(1_800_000_000, 1000).unwrap().der
}

/// A foreign CA.
pub(in crate::server) fn other() -> CertificateDer<'static> {
    let mut parameters = rcgen::CertificateParams::default();
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "somebody's CA");
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    parameters.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().clone()
}

pub(in crate::server) fn pems(cas: &[&CertificateDer<'static>]) -> String {
    cas.iter().map(|ca| pem(ca)).collect()
}

pub(in crate::server) const INJECTOR: &str = "cert-manager-cainjector";
pub(in crate::server) const ANNOTATION: &str = "cert-manager.io/inject-ca-from";

/// A caBundle's content and the manager that set it.
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

fn look(
    configuration: &MutatingWebhookConfiguration,
    trusted: &HashSet<CertificateDer<'static>>,
) -> Vec<Entry> {
    let (suffixes, remembered) = ([SUFFIX.to_owned()], Remembered::new());
    assess(configuration, View { suffixes: &suffixes, trusted, remembered: &remembered, tag: false })
}

/// One entry, in a configuration with this annotation.
pub(in crate::server) fn entry(
    bundle: &str,
    manager: Option<&str>,
    annotation: Option<&str>,
    trusted: &[&CertificateDer<'static>],
    remembered: &[&CertificateDer<'static>],
) -> Entry {
    let name = format!("namespace.{SUFFIX}");
    let mut configuration = configuration(&[(&name, Bundle(bundle, manager))]);
    configuration.metadata.annotations =
        annotation.map(|annotation| [(annotation.to_owned(), "a/b".to_owned())].into());
    let trusted = trusted.iter().map(|ca| (*ca).clone()).collect();
    let remembered = [(name, remembered.iter().map(|ca| (*ca).clone()).collect())].into();
    let view =
        View { suffixes: &[SUFFIX.to_owned()], trusted: &trusted, remembered: &remembered, tag: false };
    assess(&configuration, view).remove(0)
}

fn standing(bundle: &str, manager: Option<&str>, trusted: &[CertificateDer<'static>]) -> Standing {
    entry(bundle, manager, None, &trusted.iter().collect::<Vec<_>>(), &[]).standing
}

/// The caBundle an entry is set to, without our CAs.
fn kept(entry: &Entry) -> Vec<&CertificateDer<'static>> {
    assert!(matches!(entry.standing, Standing::Wrong(_)), "{entry:?}");
    entry.kept.iter().collect()
}

// T-07
#[test]
fn what_nobody_can_use_is_ours_to_set_whoever_wrote_it() {
    let ours = [ca()];
    assert_eq!(standing("", None, &ours), Standing::Wrong(Wrong::Empty));
    // A common placeholder in charts.
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

// A more lenient parser would accept it, and every pod would be rejected.
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
        look(&configuration, &[ours.clone()].into()).remove(0)
    };
    let entry = assessed(&format!("{}{key}", pem(&ours)));
    assert_eq!((entry.standing, entry.holds_key), (Standing::Right, true));
    assert!(!assessed(&pem(&ours)).holds_key);
}

#[test]
fn what_holds_only_our_own_cas_is_ours_to_set() {
    let trusted = [ca(), ca()];
    // During a rotation: our old bundle, whoever wrote it.
    assert_eq!(standing(&pem(&trusted[0]), Some("kubectl"), &trusted), Standing::Wrong(Wrong::Outdated));
    assert_eq!(standing(&pem(&ca()), Some(MANAGER), &trusted), Standing::Wrong(Wrong::Outdated));
}

// O-03
#[test]
fn a_bundle_of_somebody_else_is_left_alone() {
    for by in ["argocd-controller", "kubectl-edit", "helm"] {
        let by = by.to_owned();
        let foreign = standing(&pem(&other()), Some(&by), &[ca()]);
        assert_eq!(foreign, Standing::Foreign { by, partly: false });
    }
}

// `helm upgrade` from cert-manager to controller: the annotation is gone, the bookkeeping still names the cainjector.
#[test]
fn a_bundle_whose_cainjector_is_not_asked_any_more_is_taken_over_with_its_cas() {
    let (ours, theirs, earlier) = (ca(), other(), ca());
    for manager in [Some(INJECTOR), Some("cainjector"), None] {
        let found = entry(&pem(&theirs), manager, None, &[&ours], &[]);
        assert_eq!(found.standing, Standing::Wrong(Wrong::Abandoned), "{manager:?}");
        assert_eq!(kept(&found), [&theirs], "{manager:?}");
        // An earlier CA of ours is removed, because no certificate of ours was issued by it.
        let found = entry(&pems(&[&earlier, &theirs]), manager, None, &[&ours], &[]);
        assert_eq!(kept(&found), [&theirs], "{manager:?}");
        // A working one is taken over too, because it would otherwise not follow a rotation.
        let works = entry(&pems(&[&theirs, &ours]), manager, None, &[&ours], &[]);
        assert_eq!(works.standing, Standing::Wrong(Wrong::Abandoned), "{manager:?}");
        assert_eq!(kept(&works), [&theirs], "{manager:?}");
    }
    // Another annotation of cert-manager has no effect.
    let found =
        entry(&pem(&theirs), Some(INJECTOR), Some("cert-manager.io/allow-direct-injection"), &[&ours], &[]);
    assert_eq!(found.standing, Standing::Wrong(Wrong::Abandoned));
    // Another manager has changed it.
    let name = format!("namespace.{SUFFIX}");
    let mut two = configuration(&[(&name, Bundle(&pem(&theirs), Some(INJECTOR)))]);
    let mut managed = two.metadata.managed_fields.clone().unwrap();
    managed.push(managed[0].clone());
    managed[1].manager = Some("argocd-controller".to_owned());
    two.metadata.managed_fields = Some(managed);
    let found = look(&two, &[ours].into()).remove(0);
    let by = "argocd-controller, cert-manager-cainjector".to_owned();
    assert_eq!(found.standing, Standing::Foreign { by, partly: false });
}

// `outrigger tag set` copies the revision's bundle, including CAs of a former owner; a rotation must not wait for it.
#[test]
fn what_a_command_copied_into_a_tag_is_ours_to_keep() {
    let (ours, theirs, trusted) = (ca(), other(), HashSet::from([ca()]));
    let name = format!("namespace.{SUFFIX}");
    let copied = pems(&[&ours, &theirs]);
    let configuration = configuration(&[(&name, Bundle(&copied, Some("outrigger")))]);
    let standing = |tag| {
        let (suffixes, remembered) = ([SUFFIX.to_owned()], Remembered::new());
        let view = View { suffixes: &suffixes, trusted: &trusted, remembered: &remembered, tag };
        assess(&configuration, view).remove(0).standing
    };
    assert_eq!(standing(true), Standing::Wrong(Wrong::Abandoned));
    assert_eq!(standing(false), Standing::Foreign { by: "outrigger".to_owned(), partly: false });
}

// A merging cainjector leaves our CAs in; without them nobody could call us.
#[test]
fn our_cas_join_what_a_cainjector_keeps() {
    let (ours, next, theirs) = (ca(), ca(), other());
    for annotation in [ANNOTATION, "cert-manager.io/inject-ca-from-secret"] {
        let lacks = entry(&pem(&theirs), Some(INJECTOR), Some(annotation), &[&ours], &[]);
        assert_eq!(lacks.standing, Standing::Wrong(Wrong::Injected));
        assert_eq!(kept(&lacks), [&theirs]);
        let by = INJECTOR.to_owned();
        let holds = entry(&pems(&[&ours, &theirs]), Some(INJECTOR), Some(annotation), &[&ours], &[]);
        assert_eq!(holds.standing, Standing::Extended { by });
        // A rotation: the new CA is added, then our old one is removed; the foreign ones stay.
        let begins = entry(&pems(&[&ours, &theirs]), Some(MANAGER), Some(annotation), &[&ours, &next], &[]);
        assert_eq!(kept(&begins), [&theirs]);
        let ends = entry(&pems(&[&ours, &next, &theirs]), Some(MANAGER), Some(annotation), &[&next], &[]);
        assert_eq!(kept(&ends), [&theirs]);
    }
}

#[test]
fn what_was_inherited_leaves_with_the_end_of_a_rotation() {
    let (ours, next, theirs) = (ca(), ca(), other());
    let inherited = entry(&pems(&[&ours, &theirs]), Some(MANAGER), None, &[&ours], &[]);
    assert_eq!(inherited.standing, Standing::Inherited);
    assert!(inherited.trusts_all() && inherited.trusts(&ours));
    let begins = entry(&pems(&[&ours, &theirs]), Some(MANAGER), None, &[&ours, &next], &[]);
    assert_eq!((&begins.standing, kept(&begins)), (&Standing::Wrong(Wrong::Outdated), vec![&theirs]));
    let ends = entry(&pems(&[&ours, &next, &theirs]), Some(MANAGER), None, &[&next], &[]);
    assert_eq!((&ends.standing, kept(&ends)), (&Standing::Wrong(Wrong::Outdated), vec![]));
}

// Following the advice in a message never causes an outage: certificates of the former CAs may still be served.
#[test]
fn what_is_emptied_becomes_the_union_of_what_was_there_and_our_cas() {
    let (ours, theirs) = (ca(), other());
    for annotation in [None, Some(ANNOTATION)] {
        for (bundle, manager) in [("", None), ("", Some("kubectl-patch")), ("garbage", Some("kubectl-edit"))]
        {
            let emptied = entry(bundle, manager, annotation, &[&ours], &[&theirs, &ours]);
            assert_eq!(kept(&emptied), [&theirs]);
        }
    }
    let remembers = |bundle: &[&CertificateDer<'static>], manager| {
        entry(&pems(bundle), Some(manager), None, &[&ours], &[]).remembers()
    };
    assert_eq!(remembers(&[&theirs, &ours], "kubectl"), Some(vec![theirs.clone()]));
    assert_eq!(remembers(&[&ours], "kubectl"), Some(vec![]));
    // Emptied once more, it contains only our CAs.
    assert_eq!(remembers(&[&theirs, &ours], MANAGER), Some(vec![]));
    assert_eq!(remembers(&[], "kubectl"), None, "what was there before stays in memory");
}

#[test]
fn what_is_taken_over_is_written_with_what_was_there() {
    use base64::Engine as _;
    let (ours, theirs) = (ca(), other());
    let (a, b, c) = (format!("a.{SUFFIX}"), format!("b.{SUFFIX}"), format!("c.{SUFFIX}"));
    let both = pems(&[&ours, &theirs]);
    let configuration = configuration(&[
        (&a, Bundle(&pem(&theirs), Some(INJECTOR))),
        (&b, Bundle(&both, Some(MANAGER))),
        (&c, Bundle(&pem(&ours), Some(MANAGER))),
    ]);
    let entries = look(&configuration, &[ours.clone()].into());
    let applied = application(&configuration, &entries, &pem(&ours), false).unwrap();
    let bundles: Vec<String> = applied["webhooks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|webhook| {
            let bundle = webhook["clientConfig"]["caBundle"].as_str().unwrap();
            let bundle = base64::engine::general_purpose::STANDARD.decode(bundle).unwrap();
            String::from_utf8(bundle).unwrap()
        })
        .collect();
    // Correct entries are written again unchanged, because a field that its manager leaves out is removed.
    assert_eq!(bundles, [both.clone(), both, pem(&ours)]);
}

// T-08
#[test]
fn a_bundle_that_trusts_more_than_our_ca_works_and_is_left_alone() {
    let trusted = [ca(), ca()];
    let by = "kubectl-edit".to_owned();
    let more = format!("{}{}{}", pem(&trusted[1]), pem(&other()), pem(&trusted[0]));
    assert_eq!(standing(&more, Some(&by), &trusted), Standing::Extended { by: by.clone() });
    // If one of ours is missing, a rotation has to wait for it.
    let part = format!("{}{}", pem(&trusted[0]), pem(&other()));
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
    let (ours, theirs) = (ca(), other());
    let (b, a, c) = (format!("b.{SUFFIX}"), format!("a.{SUFFIX}"), format!("c.{SUFFIX}"));
    let configuration = configuration(&[
        (&b, Bundle("", None)),
        ("vault.hashicorp.com", Bundle("", None)),
        (&a, Bundle(&pem(&ours), Some(MANAGER))),
        (&c, Bundle(&pem(&theirs), Some("argocd-controller"))),
    ]);
    let entries = look(&configuration, &[ours.clone()].into());
    let applied = application(&configuration, &entries, "pem", false).unwrap();
    let names: Vec<_> =
        applied["webhooks"].as_array().unwrap().iter().map(|webhook| &webhook["name"]).collect();
    // The correct one stays ours; the foreign one stays foreign.
    assert_eq!(names, [&json!(b), &json!(a)]);
    assert_eq!(applied["webhooks"][0], json!({"name": b, "clientConfig": {"caBundle": "cGVt"}}));
    assert_eq!(applied["metadata"], json!({"name": "m", "resourceVersion": "7"}));
}

#[test]
fn nothing_is_written_when_nothing_is_wrong() {
    let ours = ca();
    let name = format!("a.{SUFFIX}");
    let configuration = configuration(&[(&name, Bundle(&pem(&ours), Some("kubectl")))]);
    let entries = look(&configuration, &[ours].into());
    assert_eq!(application(&configuration, &entries, "pem", false), None);
}

fn with_rules(mut configuration: MutatingWebhookConfiguration, at: usize) -> MutatingWebhookConfiguration {
    let rules = serde_json::from_value(crate::webhook_config::rules()).unwrap();
    configuration.webhooks.as_mut().unwrap()[at].rules = Some(rules);
    configuration
}

// An entry without rules stops no pod, whatever its failure policy is; it gets them when a replica is ready.
#[test]
fn entries_without_rules_get_them_when_a_replica_serves() {
    let (ours, theirs) = (ca(), other());
    let (a, b, c, d) =
        (format!("a.{SUFFIX}"), format!("b.{SUFFIX}"), format!("c.{SUFFIX}"), format!("d.{SUFFIX}"));
    let trusted: HashSet<_> = [ours.clone()].into();
    let all = configuration(&[
        (&a, Bundle("", None)),
        (&b, Bundle(&pem(&ours), Some(MANAGER))),
        (&c, Bundle(&pem(&theirs), Some("argocd-controller"))),
        (&d, Bundle(&format!("{}{}", pem(&theirs), pem(&ours)), Some("kubectl"))),
    ]);
    let entries = look(&all, &trusted);
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
            // The entry that does not trust us is unchanged, and the last one's caBundle is foreign.
            {"name": d, "rules": rules},
        ])
    );
    // With a correct caBundle, missing rules are enough reason to write.
    let one = configuration(&[(&b, Bundle(&pem(&ours), Some(MANAGER)))]);
    let entries = look(&one, &trusted);
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
    let entries = look(&found, &trusted);
    for serving in [false, true] {
        let applied = application(&found, &entries, "pem", serving).unwrap();
        assert_eq!(applied["webhooks"][0].get("rules"), None);
        assert_eq!(applied["webhooks"][1]["rules"], crate::webhook_config::rules(), "or else they would go");
    }
}
