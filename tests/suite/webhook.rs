//! The endpoint over real TLS: accepted requests, responses, and their metrics and logs.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http_body_util::Full;
use hyper::{Request, body::Bytes};
use outrigger::{
    inject::{Admission, Patch},
    server::options::Origin,
    warning::Warning,
};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::support::*;

fn allowed_with_patch(version: &str) -> Value {
    json!({
        "kind": "AdmissionReview", "apiVersion": format!("admission.k8s.io/{version}"),
        "response": {
            "uid": "uid-1", "allowed": true, "patchType": "JSONPatch",
            "patch": "W3sib3AiOiJhZGQiLCJwYXRoIjoiL21ldGFkYXRhL2xhYmVscy9hIiwidmFsdWUiOiJiIn1d",
            "auditAnnotations": {
                "decision": "injected", "reason": "POLICY_ENABLED", "revision": "canary-rev", "config-hash": "hash-1",
                "warnings": "MISSPELT_ANNOTATION",
            },
            "warnings": ["sidecar.istio.io/proxyCpu is not known; did you mean proxyCPU?"],
        },
    })
}

// DA-02, DA-03, DA-05
#[tokio::test]
async fn answers_in_the_version_asked_over_http1_and_http2() {
    let harness = start(injecting()).await;
    for version in ["v1", "v1beta1"] {
        let answer = harness.post("/inject?timeout=10s", review(version, pod())).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/json"));
        assert_eq!(answer.json(), allowed_with_patch(version));

        let (mut sender, _) = harness.http2().await;
        let request = post("https://localhost/inject", review(version, pod()));
        let answer = Answer::read(within(sender.send_request(request)).await.unwrap()).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (200, allowed_with_patch(version)));
    }
}

// I-11, I-14
#[tokio::test]
async fn the_same_question_gets_the_same_answer_dry_or_not() {
    let harness = start(injecting()).await;
    let mut dry: Value = serde_json::from_slice(&review("v1", pod())).unwrap();
    dry["request"]["dryRun"] = json!(true);
    let first = harness.post("/inject", review("v1", pod())).await;
    assert_eq!(first.body, harness.post("/inject", review("v1", pod())).await.body);
    assert_eq!(first.body, harness.post("/inject", dry.to_string()).await.body);
}

// DA-04, DA-06, I-12
#[tokio::test]
async fn verdicts_become_answers() {
    let verdict = |pod: &Value| match pod["metadata"]["name"].as_str().unwrap() {
        "skip" => skipped("HOST_NETWORK"),
        "unchanged" => injected(0),
        "bad" => denied(400, "BAD_ANNOTATION", "proxyCPU: found x", ""),
        "forbidden" => denied(403, "POLICY", "no", ""),
        "unrenderable" => denied(422, "TEMPLATE", "line 1", ""),
        _ => denied(500, "PATCH_MISMATCH", "s3cr3t internals", ""),
    };
    let harness = start(scripted(move |call| verdict(&call.pod))).await;
    let answer = async |name: &str| {
        let pod = json!({"kind": "Pod", "metadata": {"name": name}});
        let answer = harness.post("/inject", review("v1", pod)).await;
        assert_eq!(answer.status, 200);
        answer.json()["response"].clone()
    };
    for (name, reason) in [("skip", "HOST_NETWORK"), ("unchanged", "ALREADY_INJECTED")] {
        let response = answer(name).await;
        assert_eq!(response["allowed"], true);
        assert!(response.get("patch").is_none() && response.get("patchType").is_none(), "{response}");
        assert_eq!(response["auditAnnotations"]["decision"], "skipped");
        assert_eq!(response["auditAnnotations"]["reason"], reason);
    }
    for (name, status) in [
        ("bad", json!({"code": 400, "reason": "BadRequest", "message": "proxyCPU: found x"})),
        ("forbidden", json!({"code": 403, "reason": "Forbidden", "message": "no"})),
        ("unrenderable", json!({"code": 422, "reason": "Invalid", "message": "line 1"})),
    ] {
        let response = answer(name).await;
        assert_eq!((&response["allowed"], &response["status"]), (&json!(false), &status));
    }
    let response = answer("broken").await;
    assert_eq!(response["status"]["code"], 500);
    let message = response["status"]["message"].as_str().unwrap();
    assert!(message.contains("uid-1") && !message.contains("s3cr3t"), "{message}");
    harness.metric("outrigger_requests_total{outcome=\"denied\",reason=\"POLICY\"}", 1.0).await;
}

// DA-09, DA-10
#[tokio::test]
async fn what_is_outside_of_the_rule_is_allowed_untouched() {
    let harness = start(scripted(|_| panic!("the engine must not be asked"))).await;
    let mut update: Value = serde_json::from_slice(&review("v1", pod())).unwrap();
    update["request"]["operation"] = json!("DELETE");
    update["request"]["object"] = Value::Null;
    let answer = harness.post("/inject", update.to_string()).await.json();
    assert_eq!(answer["response"]["allowed"], true);
    assert_eq!(answer["response"]["auditAnnotations"]["reason"], "OTHER_OPERATION");
    assert!(answer["response"].get("patch").is_none());
}

#[tokio::test]
async fn the_engine_sees_namespace_path_and_pod() {
    let engine = scripted(|call| {
        assert!(call.pod.pointer("/metadata/namespace").is_none(), "the pod is as received");
        let seen = format!("{} {:?}", call.namespace, call.variables);
        denied(400, "SEEN", &seen, "")
    });
    let harness = start(engine).await;
    for (path, wanted) in [
        ("/inject", "shop {}"),
        ("/inject/", "shop {}"),
        (
            "/inject/cluster/c%201/net/n/",
            r#"shop {"ISTIO_META_CLUSTER_ID": "c 1", "ISTIO_META_NETWORK": "n"}"#,
        ),
        ("/inject/:ENV:a=b:ENV:c=d", r#"shop {"A": "b", "C": "d"}"#),
        ("/inject/a/b/odd", r#"shop {"A": "b"}"#),
    ] {
        let answer = harness.post(path, review("v1", pod())).await.json();
        assert_eq!(answer["response"]["status"]["message"], wanted, "{path}");
    }
}

#[tokio::test]
async fn what_is_for_the_record_alone_is_in_the_audit_log_and_the_metrics() {
    let harness = start(scripted(|_| {
        let warning = |code| Warning { code, message: format!("about {code}") };
        Admission { warnings: vec![warning("BYPASS_OPTED_OUT"), warning("TOLD")], ..injected(1) }
    }))
    .await;
    let response = harness.post("/inject", review("v1", pod())).await.json()["response"].take();
    assert_eq!(response["warnings"], json!(["about TOLD"]));
    assert_eq!(response["auditAnnotations"]["warnings"], "BYPASS_OPTED_OUT,TOLD");
    harness.metric("outrigger_warnings_total{code=\"BYPASS_OPTED_OUT\"}", 1.0).await;
}

// DA-01, I-01, I-02, I-03, H-10, H-11
#[tokio::test]
async fn everything_else_has_a_status_and_a_reason() {
    let harness = start(injecting()).await;
    let request = |method: &str, path: &str, content_type: &str, body: &[u8]| {
        Request::builder()
            .method(method)
            .uri(path)
            .header("host", "x")
            .header("content-type", content_type)
            .body(Full::new(Bytes::copy_from_slice(body)))
            .unwrap()
    };
    let good = review("v1", pod());
    let deep = "[".repeat(100_000);
    const JSON: &str = "application/json";
    for (method, path, content_type, body, status) in [
        ("GET", "/inject", JSON, &b""[..], 405),
        ("PUT", "/inject", JSON, &good, 405),
        ("TRACE", "/inject/a/b", JSON, b"", 405),
        ("OPTIONS", "/inject/", JSON, b"", 405),
        ("POST", "/inject", "text/plain", &good, 415),
        ("POST", "/inject", "application/yaml", &good, 415),
        ("POST", "/inject", "", &good, 415),
        ("POST", "/inject", "Application/JSON; charset=utf-8", &good, 200),
        ("POST", "/inject", JSON, b"", 400),
        ("POST", "/inject", JSON, b"{", 400),
        ("POST", "/inject", JSON, b"[]", 400),
        ("POST", "/inject", JSON, b"{\"kind\":\"Pod\"}", 400),
        ("POST", "/inject", JSON, deep.as_bytes(), 400),
        ("POST", "/inject/k/%zz", JSON, &good, 400),
        ("POST", "/inject/k/%00", JSON, &good, 400),
        ("POST", "/inject/../inject", JSON, &good, 400),
        ("POST", "/inject/FOO=1/v", JSON, &good, 400),
        ("POST", "/inject/$patch/v", JSON, &good, 400),
        ("POST", "/", JSON, &good, 404),
        ("POST", "/injection", JSON, &good, 404),
        ("POST", "//inject", JSON, &good, 404),
        ("POST", "/metrics", JSON, b"", 404),
    ] {
        let answer = harness.send(request(method, path, content_type, body)).await;
        assert_eq!(answer.status, status, "{method} {path} {content_type}");
        if status != 200 {
            // The kind of body whose text API servers pass on.
            let body = answer.json();
            assert_eq!((&body["kind"], &body["apiVersion"]), (&json!("Status"), &json!("v1")), "{body}");
            assert_eq!((&body["status"], &body["code"]), (&json!("Failure"), &json!(status)), "{body}");
            assert!(!body["message"].as_str().unwrap().is_empty() && !body["reason"].is_null(), "{body}");
            assert_eq!(answer.header("content-type"), JSON);
            assert_eq!(answer.header("allow"), if status == 405 { "POST" } else { "" });
        }
    }
    let mut zipped = request("POST", "/inject", JSON, &good);
    zipped.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
    assert_eq!(harness.send(zipped).await.status, 415);
    harness.metric("outrigger_panics_total", 0.0).await;
    harness.metric("outrigger_in_flight_requests", 0.0).await;
}

// I-05
#[tokio::test]
async fn a_body_over_the_limit_is_refused_early() {
    let harness = start(injecting()).await;
    let mut stream = harness.tls("http/1.1").await;
    let head = "POST /inject HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 104857600\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let began = Instant::now();
    let answer = String::from_utf8(read_to_close(&mut stream).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("connection: close"), "{answer}");
    // The end of the input is reported immediately, and the connection is not kept waiting if the client is silent.
    harness.metric("outrigger_connections{listener=\"webhook\"}", 0.0).await;
    assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
}

// I-05
#[tokio::test]
async fn a_chunked_body_over_the_limit_is_refused() {
    let harness = start_with(injecting(), |options| options.limits.body_bytes = 1 << 20).await;
    let mut stream = harness.tls("http/1.1").await;
    let head = "POST /inject HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    // Ten times the limit: the response must not be lost to a reset because the rest was not read.
    for _ in 0..160 {
        stream.write_all(chunk.as_bytes()).await.unwrap();
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    let answer = String::from_utf8(read_to_close(&mut stream).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    harness.metric("outrigger_requests_total{outcome=\"error\",reason=\"BODY_TOO_LARGE\"}", 1.0).await;
}

// I-05: a body just below the limit is read, and processed on the blocking pool.
#[tokio::test]
async fn a_large_body_under_the_limit_is_answered() {
    let harness = start(injecting()).await;
    let mut pod = pod();
    pod["metadata"]["annotations"] = json!({"a": "x".repeat(7 << 20)});
    assert_eq!(harness.post("/inject", review("v1", pod)).await.status, 200);
}

// H-02
#[tokio::test]
async fn half_a_body_is_given_up() {
    let harness = start_with(injecting(), |options| options.timeouts.body = Duration::from_millis(80)).await;
    let mut stream = harness.tls("http/1.1").await;
    let head =
        "POST /inject HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = String::from_utf8(read_to_close(&mut stream).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    harness.metric("outrigger_deadline_exceeded_total", 1.0).await;
    harness.metric("outrigger_in_flight_requests", 0.0).await;
}

// N-04, N-05
#[tokio::test]
async fn a_client_that_goes_away_leaves_nothing_behind() {
    let harness = start(injecting()).await;
    let mut stream = harness.tls("http/1.1").await;
    let head =
        "POST /inject HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    harness.metric("outrigger_in_flight_requests", 1.0).await;
    drop(stream);
    harness.metric("outrigger_in_flight_requests", 0.0).await;
    harness.metric("outrigger_requests_total{outcome=\"error\",reason=\"CLIENT_GONE\"}", 1.0).await;
    harness.metric("outrigger_connections{listener=\"webhook\"}", 0.0).await;
}

// R-01
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_requests_over_the_cap_are_shed() {
    let (engine, gate) = gated();
    let harness = start_with(engine, |options| options.limits.in_flight = 1).await;
    let mut busy = harness.http1().await;
    let answer =
        tokio::spawn(async move { busy.send_request(post("/inject", review("v1", large_pod()))).await });
    gate.wait_for(1).await;
    let shed = harness.post("/inject", review("v1", large_pod())).await;
    assert_eq!((shed.status.as_u16(), shed.header("retry-after")), (429, "1"));
    assert_eq!(harness.admin("/livez").await.status, 200);
    gate.release.send(()).unwrap();
    assert_eq!(within(answer).await.unwrap().unwrap().status(), 200);
    harness.metric("outrigger_shed_total{reason=\"in_flight\"}", 1.0).await;
}

// R-04
#[tokio::test]
async fn bodies_and_answers_over_the_memory_cap_are_shed() {
    let large = scripted(|_| {
        let json = format!(r#"[{{"op":"add","path":"/x","value":"{}"}}]"#, "x".repeat(80 << 10));
        Admission { patch: Some(Patch { json, operations: 1 }), ..injected(1) }
    });
    let harness = start_with(large, |options| options.limits.buffered_bytes = 100 << 10).await;
    // A small body with a large response, and a large body.
    for (count, pod) in [(1.0, pod()), (2.0, large_pod())] {
        let answer = harness.post("/inject", review("v1", pod)).await;
        assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (429, "1"));
        harness.metric("outrigger_shed_total{reason=\"memory\"}", count).await;
        harness.metric("outrigger_held_bytes", 0.0).await;
    }
}

// R-10
#[tokio::test]
async fn a_panic_is_contained_counted_and_answered() {
    let engine = scripted(|call| {
        if call.pod["metadata"]["name"] == "poison" {
            panic!("s3cr3t");
        }
        injected(1)
    });
    let harness = start(engine).await;
    let mut sender = harness.http1().await;
    let poison = json!({"kind": "Pod", "metadata": {"name": "poison"}});
    let answer = within(sender.send_request(post("/inject", review("v1", poison)))).await.unwrap();
    let answer = Answer::read(answer).await;
    assert_eq!(answer.status, 200);
    let response = &answer.json()["response"];
    assert_eq!((&response["uid"], &response["allowed"]), (&json!("uid-1"), &json!(false)));
    assert_eq!(response["status"]["reason"], "InternalError");
    assert!(!response.to_string().contains("s3cr3t"));
    // The same connection continues.
    let answer = within(sender.send_request(post("/inject", review("v1", pod())))).await.unwrap();
    assert_eq!(answer.status(), 200);
    harness.metric("outrigger_panics_total", 1.0).await;
    harness.metric("outrigger_requests_total{outcome=\"error\",reason=\"PANIC\"}", 1.0).await;
}

// C-01, C-05
#[tokio::test]
async fn a_reload_swaps_the_configuration_whole_or_keeps_the_last_good_one() {
    let says = |text: &'static str| -> Arc<dyn outrigger::server::configuration::engine::Engine> {
        scripted(move |_| denied(400, "X", text, ""))
    };
    let source = InTurn::new(vec![Ok(says("first")), Err("line 3: no".to_owned()), Ok(says("second"))]);
    let harness = start_with(injecting(), |options| options.configuration = Origin::Source(source)).await;
    let answer = async || {
        let answer = harness.post("/inject", review("v1", pod())).await.json();
        answer["response"]["status"]["message"].as_str().unwrap().to_owned()
    };
    assert_eq!(answer().await, "first");
    let handle = harness.server.handle();
    assert_eq!(handle.reload().await.configuration, Err("line 3: no".to_owned()));
    assert_eq!(answer().await, "first");
    harness.metric("outrigger_config_last_reload_success", 0.0).await;
    harness.metric("outrigger_config_generation", 1.0).await;
    assert_eq!(handle.reload().await.configuration, Ok(2));
    assert_eq!(answer().await, "second");
    let metrics = harness.metrics().await;
    assert_eq!(metrics["outrigger_config_last_reload_success"], 1.0);
    assert_eq!(metrics["outrigger_config_generation"], 2.0);
    assert_eq!(metrics["outrigger_config_reload_total{source=\"bundle\",result=\"error\"}"], 1.0);
    assert_eq!(metrics["outrigger_config_reload_total{source=\"bundle\",result=\"success\"}"], 2.0);
    assert_eq!(metrics["outrigger_config_hash_info{hash=\"hash-3\"}"], 1.0);
}

#[tokio::test]
async fn metrics_add_up() {
    let harness = start(scripted(|call| match call.namespace.as_str() {
        "shop" => injected(1),
        _ => skipped("HOST_NETWORK"),
    }))
    .await;
    harness.post("/inject", review("v1", pod())).await;
    let mut other = pod();
    other["metadata"]["namespace"] = json!("own");
    harness.post("/inject", review("v1", other)).await;
    harness.post("/inject", "nonsense").await;
    let answer = harness.admin("/metrics").await;
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let metrics = samples(std::str::from_utf8(&answer.body).unwrap());
    for (name, value) in [
        ("sidecar_injection_requests_total", 3.0),
        ("sidecar_injection_success_total", 1.0),
        ("sidecar_injection_skip_total", 1.0),
        ("sidecar_injection_failure_total", 1.0),
        ("sidecar_injection_time_seconds_count", 3.0),
        ("outrigger_requests_total{outcome=\"injected\",reason=\"POLICY_ENABLED\"}", 1.0),
        ("outrigger_requests_total{outcome=\"skipped\",reason=\"HOST_NETWORK\"}", 1.0),
        ("outrigger_requests_total{outcome=\"error\",reason=\"NOT_JSON\"}", 1.0),
        ("outrigger_request_duration_seconds_count", 3.0),
        ("outrigger_stage_duration_seconds_count{stage=\"decode\"}", 2.0),
        ("outrigger_stage_duration_seconds_count{stage=\"inject\"}", 2.0),
        ("outrigger_stage_duration_seconds_count{stage=\"encode\"}", 2.0),
        ("outrigger_in_flight_requests", 0.0),
        ("outrigger_deadline_exceeded_total", 0.0),
        ("outrigger_panics_total", 0.0),
        ("outrigger_warnings_total{code=\"MISSPELT_ANNOTATION\"}", 1.0),
        ("outrigger_request_bytes_count", 3.0),
        ("outrigger_patch_bytes_count", 1.0),
        ("outrigger_patch_operations_sum", 1.0),
        ("outrigger_config_generation", 1.0),
        ("outrigger_config_last_reload_success", 1.0),
        ("outrigger_log_lines_dropped_total", 0.0),
        ("outrigger_tls_reload_total{result=\"success\"}", 1.0),
    ] {
        assert_eq!(metrics.get(name), Some(&value), "{name}");
    }
    for name in [
        "outrigger_config_last_reload_timestamp_seconds",
        "outrigger_tls_certificate_not_after_timestamp_seconds",
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
        "process_start_time_seconds",
        "process_open_fds",
        "process_max_fds",
    ] {
        assert!(metrics[name] > 0.0, "{name}");
    }
    assert!(metrics.contains_key("outrigger_tls_certificate_not_before_timestamp_seconds"));
    assert!(metrics.keys().any(|name| name.starts_with("outrigger_build_info{version=")), "{metrics:?}");
    assert!(!metrics.keys().any(|name| name.contains("shop") || name.contains("web-")));
}

/// The names of families by `# TYPE`, with their types.
fn types(text: &str) -> Vec<(&str, &str)> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect()
}

#[tokio::test]
async fn metrics_are_in_the_format_that_is_asked_for() {
    const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.7,\
         application/openmetrics-text;version=0.0.1;q=0.6,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.5,\
         text/plain;version=0.0.4;q=0.4,*/*;q=0.3";
    let harness = start(injecting()).await;
    harness.post("/inject", review("v1", pod())).await;
    let mut names = Vec::new();
    for (accept, open_metrics) in [
        (None, false),
        (Some("*/*"), false),
        (Some("text/plain;version=0.0.4"), false),
        (Some(PROMETHEUS), true),
    ] {
        let answer = harness.admin_accepting("/metrics", accept).await;
        let text = std::str::from_utf8(&answer.body).unwrap();
        let content_type = match open_metrics {
            true => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            false => "text/plain; version=0.0.4; charset=utf-8",
        };
        assert_eq!(answer.header("content-type"), content_type, "{accept:?}");
        assert_eq!(answer.header("vary"), "Accept");
        assert_eq!(text.ends_with("# EOF\n"), open_metrics, "{accept:?}");
        assert_eq!(text.contains("# UNIT "), open_metrics, "{accept:?}");
        let types = types(text);
        let counter = if open_metrics { "outrigger_requests" } else { "outrigger_requests_total" };
        for wanted in [(counter, "counter"), ("outrigger_request_duration_seconds", "histogram")] {
            assert!(types.contains(&wanted), "{wanted:?} {types:?}");
        }
        if !open_metrics {
            // Every sample belongs to a family that is declared before it.
            for name in samples(text).into_keys() {
                let name = name.split('{').next().unwrap();
                let stem = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
                let known = |name: &str| types.iter().any(|(family, _)| *family == name);
                assert!(known(name) || stem.is_some_and(known), "{name}");
            }
        }
        names.push(samples(text).into_keys().collect::<Vec<_>>());
    }
    assert!(names.windows(2).all(|pair| pair[0] == pair[1]), "the series are the same");
}

#[tokio::test]
async fn probes_answer_as_kubernetes_own_servers_do() {
    let harness = start(injecting()).await;
    for path in ["/livez", "/startupz", "/readyz"] {
        let answer = harness.admin(path).await;
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"ok\n"[..]), "{path}");
    }
    let answer = harness.admin("/readyz?verbose").await;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert_eq!(lines[0], "[+]config ok: generation 1 hash hash-1");
    assert!(lines[1].starts_with("[+]certificate ok: valid until "), "{text}");
    assert_eq!(lines[2..], ["[+]shutting-down ok", "readyz check passed"]);
    assert_eq!(harness.admin("/inject").await.status, 404);
}

#[derive(Clone, Default)]
struct Captured(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_has_one_line_a_request_and_nothing_of_the_pod_but_names() {
    use outrigger::server::observe::log::{self as telemetry, Format, Lines};
    const CANARY: &str = "c4n4ry";
    let captured = Captured::default();
    let lines = Lines::start(captured.clone(), Default::default()).unwrap();
    let subscriber = telemetry::subscriber(Format::Json, "trace", lines.clone()).unwrap();
    // With a single subscriber, `tracing` asks the thread that first reaches an event, which may be another test's,
    // whether anybody is interested; with two, it asks both.
    let _second =
        tracing::Dispatch::new(telemetry::subscriber(Format::Json, "trace", lines.clone()).unwrap());
    let _guard = tracing::subscriber::set_default(subscriber);

    let harness = start(scripted(|call| match call.pod["metadata"]["name"].as_str() {
        Some("refused") => denied(400, "BAD", &format!("found {CANARY}"), ""),
        Some("broken") => denied(500, "BUG", &format!("found {CANARY}"), ""),
        _ => {
            let codes = ["IGNORED", "MISSPELT", "IGNORED"];
            let warnings = codes.map(|code| Warning { code, message: format!("found {CANARY}") }).to_vec();
            Admission { warnings, ..injected(1) }
        }
    }))
    .await;
    let secretive = |name: &str| {
        json!({"kind": "Pod", "apiVersion": "v1",
            "metadata": {"name": name, "annotations": {"a": CANARY, CANARY: "x"}, "labels": {"l": CANARY},
                "ownerReferences": [{"kind": "ReplicaSet", "name": "web-1", "uid": CANARY}]},
            "spec": {"containers": [{"name": CANARY, "image": CANARY, "args": [CANARY],
                "env": [{"name": CANARY, "value": CANARY}]}], CANARY: CANARY}})
    };
    for name in ["web", "refused", "broken"] {
        harness.post("/inject", review("v1", secretive(name))).await;
    }
    for body in [format!("\"{CANARY}"), format!("{{\"kind\":\"{CANARY}\"}}")] {
        assert_eq!(harness.post("/inject", body).await.status, 400);
    }
    for path in ["/inject/:ENV:a", "/inject/:ENV:a", "/inject/b"] {
        assert_eq!(harness.post(path, review("v1", pod())).await.status, 200);
    }
    lines.flush(PATIENCE);
    let log = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
    assert_eq!(log.lines().find(|line| line.contains(CANARY)), None);
    let odd: Vec<_> = log.lines().filter(|line| line.contains("a key without a value")).collect();
    assert!(odd.len() == 1 && odd[0].contains("\"key\":\"a\""), "a path is complained of once: {odd:?}");
    let requests: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["message"] == "request")
        .collect();
    assert_eq!(requests.len(), 8);
    let first = &requests[0];
    for (field, wanted) in [
        ("level", json!("INFO")),
        ("uid", json!("uid-1")),
        ("namespace", json!("shop")),
        ("name", json!("web")),
        ("owner", json!("ReplicaSet/web-1")),
        ("revision", json!("canary-rev")),
        ("config_hash", json!("hash-1")),
        ("outcome", json!("injected")),
        ("reason", json!("POLICY_ENABLED")),
        ("templates", json!("sidecar")),
        ("warnings", json!("IGNORED,MISSPELT")),
        ("patch_ops", json!(1)),
        ("dry_run", json!(false)),
        ("reinvoked", json!(false)),
        ("status", json!(200)),
    ] {
        assert_eq!(first[field], wanted, "{field} in {first}");
    }
    for field in ["bytes_in", "bytes_out", "duration_ms"] {
        assert!(first[field].as_f64().unwrap() > 0.0, "{field} in {first}");
    }
    assert!(requests[1].get("warnings").is_none(), "{}", requests[1]);
    harness.metric("outrigger_warnings_total{code=\"IGNORED\"}", 8.0).await;
    assert_eq!((&requests[1]["outcome"], &requests[2]["outcome"]), (&json!("denied"), &json!("error")));
    assert_eq!(
        (&requests[3]["reason"], &requests[4]["reason"]),
        (&json!("NOT_JSON"), &json!("NOT_AN_ADMISSION_REVIEW"))
    );
}
