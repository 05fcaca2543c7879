//! `outrigger version`.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{failure::Failure, files, source};

/// Print the version, and the version of the proxy in the embedded configuration.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  outrigger version
  outrigger version -o json")]
pub(super) struct Version {
    /// Output format
    #[arg(short, long, value_name = "FORM", default_value = "text")]
    output: Form,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    /// Text for people
    Text,
    /// JSON for programs
    Json,
}

impl Version {
    pub(super) fn run(self) -> Result<(), Failure> {
        let version = env!("CARGO_PKG_VERSION");
        let mesh = source::bundle(None)?.mesh;
        let tag = mesh.value(&["global", "tag"]).and_then(Value::as_str).unwrap_or_default();
        files::print(&match self.output {
            Form::Text => format!("outrigger {version} (proxy {tag})\n"),
            Form::Json => {
                let version = json!({
                    "version": version,
                    "proxy": tag,
                    "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
                });
                format!("{version:#}\n")
            }
        })
    }
}
