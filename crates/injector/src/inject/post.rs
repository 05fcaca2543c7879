//! Post-processing that templates cannot express: changes to the merged pod that depend on all of it.
//!
//! [`PASSES`] is the complete list, in Istio's order (`postProcessPod`), on which the result depends: the probe pass
//! reads the status annotation of an earlier injection, the status pass writes ours. The pass `pre_stop` and the last two
//! are not Istio's; the status names what the first adds, and the containers' total resources depend on the others' order. Each pass is one file and changes only what its name
//! says.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    observer::{Observer, Stage},
    reinject::PreviousInjection,
    template_containers::TemplateContainers,
    warning::Warning,
};
use crate::quirks::{Quirk, Quirks};

mod cluster_env;
mod metadata;
mod order;
mod pod_resources;
mod pre_stop;
mod probes;
mod prometheus;
mod secure_port;
mod status;
mod status_port;
mod token;
mod view;

pub use cluster_env::environment;
pub(crate) use pod_resources::Amount;
pub(super) use pre_stop::remove as remove_pre_stop;
pub use prometheus::PROXY_PORTS;
pub use status_port::status_port;

/// The input of the passes besides the pod they change.
#[derive(Clone, Copy, Debug)]
pub struct PostContext<'a> {
    /// The pod before the overlays were merged.
    pub received: &'a Value,
    /// The pod as received, with the annotations that are defaults for it.
    pub asked: &'a Value,
    /// What the templates create.
    pub made: &'a TemplateContainers,
    /// What an earlier injection left in the pod.
    pub earlier: &'a PreviousInjection,
    /// The mesh's MeshConfig, with defaults filled in.
    pub mesh_config: &'a Value,
    /// The effective ProxyConfig of the pod.
    pub proxy_config: &'a Value,
    /// The values.
    pub values: &'a Value,
    /// Environment of the proxy from the URL path, by variable name.
    pub path_env: &'a BTreeMap<String, String>,
    /// The injector's revision; empty means the default one.
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
    /// Its name, for traces.
    pub name: &'static str,
    run: fn(&mut Value, &PostContext<'_>, &mut Vec<Warning>) -> Result<(), Error>,
}

/// Every pass, in order.
pub const PASSES: [Pass; 11] = [
    Pass { name: "cluster_env", run: cluster_env::set },
    Pass { name: "prometheus", run: prometheus::merge },
    Pass { name: "secure_port", run: secure_port::announce },
    Pass { name: "probes", run: probes::rewrite },
    Pass { name: "network_label", run: metadata::label_network },
    Pass { name: "pre_stop", run: pre_stop::sleep },
    Pass { name: "status", run: status::record },
    Pass { name: "injected_annotations", run: metadata::annotate },
    Pass { name: "order", run: order::arrange },
    Pass { name: "token", run: token::mount },
    Pass { name: "pod_resources", run: pod_resources::fit },
];

/// Why post-processing failed; the text is for the user who created the pod.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An invalid scrape port.
    #[error("annotation {key}: {port} is not a port; expected a port from 1 to 65535")]
    NoPort {
        /// The annotation in its original spelling, quoted.
        key: String,
        /// The value found, quoted.
        port: String,
    },
    /// A scrape port that belongs to the proxy.
    #[error("annotation {key}: port {port} is the proxy's own ({owner}); expected a port of the application")]
    ReservedPort {
        /// The annotation in its original spelling, quoted.
        key: String,
        /// The port.
        port: i64,
        /// What listens on it.
        owner: &'static str,
    },
    /// Several containers with a name that a template also uses.
    #[error("container {name} occurs more than once ({places}); expected one container with that name")]
    SeveralContainers {
        /// The name, quoted.
        name: String,
        /// The lists that contain it.
        places: String,
    },
    /// A container of the pod with the name of a template's container in the other list.
    #[error("container {name} in spec.{list} has the name of a container of the proxy's template; rename it")]
    NameTaken {
        /// The name, quoted.
        name: String,
        /// The pod's list that contains it.
        list: &'static str,
    },
    /// A sleep that leaves the pod no time to end.
    #[error(
        "annotation {annotation}: {seconds} leaves nothing of terminationGracePeriodSeconds {grace}; \
         expected less than {grace}",
        annotation = crate::names::ANNOTATION_PRE_STOP_SLEEP
    )]
    SleepTooLong {
        /// The sleep.
        seconds: i64,
        /// The grace period.
        grace: i64,
    },
    /// Pod-level resources that are too small for the proxy, in a pod that does not allow raising them.
    #[error(
        "spec.resources is too small: {needs}; raise it, let the proxy request less (annotations \
         sidecar.istio.io/proxyCPU and sidecar.istio.io/proxyMemory), or set annotation {annotation} to \"add\"",
        annotation = crate::names::ANNOTATION_POD_LEVEL_RESOURCES
    )]
    PodTooSmall {
        /// The values that are too small, with sufficient ones.
        needs: String,
    },
}

/// Runs every pass over the merged pod; returns warnings for the user.
///
/// # Errors
/// If an annotation asks for something impossible; the pod is then partially changed and must be discarded.
pub fn apply(
    pod: &mut Value,
    context: &PostContext<'_>,
    observer: &mut impl Observer,
) -> Result<Vec<Warning>, Error> {
    let mut warnings = Vec::new();
    for pass in &PASSES {
        (pass.run)(pod, context, &mut warnings)?;
        observer.after(Stage::Pass(pass.name), pod);
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests;
