//! What requests are answered by. Tests put engines behind real TLS that panic, wait or answer anything.

use crate::inject::{Admission, AdmissionRequest, Unreadable};

/// One configuration, ready to answer for pods. Immutable to the eye: a request is answered by one engine from start to
/// end, and the same request always gets the same answer.
pub trait Engine: Send + Sync {
    /// Decides on one pod.
    ///
    /// # Errors
    /// When the object cannot be read.
    fn review(&self, request: AdmissionRequest<'_>) -> Result<Admission, Unreadable>;
    /// What is said of a pod that is too large to be reviewed, of which no more is known than its
    /// [outline](crate::inject::limits::outline); nothing if that cannot be said of it.
    fn leaves_alone(&self, _outline: AdmissionRequest<'_>) -> Option<Admission> {
        None
    }
    /// The revision of the control plane, for logs and audit annotations.
    fn revision(&self) -> &str;
    /// Identifies the configuration.
    fn hash(&self) -> &str;
}
