use serde_json::json;

use super::*;
use crate::config::{Source, headed::headed};
use crate::inject::Outcome;

mod places;

const DEPLOYMENT: &str = include_str!("../../../tests/fixtures/reviews/deployment.json");
const NAMED: [&str; 4] = ["769df69587", "7913b40b-d2f5-4ceb-a681-6dfdca08f127", "x7k2p", "q8zsn"];
const SIBLING: [&str; 4] = ["5bb4f58c4d", "00000000-1111-2222-3333-444444444444", "abcde", "zzzzz"];

fn mesh(bundle: &str) -> InjectorConfig {
    InjectorConfig::from_bundle(Source { name: "test", text: &headed(bundle) }).unwrap().0
}

/// A pod of a Deployment as the API server sends it, with hash, owner's UID, its own suffix and token volume.
fn pod([hash, uid, suffix, token]: [&str; 4]) -> Value {
    let review: Value = serde_json::from_str(DEPLOYMENT).unwrap();
    let mut pod = review["request"]["object"].clone();
    let text = pod.to_string().replace(NAMED[0], hash).replace(NAMED[1], uid);
    pod = serde_json::from_str(&text).unwrap();
    pod["metadata"]["name"] = json!(format!("web-{hash}-{suffix}"));
    let volume = format!("kube-api-access-{token}");
    pod["spec"]["volumes"] = json!([{"name": volume, "projected": {"defaultMode": 420, "sources": []}}]);
    pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": volume, "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]);
    pod
}

/// The cache of one configuration, used like the webhook does.
struct Desk {
    mesh: InjectorConfig,
    cache: PatchCache,
    path_env: BTreeMap<String, String>,
}

impl Desk {
    fn of(bundle: &str) -> Desk {
        let mesh = mesh(bundle);
        Desk { cache: PatchCache::new(&mesh), mesh, path_env: BTreeMap::new() }
    }

    fn fingerprint<'t>(&self, text: &'t str) -> Option<PodFingerprint<'t>> {
        self.cache.fingerprint(text, &Candidates::of(text)?)
    }

    fn key(&self, text: &str, namespace: &str) -> Option<Vec<u8>> {
        let facts = Facts::of(&self.mesh, namespace);
        let query = Query { namespace, path_env: &self.path_env, user: None, facts: &facts };
        Some(self.cache.find(&self.mesh, &mut self.fingerprint(text)?, &query).0)
    }

    fn whole(&self, pod: &Value, namespace: &str) -> Admission {
        let facts = Facts::of(&self.mesh, namespace);
        let query = Query { namespace, path_env: &self.path_env, user: None, facts: &facts };
        query.answer(&self.mesh, pod.clone()).unwrap()
    }

    fn cached(&self, pod: &Value, namespace: &str) -> Option<Admission> {
        self.cached_text(&pod.to_string(), namespace)
    }

    fn cached_text(&self, text: &str, namespace: &str) -> Option<Admission> {
        let facts = Facts::of(&self.mesh, namespace);
        let query = Query { namespace, path_env: &self.path_env, user: None, facts: &facts };
        let mut fingerprint = self.fingerprint(text)?;
        self.cache.find(&self.mesh, &mut fingerprint, &query).1?.fill(&fingerprint)
    }

    fn teach(&self, pod: &Value, namespace: &str) -> Option<Learned> {
        self.teach_text(&pod.to_string(), namespace, &self.whole(pod, namespace))
    }

    fn teach_text(&self, text: &str, namespace: &str, answer: &Admission) -> Option<Learned> {
        let facts = Facts::of(&self.mesh, namespace);
        let query = Query { namespace, path_env: &self.path_env, user: None, facts: &facts };
        let mut fingerprint = self.fingerprint(text)?;
        let (key, _) = self.cache.find(&self.mesh, &mut fingerprint, &query);
        Some(self.cache.learn(&self.mesh, key, &mut fingerprint, &query, answer))
    }

    /// Learns a pod twice; returns the result of the second time.
    fn taught(&self, pod: &Value) -> Option<Learned> {
        assert_eq!(self.teach(pod, "default")?, Learned::Noted);
        self.teach(pod, "default")
    }
}

#[test]
fn a_sibling_gets_the_patch_with_its_own_names_in_it() {
    let desk = Desk::of("");
    assert_eq!(desk.taught(&pod(NAMED)), Some(Learned::Kept));
    let sibling = pod(SIBLING);
    let answer = desk.cached(&sibling, "default").expect("it is a sibling");
    assert_eq!(answer, desk.whole(&sibling, "default"));
    assert_eq!(answer.subject.owner, "ReplicaSet/web-5bb4f58c4d");
    assert_eq!(answer.subject.name, "web-5bb4f58c4d-abcde");
}

#[test]
fn managed_fields_make_no_difference() {
    let desk = Desk::of("");
    let mut pod = pod(NAMED);
    desk.taught(&pod);
    pod["metadata"]["managedFields"] = json!([{"manager": "someone else", "time": "2026-01-01T00:00:00Z"}]);
    assert_eq!(desk.cached(&pod, "default"), Some(desk.whole(&pod, "default")));
}

#[test]
fn a_pod_that_differs_in_anything_else_is_no_sibling() {
    let desk = Desk::of("");
    let known = pod(NAMED);
    assert_eq!(desk.taught(&known), Some(Learned::Kept));
    let changed = |path: &str, value: Value| {
        let mut pod = known.clone();
        *pod.pointer_mut(path).unwrap() = value;
        pod
    };
    for other in [
        changed("/metadata/labels/app", json!("api")),
        changed("/spec/containers/0/image", json!("nginx:1.28")),
        changed("/spec/containers/0/ports/0/containerPort", json!(8081)),
        changed("/metadata/ownerReferences/0/name", json!("web")),
        changed("/metadata/ownerReferences/0/controller", json!(false)),
        changed("/metadata/generateName", json!("api-")),
        changed("/spec/volumes/0/name", json!("kube-api-access-abcdef")),
    ] {
        assert_eq!(desk.cached(&other, "default"), None, "{other}");
    }
    assert_eq!(desk.cached(&known, "elsewhere"), None, "another namespace");
}

#[test]
fn a_pod_is_kept_when_it_comes_for_the_second_time() {
    let desk = Desk::of("");
    let pod = pod(NAMED);
    assert_eq!(desk.teach(&pod, "default"), Some(Learned::Noted));
    assert_eq!(desk.cached(&pod, "default"), None);
    assert_eq!(desk.teach(&pod, "default"), Some(Learned::Kept));
    assert!(desk.cached(&pod, "default").is_some());
}

#[test]
fn a_name_may_stand_elsewhere_in_the_pod() {
    for (place, value) in [
        ("/metadata/labels/app", NAMED[0].to_owned()),
        ("/spec/containers/0/image", format!("registry/{}:1", NAMED[0])),
        ("/spec/containers/0/name", NAMED[0].to_owned()),
    ] {
        let desk = Desk::of("");
        let mut known = pod(NAMED);
        *known.pointer_mut(place).unwrap() = json!(value);
        desk.taught(&known);
        let mut sibling = pod(SIBLING);
        *sibling.pointer_mut(place).unwrap() = json!(value);
        assert_eq!(desk.cached(&sibling, "default"), Some(desk.whole(&sibling, "default")), "{place}");
    }
}

/// A bundle whose template has an extra line.
fn bundle(line: &str) -> String {
    format!(
        "injector:\n  defaultTemplates: [probe]\n  templates:\n    probe: |\n      spec:\n        containers:\n        \
         - name: istio-proxy\n          image: proxy\n          env:\n          {line}\n"
    )
}

#[test]
fn what_a_template_passes_on_is_filled_in_and_what_it_looks_at_is_part_of_the_key() {
    let print = |pipeline: &str| format!("- {{name: X, value: '{{{{ {pipeline} }}}}'}}");
    for passed_on in [
        ".ObjectMeta.GenerateName",
        ".ObjectMeta.Name",
        "toJSON .ObjectMeta.Labels",
        "range .Spec.Volumes }}{{ .Name }}{{ end",
        "(index .ObjectMeta.OwnerReferences 0).UID",
        "if .ObjectMeta.Name }}named{{ end",
        "trunc 63 (index .ObjectMeta.OwnerReferences 0).UID",
        "(index .ObjectMeta.OwnerReferences 0).UID | trimAll \"-_.\" | trimSuffix \"-\" | trimPrefix \"--\" | trim",
        "trimAll \"-\" .ObjectMeta.GenerateName",
    ] {
        let desk = Desk::of(&bundle(&print(passed_on)));
        assert_eq!(desk.taught(&pod(NAMED)), Some(Learned::Kept), "{passed_on}");
        let sibling = pod(SIBLING);
        assert_eq!(desk.cached(&sibling, "default"), Some(desk.whole(&sibling, "default")), "{passed_on}");
    }
    for looked_at in [
        "if eq .ObjectMeta.GenerateName \"web-5bb4f58c4d-\" }}yes{{ else }}no{{ end",
        "len .ObjectMeta.GenerateName",
        "hasPrefix \"web-5\" .ObjectMeta.GenerateName",
        "trunc 6 .ObjectMeta.Name",
        "trunc 62 .ObjectMeta.Name",
        "trunc -62 .ObjectMeta.Name",
        "trimAll \"xyz\" .ObjectMeta.Name",
        "trimSuffix \"n\" .ObjectMeta.Name",
        "upper .ObjectMeta.Name",
        "printf \"%.6s\" .ObjectMeta.Name",
        "(index .ObjectMeta.OwnerReferences 0).UID | b64enc",
        "range $k, $v := .ObjectMeta.Labels }}{{ if eq $v \"5bb4f58c4d\" }}yes{{ end }}{{ end",
    ] {
        let desk = Desk::of(&bundle(&print(looked_at)));
        let learned = desk.taught(&pod(NAMED));
        let sibling = pod(SIBLING);
        assert_eq!(learned, Some(Learned::Kept), "{looked_at}");
        assert_eq!(desk.cached(&sibling, "default"), None, "{looked_at}");
        let replica = pod([NAMED[0], NAMED[1], NAMED[2], SIBLING[3]]);
        assert_eq!(desk.cached(&replica, "default"), Some(desk.whole(&replica, "default")), "{looked_at}");
    }
}

#[test]
fn a_plain_scalar_that_is_a_name_is_typed_and_so_looked_at() {
    let desk = Desk::of(&bundle("- {name: X, value: {{ (index .Spec.Volumes 0).Name }}}"));
    assert_eq!(desk.taught(&pod(NAMED)), Some(Learned::Kept));
    assert_eq!(desk.cached(&pod([NAMED[0], NAMED[1], NAMED[2], SIBLING[3]]), "default"), None);
}

#[test]
fn a_configuration_that_mentions_the_hash_or_the_volume_has_no_such_names() {
    for (mention, other) in [
        ("{matchLabels: {pod-template-hash: \"5bb4f58c4d\"}}", [SIBLING[0], NAMED[1], NAMED[2], NAMED[3]]),
        ("{matchLabels: {volume: kube-api-access-zzzzz}}", [NAMED[0], NAMED[1], NAMED[2], SIBLING[3]]),
    ] {
        let desk = Desk::of(&format!("injector:\n  neverInjectSelector: [{mention}]\n"));
        assert_eq!(desk.taught(&pod(NAMED)), Some(Learned::Kept));
        assert_eq!(desk.cached(&pod(other), "default"), None, "{mention}");
    }
}

#[test]
fn private_characters_of_a_pod_never_count_as_places() {
    let desk = Desk::of("");
    for text in ["\u{E0F0}0\u{E0F1}", "\u{E0F0}"] {
        let mut known = pod(NAMED);
        known["metadata"]["annotations"] = json!({"note": text});
        assert_eq!(desk.taught(&known), Some(Learned::NotCacheable));
    }
}

#[test]
fn an_answer_that_is_not_true_any_more_is_forgotten() {
    let desk = Desk::of("");
    let known = pod(NAMED);
    desk.taught(&known);
    let mut fresh = desk.whole(&known, "default");
    fresh.patch.as_mut().unwrap().operations += 1;
    let learned = desk.teach_text(&known.to_string(), "default", &fresh);
    assert_eq!(learned, Some(Learned::Stale));
    assert_eq!(desk.cached(&known, "default"), None);
}

#[test]
fn every_so_often_an_answer_is_due_to_be_compared() {
    let desk = Desk::of("");
    let known = pod(NAMED);
    desk.taught(&known);
    let Some(Entry::Patch(cached)) =
        desk.cache.kept.get(desk.key(&known.to_string(), "default").unwrap().as_slice())
    else {
        panic!("it was learned")
    };
    let due = (0..2 * CHECK_EVERY).filter(|_| cached.is_due()).count();
    assert_eq!(due, 2);
}

#[test]
fn answers_that_are_never_cached_are_not_all_learned() {
    let desk = Desk::of("");
    desk.cache.credit.store(2 * FRACTION, Ordering::Relaxed);
    let shape = |shape: i64| {
        let mut pod = pod(NAMED);
        pod["metadata"]["labels"]["app"] = json!(format!("app-{shape}"));
        pod
    };
    let learned: Vec<_> = (0..4).map(|number| desk.taught(&shape(number)).unwrap()).collect();
    assert_eq!(learned, [Learned::Kept, Learned::Kept, Learned::Noted, Learned::Noted]);
    // A cache hit pays for learning another one.
    assert!(desk.cached(&shape(0), "default").is_some());
    assert_eq!(desk.teach(&shape(2), "default"), Some(Learned::Kept));
}

#[test]
fn skips_are_kept_too() {
    let desk = Desk::of("");
    let mut known = pod(NAMED);
    known["spec"]["hostNetwork"] = json!(true);
    assert_eq!(desk.taught(&known), Some(Learned::Kept));
    let mut sibling = pod(SIBLING);
    sibling["spec"]["hostNetwork"] = json!(true);
    let answer = desk.cached(&sibling, "default").unwrap();
    assert!(matches!(answer.decision, AdmissionDecision::Skip { .. }), "{answer:?}");
}

#[test]
fn what_is_kept_is_bounded_by_bytes() {
    let desk = Desk::of("");
    for shape in 0..2000 {
        let mut pod = pod(NAMED);
        pod["metadata"]["labels"]["app"] = json!(format!("app-{shape}"));
        pod["metadata"]["annotations"] = json!({"filler": "x".repeat(8 << 10)});
        let text = pod.to_string();
        let key = desk.key(&text, "default").unwrap();
        let answer = Admission::skipped("X", Subject::default());
        let cached = CachedPatch {
            answer,
            patch: Pieces::default(),
            name: Pieces::default(),
            owner: Pieces::default(),
            uses: AtomicU32::new(0),
        };
        desk.cache.kept.insert(key.into_boxed_slice(), Entry::Patch(Arc::new(cached)));
    }
    assert!(desk.cache.kept.weight() <= BYTES, "{}", desk.cache.kept.weight());
}

/// Whatever was learned from one pod is true of the other, or nothing was learned.
fn assert_true_of(desk: &Desk, learned_from: &Value, other: &Value) {
    desk.taught(learned_from);
    if let Some(answer) = desk.cached(other, "default") {
        assert_eq!(answer, desk.whole(other, "default"), "{other}");
    }
}

/// A template that prints the pod's owner.
fn owner_bundle() -> String {
    bundle("- {name: X, value: '{{ .TypeMeta.Kind }}/{{ .DeploymentMeta.Name }}'}")
}

#[test]
fn a_hash_that_says_what_the_owner_is_is_no_name() {
    let desk = Desk::of(&owner_bundle());
    let job = |hash: &str| {
        let mut pod = pod([hash, NAMED[1], NAMED[2], NAMED[3]]);
        pod["metadata"]["ownerReferences"][0]["kind"] = json!("Job");
        pod
    };
    assert_true_of(&desk, &job("769df69587"), &job("1234567890"));
    assert_true_of(&desk, &job("ab-c769df69587"), &job("ab-1234567890"));
}

#[test]
fn a_hash_beside_another_is_no_name() {
    let desk = Desk::of(&owner_bundle());
    let two = |hash: &str| {
        let text = pod([hash, NAMED[1], NAMED[2], NAMED[3]]).to_string();
        let label = format!("\"pod-template-hash\":\"{hash}\"");
        assert!(text.contains(&label));
        let labels = format!("\"rollouts-pod-template-hash\":\"{hash}\",\"pod-template-hash\":\"fghij\"");
        text.replace(&label, &labels)
    };
    for hash in ["abcde-fghij", "abcdefghij"] {
        let (known, other) = (two("769df69587"), two(hash));
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let answer = desk.whole(&read(&known), "default");
        for _ in 0..2 {
            desk.teach_text(&known, "default", &answer);
        }
        if let Some(cached) = desk.cached_text(&other, "default") {
            assert_eq!(cached, desk.whole(&read(&other), "default"), "{hash}");
        }
    }
}

#[test]
fn a_pod_with_escaped_letters_is_not_known() {
    let desk = Desk::of("");
    let text = pod(NAMED).to_string();
    assert!(desk.fingerprint(&text).is_some());
    for (plain, escaped) in [("nginx", "n\\u0067inx"), ("nginx", "\\u006eginx"), ("nginx", "nginx\\u002D1")] {
        assert!(text.contains(plain));
        assert!(desk.fingerprint(&text.replacen(plain, escaped, 1)).is_none(), "{escaped}");
    }
    // The characters that Go's encoder escapes are not letters.
    assert!(desk.fingerprint(&text.replacen("nginx", "\\u003cnginx\\u0026", 1)).is_some());
}

/// A pod with the name `web-cache`, or another one.
fn called(name: &str) -> Value {
    let mut pod = pod(NAMED);
    pod["metadata"]["generateName"] = json!("web-");
    pod["metadata"]["name"] = json!(name);
    pod
}

/// A bundle whose template renders this overlay.
fn overlay_bundle(overlay: &str) -> String {
    let template: String = overlay.lines().map(|line| format!("      {line}\n")).collect();
    format!("injector:\n  defaultTemplates: [probe]\n  templates:\n    probe: |\n{template}")
}

#[test]
fn a_name_that_is_a_merge_key_is_looked_at() {
    for overlay in [
        "spec:\n  volumes:\n  - {name: web-cache, emptyDir: {medium: Memory}}\n  - {name: \"{{ .ObjectMeta.Name }}\", emptyDir: {sizeLimit: 1Mi}}\n",
        "spec:\n  containers:\n  - name: istio-proxy\n    image: x\n    env:\n    - {name: web-cache, value: a}\n    - {name: \"{{ .ObjectMeta.Name }}\", value: b}\n",
        "metadata:\n  finalizers: [web-cache, \"{{ .ObjectMeta.Name }}\"]\n",
        "metadata:\n  annotations:\n    web-cache: a\n    \"{{ .ObjectMeta.Name }}\": null\n",
        "metadata:\n  finalizers: [web-cache, b]\n  $setElementOrder/finalizers: [\"{{ .ObjectMeta.Name }}\", web-cache, b]\n",
    ] {
        let desk = Desk::of(&overlay_bundle(overlay));
        let ask = |pod: &Value| {
            let facts = Facts::of(&desk.mesh, "default");
            let query = Query { namespace: "default", path_env: &desk.path_env, user: None, facts: &facts };
            query.answer(&desk.mesh, pod.clone()).ok()
        };
        let (known, other) = (called("web-other"), called("web-cache"));
        desk.taught(&known);
        let cached = desk.cached(&other, "default");
        assert!(cached.is_none() || cached == ask(&other), "{overlay}: {cached:?} {:?}", ask(&other));
    }
}

#[test]
fn a_name_that_a_template_sets_is_looked_at() {
    let desk = Desk::of(&overlay_bundle("metadata: {name: web-cache}\n"));
    assert_true_of(&desk, &called("web-other"), &called("web-cache"));
}

#[test]
fn managed_fields_are_not_shown_to_templates() {
    let print =
        "- {name: X, value: '{{ len .ObjectMeta.ManagedFields }}{{ toJson .ObjectMeta.ManagedFields }}'}";
    let desk = Desk::of(&bundle(print));
    let mut other = pod(NAMED);
    other["metadata"]["managedFields"] = json!([{"manager": "x"}]);
    assert_true_of(&desk, &pod(NAMED), &other);
}

#[test]
fn an_answer_for_a_pod_that_is_refused_is_forgotten() {
    let desk = Desk::of("");
    let known = pod(NAMED);
    desk.taught(&known);
    let key = desk.key(&known.to_string(), "default").unwrap();
    let text = known.to_string();
    let fingerprint = desk.fingerprint(&text).unwrap();
    assert!(desk.cache.forget(&key, &fingerprint));
    assert!(!desk.cache.forget(&key, &fingerprint));
    assert_eq!(desk.cached(&known, "default"), None);
}

#[test]
fn all_that_an_answer_holds_has_weight() {
    let texts = |warnings: Vec<Warning>, pieces: Vec<(Box<str>, usize)>| {
        let answer = Admission { warnings, ..Admission::skipped("X", Subject::default()) };
        let patch = Pieces { pieces, rest: "".into() };
        let cached = CachedPatch {
            answer,
            patch,
            name: Pieces::default(),
            owner: Pieces::default(),
            uses: AtomicU32::new(0),
        };
        Weight.weight(&Box::default(), &Entry::Patch(Arc::new(cached)))
    };
    let nothing = texts(Vec::new(), Vec::new());
    assert!(texts(vec![Warning::new("OWN_VOLUME", "w".repeat(100)); 1000], Vec::new()) - nothing >= 124_000);
    assert!(texts(Vec::new(), vec![("".into(), 0); 1000]) - nothing >= 24_000);
}

#[test]
fn only_the_first_owners_count() {
    let desk = Desk::of("");
    let mut pod = pod(NAMED);
    let owner = |uid: &str| json!({"apiVersion": "v1", "kind": "X", "name": "x", "uid": uid});
    let owners: Vec<_> = (0..600).map(|number| owner(&format!("{:036}", number / 2))).collect();
    pod["metadata"]["ownerReferences"] = json!(owners);
    pod["metadata"]["ownerReferences"].as_array_mut().unwrap().push(owner(SIBLING[1]));
    let text = pod.to_string();
    let fingerprint = desk.fingerprint(&text).unwrap();
    let mut names = (0..StandIns::MOST).filter_map(|number| fingerprint.name(number));
    assert!(names.all(|name| name.text != SIBLING[1]));
}

#[test]
fn a_pod_that_lacks_nothing_is_skipped_because_it_is_injected_already() {
    let desk = Desk::of("");
    let pod = pod(NAMED);
    let facts = Facts::of(&desk.mesh, "default");
    let request = PodRequest::new("default", pod.clone());
    let outcome = run_by(Rules::Configured, &desk.mesh, &request, &facts).unwrap();
    let Outcome::Injected(injection) = outcome else { panic!("{outcome:?}") };
    let injected = injection.whole_pod(&pod);
    let admission = desk.whole(&injected, "default");
    assert_eq!(admission.decision, AdmissionDecision::Skip { reason: "ALREADY_INJECTED" });
    assert_eq!((admission.patch, admission.warnings), (None, Vec::new()));
}

#[test]
fn warnings_about_keys_and_ports_are_cached() {
    let desk = Desk::of("");
    let of = |names| {
        let mut pod = pod(names);
        pod["metadata"]["labels"]["sidecar.istio.io.inject"] = json!("false");
        pod["spec"]["containers"][0]["ports"] = json!([{"name": "http", "containerPort": 15001}]);
        pod
    };
    assert_eq!(desk.taught(&of(NAMED)), Some(Learned::Kept));
    let answer = desk.cached(&of(SIBLING), "default").unwrap();
    assert_eq!(answer, desk.whole(&of(SIBLING), "default"));
    let warnings = answer.warnings;
    for said in ["did you mean sidecar.istio.io/inject?", "port 15001 is used by the proxy"] {
        assert!(warnings.iter().any(|warning| warning.message.contains(said)), "{warnings:?}");
    }
}
