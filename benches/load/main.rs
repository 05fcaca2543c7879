//! The load generator. `hack/perf/run` runs it for everything that `docs/performance.md` shows; by hand:
//!
//! ```sh
//! cargo build --profile dist --bin outrigger --bench load       # says where the program is; LOAD stands for it
//! LOAD cost --corpus shapes                                      # CPU time per request, in multiples of the floor
//! LOAD latency --corpus shapes --connections 1                   # one after the other
//! LOAD latency --corpus shapes --connections 16 --rate 1000      # open loop
//! taskset -c 1 LOAD --server-cpus 0 latency --corpus replicas    # apart
//! ```
//!
//! In reading order: `corpus` (what is sent), `client` and `drive` (sending), `process` and `floor` (the servers),
//! `measure` (the measurements). Every measurement is one JSON object on standard output. An unexpected
//! answer ends it with an error.
#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod client;
mod corpus;
mod drive;
mod floor;
mod measure;
mod prng;
mod process;

use std::{io, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use serde_json::Value;

use crate::{client::Protocol, corpus::Corpus, measure::Bench};

/// The allocator of the binary, for the floor.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures a webhook from outside
#[derive(Parser)]
struct Arguments {
    /// The outrigger to measure
    #[arg(long, env = "OUTRIGGER", default_value_os_t = process::default_program())]
    outrigger: PathBuf,
    /// The CPUs servers may run on, as `taskset` takes them; all by default
    #[arg(long)]
    server_cpus: Option<String>,
    /// Further arguments of `outrigger serve`; may be repeated
    #[arg(long = "serve", value_name = "ARGUMENT", allow_hyphen_values = true)]
    serve: Vec<String>,
    /// Namespaces and nodes in the configuration that no request is about
    #[arg(long, default_value_t = 0)]
    cached: usize,
    /// Threads that send
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Passed by `cargo bench`
    #[arg(long, hide = true, global = true)]
    bench: bool,
    #[command(subcommand)]
    what: Option<What>,
}

/// The requests to send, and how to send them.
#[derive(Args, Clone, Debug)]
struct Traffic {
    #[arg(long, value_enum, default_value = "replicas")]
    corpus: Corpus,
    /// Bytes of a review, for corpora that have no size of their own
    #[arg(long, default_value_t = 10_000)]
    bytes: usize,
    #[arg(long, value_enum, default_value = "http1")]
    protocol: Protocol,
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Requests at once on one HTTP/2 connection
    #[arg(long, default_value_t = 8)]
    streams: usize,
    /// How long it lasts, in seconds, in each round
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Reviews made for each second of a closed loop, which ends early when they are used up
    #[arg(long, default_value_t = 6000)]
    most: usize,
}

#[derive(Subcommand)]
enum What {
    /// CPU time per request and its multiple of the floor, in rounds that alternate between the two
    Cost {
        #[command(flatten)]
        traffic: Traffic,
        #[arg(long, default_value_t = 7)]
        rounds: usize,
    },
    /// For the pods of every controller: CPU time per request as a multiple of a ReplicaSet's, in rounds that alternate
    /// between them, and the share that was cached
    Series {
        #[command(flatten)]
        traffic: Traffic,
        #[arg(long, default_value_t = 7)]
        rounds: usize,
    },
    /// Latency: closed loop, or open loop with --rate
    Latency {
        #[command(flatten)]
        traffic: Traffic,
        /// Requests per second
        #[arg(long)]
        rate: Option<f64>,
    },
    /// Capacity in a closed loop, then an open loop at a multiple of it; 429 is an answer
    Overload {
        #[command(flatten)]
        traffic: Traffic,
        #[arg(long, default_value_t = 5.0)]
        times: f64,
    },
    /// Memory: idle, and after each second of a closed loop
    Memory {
        #[command(flatten)]
        traffic: Traffic,
    },
    /// Memory with --connections reviews of --bytes at once; 429 is an answer
    Burst {
        #[command(flatten)]
        traffic: Traffic,
        #[arg(long, default_value_t = 3)]
        rounds: usize,
    },
    /// TLS 1.3 handshakes per second of the server's CPU time
    Handshakes {
        #[arg(long, default_value_t = 2000)]
        count: usize,
        #[arg(long, default_value_t = 4)]
        connections: usize,
        /// Without ML-KEM
        #[arg(long)]
        classic: bool,
    },
    /// From the start of the process to the first answer
    Start {
        #[arg(long, default_value_t = 20)]
        count: usize,
    },
    /// Several replicas behind one open loop: what each of them used
    Replicas {
        #[command(flatten)]
        traffic: Traffic,
        #[arg(long, default_value_t = 3)]
        replicas: usize,
        #[arg(long)]
        rate: f64,
    },
    /// The corpus itself: one review per line
    Corpus {
        #[arg(long, value_enum)]
        corpus: Corpus,
        #[arg(long, default_value_t = 10_000)]
        bytes: usize,
        #[arg(long, default_value_t = 1)]
        count: usize,
    },
    /// The server that is the floor
    #[command(hide = true)]
    Floor {
        #[arg(long)]
        patch_bytes: usize,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> io::Result<()> {
    // `cargo bench` without the name of a measurement: there is nothing to do.
    let Some(what) = arguments.what else { return Ok(()) };
    if let What::Floor { patch_bytes } = what {
        return floor::serve(patch_bytes);
    }
    if let What::Corpus { corpus, bytes, count } = what {
        use io::Write;
        let mut out = io::stdout().lock();
        return corpus.reviews(0, count, bytes).iter().try_for_each(|review| {
            out.write_all(review.trim_ascii_end()).and_then(|()| out.write_all(b"\n"))
        });
    }
    let bench = Bench::new(arguments.outrigger, arguments.server_cpus, arguments.serve, arguments.cached)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(arguments.threads).enable_all().build()?;
    let measured: Value = runtime.block_on(async {
        match what {
            What::Cost { traffic, rounds } => bench.cost(&traffic, rounds).await,
            What::Series { traffic, rounds } => bench.series(&traffic, rounds).await,
            What::Latency { traffic, rate } => bench.latency(&traffic, rate).await,
            What::Overload { traffic, times } => bench.overload(&traffic, times).await,
            What::Memory { traffic } => bench.memory(&traffic).await,
            What::Burst { traffic, rounds } => bench.burst(&traffic, rounds).await,
            What::Handshakes { count, connections, classic } => {
                bench.handshakes(count, connections, classic).await
            }
            What::Start { count } => bench.start(count).await,
            What::Replicas { traffic, replicas, rate } => bench.replicas(&traffic, replicas, rate).await,
            What::Corpus { .. } | What::Floor { .. } => Ok(Value::Null),
        }
    })?;
    println!("{measured}");
    Ok(())
}
