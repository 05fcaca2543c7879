//! The form of the playground.

use crate::pages::form::{Fields, InvalidForm};

/// The pod that the page starts with.
const SAMPLE: &str = include_str!("sample.yaml");
/// The configuration that the page starts with.
const BUNDLE: &str = include_str!("bundle.yaml");

/// The input of an evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Objects with pods, in YAML or JSON.
    pub manifest: String,
    /// The namespace of objects that have none.
    pub namespace: String,
    /// Whether the labels of the namespace are known.
    pub labels_known: bool,
    /// The labels of the namespace, `KEY=VALUE` lines.
    pub labels: String,
    /// The configuration.
    pub bundle: String,
    /// Whether the configuration was edited on the page.
    pub is_bundle_changed: bool,
}

impl Input {
    /// The page's first input: a sample pod, under the given configuration or the embedded defaults.
    pub fn start(bundle: Option<String>) -> Input {
        Input {
            manifest: SAMPLE.to_owned(),
            namespace: "shop".to_owned(),
            labels_known: true,
            labels: "istio-injection=enabled".to_owned(),
            bundle: bundle.unwrap_or_else(|| BUNDLE.to_owned()),
            is_bundle_changed: false,
        }
    }

    /// Reads a form. `start` has the configuration that the page started with.
    ///
    /// # Errors
    /// If a field is missing, or the texts are too long.
    pub fn of_form(form: &[u8], start: &Input) -> Result<Input, InvalidForm> {
        let mut fields = Fields::read(form)?;
        let bundle = fields.take("bundle")?;
        Ok(Input {
            manifest: fields.take("manifest")?,
            namespace: fields.take("namespace")?.trim().to_owned(),
            // A box that is not checked is not sent.
            labels_known: fields.take("labels-known").is_ok(),
            labels: fields.take("labels")?,
            is_bundle_changed: bundle.trim_end() != start.bundle.trim_end(),
            bundle,
        })
    }
}
