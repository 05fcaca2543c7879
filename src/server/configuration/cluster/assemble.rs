//! Assembles a configuration from the objects found in the cluster. Pure, and the same in every replica.

use std::sync::Arc;

use super::{
    ConfigMaps, Installation,
    config_maps::Role,
    inputs::{Found, Inputs, Reference, Resources, Slot},
};
use crate::config::{self, Absent, InjectorConfig, Source, Warning};

/// Whether a configuration can be assembled.
#[derive(Debug)]
pub(in crate::server) enum Gathered {
    /// Not everything has been observed yet.
    Waiting,
    /// A required object or key is missing; the sentence names it.
    Missing(String),
    /// Everything is present.
    Texts(Texts),
}

/// The inputs of a configuration.
#[derive(Clone, Debug)]
pub(in crate::server) struct Texts {
    maps: Maps,
    proxy_configs: Arc<Resources>,
}

#[derive(Clone, Debug)]
enum Maps {
    Bundle { revision: String, bundle: Arc<Found> },
    Istio { installation: Installation, injector: Arc<Found>, mesh: Arc<Found> },
}

/// A configuration that was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) struct Refused {
    pub(in crate::server) sentence: String,
    /// The ConfigMap with the error.
    pub(in crate::server) about: Reference,
}

/// Checks whether everything is present.
pub(in crate::server) fn gather(source: &ConfigMaps, inputs: &Inputs) -> Gathered {
    match (maps(source, inputs), &inputs.proxy_configs) {
        (Err(gathered), _) => gathered,
        (Ok(_), None) => Gathered::Waiting,
        (Ok(maps), Some(proxy_configs)) => {
            Gathered::Texts(Texts { maps, proxy_configs: proxy_configs.clone() })
        }
    }
}

/// Assembles the configuration.
pub(in crate::server) fn mesh(texts: &Texts) -> Result<(InjectorConfig, Vec<Warning>), Refused> {
    let (mesh, warnings) = match &texts.maps {
        Maps::Bundle { revision, bundle: found } => bundle(revision, found)?,
        Maps::Istio { installation, injector, mesh } => istio(installation, injector, mesh)?,
    };
    Ok((mesh.with_proxy_configs(texts.proxy_configs.values().cloned()), warnings))
}

impl Texts {
    /// The ConfigMap for Events, unless another one contains the error.
    pub(in crate::server) fn reference(&self) -> &Reference {
        match &self.maps {
            Maps::Bundle { bundle: found, .. } | Maps::Istio { injector: found, .. } => &found.reference,
        }
    }
}

fn maps(source: &ConfigMaps, inputs: &Inputs) -> Result<Maps, Gathered> {
    Ok(match source {
        ConfigMaps::Bundle { namespace, name, revision } => Maps::Bundle {
            revision: revision.clone(),
            bundle: taken(Role::Bundle, namespace, name, &inputs.injector)?,
        },
        ConfigMaps::Istio { namespace, injector, mesh, installation } => Maps::Istio {
            installation: installation.clone(),
            injector: taken(Role::Injector, namespace, injector, &inputs.injector)?,
            mesh: taken(Role::InjectorConfig, namespace, mesh, &inputs.mesh)?,
        },
    })
}

fn bundle(revision: &str, found: &Found) -> Result<(InjectorConfig, Vec<Warning>), Refused> {
    let refused = |sentence: String| Refused { sentence, about: found.reference.clone() };
    let name = named(found, "bundle");
    let source = Source { name: &name, text: text(found, "bundle") };
    let (mesh, warnings) = InjectorConfig::from_bundle(source).map_err(|error| refused(error.to_string()))?;
    if mesh.revision() != revision {
        return Err(refused(format!(
            "{name}: revision: found {:?}, expected the revision of this process, {revision:?}",
            mesh.revision()
        )));
    }
    Ok((mesh, warnings))
}

fn istio(
    installation: &Installation,
    injector: &Found,
    mesh: &Found,
) -> Result<(InjectorConfig, Vec<Warning>), Refused> {
    let names = [named(injector, "config"), named(injector, "values"), named(mesh, "mesh")];
    let [config_name, values_name, mesh_name] = &names;
    let installation = config::Installation {
        revision: installation.revision.clone(),
        compat: installation.compat,
        platform: installation.platform,
        native_sidecars: installation.native_sidecars,
        compliance_policy: installation.compliance_policy.clone(),
        env: installation.env.clone(),
        // Istio's chart writes every relevant setting into its ConfigMaps, so absent settings are not wanted.
        absent: Absent::AsInIstio,
        ..config::Installation::default()
    };
    let given = |name, found, key| Source { name, text: text(found, key) }.given();
    let texts = given(config_name, injector, "config").and_then(|config| {
        Ok((config, given(values_name, injector, "values")?, given(mesh_name, mesh, "mesh")?))
    });
    texts
        .and_then(|(config, values, mesh)| {
            InjectorConfig::from_config_map(config, values, mesh, installation)
        })
        .map_err(|error| {
            let only_mesh = error.problems().iter().all(|problem| problem.source == *mesh_name);
            let about = if only_mesh { mesh } else { injector };
            Refused { sentence: error.to_string(), about: about.reference.clone() }
        })
}

/// The ConfigMap in a slot with all its keys, or the reason it cannot be used.
fn taken(role: Role, namespace: &str, name: &str, slot: &Slot) -> Result<Arc<Found>, Gathered> {
    let wanted = role.keys();
    let found = match slot {
        Slot::Unknown => return Err(Gathered::Waiting),
        Slot::Absent => {
            let keys = quoted(wanted);
            let sentence = format!("ConfigMap {namespace}/{name} does not exist; expected one with {keys}");
            return Err(Gathered::Missing(sentence));
        }
        Slot::Found(found) => found,
    };
    let missing: Vec<&str> = wanted.iter().copied().filter(|key| !found.texts.contains_key(key)).collect();
    if missing.is_empty() {
        return Ok(found.clone());
    }
    let there = match found.keys.as_slice() {
        [] => "it is empty".to_owned(),
        keys => format!("found {}", quoted(keys)),
    };
    let missing = quoted(&missing);
    Err(Gathered::Missing(format!("ConfigMap {namespace}/{name} lacks {missing}; {there}")))
}

fn quoted(keys: &[impl AsRef<str>]) -> String {
    let what = if keys.len() == 1 { "the key" } else { "the keys" };
    let keys: Vec<String> = keys.iter().map(|key| format!("{:?}", key.as_ref())).collect();
    format!("{what} {}", keys.join(" and "))
}

fn named(found: &Found, key: &str) -> String {
    format!("ConfigMap {}/{} key {key}", found.reference.namespace, found.reference.name)
}

fn text<'f>(found: &'f Found, key: &str) -> &'f str {
    found.texts.get(key).map(String::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests;
