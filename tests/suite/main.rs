//! The one offline test binary: no network but loopback, no cluster, no sleeps.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::disallowed_types, reason = "tests wait for real processes and sockets")]
#![allow(clippy::indexing_slicing, clippy::mod_module_files)]

mod architecture;
#[allow(dead_code, reason = "shared with the end-to-end tests")]
mod attacker;
mod bombs;
mod cases;
mod check;
mod cli;
mod cli_cluster;
mod cli_kube_inject;
mod client_auth;
mod client_identity;
mod client_tokens;
mod compare;
mod compat;
mod conformance;
mod conformance_https;
mod conformance_manifests;
mod docs;
mod edits;
mod effects;
mod equal;
mod examples;
mod explain;
mod facts;
mod fault_proxy;
mod forged;
mod gains;
mod golden;
mod handshakes;
#[path = "../../crates/injector/src/config/tests/headed.rs"]
mod headed;
mod hostile;
mod hostile_files;
mod http;
mod huge;
mod injections;
mod istio_templates;
mod large_pods;
mod lists;
mod manual;
#[cfg(target_os = "linux")]
mod memory;
mod network;
mod overload;
mod own_recordings;
mod pitfalls;
mod pods;
mod process;
mod properties;
mod reasons;
mod recordings;
mod reliability;
mod reload;
mod replays;
mod reviews;
mod sensitive;
mod series;
mod serve;
#[allow(dead_code, reason = "shared with the differential tests")]
mod setting;
mod shutdown;
mod siblings;
mod support;
mod tls;
#[cfg(feature = "otlp")]
mod traces;
mod ui;
mod webhook;
mod webhook_command;
mod webhook_selectors;
mod zeros;
