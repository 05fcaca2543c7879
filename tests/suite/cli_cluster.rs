//! The built binary and clusters: which one is contacted, and the messages if it does not respond.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::PathBuf,
    sync::mpsc,
    thread,
};

use tempfile::TempDir;

use super::{
    cli::{Run, command, fixture, outrigger, smallest, text},
    support::PATIENCE,
};

/// A kubeconfig for a loopback port on which nothing listens.
fn kubeconfig_to_nobody(folder: &TempDir) -> PathBuf {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    kubeconfig(folder, &format!("https://127.0.0.1:{port}"))
}

fn kubeconfig(folder: &TempDir, server: &str) -> PathBuf {
    let file = folder.path().join("kubeconfig");
    let kubeconfig = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: [{{name: a, context: {{cluster: a, user: a}}}}]\n\
         clusters: [{{name: a, cluster: {{server: '{server}'}}}}]\nusers: [{{name: a, user: {{}}}}]\n"
    );
    fs::write(&file, kubeconfig).unwrap();
    file
}

#[test]
fn a_cluster_that_does_not_answer_is_69_and_named() {
    let folder = TempDir::new().unwrap();
    let kubeconfig = kubeconfig_to_nobody(&folder);
    let pod = fixture("pod.yaml");
    for arguments in [
        &["inject", "-f", text(&pod), "--from-cluster"][..],
        &["inject", "-f", text(&pod), "--context", "a"],
        &["inject", "-f", text(&pod), "--revision", "canary"],
        &["bundle", "print", "--from-cluster"],
        &["kube-inject", "-f", text(&pod)],
        &["webhook", "apply"],
        &["webhook", "apply", "--dry-run", "client"],
        &["webhook", "wait", "--timeout", "0"],
    ] {
        let run: Run = command().args(arguments).env("KUBECONFIG", &kubeconfig).output().unwrap().into();
        assert_eq!((run.code, run.stdout.as_str()), (69, ""), "{arguments:?}: {}", run.stderr);
        assert!(run.stderr.contains("cannot reach the API server at https://127.0.0.1:"), "{}", run.stderr);
        assert!(run.stderr.contains(": Connection refused"), "{}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    }
    let with = |arguments: &[&str]| outrigger(&[&["inject", "-f", text(&pod)][..], arguments].concat());
    let run = with(&["--kubeconfig", "/nowhere/kubeconfig"]);
    assert_eq!(run.code, 69);
    assert!(run.stderr.contains("/nowhere/kubeconfig"), "{}", run.stderr);
    let run = with(&["--kubeconfig", text(&kubeconfig), "--context", "other"]);
    assert!(run.code == 69 && run.stderr.contains("other"), "{}", run.stderr);
}

/// A proxy that refuses, and the first lines of the requests it receives.
fn refusing_proxy() -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (asked, lines) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut line = String::new();
            let _ = BufReader::new(stream.try_clone().unwrap()).read_line(&mut line);
            let _ = asked.send(line.trim_end().to_owned());
            let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
        }
    });
    (address, lines)
}

// N-11
#[test]
fn the_proxy_of_the_environment_is_used_and_no_proxy_heeded() {
    let folder = TempDir::new().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    // This machine by an address other than loopback.
    let kubeconfig = kubeconfig(&folder, &format!("https://0.0.0.0:{port}"));
    let (proxy, asked) = refusing_proxy();
    let run = |name: &str, except: &str| -> Run {
        let mut command = command();
        for variable in ["HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"] {
            command.env_remove(variable);
        }
        command.env("KUBECONFIG", &kubeconfig).env(name, &proxy).env("NO_PROXY", except);
        command.args(["bundle", "print", "--from-cluster"]).output().unwrap().into()
    };
    for (name, except) in [("HTTPS_PROXY", ""), ("https_proxy", "127.0.0.0/8,.svc")] {
        let run = run(name, except);
        assert_eq!(run.code, 69, "{}", run.stderr);
        let line =
            asked.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("the proxy is not asked: {}", run.stderr));
        assert_eq!(line, format!("CONNECT 0.0.0.0:{port} HTTP/1.1"));
    }
    while asked.try_recv().is_ok() {}
    for except in ["0.0.0.0", "example.com,0.0.0.0/8", "*"] {
        let run = run("HTTPS_PROXY", except);
        assert_eq!(run.code, 69, "{}", run.stderr);
        assert!(run.stderr.contains(": Connection refused"), "{}", run.stderr);
        assert_eq!(asked.try_recv().ok(), None, "{except}");
    }
}

#[test]
fn nothing_asks_a_cluster_that_nobody_named() {
    let folder = TempDir::new().unwrap();
    let kubeconfig = kubeconfig_to_nobody(&folder);
    let pod = fixture("pod.yaml");
    for arguments in
        [&["inject", "-f", text(&pod)][..], &["bundle", "print"], &["webhook", "print"], &["version"]]
    {
        let run: Run = command().args(arguments).env("KUBECONFIG", &kubeconfig).output().unwrap().into();
        assert_eq!(run.code, 0, "{arguments:?}: {}", run.stderr);
    }
    let bundle = smallest(&folder);
    for contradiction in [
        &["--from-cluster"][..],
        &["--context", "a"],
        &["--bundle-config-map", "a"],
        &["--native-sidecars", "auto"],
    ] {
        let base = ["inject", "-f", text(&pod), "--bundle", text(&bundle)];
        assert_eq!(outrigger(&[&base[..], contradiction].concat()).code, 64, "{contradiction:?}");
    }
    let both = ["inject", "-f", text(&pod), "--bundle-config-map", "a", "--mesh-config-map", "b"];
    assert_eq!(outrigger(&both).code, 64);
    let named = ["inject", "-f", text(&pod), "--from-cluster"];
    let run: Run = command().args(named).env("OUTRIGGER_BUNDLE", &bundle).output().unwrap().into();
    assert_eq!(run.code, 69, "what is named on the command line wins over the environment: {}", run.stderr);
}

/// An API server on loopback that answers each path with a status and a text, and everything else with 404, until the test
/// ends.
fn api_server(answers: &'static [(&'static str, u16, &'static str)]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let request = lines.next().unwrap_or_default();
            let _ = lines.by_ref().take_while(|line| !line.is_empty()).count();
            let path = request.split(' ').nth(1).unwrap_or_default();
            let path = path.split('?').next().unwrap_or_default();
            let missing =
                r#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}"#;
            let (code, text) = answers
                .iter()
                .find(|(known, ..)| *known == path)
                .map_or((404, missing), |(_, code, text)| (*code, *text));
            let head = format!(
                "HTTP/1.1 {code} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                text.len()
            );
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(text.as_bytes()));
        }
    });
    address
}

const CONFIG_MAP: (&str, u16, &str) = (
    "/api/v1/namespaces/outrigger-system/configmaps/outrigger",
    200,
    r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"outrigger"},"data":{"bundle":"{apiVersion: outrigger.dev/v1alpha1, kind: Bundle, nativeSidecars: enabled}"}}"#,
);

#[test]
fn namespaces_of_the_cluster_that_are_not_selected_are_skipped() {
    const ANSWERS: &[(&str, u16, &str)] = &[
        CONFIG_MAP,
        (
            "/api/v1/namespaces",
            200,
            r#"{"kind":"NamespaceList","apiVersion":"v1","metadata":{},"items":[
                {"metadata":{"name":"in","labels":{"istio-injection":"enabled"}}},
                {"metadata":{"name":"out","labels":{"istio-injection":"disabled"}}},
                {"metadata":{"name":"other","labels":{"istio.io/rev":"canary"}}},
                {"metadata":{"name":"plain","labels":{"kubernetes.io/metadata.name":"plain"}}}]}"#,
        ),
    ];
    let folder = TempDir::new().unwrap();
    let kubeconfig = kubeconfig(&folder, &api_server(ANSWERS));
    let pods = folder.path().join("pods.yaml");
    let pod = |namespace: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p, namespace: {namespace}}}\nspec: {{containers: [{{name: a, image: a}}]}}\n"
        )
    };
    fs::write(&pods, ["in", "out", "other", "plain", "unknown"].map(pod).join("---\n")).unwrap();
    let run = outrigger(&["inject", "-f", text(&pods), "--kubeconfig", text(&kubeconfig)]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    for wanted in [
        "Pod in/p: injected (sidecar)",
        "Pod out/p: skipped (NAMESPACE_DISABLED)",
        "Pod other/p: skipped (REVISION_MISMATCH)",
        "Pod plain/p: skipped (NAMESPACE_NOT_ENABLED)",
        "Pod unknown/p: injected (sidecar)",
    ] {
        assert!(run.stderr.contains(wanted), "{wanted}: {}", run.stderr);
    }
    let run = outrigger(&["bundle", "print", "--kubeconfig", text(&kubeconfig)]);
    assert!(run.stdout.contains("namespaces: []"), "what is printed can be served: {}", run.stderr);
}

#[test]
fn namespaces_that_may_not_be_listed_are_taken_to_be_selected() {
    const ANSWERS: &[(&str, u16, &str)] = &[
        CONFIG_MAP,
        (
            "/api/v1/namespaces",
            403,
            r#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,"message":"namespaces is forbidden: User \"x\" cannot list resource \"namespaces\""}"#,
        ),
    ];
    let folder = TempDir::new().unwrap();
    let kubeconfig = kubeconfig(&folder, &api_server(ANSWERS));
    let pod = fixture("pod.yaml");
    let run = outrigger(&["inject", "-f", text(&pod), "--kubeconfig", text(&kubeconfig)]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("every namespace is assumed to be injected"), "{}", run.stderr);
    assert!(run.stderr.contains("injected (sidecar)"), "{}", run.stderr);
}

#[test]
fn serve_outside_a_cluster_says_how_to_do_without_one() {
    let run: Run = command()
        .args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .env_remove("KUBECONFIG")
        .env_remove("KUBERNETES_SERVICE_HOST")
        .env("HOME", "/nowhere")
        .output()
        .unwrap()
        .into();
    assert_eq!(run.code, 69, "{}", run.stderr);
    assert!(run.stderr.contains("--standalone"), "{}", run.stderr);
}
