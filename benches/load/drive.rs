//! Sending: as fast as the lanes go (closed loop), or at given times whatever the server does (open loop).
//!
//! In an open loop, latency counts from the time the request was due. A server that stalls also delays requests that were
//! not sent yet, and that counts: nothing is hidden by polite waiting ("coordinated omission").

use std::{
    collections::BTreeMap,
    io, iter,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use hyper::{StatusCode, body::Bytes};
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};

use crate::{
    client::{Answer, Lane},
    corpus::Expected,
    prng::Prng,
};

/// When requests are sent.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// The next one when the last one is answered, for this long.
    Closed(Duration),
    /// Arrivals of a Poisson process: this many a second on average, for this long.
    Open(f64, Duration),
}

/// The result of a run.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Answers and failures, by kind.
    pub outcomes: BTreeMap<&'static str, usize>,
    /// Latencies of the answers that were as expected, in microseconds, in order.
    pub latencies: Vec<u32>,
    /// How late requests were sent because of the generator or because all lanes waited, in microseconds, in order.
    pub delays: Vec<u32>,
    /// Latencies less these delays.
    pub waits: Vec<u32>,
    /// Latencies of those that were turned away, in microseconds, in order.
    pub turned_away: Vec<u32>,
    pub lasted: Duration,
}

/// An answer as expected.
pub const GOOD: &str = "good";
/// 429 with `Retry-After`.
pub const SHED: &str = "shed";

/// What one lane saw.
#[derive(Default)]
struct Seen(Vec<(&'static str, u32, u32)>);

/// Sends bodies over the lanes, each once, until the time is over or no bodies are left. Returns the lanes.
pub async fn run(
    lanes: Vec<Lane>,
    bodies: Arc<[Bytes]>,
    expected: Expected,
    pace: Pace,
) -> io::Result<(Run, Vec<Lane>)> {
    let began = Instant::now();
    let mut tasks = Vec::new();
    match pace {
        Pace::Closed(time) => {
            let next = Arc::new(AtomicUsize::new(0));
            for mut lane in lanes {
                let (next, bodies) = (next.clone(), bodies.clone());
                tasks.push(tokio::spawn(async move {
                    let mut seen = Seen::default();
                    while began.elapsed() < time {
                        let Some(body) = bodies.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
                        seen.send(&mut lane, body, expected, Instant::now()).await;
                    }
                    (seen, lane)
                }));
            }
        }
        Pace::Open(rate, time) => {
            let due = schedule(rate, time, bodies.len())?;
            let (sender, receiver) = mpsc::unbounded_channel();
            let receiver = Arc::new(Mutex::new(receiver));
            for mut lane in lanes {
                let (receiver, bodies) = (receiver.clone(), bodies.clone());
                tasks.push(tokio::spawn(async move {
                    let mut seen = Seen::default();
                    loop {
                        let next = receiver.lock().await.recv().await;
                        let Some((number, due)) = next else { break };
                        let body: &Bytes = &bodies[number];
                        seen.send(&mut lane, body, expected, due).await;
                    }
                    (seen, lane)
                }));
            }
            // A thread of its own: the runtime's timers know milliseconds only.
            thread::spawn(move || {
                for (number, offset) in due.into_iter().enumerate() {
                    let due = began + offset;
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    if sender.send((number, due)).is_err() {
                        break;
                    }
                }
            });
        }
    }
    let (mut run, mut lanes) = (Run::default(), Vec::new());
    for task in tasks {
        let (seen, lane) = task.await.map_err(io::Error::other)?;
        run.add(seen);
        lanes.push(lane);
    }
    run.lasted = began.elapsed();
    run.sort();
    Ok((run, lanes))
}

/// When each request is due.
fn schedule(rate: f64, time: Duration, bodies: usize) -> io::Result<Vec<Duration>> {
    let mut prng = Prng::new(rate.to_bits());
    let mut at = 0.0;
    let due: Vec<Duration> = iter::repeat_with(|| {
        at += prng.gap(rate);
        Duration::from_secs_f64(at)
    })
    .take_while(|due| *due < time)
    .collect();
    if due.len() > bodies {
        return Err(io::Error::other(format!("{} requests are due and {bodies} are there", due.len())));
    }
    Ok(due)
}

/// How many requests a run may take, with some to spare.
pub fn needed(rate: f64, time: Duration) -> usize {
    let mean = rate * time.as_secs_f64();
    (mean + 6.0 * mean.sqrt()) as usize + 10
}

impl Seen {
    async fn send(&mut self, lane: &mut Lane, body: &Bytes, expected: Expected, due: Instant) {
        let delay = due.elapsed();
        let answer = lane.exchange(body.clone()).await;
        let took = due.elapsed();
        self.0.push((kind(answer, expected), micros(took), micros(delay)));
    }
}

fn kind(answer: Result<Answer, &'static str>, expected: Expected) -> &'static str {
    match answer {
        Err(kind) => kind,
        Ok(Answer { status: StatusCode::OK, body, .. }) if decided(&body, expected) => GOOD,
        Ok(Answer { status: StatusCode::OK, .. }) => "other decision",
        Ok(Answer { status: StatusCode::TOO_MANY_REQUESTS, retry_after: true, .. }) => SHED,
        Ok(Answer { status: StatusCode::TOO_MANY_REQUESTS, .. }) => "429 without Retry-After",
        Ok(Answer { status: StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT, .. }) => {
            "503, 504"
        }
        Ok(Answer { status, .. }) if status.is_server_error() => "5xx",
        Ok(_) => "4xx",
    }
}

/// Whether the decision is as expected, by the audit annotation; it stands at the end, so the patch is not searched.
fn decided(body: &[u8], expected: Expected) -> bool {
    let wanted = format!(r#""decision":"{}""#, expected.decision());
    let found = |text: &[u8]| text.windows(wanted.len()).any(|part| part == wanted.as_bytes());
    found(&body[body.len().saturating_sub(400)..]) || found(body)
}

impl Run {
    fn add(&mut self, seen: Seen) {
        for (kind, took, delay) in seen.0 {
            *self.outcomes.entry(kind).or_default() += 1;
            self.delays.push(delay);
            match kind {
                GOOD => {
                    self.latencies.push(took);
                    self.waits.push(took - delay);
                }
                SHED => self.turned_away.push(took),
                _ => {}
            }
        }
    }

    /// Adds another run of the same measurement.
    pub fn join(&mut self, other: Run) {
        for (kind, count) in other.outcomes {
            *self.outcomes.entry(kind).or_default() += count;
        }
        self.latencies.extend(other.latencies);
        self.delays.extend(other.delays);
        self.waits.extend(other.waits);
        self.turned_away.extend(other.turned_away);
        self.lasted += other.lasted;
        self.sort();
    }

    fn sort(&mut self) {
        self.latencies.sort_unstable();
        self.delays.sort_unstable();
        self.waits.sort_unstable();
        self.turned_away.sort_unstable();
    }

    pub fn requests(&self) -> usize {
        self.outcomes.values().sum()
    }

    pub fn count(&self, kind: &str) -> usize {
        self.outcomes.get(kind).copied().unwrap_or_default()
    }

    /// Refuses a run with any unexpected answer; `shed` allows answers of status 429.
    pub fn check(&self, shed: bool) -> io::Result<()> {
        let bad = |kind: &str| kind != GOOD && !(shed && kind == SHED);
        if self.requests() == 0 || self.outcomes.keys().any(|kind| bad(kind)) {
            return Err(io::Error::other(format!("not all answers are as expected: {:?}", self.outcomes)));
        }
        Ok(())
    }

    pub fn to_json(&self) -> Value {
        let seconds = self.lasted.as_secs_f64();
        json!({
            "requests": self.requests(),
            "outcomes": self.outcomes,
            "seconds": seconds,
            "per_second": self.count(GOOD) as f64 / seconds,
            "latency_ms": percentiles(&self.latencies),
            "send_delay_ms": percentiles(&self.delays),
            "from_sending_ms": percentiles(&self.waits),
            "turned_away_ms": percentiles(&self.turned_away),
        })
    }
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

/// Exact percentiles of sorted microseconds, in milliseconds.
fn percentiles(sorted: &[u32]) -> Value {
    let Some(last) = sorted.len().checked_sub(1) else { return Value::Null };
    let at = |share: f64| f64::from(sorted[((last as f64) * share).round() as usize]) / 1000.0;
    json!({"p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p99.9": at(0.999), "max": at(1.0)})
}
