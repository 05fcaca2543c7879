//! The text of a bundle: refused with reasons, or a configuration that its effective bundle reproduces.

use outrigger::{
    config::{InjectorConfig, Source},
    inject::{self, Facts, PodRequest},
};
use serde_json::json;

use super::promises;
use crate::Fate;

pub(super) fn check(bytes: &[u8]) -> Fate {
    let Ok(text) = std::str::from_utf8(bytes) else { return Fate::Drop };
    let read = |text: &str| InjectorConfig::from_bundle(Source { name: "bundle.yaml", text });
    let (mesh, warnings) = match read(text) {
        Ok(read) => read,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            let again = read(text).map(|_| ()).expect_err("a refused text is refused again");
            assert_eq!(error.to_string(), again.to_string());
            return Fate::Keep;
        }
    };
    for warning in &warnings {
        assert!(!warning.to_string().is_empty());
    }
    let effective = mesh.effective_bundle().to_string();
    match read(&effective) {
        Ok((again, _)) => {
            assert_eq!(again.hash(), mesh.hash(), "{effective}");
            assert_eq!(again.effective_bundle(), mesh.effective_bundle());
        }
        Err(error) => panic!("the effective bundle is refused: {error}\n{effective}"),
    }
    let pod = json!({
        "metadata": {"name": "a", "labels": {"app": "a"}, "annotations": {"sidecar.istio.io/inject": "true"}},
        "spec": {"containers": [{"name": "app", "image": "example.com/app:1"}]},
    });
    if let Err(refusal) = inject::run(&mesh, &PodRequest::new("shop", pod), &Facts::of(&mesh, "shop")) {
        promises::not_our_fault("bundle", &refusal);
    }
    Fate::Keep
}
