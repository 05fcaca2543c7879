//! Injection from other tools, each as its folder under `deploy/` or `examples/` says: kustomize's function, helm's
//! post-renderer, Argo CD's plugin and kubectl's.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use outrigger::yaml::{self, Limits};
use serde_json::Value;

use super::control_plane::programs::Programs;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A command that finds outrigger, and programs in other folders before it.
fn with_path(program: impl AsRef<std::ffi::OsStr>, folders: &[PathBuf]) -> Command {
    let own = Path::new(env!("CARGO_BIN_EXE_outrigger")).parent().unwrap().to_owned();
    let rest = env::var_os("PATH").unwrap_or_default();
    let all = folders.iter().cloned().chain([own]).chain(env::split_paths(&rest));
    let mut command = Command::new(program);
    command.env("PATH", env::join_paths(all).unwrap()).env_remove("OUTRIGGER_BUNDLE");
    command
}

fn output(command: &mut Command) -> String {
    let output = command.output().expect("a run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The objects of a stream without comments of the tool.
fn objects(text: &str) -> Vec<Value> {
    let documents = yaml::split_documents(text);
    let values = documents.iter().map(|one| yaml::load(one.text, &Limits::default()).expect("YAML"));
    values.filter(|value| !value.is_null()).collect()
}

fn injected(manifest: &Path, more: &[&str]) -> Vec<Value> {
    objects(&output(with_path("outrigger", &[]).args(["inject", "-q", "-f"]).arg(manifest).args(more)))
}

/// A value without nulls, which kustomize drops.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.clone(), without_nulls(value)))
            .collect(),
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

#[test]
fn kustomize_runs_the_function_with_the_bundle_of_the_example() {
    let example = root().join("examples/kustomize-function");
    let programs = Programs::find();
    let mut kustomize = with_path(programs.kustomize(), &[]);
    kustomize.args(["build", "--enable-alpha-plugins", "--enable-exec"]).arg(&example);
    let built = objects(&output(&mut kustomize));
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle.yaml");
    let mut value =
        yaml::load(&fs::read_to_string(example.join("outrigger.yaml")).unwrap(), &Limits::default()).unwrap();
    value.as_object_mut().unwrap().remove("metadata");
    fs::write(&bundle, value.to_string()).unwrap();
    let expected = injected(&example.join("base/deployment.yaml"), &["--bundle", bundle.to_str().unwrap()]);
    let without_nulls = |values: Vec<Value>| values.iter().map(without_nulls).collect::<Vec<_>>();
    assert_eq!(without_nulls(built), without_nulls(expected));

    // The page warns of it: no error and no proxy.
    let mut kubectl = with_path(programs.kubectl(), &[]);
    let built = output(kubectl.args(["kustomize", "--enable-alpha-plugins"]).arg(&example));
    assert!(!built.contains("istio-proxy"), "kubectl runs functions now; change the page");

    // A denial fails the build.
    let denied = folder.path().join("denied");
    for (path, text) in [
        ("kustomization.yaml", fs::read_to_string(example.join("kustomization.yaml")).unwrap()),
        ("outrigger.yaml", fs::read_to_string(example.join("outrigger.yaml")).unwrap()),
        (
            "base/kustomization.yaml",
            "resources: [deployment.yaml]\ncommonAnnotations: {proxy.istio.io/config: '['}\n".into(),
        ),
        ("base/deployment.yaml", fs::read_to_string(example.join("base/deployment.yaml")).unwrap()),
    ] {
        let path = denied.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let mut kustomize = with_path(programs.kustomize(), &[]);
    kustomize.args(["build", "--enable-alpha-plugins", "--enable-exec"]).arg(&denied);
    let failed = kustomize.output().unwrap();
    let stderr = String::from_utf8_lossy(&failed.stderr);
    assert!(!failed.status.success() && stderr.contains("INVALID_ANNOTATION"), "{stderr}");
}

#[test]
fn helm_renders_injected_manifests_with_the_plugin() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = root().join("examples/kustomize-function/base/deployment.yaml");
    let chart = folder.path().join("web");
    fs::create_dir_all(chart.join("templates")).unwrap();
    fs::write(chart.join("Chart.yaml"), "apiVersion: v2\nname: web\nversion: 0.1.0\n").unwrap();
    fs::copy(&manifest, chart.join("templates/deployment.yaml")).unwrap();
    let helm = |arguments: &[&str]| {
        let mut helm = with_path(Programs::find().helm(), &[]);
        helm.args(arguments);
        for (variable, part) in
            [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "config"), ("HELM_DATA_HOME", "data")]
        {
            helm.env(variable, folder.path().join(part));
        }
        helm
    };
    let plugin = root().join("deploy/helm-post-renderer");
    output(&mut helm(&["plugin", "install", plugin.to_str().unwrap()]));
    let chart = chart.to_str().unwrap();
    let rendered = output(&mut helm(&["template", "web", chart, "--post-renderer", "outrigger"]));
    assert_eq!(objects(&rendered), injected(&manifest, &[]));
    let bundle = folder.path().join("bundle.yaml");
    fs::write(&bundle, "apiVersion: outrigger.dev/v1alpha1\nkind: Bundle\nnativeSidecars: disabled\n")
        .unwrap();
    let bundle = bundle.to_str().unwrap();
    let flag = format!("--post-renderer-args=--bundle={bundle}");
    let rendered = output(&mut helm(&["template", "web", chart, "--post-renderer", "outrigger", &flag]));
    assert_eq!(objects(&rendered), injected(&manifest, &["--bundle", bundle]));
}

/// Runs `generate` of Argo CD's plugin in the folder of an application, as its server does.
fn argo_generate(application: &Path, variables: &[(&str, &str)]) -> Command {
    let text = fs::read_to_string(root().join("deploy/argocd-plugin/plugin.yaml")).unwrap();
    let plugin = yaml::load(&text, &Limits::default()).unwrap();
    let words = |key: &str| {
        let words = plugin["spec"]["generate"][key].as_array().unwrap().iter();
        words.map(|word| word.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (command, arguments) = (words("command"), words("args"));
    let kubectl = Programs::find().kubectl().parent().unwrap().to_owned();
    let mut run = with_path(&command[0], &[kubectl]);
    run.args(&command[1..]).args(arguments).current_dir(application).envs(variables.iter().copied());
    run
}

#[test]
fn argo_cd_generates_injected_manifests_of_folders_and_kustomizations() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = root().join("examples/kustomize-function/base/deployment.yaml");
    fs::create_dir(folder.path().join("below")).unwrap();
    fs::copy(&manifest, folder.path().join("below/deployment.yaml")).unwrap();
    let expected = injected(&manifest, &[]);
    assert_eq!(objects(&output(&mut argo_generate(folder.path(), &[]))), expected);
    fs::write(folder.path().join("kustomization.yaml"), "resources: [below/deployment.yaml]\n").unwrap();
    let of_shop = output(&mut argo_generate(folder.path(), &[("ARGOCD_APP_NAMESPACE", "shop")]));
    assert_eq!(objects(&of_shop), injected(&manifest, &["--namespace", "shop"]));
    let bundle = "apiVersion: outrigger.dev/v1alpha1\nkind: Bundle\nnativeSidecars: disabled\n";
    fs::write(folder.path().join("bundle.yaml"), bundle).unwrap();
    let of_bundle = output(&mut argo_generate(folder.path(), &[("PARAM_BUNDLE", "bundle.yaml")]));
    let bundle = folder.path().join("bundle.yaml");
    assert_eq!(objects(&of_bundle), injected(&manifest, &["--bundle", bundle.to_str().unwrap()]));
    assert_ne!(objects(&of_bundle), expected);
    fs::write(folder.path().join("kustomization.yaml"), "resources: [missing.yaml]\n").unwrap();
    assert!(
        !argo_generate(folder.path(), &[]).output().unwrap().status.success(),
        "an error of kubectl is one"
    );
}

#[test]
fn kubectl_runs_and_completes_the_plugin() {
    let plugin = [root().join("deploy/kubectl-plugin")];
    let kubectl = |arguments: &[&str]| output(with_path(Programs::find().kubectl(), &plugin).args(arguments));
    assert_eq!(kubectl(&["outrigger", "version"]), output(with_path("outrigger", &[]).arg("version")));
    assert_eq!(kubectl(&["__complete", "outrigger", "inject", "-o", "k"]), "kustomize\n:4\n");
    assert_eq!(kubectl(&["__complete", "outrigger", "unin"]), "uninject\n:4\n");
    assert_eq!(kubectl(&["__complete", "outrigger", "inject", "-f", ""]), ":0\n");
}
