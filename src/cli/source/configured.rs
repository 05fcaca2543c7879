//! A configuration and the purpose of reading it.

use super::super::{failure::Failure, report, report::Color};
use crate::{
    config::{InjectorConfig, Warning},
    inject::check,
};

/// A configuration and its origin.
pub(in crate::cli) struct Configured {
    pub(in crate::cli) mesh: InjectorConfig,
    pub(in crate::cli) warnings: Vec<Warning>,
    /// The origin, for people.
    pub(in crate::cli) origin: String,
}

/// The purpose of reading a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Purpose {
    /// To display it.
    Show,
    /// To decide about pods like the API server and the injector together, which depends on the namespaces' labels.
    Decide,
}

impl Configured {
    /// Reports the configuration's origin and its warnings on stderr.
    pub(in crate::cli) fn report(&self, color: Color) {
        report::origin(&self.origin, color);
        report::configuration(&self.warnings, color);
    }

    /// Performs the check that the server performs before it applies a configuration; returns its warnings.
    pub(in crate::cli) fn check(&self) -> Result<Vec<Warning>, Failure> {
        let remarks = check::check(&self.mesh).map_err(|error| Failure::data(error.to_string()))?;
        let told = |remark: &check::Failure| Warning { path: String::new(), message: remark.to_string() };
        Ok(remarks.iter().map(told).collect())
    }
}
