use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, mpsc},
};

use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_sdk::{error::OTelSdkResult, trace::SpanData};

use super::*;
use crate::config::InjectorConfig;
use crate::server::configuration::build;
use crate::server::configuration::slot::Active;
use crate::server::observe::traces::{metrics::SpanMetrics, queue::Queue, resource};

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const PATIENCE: Duration = Duration::from_secs(20);

/// A collector in memory; while `held` it does not respond.
#[derive(Clone, Debug, Default)]
struct Collector {
    taken: Arc<Mutex<Vec<SpanData>>>,
    held: Option<Arc<Mutex<mpsc::Receiver<()>>>>,
}

impl opentelemetry_sdk::trace::SpanExporter for Collector {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        if let Some(held) = &self.held {
            let _ = held.lock().unwrap().recv_timeout(PATIENCE);
        }
        self.taken.lock().unwrap().extend(batch);
        Ok(())
    }
}

async fn sink(collector: Collector) -> (Sink, SpanMetrics) {
    let counters = SpanMetrics::default();
    let queue = Queue::start(move || Ok(collector), resource(), counters.clone()).await.unwrap();
    (Sink(Some(Arc::new(super::Collector::over(queue)))), counters)
}

fn headers(traceparent: &str) -> HeaderMap {
    HeaderMap::from_iter([("traceparent".parse().unwrap(), traceparent.parse().unwrap())])
}

fn active() -> Arc<Active> {
    let engine = build::engine(InjectorConfig::embedded().unwrap()).unwrap();
    Arc::new(Active { engine, generation: 1, since: 0 })
}

fn record() -> Record {
    Record {
        uid: "uid-1".to_owned(),
        namespace: "shop".to_owned(),
        name: "c4n4ry".to_owned(),
        owner: "ReplicaSet/c4n4ry".to_owned(),
        detail: "c4n4ry".to_owned(),
        outcome: Outcome::Injected,
        reason: "POLICY_ENABLED",
        active: Some(active()),
        took: Duration::from_millis(9),
        stages: Stages {
            read: Some(Duration::from_millis(2)),
            decode: Some(Duration::from_millis(1)),
            inject: Some(Duration::from_millis(3)),
            encode: None,
        },
        ..Record::default()
    }
}

/// The spans of one request, by name.
async fn spans_of(traceparent: &str, tune: impl FnOnce(&mut Record)) -> BTreeMap<String, SpanData> {
    let collector = Collector::default();
    let (sink, _) = sink(collector.clone()).await;
    let mut record = record();
    tune(&mut record);
    let caller = sink.caller(&headers(traceparent));
    sink.observe(&caller, &record);
    sink.flush(PATIENCE).await;
    let taken = collector.taken.lock().unwrap();
    taken.iter().map(|span| (span.name.clone().into_owned(), span.clone())).collect()
}

#[tokio::test]
async fn a_request_continues_the_trace_of_its_caller_and_has_its_stages() {
    let spans = spans_of(CALLER, |_| {}).await;
    assert_eq!(
        spans.keys().map(String::as_str).collect::<Vec<_>>(),
        ["POST /inject", "decode", "inject", "read"]
    );
    let request = &spans["POST /inject"];
    assert_eq!(request.parent_span_id, SpanId::from_hex("b7ad6b7169203331").unwrap());
    for span in spans.values() {
        assert_eq!(
            span.span_context.trace_id(),
            TraceId::from_hex("0af7651916cd43dd8448eb211c80319c").unwrap()
        );
        assert!(request.start_time <= span.start_time);
    }
    let mut at = request.start_time;
    for (stage, milliseconds) in [("read", 2), ("decode", 1), ("inject", 3)] {
        let span = &spans[stage];
        assert_eq!(span.parent_span_id, request.span_context.span_id());
        assert_eq!(
            (span.start_time, span.end_time),
            (at, at + Duration::from_millis(milliseconds)),
            "{stage}"
        );
        at = span.end_time;
    }
}

#[tokio::test]
async fn nothing_of_the_pod_is_in_a_span() {
    let spans = spans_of(CALLER, |record| record.uid = "u".repeat(10_000)).await;
    assert!(!format!("{spans:?}").contains("c4n4ry"));
    let attributes: BTreeMap<_, _> = spans["POST /inject"]
        .attributes
        .iter()
        .map(|attribute| (attribute.key.to_string(), attribute.value.to_string()))
        .collect();
    let known: Vec<_> = attributes.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(
        known,
        [
            ("k8s.namespace.name", "shop"),
            ("outrigger.config_hash", active().engine.hash()),
            ("outrigger.outcome", "injected"),
            ("outrigger.reason", "POLICY_ENABLED"),
            ("outrigger.uid", "u".repeat(253).as_str()),
        ]
    );
}

#[tokio::test]
async fn the_caller_decides_what_is_sampled() {
    let unsampled = CALLER.replace("-01", "-00");
    assert!(spans_of(&unsampled, |_| {}).await.is_empty());
    for none in ["", "garbage", "00-0-0-01", "00-00000000000000000000000000000000-b7ad6b7169203331-01"] {
        let spans = spans_of(none, |_| {}).await;
        assert_eq!(spans["POST /inject"].parent_span_id, SpanId::INVALID, "{none:?}");
    }
}

#[tokio::test]
async fn a_fault_of_ours_is_an_error_and_a_refusal_is_none() {
    for (outcome, status) in [
        (Outcome::Error, Status::error("BAD")),
        (Outcome::Denied, Status::Unset),
        (Outcome::Skipped, Status::Unset),
    ] {
        let spans = spans_of(CALLER, |record| (record.outcome, record.reason) = (outcome, "BAD")).await;
        assert_eq!(spans["POST /inject"].status, status);
    }
}

#[tokio::test]
async fn a_collector_that_hangs_costs_spans_and_no_time() {
    let (release, held) = mpsc::channel();
    let collector = Collector { held: Some(Arc::new(Mutex::new(held))), ..Collector::default() };
    let (sink, counters) = sink(collector.clone()).await;
    let record = record();
    const REQUESTS: u64 = 3000;
    for _ in 0..REQUESTS {
        let caller = sink.caller(&headers(CALLER));
        sink.observe(&caller, &record);
    }
    let (sent, lost) = counters.counts();
    assert_eq!(sent, 0);
    // Some are being exported or queued.
    assert!(lost > 4 * REQUESTS - 2 * 4096, "{lost}");
    let since = tokio::time::Instant::now();
    sink.flush(Duration::from_millis(20)).await;
    assert!(since.elapsed() < PATIENCE / 2, "the end does not wait for it");
    drop(release);
    sink.flush(PATIENCE).await;
    let (sent, lost) = counters.counts();
    assert_eq!(sent + lost, 4 * REQUESTS, "every span is accounted for");
    assert_eq!(sent, collector.taken.lock().unwrap().len() as u64);
}
