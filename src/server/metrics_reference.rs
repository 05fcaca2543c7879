//! Writes the table of `docs/metrics.md` from the registry: every metric is given a sample, and its name, type, labels
//! and help text are read from the exposition.

use std::{collections::BTreeMap, fmt::Write, sync::Arc, time::Duration};

use super::*;
use crate::config::InjectorConfig;
use crate::server::certs::metrics::Stands;
use crate::server::configuration::slot::Active;
use crate::server::observe::metrics::Exposition;
use crate::server::webhook::record::{PatchSize, Record, Stages};

/// A registry in which every metric has a sample, so that none is left out.
fn registry() -> Registry {
    let config = InjectorConfig::embedded().unwrap();
    let engine = configuration::build::engine(config).unwrap();
    let in_use = Slot::default();
    in_use.store(Some(Arc::new(Active { engine, generation: 1, since: 1 })));
    let mut registry = Registry::default();
    let (metrics, _) = Metrics::register(&mut registry, in_use, Counter::default());

    metrics.http.shed("reason");
    metrics.http.evicted("reason");
    metrics.http.timed_out("reason");
    metrics.http.accept_failed("webhook");
    metrics.http.opened("webhook");
    metrics.tls.handshake_failed("reason");
    metrics.tls.loaded(Some((1, 2)));
    metrics.kube.requests.asked("get", "nodes", "200");
    metrics.kube.watches.started("nodes");
    metrics.kube.watches.heard("nodes", 1);
    metrics
        .certs
        .configuration("config", Stands { present: Some(true), in_sync: Some(true), active: Some(true) });
    metrics.certs.ca_bundle_written("config");
    metrics.certs.changed("created");
    metrics.certs.failed("secret");
    metrics.certs.secret(true);
    metrics.certs.ca(1);
    metrics.bare_workloads.sample();
    metrics.namespace_audit.found(&BTreeMap::from([("check", 1)]));
    metrics.canary.tried(Some("class"), Duration::ZERO);
    metrics.client_auth.failed("reason", true);
    metrics.client_auth.ca_loaded(Some(1));
    metrics.configuration.loaded("bundle", true);
    metrics.requests.arrived();
    metrics.requests.observe(&Record {
        warning_codes: vec!["CODE"],
        patch: Some(PatchSize { bytes: 1, operations: 1 }),
        stages: Stages { read: Some(Duration::ZERO), ..Stages::default() },
        ..Record::failed("REASON")
    });
    registry
}

/// One metric as the classic exposition shows it.
#[derive(Debug, Default)]
struct Row {
    help: String,
    kind: String,
    /// The names of the labels, except for the bounds of buckets.
    labels: Vec<String>,
    /// Whether there is a sample.
    sampled: bool,
}

/// The metrics of an exposition by name, in its order.
fn rows(exposition: &str) -> Vec<(String, Row)> {
    let mut order: Vec<String> = Vec::new();
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for line in exposition.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            order.push(name.to_owned());
            rows.entry(name.to_owned()).or_default().help = help.trim_end_matches('.').to_owned();
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            rows.entry(name.to_owned()).or_default().kind = kind.to_owned();
        } else if let Some(sample) = line.split([' ', '{']).next() {
            let family = order.last().filter(|family| sample.starts_with(family.as_str())).unwrap();
            let row = rows.get_mut(family).unwrap();
            row.sampled = true;
            let labels = line.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
            row.labels = labels
                .map(|(labels, _)| labels.split(',').filter_map(|label| label.split_once('=')))
                .into_iter()
                .flatten()
                .map(|(name, _)| name.to_owned())
                .filter(|name| name != "le")
                .collect();
        }
    }
    order
        .into_iter()
        .filter_map(|name| {
            let row = rows.remove(&name)?;
            Some((name, row))
        })
        .collect()
}

fn table(rows: &[(String, Row)]) -> String {
    let mut out = String::from("| name | type | labels | meaning |\n| --- | --- | --- | --- |\n");
    for (name, Row { help, kind, labels, .. }) in rows {
        let labels = labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        let _ = writeln!(out, "| `{name}` | {kind} | {labels} | {help} |");
    }
    out
}

/// How many metrics a registry knows, with and without samples. Only its debug form includes those without.
#[cfg(not(feature = "otlp"))]
fn registered(registry: &Registry) -> usize {
    format!("{registry:?}").matches("Descriptor {").count()
}

/// Builds with traces have two more, which nothing here can count.
#[cfg(not(feature = "otlp"))]
#[test]
fn every_registered_metric_has_a_sample() {
    let registry = registry();
    let (collected, own): (Vec<_>, Vec<_>) = rows(&metrics::encode(&registry, Exposition::Classic).unwrap())
        .into_iter()
        .partition(|(name, _)| COLLECTED.iter().any(|start| name.starts_with(start)));
    assert!(own.iter().all(|(_, row)| row.sampled), "{own:?}");
    assert_eq!(
        own.len(),
        registered(&registry),
        "a metric without a sample here is missing in docs/metrics.md"
    );
    assert!(collected.len() > COLLECTED.len(), "{collected:?}");
}

#[cfg(not(feature = "otlp"))]
/// Metrics that collectors write when metrics are scraped: they are in the exposition, not in the registry.
const COLLECTED: [&str; 5] = [
    "process_",
    "outrigger_config_generation",
    "outrigger_config_last_reload_timestamp",
    "outrigger_config_hash_info",
    "outrigger_build_info",
];

/// `UPDATE_DOCS=1` writes the table instead.
#[test]
fn the_reference_of_metrics_is_made_from_the_registry() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (before, after) = page.split_once("<!-- metrics -->\n\n").unwrap();
    let old: usize = after.split_inclusive('\n').take_while(|line| line.starts_with('|')).map(str::len).sum();
    // The page mentions these in a note.
    let mut rows = rows(&metrics::encode(&registry(), Exposition::Classic).unwrap());
    rows.retain(|(name, _)| !name.starts_with("outrigger_spans_"));
    let made = format!("{before}<!-- metrics -->\n\n{}{}", table(&rows), &after[old..]);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap();
    assert!(committed == made, "docs/metrics.md differs from the registry; run the test with UPDATE_DOCS=1");
}
