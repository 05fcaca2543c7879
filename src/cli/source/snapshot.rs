//! The state of a cluster besides its ConfigMaps: nodes, ProxyConfigs, and namespaces where their labels or, on
//! OpenShift, their annotations count. Objects that may not be read are left out, with a warning.

use k8s_openapi::api::core::v1::{Namespace, Node};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::{Map, Value, json};

use super::{
    super::{
        cluster::{ApiError, Session, Target},
        failure::Failure,
    },
    configured::{Configured, Purpose},
};
use crate::annotation::row;
use crate::config::{InjectorConfig, NativeSidecars, Platform, Source, Warning};

/// The configuration with the facts of the cluster.
pub(super) async fn complete(
    session: &Session,
    found: Configured,
    purpose: Purpose,
) -> Result<Configured, Failure> {
    let Configured { mesh, mut warnings, origin } = found;
    let Value::Object(mut bundle) = mesh.effective_bundle() else {
        return Err(Failure::data(format!("{origin}: found no bundle")));
    };
    let mut put =
        |bundle: &mut Map<String, Value>, key: &str, read: Result<Vec<Value>, ApiError>, lacking: &str| {
            match read {
                Ok(list) => {
                    bundle.insert(key.to_owned(), Value::Array(list));
                    Ok(())
                }
                Err(error) if error.is_forbidden() => {
                    let message = format!("{error}; {lacking}");
                    warnings.push(Warning { path: key.to_owned(), message });
                    Ok(())
                }
                Err(error) => Err(Failure::from(error)),
            }
        };
    if mesh.native_sidecars() == NativeSidecars::Auto {
        put(&mut bundle, "nodes", nodes(session).await, "assuming that no node rules out native sidecars")?;
    }
    put(&mut bundle, "proxyConfigs", proxy_configs(session).await, "ProxyConfig resources are left out")?;
    let is_openshift = mesh.platform() == Platform::OpenShift;
    let reads_annotations = mesh.needs_namespaces();
    if purpose == Purpose::Decide || reads_annotations {
        let lacking = match (purpose, is_openshift) {
            (Purpose::Show, false) => "the defaults that namespaces give their pods are not known",
            (Purpose::Show, true) => "the ranges of user IDs of namespaces are not known",
            (Purpose::Decide, false) => "every namespace is assumed to be injected",
            (Purpose::Decide, true) => {
                "every namespace is assumed to be injected, and the ranges of user IDs of namespaces are not known"
            }
        };
        put(&mut bundle, "namespaces", namespaces(session, reads_annotations).await, lacking)?;
    }
    let mesh = parsed(&mut bundle, &origin, &mut warnings)?;
    Ok(Configured { mesh, warnings, origin })
}

/// The whole bundle. A ProxyConfig that is not valid is left out, as Istio does.
fn parsed(
    bundle: &mut Map<String, Value>,
    origin: &str,
    warnings: &mut Vec<Warning>,
) -> Result<InjectorConfig, Failure> {
    let read = |bundle: &Map<String, Value>| {
        let text = Value::Object(bundle.clone()).to_string();
        InjectorConfig::from_bundle(Source { name: origin, text: &text })
    };
    if let Ok((mesh, _)) = read(bundle) {
        return Ok(mesh);
    }
    let Some(Value::Array(all)) = bundle.insert("proxyConfigs".to_owned(), json!([])) else {
        return Ok(read(bundle)?.0);
    };
    let mut kept = Vec::new();
    for object in all {
        let mut alone = bundle.clone();
        alone.retain(|key, _| ["apiVersion", "kind"].contains(&key.as_str()));
        alone.insert("proxyConfigs".to_owned(), json!([object]));
        match read(&alone) {
            Ok(_) => kept.push(object),
            Err(error) => {
                let metadata = object.get("metadata");
                let text =
                    |key: &str| metadata.and_then(|metadata| metadata.get(key)?.as_str()).unwrap_or_default();
                let path = format!("ProxyConfig {}/{}", text("namespace"), text("name"));
                let problems = error.to_string().lines().collect::<Vec<_>>().join("; ");
                warnings.push(Warning { path, message: format!("is left out: {problems}") });
            }
        }
    }
    bundle.insert("proxyConfigs".to_owned(), Value::Array(kept));
    Ok(read(bundle)?.0)
}

async fn nodes(session: &Session) -> Result<Vec<Value>, ApiError> {
    let nodes = session.list_all::<Node>(&Target::all("nodes"), &Api::all(session.client.clone())).await?;
    // A node that has not reported its version yet runs no pods yet.
    let named = |node: Node| {
        let version = node.status?.node_info?.kubelet_version;
        let name = node.metadata.name?;
        (!version.is_empty()).then(|| json!({"name": name, "kubeletVersion": version}))
    };
    Ok(nodes.into_iter().filter_map(named).collect())
}

async fn namespaces(session: &Session, with_annotations: bool) -> Result<Vec<Value>, ApiError> {
    let namespaces =
        session.list_all::<Namespace>(&Target::all("namespaces"), &Api::all(session.client.clone())).await?;
    let described = |namespace: Namespace| {
        let metadata = namespace.metadata;
        let (labels, annotations) =
            (metadata.labels.unwrap_or_default(), metadata.annotations.filter(|_| with_annotations));
        let annotations = annotations.map(|mut annotations| {
            annotations.retain(|key, _| row(key).is_some());
            annotations
        });
        json!({"name": metadata.name, "labels": labels, "annotations": annotations.unwrap_or_default()})
    };
    Ok(namespaces.into_iter().map(described).collect())
}

/// The ProxyConfigs of all namespaces; none if the cluster does not know that kind.
async fn proxy_configs(session: &Session) -> Result<Vec<Value>, ApiError> {
    let kind = GroupVersionKind::gvk("networking.istio.io", "v1beta1", "ProxyConfig");
    let resource = ApiResource::from_gvk_with_plural(&kind, "proxyconfigs");
    let api: Api<DynamicObject> = Api::all_with(session.client.clone(), &resource);
    let objects = match session.list_all(&Target::all("proxyconfigs"), &api).await {
        Err(error) if error.is_not_found() => Vec::new(),
        objects => objects?,
    };
    let described = |object: DynamicObject| {
        let metadata = &object.metadata;
        let mut told = Map::new();
        for (key, value) in [
            ("name", json!(metadata.name)),
            ("namespace", json!(metadata.namespace)),
            ("creationTimestamp", json!(metadata.creation_timestamp)),
        ] {
            if !value.is_null() {
                told.insert(key.to_owned(), value);
            }
        }
        json!({
            "apiVersion": "networking.istio.io/v1beta1",
            "kind": "ProxyConfig",
            "metadata": told,
            "spec": object.data.get("spec").cloned().unwrap_or_else(|| json!({})),
        })
    };
    Ok(objects.into_iter().map(described).collect())
}
