//! Values of flags, as the configuration defines them.

use clap::ValueEnum;

use crate::config::{Compat, NativeSidecars, Platform};

/// Compatibility mode.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum CompatFlag {
    Outrigger,
    Istio,
}

/// Cluster platform.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum PlatformFlag {
    Kubernetes,
    Openshift,
}

/// Whether proxies run as native sidecars.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum NativeFlag {
    Auto,
    Enabled,
    Disabled,
}

impl From<CompatFlag> for Compat {
    fn from(flag: CompatFlag) -> Compat {
        match flag {
            CompatFlag::Outrigger => Compat::Outrigger,
            CompatFlag::Istio => Compat::Istio,
        }
    }
}

impl From<PlatformFlag> for Platform {
    fn from(flag: PlatformFlag) -> Platform {
        match flag {
            PlatformFlag::Kubernetes => Platform::Kubernetes,
            PlatformFlag::Openshift => Platform::OpenShift,
        }
    }
}

impl From<NativeFlag> for NativeSidecars {
    fn from(flag: NativeFlag) -> NativeSidecars {
        match flag {
            NativeFlag::Auto => NativeSidecars::Auto,
            NativeFlag::Enabled => NativeSidecars::Enabled,
            NativeFlag::Disabled => NativeSidecars::Disabled,
        }
    }
}
