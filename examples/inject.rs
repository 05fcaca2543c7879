//! Injects a pod with the library: no server, no cluster.
//!
//! ```sh
//! cargo run --example inject
//! ```

use injector::{
    config::{InjectorConfig, Source},
    inject::{self, Facts, Outcome, PodRequest},
};
use serde_json::json;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A configuration is parsed as a whole, or rejected with every error in it.
    let bundle = Source {
        name: "example",
        text: "
apiVersion: outrigger.dev/v1alpha1
kind: Bundle
values:
  global:
    proxy:
      logLevel: info
",
    };
    let (configuration, warnings) = InjectorConfig::from_bundle(bundle)?;
    for warning in warnings {
        eprintln!("warning: {warning}");
    }

    let pod = json!({
        "metadata": {"name": "web", "annotations": {"sidecar.istio.io/proxyCPU": "200m"}},
        "spec": {"containers": [{"name": "web", "image": "web:1"}]},
    });
    // The namespace of the request, and facts about it that the configuration does not hold.
    let request = PodRequest::new("shop", pod);
    let facts = Facts::of(&configuration, "shop");
    match inject::run(&configuration, &request, &facts) {
        Ok(Outcome::Injected(injection)) => {
            println!("{}", injection.patch_json);
            eprintln!("{} operations", injection.operations);
        }
        Ok(Outcome::Skipped(skip)) => println!("skipped: {}", skip.decision.sentence),
        // The message is for the person who created the pod.
        Err(refusal) => println!("denied ({}): {refusal}", refusal.reason()),
    }
    Ok(())
}
