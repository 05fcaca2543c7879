//! A server in the test's process, clients that use real TLS, and scripted engines.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use outrigger::server::{
    Server,
    configuration::{
        engine::Engine,
        source::{Loaded, Source},
    },
    options::{Certificate, Options, Origin, Timeouts},
};
use outrigger::{
    inject::{Admission, AdmissionDecision, AdmissionRequest, Patch, Subject, Unreadable},
    warning::Warning,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{io::AsyncReadExt, net::TcpStream};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Timeout for every wait in a test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// An engine implemented by a closure.
struct Scripted<F>(F);

/// A parsed request to an engine.
pub(crate) struct Asked {
    pub(crate) namespace: String,
    pub(crate) pod: Value,
    pub(crate) variables: BTreeMap<String, String>,
}

/// Makes an engine of a closure.
pub(crate) fn scripted(review: impl Fn(Asked) -> Admission + Send + Sync + 'static) -> Arc<dyn Engine> {
    Arc::new(Scripted(review))
}

impl<F: Fn(Asked) -> Admission + Send + Sync> Engine for Scripted<F> {
    fn review(&self, request: AdmissionRequest<'_>) -> Result<Admission, Unreadable> {
        let (namespace, variables) = (request.namespace().to_owned(), request.variables().clone());
        let pod = Value::Object(request.into_object()?);
        let subject = Subject::of(&namespace, &pod);
        Ok(Admission { subject, ..(self.0)(Asked { namespace, pod, variables }) })
    }
    fn revision(&self) -> &str {
        "canary-rev"
    }
    fn hash(&self) -> &str {
        "hash-1"
    }
}

/// An engine that injects one label.
pub(crate) fn injecting() -> Arc<dyn Engine> {
    scripted(|_| injected(1))
}

pub(crate) fn injected(operations: usize) -> Admission {
    let json = r#"[{"op":"add","path":"/metadata/labels/a","value":"b"}]"#.to_owned();
    let message = "sidecar.istio.io/proxyCpu is not known; did you mean proxyCPU?".to_owned();
    Admission {
        decision: AdmissionDecision::Inject {
            reason: "POLICY_ENABLED",
            templates: vec!["sidecar".to_owned()],
        },
        patch: Some(Patch { json, operations }),
        warnings: vec![Warning { code: "MISSPELT_ANNOTATION", message }],
        ..skipped("")
    }
}

pub(crate) fn skipped(reason: &'static str) -> Admission {
    Admission::skipped(reason, Subject::default())
}

pub(crate) fn denied(code: u16, reason: &'static str, message: &str, detail: &str) -> Admission {
    let (message, detail) = (message.to_owned(), detail.to_owned());
    Admission { decision: AdmissionDecision::Deny { code, reason, message, detail }, ..skipped("") }
}

/// An engine with a different hash.
struct Renamed(Arc<dyn Engine>, String);

impl Engine for Renamed {
    fn review(&self, request: AdmissionRequest<'_>) -> Result<Admission, Unreadable> {
        self.0.review(request)
    }
    fn revision(&self) -> &str {
        self.0.revision()
    }
    fn hash(&self) -> &str {
        &self.1
    }
}

struct Fixed(Arc<dyn Engine>);

impl Source for Fixed {
    fn load(&self) -> Result<Loaded, String> {
        Ok(Loaded { engine: self.0.clone(), warnings: Vec::new() })
    }
}

/// A source that returns the items of a list in turn.
pub(crate) struct InTurn(Mutex<Vec<Result<Arc<dyn Engine>, String>>>);

impl InTurn {
    /// Each engine is a different configuration: `hash-1`, `hash-2` and so on.
    pub(crate) fn new(turns: Vec<Result<Arc<dyn Engine>, String>>) -> Arc<InTurn> {
        let renamed = |(turn, engine): (usize, Result<Arc<dyn Engine>, String>)| {
            engine.map(|engine| Arc::new(Renamed(engine, format!("hash-{}", turn + 1))) as Arc<dyn Engine>)
        };
        let mut turns: Vec<_> = turns.into_iter().enumerate().map(renamed).collect();
        turns.reverse();
        Arc::new(InTurn(Mutex::new(turns)))
    }
}

impl Source for InTurn {
    fn load(&self) -> Result<Loaded, String> {
        let engine = self.0.lock().unwrap().pop().expect("a turn is left")?;
        Ok(Loaded { engine, warnings: vec!["a remark".to_owned()] })
    }
}

pub(crate) struct Harness {
    pub(crate) server: Server,
    pub(crate) roots: Arc<RootCertStore>,
    pub(crate) folder: TempDir,
}

/// Writes a certificate for `localhost` into a folder and returns it.
pub(crate) fn write_certificate(
    folder: &std::path::Path,
    tune: impl FnOnce(&mut rcgen::CertificateParams),
) -> CertificateDer<'static> {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    tune(&mut parameters);
    let certificate = parameters.self_signed(&key).unwrap();
    std::fs::write(folder.join("tls.crt"), certificate.pem()).unwrap();
    std::fs::write(folder.join("tls.key"), key.serialize_pem()).unwrap();
    certificate.der().clone()
}

pub(crate) fn files(folder: &TempDir) -> Certificate {
    let file = |name: &str| -> PathBuf { folder.path().join(name) };
    Certificate::Files { chain: file("tls.crt"), key: file("tls.key") }
}

/// Options for a test: loopback, free ports, no drain delay.
pub(crate) fn options(engine: Arc<dyn Engine>) -> Options {
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    Options {
        listen: loopback,
        admin: loopback,
        configuration: Origin::Source(Arc::new(Fixed(engine))),
        timeouts: Timeouts { drain_delay: Duration::ZERO, ..Timeouts::default() },
        ..Options::default()
    }
}

pub(crate) async fn start(engine: Arc<dyn Engine>) -> Harness {
    start_with(engine, |_| {}).await
}

pub(crate) async fn start_with(engine: Arc<dyn Engine>, tune: impl FnOnce(&mut Options)) -> Harness {
    let folder = tempfile::tempdir().unwrap();
    let certificate = write_certificate(folder.path(), |_| {});
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let mut options = options(engine);
    options.certificate = files(&folder);
    tune(&mut options);
    let server = Server::start(options).await.unwrap();
    Harness { server, roots: Arc::new(roots), folder }
}

pub(crate) type Sender1 = conn::http1::SendRequest<Full<Bytes>>;
pub(crate) type Sender2 = conn::http2::SendRequest<Full<Bytes>>;

/// A response that was read completely.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) async fn read(response: Response<Incoming>) -> Answer {
        let (head, body) = response.into_parts();
        let body = within(body.collect()).await.unwrap().to_bytes();
        Answer { status: head.status, headers: head.headers, body }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }
}

pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("within a test's patience")
}

impl Harness {
    pub(crate) fn client(&self, alpn: &[u8]) -> ClientConfig {
        let mut config =
            ClientConfig::builder().with_root_certificates(self.roots.clone()).with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        config
    }

    pub(crate) async fn tcp(&self) -> TcpStream {
        within(TcpStream::connect(self.server.webhook_address())).await.unwrap()
    }

    pub(crate) async fn connect(&self, config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from("localhost").unwrap();
        within(TlsConnector::from(Arc::new(config)).connect(name, self.tcp().await)).await
    }

    pub(crate) async fn tls(&self, alpn: &str) -> TlsStream<TcpStream> {
        self.connect(self.client(alpn.as_bytes())).await.unwrap()
    }

    pub(crate) async fn http1(&self) -> Sender1 {
        let (sender, connection) =
            conn::http1::handshake(TokioIo::new(self.tls("http/1.1").await)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    pub(crate) async fn http2(&self) -> (Sender2, tokio::task::JoinHandle<hyper::Result<()>>) {
        let stream = TokioIo::new(self.tls("h2").await);
        let (sender, connection) = conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        (sender, tokio::spawn(connection))
    }

    /// Sends one request on a separate connection.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        let mut sender = self.http1().await;
        Answer::read(within(sender.send_request(request)).await.unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        self.send(post(path, body)).await
    }

    pub(crate) async fn admin(&self, path: &str) -> Answer {
        self.admin_accepting(path, None).await
    }

    /// Requests a response in a given format from the admin port.
    pub(crate) async fn admin_accepting(&self, path: &str, accept: Option<&str>) -> Answer {
        let stream = within(TcpStream::connect(self.server.admin_address())).await.unwrap();
        let (mut sender, connection) = conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::get(path).header("host", "admin");
        if let Some(accept) = accept {
            request = request.header("accept", accept);
        }
        let request = request.body(Full::new(Bytes::new())).unwrap();
        Answer::read(within(sender.send_request(request)).await.unwrap()).await
    }

    /// All samples of `/metrics`.
    pub(crate) async fn metrics(&self) -> BTreeMap<String, f64> {
        let answer = self.admin("/metrics").await;
        assert_eq!(answer.status, StatusCode::OK);
        samples(std::str::from_utf8(&answer.body).unwrap())
    }

    /// Waits until a sample has a value: connection counters change after the client has seen the effect.
    pub(crate) async fn metric(&self, name: &str, wanted: f64) {
        let reached = async {
            while self.metrics().await.get(name).copied().unwrap_or_default() != wanted {
                tokio::task::yield_now().await;
            }
        };
        if tokio::time::timeout(PATIENCE, reached).await.is_err() {
            panic!("{name} is {:?}, wanted {wanted}", self.metrics().await.get(name));
        }
    }
}

/// Reads either text format, strictly.
pub(crate) fn samples(text: &str) -> BTreeMap<String, f64> {
    let mut found = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}"));
        let value = value.parse().unwrap_or_else(|_| panic!("{line:?}"));
        assert_eq!(found.insert(name.to_owned(), value), None, "twice: {line}");
    }
    found
}

pub(crate) fn post(path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post(path)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::new(body.into()))
        .unwrap()
}

/// A review of a pod.
pub(crate) fn review(version: &str, pod: Value) -> Vec<u8> {
    json!({
        "apiVersion": format!("admission.k8s.io/{version}"), "kind": "AdmissionReview",
        "request": {
            "uid": "uid-1", "operation": "CREATE", "namespace": "shop",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "object": pod,
        },
    })
    .to_string()
    .into_bytes()
}

pub(crate) fn pod() -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "web-"}, "spec": {"containers": []}})
}

/// A pod large enough to be processed on the blocking pool, so that an engine that waits blocks nothing else.
pub(crate) fn large_pod() -> Value {
    let mut pod = pod();
    pod["metadata"]["annotations"] = json!({"a": "x".repeat(200 << 10)});
    pod
}

/// Reads until the peer closes; a reset counts as closed.
pub(crate) async fn read_to_close(stream: &mut (impl AsyncReadExt + Unpin)) -> Vec<u8> {
    let mut read = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match within(stream.read(&mut buffer)).await {
            Ok(0) | Err(_) => return read,
            Ok(count) => read.extend_from_slice(&buffer[..count]),
        }
    }
}

/// An engine that signals when it is running and waits to be released.
pub(crate) struct Gate {
    pub(crate) entered: Arc<AtomicUsize>,
    pub(crate) release: std::sync::mpsc::Sender<()>,
}

pub(crate) fn gated() -> (Arc<dyn Engine>, Gate) {
    let entered = Arc::new(AtomicUsize::new(0));
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = Mutex::new(released);
    let engine = {
        let entered = entered.clone();
        scripted(move |_| {
            entered.fetch_add(1, Ordering::SeqCst);
            let _ = released.lock().unwrap().recv_timeout(PATIENCE);
            injected(1)
        })
    };
    (engine, Gate { entered, release })
}

impl Gate {
    pub(crate) async fn wait_for(&self, count: usize) {
        within(async {
            while self.entered.load(Ordering::SeqCst) < count {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}
