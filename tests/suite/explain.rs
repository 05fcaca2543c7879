//! `outrigger explain`, through the binary: why pods are and are not injected, what wrote a field, what a code means.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    cli::{Run, command, fixture, outrigger, text},
    headed::headed,
};

/// Why a pod is or is not injected.
struct Why {
    /// The user's complaint.
    about: &'static str,
    /// The bundle after its head.
    bundle: &'static str,
    /// Labels of the namespace, `None` if they are not known.
    namespace: Option<&'static str>,
    /// Changes to the pod: a JSON pointer and the value there.
    pod: &'static [(&'static str, &'static str)],
    /// The rule that decides, and its code; with a `!` before it, the code of a denial.
    decides: (&'static str, &'static str),
    /// Warnings, of any number.
    warns: &'static [&'static str],
    /// Part of a next step; empty if there is none.
    next: &'static str,
}

const ENABLED: Option<&str> = Some("istio-injection=enabled");

const LABEL: &str = "/metadata/labels/sidecar.istio.io~1inject";
const ANNOTATION: &str = "/metadata/annotations/sidecar.istio.io~1inject";
const REVISION: &str = "/metadata/labels/istio.io~1rev";

#[rustfmt::skip]
const SITUATIONS: &[Why] = &[
    Why { about: "an ordinary pod", bundle: "", namespace: ENABLED, pod: &[], decides: ("policy", "POLICY_ENABLED"), warns: &[], next: "" },
    Why { about: "a namespace without a label", bundle: "", namespace: Some("team=a"), pod: &[],
        decides: ("namespaceLabels", "NAMESPACE_NOT_ENABLED"), warns: &[], next: "kubectl label namespace shop istio-injection=enabled" },
    Why { about: "a namespace without a label, and a revision", bundle: "revision: canary\n", namespace: Some("team=a"), pod: &[],
        decides: ("namespaceLabels", "NAMESPACE_NOT_ENABLED"), warns: &[], next: "kubectl label namespace shop istio.io/rev=canary" },
    Why { about: "a misspelled value of the namespace's label", bundle: "", namespace: Some("istio-injection=enable"), pod: &[],
        decides: ("namespaceLabels", "NAMESPACE_DISABLED"), warns: &[], next: "--overwrite istio-injection=enabled" },
    Why { about: "a namespace that opted out", bundle: "", namespace: Some("istio-injection=disabled"), pod: &[(LABEL, "\"true\"")],
        decides: ("namespaceLabels", "NAMESPACE_DISABLED"), warns: &[], next: "--overwrite istio-injection=enabled" },
    Why { about: "both labels, and the other one was meant", bundle: "revision: canary\n", namespace: Some("istio-injection=enabled,istio.io/rev=canary"), pod: &[],
        decides: ("namespaceLabels", "REVISION_MISMATCH"), warns: &["NAMESPACE_HAS_BOTH_LABELS"], next: "istio.io/rev=canary" },
    Why { about: "another revision", bundle: "", namespace: Some("istio.io/rev=canary"), pod: &[],
        decides: ("namespaceLabels", "REVISION_MISMATCH"), warns: &[], next: "--revision" },
    Why { about: "a tag of this revision", bundle: "values: {revisionTags: [prod]}\n", namespace: Some("istio.io/rev=prod"), pod: &[],
        decides: ("policy", "POLICY_ENABLED"), warns: &[], next: "" },
    Why { about: "the pod asks for another revision, the namespace is not known", bundle: "", namespace: None, pod: &[(REVISION, "\"canary\"")],
        decides: ("podRevision", "REVISION_MISMATCH"), warns: &[], next: "--revision" },
    Why { about: "the pod asks for another revision than its namespace", bundle: "", namespace: ENABLED, pod: &[(REVISION, "\"canary\"")],
        decides: ("policy", "POLICY_ENABLED"), warns: &["REVISION_OF_THE_NAMESPACE"], next: "" },
    Why { about: "the pod opts in", bundle: "", namespace: Some("team=a"), pod: &[(LABEL, "\"true\"")],
        decides: ("podChoice", "POD_OPTED_IN"), warns: &[], next: "" },
    Why { about: "the pod opts in by an annotation, which API servers do not select by", bundle: "", namespace: Some("team=a"), pod: &[(ANNOTATION, "\"true\"")],
        decides: ("namespaceLabels", "NAMESPACE_NOT_ENABLED"), warns: &[], next: "kubectl label namespace shop" },
    Why { about: "the pod opts out", bundle: "", namespace: ENABLED, pod: &[(LABEL, "\"false\"")],
        decides: ("podChoice", "POD_OPTED_OUT"), warns: &["BYPASS_OPTED_OUT"], next: "remove the label or annotation" },
    Why { about: "the pod opts out by an annotation", bundle: "", namespace: ENABLED, pod: &[(ANNOTATION, "\"false\"")],
        decides: ("podChoice", "POD_OPTED_OUT"), warns: &["BYPASS_OPTED_OUT"], next: "remove the label or annotation" },
    Why { about: "label and annotation differ", bundle: "", namespace: ENABLED, pod: &[(LABEL, "\"true\""), (ANNOTATION, "\"false\"")],
        decides: ("podChoice", "POD_OPTED_IN"), warns: &["IGNORED_ANNOTATION"], next: "" },
    Why { about: "a value that is neither true nor false", bundle: "", namespace: ENABLED, pod: &[(LABEL, "\"yes\"")],
        decides: ("policy", "POLICY_ENABLED"), warns: &["INVALID_INJECT_VALUE"], next: "" },
    Why { about: "the host's network", bundle: "", namespace: ENABLED, pod: &[("/spec/hostNetwork", "true")],
        decides: ("hostNetwork", "HOST_NETWORK"), warns: &["BYPASS_HOST_NETWORK"], next: "remove spec.hostNetwork" },
    Why { about: "a namespace of the system", bundle: "", namespace: ENABLED, pod: &[("/metadata/namespace", "\"kube-system\"")],
        decides: ("ignoredNamespace", "IGNORED_NAMESPACE"), warns: &[], next: "another namespace" },
    Why { about: "a pod for Windows", bundle: "", namespace: ENABLED, pod: &[("/spec/nodeSelector", "{\"kubernetes.io/os\": \"windows\"}")],
        decides: ("injectable", "WINDOWS_POD"), warns: &["SKIPPED_WINDOWS_POD"], next: "Windows" },
    Why { about: "a mirror pod", bundle: "", namespace: ENABLED, pod: &[("/metadata/annotations/kubernetes.io~1config.mirror", "\"x\"")],
        decides: ("injectable", "MIRROR_POD"), warns: &["SKIPPED_MIRROR_POD"], next: "static pod" },
    Why { about: "neverInjectSelector", bundle: "injector: {neverInjectSelector: [{matchLabels: {}}, {matchLabels: {app: storefront}}]}\n", namespace: ENABLED, pod: &[],
        decides: ("neverInjectSelector", "NEVER_INJECT_SELECTOR"), warns: &[], next: "neverInjectSelector" },
    Why { about: "alwaysInjectSelector under a disabled policy", bundle: "injector: {policy: disabled, alwaysInjectSelector: [{matchLabels: {app: storefront}}]}\n", namespace: ENABLED, pod: &[],
        decides: ("alwaysInjectSelector", "ALWAYS_INJECT_SELECTOR"), warns: &[], next: "" },
    Why { about: "a disabled policy", bundle: "injector: {policy: disabled}\n", namespace: ENABLED, pod: &[],
        decides: ("policy", "POLICY_DISABLED"), warns: &[], next: "policy: enabled" },
    Why { about: "an annotation that is not valid", bundle: "", namespace: ENABLED, pod: &[("/metadata/annotations/sidecar.istio.io~1proxyCPU", "\"much\"")],
        decides: ("policy", "!INVALID_ANNOTATION"), warns: &[], next: "outrigger explain INVALID_ANNOTATION" },
    Why { about: "a template that does not exist", bundle: "", namespace: ENABLED, pod: &[("/metadata/annotations/inject.istio.io~1templates", "\"sidecra\"")],
        decides: ("policy", "!UNKNOWN_TEMPLATE"), warns: &[], next: "outrigger explain UNKNOWN_TEMPLATE" },
    Why { about: "a misspelled annotation", bundle: "", namespace: ENABLED, pod: &[("/metadata/annotations/sidecar.istio.io~1proxyCpu", "\"1\"")],
        decides: ("policy", "POLICY_ENABLED"), warns: &["MISSPELT_ANNOTATION"], next: "" },
    Why { about: "traffic that is not redirected", bundle: "", namespace: ENABLED, pod: &[("/metadata/annotations/sidecar.istio.io~1interceptionMode", "\"NONE\"")],
        decides: ("policy", "POLICY_ENABLED"), warns: &["BYPASS_INTERCEPTION_MODE"], next: "" },
];

fn pod(changes: &[(&str, &str)]) -> Value {
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "storefront"}, "annotations": {}},
        "spec": {"containers": [{"name": "web", "image": "web:1"}]},
    });
    for (pointer, value) in changes {
        let (holder, key) = pointer.rsplit_once('/').unwrap();
        let key = key.replace("~1", "/");
        pod.pointer_mut(holder).unwrap()[key] = serde_json::from_str(value).unwrap();
    }
    pod
}

fn explained(folder: &TempDir, bundle: &str, namespace: Option<&str>, manifest: &Value) -> Value {
    let (bundle_file, pod_file) = (folder.path().join("bundle.yaml"), folder.path().join("pod.json"));
    fs::write(&bundle_file, headed(bundle)).unwrap();
    fs::write(&pod_file, manifest.to_string()).unwrap();
    let name = manifest["metadata"]["namespace"].as_str().unwrap();
    let mut arguments =
        vec!["explain", "-f", text(&pod_file), "-n", name, "--bundle", text(&bundle_file), "-o", "json"];
    if let Some(labels) = namespace {
        arguments.extend(["--namespace-labels", labels]);
    }
    let run = outrigger(&arguments);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let list: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(
        (&list["apiVersion"], &list["kind"]),
        (&json!("outrigger.dev/v1alpha1"), &json!("ExplanationList"))
    );
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    list["items"][0].clone()
}

#[test]
fn every_situation_has_its_rule_code_and_next_step() {
    let folder = TempDir::new().unwrap();
    assert!(SITUATIONS.len() >= 25);
    for Why { about, bundle, namespace, pod: changes, decides: (rule, code), warns, next } in SITUATIONS {
        let item = explained(&folder, bundle, *namespace, &pod(changes));
        let decisive = item["rules"]
            .as_array()
            .unwrap()
            .iter()
            .find(|rule| rule["outcome"] == "injects" || rule["outcome"] == "skips")
            .unwrap_or_else(|| panic!("{about}: no rule decides: {item:#}"));
        assert_eq!(decisive["rule"], *rule, "{about}: {item:#}");
        match code.strip_prefix('!') {
            Some(code) => assert_eq!(item["denied"]["reason"], code, "{about}: {item:#}"),
            None => {
                assert_eq!(item["decision"]["reason"], *code, "{about}: {item:#}");
                assert_eq!(decisive["reason"], *code, "{about}");
                assert_eq!(item["injected"], json!(decisive["outcome"] == "injects"), "{about}");
            }
        }
        let codes: Vec<&str> = item["warnings"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|warning| warning["code"].as_str())
            .collect();
        for warning in *warns {
            assert!(codes.contains(warning), "{about}: {codes:?}");
        }
        let steps: Vec<&str> = item["next"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert_eq!(steps.is_empty(), next.is_empty(), "{about}: {steps:?}");
        assert!(steps.iter().any(|step| step.contains(next)) || next.is_empty(), "{about}: {steps:?}");
    }
}

#[test]
fn the_text_names_the_subject_the_verdict_and_what_wrote_a_field() {
    let deployment = fixture("deployment.yaml");
    let field = "spec.initContainers[istio-proxy].resources.requests.cpu";
    let run = outrigger(&["explain", "-f", text(&deployment), "--field", field]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(lines[0], "Deployment shop/storefront");
    assert!(lines[1].starts_with("  injected (POLICY_ENABLED): "), "{}", run.stdout);
    assert!(run.stdout.contains("the labels of the namespace are not known"), "{}", run.stdout);
    let at = lines.iter().position(|line| line.trim() == format!("{field} = \"100m\"")).unwrap();
    assert!(lines[at + 1].starts_with("    template sidecar, line "), "{}", run.stdout);
    assert_eq!(
        lines[at + 2],
        "      reads values.global.proxy.resources.requests.cpu = \"100m\" (the embedded default)"
    );
    assert!(!run.stdout.contains('\u{1b}'), "not colored: stdout is no terminal");
    let narrow =
        command().args(["explain", "-f", text(&deployment), "--field", field]).env("COLUMNS", "40").output();
    assert_eq!(Run::from(narrow.unwrap()).stdout, run.stdout, "not wrapped either");

    let run = outrigger(&["--color", "always", "explain", "-f", text(&deployment)]);
    assert!(run.stdout.contains("\u{1b}[32minjected\u{1b}[0m"), "{}", run.stdout);

    for (field, told) in [
        ("spec.containers[web].image", "injection does not write this field\n"),
        ("spec.hostNetwork", "injection does not write this field, and the pod has nothing there; "),
        (
            "spec.template.spec.containers",
            "injection does not write this field, and the pod has nothing there; ",
        ),
    ] {
        let run = outrigger(&["explain", "-f", text(&deployment), "--field", field]);
        assert!(run.stdout.contains(&format!("{field}: {told}")), "{}", run.stdout);
    }
}

#[test]
fn labels_of_the_command_line_are_those_of_every_pods_namespace() {
    let deployment = fixture("deployment.yaml");
    let labels = ["--namespace-labels", "istio-injection=enable"];
    let run = outrigger(&[&["explain", "-f", text(&deployment)][..], &labels].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(
        run.stdout.contains("not injected (NAMESPACE_DISABLED): namespace \"shop\" has label"),
        "{}",
        run.stdout
    );
    assert!(!run.stdout.contains("are not known"), "{}", run.stdout);
    let basis = "  No cluster was read; configuration: embedded defaults (--from-cluster reads both)\n";
    assert!(run.stdout.contains(basis), "{}", run.stdout);
}

#[test]
fn hostile_names_do_not_control_the_terminal() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("pod.json");
    let name = "\u{1b}[2Jweb";
    fs::write(&file, pod(&[("/metadata/name", &json!(name).to_string())]).to_string()).unwrap();
    let run = outrigger(&["explain", "-f", text(&file), "--all"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(!run.stdout.contains('\u{1b}'), "{}", run.stdout);
}

#[test]
fn codes_are_explained_and_misspelled_ones_suggested() {
    for typed in ["HOST_NETWORK", "host-network"] {
        let run = outrigger(&["explain", typed]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert!(run.stdout.starts_with("# HOST_NETWORK\n"), "{}", run.stdout);
    }
    let run = outrigger(&["explain", "HOST_NETWROK"]);
    assert_eq!(run.code, 64);
    assert!(run.stderr.contains("nearest: HOST_NETWORK"), "{}", run.stderr);
    let run = outrigger(&["explain", "nonsense"]);
    assert_eq!(run.code, 64);
    let finding = outrigger(&["explain", "certificate-untrusted"]);
    assert!(finding.stdout.contains("outrigger webhook apply --ca-bundle ca.pem"), "{}", finding.stdout);
    let all = outrigger(&["explain", "--codes"]);
    let starts = |key: &str| all.stdout.lines().any(|line| line.starts_with(key));
    assert!(starts("HOST_NETWORK  ") && starts("certificate-untrusted  "), "{}", all.stdout);
}

#[test]
fn what_cannot_be_explained_says_what_is_expected() {
    let folder = TempDir::new().unwrap();
    let service = folder.path().join("service.yaml");
    fs::write(&service, "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n").unwrap();
    let told = |arguments: &[&str]| -> Run { outrigger(&[&["explain"][..], arguments].concat()) };
    for (arguments, code, message) in [
        (&[][..], 64, "expected KIND/NAME, a code, -f FILE, --labels KEY=VALUE, or -n NAMESPACE or -A"),
        (&["-f", text(&service)], 65, "no pod template found"),
        (&["--labels", "novalue"], 64, "expected KEY=VALUE"),
        (&["--labels", "a=b", "-f", "x"], 64, "cannot be used with"),
    ] {
        let run = told(arguments);
        assert_eq!(run.code, code, "{arguments:?}: {}", run.stderr);
        assert!(run.stderr.contains(message), "{arguments:?}: {}", run.stderr);
    }
}
