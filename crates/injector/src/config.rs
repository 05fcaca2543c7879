//! The whole configuration as one immutable snapshot: accepted or rejected as a whole.
//!
//! An [`InjectorConfig`] is parsed from a bundle (one document) or from the three texts of Istio's ConfigMaps. Requests share it
//! in an `Arc`; it never changes, and its hash identifies it. Nothing here reads a file, the environment or the
//! cluster.

mod bundle;
mod decode;
mod effective;
mod error;
mod facts;
pub mod guard;
mod injector;
mod known;
mod label;
mod mode;
mod namespace_defaults;
mod namespace_limits;
mod pod_security;
mod proxy_objects;
mod selector;
pub(crate) mod suggest;
mod values;
mod violation;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::headed;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;

use serde_json::Value;

pub use error::{ConfigError, Fault, Place, Problem, Warning};
pub(crate) use facts::{Amounts, Limits, Scope as QuotaScope, amounts};
pub use facts::{LimitRange, Namespace, Node, Nodes, ResourceQuota};
pub use guard::Guard;
pub(crate) use injector::KEYS as INJECTOR_KEYS;
pub use injector::{Injector, Policy};
pub use istio_config::proxy::{ProxyConfigResource, ProxyConfigs};
pub(crate) use known::KnownValues;
pub use mode::{Absent, Compat, NativeSidecars, Platform, ProxyResources};
pub use namespace_defaults::DEFAULTS;
pub use namespace_limits::NamespaceLimits;
pub use pod_security::{Adaptation, PodSecurity, Violations};
pub use selector::{Operator, Requirement, Selector, Unmet};

use crate::overlay::OverlayCache;
use crate::quirks::{Quirk, Quirks};
use crate::specialized::Specialized;
use decode::{At, Decoder, Duplicates};
use gotemplate::Scope;
use kubernetes_yaml as yaml;

/// A text and its name for errors.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The file or the ConfigMap key.
    pub name: &'a str,
    /// The text.
    pub text: &'a str,
}

/// One immutable snapshot of the configuration. Its `Debug` output names it and shows none of its content.
pub struct InjectorConfig {
    installation: Installation,
    guard: Guard,
    quirks: Quirks,
    injector: Injector,
    values: Value,
    mesh_config: Value,
    effective: Value,
    hash: String,
    scope: Scope,
    overlays: OverlayCache,
    revision_tags: Vec<String>,
    specialized: Specialized,
    unasked: [OnceLock<Option<Value>>; 2],
    variants: Vec<Variant>,
}

/// The configuration with changed values, for namespaces whose Pod Security level forbids the result of the unchanged
/// ones.
#[derive(Debug)]
pub struct Variant {
    /// The changes.
    pub changes: Vec<Adaptation>,
    /// The configuration; it has the hash of the one that it belongs to.
    pub config: InjectorConfig,
}

/// The parts of a configuration besides the injector's configuration, the values and MeshConfig.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// The revision that this injector handles, a DNS label.
    pub revision: String,
    /// The compatibility mode.
    pub compat: Compat,
    /// The cluster platform.
    pub platform: Platform,
    /// Whether proxies run as native sidecars.
    pub native_sidecars: NativeSidecars,
    /// The compliance policy passed to the proxies, such as `fips-140-2`; empty for none.
    pub compliance_policy: String,
    /// Known nodes.
    pub nodes: Nodes,
    /// Known ProxyConfig resources.
    pub proxy_configs: ProxyConfigs,
    /// Known namespaces, by name.
    pub namespaces: BTreeMap<String, Namespace>,
    /// Variables visible to the template function `env`.
    pub env: BTreeMap<String, String>,
    /// The annotations of a namespace that are defaults for its pods, some of [`DEFAULTS`].
    pub namespace_defaults: Vec<&'static str>,
    /// How annotations for the proxy's resources combine with the configured ones.
    pub resources: ProxyResources,
    /// The consequence if the Pod Security level of a namespace forbids what injection adds.
    pub pod_security: PodSecurity,
    /// The limits of namespaces with which an injected pod is compared.
    pub namespace_limits: NamespaceLimits,
    /// The source of templates, values and policy if they are not given.
    pub absent: Absent,
}

impl<'a> Source<'a> {
    /// Returns the text unless it contains only blanks, comments and document markers: an empty text of Istio's is more
    /// likely lost, or half written, than intended.
    ///
    /// # Errors
    /// If the text is empty.
    pub fn given(self) -> Result<Source<'a>, ConfigError> {
        let says_nothing = |line: &str| {
            let line = line.trim();
            line.is_empty() || line.starts_with('#') || ["---", "..."].contains(&line)
        };
        if !self.text.trim_start_matches('\u{feff}').lines().all(says_nothing) {
            return Ok(self);
        }
        let fault = Fault::not_accepted("nothing", "a YAML map, {} if there is nothing to say");
        Err(ConfigError::one(self.name, None, "", fault))
    }
}

impl InjectorConfig {
    /// The embedded configuration: that of the smallest bundle.
    ///
    /// # Errors
    /// None; tests verify that it parses.
    pub fn embedded() -> Result<InjectorConfig, ConfigError> {
        InjectorConfig::from_bundle(Source { name: "embedded defaults", text: bundle::SMALLEST })
            .map(|(mesh, _)| mesh)
    }

    /// Parses a bundle. Absent parts come from the embedded configuration; `apiVersion` and `kind` are required.
    ///
    /// # Errors
    /// All problems of the text, each with its place and the expected values.
    pub fn from_bundle(source: Source<'_>) -> Result<(InjectorConfig, Vec<Warning>), ConfigError> {
        InjectorConfig::from_bundle_by(source, Compat::quirks)
    }

    /// [`InjectorConfig::from_bundle`], with the quirks that the function finds for the mode.
    pub(crate) fn from_bundle_by(
        source: Source<'_>,
        quirks: impl Fn(Compat) -> Quirks,
    ) -> Result<(InjectorConfig, Vec<Warning>), ConfigError> {
        let root = decode::parse(source)?;
        InjectorConfig::from_tree_by(source, &root, &quirks)
    }

    /// [`InjectorConfig::from_bundle`] for a tree, such as a bundle made of another document's parts. The positions in the
    /// tree are positions in the text.
    ///
    /// # Errors
    /// As [`InjectorConfig::from_bundle`].
    pub fn from_bundle_tree(
        source: Source<'_>,
        root: &yaml::Node,
    ) -> Result<(InjectorConfig, Vec<Warning>), ConfigError> {
        InjectorConfig::from_tree_by(source, root, &Compat::quirks)
    }

    fn from_tree_by(
        source: Source<'_>,
        root: &yaml::Node,
        quirks: &dyn Fn(Compat) -> Quirks,
    ) -> Result<(InjectorConfig, Vec<Warning>), ConfigError> {
        let mut decoder = Decoder::new(source);
        let Some(parts) = bundle::read(&mut decoder, &At::root(root)) else {
            return Err(ConfigError::new(decoder.problems));
        };
        let null = null_node();
        let nothing = At::root(&null);
        let injector_at = parts.injector.unwrap_or_else(|| nothing.key("injector", &null));
        let values_at = parts.values.unwrap_or_else(|| nothing.key("values", &null));
        let mesh_at = parts.mesh.unwrap_or_else(|| nothing.key("mesh", &null));

        let installation = parts.installation;
        let quirks = quirks(installation.compat);
        let injector = injector::read(&mut decoder, &injector_at, quirks, installation.absent);
        let given = values::read(&mut decoder, &values_at);
        values::hint_at_chart_values(&mut decoder, &values_at.path, &given, &injector);
        known::check(&mut decoder, &values_at, &injector.injector);
        let mesh_config = violation::read_mesh(&mut decoder, &mesh_at);
        if !decoder.problems.is_empty() {
            return Err(ConfigError::new(sorted(decoder.problems)));
        }
        let mut config =
            InjectorConfig::assemble(installation, parts.guard, quirks, injector, given, mesh_config);
        config.add_variants(&|_| quirks)?;
        Ok((config, decoder.warnings))
    }

    /// Adds the configuration with each combination of changes that pods may need for the level of their namespace.
    fn add_variants(&mut self, quirks: &dyn Fn(Compat) -> Quirks) -> Result<(), ConfigError> {
        for changes in self.installation.pod_security.combinations() {
            let text = pod_security::adapted(&self.effective, &changes).to_string();
            let source = Source { name: "podSecurity.adapt", text: &text };
            let root = decode::parse(source)?;
            let (mut config, _) = InjectorConfig::from_tree_by(source, &root, quirks)?;
            config.hash.clone_from(&self.hash);
            self.variants.push(Variant { changes, config });
        }
        Ok(())
    }

    /// Parses the three texts of Istio's ConfigMaps unchanged: keys `config` and `values` of the injector's, key `mesh`
    /// of the mesh's. A warning's path starts with the name of its text.
    ///
    /// # Errors
    /// All problems of the three texts, each with its place and the expected values.
    pub fn from_config_map(
        config: Source<'_>,
        values: Source<'_>,
        mesh: Source<'_>,
        installation: Installation,
    ) -> Result<(InjectorConfig, Vec<Warning>), ConfigError> {
        let mut problems = Vec::new();
        let mut warnings = Vec::new();
        if !label::is_dns_label(&installation.revision) {
            let fault = Fault::not_accepted(error::quoted(&installation.revision), bundle::REVISION);
            problems.extend(ConfigError::one("installation", None, "revision", fault).into_problems());
        }
        let quirks = installation.compat.quirks();
        let injector = read_text(config, &mut problems, &mut warnings, |decoder, at| {
            injector::read(decoder, at, quirks, installation.absent)
        });
        let given = read_text(values, &mut problems, &mut warnings, values::read);
        let mesh_config = read_text(mesh, &mut problems, &mut warnings, violation::read_mesh);
        match (injector, given, mesh_config) {
            (Some(injector), Some(given), Some(mesh_config)) if problems.is_empty() => {
                let config = InjectorConfig::assemble(
                    installation,
                    Guard::default(),
                    quirks,
                    injector,
                    given,
                    mesh_config,
                );
                Ok((config, warnings))
            }
            _ => Err(ConfigError::new(problems)),
        }
    }

    /// The snapshot with a cluster's ProxyConfig resources added; an existing one of the same name is replaced.
    #[must_use]
    pub fn with_proxy_configs(
        mut self,
        resources: impl IntoIterator<Item = ProxyConfigResource>,
    ) -> InjectorConfig {
        let own = self.installation.proxy_configs.iter().cloned();
        let all: BTreeMap<_, _> = own
            .chain(resources)
            .map(|resource| ((resource.namespace.clone(), resource.name.clone()), resource))
            .collect();
        self.installation.proxy_configs = ProxyConfigs::new(all.into_values());
        effective::set_proxy_configs(&mut self.effective, &self.installation.proxy_configs);
        self.hash = effective::hash(&self.effective);
        for Variant { config, .. } in &mut self.variants {
            config.installation.proxy_configs = self.installation.proxy_configs.clone();
            effective::set_proxy_configs(&mut config.effective, &self.installation.proxy_configs);
            config.hash.clone_from(&self.hash);
        }
        self
    }

    /// The keys of values that a template reads and that the embedded defaults have, but these values lack; those of
    /// entirely missing sections first.
    pub fn values_lacking(&self, template: &str) -> Vec<String> {
        self.injector
            .templates
            .get(template)
            .map(|template| known::lacking(&self.values, template))
            .unwrap_or_default()
    }

    /// The bundle of the embedded configuration, with comments.
    pub fn default_bundle() -> &'static str {
        include_str!("config/defaults/bundle.yaml")
    }

    /// Converts the complete values of a past rendering to those that a bundle has to give: defaults that they lack
    /// become nulls.
    pub fn values_to_give(complete: &Value) -> Value {
        values::under(values::defaults(), complete)
    }

    /// Converts a complete MeshConfig in canonical protojson to the form that a bundle has to give: absent zero values
    /// are written out.
    pub fn mesh_config_to_give(complete: &Value) -> Value {
        effective::mesh_under_defaults(complete)
    }

    /// The embedded default values.
    pub fn default_values() -> &'static Value {
        values::defaults()
    }

    /// The first 16 hexadecimal digits of the SHA-256 of the effective configuration.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The effective configuration as a bundle: parsing it gives a snapshot with the same hash.
    pub fn effective_bundle(&self) -> Value {
        self.effective.clone()
    }

    /// The revision that this injector handles.
    pub fn revision(&self) -> &str {
        &self.installation.revision
    }

    /// The revision tags that point to this injector, according to the values.
    pub fn revision_tags(&self) -> &[String] {
        &self.revision_tags
    }

    /// Which pods are injected, and with which templates.
    pub fn injector(&self) -> &Injector {
        &self.injector
    }

    /// Whether pods can request no templates but the embedded ones, by their own names.
    pub fn has_embedded_templates(&self) -> bool {
        let templates = self.effective.pointer("/injector/templates").and_then(Value::as_object);
        let given = templates.into_iter().flatten().filter(|(_, source)| !source.is_null());
        let is_embedded = |(name, source): (&String, &Value)| {
            injector::EMBEDDED.iter().any(|(known, text)| known == name && source.as_str() == Some(text))
        };
        self.injector.aliases.is_empty() && given.into_iter().all(is_embedded)
    }

    /// The values that templates see: a map.
    pub fn values(&self) -> &Value {
        &self.values
    }

    /// The value at a path of keys, such as `["global", "hub"]`; absent and null are the same.
    pub fn value(&self, path: &[&str]) -> Option<&Value> {
        let found = path.iter().try_fold(&self.values, |value, key| value.get(key))?;
        (!found.is_null()).then_some(found)
    }

    /// MeshConfig as protojson, with Istio's defaults filled in.
    pub fn mesh_config(&self) -> &Value {
        &self.mesh_config
    }

    /// The compatibility mode.
    pub fn compat(&self) -> Compat {
        self.installation.compat
    }

    /// The behaviors of Istio that are kept.
    pub fn quirks(&self) -> Quirks {
        self.quirks
    }

    /// Whether the injector behaves like Istio in one respect.
    pub fn keeps(&self, quirk: Quirk) -> bool {
        self.quirks.contains(quirk)
    }

    /// The cluster platform.
    pub fn platform(&self) -> Platform {
        self.installation.platform
    }

    /// Whether proxies run as native sidecars.
    pub fn native_sidecars(&self) -> NativeSidecars {
        self.installation.native_sidecars
    }

    /// The compliance policy passed to the proxies; empty for none.
    pub fn compliance_policy(&self) -> &str {
        &self.installation.compliance_policy
    }

    /// Known nodes.
    pub fn nodes(&self) -> &Nodes {
        &self.installation.nodes
    }

    /// Known ProxyConfig resources.
    pub fn proxy_configs(&self) -> &ProxyConfigs {
        &self.installation.proxy_configs
    }

    /// Known namespaces, by name.
    pub fn namespaces(&self) -> &BTreeMap<String, Namespace> {
        &self.installation.namespaces
    }

    /// The namespace with this name, if known.
    pub fn namespace(&self, name: &str) -> Option<&Namespace> {
        self.installation.namespaces.get(name)
    }

    /// The annotations of a namespace that are defaults for its pods.
    pub fn namespace_defaults(&self) -> &[&'static str] {
        &self.installation.namespace_defaults
    }

    /// Whether results depend on the labels of namespaces besides those about injection.
    pub fn reads_namespace_labels(&self) -> bool {
        self.guard.reads_namespace_labels() || self.pod_security().must_be_known()
    }

    /// The consequence if the Pod Security level of a namespace forbids what injection adds.
    pub fn pod_security(&self) -> &PodSecurity {
        &self.installation.pod_security
    }

    /// The limits of namespaces with which an injected pod is compared.
    pub fn namespace_limits(&self) -> NamespaceLimits {
        self.installation.namespace_limits
    }

    /// The configuration with the changes that pods may need for the level of their namespace, the smallest changes first.
    pub fn variants(&self) -> &[Variant] {
        &self.variants
    }

    /// The rules and the override policy.
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Whether results depend on the cluster's data about namespaces: their IDs on OpenShift, or annotations that are
    /// defaults.
    pub fn needs_namespaces(&self) -> bool {
        self.platform() == Platform::OpenShift
            || !self.namespace_defaults().is_empty()
            || self.reads_namespace_labels()
    }

    /// How annotations for the proxy's resources combine with the configured ones.
    pub fn resources(&self) -> ProxyResources {
        self.installation.resources
    }

    /// The environment of templates besides their data.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The cache of parsed overlays for this configuration's templates.
    pub fn overlays(&self) -> &OverlayCache {
        &self.overlays
    }

    /// This configuration's specialized templates.
    pub fn specialized(&self) -> &Specialized {
        &self.specialized
    }

    /// The output of the default templates for a pod without requests, with or without native sidecars; computed once.
    pub fn unasked(&self, native: bool, make: impl FnOnce() -> Option<Value>) -> Option<&Value> {
        let [classic, native_place] = &self.unasked;
        let place = if native { native_place } else { classic };
        place.get_or_init(make).as_ref()
    }

    /// Variables visible to the template function `env`.
    pub fn env(&self) -> &BTreeMap<String, String> {
        &self.installation.env
    }

    fn assemble(
        installation: Installation,
        guard: Guard,
        quirks: Quirks,
        injector: injector::Read,
        given: Value,
        mesh_config: Value,
    ) -> InjectorConfig {
        let values = match installation.absent {
            Absent::Embedded => values::over(values::defaults(), &given),
            Absent::AsInIstio => given,
        };
        let effective = effective::bundle(&installation, &guard, &injector, &values, &mesh_config);
        let hash = effective::hash(&effective);
        let scope = Scope { env: installation.env.clone() };
        let overlays = OverlayCache::default();
        let tags = values.get("revisionTags").and_then(Value::as_array).into_iter().flatten();
        let revision_tags = tags.filter_map(Value::as_str).map(str::to_owned).collect();
        let specialized = Specialized::new(&injector.injector.templates);
        InjectorConfig {
            installation,
            guard,
            quirks,
            injector: injector.injector,
            values,
            mesh_config,
            effective,
            hash,
            scope,
            overlays,
            revision_tags,
            specialized,
            unasked: Default::default(),
            variants: Vec::new(),
        }
    }
}

impl fmt::Debug for InjectorConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InjectorConfig")
            .field("revision", &self.revision())
            .field("hash", &self.hash)
            .finish_non_exhaustive()
    }
}

impl Default for Installation {
    fn default() -> Installation {
        Installation {
            revision: "default".to_owned(),
            compat: Compat::default(),
            platform: Platform::default(),
            native_sidecars: NativeSidecars::default(),
            compliance_policy: String::new(),
            nodes: Nodes::default(),
            proxy_configs: ProxyConfigs::default(),
            namespaces: BTreeMap::new(),
            env: BTreeMap::new(),
            namespace_defaults: Vec::new(),
            resources: ProxyResources::default(),
            pod_security: PodSecurity::default(),
            namespace_limits: NamespaceLimits::default(),
            absent: Absent::default(),
        }
    }
}

/// Parses one of Istio's texts, like sigs.k8s.io/yaml: only the first of several documents is read.
fn read_text<T>(
    source: Source<'_>,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<Warning>,
    read: impl FnOnce(&mut Decoder<'_>, &At<'_>) -> T,
) -> Option<T> {
    let mut decoder = Decoder::new(source);
    let value = match decode::parse_first(source, &mut decoder) {
        Ok(root) => {
            let at = At::root(&root);
            decoder.inspect(&at, Duplicates::LastWins);
            Some(read(&mut decoder, &at))
        }
        Err(error) => {
            decoder.problems.extend(error.into_problems());
            None
        }
    };
    problems.extend(sorted(decoder.problems));
    warnings.extend(decoder.warnings.into_iter().map(|warning| {
        Warning {
            path: [source.name, &warning.path]
                .into_iter()
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>()
                .join(": "),
            message: warning.message,
        }
    }));
    value
}

fn null_node() -> yaml::Node {
    let kind = yaml::Kind::Scalar { text: String::new(), style: yaml::Style::Plain, tag: None };
    yaml::Node { mark: yaml::Mark { line: 1, column: 1, offset: 0 }, kind }
}

/// Sorts by position in the document; several problems at one place stay in the order in which they were found.
fn sorted(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by_key(|problem| problem.place);
    problems.dedup();
    problems
}
