use serde::Deserialize;

use super::*;

/// The answers of Kubernetes' own evaluator; `hack/oracle/podsecurity` writes the file.
const FIXTURE: &str = include_str!("../../tests/fixtures/podsecurity.json");

/// Each check, and Kubernetes' reason for it.
const REASONS: [(&str, &str); 18] = [
    ("allowPrivilegeEscalation", "allowPrivilegeEscalation != false"),
    ("appArmorProfile", "forbidden AppArmor profile"),
    ("capabilities_baseline", "non-default capabilities"),
    ("capabilities_restricted", "unrestricted capabilities"),
    ("hostNamespaces", "host namespaces"),
    ("hostPathVolumes", "hostPath volumes"),
    ("hostPorts", "hostPort"),
    ("hostProbesAndHostLifecycle", "probe or lifecycle host"),
    ("privileged", "privileged"),
    ("procMount", "procMount"),
    ("restrictedVolumes", "restricted volume types"),
    ("runAsNonRoot", "runAsNonRoot != true"),
    ("runAsUser", "runAsUser=0"),
    ("seLinuxOptions", "seLinuxOptions"),
    ("seccompProfile_baseline", "seccompProfile"),
    ("seccompProfile_restricted", "seccompProfile"),
    ("sysctls", "forbidden sysctls"),
    ("windowsHostProcess", "hostProcess"),
];

#[derive(Deserialize)]
struct Fixture {
    labels: Vec<LabelRow>,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct LabelRow {
    labels: Map<String, Value>,
    policy: [String; 3],
}

#[derive(Deserialize)]
struct Row {
    pod: Value,
    baseline: Vec<Answer>,
    restricted: Vec<Answer>,
}

#[derive(Deserialize)]
struct Answer {
    since: u32,
    findings: Vec<Expected>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Expected {
    reason: String,
    names: Vec<String>,
}

/// Findings in the form of the fixture. Kubernetes does not name containers that lack a setting beside others with a forbidden
/// one, names a container for an annotation only by the annotation's key, and names no subject for sysctls and
/// namespaces.
fn expected(findings: &[Finding]) -> Vec<Expected> {
    let mut all = Vec::new();
    for (check, reason) in REASONS {
        let of_check: Vec<_> = findings.iter().filter(|finding| finding.check == check).collect();
        if of_check.is_empty() {
            continue;
        }
        let is_either = matches!(check, "runAsNonRoot" | "seccompProfile_restricted");
        let has_forbidden = is_either && of_check.iter().any(|finding| finding.found.is_some());
        let named = of_check.iter().filter(|finding| !has_forbidden || finding.found.is_some());
        let is_named = |finding: &&&Finding| {
            !finding.field.starts_with("annotation") && !matches!(check, "sysctls" | "hostNamespaces")
        };
        let mut names: Vec<String> = named
            .filter(is_named)
            .map(|finding| match &finding.subject {
                Subject::Pod => "pod".to_owned(),
                Subject::Container(name) | Subject::Volume(name) => name.clone(),
            })
            .collect();
        names.sort();
        names.dedup();
        all.push(Expected { reason: reason.to_owned(), names });
    }
    all.sort();
    all
}

#[test]
fn agrees_with_kubernetes_about_every_level_and_version() {
    let fixture: Fixture = serde_json::from_str(FIXTURE).unwrap();
    assert!(fixture.rows.len() > 350, "{}", fixture.rows.len());
    let (mut compared, mut forbidden) = (0, 0);
    for row in &fixture.rows {
        for (level, answers) in [(Level::Baseline, &row.baseline), (Level::Restricted, &row.restricted)] {
            for minor in 0..=NEWEST + 1 {
                let answer = answers.iter().rev().find(|answer| answer.since <= minor).unwrap();
                let mut wanted = answer.findings.clone();
                for expected in &mut wanted {
                    expected.reason = expected.reason.replace("AppArmor profiles", "AppArmor profile");
                }
                wanted.sort();
                let found = evaluate(&row.pod, LevelVersion { level, minor: Some(minor) }, NEWEST);
                assert_eq!(expected(&found), wanted, "{level:?} 1.{minor}: {}", row.pod);
                compared += 1;
                forbidden += usize::from(!wanted.is_empty());
            }
        }
        assert_eq!(evaluate(&row.pod, LevelVersion::default(), NEWEST), []);
    }
    assert!(forbidden > compared / 4 && forbidden < compared, "{forbidden} of {compared}");
    // Every check occurs.
    for (_, reason) in REASONS {
        let answers = fixture.rows.iter().flat_map(|row| row.restricted.iter().chain(&row.baseline));
        assert!(
            answers.flat_map(|answer| &answer.findings).any(|found| found.reason.starts_with(reason)),
            "{reason}"
        );
    }
}

#[test]
fn reads_labels_as_kubernetes_does() {
    let fixture: Fixture = serde_json::from_str(FIXTURE).unwrap();
    assert!(fixture.labels.len() > 100);
    for row in fixture.labels {
        let policy = Policy::of_labels(&row.labels, Policy::of_level(Level::Privileged));
        let found = [policy.enforce, policy.audit, policy.warn].map(|version| version.to_string());
        assert_eq!(found, row.policy, "{:?}", row.labels);
    }
}

/// `latest` and later versions are judged by the rules of the API server's version.
#[test]
fn no_version_is_later_than_the_api_servers() {
    let pod = serde_json::json!({"spec": {"hostUsers": false, "containers": [{"name": "a", "securityContext": {"runAsUser": 0}}]}});
    let as_root = |minor, latest| {
        let found = evaluate(&pod, LevelVersion { level: Level::Restricted, minor }, latest);
        found.iter().any(|finding| finding.check == "runAsUser")
    };
    assert!(!as_root(None, NEWEST) && !as_root(Some(35), NEWEST) && !as_root(Some(99), NEWEST));
    assert!(as_root(None, 34) && as_root(Some(35), 34) && as_root(Some(34), NEWEST));
}

#[test]
fn a_volume_without_a_source_is_an_empty_directory() {
    let judged = |volume: Value| {
        let pod = serde_json::json!({"spec": {"volumes": [volume]}});
        evaluate(&pod, LevelVersion { level: Level::Restricted, minor: None }, NEWEST).len()
    };
    assert_eq!(judged(serde_json::json!({"name": "a"})), 0);
    assert_eq!(judged(serde_json::json!({"name": "a", "nfs": null})), 0);
    assert_eq!(judged(serde_json::json!({"name": "a", "newer": {}})), 1);
}
