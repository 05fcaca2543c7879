//! Recognizes documents by their shape.

use std::fmt;

use kubernetes_yaml::{Kind, Limits, Node, split_documents};

use super::chart;
use super::text::{Text, Texts};
use super::tree::{head, scalar, text};
use super::{Diagnostic, Rule, Severity};
use crate::config::{ConfigError, INJECTOR_KEYS, Place, Problem, Source};
use istio_config::gotypes::MESH_CONFIG;

/// What a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A bundle.
    Bundle,
    /// A ConfigMap with a bundle: outrigger's own.
    BundleConfigMap,
    /// Istio's injector ConfigMap, with the keys `config` and `values`.
    InjectorConfigMap,
    /// Istio's mesh ConfigMap, with the key `mesh`.
    MeshConfigMap,
    /// The content of the key `config` of Istio's injector ConfigMap.
    InjectorText,
    /// A MeshConfig.
    MeshConfig,
    /// Values of the chart, or of Istio's istiod chart.
    ChartValues,
    /// The values that templates see.
    Values,
}

/// A document of a file.
pub(super) struct Document<'a> {
    pub(super) file: Source<'a>,
    /// Its first line.
    start: Place,
    /// What it is, or what it was found to be.
    pub(super) recognized: Result<Recognized<'a>, String>,
}

/// A document that can be checked.
pub(super) enum Recognized<'a> {
    /// A bundle, or something that was made into one; the positions are the file's.
    Bundle { shape: Shape, tree: Node },
    /// A bundle in a ConfigMap.
    BundleText { text: Text<'a> },
    /// Istio's injector ConfigMap; the revision is empty for the default one.
    Injector { config: Text<'a>, values: Text<'a>, revision: String },
    /// Istio's mesh ConfigMap.
    Mesh { text: Text<'a>, revision: String },
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Shape::Bundle => "bundle",
            Shape::BundleConfigMap => "ConfigMap with a bundle",
            Shape::InjectorConfigMap => "Istio's injector ConfigMap",
            Shape::MeshConfigMap => "Istio's mesh ConfigMap",
            Shape::InjectorText => "Istio's injector configuration",
            Shape::MeshConfig => "MeshConfig",
            Shape::ChartValues => "chart values",
            Shape::Values => "values",
        })
    }
}

impl<'a> Recognized<'a> {
    pub(super) fn shape(&self) -> Shape {
        match self {
            Recognized::Bundle { shape, .. } => *shape,
            Recognized::BundleText { .. } => Shape::BundleConfigMap,
            Recognized::Injector { .. } => Shape::InjectorConfigMap,
            Recognized::Mesh { .. } => Shape::MeshConfigMap,
        }
    }

    pub(super) fn mesh_revision(&self) -> Option<&str> {
        match self {
            Recognized::Mesh { revision, .. } => Some(revision),
            _ => None,
        }
    }

    pub(super) fn mesh_text(&self) -> Option<&Text<'a>> {
        match self {
            Recognized::Mesh { text, .. } => Some(text),
            _ => None,
        }
    }
}

impl Document<'_> {
    pub(super) fn unrecognized(&self, found: &str) -> Diagnostic {
        let message = format!(
            "found {found}; expected a bundle (apiVersion outrigger.dev/v1alpha1), a ConfigMap of outrigger or Istio, \
             MeshConfig, or values of the chart or for templates"
        );
        let texts = Texts::of_file(self.file);
        texts.diagnostic(
            self.file.name,
            Some(self.start),
            Severity::Error,
            Rule::UnrecognizedDocument,
            message,
        )
    }
}

/// The documents of a file, those of a List included.
pub(super) fn documents(file: Source<'_>) -> Result<Vec<Document<'_>>, ConfigError> {
    let parts = split_documents(file.text);
    let is_blank =
        |text: &str| text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
    let mut documents = Vec::new();
    for part in &parts {
        if is_blank(part.text) && parts.len() > 1 {
            continue;
        }
        // Replacing everything before it by line breaks keeps the positions of the file.
        let before = file.text.get(..part.start).unwrap_or_default();
        let lines = before.matches('\n').count();
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
        let text = format!("{}{}{}", "\n".repeat(lines), " ".repeat(column), part.text);
        let limits = Limits { bytes: text.len().max(Limits::default().bytes), ..Limits::default() };
        let tree = kubernetes_yaml::parse(&text, &limits)
            .map_err(|error| ConfigError::new(vec![Problem::syntax(file.name, &error)]))?;
        collect(file, tree, &mut documents);
    }
    if documents.is_empty() {
        let start = Place { line: 1, column: 1 };
        documents.push(Document { file, start, recognized: Err("nothing".to_owned()) });
    }
    Ok(documents)
}

fn collect<'a>(file: Source<'a>, tree: Node, documents: &mut Vec<Document<'a>>) {
    let is_list = text(&tree, &["kind"]).is_some_and(|kind| kind == "List" || kind == "ConfigMapList");
    if let (true, Some(Node { kind: Kind::Sequence(items), .. })) = (is_list, tree.at(&["items"])) {
        for item in items.clone() {
            collect(file, item, documents);
        }
        return;
    }
    let start = Place::from(tree.mark);
    documents.push(Document { file, start, recognized: recognize(file, tree) });
}

/// Keys that values for templates have at their root; the charts have them, too.
const VALUES: [&str; 6] =
    ["global", "pilot", "gateways", "sidecarInjectorWebhook", "revision", "revisionTags"];

fn recognize(file: Source<'_>, tree: Node) -> Result<Recognized<'_>, String> {
    let Kind::Mapping(entries) = &tree.kind else {
        return Err(if tree.is_null() { "nothing".to_owned() } else { tree.kind_name().to_owned() });
    };
    let keys: Vec<String> = entries.iter().filter_map(|(key, _)| key.key_text().ok()).collect();
    let has = |wanted: &[&str]| keys.iter().any(|key| wanted.contains(&key.as_str()));
    let (api_version, kind) = (text(&tree, &["apiVersion"]), text(&tree, &["kind"]));
    match (api_version.as_deref(), kind.as_deref()) {
        (_, Some("ConfigMap")) => return config_map(file, &tree),
        (Some(version), _) if version.starts_with("outrigger.dev/") => {
            return Ok(Recognized::Bundle { shape: Shape::Bundle, tree });
        }
        (_, Some("Bundle")) => return Ok(Recognized::Bundle { shape: Shape::Bundle, tree }),
        (Some(_), Some(kind)) => return Err(format!("an object of kind {kind}")),
        _ => {}
    }
    let made = |shape, section: &str| Recognized::Bundle { shape, tree: bundle(section, &tree) };
    if has(&INJECTOR_KEYS) {
        return Ok(made(Shape::InjectorText, "injector"));
    }
    if chart::is_values(&tree, &keys) {
        return Ok(Recognized::Bundle { shape: Shape::ChartValues, tree: chart::bundle(&tree) });
    }
    if has(&VALUES) {
        return Ok(made(Shape::Values, "values"));
    }
    if keys.iter().any(|key| MESH_CONFIG.field_by_json(key).is_some()) {
        return Ok(made(Shape::MeshConfig, "mesh"));
    }
    let shown: Vec<&str> = keys.iter().take(5).map(String::as_str).collect();
    Err(if shown.is_empty() { "an empty map".to_owned() } else { format!("the keys {}", shown.join(", ")) })
}

fn config_map<'a>(file: Source<'a>, tree: &Node) -> Result<Recognized<'a>, String> {
    let name = text(tree, &["metadata", "name"]).unwrap_or_default();
    let key = |key: &str| {
        let node = tree.at(&["data", key])?;
        Text::scalar(file, &format!("ConfigMap {name} key {key}"), node)
    };
    let revision = |base: &str| {
        let rest = name.strip_prefix(base).unwrap_or_default();
        rest.strip_prefix('-').unwrap_or_default().to_owned()
    };
    if let Some(text) = key("bundle") {
        return Ok(Recognized::BundleText { text });
    }
    match (key("config"), key("values"), key("mesh")) {
        (Some(config), Some(values), _) => {
            Ok(Recognized::Injector { config, values, revision: revision("istio-sidecar-injector") })
        }
        (None, None, Some(text)) => Ok(Recognized::Mesh { text, revision: revision("istio") }),
        (Some(_), None, _) => Err(format!("ConfigMap {name} with the key \"config\" but not \"values\"")),
        (None, Some(_), _) => Err(format!("ConfigMap {name} with the key \"values\" but not \"config\"")),
        (None, None, None) => Err(format!(
            "ConfigMap {name} without the keys \"bundle\", \"config\" and \"values\", or \"mesh\""
        )),
    }
}

/// A bundle with one section.
fn bundle(section: &str, content: &Node) -> Node {
    let mut entries = head(content.mark);
    entries.push((scalar(section, content.mark), content.clone()));
    Node { mark: content.mark, kind: Kind::Mapping(entries) }
}
