//! Flags of `serve` for the cluster: watches and certificate management.

use std::{collections::BTreeMap, time::Duration};

use clap::{Args, ValueEnum};

use crate::cli::choices::{CompatFlag, NativeFlag, PlatformFlag};
use crate::server::bare_workloads;
use crate::server::canary;
use crate::server::certs;
use crate::server::configuration::cluster;
use crate::server::configuration::cluster::{ConfigMaps, Installation};
use crate::server::configuration::selection::Selection;
use crate::server::duration::parse_duration;
use crate::server::namespace_audit;
use crate::webhook_config::{service_name, with_revision};

/// Watches and certificate management.
#[derive(Debug, Args)]
#[command(next_help_heading = "In a cluster")]
pub(super) struct InCluster {
    /// Namespace of this process, with its Secret and its Lease
    #[arg(long, env = "OUTRIGGER_NAMESPACE", value_name = "NAMESPACE", default_value = "outrigger-system")]
    namespace: String,
    /// Name of this replica
    #[arg(long, env = "OUTRIGGER_IDENTITY", value_name = "NAME")]
    identity: Option<String>,
    /// Revision of this process
    #[arg(long, env = "OUTRIGGER_REVISION", value_name = "REVISION", default_value = "default")]
    revision: String,
    /// outrigger's own ConfigMap, with the key `bundle` [default: use Istio's ConfigMaps]
    #[arg(long, env = "OUTRIGGER_BUNDLE_CONFIG_MAP", value_name = "NAME")]
    bundle_config_map: Option<String>,
    /// Namespace of Istio's ConfigMaps
    #[arg(long, env = "OUTRIGGER_ISTIO_NAMESPACE", value_name = "NAMESPACE", default_value = "istio-system")]
    istio_namespace: String,
    /// Istio's ConfigMap with the keys `config` and `values` [default: istio-sidecar-injector[-REVISION]]
    #[arg(long, env = "OUTRIGGER_INJECTOR_CONFIG_MAP", value_name = "NAME")]
    injector_config_map: Option<String>,
    /// Istio's ConfigMap with the key `mesh` [default: istio[-REVISION]]
    #[arg(long, env = "OUTRIGGER_MESH_CONFIG_MAP", value_name = "NAME")]
    mesh_config_map: Option<String>,
    /// With Istio's ConfigMaps: compatibility mode; `outrigger` fixes known Istio bugs, `istio` reproduces them
    #[arg(long, env = "OUTRIGGER_COMPAT", value_name = "MODE", default_value = "outrigger")]
    compat: CompatFlag,
    /// With Istio's ConfigMaps: cluster platform; on OpenShift, namespaces are watched
    #[arg(long, env = "OUTRIGGER_PLATFORM", value_name = "PLATFORM", default_value = "kubernetes")]
    platform: PlatformFlag,
    /// With Istio's ConfigMaps: whether proxies run as native sidecars
    #[arg(long, env = "OUTRIGGER_NATIVE_SIDECARS", value_name = "MODE", default_value = "auto")]
    native_sidecars: NativeFlag,
    /// With Istio's ConfigMaps: compliance policy passed to the proxies
    #[arg(long, env = "OUTRIGGER_COMPLIANCE_POLICY", value_name = "POLICY", default_value = "")]
    compliance_policy: String,
    /// With Istio's ConfigMaps: variables visible to the template function `env`
    #[arg(long = "template-env", value_name = "NAME=VALUE", value_parser = pair)]
    template_env: Vec<(String, String)>,
    /// Watch ProxyConfig resources
    #[arg(long, env = "OUTRIGGER_WATCH_PROXY_CONFIGS", value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    watch_proxy_configs: bool,
    /// Watch nodes, which determine whether native sidecars can be used
    #[arg(long, env = "OUTRIGGER_WATCH_NODES", value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    watch_nodes: bool,
    /// Whether to check a namespace's labels again before injecting its pod
    #[arg(long, env = "OUTRIGGER_SELECTION", value_name = "MODE", default_value = "verify")]
    selection: SelectionFlag,
    /// Write Events on workloads whose pods are denied, skipped or injected with warnings
    #[arg(long, env = "OUTRIGGER_WORKLOAD_EVENTS", value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    workload_events: bool,
    /// Create a pod in this namespace again and again, as a server-side dry run, to see whether it gets injected; one
    /// replica does it. The namespace's pods must be injected, and our ServiceAccount must be allowed to create pods
    /// there
    #[arg(long, env = "OUTRIGGER_CANARY_NAMESPACE", value_name = "NAMESPACE")]
    canary_namespace: Option<String>,
    /// The pause between two such pods, at least a second
    #[arg(long, env = "OUTRIGGER_CANARY_INTERVAL", value_name = "DURATION", default_value = "60s", value_parser = pause)]
    canary_interval: Duration,
    /// Look for namespaces with labels that do not do what they say, such as istio-injection=enable, and write an Event on each;
    /// one replica does it
    #[arg(long, env = "OUTRIGGER_NAMESPACE_AUDIT")]
    namespace_audit: bool,
    /// The pause between two such audits, at least a second
    #[arg(long, env = "OUTRIGGER_NAMESPACE_AUDIT_INTERVAL", value_name = "DURATION", default_value = "5m", value_parser = pause)]
    namespace_audit_interval: Duration,
    /// Look for workloads whose running pods have no proxy although new ones would get one: report them with Events and metrics, or
    /// also restart them; one replica does it
    #[arg(long, env = "OUTRIGGER_BARE_WORKLOADS", value_name = "MODE")]
    bare_workloads: Option<BareWorkloadsFlag>,
    /// The pause between two looks, at least a second
    #[arg(long, env = "OUTRIGGER_BARE_WORKLOADS_INTERVAL", value_name = "DURATION", default_value = "5m", value_parser = pause)]
    bare_workloads_interval: Duration,
    /// How many workloads may be restarting at the same time
    #[arg(long, env = "OUTRIGGER_RESTART_PARALLEL", value_name = "NUMBER", default_value = "1", value_parser = clap::value_parser!(u16).range(1..))]
    restart_parallel: u16,
    /// When restarts may begin, in UTC, such as `Mon-Fri 22:00-05:00`; may be repeated [default: at any time]
    #[arg(long, env = "OUTRIGGER_RESTART_WINDOW", value_name = "WINDOW", value_delimiter = ';')]
    restart_window: Vec<bare_workloads::Window>,
    /// Source of the certificate [default: `files` with --tls-cert, else `controller`]
    #[arg(long, env = "OUTRIGGER_CERTIFICATE", value_name = "SOURCE")]
    pub(super) certificate: Option<CertificateFlag>,
    /// Service that the API server calls; its names are in the certificate [default: outrigger[-REVISION]]
    #[arg(long, env = "OUTRIGGER_SERVICE", value_name = "NAME")]
    service: Option<String>,
    /// Secret with our CA and certificate [default: outrigger-certificate[-REVISION]]
    #[arg(long, env = "OUTRIGGER_CERTIFICATE_SECRET", value_name = "NAME")]
    certificate_secret: Option<String>,
    /// Lease for the election of the replica that writes [default: outrigger-leader[-REVISION]]
    #[arg(long, env = "OUTRIGGER_LEASE", value_name = "NAME")]
    lease: Option<String>,
    /// MutatingWebhookConfigurations whose caBundle to manage [default: none]
    #[arg(long, env = "OUTRIGGER_WEBHOOK_CONFIGURATIONS", value_name = "NAME", value_delimiter = ',')]
    webhook_configurations: Vec<String>,
    /// MutatingWebhookConfigurations of tags, managed while they point to this revision; see `outrigger tag`
    #[arg(long, env = "OUTRIGGER_TAG_CONFIGURATIONS", value_name = "NAME", value_delimiter = ',')]
    tag_configurations: Vec<String>,
    /// ValidatingWebhookConfiguration that sends workloads to /advise, whose caBundle to manage [default: none]
    #[arg(long, env = "OUTRIGGER_ADVICE_CONFIGURATION", value_name = "NAME")]
    advice_configuration: Option<String>,
    /// Suffix of our webhooks' names in these configurations; other entries are left alone
    #[arg(
        long,
        env = "OUTRIGGER_WEBHOOK_SUFFIX",
        value_name = "SUFFIX",
        value_delimiter = ',',
        default_value = "sidecar-injector.istio.io"
    )]
    webhook_suffix: Vec<String>,
    /// Lifetime of our CA
    #[arg(long, env = "OUTRIGGER_CA_LIFETIME", value_name = "DURATION", default_value = "8760h", value_parser = parse_duration)]
    ca_lifetime: Duration,
    /// Lifetime of a certificate; it is renewed after two thirds of it
    #[arg(long, env = "OUTRIGGER_LEAF_LIFETIME", value_name = "DURATION", default_value = "720h", value_parser = parse_duration)]
    leaf_lifetime: Duration,
    /// How long a new CA is trusted before it signs, and an old one after its last use
    #[arg(long, env = "OUTRIGGER_CA_OVERLAP", value_name = "DURATION", default_value = "10m", value_parser = parse_duration)]
    ca_overlap: Duration,
    /// How long this replica must have been ready before webhooks without rules get them
    #[arg(long, env = "OUTRIGGER_ACTIVATION_DELAY", value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    activation_delay: Duration,
}

/// How to treat the API server's selection of pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SelectionFlag {
    /// Skip a pod whose namespace clearly does not request injection, with a warning
    Verify,
    /// Inject every pod received, according to the configuration
    Trust,
}

/// What to do about workloads whose pods run without a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum BareWorkloadsFlag {
    /// Write Events, log lines and metrics
    Report,
    /// Restart Deployments, StatefulSets and DaemonSets, too
    Restart,
}

/// Source of the certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum CertificateFlag {
    /// Our own CA in a Secret; we manage the caBundle of our webhooks
    Controller,
    /// The files of --tls-cert and --tls-key; the caBundle is managed elsewhere
    Files,
    /// Generated in memory at startup
    SelfSigned,
}

impl InCluster {
    /// The watches.
    pub(super) fn watched(&self) -> cluster::Options {
        let revision = self.revision.clone();
        let config_maps = match &self.bundle_config_map {
            Some(name) => {
                ConfigMaps::Bundle { namespace: self.namespace.clone(), name: name.clone(), revision }
            }
            None => ConfigMaps::Istio {
                namespace: self.istio_namespace.clone(),
                injector: self.named(self.injector_config_map.as_deref(), "istio-sidecar-injector"),
                mesh: self.named(self.mesh_config_map.as_deref(), "istio"),
                installation: self.installation(),
            },
        };
        cluster::Options {
            config_maps,
            proxy_configs: self.watch_proxy_configs,
            nodes: self.watch_nodes,
            selection: match self.selection {
                SelectionFlag::Verify => Selection::Verify,
                SelectionFlag::Trust => Selection::Trust,
            },
            workload_events: self.workload_events,
            identity: self.identity(),
            timings: cluster::Timings::default(),
        }
    }

    /// Settings that Istio's ConfigMaps do not contain.
    pub(super) fn installation(&self) -> Installation {
        Installation {
            revision: self.revision.clone(),
            compat: self.compat.into(),
            platform: self.platform.into(),
            native_sidecars: self.native_sidecars.into(),
            compliance_policy: self.compliance_policy.clone(),
            env: self.template_env.iter().cloned().collect::<BTreeMap<_, _>>(),
        }
    }

    /// Certificate management; `more` are names besides those of the Service.
    pub(super) fn controlled(&self, more: &[String]) -> certs::Options {
        let (service, namespace) = (self.service(), &self.namespace);
        let names = [
            self.called(),
            format!("{service}.{namespace}.svc.cluster.local"),
            format!("{service}.{namespace}"),
            service,
        ];
        certs::Options {
            namespace: namespace.clone(),
            secret: self.named(self.certificate_secret.as_deref(), "outrigger-certificate"),
            lease: self.named(self.lease.as_deref(), "outrigger-leader"),
            identity: self.identity(),
            names: names.into_iter().chain(more.iter().cloned()).collect(),
            webhook_configurations: self.webhook_configurations.clone(),
            tag_configurations: self.tag_configurations.clone(),
            advice_configuration: self.advice_configuration.clone(),
            revision: self.revision.clone(),
            webhook_suffixes: self.webhook_suffix.clone(),
            ca_lifetime: self.ca_lifetime,
            leaf_lifetime: self.leaf_lifetime,
            ca_overlap: self.ca_overlap,
            activation_delay: self.activation_delay,
        }
    }

    /// The canary, if a namespace is given.
    pub(super) fn canary(&self) -> Option<canary::Options> {
        let namespace = self.canary_namespace.clone().filter(|namespace| !namespace.is_empty())?;
        Some(canary::Options {
            namespace,
            interval: self.canary_interval,
            revision: self.revision.clone(),
            webhook_suffixes: self.webhook_suffix.clone(),
        })
    }

    /// The audit of namespace labels, if it is asked for.
    pub(super) fn namespace_audit(&self) -> Option<namespace_audit::Options> {
        self.namespace_audit.then(|| namespace_audit::Options {
            interval: self.namespace_audit_interval,
            identity: self.identity(),
        })
    }

    /// What to do about workloads without a proxy, if anything.
    pub(super) fn bare_workloads(&self) -> Option<bare_workloads::Options> {
        Some(bare_workloads::Options {
            mode: match self.bare_workloads? {
                BareWorkloadsFlag::Report => bare_workloads::Mode::Report,
                BareWorkloadsFlag::Restart => bare_workloads::Mode::Restart,
            },
            interval: self.bare_workloads_interval,
            parallel: usize::from(self.restart_parallel),
            windows: self.restart_window.clone(),
            identity: self.identity(),
        })
    }

    /// Whether workloads are restarted, which one replica has to be elected for.
    pub(super) fn restarts(&self) -> bool {
        self.bare_workloads == Some(BareWorkloadsFlag::Restart)
    }

    /// The Service's name for API servers.
    pub(super) fn called(&self) -> String {
        format!("{}.{}.svc", self.service(), self.namespace)
    }

    fn service(&self) -> String {
        self.service.clone().unwrap_or_else(|| service_name(&self.revision))
    }

    /// The given name, or `stem` with the revision: a second revision in a namespace must neither take part in the
    /// first one's election nor write its Secret.
    fn named(&self, given: Option<&str>, stem: &str) -> String {
        given.map_or_else(|| with_revision(stem, &self.revision), str::to_owned)
    }

    /// Names must differ between replicas: use the pod's name, and outside of a pod the process ID.
    fn identity(&self) -> String {
        let host = || std::env::var("HOSTNAME").unwrap_or_else(|_| "outrigger".to_owned());
        // An empty name marks a Lease without a holder.
        let given = self.identity.clone().filter(|identity| !identity.is_empty());
        given.unwrap_or_else(|| format!("{}-{}", host(), std::process::id()))
    }
}

fn pause(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        pause if pause < Duration::from_secs(1) => Err(format!("found {text}; expected at least 1s")),
        pause => Ok(pause),
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("found {text:?}; expected NAME=VALUE")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        in_cluster: InCluster,
    }

    fn controlled(flags: &[&str]) -> certs::Options {
        let arguments = std::iter::once("serve").chain(flags.iter().copied());
        Flags::try_parse_from(arguments).unwrap().in_cluster.controlled(&[])
    }

    #[test]
    fn names_follow_the_revision_unless_they_are_given() {
        let names = |flags: &[&str]| {
            let certs::Options { secret, lease, names, .. } = controlled(flags);
            [secret, lease, names[0].clone(), names[3].clone()]
        };
        let service = "outrigger.outrigger-system.svc";
        assert_eq!(names(&[]), ["outrigger-certificate", "outrigger-leader", service, "outrigger"]);
        assert_eq!(names(&["--revision=default"]), names(&[]));
        let canary = "outrigger-canary.mesh.svc";
        assert_eq!(
            names(&["--revision=canary", "--namespace=mesh"]),
            ["outrigger-certificate-canary", "outrigger-leader-canary", canary, "outrigger-canary"]
        );
        let given = ["--revision=canary", "--service=a", "--certificate-secret=b", "--lease=c"];
        assert_eq!(names(&given), ["b", "c", "a.outrigger-system.svc", "a"]);
        assert!(
            controlled(&["--revision=canary"]).webhook_configurations.is_empty(),
            "only those that are named"
        );
    }
}
