//! The built binary and clusters: which one is asked, and what is said when it does not answer.

use std::{fs, path::PathBuf};

use tempfile::TempDir;

use super::cli::{Run, command, fixture, outrigger, text};

/// A kubeconfig for a port of loopback where nobody listens.
fn kubeconfig_to_nobody(folder: &TempDir) -> PathBuf {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let file = folder.path().join("kubeconfig");
    let kubeconfig = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: [{{name: a, context: {{cluster: a, user: a}}}}]\n\
         clusters: [{{name: a, cluster: {{server: 'https://127.0.0.1:{port}'}}}}]\nusers: [{{name: a, user: {{}}}}]\n"
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
    for contradiction in [
        &["--from-cluster"][..],
        &["--context", "a"],
        &["--bundle-config-map", "a"],
        &["--native-sidecars", "auto"],
    ] {
        let base = ["inject", "-f", text(&pod), "--bundle", "/dev/null"];
        assert_eq!(outrigger(&[&base[..], contradiction].concat()).code, 64, "{contradiction:?}");
    }
    let both = ["inject", "-f", text(&pod), "--bundle-config-map", "a", "--mesh-config-map", "b"];
    assert_eq!(outrigger(&both).code, 64);
    let named = ["inject", "-f", text(&pod), "--from-cluster"];
    let run: Run = command().args(named).env("OUTRIGGER_BUNDLE", "/dev/null").output().unwrap().into();
    assert_eq!(run.code, 69, "what is named on the command line wins over the environment: {}", run.stderr);
}
