//! The one offline test binary: no network but loopback, no cluster, no sleeps.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::mod_module_files)]

#[path = "suite/architecture.rs"]
mod architecture;
#[allow(dead_code, reason = "shared with the end-to-end tests")]
#[path = "suite/attacker.rs"]
mod attacker;
#[path = "suite/bombs.rs"]
mod bombs;
#[path = "suite/cases.rs"]
mod cases;
#[path = "suite/cli.rs"]
mod cli;
#[path = "suite/cli_cluster.rs"]
mod cli_cluster;
#[path = "suite/client_auth.rs"]
mod client_auth;
#[path = "suite/client_identity.rs"]
mod client_identity;
#[path = "suite/client_tokens.rs"]
mod client_tokens;
#[path = "suite/compat.rs"]
mod compat;
#[path = "suite/conformance.rs"]
mod conformance;
#[path = "suite/conformance_https.rs"]
mod conformance_https;
#[path = "suite/conformance_manifests.rs"]
mod conformance_manifests;
#[path = "suite/docs.rs"]
mod docs;
#[path = "suite/equal.rs"]
mod equal;
#[path = "suite/facts.rs"]
mod facts;
#[path = "suite/fault_proxy.rs"]
mod fault_proxy;
#[path = "suite/forged.rs"]
mod forged;
#[path = "suite/gains.rs"]
mod gains;
#[path = "suite/golden.rs"]
mod golden;
#[path = "suite/handshakes.rs"]
mod handshakes;
#[path = "../crates/injector/src/config/tests/headed.rs"]
mod headed;
#[path = "suite/hostile.rs"]
mod hostile;
#[path = "suite/hostile_files.rs"]
mod hostile_files;
#[path = "suite/http.rs"]
mod http;
#[path = "suite/huge.rs"]
mod huge;
#[path = "suite/istio_templates.rs"]
mod istio_templates;
#[path = "suite/large_pods.rs"]
mod large_pods;
#[path = "suite/manual.rs"]
mod manual;
#[cfg(target_os = "linux")]
#[path = "suite/memory.rs"]
mod memory;
#[path = "suite/network.rs"]
mod network;
#[path = "suite/overload.rs"]
mod overload;
#[path = "suite/own_recordings.rs"]
mod own_recordings;
#[path = "suite/pods.rs"]
mod pods;
#[path = "suite/process.rs"]
mod process;
#[path = "suite/properties.rs"]
mod properties;
#[path = "suite/recordings.rs"]
mod recordings;
#[path = "suite/reliability.rs"]
mod reliability;
#[path = "suite/reload.rs"]
mod reload;
#[path = "suite/replays.rs"]
mod replays;
#[path = "suite/reviews.rs"]
mod reviews;
#[path = "suite/serve.rs"]
mod serve;
#[allow(dead_code, reason = "shared with the differential tests")]
#[path = "suite/setting.rs"]
mod setting;
#[path = "suite/shutdown.rs"]
mod shutdown;
#[path = "suite/support.rs"]
mod support;
#[path = "suite/tls.rs"]
mod tls;
#[cfg(feature = "otlp")]
#[path = "suite/traces.rs"]
mod traces;
#[path = "suite/webhook.rs"]
mod webhook;
#[path = "suite/webhook_command.rs"]
mod webhook_command;
#[path = "suite/webhook_selectors.rs"]
mod webhook_selectors;
#[path = "suite/zeros.rs"]
mod zeros;
