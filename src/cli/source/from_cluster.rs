//! Flags for a configuration from a cluster.

use std::path::PathBuf;

use clap::Args;

use super::{
    super::{
        choices::{CompatFlag, NativeFlag, PlatformFlag},
        cluster::Cluster,
        failure::Failure,
    },
    config_maps::{self, Wanted},
    configured::{Configured, Purpose},
    snapshot,
};
use crate::config::{Compat, NativeSidecars, Platform};

/// Flags for a configuration from a cluster. Each of them selects the cluster as the source.
#[derive(Debug, Args)]
#[group(id = "cluster", multiple = true)]
#[command(next_help_heading = "Configuration from a cluster")]
pub(super) struct FromCluster {
    /// Read the configuration from the cluster; implied by every other flag in this section
    #[arg(long)]
    from_cluster: bool,
    /// Kubeconfig [default: $KUBECONFIG, ~/.kube/config, or the pod's ServiceAccount]
    #[arg(long, short = 'c', value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context in the kubeconfig
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Revision, part of the ConfigMaps' names
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
    /// outrigger's own ConfigMap, with the key `bundle`; the default namespace is outrigger-system
    #[arg(long, value_name = "[NAMESPACE/]NAME")]
    bundle_config_map: Option<String>,
    /// Istio's ConfigMap with the keys `config` and `values` [default: istio-sidecar-injector[-REVISION]]
    #[arg(long, value_name = "NAME", conflicts_with = "bundle_config_map")]
    injector_config_map: Option<String>,
    /// Istio's ConfigMap with the key `mesh` [default: istio[-REVISION]]
    #[arg(long, value_name = "NAME", conflicts_with = "bundle_config_map")]
    mesh_config_map: Option<String>,
    /// Namespace of Istio's ConfigMaps [default: istio-system]
    #[arg(long, value_name = "NAMESPACE", conflicts_with = "bundle_config_map")]
    istio_namespace: Option<String>,
    /// With Istio's ConfigMaps: compatibility mode [default: outrigger]
    #[arg(long, value_name = "WHOSE")]
    compat: Option<CompatFlag>,
    /// With Istio's ConfigMaps: cluster platform [default: kubernetes]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<PlatformFlag>,
    /// With Istio's ConfigMaps: whether proxies run as native sidecars [default: as the nodes allow]
    #[arg(long, value_name = "WHEN")]
    native_sidecars: Option<NativeFlag>,
}

impl FromCluster {
    pub(super) fn is_chosen(&self) -> bool {
        let names = [
            &self.context,
            &self.revision,
            &self.bundle_config_map,
            &self.injector_config_map,
            &self.mesh_config_map,
            &self.istio_namespace,
        ];
        self.from_cluster
            || self.kubeconfig.is_some()
            || names.iter().any(|name| name.is_some())
            || self.compat.is_some()
            || self.platform.is_some()
            || self.native_sidecars.is_some()
    }

    /// The cluster that the flags select.
    pub(super) fn cluster(&self) -> Cluster {
        Cluster { kubeconfig: self.kubeconfig.clone(), context: self.context.clone() }
    }

    /// Reads the configuration and the facts of the cluster.
    pub(super) fn load(&self, purpose: Purpose) -> Result<Configured, Failure> {
        let wanted = self.wanted();
        self.cluster().run(async |session| {
            let found = config_maps::read(session, &wanted).await?;
            snapshot::complete(session, found, purpose).await
        })
    }

    /// A configuration with the facts of the cluster.
    pub(super) fn complete(&self, found: Configured) -> Result<Configured, Failure> {
        self.cluster().run(async |session| snapshot::complete(session, found, Purpose::Decide).await)
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            revision: self.revision.clone(),
            bundle: self.bundle_config_map.clone(),
            injector: self.injector_config_map.clone(),
            mesh: self.mesh_config_map.clone(),
            istio_namespace: self.istio_namespace.clone(),
            compat: self.compat.map_or(Compat::Outrigger, Compat::from),
            platform: self.platform.map_or(Platform::Kubernetes, Platform::from),
            native_sidecars: self.native_sidecars.map_or(NativeSidecars::Auto, NativeSidecars::from),
        }
    }
}
