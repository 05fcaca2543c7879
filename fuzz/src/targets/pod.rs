//! Pods of every shape under every configuration.

use super::promises;
use crate::{Fate, input, meshes, random::Random};

pub(super) fn check(bytes: &[u8]) -> Fate {
    let mut random = Random::new(bytes);
    let configuration = random.pick(&meshes::ALL);
    let Some(pod) = input::pod(&mut random) else { return Fate::Drop };
    let injection = promises::injected(configuration, &pod);
    if !configuration.is_ours() {
        return Fate::Keep;
    }
    if let Some(injection) = &injection {
        promises::once_is_enough(configuration, injection);
    }
    // The same as an API server sends it, with every default written out.
    if let Some(pod) = promises::admitted(&pod)
        && let Some(injection) = promises::injected(configuration, &pod)
    {
        promises::once_is_enough(configuration, &injection);
        promises::stays_valid(configuration, &pod, &injection);
    }
    Fate::Keep
}
