//! The annotations by which a pod configures Prometheus scraping, in every spelling that Prometheus accepts.

use serde_json::{Map, Value};

// Keys as Prometheus sees them: it replaces everything but letters, digits and `_` by `_`, so `prometheus.io/port` and
// `prometheus_io.port` are equal.
pub(super) const SCRAPE: &str = "prometheus_io_scrape";
pub(super) const PORT: &str = "prometheus_io_port";
pub(super) const PATH: &str = "prometheus_io_path";
pub(super) const TARGETS: &str = "prometheus_istio_io_scrape_targets";

/// The port to scrape, in any spelling (Istio's `getPrometheusPort`).
pub(super) fn port_annotation(annotations: &Map<String, Value>) -> Option<&str> {
    spelled(annotations, PORT).find_map(|(_, value)| value.as_str())
}

/// Removes the annotations that configure scraping, in every spelling (Istio's `clearPrometheusAnnotations`).
pub(super) fn clear_annotations(annotations: &mut Map<String, Value>) {
    annotations.retain(|key, _| ![SCRAPE, PORT, PATH, TARGETS].iter().any(|known| is_spelling(key, known)));
}

/// Whether Prometheus considers a key equal to the known one, which is given as Prometheus sees it
/// (`SanitizeLabelName`).
pub(super) fn is_spelling(key: &str, known: &str) -> bool {
    let seen = key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' });
    seen.eq(known.chars())
}

/// The annotations that Prometheus considers equal to the known one.
pub(super) fn spelled<'a>(
    annotations: &'a Map<String, Value>,
    known: &'a str,
) -> impl Iterator<Item = (&'a String, &'a Value)> {
    annotations.iter().filter(move |(key, _)| is_spelling(key, known))
}
