//! The generators of the differential tests, driven by the fuzzer's bytes.

#[path = "../../tests/differential/annotations.rs"]
pub(crate) mod annotations;
#[path = "../../tests/differential/pods.rs"]
pub(crate) mod pods;
use crate::random;
#[path = "../../tests/differential/text.rs"]
pub(crate) mod text;
#[path = "../../tests/differential/typed.rs"]
pub(crate) mod typed;
