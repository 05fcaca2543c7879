//! Configurations from a cluster's ConfigMaps: outrigger's own with a bundle, or Istio's two with three texts.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;

use super::{
    super::{
        cluster::{Asked, Kind, Session, Trouble},
        failure::Failure,
    },
    from_cluster::FromCluster,
};
use crate::{
    config::{Absent, Installation, Mesh, Source, Warning},
    names::DEFAULT_REVISION,
    webhook_config,
};

const INJECTOR: &str = "istio-sidecar-injector";
const MESH: &str = "istio";
const ISTIO_NAMESPACE: &str = "istio-system";

/// A configuration from ConfigMaps, without the cluster state.
pub(super) struct Found {
    pub(super) mesh: Mesh,
    pub(super) warnings: Vec<Warning>,
    /// The names of the ConfigMaps.
    pub(super) origin: String,
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
    Mesh,
}

impl ConfigMapText {
    pub(in crate::cli) fn source(&self) -> Source<'_> {
        Source { name: &self.name, text: &self.text }
    }
}

/// Reads the ConfigMaps that the flags name, or else those that exist.
pub(super) async fn read(session: &Session, flags: &FromCluster) -> Result<Found, Failure> {
    let revision = flags.revision.as_deref().unwrap_or(DEFAULT_REVISION);
    if let Some(name) = &flags.bundle_config_map {
        let (namespace, name) = name.split_once('/').unwrap_or((webhook_config::NAMESPACE, name));
        return own(session, flags, namespace, name).await?.ok_or_else(|| {
            Failure::data(format!(
                "ConfigMap {namespace}/{name} does not exist; expected one with the key \"bundle\", or Istio's with \
                 --injector-config-map and --mesh-config-map"
            ))
        });
    }
    let names_istio = flags.injector_config_map.is_some()
        || flags.mesh_config_map.is_some()
        || flags.istio_namespace.is_some();
    let own_name = webhook_config::service_name(revision);
    if !names_istio && let Some(found) = own(session, flags, webhook_config::NAMESPACE, &own_name).await? {
        return Ok(found);
    }
    istio(session, flags, revision, (!names_istio).then_some(own_name.as_str())).await
}

/// outrigger's own ConfigMap; `None` if it does not exist.
async fn own(
    session: &Session,
    flags: &FromCluster,
    namespace: &str,
    name: &str,
) -> Result<Option<Found>, Failure> {
    let data = match data(session, namespace, name).await {
        Err(trouble) if trouble.kind == Kind::Missing => return Ok(None),
        Err(trouble) if trouble.kind == Kind::Forbidden && flags.bundle_config_map.is_none() => {
            let sentence = trouble.sentence;
            return Err(Failure::error(format!(
                "{sentence}; with --istio-namespace only Istio's ConfigMaps are read"
            )));
        }
        data => data?,
    };
    let text = value(&data, namespace, name, "bundle")?;
    let (mesh, warnings) = Mesh::from_bundle(text.source())?;
    if let Some(revision) = flags.revision.as_deref().filter(|revision| *revision != mesh.revision()) {
        let found = mesh.revision();
        return Err(Failure::data(format!(
            "{}: found revision {found:?}; expected {revision:?}, as given by --revision",
            text.name
        )));
    }
    let origin = format!("ConfigMap {namespace}/{name} of {}", session.server);
    Ok(Some(Found { mesh, warnings, origin }))
}

/// Istio's ConfigMaps. If they are missing and our own was looked for, the error names it too.
async fn istio(
    session: &Session,
    flags: &FromCluster,
    revision: &str,
    own: Option<&str>,
) -> Result<Found, Failure> {
    let namespace = flags.istio_namespace.as_deref().unwrap_or(ISTIO_NAMESPACE);
    let injector = flags
        .injector_config_map
        .clone()
        .unwrap_or_else(|| webhook_config::with_revision(INJECTOR, revision));
    let mesh_name =
        flags.mesh_config_map.clone().unwrap_or_else(|| webhook_config::with_revision(MESH, revision));
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
        Err(trouble) if trouble.kind == Kind::Missing => Err(Failure::data(missing(name))),
        data => Ok(data?),
    };
    let injector_data = read(&injector, &missing).await?;
    let config = value(&injector_data, namespace, &injector, "config")?;
    let values = value(&injector_data, namespace, &injector, "values")?;
    let mesh_data = read(&mesh_name, &|name| missing_istio(namespace, name)).await?;
    let mesh_text = value(&mesh_data, namespace, &mesh_name, "mesh")?;
    let installation = Installation {
        revision: revision.to_owned(),
        compat: flags.compat(),
        platform: flags.platform(),
        native_sidecars: flags.native_sidecars(),
        absent: Absent::AsInIstio,
        ..Installation::default()
    };
    let (mesh, warnings) = Mesh::from_config_map(
        config.source().given()?,
        values.source().given()?,
        mesh_text.source().given()?,
        installation,
    )?;
    let origin =
        format!("ConfigMaps {namespace}/{injector} and {namespace}/{mesh_name} of {}", session.server);
    Ok(Found { mesh, warnings, origin })
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
        IstioTexts::Mesh => "mesh",
    };
    match data(session, namespace, name).await {
        Err(trouble) if trouble.kind == Kind::Missing => Err(Failure::data(missing_istio(namespace, name))),
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

async fn data(session: &Session, namespace: &str, name: &str) -> Result<BTreeMap<String, String>, Trouble> {
    let asked = Asked { verb: "get", resource: "configmaps", name, namespace };
    let api: Api<ConfigMap> = Api::namespaced(session.client.clone(), namespace);
    Ok(session.call(&asked, api.get(name)).await?.data.unwrap_or_default())
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
