//! `outrigger webhook print`: the output for each flag, and invalid flags.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    process::{Command, Stdio},
};

use outrigger::{
    webhook_config::{Client, Conditions, FailurePolicy, ReinvocationPolicy, Settings, decode_ca_bundle},
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
    let (pem, _) = certificate();
    fs::write(&ca, format!("# of the mesh\r\n{}", pem.replace('\n', "\r\n"))).unwrap();
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
        ca_bundle: Some(pem),
        failure_policy: FailurePolicy::Ignore,
        reinvocation_policy: ReinvocationPolicy::IfNeeded,
        timeout_seconds: 3,
        conditions: Conditions::None,
        rules: Vec::new(),
        sends_opt_outs: false,
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

/// A certificate and its key in PEM, as outrigger writes them.
fn certificate() -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let parameters = rcgen::CertificateParams::new(["ca.test".to_owned()]).unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    let encode = |label, der| outrigger::pem::encode(label, der);
    (encode("CERTIFICATE", certificate.der()), encode("PRIVATE KEY", &key.serialize_der()))
}

/// The caBundle of every entry, decoded.
fn bundles(stdout: &str) -> Vec<String> {
    let object = objects(stdout).remove(0);
    let text = |entry: &Value| decode_ca_bundle(entry["clientConfig"]["caBundle"].as_str().unwrap()).unwrap();
    object["webhooks"].as_array().unwrap().iter().map(text).collect()
}

#[test]
fn only_certificates_become_a_ca_bundle() {
    let folder = TempDir::new().unwrap();
    let with = |bytes: &[u8]| {
        let file = folder.path().join("ca.pem");
        fs::write(&file, bytes).unwrap();
        print(&["--ca-bundle", file.to_str().unwrap()])
    };
    let ((ca, key), (other, _)) = (certificate(), certificate());
    // Text between blocks is omitted, whatever it is.
    let noted =
        [b"subject: M\xfcnchen\n".as_slice(), ca.as_bytes(), b"\n# other\n", other.as_bytes()].concat();
    let (code, stdout, stderr) = with(&noted);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_eq!(bundles(&stdout), vec![format!("{ca}{other}"); 4]);

    let lines = ca.lines().count();
    let glued = format!("{}{other}", ca.trim_end());
    let indented = ca.lines().fold(String::new(), |text, line| text + "  " + line + "\n");
    let mut serial = outrigger::pem::Pem::parse(ca.as_bytes()).blocks.remove(0).der.clone();
    // The serial number follows directly after the version.
    let place = serial.windows(5).position(|bytes| bytes == [0xa0, 3, 2, 1, 2]).unwrap() + 7;
    serial[place] |= 0x80;
    for (bytes, found) in [
        (format!("{ca}{key}").into_bytes(), format!("line {}: found a private key (PRIVATE KEY)", lines + 1)),
        (format!("{key}{ca}").into_bytes(), "line 1: found a private key (PRIVATE KEY)".to_owned()),
        (key.clone().into_bytes(), "line 1: found a private key".to_owned()),
        (glued.into_bytes(), "line 1: found a broken block CERTIFICATE: its END line".to_owned()),
        (indented.into_bytes(), "line 1: found a broken block CERTIFICATE: its BEGIN".to_owned()),
        (
            format!("\u{feff}{ca}").into_bytes(),
            "line 1: found a broken block CERTIFICATE: its BEGIN".to_owned(),
        ),
        (ca.as_bytes()[..ca.len() / 2].to_vec(), "it has no END line".to_owned()),
        (
            ca.replace("BEGIN C", "BEGIN TRUSTED C").replace("END C", "END TRUSTED C").into_bytes(),
            "found a block named TRUSTED CERTIFICATE".to_owned(),
        ),
        (
            outrigger::pem::encode("CERTIFICATE", b"no certificate").into_bytes(),
            "line 1: found a certificate that API servers cannot read: it is not X.509".to_owned(),
        ),
        (
            outrigger::pem::encode("CERTIFICATE", &serial).into_bytes(),
            "it has a negative serial number".to_owned(),
        ),
        (serial, "found no certificate in PEM; it may be DER".to_owned()),
        (ca.encode_utf16().flat_map(u16::to_le_bytes).collect(), "found no certificate".to_owned()),
        (b"nothing".to_vec(), "found no certificate".to_owned()),
    ] {
        let (code, stdout, stderr) = with(&bytes);
        assert_eq!((code, stdout.as_str()), (64, ""), "{found}: {stderr}");
        assert!(stderr.contains("CA bundle: ") && stderr.contains(&found), "{found}: {stderr}");
        assert!(stderr.contains("ca.pem") && stderr.contains("expected CERTIFICATE blocks"), "{stderr}");
        // Not a single line of the key.
        assert!(
            !key.lines().filter(|line| !line.starts_with('-')).any(|line| stderr.contains(line)),
            "{stderr}"
        );
    }
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
        (&["--timeout=31s"][..], "timeout: found 31s; expected 1s to 30s"),
        (&["--timeout=1500ms"], "expected whole seconds from 1s to 30s"),
        (&["--timeout=5"], "expected a duration"),
        (&["--url=http://a"], "expected https://"),
        (&["--url=https://a", "--service=b"], "cannot be used with"),
        (&["--failure-policy=Retry"], "possible values: Fail, Ignore"),
        (&["--revision=A"], "revision: found \"A\"; expected a DNS label"),
        (&["--revision=a", "--enable-namespaces-by-default"], "is not the default one"),
        (&["--tag=default"], "which is the revision"),
        (&["--label=x"], "expected KEY=VALUE"),
        (&["--ca-bundle=/dev/null"], "CA bundle: found no certificate"),
    ] {
        let (code, stdout, stderr) = print(arguments);
        assert_eq!((code, stdout.as_str()), (64, ""), "{arguments:?}");
        assert!(stderr.contains(message), "{arguments:?}: {stderr}");
    }
    assert_eq!(print(&["--ca-bundle=/nowhere/ca.pem"]).0, 1);
}

/// An API server that answers one request and disappears; its kubeconfig.
fn answers_once(folder: &TempDir, answer: Value) -> std::path::PathBuf {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        drop(listener);
        let mut request = Vec::new();
        let mut buffer = [0; 1024];
        while !request.windows(4).any(|end| end == b"\r\n\r\n") {
            let count = stream.read(&mut buffer).unwrap();
            request.extend_from_slice(&buffer[..count]);
        }
        let (code, body) = (answer["code"].clone(), answer.to_string());
        let head = "content-type: application/json\r\nconnection: close\r\ncontent-length";
        write!(stream, "HTTP/1.1 {code} X\r\n{head}: {}\r\n\r\n{body}", body.len()).unwrap();
    });
    let file = folder.path().join("kubeconfig");
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "a",
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "clusters": [{"name": "a", "cluster": {"server": format!("http://127.0.0.1:{port}")}}],
        "users": [{"name": "a", "user": {}}],
    });
    fs::write(&file, kubeconfig.to_string()).unwrap();
    file
}

#[test]
fn what_an_api_server_said_counts_for_more_than_that_it_is_gone() {
    let folder = TempDir::new().unwrap();
    let missing = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "message": "no", "code": 404,
    });
    let kubeconfig = answers_once(&folder, missing);
    let wait = |timeout: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
        command.args(["webhook", "wait", "--timeout", timeout]).env("KUBECONFIG", &kubeconfig);
        let output = command.stdin(Stdio::null()).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, stderr) = wait("50ms");
    assert_eq!(code, 1, "{stderr}");
    let last = stderr.lines().last().unwrap();
    assert!(
        last.contains(
            "MutatingWebhookConfiguration outrigger-sidecar-injector does not exist; then cannot get mutatingwebhookconfigurations outrigger-sidecar-injector: cannot reach"
        ),
        "{stderr}"
    );
    // No API server was ever reached.
    assert_eq!(wait("0").0, 69);
}

#[test]
fn a_tag_that_cannot_be_meant_is_wrong_usage() {
    for (arguments, told) in [
        (&["set", "prod", "--revision=prod"][..], "tag: found \"prod\", which is the revision"),
        (&["set", "default", "--revision=default"], "which is the revision and already the default one"),
        (&["set", "Prod", "--revision=canary"], "tag: found \"Prod\"; expected a DNS label"),
        (&["set", "prod"], "--revision"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_outrigger"))
            .arg("tag")
            .args(arguments)
            // Reported before any cluster is contacted.
            .env("KUBECONFIG", "/nonexistent")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {stderr}");
        assert!(stderr.contains(told), "{arguments:?}: {stderr}");
    }
}

/// A policy and three bindings for each entry, one of them for namespaces without the label.
#[test]
fn a_backstop_has_a_binding_for_each_entry_and_level() {
    let (code, stdout, stderr) = print(&["--tag=prod", "--failure-policy=Ignore", "--backstop=warn"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let objects = objects(&stdout);
    let of_kind = |kind: &str| objects.iter().filter(|object| object["kind"] == kind).collect::<Vec<_>>();
    let [policy] = of_kind("ValidatingAdmissionPolicy")[..] else { panic!("{stdout}") };
    assert_eq!(policy["spec"]["failurePolicy"], "Fail", "API servers evaluate it, so nothing can be down");
    let bindings = of_kind("ValidatingAdmissionPolicyBinding");
    let webhooks = of_kind("MutatingWebhookConfiguration");
    let entries: Vec<&Value> =
        webhooks.iter().flat_map(|configuration| configuration["webhooks"].as_array().unwrap()).collect();
    assert_eq!((entries.len(), bindings.len()), (6, 18));
    for (entry, bindings) in entries.iter().zip(bindings.chunks(3)) {
        for (binding, (actions, level)) in bindings.iter().zip([
            (
                json!(["Audit"]),
                json!({"key": "outrigger.dev/backstop", "operator": "In", "values": ["audit"]}),
            ),
            (
                json!(["Warn", "Audit"]),
                json!({"key": "outrigger.dev/backstop", "operator": "NotIn", "values": ["audit", "deny"]}),
            ),
            (json!(["Deny"]), json!({"key": "outrigger.dev/backstop", "operator": "In", "values": ["deny"]})),
        ]) {
            let spec = &binding["spec"];
            assert_eq!(spec["policyName"], policy["metadata"]["name"]);
            assert_eq!(spec["validationActions"], actions);
            let resources = &spec["matchResources"];
            assert_eq!(resources["objectSelector"], entry["objectSelector"]);
            let mut namespaces = entry["namespaceSelector"]["matchExpressions"].as_array().unwrap().clone();
            namespaces.push(level);
            assert_eq!(resources["namespaceSelector"]["matchExpressions"], Value::Array(namespaces));
        }
    }
    let names: std::collections::BTreeSet<_> =
        bindings.iter().map(|binding| binding["metadata"]["name"].to_string()).collect();
    assert_eq!(names.len(), 18);
}

/// Expressions that not all API servers can evaluate are reported, and no weaker policy is generated.
#[test]
fn no_backstop_is_made_of_an_expression_that_api_servers_lack() {
    let folder = TempDir::new().unwrap();
    let bundle = folder.path().join("bundle.yaml");
    for (more, wanted) in [
        ("rules: [{name: r, match: {cel: \"'abc'.reverse() == 'cba'\"}, inject: never}]", "rule r: "),
        (
            "overridePolicy: [{name: p, action: deny, except: {cel: \"'abc'.reverse() == 'cba'\"}, forbid: {optOut: true}}]",
            "overridePolicy p: ",
        ),
    ] {
        fs::write(&bundle, format!("apiVersion: outrigger.dev/v1alpha1\nkind: Bundle\n{more}\n")).unwrap();
        let (code, stdout, stderr) = print(&["--backstop=Deny", "--bundle", bundle.to_str().unwrap()]);
        assert!(code != 0 && stdout.is_empty(), "{stdout}");
        assert!(stderr.contains(wanted) && stderr.contains("API servers do not have"), "{stderr}");
        assert_eq!(
            print(&["--bundle", bundle.to_str().unwrap()]).0,
            0,
            "the webhook alone needs no such expression"
        );
    }
}
