//! Differential tests: what Istio's own injector answers, asked while the test runs, is what the engine answers.
//!
//! `cargo test --release --test differential` runs this; plain `cargo test` does not: it needs `hack/oracle/build`, which it
//! calls (Go, and some minutes the first time), or its folder in `OUTRIGGER_ORACLE`. `docs/testing.md` says what is compared.
//!
//! | variable | |
//! | --- | --- |
//! | `OUTRIGGER_SEED` | the seed; without it, the number of the day |
//! | `OUTRIGGER_CASES` | how many pods and manifests; without it, 3,000 |
//! | `OUTRIGGER_CASE` | one case of a run, by the number it was printed with |

#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::expect_fun_call, unreachable_pub)]

#[path = "../suite/equal.rs"]
mod equal;
#[allow(dead_code, reason = "shared with the suite")]
#[path = "../suite/recordings.rs"]
mod recordings;
#[path = "../suite/setting.rs"]
mod setting;
#[path = "../suite/zeros.rs"]
mod zeros;

mod annotations;
mod manifests;
mod module;
mod oracle;
mod pods;
mod quirks;
mod random;
mod record;
mod run;
mod settings;
mod text;
mod typed;
