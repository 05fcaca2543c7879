//! End to end: outrigger as a process, called by a real kube-apiserver, with pods made by real controllers.
//!
//! `cargo test --test e2e` runs this; plain `cargo test` does not: it needs `hack/controlplane/build`, which it calls
//! (Go, and some minutes the first time), or its folder in `OUTRIGGER_CONTROLPLANE`. Everything is on loopback and free
//! ports, in temporary folders; nothing outlives the tests, even if they are killed. `docs/testing.md` says what each
//! test proves.
//!
//! # The harness
//!
//! ```ignore
//! let mut control_plane = ControlPlane::start(Flavour::Current).await;        // etcd, API server, controllers: 3 s
//! control_plane.create_namespace("shop", &[("istio-injection", "enabled")]).await;
//! control_plane.create_node("node-1", "v1.37.2").await;
//! let client = control_plane.client().await;                                  // all rights; make one in each runtime
//! control_plane.apply(manifests).await;                                       // kubectl apply -f -
//! let pods = control_plane.kubectl(&["get", "pods", "-n", "shop"]).await;     // panics when it fails; kubectl_with: Ran
//! let ran = control_plane.helm(&["install", "outrigger", "charts/outrigger"]).await;
//! let file = control_plane.kubeconfig_for("outrigger-system", "outrigger").await;  // as that ServiceAccount
//! control_plane.freeze(Component::ApiServer);  control_plane.thaw(Component::ApiServer);
//! control_plane.kill(Component::Etcd);         control_plane.restart(Component::Etcd).await;   // same port and data
//! control_plane.metric("apiserver_admission_webhook_rejection_count", &[]).await;
//! control_plane.audit();                                                      // the audit log's lines
//!
//! let serving = Serving::new(&control_plane);                                 // CA and certificate for the Service
//! let mut outrigger = Outrigger::standalone(&serving.certificate, &serving.key).flag("bundle", file).start().await;
//! let mut outrigger = Outrigger::serve().flag("kubeconfig", file).spawn();    // does not wait
//! outrigger.wait_ready().await;  outrigger.wait_line("…", |line| …).await;  outrigger.readyz().await;
//! outrigger.metric("outrigger_requests_total", &[r#"outcome="injected""#]).await;  outrigger.rss();
//! outrigger.signal("HUP");  outrigger.terminate().await;  outrigger.kill();
//!
//! let balancer = Balancer::start(Probe::default()).await;                     // a Service with endpoints and kube-proxy
//! balancer.add("a", &outrigger);  balancer.wait_ready(1).await;  balancer.terminating("a");
//! Webhook::new("outrigger", Reach::Service(balancer.port()), &serving.authority).install(&control_plane, "shop").await;
//! Webhook { failure_policy: "Ignore", ..Webhook::new("b", Reach::url_of(&outrigger), &serving.authority) };
//!
//! let proxy = FaultProxy::before(address).await;                              // a network that fails, by `tests/suite`
//! proxy.set(Fault::Drop);  proxy.connections();  BlackHole::new().await;
//!
//! let other = OtherWebhook::recorder(&serving).await;                         // or start(&serving, |request| operations)
//! Webhook::new("a-first", other.by_service(), &serving.authority).apply(&control_plane).await;  // by name, in order
//! other.calls();  other.find(|call| call.request["name"] == "web");
//! let stored = dry_run(&client, "shop", &pod).await;                          // Ok(what would be stored) or Err(sentence)
//! is_injected(&stored);  assert_eq!(unlike(&stored, &wanted), None);
//!
//! until("what", PATIENCE, async || true).await;                               // bounded waits; never sleep
//! eventually("what", PATIENCE, async || Some(found)).await;
//! settled("what", PATIENCE, async || Ok::<_, String>(found)).await;           // tells the last error
//! ```
//!
//! Tests are `#[tokio::test(flavor = "multi_thread", worker_threads = 2)]`. Those that disturb a control plane start
//! their own.

#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::disallowed_types, reason = "tests wait for real processes and sockets")]
#![allow(clippy::indexing_slicing, clippy::expect_fun_call, unreachable_pub)]
#![allow(dead_code, reason = "a toolbox: not every tool is in use at all times")]

#[allow(dead_code, reason = "shared with the suite")]
#[path = "../suite/attacker.rs"]
mod attacker;
#[path = "../suite/equal.rs"]
mod equal;
#[allow(dead_code, reason = "a toolbox: not every tool is in use at all times")]
#[path = "../suite/fault_proxy.rs"]
mod fault_proxy;
#[path = "../../crates/injector/src/config/tests/headed.rs"]
mod headed;
#[path = "../suite/recordings.rs"]
mod recordings;

mod advice;
mod api_server;
mod backstop;
pub mod balancer;
mod bare_workloads;
mod call_order;
mod canary;
mod cert_manager;
mod certificates;
mod chart;
mod client_auth;
pub mod commands;
mod configuration;
pub mod control_plane;
mod doctor;
mod effects;
mod explain;
mod faults;
mod golden;
mod guard_rails;
mod harness;
pub mod install;
mod kustomize;
mod latency;
mod lifecycle;
mod limits;
pub mod load;
mod namespace_audit;
mod namespace_limits;
pub mod neighbours;
pub mod other_webhook;
pub mod outrigger_process;
mod overload;
mod pod_level;
mod pod_security;
pub mod pods;
mod policy;
mod races;
pub mod release;
pub mod reviewer;
mod rolling;
mod scale;
mod soak;
mod tags;
mod told;
mod tools;
mod unions;
mod watches;
mod workloads;
