//! Traces over the wire: a server, a caller with its own trace, and a minimal gRPC collector.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use http_body_util::{BodyExt, StreamBody};
use hyper::{
    HeaderMap, Request, Response,
    body::{Bytes, Frame, Incoming},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

use super::support::{Harness, injecting, pod, post, review, start_with, within};

const TRACE: [u8; 16] = *b"\x0a\xf7\x65\x19\x16\xcd\x43\xdd\x84\x48\xeb\x21\x1c\x80\x31\x9c";
const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

type Taken = Arc<Mutex<Vec<Vec<u8>>>>;

/// Listens for exports and keeps their bodies.
async fn collector() -> (SocketAddr, Taken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let taken = Taken::default();
    let keep = taken.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let keep = keep.clone();
            let service = service_fn(move |request| export(request, keep.clone()));
            tokio::spawn(
                http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    (address, taken)
}

async fn export(
    request: Request<Incoming>,
    keep: Taken,
) -> Result<Response<StreamBody<impl futures::Stream<Item = Result<Frame<Bytes>, Infallible>>>>, Infallible> {
    assert_eq!(request.uri().path(), "/opentelemetry.proto.collector.trace.v1.TraceService/Export");
    let body = request.into_body().collect().await.unwrap().to_bytes();
    keep.lock().unwrap().push(body.to_vec());
    // An empty message, and the status after it.
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
    let frames = [Frame::data(Bytes::from_static(&[0; 5])), Frame::trailers(trailers)];
    let body = StreamBody::new(futures::stream::iter(frames.map(Ok)));
    Ok(Response::builder().header("content-type", "application/grpc").body(body).unwrap())
}

async fn traced(endpoint: String) -> Harness {
    start_with(injecting(), |options| options.otlp_endpoint = Some(endpoint)).await
}

async fn inject(harness: &Harness) {
    let mut request = post("/inject", review("v1", pod()));
    request.headers_mut().insert("traceparent", CALLER.parse().unwrap());
    assert_eq!(harness.send(request).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traces_reach_a_collector_before_the_server_ends() {
    let (address, taken) = collector().await;
    let harness = traced(format!("http://{address}")).await;
    inject(&harness).await;
    harness.server.handle().shutdown();
    assert!(within(harness.server.ended()).await);
    let taken = taken.lock().unwrap().concat();
    let has = |wanted: &[u8]| taken.windows(wanted.len()).any(|window| window == wanted);
    assert!(has(&TRACE), "the trace is the caller's");
    for wanted in
        ["outrigger", "POST /inject", "decode", "encode", "uid-1", "shop", "hash-1", "POLICY_ENABLED"]
    {
        assert!(has(wanted.as_bytes()), "{wanted}");
    }
    assert!(!has(b"web-"), "no name of a pod");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_not_there_is_counted_and_stops_nobody() {
    let harness = traced("http://127.0.0.1:1".to_owned()).await;
    inject(&harness).await;
    harness.metric("outrigger_spans_lost_total{reason=\"export\"}", 5.0).await;
    assert_eq!(harness.admin("/readyz").await.status, 200);
    harness.server.handle().shutdown();
    assert!(within(harness.server.ended()).await);
}
