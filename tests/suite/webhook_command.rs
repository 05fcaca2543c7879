//! `outrigger webhook print`: what the flags make, and which are refused.

use std::{
    fs,
    process::{Command, Stdio},
};

use outrigger::{
    webhook_config::{Client, Conditions, FailurePolicy, ReinvocationPolicy, Settings},
    yaml::{self, Limits},
};
use serde_json::{Value, json};
use tempfile::TempDir;

fn print(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_outrigger"))
        .args(["webhook", "print"])
        .args(arguments)
        .env_remove("OUTRIGGER_NAMESPACE")
        .env_remove("OUTRIGGER_REVISION")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// The objects of a YAML stream.
fn objects(stream: &str) -> Vec<Value> {
    stream.split("---\n").map(|document| yaml::load(document, &Limits::default()).unwrap()).collect()
}

#[test]
fn the_defaults_are_the_library_s() {
    let (code, stdout, stderr) = print(&[]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_eq!(objects(&stdout), Settings::default().objects());
    assert_eq!(print(&[]).1, stdout, "the same text each time");
}

#[test]
fn every_flag_is_in_the_objects() {
    let folder = TempDir::new().unwrap();
    let ca = folder.path().join("ca.pem");
    let pem = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
    fs::write(&ca, pem).unwrap();
    let (code, stdout, stderr) = print(&[
        "--revision=canary",
        "--tag=prod,stage",
        "--default-revision",
        "--enable-namespaces-by-default",
        "--namespace=mesh",
        "--service=injector",
        "--port=8443",
        "--path=/inject/cluster/east",
        "--ca-bundle",
        ca.to_str().unwrap(),
        "--failure-policy=ignore",
        "--reinvocation-policy=IfNeeded",
        "--timeout=3s",
        "--exclude-namespace=a,b",
        "--match-conditions=none",
        "--label=team=mesh",
        "--name-suffix=inject.example.com",
    ]);
    assert_eq!(code, 0, "{stderr}");
    let settings = Settings {
        revision: "canary".to_owned(),
        tags: ["prod", "stage", "default"].map(str::to_owned).to_vec(),
        enable_namespaces_by_default: true,
        namespace: "mesh".to_owned(),
        excluded_namespaces: ["a", "b"].map(str::to_owned).to_vec(),
        suffix: "inject.example.com".to_owned(),
        client: Client::Service {
            name: "injector".to_owned(),
            port: 8443,
            path: "/inject/cluster/east".to_owned(),
        },
        ca_bundle: Some(pem.to_owned()),
        failure_policy: FailurePolicy::Ignore,
        reinvocation_policy: ReinvocationPolicy::IfNeeded,
        timeout_seconds: 3,
        conditions: Conditions::None,
        labels: [("team".to_owned(), "mesh".to_owned())].into(),
    };
    assert_eq!(objects(&stdout), settings.objects());
    assert_eq!(settings.objects().len(), 5);

    let (_, url, _) =
        print(&["--url=https://in.example/inject", "--match-conditions=host-network", "-o", "json"]);
    let object: Value = serde_json::from_str(&url).unwrap();
    assert_eq!(object["webhooks"][0]["clientConfig"], json!({"url": "https://in.example/inject"}));
    let (_, list, _) = print(&["--tag=prod", "-o", "json"]);
    let list: Value = serde_json::from_str(&list).unwrap();
    let names: Vec<&Value> =
        list["items"].as_array().unwrap().iter().map(|item| &item["metadata"]["name"]).collect();
    assert_eq!(names, ["outrigger-sidecar-injector", "outrigger-revision-tag-prod"]);
}

#[test]
fn the_service_is_the_revision_s() {
    let (_, stdout, _) = print(&["--revision=canary"]);
    assert_eq!(objects(&stdout)[0]["webhooks"][0]["clientConfig"]["service"]["name"], "outrigger-canary");
    let (_, same, _) = print(&["--default-revision"]);
    assert_eq!(same, print(&[]).1, "it is the default one already");
}

#[test]
fn what_cannot_be_meant_is_wrong_usage() {
    for (arguments, message) in [
        (&["--timeout=31s"][..], "timeout: found 31s; accepted: 1s to 30s"),
        (&["--timeout=1500ms"], "accepted are whole seconds from 1s to 30s"),
        (&["--timeout=5"], "accepted is a duration"),
        (&["--url=http://a"], "accepted: https://"),
        (&["--url=https://a", "--service=b"], "cannot be used with"),
        (&["--failure-policy=Retry"], "possible values: Fail, Ignore"),
        (&["--revision=A"], "revision: found \"A\"; accepted: a DNS label"),
        (&["--revision=a", "--enable-namespaces-by-default"], "is not the default one"),
        (&["--tag=default"], "which is the revision"),
        (&["--label=x"], "accepted is KEY=VALUE"),
        (&["--ca-bundle=/dev/null"], "CA bundle: found no certificate"),
    ] {
        let (code, stdout, stderr) = print(arguments);
        assert_eq!((code, stdout.as_str()), (64, ""), "{arguments:?}");
        assert!(stderr.contains(message), "{arguments:?}: {stderr}");
    }
    assert_eq!(print(&["--ca-bundle=/nowhere/ca.pem"]).0, 1);
}

#[test]
fn a_tag_that_cannot_be_meant_is_wrong_usage() {
    for (arguments, told) in [
        (&["set", "prod", "--revision=prod"][..], "tag: found \"prod\", which is the revision"),
        (&["set", "default", "--revision=default"], "which is the default one by itself"),
        (&["set", "Prod", "--revision=canary"], "tag: found \"Prod\"; accepted: a DNS label"),
        (&["set", "prod"], "--revision"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_outrigger"))
            .arg("tag")
            .args(arguments)
            // It is said before any cluster is asked.
            .env("KUBECONFIG", "/nonexistent")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {stderr}");
        assert!(stderr.contains(told), "{arguments:?}: {stderr}");
    }
}
