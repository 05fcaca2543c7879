//! The injector.

pub mod config;
pub mod functions;
pub mod gotypes;
pub mod inject;
pub mod manifest;
pub mod names;
pub mod overlay;
pub mod pem;
pub mod pod;
mod quantity;
mod rfc3339;
mod seen;
pub mod webhook_config;
