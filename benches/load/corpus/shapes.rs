//! Pods, no two of which are alike: containers, ports, probes, environment, volumes, resources, labels, annotations.
//!
//! Every name that the pod's author chooses carries the number of the pod, and so does a port; the rest is drawn.

use serde_json::{Map, Value};

use super::json::{Object, list, managed_fields, review as wrap, text, token_mount, token_volume};
use crate::prng::Prng;

/// The review of the creation of pod `number`.
pub fn review(number: usize, prng: &mut Prng) -> String {
    let shape =
        Shape { number, token: format!("kube-api-access-{}", prng.suffix(5)), volumes: prng.below(5) };
    let hash = prng.suffix(10);
    let app = format!("{}-{number}", prng.pick(&["cart", "search", "ledger", "mail", "quote", "render"]));
    let labels = strings(&[("app", app.clone()), ("pod-template-hash", hash.clone())], |extra| {
        for key in ["version", "team", "app.kubernetes.io/part-of", "tier", "release", "cost-centre"] {
            if prng.once_in(3) {
                extra.push((key, format!("{}{}", prng.pick(&["v", "x", "blue-"]), prng.below(1000))));
            }
        }
    });
    let annotations = annotations(number, prng);
    let spec = shape.spec(prng);
    let owner = Object::new()
        .with("apiVersion", r#""apps/v1""#)
        .with("kind", r#""ReplicaSet""#)
        .with("name", text(&format!("{app}-{hash}")))
        .with("uid", text(&prng.uuid()))
        .with("controller", true)
        .with("blockOwnerDeletion", true)
        .end();
    let metadata = |managed: Option<&str>| {
        let metadata = Object::new()
            .with("generateName", text(&format!("{app}-{hash}-")))
            .with("namespace", r#""default""#)
            .with_strings("labels", &labels)
            .with_strings("annotations", &annotations)
            .with("ownerReferences", list(std::slice::from_ref(&owner)));
        match managed {
            Some(managed) => metadata.with("managedFields", managed).end(),
            None => metadata.end(),
        }
    };
    let owned = Object::new().with("metadata", metadata(None)).with("spec", &spec).end();
    let managed = managed_fields(&owned, prng);
    let pod = Object::new()
        .with("kind", r#""Pod""#)
        .with("apiVersion", r#""v1""#)
        .with("metadata", metadata(Some(&managed)))
        .with("spec", spec)
        .with("status", "{}")
        .end();
    wrap(&pod, prng)
}

fn strings<'a>(
    fixed: &[(&'a str, String)],
    more: impl FnOnce(&mut Vec<(&'a str, String)>),
) -> Map<String, Value> {
    let mut all = fixed.to_vec();
    more(&mut all);
    all.into_iter().map(|(key, value)| (key.to_owned(), Value::from(value))).collect()
}

fn annotations(number: usize, prng: &mut Prng) -> Map<String, Value> {
    strings(&[], |all| {
        if prng.once_in(2) {
            all.push(("checksum/config", format!("{:016x}{:016x}", prng.next(), prng.next())));
        }
        if prng.once_in(3) {
            all.push(("prometheus.io/scrape", "true".to_owned()));
            all.push(("prometheus.io/port", port(number).to_string()));
            all.push(("prometheus.io/path", format!("/metrics-{}", prng.below(50))));
        }
        if prng.once_in(4) {
            all.push(("sidecar.istio.io/proxyCPU", format!("{}m", 50 + prng.below(500))));
        }
        if prng.once_in(4) {
            all.push(("sidecar.istio.io/proxyMemory", format!("{}Mi", 64 + prng.below(512))));
        }
        if prng.once_in(6) {
            all.push((
                "traffic.sidecar.istio.io/excludeOutboundPorts",
                format!("{}", 3000 + prng.below(5000)),
            ));
        }
        if prng.once_in(6) {
            all.push((
                "traffic.sidecar.istio.io/excludeInboundPorts",
                format!("{}", 3000 + prng.below(5000)),
            ));
        }
        if prng.once_in(8) {
            all.push(("proxy.istio.io/config", format!("concurrency: {}\n", 1 + prng.below(8))));
        }
        if prng.once_in(3) {
            all.push(("example.com/owner", format!("team-{}@example.com", prng.below(10_000))));
        }
    })
}

/// A port of the pod's own, out of the way of the proxy's.
fn port(number: usize) -> usize {
    16_000 + number % 40_000
}

struct Shape {
    number: usize,
    token: String,
    volumes: usize,
}

impl Shape {
    fn spec(&self, prng: &mut Prng) -> String {
        let mut volumes: Vec<String> = (0..self.volumes).map(|index| self.volume(index, prng)).collect();
        volumes.push(token_volume(&self.token));
        let inits: Vec<String> = (0..[0, 0, 0, 1, 2][prng.below(5)])
            .map(|index| self.container(&format!("init-{index}"), false, prng))
            .collect();
        let containers: Vec<String> = (0..[1, 1, 1, 2, 2, 3][prng.below(6)])
            .map(|index| self.container(&format!("main-{index}"), true, prng))
            .collect();
        let mut tolerations: Vec<String> = ["not-ready", "unreachable"]
            .iter()
            .map(|what| format!(r#"{{"key":"node.kubernetes.io/{what}","operator":"Exists","effect":"NoExecute","tolerationSeconds":300}}"#))
            .collect();
        if prng.once_in(4) {
            let key = format!("dedicated-{}", prng.below(30));
            tolerations.insert(0, format!(r#"{{"key":"{key}","operator":"Exists","effect":"NoSchedule"}}"#));
        }
        Object::new()
            .with("volumes", list(&volumes))
            .with_list("initContainers", &inits)
            .with("containers", list(&containers))
            .with("restartPolicy", r#""Always""#)
            .with("terminationGracePeriodSeconds", 5 + prng.below(300))
            .with("dnsPolicy", r#""ClusterFirst""#)
            .with_if(prng.once_in(4), "nodeSelector", || format!(r#"{{"pool":"pool-{}"}}"#, self.number % 97))
            .with("serviceAccountName", text(&format!("account-{}", self.number)))
            .with("serviceAccount", text(&format!("account-{}", self.number)))
            .with("securityContext", security(prng))
            .with_if(prng.once_in(3), "imagePullSecrets", || r#"[{"name":"registry"}]"#.to_owned())
            .with_if(prng.once_in(3), "affinity", || self.affinity())
            .with("schedulerName", r#""default-scheduler""#)
            .with("tolerations", list(&tolerations))
            .with("priority", 0)
            .with("enableServiceLinks", true)
            .with("preemptionPolicy", r#""PreemptLowerPriority""#)
            .with_if(prng.once_in(4), "topologySpreadConstraints", || {
                format!(
                    r#"[{{"maxSkew":1,"topologyKey":"topology.kubernetes.io/zone","whenUnsatisfiable":"ScheduleAnyway","labelSelector":{{"matchLabels":{{"app":"{}"}}}}}}]"#,
                    self.number
                )
            })
            .end()
    }

    fn affinity(&self) -> String {
        format!(
            r#"{{"podAntiAffinity":{{"preferredDuringSchedulingIgnoredDuringExecution":[{{"weight":100,"podAffinityTerm":{{"labelSelector":{{"matchLabels":{{"app":"{}"}}}},"topologyKey":"kubernetes.io/hostname"}}}}]}}}}"#,
            self.number
        )
    }

    fn volume_name(&self, index: usize) -> String {
        format!("volume-{}-{index}", self.number)
    }

    fn volume(&self, index: usize, prng: &mut Prng) -> String {
        let name = self.volume_name(index);
        let source = match prng.below(5) {
            0 => r#""emptyDir":{}"#.to_owned(),
            1 => format!(r#""emptyDir":{{"medium":"Memory","sizeLimit":"{}Mi"}}"#, 1 + prng.below(256)),
            2 => format!(r#""configMap":{{"name":"config-{}","defaultMode":420}}"#, prng.below(9999)),
            3 => format!(r#""secret":{{"secretName":"secret-{}","defaultMode":420}}"#, prng.below(9999)),
            _ => format!(r#""persistentVolumeClaim":{{"claimName":"claim-{}"}}"#, prng.below(9999)),
        };
        format!(r#"{{"name":"{name}",{source}}}"#)
    }

    fn container(&self, role: &str, main: bool, prng: &mut Prng) -> String {
        let name = format!("{role}-{}", self.number);
        let first = role == "main-0";
        let ports = if main { self.ports(first, prng) } else { Vec::new() };
        let mut mounts = Vec::new();
        for index in 0..self.volumes {
            if prng.once_in(2) {
                let mount = Object::new()
                    .with("name", text(&self.volume_name(index)))
                    .with_if(prng.once_in(2), "readOnly", || "true".to_owned())
                    .with("mountPath", text(&format!("/srv/{index}/{}", prng.below(999))));
                mounts.push(mount.end());
            }
        }
        mounts.push(token_mount(&self.token));
        let environment: Vec<String> = (0..prng.below(10)).map(|index| variable(index, prng)).collect();
        let image =
            format!("registry.example.com/{}/{name}:{}.{}", prng.below(50), prng.below(9), prng.below(99));
        let probed = main && !ports.is_empty();
        Object::new()
            .with("name", text(&name))
            .with("image", text(&image))
            .with_if(prng.once_in(4), "command", || format!(r#"["/bin/{name}","--serve"]"#))
            .with_if(prng.once_in(3), "args", || format!(r#"["--shard={}","--verbose"]"#, self.number))
            .with_list("ports", &ports)
            .with_if(prng.once_in(5), "envFrom", || {
                format!(r#"[{{"configMapRef":{{"name":"env-{}"}}}}]"#, self.number)
            })
            .with_list("env", &environment)
            .with("resources", resources(prng))
            .with("volumeMounts", list(&mounts))
            .with_if(probed && prng.once_in(2), "livenessProbe", || probe(port(self.number), prng))
            .with_if(probed && prng.once_in(2), "readinessProbe", || probe(port(self.number), prng))
            .with_if(probed && prng.once_in(6), "startupProbe", || probe(port(self.number), prng))
            .with_if(main && prng.once_in(6), "lifecycle", || {
                format!(r#"{{"preStop":{{"exec":{{"command":["sleep","{}"]}}}}}}"#, prng.below(30))
            })
            .with("terminationMessagePath", r#""/dev/termination-log""#)
            .with("terminationMessagePolicy", r#""File""#)
            .with("imagePullPolicy", r#""IfNotPresent""#)
            .with_if(prng.once_in(3), "securityContext", || {
                format!(
                    r#"{{"allowPrivilegeEscalation":false,"readOnlyRootFilesystem":{}}}"#,
                    prng.once_in(2)
                )
            })
            .end()
    }

    fn ports(&self, first: bool, prng: &mut Prng) -> Vec<String> {
        let mut ports = Vec::new();
        if first {
            ports
                .push(format!(r#"{{"name":"http","containerPort":{},"protocol":"TCP"}}"#, port(self.number)));
        }
        for index in 0..prng.below(3) {
            // Every container has numbers of its own.
            let number = 2000 + ports.len() * 1000 + index + prng.below(900);
            ports.push(format!(r#"{{"containerPort":{number},"protocol":"TCP"}}"#));
        }
        ports
    }
}

fn security(prng: &mut Prng) -> String {
    Object::new()
        .with_if(prng.once_in(3), "runAsUser", || "10001".to_owned())
        .with_if(prng.once_in(3), "runAsNonRoot", || "true".to_owned())
        .with_if(prng.once_in(4), "fsGroup", || "2000".to_owned())
        .with_if(prng.once_in(4), "seccompProfile", || r#"{"type":"RuntimeDefault"}"#.to_owned())
        .end()
}

fn resources(prng: &mut Prng) -> String {
    let (cpu, memory) = (10 * (1 + prng.below(200)), 16 * (1 + prng.below(200)));
    let amount = |times: usize| format!(r#"{{"cpu":"{}m","memory":"{}Mi"}}"#, cpu * times, memory * times);
    Object::new()
        .with_if(prng.once_in(2), "limits", || amount(2))
        .with_if(!prng.once_in(4), "requests", || amount(1))
        .end()
}

fn variable(index: usize, prng: &mut Prng) -> String {
    let name =
        format!("{}_{index}", prng.pick(&["DATABASE_URL", "FEATURE", "LOG_LEVEL", "POOL_SIZE", "REGION"]));
    match prng.below(6) {
        0 => format!(
            r#"{{"name":"{name}","valueFrom":{{"fieldRef":{{"apiVersion":"v1","fieldPath":"status.podIP"}}}}}}"#
        ),
        1 => format!(
            r#"{{"name":"{name}","valueFrom":{{"secretKeyRef":{{"name":"secret-{}","key":"password"}}}}}}"#,
            prng.below(999)
        ),
        2 => format!(r#"{{"name":"{name}"}}"#),
        _ => format!(r#"{{"name":"{name}","value":"value-{:x}"}}"#, prng.next()),
    }
}

fn probe(port: usize, prng: &mut Prng) -> String {
    let action = match prng.below(5) {
        0 => format!(r#""tcpSocket":{{"port":{port}}}"#),
        1 => format!(r#""grpc":{{"port":{port},"service":""}}"#),
        2 => format!(r#""exec":{{"command":["/bin/check","--level={}"]}}"#, prng.below(10)),
        3 => format!(r#""httpGet":{{"path":"/live-{}","port":"http","scheme":"HTTP"}}"#, prng.below(100)),
        _ => format!(r#""httpGet":{{"path":"/ready-{}","port":{port},"scheme":"HTTP"}}"#, prng.below(100)),
    };
    let delay = if prng.once_in(3) {
        format!(r#","initialDelaySeconds":{}"#, 1 + prng.below(60))
    } else {
        String::new()
    };
    format!(
        r#"{{{action}{delay},"timeoutSeconds":1,"periodSeconds":{},"successThreshold":1,"failureThreshold":{}}}"#,
        5 + prng.below(30),
        1 + prng.below(9)
    )
}
