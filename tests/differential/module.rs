//! The inputs of Istio's own tests, from its module, and the recorded answers of an older Istio.

use outrigger::config::Compat;
use serde_json::{Map, Value, json};

use super::{
    oracle::{Oracle, Verdict},
    run::manifest_differences,
    settings,
};
use crate::{
    equal::differences,
    recordings::{calls, recordings, settings as recorded_settings},
    setting::{self, Setting},
};

/// Every manifest that Istio's tests inject is injected, or rejected, as by Istio: with its templates and with ours.
#[test]
fn the_manifests_of_istios_tests_are_injected_as_by_istio() {
    let mut oracle = Oracle::start();
    let material = oracle.material();
    let inputs = material.inputs.iter().filter(|(name, _)| !name.ends_with(".iop.yaml"));
    let inputs: Vec<_> = inputs.collect();
    assert!(inputs.len() > 90, "{} inputs", inputs.len());
    let ours = setting::embedded()["values"].clone();
    let both = [
        ("Istio's", material.templates.clone(), &material.values),
        ("our", setting::embedded_templates(), &ours),
    ];
    let mut failed = Vec::new();
    for (whose, stock, values) in both {
        for native in [true, false] {
            let setting = Setting { native_sidecars: native, ..settings::plain(values) };
            oracle.install("s", &setting, &stock).unwrap();
            let mesh = setting.mesh(Compat::Istio, &stock).unwrap();
            let (mut equal, mut refused) = (0, 0);
            for (name, text) in &inputs {
                let theirs = oracle.manifest("s", text, "");
                let found = manifest_differences(&mesh, text, &theirs);
                equal += usize::from(found.is_empty() && theirs.is_ok());
                refused += usize::from(found.is_empty() && theirs.is_err());
                if !found.is_empty() {
                    failed.push(format!(
                        "{name}, {whose} templates, native {native}: {}",
                        found.join("\n    ")
                    ));
                }
            }
            println!(
                "{whose} templates, native {native}: {equal} equal, {refused} refused by both, of {}",
                inputs.len()
            );
        }
    }
    assert!(failed.is_empty(), "{} differ\n{}", failed.len(), failed.join("\n"));
}

/// The addition of this Istio's templates: the agent's number of threads.
fn without_cpu_limit_of_go(pod: &mut Value) {
    for list in ["containers", "initContainers"] {
        let proxy = pod["spec"][list]
            .as_array_mut()
            .into_iter()
            .flatten()
            .find(|container| container["name"] == "istio-proxy");
        if let Some(env) = proxy.and_then(|proxy| proxy["env"].as_array_mut()) {
            env.retain(|variable| variable["name"] != "GOMAXPROCS");
        }
    }
}

/// Differences between the recorded Istio and this one: with its own templates, it processes every pod.
#[test]
#[ignore = "needs the recordings in ../shared/istio-golden"]
fn istio_answers_as_it_was_recorded() {
    let folder = recordings();
    let mut oracle = Oracle::start();
    let material = oracle.material();
    let all = recorded_settings(&folder);
    let calls = calls(&folder);
    for (number, recorded) in all.iter().enumerate() {
        let mut config = Map::new();
        for (key, from) in [
            ("policy", "policy"),
            ("defaultTemplates", "defaultTemplates"),
            ("aliases", "aliases"),
            ("templates", "customTemplates"),
            ("neverInjectSelector", "neverInjectSelector"),
            ("alwaysInjectSelector", "alwaysInjectSelector"),
            ("injectedAnnotations", "injectedAnnotations"),
        ] {
            config.insert(key.to_owned(), recorded[from].clone());
        }
        let openshift = recorded["platform"] == "openshift";
        let names: std::collections::BTreeSet<&str> = calls
            .iter()
            .map(|call| call.namespace.as_str())
            .filter(|name| openshift && !name.is_empty())
            .collect();
        let cluster = recorded
            .pointer("/values/global/multiCluster/clusterName")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let setting = Setting {
            config,
            values: recorded["values"].clone(),
            mesh: recorded["meshConfig"].to_string(),
            revision: recorded["revision"].as_str().unwrap_or_default().to_owned(),
            // The recorded injector knew no nodes of a cluster with another name.
            native_sidecars: recorded["nativeSidecars"] == true && ["", "Kubernetes"].contains(&cluster),
            platform: recorded["platform"].as_str().unwrap_or_default().to_owned(),
            compliance_policy: recorded["compliancePolicy"].as_str().unwrap_or_default().to_owned(),
            namespaces: names
                .iter()
                .map(|name| json!({"name": name, "annotations": {"openshift.io/sa.scc.uid-range": "1000620000/10000", "openshift.io/sa.scc.supplemental-groups": "1000620000/10000"}}))
                .collect(),
            ..Setting::default()
        };
        oracle.install(&number.to_string(), &setting, &material.templates).unwrap();
    }
    let mut failed = Vec::new();
    for call in &calls {
        let now = oracle.review(&call.setting.to_string(), &call.pod, &call.namespace, "/inject");
        let found = match (now, call.allowed, &call.patched) {
            (Verdict::Denied(_), false, _) | (Verdict::Unchanged, true, None) => Vec::new(),
            (Verdict::Patched(mut now), true, Some(then)) => {
                without_cpu_limit_of_go(&mut now);
                differences(&now, then)
            }
            (now, ..) => vec![format!("now {now:?}")],
        };
        if !found.is_empty() {
            failed.push(format!("{} (setting {}): {}", call.name, call.setting, found.join("\n    ")));
        }
    }
    println!("{} of {} recorded answers are the same now", calls.len() - failed.len(), calls.len());
    assert!(failed.is_empty(), "{} differ\n{}", failed.len(), failed.join("\n"));
}
