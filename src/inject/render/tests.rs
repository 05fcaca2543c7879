//! What the embedded templates render, read by YAML's fast path and by the event parser.

use std::{collections::BTreeSet, sync::LazyLock};

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    config::{Mesh, Source},
    inject::{self, Facts, Outcome, PodRequest},
    names,
    yaml::{self, Limits},
};

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

/// Every text the four embedded templates render for the pods above, each once.
static TEXTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut texts = BTreeSet::new();
    for bundle in BUNDLES {
        let (mesh, _) = Mesh::from_bundle(Source { name: "bundle", text: bundle }).unwrap();
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
                    let outcome =
                        inject::run(&mesh, &PodRequest::new(namespace, pod), &Facts::of(&mesh, namespace));
                    assert!(matches!(outcome, Ok(Outcome::Injected(_))), "{template}: {outcome:?}");
                }
            }
        }
        texts.extend(mesh.overlays().texts());
    }
    texts.into_iter().collect()
});

/// Whether the fast path takes the text; that the tree is the event parser's is asserted.
fn takes(text: &str) -> bool {
    let (fast, full) = yaml::both_ways(text, &Limits::rendered());
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

/// An edit of a text: at its line `.1` and the character `.2` of that, both modulo what is there.
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
