use serde_json::json;

use super::*;

/// A selector with one requirement, or none.
struct Label(Option<(&'static str, &'static str)>);

impl PodSelector for Label {
    fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn matches(&self, labels: &Map<String, Value>) -> bool {
        self.0.is_none_or(|(key, value)| labels.get(key) == Some(&json!(value)))
    }
}

const NO_SELECTORS: &[Label] = &[];

fn input<'a>() -> DecisionInput<'a, Label> {
    DecisionInput {
        policy: "enabled",
        never: NO_SELECTORS,
        always: NO_SELECTORS,
        namespace_labels: None,
        by_pod_alone: false,
        revision: "default",
        tags: &[],
        enable_namespaces_by_default: false,
        rule: None,
        quirks: Quirks::NONE,
    }
}

fn labeled(labels: Value) -> Value {
    json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app"}]}})
}

fn reason(pod: &Value, input: &DecisionInput<'_, Label>) -> (bool, Reason) {
    let decision = decide(pod, "shop", input);
    (decision.inject, decision.reason)
}

fn in_namespace(labels: &[(&str, &str)], pod: &Value, revision: &str, tags: &[&str]) -> (bool, Reason) {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
    let tags: Vec<String> = tags.iter().map(|tag| (*tag).to_owned()).collect();
    let input = DecisionInput { namespace_labels: Some(&labels), revision, tags: &tags, ..input() };
    reason(pod, &input)
}

#[test]
fn injects_a_plain_pod_under_policy_enabled() {
    assert_eq!(reason(&labeled(json!({})), &input()), (true, Reason::PolicyEnabled));
}

#[test]
fn skips_host_network() {
    let pod =
        json!({"spec": {"hostNetwork": true}, "metadata": {"labels": {"sidecar.istio.io/inject": "true"}}});
    assert_eq!(reason(&pod, &input()), (false, Reason::HostNetwork));
    let garbage = json!({"spec": {"hostNetwork": "true"}});
    assert_eq!(reason(&garbage, &input()), (true, Reason::PolicyEnabled), "a wrong type counts as absent");
}

#[test]
fn skips_ignored_namespaces() {
    let pod = labeled(json!({"sidecar.istio.io/inject": "true"}));
    for namespace in names::IGNORED_NAMESPACES {
        let decision = decide(&pod, namespace, &input());
        assert_eq!((decision.inject, decision.reason), (false, Reason::IgnoredNamespace));
        assert!(decision.sentence.contains(namespace));
    }
}

#[test]
fn label_beats_annotation() {
    let pod = |label: &str, annotation: &str| {
        json!({"metadata": {
            "labels": {"sidecar.istio.io/inject": label},
            "annotations": {"sidecar.istio.io/inject": annotation},
        }})
    };
    assert_eq!(reason(&pod("false", "true"), &input()), (false, Reason::PodOptedOut));
    assert_eq!(reason(&pod("true", "false"), &input()), (true, Reason::PodOptedIn));
    assert_eq!(
        reason(&pod("", "false"), &input()),
        (true, Reason::PolicyEnabled),
        "an empty label counts as present"
    );
    let told = |label, annotation| {
        let mut warnings = decide(&pod(label, annotation), "shop", &input()).warnings;
        let opted_out = warnings.extract_if(.., |warning| warning.code == "BYPASS_OPTED_OUT").count();
        assert_eq!(opted_out, usize::from(label == "false"), "{label}");
        warnings
    };
    for (label, annotation) in [("true", "false"), ("false", "true"), ("", "false")] {
        let wanted = format!(
            "annotation sidecar.istio.io/inject: {annotation:?} is ignored because of the label {label:?}"
        );
        assert_eq!(told(label, annotation), [Warning::new("IGNORED_ANNOTATION", wanted)]);
    }
    for (label, annotation) in [("true", "true"), ("false", "false"), ("true", "")] {
        assert_eq!(told(label, annotation), []);
    }
}

#[test]
fn annotation_alone_decides() {
    let pod = json!({"metadata": {"annotations": {"sidecar.istio.io/inject": "false"}}});
    let decision = decide(&pod, "shop", &input());
    assert_eq!((decision.inject, decision.reason), (false, Reason::PodOptedOut));
    assert_eq!(decision.sentence, "pod annotation sidecar.istio.io/inject is \"false\"");
}

#[test]
fn invalid_inject_value_warns_and_leaves_the_default() {
    for value in ["True", "yes", " true", "1"] {
        let decision = decide(&labeled(json!({"sidecar.istio.io/inject": value})), "shop", &input());
        assert_eq!((decision.inject, decision.reason), (true, Reason::PolicyEnabled), "{value}");
        assert_eq!(decision.warnings.len(), 1);
        assert_eq!(decision.warnings[0].code, "INVALID_INJECT_VALUE");
        assert!(decision.warnings[0].message.contains(value));
    }
    let number = labeled(json!({"sidecar.istio.io/inject": true}));
    assert!(decide(&number, "shop", &input()).warnings.is_empty());
}

#[test]
fn policy_disabled_skips_but_an_explicit_true_injects() {
    let disabled = DecisionInput { policy: "disabled", ..input() };
    assert_eq!(reason(&labeled(json!({})), &disabled), (false, Reason::PolicyDisabled));
    let pod = labeled(json!({"sidecar.istio.io/inject": "true"}));
    assert_eq!(reason(&pod, &disabled), (true, Reason::PodOptedIn));
}

#[test]
fn invalid_policy_skips_whatever_the_pod_says() {
    for policy in ["", "Enabled", "off"] {
        let input = DecisionInput { policy, ..input() };
        for choice in ["true", "false"] {
            let pod = labeled(json!({"sidecar.istio.io/inject": choice}));
            assert_eq!(reason(&pod, &input), (false, Reason::PolicyInvalid), "{policy}, {choice}");
        }
    }
}

#[test]
fn never_beats_always_and_both_give_way_to_the_pod() {
    let never = [Label(None), Label(Some(("app", "a")))];
    let always = [Label(Some(("app", "a"))), Label(Some(("app", "b")))];
    let input = DecisionInput { never: &never, always: &always, policy: "disabled", ..input() };
    assert_eq!(reason(&labeled(json!({"app": "a"})), &input), (false, Reason::NeverInjectSelector));
    let decision = decide(&labeled(json!({"app": "b"})), "shop", &input);
    assert_eq!((decision.inject, decision.reason), (true, Reason::AlwaysInjectSelector));
    assert!(decision.sentence.contains("alwaysInjectSelector[1]"));
    let own = labeled(json!({"app": "a", "sidecar.istio.io/inject": "true"}));
    assert_eq!(reason(&own, &input), (true, Reason::PodOptedIn));
    assert_eq!(
        reason(&labeled(json!({"app": "c"})), &input),
        (false, Reason::PolicyDisabled),
        "empty ones are ignored"
    );
}

#[test]
fn skips_pods_no_proxy_works_in_unless_compatible() {
    let linkerd = |list: &str| json!({"metadata": {"annotations": {"linkerd.io/proxy-version": "2"}}, "spec": {list: [{"name": "linkerd-proxy"}]}});
    let rows = [
        (
            json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "abc"}}}),
            Reason::MirrorPod,
            "SKIPPED_MIRROR_POD",
        ),
        (json!({"spec": {"os": {"name": "windows"}}}), Reason::WindowsPod, "SKIPPED_WINDOWS_POD"),
        (
            json!({"spec": {"securityContext": {"windowsOptions": {"runAsUserName": "ContainerUser"}}}}),
            Reason::WindowsPod,
            "SKIPPED_WINDOWS_POD",
        ),
        (linkerd("containers"), Reason::InjectedByLinkerd, "SKIPPED_LINKERD_POD"),
        (linkerd("initContainers"), Reason::InjectedByLinkerd, "SKIPPED_LINKERD_POD"),
    ];
    let compatible = DecisionInput { quirks: Quirks::ALL, ..input() };
    for (pod, expected, code) in rows {
        assert_eq!(reason(&pod, &input()), (false, expected));
        assert_eq!(codes(&pod, &input()), [code]);
        assert_eq!(reason(&pod, &compatible), (true, Reason::PolicyEnabled));
        assert_eq!(codes(&pod, &compatible), [""; 0]);
    }
    let linux = json!({"spec": {"os": {"name": "linux"}}});
    assert_eq!(reason(&linux, &input()), (true, Reason::PolicyEnabled));
    assert_eq!(codes(&linux, &input()), [""; 0]);
}

fn codes(pod: &Value, input: &DecisionInput<'_, Label>) -> Vec<&'static str> {
    decide(pod, "shop", input).warnings.iter().map(|warning| warning.code).collect()
}

/// Anybody can write such a text, so it proves nothing: a pod must not run without a proxy because of it.
#[test]
fn a_mark_that_stands_alone_skips_no_pod() {
    for (pod, code) in [
        (json!({"metadata": {"annotations": {"linkerd.io/proxy-version": ""}}}), "LINKERD_MARK_ALONE"),
        (json!({"metadata": {"annotations": {"linkerd.io/proxy-version": "2"}}}), "LINKERD_MARK_ALONE"),
        (json!({"spec": {"containers": [{"name": "linkerd-proxy"}]}}), "LINKERD_MARK_ALONE"),
        (json!({"spec": {"initContainers": [{"name": "linkerd-proxy"}]}}), "LINKERD_MARK_ALONE"),
    ] {
        assert_eq!(reason(&pod, &input()), (true, Reason::PolicyEnabled), "{pod}");
        assert_eq!(codes(&pod, &input()), [code], "{pod}");
    }
}

/// (namespace labels, pod labels, revision, tags, expected), from the selectors of Istio's webhook configuration.
#[test]
fn known_namespace_is_asked_by_istios_selectors() {
    use Reason::*;
    type Row = (
        &'static [(&'static str, &'static str)],
        Value,
        &'static str,
        &'static [&'static str],
        (bool, Reason),
    );
    let enabled: &[(&str, &str)] = &[("istio-injection", "enabled")];
    let canary: &[(&str, &str)] = &[("istio.io/rev", "canary")];
    let inject = |value: &str| json!({"sidecar.istio.io/inject": value});
    let rows: Vec<Row> = vec![
        // namespace.
        (enabled, json!({}), "", &[], (true, PolicyEnabled)),
        (enabled, json!({}), "default", &[], (true, PolicyEnabled)),
        (enabled, json!({}), "canary", &[], (false, RevisionMismatch)),
        (enabled, json!({}), "canary", &["default"], (true, PolicyEnabled)),
        (enabled, inject("false"), "default", &[], (false, PodOptedOut)),
        (enabled, inject("true"), "default", &[], (true, PodOptedIn)),
        (enabled, json!({"istio.io/rev": "canary"}), "default", &[], (true, PolicyEnabled)),
        (&[("istio-injection", "disabled")], inject("true"), "default", &[], (false, NamespaceDisabled)),
        (&[("istio-injection", "enable")], json!({}), "default", &[], (false, NamespaceDisabled)),
        (&[("istio-injection", "")], json!({}), "default", &[], (false, NamespaceDisabled)),
        // rev.namespace.
        (&[("istio.io/rev", "default")], json!({}), "", &[], (true, PolicyEnabled)),
        (canary, json!({}), "canary", &[], (true, PolicyEnabled)),
        (canary, json!({}), "default", &[], (false, RevisionMismatch)),
        (canary, json!({}), "1-30-3", &["canary"], (true, PolicyEnabled)),
        (canary, inject("false"), "canary", &[], (false, PodOptedOut)),
        (canary, json!({"istio.io/rev": "default"}), "canary", &[], (true, PolicyEnabled)),
        // Both labels: the older one wins.
        (
            &[("istio-injection", "enabled"), ("istio.io/rev", "canary")],
            json!({}),
            "default",
            &[],
            (true, PolicyEnabled),
        ),
        (
            &[("istio-injection", "enabled"), ("istio.io/rev", "canary")],
            json!({}),
            "canary",
            &[],
            (false, RevisionMismatch),
        ),
        // rev.object.
        (&[], json!({"istio.io/rev": "canary"}), "canary", &[], (true, PolicyEnabled)),
        (&[], json!({"istio.io/rev": "canary"}), "default", &[], (false, RevisionMismatch)),
        (
            &[],
            json!({"istio.io/rev": "canary", "sidecar.istio.io/inject": "true"}),
            "canary",
            &[],
            (true, PodOptedIn),
        ),
        (
            &[],
            json!({"istio.io/rev": "canary", "sidecar.istio.io/inject": "false"}),
            "canary",
            &[],
            (false, PodOptedOut),
        ),
        (&[], json!({"istio.io/rev": "default"}), "", &[], (true, PolicyEnabled)),
        // object.
        (&[], inject("true"), "default", &[], (true, PodOptedIn)),
        (&[], inject("true"), "canary", &[], (false, RevisionMismatch)),
        (&[], inject("true"), "canary", &["default"], (true, PodOptedIn)),
        (&[], inject("yes"), "default", &[], (false, NamespaceNotEnabled)),
        (&[], inject("false"), "default", &[], (false, PodOptedOut)),
        (&[], json!({}), "default", &[], (false, NamespaceNotEnabled)),
    ];
    for (namespace, pod, revision, tags, expected) in rows {
        let found = in_namespace(namespace, &labeled(pod.clone()), revision, tags);
        assert_eq!(found, expected, "namespace {namespace:?} pod {pod} revision {revision} tags {tags:?}");
    }
}

#[test]
fn automatic_entry_takes_namespaces_without_labels() {
    let labels = Map::new();
    let base =
        DecisionInput { namespace_labels: Some(&labels), enable_namespaces_by_default: true, ..input() };
    assert_eq!(reason(&labeled(json!({})), &base), (true, Reason::PolicyEnabled));
    let named = DecisionInput { revision: "canary", ..base };
    assert_eq!(reason(&labeled(json!({})), &named), (false, Reason::NamespaceNotEnabled));
    let other = labeled(json!({"sidecar.istio.io/inject": ""}));
    assert_eq!(reason(&other, &base), (false, Reason::NamespaceNotEnabled), "the label must be absent");
    let decision = decide(&labeled(json!({})), "kube-system", &base);
    assert_eq!((decision.inject, decision.reason), (false, Reason::NamespaceNotEnabled));
}

#[test]
fn two_namespace_labels_are_warned_about() {
    let labels = Map::from_iter([
        ("istio-injection".to_owned(), json!("enabled")),
        ("istio.io/rev".to_owned(), json!("canary")),
    ]);
    let input = DecisionInput { namespace_labels: Some(&labels), ..input() };
    let decision = decide(&labeled(json!({})), "shop", &input);
    assert_eq!(decision.warnings[0].code, "NAMESPACE_HAS_BOTH_LABELS");
}

#[test]
fn a_pods_revision_is_ignored_with_a_warning_only_in_a_namespace_with_labels() {
    let told = |namespace: &[(&str, &str)], revision: &str| {
        let labels = namespace.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let input = DecisionInput { namespace_labels: Some(&labels), ..input() };
        let pod = labeled(json!({"istio.io/rev": revision, "sidecar.istio.io/inject": "true"}));
        decide(&pod, "shop", &input).warnings
    };
    let enabled = ("istio-injection", "enabled");
    for (namespace, label) in
        [(&[enabled][..], "istio-injection"), (&[("istio.io/rev", "default")], "istio.io/rev")]
    {
        let wanted =
            format!("pod label istio.io/rev: \"canary\" is ignored: the namespace has label {label}");
        assert_eq!(told(namespace, "canary"), [Warning::new("REVISION_OF_THE_NAMESPACE", wanted)]);
        assert_eq!(told(namespace, "default"), []);
    }
    assert_eq!(told(&[], "canary"), []);
}

#[test]
fn another_revision_in_the_pods_label_skips_where_the_namespace_is_not_known_and_only_on_request() {
    let pod = |revision: &str| labeled(json!({ "istio.io/rev": revision }));
    let alone = DecisionInput { by_pod_alone: true, ..input() };
    assert_eq!(reason(&pod("canary"), &alone), (false, Reason::RevisionMismatch));
    assert_eq!(reason(&pod("default"), &alone), (true, Reason::PolicyEnabled));
    assert_eq!(reason(&labeled(json!({})), &alone), (true, Reason::PolicyEnabled));
    assert_eq!(reason(&pod("canary"), &input()), (true, Reason::PolicyEnabled));
}

fn rule(inject: Option<RuleAction>) -> InjectRule {
    InjectRule {
        name: "batch".to_owned(),
        matches: Default::default(),
        inject,
        defaults: Default::default(),
        reason: "owned: by an operator".to_owned(),
    }
}

#[test]
fn a_rule_of_the_configuration_beats_the_pods_choice_or_leaves_it_alone() {
    let pod = |choice: &str| labeled(json!({ "sidecar.istio.io/inject": choice }));
    for (action, choice, expected) in [
        (Some(RuleAction::Never), "true", (false, Reason::RuleNever)),
        (Some(RuleAction::Force), "false", (true, Reason::RuleForce)),
        (None, "true", (true, Reason::PodOptedIn)),
        (None, "false", (false, Reason::PodOptedOut)),
    ] {
        let rule = rule(action);
        let decision = decide(&pod(choice), "shop", &DecisionInput { rule: Some(&rule), ..input() });
        assert_eq!((decision.inject, decision.reason), expected, "{action:?}");
        assert_eq!(decision.rule.as_deref(), Some("rule batch: owned: by an operator"));
        assert_eq!(decision.rule_name(), Some("batch"));
        let is_sentence = decision.sentence == "rule batch: owned: by an operator";
        assert_eq!(is_sentence, action.is_some(), "{}", decision.sentence);
    }
    let unreasoned = Decision { rule: Some("rule batch".to_owned()), ..decide(&pod(""), "shop", &input()) };
    assert_eq!(unreasoned.rule_name(), Some("batch"));
    assert_eq!(decide(&pod(""), "shop", &input()).rule_name(), None);
}

#[test]
fn a_choice_that_nothing_asked_for_is_not_warned_about() {
    let pod = json!({
        "metadata": {
            "labels": {"sidecar.istio.io/inject": "true"},
            "annotations": {"sidecar.istio.io/inject": "false"},
        },
        "spec": {"hostNetwork": true},
    });
    assert_eq!(codes(&pod, &input()), ["BYPASS_HOST_NETWORK"]);
}

#[test]
fn the_pods_choice_selectors_and_policy_come_after_the_rules() {
    use Reason::*;
    let after =
        [PodOptedOut, PodOptedIn, NeverInjectSelector, AlwaysInjectSelector, PolicyEnabled, PolicyDisabled];
    for reason in Reason::ALL {
        assert_eq!(reason.heeds_wishes(), after.contains(&reason), "{reason}");
        let is_after = after.contains(&reason) || reason == PolicyInvalid;
        assert_eq!(reason.comes_after_rules(), is_after, "{reason}");
        assert_eq!(reason.to_string(), reason.key());
    }
}

/// Every step: its key, what it looked at, and whether it passed (`-`), decided (its reason) or was not reached.
fn told(pod: &Value, input: &DecisionInput<'_, Label>) -> Vec<(&'static str, String, String)> {
    let told = |step: Step| {
        let outcome = match step.outcome {
            StepOutcome::Passed => "-".to_owned(),
            StepOutcome::Decided(decision) => decision.reason.to_string(),
            StepOutcome::NotReached => String::new(),
        };
        (step.rule.key(), step.looked_at, outcome)
    };
    steps(pod, "shop", input).into_iter().map(told).collect()
}

#[test]
fn steps_tell_every_rule_in_order_until_one_decides() {
    let row = |key, looked_at: &str, outcome: &str| (key, looked_at.to_owned(), outcome.to_owned());
    assert_eq!(
        told(&json!({}), &input()),
        [
            row(
                "namespaceLabels",
                "the API server evaluates them, and it calls the webhook for this pod",
                "-"
            ),
            row("podRevision", "the namespace decides about the revision", "-"),
            row("hostNetwork", "spec.hostNetwork is not set", "-"),
            row("ignoredNamespace", "namespace \"shop\"", "-"),
            row("injectable", "mirror pod annotation, operating system, Linkerd's marks", "-"),
            row("rules", "no rule matches", "-"),
            row("podChoice", "pod label and annotation sidecar.istio.io/inject are not set", "-"),
            row("neverInjectSelector", "the configuration has none", "-"),
            row("alwaysInjectSelector", "the configuration has none", "-"),
            row("policy", "\"enabled\"", "POLICY_ENABLED"),
        ]
    );
    let labels = Map::from_iter([("istio-injection".to_owned(), json!("enabled"))]);
    let (never, always) = ([Label(Some(("app", "b")))], [Label(None), Label(Some(("app", "a")))]);
    let rule = rule(None);
    let full = DecisionInput {
        namespace_labels: Some(&labels),
        by_pod_alone: true,
        never: &never,
        always: &always,
        rule: Some(&rule),
        ..input()
    };
    let pod = json!({
        "metadata": {"labels": {"app": "a"}, "annotations": {"sidecar.istio.io/inject": "maybe"}},
        "spec": {"hostNetwork": false},
    });
    assert_eq!(
        told(&pod, &full),
        [
            row(
                "namespaceLabels",
                "namespace label istio-injection: \"enabled\", namespace label istio.io/rev is not set, \
                 pod label istio.io/rev is not set, pod label sidecar.istio.io/inject is not set",
                "-"
            ),
            row("podRevision", "pod label istio.io/rev is not set", "-"),
            row("hostNetwork", "spec.hostNetwork: false", "-"),
            row("ignoredNamespace", "namespace \"shop\"", "-"),
            row("injectable", "mirror pod annotation, operating system, Linkerd's marks", "-"),
            row("rules", "rule batch: owned: by an operator matches first", "-"),
            row(
                "podChoice",
                "pod annotation sidecar.istio.io/inject: \"maybe\", which is ignored: expected \"true\" or \"false\"",
                "-"
            ),
            row("neverInjectSelector", "1 selector; the pod has app=\"a\"", "-"),
            row(
                "alwaysInjectSelector",
                "2 selectors, 1 of them empty and ignored; the pod has app=\"a\"",
                "ALWAYS_INJECT_SELECTOR"
            ),
            row("policy", "\"enabled\"", ""),
        ]
    );
    let opted_out = labeled(json!({"sidecar.istio.io/inject": "false"}));
    let choice = &told(&opted_out, &input())[6];
    assert_eq!(*choice, row("podChoice", "pod label sidecar.istio.io/inject: \"false\"", "POD_OPTED_OUT"));
    let unlabeled = &told(&json!({}), &full)[7];
    assert_eq!(unlabeled.1, "1 selector; the pod has no labels");
    let titles: std::collections::BTreeSet<_> = RULES.iter().map(|rule| rule.title()).collect();
    assert_eq!(titles.len(), RULES.len());
    assert_eq!(Rule::HostNetwork.title(), "host network");
}

#[test]
fn reasons_have_different_keys() {
    let keys: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.key()).collect();
    assert_eq!(keys.len(), Reason::ALL.len());
}

#[test]
fn garbage_is_decided_without_panic() {
    for pod in
        [json!(null), json!([]), json!({"metadata": 1, "spec": "x"}), json!({"metadata": {"labels": []}})]
    {
        assert_eq!(reason(&pod, &input()), (true, Reason::PolicyEnabled));
    }
}
