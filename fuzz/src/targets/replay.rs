//! The short way of answering against the long one: what is kept of a pod and given to its sibling is what the whole
//! pipeline says of the sibling, whatever the templates do with names.

use std::{collections::BTreeMap, sync::Arc};

use outrigger::inject::{Admission, AdmissionDecision, AdmissionRequest, CacheStatus, Facts, Injector};
use serde_json::{Value, json};

use crate::{Fate, input, meshes, random::Random};

/// What controllers and admission plugins generate for one pod.
struct Names {
    hash: String,
    uid: String,
    suffix: Option<String>,
    token: String,
}

pub(super) fn check(bytes: &[u8]) -> Fate {
    let mut random = Random::new(bytes);
    let mesh = if random.percent(40) {
        random.pick(&meshes::ALL).mesh.clone()
    } else {
        let Some(made) = meshes::with_template(&template(&mut random)) else { return Fate::Keep };
        Arc::new(made)
    };
    // Nothing is cached from another input.
    let injector = Injector::new(mesh);
    let (first, second) = (names(&mut random), names(&mut random));
    let (is_pretty, also) = (random.percent(10), random.percent(15));
    let Some(pod) = input::pod(&mut random) else { return Fate::Drop };
    let (Some(mut shown), Some(mut asked)) = (made(&pod, &first), made(&pod, &second)) else {
        return Fate::Keep;
    };
    if also {
        // A text of the pod that is one of the names.
        for (pod, names) in [(&mut shown, &first), (&mut asked, &second)] {
            pod["metadata"]["labels"]["also"] = json!(names.hash);
        }
    }
    let text = |pod: &Value| {
        if is_pretty { serde_json::to_string_pretty(pod).unwrap_or_default() } else { pod.to_string() }
    };
    if let Some(cached) = cached(&injector, &text(&shown), &text(&asked)) {
        let whole = whole(&injector, &asked);
        assert_eq!(Some(cached), whole, "of {shown}\ncached for {asked}");
    }
    Fate::Keep
}

/// The long way, if it gives an answer.
fn whole(injector: &Injector, pod: &Value) -> Option<Admission> {
    let (text, none) = (pod.to_string(), BTreeMap::new());
    let facts = Facts::of(injector.config(), "shop");
    let admission = injector.review_uncached(AdmissionRequest::new(&text, "shop", &none), &facts);
    admission.ok().filter(|admission| !matches!(admission.decision, AdmissionDecision::Deny { .. }))
}

/// Shows a pod twice and asks about another: the answer that is cached for it, if one is.
fn cached(injector: &Injector, shown: &str, asked: &str) -> Option<Admission> {
    let (none, facts) = (BTreeMap::new(), Facts::of(injector.config(), "shop"));
    let review = |text| injector.review(AdmissionRequest::new(text, "shop", &none), &facts).ok();
    for text in [shown, shown] {
        assert_ne!(review(text)?.served, CacheStatus::Stale, "{text}");
    }
    let answer = review(asked)?;
    assert_ne!(answer.served, CacheStatus::Stale, "{asked}");
    // But for that, it is to be as if it were made for this pod.
    (answer.served == CacheStatus::Hit).then_some(Admission { served: CacheStatus::Miss, ..answer })
}

fn names(random: &mut Random<'_>) -> Names {
    let generated = |random: &mut Random<'_>, length: usize| -> String {
        (0..length).map(|_| char::from(*random.pick(b"0123456789abcdefghijklmnopqrstuvwxyz"))).collect()
    };
    // Names of digits alone are numbers to YAML.
    let hash = match random.below(5) {
        0 => "123456789".to_owned(),
        1 => "0x1f2e3d4c".to_owned(),
        2 => "1e10".to_owned(),
        _ => {
            let length = random.within(8..11);
            generated(random, length)
        }
    };
    let uid = format!("{}-0000-4000-8000-000000000000", generated(random, 8));
    let suffix = random.percent(70).then(|| generated(random, 5));
    Names { hash, uid, suffix, token: generated(random, 5) }
}

/// A pod as a ReplicaSet makes it, and the token volume put into it; nothing if it has no place for that.
fn made(pod: &Value, names: &Names) -> Option<Value> {
    let mut pod = pod.clone();
    let metadata = pod.as_object_mut()?.entry("metadata").or_insert_with(|| json!({})).as_object_mut()?;
    metadata.insert("generateName".into(), json!(format!("made-{}-", names.hash)));
    metadata.remove("name");
    if let Some(suffix) = &names.suffix {
        metadata.insert("name".into(), json!(format!("made-{}-{suffix}", names.hash)));
    }
    let owner = format!("made-{}", names.hash);
    metadata.insert(
        "ownerReferences".into(),
        json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": names.uid, "controller": true}]),
    );
    let labels = metadata.entry("labels").or_insert_with(|| json!({})).as_object_mut()?;
    labels.insert("pod-template-hash".into(), json!(names.hash));
    let spec = pod.get_mut("spec")?.as_object_mut()?;
    let volume = format!("kube-api-access-{}", names.token);
    let mount = json!({"name": volume, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true});
    let volumes = spec.entry("volumes").or_insert_with(|| json!([])).as_array_mut()?;
    volumes.retain(|volume| !volume["name"].as_str().unwrap_or_default().starts_with("kube-api-access-"));
    volumes.push(json!({"name": volume, "projected": {}}));
    for container in spec.get_mut("containers")?.as_array_mut()? {
        let mounts = container.as_object_mut()?.entry("volumeMounts").or_insert_with(|| json!([]));
        mounts.as_array_mut()?.push(mount.clone());
    }
    Some(pod)
}

/// What a template may do with a name.
const VALUES: &[&str] = &[
    ".ObjectMeta.Name",
    ".ObjectMeta.GenerateName",
    ".DeploymentMeta.Name",
    "(index .ObjectMeta.Labels \"pod-template-hash\")",
    "(index .ObjectMeta.OwnerReferences 0).Name",
    "(index .ObjectMeta.OwnerReferences 0).UID",
    "(index .Spec.Volumes 0).Name",
    "(last .Spec.Volumes).Name",
    "(toJson .ObjectMeta)",
    "(toYaml .ObjectMeta.OwnerReferences)",
    "(annotation .ObjectMeta `x` .ObjectMeta.Name)",
    "(printf \"%s-%v\" .ObjectMeta.Name .ObjectMeta.Labels)",
    "(list .ObjectMeta.Name .DeploymentMeta.Name | join \",\")",
    "(dict \"a\" .ObjectMeta.Name).a",
    "(len .Spec.Volumes)",
];

const FILTERS: &[&str] = &[
    "",
    " | quote",
    " | upper",
    " | trunc 12",
    " | trunc -4",
    " | len",
    " | b64enc",
    " | sha256sum",
    " | replace \"-\" \"\"",
    " | trimPrefix \"made-\"",
    " | contains \"1\"",
    " | regexFind \"[0-9]+\"",
    " | splitList \"-\" | last",
    " | atoi",
    " | int",
    " | toString",
    " | default \"d\"",
    " | squote",
    " | indent 2",
    " | eq \"made-123456789-\"",
    " | hasPrefix \"made\"",
    " | empty",
    " | kindOf",
    " | fromJson",
    " | fromYaml",
    " | toYaml",
    " | printf \"%q\"",
    " | printf \"%5.8s\"",
    " | semver",
    " | reverse",
    " | not",
    " | and true",
    " | or \"x\"",
    " | cat \"x\"",
    " | repeat 2",
    " | html",
    " | print",
    " | title",
    " | nospace",
    " | lower | trim",
];

/// Where a text goes; `@` is the text, `%` what is looked at.
const PLACES: &[&str] = &[
    "metadata:\n  labels:\n    a: @\n",
    "metadata:\n  annotations:\n    a: \"@\"\n",
    "metadata:\n  annotations: {\"k-@\": v}\n",
    "spec:\n  hostname: @\n",
    "spec:\n  containers:\n  - name: istio-proxy\n    image: x\n    args: [@, 'a-@']\n",
    "spec:\n  containers:\n  - name: istio-proxy\n    image: x\n    env:\n    - name: A\n      value: \"@\"\n",
    "spec:\n  containers:\n  - name: istio-proxy\n    image: x\n    env:\n    - name: @\n      value: b\n",
    "spec:\n  containers:\n  - name: @\n    image: x\n",
    "spec:\n  volumes:\n  - name: @\n    emptyDir: {}\n",
    "spec:\n  containers:\n  - name: istio-proxy\n    image: x\n    command:\n    - @\n    - |\n      @\n",
    "{{ if % }}\nspec:\n  hostname: h\n{{ end }}\n",
    "metadata:\n  labels:\n    b: {{ if % }}yes{{ else }}no{{ end }}\n",
    "{{ with % }}\nmetadata:\n  labels:\n    c: \"{{ . }}\"\n{{ end }}\n",
    "{{ range $k, $v := .ObjectMeta.Labels }}\n# {{ $k }} {{ $v }}\n{{ end }}\nmetadata:\n  labels:\n    d: @\n",
    "metadata:\n  annotations:\n    e: {{ $x := % }}{{ $x }}{{ $x | quote }}\n",
    "spec:\n  nodeSelector:\n    f: @\n",
    "spec:\n  terminationGracePeriodSeconds: @\n",
    "metadata:\n  labels:\n    pod-template-hash: @\n",
];

fn template(random: &mut Random<'_>) -> String {
    let mut pipeline = (*random.pick(VALUES)).to_owned();
    for _ in 0..random.below(3) {
        pipeline.push_str(random.pick::<&str>(FILTERS));
    }
    random.pick(PLACES).replace('@', &format!("{{{{ {pipeline} }}}}")).replace('%', &format!("({pipeline})"))
}
