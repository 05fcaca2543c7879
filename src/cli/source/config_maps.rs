//! Configurations from a cluster's ConfigMaps: outrigger's own with a bundle, or Istio's two with three texts.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;

use super::{
    super::{
        cluster::{ApiError, Session, Target},
        failure::Failure,
    },
    configured::Configured,
};
use crate::{
    config::{Absent, Compat, InjectorConfig, Installation, NativeSidecars, Platform, Source},
    names::DEFAULT_REVISION,
    webhook_config,
};

const INJECTOR: &str = "istio-sidecar-injector";
const MESH: &str = "istio";
const ISTIO_NAMESPACE: &str = "istio-system";

/// The ConfigMaps to read, and settings that they do not contain.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) revision: Option<String>,
    /// `[NAMESPACE/]NAME` of outrigger's own.
    pub(super) bundle: Option<String>,
    /// Name of Istio's injector ConfigMap.
    pub(super) injector: Option<String>,
    /// Name of Istio's mesh ConfigMap.
    pub(super) mesh: Option<String>,
    pub(super) istio_namespace: Option<String>,
    pub(super) compat: Compat,
    pub(super) platform: Platform,
    pub(super) native_sidecars: NativeSidecars,
}

/// The value of a key of a ConfigMap.
pub(in crate::cli) struct ConfigMapText {
    /// Its name in errors.
    pub(in crate::cli) name: String,
    pub(in crate::cli) text: String,
}

/// Istio's three texts.
#[derive(Clone, Copy)]
pub(in crate::cli) enum IstioTexts {
    Config,
    Values,
    InjectorConfig,
}

impl ConfigMapText {
    pub(in crate::cli) fn source(&self) -> Source<'_> {
        Source { name: &self.name, text: &self.text }
    }
}

/// Reads the named ConfigMaps, or else those that exist; returns the configuration in them, without the facts of the
/// cluster.
pub(super) async fn read(session: &Session, wanted: &Wanted) -> Result<Configured, Failure> {
    let revision = wanted.revision.as_deref().unwrap_or(DEFAULT_REVISION);
    if let Some(name) = &wanted.bundle {
        let (namespace, name) = name.split_once('/').unwrap_or((webhook_config::NAMESPACE, name));
        return own(session, wanted, namespace, name).await?.ok_or_else(|| {
            Failure::data(format!(
                "ConfigMap {namespace}/{name} does not exist; expected one with the key \"bundle\", or Istio's with \
                 --injector-config-map and --mesh-config-map"
            ))
        });
    }
    let names_istio = wanted.injector.is_some() || wanted.mesh.is_some() || wanted.istio_namespace.is_some();
    let own_name = webhook_config::service_name(revision);
    if !names_istio && let Some(found) = own(session, wanted, webhook_config::NAMESPACE, &own_name).await? {
        return Ok(found);
    }
    istio(session, wanted, revision, (!names_istio).then_some(own_name.as_str())).await
}

/// outrigger's own ConfigMap; `None` if it does not exist.
async fn own(
    session: &Session,
    wanted: &Wanted,
    namespace: &str,
    name: &str,
) -> Result<Option<Configured>, Failure> {
    let data = match data(session, namespace, name).await {
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) if error.is_forbidden() && wanted.bundle.is_none() => {
            return Err(Failure::error(format!(
                "{error}; with --istio-namespace only Istio's ConfigMaps are read"
            )));
        }
        data => data?,
    };
    let text = value(&data, namespace, name, "bundle")?;
    let (mesh, warnings) = InjectorConfig::from_bundle(text.source())?;
    if let Some(revision) = wanted.revision.as_deref().filter(|revision| *revision != mesh.revision()) {
        let found = mesh.revision();
        return Err(Failure::data(format!(
            "{}: found revision {found:?}; expected {revision:?}, as given by --revision",
            text.name
        )));
    }
    let origin = format!("ConfigMap {namespace}/{name} of {}", session.server);
    Ok(Some(Configured { mesh, warnings, origin }))
}

/// Istio's ConfigMaps. If they are missing and our own was looked for, the error names it too.
async fn istio(
    session: &Session,
    wanted: &Wanted,
    revision: &str,
    own: Option<&str>,
) -> Result<Configured, Failure> {
    let namespace = wanted.istio_namespace.as_deref().unwrap_or(ISTIO_NAMESPACE);
    let injector =
        wanted.injector.clone().unwrap_or_else(|| webhook_config::with_revision(INJECTOR, revision));
    let mesh_name = wanted.mesh.clone().unwrap_or_else(|| webhook_config::with_revision(MESH, revision));
    let missing = |name: &str| match own {
        Some(own) => format!(
            "neither ConfigMap {}/{own} nor {namespace}/{name} exists; expected outrigger's with the key \"bundle\" \
             (--bundle-config-map [NAMESPACE/]NAME), or Istio's with the keys \"config\" and \"values\" \
             (--injector-config-map) and the key \"mesh\" (--mesh-config-map) in --istio-namespace, each for its --revision",
            webhook_config::NAMESPACE
        ),
        None => missing_istio(namespace, name),
    };
    let read = async |name: &str, missing: &dyn Fn(&str) -> String| match data(session, namespace, name).await
    {
        Err(error) if error.is_not_found() => Err(Failure::data(missing(name))),
        data => Ok(data?),
    };
    let injector_data = read(&injector, &missing).await?;
    let config = value(&injector_data, namespace, &injector, "config")?;
    let values = value(&injector_data, namespace, &injector, "values")?;
    let mesh_data = read(&mesh_name, &|name| missing_istio(namespace, name)).await?;
    let mesh_text = value(&mesh_data, namespace, &mesh_name, "mesh")?;
    let installation = Installation {
        revision: revision.to_owned(),
        compat: wanted.compat,
        platform: wanted.platform,
        native_sidecars: wanted.native_sidecars,
        absent: Absent::AsInIstio,
        ..Installation::default()
    };
    let (mesh, warnings) = InjectorConfig::from_config_map(
        config.source().given()?,
        values.source().given()?,
        mesh_text.source().given()?,
        installation,
    )?;
    let origin =
        format!("ConfigMaps {namespace}/{injector} and {namespace}/{mesh_name} of {}", session.server);
    Ok(Configured { mesh, warnings, origin })
}

/// One of Istio's texts, given the name and namespace of its ConfigMap.
pub(in crate::cli) async fn istio_texts(
    session: &Session,
    namespace: &str,
    name: &str,
    which: IstioTexts,
) -> Result<ConfigMapText, Failure> {
    let key = match which {
        IstioTexts::Config => "config",
        IstioTexts::Values => "values",
        IstioTexts::InjectorConfig => "mesh",
    };
    match data(session, namespace, name).await {
        Err(error) if error.is_not_found() => Err(Failure::data(missing_istio(namespace, name))),
        data => value(&data?, namespace, name, key),
    }
}

/// Completes a name like istioctl: the default name gets the revision.
pub(in crate::cli) fn istio_name(given: &str, default: &str, revision: &str) -> String {
    if given == default && !revision.is_empty() { format!("{default}-{revision}") } else { given.to_owned() }
}

fn missing_istio(namespace: &str, name: &str) -> String {
    format!(
        "ConfigMap {namespace}/{name} does not exist; expected the injector's with the keys \"config\" and \"values\", \
         and the mesh's with the key \"mesh\", in the namespace of Istio's control plane, named after its revision"
    )
}

async fn data(session: &Session, namespace: &str, name: &str) -> Result<BTreeMap<String, String>, ApiError> {
    let target = Target::namespaced("configmaps", namespace, name);
    let api: Api<ConfigMap> = Api::namespaced(session.client.clone(), namespace);
    Ok(session.call("get", &target, api.get(name)).await?.data.unwrap_or_default())
}

fn value(
    data: &BTreeMap<String, String>,
    namespace: &str,
    name: &str,
    key: &str,
) -> Result<ConfigMapText, Failure> {
    let Some(text) = data.get(key) else {
        let keys: Vec<&str> = data.keys().map(String::as_str).collect();
        let keys = if keys.is_empty() { "no keys".to_owned() } else { format!("keys {}", keys.join(", ")) };
        return Err(Failure::data(format!(
            "ConfigMap {namespace}/{name}: found {keys}; expected key {key:?}"
        )));
    };
    Ok(ConfigMapText { name: format!("ConfigMap {namespace}/{name} key {key}"), text: text.clone() })
}
