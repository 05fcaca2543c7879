//! Texts that are short to write and huge to process, wherever a text is parsed.

use outrigger::{
    config::{InjectorConfig, Installation, Source},
    inject::{self, Facts, Outcome, PodRequest},
};
use serde_json::json;

const TOO_MUCH: &str = "aliases that expand to too much";

/// Nine levels of ten aliases each: a thousand million values in half a kilobyte, as lines of a map.
fn bomb(indent: &str) -> String {
    let mut text = format!("{indent}a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("{indent}a{level}: &a{level} [{aliases}]\n"));
    }
    text
}

// C-12
#[test]
fn a_bomb_of_aliases_is_refused_wherever_a_configuration_is_read() {
    let bundle = format!("values:\n{}", bomb("  "));
    let refused =
        InjectorConfig::from_bundle(Source { name: "bundle", text: &bundle }).unwrap_err().to_string();
    assert!(refused.contains(TOO_MUCH), "{refused}");
    let bomb = bomb("");
    for broken in ["config", "values", "mesh"] {
        let source = |name: &'static str, text: &'static str| Source {
            name,
            text: if name == broken { bomb.as_str() } else { text },
        };
        let installation = Installation { revision: "default".to_owned(), ..Installation::default() };
        let read = InjectorConfig::from_config_map(
            source("config", "policy: enabled"),
            source("values", "{}"),
            source("mesh", ""),
            installation,
        );
        let refused = read.unwrap_err().to_string();
        assert!(refused.contains(TOO_MUCH) && refused.contains(broken), "{broken}: {refused}");
    }
}

// C-12: content from a pod is rejected as the pod's, and the annotation is named.
#[test]
fn a_bomb_of_aliases_in_an_annotation_refuses_the_pod() {
    let (mesh, _) =
        InjectorConfig::from_bundle(Source { name: "bundle", text: InjectorConfig::default_bundle() })
            .unwrap();
    let pod = |config: &str| {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "web", "annotations": {"proxy.istio.io/config": config}},
            "spec": {"containers": [{"name": "web", "image": "web"}]},
        });
        PodRequest::new("shop", pod)
    };
    let refusal = inject::run(&mesh, &pod(&bomb("")), &Facts::default()).unwrap_err();
    let text = refusal.to_string();
    assert_eq!(refusal.code(), 400, "{text}");
    assert!(text.contains("proxy.istio.io/config") && text.contains(TOO_MUCH), "{text}");
    assert!(text.len() < 1_000, "{} bytes", text.len());
    let injected = inject::run(&mesh, &pod("concurrency: 2"), &Facts::default());
    assert!(matches!(injected, Ok(Outcome::Injected(_))));
}
