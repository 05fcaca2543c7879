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
};
use crate::{
    names,
    quirks::{Quirk, Quirks},
    warning::Warning,
};

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

pub use super::outcome::PostError as Error;
pub use cluster_env::environment;
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

/// Whether a pass sets a variable of the proxy with that name, whatever it was before.
pub(super) fn sets_variable(name: &str) -> bool {
    matches!(
        name,
        names::ENV_PROMETHEUS | names::ENV_APP_PROBERS | names::ENV_CLUSTER_ID | names::ENV_NETWORK
    )
}

#[cfg(test)]
mod tests;
