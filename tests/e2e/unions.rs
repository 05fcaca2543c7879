//! Fields of which an API server accepts only one: our table of them equals the API server's, and pods that choose
//! another kind than the templates do are stored with their choice.

use outrigger::gotypes::{UNIONS, Union};
use serde_json::{Value, json};

use super::{
    control_plane::{ControlPlane, Flavour},
    install::Reach,
    neighbours::{Stage, application},
    pods::{dry_run, is_injected},
};

/// The API server's error for two members of a union, regardless of other errors.
const SENTENCES: [&str; 6] = [
    "may not specify more than 1",
    "may not be specified when `value` is not empty",
    "may not have more than one field specified at a time",
    "mutually exclusive",
    "can not be specified simultaneously",
    "of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
];
/// The same error for the union whose error names its members.
const OF_NAMES: &str = "only one of name and signerName may be used";

/// A pod with a part of this Go type that has these fields; `None` for a type that no test covers.
fn pod_with(of: &str, part: Value) -> Option<Value> {
    let named = |mut part: Value| {
        part["name"] = json!("part");
        part
    };
    let container = |field: &str, value: Value| {
        let mut pod = application("app");
        pod["spec"]["containers"][0][field] = value;
        pod
    };
    let volume = |source: Value| {
        let mut pod = application("app");
        pod["spec"]["volumes"] = json!([named(source)]);
        pod
    };
    Some(match of {
        "v1.Volume" => volume(part),
        "v1.VolumeProjection" => volume(json!({"projected": {"sources": [part]}})),
        "v1.ClusterTrustBundleProjection" => {
            volume(json!({"projected": {"sources": [{"clusterTrustBundle": part}]}}))
        }
        "v1.DownwardAPIVolumeFile" => volume(json!({"downwardAPI": {"items": [part]}})),
        "v1.Probe" => container("livenessProbe", part),
        "v1.LifecycleHandler" => container("lifecycle", json!({"preStop": part})),
        "v1.EnvVar" => container("env", json!([named(part)])),
        "v1.EnvVarSource" => container("env", json!([{"name": "A", "valueFrom": part}])),
        "v1.EnvFromSource" => container("envFrom", json!([part])),
        "v1.VolumeMount" => container("volumeMounts", json!([named(part)])),
        "v1.PodResourceClaim" => {
            let mut pod = application("app");
            pod["spec"]["resourceClaims"] = json!([named(part)]);
            pod
        }
        _ => return None,
    })
}

fn member(union: &Union, member: &str) -> Value {
    let is_text = ["v1.ClusterTrustBundleProjection", "v1.PodResourceClaim", "v1.VolumeMount"]
        .contains(&union.of)
        || member == "value";
    match (union.of, member) {
        // Only reported for an otherwise well-formed variable.
        ("v1.EnvVar", "valueFrom") => json!({"fieldRef": {"fieldPath": "metadata.name"}}),
        _ if is_text => json!("x"),
        _ => json!({}),
    }
}

fn says_so(said: &str) -> bool {
    SENTENCES.iter().chain([&OF_NAMES]).any(|sentence| said.contains(sentence))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_members_of_a_union_are_refused_by_the_api_server() {
    let control_plane = ControlPlane::start(Flavour::Current).await;
    control_plane.create_namespace("bare", &[]).await;
    let client = control_plane.client().await;
    let mut failed = Vec::new();
    let mut asked = 0;
    for union in UNIONS.iter().filter(|union| union.discriminator.is_none()) {
        for (index, one) in union.members.iter().enumerate() {
            for other in &union.members[index + 1..] {
                asked += 1;
                let part = json!({*one: member(union, one), *other: member(union, other)});
                let pod = pod_with(union.of, part).unwrap_or_else(|| panic!("no pod for {}", union.of));
                let said = match dry_run(&client, "bare", &pod).await {
                    Ok(stored) => format!("stored: {}", stored["spec"]),
                    Err(said) if says_so(&said) => continue,
                    Err(said) => said,
                };
                failed.push(format!("{}: {one} and {other}: {said}", union.of));
            }
        }
    }
    println!("{asked} pairs of members, {} not refused as such", failed.len());
    assert!(failed.is_empty(), "{} of {asked}\n{}", failed.len(), failed.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kind_a_pod_chooses_is_stored() {
    let stage = Stage::set("").await;
    stage.namespace("shop", &[]).await;
    stage
        .webhook("outrigger", Reach::service_of(&stage.outrigger))
        .install(&stage.control_plane, "shop")
        .await;
    let request = json!({"httpGet": {"path": "/stop", "port": 15020}});
    let of_secret = json!({"secretKeyRef": {"name": "s", "key": "k"}});
    // A field of the proxy, or volumes, and a part of the stored pod's JSON that shows the choice.
    let choices = [
        (json!({"lifecycle": {"preStop": {"sleep": {"seconds": 5}}}}), json!([]), r#""preStop":{"sleep""#),
        (json!({"lifecycle": {"preStop": request}}), json!([]), r#""preStop":{"httpGet""#),
        (
            json!({"readinessProbe": {"tcpSocket": {"port": 15021}}}),
            json!([]),
            r#""tcpSocket":{"port":15021}"#,
        ),
        (json!({"readinessProbe": {"exec": {"command": ["probe"]}}}), json!([]), r#""command":["probe"]"#),
        (json!({"startupProbe": {"grpc": {"port": 15021}}}), json!([]), r#""grpc":{"port":15021"#),
        (
            json!({"env": [{"name": "POD_NAME", "value": "mine"}]}),
            json!([]),
            r#""name":"POD_NAME","value":"mine""#,
        ),
        (
            json!({"env": [{"name": "ISTIO_META_CLUSTER_ID", "valueFrom": of_secret}]}),
            json!([]),
            r#""secretKeyRef""#,
        ),
        (json!({"env": [{"name": "HOST_IP", "valueFrom": of_secret}]}), json!([]), r#""secretKeyRef""#),
        (json!({"restartPolicy": "Never"}), json!([]), r#""restartPolicy":"Always""#),
        (
            json!({"restartPolicy": "OnFailure", "lifecycle": {"preStop": {"sleep": {"seconds": 1}}}}),
            json!([]),
            r#""sleep""#,
        ),
        (
            json!({"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}),
            json!([]),
            r#""type":"RuntimeDefault""#,
        ),
        (
            json!({}),
            json!([{"name": "istio-data", "persistentVolumeClaim": {"claimName": "c"}}]),
            r#""claimName":"c""#,
        ),
        (json!({}), json!([{"name": "istio-token", "secret": {"secretName": "q"}}]), r#""secretName":"q""#),
        (json!({}), json!([{"name": "istio-envoy", "hostPath": {"path": "/q"}}]), r#""path":"/q""#),
        (
            json!({}),
            json!([{"name": "workload-socket", "csi": {"driver": "d.example"}}]),
            r#""driver":"d.example""#,
        ),
    ];
    let mut failed = Vec::new();
    for native in ["true", "false"] {
        for (own, volumes, wanted) in &choices {
            if native == "false" && own.get("restartPolicy").is_some() {
                continue;
            }
            let mut pod = application("app");
            pod["metadata"]["annotations"] = json!({"sidecar.istio.io/nativeSidecar": native});
            if own.as_object().is_some_and(|own| !own.is_empty()) {
                let mut proxy = own.clone();
                proxy["name"] = json!("istio-proxy");
                proxy["image"] = json!("auto");
                pod["spec"]["containers"].as_array_mut().expect("containers").push(proxy);
            }
            if volumes != &json!([]) {
                pod["spec"]["volumes"] = volumes.clone();
            }
            let case = format!("native {native}, {own} {volumes}");
            let stored = match stage.create("shop", &pod).await {
                Ok(stored) if is_injected(&stored) && stored.to_string().contains(wanted) => stored,
                Ok(stored) => {
                    failed.push(format!("{case}: stored as {}", stored["spec"]));
                    continue;
                }
                Err(error) => {
                    failed.push(format!("{case}: {error}"));
                    continue;
                }
            };
            // Applied again, it is the same pod.
            match stage.create("shop", &again(&stored)).await {
                Ok(twice) if super::pods::unlike(&twice, &stored).is_none() => {}
                Ok(twice) => failed.push(format!("{case}: again {:?}", super::pods::unlike(&twice, &stored))),
                Err(error) => failed.push(format!("{case}: again {error}")),
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// A stored pod as a manifest.
fn again(stored: &Value) -> Value {
    let mut pod = stored.clone();
    for key in ["uid", "creationTimestamp", "managedFields", "generation"] {
        pod["metadata"].as_object_mut().expect("metadata").remove(key);
    }
    pod.as_object_mut().expect("a pod").remove("status");
    pod
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn impossible_volumes_are_denied_in_the_annotations_name() {
    let stage = Stage::set("").await;
    stage.namespace("shop", &[]).await;
    stage
        .webhook("outrigger", Reach::service_of(&stage.outrigger))
        .install(&stage.control_plane, "shop")
        .await;
    for (key, value) in [
        ("sidecar.istio.io/userVolume", json!({"istio-envoy": {"emptyDir": {}}})),
        ("sidecar.istio.io/userVolume", json!({"own": {"secret": {"name": "s"}}})),
        ("sidecar.istio.io/userVolume", json!({"own": {"emptyDir": {}, "hostPath": {"path": "/"}}})),
        ("sidecar.istio.io/userVolumeMount", json!({"own": {"mountPath": "/own"}})),
        ("sidecar.istio.io/userVolumeMount", json!({"istio-data": {"mountPath": "/etc/istio/proxy"}})),
    ] {
        let mut pod = application("app");
        pod["metadata"]["annotations"] = json!({key: value.to_string()});
        let refused = stage.create("shop", &pod).await.expect_err("a refusal");
        assert!(refused.contains("denied the request") && refused.contains(key), "{value}: {refused}");
        assert!(!refused.contains("see the injector's log"), "{refused}");
    }
    let mut pod = application("app");
    pod["metadata"]["annotations"] = json!({
        "sidecar.istio.io/userVolume": json!({"own": {"Secret": {"secretName": "s"}}}).to_string(),
        "sidecar.istio.io/userVolumeMount": json!({"own": {"mountPath": "/own"}}).to_string(),
        "sidecar.istio.io/capNetBindService": "",
    });
    assert!(is_injected(&stage.create("shop", &pod).await.expect("a pod")));
}
