//! The built binary: files, streams, exit codes.

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use super::headed::headed;

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/manifests").join(name)
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

fn expected(name: &str) -> String {
    read(fixture("expected").join(name))
}

/// The result of a run of the binary.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Run {
        Run {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("OUTRIGGER_") || text.starts_with("KUBE") || text == "NO_COLOR" {
            command.env_remove(name);
        }
    }
    // The tests never contact a real cluster.
    command.env_remove("ENABLE_NATIVE_SIDECARS").env("HOME", "/nowhere");
    command
}

/// An empty bundle, so that the embedded defaults are used regardless of the environment.
pub(crate) fn smallest(folder: &TempDir) -> PathBuf {
    let file = folder.path().join("smallest.yaml");
    fs::write(&file, headed("")).unwrap();
    file
}

pub(crate) fn outrigger(arguments: &[&str]) -> Run {
    command().args(arguments).stdin(Stdio::null()).output().unwrap().into()
}

fn outrigger_with_input(arguments: &[&str], input: &str) -> Run {
    let mut child = command()
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap().into()
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn writes_the_product_to_stdout_and_the_report_to_stderr() {
    let file = fixture("job.yaml");
    let run = outrigger(&["inject", "-f", text(&file)]);
    assert_eq!((run.code, run.stdout), (0, expected("job.yaml")));
    let (origin, rows) = run.stderr.split_once('\n').unwrap();
    assert_eq!(origin, "configuration: embedded defaults");
    let lines: Vec<&str> = rows.lines().map(|line| line.rsplit_once(".yaml: ").unwrap().1).collect();
    assert_eq!(lines[0], "Job shop/import: injected (sidecar)");
    assert!(lines[1].starts_with("Job shop/backup: skipped (POD_OPTED_OUT): "), "{}", lines[1]);
    let quiet = outrigger(&["inject", "-qf", text(&file)]);
    assert_eq!((quiet.stdout, quiet.stderr), (expected("job.yaml"), String::new()));
}

#[test]
fn reads_stdin_and_leaves_what_has_no_pods_to_the_byte() {
    let input = read(fixture("untouched.yaml"));
    let run = outrigger_with_input(&["inject", "-f", "-"], &input);
    assert_eq!((run.code, run.stdout), (0, input));
    assert!(run.stderr.contains("stdin: Service shop/odd: no pod template\n"), "{}", run.stderr);
}

#[test]
fn reads_folders_in_order_and_deeper_ones_only_if_told() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str, object: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("kind: {object}\n")).unwrap();
    };
    for (name, object) in [
        ("b.yml", "B"),
        ("a.yaml", "A"),
        ("c.json", "{}"),
        ("notes.txt", "N"),
        (".hidden.yaml", "H"),
        ("deeper/d.yaml", "D"),
    ] {
        file(name, object);
    }
    fs::write(folder.path().join("c.json"), "{\"kind\": \"C\"}").unwrap();
    let run = outrigger(&["inject", "-f", text(folder.path())]);
    assert_eq!((run.code, run.stdout.as_str()), (0, "kind: A\n---\nkind: B\n---\n{\"kind\": \"C\"}"));
    let run = outrigger(&["inject", "-R", "-f", text(folder.path())]);
    assert!(run.stdout.ends_with("{\"kind\": \"C\"}\n---\nkind: D\n"), "{}", run.stdout);

    let empty = TempDir::new().unwrap();
    let run = outrigger(&["inject", "-f", text(empty.path())]);
    assert_eq!((run.code, run.stdout.as_str()), (65, ""));
    assert!(run.stderr.contains("expected files ending in .yaml, .yml or .json"), "{}", run.stderr);
}

#[test]
fn writes_in_place_only_what_changes_and_keeps_permissions() {
    let folder = TempDir::new().unwrap();
    let (changing, staying) = (folder.path().join("job.yaml"), folder.path().join("untouched.yaml"));
    fs::copy(fixture("job.yaml"), &changing).unwrap();
    fs::copy(fixture("untouched.yaml"), &staying).unwrap();
    fs::set_permissions(&changing, fs::Permissions::from_mode(0o640)).unwrap();
    let link = folder.path().join("link.yaml.txt");
    std::os::unix::fs::symlink(&changing, &link).unwrap();
    let before = fs::metadata(&staying).unwrap().modified().unwrap();

    let run = outrigger(&["inject", "--in-place", "-f", text(&link), "-f", text(&staying)]);
    assert_eq!((run.code, run.stdout.as_str()), (0, ""));
    assert_eq!(read(&changing), expected("job.yaml"));
    assert_eq!(fs::metadata(&changing).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink(), "the link stays a link");
    assert_eq!(fs::metadata(&staying).unwrap().modified().unwrap(), before);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "no temporary file is left");

    let run = outrigger(&["inject", "--in-place", "-f", text(&link)]);
    assert!(run.stderr.contains("Job shop/import: unchanged, already injected"), "{}", run.stderr);
    assert_eq!(outrigger(&["inject", "--in-place", "-f", "-"]).code, 64);
    assert_eq!(outrigger(&["inject", "--in-place", "-o", "json", "-f", text(&link)]).code, 64);
}

#[test]
fn an_output_file_may_be_the_input() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("pod.yaml");
    fs::copy(fixture("pod.yaml"), &file).unwrap();
    let run = outrigger(&["inject", "-f", text(&file), "--output-file", text(&file)]);
    assert_eq!((run.code, run.stdout.as_str()), (0, ""));
    assert_eq!(read(&file), expected("pod.yaml"));
    let bundle = smallest(&folder);
    let run = outrigger(&["kube-inject", "--bundle", text(&bundle), "-f", text(&file), "-o", text(&file)]);
    assert_eq!((run.code, run.stdout.as_str()), (0, ""));
    assert!(read(&file).ends_with("\n---\n"));
}

#[test]
fn one_refused_object_leaves_everything_unwritten() {
    let folder = TempDir::new().unwrap();
    let (good, bad) = (folder.path().join("good.yaml"), folder.path().join("bad.yaml"));
    fs::copy(fixture("pod.yaml"), &good).unwrap();
    let text_of_bad = read(fixture("statefulset.yaml")).replace("\"7000\"", "seven");
    fs::write(&bad, &text_of_bad).unwrap();
    for in_place in [true, false] {
        let mut arguments = vec!["inject", "-q", "-f", text(&good), "-f", text(&bad)];
        if in_place {
            arguments.push("--in-place");
        }
        let run = outrigger(&arguments);
        assert_eq!((run.code, run.stdout.as_str()), (65, ""));
        assert!(
            run.stderr.contains("StatefulSet bank/ledger: denied (INVALID_ANNOTATION): "),
            "{}",
            run.stderr
        );
        assert!(run.stderr.contains("traffic.sidecar.istio.io/excludeInboundPorts"), "{}", run.stderr);
        assert!(run.stderr.ends_with("error: 1 object was denied; nothing was written\n"), "{}", run.stderr);
    }
    assert_eq!((read(&good), read(&bad)), (read(fixture("pod.yaml")), text_of_bad));
}

#[test]
fn a_template_that_fails_is_explained_here_and_not_in_some_log() {
    let folder = TempDir::new().unwrap();
    let bundle = folder.path().join("bundle.yaml");
    fs::write(&bundle, headed("injector: {templates: {sidecar: '{{ fail \"no luck\" }}'}}\n")).unwrap();
    let run = outrigger(&["inject", "--bundle", text(&bundle), "-f", text(&fixture("pod.yaml"))]);
    assert_eq!(run.code, 65);
    assert!(run.stderr.contains("denied (RENDER_FAILED): template \"sidecar\""), "{}", run.stderr);
    assert!(run.stderr.contains("no luck") && !run.stderr.contains(" log"), "{}", run.stderr);
}

#[test]
fn patches_make_the_injected_manifest() {
    let file = fixture("deployment.json");
    let patches = outrigger(&["inject", "-qf", text(&file), "-o", "patch"]);
    let patches: Value = serde_json::from_str(&patches.stdout).unwrap();
    assert_eq!((&patches[0]["name"], &patches[0]["namespace"]), (&"checkout".into(), &"shop".into()));
    let operations: json_patch::Patch = serde_json::from_value(patches[0]["patch"].clone()).unwrap();
    let mut object: Value = serde_json::from_str(&read(&file)).unwrap();
    json_patch::patch(&mut object, &operations).unwrap();
    assert_eq!(object, serde_json::from_str::<Value>(&expected("deployment.json")).unwrap());
    let json = outrigger(&["inject", "-qf", text(&file), "-o", "json"]);
    assert_eq!(object, serde_json::from_str::<Value>(&json.stdout).unwrap());
}

#[test]
fn several_objects_are_one_json_list() {
    let run = outrigger(&[
        "inject",
        "-q",
        "-o",
        "json",
        "-f",
        text(&fixture("list.yaml")),
        text(&fixture("pod.yaml")),
    ]);
    let list: Value = serde_json::from_str(&run.stdout).unwrap();
    let kinds: Vec<&str> =
        list["items"].as_array().unwrap().iter().map(|item| item["kind"].as_str().unwrap()).collect();
    assert_eq!(
        (list["kind"].as_str(), kinds),
        (Some("List"), vec!["ConfigMap", "Deployment", "Widget", "Pod"])
    );
}

#[test]
fn diffs_are_of_whole_files() {
    let file = fixture("daemonset.yaml");
    let run = outrigger(&["inject", "-qf", text(&file), "-o", "diff"]);
    assert!(run.stdout.starts_with("--- a/"), "{}", run.stdout);
    assert!(run.stdout.contains("istio.io/rev: default"));
    assert!(!run.stdout.contains("-      hostNetwork"), "documents that stay are no part of it");
    let run = outrigger(&["inject", "-qf", text(&fixture("untouched.yaml")), "-o", "diff"]);
    assert_eq!(run.stdout, "");
}

#[test]
fn diffs_are_written_as_others_write_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a b.yaml");
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {sidecar.istio.io/inject: \"true\"}}\nspec:\n  containers: [{name: a, image: a}]";
    let other = "{apiVersion: v1, kind: ConfigMap, metadata: {name: b}}";
    fs::write(&file, format!("{pod}\n---\n\n{other}")).unwrap();
    let run = outrigger(&["inject", "-qf", text(&file), "-o", "diff"]);
    let name = text(&file).trim_start_matches('/');
    assert!(run.stdout.starts_with(&format!("--- a/{name}\n+++ b/{name}\n@@ -1,")), "{}", run.stdout);
    let end = format!("\n ---\n \n {other}\n\\ No newline at end of file\n");
    assert!(run.stdout.ends_with(&end), "{}", run.stdout);
}

#[test]
fn uninject_undoes_inject_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("deployment.yaml");
    let original = read(fixture("deployment.yaml"));
    fs::write(&file, &original).unwrap();
    assert_eq!(outrigger(&["inject", "-q", "--in-place", "-f", text(&file)]).code, 0);
    assert_eq!(fs::read_to_string(&file).unwrap(), expected("deployment.yaml"));
    let diff = outrigger(&["uninject", "-qf", text(&file), "-o", "diff"]);
    let lines = |mark| diff.stdout.lines().skip(2).filter(|line| line.starts_with(mark)).count();
    assert!(lines('-') > 200 && lines('+') == 2, "only the probe comes back: {}", diff.stdout);
    let run = outrigger(&["uninject", "--in-place", "-f", text(&file)]);
    assert_eq!((run.code, fs::read_to_string(&file).unwrap()), (0, original));
    assert!(run.stderr.contains("Deployment shop/storefront: uninjected\n"), "{}", run.stderr);
    let remark = "  warning: spec.containers[0].readinessProbe.httpGet.port is http, ";
    assert!(run.stderr.contains(remark), "{}", run.stderr);
    let forged = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, annotations: {sidecar.istio.io/status: x}}\nspec: {containers: [{name: a}]}\n";
    let run = outrigger_with_input(&["uninject", "-f", "-"], forged);
    assert_eq!((run.code, run.stdout.as_str()), (65, ""), "{}", run.stderr);
}

#[test]
fn ci_can_stop_at_skipped_templates_and_warnings() {
    let file = fixture("job.yaml");
    let run = outrigger(&["inject", "-f", text(&file), "--fail-on", "skip,warning"]);
    assert_eq!((run.code, run.stdout.as_str()), (2, ""));
    assert!(run.stderr.contains("error: found 1 skipped pod template"), "{}", run.stderr);
    let run = outrigger(&["inject", "-f", text(&file), "--fail-on", "warning"]);
    assert_eq!((run.code, run.stdout), (0, expected("job.yaml")), "{}", run.stderr);
    let path = ["--pod-template-path", "spec.none"];
    let run = outrigger(&[&["inject", "-f", text(&file), "--fail-on", "warning"], path.as_slice()].concat());
    assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{}", run.stderr);
    assert_eq!(outrigger(&["inject", "-f", text(&file), "--fail-on", "denied"]).code, 64);
}

#[test]
fn kustomize_components_are_for_objects_with_names() {
    let run = outrigger(&["inject", "-qf", text(&fixture("deployment.yaml")), "-o", "kustomize"]);
    let component = outrigger::yaml::load(&run.stdout, &outrigger::yaml::Limits::default()).unwrap();
    assert_eq!(
        (component["kind"].as_str(), component["patches"][0]["target"]["name"].as_str()),
        (Some("Component"), Some("storefront"))
    );
    let nameless = "apiVersion: v1\nkind: Pod\nmetadata: {generateName: a-}\nspec: {containers: [{name: a, image: i}]}\n";
    let run = outrigger_with_input(&["inject", "-f", "-", "-o", "kustomize"], nameless);
    assert_eq!((run.code, run.stdout.as_str()), (65, ""), "{}", run.stderr);
}

#[test]
fn finds_templates_where_it_is_told() {
    let file = fixture("worker-pool.yaml");
    let run = outrigger(&["inject", "-f", text(&file), "--pod-template-path", "spec.worker.pod"]);
    assert_eq!(run.stdout, expected("worker-pool.yaml"));
    assert!(!run.stderr.contains("warning"), "{}", run.stderr);
    let run = outrigger(&["inject", "-f", text(&file)]);
    assert_eq!(run.stdout, read(&file));
    let run = outrigger(&["inject", "-f", text(&file), "--pod-template-path", r"spec.worker\.x.pod"]);
    assert_eq!((run.code, run.stdout), (0, read(&file)));
    let warning = r"warning: --pod-template-path spec.worker\.x.pod matches no pod template in any object;";
    assert!(run.stderr.contains(warning), "{}", run.stderr);
    let run = outrigger(&["inject", "-f", text(&file), "--pod-template-path", "spec..x"]);
    assert_eq!(run.code, 64);
    assert!(run.stderr.contains("empty key in pod template path"), "{}", run.stderr);
}

#[test]
fn exit_codes_tell_usage_data_and_the_world_apart() {
    assert_eq!(outrigger(&[]).code, 64);
    assert_eq!(outrigger(&["inject"]).code, 64);
    assert_eq!(outrigger(&["inject", "--wrong"]).code, 64);
    assert_eq!(outrigger(&["--help"]).code, 0);
    assert_eq!(outrigger(&["inject", "-f", "-", "-f", "-"]).code, 64);
    let missing = outrigger(&["inject", "-f", "/nowhere/at.all"]);
    assert_eq!(missing.code, 1);
    assert!(
        missing.stderr.starts_with("error: cannot read /nowhere/at.all: No such file"),
        "{}",
        missing.stderr
    );

    let run = outrigger_with_input(&["inject", "-f", "-"], "kind: A\n---\nspec:\n  n: .inf\n");
    assert_eq!((run.code, run.stdout.as_str()), (65, ""));
    assert!(run.stderr.contains("\nerror: stdin:4:6: found \".inf\""), "{}", run.stderr);
    let run = outrigger_with_input(&["inject", "-f", "-"], "kind: [\n");
    assert_eq!(run.code, 65);
    assert!(run.stderr.contains("\nerror: stdin:"), "{}", run.stderr);
}

#[test]
fn a_wrong_bundle_gets_a_line_for_every_problem() {
    let folder = TempDir::new().unwrap();
    let bundle = folder.path().join("bundle.yaml");
    fs::write(&bundle, headed("revisoin: x\ncompat: maybe\n")).unwrap();
    let run = outrigger(&["inject", "--bundle", text(&bundle), "-f", text(&fixture("pod.yaml"))]);
    assert_eq!((run.code, run.stdout.as_str()), (65, ""));
    let lines: Vec<&str> = run.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{}", run.stderr);
    assert!(lines.iter().all(|line| line.starts_with("error: ") && line.contains("bundle.yaml:")));
    assert!(lines[0].contains("nearest: \"revision\""), "{}", lines[0]);
}

#[test]
fn the_bundle_decides() {
    let folder = TempDir::new().unwrap();
    let bundle = folder.path().join("bundle.yaml");
    fs::write(&bundle, headed("namespaces: [{name: closed, labels: {istio-injection: disabled}}]\n"))
        .unwrap();
    let file = fixture("pod.yaml");
    let run = outrigger(&["inject", "--bundle", text(&bundle), "-n", "closed", "-f", text(&file)]);
    assert_eq!((run.code, run.stdout), (0, read(&file)));
    assert!(run.stderr.contains("Pod closed/shell: skipped (NAMESPACE_DISABLED): "), "{}", run.stderr);
}

#[test]
fn colors_only_where_they_are_wanted() {
    let file = fixture("pod.yaml");
    let plain = outrigger(&["inject", "-f", text(&file)]);
    assert!(!plain.stderr.contains('\u{1b}'), "stderr is no terminal here");
    let colored = outrigger(&["inject", "-f", text(&file), "--color", "always"]);
    assert!(colored.stderr.contains("\u{1b}[32minjected"), "{:?}", colored.stderr);
    assert!(!colored.stdout.contains('\u{1b}'));
}

#[test]
fn reports_no_control_characters() {
    let input = "kind: \"A\\e[2J\"\nmetadata: {name: \"x\\ry\"}\n";
    let run = outrigger_with_input(&["inject", "-f", "-"], input);
    assert_eq!(run.stderr, "configuration: embedded defaults\nstdin: A\\u{1b}[2J x\\ry: no pod template\n");
}

#[test]
fn a_bundle_that_no_pod_could_be_injected_with_is_not_printed() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle.yaml");
    fs::write(&bundle, headed("injector: {templates: {sidecar: '{{ .Spec.Nope }}'}}\n")).unwrap();
    let output = outrigger(&["bundle", "print", "--bundle", text(&bundle)]);
    assert_eq!(output.code, 65);
    assert_eq!(output.stdout, "");
    assert!(
        output.stderr.contains("template sidecar, line 1, column 4: can't evaluate field Nope"),
        "{}",
        output.stderr
    );
    let picky = "injector: {templates: {picky: '{{ (index .ObjectMeta.OwnerReferences 0).Name }}: {}'}}\n";
    fs::write(&bundle, headed(picky)).unwrap();
    let output = outrigger(&["bundle", "print", "--bundle", text(&bundle)]);
    assert_eq!(output.code, 0);
    assert!(
        output.stderr.contains("warning: injector.templates.picky fails for a bare pod"),
        "{}",
        output.stderr
    );
}

#[test]
fn prints_bundles_that_it_reads_again() {
    let folder = TempDir::new().unwrap();
    let bundle = folder.path().join("bundle.yaml");
    let printed = outrigger(&["bundle", "print"]).stdout;
    fs::write(&bundle, &printed).unwrap();
    assert_eq!(outrigger(&["bundle", "print", "--bundle", text(&bundle)]).stdout, printed);
    let default = outrigger(&["bundle", "print", "--default"]).stdout;
    assert!(default.starts_with('#'), "{default}");
    fs::write(&bundle, &default).unwrap();
    assert_eq!(outrigger(&["bundle", "print", "--bundle", text(&bundle)]).stdout, printed);
}

#[test]
fn tells_its_version_and_completes_every_shell() {
    let version: Value = serde_json::from_str(&outrigger(&["version", "-o", "json"]).stdout).unwrap();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let run = outrigger(&["completion", shell]);
        assert!(run.code == 0 && run.stdout.contains("kube-inject"), "{shell}");
    }
}

#[test]
fn a_closed_pipe_is_no_error() {
    let mut child = command()
        .args(["inject", "-f", text(&fixture("pod.yaml"))])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let run: Run = child.wait_with_output().unwrap().into();
    assert!(!run.stderr.contains("error"), "{}", run.stderr);
    assert_eq!(run.code, 0);
}

#[test]
fn lines_end_as_they_ended() {
    let input = read(fixture("job.yaml")).replace('\n', "\r\n");
    let run = outrigger_with_input(&["inject", "-f", "-"], &input);
    assert_eq!(run.stdout, expected("job.yaml").replace('\n', "\r\n"));
    let again = outrigger_with_input(&["inject", "-f", "-"], &run.stdout);
    assert_eq!(again.stdout, run.stdout);
    let json = read(fixture("deployment.json")).replace('\n', "\r\n");
    let run = outrigger_with_input(&["inject", "-f", "-"], &json);
    assert_eq!(run.stdout, expected("deployment.json").replace('\n', "\r\n"));
    let two = TempDir::new().unwrap();
    fs::write(two.path().join("a.yaml"), "kind: A\r\n").unwrap();
    fs::write(two.path().join("b.yaml"), "kind: B\r\n").unwrap();
    assert_eq!(outrigger(&["inject", "-f", text(two.path())]).stdout, "kind: A\r\n---\r\nkind: B\r\n");
}

#[test]
fn keys_that_do_not_count_are_named() {
    let input = "kind: A\n---\nkind: Pod\napiVersion: v1\nmetadata: {name: a, name: b}\nspec:\n  containers:\n  - \
                 image: one\n    name: c\n    image: two\n";
    let run = outrigger_with_input(&["inject", "-f", "-"], input);
    assert_eq!(run.code, 0, "{}", run.stderr);
    for line in [
        "warning: stdin:5:21: duplicate key metadata.name; the last one is used\n",
        "warning: stdin:10:5: duplicate key spec.containers[0].image; the last one is used\n",
    ] {
        assert!(run.stderr.contains(line), "{}", run.stderr);
    }
    assert!(run.stdout.contains("  - image: one\n    name: c\n    image: two\n"), "{}", run.stdout);
    let json = outrigger_with_input(&["inject", "-f", "-"], "{\"kind\": \"A\",\n \"kind\": \"B\"}");
    assert!(json.stderr.contains("warning: stdin:2:2: duplicate key kind"), "{}", json.stderr);
    let quiet = outrigger_with_input(&["inject", "-q", "-f", "-"], input);
    assert_eq!(quiet.stderr, "");
    let merged = "a: &a {x: 1}\nb: {<<: *a, x: 2}\nc: [*a, *a]\n";
    let run = outrigger_with_input(&["inject", "-f", "-"], merged);
    assert!(!run.stderr.contains("duplicate key"), "{}", run.stderr);
}

#[test]
fn a_bundle_that_cannot_be_read_is_a_wrong_one_whatever_the_command() {
    let pod = fixture("pod.yaml");
    for arguments in [
        &["bundle", "print", "--bundle", "/nowhere/b.yaml"][..],
        &["inject", "--bundle", "/nowhere/b.yaml", "-f", text(&pod)],
        &["kube-inject", "--bundle", "/nowhere/b.yaml", "-f", text(&pod)],
        &["serve", "--standalone", "--bundle", "/nowhere/b.yaml"],
    ] {
        let run = outrigger(arguments);
        assert_eq!((run.code, run.stdout.as_str()), (65, ""), "{arguments:?}: {}", run.stderr);
        assert!(run.stderr.contains("/nowhere/b.yaml: No such file"), "{}", run.stderr);
    }
}

#[test]
fn names_of_certificates_are_names() {
    for name in ["bad name", "", "*.*.a", "*.10.0.0.1", "a/b"] {
        let run = outrigger(&["serve", "--standalone", "--tls-san", name]);
        assert_eq!(run.code, 64, "{name:?}: {}", run.stderr);
        assert!(run.stderr.contains("expected a DNS name"), "{}", run.stderr);
    }
}
