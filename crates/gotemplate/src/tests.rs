//! Compares the engine with Go's own answers, and tests what Go does not have: taint, limits, places of errors.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::*;
use crate::gotypes::{Enum, Field, Kind, Type};

pub(crate) mod oracle;
mod promises;
