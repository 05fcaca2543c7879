//! The engine against Go's own answers, and what only ours promises: taint, limits, places of errors.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::*;
use crate::gotypes::{Enum, Field, Kind, Type};

pub(crate) mod oracle;
mod promises;
