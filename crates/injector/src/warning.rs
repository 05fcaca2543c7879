//! Warnings for the user who created a pod that is allowed.
//!
//! Warnings are sent in `AdmissionReview.response.warnings`, which kubectl prints. Kubernetes recommends at most 120
//! characters each and may truncate at 256, so every untrusted text in a warning is shortened with [`shown`].

use std::fmt;

use crate::codes::{self, Code, Kind};

pub use crate::untrusted::{SHOWN, moves_cursor, shown, shown_within};

/// One warning for the user who created the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Stable machine key, such as `MISSPELT_ANNOTATION`.
    pub code: &'static str,
    /// One sentence without a period; untrusted text in it is already shortened.
    pub message: String,
}

impl Warning {
    /// A warning with a stable key, one of [`codes::CORE`], and a sentence.
    pub fn new(code: &'static str, message: impl Into<String>) -> Warning {
        debug_assert!(codes::of_core(code).is_some_and(Code::is_warning), "{code} has no row");
        Warning { code, message: message.into() }
    }

    /// Whether the user who creates the pod sees it, and not only the administrator of the mesh. Codes that are only
    /// recorded describe rights that ordinary pods make use of, such as a database's port that is not redirected, so the
    /// user already knows, or pods that an ordinary user cannot change.
    pub fn is_shown(&self) -> bool {
        !codes::of_core(self.code).is_some_and(|code| code.is(Kind::Record))
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
