//! Tools for attacking clients: connections from chosen addresses, and HTTP written byte for byte.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf},
    net::{TcpSocket, TcpStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

pub(crate) type Tls = TlsStream<TcpStream>;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// A connection that comes from an address.
pub(crate) async fn connect(to: SocketAddr, from: [u8; 4], config: ClientConfig) -> io::Result<Tls> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(IpAddr::from(from), 0))?;
    let stream = socket.connect(to).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// A frame of HTTP/2.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The header of a review, up to but without its body.
pub(crate) fn posts(stream: u32) -> Vec<u8> {
    // POST, https, then literals: a path, an authority, a content type.
    let mut block = vec![0x83, 0x87, 0x04, 7];
    block.extend(b"/inject\x01\x01x\x0f\x10\x10application/json");
    frame(HEADERS, END_HEADERS, stream, &block)
}

/// The streams of a client.
pub(crate) fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|number| 2 * number + 1)
}

/// Waits until the other side closes, ignoring what it sends before.
pub(crate) async fn closed(stream: &mut (impl AsyncReadExt + Unpin)) {
    let mut discarded = [0; 4096];
    while matches!(stream.read(&mut discarded).await, Ok(1..)) {}
}

/// An HTTP/2 client that can send any frames.
pub(crate) struct Raw {
    read: ReadHalf<Tls>,
    write: WriteHalf<Tls>,
}

impl Raw {
    /// Starts with these settings.
    pub(crate) async fn begin(stream: Tls, settings: &[(u16, u32)]) -> io::Result<Raw> {
        let (read, write) = tokio::io::split(stream);
        let mut raw = Raw { read, write };
        let mut payload = Vec::new();
        for (key, value) in settings {
            payload.extend(key.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        let preface = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, 0, &payload)].concat();
        raw.write(&preface).await?;
        Ok(raw)
    }

    /// Writes bytes as they are.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write.write_all(bytes).await?;
        self.write.flush().await
    }

    /// Waits until the other side closes, ignoring what it sends before.
    pub(crate) async fn closed(&mut self) {
        closed(&mut self.read).await;
    }

    pub(crate) fn split(self) -> (ReadHalf<Tls>, WriteHalf<Tls>) {
        (self.read, self.write)
    }

    /// Sends until the connection is shut down, and then reads until the other side closes; returns the received frames
    /// as kind, stream and payload.
    pub(crate) async fn frames_after(self, bytes: Vec<u8>) -> Vec<(u8, u32, Vec<u8>)> {
        let Raw { mut read, mut write } = self;
        let writing = tokio::spawn(async move {
            let _ = write.write_all(&bytes).await;
            let _ = write.shutdown().await;
            write
        });
        let mut answer = Vec::new();
        // A reset counts as an end.
        let _ = read.read_to_end(&mut answer).await;
        drop(writing);
        let mut frames = Vec::new();
        let mut rest = &answer[..];
        while let Some((head, tail)) = rest.split_at_checked(9) {
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let stream = u32::from_be_bytes(head[5..9].try_into().unwrap());
            let (payload, tail) = tail.split_at_checked(length).unwrap_or_default();
            frames.push((head[3], stream, payload.to_vec()));
            rest = tail;
        }
        frames
    }
}

/// The error codes of GOAWAY frames.
pub(crate) fn farewells(frames: &[(u8, u32, Vec<u8>)]) -> Vec<u32> {
    let told = frames.iter().filter(|(kind, ..)| *kind == GOAWAY);
    told.map(|(_, _, payload)| u32::from_be_bytes(payload[4..8].try_into().unwrap())).collect()
}

pub(crate) fn kinds(frames: &[(u8, u32, Vec<u8>)]) -> Vec<u8> {
    frames.iter().map(|(kind, ..)| *kind).collect()
}

/// The head of an HTTP/1 request with a body of the given length, with its end.
pub(crate) fn head(length: usize) -> Vec<u8> {
    format!("POST /inject HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n")
        .into_bytes()
}
