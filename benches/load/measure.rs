//! The measurements. Each starts servers of its own, makes its reviews before the clock starts, and looks at the
//! answers to some of them first.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use hyper::body::Bytes;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    Traffic,
    client::{Answer, Client, Lane, Protocol},
    corpus::{self, Corpus, Expected, SERIES},
    drive::{self, GOOD, Pace, Run, SHED},
    process::{Launch, Machine, Server},
};

/// Reviews whose answers are read before the clock starts; they are not sent again.
const LOOKED_AT: usize = 60;

/// The state that measurements share.
pub struct Bench {
    outrigger: Launch,
    /// Where the configuration is.
    _folder: TempDir,
}

impl Bench {
    pub fn new(
        program: PathBuf,
        cpus: Option<String>,
        serve: Vec<String>,
        cached: usize,
    ) -> io::Result<Bench> {
        let folder = tempfile::tempdir()?;
        let bundle = folder.path().join("bundle.yaml");
        std::fs::write(&bundle, corpus::bundle(cached))?;
        let mut arguments: Vec<String> =
            ["serve", "--standalone", "--log-format=json", "--listen=127.0.0.1:0", "--admin=127.0.0.1:0"]
                .map(ToOwned::to_owned)
                .to_vec();
        arguments.push(format!("--bundle={}", bundle.display()));
        arguments.extend(serve);
        Ok(Bench { outrigger: Launch { program, arguments, cpus }, _folder: folder })
    }

    /// The floor, with a patch of this size or none.
    fn floor(&self, patch_bytes: usize) -> io::Result<Server> {
        Server::start(&Launch {
            program: std::env::current_exe()?,
            arguments: vec!["floor".to_owned(), format!("--patch-bytes={patch_bytes}")],
            cpus: self.outrigger.cpus.clone(),
        })
    }

    /// CPU time of the server for each request.
    pub async fn cost(&self, traffic: &Traffic, rounds: usize) -> io::Result<Value> {
        let mut stock = Stock::new(traffic);
        let mut outrigger = Asked::start(Server::start(&self.outrigger)?, traffic).await?;
        let patch_bytes = outrigger.look(stock.take(LOOKED_AT), traffic.corpus.expected()).await?;
        let mut floor = Asked::start(self.floor(patch_bytes)?, traffic).await?;
        let flat = if patch_bytes == 0 { Expected::Skipped } else { Expected::Injected };
        floor.look(stock.take(LOOKED_AT), flat).await?;
        let most = (traffic.most as f64 * traffic.seconds) as usize;
        let pace = Pace::Closed(Duration::from_secs_f64(traffic.seconds));
        // One round more: the first one warms caches of the CPU and pages of the allocator.
        let mut costs: Vec<(f64, f64)> = Vec::new();
        let (mut all, mut all_flat) = (Run::default(), Run::default());
        for round in 0..=rounds {
            let bodies: Arc<[Bytes]> = stock.take(most).into();
            let (flat_run, flat_cost) = floor.run(bodies.clone(), flat, pace).await?;
            let (run, cost) = outrigger.run(bodies, traffic.corpus.expected(), pace).await?;
            run.check(false)?;
            flat_run.check(false)?;
            if round > 0 {
                all.join(run);
                all_flat.join(flat_run);
                costs.push((cost, flat_cost));
            }
        }
        let middle = |pick: fn(&(f64, f64)) -> f64| median(costs.iter().map(pick).collect());
        Ok(json!({
            "corpus": format!("{:?}", traffic.corpus),
            "protocol": format!("{:?}", traffic.protocol),
            "connections": traffic.connections,
            "review_bytes": stock.mean_bytes(),
            "patch_bytes": patch_bytes,
            "cpu_ms": middle(|(cost, _)| *cost),
            "floor_cpu_ms": middle(|(_, floor)| *floor),
            "times_floor": middle(|(cost, floor)| cost / floor),
            "rounds": costs,
            "run": all.to_json(),
            "floor_run": all_flat.to_json(),
            "memory": outrigger.memory()?,
            "floor_memory": floor.memory()?,
        }))
    }

    /// CPU time for the pods of one controller after another, by the same server.
    pub async fn series(&self, traffic: &Traffic, rounds: usize) -> io::Result<Value> {
        let traffics = SERIES.map(|corpus| Traffic { corpus, ..traffic.clone() });
        let mut stocks: Vec<_> = traffics.iter().map(Stock::new).collect();
        let mut outrigger = Asked::start(Server::start(&self.outrigger)?, traffic).await?;
        for stock in &mut stocks {
            outrigger.look(stock.take(LOOKED_AT), Expected::Injected).await?;
        }
        let most = (traffic.most as f64 * traffic.seconds) as usize;
        let pace = Pace::Closed(Duration::from_secs_f64(traffic.seconds));
        let mut costs = vec![Vec::new(); stocks.len()];
        let mut counts = vec![(0, 0); stocks.len()];
        for round in 0..=rounds {
            for (number, stock) in stocks.iter_mut().enumerate() {
                let before = outrigger.server.cached()?;
                let (run, cost) = outrigger.run(stock.take(most).into(), Expected::Injected, pace).await?;
                run.check(false)?;
                let after = outrigger.server.cached()?;
                // The first round warms caches of the CPU and pages of the allocator.
                if round > 0 {
                    costs[number].push(cost);
                    counts[number].0 += after.0 - before.0;
                    counts[number].1 += after.1 - before.1;
                }
            }
        }
        let base = costs[0].clone();
        let rows = traffics.iter().zip(&costs).zip(&counts).map(|((traffic, costs), (cached, all))| {
            let ratios = costs.iter().zip(&base).map(|(cost, base)| cost / base).collect();
            let row = json!({
                "cpu_ms": median(costs.clone()), "times_replica_set": median(ratios),
                "cached_share": *cached as f64 / (*all).max(1) as f64, "pods": all,
            });
            (format!("{:?}", traffic.corpus), row)
        });
        Ok(Value::Object(rows.collect()))
    }

    pub async fn latency(&self, traffic: &Traffic, rate: Option<f64>) -> io::Result<Value> {
        let mut stock = Stock::new(traffic);
        let mut outrigger = Asked::start(Server::start(&self.outrigger)?, traffic).await?;
        let expected = traffic.corpus.expected();
        outrigger.look(stock.take(LOOKED_AT), expected).await?;
        let time = Duration::from_secs_f64(traffic.seconds);
        let (pace, count) = match rate {
            Some(rate) => (Pace::Open(rate, time), drive::needed(rate, time)),
            None => (Pace::Closed(time), (traffic.most as f64 * traffic.seconds) as usize),
        };
        // Warms up before the first measured requests.
        outrigger.run(stock.take(500).into(), expected, Pace::Closed(time)).await?;
        let bodies = stock.take(count).into();
        let machine = Machine::now()?;
        let (run, cost) = outrigger.run(bodies, expected, pace).await?;
        let idle = Machine::now()?.idle_since(&machine);
        run.check(false)?;
        Ok(json!({
            "corpus": format!("{:?}", traffic.corpus), "protocol": format!("{:?}", traffic.protocol),
            "connections": traffic.connections, "rate": rate, "cpu_ms": cost, "idle": idle,
            "run": run.to_json(), "memory": outrigger.memory()?,
        }))
    }

    pub async fn overload(&self, traffic: &Traffic, times: f64) -> io::Result<Value> {
        let mut stock = Stock::new(traffic);
        let expected = traffic.corpus.expected();
        // Capacity: few connections that never wait.
        let few = Traffic { connections: 2, streams: 4, ..traffic.clone() };
        let mut outrigger = Asked::start(Server::start(&self.outrigger)?, &few).await?;
        outrigger.look(stock.take(LOOKED_AT), expected).await?;
        let (run, cost) = outrigger
            .run(stock.take(traffic.most * 3).into(), expected, Pace::Closed(Duration::from_secs(3)))
            .await?;
        run.check(false)?;
        let capacity = run.count(GOOD) as f64 / run.lasted.as_secs_f64();
        let before = outrigger.memory()?;
        outrigger.lanes = outrigger.client.lanes(traffic.connections, traffic.streams).await?;
        let (rate, time) = (capacity * times, Duration::from_secs_f64(traffic.seconds));
        let bodies = stock.take(drive::needed(rate, time)).into();
        let watch = Watch::start(&outrigger.server);
        let (run, over_cost) = outrigger.run(bodies, expected, Pace::Open(rate, time)).await?;
        let series = watch.end().await?;
        run.check(true)?;
        let goodput = run.count(GOOD) as f64 / run.lasted.as_secs_f64();
        Ok(json!({
            "corpus": format!("{:?}", traffic.corpus), "protocol": format!("{:?}", traffic.protocol),
            "lanes": outrigger.lanes.len(),
            "capacity": capacity, "offered": rate, "cpu_ms": cost, "overload_cpu_ms": over_cost,
            "sent_per_second": run.requests() as f64 / run.lasted.as_secs_f64(),
            "goodput": goodput, "goodput_share": goodput / capacity,
            "shed_share": run.count(SHED) as f64 / run.requests() as f64,
            "run": run.to_json(), "memory_before": before, "memory": outrigger.memory()?,
            "rss_mib": series,
        }))
    }

    pub async fn memory(&self, traffic: &Traffic) -> io::Result<Value> {
        let mut stock = Stock::new(traffic);
        let expected = traffic.corpus.expected();
        let server = Server::start(&self.outrigger)?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let idle = mebibytes(server.memory()?.now);
        let mut outrigger = Asked::start(server, traffic).await?;
        outrigger.look(stock.take(LOOKED_AT), expected).await?;
        let count = (traffic.most as f64 * traffic.seconds) as usize;
        let bodies = stock.take(count).into();
        let watch = Watch::start(&outrigger.server);
        let pace = Pace::Closed(Duration::from_secs_f64(traffic.seconds));
        let (run, cost) = outrigger.run(bodies, expected, pace).await?;
        let series = watch.end().await?;
        run.check(false)?;
        Ok(json!({
            "corpus": format!("{:?}", traffic.corpus), "idle_mib": idle, "memory": outrigger.memory()?,
            "rss_mib": series, "cpu_ms": cost, "run": run.to_json(),
        }))
    }

    pub async fn burst(&self, traffic: &Traffic, rounds: usize) -> io::Result<Value> {
        let mut stock = Stock::new(traffic);
        let mut outrigger = Asked::start(Server::start(&self.outrigger)?, traffic).await?;
        let before = outrigger.memory()?;
        let watch = Watch::start(&outrigger.server);
        let mut all = Run::default();
        for _ in 0..rounds {
            let bodies: Arc<[Bytes]> = stock.take(traffic.connections).into();
            let pace = Pace::Closed(Duration::from_secs(60));
            let (run, _) = outrigger.run(bodies, traffic.corpus.expected(), pace).await?;
            run.check(true)?;
            all.join(run);
        }
        let series = watch.end().await?;
        Ok(json!({
            "corpus": format!("{:?}", traffic.corpus), "bytes": traffic.bytes, "at_once": traffic.connections,
            "memory_before": before, "memory": outrigger.memory()?, "rss_mib": series, "run": all.to_json(),
        }))
    }

    pub async fn handshakes(&self, count: usize, connections: usize, classic: bool) -> io::Result<Value> {
        let server = Server::start(&self.outrigger)?;
        let mut found = serde_json::Map::new();
        for (name, protocol) in [("full", Protocol::Connect), ("resumed", Protocol::Resume)] {
            let client = Client::new(server.webhook, protocol, classic);
            // For initial tickets and a warm server.
            for _ in 0..100 {
                client.handshake().await?;
            }
            let counter = if protocol == Protocol::Resume { &client.resumed } else { &client.full };
            let warm = counter.load(Ordering::Relaxed);
            let (before, began) = (server.usage()?, Instant::now());
            let mut tasks = Vec::new();
            for _ in 0..connections {
                let client = client.clone();
                tasks.push(tokio::spawn(async move {
                    for _ in 0..count / connections {
                        client.handshake().await?;
                    }
                    Ok::<_, io::Error>(())
                }));
            }
            for task in tasks {
                task.await.map_err(io::Error::other)??;
            }
            let (used, lasted) = (server.usage()?.since(&before), began.elapsed());
            let done = counter.load(Ordering::Relaxed) - warm;
            if done != (count / connections * connections) as u64 {
                return Err(io::Error::other(format!("{done} of {count} handshakes were {name}")));
            }
            found.insert(
                name.to_owned(),
                json!({
                    "handshakes": done, "cpu_ms": used.as_secs_f64() * 1000.0 / done as f64,
                    "per_core_second": done as f64 / used.as_secs_f64(),
                    "per_second": done as f64 / lasted.as_secs_f64(),
                }),
            );
        }
        found.insert("key_exchange".to_owned(), if classic { "X25519" } else { "X25519MLKEM768" }.into());
        Ok(Value::Object(found))
    }

    pub async fn start(&self, count: usize) -> io::Result<Value> {
        let (mut answered, mut ready) = (Vec::new(), Vec::new());
        let review = Corpus::Replicas.reviews(0, 1, 0).remove(0);
        for _ in 0..count {
            let server = Server::start(&self.outrigger)?;
            ready.push(server.started.elapsed().as_secs_f64() * 1000.0);
            let mut lane = Client::new(server.webhook, Protocol::Http1, false).lanes(1, 1).await?.remove(0);
            let answer = lane.exchange(review.clone()).await.map_err(io::Error::other)?;
            answered.push(server.started.elapsed().as_secs_f64() * 1000.0);
            read(&answer, Expected::Injected)?;
        }
        Ok(
            json!({"starts": count, "ready_ms": median(ready), "answered_ms": median(answered.clone()), "all": answered}),
        )
    }

    /// Requests in turn to several replicas, as a Service spreads connections.
    pub async fn replicas(&self, traffic: &Traffic, replicas: usize, rate: f64) -> io::Result<Value> {
        let mut stock = Stock::new(traffic);
        let expected = traffic.corpus.expected();
        let mut all = Vec::new();
        for _ in 0..replicas {
            let mut asked = Asked::start(Server::start(&self.outrigger)?, traffic).await?;
            asked.look(stock.take(LOOKED_AT), expected).await?;
            asked.run(stock.take(500).into(), expected, Pace::Closed(Duration::from_secs(5))).await?;
            all.push(asked);
        }
        let time = Duration::from_secs_f64(traffic.seconds);
        let before: Vec<_> = all.iter().map(|asked| asked.server.usage()).collect::<io::Result<_>>()?;
        let lanes = all.iter_mut().flat_map(|asked| std::mem::take(&mut asked.lanes)).collect();
        let bodies = stock.take(drive::needed(rate, time)).into();
        let (run, _) = drive::run(lanes, bodies, expected, Pace::Open(rate, time)).await?;
        run.check(false)?;
        let mut used = Vec::new();
        for (asked, before) in all.iter().zip(before) {
            used.push(json!({
                "cores": asked.server.usage()?.since(&before).as_secs_f64() / run.lasted.as_secs_f64(),
                "memory": asked.memory()?,
            }));
        }
        Ok(json!({
            "corpus": format!("{:?}", traffic.corpus), "replicas": replicas, "rate": rate, "used": used,
            "run": run.to_json(),
        }))
    }
}

/// Reviews, none of which is given out twice.
struct Stock<'a> {
    traffic: &'a Traffic,
    next: usize,
    bytes: usize,
}

impl<'a> Stock<'a> {
    fn new(traffic: &'a Traffic) -> Stock<'a> {
        Stock { traffic, next: 0, bytes: 0 }
    }

    fn take(&mut self, count: usize) -> Vec<Bytes> {
        let reviews = self.traffic.corpus.reviews(self.next, count, self.traffic.bytes);
        self.next += count;
        self.bytes += reviews.iter().map(Bytes::len).sum::<usize>();
        reviews
    }

    fn mean_bytes(&self) -> usize {
        self.bytes / self.next.max(1)
    }
}

/// A server with connections to it.
struct Asked {
    server: Server,
    client: Arc<Client>,
    lanes: Vec<Lane>,
}

impl Asked {
    async fn start(server: Server, traffic: &Traffic) -> io::Result<Asked> {
        let client = Client::new(server.webhook, traffic.protocol, false);
        let lanes = client.lanes(traffic.connections, traffic.streams).await?;
        Ok(Asked { server, client, lanes })
    }

    /// Reads the answers to some reviews in full. Gives the mean size of a patch.
    async fn look(&mut self, bodies: Vec<Bytes>, expected: Expected) -> io::Result<usize> {
        let lane = self.lanes.first_mut().ok_or_else(|| io::Error::other("no connection"))?;
        let mut bytes = 0;
        let count = bodies.len();
        for body in bodies {
            let answer = lane.exchange(body.clone()).await.map_err(io::Error::other)?;
            bytes += read(&answer, expected).map_err(|error| {
                io::Error::other(format!(
                    "{error}\nto {}",
                    String::from_utf8_lossy(&body[..body.len().min(6000)])
                ))
            })?;
        }
        Ok(bytes / count.max(1))
    }

    /// Runs, and gives the server's CPU time in milliseconds for each request.
    async fn run(&mut self, bodies: Arc<[Bytes]>, expected: Expected, pace: Pace) -> io::Result<(Run, f64)> {
        let before = self.server.usage()?;
        let (run, lanes) = drive::run(std::mem::take(&mut self.lanes), bodies, expected, pace).await?;
        let used = self.server.usage()?.since(&before);
        self.lanes = lanes;
        let cost = used.as_secs_f64() * 1000.0 / run.requests().max(1) as f64;
        Ok((run, cost))
    }

    fn memory(&self) -> io::Result<Value> {
        let memory = self.server.memory()?;
        Ok(json!({"rss_mib": mebibytes(memory.now), "peak_mib": mebibytes(memory.peak)}))
    }
}

/// Checks an answer in full. Gives the size of its patch.
fn read(answer: &Answer, expected: Expected) -> io::Result<usize> {
    let wrong = |what: &str| {
        let body = String::from_utf8_lossy(&answer.body);
        Err(io::Error::other(format!("{what}, wanted {}: {} {body}", expected.decision(), answer.status)))
    };
    let review: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let response = &review["response"];
    if response["auditAnnotations"]["decision"] != expected.decision() {
        return wrong("another decision");
    }
    if response["allowed"] != (expected != Expected::Denied) {
        return wrong("not so allowed");
    }
    match (response["patch"].as_str(), expected) {
        (Some(patch), Expected::Injected) => {
            let patch = STANDARD.decode(patch).map_err(io::Error::other)?;
            match serde_json::from_slice::<Vec<Value>>(&patch) {
                Ok(operations) if !operations.is_empty() => Ok(patch.len()),
                _ => wrong("no patch"),
            }
        }
        (None, Expected::Skipped | Expected::Denied) => Ok(0),
        _ => wrong("another patch"),
    }
}

/// Memory over time.
struct Watch {
    stop: tokio::sync::oneshot::Sender<()>,
    series: tokio::task::JoinHandle<io::Result<Vec<(f64, f64)>>>,
}

impl Watch {
    fn start(server: &Server) -> Watch {
        let (stop, mut stopped) = tokio::sync::oneshot::channel();
        let gauge = server.gauge();
        let series = tokio::spawn(async move {
            let began = Instant::now();
            let mut series = Vec::new();
            loop {
                series.push((began.elapsed().as_secs_f64(), mebibytes(gauge.read()?.now)));
                tokio::select! {
                    _ = &mut stopped => return Ok(series),
                    () = tokio::time::sleep(Duration::from_millis(500)) => {}
                }
            }
        });
        Watch { stop, series }
    }

    async fn end(self) -> io::Result<Vec<(f64, f64)>> {
        let _ = self.stop.send(());
        self.series.await.map_err(io::Error::other)?
    }
}

fn mebibytes(bytes: u64) -> f64 {
    (bytes as f64 / f64::from(1 << 20) * 10.0).round() / 10.0
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
