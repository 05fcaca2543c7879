//! `outrigger webhook`: prints, applies and waits for the configurations that send pods here, and hands over their
//! caBundle.

mod adopt;
mod apply;
pub(super) mod bundle;
pub(super) mod live;
mod order;
pub(super) mod probe;
mod settings;
mod wait;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::{failure::Failure, files, report::Color};
use crate::{webhook_config::BackstopLevel, yaml};

/// Print, apply or wait for the MutatingWebhookConfigurations that send pods to outrigger, hand over their caBundle, or
/// show every webhook that sees a pod.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  outrigger webhook print --revision canary --tag prod > webhook.yaml
  outrigger webhook apply --revision canary --tag prod
  outrigger webhook wait --revision canary --tag prod --timeout 2m
  outrigger webhook adopt outrigger-sidecar-injector
  outrigger webhook order -f pod.yaml -n shop")]
pub(super) struct Webhook {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Print(Box<Print>),
    Apply(Box<apply::Apply>),
    Wait(Box<wait::Wait>),
    Adopt(Box<adopt::Adopt>),
    Order(Box<order::Order>),
}

/// Print the MutatingWebhookConfigurations of a revision and its tags, and what belongs to them.
///
/// Contacts no cluster; the same flags always print the same text.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  outrigger webhook print --revision canary --tag prod > webhook.yaml
  outrigger webhook print --bundle bundle.yaml --failure-policy Ignore --backstop Deny
  outrigger webhook print --url https://injector.example/inject --ca-bundle ca.pem -o json")]
struct Print {
    #[command(flatten)]
    settings: settings::SettingsFlags,
    /// Also print the ValidatingWebhookConfiguration that asks for advice when workloads are applied
    #[arg(long)]
    advice: bool,
    /// Also print the ValidatingAdmissionPolicy that rejects pods without a proxy if no webhook injects them; LEVEL is that of
    /// namespaces without the label outrigger.dev/backstop
    #[arg(long, value_name = "LEVEL", ignore_case = true)]
    backstop: Option<LevelFlag>,
    /// Output format
    #[arg(short, long, value_name = "FORM", default_value = "yaml")]
    output: Form,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LevelFlag {
    /// Record such pods in the audit log
    #[value(name = "Audit")]
    Audit,
    /// Also warn the user
    #[value(name = "Warn")]
    Warn,
    /// Reject them
    #[value(name = "Deny")]
    Deny,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    /// YAML documents
    Yaml,
    /// JSON; several objects as one List
    Json,
}

impl Webhook {
    pub(super) fn run(self, color: Color) -> Result<(), Failure> {
        match self.command {
            Command::Print(print) => print.run(),
            Command::Apply(apply) => apply.run(color),
            Command::Wait(wait) => wait.run(color),
            Command::Adopt(adopt) => adopt.run(color),
            Command::Order(order) => order.run(),
        }
    }
}

impl Print {
    fn run(self) -> Result<(), Failure> {
        let settings = self.settings.settings()?;
        let mut objects = settings.objects();
        objects.extend(self.advice.then(|| settings.advice()));
        if let Some(level) = self.backstop {
            let level = match level {
                LevelFlag::Audit => BackstopLevel::Audit,
                LevelFlag::Warn => BackstopLevel::Warn,
                LevelFlag::Deny => BackstopLevel::Deny,
            };
            let config = self.settings.configuration()?;
            let backstop = settings.backstop(&config, level);
            objects.extend(backstop.map_err(|error| Failure::data(error.to_string()))?);
        }
        files::print(&match (self.output, objects.as_slice()) {
            (Form::Yaml, objects) => objects.iter().map(yaml::to_string).collect::<Vec<_>>().join("---\n"),
            (Form::Json, [object]) => format!("{object:#}\n"),
            (Form::Json, objects) => {
                format!("{:#}\n", json!({"apiVersion": "v1", "kind": "List", "items": objects}))
            }
        })
    }
}
