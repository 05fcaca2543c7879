//! Total requests and limits of a pod's containers.

use serde_json::Value;

use crate::inject::aggregate::{self, InitContainer};
use crate::inject::reinject::PreviousInjection;
use crate::pod;
use crate::quantity::Amount;

/// An invalid quantity: the API server will report it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// The relevant parts of one container.
struct Part<'p> {
    /// The object with its `resources`.
    container: &'p Value,
    is_sidecar: bool,
}

/// The containers of a pod.
pub(super) struct Parts<'p> {
    containers: Vec<Part<'p>>,
    init_containers: Vec<Part<'p>>,
}

impl<'p> Parts<'p> {
    /// Every container of a pod.
    pub(super) fn received(pod: &'p Value) -> Parts<'p> {
        Parts::of(pod, Some)
    }

    /// The containers that the previous injection did not create; those it changed, in their original form.
    pub(super) fn without_earlier(pod: &'p Value, earlier: &'p PreviousInjection) -> Parts<'p> {
        Parts::of(pod, |container| {
            let name = pod::name(container);
            if earlier.has_injected(name) { earlier.overrides.find(name) } else { Some(container) }
        })
    }

    fn of(pod: &'p Value, pick: impl Fn(&'p Value) -> Option<&'p Value>) -> Parts<'p> {
        let parts = |list| {
            let part = |container: &'p Value| {
                let is_sidecar = container.get("restartPolicy").and_then(Value::as_str) == Some("Always");
                pick(container).map(|container| Part { container, is_sidecar })
            };
            pod::spec_list(pod, list).iter().filter_map(part).collect()
        };
        Parts { containers: parts("containers"), init_containers: parts("initContainers") }
    }

    /// Their total request of a resource, `None` if none of them has one; a limit without a request counts as a
    /// request.
    pub(super) fn requests(&self, resource: &str) -> Result<Option<Amount>, Unreadable> {
        self.sum(|container| match amount(container, "requests", resource)? {
            None => amount(container, "limits", resource),
            request => Ok(request),
        })
    }

    /// Their total limit, `None` if none of them has one.
    pub(super) fn limits(&self, resource: &str) -> Result<Option<Amount>, Unreadable> {
        self.sum(|container| amount(container, "limits", resource))
    }

    fn sum(
        &self,
        of: impl Fn(&Value) -> Result<Option<Amount>, Unreadable>,
    ) -> Result<Option<Amount>, Unreadable> {
        let containers = self.containers.iter().map(|part| of(part.container));
        let init_containers = self
            .init_containers
            .iter()
            .map(|part| Ok(InitContainer { amount: of(part.container)?, is_sidecar: part.is_sidecar }));
        let containers = containers.collect::<Result<Vec<_>, _>>()?;
        Ok(aggregate::peak(containers, init_containers.collect::<Result<Vec<_>, _>>()?))
    }
}

/// A request or limit in the `resources` of a container or of a pod's spec.
pub(super) fn amount(holder: &Value, kind: &str, resource: &str) -> Result<Option<Amount>, Unreadable> {
    match pod::at(holder, &["resources", kind, resource]) {
        None | Some(Value::Null) => Ok(None),
        Some(quantity) => Amount::of(quantity).map(Some).ok_or(Unreadable),
    }
}
