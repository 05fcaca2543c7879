mod bundles;
mod errors;
mod golden;
pub(crate) mod headed;
mod istio;
mod schema;

use super::*;
use headed::headed;

/// Parses a bundle that should be valid.
fn mesh(text: &str) -> InjectorConfig {
    accepted(text).0
}

fn accepted(text: &str) -> (InjectorConfig, Vec<Warning>) {
    let text = &headed(text);
    InjectorConfig::from_bundle(Source { name: "bundle.yaml", text })
        .unwrap_or_else(|error| panic!("{error}"))
}

/// The rendered warnings of a bundle that should be valid.
fn warnings(text: &str) -> Vec<String> {
    accepted(text).1.iter().map(Warning::to_string).collect()
}

/// The rendered error of an invalid bundle.
fn refusal(text: &str) -> String {
    match InjectorConfig::from_bundle(Source { name: "bundle.yaml", text }) {
        Ok(_) => panic!("accepted: {text}"),
        Err(error) => error.to_string(),
    }
}
