//! Each input of the decision, taken from where it is configured: with it and without it, the answer differs.

use serde_json::{Value, json};

use super::*;
use crate::config::{Namespace, Source};
use decision::{Reason, StepOutcome};

const NAMESPACES: &str = "namespaces:
- {name: shop, labels: {istio-injection: enabled}}
- {name: other, labels: {istio-injection: disabled}}
- {name: canary, labels: {istio.io/rev: canary}}
- {name: stable, labels: {istio.io/rev: stable}}
- {name: plain}
";

fn mesh(more: &str) -> InjectorConfig {
    let text = format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: Bundle\nnativeSidecars: disabled\n{NAMESPACES}{more}"
    );
    InjectorConfig::from_bundle(Source { name: "bundle", text: &text }).unwrap().0
}

fn pod(metadata: Value, spec: Value) -> Value {
    let mut pod =
        json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "web", "image": "web"}]}});
    for (field, more) in [("metadata", metadata), ("spec", spec)] {
        pod[field].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    }
    pod
}

fn plain() -> Value {
    pod(json!({}), json!({}))
}

fn labeled(label: &str, value: &str) -> Value {
    pod(json!({"labels": {label: value}}), json!({}))
}

fn reason(mesh: &InjectorConfig, namespace: &str, pod: &Value, rules: Rules) -> Reason {
    reason_by(mesh, namespace, pod, rules, Selection::ByLabels)
}

fn reason_by(
    mesh: &InjectorConfig,
    namespace: &str,
    pod: &Value,
    rules: Rules,
    selection: Selection,
) -> Reason {
    let facts = Facts { selection, ..Facts::of(mesh, namespace) };
    let request = PodRequest::new(namespace, pod.clone());
    decide(rules, mesh, pod, namespace, &facts, &candidate(mesh, &request, namespace, &facts))
        .unwrap()
        .0
        .reason
}

#[test]
fn what_is_configured_is_what_is_decided_by() {
    let optional = labeled(names::INJECT, "true");
    let batch = labeled("app", "batch");
    // The configuration, namespace and pod; the reason with the configuration, and without.
    let cases: [(&str, &str, &Value, Reason, Reason); 9] = [
        ("", "shop", &plain(), Reason::PolicyEnabled, Reason::PolicyEnabled),
        ("", "other", &plain(), Reason::NamespaceDisabled, Reason::NamespaceDisabled),
        ("injector: {policy: disabled}", "shop", &plain(), Reason::PolicyDisabled, Reason::PolicyEnabled),
        (
            "injector: {neverInjectSelector: [{matchLabels: {app: batch}}]}",
            "shop",
            &batch,
            Reason::NeverInjectSelector,
            Reason::PolicyEnabled,
        ),
        (
            "injector: {alwaysInjectSelector: [{matchLabels: {app: batch}}]}",
            "shop",
            &batch,
            Reason::AlwaysInjectSelector,
            Reason::PolicyEnabled,
        ),
        ("revision: canary", "canary", &plain(), Reason::PolicyEnabled, Reason::RevisionMismatch),
        (
            "revision: canary\nvalues: {revisionTags: [stable]}",
            "stable",
            &plain(),
            Reason::PolicyEnabled,
            Reason::RevisionMismatch,
        ),
        (
            "values: {sidecarInjectorWebhook: {enableNamespacesByDefault: true}}",
            "plain",
            &plain(),
            Reason::PolicyEnabled,
            Reason::NamespaceNotEnabled,
        ),
        (
            "values: {sidecarInjectorWebhook: {enableNamespacesByDefault: false}}",
            "plain",
            &optional,
            Reason::PodOptedIn,
            Reason::PodOptedIn,
        ),
    ];
    for (configuration, namespace, pod, with, without) in cases {
        assert_eq!(reason(&mesh(configuration), namespace, pod, Rules::Configured), with, "{configuration}");
        assert_eq!(reason(&mesh(""), namespace, pod, Rules::Configured), without, "{configuration}");
    }
}

#[test]
fn the_labels_of_a_namespace_count_only_if_nobody_evaluated_them() {
    let mesh = mesh("");
    let of = |selection| reason_by(&mesh, "other", &plain(), Rules::Configured, selection);
    assert_eq!(of(Selection::ByLabels), Reason::NamespaceDisabled);
    assert_eq!(of(Selection::ByApiServer), Reason::PolicyEnabled);
    assert_eq!(of(Selection::ByPodAlone), Reason::PolicyEnabled);
    let foreign = labeled(names::REVISION, "canary");
    let of = |selection| reason_by(&mesh, "nowhere", &foreign, Rules::Configured, selection);
    assert_eq!(of(Selection::ByPodAlone), Reason::RevisionMismatch);
    assert_eq!(of(Selection::ByApiServer), Reason::PolicyEnabled);
}

#[test]
fn templates_alone_are_rendered_whatever_is_configured() {
    for configuration in [
        "injector: {policy: disabled}",
        "injector: {neverInjectSelector: [{matchLabels: {app: batch}}]}",
        "injector: {alwaysInjectSelector: [{matchLabels: {app: batch}}]}",
        "rules: [{name: a, inject: never, match: {namespace: other}}]",
    ] {
        for namespace in ["shop", "other"] {
            let found =
                reason(&mesh(configuration), namespace, &labeled("app", "batch"), Rules::TemplatesOnly);
            assert_eq!(found, Reason::PolicyEnabled, "{configuration}");
        }
    }
    let foreign = labeled(names::REVISION, "canary");
    let found = reason_by(&mesh(""), "nowhere", &foreign, Rules::TemplatesOnly, Selection::ByPodAlone);
    assert_eq!(found, Reason::PolicyEnabled);
}

#[test]
fn rules_apply_where_nothing_before_them_decides() {
    let mesh = mesh("rules: [{name: no-batch, inject: never, match: {namespace: shop}}]");
    let facts = Facts::of(&mesh, "shop");
    let of = |pod: &Value| {
        let request = PodRequest::new("shop", pod.clone());
        let (decision, rule) = decide(
            Rules::Configured,
            &mesh,
            pod,
            "shop",
            &facts,
            &candidate(&mesh, &request, "shop", &facts),
        )
        .unwrap();
        let applied = applied_rule(&mesh, &request, &facts).map(|rule| rule.name.clone());
        assert_eq!(applied, rule.map(|rule| rule.name.clone()));
        let told = decision.warnings.iter().filter(|warning| warning.code == "RULE_APPLIED").count();
        assert_eq!(told, usize::from(rule.is_some()));
        let steps = decision_steps(&mesh, &request, &facts);
        let decided = steps.iter().find_map(|step| match &step.outcome {
            StepOutcome::Decided(decision) => Some(decision.reason),
            _ => None,
        });
        assert_eq!(decided, Some(decision.reason));
        (decision.reason, applied)
    };
    assert_eq!(of(&plain()), (Reason::RuleNever, Some("no-batch".to_owned())));
    assert_eq!(of(&pod(json!({}), json!({"hostNetwork": true}))), (Reason::HostNetwork, None));
}

#[test]
fn a_pod_is_left_alone_if_all_agree() {
    let bare = |configuration: &str, namespace: &str, pod: Value| {
        let mesh = mesh(configuration);
        let request = PodRequest::new(namespace, pod);
        let facts = Facts::of(&mesh, namespace);
        leaves_alone(&mesh, &request, &facts).map(|skip| (skip.decision.reason, skip.warnings.len()))
    };
    let host = || pod(json!({}), json!({"hostNetwork": true}));
    assert_eq!(bare("", "shop", plain()), None, "it is injected");
    assert_eq!(bare("", "shop", json!({"metadata": {}, "spec": []})), None, "run says what is wrong");
    assert_eq!(bare("", "shop", host()).map(|(reason, _)| reason), Some(Reason::HostNetwork));
    // Warnings of the decision are those of the skip.
    let rule = "rules: [{name: a, inject: never, match: {namespace: shop}}]";
    assert_eq!(bare(rule, "shop", plain()), Some((Reason::RuleNever, 1)));
    let opted_out = || labeled(names::INJECT, "false");
    assert_eq!(bare("", "shop", opted_out()).map(|(reason, _)| reason), Some(Reason::PodOptedOut));
    let deny = "overridePolicy: [{name: a, action: deny, forbid: {optOut: true}}]";
    assert_eq!(bare(deny, "shop", opted_out()), None, "the policy denies it");
    // Who it is about may be in a part of the pod that an outline lacks.
    for condition in ["serviceAccount: pay-*", "image: shop/*", "cel: has(object.spec.priorityClassName)"] {
        let entry = format!(
            "overridePolicy: [{{name: a, action: deny, match: {{{condition}}}, forbid: {{optOut: true}}}}]"
        );
        assert_eq!(bare(&entry, "shop", opted_out()), None, "{condition}");
        let except = format!("rules: [{{name: a, inject: never, match: {{{condition}}}}}]");
        assert_eq!(bare(&except, "shop", opted_out()), None, "{condition}");
    }
    let disabled = format!("injector: {{policy: disabled}}\n{deny}");
    assert_eq!(
        bare(&disabled, "shop", opted_out()).map(|(reason, _)| reason),
        Some(Reason::PodOptedOut),
        "without its label it would be bare too"
    );
}

#[test]
fn a_pod_that_opts_out_by_an_annotation_would_be_injected_without_it() {
    let mesh = mesh("");
    let facts = Facts::of(&mesh, "shop");
    for field in ["labels", "annotations"] {
        let opted_out = pod(json!({field: {names::INJECT: "false"}}), json!({"hostNetwork": true}));
        assert!(!is_bare_anyway(&mesh, &opted_out, "shop", &facts), "{field}");
    }
    assert!(is_bare_anyway(&mesh, &labeled(names::REVISION, "canary"), "other", &Facts::of(&mesh, "other")));
}

#[test]
fn a_namespace_of_another_name_says_nothing_about_a_pod() {
    let mesh =
        mesh("rules: [{name: a, inject: never, match: {namespaceLabels: {matchLabels: {team: red}}}}]");
    let of = |name: &str| {
        let namespace = Namespace {
            name: name.to_owned(),
            labels: json!({"team": "red", "istio-injection": "enabled"}).as_object().unwrap().clone(),
            ..Namespace::default()
        };
        let facts = Facts { namespace: Some(&namespace), ..Facts::of(&mesh, "shop") };
        applied_rule(&mesh, &PodRequest::new("shop", plain()), &facts).is_some()
    };
    assert!(of("shop"));
    assert!(!of("elsewhere"));
}
