//! The chart, installed by Helm, with processes of the test in place of its pods, since there is no kubelet to run
//! those.
//!
//! Everything else is the chart's: the arguments and the environment of the container, the ServiceAccount with its
//! permissions, Service, webhooks, configuration. The Service points to the test's balancer instead of the pods.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{
    balancer::{Balancer, Probe},
    control_plane::{ControlPlane, PATIENCE, Ran, settled},
    outrigger_process::{Outrigger, OutriggerProcess},
    pods::{dry_run, is_injected},
};

/// The chart.
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/outrigger");

/// Where the container has the Secret with the certificate.
const MOUNTED: &str = "/etc/outrigger/certificate";

/// A release of the chart and its replicas.
pub struct Release {
    name: String,
    /// The namespace it is installed in.
    pub namespace: String,
    /// The balancer behind the Service.
    pub balancer: Balancer,
    /// The processes; the balancer knows them as `g0r0`, `g0r1` …, and after an upgrade as `g1r0` ….
    pub replicas: Vec<OutriggerProcess>,
    generation: usize,
    /// The full name of its objects.
    pub full_name: String,
    /// The directory with the certificate's files that a kubelet would mount, if they come from a Secret.
    pub mounted: Option<PathBuf>,
}

impl Release {
    /// Installs the chart with values (`a.b=c`) and starts replicas.
    pub async fn install(
        control_plane: &ControlPlane,
        name: &str,
        values: &[&str],
        replicas: usize,
    ) -> Release {
        let mut release = Release::without_replicas(control_plane, name, "outrigger-system", values).await;
        for index in 0..replicas {
            release.start_replica(control_plane, index, &[]).await;
        }
        release.balancer.wait_ready(replicas).await;
        release
    }

    /// Installs the chart and starts nothing.
    pub async fn without_replicas(
        control_plane: &ControlPlane,
        name: &str,
        namespace: &str,
        values: &[&str],
    ) -> Release {
        let balancer = Balancer::start(Probe::default()).await;
        let mut release = Release {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            balancer,
            replicas: Vec::new(),
            generation: 0,
            full_name: name.to_owned(),
            mounted: None,
        };
        release.helm(control_plane, "install", values).await.expect("helm install");
        let deployments = format!("app.kubernetes.io/instance={name}");
        let get = [
            "get",
            "deployment",
            "-n",
            namespace,
            "-l",
            &deployments,
            "-o",
            "jsonpath={.items[0].metadata.name}",
        ];
        release.full_name = control_plane.kubectl(&get).await;
        release
    }

    /// `helm install` or `helm upgrade`; the Service leads to the balancer.
    pub async fn helm(&self, control_plane: &ControlPlane, verb: &str, values: &[&str]) -> Ran {
        let port = format!("service.port={}", self.balancer.port());
        let mut arguments = vec![verb, &self.name, CHART, "-n", &self.namespace];
        if verb == "install" {
            arguments.push("--create-namespace");
        }
        let image = "image.repository=registry.example.com/outrigger";
        for value in [image, "service.externalName=localhost", &port].iter().chain(values) {
            arguments.extend(["--set", value]);
        }
        control_plane.helm(&arguments).await
    }

    /// `helm upgrade`, followed by the Deployment's behavior: new replicas start, and the old ones stop when those are
    /// ready.
    pub async fn upgrade(&mut self, control_plane: &ControlPlane, values: &[&str]) {
        self.helm(control_plane, "upgrade", values).await.expect("helm upgrade");
        self.roll(control_plane).await;
    }

    /// A Deployment's behavior after its template has changed: new replicas start, and the old ones stop when those are
    /// ready.
    pub async fn roll(&mut self, control_plane: &ControlPlane) {
        let old = std::mem::take(&mut self.replicas);
        self.generation += 1;
        for index in 0..old.len() {
            self.start_replica(control_plane, index, &[]).await;
        }
        self.balancer.wait_ready(old.len() * 2).await;
        for (index, mut process) in old.into_iter().enumerate() {
            self.balancer.terminating(&format!("g{}r{index}", self.generation - 1));
            process.terminate().await;
        }
    }

    /// Starts one replica like the Deployment's container, with additional arguments, and adds it to the Service.
    pub async fn start_replica(&mut self, control_plane: &ControlPlane, index: usize, more: &[&str]) {
        let mut process = self.spawn_replica(control_plane, index, more).await;
        process.wait_ready().await;
        self.balancer.add(&format!("g{}r{index}", self.generation), &process);
        self.replicas.push(process);
    }

    /// A replica that is neither waited for nor added to the Service.
    pub async fn spawn_replica(
        &self,
        control_plane: &ControlPlane,
        index: usize,
        more: &[&str],
    ) -> OutriggerProcess {
        let container = self.container(control_plane).await;
        let strings = |value: &Value| -> Vec<String> {
            value
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|text| text.as_str().map(str::to_owned))
                .collect()
        };
        let account = self.service_account(control_plane).await;
        let kubeconfig = control_plane.kubeconfig_for(&self.namespace, &account).await;
        let arguments: Vec<String> = strings(&container["args"])
            .into_iter()
            .filter(|argument| {
                argument != "serve" && !argument.starts_with("--listen") && !argument.starts_with("--admin")
            })
            .map(|argument| match &self.mounted {
                Some(folder) => argument.replace(MOUNTED, &folder.display().to_string()),
                None => argument,
            })
            .collect();
        let mut outrigger = Outrigger::serve()
            .args(arguments.iter().map(String::as_str))
            .flag("kubeconfig", kubeconfig.display())
            // No kubelet and no endpoints are behind the readiness of a process here.
            .flag("activation-delay", "0s")
            .args(more.iter().copied());
        for variable in container["env"].as_array().into_iter().flatten() {
            let name = variable["name"].as_str().expect("a name");
            let value = match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
                Some("metadata.namespace") => self.namespace.clone(),
                Some("metadata.name") => format!("{}-g{}r{index}", self.full_name, self.generation),
                Some(other) => panic!("{name} comes from {other}"),
                None => variable["value"].as_str().expect("a value").to_owned(),
            };
            outrigger = outrigger.env(name, &value);
        }
        outrigger.spawn()
    }

    async fn container(&self, control_plane: &ControlPlane) -> Value {
        let get = ["get", "deployment", &self.full_name, "-n", &self.namespace, "-o", "json"];
        let deployment: Value =
            serde_json::from_str(&control_plane.kubectl(&get).await).expect("a Deployment");
        deployment["spec"]["template"]["spec"]["containers"][0].clone()
    }

    /// The name of its ServiceAccount.
    pub async fn service_account(&self, control_plane: &ControlPlane) -> String {
        let path = "jsonpath={.spec.template.spec.serviceAccountName}";
        control_plane
            .kubectl(&["get", "deployment", &self.full_name, "-n", &self.namespace, "-o", path])
            .await
    }

    /// Waits until pods of a namespace get proxies.
    pub async fn wait_injecting(&self, control_plane: &ControlPlane, namespace: &str) -> Value {
        let client = control_plane.client().await;
        settled(&format!("pods of {namespace} get proxies"), PATIENCE, async || {
            match dry_run(&client, namespace, &plain_pod("probe")).await {
                Ok(pod) if is_injected(&pod) => Ok(pod),
                Ok(_) => Err("the pod was left as it is".to_owned()),
                Err(error) => Err(error),
            }
        })
        .await
    }
}

/// A pod as people write it.
pub fn plain_pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "main", "image": "example.com/main:1"}]},
    })
}
