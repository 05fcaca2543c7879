//! The flags for the configuration of a cluster.

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

/// The flags for the configuration of a cluster. Each of them chooses the cluster.
#[derive(Debug, Args)]
#[group(id = "cluster", multiple = true)]
#[command(next_help_heading = "Configuration from a cluster")]
pub(super) struct FromCluster {
    /// Take the configuration from the cluster; every other flag under this heading implies it
    #[arg(long)]
    from_cluster: bool,
    /// The kubeconfig; without it KUBECONFIG, ~/.kube/config or the pod's ServiceAccount
    #[arg(long, short = 'c', value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// The revision: a part of the names of ConfigMaps
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
    /// outrigger's own ConfigMap, with the key `bundle`; without a namespace in outrigger-system
    #[arg(long, value_name = "[NAMESPACE/]NAME")]
    bundle_config_map: Option<String>,
    /// Istio's ConfigMap with the keys `config` and `values`; without it istio-sidecar-injector[-REVISION]
    #[arg(long, value_name = "NAME", conflicts_with = "bundle_config_map")]
    injector_config_map: Option<String>,
    /// Istio's ConfigMap with the key `mesh`; without it istio[-REVISION]
    #[arg(long, value_name = "NAME", conflicts_with = "bundle_config_map")]
    mesh_config_map: Option<String>,
    /// The namespace of Istio's ConfigMaps; without it istio-system
    #[arg(long, value_name = "NAMESPACE", conflicts_with = "bundle_config_map")]
    istio_namespace: Option<String>,
    /// With Istio's ConfigMaps: whose behaviour is wanted where Istio's is questionable; without it outrigger's
    #[arg(long, value_name = "WHOSE")]
    compat: Option<CompatFlag>,
    /// With Istio's ConfigMaps: what kind of cluster it is; without it kubernetes
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<PlatformFlag>,
    /// With Istio's ConfigMaps: whether proxies run as native sidecars; without it as the nodes allow
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

    fn cluster(&self) -> Cluster {
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
