//! The floor: the same server with an engine that never looks at the pod and gives the same patch to everybody.
//!
//! Accepting, TLS, HTTP, the body's limits, the envelope, metrics, the log and the answer's encoding are the real ones.

use std::{io, net::SocketAddr, sync::Arc};

use outrigger::inject::{Admission, AdmissionDecision, AdmissionRequest, Patch, Subject, Unreadable};
use outrigger::server::{
    Server,
    configuration::{
        engine::Engine,
        source::{Loaded, Source},
    },
    observe::log::{self as telemetry, Format, Lines},
    options::{Options, Origin},
};
use serde_json::json;

/// The answer for every pod.
struct Constant {
    patch: String,
}

impl Engine for Constant {
    fn review(&self, request: AdmissionRequest<'_>) -> Result<Admission, Unreadable> {
        // Makes the line in the log as long as a real one.
        let subject = Subject {
            namespace: request.namespace().to_owned(),
            name: "floor-769df69587-".to_owned(),
            owner: "ReplicaSet/floor-769df69587".to_owned(),
            reinvoked: false,
        };
        if self.patch.is_empty() {
            return Ok(Admission::skipped("POLICY_DISABLED", subject));
        }
        let decision =
            AdmissionDecision::Inject { reason: "POLICY_ENABLED", templates: vec!["sidecar".to_owned()] };
        let patch = Some(Patch { json: self.patch.clone(), operations: 1 });
        Ok(Admission { decision, patch, ..Admission::skipped("", subject) })
    }

    fn revision(&self) -> &str {
        "default"
    }

    fn hash(&self) -> &str {
        "0000000000000000"
    }
}

impl Source for Constant {
    fn load(&self) -> Result<Loaded, String> {
        Ok(Loaded { engine: Arc::new(Constant { patch: self.patch.clone() }), warnings: Vec::new() })
    }
}

/// Serves until standard input ends, which it does with the parent process.
pub fn serve(patch_bytes: usize) -> io::Result<()> {
    let lines = Lines::start(io::stderr(), Default::default())?;
    let (subscriber, filter) =
        telemetry::adjustable(Format::Json, "", lines.clone()).map_err(io::Error::other)?;
    tracing::subscriber::set_global_default(subscriber).map_err(io::Error::other)?;
    let workers = std::thread::available_parallelism().map_or(2, |cpus| cpus.get().max(2));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()?;
    runtime.block_on(async {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let options = Options {
            listen: loopback,
            admin: loopback,
            configuration: Origin::Source(Arc::new(Constant { patch: patch(patch_bytes) })),
            log_filter: Some(filter),
            ..Options::default()
        };
        let server = Server::start(options).await.map_err(io::Error::other)?;
        let ready = json!({
            "message": "ready",
            "webhook": format!("https://{}", server.webhook_address()),
            "admin": format!("http://{}", server.admin_address()),
        });
        lines.line(format!("{ready}\n").into_bytes());
        tokio::task::spawn_blocking(|| io::copy(&mut io::stdin(), &mut io::sink())).await??;
        Ok(())
    })
}

/// A patch of `bytes` bytes.
fn patch(bytes: usize) -> String {
    if bytes == 0 {
        return String::new();
    }
    let frame = r#"[{"op":"add","path":"/metadata/labels/floor","value":""}]"#;
    let padding = "x".repeat(bytes.saturating_sub(frame.len()));
    frame.replacen(r#""""#, &format!("\"{padding}\""), 1)
}
