//! Flags of istioctl that mean nothing here: scripts may have them, so they are accepted, with a warning that names them.

use clap::Args;

/// Flags without effect.
#[derive(Debug, Args)]
pub(super) struct Tolerated {
    #[arg(long = "as", value_name = "USER", hide = true)]
    impersonate: Option<String>,
    #[arg(long = "as-uid", value_name = "UID", hide = true)]
    impersonate_uid: Option<String>,
    #[arg(long = "as-group", value_name = "GROUP", hide = true)]
    impersonate_group: Vec<String>,
    #[arg(long = "kubeclient-timeout", value_name = "DURATION", hide = true)]
    kube_timeout: Option<String>,
    #[arg(long = "namespace", short = 'n', value_name = "NAMESPACE", hide = true)]
    namespace: Option<String>,
    #[arg(long = "xds-address", value_name = "ADDRESS", hide = true)]
    xds_address: Option<String>,
    #[arg(long = "xds-label", value_name = "SELECTOR", hide = true)]
    xds_label: Option<String>,
    #[arg(long = "xds-port", value_name = "PORT", hide = true)]
    xds_port: Option<String>,
    #[arg(long = "cert-dir", value_name = "FOLDER", hide = true)]
    cert_dir: Option<String>,
    #[arg(long = "authority", value_name = "NAME", hide = true)]
    authority: Option<String>,
    #[arg(long = "timeout", value_name = "DURATION", hide = true)]
    timeout: Option<String>,
    #[arg(long = "insecure", hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    insecure: Option<bool>,
    #[arg(long = "plaintext", hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    plaintext: Option<bool>,
    #[arg(long = "vklog", value_name = "LEVEL", hide = true)]
    vklog: Option<String>,
}

impl Tolerated {
    /// A warning that names the flags that were given, if there are any.
    pub(super) fn warning(&self) -> Option<String> {
        let given: Vec<&str> = [
            ("--as", self.impersonate.is_some()),
            ("--as-uid", self.impersonate_uid.is_some()),
            ("--as-group", !self.impersonate_group.is_empty()),
            ("--kubeclient-timeout", self.kube_timeout.is_some()),
            ("--namespace", self.namespace.is_some()),
            ("--xds-address", self.xds_address.is_some()),
            ("--xds-label", self.xds_label.is_some()),
            ("--xds-port", self.xds_port.is_some()),
            ("--cert-dir", self.cert_dir.is_some()),
            ("--authority", self.authority.is_some()),
            ("--timeout", self.timeout.is_some()),
            ("--insecure", self.insecure.is_some()),
            ("--plaintext", self.plaintext.is_some()),
            ("--vklog", self.vklog.is_some()),
        ]
        .into_iter()
        .filter_map(|(flag, is_given)| is_given.then_some(flag))
        .collect();
        let (flags, have) = (given.join(", "), if given.len() == 1 { "has" } else { "have" });
        (!given.is_empty()).then(|| format!("{flags} {have} no effect in outrigger kube-inject"))
    }
}
