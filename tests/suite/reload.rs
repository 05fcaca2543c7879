//! Files that change while the server runs: mounted volumes as a kubelet changes them, renewed certificates, and
//! invalid changes that leave everything as it was.

use std::{
    cell::Cell,
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use base64::Engine as _;
use outrigger::server::{
    Server,
    configuration::{
        bundle::Bundle,
        cluster::Installation,
        folders::Folders,
        source::{Loaded, Source},
    },
    options::{Certificate, Options, Origin, Pace},
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{RootCertStore, pki_types::CertificateDer};
use serde_json::Value;
use tempfile::TempDir;

use super::headed::headed;
use super::support::{Harness, PATIENCE, injecting, options, pod, review, within};

/// A poll that never happens: every detected change was an event.
pub(crate) const NEVER: Duration = Duration::from_secs(3600);

/// Detects changes quickly, so that a test can make many of them.
pub(crate) fn eager() -> Pace {
    Pace { poll: NEVER, quiet: Duration::from_millis(5), longest: Duration::from_millis(50) }
}

/// A directory as a kubelet maintains a mounted ConfigMap or Secret: links to `..data`, which is a link to the files.
pub(crate) struct Volume {
    folder: PathBuf,
    states: Cell<usize>,
}

impl Volume {
    pub(crate) fn new(folder: PathBuf) -> Volume {
        fs::create_dir_all(&folder).unwrap();
        Volume { folder, states: Cell::new(0) }
    }

    /// Replaces all files at once, in the steps of Kubernetes' `AtomicWriter`.
    pub(crate) fn put(&self, files: &[(&str, &str)]) {
        let number = self.states.replace(self.states.get() + 1);
        let state = |number: usize| format!("..2026_11_22_10_00_00.{number}");
        let at = |name: &str| self.folder.join(name);
        fs::create_dir(at(&state(number))).unwrap();
        for (name, text) in files {
            fs::write(at(&state(number)).join(name), text).unwrap();
        }
        symlink(state(number), at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        for (name, _) in files.iter().filter(|(name, _)| !at(name).is_symlink()) {
            symlink(Path::new("..data").join(name), at(name)).unwrap();
        }
        for entry in fs::read_dir(&self.folder).unwrap().map(|entry| entry.unwrap().file_name()) {
            let name = entry.to_str().unwrap();
            if !name.starts_with("..") && !files.iter().any(|(kept, _)| *kept == name) {
                fs::remove_file(at(name)).unwrap();
            }
        }
        if let Some(old) = number.checked_sub(1) {
            fs::remove_dir_all(at(&state(old))).unwrap();
        }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// A CA, and certificates signed by it.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) roots: Arc<RootCertStore>,
}

pub(crate) struct Pair {
    pub(crate) chain: String,
    pub(crate) key: String,
    leaf: CertificateDer<'static>,
}

impl Authority {
    pub(crate) fn new() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let mut roots = RootCertStore::empty();
        roots.add(parameters.self_signed(&key).unwrap().der().clone()).unwrap();
        Authority { issuer: Issuer::new(parameters, key), roots: Arc::new(roots) }
    }

    pub(crate) fn pair(&self) -> Pair {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let leaf = parameters.signed_by(&key, &self.issuer).unwrap();
        Pair { chain: leaf.pem(), key: key.serialize_pem(), leaf: leaf.der().clone() }
    }
}

impl Volume {
    pub(crate) fn put_pair(&self, pair: &Pair) {
        self.put(&[("tls.crt", &pair.chain), ("tls.key", &pair.key)]);
    }

    pub(crate) fn certificate(&self) -> Certificate {
        Certificate::Files { chain: self.file("tls.crt"), key: self.file("tls.key") }
    }
}

pub(crate) async fn serving(roots: Arc<RootCertStore>, folder: TempDir, options: Options) -> Harness {
    Harness { server: Server::start(options).await.unwrap(), roots, folder }
}

/// The certificate that a new handshake gets.
pub(crate) async fn served(harness: &Harness) -> CertificateDer<'static> {
    let stream = harness.tls("http/1.1").await;
    stream.get_ref().1.peer_certificates().unwrap()[0].clone()
}

/// Waits until new handshakes get a certificate; returns the elapsed time.
pub(crate) async fn served_within_patience(harness: &Harness, pair: &Pair) -> Duration {
    let since = Instant::now();
    while served(harness).await != pair.leaf {
        assert!(since.elapsed() < PATIENCE, "the new certificate is not served");
    }
    since.elapsed()
}

// T-05
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swapped_secret_is_served_within_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, volume) = (Authority::new(), Volume::new(folder.path().join("tls")));
    volume.put_pair(&authority.pair());
    let mut options = options(injecting());
    options.certificate = volume.certificate();
    options.pace.poll = NEVER;
    let harness = serving(authority.roots.clone(), folder, options).await;
    let mut took = Vec::new();
    for _ in 0..5 {
        let pair = authority.pair();
        volume.put_pair(&pair);
        took.push(served_within_patience(&harness, &pair).await);
    }
    println!("a swapped certificate is served after {took:?}");
    // The machine may be busy with other tests.
    assert!(took.iter().min().unwrap() < &Duration::from_secs(1), "{took:?}");
    harness.metric("outrigger_config_generation", 1.0).await;
}

// T-03
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_rotations_cost_no_request() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, volume) = (Authority::new(), Volume::new(folder.path().join("tls")));
    volume.put_pair(&authority.pair());
    let mut options = options(injecting());
    options.certificate = volume.certificate();
    options.pace = eager();
    let harness = Arc::new(serving(authority.roots.clone(), folder, options).await);
    let (done, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let requests = {
        let (harness, done, answered) = (harness.clone(), done.clone(), answered.clone());
        tokio::spawn(async move {
            while !done.load(Ordering::SeqCst) {
                // Each on its own connection, and therefore with its own handshake.
                assert_eq!(harness.post("/inject", review("v1", pod())).await.status, 200);
                answered.fetch_add(1, Ordering::SeqCst);
            }
        })
    };
    for _ in 0..100 {
        let pair = authority.pair();
        volume.put_pair(&pair);
        served_within_patience(&harness, &pair).await;
    }
    done.store(true, Ordering::SeqCst);
    within(requests).await.unwrap();
    let answered = answered.load(Ordering::SeqCst);
    println!("100 rotations, {answered} requests, none failed");
    assert!(answered >= 100, "{answered}");
}

// T-04
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_in_place_of_a_certificate_keeps_the_last_good_one() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, volume) = (Authority::new(), Volume::new(folder.path().join("tls")));
    let first = authority.pair();
    volume.put_pair(&first);
    let mut options = options(injecting());
    options.certificate = volume.certificate();
    options.pace = eager();
    let harness = serving(authority.roots.clone(), folder, options).await;
    let (other, half) = (authority.pair(), &first.chain[..first.chain.len() / 2]);
    for (errors, files) in [
        vec![("tls.crt", other.chain.as_str()), ("tls.key", &first.key)],
        vec![("tls.crt", half), ("tls.key", &first.key)],
        vec![("tls.crt", &first.chain), ("tls.key", "")],
        vec![("tls.crt", &first.key), ("tls.key", &first.chain)],
        vec![("tls.crt", &first.chain)],
        vec![],
    ]
    .into_iter()
    .enumerate()
    {
        volume.put(&files);
        let wanted = (errors + 1) as f64;
        harness.metric("outrigger_tls_reload_total{result=\"error\"}", wanted).await;
        assert_eq!(served(&harness).await, first.leaf);
        let ready = harness.admin("/readyz?verbose").await;
        assert_eq!(ready.status, 200);
        let text = String::from_utf8_lossy(&ready.body).into_owned();
        assert!(text.contains("the newest certificate was rejected"), "{text}");
    }
    volume.put_pair(&other);
    served_within_patience(&harness, &other).await;
    let ready = harness.admin("/readyz?verbose").await;
    assert!(!String::from_utf8_lossy(&ready.body).contains("refused"));
}

/// Istio's texts, in which both `config` and `values` contain the state they belong to.
pub(crate) fn istio(state: usize) -> [(&'static str, String); 3] {
    let config = format!(
        "policy: enabled\ninjectedAnnotations: {{config: \"{state}\"}}\ntemplates:\n  sidecar: |\n    metadata:\n      annotations:\n        values: \"{{{{ .Values.state }}}}\"\n"
    );
    [("config", config), ("values", format!("{{\"state\": \"{state}\"}}")), ("mesh", "{}".to_owned())]
}

pub(crate) fn put_istio(volume: &Volume, state: usize) {
    let files = istio(state);
    volume.put(&files.each_ref().map(|(name, text)| (*name, text.as_str())));
}

/// A server with this configuration, and a certificate that does not change.
pub(crate) async fn configured(folder: TempDir, origin: Origin, pace: Pace) -> Harness {
    let authority = Authority::new();
    let secret = Volume::new(folder.path().join("tls"));
    secret.put_pair(&authority.pair());
    let mut options = options(injecting());
    options.configuration = origin;
    options.certificate = secret.certificate();
    options.pace = pace;
    serving(authority.roots, folder, options).await
}

pub(crate) fn folders(volume: &Volume) -> Origin {
    let installation = Installation { revision: "default".to_owned(), ..Installation::default() };
    Origin::Source(Arc::new(Folders::new(vec![volume.folder.clone()], installation)))
}

/// The origin of a response: the state of `config`, the state of `values`, and the hash.
fn made_by(answer: &Value) -> (String, String, String) {
    let response = &answer["response"];
    let patch =
        base64::engine::general_purpose::STANDARD.decode(response["patch"].as_str().unwrap()).unwrap();
    let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
    let mut pod = pod();
    json_patch::patch(&mut pod, &patch).unwrap();
    let annotation = |key: &str| pod["metadata"]["annotations"][key].as_str().unwrap().to_owned();
    let hash = response["auditAnnotations"]["config-hash"].as_str().unwrap().to_owned();
    (annotation("config"), annotation("values"), hash)
}

async fn ask(harness: &Harness) -> (String, String, String) {
    made_by(&harness.post("/inject", review("v1", pod())).await.json())
}

/// Waits until responses come from a state and no later one.
async fn answered_by(harness: &Harness, state: &str) {
    let since = Instant::now();
    while ask(harness).await.0 != state {
        assert!(since.elapsed() < PATIENCE, "state {state} does not come");
    }
}

// C-02, C-04, C-05, T-05
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quick_swaps_end_in_the_last_state_and_no_answer_is_made_by_two() {
    let folder = tempfile::tempdir().unwrap();
    let volume = Volume::new(folder.path().join("config"));
    put_istio(&volume, 0);
    let harness = Arc::new(configured(folder, folders(&volume), eager()).await);
    let done = Arc::new(AtomicBool::new(false));
    let requests = {
        let (harness, done) = (harness.clone(), done.clone());
        tokio::spawn(async move {
            let mut hashes = BTreeMap::new();
            while !done.load(Ordering::SeqCst) {
                let (config, values, hash) = ask(&harness).await;
                assert_eq!(config, values, "half of one state and half of another");
                let known = hashes.entry(config).or_insert_with(|| hash.clone());
                assert_eq!(*known, hash, "one configuration, one hash");
            }
            hashes
        })
    };
    const STATES: usize = 100;
    for state in 1..=STATES {
        put_istio(&volume, state);
        if state % 10 == 0 {
            // Occasionally, let the server read the current files.
            answered_by(&harness, &state.to_string()).await;
        }
    }
    answered_by(&harness, &STATES.to_string()).await;
    done.store(true, Ordering::SeqCst);
    let hashes = within(requests).await.unwrap();
    println!("{STATES} states put, {} of them answered requests", hashes.len());
    let different: std::collections::BTreeSet<_> = hashes.values().collect();
    assert_eq!(different.len(), hashes.len(), "two configurations, two hashes");
    let errors = "outrigger_config_reload_total{source=\"bundle\",result=\"error\"}";
    assert_eq!(harness.metrics().await.get(errors), None);
}

// C-01, C-02, C-03
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_configuration_leaves_the_last_good_one_whole() {
    let folder = tempfile::tempdir().unwrap();
    let volume = Volume::new(folder.path().join("config"));
    put_istio(&volume, 1);
    let harness = configured(folder, folders(&volume), eager()).await;
    let before = ask(&harness).await;
    let [config, values, mesh] = istio(2);
    let failing = config.1.replace(".Values.state", ".Values.state.nothing.there");
    for (errors, files, what) in [
        (1, vec![("config", "policy: ["), ("values", &values.1), ("mesh", &mesh.1)], "config:"),
        (2, vec![("config", &config.1), ("values", "{"), ("mesh", &mesh.1)], "values:"),
        (
            3,
            vec![("config", &config.1), ("values", &values.1), ("mesh", "nonsense: 1\ntrustDomain: []")],
            "mesh:",
        ),
        (4, vec![("config", &failing), ("values", &values.1), ("mesh", &mesh.1)], "template sidecar, line 3"),
        (5, vec![("config", &config.1), ("values", &values.1)], "found no file mesh"),
        (6, vec![], "found none of the files"),
    ] {
        volume.put(&files);
        harness
            .metric("outrigger_config_reload_total{source=\"bundle\",result=\"error\"}", errors.into())
            .await;
        assert_eq!(ask(&harness).await, before, "{what}");
        let ready = harness.admin("/readyz?verbose").await;
        assert_eq!(ready.status, 200);
        let text = String::from_utf8_lossy(&ready.body).into_owned();
        assert!(text.contains("refused") && text.contains(what), "{what}: {text}");
    }
    put_istio(&volume, 3);
    answered_by(&harness, "3").await;
    harness.metric("outrigger_config_generation", 2.0).await;
}

/// A source with a bug: it panics if the text contains a certain word.
struct Buggy(Bundle, std::path::PathBuf);

impl Source for Buggy {
    fn load(&self) -> Result<Loaded, String> {
        assert!(!fs::read_to_string(&self.1).unwrap().contains("panic"), "on purpose");
        self.0.load()
    }

    fn files(&self) -> Vec<std::path::PathBuf> {
        vec![self.1.clone()]
    }
}

// C-01, R-10
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_whose_reading_panics_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bundle.yaml");
    fs::write(&file, headed("revision: one")).unwrap();
    let source = Buggy(Bundle::of(file.clone()), file.clone());
    let harness = configured(folder, Origin::Source(Arc::new(source)), eager()).await;
    fs::write(&file, headed("revision: panic")).unwrap();
    harness.metric("outrigger_config_reload_total{source=\"bundle\",result=\"error\"}", 1.0).await;
    let ready = harness.admin("/readyz?verbose").await;
    let text = String::from_utf8_lossy(&ready.body).into_owned();
    assert!(ready.status == 200 && text.contains("refused: an internal error"), "{text}");
    fs::write(&file, headed("revision: three")).unwrap();
    harness.metric("outrigger_config_generation", 2.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_reports_is_found_by_looking() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    for (state, revision) in [("a", "revision: one"), ("b", "revision: two")] {
        fs::create_dir_all(at(state).join("inner")).unwrap();
        fs::write(at(state).join("inner/bundle.yaml"), headed(revision)).unwrap();
    }
    // A link two directories up: neither the directory of the file nor its real directory changes.
    symlink(at("a"), at("link")).unwrap();
    let bundle = Bundle::of(at("link/inner/bundle.yaml"));
    let (next, link) = (at("b"), at("link"));
    let pace = Pace { poll: Duration::from_millis(50), ..eager() };
    let harness = configured(folder, Origin::Source(Arc::new(bundle)), pace).await;
    fs::remove_file(&link).unwrap();
    symlink(next, link).unwrap();
    harness.metric("outrigger_config_generation", 2.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_text_again_is_no_new_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let volume = Volume::new(folder.path().join("config"));
    put_istio(&volume, 1);
    let pace = Pace { poll: Duration::from_millis(20), ..eager() };
    let harness = configured(folder, folders(&volume), pace).await;
    for _ in 0..20 {
        put_istio(&volume, 1);
        ask(&harness).await;
    }
    put_istio(&volume, 2);
    answered_by(&harness, "2").await;
    assert_eq!(harness.metrics().await["outrigger_config_generation"], 2.0);
    // Not even on request.
    assert_eq!(harness.server.handle().reload().await.configuration, Ok(2));
    put_istio(&volume, 3);
    answered_by(&harness, "3").await;
    assert_eq!(harness.metrics().await["outrigger_config_generation"], 3.0);
}

// An editor writes another file and renames it; a person writes into the file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_file_may_be_edited_in_any_way() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bundle.yaml");
    fs::write(&file, headed("revision: one")).unwrap();
    let bundle = Bundle::of(file.clone());
    let other = folder.path().join(".bundle.yaml.swp");
    let harness = configured(folder, Origin::Source(Arc::new(bundle)), eager()).await;
    fs::write(&file, headed("revision: two")).unwrap();
    harness.metric("outrigger_config_generation", 2.0).await;
    fs::write(&other, headed("revision: three")).unwrap();
    fs::rename(&other, &file).unwrap();
    harness.metric("outrigger_config_generation", 3.0).await;
    fs::remove_file(&file).unwrap();
    harness.metric("outrigger_config_reload_total{source=\"bundle\",result=\"error\"}", 1.0).await;
    fs::write(&file, headed("revision: four")).unwrap();
    harness.metric("outrigger_config_generation", 4.0).await;
}
