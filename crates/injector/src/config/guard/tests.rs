//! Each kind of condition with a pod that matches and one that does not, and every mistake with its place.

use serde_json::{Value, json};

use super::*;
use crate::cel::{User, Variables};
use crate::config::{InjectorConfig, Source};

fn parse(bundle: &str) -> Result<InjectorConfig, String> {
    let text = format!("apiVersion: outrigger.dev/v1alpha1\nkind: Bundle\n{bundle}");
    InjectorConfig::from_bundle(Source { name: "b", text: &text })
        .map(|(config, _)| config)
        .map_err(|error| error.to_string())
}

fn pod() -> Value {
    json!({
        "metadata": {
            "name": "nightly-1", "labels": {"app": "batch", "tier": "b"},
            "ownerReferences": [{"kind": "Job", "name": "nightly-123"}],
        },
        "spec": {
            "serviceAccountName": "runner",
            "containers": [{"name": "a", "image": "registry.example.com/batch:1"}],
            "initContainers": [{"name": "i", "image": "docker.io/init"}],
        },
    })
}

/// Conditions, and whether the pod of this file matches.
const CASES: [(&str, bool); 30] = [
    ("{}", true),
    ("{owner: Job/nightly-*}", true),
    ("{owner: [CronJob/*, Job/*]}", true),
    ("{owner: \"*/nightly-123\"}", true),
    ("{owner: Job/nightly}", false),
    ("{owner: ReplicaSet/*}", false),
    ("{serviceAccount: run*}", true),
    ("{serviceAccount: default}", false),
    ("{image: registry.example.com/*}", true),
    ("{image: \"docker.io/*\"}", true),
    ("{image: \"quay.io/*\"}", false),
    ("{user: system:serviceaccount:kube-system:job-controller}", true),
    ("{user: \"*:job-*\"}", true),
    ("{user: alice}", false),
    ("{namespace: shop}", true),
    ("{namespace: [a, sh*]}", true),
    ("{namespace: sho}", false),
    ("{labels: {matchLabels: {app: batch}}}", true),
    ("{labels: {matchLabels: {app: web}}}", false),
    ("{labels: {matchExpressions: [{key: tier, operator: In, values: [a, b]}]}}", true),
    ("{labels: {matchExpressions: [{key: tier, operator: NotIn, values: [a, b]}]}}", false),
    (
        "{labels: {matchExpressions: [{key: zone, operator: DoesNotExist}, {key: app, operator: Exists}]}}",
        true,
    ),
    ("{namespaceLabels: {matchLabels: {team: red}}}", true),
    ("{namespaceLabels: {matchLabels: {team: blue}}}", false),
    ("{cel: \"object.spec.containers.all(c, c.image.startsWith('registry.example.com/'))\"}", true),
    ("{cel: \"has(object.spec.hostNetwork) && object.spec.hostNetwork\"}", false),
    ("{cel: \"request.userInfo.groups.exists(g, g == 'system:masters')\"}", true),
    ("{cel: \"namespaceObject.metadata.labels['team'] == 'red'\"}", true),
    ("{namespace: shop, serviceAccount: other}", false),
    ("{namespace: shop, owner: Job/*, labels: {matchLabels: {app: batch}}}", true),
];

fn user() -> User {
    User {
        name: "system:serviceaccount:kube-system:job-controller".to_owned(),
        groups: vec!["system:masters".to_owned()],
    }
}

#[test]
fn each_condition_is_evaluated() {
    let (pod, user, labels) = (pod(), user(), json!({"team": "red"}));
    let candidate = Candidate::new(&pod, None, "shop", labels.as_object(), Some(&user), false);
    for (conditions, wanted) in CASES {
        let config = parse(&format!("rules: [{{name: a, inject: never, match: {conditions}}}]")).unwrap();
        assert_eq!(config.guard().rules[0].matches.matches(&candidate), Ok(wanted), "{conditions}");
    }
}

#[test]
fn what_is_not_known_fits_nothing() {
    let pod = pod();
    let candidate = Candidate::new(&pod, None, "shop", None, None, false);
    for conditions in [
        "{user: \"*\"}",
        "{namespaceLabels: {matchLabels: {team: red}}}",
        "{cel: \"request.userInfo.username == 'alice'\"}",
    ] {
        let config = parse(&format!("rules: [{{name: a, inject: never, match: {conditions}}}]")).unwrap();
        assert_eq!(config.guard().rules[0].matches.matches(&candidate), Ok(false), "{conditions}");
    }
}

#[test]
fn a_match_condition_exempts_exactly_the_pods_that_match() {
    let (pod, user, labels) = (pod(), user(), json!({"team": "red"}));
    let variables = Variables::of(&pod, "shop", Some(&user), labels.as_object());
    let mut moved = 0;
    for (conditions, matches) in CASES {
        let config = parse(&format!("rules: [{{name: a, inject: never, match: {conditions}}}]")).unwrap();
        for condition in config.guard().match_conditions(true, 0) {
            assert_eq!(condition.name, "rules.outrigger.dev/a");
            let sent = variables.evaluate(&condition.expression);
            assert_eq!(sent, Ok(!matches), "{conditions}: {}", condition.expression);
            moved += 1;
        }
    }
    assert_eq!(moved, 26, "all but the empty one, namespaceLabels and namespaceObject");
    // A pod without any of the optional fields.
    let bare = json!({"metadata": {}, "spec": {"containers": [{"name": "a"}]}});
    let variables = Variables::of(&bare, "other", Some(&User::default()), None);
    for (conditions, _) in CASES.iter().filter(|(conditions, _)| !conditions.contains("cel")) {
        let config = parse(&format!("rules: [{{name: a, inject: never, match: {conditions}}}]")).unwrap();
        for condition in config.guard().match_conditions(true, 0) {
            let candidate = Candidate::new(&bare, None, "other", None, None, false);
            let matches = config.guard().rules[0].matches.matches(&candidate).unwrap();
            assert_eq!(variables.evaluate(&condition.expression), Ok(!matches), "{}", condition.expression);
        }
    }
}

#[test]
fn only_an_exemption_that_changes_no_result_is_moved() {
    let names = |rules: &str, fails_closed: bool, existing: usize| {
        let config = parse(&format!("rules:\n{rules}")).unwrap();
        let conditions = config.guard().match_conditions(fails_closed, existing);
        conditions
            .into_iter()
            .map(|it| it.name.rsplit('/').next().unwrap().to_owned())
            .collect::<Vec<_>>()
            .join(",")
    };
    let never =
        |name: &str, conditions: &str| format!("- {{name: {name}, inject: never, match: {conditions}}}\n");
    let (a, b) = (never("a", "{namespace: a}"), never("b", "{owner: Job/*}"));
    let labels = never("l", "{namespaceLabels: {matchLabels: {a: b}}}");
    let force = "- {name: f, inject: force, match: {namespace: a}}\n";
    let defaults = "- {name: d, templates: [sidecar], match: {namespace: a}}\n";
    let cel = never("c", "{cel: \"object.spec.priority == 1\"}");
    let own = never("o", "{cel: \"object.spec.containers.map(c, c.name).distinct().size() == 1\"}");
    assert_eq!(names(&format!("{a}{b}"), true, 0), "a,b");
    assert_eq!(names(&format!("{labels}{b}"), true, 0), "b", "both leave the pod alone");
    assert_eq!(names(&format!("{a}{force}{b}"), true, 0), "a", "the second comes before the third");
    assert_eq!(names(&format!("{a}{defaults}{b}"), true, 0), "a");
    assert_eq!(names(&format!("{a}{cel}{b}"), true, 0), "a,c", "an expression that fails denies the pod");
    assert_eq!(
        names(&format!("{a}{cel}{b}"), false, 0),
        "a",
        "without failurePolicy Fail it would exempt it"
    );
    assert_eq!(names(&format!("{own}{b}"), true, 0), "", "not every API server has the function");
    assert_eq!(names(&format!("{a}{b}"), true, 63), "a", "an entry has 64 at most");
}

#[test]
fn mistakes_are_named_with_their_places() {
    for (bundle, wanted) in [
        ("rules: [{match: {}, inject: never}]", "b:3:9: rules[0]: found no name; expected a DNS label"),
        (
            "rules: [{name: A, match: {}, inject: never}]",
            "b:3:16: rules[0].name: found \"A\"; expected a DNS label",
        ),
        (
            "rules: [{name: a, inject: never}]",
            "b:3:9: rules[0]: found no match; expected conditions, {} for every pod",
        ),
        (
            "rules: [{name: a, match: {}}]",
            "found a rule without effect; expected one of inject, templates, defaults",
        ),
        (
            "rules: [{name: a, match: {}, inject: nevr}]",
            "rules[0].inject: found \"nevr\"; expected never, force; nearest: \"never\"",
        ),
        ("rules: [{name: a, match: {owners: Job/*}, inject: never}]", "nearest: \"owner\""),
        ("rules: [{name: a, match: {owner: Job}, inject: never}]", "found \"Job\"; expected KIND/NAME"),
        ("rules: [{name: a, match: {image: \"a'b\"}, inject: never}]", "rules[0].match.image: "),
        ("rules: [{name: a, match: {namespace: []}, inject: never}]", "found 0 patterns; expected 1 to 256"),
        ("rules: [{name: a, match: {labels: {}}, inject: never}]", "expected a label selector"),
        (
            "rules: [{name: a, match: {cel: \"object.spec.\"}, inject: never}]",
            "b:3:32: rules[0].match.cel: found",
        ),
        (
            "rules: [{name: a, match: {cel: \"pod.spec\"}, inject: never}]",
            "unknown variable pod; known: object",
        ),
        (
            "rules: [{name: a, match: {}, defaults: {a: b}}]",
            "rules[0].defaults.a: found \"a\"; expected sidecar.istio.io/proxyCPU",
        ),
        (
            "rules: [{name: a, match: {}, inject: never, templates: [a]}]",
            "inject: never with templates or defaults",
        ),
        (
            "rules: [{name: a, match: {}, inject: never}, {name: a, match: {}, inject: never}]",
            "a name that no other entry",
        ),
        (
            "overridePolicy: [{name: a, forbid: {optOut: true}}]",
            "overridePolicy[0]: found no action; expected audit, warn, deny",
        ),
        (
            "overridePolicy: [{name: a, action: deny}]",
            "an entry without effect; expected one of forbid, allowOnly, limit",
        ),
        (
            "overridePolicy: [{name: a, action: deny, forbid: {optOut: false}}]",
            "overridePolicy[0].forbid.optOut: found false; expected true",
        ),
        ("overridePolicy: [{name: a, action: deny, forbid: {optout: true}}]", "nearest: \"optOut\""),
        (
            "overridePolicy: [{name: a, action: deny, forbid: {warnings: BYPAS_*}}]",
            "found \"BYPAS_*\"; expected a pattern for the code",
        ),
        (
            "overridePolicy: [{name: a, action: deny, except: {}, forbid: {root: true}}]",
            "without any, every pod is an exception",
        ),
        (
            "overridePolicy: [{name: a, action: deny, allowOnly: {excludedPorts: [99999]}}]",
            "expected a port or a range",
        ),
        (
            "overridePolicy: [{name: a, action: deny, allowOnly: {excludedRanges: [10.0.0.0/33]}}]",
            "expected a range in CIDR",
        ),
        (
            "overridePolicy: [{name: a, action: deny, limit: {limits: {cpu: much}}}]",
            "overridePolicy[0].limit.limits.cpu: found \"much\"; expected a quantity",
        ),
    ] {
        let error = parse(bundle).map(|_| ()).unwrap_err();
        assert!(error.contains(wanted), "{bundle}\n{error}\nlacks {wanted}");
    }
}

/// Such a pattern is not an error, because a newer version may know the annotation, and the other entries are worth
/// having.
#[test]
fn a_pattern_for_annotations_without_effect_is_told() {
    for (checks, wanted) in [
        ("forbid: {annotations: [sidecar.istio.io/*, \"*CPU\", sidecar.istio.io/inject]}", vec![]),
        ("forbid: {annotations: apm.datadoghq.com/env}", vec![]),
        (
            "forbid: {annotations: [sidecar.istio.io/logLevel, sidecar.istio.io/proxyCpu]}",
            vec![
                "forbid.annotations[1]: \"sidecar.istio.io/proxyCpu\" matches no annotation that configures injection, so it forbids \
                  nothing; did you mean sidecar.istio.io/proxyCPU?",
            ],
        ),
        (
            "forbid: {annotations: sidecar.isto.io/*}",
            vec!["so it forbids nothing; did you mean sidecar.istio.io/*?"],
        ),
        (
            "forbid: {annotations: [example.com/size, sidecar.istio.io/status, prometheus.io/*]}",
            vec![
                "\"example.com/size\" matches no annotation that configures injection, so it forbids nothing",
                "\"sidecar.istio.io/status\" matches no annotation that configures injection, so it forbids nothing",
                "\"prometheus.io/*\" matches no annotation that configures injection, so it forbids nothing",
            ],
        ),
        // The policy allows every annotation that it does not check, so only a typo matters.
        ("allowOnly: {annotations: [example.com/*, prometheus.io/scrape]}", vec![]),
        (
            "allowOnly: {annotations: [traffic.istio.io/excludeInboundPorts]}",
            vec!["so it allows nothing; did you mean traffic.sidecar.istio.io/excludeInboundPorts?"],
        ),
    ] {
        let text = format!(
            "apiVersion: outrigger.dev/v1alpha1\nkind: Bundle\noverridePolicy: [{{name: a, action: deny, {checks}}}]"
        );
        let (_, warnings) = InjectorConfig::from_bundle(Source { name: "b", text: &text }).unwrap();
        let told: Vec<String> = warnings.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), wanted.len(), "{checks}: {told:?}");
        for (told, wanted) in told.iter().zip(wanted) {
            assert!(told.starts_with("overridePolicy[0].") && told.ends_with(wanted), "{checks}: {told}");
        }
    }
}

#[test]
fn expressions_are_bounded() {
    let compile = crate::cel::Expression::compile;
    let nested =
        "object.spec.containers.all(a, object.spec.containers.all(b, object.spec.containers.all(c, true)))";
    assert!(compile(nested).unwrap_err().starts_with("3 nested loops"));
    assert!(compile(&format!("'{}' == ''", "a".repeat(5000))).unwrap_err().contains("at most 4096"));
    let twice =
        compile("object.spec.containers.all(a, object.spec.containers.all(b, a.name != '' || b.name != ''))")
            .unwrap();
    let pod = |count: usize| {
        let containers: Vec<Value> = (0..count).map(|index| json!({"name": format!("c{index}")})).collect();
        Variables::of(&json!({"metadata": {}, "spec": {"containers": containers}}), "shop", None, None)
    };
    assert_eq!(twice.evaluate(&pod(50)), Ok(true));
    assert!(twice.evaluate(&pod(2000)).unwrap_err().contains("too many steps"));
    // What differs between replicas.
    for (text, may) in [
        ("object.spec.containers.exists(c, c.image == 'a')", false),
        (
            "has(object.metadata.labels) && 'a' in object.metadata.labels && object.metadata.labels['a'] == 'b'",
            false,
        ),
        ("request.namespace == 'a' && object.metadata.namespace == 'a'", false),
        ("object.metadata.name == 'a'", true),
        ("object.metadata.labels.exists(k, object.metadata.labels[k] == 'x')", true),
        ("object.spec.volumes.size() == 1", true),
        ("request.name == 'a'", true),
        ("[object].exists(o, o.metadata.name == 'a')", true),
    ] {
        assert_eq!(compile(text).unwrap().may_read_names(), may, "{text}");
    }
}

#[test]
fn ranges_contain_ranges() {
    let prefix = |text: &str| Prefix::parse(text).unwrap();
    for (outer, inner, wanted) in [
        ("10.0.0.0/8", "10.1.2.3", true),
        ("10.0.0.0/8", "10.0.0.0/7", false),
        ("10.0.0.0/8", "11.0.0.0/8", false),
        ("0.0.0.0/0", "1.2.3.4/32", true),
        ("0.0.0.0/0", "::/0", false),
        ("fd00::/8", "fd12::1", true),
        ("fd00::/8", "::1", false),
    ] {
        assert_eq!(prefix(outer).contains(&prefix(inner)), wanted, "{outer} {inner}");
    }
    assert!(["", "10.0.0.0/33", "a", "::/129", "10.0.0/8"].iter().all(|text| Prefix::parse(text).is_none()));
}

#[test]
fn a_configuration_with_guard_rails_survives_a_round_trip() {
    let config = parse(
        "rules: [{name: a, inject: never, match: {owner: Job/*}}]\n\
         overridePolicy: [{name: b, action: deny, forbid: {optOut: true}}]\n\
         namespaceDefaults: [sidecar.istio.io/logLevel]\nresources: perField\n",
    )
    .unwrap();
    let text = config.effective_bundle().to_string();
    let (again, _) = InjectorConfig::from_bundle(Source { name: "b", text: &text }).unwrap();
    assert_eq!(again.hash(), config.hash());
    assert_eq!((again.guard().rules.len(), again.guard().policy.len()), (1, 1));
    assert_ne!(config.hash(), parse("").unwrap().hash());
}

#[test]
fn a_policy_against_pods_without_a_proxy_needs_to_know_the_user() {
    // Only nodes create mirror pods, whatever annotation a pod has.
    for (forbid, expected) in
        [("{optOut: true}", true), ("{warnings: ['BYPASS_*']}", true), ("{root: true}", false)]
    {
        let config =
            parse(&format!("overridePolicy: [{{name: a, action: deny, forbid: {forbid}}}]\n")).unwrap();
        assert_eq!(config.guard().reads_user(), expected, "{forbid}");
    }
}
