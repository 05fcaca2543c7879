//! Files that are half written, truncated, endless, or on a file system that hangs: the last good state stays, and
//! nothing else is affected.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, mpsc},
    time::{Duration, Instant},
};

use nix::{sys::stat::Mode, unistd::mkfifo};
use outrigger::server::{
    configuration::{
        bundle::Bundle,
        source::{Loaded, Source},
    },
    options::{Certificate, Origin, Pace},
};
use tempfile::TempDir;

use super::{
    headed::headed,
    reload::{Authority, NEVER, Volume, configured, eager, served, served_within_patience, serving},
    support::{Harness, PATIENCE, injecting, options, pod, review, within},
};

/// Pseudorandom numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// A bundle with more than the defaults, whose last line is the most important.
fn bundle(mark: &str) -> String {
    let mut text = format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: Bundle\nrevision: default\ncompliancePolicy: {mark}\n"
    );
    text.push_str("values:\n  global:\n    hub: example.com/mirror\n");
    for number in 0..40 {
        text.push_str(&format!("    key{number}: \"value {number} of {mark}\"\n"));
    }
    text.push_str(
        "env:\n  A: b\ninjector:\n  injectedAnnotations:\n    example.com/a: b\n  policy: disabled\n",
    );
    text
}

fn hash(text: &str) -> String {
    let (mesh, _) =
        outrigger::config::InjectorConfig::from_bundle(outrigger::config::Source { name: "b", text })
            .unwrap();
    mesh.hash().to_owned()
}

/// A source that records every configuration read from it.
struct Noted {
    bundle: Bundle,
    file: PathBuf,
    loaded: Mutex<Option<String>>,
    taken: Mutex<Vec<String>>,
}

impl Source for Noted {
    fn load(&self) -> Result<Loaded, String> {
        let loaded = self.bundle.load()?;
        *self.loaded.lock().unwrap() = Some(loaded.engine.hash().to_owned());
        Ok(loaded)
    }

    fn accepted(&self) {
        self.bundle.accepted();
        self.taken.lock().unwrap().extend(self.loaded.lock().unwrap().take());
    }

    fn files(&self) -> Vec<PathBuf> {
        vec![self.file.clone()]
    }
}

/// Writes a text in place, in pieces, with pauses longer than the settling time.
fn write_in_pieces(file: &Path, text: &str, dice: &mut Dice, mut between: impl FnMut()) {
    let mut writer = File::create(file).unwrap();
    let mut cuts: Vec<usize> = (0..3).map(|_| dice.below(text.len() as u64) as usize).collect();
    // Line ends, where the partial text is a valid bundle, are tested more often.
    cuts.push(text[..cuts[0]].rfind('\n').map_or(0, |end| end + 1));
    cuts.push(text.find("  policy: disabled").unwrap());
    cuts.sort_unstable();
    let mut written = 0;
    for cut in cuts.into_iter().chain([text.len()]) {
        std::thread::sleep(Duration::from_millis([0, 1, 20, 130, 180][dice.below(5) as usize]));
        between();
        writer.write_all(&text.as_bytes()[written..cut]).unwrap();
        written = cut;
    }
    std::thread::sleep(Duration::from_millis(dice.below(150)));
}

// At any moment and for any trigger, no configuration is created from a part of a file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_configuration_is_made_of_a_part_of_a_bundle_that_is_written_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bundle.yaml");
    let texts = [bundle("fips-140-2"), bundle("fips-140-3")];
    fs::write(&file, &texts[0]).unwrap();
    let source = Arc::new(Noted {
        bundle: Bundle::of(file.clone()),
        file: file.clone(),
        loaded: Mutex::default(),
        taken: Mutex::default(),
    });
    let harness = configured(folder, Origin::Source(source.clone()), eager()).await;
    let mut dice = Dice(7);
    const ROUNDS: usize = 10;
    for round in 1..=ROUNDS {
        let text = texts[round % 2].clone();
        let (handle, file) = (harness.server.handle(), file.clone());
        let runtime = tokio::runtime::Handle::current();
        let mut moved = Dice(dice.below(1 << 30));
        let writing = tokio::task::spawn_blocking(move || {
            let mut asked = Vec::new();
            write_in_pieces(&file, &text, &mut moved, || {
                // An impatient trigger.
                let handle = handle.clone();
                asked.push(runtime.spawn(async move { handle.reload().await }));
            });
            asked
        });
        for asked in within(writing).await.unwrap() {
            within(asked).await.unwrap();
        }
        let wanted = hash(&texts[round % 2]);
        let since = Instant::now();
        while source.taken.lock().unwrap().last() != Some(&wanted) {
            assert!(since.elapsed() < PATIENCE, "the whole text of round {round} is not applied");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let whole = texts.each_ref().map(|text| hash(text));
    let taken = source.taken.lock().unwrap().clone();
    assert!(taken.iter().all(|hash| whole.contains(hash)), "{taken:?} of {whole:?}");
    // Equal content does not create a new generation, however often it is read.
    harness.metric("outrigger_config_generation", (ROUNDS + 1) as f64).await;
}

// A write that ended early, on a full disk for example, may also leave a valid bundle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_that_was_cut_off_in_place_is_refused_until_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bundle.yaml");
    let text = bundle("fips-140-2");
    fs::write(&file, &text).unwrap();
    let harness = configured(folder, Origin::Source(Arc::new(Bundle::of(file.clone()))), eager()).await;
    let whole = text.find("  policy: disabled").unwrap();
    for (errors, cut) in [(1.0, whole), (2.0, whole + "  policy:".len()), (3.0, 0)] {
        fs::write(&file, &text[..cut]).unwrap();
        harness.metric("outrigger_config_reload_total{source=\"bundle\",result=\"error\"}", errors).await;
        harness.metric("outrigger_config_last_reload_success", 0.0).await;
        let ready = verbose(&harness).await;
        assert!(ready.contains("[!]config the newest configuration was rejected"), "{ready}");
        assert!(
            ready.contains(if cut == 0 { "found nothing" } else { "written in place" })
                || ready.contains("cut off"),
            "{ready}"
        );
    }
    fs::write(&file, &text).unwrap();
    harness.metric("outrigger_config_last_reload_success", 1.0).await;
    harness.metric("outrigger_config_generation", 1.0).await;
    assert!(!verbose(&harness).await.contains("refused"), "the one in use is the newest again");
}

async fn verbose(harness: &Harness) -> String {
    let ready = harness.admin("/readyz?verbose").await;
    assert_eq!(ready.status, 200);
    String::from_utf8_lossy(&ready.body).into_owned()
}

/// A server that has its configuration and its certificate from files.
async fn from_files(folder: TempDir, pace: Pace) -> (Harness, PathBuf, Authority, Volume) {
    let file = folder.path().join("config/bundle.yaml");
    fs::create_dir(file.parent().unwrap()).unwrap();
    fs::write(&file, headed("revision: one")).unwrap();
    let (authority, volume) = (Authority::new(), Volume::new(folder.path().join("tls")));
    volume.put_pair(&authority.pair());
    let mut options = options(injecting());
    options.configuration = Origin::Source(Arc::new(Bundle::of(file.clone())));
    options.certificate = volume.certificate();
    options.pace = pace;
    let roots = authority.roots.clone();
    (serving(roots, folder, options).await, file, authority, volume)
}

const REFUSED: &str = "outrigger_config_reload_total{source=\"bundle\",result=\"error\"}";

// Opening a pipe blocks until there is a writer; a device is endless. Neither ends reloading, of this file or any
// other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_regular_file_is_said_and_holds_nothing_up() {
    let folder = tempfile::tempdir().unwrap();
    let (harness, file, authority, volume) = from_files(folder, eager()).await;
    let zero = |path: &Path| symlink("/dev/zero", path).unwrap();
    let pipe = |path: &Path| mkfifo(path, Mode::S_IRWXU).unwrap();
    let folder = |path: &Path| fs::create_dir(path).unwrap();
    type Make<'a> = (&'a dyn Fn(&Path), &'a str);
    let make: [Make<'_>; 3] =
        [(&pipe, "found a pipe"), (&zero, "found a device"), (&folder, "found a directory")];
    for (errors, (make, found)) in make.into_iter().enumerate() {
        let next = file.with_extension("next");
        make(&next);
        fs::remove_file(&file).unwrap_or_else(|_| fs::remove_dir(&file).unwrap());
        fs::rename(&next, &file).unwrap();
        let since = Instant::now();
        while !verbose(&harness).await.contains(found) {
            assert!(since.elapsed() < PATIENCE, "{found} is not said");
        }
        assert!(harness.metrics().await[REFUSED] > errors as f64);
        // A SIGHUP gets a response, which also says so.
        let asked = within(harness.server.handle().reload()).await;
        let told = asked.configuration.unwrap_err();
        assert!(told.contains(found) && told.contains("expected a regular file"), "{told}");
        assert_eq!(asked.certificate, Ok(()));
        let pair = authority.pair();
        volume.put_pair(&pair);
        served_within_patience(&harness, &pair).await;
    }
    fs::remove_dir(&file).unwrap();
    fs::write(&file, headed("revision: one")).unwrap();
    harness.metric("outrigger_config_last_reload_success", 1.0).await;
    harness.metric("outrigger_config_generation", 1.0).await;
    fs::write(&file, headed("revision: two")).unwrap();
    harness.metric("outrigger_config_generation", 2.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_is_no_regular_file_holds_no_configuration_up() {
    let folder = tempfile::tempdir().unwrap();
    let (harness, file, authority, volume) = from_files(folder, eager()).await;
    let before = served(&harness).await;
    let at = |name: &str| volume.file(name);
    for (name, target) in [("tls.crt", "/dev/zero"), ("tls.key", "/dev/zero")] {
        fs::remove_file(at(name)).unwrap();
        symlink(target, at(name)).unwrap();
        let since = Instant::now();
        while !verbose(&harness).await.contains("[!]certificate the newest certificate was rejected") {
            assert!(since.elapsed() < PATIENCE, "it is not said");
        }
    }
    fs::write(&file, headed("revision: two")).unwrap();
    harness.metric("outrigger_config_generation", 2.0).await;
    assert_eq!(served(&harness).await, before);
    for name in ["tls.crt", "tls.key"] {
        fs::remove_file(at(name)).unwrap();
        symlink(Path::new("..data").join(name), at(name)).unwrap();
    }
    let pair = authority.pair();
    volume.put_pair(&pair);
    served_within_patience(&harness, &pair).await;
    assert!(!verbose(&harness).await.contains("refused"));
}

/// A source on a file system that stops responding.
struct Hanging(Bundle, PathBuf, Mutex<mpsc::Receiver<()>>);

impl Source for Hanging {
    fn load(&self) -> Result<Loaded, String> {
        if fs::read_to_string(&self.1).unwrap().contains("hangs") {
            let _ = self.2.lock().unwrap().recv();
        }
        self.0.load()
    }

    fn files(&self) -> Vec<PathBuf> {
        vec![self.1.clone()]
    }
}

// Even a third-party source without a deadline does not prevent a certificate from being reloaded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_that_hangs_holds_no_certificate_up() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bundle.yaml");
    fs::write(&file, headed("revision: one")).unwrap();
    let (release, held) = mpsc::channel();
    let source = Hanging(Bundle::of(file.clone()), file.clone(), Mutex::new(held));
    let (authority, volume) = (Authority::new(), Volume::new(folder.path().join("tls")));
    volume.put_pair(&authority.pair());
    let mut options = options(injecting());
    options.configuration = Origin::Source(Arc::new(source));
    options.certificate = volume.certificate();
    options.pace = eager();
    let harness = serving(authority.roots.clone(), folder, options).await;
    fs::write(&file, headed("revision: hangs")).unwrap();
    for _ in 0..2 {
        let pair = authority.pair();
        volume.put_pair(&pair);
        served_within_patience(&harness, &pair).await;
        // It is not delayed by a trigger for both, either.
        let handle = harness.server.handle();
        tokio::spawn(async move { handle.reload().await });
    }
    assert_eq!(harness.post("/inject", review("v1", pod())).await.status, 200);
    harness.metric("outrigger_config_generation", 1.0).await;
    drop(release);
    harness.metric("outrigger_config_generation", 2.0).await;
}

// Two names of one directory, as a relative path has them: when the file was deleted, the watch on the directory was
// lost with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_comes_again_is_noticed_by_whatever_name_its_folder_has() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("real")).unwrap();
    symlink("real", folder.path().join("link")).unwrap();
    let file = folder.path().join("link/bundle.yaml");
    fs::write(&file, headed("revision: one")).unwrap();
    let pace = Pace { poll: NEVER, ..eager() };
    let harness = configured(folder, Origin::Source(Arc::new(Bundle::of(file.clone()))), pace).await;
    for (errors, revision) in [(1.0, "two"), (2.0, "three")] {
        fs::remove_file(&file).unwrap();
        harness.metric(REFUSED, errors).await;
        fs::write(&file, headed(&format!("revision: {revision}"))).unwrap();
        harness.metric("outrigger_config_generation", errors + 1.0).await;
    }
}

// An empty mesh text is as likely lost as an empty bundle; the mode `files` reads Istio's texts, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_of_istios_that_becomes_empty_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let volume = Volume::new(folder.path().join("config"));
    super::reload::put_istio(&volume, 1);
    let origin = super::reload::folders(&volume);
    let harness = configured(folder, origin, eager()).await;
    let texts = super::reload::istio(2);
    for (errors, empty) in [(1.0, "mesh"), (2.0, "values"), (3.0, "config")] {
        let files =
            texts.each_ref().map(|(name, text)| (*name, if *name == empty { "" } else { text.as_str() }));
        volume.put(&files);
        harness.metric(REFUSED, errors).await;
        let ready = verbose(&harness).await;
        assert!(ready.contains(&format!("/{empty}: found nothing; expected ")), "{ready}");
    }
    harness.metric("outrigger_config_generation", 1.0).await;
}

/// A server's certificate is read once more when it is completely written: a truncated chain is also a chain.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_certificate_is_made_of_a_part_of_a_chain_that_is_written_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, at) = (Authority::new(), folder.path().to_owned());
    let (first, other) = (authority.pair(), authority.pair());
    let chain = format!("{}{}", first.chain, other.chain);
    fs::write(at.join("tls.crt"), &chain).unwrap();
    fs::write(at.join("tls.key"), &first.key).unwrap();
    let mut options = options(injecting());
    options.certificate = Certificate::Files { chain: at.join("tls.crt"), key: at.join("tls.key") };
    options.pace = eager();
    let harness = serving(authority.roots.clone(), folder, options).await;
    let length = async || harness.tls("http/1.1").await.get_ref().1.peer_certificates().unwrap().len();
    assert_eq!(length().await, 2);
    let success = "outrigger_tls_reload_total{result=\"success\"}";
    for round in 2..5 {
        let mut writer = File::create(at.join("tls.crt")).unwrap();
        writer.write_all(first.chain.as_bytes()).unwrap();
        tokio::time::sleep(Duration::from_millis(250)).await;
        assert_eq!(length().await, 2, "half a chain is served");
        // Each round writes a different text, which is read.
        writer.write_all(format!("{}# {round}\n", other.chain).as_bytes()).unwrap();
        drop(writer);
        harness.metric(success, f64::from(round)).await;
        assert_eq!(length().await, 2);
    }
}
