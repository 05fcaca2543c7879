//! What the API server was asked.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Asked {
    verb: &'static str,
    resource: &'static str,
    code: String,
}

/// Requests to the API server.
#[derive(Clone, Debug, Default)]
pub(crate) struct KubeApi(Family<Asked, Counter>);

impl KubeApi {
    /// Adds the series to a registry with our prefix.
    pub(in crate::server) fn register(&self, registry: &mut Registry) {
        registry.register(
            "kube_api_requests",
            "Requests to the API server; code is an HTTP status, error or unanswered",
            self.0.clone(),
        );
    }

    /// Counts a request. `code` must come out of a small set: HTTP statuses, or a word of ours.
    pub(crate) fn asked(&self, verb: &'static str, resource: &'static str, code: impl Into<String>) {
        self.0.get_or_create(&Asked { verb, resource, code: code.into() }).inc();
    }
}
