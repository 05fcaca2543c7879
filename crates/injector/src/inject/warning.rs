//! What the person who created a pod should know although the pod is allowed.
//!
//! Warnings travel in `AdmissionReview.response.warnings`, which kubectl prints. Kubernetes advises 120 characters each
//! and may cut at 256, so every foreign text in a warning is shortened with [`shown`].

use std::fmt;

/// One thing to tell the person who created the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Stable machine key, such as `MISSPELT_ANNOTATION`.
    pub code: &'static str,
    /// One sentence without a full stop; foreign text in it is already shortened.
    pub message: String,
}

/// Every code, and what it is about; `docs/server.md` has the same table.
pub const CODES: [(&str, &str); 58] = [
    ("ANNOTATION_AS_LABEL", "a label that is an annotation: as a label it has no effect"),
    ("BLANKS_IN_ANNOTATION", "blanks around a value, which do not belong to it"),
    (
        "BYPASS_BOOTSTRAP",
        "the pod gives its proxy another bootstrap configuration, which may leave out what the mesh relies on",
    ),
    ("BYPASS_CONTROL_PLANE", "the pod names another control plane than the mesh's"),
    ("BYPASS_HOST_NETWORK", "record only: not injected because of `hostNetwork`"),
    ("BYPASS_INBOUND", "the pod has none of its incoming traffic redirected"),
    ("BYPASS_INTERCEPTION_MODE", "the pod has nothing redirected: `interceptionMode: NONE`"),
    (
        "BYPASS_NET_ADMIN",
        "a container of the application is privileged or may undo redirection (`NET_ADMIN`)",
    ),
    ("BYPASS_OPTED_OUT", "record only: not injected because the pod opted out"),
    ("BYPASS_OUTBOUND", "the pod has none of its outgoing traffic redirected"),
    ("BYPASS_OWN_INIT", "the pod's own init container decides what is redirected"),
    ("BYPASS_PROXY_COMMAND", "the pod's own `istio-proxy` has another command or other arguments"),
    ("BYPASS_PROXY_ENVIRONMENT", "the pod sets a variable that turns off the proxy, redirection or trust"),
    ("BYPASS_PROXY_IMAGE", "the pod chooses the image of its proxy"),
    ("BYPASS_SOME_TRAFFIC", "record only: the pod keeps ports, addresses or interfaces from redirection"),
    ("BYPASS_TELEMETRY", "record only: the pod sends traces, logs or metrics of its proxy elsewhere"),
    ("BYPASS_TEMPLATES", "record only: the pod asks for templates that make no `istio-proxy`"),
    ("BYPASS_TLS_MODE", "the pod's label says that nobody is to speak mutual TLS to it"),
    ("DEAD_ANNOTATION", "an annotation of Istio's API that nothing reads any more"),
    ("DEPRECATED_ANNOTATION", "an annotation that still works and has a successor"),
    ("DOUBTFUL_ANNOTATION", "a value that is accepted and probably not meant"),
    (
        "FORGED_RECORD",
        "the record of an earlier injection names what is not in the pod, or what no injection made",
    ),
    ("IGNORED_ANNOTATION", "a value that has no effect"),
    ("IGNORED_PROXY_CONFIG_FIELD", "a field of `proxy.istio.io/config` that is not known"),
    ("IMAGE_AUTO_LEFT", "a container keeps the image `auto` and cannot start"),
    ("INVALID_INJECT_VALUE", "`sidecar.istio.io/inject` is neither `true` nor `false`"),
    ("KEY_CASE", "manifests only: a key in another case, which kubectl refuses"),
    ("LABEL_AS_ANNOTATION", "an annotation that is a label: as an annotation it has no effect"),
    ("LIKELY_POD_TEMPLATE", "manifests only: what looks like a pod template and was left alone"),
    (
        "LINKERD_MARK_ALONE",
        "one of Linkerd's two marks without the other, which is none: the pod is injected",
    ),
    ("MALFORMED_STATUS", "the record of an earlier injection cannot be read"),
    ("MISSPELT_ANNOTATION", "an annotation that is not known and close to one that is"),
    ("MISSPELT_LABEL", "a label that is not known and close to one that is"),
    (
        "NAMESPACE_HAS_BOTH_LABELS",
        "the namespace has `istio-injection` and `istio.io/rev`; the first one decides",
    ),
    ("NAMESPACE_LABEL_ON_POD", "a label for namespaces stands on a pod"),
    (
        "NAMESPACE_NOT_SELECTED",
        "not injected: the API server selected the pod, but neither its namespace nor the pod requests a proxy",
    ),
    ("OWN_VOLUME", "a volume of the pod takes the place of a template's volume of the same name"),
    (
        "POD_REQUESTS_LOWERED",
        "`compat: istio`: pod-level limits without requests, so that the pod requests less than without the proxy",
    ),
    ("POD_RESOURCES_RAISED", "pod-level requests or limits were raised by the proxy's share"),
    (
        "POD_RESOURCES_TOO_SMALL",
        "pod-level requests or limits are too small for the proxy; the API server will refuse the pod",
    ),
    (
        "POLICY_COUNTS_THE_PROXY",
        "manifests only: a rule of a Job's `podFailurePolicy` counts the proxy's exit code",
    ),
    ("PORT_OF_THE_PROXY", "a container's port is one of the proxy's own"),
    ("PRIVILEGED_PROXY", "the pod gives a container of ours more privileges than the configuration does"),
    (
        "PROBES_NOT_MERGED",
        "the agent's list of probes that the pod came with cannot be read and stays as it is",
    ),
    (
        "PROBE_ASKS_THE_NODE",
        "a probe or hook with the host `localhost` or `127.0.0.1` asks the node, not the pod",
    ),
    ("PROBE_BEFORE_PROXY", "a probe or hook of an init container fails before the proxy runs"),
    ("PROXY_CONFIG_FIELD", "a field of ProxyConfig stands as a label or annotation of its own"),
    ("PROXY_LIMIT_ABOVE_POD", "`compat: istio`: a limit of the proxy is above the pod's"),
    ("PROXY_RESTART_POLICY", "`restartPolicy` of the user's own proxy does not fit a native sidecar"),
    (
        "REVISION_OF_THE_NAMESPACE",
        "the pod's label `istio.io/rev` is ignored because the namespace has a label",
    ),
    ("SETTING_NOT_ON_THE_POD", "manifests only: a setting for pods stands on the workload"),
    ("SEVERAL_OF_ONE", "`compat: istio`: two handlers, sources or values where an API server takes one"),
    ("SKIPPED_LINKERD_POD", "not injected: the pod bears both marks of Linkerd"),
    ("SKIPPED_MIRROR_POD", "not injected: the pod bears the annotation of mirror pods"),
    ("SKIPPED_WINDOWS_POD", "not injected: the pod is for Windows nodes"),
    ("UNKNOWN_PROBE_PORT", "a probe or hook names a port that its container does not have"),
    (
        "UNQUOTED_VALUE",
        "manifests only: a value without quotes where the API has a string, which kubectl refuses",
    ),
    ("USER_OF_THE_PROXY", "a container runs as the proxy's user, so that its traffic is not redirected"),
];

/// The codes that are for the record alone: log, audit annotation and counter. What they are about is a right that ordinary
/// pods make use of, such as a database's port that is not redirected; whoever creates the pod has just said so.
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

    /// Whether the person who creates the pod is told, and not only whoever looks after the mesh.
    pub fn is_shown(&self) -> bool {
        !RECORD_ONLY.contains(&self.code)
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// How many characters of a foreign text are shown to people.
pub const SHOWN: usize = 64;

/// A foreign text fit to be shown: control characters escaped, at most [`SHOWN`] characters, quoted.
pub fn shown(text: &str) -> String {
    shown_within(text, SHOWN)
}

/// [`shown`] with a limit of its own.
pub fn shown_within(text: &str, limit: usize) -> String {
    let mut out = String::from("\"");
    let mut left = limit;
    for character in text.chars() {
        // Quotes and other letters stay readable; what could move a terminal's cursor does not.
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

/// Control characters, and the ones by which Unicode hides or turns text.
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
