//! Free ports.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicU32, Ordering},
};

/// Below the range of ephemeral ports, so that a process that is stopped for a while finds its port free again.
const FIRST: u32 = 20_000;
const COUNT: u32 = 12_000;

/// A free loopback port. Processes start at different positions, so that two rarely want the same one.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (std::process::id().wrapping_mul(257) % COUNT + step) % COUNT;
        let port = u16::try_from(port).expect("a port");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT);
}
