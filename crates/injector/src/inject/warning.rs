//! Warnings for the user who created a pod that is allowed.
//!
//! Warnings are sent in `AdmissionReview.response.warnings`, which kubectl prints. Kubernetes recommends at most 120
//! characters each and may truncate at 256, so every untrusted text in a warning is shortened with [`shown`].

use std::fmt;

/// One warning for the user who created the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Stable machine key, such as `MISSPELT_ANNOTATION`.
    pub code: &'static str,
    /// One sentence without a period; untrusted text in it is already shortened.
    pub message: String,
}

/// Every code with its description; `docs/server.md` has the same table.
pub const CODES: [(&str, &str); 59] = [
    ("ANNOTATION_AS_LABEL", "an annotation used as a label, which has no effect"),
    ("BLANKS_IN_ANNOTATION", "blanks around a value, which are ignored"),
    (
        "BYPASS_BOOTSTRAP",
        "the pod gives its proxy a custom bootstrap configuration, which may lack what the mesh relies on",
    ),
    ("BYPASS_CONTROL_PLANE", "the pod names a control plane other than the mesh's"),
    ("BYPASS_HOST_NETWORK", "record only: not injected because of `hostNetwork`"),
    ("BYPASS_INBOUND", "the pod exempts all incoming traffic from redirection"),
    ("BYPASS_INTERCEPTION_MODE", "the pod disables redirection: `interceptionMode: NONE`"),
    (
        "BYPASS_NET_ADMIN",
        "a container of the application is privileged or can undo redirection (`NET_ADMIN`)",
    ),
    ("BYPASS_OPTED_OUT", "record only: not injected because the pod opted out"),
    ("BYPASS_OUTBOUND", "the pod exempts all outgoing traffic from redirection"),
    ("BYPASS_OWN_INIT", "the pod's own init container controls redirection"),
    ("BYPASS_PROXY_COMMAND", "the pod's own `istio-proxy` has a different command or different arguments"),
    (
        "BYPASS_PROXY_ENVIRONMENT",
        "the pod sets a variable that disables the proxy, redirection or trust checks",
    ),
    ("BYPASS_PROXY_IMAGE", "the pod chooses the image of its proxy"),
    ("BYPASS_SOME_TRAFFIC", "record only: the pod exempts ports, addresses or interfaces from redirection"),
    ("BYPASS_TELEMETRY", "record only: the pod sends traces, logs or metrics of its proxy elsewhere"),
    ("BYPASS_TEMPLATES", "record only: the pod requests templates that create no `istio-proxy`"),
    ("BYPASS_TLS_MODE", "the pod's label tells clients not to use mutual TLS"),
    ("DEAD_ANNOTATION", "an annotation of Istio's API that is no longer read"),
    ("DEPRECATED_ANNOTATION", "an annotation that still works but has a successor"),
    ("DOUBTFUL_ANNOTATION", "a value that is valid but probably unintended"),
    (
        "FORGED_RECORD",
        "the record of an earlier injection names something that is not in the pod, or that no injection created",
    ),
    ("IGNORED_ANNOTATION", "a value that has no effect"),
    ("IGNORED_PROXY_CONFIG_FIELD", "an unknown field of `proxy.istio.io/config`"),
    ("IMAGE_AUTO_LEFT", "a container keeps the image `auto` and cannot start"),
    ("INVALID_INJECT_VALUE", "`sidecar.istio.io/inject` is neither `true` nor `false`"),
    ("KEY_CASE", "manifests only: a key in different case, which kubectl rejects"),
    ("LABEL_AS_ANNOTATION", "a label used as an annotation, which has no effect"),
    ("LIKELY_POD_TEMPLATE", "manifests only: a likely pod template that was left alone"),
    ("LINKERD_MARK_ALONE", "one of Linkerd's two marks without the other; the pod is injected"),
    ("MALFORMED_STATUS", "the record of an earlier injection cannot be parsed"),
    ("MISSPELT_ANNOTATION", "an unknown annotation similar to a known one"),
    ("MISSPELT_LABEL", "an unknown label similar to a known one"),
    (
        "NAMESPACE_HAS_BOTH_LABELS",
        "the namespace has `istio-injection` and `istio.io/rev`; the first one decides",
    ),
    ("NAMESPACE_LABEL_ON_POD", "a label for namespaces on a pod"),
    (
        "NAMESPACE_NOT_SELECTED",
        "not injected: the API server selected the pod, but neither its namespace nor the pod requests a proxy",
    ),
    ("OWN_VOLUME", "a volume of the pod replaces a template's volume of the same name"),
    (
        "POD_REQUESTS_LOWERED",
        "`compat: istio`: pod-level limits without requests, so the pod requests less than without the proxy",
    ),
    ("POD_RESOURCES_RAISED", "pod-level requests or limits were raised by the proxy's share"),
    (
        "POD_RESOURCES_TOO_SMALL",
        "pod-level requests or limits are too small for the proxy; the API server will reject the pod",
    ),
    (
        "POLICY_COUNTS_THE_PROXY",
        "manifests only: a rule of a Job's `podFailurePolicy` matches the proxy's exit code",
    ),
    ("PORT_OF_THE_PROXY", "a container uses one of the proxy's ports"),
    (
        "PRE_STOP_SLEEP_TOO_LONG",
        "the value `preStopSleepSeconds` is not less than the pod's grace period; no hook is added",
    ),
    ("PRIVILEGED_PROXY", "the pod gives a container of ours more privileges than the configuration does"),
    (
        "PROBES_NOT_MERGED",
        "the pod's existing list of probes for the agent cannot be parsed and is unchanged",
    ),
    (
        "PROBE_ASKS_THE_NODE",
        "a probe or hook with the host `localhost` or `127.0.0.1` goes to the node, not to the pod",
    ),
    ("PROBE_BEFORE_PROXY", "a probe or hook of an init container fails before the proxy runs"),
    ("PROXY_CONFIG_FIELD", "a field of ProxyConfig used as a label or annotation"),
    ("PROXY_LIMIT_ABOVE_POD", "`compat: istio`: a limit of the proxy exceeds the pod's"),
    ("PROXY_RESTART_POLICY", "`restartPolicy` of the user's own proxy does not fit a native sidecar"),
    (
        "REVISION_OF_THE_NAMESPACE",
        "the pod's label `istio.io/rev` is ignored because the namespace has a label",
    ),
    ("SETTING_NOT_ON_THE_POD", "manifests only: a setting for pods on the workload"),
    (
        "SEVERAL_OF_ONE",
        "`compat: istio`: two handlers, sources or values where an API server accepts only one",
    ),
    ("SKIPPED_LINKERD_POD", "not injected: the pod has both marks of Linkerd"),
    ("SKIPPED_MIRROR_POD", "not injected: the pod has the annotation of mirror pods"),
    ("SKIPPED_WINDOWS_POD", "not injected: the pod is for Windows nodes"),
    ("UNKNOWN_PROBE_PORT", "a probe or hook names a port that its container does not define"),
    ("UNQUOTED_VALUE", "manifests only: an unquoted value for a string field, which kubectl rejects"),
    ("USER_OF_THE_PROXY", "a container runs as the proxy's user, so its traffic is not redirected"),
];

/// The codes that are only recorded: log, audit annotation and counter. They describe rights that ordinary pods make
/// use of, such as a database's port that is not redirected, so the user already knows.
pub const RECORD_ONLY: [&str; 5] = [
    "BYPASS_HOST_NETWORK",
    "BYPASS_OPTED_OUT",
    "BYPASS_SOME_TRAFFIC",
    "BYPASS_TELEMETRY",
    "BYPASS_TEMPLATES",
];

impl Warning {
    /// A warning with a stable key, one of [`CODES`], and a sentence.
    pub fn new(code: &'static str, message: impl Into<String>) -> Warning {
        debug_assert!(CODES.iter().any(|(known, _)| *known == code), "{code} has no row");
        Warning { code, message: message.into() }
    }

    /// Whether the user who creates the pod sees it, and not only the administrator of the mesh.
    pub fn is_shown(&self) -> bool {
        !RECORD_ONLY.contains(&self.code)
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The maximum number of characters of an untrusted text that are shown.
pub const SHOWN: usize = 64;

/// An untrusted text for display: control characters escaped, at most [`SHOWN`] characters, quoted.
pub fn shown(text: &str) -> String {
    shown_within(text, SHOWN)
}

/// [`shown`] with a custom limit.
pub fn shown_within(text: &str, limit: usize) -> String {
    let mut out = String::from("\"");
    let mut left = limit;
    for character in text.chars() {
        // Quotes and other letters stay readable; characters that control a terminal do not.
        let escaped: String =
            if moves_cursor(character) { character.escape_default().collect() } else { character.into() };
        match left.checked_sub(escaped.chars().count()) {
            Some(rest) => left = rest,
            None => {
                out.push('…');
                break;
            }
        }
        out.push_str(&escaped);
    }
    out.push('"');
    out
}

/// Control characters, and those by which Unicode hides or reorders text.
fn moves_cursor(character: char) -> bool {
    let hidden = matches!(character,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    character.is_control() || hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_and_those_for_the_record_say_so() {
        assert!(CODES.is_sorted_by_key(|(code, _)| *code), "{CODES:#?}");
        for (code, about) in CODES {
            assert_eq!(about.starts_with("record only: "), RECORD_ONLY.contains(&code), "{code}");
            assert_eq!(Warning::new(code, "").is_shown(), !RECORD_ONLY.contains(&code), "{code}");
        }
    }

    #[test]
    fn shows_short_text_as_it_is() {
        assert_eq!(shown("10.0.0.0/8"), "\"10.0.0.0/8\"");
    }

    #[test]
    fn shortens_long_text_to_64_characters() {
        let text = shown(&"ä".repeat(65));
        assert_eq!(text, format!("\"{}…\"", "ä".repeat(64)));
        assert_eq!(shown(&"ä".repeat(64)), format!("\"{}\"", "ä".repeat(64)));
    }

    #[test]
    fn escapes_count_for_the_limit() {
        assert_eq!(shown_within("a\u{1b}b", 7), "\"a\\u{1b}…\"");
        assert_eq!(shown_within("a\u{1b}b", 8), "\"a\\u{1b}b\"");
        assert_eq!(shown_within("a\u{1b}b", 6), "\"a…\"");
    }

    #[test]
    fn escapes_what_moves_a_cursor() {
        assert_eq!(shown("a\u{1b}[2Jb\n\u{202e}"), "\"a\\u{1b}[2Jb\\n\\u{202e}\"");
    }
}
