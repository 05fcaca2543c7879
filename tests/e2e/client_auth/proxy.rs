//! An HTTP proxy on a Unix socket, through which an API server calls services that it cannot reach itself.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpStream, UnixListener, UnixStream},
    task::JoinHandle,
};

/// A proxy that answers CONNECT for the hosts it knows; it ends with this value.
pub struct EgressProxy(JoinHandle<()>);

impl EgressProxy {
    /// Listens on a socket; `hosts` are names with their port, and ports on loopback.
    pub fn start(socket: &Path, hosts: &[(&str, u16)]) -> EgressProxy {
        let listener = UnixListener::bind(socket).expect("a socket in a temporary folder");
        let hosts: BTreeMap<String, u16> =
            hosts.iter().map(|(host, port)| ((*host).to_owned(), *port)).collect();
        let hosts = Arc::new(hosts);
        EgressProxy(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let hosts = hosts.clone();
                // Either end may go away at any time.
                tokio::spawn(async move { pass(stream, &hosts).await.ok() });
            }
        }))
    }
}

impl Drop for EgressProxy {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn pass(mut client: UnixStream, hosts: &BTreeMap<String, u16>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head);
    let host = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).unwrap_or_default();
    let Some(port) = hosts.get(host) else {
        return client.write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n").await;
    };
    let mut server = TcpStream::connect(("127.0.0.1", *port)).await?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
