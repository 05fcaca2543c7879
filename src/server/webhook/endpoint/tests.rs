use http_body_util::{BodyExt, Full};
use prometheus_client::registry::Registry;
use tower::ServiceExt;

use super::*;
use crate::config::InjectorConfig;
use crate::server::configuration::build;
use crate::server::configuration::metrics::ConfigurationMetrics;
use crate::server::configuration::slot::Slot;
use crate::server::configuration::source::Loaded;
use crate::server::http::metrics::HttpMetrics;
use crate::server::http::registry::tests as registry;
use crate::server::http::state::Registration;
use crate::server::observe::metrics::{self, Exposition};
use crate::server::readiness::Readiness;
use crate::server::webhook::traces::Traces;

const REVIEW: &str = include_str!("../../../../tests/fixtures/reviews/deployment.json");

/// A webhook without sockets, and the connection of its requests.
struct Rig {
    webhook: Webhook,
    configuration: Arc<Configuration>,
    registry: Registry,
    registration: Registration,
}

async fn rig() -> Rig {
    let mut registry = Registry::default();
    let http = HttpMetrics::register(metrics::own(&mut registry));
    let traces = Traces::register(metrics::own(&mut registry)).start(None).await.unwrap();
    let requests = RequestMetrics::register(&mut registry, http, Default::default());
    let gate = Readiness::default().gate("config", "");
    let configuration = Configuration::new("bundle", Slot::default(), gate, ConfigurationMetrics::default());
    let configuration = Arc::new(configuration);
    let (limits, timeouts) = (Limits::default(), Timeouts::default());
    let overload = Arc::default();
    let observers = Observers { metrics: requests, traces, workload_events: None, decisions: None };
    let webhook = Webhook::new(configuration.clone(), observers, overload, &limits, &timeouts);
    let registration = Registration::new(&registry::registry(1 << 20), registry::peer(1));
    Rig { webhook, configuration, registry, registration }
}

fn post(target: &str) -> hyper::http::request::Builder {
    Request::post(target).header("content-type", "application/json")
}

impl Rig {
    async fn send(&self, request: hyper::http::request::Builder, body: &str) -> (u16, String) {
        let mut request = request.body(Full::<Bytes>::from(body.to_owned())).unwrap();
        let connection = self.registration.activity.clone();
        request.extensions_mut().insert(Arrival { at: Instant::now(), connection });
        let response = self.webhook.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let frames = response.into_body().collect().await.unwrap();
        (status, String::from_utf8(frames.to_bytes().to_vec()).unwrap())
    }

    fn count(&self, sample: &str) -> bool {
        metrics::encode(&self.registry, Exposition::Classic).unwrap().lines().any(|line| line == sample)
    }
}

#[tokio::test]
async fn what_is_refused_is_counted_once_with_its_reason() {
    let rig = rig().await;
    for (request, status, reason) in [
        (Request::get("/inject"), 405, "METHOD"),
        (Request::post("/inject").header("content-type", "text/plain"), 415, "CONTENT_TYPE"),
        (post("/inject/%zz/x"), 400, "PATH"),
        (post("/inject?timeout=1s"), 503, "NOT_READY"),
    ] {
        let (found, text) = rig.send(request, "{}").await;
        assert_eq!(found, status, "{reason}: {text}");
        assert!(text.contains("\"kind\":\"Status\""), "{text}");
        let sample = format!("outrigger_requests_total{{outcome=\"error\",reason=\"{reason}\"}} 1");
        assert!(rig.count(&sample), "{sample}");
    }
    assert!(rig.count("sidecar_injection_requests_total 4") && rig.count("outrigger_in_flight_requests 0"));
    // A request for another path is not counted as one of its requests.
    assert_eq!(rig.send(post("/elsewhere"), "{}").await.0, 404);
    assert!(rig.count("sidecar_injection_requests_total 4"));
}

#[tokio::test]
async fn a_review_is_answered_and_recorded_with_how_its_patch_was_found() {
    let rig = rig().await;
    let engine = build::engine(InjectorConfig::embedded().unwrap()).unwrap();
    rig.configuration.publish(Loaded { engine, warnings: Vec::new() });
    for (sample, time) in [("result=\"miss\"} 1", 1), ("result=\"miss\"} 2", 2), ("result=\"hit\"} 1", 3)] {
        let (status, text) = rig.send(post("/inject"), REVIEW).await;
        assert_eq!(status, 200, "{text}");
        assert!(text.contains("\"patchType\":\"JSONPatch\""), "{text}");
        assert!(rig.count(&format!("outrigger_patch_cache_total{{{sample}")), "{time}");
    }
    for stage in Stages::NAMES {
        assert!(
            rig.count(&format!("outrigger_stage_duration_seconds_count{{stage=\"{stage}\"}} 3")),
            "{stage}"
        );
    }
    assert!(rig.count("sidecar_injection_success_total 3"));
}

#[tokio::test]
async fn a_request_that_is_dropped_is_one_whose_client_left() {
    let rig = rig().await;
    let mut request = post("/inject").body(http_body_util::Empty::<Bytes>::new()).unwrap();
    let connection = rig.registration.activity.clone();
    request.extensions_mut().insert(Arrival { at: Instant::now(), connection });
    drop(rig.webhook.clone().oneshot(request));
    assert!(rig.count("sidecar_injection_requests_total 0"), "it was not looked at");
    let (parts, ()) = post("/inject").body(()).unwrap().into_parts();
    drop(Pending::arrived(&rig.webhook.0, &parts.headers));
    assert!(rig.count("outrigger_requests_total{outcome=\"error\",reason=\"CLIENT_GONE\"} 1"));
    assert!(rig.count("outrigger_in_flight_requests 0"));
}

/// The lines of the log.
#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The review of a pod with these metadata and this spec.
fn review(metadata: &serde_json::Value, spec: &serde_json::Value) -> String {
    let pod = serde_json::json!({"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": spec});
    let request = serde_json::json!({"uid": "u", "namespace": "shop", "operation": "CREATE",
        "resource": {"group": "", "version": "v1", "resource": "pods"}, "object": pod});
    serde_json::json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request})
        .to_string()
}

/// Outcome and reason are the same in the response, the audit annotations, the log line and the metric, and the reason is
/// one of that outcome.
#[tokio::test]
async fn outcome_and_reason_never_contradict_each_other() {
    use crate::codes::{self, Kind};
    use serde_json::{Value, json};

    let rig = rig().await;
    let engine = build::engine(InjectorConfig::embedded().unwrap()).unwrap();
    rig.configuration.publish(Loaded { engine, warnings: Vec::new() });
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().json().flatten_event(true).with_writer(move || writer.clone()).finish();
    // With one subscriber alone, a callsite that another thread reaches first would be off for all of them.
    let _other = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    let _guard = tracing::subscriber::set_default(subscriber);

    let spec = json!({"containers": [{"name": "app", "image": "a"}]});
    let config = InjectorConfig::embedded().unwrap();
    let injected = crate::inject::run(
        &config,
        &crate::inject::PodRequest::new("shop", json!({"metadata": {"name": "a"}, "spec": spec})),
        &crate::inject::Facts::of(&config, "shop"),
    );
    let Ok(crate::inject::Outcome::Injected(injected)) = injected else { panic!("{injected:?}") };
    let label = json!({"labels": {"sidecar.istio.io/inject": "false"}});
    let annotation = json!({"annotations": {"sidecar.istio.io/proxyCPU": "lots"}});
    let host = json!({"hostNetwork": true, "containers": [{"name": "app", "image": "a"}]});
    let other = review(&json!({"name": "a"}), &spec).replace("CREATE", "UPDATE");
    for (body, outcome, reason, kind) in [
        (review(&json!({"name": "a"}), &spec), "injected", "POLICY_ENABLED", Kind::Inject),
        (review(&label, &spec), "skipped", "POD_OPTED_OUT", Kind::Skip),
        (review(&json!({"name": "a"}), &host), "skipped", "HOST_NETWORK", Kind::Skip),
        (review(&injected.pod["metadata"], &injected.pod["spec"]), "skipped", "ALREADY_INJECTED", Kind::Skip),
        (other, "skipped", "OTHER_OPERATION", Kind::Skip),
        (review(&annotation, &spec), "denied", "INVALID_ANNOTATION", Kind::Denial),
    ] {
        log.0.lock().unwrap().clear();
        let (status, text) = rig.send(post("/inject"), &body).await;
        assert_eq!(status, 200, "{reason}: {text}");
        let response: Value = serde_json::from_str::<Value>(&text).unwrap()["response"].take();
        let audit = &response["auditAnnotations"];
        assert_eq!((&audit["decision"], &audit["reason"]), (&json!(outcome), &json!(reason)), "{response}");
        assert_eq!(response["allowed"], json!(kind != Kind::Denial), "{reason}");
        assert_eq!(response.get("patch").is_some(), kind == Kind::Inject, "{reason}");
        let lines = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let requests: Vec<&Value> = lines.iter().filter(|line| line["message"] == "request").collect();
        assert_eq!(requests.len(), 1, "{reason}: {lines:?}");
        assert_eq!((&requests[0]["outcome"], &requests[0]["reason"]), (&json!(outcome), &json!(reason)));
        assert_eq!(requests[0]["patch_ops"] != 0, kind == Kind::Inject, "{reason}");
        let sample = format!("outrigger_requests_total{{outcome=\"{outcome}\",reason=\"{reason}\"}} 1");
        assert!(rig.count(&sample), "{sample}");
        assert!(codes::find(reason).is_some_and(|code| code.is(kind)), "{reason}");
    }
}

/// The review of a workload whose pod template has these metadata.
fn workload(operation: &str, template: &serde_json::Value) -> String {
    let spec = serde_json::json!({"containers": [{"name": "app", "image": "a"}]});
    let object = serde_json::json!({"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "web"},
        "spec": {"template": {"metadata": template, "spec": spec}}});
    let request = serde_json::json!({"uid": "u", "namespace": "shop", "name": "web", "operation": operation,
        "resource": {"group": "apps", "version": "v1", "resource": "deployments"}, "object": object});
    serde_json::json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request})
        .to_string()
}

/// Advice warns and admits, whatever the object; its requests do not count among Istio's injection requests.
#[tokio::test]
async fn workloads_are_admitted_with_warnings_about_their_pods() {
    use serde_json::{Value, json};

    let rig = rig().await;
    assert_eq!(
        rig.send(post("/advise"), &workload("CREATE", &json!({}))).await.0,
        503,
        "no configuration yet"
    );
    let engine = build::engine(InjectorConfig::embedded().unwrap()).unwrap();
    rig.configuration.publish(Loaded { engine, warnings: Vec::new() });
    let bad = json!({"annotations": {"sidecar.istio.io/proxyCPU": "lots"}});
    let large = json!({"annotations": {"sidecar.istio.io/proxyCPU": "lots", "x": "x".repeat(LARGE_BODY)}});
    for (body, warned) in [
        (workload("CREATE", &json!({})), false),
        (workload("CREATE", &bad), true),
        (workload("UPDATE", &bad), true),
        // No pods, or too much work.
        (workload("DELETE", &bad), false),
        (workload("CREATE", &large), false),
    ] {
        let (status, text) = rig.send(post("/advise"), &body).await;
        assert_eq!(status, 200, "{text}");
        let response: Value = serde_json::from_str::<Value>(&text).unwrap()["response"].take();
        assert_eq!(response["allowed"], json!(true));
        assert!(response.get("patch").is_none() && response.get("status").is_none(), "{response}");
        let warnings = response["warnings"].as_array().cloned().unwrap_or_default();
        assert_eq!(!warnings.is_empty(), warned, "{response}");
        let is_denial = |one: &Value| one.as_str().unwrap().starts_with("the pods will be denied: ");
        assert!(warnings.iter().all(is_denial), "{warnings:?}");
    }
    assert_eq!(rig.send(Request::get("/advise"), "").await.0, 405);
    assert_eq!(rig.send(post("/advise"), "{").await.0, 400);
    for sample in [
        "outrigger_advice_total{result=\"advised\"} 2",
        "outrigger_advice_total{result=\"silent\"} 3",
        "outrigger_advice_total{result=\"refused\"} 3",
        "outrigger_warnings_total{code=\"INVALID_ANNOTATION\"} 2",
        "sidecar_injection_requests_total 0",
        "outrigger_in_flight_requests 0",
    ] {
        assert!(rig.count(sample), "{sample}");
    }
}
