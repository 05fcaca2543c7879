//! Leaves a control plane running for people, with the flags of the end-to-end tests, until Ctrl-C.
//!
//! `just controlplane`, or `cargo test --test controlplane`; with `oldest` behind it (`-- oldest`), the oldest Kubernetes
//! that is supported.

#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::disallowed_types, reason = "tests wait for real processes and sockets")]
#![allow(clippy::indexing_slicing, clippy::expect_fun_call, unreachable_pub)]

#[path = "e2e"]
#[allow(dead_code, reason = "people need less than tests do")]
mod e2e {
    pub mod control_plane;
    pub mod install;
    pub mod outrigger_process;
}

use std::{fs, path::PathBuf};

use tokio::signal::unix::{SignalKind, signal};

use self::e2e::{
    control_plane::{ControlPlane, Flavour},
    install::{NAMESPACE, Serving},
};

const WEBHOOK: u16 = 8443;
const ADMIN: u16 = 8080;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let flavour = match std::env::args().nth(1).as_deref() {
        None => Flavour::Current,
        Some("oldest") => Flavour::Oldest,
        Some(other) => {
            eprintln!("found {other:?}; expected oldest, or nothing");
            std::process::exit(64);
        }
    };
    let mut interrupt = signal(SignalKind::interrupt()).expect("signals");
    let mut terminate = signal(SignalKind::terminate()).expect("signals");
    let started = async {
        let control_plane = ControlPlane::start(flavour).await;
        let serving = Serving::new(&control_plane);
        fs::write(authority(&control_plane), serving.authority.pem()).expect("a file in a temporary folder");
        (control_plane, serving)
    };
    let (control_plane, serving) = tokio::select! {
        started = started => started,
        _ = interrupt.recv() => return,
        _ = terminate.recv() => return,
    };
    println!("{}", manual(&control_plane, &serving, flavour));
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    println!("ended; {} is gone", control_plane.folder().display());
}

/// Where the CA of the webhook's certificate is.
fn authority(control_plane: &ControlPlane) -> PathBuf {
    control_plane.folder().join("webhook-ca.crt")
}

/// Commands to type in another terminal. They create everything they need: resources that Helm creates must not exist
/// yet.
fn manual(control_plane: &ControlPlane, serving: &Serving, flavour: Flavour) -> String {
    let folder = control_plane.folder().display();
    let kubeconfig = control_plane.kubeconfig().display();
    let path: Vec<String> = control_plane.tools().iter().map(|tool| tool.display().to_string()).collect();
    let (certificate, key) = (serving.certificate.display(), serving.key.display());
    // Pods need it, and without controllers nothing creates it.
    let account = match flavour {
        Flavour::Current => "",
        Flavour::Oldest => "\n  kubectl -n shop create serviceaccount default",
    };
    format!(
        "A control plane runs at {url}. In another terminal, here:

  export KUBECONFIG={kubeconfig}
  export PATH={path}:$PATH                # kubectl and helm

The chart, and a server on this machine instead of its pods (docs/install.md#without-nodes):

  helm install outrigger charts/outrigger -n {NAMESPACE} --create-namespace \\
    --set replicaCount=0 --set service.externalName=localhost --set service.port={WEBHOOK}
  hack/chart/serve outrigger

Or, without the chart, a server that asks nothing of the cluster:

  cargo run -- serve --standalone --listen 127.0.0.1:{WEBHOOK} --admin 127.0.0.1:{ADMIN} \\
    --tls-cert {certificate} --tls-key {key} &
  cargo run -- webhook apply --url https://localhost:{WEBHOOK}/inject --ca-bundle {authority}

Then a pod:

  kubectl create namespace shop && kubectl label namespace shop istio-injection=enabled{account}
  kubectl -n shop run web --image=nginx --dry-run=server -o yaml

Logs are in {folder}. There is no kubelet: pods are stored and stay pending. Ctrl-C ends all of it.",
        url = control_plane.url(),
        path = path.join(":"),
        authority = authority(control_plane).display(),
    )
}
