use super::*;
use crate::{
    config::{InjectorConfig, Source, headed::headed},
    inject::{self, Facts, Outcome, PodRequest},
    quirks::Quirks,
};

const KEY: &str = names::ANNOTATION_PRE_STOP_SLEEP;
const NATIVE: &str = "nativeSidecars: enabled";
const ORDINARY: &str = "nativeSidecars: disabled";
const BY_DEFAULT: &str = "values: {sidecarInjectorWebhook: {preStopSleepSeconds: 7}}";

fn inject(bundle: &str, pod: &Value) -> Result<(Value, Vec<&'static str>), String> {
    let mesh = InjectorConfig::from_bundle(Source { name: "bundle", text: &headed(bundle) }).unwrap().0;
    match inject::run(&mesh, &PodRequest::new("shop", pod.clone()), &Facts::of(&mesh, "shop")) {
        Ok(Outcome::Injected(injection)) => {
            Ok((injection.pod, injection.warnings.iter().map(|warning| warning.code).collect()))
        }
        Ok(Outcome::Skipped(skip)) => panic!("{:?}", skip.decision),
        Err(refusal) => Err(format!("{}: {refusal}", refusal.reason())),
    }
}

fn pod(annotations: Value, spec: Value) -> Value {
    let mut pod = json!({
        "metadata": {"name": "p", "annotations": annotations},
        "spec": {"containers": [{"name": "app", "image": "app:1"}]},
    });
    pod["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    pod
}

fn annotated(seconds: &str) -> Value {
    pod(json!({KEY: seconds}), json!({}))
}

/// The sleeps of all containers, by list and name; the pod is the same when it is injected again.
fn sleeps_of(bundle: &str, pod: &Value) -> Vec<(String, i64)> {
    let (once, _) = inject(bundle, pod).unwrap();
    let (twice, _) = inject(bundle, &once).unwrap();
    assert_eq!(twice, once, "injected again");
    sleeps_in(&once)
}

fn sleeps_in(pod: &Value) -> Vec<(String, i64)> {
    let all = pod::containers(pod).iter().chain(pod::init_containers(pod));
    let seconds = |container: &Value| container.pointer("/lifecycle/preStop/sleep/seconds")?.as_i64();
    all.filter_map(|container| Some((pod::name(container).to_owned(), seconds(container)?))).collect()
}

fn named(rows: &[(&str, i64)]) -> Vec<(String, i64)> {
    rows.iter().map(|(name, seconds)| ((*name).to_owned(), *seconds)).collect()
}

#[test]
fn the_application_sleeps_and_an_ordinary_proxy_with_it() {
    assert_eq!(sleeps_of(NATIVE, &annotated("5")), named(&[("app", 5)]));
    assert_eq!(sleeps_of(ORDINARY, &annotated("5")), named(&[("app", 5), ("istio-proxy", 5)]));
    assert_eq!(sleeps_of(ORDINARY, &pod(json!({}), json!({}))), []);
}

#[test]
fn the_value_is_the_default_and_the_annotation_wins() {
    for text in [BY_DEFAULT, "values: {sidecarInjectorWebhook: {preStopSleepSeconds: '7'}}"] {
        let bundle = format!("{NATIVE}\n{text}");
        assert_eq!(sleeps_of(&bundle, &pod(json!({}), json!({}))), named(&[("app", 7)]));
        assert_eq!(sleeps_of(&bundle, &annotated("")), named(&[("app", 7)]));
        assert_eq!(sleeps_of(&bundle, &annotated("3")), named(&[("app", 3)]));
        assert_eq!(sleeps_of(&bundle, &annotated("0")), []);
    }
}

#[test]
fn hooks_of_the_users_stay() {
    let own = json!([
        {"name": "exec", "image": "a", "lifecycle": {"preStop": {"exec": {"command": ["x"]}}}},
        {"name": "longer", "image": "a", "lifecycle": {"preStop": {"sleep": {"seconds": 9}}}},
        {"name": "starts", "image": "a", "lifecycle": {"postStart": {"exec": {"command": ["y"]}}}},
        {"name": "istio-proxy", "image": "auto", "lifecycle": {"preStop": {"sleep": {"seconds": 2}}}},
    ]);
    let helper = json!([{"name": "helper", "image": "h", "restartPolicy": "Always"}]);
    let pod = pod(json!({KEY: "5"}), json!({"containers": own, "initContainers": helper}));
    assert_eq!(sleeps_of(ORDINARY, &pod), named(&[("longer", 9), ("starts", 5), ("istio-proxy", 2)]));
    let (injected, _) = inject(ORDINARY, &pod).unwrap();
    let lifecycle = |name: &str| &pod::find(pod::containers(&injected), name).unwrap()["lifecycle"];
    assert_eq!(lifecycle("exec"), &own_hook("preStop", "x"));
    assert_eq!(lifecycle("starts")["postStart"], own_hook("postStart", "y")["postStart"]);
}

fn own_hook(hook: &str, command: &str) -> Value {
    json!({hook: {"exec": {"command": [command]}}})
}

/// Injecting again follows the annotation: the status says which hooks are ours.
#[test]
fn a_changed_annotation_changes_the_hooks_that_were_added() {
    let own = json!([
        {"name": "app", "image": "a"},
        {"name": "other", "image": "a", "lifecycle": {"preStop": {"sleep": {"seconds": 9}}}},
    ]);
    let fresh = |seconds: &str| pod(json!({KEY: seconds}), json!({"containers": own}));
    for (bundle, other) in [(NATIVE, NATIVE), (ORDINARY, ORDINARY), (NATIVE, ORDINARY), (ORDINARY, NATIVE)] {
        for (from, to) in [("5", "6"), ("5", "0")] {
            let (mut injected, _) = inject(bundle, &fresh(from)).unwrap();
            injected["metadata"]["annotations"][KEY] = json!(to);
            let (again, _) = inject(other, &injected).unwrap();
            let (wanted, _) = inject(other, &fresh(to)).unwrap();
            assert_eq!(sleeps_in(&again), sleeps_in(&wanted), "{bundle}, then {other}: {from} {to}");
            let status = |pod: &Value| pod["metadata"]["annotations"][names::ANNOTATION_STATUS].clone();
            assert_eq!(status(&again), status(&wanted));
            assert_eq!(again["spec"]["containers"][1], own[1]);
        }
    }
}

/// A template that extends the application's containers records them as the user wrote them.
#[test]
fn containers_that_a_template_extends_sleep_too() {
    let pod = pod(json!({KEY: "5", "inject.istio.io/templates": "grpc-simple"}), json!({}));
    assert_eq!(sleeps_of(NATIVE, &pod), named(&[("app", 5)]));
    let (injected, _) = inject(NATIVE, &pod).unwrap();
    assert!(!injected["metadata"]["annotations"][names::ANNOTATION_OVERRIDES].to_string().contains("sleep"));
}

#[test]
fn a_sleep_as_long_as_the_grace_period_is_not_added() {
    let graced = |annotations: Value, seconds: i64| {
        pod(annotations, json!({"terminationGracePeriodSeconds": seconds}))
    };
    let said = inject(NATIVE, &annotated("30")).unwrap_err();
    assert_eq!(
        said,
        "INVALID_ANNOTATION: annotation outrigger.dev/preStopSleepSeconds: 30 leaves nothing of \
         terminationGracePeriodSeconds 30; expected less than 30"
    );
    assert!(inject(NATIVE, &graced(json!({KEY: "5"}), 5)).is_err());
    assert_eq!(sleeps_of(NATIVE, &graced(json!({KEY: "5"}), 6)), named(&[("app", 5)]));
    // The mesh's setting does not deny a pod.
    for grace in [0, 7] {
        let (injected, codes) = inject(BY_DEFAULT, &graced(json!({}), grace)).unwrap();
        assert_eq!((sleeps_in(&injected), codes), (Vec::new(), vec!["PRE_STOP_SLEEP_TOO_LONG"]));
    }
}

#[test]
fn values_that_are_no_seconds_are_denied() {
    for seconds in ["5s", "-1", "1.5", " 5", "2147483648"] {
        assert!(
            inject(NATIVE, &annotated(seconds)).unwrap_err().starts_with("INVALID_ANNOTATION"),
            "{seconds}"
        );
    }
}

#[test]
fn a_forged_status_removes_no_other_hook() {
    let status = json!({"preStop": ["exec", "sleeps", "absent"]}).to_string();
    let own = json!([
        {"name": "exec", "image": "a", "lifecycle": own_hook("preStop", "x")},
        {"name": "sleeps", "image": "a", "lifecycle": {"preStop": {"sleep": {"seconds": 9}}}},
    ]);
    let pod = pod(json!({names::ANNOTATION_STATUS: status}), json!({"containers": own}));
    let (injected, _) = inject(NATIVE, &pod).unwrap();
    // The user said that the second is not the user's.
    assert_eq!(sleeps_in(&injected), []);
    assert_eq!(injected["spec"]["containers"][0]["lifecycle"], own_hook("preStop", "x"));
    let again = inject(NATIVE, &injected).unwrap().0;
    assert_eq!(again, injected);
}

#[test]
fn garbage_is_left_alone() {
    let context = crate::inject::post::tests::Fixture {
        received: pod(json!({KEY: "5"}), json!({})),
        quirks: Quirks::NONE,
        ..Default::default()
    };
    for lifecycle in [json!(7), json!([]), json!("x")] {
        let mut garbage = json!({"spec": {"containers": [{"name": "app", "lifecycle": lifecycle}, 7]}});
        let before = garbage.clone();
        sleep(&mut garbage, &context.context(), &mut Vec::new()).unwrap();
        assert_eq!(garbage, before);
        assert!(!remove(&mut garbage, &["app".to_owned()]));
    }
    let mut null = json!({"spec": {"containers": [{"name": "app", "lifecycle": {"preStop": null}}]}});
    sleep(&mut null, &context.context(), &mut Vec::new()).unwrap();
    assert_eq!(sleeps_in(&null), named(&[("app", 5)]));
}
