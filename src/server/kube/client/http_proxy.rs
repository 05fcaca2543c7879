//! The HTTP proxy for the API server, chosen the way Go's clients, such as kubectl, choose it: the `proxy-url` of a
//! kubeconfig always applies; the proxy from the environment (`HTTPS_PROXY`) applies neither to loopback nor to hosts
//! in `NO_PROXY`.
//!
//! The client's own choice (kube 5.0.0, `ConfigLoader::proxy_url`) is not used, because it compares `NO_PROXY` with
//! the address of the proxy instead of the API server's.

use std::net::IpAddr;

use hyper::{Uri, http::uri::Scheme};
use hyper_util::client::proxy::matcher::Matcher;
use kube::config::Kubeconfig;

/// The proxy settings of the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::server) struct Environment {
    /// `HTTPS_PROXY`.
    pub(in crate::server) proxy: String,
    /// `NO_PROXY`.
    pub(in crate::server) except: String,
}

impl Environment {
    /// Reads the variables, preferring upper case.
    pub(in crate::server) fn read() -> Environment {
        let first = |names: [&str; 2]| {
            let values = names.iter().filter_map(|name| std::env::var(name).ok());
            values.into_iter().find(|value| !value.is_empty()).unwrap_or_default()
        };
        Environment { proxy: first(["HTTPS_PROXY", "https_proxy"]), except: first(["NO_PROXY", "no_proxy"]) }
    }
}

/// The proxy that a kubeconfig sets for the cluster of a context, by default the current one.
pub(in crate::server) fn named<'k>(kubeconfig: &'k Kubeconfig, context: Option<&str>) -> Option<&'k str> {
    let wanted = context.or(kubeconfig.current_context.as_deref())?;
    let context = kubeconfig.contexts.iter().find(|context| context.name == wanted)?;
    let wanted = &context.context.as_ref()?.cluster;
    let cluster = kubeconfig.clusters.iter().find(|cluster| cluster.name == *wanted)?;
    cluster.cluster.as_ref()?.proxy_url.as_deref().filter(|proxy| !proxy.is_empty())
}

/// The proxy for an API server, if there is one.
pub(in crate::server) fn choose(server: &Uri, named: Option<&str>, environment: &Environment) -> Option<Uri> {
    if let Some(named) = named {
        return with_scheme(named);
    }
    if server.scheme() != Some(&Scheme::HTTPS) || is_loopback(server) {
        return None;
    }
    let Environment { proxy, except } = environment;
    // The matcher's asterisk matches names only (hyper-util 0.1.21); in Go and curl it matches addresses too.
    if except.split(',').any(|entry| entry.trim() == "*") {
        return None;
    }
    let matcher = Matcher::builder().https(proxy.as_str()).no(except.as_str()).build();
    matcher.intercept(server).and_then(|_| with_scheme(proxy))
}

/// `proxy.example.com:3128` means HTTP.
fn with_scheme(proxy: &str) -> Option<Uri> {
    let uri: Uri = proxy.parse().ok()?;
    if uri.scheme().is_some() { Some(uri) } else { format!("http://{proxy}").parse().ok() }
}

fn is_loopback(server: &Uri) -> bool {
    let host = server.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROXY: &str = "http://proxy.example.com:3128";

    fn chosen(server: &str, named: Option<&str>, except: &str) -> Option<String> {
        let environment = Environment { proxy: PROXY.to_owned(), except: except.to_owned() };
        let chosen = choose(&server.parse().unwrap(), named, &environment);
        chosen.map(|proxy| proxy.to_string().trim_end_matches('/').to_owned())
    }

    // N-11
    #[test]
    fn no_proxy_is_about_the_api_server_and_not_about_the_proxy() {
        for except in [
            "10.96.0.1",
            "10.0.0.0/8",
            "example.org, 10.96.0.0/12",
            "*",
            // An extra comma is not an error.
            ",10.96.0.1,",
        ] {
            assert_eq!(chosen("https://10.96.0.1:443", None, except), None, "{except}");
        }
        for except in ["kubernetes.default.svc", ".svc", "svc"] {
            assert_eq!(chosen("https://kubernetes.default.svc", None, except), None, "{except}");
        }
        for except in ["", "10.96.0.2", "proxy.example.com", ".example.com", "10.96.0.1.example.org"] {
            assert_eq!(chosen("https://10.96.0.1:443", None, except).as_deref(), Some(PROXY), "{except}");
        }
    }

    // N-11
    #[test]
    fn loopback_and_plain_http_go_past_the_proxy_of_the_environment() {
        for server in
            ["https://127.0.0.1:6443", "https://[::1]:6443", "https://localhost:6443", "http://10.96.0.1"]
        {
            assert_eq!(chosen(server, None, ""), None, "{server}");
        }
    }

    // N-11
    #[test]
    fn the_proxy_of_a_kubeconfig_always_counts() {
        let own = "http://own.example.com:80";
        for server in ["https://10.96.0.1", "https://127.0.0.1:6443", "http://10.96.0.1"] {
            assert_eq!(chosen(server, Some("own.example.com:80"), "*").as_deref(), Some(own), "{server}");
        }
        let text = r#"{"current-context": "a", "contexts": [
            {"name": "a", "context": {"cluster": "a", "user": "u"}}, {"name": "b", "context": {"cluster": "b", "user": "u"}}
        ], "clusters": [
            {"name": "a", "cluster": {"server": "https://a"}},
            {"name": "b", "cluster": {"server": "https://b", "proxy-url": "http://b"}}
        ]}"#;
        let kubeconfig: Kubeconfig = serde_json::from_str(text).unwrap();
        assert_eq!(named(&kubeconfig, None), None);
        assert_eq!(named(&kubeconfig, Some("b")), Some("http://b"));
        assert_eq!(named(&kubeconfig, Some("c")), None);
    }
}
