//! The programs of a control plane and their flags.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use serde_json::{Value, json};

use super::Flavour;

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Programs {
    folder: PathBuf,
}

/// The files and ports of one control plane.
pub struct Layout {
    /// A folder of its own.
    pub folder: PathBuf,
    /// Port of etcd's clients.
    pub etcd: u16,
    /// Size limit of etcd, or its default.
    pub etcd_quota: Option<u64>,
    /// Port of etcd's peers, of which there are none.
    pub etcd_peer: u16,
    /// Port of the API server.
    pub api: u16,
    /// Further flags of the API server.
    pub flags: Vec<String>,
}

impl Programs {
    /// Finds the programs: `OUTRIGGER_CONTROLPLANE` is their directory, or `hack/controlplane/build` builds missing
    /// ones and prints it. Called once per process.
    pub fn find() -> Programs {
        static FOUND: OnceLock<PathBuf> = OnceLock::new();
        let folder = FOUND.get_or_init(|| match env::var_os("OUTRIGGER_CONTROLPLANE") {
            Some(folder) => PathBuf::from(folder),
            None => build(),
        });
        Programs { folder: folder.clone() }
    }

    /// kubectl.
    pub fn kubectl(&self) -> PathBuf {
        self.folder.join("kubernetes/kubectl")
    }

    /// helm.
    pub fn helm(&self) -> PathBuf {
        self.folder.join("helm/helm")
    }

    /// kustomize, which runs functions, as kubectl's does not.
    pub fn kustomize(&self) -> PathBuf {
        self.folder.join("kustomize/kustomize")
    }

    /// etcd, which trades durability for speed.
    pub fn etcd(&self, layout: &Layout) -> Command {
        let mut command = Command::new(self.folder.join("etcd/etcd"));
        let client = format!("http://127.0.0.1:{}", layout.etcd);
        let peer = format!("http://127.0.0.1:{}", layout.etcd_peer);
        command
            .args(["--name", "e2e", "--unsafe-no-fsync", "--log-level", "warn"])
            .arg(flag("data-dir", layout.folder.join("etcd").display()))
            .arg(flag("listen-client-urls", &client))
            .arg(flag("advertise-client-urls", &client))
            .arg(flag("listen-peer-urls", &peer))
            .arg(flag("initial-advertise-peer-urls", &peer))
            .arg(flag("initial-cluster", format!("e2e={peer}")));
        if let Some(quota) = layout.etcd_quota {
            command.arg(flag("quota-backend-bytes", quota));
        }
        command
    }

    /// kube-apiserver on loopback, with RBAC and an audit log, and no node or proxy behind it.
    pub fn apiserver(&self, flavour: Flavour, layout: &Layout) -> Command {
        let program = match flavour {
            Flavour::Current => "kubernetes/kube-apiserver",
            Flavour::Oldest => "kubernetes-oldest/kube-apiserver",
        };
        let mut command = Command::new(self.folder.join(program));
        let file = |name: &str| layout.folder.join(name).display().to_string();
        command
            .arg(flag("etcd-servers", format!("http://127.0.0.1:{}", layout.etcd)))
            .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"])
            .arg(flag("secure-port", layout.api))
            // A loopback address cannot be the endpoint of a Service.
            .arg("--endpoint-reconciler-type=none")
            .arg("--service-cluster-ip-range=10.0.0.0/24")
            .arg("--authorization-mode=RBAC")
            .arg("--allow-privileged=true")
            .arg(flag("client-ca-file", file("ca.crt")))
            .arg(flag("tls-cert-file", file("apiserver.crt")))
            .arg(flag("tls-private-key-file", file("apiserver.key")))
            .arg("--service-account-issuer=https://kubernetes.default.svc")
            .arg(flag("service-account-key-file", file("service-account.pub")))
            .arg(flag("service-account-signing-key-file", file("service-account.key")))
            .arg("--api-audiences=https://kubernetes.default.svc")
            .arg(flag("audit-policy-file", file("audit-policy.json")))
            .arg(flag("audit-log-path", file("audit.log")))
            .arg("--audit-log-mode=blocking")
            .args(["--profiling=false", "--v=2"])
            .args(&layout.flags);
        command
    }

    /// kube-controller-manager with the controllers that make pods, and those that tidy up.
    pub fn controller_manager(&self, layout: &Layout) -> Command {
        const CONTROLLERS: [&str; 17] = [
            "daemonset-controller",
            "deployment-controller",
            "replicaset-controller",
            "statefulset-controller",
            "job-controller",
            "cronjob-controller",
            "namespace-controller",
            "garbage-collector-controller",
            "serviceaccount-controller",
            "serviceaccount-token-controller",
            "root-ca-certificate-publisher-controller",
            "resourcequota-controller",
            "endpointslice-controller",
            "disruption-controller",
            "horizontal-pod-autoscaler-controller",
            "clusterrole-aggregation-controller",
            "replicationcontroller-controller",
        ];
        let mut command = Command::new(self.folder.join("kubernetes/kube-controller-manager"));
        command
            .arg(flag("kubeconfig", layout.folder.join("controller-manager.kubeconfig").display()))
            .arg(flag("controllers", CONTROLLERS.join(",")))
            .arg(flag(
                "service-account-private-key-file",
                layout.folder.join("service-account.key").display(),
            ))
            .arg(flag("root-ca-file", layout.folder.join("ca.crt").display()))
            .args(["--leader-elect=false", "--secure-port=0", "--bind-address=127.0.0.1"])
            .args(["--kube-api-qps=300", "--kube-api-burst=600", "--profiling=false", "--v=2"]);
        command
    }
}

/// The audit policy: pods with their bodies (the webhook's patches are then in the annotations), everything else as
/// metadata, without the control plane's own requests.
pub fn audit_policy() -> Value {
    json!({
        "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "Request", "resources": [{"group": "", "resources": ["pods"]}], "verbs": ["create"]},
            {"level": "None", "users": ["system:apiserver", "system:kube-controller-manager", "system:anonymous"]},
            {"level": "Metadata"},
        ],
    })
}

fn flag(name: &str, value: impl std::fmt::Display) -> String {
    format!("--{name}={value}")
}

fn build() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("hack/controlplane/build");
    let output = Command::new(&script).stderr(Stdio::inherit()).output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}", script.display()));
    assert!(output.status.success(), "{}: {}", script.display(), output.status);
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}

/// The last lines of a log, for messages.
pub fn tail(file: &Path, lines: usize) -> io::Result<String> {
    let text = fs::read(file)?;
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    Ok(all.split_at(all.len().saturating_sub(lines)).1.join("\n"))
}
