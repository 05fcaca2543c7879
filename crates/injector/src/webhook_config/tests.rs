use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use super::*;
use crate::pem;

#[test]
fn a_tag_named_default_makes_a_revision_the_default_one() {
    let settings = Settings {
        revision: "canary".to_owned(),
        tags: vec!["default".to_owned()],
        enable_namespaces_by_default: true,
        ..Settings::default()
    };
    assert_eq!(settings.check(), Ok(()));
    let names = |object: &Value| entries(object).map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
    let objects = settings.objects();
    assert_eq!(names(&objects[0]).len(), 2, "the revision's own entries");
    assert_eq!(names(&objects[1]), names(&Settings::default().objects()[0]));
    assert_eq!(names(&objects[2]), [format!("auto.{SUFFIX}")]);
    assert_eq!(
        settings.object_names(),
        [
            "outrigger-sidecar-injector-canary",
            "outrigger-revision-tag-default",
            "outrigger-auto-injector-canary"
        ]
    );
}

#[test]
fn names_tell_revision_tag_and_namespace() {
    let settings = Settings {
        revision: "canary".to_owned(),
        tags: vec!["prod".to_owned()],
        namespace: "mesh".to_owned(),
        ..Settings::default()
    };
    let names = ["outrigger-sidecar-injector-canary-mesh", "outrigger-revision-tag-prod-mesh"];
    assert_eq!(settings.object_names(), names);
    let objects = settings.objects();
    for (object, name) in objects.iter().zip(names) {
        assert_eq!(object["metadata"]["name"], name);
        assert_eq!(object["metadata"]["labels"]["outrigger.dev/revision"], "canary");
        assert_eq!(
            object["metadata"]["labels"].get("istio.io/rev"),
            None,
            "else istiod writes its CA into it"
        );
        let excluded = &object["webhooks"][0]["namespaceSelector"]["matchExpressions"][2]["values"];
        assert_eq!(excluded[4], "mesh");
    }
    assert_eq!(objects[1]["metadata"]["labels"]["outrigger.dev/tag"], "prod");
}

// GP-06, GP-08, GP-10, GP-11, GP-14, GP-18, DA-05, DA-11, DA-17
#[test]
fn entries_ask_only_for_new_pods_and_promise_no_side_effects() {
    let settings = Settings {
        failure_policy: FailurePolicy::Ignore,
        reinvocation_policy: ReinvocationPolicy::IfNeeded,
        timeout_seconds: 3,
        ca_bundle: Some(certificate("PEM")),
        client: Client::Service { name: "in".to_owned(), port: 8443, path: "/inject/net/a".to_owned() },
        ..Settings::default()
    };
    let object = &settings.objects()[0];
    assert_eq!(
        (&object["apiVersion"], &object["kind"]),
        (&json!("admissionregistration.k8s.io/v1"), &json!("MutatingWebhookConfiguration"))
    );
    let names: Vec<&str> = entries(object).map(|(name, _)| name).collect();
    assert_eq!(
        names,
        ["rev.namespace.", "rev.object.", "namespace.", "object."].map(|way| format!("{way}{SUFFIX}"))
    );
    for (name, entry) in entries(object) {
        assert_eq!(
            entry["rules"],
            json!([{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "scope": "Namespaced"}])
        );
        for (key, value) in [
            ("matchPolicy", json!("Equivalent")),
            ("sideEffects", json!("None")),
            ("failurePolicy", json!("Ignore")),
            ("reinvocationPolicy", json!("IfNeeded")),
            ("timeoutSeconds", json!(3)),
            ("admissionReviewVersions", json!(["v1", "v1beta1"])),
        ] {
            assert_eq!(entry[key], value, "{name}");
        }
        assert_eq!(
            entry["clientConfig"],
            json!({"caBundle": ca_bundle::encoded(&certificate("PEM")), "service": {"name": "in", "namespace": "outrigger-system", "port": 8443, "path": "/inject/net/a"}})
        );
        assert_eq!(entry["matchConditions"].as_array().unwrap().len(), 2);
    }
    let one = Settings { conditions: Conditions::HostNetwork, ..Settings::default() };
    let conditions = &one.objects()[0]["webhooks"][0]["matchConditions"];
    assert_eq!(
        (conditions.as_array().unwrap().len(), &conditions[0]["name"]),
        (1, &json!("not-on-the-host-network"))
    );
    let bare = Settings {
        conditions: Conditions::None,
        client: Client::Url("https://in.example:8443/inject".to_owned()),
        ..Settings::default()
    };
    let entry = &bare.objects()[0]["webhooks"][0];
    assert_eq!(entry.get("matchConditions"), None);
    assert_eq!(
        entry["clientConfig"],
        json!({"url": "https://in.example:8443/inject"}),
        "no caBundle to overwrite one with"
    );
}

#[test]
fn what_an_api_server_would_refuse_is_refused_with_what_is_accepted() {
    assert_eq!(Settings::default().check(), Ok(()));
    let service =
        |name: &str, port, path: &str| Client::Service { name: name.to_owned(), port, path: path.to_owned() };
    let url = |text: &str| Client::Url(text.to_owned());
    let with = |change: &dyn Fn(&mut Settings)| {
        let mut settings = Settings::default();
        change(&mut settings);
        settings.check().err().unwrap_or_default().join("\n")
    };
    type Change<'a> = &'a dyn Fn(&mut Settings);
    let table: [(Change<'_>, &str); 19] = [
        (&|s| s.revision = "1.2".to_owned(), "revision: found \"1.2\"; expected a DNS label"),
        (&|s| s.namespace = "-x".to_owned(), "namespace: found \"-x\""),
        (&|s| s.tags = vec!["Prod".to_owned()], "tag: found \"Prod\""),
        (&|s| s.tags = vec!["a".to_owned(), "a".to_owned()], "found \"a\" twice"),
        (&|s| s.tags = vec!["default".to_owned()], "which is the revision"),
        (&|s| s.excluded_namespaces = vec![String::new()], "excluded namespace: found \"\""),
        (
            &|s| {
                s.revision = "x".to_owned();
                s.enable_namespaces_by_default = true;
            },
            "namespaces are enabled by default, but",
        ),
        (&|s| s.suffix = "istio".to_owned(), "name suffix: found \"istio\"; expected a DNS name"),
        (&|s| s.suffix = "a.static.k8s.io".to_owned(), "name suffix: found"),
        (&|s| s.timeout_seconds = 31, "timeout: found 31s; expected 1s to 30s"),
        (&|s| s.timeout_seconds = 0, "timeout: found 0s"),
        (&|s| s.client = service("9a", 443, "/inject"), "service: found \"9a\""),
        (&|s| s.client = service("a", 0, "/inject"), "port: found 0"),
        (&|s| s.client = service("a", 1, "inject"), "path: found \"inject\""),
        (&|s| s.client = service("a", 1, "/inject/cluster/my_east"), "path: found"),
        (&|s| s.client = url("http://a/inject"), "url: found \"http://a/inject\"; expected https://"),
        (&|s| s.client = url("https://user@a/inject"), "url: found"),
        (&|s| s.client = url("https://a/inject?x=1"), "url: found"),
        (&|s| s.ca_bundle = Some("certificate".to_owned()), "CA bundle: found no certificate"),
    ];
    for (change, message) in table {
        let found = with(change);
        assert!(found.contains(message), "{message:?} is not in {found:?}");
        assert_eq!(found.lines().count(), 1, "{found}");
    }
    for text in ["https://a", "https://[::1]:8443/inject", "https://a.b:443/inject/net/x--slash--y"] {
        assert_eq!(with(&|s| s.client = url(text)), "", "{text}");
    }
    for path in ["/", "/inject/", "/inject/cluster/a.b"] {
        assert_eq!(with(&|s| s.client = service("a", 1, path)), "", "{path}");
    }
}

/// A block whose content is not checked.
fn certificate(content: &str) -> String {
    pem::encode(pem::CERTIFICATE, content.as_bytes())
}

#[test]
fn only_certificates_get_into_a_ca_bundle() {
    let (ca, key) = (certificate("A"), pem::encode("PRIVATE KEY", b"secret"));
    let mut settings =
        Settings { ca_bundle: Some(format!("# a comment\n{ca}{key}{ca}")), ..Settings::default() };
    let found = settings.check().unwrap_err().join("\n");
    assert!(found.contains("CA bundle: line 5: found a private key (PRIVATE KEY)"), "{found}");
    // Not even without `check`.
    let bundle = settings.objects()[0]["webhooks"][0]["clientConfig"]["caBundle"].clone();
    assert_eq!(decode_ca_bundle(bundle.as_str().unwrap()).unwrap(), format!("{ca}{ca}"));
    let glued = format!("{}{ca}", ca.trim_end());
    for broken in [glued, ca.replace("-----BEGIN", " -----BEGIN"), ca.replace("CERTIFICATE", "X509 CRL")] {
        settings.ca_bundle = Some(broken);
        let found = settings.check().unwrap_err().join("\n");
        assert!(
            found.contains("CA bundle: line ") && found.contains("expected CERTIFICATE blocks"),
            "{found}"
        );
    }
}

#[test]
fn ca_bundles_are_set_by_name_and_nothing_else_changes() {
    let mut object = Settings::default().objects().remove(0);
    let foreign =
        json!({"name": "other.example.com", "clientConfig": {"url": "https://a", "caBundle": "QQ=="}});
    object["webhooks"].as_array_mut().unwrap().insert(1, foreign.clone());
    let before = object.clone();
    assert!(set_ca_bundle(&mut object, |name| is_ours(name, SUFFIX), &certificate("B")));
    assert!(
        !set_ca_bundle(&mut object, |name| is_ours(name, SUFFIX), &certificate("B")),
        "it is there already"
    );
    for (name, entry) in entries(&object) {
        let wanted = if name == "other.example.com" { "A".to_owned() } else { certificate("B") };
        assert_eq!(decode_ca_bundle(ca_bundle(entry).unwrap()).unwrap(), wanted, "{name}");
    }
    let changes = changes(&before, &object);
    assert_eq!(changes.len(), 4);
    assert!(changes.iter().all(|change| change.path.ends_with("].clientConfig.caBundle")), "{changes:?}");
    assert_eq!(ca_bundle(&json!({"clientConfig": {"caBundle": ""}})), None);
    assert_eq!(decode_ca_bundle("%%"), None);
    for way in ["rev.namespace.", "rev.object.", "namespace.", "object.", "auto."] {
        assert!(
            is_ours(&format!("{way}{SUFFIX}"), SUFFIX) && !is_ours(&format!("{way}{SUFFIX}"), "example.com")
        );
    }
    assert!(!is_ours(SUFFIX, SUFFIX) && !is_ours("x.sidecar-injector.istio.io", SUFFIX));
}

#[test]
fn changes_are_told_by_entry_whatever_the_order() {
    let settings = Settings::default();
    let before = settings.objects().remove(0);
    let settings =
        Settings { failure_policy: FailurePolicy::Ignore, enable_namespaces_by_default: true, ..settings };
    let mut after = settings.objects().remove(0);
    let auto = settings.objects()[1]["webhooks"][0].clone();
    let webhooks = after["webhooks"].as_array_mut().unwrap();
    webhooks.push(auto);
    webhooks.reverse();
    webhooks.retain(|entry| entry["name"] != "object.sidecar-injector.istio.io");
    webhooks[1]["clientConfig"]["caBundle"] = json!("QUJD");
    after["metadata"]["labels"]["a.b/c"] = json!("d");
    after["metadata"]["managedFields"] = json!([1]);
    let told: Vec<String> = changes(&before, &after).iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "metadata.labels[a.b/c]: new: \"d\"",
            "webhooks[auto.sidecar-injector.istio.io]: new: an entry",
            "webhooks[namespace.sidecar-injector.istio.io].clientConfig.caBundle: new: <3 bytes, sha256 b5d4045c>",
            "webhooks[namespace.sidecar-injector.istio.io].failurePolicy: \"Fail\" -> \"Ignore\"",
            "webhooks[rev.object.sidecar-injector.istio.io].failurePolicy: \"Fail\" -> \"Ignore\"",
            "webhooks[rev.namespace.sidecar-injector.istio.io].failurePolicy: \"Fail\" -> \"Ignore\"",
            "webhooks[object.sidecar-injector.istio.io]: removed: an entry",
        ]
    );
    assert!(changes(&after, &after).is_empty());
}

/// The API server's bookkeeping: `manager` has applied these fields of the entry.
fn managed(manager: &str, entry: &str, fields: Value) -> Value {
    let key = format!("k:{{\"name\":\"{entry}\"}}");
    json!({"manager": manager, "operation": "Apply", "fieldsV1": {"f:webhooks": {".": {}, key: fields}}})
}

#[test]
fn an_apply_takes_no_ca_bundle_away() {
    let wanted = Settings::default().objects().remove(0);
    let mut live = wanted.clone();
    set_ca_bundle(&mut live, |_| true, &certificate("A"));
    let (ours, theirs) = (format!("namespace.{SUFFIX}"), format!("object.{SUFFIX}"));
    let owns = json!({".": {}, "f:name": {}, "f:clientConfig": {"f:caBundle": {}, "f:service": {}}});
    live["metadata"]["managedFields"] =
        json!([managed("outrigger", &ours, owns.clone()), managed("outrigger-certificates", &theirs, owns)]);
    let applied = with_own_ca_bundles(wanted.clone(), &live, "outrigger");
    for (name, entry) in entries(&applied) {
        assert_eq!(ca_bundle(entry).is_some(), name == ours, "{name}: only what this manager would lose");
    }
    assert_eq!(with_own_ca_bundles(wanted.clone(), &Value::Null, "outrigger"), wanted);
    assert!(changes(&live, &applied_over(&live, &wanted, "outrigger")).is_empty());
}

#[test]
fn adopting_takes_every_chosen_ca_bundle_and_loses_nothing_that_is_owned() {
    let settings = Settings { ca_bundle: Some(certificate("theirs")), ..Settings::default() };
    let mut live = settings.objects().remove(0);
    live["metadata"]["resourceVersion"] = json!("7");
    let bundle = json!({"caBundle": live["webhooks"][0]["clientConfig"]["caBundle"]});
    let foreign = json!({"name": "vault.hashicorp.com", "clientConfig": bundle});
    live["webhooks"].as_array_mut().unwrap().push(foreign);
    live["webhooks"][3]["clientConfig"].as_object_mut().unwrap().remove("caBundle");
    let names: Vec<String> = entries(&live).map(|(name, _)| name.to_owned()).collect();
    live["metadata"]["managedFields"] =
        json!([managed(CA_BUNDLE_MANAGER, &names[1], json!({"f:rules": {}}))]);
    let ours = |name: &str| is_ours(name, SUFFIX);
    let adopted = adopting_ca_bundles(&live, ours, CA_BUNDLE_MANAGER).unwrap();
    assert_eq!(
        adopted["webhooks"],
        json!([
            {"name": names[0], "clientConfig": bundle},
            {"name": names[1], "clientConfig": bundle, "rules": rules()},
            {"name": names[2], "clientConfig": bundle},
        ])
    );
    assert_eq!(adopted["metadata"], json!({"name": settings.object_names()[0], "resourceVersion": "7"}));
    let empty = Settings::default().objects().remove(0);
    assert_eq!(adopting_ca_bundles(&empty, ours, CA_BUNDLE_MANAGER), None);
}

#[test]
fn an_apply_takes_away_what_is_owned_and_not_wanted_any_more() {
    let settings = Settings { conditions: Conditions::None, timeout_seconds: 5, ..Settings::default() };
    let wanted = settings.objects().remove(0);
    let mut live = Settings::default().objects().remove(0);
    let entry = |name: &str| json!({"name": name, "clientConfig": {}});
    live["webhooks"].as_array_mut().unwrap().extend([entry("old.example.com"), entry("other.example.com")]);
    live["webhooks"].as_array_mut().unwrap().remove(3);
    live["webhooks"][0]["newerField"] = json!(1);
    let (first, second) = (format!("rev.namespace.{SUFFIX}"), format!("rev.object.{SUFFIX}"));
    live["metadata"]["managedFields"] = json!([
        managed("outrigger", &first, json!({"f:matchConditions": {}})),
        managed("outrigger", "old.example.com", json!({".": {}})),
        managed("kubectl", "other.example.com", json!({".": {}})),
    ]);
    let after = applied_over(&live, &wanted, "outrigger");
    let names: Vec<&str> = entries(&after).map(|(name, _)| name).collect();
    let (third, new) = (format!("namespace.{SUFFIX}"), format!("object.{SUFFIX}"));
    assert_eq!(names, [first.as_str(), &second, &third, "other.example.com", &new]);
    assert_eq!(after["webhooks"][0].get("matchConditions"), None, "owned");
    assert!(after["webhooks"][1].get("matchConditions").is_some(), "belongs to another manager");
    assert_eq!(
        (&after["webhooks"][0]["newerField"], &after["webhooks"][0]["timeoutSeconds"]),
        (&json!(1), &json!(5))
    );
    assert_eq!(applied_over(&Value::Null, &wanted, "outrigger"), wanted);
}

/// A revision as stored in the API server: with a caBundle, and with more than our own requirements.
fn live(revision: &str) -> Value {
    let settings = Settings {
        revision: revision.to_owned(),
        ca_bundle: Some(certificate(&format!("PEM of {revision}"))),
        client: Client::Service {
            name: service_name(revision),
            port: 8443,
            path: "/inject/net/a".to_owned(),
        },
        excluded_namespaces: vec!["never".to_owned()],
        timeout_seconds: 7,
        ..Settings::default()
    };
    let mut object = settings.objects().remove(0);
    object["metadata"]["labels"]["app.kubernetes.io/instance"] = json!("release");
    object["metadata"]["annotations"] = json!({"cert-manager.io/inject-ca-from": "a/b", "outrigger.dev/movable-tags": "prod,stable", "x": "y"});
    for webhook in object["webhooks"].as_array_mut().unwrap() {
        let more = json!({"key": "tier", "operator": "Exists"});
        webhook["namespaceSelector"]["matchExpressions"].as_array_mut().unwrap().push(more.clone());
        webhook["objectSelector"]["matchExpressions"].as_array_mut().unwrap().push(more);
    }
    object
}

#[test]
fn a_tag_is_its_revision_under_another_name() {
    let source = live("canary");
    let tag = tagged("prod", "canary", NAMESPACE, &source, None).unwrap();
    assert_eq!(
        tag["metadata"],
        json!({
            "name": "outrigger-revision-tag-prod",
            "labels": {
                "app.kubernetes.io/name": "outrigger", "app.kubernetes.io/instance": "release",
                "outrigger.dev/revision": "canary", "outrigger.dev/tag": "prod",
            },
            "annotations": {"cert-manager.io/inject-ca-from": "a/b"},
        })
    );
    // Except for the name of the revision in the selectors, the content is the same.
    let text = |value: &Value| value["webhooks"].to_string();
    assert_eq!(text(&tag), text(&source).replace(r#"["canary"]"#, r#"["prod"]"#));
    assert_eq!((tag_of(&tag), revision_of(&tag)), (Some("prod"), Some("canary")));
    assert!(keeps_tag(&source, "prod"));
}

#[test]
fn the_tag_named_default_answers_for_namespaces_that_ask_for_injection() {
    let tag = tagged("default", "canary", "mesh", &live("canary"), None).unwrap();
    assert_eq!(tag["metadata"]["name"], "outrigger-revision-tag-default-mesh");
    let default = live("default");
    let names = |object: &Value| entries(object).map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&tag), names(&default));
    for ((name, found), (_, wanted)) in entries(&tag).zip(entries(&default)) {
        for selector in ["namespaceSelector", "objectSelector"] {
            assert_eq!(found[selector], wanted[selector], "{name}");
        }
        assert_eq!(found["clientConfig"], live("canary")["webhooks"][0]["clientConfig"], "{name}");
    }
    let back = tagged("prod", "default", NAMESPACE, &default, None).unwrap();
    assert_eq!(names(&back), names(&live("prod")));
}

#[test]
fn a_tag_takes_the_place_of_exactly_what_was_there() {
    let mut before = tagged("prod", "default", NAMESPACE, &live("default"), None).unwrap();
    before["metadata"]["resourceVersion"] = json!("7");
    before["metadata"]["labels"]["app.kubernetes.io/managed-by"] = json!("Helm");
    before["metadata"]["annotations"] = json!({"meta.helm.sh/release-name": "outrigger"});
    assert_eq!(helm_release(&before), Some("outrigger"));
    let after = tagged("prod", "canary", NAMESPACE, &live("canary"), Some(&before)).unwrap();
    assert_eq!(after["metadata"]["resourceVersion"], "7");
    assert_eq!(helm_release(&after), None);
    let keep = json!({"cert-manager.io/inject-ca-from": "a/b", "helm.sh/resource-policy": "keep"});
    assert_eq!(after["metadata"]["annotations"], keep, "else the release deletes it with its next upgrade");
    let again = tagged("prod", "default", NAMESPACE, &live("default"), Some(&after)).unwrap();
    assert_eq!(again["metadata"]["annotations"], keep);
}

#[test]
fn a_tag_gets_the_certificates_of_its_revision_and_nothing_else_of_the_bundle() {
    let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let mut source = live("canary");
    for webhook in source["webhooks"].as_array_mut().unwrap() {
        webhook["clientConfig"]["caBundle"] = json!(STANDARD.encode(format!("{key}{}", certificate("a"))));
    }
    let tag = tagged("prod", "canary", NAMESPACE, &source, None).unwrap();
    for (_, webhook) in entries(&tag) {
        assert_eq!(decode_ca_bundle(ca_bundle(webhook).unwrap()), Some(certificate("a")));
    }
}

#[test]
fn a_tag_points_to_nobody_who_cannot_be_called() {
    let with = |change: &dyn Fn(&mut Value)| {
        let mut source = live("canary");
        change(&mut source);
        tagged("prod", "canary", NAMESPACE, &source, None).err().unwrap_or_default()
    };
    assert_eq!(with(&|_| {}), "");
    let clear = |key: &'static str| {
        move |source: &mut Value| {
            source["webhooks"][1].pointer_mut(key).unwrap().take();
        }
    };
    assert!(with(&clear("/clientConfig/caBundle")).contains("has no caBundle yet"));
    assert!(with(&clear("/rules")).contains("has no rules yet"));
    let trusts = |text: &str| {
        let bundle = STANDARD.encode(text);
        with(&|source| source["webhooks"][1]["clientConfig"]["caBundle"] = json!(bundle))
    };
    let of_openssl = certificate("a").replace("CERTIFICATE", "TRUSTED CERTIFICATE");
    let told = trusts(&of_openssl);
    assert!(
        told.contains("contains no certificate that API servers can read: line 1: found a block named"),
        "{told}"
    );
    assert!(trusts("garbage").contains("found no certificate"));
    assert_eq!(trusts(&certificate("a")), "");
    assert!(
        with(&clear("/objectSelector"))
            .contains("does not select by the label that requests revision \"canary\"")
    );
    assert!(with(&|source| source["webhooks"] = json!([])).contains("has no entry of revision \"canary\""));
    for (tag, revision, told) in [
        ("prod", "prod", "which is the revision; expected"),
        ("default", "default", "which is the revision and already the default one; expected another name"),
        ("Prod", "default", "tag: found \"Prod\""),
        ("prod", "", "revision: found \"\""),
    ] {
        assert!(check_names(tag, revision).unwrap_err().contains(told), "{tag} {revision}");
    }
    assert!(!keeps_tag(&json!({"webhooks": [{"name": "a", "clientConfig": {"service": {}}}]}), "prod"));
}
