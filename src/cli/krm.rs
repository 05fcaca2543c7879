//! `outrigger krm`: injection as a KRM function, the protocol of kustomize and kpt for programs that change resources.
//!
//! The protocol is the KRM Functions Specification (`config.kubernetes.io/v1`): a ResourceList on stdin and stdout, with
//! the configuration under `functionConfig` and messages under `results`.

use std::path::Path;

use clap::Args;
use serde_json::{Map, Value, json};

use super::{
    failure::Failure,
    files,
    report::{self, Color},
    source::{Configured, Purpose, Source},
};
use crate::{
    config::{InjectorConfig, Source as Text},
    inject::{
        Rules,
        manual::{self, Manifest, Options, Row, Verdict},
    },
    manifest::TemplatePath,
    yaml,
};

/// Inject a ResourceList, as a function of kustomize or kpt.
///
/// Reads a ResourceList from stdin and writes it to stdout with injected items and a result for every pod template. The
/// functionConfig is a Bundle, or a ConfigMap whose data may have the keys bundle, namespace, podTemplatePaths and
/// uninject; without one, the flags name the configuration. If a pod is denied, the items stay as they are, and the exit
/// code is 65.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  outrigger krm < resource-list.yaml
  outrigger krm --bundle bundle.yaml < resource-list.yaml")]
pub(super) struct Krm {
    #[command(flatten)]
    source: Source,
}

/// What a functionConfig says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Config {
    /// The text of a bundle.
    bundle: Option<String>,
    namespace: String,
    template_paths: Vec<TemplatePath>,
    uninject: bool,
}

impl Krm {
    pub(super) fn run(self, color: Color) -> Result<(), Failure> {
        let input = files::read(Path::new("-"))?;
        let list = resource_list(&input.text).map_err(Failure::data)?;
        let config = config(list.get("functionConfig").unwrap_or(&Value::Null)).map_err(Failure::data)?;
        let refused = |error| Failure::data(format!("{}:{error}", input.name));
        let manifest = if config.uninject {
            manual::uninject(&input.text, &config.template_paths).map_err(refused)?
        } else {
            let configured = self.configured(&config)?;
            configured.report(color);
            report::configuration(&configured.check()?, color);
            let options = Options {
                mesh: &configured.mesh,
                rules: Rules::Configured,
                namespace: &config.namespace,
                template_paths: config.template_paths,
            };
            manual::inject(&input.text, &options).map_err(refused)?
        };
        let results = results(&list, &manifest);
        let is_refused = manifest.is_refused();
        let text = if is_refused { input.text.clone() } else { manifest.to_string() };
        files::print(&with_results(&text, results)?)?;
        report::manifest(&input.name, &manifest, true, color);
        match is_refused {
            false => Ok(()),
            true => Err(Failure::data("an object was denied; the items are unchanged")),
        }
    }

    fn configured(&self, config: &Config) -> Result<Configured, Failure> {
        let Some(text) = &config.bundle else { return self.source.load(Purpose::Decide) };
        let (mesh, warnings) = InjectorConfig::from_bundle(Text { name: "functionConfig", text })?;
        Ok(Configured { mesh, warnings, origin: "functionConfig".to_owned() })
    }
}

fn resource_list(text: &str) -> Result<Value, String> {
    let list = yaml::load(text, &manual::LIMITS).map_err(|error| format!("stdin: {error}"))?;
    let field = |key: &str| list.get(key).and_then(Value::as_str).unwrap_or_default();
    let (version, kind) = (field("apiVersion"), field("kind"));
    if !version.starts_with("config.kubernetes.io/") || kind != "ResourceList" {
        return Err(format!(
            "stdin: found apiVersion {version:?} and kind {kind:?}; expected a ResourceList of config.kubernetes.io/v1"
        ));
    }
    Ok(list)
}

/// Reads a functionConfig.
fn config(value: &Value) -> Result<Config, String> {
    let field = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
    match (field("apiVersion"), field("kind")) {
        _ if value.is_null() => Ok(Config::default()),
        ("outrigger.dev/v1alpha1", "Bundle") => {
            let mut bundle = value.clone();
            // A name, and the annotation that tells kustomize which program to run.
            bundle.as_object_mut().map(|bundle| bundle.remove("metadata"));
            Ok(Config { bundle: Some(bundle.to_string()), ..Config::default() })
        }
        ("v1", "ConfigMap") => {
            let mut config = Config::default();
            for (key, value) in value.get("data").and_then(Value::as_object).into_iter().flatten() {
                let text = value
                    .as_str()
                    .ok_or_else(|| format!("functionConfig: data.{key}: found {value}; expected a string"))?;
                match key.as_str() {
                    "bundle" => config.bundle = Some(text.to_owned()),
                    "namespace" => text.clone_into(&mut config.namespace),
                    "podTemplatePaths" => {
                        let paths = text.split_whitespace().map(str::parse::<TemplatePath>);
                        config.template_paths = paths
                            .collect::<Result<_, _>>()
                            .map_err(|error| format!("functionConfig: data.{key}: {error}"))?;
                    }
                    "uninject" => {
                        config.uninject = text.parse().map_err(|_| {
                            format!(
                                "functionConfig: data.{key}: found {text:?}; expected \"true\" or \"false\""
                            )
                        })?;
                    }
                    _ => {
                        return Err(format!(
                            "functionConfig: data: found the key {key}; expected bundle, namespace, podTemplatePaths or uninject"
                        ));
                    }
                }
            }
            Ok(config)
        }
        (version, kind) => Err(format!(
            "functionConfig: found apiVersion {version:?} and kind {kind:?}; expected a Bundle of outrigger.dev/v1alpha1 or a \
             ConfigMap"
        )),
    }
}

/// The results of the protocol, in the order of the items.
fn results(list: &Value, manifest: &Manifest<'_>) -> Vec<Value> {
    manifest.rows().flat_map(|row| results_of(list, row)).collect()
}

fn results_of(list: &Value, row: &Row) -> Vec<Value> {
    let severity = match &row.verdict {
        Verdict::NoPodTemplate | Verdict::NotInjected => None,
        verdict if verdict.is_refusal() => Some("error"),
        Verdict::Injected { .. } | Verdict::Uninjected { .. } | Verdict::Skipped(_) => Some("info"),
        _ => Some("warning"),
    };
    let own = severity.map(|severity| (severity, report::verdict_text(&row.verdict)));
    let shown = row.warnings.iter().filter(|warning| warning.is_shown());
    let mut messages: Vec<(&str, String)> = own.into_iter().collect();
    messages.extend(shown.map(|warning| ("warning", warning.message.clone())));
    if let Verdict::Uninjected { remarks } = &row.verdict {
        messages.extend(remarks.iter().map(|remark| ("warning", remark.clone())));
    }
    let object = &row.object;
    let annotations = list.pointer(&object.object).and_then(|item| item.pointer("/metadata/annotations"));
    let annotation = |key: &str| {
        let keys = [format!("internal.config.kubernetes.io/{key}"), format!("config.kubernetes.io/{key}")];
        keys.iter().find_map(|key| annotations?.get(key)?.as_str())
    };
    let mut reference = json!({"apiVersion": object.api_version, "kind": object.kind, "name": object.name});
    if let (Some(namespace), Some(reference)) = (&object.namespace, reference.as_object_mut()) {
        reference.insert("namespace".to_owned(), json!(namespace));
    }
    let mut file = Map::new();
    file.extend(annotation("path").map(|path| ("path".to_owned(), json!(path))));
    let index = annotation("index").and_then(|index| index.parse::<u64>().ok()).filter(|_| !file.is_empty());
    file.extend(index.map(|index| ("index".to_owned(), json!(index))));
    let result = |(severity, message): (&str, String)| {
        let mut result = json!({"message": message, "severity": severity, "resourceRef": reference});
        if let Some(result) = result.as_object_mut() {
            let place = row.place.as_ref().map(|place| ("field".to_owned(), json!({"path": place})));
            result.extend(place);
            let file = Some(("file".to_owned(), Value::Object(file.clone()))).filter(|_| !file.is_empty());
            result.extend(file);
        }
        result
    };
    messages.into_iter().map(result).collect()
}

/// The text of a ResourceList with results: at its end if it has none, so that everything else stays as it is.
fn with_results(text: &str, results: Vec<Value>) -> Result<String, Failure> {
    let load = |text: &str| {
        yaml::load(text, &manual::LIMITS).map_err(|error| Failure::data(format!("stdin: {error}")))
    };
    let mut list = load(text)?;
    let has_results = list.get("results").is_some();
    if let Some(list) = list.as_object_mut().filter(|_| has_results || !results.is_empty()) {
        list.insert("results".to_owned(), json!(results));
    }
    let line_break = if text.ends_with('\n') { "" } else { "\n" };
    let added = match results.is_empty() {
        true => text.to_owned(),
        false => format!("{text}{line_break}{}", yaml::to_string(&json!({"results": results}))),
    };
    match load(&added) {
        Ok(read) if read == list && !has_results => Ok(added),
        _ => Ok(yaml::to_string(&list)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_config_is_nothing_or_a_bundle_or_a_config_map() {
        assert_eq!(config(&Value::Null), Ok(Config::default()));
        let bundle = json!({"apiVersion": "outrigger.dev/v1alpha1", "kind": "Bundle", "metadata": {"name": "a"}, "compat": "istio"});
        let read = config(&bundle).unwrap().bundle.unwrap();
        assert!(InjectorConfig::from_bundle(Text { name: "functionConfig", text: &read }).is_ok(), "{read}");
        let map = |data: Value| config(&json!({"apiVersion": "v1", "kind": "ConfigMap", "data": data}));
        let read =
            map(json!({"bundle": "b", "namespace": "n", "podTemplatePaths": "a.b\nc", "uninject": "true"}))
                .unwrap();
        assert_eq!((read.bundle.as_deref(), read.namespace.as_str(), read.uninject), (Some("b"), "n", true));
        assert_eq!(read.template_paths.len(), 2);
        for (data, place) in [
            (json!({"bundel": ""}), "data: found the key bundel"),
            (json!({"uninject": "yes"}), "data.uninject: found \"yes\""),
            (json!({"namespace": 1}), "data.namespace: found 1"),
            (json!({"podTemplatePaths": "a..b"}), "data.podTemplatePaths: empty key"),
        ] {
            let error = map(data).unwrap_err();
            assert!(error.contains(place), "{error}");
        }
        assert!(config(&json!({"kind": "Other"})).unwrap_err().contains("\"Other\""));
    }

    #[test]
    fn results_are_added_at_the_end_or_replace_earlier_ones() {
        let results = || vec![json!({"message": "m"})];
        let text = "kind: ResourceList # c\nitems: []";
        assert_eq!(with_results(text, results()).unwrap(), format!("{text}\nresults:\n- message: m\n"));
        assert_eq!(with_results(text, Vec::new()).unwrap(), text);
        let flow = "{kind: ResourceList, items: []}";
        assert_eq!(
            with_results(flow, results()).unwrap(),
            "items: []\nkind: ResourceList\nresults:\n- message: m\n"
        );
        let earlier = "results:\n- message: old\n";
        assert_eq!(with_results(earlier, results()).unwrap(), "results:\n- message: m\n");
        assert_eq!(with_results(earlier, Vec::new()).unwrap(), "results: []\n");
    }
}
