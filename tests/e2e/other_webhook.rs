//! A second mutating webhook, in the test's process: it records its requests and returns scripted patches.

use std::sync::{Arc, Mutex, PoisonError};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, Version,
    body::{Bytes, Incoming},
    server::conn,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use super::install::{Reach, Serving};

/// One call.
#[derive(Clone, Debug)]
pub struct Call {
    /// The protocol.
    pub version: Version,
    /// The TLS server name, if any.
    pub server_name: Option<String>,
    /// The `request` of the AdmissionReview.
    pub request: Value,
}

type Mutate = dyn Fn(&Value) -> Vec<Value> + Send + Sync;

/// A running webhook. Belongs to the runtime it is made in.
pub struct OtherWebhook {
    port: u16,
    calls: Arc<Mutex<Vec<Call>>>,
    accepting: JoinHandle<()>,
}

impl Drop for OtherWebhook {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl OtherWebhook {
    /// Starts a webhook. `mutate` gets the `request` of each AdmissionReview and returns the operations of a JSON
    /// patch; without operations the object is unchanged.
    pub async fn start(
        serving: &Serving,
        mutate: impl Fn(&Value) -> Vec<Value> + Send + Sync + 'static,
    ) -> OtherWebhook {
        let chain = CertificateDer::pem_file_iter(&serving.certificate).expect("a certificate");
        let chain = chain.collect::<Result<Vec<_>, _>>().expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(&serving.key).expect("a key");
        let tls = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
        let mut tls = tls.expect("a certificate with its key");
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a loopback port");
        let port = listener.local_addr().expect("an address").port();
        let calls: Arc<Mutex<Vec<Call>>> = Arc::default();
        let accepting = tokio::spawn(accept(listener, Arc::new(tls).into(), calls.clone(), Arc::new(mutate)));
        OtherWebhook { port, calls, accepting }
    }

    /// Starts one that only records.
    pub async fn recorder(serving: &Serving) -> OtherWebhook {
        OtherWebhook::start(serving, |_| Vec::new()).await
    }

    /// How to reach it by the Service.
    pub fn by_service(&self) -> Reach {
        Reach::Service(self.port)
    }

    /// How to reach it by URL.
    pub fn by_url(&self) -> Reach {
        Reach::Url(format!("https://127.0.0.1:{}/inject", self.port))
    }

    /// The first call that is wanted.
    pub fn find(&self, wanted: impl Fn(&Call) -> bool) -> Option<Call> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).iter().find(|call| wanted(call)).cloned()
    }

    /// The calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, calls: Arc<Mutex<Vec<Call>>>, mutate: Arc<Mutate>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream, tls.clone(), calls.clone(), mutate.clone()));
    }
}

async fn serve(stream: TcpStream, tls: TlsAcceptor, calls: Arc<Mutex<Vec<Call>>>, mutate: Arc<Mutate>) {
    let Ok(stream) = tls.accept(stream).await else { return };
    let session = stream.get_ref().1;
    let http2 = session.alpn_protocol() == Some(b"h2");
    let server_name = session.server_name().map(ToOwned::to_owned);
    let service = service_fn(move |request: Request<Incoming>| {
        let (calls, mutate, server_name) = (calls.clone(), mutate.clone(), server_name.clone());
        async move {
            let version = request.version();
            let body = request.into_body().collect().await?.to_bytes();
            let review: Value = serde_json::from_slice(&body).unwrap_or_default();
            let operations = mutate(&review["request"]);
            let answer = answer(&review, &operations);
            let call = Call { version, server_name, request: review["request"].clone() };
            calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
            let response = Response::builder().header("content-type", "application/json");
            Ok::<_, hyper::Error>(
                response.body(Full::new(Bytes::from(answer.to_string()))).expect("a response"),
            )
        }
    });
    let io = TokioIo::new(stream);
    let _ = if http2 {
        conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await
    } else {
        conn::http1::Builder::new().serve_connection(io, service).await
    };
}

fn answer(review: &Value, operations: &[Value]) -> Value {
    let mut response = json!({"uid": review["request"]["uid"], "allowed": true});
    if !operations.is_empty() {
        response["patchType"] = json!("JSONPatch");
        response["patch"] = json!(STANDARD.encode(json!(operations).to_string()));
    }
    json!({"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response})
}
