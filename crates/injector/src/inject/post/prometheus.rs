//! Merged metrics: moves the application's Prometheus annotations into the proxy's environment, and makes Prometheus
//! scrape the agent, which serves both.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::view::{annotations, atoi, env_mut, variable};
use super::{Error, PostContext, status_port};
use crate::{
    annotation::go_bool,
    inject::scraping::{PATH, PORT, SCRAPE, TARGETS, clear_annotations, port_annotation, spelled},
    names, pod,
    quirks::Quirk,
    warning::{Warning, shown},
};

/// Ports of the proxy, and what listens on them (Istio's `istioReservedPorts`).
pub const PROXY_PORTS: [(i64, &str); 9] = [
    (15000, "Envoy's admin interface"),
    (15001, "capture of outgoing traffic"),
    (15004, "the agent's debug interface"),
    (15006, "capture of incoming traffic"),
    (15008, "the HBONE tunnel"),
    (15020, "the agent's status server and merged metrics"),
    (15021, "Envoy's health check"),
    (15053, "the DNS proxy"),
    (15090, "Envoy's metrics"),
];

/// Passes the application's scrape configuration to the proxy (Istio's `applyPrometheusMerge`).
pub(super) fn merge(
    pod: &mut Value,
    context: &PostContext<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<(), Error> {
    let agent = status_port(pod, context.mesh_config, context.quirks);
    let none = Map::new();
    let all = annotations(pod).unwrap_or(&none);
    if !wants_scraping(all) || !wants_merging(pod, context.mesh_config) {
        return Ok(());
    }
    // Without an agent or its status server, nothing would serve the merged metrics.
    if agent == 0 && !context.keeps(Quirk::UseStatusPortZero)
        || pod::find_sidecar(pod).is_none() && !context.keeps(Quirk::ScrapeWithoutAgent)
    {
        return Ok(());
    }
    // The agent's own port shows that an earlier injection, or the user, has done this.
    if port_annotation(all) == Some(agent.to_string().as_str()) {
        return Ok(());
    }
    let scrape = Scrape::read(all, agent, warnings)?;
    if !scrape.is_empty()
        && let Ok(text) = serde_json::to_string(&scrape)
        && let Some(env) = env_mut(pod)
    {
        // After a second injection, only the user's own variable, from ProxyConfig or the container, would be left for
        // the agent.
        let is_there = env.iter().any(|variable| pod::name(variable) == names::ENV_PROMETHEUS);
        if !is_there || context.keeps(Quirk::DuplicateVariables) {
            env.push(variable(names::ENV_PROMETHEUS, &text));
        }
    }
    let annotations = pod::annotations_mut(pod);
    clear_annotations(annotations);
    annotations.insert("prometheus.io/port".to_owned(), json!(agent.to_string()));
    annotations.insert("prometheus.io/path".to_owned(), json!("/stats/prometheus"));
    annotations.insert("prometheus.io/scrape".to_owned(), json!("true"));
    Ok(())
}

/// Scraping is enabled unless a valid annotation disables it (Istio's `getPrometheusScrape`).
fn wants_scraping(annotations: &Map<String, Value>) -> bool {
    spelled(annotations, SCRAPE).find_map(|(_, value)| go_bool(value.as_str()?)).unwrap_or(true)
}

/// The pod's annotation, else the mesh's setting, else enabled (Istio's `enablePrometheusMerge`).
fn wants_merging(pod: &Value, mesh_config: &Value) -> bool {
    let own = pod::annotation(pod, names::ANNOTATION_PROMETHEUS_MERGE).and_then(go_bool);
    own.or_else(|| mesh_config.get("enablePrometheusMerge")?.as_bool()).unwrap_or(true)
}

/// The agent's scrape targets; fields in the order in which Istio writes them.
#[derive(Default, Serialize)]
struct Scrape {
    scrape: String,
    path: String,
    port: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    targets: Vec<Target>,
}

#[derive(Clone, Serialize)]
struct Target {
    port: String,
    path: String,
}

impl Scrape {
    /// Reads the annotations and checks the ports; the first of several targets is also stored in the fields of the
    /// single one, for agents that do not support lists.
    fn read(
        annotations: &Map<String, Value>,
        agent: i64,
        warnings: &mut Vec<Warning>,
    ) -> Result<Scrape, Error> {
        let last = |known| {
            let found =
                spelled(annotations, known).filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)));
            found.last()
        };
        let text = |known| last(known).map(|(_, value)| value.to_owned()).unwrap_or_default();
        let mut scrape =
            Scrape { scrape: text(SCRAPE), path: text(PATH), port: text(PORT), targets: Vec::new() };
        for (key, value) in
            spelled(annotations, TARGETS).filter_map(|(key, value)| Some((key, value.as_str()?)))
        {
            match targets(value) {
                Some(targets) => {
                    for target in &targets {
                        check_port(key, &target.port, agent)?;
                    }
                    scrape.targets = targets;
                }
                None => warnings.push(Warning::new(
                    "DOUBTFUL_ANNOTATION",
                    format!("annotation {}: {} is ignored; expected port:path, …", shown(key), shown(value)),
                )),
            }
        }
        if let Some(first) = scrape.targets.first().cloned() {
            scrape.port = first.port;
            scrape.path = first.path;
        } else if let Some((key, port)) = last(PORT).filter(|(_, port)| !port.is_empty()) {
            check_port(key, port, agent)?;
        }
        Ok(scrape)
    }

    fn is_empty(&self) -> bool {
        self.scrape.is_empty() && self.path.is_empty() && self.port.is_empty() && self.targets.is_empty()
    }
}

/// Comma-separated `port:path`; `None` if a port is empty (Istio's `ParseScrapeTargets`).
fn targets(text: &str) -> Option<Vec<Target>> {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    items
        .map(|item| {
            let (port, path) = item.split_once(':').unwrap_or((item, ""));
            let (port, path) = (port.trim(), path.trim());
            let path = if path.is_empty() { "/metrics" } else { path };
            (!port.is_empty()).then(|| Target { port: port.to_owned(), path: path.to_owned() })
        })
        .collect()
}

/// Checks a port that the agent should scrape: neither its own nor one of the proxy's.
fn check_port(key: &str, text: &str, agent: i64) -> Result<(), Error> {
    let Some(port) = atoi(text).filter(|port| (1..=65535).contains(port)) else {
        return Err(Error::NoPort { key: shown(key), port: shown(text) });
    };
    let reserved = PROXY_PORTS.iter().find(|(number, _)| *number == port).map(|(_, owner)| *owner);
    let owner = if port == agent { Some("the agent's status server") } else { reserved };
    match owner {
        Some(owner) => Err(Error::ReservedPort { key: shown(key), port, owner }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{inject::post::tests::Fixture, quirks::Quirks};

    fn pod(annotations: Value) -> Value {
        json!({"metadata": {"annotations": annotations}, "spec": {"containers": [{"name": "app"}, {"name": "istio-proxy"}]}})
    }

    fn run(annotations: Value, fixture: &Fixture) -> Result<(Value, Value, Vec<Warning>), Error> {
        let mut pod = pod(annotations);
        let mut warnings = Vec::new();
        merge(&mut pod, &fixture.context(), &mut warnings)?;
        let env = pod.pointer("/spec/containers/1/env/0/value").and_then(Value::as_str);
        let env = env.map_or(Value::Null, |text| serde_json::from_str(text).unwrap());
        Ok((pod.pointer("/metadata/annotations").unwrap().clone(), env, warnings))
    }

    fn ours() -> Value {
        json!({"prometheus.io/port": "15020", "prometheus.io/path": "/stats/prometheus", "prometheus.io/scrape": "true"})
    }

    #[test]
    fn moves_annotations_into_the_environment() {
        let own =
            json!({"prometheus.io/port": "8080", "prometheus.io/path": "/m", "prometheus.io/scrape": "true"});
        let (annotations, env, _) = run(own, &Fixture::default()).unwrap();
        assert_eq!(annotations, ours());
        assert_eq!(env, json!({"scrape": "true", "path": "/m", "port": "8080"}));
    }

    #[test]
    fn fields_are_in_istios_order() {
        let mut pod = pod(json!({"prometheus.istio.io/scrape-targets": "1:a"}));
        merge(&mut pod, &Fixture::default().context(), &mut Vec::new()).unwrap();
        let text = r#"{"scrape":"","path":"a","port":"1","targets":[{"port":"1","path":"a"}]}"#;
        assert_eq!(
            pod.pointer("/spec/containers/1/env"),
            Some(&json!([{"name": "ISTIO_PROMETHEUS_ANNOTATIONS", "value": text}]))
        );
    }

    #[test]
    fn a_pod_without_annotations_is_scraped_at_the_agent() {
        let (annotations, env, _) = run(json!({"a": "b"}), &Fixture::default()).unwrap();
        assert_eq!(annotations["prometheus.io/port"], "15020");
        assert_eq!(annotations["a"], "b");
        assert_eq!(env, Value::Null);
    }

    #[test]
    fn every_spelling_is_replaced() {
        let own = json!({"prometheus_io.port": "1", "prometheus-io/path": "/m", "prometheus.io.scrape": "1", "prometheus.io/scheme": "https"});
        let (annotations, env, _) = run(own, &Fixture::default()).unwrap();
        let mut expected = ours();
        expected["prometheus.io/scheme"] = json!("https");
        assert_eq!(annotations, expected);
        assert_eq!(env, json!({"scrape": "1", "path": "/m", "port": "1"}));
    }

    #[test]
    fn stays_out_when_not_wanted() {
        let off = Fixture { mesh_config: json!({"enablePrometheusMerge": false}), ..Fixture::default() };
        let rows = [
            (json!({"prometheus.io/scrape": "false", "prometheus.io/port": "1"}), Fixture::default()),
            (json!({"prometheus.istio.io/merge-metrics": "false"}), Fixture::default()),
            (json!({"prometheus.io/port": "15020"}), Fixture::default()),
            (json!({"prometheus.io/port": "1"}), off),
        ];
        for (own, fixture) in rows {
            assert_eq!(run(own.clone(), &fixture).unwrap().0, own);
        }
    }

    #[test]
    fn annotation_beats_the_mesh() {
        let off = Fixture { mesh_config: json!({"enablePrometheusMerge": false}), ..Fixture::default() };
        let (annotations, _, _) = run(json!({"prometheus.istio.io/merge-metrics": "T"}), &off).unwrap();
        assert_eq!(annotations["prometheus.io/port"], "15020");
        let unreadable = json!({"prometheus.io/scrape": "nope", "prometheus.istio.io/merge-metrics": "z"});
        assert_eq!(run(unreadable, &Fixture::default()).unwrap().0["prometheus.io/port"], "15020");
    }

    #[test]
    fn takes_several_targets() {
        let own = json!({"prometheus.istio.io/scrape-targets": " 8080:/a , 9100, ,9200: ", "prometheus.io/port": "x"});
        let (annotations, env, _) = run(own, &Fixture::default()).unwrap();
        assert_eq!(annotations, ours());
        let targets = json!([{"port": "8080", "path": "/a"}, {"port": "9100", "path": "/metrics"}, {"port": "9200", "path": "/metrics"}]);
        assert_eq!(env, json!({"scrape": "", "path": "/a", "port": "8080", "targets": targets}));
    }

    #[test]
    fn unreadable_targets_are_warned_about() {
        let (_, env, warnings) =
            run(json!({"prometheus.istio.io/scrape-targets": ":/a"}), &Fixture::default()).unwrap();
        assert_eq!(env, Value::Null);
        assert_eq!(warnings.len(), 1);
    }

    #[test]
    fn refuses_what_cannot_be_scraped() {
        for port in ["0", "65536", "http", "-1", "15090", "+15001", "15020 "] {
            let single = run(json!({"prometheus.io/port": port}), &Fixture::default());
            assert!(single.is_err(), "{port}");
            let several =
                run(json!({"prometheus.istio.io/scrape-targets": format!("80,{port}")}), &Fixture::default());
            assert!(several.is_err(), "{port}");
        }
        let error = run(json!({"prometheus.io/port": "15000"}), &Fixture::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "annotation \"prometheus.io/port\": port 15000 is the proxy's own (Envoy's admin interface); \
             expected a port of the application"
        );
    }

    #[test]
    fn agents_port_is_the_annotations_only_for_us() {
        let own = json!({"status.sidecar.istio.io/port": "123"});
        let istio = Fixture { quirks: Quirks::ALL, ..Fixture::default() };
        assert_eq!(run(own.clone(), &istio).unwrap().0["prometheus.io/port"], "15020");
        assert_eq!(run(own, &Fixture::default()).unwrap().0["prometheus.io/port"], "123");
        let both =
            json!({"status.sidecar.istio.io/port": "123", "prometheus.istio.io/scrape-targets": "123"});
        assert!(matches!(run(both, &Fixture::default()), Err(Error::ReservedPort { port: 123, .. })));
        let off = json!({"status.sidecar.istio.io/port": "0"});
        assert_eq!(run(off.clone(), &Fixture::default()).unwrap().0, off, "nobody serves merged metrics");
    }
}
