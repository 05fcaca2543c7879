//! Which webhooks and policies an API server calls a second time for the same pod.
//!
//! The rules are those of `reinvoker.Admit` and of the two dispatchers (`plugin/webhook/mutating`,
//! `plugin/policy/mutating`) in `k8s.io/apiserver`: there are two rounds at most. Only what was called in the first and has
//! `reinvocationPolicy: IfNeeded` is called in the second, if the pod was changed after it. The API server's own admission
//! plugins run in both rounds.

/// What runs for a pod, in the order of the first round: policies, then webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Whether it is a MutatingAdmissionPolicy.
    pub is_policy: bool,
    /// Whether it is called, or may be.
    pub is_called: bool,
    /// Whether its `reinvocationPolicy` is `IfNeeded`.
    pub if_needed: bool,
}

/// Whether a step runs in the second round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecondRound {
    /// It does not.
    Never,
    /// It does.
    Always,
    /// It does if one of these steps, or an admission plugin of the API server, changes the pod.
    IfChangedBy {
        /// Steps that change the pod in the first round, by index.
        first: Vec<usize>,
        /// Steps that change the pod in the second round, by index.
        second: Vec<usize>,
    },
}

/// For each step, whether it runs in the second round.
///
/// A policy that is applied counts as a change of the pod, even if it leaves the pod as it was (`VersionedAttributes.Dirty`),
/// so that each policy with `IfNeeded` is applied twice.
pub fn second_round(steps: &[Step]) -> Vec<SecondRound> {
    let all = |wanted: &dyn Fn(usize, &Step) -> bool| -> Vec<usize> {
        let steps = steps.iter().enumerate().filter(|(_, step)| step.is_called);
        steps.filter(|(index, step)| wanted(*index, step)).map(|(index, _)| index).collect()
    };
    let of_step = |(index, step): (usize, &Step)| match step {
        Step { is_called: false, .. } | Step { if_needed: false, .. } => SecondRound::Never,
        Step { is_policy: true, .. } => SecondRound::Always,
        Step { is_policy: false, .. } => SecondRound::IfChangedBy {
            first: all(&|other, _| other > index),
            // A policy is never after a webhook.
            second: all(&|other, step| other < index && step.if_needed),
        },
    };
    steps.iter().enumerate().map(of_step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(text: &str) -> Vec<Step> {
        let step = |word: &str| Step {
            is_policy: word.to_lowercase().starts_with('p'),
            is_called: !word.ends_with('-'),
            if_needed: word.starts_with(char::is_uppercase),
        };
        text.split(' ').map(step).collect()
    }

    /// `P` is a policy and `W` a webhook with `IfNeeded`, `p` and `w` are those without; `-` is not called.
    #[test]
    fn only_what_may_be_called_again_is_and_only_for_changes_after_it() {
        let if_changed = |first: &[usize], second: &[usize]| SecondRound::IfChangedBy {
            first: first.to_vec(),
            second: second.to_vec(),
        };
        use SecondRound::{Always, Never};
        for (text, wanted) in [
            ("w w", vec![Never, Never]),
            ("W w", vec![if_changed(&[1], &[]), Never]),
            ("w W", vec![Never, if_changed(&[], &[])]),
            ("W w- W", vec![if_changed(&[2], &[]), Never, if_changed(&[], &[0])]),
            ("W- W", vec![Never, if_changed(&[], &[])]),
            ("p P W w", vec![Never, Always, if_changed(&[3], &[1]), Never]),
        ] {
            assert_eq!(second_round(&steps(text)), wanted, "{text}");
        }
    }
}
