//! A client of the webhook that behaves like an API server: AdmissionReviews over one TLS connection, one after the
//! other.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use base64::Engine;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request,
    body::Bytes,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use serde_json::{Value, json};
use tokio::{net::TcpStream, task::JoinHandle};
use tokio_rustls::TlsConnector;

use super::{control_plane::PATIENCE, control_plane::identity::Authority};

/// A connection to the webhook.
pub struct Reviewer {
    sender: SendRequest<Full<Bytes>>,
}

/// The response to one review.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The `response` of the review.
    pub response: Value,
    /// How long it took.
    pub took: Duration,
}

/// Reviewers that never pause.
pub struct Load {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Tally>>,
}

/// The responses to a load.
#[derive(Debug, Default)]
pub struct Tally {
    /// The number of each response, as classified by the test.
    pub answers: BTreeMap<String, usize>,
    /// The times they took, in order.
    pub times: Vec<Duration>,
}

impl Reviewer {
    /// Connects to the webhook on a loopback port.
    pub async fn connect(port: u16, authority: &Authority) -> Reviewer {
        Reviewer::connect_to(port, authority.pem(), "localhost").await
    }

    /// Connects to the webhook on a loopback port, by a name its certificate is for.
    pub async fn connect_to(port: u16, ca: &str, name: &str) -> Reviewer {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).expect("a certificate")).expect("a CA");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the webhook's port");
        stream.set_nodelay(true).expect("a socket");
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("TLS");
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
        tokio::spawn(connection);
        Reviewer { sender }
    }

    /// Has a pod reviewed that is created in a namespace.
    pub async fn review(&mut self, namespace: &str, pod: &Value) -> Answered {
        let review = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "e2e", "operation": "CREATE", "namespace": namespace,
                "kind": {"group": "", "version": "v1", "kind": "Pod"},
                "resource": {"group": "", "version": "v1", "resource": "pods"},
                "object": pod,
            },
        });
        let request = Request::post("/inject")
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(review.to_string())))
            .expect("a request");
        let began = Instant::now();
        let exchange = async {
            self.sender.ready().await.expect("an open connection");
            let response = self.sender.send_request(request).await.expect("an answer");
            let status = response.status();
            let body = response.into_body().collect().await.expect("a body").to_bytes();
            assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
            serde_json::from_slice::<Value>(&body).expect("an AdmissionReview")
        };
        let review = tokio::time::timeout(PATIENCE, exchange).await.expect("an answer in time");
        Answered { response: review["response"].clone(), took: began.elapsed() }
    }
}

impl Answered {
    /// The pod with the patch applied.
    pub fn patched(&self, pod: &Value) -> Value {
        let mut pod = pod.clone();
        if let Some(patch) = self.response["patch"].as_str() {
            let patch = base64::engine::general_purpose::STANDARD.decode(patch).expect("base64");
            let patch: json_patch::Patch = serde_json::from_slice(&patch).expect("a patch");
            json_patch::patch(&mut pod, &patch).expect("a patch that applies");
        }
        pod
    }

    /// The hash of the configuration that produced it.
    pub fn hash(&self) -> &str {
        self.response["auditAnnotations"]["config-hash"].as_str().unwrap_or_default()
    }
}

impl Load {
    /// Starts reviewers that send the same pod continuously; `read` classifies each response.
    pub async fn start(
        port: u16,
        authority: &Authority,
        reviewers: usize,
        pod: &Value,
        read: impl Fn(&Answered, &Value) -> String + Clone + Send + 'static,
    ) -> Load {
        let mut connected = Vec::new();
        for _ in 0..reviewers {
            connected.push(Reviewer::connect(port, authority).await);
        }
        Load::by(connected, pod, read)
    }

    /// The same by reviewers that are there.
    pub fn by(
        reviewers: Vec<Reviewer>,
        pod: &Value,
        read: impl Fn(&Answered, &Value) -> String + Clone + Send + 'static,
    ) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for mut reviewer in reviewers {
            let (stop, pod, read) = (stop.clone(), pod.clone(), read.clone());
            tasks.push(tokio::spawn(async move {
                let mut tally = Tally::default();
                while !stop.load(Ordering::Relaxed) {
                    let answered = reviewer.review("shop", &pod).await;
                    *tally.answers.entry(read(&answered, &pod)).or_default() += 1;
                    tally.times.push(answered.took);
                    // Leaves some CPU time for everything else on a small machine.
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                tally
            }));
        }
        Load { stop, tasks }
    }

    /// Ends it.
    ///
    /// # Panics
    /// If a review got no response.
    pub async fn end(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        for task in self.tasks {
            let tally = task.await.expect("every review was answered");
            for (answer, count) in tally.answers {
                *all.answers.entry(answer).or_default() += count;
            }
            all.times.extend(tally.times);
        }
        all.times.sort_unstable();
        all
    }
}

impl Tally {
    /// How many answers there were.
    pub fn count(&self) -> usize {
        self.times.len()
    }

    /// The time within which a given share of the responses arrived.
    pub fn within(&self, share: f64) -> Duration {
        let index = (self.times.len() as f64 * share) as usize;
        self.times.get(index).or(self.times.last()).copied().unwrap_or_default()
    }
}
