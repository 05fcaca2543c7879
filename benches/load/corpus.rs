//! The requests: AdmissionReviews as an API server writes them, made before the clock starts, the same in every run.

pub mod json;
mod shapes;
mod sized;

#[path = "../../tests/suite/series.rs"]
mod series;

use std::sync::LazyLock;

use hyper::body::Bytes;
use serde_json::Value;

use self::{
    json::{REQUEST_TIME, token_mount, token_volume},
    series::Series,
};
use crate::prng::Prng;

const DEPLOYMENT: &str = include_str!("../../tests/fixtures/reviews/deployment.json");
const BARE: &str = include_str!("../../tests/fixtures/reviews/pod.json");
const BIG: &str = include_str!("../../tests/fixtures/reviews/big.json");

/// The namespace that wants no injection; see [`bundle`].
const QUIET: &str = "quiet";

/// A kind of pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Corpus {
    /// Pods of one Deployment whose template changes with each: names, hash, owner and volume of the token differ
    Replicas,
    /// Pods of one ReplicaSet: only what the API server generates for each pod differs
    SameHash,
    /// A minimal pod of one container, 2.2 KB of review
    Bare,
    /// No two pods alike in containers, ports, probes, annotations, environment, volumes, resources, labels
    Shapes,
    /// Pods of ReplicaSets, like the next ones except for what their controllers generate
    ReplicaSet,
    /// Pods of Argo Rollouts
    Rollout,
    /// Pods of one DaemonSet, each for its node
    DaemonSet,
    /// Pods of one StatefulSet, by ordinal
    StatefulSet,
    /// Pods of Jobs, one each
    Job,
    /// Pods of one indexed Job
    IndexedJob,
    /// Pods of one CronJob's Jobs
    CronJob,
    /// Pods of one JobSet
    JobSet,
    /// Pods without an owner, applied under names in a series
    BareSeries,
    /// Host network, opted out by label, and a namespace without a label, in turn
    Skips,
    /// An annotation that is invalid
    Denials,
    /// Six containers with 60 variables each, 36 KB
    Big,
    /// Replicas of a pod of `--bytes`
    Sized,
    /// Pods of `--bytes`, no two of them alike
    SizedShapes,
    /// One string of `--bytes`
    HostileText,
    /// Very many values in `--bytes`
    HostileValues,
}

/// The corpora that differ in the controller alone; the others are compared with the first.
pub const SERIES: [Corpus; 9] = [
    Corpus::ReplicaSet,
    Corpus::Rollout,
    Corpus::DaemonSet,
    Corpus::StatefulSet,
    Corpus::Job,
    Corpus::IndexedJob,
    Corpus::CronJob,
    Corpus::JobSet,
    Corpus::BareSeries,
];

/// The expected answer for a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    Injected,
    Skipped,
    Denied,
}

impl Expected {
    /// The value of the audit annotation `decision`.
    pub fn decision(self) -> &'static str {
        match self {
            Expected::Injected => "injected",
            Expected::Skipped => "skipped",
            Expected::Denied => "denied",
        }
    }
}

impl Corpus {
    pub fn expected(self) -> Expected {
        match self {
            Corpus::Skips => Expected::Skipped,
            Corpus::Denials => Expected::Denied,
            _ => Expected::Injected,
        }
    }

    /// The reviews from number `first` on; a number gives the same review in every run.
    pub fn reviews(self, first: usize, count: usize, bytes: usize) -> Vec<Bytes> {
        (first..first + count).map(|number| Bytes::from(self.review(number, bytes))).collect()
    }

    fn review(self, number: usize, bytes: usize) -> String {
        let mut prng = Prng::new((self as u64) << 48 | number as u64);
        match self {
            Corpus::Replicas => replica(DEPLOYMENT, Some(&prng.suffix(10)), &mut prng),
            Corpus::SameHash => replica(DEPLOYMENT, None, &mut prng),
            Corpus::Bare => bare(number, &mut prng),
            Corpus::Shapes => shapes::review(number, &mut prng),
            Corpus::ReplicaSet
            | Corpus::Rollout
            | Corpus::DaemonSet
            | Corpus::StatefulSet
            | Corpus::Job
            | Corpus::IndexedJob
            | Corpus::CronJob
            | Corpus::JobSet
            | Corpus::BareSeries => {
                let at = SERIES.iter().position(|corpus| *corpus == self).unwrap_or_default();
                of_series(Series::ALL[at], number, &mut prng)
            }
            Corpus::Skips => skip(number, &mut prng),
            Corpus::Denials => {
                let review = replica(DEPLOYMENT, Some(&prng.suffix(10)), &mut prng);
                let annotations = format!(
                    r#"}},"annotations":{{"sidecar.istio.io/proxyCPU":"{} cores"}},"ownerReferences""#,
                    number % 7
                );
                review.replacen(r#"},"ownerReferences""#, &annotations, 1)
            }
            Corpus::Big => replica(BIG, Some(&prng.suffix(8)), &mut prng),
            Corpus::Sized => sized::review(None, bytes, &mut prng),
            Corpus::SizedShapes => sized::review(Some(number), bytes, &mut prng),
            Corpus::HostileText => sized::one_string(bytes, &mut prng),
            Corpus::HostileValues => sized::many_values(bytes, &mut prng),
        }
    }
}

/// The server's configuration: namespaces that select the corpora, and others that no request is about.
pub fn bundle(cached: usize) -> String {
    use std::fmt::Write;
    let mut text = format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: Bundle\nnamespaces:\n- {{name: default, labels: {{istio-injection: enabled}}}}\n- {{name: {QUIET}, labels: {{}}}}\n"
    );
    for number in 0..cached {
        let _ = writeln!(
            text,
            "- {{name: team-{number}, labels: {{istio-injection: enabled, team: team-{number}}}}}"
        );
    }
    text.push_str("nodes:\n- {name: node, kubeletVersion: v1.34.2}\n");
    for number in 0..cached {
        let _ = writeln!(text, "- {{name: node-{number}, kubeletVersion: v1.34.{}}}", number % 3);
    }
    text
}

/// Another pod of a recorded review's workload: with everything that the API server or a controller generates anew.
fn replica(recorded: &str, hash: Option<&str>, prng: &mut Prng) -> String {
    let between = |from: &str, to: &str| {
        let start = recorded.find(from).map(|at| at + from.len()).expect("a recorded review");
        let length = recorded[start..].find(to).expect("a recorded review");
        &recorded[start..start + length]
    };
    let uid = between(r#""request":{"uid":""#, "\"");
    let old_hash = between(r#""pod-template-hash":""#, "\"");
    let owner = between(r#""ownerReferences":[{"#, "}").split(r#""uid":""#).nth(1).expect("an owner");
    let owner = &owner[..owner.find('"').expect("a uid")];
    let time = between(r#""time":""#, "\"");
    let token = format!("kube-api-access-{}", prng.suffix(5));
    let mut review = recorded.replace(uid, &prng.uuid()).replace(time, &time_of(prng));
    if let Some(hash) = hash {
        review = review.replace(old_hash, hash).replace(owner, &prng.uuid());
    }
    // The recordings were made without ServiceAccounts.
    review = review.replacen(
        r#""spec":{"containers""#,
        &format!(r#""spec":{{"volumes":[{}],"containers""#, token_volume(&token)),
        1,
    );
    review
        .replace(
            r#""terminationMessagePath":"/dev"#,
            &format!(r#""volumeMounts":[{}],"terminationMessagePath":"/dev"#, token_mount(&token)),
        )
        .replacen(
            r#""dnsPolicy":"ClusterFirst","#,
            r#""dnsPolicy":"ClusterFirst","serviceAccountName":"default","serviceAccount":"default","#,
            1,
        )
}

/// A pod of a series: that of the recorded Deployment, as another controller would have created it.
fn of_series(series: Series, number: usize, prng: &mut Prng) -> String {
    static RECORDED: LazyLock<Value> = LazyLock::new(|| {
        let review: Value = serde_json::from_str(DEPLOYMENT).expect("a recorded review");
        let mut pod = review["request"]["object"].clone();
        let metadata = pod["metadata"].as_object_mut().expect("a recorded review");
        metadata.remove("managedFields");
        metadata["labels"].as_object_mut().expect("a recorded review").remove("pod-template-hash");
        pod
    });
    let mut pod = series.pod(&RECORDED, &series.names(number)).expect("a recorded review");
    let managed = json::managed_fields(&pod.to_string(), prng);
    pod["metadata"]["managedFields"] = serde_json::from_str(&managed).expect("the generator writes JSON");
    json::review(&pod.to_string(), prng)
}

/// The pod Istio was measured with, under another name.
fn bare(number: usize, prng: &mut Prng) -> String {
    let name = format!("bare-{number}");
    BARE.replace("3f014bbb-2195-4e67-a511-3449ae3b6ec1", &prng.uuid())
        .replace(r#""name":"bare""#, &format!(r#""name":"{name}""#))
        .replace(r#"\"name\":\"bare\""#, &format!(r#"\"name\":\"{name}\""#))
        .replace("2026-11-22T14:25:27Z", &time_of(prng))
}

fn skip(number: usize, prng: &mut Prng) -> String {
    let review = replica(DEPLOYMENT, Some(&prng.suffix(10)), prng);
    match number % 3 {
        0 => review.replacen(
            r#""securityContext":{},"sched"#,
            r#""hostNetwork":true,"securityContext":{},"sched"#,
            1,
        ),
        1 => review.replacen(r#""version":"v1"}"#, r#""sidecar.istio.io/inject":"false","version":"v1"}"#, 1),
        _ => review.replace(r#""namespace":"default""#, &format!(r#""namespace":"{QUIET}""#)),
    }
}

fn time_of(prng: &mut Prng) -> String {
    format!("{REQUEST_TIME}{:02}:{:02}Z", prng.below(60), prng.below(60))
}
