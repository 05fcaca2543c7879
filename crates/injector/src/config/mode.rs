//! The modes of a configuration: words with a fixed set of meanings.

use crate::quirks::Quirks;

/// Whether known bugs of Istio are fixed or reproduced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compat {
    /// Safer or clearer than Istio, with documented differences.
    #[default]
    Outrigger,
    /// Same as Istio: every difference in the injected content is disabled.
    Istio,
}

/// The platform of the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Platform {
    /// Plain Kubernetes.
    #[default]
    Kubernetes,
    /// OpenShift, which assigns each namespace its range of user IDs.
    OpenShift,
}

/// Whether proxies run as native sidecars (init containers that keep running).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NativeSidecars {
    /// If the nodes' versions allow it.
    #[default]
    Auto,
    /// Unless a pod opts out.
    Enabled,
    /// Only if a pod opts in.
    Disabled,
}

/// How annotations for the proxy's resources combine with `global.proxy.resources`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyResources {
    /// Any of the four annotations replaces all configured resources, as in Istio.
    #[default]
    Replace,
    /// Each annotation replaces only its own request or limit of CPU or memory.
    PerField,
}

/// The source of templates, values and policy if they are not given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Absent {
    /// From the embedded defaults.
    #[default]
    Embedded,
    /// None: they are absent, as in Istio, whose chart writes all of them into its ConfigMaps.
    AsInIstio,
}

impl Compat {
    /// Its value in a bundle.
    pub fn as_str(self) -> &'static str {
        match self {
            Compat::Outrigger => "outrigger",
            Compat::Istio => "istio",
        }
    }

    /// The behaviors of Istio that are kept.
    pub const fn quirks(self) -> Quirks {
        match self {
            Compat::Outrigger => Quirks::NONE,
            Compat::Istio => Quirks::ALL,
        }
    }
}

impl Platform {
    /// Its value in a bundle.
    pub fn as_str(self) -> &'static str {
        match self {
            Platform::Kubernetes => "",
            Platform::OpenShift => "openshift",
        }
    }
}

impl ProxyResources {
    /// Its value in a bundle.
    pub fn as_str(self) -> &'static str {
        match self {
            ProxyResources::Replace => "replace",
            ProxyResources::PerField => "perField",
        }
    }
}

impl NativeSidecars {
    /// Its value in a bundle.
    pub fn as_str(self) -> &'static str {
        match self {
            NativeSidecars::Auto => "auto",
            NativeSidecars::Enabled => "enabled",
            NativeSidecars::Disabled => "disabled",
        }
    }
}
