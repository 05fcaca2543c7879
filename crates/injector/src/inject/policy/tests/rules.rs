//! Rules at work: the first that matches, what explanations say of it, and the patch cache.

use super::*;

const RULES: &str = "injector: {templates: {debug: \"metadata: {labels: {c: d}}\"}}\n\
    rules:\n\
    - {name: bare-jobs, match: {owner: Job/*}, inject: never, reason: operator X}\n\
    - {name: always, match: {labels: {matchLabels: {must: \"yes\"}}}, inject: force}\n\
    - {name: tuned, match: {serviceAccount: tuned}, templates: [sidecar, debug], defaults: {sidecar.istio.io/logLevel: debug}}\n\
    - {name: fragile, match: {serviceAccount: fragile, cel: \"object.spec.nothing == 1\"}, inject: never}\n";

#[test]
fn the_first_rule_that_matches_applies() {
    let config = mesh(RULES);
    let decided = |pod: &Value| {
        let outcome = run(&config, pod).unwrap();
        let decision = outcome.decision().clone();
        let applied = outcome.warnings().iter().any(|warning| warning.code == "RULE_APPLIED");
        assert_eq!(applied, decision.rule.is_some());
        (decision.inject, decision.reason.key(), decision.rule.unwrap_or_default())
    };
    let out = json!({"sidecar.istio.io/inject": "false"});
    let job = json!([{"kind": "Job", "name": "nightly"}]);
    let never = (false, "RULE_NEVER", "rule bare-jobs: operator X".to_owned());
    assert_eq!(decided(&pod_with(&json!({"ownerReferences": job}), &json!({}))), never);
    let opted_in =
        json!({"ownerReferences": job, "labels": {"sidecar.istio.io/inject": "true", "must": "yes"}});
    assert_eq!(decided(&pod_with(&opted_in, &json!({}))), never, "the pod's own choice comes later");
    let forced = json!({"labels": {"must": "yes", "sidecar.istio.io/inject": "false"}});
    assert_eq!(decided(&pod_with(&forced, &json!({}))), (true, "RULE_FORCE", "rule always".to_owned()));
    assert_eq!(decided(&annotated(&out)), (false, "POD_OPTED_OUT", String::new()));
    let host = pod_with(&json!({"labels": {"must": "yes"}}), &json!({"hostNetwork": true}));
    assert_eq!(decided(&host), (false, "HOST_NETWORK", String::new()), "no proxy can work there");

    let tuned = pod_with(&json!({}), &json!({"serviceAccountName": "tuned"}));
    assert_eq!(decided(&tuned), (true, "POLICY_ENABLED", "rule tuned".to_owned()));
    let Ok(Outcome::Injected(injection)) = run(&config, &tuned) else { panic!() };
    assert_eq!(injection.templates, ["sidecar", "debug"]);
    let proxy = pod::find_sidecar(&injection.pod).unwrap();
    assert!(proxy["args"].as_array().unwrap().contains(&json!("--proxyLogLevel=debug")));

    let refusal = run(&config, &pod_with(&json!({}), &json!({"serviceAccountName": "fragile"}))).unwrap_err();
    assert_eq!((refusal.code(), refusal.reason()), (422, "RULE_FAILED"));
    assert!(refusal.to_string().starts_with("rule fragile cannot be evaluated for this pod: "), "{refusal}");
}

#[test]
fn explanations_name_the_rule() {
    use crate::explain::{Verdict, Writer, explain};
    let config = mesh(RULES);
    let request = PodRequest::new("shop", pod_with(&json!({}), &json!({"serviceAccountName": "tuned"})));
    let explanation = explain(&config, &request, &Facts::of(&config, "shop"));
    let step = explanation.steps.iter().find(|step| step.rule.key() == "rules").unwrap();
    assert_eq!(step.looked_at, "rule tuned matches first");
    let Verdict::Injected { fields, .. } = explanation.verdict else { panic!() };
    let field = fields.iter().find(|field| field.value == Some(json!("--proxyLogLevel=debug"))).unwrap();
    let Writer::Template(line) = &field.writer else { panic!("{field:?}") };
    assert!(
        line.data.iter().any(
            |datum| datum.place == "annotation sidecar.istio.io/logLevel" && datum.set_by == "rule tuned"
        ),
        "{line:#?}"
    );
    let job = pod_with(&json!({"ownerReferences": [{"kind": "Job", "name": "a"}]}), &json!({}));
    let explanation = explain(&config, &PodRequest::new("shop", job), &Facts::of(&config, "shop"));
    let Verdict::Skipped(decision) = explanation.verdict else { panic!() };
    assert_eq!(decision.sentence, "rule bare-jobs: operator X");
}

#[test]
fn siblings_share_a_patch_unless_a_rule_tells_them_apart() {
    use crate::inject::{AdmissionRequest, CacheStatus, Injector};
    let pod = |hash: &str, suffix: &str| {
        json!({
            "metadata": {
                "name": format!("web-{hash}-{suffix}"), "generateName": format!("web-{hash}-"),
                "labels": {"pod-template-hash": hash},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("web-{hash}"), "uid": "u", "controller": true}],
            },
            "spec": {"containers": [{"name": "web", "image": "web"}]},
        })
        .to_string()
    };
    let none = std::collections::BTreeMap::new();
    let run = |injector: &Injector, pod: &str, user: &str| {
        let user = json!({ "username": user }).to_string();
        let facts = Facts { selection: Selection::ByApiServer, ..Facts::default() };
        let admission =
            injector.review(AdmissionRequest::new(pod, "shop", &none).by(Some(&user)), &facts).unwrap();
        (admission.served, admission.rule)
    };
    for (rule, is_shared) in [
        ("{owner: ReplicaSet/web-*}", true),
        ("{owner: ReplicaSet/api-*}", true),
        ("{owner: ReplicaSet/web-bbbbb*}", false),
        ("{cel: \"object.spec.containers.exists(c, c.image == 'web')\"}", true),
        ("{cel: \"has(object.metadata.name) && object.metadata.name.startsWith('web-bbbbb')\"}", false),
    ] {
        let injector = Injector::new(mesh(&format!("rules: [{{name: a, inject: never, match: {rule}}}]")));
        for index in 0..4 {
            run(&injector, &pod("5d4f8c", &format!("aaaa{index}")), "u");
        }
        let (served, _) = run(&injector, &pod("5d4f8c", "zzzzz"), "u");
        assert_eq!(served == CacheStatus::Hit, is_shared, "{rule}");
        let (_, applied) = run(&injector, &pod("bbbbb", "yyyyy"), "u");
        assert_eq!(!applied.is_empty(), !rule.contains("api-"), "{rule}");
    }
    let injector = Injector::new(mesh("rules: [{name: a, inject: never, match: {user: alice}}]"));
    for index in 0..3 {
        run(&injector, &pod("5d4f8c", &format!("aaaa{index}")), "bob");
    }
    assert_eq!(run(&injector, &pod("5d4f8c", "zzzzz"), "bob"), (CacheStatus::Hit, String::new()));
    assert_eq!(run(&injector, &pod("5d4f8c", "zzzzz"), "alice"), (CacheStatus::Miss, "rule a".to_owned()));
}
