//! The messages about a pod in a namespace with a level, and the values that its pods get.

mod limits;

use serde_json::{Value, json};

use super::*;
use crate::{
    config::{Namespace, Source},
    inject::{self, Selection},
    pod,
};

fn mesh(more: &str) -> InjectorConfig {
    let text = format!("apiVersion: outrigger.dev/v1alpha1\nkind: Bundle\nnativeSidecars: disabled\n{more}");
    InjectorConfig::from_bundle(Source { name: "bundle", text: &text }).unwrap().0
}

fn run(mesh: &InjectorConfig, labels: &Value, pod: &Value) -> Result<Outcome, Refusal> {
    let labels = labels.as_object().unwrap();
    let labels =
        labels.iter().map(|(key, value)| (format!("pod-security.kubernetes.io/{key}"), value.clone()));
    let namespace = Namespace { name: "shop".to_owned(), labels: labels.collect(), ..Namespace::default() };
    let facts =
        Facts { namespace: Some(&namespace), selection: Selection::ByApiServer, ..Facts::of(mesh, "shop") };
    inject::run(mesh, &PodRequest::new("shop", pod.clone()), &facts)
}

fn injected(mesh: &InjectorConfig, labels: &Value, pod: &Value) -> (Value, Vec<String>) {
    let Ok(Outcome::Injected(injection)) = run(mesh, labels, pod) else { panic!("{pod}") };
    let told = injection.warnings.iter().filter(|warning| warning.code.starts_with("POD_SECURITY"));
    (injection.pod.clone(), told.map(|warning| format!("{} {}", warning.code, warning.message)).collect())
}

fn told(bundle: &str, labels: Value, pod: &Value) -> Vec<String> {
    injected(&mesh(bundle), &labels, pod).1
}

/// A pod that meets `restricted`; its seccomp profile is set on its container.
fn restricted(more: Value) -> Value {
    let context = json!({
        "allowPrivilegeEscalation": false, "runAsNonRoot": true, "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    let mut pod = json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "app", "image": "a", "securityContext": context}]}});
    pod["spec"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    pod
}

const CNI: &str = "values: {pilot: {cni: {enabled: true}}}";

#[test]
fn names_container_field_and_setting() {
    let pod = restricted(json!({}));
    assert_eq!(
        told("", json!({"enforce": "baseline"}), &pod),
        ["POD_SECURITY_VIOLATED Pod Security baseline:latest forbids container \"istio-init\": \
             securityContext.capabilities.add \"NET_ADMIN\", \"NET_RAW\"; avoided by pilot.cni.enabled: true"]
    );
    assert_eq!(told(CNI, json!({"enforce": "baseline"}), &pod), [""; 0]);
    let seccomp = |container| {
        format!(
            "POD_SECURITY_VIOLATED Pod Security restricted:v1.30 forbids container \"{container}\": \
             securityContext.seccompProfile.type is not set; avoided by global.proxy.seccompProfile.type: RuntimeDefault"
        )
    };
    let level = json!({"enforce": "restricted", "enforce-version": "v1.30"});
    assert_eq!(told(CNI, level.clone(), &pod), [seccomp("istio-validation"), seccomp("istio-proxy")]);
    // That of the pod is enough; so is an older version, which knows no profiles.
    let of_pod = restricted(json!({"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}));
    assert_eq!(told(CNI, level, &of_pod), [""; 0]);
    assert_eq!(told(CNI, json!({"enforce": "restricted", "enforce-version": "v1.18"}), &pod), [""; 0]);
    let both =
        "values: {pilot: {cni: {enabled: true}}, global: {proxy: {seccompProfile: {type: RuntimeDefault}}}}";
    assert_eq!(told(both, json!({"enforce": "restricted"}), &pod), [""; 0]);
    let volume = json!({"metadata": {"annotations": {
        "sidecar.istio.io/userVolume": "[{\"name\":\"h\",\"hostPath\":{\"path\":\"/\"}}]"}}, "spec": pod["spec"]});
    assert_eq!(
        told(CNI, json!({"enforce": "baseline"}), &volume),
        ["POD_SECURITY_VIOLATED Pod Security baseline:latest forbids volume \"h\": hostPath; \
          avoided by an annotation sidecar.istio.io/userVolume without it"]
    );
}

#[test]
fn only_what_injection_adds_is_reported() {
    let level = json!({"enforce": "baseline"});
    let own = restricted(json!({"hostPID": true}));
    assert_eq!(told(CNI, level.clone(), &own), [""; 0]);
    let told_of = told("", level.clone(), &own);
    assert!(told_of[0].ends_with("; the pod violates it without a proxy, too"), "{told_of:?}");
    // The pod's own proxy brings the capability itself.
    let mut with_proxy = restricted(json!({}));
    let proxy = json!({"name": "istio-proxy", "image": "auto", "securityContext": {"capabilities": {"add": ["NET_ADMIN"]}}});
    with_proxy["spec"]["containers"].as_array_mut().unwrap().push(proxy);
    assert_eq!(told(CNI, level.clone(), &with_proxy), [""; 0]);
    // A pod that arrives again is the same.
    let (again, before) = injected(&mesh(""), &level, &restricted(json!({})));
    assert_eq!(before.len(), 1);
    assert_eq!(told("", level, &again), before);
}

#[test]
fn levels_that_only_warn_or_audit_are_recorded() {
    for mode in ["warn", "audit"] {
        let mut labels = json!({"enforce": "privileged"});
        labels[mode] = "baseline".into();
        let told = told("", labels, &restricted(json!({})));
        let start = format!(
            "POD_SECURITY_AUDITED Pod Security baseline:latest ({mode}) objects to container \"istio-init\": "
        );
        assert!(told.len() == 1 && told[0].starts_with(&start), "{told:?}");
    }
    assert_eq!(
        told("podSecurity: {violations: ignore}", json!({"enforce": "baseline"}), &restricted(json!({}))),
        [""; 0]
    );
    assert_eq!(told("", json!({}), &restricted(json!({}))), [""; 0]);
    assert_eq!(told("podSecurity: {default: baseline}", json!({}), &restricted(json!({}))).len(), 1);
}

#[test]
fn violations_are_denied_if_the_configuration_says_so() {
    let mesh = mesh("podSecurity: {violations: deny, adapt: [seccompProfile]}");
    let Err(refusal) = run(&mesh, &json!({"enforce": "baseline"}), &restricted(json!({}))) else {
        panic!("allowed")
    };
    assert_eq!((refusal.code(), refusal.reason()), (403, "POD_SECURITY_VIOLATED"));
    assert_eq!(
        refusal.to_string(),
        "Pod Security baseline:latest of the namespace forbids what injection adds: container \"istio-init\": \
         securityContext.capabilities.add \"NET_ADMIN\", \"NET_RAW\"; avoided by pilot.cni.enabled: true"
    );
    assert!(run(&mesh, &json!({"warn": "baseline"}), &restricted(json!({}))).is_ok());
    // Pods without a proxy are the API server's business.
    let opted_out = json!({"metadata": {"labels": {"sidecar.istio.io/inject": "false"}}, "spec": {"hostPID": true, "containers": [{"name": "a"}]}});
    assert!(run(&mesh, &json!({"enforce": "baseline"}), &opted_out).is_ok());
}

/// The smallest change that helps is made, only where it is needed, and never in part.
#[test]
fn values_change_for_namespaces_whose_level_forbids_the_configured_ones() {
    let pod = restricted(json!({}));
    let init = |pod: &Value| pod::name(&pod::init_containers(pod)[0]).to_owned();
    let profile = |pod: &Value| pod::find_sidecar(pod).unwrap()["securityContext"]["seccompProfile"].clone();
    for (adapt, values, level, wanted) in [
        ("cni, seccompProfile", "", "privileged", ("istio-init", false, "")),
        ("cni, seccompProfile", "", "baseline", ("istio-validation", false, "pilot.cni.enabled: true")),
        (
            "cni, seccompProfile",
            "",
            "restricted",
            (
                "istio-validation",
                true,
                "pilot.cni.enabled: true, global.proxy.seccompProfile.type: RuntimeDefault",
            ),
        ),
        (
            "seccompProfile",
            CNI,
            "restricted",
            ("istio-validation", true, "global.proxy.seccompProfile.type: RuntimeDefault"),
        ),
        ("seccompProfile", CNI, "baseline", ("istio-validation", false, "")),
        ("seccompProfile", "", "restricted", ("istio-init", false, "")),
        ("cni", "", "restricted", ("istio-init", false, "")),
        ("", "", "baseline", ("istio-init", false, "")),
    ] {
        let mesh = mesh(&format!("{values}\npodSecurity: {{adapt: [{adapt}]}}"));
        let labels = json!({"enforce": level});
        let (result, told) = injected(&mesh, &labels, &pod);
        assert_eq!(
            (init(&result).as_str(), profile(&result).is_object()),
            (wanted.0, wanted.1),
            "{adapt} {level}"
        );
        let adapted: Vec<_> = told.iter().filter(|told| told.starts_with("POD_SECURITY_ADAPTED")).collect();
        match wanted.2 {
            "" => assert!(adapted.is_empty(), "{told:?}"),
            settings => {
                assert!(adapted.len() == 1 && told.len() == 1, "{told:?}");
                assert!(told[0].contains(&format!("injected with {settings}, as")), "{told:?}");
            }
        }
        // An observer sees the same, once.
        let mut seen = Vec::new();
        struct Last<'s>(&'s mut Vec<Value>);
        impl inject::Observer for Last<'_> {
            fn after(&mut self, _: inject::Stage, pod: &Value) {
                self.0.push(pod.clone());
            }
            fn renders(
                &mut self,
                _: &InjectorConfig,
                _: &inject::render::View<'_>,
                _: &[(&str, &gotemplate::Template)],
            ) {
            }
        }
        let namespace = Namespace {
            name: "shop".to_owned(),
            labels: json!({"pod-security.kubernetes.io/enforce": level}).as_object().unwrap().clone(),
            ..Namespace::default()
        };
        let facts = Facts {
            namespace: Some(&namespace),
            selection: Selection::ByApiServer,
            ..Facts::of(&mesh, "shop")
        };
        let request = PodRequest::new("shop", pod.clone());
        let observed =
            inject::run_observed(Rules::Configured, &mesh, &request, &facts, &mut Last(&mut seen)).unwrap();
        let Outcome::Injected(observed) = observed else { panic!("skipped") };
        assert_eq!(observed.pod, result);
        assert_eq!(
            seen.iter().filter(|pod| pod::init_containers(pod).is_empty()).count(),
            1,
            "one run is watched"
        );
    }
}
