//! Flags that describe the configurations, checked before anything is printed or sent.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use super::{
    super::{failure::Failure, files},
    bundle,
};
use crate::{
    config::{InjectorConfig, Source},
    server::duration::parse_duration,
    webhook_config::{
        Client, Conditions, DEFAULT_REVISION, FailurePolicy, NAMESPACE, ReinvocationPolicy, SUFFIX, Settings,
        service_name,
    },
};

/// Selects the configurations: their names follow from a revision, its tags and its namespace.
#[derive(Debug, Args)]
pub(super) struct Names {
    /// Revision; the one named default handles namespaces labeled istio-injection=enabled
    #[arg(long, env = "OUTRIGGER_REVISION", value_name = "REVISION", default_value = DEFAULT_REVISION)]
    pub(super) revision: String,
    /// Another name for the revision, with its own configuration; may be repeated
    #[arg(long = "tag", value_name = "TAG", value_delimiter = ',')]
    pub(super) tags: Vec<String>,
    /// Make this revision the default one, whatever its name: same as --tag default
    #[arg(long)]
    pub(super) default_revision: bool,
    /// With the default revision: also inject pods in namespaces without any label
    #[arg(long)]
    pub(super) enable_namespaces_by_default: bool,
    /// outrigger's own namespace: the Service's, and never injected
    #[arg(short, long, env = "OUTRIGGER_NAMESPACE", value_name = "NAMESPACE", default_value = NAMESPACE)]
    pub(super) namespace: String,
    /// Suffix of the entries' names
    #[arg(long, value_name = "SUFFIX", default_value = SUFFIX)]
    pub(super) name_suffix: String,
}

/// Content of the configurations.
#[derive(Debug, Args)]
pub(super) struct SettingsFlags {
    #[command(flatten)]
    names: Names,
    /// Service that the API server calls [default: outrigger[-REVISION]]
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Port of the Service
    #[arg(long, value_name = "PORT", default_value_t = 443)]
    port: u16,
    /// Path to call; may carry parameters such as /inject/cluster/east
    #[arg(long, value_name = "PATH", default_value = "/inject")]
    path: String,
    /// https URL that the API server calls instead of the Service
    #[arg(long, value_name = "URL", conflicts_with_all = ["service", "port", "path"])]
    url: Option<String>,
    /// PEM file with CA certificates and nothing else; without it, the caBundle is not managed
    #[arg(long, value_name = "FILE")]
    ca_bundle: Option<PathBuf>,
    /// If no server responds: reject the pod (Fail) or create it without a proxy (Ignore)
    #[arg(long, value_name = "POLICY", default_value = "Fail", ignore_case = true)]
    failure_policy: FailureFlag,
    /// Whether outrigger is called again for a pod that another webhook, or admission itself (defaults of a
    /// LimitRange), changed after it
    #[arg(long, value_name = "POLICY", default_value = "Never", ignore_case = true)]
    reinvocation_policy: ReinvocationFlag,
    /// How long the API server waits for a response, 1s to 30s
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = seconds)]
    timeout: Duration,
    /// Another namespace that is never injected, besides outrigger's own and the system's; may be repeated
    #[arg(long = "exclude-namespace", value_name = "NAMESPACE", value_delimiter = ',')]
    excluded: Vec<String>,
    /// Which pods the API server does not send, because they are never injected
    #[arg(long, value_name = "WHICH", default_value = "preset")]
    match_conditions: ConditionsFlag,
    /// Bundle whose rules with inject: never become match conditions; if its rules or its override policy look at pods
    /// that opt out, these are sent, too
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// Label for the objects, such as istio.io/rev=canary for istioctl; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FailureFlag {
    #[value(name = "Fail")]
    Fail,
    #[value(name = "Ignore")]
    Ignore,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ReinvocationFlag {
    #[value(name = "Never")]
    Never,
    #[value(name = "IfNeeded")]
    IfNeeded,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ConditionsFlag {
    /// Pods on the host's network, and mirror pods
    Preset,
    /// Only pods on the host's network; for compat: istio
    HostNetwork,
    /// Send all pods
    None,
}

impl Names {
    /// Settings with the right names and defaults for everything else.
    pub(super) fn settings(&self) -> Result<Settings, Failure> {
        let mut tags = self.tags.clone();
        let has_default = self.revision == DEFAULT_REVISION || tags.iter().any(|tag| tag == DEFAULT_REVISION);
        if self.default_revision && !has_default {
            tags.push(DEFAULT_REVISION.to_owned());
        }
        let settings = Settings {
            revision: self.revision.clone(),
            tags,
            enable_namespaces_by_default: self.enable_namespaces_by_default,
            namespace: self.namespace.clone(),
            suffix: self.name_suffix.clone(),
            ..Settings::default()
        };
        checked(settings)
    }
}

impl SettingsFlags {
    /// The bundle, or the embedded configuration.
    pub(super) fn configuration(&self) -> Result<InjectorConfig, Failure> {
        let Some(path) = &self.bundle else { return Ok(InjectorConfig::embedded()?) };
        let input = files::read(path)?;
        let source = Source { name: &input.name, text: &input.text };
        Ok(InjectorConfig::from_bundle(source)?.0)
    }

    /// The settings given by the flags, if they are valid.
    pub(super) fn settings(&self) -> Result<Settings, Failure> {
        let names = self.names.settings()?;
        let conditions = match self.match_conditions {
            ConditionsFlag::Preset => Conditions::Preset,
            ConditionsFlag::HostNetwork => Conditions::HostNetwork,
            ConditionsFlag::None => Conditions::None,
        };
        let (mut rules, mut sends_opt_outs) = (Vec::new(), false);
        if self.bundle.is_some() {
            let config = self.configuration()?;
            let fails_closed = matches!(self.failure_policy, FailureFlag::Fail);
            rules = config.guard().match_conditions(fails_closed, conditions.to_values().len());
            sends_opt_outs = config.guard().needs_opt_outs();
        }
        let client = match &self.url {
            Some(url) => Client::Url(url.clone()),
            None => Client::Service {
                name: self.service.clone().unwrap_or_else(|| service_name(&names.revision)),
                port: self.port,
                path: self.path.clone(),
            },
        };
        checked(Settings {
            excluded_namespaces: self.excluded.clone(),
            client,
            ca_bundle: self.ca_bundle.as_deref().map(bundle::read).transpose()?,
            failure_policy: match self.failure_policy {
                FailureFlag::Fail => FailurePolicy::Fail,
                FailureFlag::Ignore => FailurePolicy::Ignore,
            },
            reinvocation_policy: match self.reinvocation_policy {
                ReinvocationFlag::Never => ReinvocationPolicy::Never,
                ReinvocationFlag::IfNeeded => ReinvocationPolicy::IfNeeded,
            },
            timeout_seconds: u32::try_from(self.timeout.as_secs()).unwrap_or(u32::MAX),
            conditions,
            rules,
            sends_opt_outs,
            labels: self.labels.iter().cloned().collect::<BTreeMap<_, _>>(),
            ..names
        })
    }
}

fn checked(settings: Settings) -> Result<Settings, Failure> {
    settings.check().map_err(|problems| Failure::usage(problems.join("\n")))?;
    Ok(settings)
}

/// Parses whole seconds: the API server accepts no fractions.
fn seconds(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text)?;
    if duration.subsec_nanos() != 0 {
        return Err(format!("found {text:?}; expected whole seconds from 1s to 30s"));
    }
    Ok(duration)
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("found {text:?}; expected KEY=VALUE")),
    }
}
