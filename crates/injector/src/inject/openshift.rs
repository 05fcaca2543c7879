//! User and group IDs from OpenShift's namespaces and security context constraints.
//!
//! OpenShift assigns every namespace its own block of IDs in annotations; the proxy uses the last ID of the block,
//! which no application gets by default.

use serde_json::{Map, Value};

use crate::{names, pod};

/// User and group ID of the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyIds {
    /// `runAsUser`.
    pub user: i64,
    /// `runAsGroup`.
    pub group: i64,
}

impl Default for ProxyIds {
    fn default() -> ProxyIds {
        ProxyIds { user: names::PROXY_UID, group: names::PROXY_UID }
    }
}

/// The proxy's IDs for a namespace with these annotations (Istio's `GetProxyIDs`).
///
/// The user ID is the last of the UID range, the group ID the last of the first block of supplemental groups, which
/// defaults to the UID range. If a value is absent or cannot be parsed, the ID is 1337.
pub fn proxy_ids(namespace_annotations: Option<&Map<String, Value>>) -> ProxyIds {
    let mut ids = ProxyIds::default();
    let Some(annotations) = namespace_annotations else { return ids };
    let range = annotations.get(names::ANNOTATION_OPENSHIFT_UID_RANGE).and_then(Value::as_str);
    if let Some(block) = range.and_then(Block::parse) {
        ids.user = i64::from(block.end);
    }
    let groups = annotations.get(names::ANNOTATION_OPENSHIFT_GROUPS).and_then(Value::as_str).or(range);
    if let Some(block) = groups.and_then(first_block) {
        ids.group = i64::from(block.end);
    }
    ids
}

/// Removes `runAsUser` and `runAsGroup` from the user's own proxy container if its user is the application's.
///
/// OpenShift writes the same `runAsUser` on every container of a pod; kept as an override, it would let the
/// application's traffic bypass the proxy (Istio's `isSidecarUserMatchingAppUser`). Returns whether something was
/// removed.
pub fn drop_application_user(pod: &mut Value) -> bool {
    if !proxy_runs_as_application(pod) {
        return false;
    }
    let Some(context) = pod::find_sidecar_mut(pod)
        .and_then(|proxy| proxy.get_mut("securityContext"))
        .and_then(Value::as_object_mut)
    else {
        return false;
    };
    let user = context.remove("runAsUser").is_some();
    let group = context.remove("runAsGroup").is_some();
    user || group
}

/// A block of IDs, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Block {
    start: u32,
    end: u32,
}

impl Block {
    /// Parses `start/size` or `start-end` like OpenShift's `ParseBlock` with Go's `Sscanf`: blanks before a number and
    /// anything after the second one are ignored, and the end wraps around.
    fn parse(text: &str) -> Option<Block> {
        let separator = if text.contains('/') { '/' } else { '-' };
        let (start, rest) = scan_number(text)?;
        let (second, _) = scan_number(rest.strip_prefix(separator)?)?;
        let end = if separator == '/' { start.wrapping_add(second).wrapping_sub(1) } else { second };
        Some(Block { start, end })
    }
}

/// The first block of a comma-separated list in which every block is valid.
fn first_block(text: &str) -> Option<Block> {
    let blocks: Vec<Block> = text.split(',').map(Block::parse).collect::<Option<_>>()?;
    blocks.first().copied()
}

/// A number as Go's `Sscanf("%d")` parses it for a `uint32`, and the rest of the text.
fn scan_number(text: &str) -> Option<(u32, &str)> {
    let text = text.trim_start_matches(|c: char| c.is_whitespace() && c != '\n' && c != '\r');
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end)?;
    Some((digits.parse().ok()?, rest))
}

fn proxy_runs_as_application(pod: &Value) -> bool {
    let (mut proxy, mut application) = (0, 0);
    for container in pod::containers(pod).iter().chain(pod::init_containers(pod)) {
        let user = container.pointer("/securityContext/runAsUser").and_then(Value::as_i64);
        let Some(user) = user else { continue };
        match pod::name(container) {
            names::CONTAINER_PROXY => proxy = user,
            names::CONTAINER_VALIDATION | names::CONTAINER_INIT => {}
            _ => application = user,
        }
    }
    proxy == application
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn annotations(rows: &[(&str, &str)]) -> Map<String, Value> {
        rows.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect()
    }

    const RANGE: &str = names::ANNOTATION_OPENSHIFT_UID_RANGE;
    const GROUPS: &str = names::ANNOTATION_OPENSHIFT_GROUPS;

    #[test]
    fn takes_the_last_id_of_each_block() {
        let both = annotations(&[(RANGE, "1000620000/10000"), (GROUPS, "2000-2999,5000/10")]);
        assert_eq!(proxy_ids(Some(&both)), ProxyIds { user: 1_000_629_999, group: 2999 });
    }

    #[test]
    fn uid_range_stands_in_for_absent_groups() {
        let range = annotations(&[(RANGE, "1000/5")]);
        assert_eq!(proxy_ids(Some(&range)), ProxyIds { user: 1004, group: 1004 });
        let empty = annotations(&[(RANGE, "1000/5"), (GROUPS, "")]);
        assert_eq!(
            proxy_ids(Some(&empty)),
            ProxyIds { user: 1004, group: 1337 },
            "an empty value counts as present"
        );
    }

    #[test]
    fn unreadable_annotations_leave_1337() {
        for text in ["", "abc", "1", "1:2", "-1/5", "5000000000/1", "1 /5", "1_0/5"] {
            let ids = proxy_ids(Some(&annotations(&[(RANGE, text), (GROUPS, text)])));
            assert_eq!(ids, ProxyIds::default(), "{text}");
        }
        let one_bad = annotations(&[(GROUPS, "1000/10,x")]);
        assert_eq!(proxy_ids(Some(&one_bad)), ProxyIds::default());
        assert_eq!(proxy_ids(None), ProxyIds::default());
    }

    /// Compared with Go's `fmt.Sscanf` by `hack/oracle/annotations`.
    #[test]
    fn scans_as_go_does() {
        let fixture = include_str!("../../tests/fixtures/annotations.json");
        let fixture: Value = serde_json::from_str(fixture).unwrap();
        for (text, expected) in fixture["block"].as_object().unwrap() {
            let numbers = expected
                .as_array()
                .map(|numbers| (numbers[0].as_u64().unwrap(), numbers[1].as_u64().unwrap()));
            let wanted = numbers.map(|(start, second)| {
                let end =
                    if text.contains('/') { start.wrapping_add(second).wrapping_sub(1) } else { second };
                (start as u32, end as u32)
            });
            assert_eq!(Block::parse(text).map(|block| (block.start, block.end)), wanted, "{text:?}");
        }
    }

    #[test]
    fn reads_blocks_as_sscanf_does() {
        assert_eq!(Block::parse(" 1000/ 10tail"), Some(Block { start: 1000, end: 1009 }));
        assert_eq!(Block::parse("1000-1999"), Some(Block { start: 1000, end: 1999 }));
        assert_eq!(Block::parse("0/0"), Some(Block { start: 0, end: u32::MAX }), "as in Go, the end wraps");
    }

    fn pod(proxy: Value, application: Value) -> Value {
        json!({"spec": {"containers": [
            {"name": "app", "securityContext": application},
            {"name": "istio-proxy", "securityContext": proxy},
        ]}})
    }

    #[test]
    fn drops_the_proxys_user_when_it_is_the_applications() {
        let mut same =
            pod(json!({"runAsUser": 7, "runAsGroup": 8, "privileged": false}), json!({"runAsUser": 7}));
        assert!(drop_application_user(&mut same));
        assert_eq!(same.pointer("/spec/containers/1/securityContext"), Some(&json!({"privileged": false})));
        assert_eq!(same.pointer("/spec/containers/0/securityContext"), Some(&json!({"runAsUser": 7})));
    }

    #[test]
    fn keeps_a_user_of_the_proxys_own() {
        let mut own = pod(json!({"runAsUser": 9}), json!({"runAsUser": 7}));
        let before = own.clone();
        assert!(!drop_application_user(&mut own));
        assert_eq!(own, before);
    }

    #[test]
    fn last_application_container_counts_and_ours_do_not() {
        let mut pod = json!({"spec": {
            "containers": [{"name": "a", "securityContext": {"runAsUser": 1}}],
            "initContainers": [
                {"name": "istio-proxy", "securityContext": {"runAsUser": 2}},
                {"name": "b", "securityContext": {"runAsUser": 2}},
                {"name": "istio-init", "securityContext": {"runAsUser": 0}},
                {"name": "istio-validation", "securityContext": {"runAsUser": 5}},
            ],
        }});
        assert!(drop_application_user(&mut pod));
        assert_eq!(pod.pointer("/spec/initContainers/0/securityContext"), Some(&json!({})));
    }

    #[test]
    fn garbage_changes_nothing() {
        for garbage in [
            json!(null),
            json!({"spec": 1}),
            json!({"spec": {"containers": {"a": 1}}}),
            pod(json!(3), json!([])),
        ] {
            let mut pod = garbage.clone();
            assert!(!drop_application_user(&mut pod));
            assert_eq!(pod, garbage);
        }
    }
}
