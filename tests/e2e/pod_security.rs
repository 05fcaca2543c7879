//! Preflight by the Pod Security level of the namespace, judged by real API servers: pods without a finding are created,
//! and pods reported as forbidden are rejected.

use std::collections::BTreeMap;

use http_body_util::BodyExt;
use kube::Client;
use serde_json::{Value, json};

use outrigger::pod_security::{Level, LevelVersion, evaluate};

use super::{
    configuration::{by_bundle, prepared, write_bundle},
    control_plane::{ControlPlane, Flavour, PATIENCE, settled},
    install::{Reach, Serving, Webhook},
    neighbours::start,
    pods::is_injected,
};

/// Name, level, version.
const LEVELS: [(&str, &str, &str); 8] = [
    ("privileged", "privileged", "latest"),
    ("baseline", "baseline", "latest"),
    ("baseline-24", "baseline", "v1.24"),
    ("restricted", "restricted", "latest"),
    ("restricted-18", "restricted", "v1.18"),
    ("restricted-21", "restricted", "v1.21"),
    ("restricted-24", "restricted", "v1.24"),
    ("restricted-36", "restricted", "v1.36"),
];
const SECCOMP: &str = "seccompProfile: {type: RuntimeDefault}";

/// The outcome of a dry run: the stored pod or the error, and the warnings.
pub struct Created {
    pub result: Result<Value, String>,
    pub warnings: Vec<String>,
}

pub async fn created(client: &Client, namespace: &str, pod: &Value) -> Created {
    let mut pod = pod.clone();
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    let request = hyper::Request::post(format!("/api/v1/namespaces/{namespace}/pods?dryRun=All"))
        .header("content-type", "application/json")
        .body(pod.to_string().into_bytes().into())
        .expect("a request");
    let response = client.send(request).await.expect("a response");
    let warnings = response.headers().get_all("warning").iter();
    let warnings = warnings.map(|warning| String::from_utf8_lossy(warning.as_bytes()).into_owned()).collect();
    let is_success = response.status().is_success();
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    let result =
        if is_success { Ok(body) } else { Err(body["message"].as_str().unwrap_or_default().to_owned()) };
    Created { result, warnings }
}

/// Pods by name: bare, compliant, with requests to the injector, and with violations of their own.
fn pods() -> BTreeMap<&'static str, Value> {
    let context = json!({
        "allowPrivilegeEscalation": false, "runAsNonRoot": true, "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    let compliant = json!({"metadata": {"name": "web"}, "spec": {"containers": [
        {"name": "web", "image": "web.example.com/a", "securityContext": context}]}});
    let with = |path: &str, value: Value| {
        let mut pod = compliant.clone();
        let (parent, key) = path.rsplit_once('/').expect("a path");
        let parent = pod.pointer_mut(parent).expect("a place");
        parent.as_object_mut().expect("an object").insert(key.to_owned(), value);
        pod
    };
    let with_proxy = |context: Value| {
        let mut pod = compliant.clone();
        let proxy = json!({"name": "istio-proxy", "image": "auto", "securityContext": context});
        pod["spec"]["containers"].as_array_mut().expect("containers").push(proxy);
        pod
    };
    let mut bare = compliant.clone();
    bare["spec"]["containers"][0]["securityContext"] = json!({});
    let of_pod = json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
    let volume =
        json!({"sidecar.istio.io/userVolume": "[{\"name\": \"h\", \"hostPath\": {\"path\": \"/\"}}]"});
    let mut mixed = with("/spec/securityContext", of_pod.clone());
    mixed["spec"]["hostUsers"] = false.into();
    BTreeMap::from([
        ("bare", bare),
        ("profile of the container", compliant.clone()),
        ("profile of the pod", with("/spec/securityContext", of_pod)),
        ("user namespace", mixed),
        ("TPROXY", with("/metadata/annotations", json!({"sidecar.istio.io/interceptionMode": "TPROXY"}))),
        ("core dumps", with("/metadata/annotations", json!({"sidecar.istio.io/enableCoreDump": "true"}))),
        ("volume of the node", with("/metadata/annotations", volume)),
        ("port of the node", with_proxy(json!({"runAsUser": 0, "runAsNonRoot": false}))),
        ("own capability", with_proxy(json!({"capabilities": {"add": ["NET_ADMIN"]}}))),
        ("unconfined proxy", with_proxy(json!({"seccompProfile": {"type": "Unconfined"}}))),
        ("processes of the node", with("/spec/hostPID", json!(true))),
        (
            "host of a probe",
            with("/spec/containers/0/readinessProbe", json!({"tcpSocket": {"port": 1, "host": "h"}})),
        ),
    ])
}

/// Namespaces of a configuration with their labels, as a bundle lists them.
fn namespaces(name: &str) -> (Vec<String>, Value) {
    let names: Vec<String> = LEVELS.iter().map(|(level, ..)| format!("{name}-{level}")).collect();
    let facts = names.iter().zip(LEVELS).map(|(name, (_, level, version))| {
        json!({"name": name, "labels": {
            "istio-injection": "enabled", "pod-security.kubernetes.io/enforce": level,
            "pod-security.kubernetes.io/enforce-version": version,
        }})
    });
    let facts = facts.collect();
    (names, facts)
}

async fn matrix(flavour: Flavour, latest: u32) {
    let control_plane = ControlPlane::start(flavour).await;
    let serving = Serving::new(&control_plane);
    let cni = "values: {pilot: {cni: {enabled: true}}}";
    let both = format!("values: {{pilot: {{cni: {{enabled: true}}}}, global: {{proxy: {{{SECCOMP}}}}}}}");
    let configurations =
        [("plain", ""), ("classic", "[]"), ("cni", "[]"), ("both", "[]"), ("adapt", "[cni, seccompProfile]")];
    let mut running = Vec::new();
    for (name, adapt) in configurations {
        let (names, facts) = namespaces(name);
        for (namespace, (_, level, version)) in names.iter().zip(LEVELS) {
            let injection = if name == "plain" { "disabled" } else { "enabled" };
            let labels = [
                ("istio-injection", injection),
                ("pod-security.kubernetes.io/enforce", level),
                ("pod-security.kubernetes.io/enforce-version", version),
            ];
            control_plane.create_namespace(namespace, &labels).await;
        }
        if name == "plain" {
            continue;
        }
        let values = match name {
            "cni" => cni,
            "both" => &both,
            _ => "",
        };
        let bundle = format!(
            "nativeSidecars: disabled\n{values}\nnamespaces: {facts}\npodSecurity: {{adapt: {adapt}, latest: v1.{latest}}}\n"
        );
        let process = start(&control_plane, &serving, name, &bundle).await;
        let webhook = Webhook::new(name, Reach::url_of(&process), &serving.authority);
        let webhook = Webhook { namespaces: names.clone(), ..webhook };
        webhook.install(&control_plane, &names[0]).await;
        running.push(process);
    }
    let client = control_plane.client().await;
    let (mut told, mut fine, mut adapted) = (0, 0, 0);
    for (what, pod) in pods() {
        for (level, of_level, version) in LEVELS {
            let own = created(&client, &format!("plain-{level}"), &pod).await.result;
            let minor = version.strip_prefix("v1.").and_then(|minor| minor.parse().ok());
            let of_level = Level::parse(of_level).expect("a level");
            let found = evaluate(&pod, LevelVersion { level: of_level, minor }, latest);
            assert_eq!(own.is_ok(), found.is_empty(), "{what}, {level}: {own:?}: {found:?}");
            for (configuration, _) in &configurations[1..] {
                for native in ["true", "false"] {
                    let mut pod = pod.clone();
                    let annotations = pod["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
                    pod["metadata"]["annotations"] = Value::Object(annotations);
                    pod["metadata"]["annotations"]["sidecar.istio.io/nativeSidecar"] = native.into();
                    let context = format!("{what}, {level}, {configuration}, native {native}");
                    let Created { result, warnings } =
                        created(&client, &format!("{configuration}-{level}"), &pod).await;
                    let is_told = warnings
                        .iter()
                        .any(|warning| warning.contains("Pod Security") && warning.contains("forbids"));
                    match &result {
                        Ok(stored) => {
                            assert!(is_injected(stored), "{context}");
                            assert!(!is_told, "{context}: created, but {warnings:?}");
                            fine += 1;
                            if *configuration == "adapt"
                                && stored["spec"].to_string().contains("istio-validation")
                            {
                                adapted += 1;
                            }
                        }
                        Err(error) => {
                            assert!(error.contains("violates PodSecurity"), "{context}: {error}");
                            assert!(is_told || own.is_err(), "{context}: {error}; {warnings:?}");
                            told += usize::from(is_told);
                        }
                    }
                    // What pods ask for themselves remains; everything else is adapted.
                    let asks = [
                        "TPROXY",
                        "core dumps",
                        "volume of the node",
                        "port of the node",
                        "own capability",
                        "unconfined proxy",
                    ];
                    if *configuration == "adapt" && own.is_ok() && !asks.contains(&what) {
                        assert!(result.is_ok(), "{context}: {result:?}");
                    }
                }
            }
        }
    }
    assert!(told > 100 && fine > 100 && adapted > 20, "{told} told, {fine} fine, {adapted} adapted");
    eprintln!("{told} pods told to be forbidden, {fine} created, {adapted} of them with changed values");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn preflight_agrees_with_the_newest_api_server() {
    matrix(Flavour::Current, 37).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn preflight_agrees_with_the_oldest_api_server() {
    matrix(Flavour::Oldest, 30).await;
}

/// Labels come from the watch, and their changes take effect; a denial says what to do instead of the API server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn levels_are_followed_in_the_cluster() {
    let (control_plane, kubeconfig) = prepared(&[]).await;
    write_bundle(&control_plane, "nativeSidecars: disabled\npodSecurity: {violations: deny, adapt: [cni]}\n")
        .await;
    let serving = Serving::new(&control_plane);
    let mut process = by_bundle(&serving, &kubeconfig).spawn();
    process.wait_ready().await;
    control_plane.create_namespace("shop", &[("istio-injection", "enabled")]).await;
    Webhook::new("outrigger", Reach::url_of(&process), &serving.authority)
        .install(&control_plane, "shop")
        .await;
    let client = control_plane.client().await;
    let pod = pods().remove("profile of the container").expect("a pod");
    let init = |pod: &Value| pod["spec"]["initContainers"][0]["name"].as_str().unwrap_or_default().to_owned();
    for (level, wanted) in [
        ("privileged", Ok("istio-init")),
        ("baseline", Ok("istio-validation")),
        (
            "restricted",
            Err(
                "Pod Security restricted:latest of the namespace forbids what injection adds: container \"istio-init\"",
            ),
        ),
        ("privileged", Ok("istio-init")),
    ] {
        let label = format!("pod-security.kubernetes.io/enforce={level}");
        control_plane.kubectl(&["label", "--overwrite", "namespace", "shop", &label]).await;
        settled(level, PATIENCE, async || match (created(&client, "shop", &pod).await.result, wanted) {
            (Ok(stored), Ok(wanted)) if init(&stored) == wanted => Ok(()),
            (Err(error), Err(wanted)) if error.contains(wanted) => Ok(()),
            (other, _) => Err(format!("{other:?}")),
        })
        .await;
    }
    let counted = process.metric("outrigger_warnings_total", &["code=\"POD_SECURITY_ADAPTED\""]).await;
    assert!(counted >= 1.0, "{counted}");
}
