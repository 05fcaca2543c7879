//! The patch cache for the pods of every controller: how many of a series it answers, and that no answer differs from the
//! whole pipeline's, whatever the names are and whatever templates do with them.

use std::{cell::Cell, collections::BTreeMap};

use outrigger::{
    config::{InjectorConfig, Source},
    inject::{Admission, AdmissionDecision, AdmissionRequest, CacheStatus, Facts, Injector},
};
use proptest::{prelude::*, sample::select};
use serde_json::{Value, json};

use super::{
    headed::headed,
    pods,
    properties::{self, MESHES, check},
    sensitive,
    series::{Names, Series},
};

const NAMESPACE: &str = "shop";

/// A pod of one container, as its template describes it.
fn basis(labels: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": NAMESPACE, "labels": labels},
        "spec": {
            "containers": [{
                "name": "app", "image": "registry.example.com/app:1", "ports": [{"containerPort": 8080}],
                "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}},
                "env": [{"name": "MODE", "value": "plain"}],
            }],
            "restartPolicy": "Always", "serviceAccountName": "app",
        },
    })
}

fn review(injector: &Injector, pod: &Value) -> Admission {
    let (text, none) = (pod.to_string(), BTreeMap::new());
    let facts = Facts::of(injector.config(), NAMESPACE);
    let admission = injector.review(AdmissionRequest::new(&text, NAMESPACE, &none), &facts).unwrap();
    assert_ne!(admission.served, CacheStatus::Stale, "{text}");
    admission
}

/// Whether the answer was cached; it has to be the whole pipeline's.
fn is_cached_and_right(injector: &Injector, pod: &Value, context: &str) -> bool {
    let answer = review(injector, pod);
    if answer.served != CacheStatus::Hit {
        return false;
    }
    let (text, none) = (pod.to_string(), BTreeMap::new());
    let facts = Facts::of(injector.config(), NAMESPACE);
    let whole = injector.review_uncached(AdmissionRequest::new(&text, NAMESPACE, &none), &facts).unwrap();
    assert_eq!(Admission { served: CacheStatus::Miss, ..answer }, whole, "{context}: {pod}");
    true
}

/// Reviews pods of a series, and returns how many of all but the first two were cached.
fn cached_of(count: usize, series: Series, basis: &Value) -> usize {
    let injector = Injector::new(InjectorConfig::embedded().unwrap());
    let pods = (1..=count).map(|number| series.pod(basis, &series.names(number)).unwrap());
    let cached = pods.filter(|pod| is_cached_and_right(&injector, pod, "a series")).count();
    println!("{series:?}: {cached} of {count} cached, all equal");
    cached
}

/// 99 % of all but the first two, which teach the cache.
fn assert_nearly_all_are_cached(series: Series) {
    for (count, labels) in [(500, json!({"app": "web"})), (200, json!({}))] {
        let cached = cached_of(count, series, &basis(&labels));
        assert!(cached * 100 >= (count - 2) * 99, "{series:?} {labels}: {cached} of {count}");
    }
}

macro_rules! nearly_all_are_cached {
    ($($test:ident: $series:expr,)*) => {
        $(#[test]
        fn $test() {
            assert_nearly_all_are_cached($series);
        })*
    };
}

nearly_all_are_cached! {
    nearly_all_pods_of_replica_sets_are_cached: Series::ReplicaSet,
    nearly_all_pods_of_rollouts_are_cached: Series::Rollout,
    nearly_all_pods_of_a_daemon_set_are_cached: Series::DaemonSet,
    nearly_all_pods_of_a_stateful_set_are_cached: Series::StatefulSet,
    nearly_all_pods_of_jobs_are_cached: Series::Job,
    nearly_all_pods_of_an_indexed_job_are_cached: Series::IndexedJob,
    nearly_all_pods_of_a_cron_job_are_cached: Series::CronJob,
    nearly_all_pods_of_a_job_set_are_cached: Series::JobSet,
    nearly_all_bare_pods_are_cached: Series::Bare,
}

/// Names that equal a text of the pod, of a template, of the engine or of another name, and extreme ones.
fn attacks() -> Vec<String> {
    let texts = [
        "",
        "0",
        "7",
        "true",
        "false",
        "null",
        "1337",
        "15053",
        "28374651",
        "1e3",
        "0x1f",
        "a",
        "app",
        "shop",
        "plain",
        "web",
        "web-7",
        "istio-proxy",
        "istio-init",
        "auto",
        "data",
        "data-web-7",
        "kube-api-access-7",
        "job-name",
        "metadata.name",
        "Job",
        "ReplicaSet",
        "backup",
        "backup-28374651",
        "-",
        "--",
        "-7",
        "7-",
        ".",
        "a.b",
        "A",
        "a_b",
        "a\"b",
        "a\\b",
        "a\nb",
        "<a>",
        "é",
        "\u{E000}0\u{E001}",
        "\u{E0F0}0\u{E0F1}",
        "{{ .ObjectMeta.Name }}",
        "abcde",
        "fghij",
    ];
    let mut all: Vec<String> = texts.map(str::to_owned).to_vec();
    all.extend([63, 64, 253].map(|length| "n".repeat(length)));
    all
}

/// The names of a pod with one of them, or all of them, replaced.
fn attacked(names: &Names, field: usize, text: &str) -> Names {
    let mut names = names.clone();
    let fields = [
        &mut names.pod,
        &mut names.hash,
        &mut names.uid,
        &mut names.token,
        &mut names.node,
        &mut names.job,
        &mut names.index,
        &mut names.claim,
    ];
    for (number, name) in fields.into_iter().enumerate() {
        if number == field || field == FIELDS {
            text.clone_into(name);
        }
    }
    names
}

const FIELDS: usize = 8;

/// Templates that are sensitive to names, in one way each.
const SENSITIVE: [&str; 22] = [
    "metadata:\n  labels:\n    x: \"{{ .ObjectMeta.Name }}\"\n",
    "metadata:\n  labels:\n    app: \"{{ .ObjectMeta.Name }}\"\n",
    "metadata:\n  labels:\n    job-name: web-7\n    statefulset.kubernetes.io/pod-name: \"7\"\n",
    "metadata:\n  annotations:\n    batch.kubernetes.io/job-completion-index: \"7\"\n",
    "metadata:\n  labels:\n    x: {{ if eq .DeploymentMeta.Name \"web-7\" \"backup\" \"7\" }}\"yes\"{{ else }}\"no\"{{ end }}\n",
    "metadata:\n  labels:\n    x: \"{{ .TypeMeta.Kind }}/{{ .DeploymentMeta.Name }}\"\n",
    "metadata:\n  labels:\n    x: \"{{ .DeploymentMeta.Name | trunc 63 | trimAll \"-_.\" }}\"\n",
    "metadata:\n  labels:\n    x: {{ .DeploymentMeta.Name }}\n",
    "metadata:\n  labels:\n    x: {{ if trimAll \"-_.\" .ObjectMeta.Name }}\"yes\"{{ else }}\"no\"{{ end }}\n",
    "metadata:\n  name: web-7\n  generateName: web-\n",
    "metadata:\n  finalizers: [\"{{ .ObjectMeta.Name }}\", web-7]\n",
    "spec:\n  hostname: web-7\n",
    "spec:\n  volumes:\n  - name: data\n    persistentVolumeClaim:\n      claimName: web-7\n",
    "spec:\n  affinity:\n    nodeAffinity:\n      requiredDuringSchedulingIgnoredDuringExecution:\n        nodeSelectorTerms:\n        - matchFields:\n          - {key: metadata.name, operator: In, values: [web-7]}\n",
    "spec:\n  tolerations:\n  - {key: a, value: \"{{ .ObjectMeta.Name }}\"}\n  - {key: a, value: web-7}\n",
    "spec:\n  containers:\n  - name: app\n    env:\n    - {name: MODE, value: \"{{ .DeploymentMeta.Name }}\"}\n",
    "spec:\n  containers:\n  - name: app\n    args: [\"{{ .DeploymentMeta.Name }}\", web-7]\n",
    "spec:\n  containers:\n  - name: istio-proxy\n    image: proxy\n    env:\n    - {name: ISTIO_META_DNS_CAPTURE, value: \"{{ .DeploymentMeta.Name }}\"}\n    - {name: DISABLE_ENVOY, value: \"{{ .ObjectMeta.Name }}\"}\n",
    "spec:\n  containers:\n  - name: istio-proxy\n    image: proxy\n    env:\n    - {name: X, value: '{{ toJson .ObjectMeta.Labels }}{{ toJson .Spec.Affinity }}{{ .Spec.Hostname }}'}\n",
    "spec:\n  containers:\n  - name: istio-proxy\n    image: proxy\n    env:\n    - {name: X, value: \"{{ index .ObjectMeta.Labels `job-name` }}{{ index .ObjectMeta.Labels `apps.kubernetes.io/pod-index` }}\"}\n",
    "spec:\n  containers:\n  - name: istio-proxy\n    image: proxy\n    env:\n    - {name: X, value: '{{ index .ObjectMeta.Annotations `kubectl.kubernetes.io/last-applied-configuration` }}'}\n",
    "spec:\n  initContainers:\n  - name: istio-init\n    image: proxy\n    args: [-u, \"{{ .ObjectMeta.Name }}\", -m, \"{{ index .ObjectMeta.Labels `job-name` }}\"]\n  containers:\n  - {name: istio-proxy, image: proxy}\n",
];

fn with_template(template: &str) -> InjectorConfig {
    let bundle = json!({"injector": {"defaultTemplates": ["probe"], "templates": {"probe": template}}});
    let text = headed(&bundle.to_string());
    InjectorConfig::from_bundle(Source { name: "test", text: &text }).unwrap().0
}

/// Shows two pods and asks about a third; returns whether the answer was cached.
fn ask(config: &std::sync::Arc<InjectorConfig>, shown: [&Value; 2], asked: &Value, context: &str) -> bool {
    let injector = Injector::new(std::sync::Arc::clone(config));
    for pod in shown {
        review(&injector, pod);
    }
    is_cached_and_right(&injector, asked, context)
}

/// Every series with every attack under a configuration: the injector is first asked about the attacked pod, and then
/// learns from it.
fn attack(config: InjectorConfig, basis: &Value, texts: &[String], context: &str) -> (usize, usize) {
    let config = std::sync::Arc::new(config);
    let (mut asked, mut cached) = (0, 0);
    for series in Series::ALL {
        let ordinary = [1, 2, 3].map(|number| series.pod(basis, &series.names(number)).unwrap());
        let [first, second, third] = &ordinary;
        let taught = Injector::new(std::sync::Arc::clone(&config));
        for pod in [first, second] {
            review(&taught, pod);
        }
        let spared = series.pod(basis, &series.names(7)).unwrap();
        for text in texts {
            for field in 0..=FIELDS {
                let pod = series.pod(basis, &attacked(&series.names(7), field, text)).unwrap();
                if pod == spared {
                    continue;
                }
                asked += 1;
                let context = format!("{context}, {series:?}, {text:?} in {field}");
                cached += usize::from(is_cached_and_right(&taught, &pod, &context));
                if field == FIELDS {
                    ask(&config, [&pod, &pod], third, &context);
                }
            }
        }
    }
    (asked, cached)
}

#[test]
fn no_name_leads_to_a_wrong_answer() {
    // Without labels, the workload's name is that of the application, too.
    let (all, some) = (attacks(), ["7", "web-7", "istio-proxy", "-"].map(str::to_owned));
    for (labels, texts) in [(json!({}), &all[..]), (json!({"app": "web-7", "version": "7"}), &some[..])] {
        let config = InjectorConfig::embedded().unwrap();
        let (asked, cached) = attack(config, &basis(&labels), texts, "embedded");
        println!("{cached} of {asked} attacked pods were cached, all equal");
        // The others have names that a patch cannot contain, or that change which names are equal.
        assert!(cached * 4 > asked, "{cached} of {asked}");
    }
}

#[test]
fn no_template_that_is_sensitive_to_names_leads_to_a_wrong_answer() {
    let mut basis = basis(&json!({"app": "web-7", "x": "web-7"}));
    basis["spec"]["containers"][0]["ports"] =
        json!([{"containerPort": 15053, "protocol": "UDP"}, {"containerPort": 15001}]);
    let texts = ["7", "true", "web", "web-7", "app", "backup-28374651", "-", "A"].map(str::to_owned);
    let attack = |template: &&str| attack(with_template(template), &basis, &texts, template).1;
    let cached: Vec<usize> = SENSITIVE.iter().map(attack).collect();
    // Nothing is cached where a name decides; elsewhere, something is.
    assert!(cached.iter().sum::<usize>() > 500, "{cached:?}");
}

#[test]
fn a_template_that_inspects_a_jobs_name_leaves_its_pods_siblings() {
    let template = "metadata:\n  labels:\n    x: {{ if hasPrefix \"im\" .DeploymentMeta.Name }}\"yes\"{{ else }}\"no\"{{ end }}\n";
    let injector = Injector::new(with_template(template));
    let pod = |job: &str, number| {
        let names = Names { job: job.to_owned(), ..Series::IndexedJob.names(number) };
        Series::IndexedJob.pod(&basis(&json!({"app": "web"})), &names).unwrap()
    };
    for number in 0..4 {
        review(&injector, &pod("import", number));
    }
    assert!(is_cached_and_right(&injector, &pod("import", 5), "the same Job"));
    assert!(!is_cached_and_right(&injector, &pod("backup", 5), "another Job"));
}

#[test]
fn a_sibling_of_any_pod_of_any_series_gets_the_whole_pipelines_answer() {
    let injectors: Vec<Injector> =
        properties::meshes().into_iter().map(|(_, mesh)| Injector::new(mesh)).collect();
    let (asked, given) = (Cell::new(0), Cell::new(0));
    let text = prop_oneof![Just(None), select(attacks()).prop_map(Some), "[a-z0-9.-]{1,12}".prop_map(Some)];
    let input =
        (pods::realistic(), 0..MESHES.len(), select(Series::ALL.to_vec()), text, 0..=FIELDS, 0..200_usize);
    check(input, |(basis, mesh, series, text, field, number)| {
        let names = |number| series.names(number);
        let of = |names: &Names| series.pod(&basis, names);
        let asked_names = match &text {
            Some(text) => attacked(&names(number + 2), field, text),
            None => names(number + 2),
        };
        let (Some(first), Some(second), Some(sibling)) =
            (of(&names(number)), of(&names(number + 1)), of(&asked_names))
        else {
            return;
        };
        let (name, injector) = (&MESHES[mesh].0, &injectors[mesh]);
        for pod in [&first, &second] {
            is_cached_and_right(injector, pod, name);
        }
        asked.set(asked.get() + 1);
        given.set(given.get() + usize::from(is_cached_and_right(injector, &sibling, name)));
    });
    let (asked, given) = (asked.get(), given.get());
    println!("{given} of {asked} cached");
    assert!(given * 3 > asked, "{given} of {asked} were cached");
}

#[test]
fn whatever_a_template_does_with_a_name_the_answer_is_the_whole_pipelines() {
    let given = Cell::new(0);
    let texts = prop_oneof![Just(None), select(attacks()).prop_map(Some)];
    let choices = proptest::collection::vec(any::<proptest::sample::Index>(), 4);
    let input = (choices, select(Series::ALL.to_vec()), texts, 0..=FIELDS, any::<bool>());
    check(input, |(choices, series, text, field, also)| {
        let mut choices = choices.into_iter();
        let template = sensitive::template(|end| choices.next().map_or(0, |choice| choice.index(end)));
        let bundle = json!({"injector": {"defaultTemplates": ["probe"], "templates": {"probe": template}}});
        let text_of = headed(&bundle.to_string());
        let Ok((config, _)) = InjectorConfig::from_bundle(Source { name: "test", text: &text_of }) else {
            return;
        };
        let labels = if also { json!({"app": "web-7", "a": text, "x": "web-9"}) } else { json!({}) };
        let basis = basis(&labels);
        let asked = series.names(9);
        let asked = text.as_ref().map_or(asked.clone(), |text| attacked(&asked, field, text));
        let pod = |names: &Names| series.pod(&basis, names).unwrap();
        let shown = pod(&series.names(7));
        let config = std::sync::Arc::new(config);
        given.set(given.get() + usize::from(ask(&config, [&shown, &shown], &pod(&asked), &template)));
        ask(&config, [&pod(&asked), &pod(&asked)], &shown, &template);
    });
    assert!(given.get() > 0);
}

#[test]
fn a_denied_pod_is_never_cached() {
    let injector = Injector::new(InjectorConfig::embedded().unwrap());
    let mut basis = basis(&json!({}));
    basis["metadata"]["annotations"] = json!({"sidecar.istio.io/proxyCPU": "3 cores"});
    for number in 0..4 {
        let answer =
            review(&injector, &Series::DaemonSet.pod(&basis, &Series::DaemonSet.names(number)).unwrap());
        assert!(matches!(answer.decision, AdmissionDecision::Deny { .. }), "{answer:?}");
        assert_eq!(answer.served, CacheStatus::Miss);
    }
}
