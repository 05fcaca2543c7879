//! Names that equal, by accident, a text that the answer depends on.

use super::*;

/// A bare pod, or a StatefulSet's.
fn named(name: &str, labels: Value) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "default", "labels": labels},
        "spec": {
            "hostname": name,
            "containers": [{"name": "app", "image": "x", "ports": [{"containerPort": 15053, "protocol": "UDP"}]}],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": format!("data-{name}")}}],
        },
    })
}

/// Learns from one pod, and returns whether the other was cached; its answer has to be the whole pipeline's.
fn is_cached(overlay: &str, learned_from: &Value, other: &Value) -> bool {
    let desk = Desk::of(&overlay_bundle(overlay));
    desk.taught(learned_from);
    let cached = desk.cached(other, "default");
    if let Some(answer) = &cached {
        assert_eq!(*answer, desk.whole(other, "default"), "{overlay}");
    }
    cached.is_some()
}

const CAPTURE: &str = "spec:\n  containers:\n  - name: istio-proxy\n    image: x\n    env: [{name: ISTIO_META_DNS_CAPTURE, value: \"{{ .ObjectMeta.Name }}\"}]\n";

#[test]
fn a_name_that_equals_what_is_there_is_not_taken_for_another() {
    for overlay in [
        "metadata: {labels: {x: \"{{ .ObjectMeta.Name }}\"}}\n",
        "metadata: {labels: {x: \"{{ .Spec.Hostname }}\"}}\n",
        "spec: {hostname: \"7\"}\n",
        "spec: {volumes: [{name: data, persistentVolumeClaim: {claimName: data-7}}]}\n",
        "spec: {containers: [{name: app, args: [\"{{ .ObjectMeta.Name }}\", \"7\"]}]}\n",
        CAPTURE,
    ] {
        for name in ["7", "true"] {
            let (ordinary, equal) = (named("web-1", json!({"x": name})), named(name, json!({"x": name})));
            is_cached(overlay, &ordinary, &equal);
            is_cached(overlay, &equal, &ordinary);
        }
    }
}

#[test]
fn what_no_name_can_change_is_cached_whatever_the_names_are() {
    let overlay = "metadata: {labels: {y: \"{{ .ObjectMeta.Name }}\"}}\n";
    for name in ["7", "app", "true", "default", "data", &"n".repeat(63)] {
        assert!(
            is_cached(overlay, &named("web-1", json!({"x": "z"})), &named(name, json!({"x": "z"}))),
            "{name}"
        );
    }
    // These cannot stand in a patch.
    for name in ["A", "-", "a_b", "", &"n".repeat(64), &"n".repeat(253)] {
        assert!(
            !is_cached(overlay, &named("web-1", json!({"x": "z"})), &named(name, json!({"x": "z"}))),
            "{name}"
        );
    }
    // Only the log says them.
    let silent = "metadata: {labels: {y: z}}\n";
    assert!(is_cached(silent, &named("web-1", json!({})), &named(&"n".repeat(253), json!({}))));
}

#[test]
fn a_job_is_a_cron_jobs_by_the_digits_at_its_end_alone() {
    let job = |name: &str| {
        json!({
            "metadata": {
                "generateName": format!("{name}-"), "namespace": "default", "labels": {"job-name": name},
                "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": "u1", "controller": true}],
            },
            "spec": {"containers": [{"name": "app", "image": "x"}]},
        })
    };
    let overlay = "metadata: {labels: {y: \"{{ .TypeMeta.Kind }}-{{ .DeploymentMeta.Name }}\"}}\n";
    let names =
        ["backup-28374650", "backup-28374651", "backup-1", "backup-283746501234", "28374650", "-28374650"];
    for (first, second) in names.iter().flat_map(|first| names.map(|second| (*first, second))) {
        is_cached(overlay, &job(first), &job(second));
    }
    assert!(is_cached(overlay, &job("backup-28374650"), &job("backup-28374651")));
    assert!(!is_cached(overlay, &job("backup-28374650"), &job("backup-1")));
    assert!(is_cached(overlay, &job("import-1"), &job("backup-2")));
}

#[test]
fn a_hash_that_counts_without_a_dash_is_no_name() {
    let of = |hash: &str, owner: &str| {
        let mut pod = pod([hash, NAMED[1], NAMED[2], NAMED[3]]);
        pod["metadata"]["ownerReferences"][0]["name"] = json!(owner);
        pod
    };
    let desk = Desk::of(&owner_bundle());
    for (known, other) in [("769df69587", "abcde"), ("abcde", "769df69587")] {
        assert_true_of(&desk, &of(known, "web-xabcde"), &of(other, "web-xabcde"));
    }
}

#[test]
fn names_that_are_equal_in_one_pod_only_are_other_names() {
    let template = "metadata: {labels: {y: z}}\n";
    let other = |claims: [&str; 2]| {
        let mut pod = named("web-1", json!({}));
        let volume = |claim: &str| json!({"name": "data", "persistentVolumeClaim": {"claimName": claim}});
        pod["spec"]["volumes"] = json!(claims.map(volume));
        pod
    };
    assert!(!is_cached(template, &other(["a", "b"]), &other(["c", "c"])));
    assert!(is_cached(template, &other(["a", "b"]), &other(["c", "d"])));
}

/// Rules and policies of a configuration read names too: a sibling gets what they say about its own.
#[test]
fn rules_that_read_names_are_asked_about_every_pod() {
    let job = |name: &str| {
        json!({
            "metadata": {
                "generateName": format!("{name}-"), "name": format!("{name}-x2b4c"), "namespace": "default",
                "labels": {"job-name": name, "apps.kubernetes.io/pod-index": name.rsplit('-').next().unwrap()},
                "annotations": {"batch.kubernetes.io/job-completion-index": "7"},
                "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": "u1", "controller": true}],
            },
            "spec": {
                "hostname": name,
                "containers": [{"name": "app", "image": "x"}],
                "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                    {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]},
                ]}}},
            },
        })
    };
    let cel = |expression: &str| format!("cel: {}", json!(expression));
    let index = cel("object.metadata.labels['apps.kubernetes.io/' + 'pod-index'] == '28374651'");
    let matches = [
        "owner: Job/*-28374651".to_owned(),
        "owner: CronJob/backup".to_owned(),
        "labels: {matchLabels: {job-name: backup-28374651}}".to_owned(),
        "labels: {matchExpressions: [{key: apps.kubernetes.io/pod-index, operator: In, values: ['28374651']}]}".to_owned(),
        cel("object.metadata.name.startsWith('backup-28374651')"),
        cel("object.spec.hostname == 'backup-28374651'"),
        cel("has(object.spec.affinity) && object.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchFields[0].values[0] == 'backup-28374651'"),
        cel("object.metadata.labels['job-name'] == 'backup-28374651'"),
        index,
        cel("object.metadata.labels.exists(k, object.metadata.labels[k] == 'backup-28374651')"),
    ];
    let names = ["backup-28374650", "backup-28374651", "backup-28374652", "restore-28374651"];
    let template = "injector: {defaultTemplates: [t], templates: {t: \"metadata: {labels: {y: z}}\"}}\n";
    for condition in matches {
        for effect in ["inject: never", "defaults: {sidecar.istio.io/logLevel: debug}, inject: force"] {
            let desk =
                Desk::of(&format!("{template}rules: [{{name: r, match: {{{condition}}}, {effect}}}]\n"));
            let mut differ = false;
            for name in names.iter().cycle().take(4 * names.len()) {
                let (pod, whole) = (job(name), desk.whole(&job(name), "default"));
                differ |= whole.decision != desk.whole(&job(names[0]), "default").decision;
                if let Some(cached) = desk.cached(&pod, "default") {
                    assert_eq!(cached, whole, "{condition}: {name}");
                }
                assert_ne!(desk.teach(&pod, "default"), Some(Learned::Stale), "{condition}: {name}");
            }
            assert!(
                differ || condition == "owner: CronJob/backup" && effect != "inject: never",
                "{condition}: {effect}"
            );
        }
    }
}
