//! The output of the embedded templates, parsed by YAML's fast path and by the event parser.

use std::{borrow::Cow, collections::BTreeSet, sync::LazyLock};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{LIMITS, ProxyIds, View, context, specialized, with_parts};
use crate::{
    config::{InjectorConfig, Source, headed::headed},
    inject::{self, Facts, Outcome, PodRequest},
    names,
};
use kubernetes_yaml::{self as yaml, Limits};

const REVIEWS: [&str; 5] = [
    include_str!("../../../tests/fixtures/reviews/big.json"),
    include_str!("../../../tests/fixtures/reviews/cronjob-job.json"),
    include_str!("../../../tests/fixtures/reviews/deployment.json"),
    include_str!("../../../tests/fixtures/reviews/pod.json"),
    include_str!("../../../tests/fixtures/reviews/statefulset.json"),
];

const TEMPLATES: [&str; 4] = ["sidecar", "gateway", "grpc-agent", "grpc-simple"];

const BUNDLES: [&str; 3] = [
    "",
    "values:\n  pilot:\n    cni:\n      enabled: true\n  global:\n    imagePullSecrets: [regcred]\n    mountMtlsCerts: true\n    proxy:\n      seccompProfile: {type: RuntimeDefault}\n      privileged: true\n",
    "nativeSidecars: enabled\nplatform: openshift\ncompliancePolicy: fips-140-2\nmesh:\n  defaultConfig:\n    proxyMetadata:\n      A: \"1\"\n      B: 'b: {c'\n",
];

/// Annotations that change what is rendered.
fn annotations() -> [Value; 4] {
    [
        json!({}),
        json!({
            "sidecar.istio.io/interceptionMode": "TPROXY",
            "traffic.sidecar.istio.io/excludeOutboundPorts": "1,2",
            "sidecar.istio.io/proxyCPU": "100m",
            "sidecar.istio.io/nativeSidecar": "true",
        }),
        json!({
            "proxy.istio.io/config": "{concurrency: 2, holdApplicationUntilProxyStarts: true, proxyMetadata: {X: \"y\\nz\"}}",
            "sidecar.istio.io/userVolume": r#"{"v":{"emptyDir":{}}}"#,
            "sidecar.istio.io/userVolumeMount": r#"{"v":{"mountPath":"/v"}}"#,
            "sidecar.istio.io/statsInclusionPrefixes": "a,b",
        }),
        json!({"status.sidecar.istio.io/port": "0", "sidecar.istio.io/logLevel": "debug", "sidecar.istio.io/agentLogLevel": "default:info"}),
    ]
}

/// Every text that the four embedded templates render for the pods above, each once.
static TEXTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut texts = BTreeSet::new();
    for bundle in BUNDLES {
        let (mesh, _) =
            InjectorConfig::from_bundle(Source { name: "bundle", text: &headed(bundle) }).unwrap();
        for review in REVIEWS {
            let review: Value = serde_json::from_str(review).unwrap();
            for template in TEMPLATES {
                for annotations in annotations() {
                    let mut pod = review["request"]["object"].clone();
                    let known = &mut pod["metadata"]["annotations"];
                    for (key, value) in annotations.as_object().unwrap() {
                        known[key] = value.clone();
                    }
                    known[names::ANNOTATION_TEMPLATES] = json!(template);
                    let namespace = review["request"]["namespace"].as_str().unwrap();
                    let request = PodRequest::new(namespace, pod);
                    // A text is cached when it recurs.
                    for _ in 0..2 {
                        let outcome = inject::run(&mesh, &request, &Facts::of(&mesh, namespace));
                        assert!(matches!(outcome, Ok(Outcome::Injected(_))), "{template}: {outcome:?}");
                    }
                    texts.extend(mesh.overlays().texts());
                }
            }
        }
    }
    texts.into_iter().collect()
});

/// Whether the fast path accepts the text; asserts that its tree equals the event parser's.
fn takes(text: &str) -> bool {
    let fast: Option<yaml::Node> = yaml::read_rendered(text, &Limits::rendered());
    let full = yaml::parse(text, &Limits { syntax: yaml::Syntax::Full, ..Limits::rendered() });
    let taken = fast.is_some();
    if let Some(fast) = fast {
        assert_eq!(Ok(fast), full, "{text}");
    }
    taken
}

#[test]
fn what_the_embedded_templates_render_takes_the_fast_path() {
    assert!(TEXTS.len() > 30, "only {} texts", TEXTS.len());
    for text in TEXTS.iter() {
        assert!(takes(text), "{text}");
    }
}

/// Annotations and labels that the embedded templates read, and some values for them.
const ASKED: [(&str, &str); 24] = [
    ("annotations", "sidecar.istio.io/interceptionMode"),
    ("annotations", "sidecar.istio.io/capNetBindService"),
    ("annotations", "sidecar.istio.io/nativeSidecar"),
    ("annotations", "sidecar.istio.io/proxyImage"),
    ("annotations", "sidecar.istio.io/proxyImageType"),
    ("annotations", "sidecar.istio.io/proxyCPU"),
    ("annotations", "sidecar.istio.io/proxyMemoryLimit"),
    ("annotations", "sidecar.istio.io/logLevel"),
    ("annotations", "sidecar.istio.io/bootstrapOverride"),
    ("annotations", "status.sidecar.istio.io/port"),
    ("annotations", "readiness.status.sidecar.istio.io/periodSeconds"),
    ("annotations", "traffic.sidecar.istio.io/includeOutboundPorts"),
    ("annotations", "traffic.sidecar.istio.io/excludeInboundPorts"),
    ("annotations", "traffic.sidecar.istio.io/kubevirtInterfaces"),
    ("annotations", "istio.io/reroute-virtual-interfaces"),
    ("annotations", "k8s.v1.cni.cncf.io/networks"),
    ("annotations", "kubectl.kubernetes.io/default-container"),
    ("annotations", "resource.opentelemetry.io/service.version"),
    ("annotations", "nobody/asks"),
    ("labels", "security.istio.io/tlsMode"),
    ("labels", "service.istio.io/canonical-name"),
    ("labels", "app.kubernetes.io/name"),
    ("labels", "app"),
    ("labels", "version"),
];

fn asked() -> impl Strategy<Value = Vec<(usize, &'static str)>> {
    let values = ["", "0", "true", "TPROXY", "80", "a: b\n- c", "x/y", "\u{e000}0\u{e001}", "\"'{}"];
    prop::collection::vec((0..ASKED.len(), prop::sample::select(values.to_vec())), 0..6)
}

static MESHES: LazyLock<Vec<InjectorConfig>> = LazyLock::new(|| {
    BUNDLES
        .iter()
        .map(|text| InjectorConfig::from_bundle(Source { name: "bundle", text: &headed(text) }).unwrap().0)
        .collect()
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn specialized_templates_render_what_they_are_made_of(
        review in prop::sample::select(REVIEWS.to_vec()),
        asked in asked(),
        native_sidecars in any::<bool>(),
        is_annotated in any::<bool>(),
        mesh in 0..BUNDLES.len(),
    ) {
        let mesh = &MESHES[mesh];
        let review: Value = serde_json::from_str(review).unwrap();
        let mut pod = review["request"]["object"].clone();
        for (index, value) in asked {
            let (map, key) = ASKED[index];
            pod["metadata"][map][key] = json!(value);
        }
        let own = &mesh.mesh_config()["defaultConfig"];
        let proxy_config = if is_annotated { Cow::Owned(own.clone()) } else { Cow::Borrowed(own) };
        let ids = ProxyIds::default();
        let view = View { pod: &pod, workload: None, proxy_config: &proxy_config, native_sidecars, ids, stand_ins: false };
        with_parts(mesh, &view, |parts| {
            let data = context::template_data(parts);
            for (name, template) in &mesh.injector().templates {
                let fast = specialized(mesh, name, template, parts).expect("it can be specialized");
                assert_eq!(fast.render(&data, mesh.scope(), &LIMITS), template.render(&data, mesh.scope(), &LIMITS));
            }
        });
    }
}

/// An edit of a text: at line `.1`, character `.2`, both modulo the actual count.
type Edit = (Change, prop::sample::Index, prop::sample::Index);

#[derive(Clone, Copy, Debug)]
enum Change {
    DeleteCharacter,
    Insert(&'static str),
    DeleteLine,
    DuplicateLine,
    SwapLines,
    Indent,
    Outdent,
    JoinLines,
    Tail,
    Head,
}

fn change() -> impl Strategy<Value = Change> {
    let pieces = prop::sample::select(vec![
        "\"",
        "'",
        " ",
        "  ",
        "\n",
        "\n  ",
        ":",
        ": ",
        " #",
        "#",
        "- ",
        "-",
        "[",
        "]",
        "{",
        "}",
        ",",
        "|",
        "|-\n",
        ">",
        "\t",
        "\\",
        "&a",
        "*a",
        "!",
        "é",
        "\u{e000}0\u{e001}",
        "? ",
        "---\n",
        "<<: ",
        "~",
        "\r",
        "\u{feff}",
    ]);
    prop_oneof![
        3 => Just(Change::DeleteCharacter),
        4 => pieces.prop_map(Change::Insert),
        1 => Just(Change::DeleteLine),
        1 => Just(Change::DuplicateLine),
        1 => Just(Change::SwapLines),
        1 => Just(Change::Indent),
        1 => Just(Change::Outdent),
        1 => Just(Change::JoinLines),
        2 => Just(Change::Tail),
        2 => Just(Change::Head),
    ]
}

fn edited(text: &str, edits: &[Edit]) -> String {
    let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
    for (change, line, place) in edits {
        let at = line.index(lines.len());
        let boundaries: Vec<usize> = lines[at].char_indices().map(|(place, _)| place).collect();
        let place_in_line = if boundaries.is_empty() { 0 } else { boundaries[place.index(boundaries.len())] };
        match change {
            Change::DeleteCharacter if boundaries.is_empty() => {}
            Change::DeleteCharacter => {
                lines[at].remove(place_in_line);
            }
            Change::Insert(piece) => {
                lines[at].insert_str(place_in_line, piece);
                lines = lines.join("\n").split('\n').map(str::to_owned).collect();
            }
            Change::DeleteLine if lines.len() > 1 => {
                lines.remove(at);
            }
            Change::DeleteLine => {}
            Change::DuplicateLine => {
                let other = place.index(lines.len());
                lines.insert(other, lines[at].clone());
            }
            Change::SwapLines => {
                let other = place.index(lines.len());
                lines.swap(at, other);
            }
            Change::Indent => lines[at].insert_str(0, &"    "[..=place.index(4).min(3)]),
            Change::Outdent => {
                let spaces = lines[at].len() - lines[at].trim_start_matches(' ').len();
                lines[at].drain(..spaces.min(place.index(4) + 1));
            }
            Change::JoinLines if at + 1 < lines.len() => {
                let next = lines.remove(at + 1);
                lines[at].push_str(&next);
            }
            Change::JoinLines => {}
            Change::Tail => {
                lines.drain(..at);
            }
            Change::Head => lines.truncate(at + 1),
        }
    }
    lines.join("\n")
}

proptest! {
    #[test]
    fn edited_texts_read_alike_or_not_at_all(
        text in any::<prop::sample::Index>(),
        edits in prop::collection::vec((change(), any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..6),
    ) {
        takes(&edited(&TEXTS[text.index(TEXTS.len())], &edits));
    }
}
