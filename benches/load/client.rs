//! Connections to a webhook, as an API server has them.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Request, StatusCode,
    body::Bytes,
    client::conn::{http1, http2},
    header::RETRY_AFTER,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, DigitallySignedStruct, HandshakeKind, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// How requests reach the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// HTTP/1.1, kept alive: API servers by Service
    Http1,
    /// HTTP/2: API servers by URL
    Http2,
    /// HTTP/1.1, a connection for each request, full handshake
    Connect,
    /// HTTP/1.1, a connection for each request, resumed session
    Resume,
}

/// Longer than an API server would wait for any answer.
const PATIENCE: Duration = Duration::from_secs(10);
const PATH: &str = "/inject?timeout=10s";

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub retry_after: bool,
    pub body: Bytes,
}

/// Where to connect and how; counts the handshakes.
pub struct Client {
    address: SocketAddr,
    pub protocol: Protocol,
    connector: TlsConnector,
    pub full: AtomicU64,
    pub resumed: AtomicU64,
}

/// Something that does one exchange at a time: a connection, or a stream of a shared one.
pub struct Lane {
    client: Arc<Client>,
    sender: Option<Sender>,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Client {
    /// A client; `classic` offers X25519 alone instead of its hybrid with ML-KEM.
    pub fn new(address: SocketAddr, protocol: Protocol, classic: bool) -> Arc<Client> {
        let mut provider = aws_lc_rs::default_provider();
        if classic {
            provider.kx_groups = vec![aws_lc_rs::kx_group::X25519];
        }
        let provider = Arc::new(provider);
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody))
            .with_no_client_auth();
        config.alpn_protocols = match protocol {
            Protocol::Http2 => vec![b"h2".to_vec()],
            _ => vec![b"http/1.1".to_vec()],
        };
        if protocol != Protocol::Resume {
            config.resumption = Resumption::disabled();
        }
        let connector = TlsConnector::from(Arc::new(config));
        Arc::new(Client { address, protocol, connector, full: AtomicU64::new(0), resumed: AtomicU64::new(0) })
    }

    /// `connections` times `streams` lanes, already connected, so that no handshake is measured.
    pub async fn lanes(self: &Arc<Self>, connections: usize, streams: usize) -> io::Result<Vec<Lane>> {
        let mut lanes = Vec::new();
        for _ in 0..connections {
            let mut first = Lane { client: self.clone(), sender: None };
            if matches!(self.protocol, Protocol::Http1 | Protocol::Http2) {
                first.connect().await?;
            }
            if let Some(Sender::Http2(sender)) = &first.sender {
                for _ in 1..streams {
                    let sender = Some(Sender::Http2(sender.clone()));
                    lanes.push(Lane { client: self.clone(), sender });
                }
            }
            lanes.push(first);
        }
        Ok(lanes)
    }

    async fn tls(&self) -> io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let stream = self.connector.connect(name, stream).await?;
        match stream.get_ref().1.handshake_kind() {
            Some(HandshakeKind::Resumed) => self.resumed.fetch_add(1, Ordering::Relaxed),
            _ => self.full.fetch_add(1, Ordering::Relaxed),
        };
        Ok(stream)
    }

    /// A handshake and nothing else: the session's tickets are read, then both sides close.
    pub async fn handshake(&self) -> io::Result<()> {
        let mut stream = self.tls().await?;
        stream.shutdown().await?;
        // No data arrives: the read only takes in the tickets.
        match stream.read(&mut [0; 16]).await {
            Ok(0) => Ok(()),
            Ok(_) => Err(io::Error::other("an answer to nothing")),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Lane {
    async fn connect(&mut self) -> io::Result<()> {
        let stream = TokioIo::new(self.client.tls().await?);
        self.sender = Some(if self.client.protocol == Protocol::Http2 {
            let (sender, connection) =
                http2::handshake(TokioExecutor::new(), stream).await.map_err(io::Error::other)?;
            tokio::spawn(connection);
            Sender::Http2(sender)
        } else {
            let (sender, connection) = http1::handshake(stream).await.map_err(io::Error::other)?;
            tokio::spawn(connection);
            Sender::Http1(sender)
        });
        Ok(())
    }

    /// Sends one review. A connection that was closed in between is replaced, as an API server does.
    pub async fn exchange(&mut self, body: Bytes) -> Result<Answer, &'static str> {
        match tokio::time::timeout(PATIENCE, self.send(body)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(kind)) => {
                self.sender = None;
                Err(kind)
            }
            Err(_) => {
                self.sender = None;
                Err("timeout")
            }
        }
    }

    async fn send(&mut self, body: Bytes) -> Result<Answer, &'static str> {
        let open = match &mut self.sender {
            None => false,
            Some(Sender::Http1(sender)) => sender.ready().await.is_ok(),
            Some(Sender::Http2(sender)) => sender.ready().await.is_ok(),
        };
        if !open {
            self.connect().await.map_err(|_| "connect")?;
        }
        let request = Request::post(PATH)
            .header("host", "localhost")
            .header("content-type", "application/json")
            .header("accept", "application/json, */*")
            .header("user-agent", "kube-apiserver-admission");
        let request = request.body(Full::new(body)).map_err(|_| "request")?;
        let response = match &mut self.sender {
            Some(Sender::Http1(sender)) => sender.send_request(request).await,
            Some(Sender::Http2(sender)) => sender.send_request(request).await,
            None => return Err("connect"),
        };
        let (head, body) = response.map_err(|_| "send")?.into_parts();
        let body = body.collect().await.map_err(|_| "read")?.to_bytes();
        if matches!(self.client.protocol, Protocol::Connect | Protocol::Resume) {
            self.sender = None;
        }
        Ok(Answer { status: head.status, retry_after: head.headers.contains_key(RETRY_AFTER), body })
    }
}

/// Trusts every server: its certificate was created just now.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
