//! Why post-processing fails.

/// Why post-processing failed; the text is for the user who created the pod.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PostError {
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
