//! What templates cannot say: changes to the merged pod that depend on all of it.
//!
//! [`PASSES`] is the whole list, in Istio's order (`postProcessPod`), on which its result depends: the probe pass reads
//! the status annotation that an earlier injection left, the status pass writes ours. The last two are not Istio's; what
//! the containers need together depends on their order. Each pass is one file and changes only what its name says.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{made::Made, reinject::Earlier, warning::Warning};
use crate::quirks::{Quirk, Quirks};

mod cluster_env;
mod metadata;
mod order;
mod pod_resources;
mod probes;
mod prometheus;
mod secure_port;
mod status;
mod status_port;
mod token;
mod view;

pub use cluster_env::environment;
pub(super) use pod_resources::Amount;
pub use prometheus::PROXY_PORTS;
pub use status_port::status_port;

/// What the passes know beside the pod they change.
#[derive(Clone, Copy, Debug)]
pub struct PostContext<'a> {
    /// The pod before templates were laid over it.
    pub received: &'a Value,
    /// What the templates make.
    pub made: &'a Made,
    /// What an earlier injection left in the pod.
    pub earlier: &'a Earlier,
    /// The mesh's MeshConfig, defaults filled in.
    pub mesh_config: &'a Value,
    /// The effective ProxyConfig of the pod.
    pub proxy_config: &'a Value,
    /// The values.
    pub values: &'a Value,
    /// Environment of the proxy from the URL path, by variable name.
    pub path_env: &'a BTreeMap<String, String>,
    /// The injector's revision; empty is the default one.
    pub revision: &'a str,
    /// `injectedAnnotations` of the configuration.
    pub injected_annotations: &'a BTreeMap<String, String>,
    /// The behaviors of Istio that are kept.
    pub quirks: Quirks,
}

impl PostContext<'_> {
    fn keeps(&self, quirk: Quirk) -> bool {
        self.quirks.contains(quirk)
    }
}

/// One pass over the merged pod.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// What it does, for traces.
    pub name: &'static str,
    run: fn(&mut Value, &PostContext<'_>, &mut Vec<Warning>) -> Result<(), Error>,
}

/// Every pass, in order.
pub const PASSES: [Pass; 10] = [
    Pass { name: "cluster_env", run: cluster_env::set },
    Pass { name: "prometheus", run: prometheus::merge },
    Pass { name: "secure_port", run: secure_port::announce },
    Pass { name: "probes", run: probes::rewrite },
    Pass { name: "network_label", run: metadata::label_network },
    Pass { name: "status", run: status::record },
    Pass { name: "injected_annotations", run: metadata::annotate },
    Pass { name: "order", run: order::arrange },
    Pass { name: "token", run: token::mount },
    Pass { name: "pod_resources", run: pod_resources::fit },
];

/// Why a pod cannot be finished; the text is for the person who created it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A port to scrape that is none.
    #[error("annotation {key}: {port} is no port; accepted: a port from 1 to 65535")]
    NoPort {
        /// The annotation as it was spelt, quoted.
        key: String,
        /// What was found, quoted.
        port: String,
    },
    /// A port to scrape that is the proxy's own.
    #[error(
        "annotation {key}: port {port} is the proxy's own ({owner}); accepted: a port of the application"
    )]
    ReservedPort {
        /// The annotation as it was spelt, quoted.
        key: String,
        /// The port.
        port: i64,
        /// What listens there.
        owner: &'static str,
    },
    /// Several containers of a name that a template has, too.
    #[error("container {name} is there more than once ({places}); accepted: one container of that name")]
    SeveralContainers {
        /// The name, quoted.
        name: String,
        /// The lists it is in.
        places: String,
    },
    /// A container of the pod with the name of a template's in the other list.
    #[error("container {name} in spec.{list} has the name of a container of the proxy's template; rename it")]
    NameTaken {
        /// The name, quoted.
        name: String,
        /// The list that the pod has it in.
        list: &'static str,
    },
    /// Pod-level resources that the proxy does not fit into, in a pod that does not want them raised.
    #[error(
        "spec.resources is too small: {needs}; raise it, let the proxy request less (annotations \
         sidecar.istio.io/proxyCPU and sidecar.istio.io/proxyMemory), or set annotation {annotation} to \"add\"",
        annotation = crate::names::ANNOTATION_POD_LEVEL_RESOURCES
    )]
    PodTooSmall {
        /// What is too small, and what would be enough.
        needs: String,
    },
}

/// Runs every pass over the merged pod, and gives what the person should know.
///
/// # Errors
/// When an annotation asks for something that cannot be; the pod is then half changed and must not be used.
pub fn apply(pod: &mut Value, context: &PostContext<'_>) -> Result<Vec<Warning>, Error> {
    let mut warnings = Vec::new();
    for pass in &PASSES {
        (pass.run)(pod, context, &mut warnings)?;
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests;
