//! A configuration that was read, and what it was read for.

use super::super::{failure::Failure, report, report::Color};
use crate::{
    config::{Mesh, Warning},
    inject::check,
};

/// A configuration and where it is from.
pub(in crate::cli) struct Configured {
    pub(in crate::cli) mesh: Mesh,
    pub(in crate::cli) warnings: Vec<Warning>,
    /// Where it is from, for people.
    pub(in crate::cli) origin: String,
}

/// What a configuration is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Purpose {
    /// To see what it says.
    Show,
    /// To decide about pods as the API server and the injector together do, for which the namespaces' labels count.
    Decide,
}

impl Configured {
    /// Says on stderr which configuration it is, and what is odd about it.
    pub(in crate::cli) fn report(&self, color: Color) {
        report::origin(&self.origin, color);
        report::configuration(&self.warnings, color);
    }

    /// Makes the check that the server makes before it takes a configuration into use; gives its remarks.
    pub(in crate::cli) fn check(&self) -> Result<Vec<Warning>, Failure> {
        let remarks = check::check(&self.mesh).map_err(|error| Failure::data(error.to_string()))?;
        let told = |remark: &check::Failure| Warning { path: String::new(), message: remark.to_string() };
        Ok(remarks.iter().map(told).collect())
    }
}
