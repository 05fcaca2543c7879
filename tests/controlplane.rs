//! Leaves a control plane running for people, with the flags of the end-to-end tests, until Ctrl-C.
//!
//! `just controlplane`, or `cargo test --test controlplane`; with `oldest` behind it (`-- oldest`), the oldest Kubernetes
//! that is supported.

#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::expect_fun_call, unreachable_pub)]

#[path = "e2e"]
#[allow(dead_code, reason = "people need less than tests do")]
mod e2e {
    pub mod control_plane;
    pub mod install;
    pub mod outrigger_process;
}

use std::fs;

use tokio::signal::unix::{SignalKind, signal};

use self::e2e::{
    control_plane::{ControlPlane, Flavour},
    install::{NAMESPACE, Reach, Serving, Webhook, service},
};

const WEBHOOK: u16 = 8443;
const ADMIN: u16 = 8080;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let flavour = match std::env::args().nth(1).as_deref() {
        None => Flavour::Current,
        Some("oldest") => Flavour::Oldest,
        Some(other) => {
            eprintln!("found {other:?}; accepted is oldest, or nothing");
            std::process::exit(64);
        }
    };
    let mut interrupt = signal(SignalKind::interrupt()).expect("signals");
    let mut terminate = signal(SignalKind::terminate()).expect("signals");
    let started = async {
        let control_plane = ControlPlane::start(flavour).await;
        control_plane.create_namespace(NAMESPACE, &[("istio-injection", "disabled")]).await;
        control_plane.apply(&service(WEBHOOK).to_string()).await;
        let serving = Serving::new(&control_plane);
        let webhook = Webhook::new("outrigger", Reach::Service(WEBHOOK), &serving.authority);
        let file = control_plane.folder().join("webhook.json");
        fs::write(file, webhook.configuration().to_string()).expect("a file in a temporary folder");
        (control_plane, serving)
    };
    let (control_plane, serving) = tokio::select! {
        started = started => started,
        _ = interrupt.recv() => return,
        _ = terminate.recv() => return,
    };
    println!("{}", manual(&control_plane, &serving));
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    println!("ended; {} is gone", control_plane.folder().display());
}

/// What to type in another terminal.
fn manual(control_plane: &ControlPlane, serving: &Serving) -> String {
    let folder = control_plane.folder().display();
    let kubeconfig = control_plane.kubeconfig().display();
    let path: Vec<String> = control_plane.tools().iter().map(|tool| tool.display().to_string()).collect();
    let (certificate, key) = (serving.certificate.display(), serving.key.display());
    format!(
        "A control plane runs at {url}. In another terminal:

  export KUBECONFIG={kubeconfig}
  export PATH={path}:$PATH                # kubectl and helm

A webhook without a cluster behind it; the Service {NAMESPACE}/{service} leads to port {WEBHOOK} of this machine:

  cargo run -- serve --standalone --listen 127.0.0.1:{WEBHOOK} --admin 127.0.0.1:{ADMIN} \\
    --tls-cert {certificate} --tls-key {key}
  kubectl apply -f {folder}/webhook.json
  kubectl create namespace shop && kubectl label namespace shop istio-injection=enabled
  kubectl run web --image=example.com/web:1 -n shop --dry-run=server -o yaml

A webhook that keeps its certificate and its configuration in the cluster:

  cargo run -- serve --listen 127.0.0.1:{WEBHOOK} --admin 127.0.0.1:{ADMIN}

Logs are in {folder}. There is no kubelet: pods are stored and stay pending. Ctrl-C ends all of it.",
        url = control_plane.url(),
        service = e2e::install::SERVICE,
        path = path.join(":"),
    )
}
