//! `outrigger kube-inject`, through the binary: istioctl's flags, the cluster, native sidecars.

use std::fs;

use tempfile::TempDir;

use super::cli::{Run, command, fixture, outrigger, smallest, text};

#[test]
fn kube_inject_takes_istioctls_flags() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        text(&path).to_owned()
    };
    let config = file(
        "inject.yaml",
        "policy: disabled\ntemplates:\n  sidecar: |\n    metadata:\n      labels:\n        hub: {{ .Values.global.hub }}\n        domain: {{ .MeshConfig.TrustDomain }}\n        revision: {{ .Revision }}\n",
    );
    let values = file("values.json", "{\"global\": {\"hub\": \"docker.example.com\"}}");
    let mesh = file("mesh.yaml", "trustDomain: from.file\n");
    let operator =
        file("operator.yaml", "kind: IstioOperator\nspec: {meshConfig: {trustDomain: from.operator}}\n");
    let manifest = text(&fixture("job.yaml")).to_owned();
    let base = [
        "kube-inject",
        "--filename",
        &manifest,
        "--injectConfigFile",
        &config,
        "--valuesFile",
        &values,
        "--meshConfigFile",
        &mesh,
    ];
    let run = outrigger(&[&base[..], &["-r", "canary"]].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    for label in ["hub: docker.example.com\n", "domain: from.file\n", "revision: canary\n"] {
        assert!(run.stdout.contains(label), "{}", run.stdout);
    }
    assert_eq!(run.stdout.lines().filter(|line| *line == "---").count(), 2, "one after every document");
    assert!(run.stderr.contains("warning: Job shop/backup is not injected: "), "{}", run.stderr);
    let run = outrigger(&[&base[..], &["--operatorFileName", &operator]].concat());
    assert!(run.stdout.contains("domain: from.operator\n"), "{}", run.stdout);

    let bare = file("bare.tmpl", "metadata:\n  labels:\n    bare: {{ .DeploymentMeta.Name }}\n");
    let run = outrigger(&["kube-inject", "-f", &manifest, "--injectConfigFile", &bare]);
    assert!(run.stdout.contains("bare: import\n"), "{}{}", run.stdout, run.stderr);
    assert_eq!(outrigger(&["kube-inject"]).code, 64);
    // Flags of istioctl without a meaning here; any other is wrong usage.
    let plain = outrigger(&["kube-inject", "-f", &manifest, "--injectConfigFile", &bare]);
    let more = [
        "--as=me",
        "--as-group=a",
        "--as-group=b",
        "-n",
        "shop",
        "--insecure",
        "--plaintext=false",
        "--xds-port=15012",
    ];
    let run =
        outrigger(&[&["kube-inject", "-f", &manifest, "--injectConfigFile", &bare][..], &more].concat());
    assert_eq!((run.code, &run.stdout), (plain.code, &plain.stdout));
    let flags = "--as, --as-group, --namespace, --xds-port, --insecure, --plaintext";
    assert!(
        run.stderr.contains(&format!("warning: {flags} have no effect in outrigger kube-inject")),
        "{}",
        run.stderr
    );
    assert_eq!(outrigger(&["kube-inject", "-f", &manifest, "--xds-adress=a"]).code, 64);
    assert_eq!(outrigger(&[&base[..], &["--webhookConfig", "any"]].concat()).code, 0, "as in istioctl");
}

#[test]
fn kube_inject_without_files_asks_the_cluster() {
    let file = fixture("pod.yaml");
    let folder = TempDir::new().unwrap();
    let empty = folder.path().join("empty.yaml");
    fs::write(&empty, "").unwrap();
    let base = ["kube-inject", "-f", text(&file)];
    let with = |arguments: &[&str]| outrigger(&[&base[..], arguments].concat());
    for arguments in
        [&[][..], &["--meshConfigMapName", "istio", "--meshConfigFile", text(&empty)], &["-i", "mesh"]]
    {
        let run = with(arguments);
        assert_eq!((run.code, run.stdout.as_str()), (69, ""), "{arguments:?}: {}", run.stderr);
        assert!(run.stderr.contains("neither a kubeconfig nor a pod's ServiceAccount"), "{}", run.stderr);
    }
    let bundle = smallest(&folder);
    let from_bundle = with(&["--bundle", text(&bundle)]);
    assert_eq!(from_bundle.code, 0, "{}", from_bundle.stderr);
    assert!(from_bundle.stderr.starts_with("configuration: bundle "), "{}", from_bundle.stderr);
    let from_files = with(&["--meshConfigFile", text(&empty)]);
    assert!(
        from_files.stderr.starts_with("configuration: files, embedded defaults\n"),
        "{}",
        from_files.stderr
    );
    assert_eq!(from_bundle.stdout, from_files.stdout);
    let run: Run = command().args(base).env("OUTRIGGER_BUNDLE", &bundle).output().unwrap().into();
    assert_eq!(run.stdout, from_bundle.stdout);
    assert_eq!(with(&["--bundle", text(&empty), "-i", "mesh"]).code, 64);
    assert_eq!(with(&["--bundle", text(&empty), "--context", "a"]).code, 64);
    assert_eq!(with(&["--bundle", text(&empty), "--valuesFile", text(&empty)]).code, 64);
}

#[test]
fn kube_inject_uses_native_sidecars_only_when_told() {
    let file = fixture("pod.yaml");
    let folder = TempDir::new().unwrap();
    let bundle = smallest(&folder);
    let arguments = ["kube-inject", "--bundle", text(&bundle), "-f", text(&file)];
    assert!(!outrigger(&arguments).stdout.contains("restartPolicy: Always"));
    let told: Run = command().args(arguments).env("ENABLE_NATIVE_SIDECARS", "true").output().unwrap().into();
    assert!(told.stdout.contains("restartPolicy: Always"));
}
