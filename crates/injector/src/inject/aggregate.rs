//! The amount of a resource that all containers of a pod need together.

use crate::quantity::Amount;

/// What one init container needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct InitContainer {
    /// `None` if it states none.
    pub(super) amount: Option<Amount>,
    /// Whether it keeps running (`restartPolicy: Always`).
    pub(super) is_sidecar: bool,
}

/// The most that a pod needs at any time, `None` if no container states an amount: the containers and sidecars together, or an
/// init container and the sidecars before it (Kubernetes' `AggregateContainerRequests`).
pub(super) fn peak(
    containers: impl IntoIterator<Item = Option<Amount>>,
    init_containers: impl IntoIterator<Item = InitContainer>,
) -> Option<Amount> {
    let mut together = containers.into_iter().fold(None, plus);
    let (mut sidecars, mut peak) = (None, None);
    for InitContainer { amount, is_sidecar } in init_containers {
        let now = plus(sidecars, amount);
        if is_sidecar {
            together = plus(together, amount);
            sidecars = now;
        }
        peak = peak.max(now);
    }
    together.max(peak)
}

fn plus(sum: Option<Amount>, more: Option<Amount>) -> Option<Amount> {
    match (sum, more) {
        (Some(sum), Some(more)) => Some(sum + more),
        (sum, more) => sum.or(more),
    }
}
