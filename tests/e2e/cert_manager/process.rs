//! cert-manager itself: its controllers and its cainjector as one process (`hack/certmanager`), and its CRDs.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use tokio::task::JoinHandle;

use super::super::control_plane::{
    ControlPlane, PATIENCE, settled,
    supervised::{Output, Supervised},
};

/// A running cert-manager; it ends when this value is dropped.
pub struct CertManager {
    _process: Supervised,
    log: PathBuf,
}

/// How its cainjector treats a caBundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cainjector {
    /// Adds its CA to the existing ones: the default since 1.19.
    Merges,
    /// Replaces the existing content by its CA: the default until 1.18.
    Replaces,
}

/// Where the program and a link to the module are: `OUTRIGGER_CERTMANAGER` is the folder; without it,
/// `hack/certmanager/build` builds what is missing and prints the folder. It runs once per process.
fn folder() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| match env::var_os("OUTRIGGER_CERTMANAGER") {
        Some(folder) => PathBuf::from(folder),
        None => {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("hack/certmanager/build");
            let output = Command::new(&script).stderr(Stdio::inherit()).output();
            let output = output.unwrap_or_else(|error| panic!("{}: {error}", script.display()));
            assert!(output.status.success(), "{}: {}", script.display(), output.status);
            PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
        }
    })
}

impl CertManager {
    /// Installs the CRDs and starts cert-manager with all rights.
    pub async fn start(control_plane: &ControlPlane, cainjector: Cainjector) -> CertManager {
        let definitions = folder().join("module/deploy/crds");
        let count = fs::read_dir(&definitions).expect("the CRDs of cert-manager's module").count();
        assert!(count > 1, "{}", definitions.display());
        for file in fs::read_dir(&definitions).expect("the CRDs of cert-manager's module") {
            let file = file.expect("a file").path();
            if file.extension().is_some_and(|extension| extension == "yaml") {
                let file = file.to_str().expect("UTF-8");
                // Too long for the annotation of a client-side apply.
                control_plane.kubectl(&["apply", "--server-side", "-f", file]).await;
            }
        }
        let all = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"];
        control_plane.kubectl(&all).await;
        let mut command = Command::new(folder().join("certmanager"));
        command.arg(format!("-kubeconfig={}", control_plane.kubeconfig().display()));
        if cainjector == Cainjector::Replaces {
            command.arg("-feature-gates=CAInjectorMerging=false");
        }
        let log = control_plane.folder().join("cert-manager.log");
        let mut process = Supervised::start("cert-manager", &command, Output::File(&log)).expect("a process");
        settled("cert-manager runs", PATIENCE, async || {
            let text = fs::read_to_string(&log).unwrap_or_default();
            match process.try_wait() {
                None if text.contains("cert-manager runs") => Ok(()),
                ended => Err(format!("{ended:?}: {text}")),
            }
        })
        .await;
        CertManager { _process: process, log }
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// Does what a kubelet does with a Secret volume: its files exist as soon as the Secret does, and change together some
/// time after it has changed. A real one takes up to a minute and a half.
pub struct Mount {
    folder: PathBuf,
    following: JoinHandle<()>,
}

/// How long after a change of the Secret the files change.
const LAG: Duration = Duration::from_secs(1);

impl Drop for Mount {
    fn drop(&mut self) {
        self.following.abort();
    }
}

impl Mount {
    /// Mounts a Secret in a directory of the control plane.
    pub async fn of(control_plane: &ControlPlane, namespace: &str, secret: &str) -> Mount {
        let folder = control_plane.folder().join(format!("mounted-{namespace}-{secret}"));
        fs::create_dir_all(&folder).expect("a folder");
        let api: Api<Secret> = Api::namespaced(control_plane.client().await, namespace);
        let following = tokio::spawn(follow(api, secret.to_owned(), folder.clone()));
        Mount { folder, following }
    }

    /// The folder in which the files are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Waits until the Secret exists: before that, no container of the pod starts.
    pub async fn wait(&self, cert_manager: &CertManager) {
        settled("the Secret is mounted", PATIENCE, async || {
            let is_there = self.folder.join("tls.crt").exists();
            if is_there { Ok(()) } else { Err(cert_manager.log()) }
        })
        .await;
    }

    /// The certificate in it.
    pub fn certificate(&self) -> String {
        fs::read_to_string(self.folder.join("tls.crt")).unwrap_or_default()
    }
}

async fn follow(api: Api<Secret>, name: String, folder: PathBuf) {
    let mut seen: Option<String> = None;
    loop {
        if let Ok(Some(secret)) = api.get_opt(&name).await
            && seen != secret.metadata.resource_version
        {
            if seen.is_some() {
                tokio::time::sleep(LAG).await;
            }
            seen.clone_from(&secret.metadata.resource_version);
            write(&folder, &secret);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// All files at once: they are links through one directory, which is itself a link that is replaced.
fn write(folder: &Path, secret: &Secret) {
    let version = secret.metadata.resource_version.clone().unwrap_or_default();
    let data = folder.join(format!("..{version}"));
    fs::create_dir_all(&data).expect("a folder");
    for (key, value) in secret.data.iter().flatten() {
        fs::write(data.join(key), &value.0).expect("a file");
        let link = folder.join(key);
        if fs::symlink_metadata(&link).is_err() {
            std::os::unix::fs::symlink(Path::new("..data").join(key), &link).expect("a link");
        }
    }
    let next = folder.join("..data_tmp");
    let _ = fs::remove_file(&next);
    std::os::unix::fs::symlink(format!("..{version}"), &next).expect("a link");
    fs::rename(&next, folder.join("..data")).expect("a link");
}

/// A Secret, if it exists.
pub async fn secret(client: &Client, namespace: &str, name: &str) -> Option<Secret> {
    Api::<Secret>::namespaced(client.clone(), namespace).get_opt(name).await.ok().flatten()
}
