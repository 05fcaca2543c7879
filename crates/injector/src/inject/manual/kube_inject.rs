//! The configuration of `istioctl kube-inject`: the files named by its flags, as one snapshot.
//!
//! Of the injector's configuration, only the templates count, and Istio's behavior is reproduced exactly, including its
//! bugs: see [`Rules::TemplatesOnly`](crate::inject::Rules::TemplatesOnly).

use serde_json::{Map, Value, json};

use crate::{
    config::{
        Absent, Compat, ConfigError, Fault, InjectorConfig, Installation, NativeSidecars, Place, Problem,
        Source, Warning,
    },
    inject::native::detected,
};
use kubernetes_yaml::{self as yaml, Limits};

/// The texts of the files; absent ones come from the embedded defaults, where istioctl would ask a cluster.
#[derive(Clone, Copy, Debug, Default)]
pub struct Files<'a> {
    /// `--injectConfigFile`: the injector's configuration, or the text of a template.
    pub inject_config: Option<Source<'a>>,
    /// `--meshConfigFile`: MeshConfig.
    pub mesh_config: Option<Source<'a>>,
    /// `--valuesFile`: the values.
    pub values: Option<Source<'a>>,
    /// `--operatorFileName`: an IstioOperator, whose values and MeshConfig override the other files.
    pub operator: Option<Source<'a>>,
}

/// The template name for a bare text.
const TEMPLATE: &str = "sidecar";

/// The configuration for a revision (empty: the default one); native sidecars only on request, because nodes are not
/// known.
///
/// # Errors
/// All problems of the files.
pub fn mesh(
    files: &Files<'_>,
    revision: &str,
    native_sidecars: NativeSidecars,
) -> Result<(InjectorConfig, Vec<Warning>), ConfigError> {
    let operator = files.operator.map(read_operator).transpose()?.unwrap_or_default();
    let from_operator = |value: &Option<Value>| value.as_ref().map(Value::to_string);
    let (operator_values, operator_mesh) =
        (from_operator(&operator.values), from_operator(&operator.mesh_config));
    let operator_source = |text: &'_ Option<String>| text.is_some().then_some(files.operator).flatten();

    // The values in a file are complete, as Istio's chart writes them; those of an operator are merged over the
    // chart's.
    let values_are_complete = files.values.is_some() && operator_values.is_none();
    let inject_config = inject_config_text(files.inject_config, values_are_complete);
    let inject_config = match (&inject_config, files.inject_config) {
        (Some(text), given) => Source { name: given.map_or("injector", |given| given.name), text },
        (None, Some(given)) => given,
        (None, None) => Source { name: "injector", text: "" },
    };
    let values = overridden(&operator_values, operator_source(&operator_values), files.values, "values");
    let mesh_config = overridden(&operator_mesh, operator_source(&operator_mesh), files.mesh_config, "mesh");

    let installation = Installation {
        revision: if revision.is_empty() { Installation::default().revision } else { revision.to_owned() },
        compat: Compat::Istio,
        native_sidecars,
        absent: if values_are_complete { Absent::AsInIstio } else { Absent::Embedded },
        ..Installation::default()
    };
    let (mesh, mut warnings) =
        InjectorConfig::from_config_map(inject_config, values, mesh_config, installation)?;
    warnings.retain(|warning| counts(warning, inject_config.name));
    warnings.extend(operator.warnings);
    Ok((mesh, warnings))
}

/// The configuration of a bundle, under kube-inject's rules. Native sidecars are set by `native_sidecars`, else by the
/// bundle; with `auto`, they depend on the nodes it lists, and without nodes they are off.
///
/// # Errors
/// All problems of the bundle.
pub fn mesh_of_bundle(
    source: Source<'_>,
    revision: &str,
    native_sidecars: Option<NativeSidecars>,
) -> Result<(InjectorConfig, Vec<Warning>), ConfigError> {
    let (mesh, warnings) = InjectorConfig::from_bundle(source)?;
    let mut bundle = mesh.effective_bundle();
    let revision = if revision.is_empty() { mesh.revision() } else { revision };
    let has_nodes = mesh.nodes().kubelet_minors().next().is_some();
    let native_sidecars = native_sidecars.unwrap_or(match mesh.native_sidecars() {
        NativeSidecars::Auto if has_nodes && detected(NativeSidecars::Auto, Some(mesh.nodes()), None) => {
            NativeSidecars::Enabled
        }
        NativeSidecars::Auto => NativeSidecars::Disabled,
        said => said,
    });
    for (key, value) in [
        ("revision", json!(revision)),
        ("compat", json!(Compat::Istio.as_str())),
        ("nativeSidecars", json!(native_sidecars.as_str())),
    ] {
        if let Some(bundle) = bundle.as_object_mut() {
            bundle.insert(key.to_owned(), value);
        }
    }
    let text = bundle.to_string();
    let (mesh, _) = InjectorConfig::from_bundle(Source { name: source.name, text: &text })?;
    Ok((mesh, warnings))
}

/// The message if a manifest cannot be injected because a values file lacks values that the template reads; `None` if
/// nothing is missing.
pub fn lacking_values(mesh: &InjectorConfig) -> Option<String> {
    const SHOWN: usize = 4;
    let lacking = mesh.values_lacking(TEMPLATE);
    let mut list = lacking.get(..SHOWN.min(lacking.len())).unwrap_or_default().join(", ");
    if lacking.len() > SHOWN {
        list.push_str(&format!(" and {} more", lacking.len() - SHOWN));
    }
    (!lacking.is_empty()).then(|| {
        format!(
            "the values file must be complete, but lacks {list}; use the ConfigMap's key `values`, or --bundle for \
             values that are merged over the defaults"
        )
    })
}

/// The text for `--injectConfigFile`, unless it can be used unchanged.
fn inject_config_text(given: Option<Source<'_>>, values_are_complete: bool) -> Option<String> {
    match given {
        Some(given) if is_bare_template(given.text) => {
            Some(json!({"policy": "enabled", "templates": {TEMPLATE: given.text}}).to_string())
        }
        Some(_) => None,
        // Without default values there are no default templates either: they are written out.
        None if values_are_complete => embedded_injector(),
        None => None,
    }
}

fn embedded_injector() -> Option<String> {
    let mesh = InjectorConfig::embedded().ok()?;
    Some(mesh.effective_bundle().get("injector")?.to_string())
}

/// Whether a text is a template rather than a configuration with templates (istioctl's `readInjectConfigFile`).
fn is_bare_template(text: &str) -> bool {
    let templates = |value: Value| value.get("templates").and_then(Value::as_object).map(Map::len);
    yaml::load(text, &Limits::default()).ok().and_then(templates).is_none_or(|count| count == 0)
}

fn overridden<'a>(
    text: &'a Option<String>,
    operator: Option<Source<'a>>,
    file: Option<Source<'a>>,
    name: &'static str,
) -> Source<'a> {
    match (text, operator, file) {
        (Some(text), Some(operator), _) => Source { name: operator.name, text },
        (_, _, Some(file)) => file,
        _ => Source { name, text: "" },
    }
}

/// Warnings about settings that do not count here would be misleading.
fn counts(warning: &Warning, inject_config: &str) -> bool {
    let path = warning.path.strip_prefix(inject_config).and_then(|path| path.strip_prefix(": "));
    path.is_none_or(|path| path.starts_with("templates"))
}

/// The relevant parts of an IstioOperator.
#[derive(Default)]
struct Operator {
    values: Option<Value>,
    mesh_config: Option<Value>,
    warnings: Vec<Warning>,
}

fn read_operator(source: Source<'_>) -> Result<Operator, ConfigError> {
    let refused = |place: Option<Place>, path: &str, fault: Fault| {
        let problem = Problem { source: source.name.to_owned(), place, path: path.to_owned(), fault };
        ConfigError::new(vec![problem])
    };
    let operator = yaml::load(source.text, &Limits::default()).map_err(|error| {
        let message = format!("{}; expected {}", error.found(), error.accepted());
        refused(Some(Place::from(error.mark())), "", Fault::Syntax(message))
    })?;
    let kind = operator.get("kind").and_then(Value::as_str).unwrap_or_default();
    if kind != "IstioOperator" {
        let found = Value::from(kind).to_string();
        return Err(refused(
            None,
            "kind",
            Fault::NotAccepted { found, accepted: "IstioOperator".to_owned(), nearest: None },
        ));
    }
    let spec = operator.get("spec");
    let field = |key: &str| spec.and_then(|spec| spec.get(key)).filter(|value| !value.is_null());
    let mut values = field("values").cloned();
    // Shorthands for values (Istio's `translateIstioOperatorToHelm`).
    for key in ["hub", "tag"] {
        if let Some(short) = field(key) {
            put_global(values.get_or_insert_with(|| json!({})), key, short);
        }
    }
    let warnings = field("profile")
        .filter(|profile| profile.as_str() != Some("default"))
        .map(|profile| Warning {
            path: format!("{}: spec.profile", source.name),
            message: format!(
                "profile {profile} is not applied; only values, meshConfig, hub and tag are read"
            ),
        })
        .into_iter()
        .collect();
    Ok(Operator { values, mesh_config: field("meshConfig").cloned(), warnings })
}

fn put_global(values: &mut Value, key: &str, value: &Value) {
    let Some(values) = values.as_object_mut() else { return };
    if let Some(global) = values.entry("global").or_insert_with(|| json!({})).as_object_mut() {
        global.insert(key.to_owned(), value.clone());
    }
}
