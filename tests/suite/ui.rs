//! `outrigger ui` through the binary: who may see the pages, what they may load, and that no text of a pod becomes markup.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Stdio},
};

use serde_json::{Value, json};

use http_body_util::Full;
use hyper::{Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use outrigger::server::options::Options;

use super::{
    cli::command,
    support::{self, Harness, PATIENCE, injecting, start, start_with, within},
};

const SAMPLE: &str =
    "{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: [{name: web, image: web:1}]}}";
const BUNDLE: &str = "{apiVersion: outrigger.dev/v1alpha1, kind: Bundle}";

/// A process that is killed at the end of the test.
struct Ui {
    child: Child,
    address: String,
    token: String,
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Drop for Ui {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ui {
    fn start(flags: &[&str]) -> Ui {
        let mut child = command()
            .arg("ui")
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (address, token) = line.trim().strip_prefix("http://").unwrap().split_once("/?token=").unwrap();
        Ui { address: address.to_owned(), token: token.to_owned(), child }
    }

    /// Sends a request on a connection of its own; `headers` come after the right host, or in its place.
    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "host") {
            head += &format!("host: {}\r\n", self.address);
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        if method == "POST" {
            head += &format!(
                "content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n",
                body.len()
            );
        }
        stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
        Answer { status, headers, body: body.to_owned() }
    }

    /// Follows the link; returns the cookie.
    fn open(&self) -> String {
        let answer = self.send("GET", &format!("/?token={}", self.token), &[], "");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.headers["set-cookie"].split(';').next().unwrap().to_owned()
    }

    fn form(&self, cookie: &str, path: &str, form: &[(&str, &str)]) -> Answer {
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(form);
        let origin = format!("http://{}", self.address);
        self.send("POST", path, &[("cookie", cookie), ("origin", &origin)], &body.finish())
    }
}

fn form<'f>(manifest: &'f str, labels: &'f str, bundle: &'f str) -> Vec<(&'static str, &'f str)> {
    vec![
        ("manifest", manifest),
        ("namespace", "shop"),
        ("labels-known", "yes"),
        ("labels", labels),
        ("bundle", bundle),
    ]
}

#[test]
fn the_link_opens_one_browser() {
    let ui = Ui::start(&[]);
    assert!(ui.address.starts_with("127.0.0.1:"), "{}", ui.address);
    for path in [
        "/",
        "/templates",
        "/reasons",
        "/reasons/HOST_NETWORK",
        "/?token=",
        "/?token=0123",
        "/reasons?token=x",
    ] {
        assert_eq!(ui.send("GET", path, &[], "").status, 401, "{path}");
    }
    assert_eq!(ui.form("", "/evaluate", &form(SAMPLE, "", BUNDLE)).status, 401);

    let link = format!("/?token={}", ui.token);
    let opened = ui.send("GET", &link, &[], "");
    let set = &opened.headers["set-cookie"];
    let port = ui.address.rsplit_once(':').unwrap().1;
    assert!(set.starts_with(&format!("outrigger-ui-{port}=")), "{set}");
    for part in ["; HttpOnly", "; SameSite=Strict", "; Path=/"] {
        assert!(set.contains(part), "{set}");
    }
    assert!(!set.contains(&ui.token) && !opened.body.contains(&ui.token));
    assert!(opened.body.contains("http-equiv=\"refresh\" content=\"0; url=/\""), "{}", opened.body);

    let cookie = set.split(';').next().unwrap();
    assert_eq!(ui.send("GET", "/", &[("cookie", cookie)], "").status, 200);
    assert_eq!(ui.send("GET", &link, &[], "").status, 403, "a second browser");
    assert_eq!(ui.send("GET", &link, &[("cookie", cookie)], "").status, 200, "a reload of the link");
    assert_eq!(ui.send("GET", "/", &[("cookie", &cookie[..cookie.len() - 1])], "").status, 401);
}

#[test]
fn other_hosts_and_sites_are_turned_away() {
    let ui = Ui::start(&[]);
    let port = ui.address.rsplit_once(':').unwrap().1.to_owned();
    let cookie = ui.open();
    for host in ["rebound.example", &format!("rebound.example:{port}"), "127.0.0.1", "127.0.0.1:1", ""] {
        for path in ["/", "/assets/outrigger.css", "/none"] {
            let answer = ui.send("GET", path, &[("host", host), ("cookie", &cookie)], "");
            assert_eq!(answer.status, 421, "{host} {path}");
        }
    }
    for host in ["localhost", "[::1]"] {
        let host = format!("{host}:{port}");
        assert_eq!(ui.send("GET", "/", &[("host", &host), ("cookie", &cookie)], "").status, 200, "{host}");
    }
    for origin in ["http://evil.example", "null", &format!("https://127.0.0.1:{port}"), "http://127.0.0.1:1"]
    {
        for path in ["/", "/evaluate"] {
            let answer = ui.send("POST", path, &[("origin", origin), ("cookie", &cookie)], "manifest=");
            assert_eq!(answer.status, 403, "{origin}");
        }
    }
}

#[test]
fn pages_load_nothing_from_elsewhere_and_run_nothing_inline() {
    let ui = Ui::start(&[]);
    let before = [("/none", 401), ("/", 401), ("/assets/outrigger.css", 200), ("/assets/live.js", 200)];
    let before = before.map(|(path, status)| (ui.send("GET", path, &[], ""), status));
    let cookie = ui.open();
    let paths = [
        "/",
        "/reasons",
        "/reasons/HOST_NETWORK",
        "/reasons/NO_SUCH_CODE",
        "/none",
        "/assets/icon.svg",
        "/templates",
    ];
    let statuses = [200, 200, 200, 404, 404, 200, 200];
    let after = paths.map(|path| ui.send("GET", path, &[("cookie", &cookie)], ""));
    let page = ui.form(&cookie, "/", &form(SAMPLE, "", BUNDLE));
    let result = ui.form(&cookie, "/evaluate", &form(SAMPLE, "", BUNDLE));
    let refused = ui.send("GET", "/", &[("host", "x")], "");
    let all = before.into_iter().chain(after.into_iter().zip(statuses));
    for (answer, status) in all.chain([(page, 200), (result, 200), (refused, 421)]) {
        let is_unknown = answer.status == 404 && status == 401;
        assert!(answer.status == status || is_unknown, "{answer:?}");
        let policy = &answer.headers["content-security-policy"];
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'self'",
        ] {
            assert!(policy.split("; ").any(|directive| directive == part), "{part}: {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains("http") && !policy.contains('*'), "{policy}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers["referrer-policy"], "same-origin");
        assert_eq!(answer.headers["cache-control"], "no-store");
        if !answer.headers["content-type"].starts_with("text/html") {
            continue;
        }
        for (tag, attributes) in tags(&answer.body) {
            assert!(tag != "style", "a style sheet inline");
            assert!(tag != "script" || attributes.contains("src=\"/assets/"), "{tag} {attributes}");
            let names =
                attributes.split_whitespace().filter_map(|part| part.split_once("=\"").map(|(name, _)| name));
            for name in names {
                assert!(!name.starts_with("on") && name != "style", "<{tag} {attributes}>");
            }
            for name in ["src", "href", "action"] {
                if let Some((_, rest)) = attributes.split_once(&format!("{name}=\"")) {
                    assert!(rest.starts_with(['/', '#']) && !rest.starts_with("//"), "<{tag} {attributes}>");
                }
            }
        }
    }
}

#[test]
fn the_form_works_without_a_script() {
    let ui = Ui::start(&[]);
    let cookie = ui.open();
    let start = ui.send("GET", "/", &[("cookie", &cookie)], "");
    assert!(start.body.contains("injected</span>"), "the sample");
    assert!(start.body.len() < 200 << 10, "{} bytes", start.body.len());

    let bundle =
        format!("{}, values: {{global: {{proxy: {{logLevel: trace}}}}}}}}", &BUNDLE[..BUNDLE.len() - 1]);
    let page = ui.form(&cookie, "/", &form(SAMPLE, "istio-injection=enabled", &bundle)).body;
    for part in [
        "Pod shop/web",
        "namespace label istio-injection: &quot;enabled&quot;",
        "name: istio-proxy",
        "href=\"/reasons/POLICY_ENABLED\"",
        "reads values.global.proxy.logLevel = &quot;trace&quot;",
        "&quot;op&quot;:&quot;add&quot;",
        "logLevel: trace}}}}</textarea>",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let skipped = ui.form(&cookie, "/", &form(SAMPLE, "team=a", BUNDLE)).body;
    for part in
        ["not injected</span>", "href=\"/reasons/NAMESPACE_NOT_ENABLED\"", "kubectl label namespace shop"]
    {
        assert!(skipped.contains(part), "{part}: {skipped}");
    }
    let mut unknown = form(SAMPLE, "team=a", BUNDLE);
    unknown.retain(|(name, _)| *name != "labels-known");
    assert!(ui.form(&cookie, "/", &unknown).body.contains("the labels of the namespace are not known"));
}

#[test]
fn mistakes_are_shown_where_they_are() {
    let ui = Ui::start(&[]);
    let cookie = ui.open();
    let template = "apiVersion: outrigger.dev/v1alpha1\nkind: Bundle\ninjector:\n  templates:\n    sidecar: |\n      \
                    metadata:\n        labels: {a: b}\n      spec: {{ .Spec.Containres }}\n";
    for (manifest, labels, bundle, parts) in [
        (
            SAMPLE,
            "",
            template,
            vec!["line 8, column 22", "<mark>      spec: {{ .Spec.Containres }}</mark>", "would be rejected"],
        ),
        (SAMPLE, "", "kind: Bundle\n", vec!["apiVersion"]),
        ("a: [1,\nb: 2", "", BUNDLE, vec!["Manifest, line", "<mark>"]),
        ("kind: Service", "", BUNDLE, vec!["No pod template found"]),
        (SAMPLE, "no label", BUNDLE, vec!["<code>no label</code>", "KEY=VALUE"]),
    ] {
        let page = ui.form(&cookie, "/evaluate", &form(manifest, labels, bundle)).body;
        for part in parts {
            assert!(page.contains(part), "{part}: {page}");
        }
    }
}

#[test]
fn templates_show_what_they_read_what_is_wrong_and_whether_their_tests_pass() {
    let ui = Ui::start(&[]);
    let cookie = ui.open();
    let start = ui.send("GET", "/templates", &[("cookie", &cookie)], "").body;
    assert_eq!(
        (start.matches("passes</span>").count(), start.matches("fails</span>").count()),
        (2, 0),
        "{start}"
    );
    assert!(start.contains("Template sidecar") && start.contains("id=\"L510\""));

    let bundle = "apiVersion: outrigger.dev/v1alpha1\nkind: Bundle\ninjector:\n  templates:\n    own: |\n      \
                  metadata:\n        labels: {a: {{ .Values.global.hub | quote }}}\n      {{ .ObjectMeta.Nam }}\n      \
                  # {{ .MeshConfig.TrustDomain }} {{ .Revision }}\n";
    let tests = "apiVersion: outrigger.dev/v1alpha1\nkind: TemplateTests\ncases:\n- name: <b>\n  pod: {metadata: {name: web}, \
                 spec: {containers: [{name: web, image: w}]}}\n  expect: {injected: false}\n";
    let form = [("template", "own"), ("bundle", bundle), ("tests", tests)];
    for path in ["/templates", "/templates/evaluate"] {
        let page = ui.form(&cookie, path, &form).body;
        for part in [
            "class=\"line values\" id=\"L2\"",
            "Values.global.hub",
            "class=\"line pod\" id=\"L3\"",
            "class=\"line mesh\" id=\"L4\"",
            "MeshConfig.TrustDomain, Revision",
            "<p class=\"problem\"><span class=\"badge fails\">error</span> template own: can't evaluate field Nam in type",
            "fails</span> &lt;b&gt; <span class=\"faint\">line 4</span>",
            "injected: found injected; expected false",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
    }
    // From the playground, and with tests that cannot be read.
    let page = ui.form(&cookie, "/templates", &self::form(SAMPLE, "", bundle)).body;
    assert!(page.contains("Nam in type"), "{page}");
    let unread = [
        ("template", "own"),
        ("bundle", BUNDLE),
        ("tests", "kind: TemplateTests\ncases:\n- {name: x, podFile: /etc/passwd}"),
    ];
    let page = ui.form(&cookie, "/templates", &unread).body;
    assert!(page.contains("a page reads no files") && page.contains("invalid</span>"), "{page}");
}

#[test]
fn forms_are_bounded() {
    let ui = Ui::start(&[]);
    let cookie = ui.open();
    for path in ["/", "/evaluate", "/templates", "/templates/evaluate"] {
        for size in [(3 << 20) + 1, 10 << 20] {
            let answer = ui.form(&cookie, path, &form(&"x".repeat(size), "", BUNDLE));
            assert_eq!(answer.status, 413, "{size}");
            assert!(answer.body.contains("expected at most 3 MiB"), "{}", answer.body);
            assert!(answer.body.len() < 100_000, "{}", answer.body.len());
        }
        let answer = ui.form(&cookie, path, &[("manifest", SAMPLE)]);
        assert!(answer.status == 400 && answer.body.contains("found no field"), "{answer:?}");
    }
    assert_eq!(ui.send("DELETE", "/", &[("cookie", &cookie)], "").status, 405);
}

/// Every string of a pod that people choose, where the pod is injected, skipped and denied: the page has the same elements with
/// the same attributes as for harmless strings.
#[test]
fn hostile_strings_are_text() {
    let ui = Ui::start(&[]);
    let cookie = ui.open();
    let hostile = [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "' autofocus onfocus='alert(1)",
        "</textarea></code></pre><iframe src=//evil.example>",
        "<!--",
        "]]><svg/onload=alert(1)>",
        "&lt;b&gt;&#x3c;i&#x3e;",
        "{{7*7}}${7*7}",
        "`</code><b>`",
        "javascript:alert(1)",
        "\u{2028}\u{202e}<b>",
    ];
    let pods = |text: &str| -> Vec<Value> {
        let pod = |metadata: Value, annotations: Value, label: &str| {
            let mut pod = json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": text, "labels": {"sidecar.istio.io/inject": label, text: text}, "annotations": annotations},
                "spec": {
                    "serviceAccountName": text,
                    "containers": [{"name": text, "image": text, "args": [text], "env": [{"name": text, "value": text}]}],
                    "volumes": [{"name": text, "emptyDir": {}}],
                },
            });
            pod["metadata"].as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
            pod
        };
        vec![
            pod(json!({}), json!({text: text}), "true"),
            pod(
                json!({}),
                json!({"sidecar.istio.io/logLevel": text, "inject.istio.io/templates": text}),
                "true",
            ),
            pod(
                json!({}),
                json!({"sidecar.istio.io/proxyCPU": text, "sidecar.istio.io/proxyImage": text}),
                text,
            ),
            pod(json!({"namespace": text}), json!({"proxy.istio.io/config": text}), "false"),
            json!({"apiVersion": text, "kind": text, "metadata": {"name": text}, "spec": {"template": pod(json!({}), json!({}), "true")}}),
        ]
    };
    let mut shown = 0;
    for text in hostile {
        for (evil, plain) in pods(text).into_iter().zip(pods("harmless")) {
            let mut page = |pod: &Value, text: &str| {
                let answer =
                    ui.form(&cookie, "/", &form(&pod.to_string(), "istio-injection=enabled", BUNDLE));
                assert_eq!(answer.status, 200);
                shown += usize::from(answer.body.contains(text));
                answer.body
            };
            let (evil, plain) = (page(&evil, text), page(&plain, "harmless"));
            // How many lines a pod has may differ, not which elements there are.
            let kinds = |page: &str| -> std::collections::BTreeSet<String> {
                tags(page).map(|(tag, attributes)| format!("{tag} {}", attribute_names(attributes))).collect()
            };
            let own: Vec<_> = kinds(&evil).difference(&kinds(&plain)).cloned().collect();
            assert!(own.is_empty(), "{text}: {own:?}");
        }
        for (labels, bundle) in [(text, BUNDLE), ("", text)] {
            let body = ui.form(&cookie, "/", &form(SAMPLE, labels, bundle)).body;
            let foreign = tags(&body)
                .filter(|(tag, _)| ["img", "iframe", "svg", "svg/onload=alert(1)", "b", "i"].contains(tag));
            assert_eq!((foreign.count(), body.matches("<script").count()), (0, 1), "{text}");
        }
    }
    assert!(shown >= 2 * hostile.len(), "{shown}");
}

/// maud escapes every text that is not marked as HTML, and pages mark nothing but the style sheet of self-contained files.
#[test]
fn nothing_is_written_unescaped() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.join("pages"), root.join("cli/ui"), root.join("server/admin")];
    let (mut files, mut found) = (0, Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let source = std::fs::read_to_string(&path).unwrap();
                files += 1;
                let uses = source.lines().filter(|line| line.contains("PreEscaped(")).map(str::trim);
                found.extend(uses.map(str::to_owned));
            }
        }
    }
    assert!(files > 15, "{files}");
    assert_eq!(found, ["style { (PreEscaped(STYLE.content)) }"]);
}

/// The start tags of a page, each with the text of its attributes.
fn tags(page: &str) -> impl Iterator<Item = (&str, &str)> {
    page.split('<').skip(1).filter(|part| !part.starts_with(['/', '!'])).map(|part| {
        let tag = part.split_once('>').map_or(part, |(tag, _)| tag);
        tag.split_once(' ').unwrap_or((tag, ""))
    })
}

/// `class id`: the names of attributes, without their values.
fn attribute_names(attributes: &str) -> String {
    let mut names = String::new();
    let mut is_value = false;
    for part in attributes.split('"') {
        if !is_value {
            names += part;
        }
        is_value = !is_value;
    }
    names
}

/// Asks the admin port for a page, with this name in the `Host` header.
async fn admin_page(harness: &Harness, path: &str, host: &str) -> support::Answer {
    let stream = within(tokio::net::TcpStream::connect(harness.server.admin_address())).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get(path).header("host", host).body(Full::new(Bytes::new())).unwrap();
    support::Answer::read(within(sender.send_request(request)).await.unwrap()).await
}

#[tokio::test]
async fn a_running_server_shows_itself_if_it_is_asked_to() {
    assert_eq!(admin_page(&start(injecting()).await, "/ui", "localhost:8080").await.status, 404);

    let page = |options: &mut Options| (options.admin_page, options.debug_decisions) = (true, 10);
    let harness = start_with(injecting(), page).await;
    let mut pod = support::pod();
    pod["metadata"]["generateName"] = json!("<b>hostile</b>-");
    assert_eq!(harness.post("/inject", support::review("v1", pod)).await.status, 200);
    let answer = admin_page(&harness, "/ui", "localhost:9999").await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(answer.header("content-security-policy").starts_with("default-src 'none'"));
    let body = std::str::from_utf8(&answer.body).unwrap();
    for part in ["canary-rev", "hash-1", "Valid until", "certificate", "POLICY_ENABLED", "&lt;b&gt;hostile"] {
        assert!(body.contains(part), "{part}: {body}");
    }
    assert!(!body.contains("<script") && !body.contains("<b>"), "{body}");
    let style = admin_page(&harness, "/assets/outrigger.css", "127.0.0.1").await;
    assert_eq!((style.status.as_u16(), style.header("content-type")), (200, "text/css; charset=utf-8"));
    assert_eq!(admin_page(&harness, "/ui", "rebound.example:9999").await.status, 421);
}
