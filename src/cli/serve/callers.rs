//! Flags of `serve` that control access to the webhook and to metrics.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::server::{
    client_auth::{AllowedNames, CLUSTER_CA, CaSource, Certificates, ConfigMapKey, Mode, Options},
    options::AdminAuth,
};

/// Access to the webhook.
#[derive(Debug, Args)]
#[command(next_help_heading = "Who may call")]
pub(super) struct Callers {
    /// Authentication of API servers by client certificate or token, which they must be configured for; `request`
    /// rejects no caller and counts those that `require` would reject
    #[arg(long, env = "OUTRIGGER_CLIENT_AUTH", value_name = "MODE", default_value = "none")]
    client_auth: ModeFlag,
    /// CA that signs the callers' certificates, in PEM
    #[arg(
        long,
        env = "OUTRIGGER_CLIENT_CA_FILE",
        value_name = "FILE",
        conflicts_with = "client_ca_configmap"
    )]
    client_ca_file: Option<PathBuf>,
    /// CA from a ConfigMap, which is watched: NAMESPACE/NAME:KEY
    #[arg(long, env = "OUTRIGGER_CLIENT_CA_CONFIGMAP", value_name = "CONFIGMAP")]
    client_ca_configmap: Option<ConfigMapKey>,
    /// Accepted names: a certificate must have one of them, as its common name or among its DNS names and URIs; `*`
    /// allows every certificate of a CA that signs no others
    #[arg(long, env = "OUTRIGGER_CLIENT_ALLOWED_NAMES", value_name = "NAME", value_delimiter = ',')]
    client_allowed_names: Vec<String>,
    /// Access to metrics: `token` requires a bearer token that the API server verifies, over HTTPS on the admin port.
    /// Probes are always open
    #[arg(long, env = "OUTRIGGER_ADMIN_AUTH", value_name = "MODE", default_value = "none")]
    admin_auth: AdminFlag,
    /// File with bearer tokens, one per line; callers must present one of them
    #[arg(long, env = "OUTRIGGER_CLIENT_TOKEN_FILE", value_name = "FILE")]
    client_token_file: Option<PathBuf>,
}

/// How callers are authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ModeFlag {
    /// No authentication
    None,
    /// No rejection; callers that `require` would reject are logged and counted
    Request,
    /// Reject all other callers
    Require,
}

/// Access to metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AdminFlag {
    /// Open to everybody
    None,
    /// Requires a token of a user that the API server authorizes to get the path
    Token,
}

/// Matches every name.
const ANY: &str = "*";

impl Callers {
    /// Detects conflicting flags.
    pub(super) fn contradiction(&self, standalone: bool) -> Option<&'static str> {
        let has_ca = self.client_ca_file.is_some() || self.client_ca_configmap.is_some();
        let has_token = self.client_token_file.is_some();
        let names = &self.client_allowed_names;
        match self.client_auth {
            ModeFlag::None if has_ca || has_token || !names.is_empty() => Some(
                "flags for the authentication of callers have no effect, because --client-auth is none; use \
                 --client-auth=request or require",
            ),
            ModeFlag::Request | ModeFlag::Require if !has_ca && !has_token => Some(
                "--client-auth needs --client-ca-file or --client-ca-configmap with --client-allowed-names, or \
                 --client-token-file",
            ),
            _ if has_ca && names.is_empty() => Some(
                "--client-allowed-names is required: the names in the API servers' certificates, or '*' for a CA \
                 that signs no other certificates",
            ),
            _ if !has_ca && !names.is_empty() => {
                Some("--client-allowed-names needs --client-ca-file or --client-ca-configmap")
            }
            _ if names.iter().any(String::is_empty) => {
                Some("--client-allowed-names: found an empty name; expected names, or '*' alone")
            }
            _ if names.len() > 1 && names.iter().any(|name| name == ANY) => {
                Some("--client-allowed-names: found '*' among other names; expected names, or '*' alone")
            }
            _ if standalone && self.admin_auth == AdminFlag::Token => {
                Some("--admin-auth token needs a cluster and conflicts with --standalone")
            }
            _ if standalone && self.client_ca_configmap.is_some() => {
                Some("--client-ca-configmap needs a cluster and conflicts with --standalone")
            }
            _ => None,
        }
    }

    pub(super) fn admin(&self) -> AdminAuth {
        match self.admin_auth {
            AdminFlag::None => AdminAuth::None,
            AdminFlag::Token => AdminAuth::Token,
        }
    }

    pub(super) fn options(self) -> Options {
        let names = match self.client_allowed_names.as_slice() {
            [name] if name == ANY => AllowedNames::Any,
            _ => AllowedNames::These(self.client_allowed_names),
        };
        let file = self.client_ca_file.map(CaSource::File);
        let ca = file.or(self.client_ca_configmap.map(CaSource::ConfigMap));
        Options {
            mode: match self.client_auth {
                ModeFlag::None => Mode::None,
                ModeFlag::Request => Mode::Request,
                ModeFlag::Require => Mode::Require,
            },
            certificates: ca.map(|ca| Certificates { ca, names, cluster_ca: CLUSTER_CA.into() }),
            token_file: self.client_token_file,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        callers: Callers,
    }

    fn parsed(flags: &str) -> Result<Callers, clap::Error> {
        let arguments = std::iter::once("serve").chain(flags.split_whitespace());
        Flags::try_parse_from(arguments).map(|flags| flags.callers)
    }

    #[test]
    fn what_cannot_be_meant_together_is_refused() {
        for (flags, found) in [
            ("--client-ca-file=ca.crt --client-allowed-names=a", "--client-auth is none"),
            ("--client-token-file=t", "--client-auth is none"),
            ("--client-allowed-names=a", "--client-auth is none"),
            ("--client-auth=require", "needs --client-ca-file"),
            ("--client-auth=request", "needs --client-ca-file"),
            ("--client-auth=require --client-ca-file=ca.crt", "--client-allowed-names is required"),
            ("--client-auth=request --client-ca-configmap=a/b:c", "--client-allowed-names is required"),
            (
                "--client-auth=require --client-ca-file=ca.crt --client-token-file=t",
                "--client-allowed-names is required",
            ),
            (
                "--client-auth=require --client-token-file=t --client-allowed-names=a",
                "needs --client-ca-file or",
            ),
            ("--client-auth=require --client-ca-file=ca.crt --client-allowed-names=a,", "an empty name"),
            (
                "--client-auth=require --client-ca-file=ca.crt --client-allowed-names=a,*",
                "'*' among other names",
            ),
            ("--client-auth=require --client-ca-configmap=a/b:c --client-allowed-names=a", "needs a cluster"),
        ] {
            let contradiction = parsed(flags).unwrap().contradiction(true).unwrap_or_default();
            assert!(contradiction.contains(found), "{flags}: {contradiction:?}");
        }
        for flags in [
            "",
            "--client-auth=none",
            "--client-auth=require --client-token-file=t",
            "--client-auth=request --client-ca-file=ca.crt --client-allowed-names=*",
            "--client-auth=require --client-ca-file=ca.crt --client-allowed-names=a --client-allowed-names=b,c",
            "--client-auth=require --client-ca-file=ca.crt --client-allowed-names=a --client-token-file=t",
        ] {
            assert_eq!(parsed(flags).unwrap().contradiction(true), None, "{flags}");
        }
        let in_cluster = "--client-auth=require --client-ca-configmap=a/b:c --client-allowed-names=a";
        assert_eq!(parsed(in_cluster).unwrap().contradiction(false), None);
    }

    #[test]
    fn a_config_map_is_named_with_namespace_and_key() {
        for text in ["", "a", "a/b", "a:b", "/b:c", "a/:c", "a/b:", "a/b/c:d", "a/b:c d"] {
            assert!(
                parsed(&format!("--client-ca-configmap={}", text.replace(' ', "%"))).is_err(),
                "{text:?}"
            );
        }
        let flags = "--client-auth=require --client-allowed-names=x,y \
                     --client-ca-configmap=kube-system/extension-apiserver-authentication:client-ca-file";
        let options = parsed(flags).unwrap().options();
        let Some(Certificates { ca: CaSource::ConfigMap(key), names, .. }) = options.certificates else {
            panic!("a ConfigMap")
        };
        assert_eq!(key.to_string(), "kube-system/extension-apiserver-authentication:client-ca-file");
        assert_eq!(names, AllowedNames::These(vec!["x".to_owned(), "y".to_owned()]));
        assert!(parsed("--client-ca-file=a --client-ca-configmap=a/b:c").is_err());
    }
}
