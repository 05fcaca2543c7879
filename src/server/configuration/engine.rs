//! The interface that requests use. Tests put engines behind real TLS that panic, wait or return anything.

use serde_json::Value;

use crate::config::Namespace;
use crate::inject::manual::{Advice, NamespaceLabels};
use crate::inject::{Admission, AdmissionRequest, PodRequest, Unreadable};
use injector::effects::Effect;

/// One configuration, ready to process pods. Observably immutable: a request uses one engine from start to end, and
/// the same request always gets the same result.
pub trait Engine: Send + Sync {
    /// Decides about one pod.
    ///
    /// # Errors
    /// When the object cannot be parsed.
    fn review(&self, request: AdmissionRequest<'_>) -> Result<Admission, Unreadable>;
    /// The decision for a pod that is too large to be reviewed, from its [outline](crate::inject::limits::outline);
    /// `None` if the outline does not suffice.
    fn leaves_alone(&self, _outline: AdmissionRequest<'_>) -> Option<Admission> {
        None
    }
    /// What the user who applies a workload should know about its pods, most important first.
    fn advise(&self, _workload: &Value, _namespace: &str, _labels: NamespaceLabels) -> Vec<Advice> {
        Vec::new()
    }
    /// What would happen to a pod that the API server sends; `None` if that is not known.
    fn effect(&self, _request: &PodRequest, _namespace: &Namespace) -> Option<Effect> {
        None
    }
    /// The revision of the control plane, for logs and audit annotations.
    fn revision(&self) -> &str;
    /// Identifies the configuration.
    fn hash(&self) -> &str;
}
