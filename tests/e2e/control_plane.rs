//! A real control plane on loopback: etcd, kube-apiserver and (except for the oldest flavor) kube-controller-manager.
//!
//! There is no kubelet, no scheduler and no network of pods: a pod is what the API server stored. Everything is in a
//! temporary folder, on free ports, and ends with the value or with the process of the test, however that ends.

pub mod identity;
mod ports;
pub mod programs;
pub mod supervised;

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use k8s_openapi::api::{
    authentication::v1::TokenRequest,
    core::v1::{Namespace, Node, ServiceAccount},
};
use kube::{
    Api, Client, Config,
    api::{Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use rcgen::KeyPair;
use serde_json::{Value, json};
use tempfile::TempDir;

pub use self::ports::free_port;
use self::{
    identity::{Authority, Proof, kubeconfig},
    programs::{Layout, Programs, audit_policy, tail},
    supervised::{Janitor, Output, Supervised},
};

/// Timeout for events that should happen soon.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Timeout for starting a control plane, also on a busy machine.
const START: Duration = Duration::from_secs(90);
/// Polling interval.
const POLL: Duration = Duration::from_millis(25);
/// Another process may take a port between its selection and its use.
const ATTEMPTS: usize = 3;

/// The Kubernetes version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// The newest that is supported, with its controller manager.
    Current,
    /// The oldest that is supported: the API server alone.
    Oldest,
}

/// A process of the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// etcd
    Etcd,
    /// kube-apiserver
    ApiServer,
    /// kube-controller-manager
    ControllerManager,
}

/// The output of a program and its exit status.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Whether the exit code was 0.
    pub success: bool,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// A running control plane.
pub struct ControlPlane {
    // In the order of termination.
    controller_manager: Option<Supervised>,
    apiserver: Option<Supervised>,
    etcd: Option<Supervised>,
    flavour: Flavour,
    programs: Programs,
    layout: Layout,
    authority: Authority,
    kubeconfig: PathBuf,
    // The janitor goes after the folder.
    _folder: TempDir,
    _janitor: Janitor,
}

impl ControlPlane {
    /// Starts a control plane and waits until it is ready; takes a few seconds.
    pub async fn start(flavour: Flavour) -> ControlPlane {
        ControlPlane::start_as(flavour, None, |_, _| Vec::new()).await
    }

    /// The same, with an etcd that stores this many bytes and refuses to write any more.
    pub async fn start_with_quota(flavour: Flavour, quota: Option<u64>) -> ControlPlane {
        ControlPlane::start_as(flavour, quota, |_, _| Vec::new()).await
    }

    /// Starts a control plane whose API server has further flags. They may name files that are written first, into the
    /// control plane's folder.
    pub async fn start_with(
        flavour: Flavour,
        flags: impl Fn(&Path, &Authority) -> Vec<String>,
    ) -> ControlPlane {
        ControlPlane::start_as(flavour, None, flags).await
    }

    async fn start_as(
        flavour: Flavour,
        quota: Option<u64>,
        flags: impl Fn(&Path, &Authority) -> Vec<String>,
    ) -> ControlPlane {
        let mut last = String::new();
        for _ in 0..ATTEMPTS {
            match ControlPlane::attempt(flavour, quota, &flags).await {
                Ok(started) => return started,
                Err(error) => last = error,
            }
        }
        panic!("the control plane does not start: {last}");
    }

    async fn attempt(
        flavour: Flavour,
        etcd_quota: Option<u64>,
        flags: &impl Fn(&Path, &Authority) -> Vec<String>,
    ) -> Result<ControlPlane, String> {
        let folder = tempfile::Builder::new().prefix("outrigger-e2e-").tempdir().expect("a folder");
        let janitor = Janitor::of(folder.path()).expect("a janitor");
        let path = folder.path().to_path_buf();
        let mut layout = Layout {
            folder: path.clone(),
            etcd: free_port(),
            etcd_quota,
            etcd_peer: free_port(),
            api: free_port(),
            flags: Vec::new(),
        };
        let authority = write_identities(&layout).expect("files in a temporary folder");
        layout.flags = flags(&path, &authority);
        let mut control_plane = ControlPlane {
            controller_manager: None,
            apiserver: None,
            etcd: None,
            flavour,
            programs: Programs::find(),
            layout,
            authority,
            kubeconfig: path.join("admin.kubeconfig"),
            _folder: folder,
            _janitor: janitor,
        };
        control_plane.launch(Component::Etcd);
        control_plane.launch(Component::ApiServer);
        control_plane.ready(START).await?;
        match flavour {
            Flavour::Current => control_plane.launch(Component::ControllerManager),
            Flavour::Oldest => {
                for namespace in ["default", "kube-system"] {
                    control_plane.create_service_account(namespace, "default").await;
                }
            }
        }
        Ok(control_plane)
    }

    /// Which Kubernetes it is.
    pub fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// The directory with certificates, kubeconfigs and logs (`etcd.log`, `apiserver.log`, `controller-manager.log`,
    /// `audit.log`); tests may use it too.
    pub fn folder(&self) -> &Path {
        &self.layout.folder
    }

    /// The port of etcd's clients; it answers JSON there, too (`/v3/…`).
    pub fn etcd_port(&self) -> u16 {
        self.layout.etcd
    }

    /// The API server's URL.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.layout.api)
    }

    /// The folders of kubectl and helm.
    pub fn tools(&self) -> Vec<PathBuf> {
        let programs = [self.programs.kubectl(), self.programs.helm()];
        programs.iter().filter_map(|program| program.parent().map(Path::to_path_buf)).collect()
    }

    /// The CA of the API server and its clients.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// An administrator's client. It belongs to the runtime that created it: create one in each test.
    pub async fn client(&self) -> Client {
        client(&self.kubeconfig).await
    }

    /// A client with the permissions of a ServiceAccount.
    pub async fn client_for(&self, namespace: &str, service_account: &str) -> Client {
        client(&self.kubeconfig_for(namespace, service_account).await).await
    }

    /// A kubeconfig with a token of a ServiceAccount, which must exist; good for an hour. Its current namespace is the
    /// ServiceAccount's.
    pub async fn kubeconfig_for(&self, namespace: &str, service_account: &str) -> PathBuf {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await, namespace);
        let request: TokenRequest =
            serde_json::from_value(json!({"spec": {"audiences": [], "expirationSeconds": 3600}}))
                .expect("a request");
        let answer = accounts.create_token_request(service_account, &PostParams::default(), &request).await;
        let token =
            answer.unwrap_or_else(|error| panic!("a token for {namespace}/{service_account}: {error}"));
        let token = token.status.and_then(|status| status.token).expect("a token");
        let file = self.layout.folder.join(format!("{namespace}.{service_account}.kubeconfig"));
        let text =
            kubeconfig(&self.url(), self.authority.pem(), &Proof::Token(&token), namespace).to_string();
        fs::write(&file, text).expect("a file in a temporary folder");
        file
    }

    /// Runs kubectl as the administrator. `input` is its standard input (`-f -`).
    pub async fn kubectl_with(&self, arguments: &[&str], input: &str) -> Ran {
        self.run(self.programs.kubectl(), arguments, input).await
    }

    /// Runs kubectl as the administrator; returns its standard output, and panics if it fails.
    pub async fn kubectl(&self, arguments: &[&str]) -> String {
        self.kubectl_with(arguments, "").await.expect(&format!("kubectl {}", arguments.join(" ")))
    }

    /// Has kubectl apply manifests (YAML or JSON).
    pub async fn apply(&self, manifests: &str) {
        self.kubectl_with(&["apply", "-f", "-"], manifests).await.expect("kubectl apply");
    }

    /// Runs helm as the administrator.
    pub async fn helm(&self, arguments: &[&str]) -> Ran {
        self.run(self.programs.helm(), arguments, "").await
    }

    async fn run(&self, program: PathBuf, arguments: &[&str], input: &str) -> Ran {
        let mut command = Command::new(program);
        command.args(arguments).env("KUBECONFIG", &self.kubeconfig).env("HOME", &self.layout.folder);
        let input = input.to_owned();
        tokio::task::spawn_blocking(move || run(command, &input)).await.expect("a program that is run")
    }

    /// Stops a process (SIGSTOP): connections stay, nothing responds.
    pub fn freeze(&mut self, component: Component) {
        self.process(component).signal("STOP");
    }

    /// Resumes a frozen process.
    pub fn thaw(&mut self, component: Component) {
        self.process(component).signal("CONT");
    }

    /// Ends a process with SIGKILL.
    pub fn kill(&mut self, component: Component) {
        *self.slot(component) = None;
    }

    /// Restarts a process that was killed (or kills it first) with its old ports and data, and waits until the API
    /// server is ready.
    pub async fn restart(&mut self, component: Component) {
        self.kill(component);
        self.launch(component);
        self.ready(START).await.unwrap_or_else(|error| panic!("after the restart of {component:?}: {error}"));
    }

    /// The id of a process.
    pub fn pid(&mut self, component: Component) -> u32 {
        self.process(component).pid()
    }

    /// The API server's metrics.
    pub async fn metrics(&self) -> String {
        self.read("/metrics").await.expect("the API server's metrics")
    }

    /// The sum of the API server's samples of a name whose labels contain all of `labels` (such as `code="200"`).
    pub async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        sum(&self.metrics().await, name, labels)
    }

    /// The API server's response to `GET path`.
    ///
    /// # Errors
    /// If there is none, or it is an error.
    pub async fn read(&self, path: &str) -> Result<String, kube::Error> {
        let request = hyper::Request::get(path).body(Vec::new()).expect("a request");
        self.client().await.request_text(request).await
    }

    /// The audit log so far.
    pub fn audit(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.layout.folder.join("audit.log")).unwrap_or_default();
        // The last line may be half written.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The last lines of a component's log.
    pub fn log(&self, component: Component, lines: usize) -> String {
        tail(&self.log_file(component), lines).unwrap_or_default()
    }

    /// Creates a namespace with labels, and waits until pods can be created in it.
    pub async fn create_namespace(&self, name: &str, labels: &[(&str, &str)]) {
        let client = self.client().await;
        let labels: serde_json::Map<String, Value> =
            labels.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let namespace = from_json(json!({"metadata": {"name": name, "labels": labels}}));
        let namespaces: Api<Namespace> = Api::all(client.clone());
        namespaces.create(&PostParams::default(), &namespace).await.expect("a namespace");
        if self.flavour == Flavour::Oldest {
            self.create_service_account(name, "default").await;
        }
        let accounts: Api<ServiceAccount> = Api::namespaced(client, name);
        until("the namespace has its ServiceAccount", PATIENCE, async || {
            matches!(accounts.get_opt("default").await, Ok(Some(_)))
        })
        .await;
    }

    /// Creates a ServiceAccount.
    pub async fn create_service_account(&self, namespace: &str, name: &str) {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await, namespace);
        let account = from_json(json!({"metadata": {"name": name}}));
        match accounts.create(&PostParams::default(), &account).await {
            // A controller creates the one named `default`.
            Err(kube::Error::Api(status)) if status.code == 409 && name == "default" => {}
            created => drop(created.expect("a ServiceAccount")),
        }
    }

    /// Creates a Node that says it runs a kubelet of this version (such as `v1.37.2`), or changes its version.
    pub async fn create_node(&self, name: &str, kubelet_version: &str) {
        let nodes: Api<Node> = Api::all(self.client().await);
        if nodes.get_opt(name).await.expect("an answer").is_none() {
            let node = from_json(json!({"metadata": {"name": name}}));
            nodes.create(&PostParams::default(), &node).await.expect("a node");
        }
        let status = json!({"status": {
            "nodeInfo": {
                "kubeletVersion": kubelet_version, "kubeProxyVersion": "", "machineID": "", "systemUUID": "",
                "bootID": "", "kernelVersion": "", "osImage": "", "containerRuntimeVersion": "",
                "operatingSystem": "linux", "architecture": "amd64",
            },
            "allocatable": {"cpu": "8", "memory": "16Gi", "pods": "110"},
            "capacity": {"cpu": "8", "memory": "16Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True"}],
        }});
        let how = PatchParams::default();
        nodes.patch_status(name, &how, &Patch::Merge(status)).await.expect("the status of a node");
        // A new node has the not-ready taint, and nothing would remove it.
        let untainted = json!({"spec": {"taints": null}});
        nodes.patch(name, &how, &Patch::Merge(untainted)).await.expect("a node");
    }

    fn slot(&mut self, component: Component) -> &mut Option<Supervised> {
        match component {
            Component::Etcd => &mut self.etcd,
            Component::ApiServer => &mut self.apiserver,
            Component::ControllerManager => &mut self.controller_manager,
        }
    }

    fn process(&mut self, component: Component) -> &mut Supervised {
        self.slot(component).as_mut().unwrap_or_else(|| panic!("{component:?} does not run"))
    }

    fn log_file(&self, component: Component) -> PathBuf {
        self.layout.folder.join(format!("{component}.log"))
    }

    fn launch(&mut self, component: Component) {
        let command = match component {
            Component::Etcd => self.programs.etcd(&self.layout),
            Component::ApiServer => self.programs.apiserver(self.flavour, &self.layout),
            Component::ControllerManager => self.programs.controller_manager(&self.layout),
        };
        let log = self.log_file(component);
        let process = Supervised::start(&component.to_string(), &command, Output::File(&log));
        *self.slot(component) = Some(process.unwrap_or_else(|error| panic!("{component}: {error}")));
    }

    /// Waits until the API server says that it is ready.
    async fn ready(&mut self, within: Duration) -> Result<(), String> {
        let deadline = Instant::now() + within;
        let mut last = String::new();
        while Instant::now() < deadline {
            for component in [Component::Etcd, Component::ApiServer] {
                if let Some(ended) = self.slot(component).as_mut().and_then(Supervised::try_wait) {
                    return Err(format!("{component} ended with {ended:?}:\n{}", self.log(component, 20)));
                }
            }
            // Both the readiness endpoint and an object in etcd, which exists once startup is complete.
            let asked = async {
                self.read("/readyz").await?;
                self.read("/api/v1/namespaces/default").await
            };
            match tokio::time::timeout(Duration::from_secs(5), asked).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => last = error.to_string(),
                Err(_) => last = "no answer".to_owned(),
            }
            tokio::time::sleep(POLL).await;
        }
        Err(format!("not ready after {within:?}: {last}\n{}", self.log(Component::ApiServer, 20)))
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Component::Etcd => "etcd",
            Component::ApiServer => "apiserver",
            Component::ControllerManager => "controller-manager",
        })
    }
}

impl Ran {
    /// The standard output of a program that must not fail.
    pub fn expect(self, what: &str) -> String {
        assert!(self.success, "{what}: {}{}", self.stdout, self.stderr);
        self.stdout
    }

    /// The standard error of a program that must fail.
    pub fn expect_err(self, what: &str) -> String {
        assert!(!self.success, "{what} should have failed: {}{}", self.stdout, self.stderr);
        self.stderr
    }
}

/// Waits until a condition holds.
///
/// # Panics
/// If it does not hold within the time limit.
pub async fn until(what: &str, within: Duration, mut holds: impl AsyncFnMut() -> bool) {
    eventually(what, within, async || holds().await.then_some(())).await;
}

/// Waits until a value exists.
///
/// # Panics
/// If there is none within the time limit.
pub async fn eventually<T>(what: &str, within: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    settled(what, within, async || look().await.ok_or_else(|| "nothing yet".to_owned())).await
}

/// Waits until an operation succeeds.
///
/// # Panics
/// If it does not succeed within the time limit; reports the last error.
pub async fn settled<T>(
    what: &str,
    within: Duration,
    mut attempt: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let deadline = Instant::now() + within;
    let mut last = String::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match tokio::time::timeout(left.max(POLL), attempt()).await {
            Ok(Ok(found)) => return found,
            Ok(Err(error)) => last = error,
            Err(_) if last.is_empty() => last = "no answer".to_owned(),
            Err(_) => {}
        }
        assert!(!left.is_zero(), "waited {within:?} in vain: {what}: {last}");
        tokio::time::sleep(POLL).await;
    }
}

/// The sum of the samples of a name whose labels contain all of `labels`.
pub fn sum(metrics: &str, name: &str, labels: &[&str]) -> f64 {
    metrics
        .lines()
        .filter_map(|line| line.split_once(['{', ' ']).filter(|(found, _)| *found == name).map(|_| line))
        .filter(|line| labels.iter().all(|label| line.contains(label)))
        .filter_map(|line| line.rsplit_once(' ').and_then(|(_, value)| value.parse::<f64>().ok()))
        .sum()
}

/// Parses an object of the API from JSON.
pub fn from_json<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("an object of the API")
}

async fn client(kubeconfig: &Path) -> Client {
    let file = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
    Client::try_from(config.expect("a kubeconfig")).expect("a client")
}

fn write_identities(layout: &Layout) -> io::Result<Authority> {
    let folder = layout.folder.as_path();
    let authority = Authority::new("outrigger e2e");
    fs::write(folder.join("ca.crt"), authority.pem())?;
    authority
        .server(&["127.0.0.1", "localhost", "kubernetes", "kubernetes.default.svc", "10.0.0.1"])
        .write(folder, "apiserver")?;
    let tokens = KeyPair::generate().expect("a key");
    fs::write(folder.join("service-account.key"), tokens.serialize_pem())?;
    fs::write(folder.join("service-account.pub"), tokens.public_key_pem())?;
    fs::write(folder.join("audit-policy.json"), audit_policy().to_string())?;
    let server = format!("https://127.0.0.1:{}", layout.api);
    for (file, user) in [("admin", "e2e-admin"), ("controller-manager", "system:kube-controller-manager")] {
        let pair = authority.client(user, "system:masters");
        let text = kubeconfig(&server, authority.pem(), &Proof::Certificate(&pair), "default").to_string();
        fs::write(folder.join(format!("{file}.kubeconfig")), text)?;
    }
    Ok(authority)
}

fn run(mut command: Command, input: &str) -> Ran {
    use io::Write as _;
    use std::process::Stdio;
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
    let stdin = child.stdin.take();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input.as_bytes())));
        child.wait_with_output()
    });
    let output = output.unwrap_or_else(|error| panic!("{name}: {error}"));
    Ran {
        success: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
