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
    let webhook = Webhook::new(configuration.clone(), requests, traces, None, overload, &limits, &timeouts);
    let registration = registry::crowd(1 << 20).join(registry::peer(1));
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
