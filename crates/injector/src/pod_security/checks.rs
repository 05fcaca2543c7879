//! The checks, one function for each of Kubernetes' (`policy/check_*.go`), with the minor version from which each rule applies.

use serde_json::Value;

use super::{Finding, Level, Subject};
use crate::pod;

const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
/// Each type, and the minor version from which it is allowed.
const SELINUX_TYPES: [(&str, u32); 5] = [
    ("", 0),
    ("container_t", 0),
    ("container_init_t", 0),
    ("container_kvm_t", 0),
    ("container_engine_t", 31),
];
/// Each sysctl, and the minor version from which it is allowed.
const SYSCTLS: [(&str, u32); 14] = [
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
    ("net.ipv4.tcp_slow_start_after_idle", 37),
    ("net.ipv4.tcp_notsent_lowat", 37),
];
/// The sources of volumes that `restricted` allows.
const VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];
/// The sources that it does not allow, so that a message can name them.
const OTHER_VOLUMES: [&str; 21] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "nfs",
    "iscsi",
    "glusterfs",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "fc",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "storageos",
];
const PROFILES: [&str; 2] = ["RuntimeDefault", "Localhost"];
const SECCOMP_TYPE: &str = "securityContext.seccompProfile.type";
const RUN_AS_NON_ROOT: &str = "securityContext.runAsNonRoot";
const CAPABILITIES_ADD: &str = "securityContext.capabilities.add";
const APP_ARMOR_ANNOTATIONS: &str = "container.apparmor.security.beta.kubernetes.io/";
const SECCOMP_ANNOTATION: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_ANNOTATIONS: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// A pod that is judged.
struct View<'p> {
    pod: &'p Value,
    /// Init containers, containers, ephemeral containers (`visitContainers`).
    containers: Vec<&'p Value>,
    minor: u32,
    found: Vec<Finding>,
}

/// Everything that a level of a minor version does not allow.
pub(super) fn all(pod: &Value, level: Level, minor: u32) -> Vec<Finding> {
    if level == Level::Privileged {
        return Vec::new();
    }
    let lists = [pod::init_containers(pod), pod::containers(pod), pod::spec_list(pod, "ephemeralContainers")];
    let containers = lists.into_iter().flatten().collect();
    let mut view = View { pod, containers, minor, found: Vec::new() };
    let is_restricted = level == Level::Restricted;
    view.app_armor();
    if !is_restricted || minor < 22 {
        view.capabilities();
    }
    view.host_namespaces();
    if !is_restricted {
        view.host_paths();
    }
    view.host_ports();
    if minor >= 34 {
        view.hosts_of_handlers();
    }
    view.privileged();
    if is_restricted || minor < 35 || !view.has_user_namespace() {
        view.proc_mount();
    }
    view.selinux();
    if minor < 19 {
        view.seccomp_annotations();
    } else if !is_restricted {
        view.seccomp("seccompProfile_baseline", false);
    }
    view.sysctls();
    view.host_process();
    if is_restricted {
        view.restricted();
    }
    view.found
}

/// The security context of a pod (below `spec`) or of a container.
fn context<'p>(holder: &'p Value, path: &[&str]) -> Option<&'p Value> {
    pod::at(holder.get("securityContext")?, path).filter(|value| !value.is_null())
}

fn text<'p>(value: &'p Value, key: &str) -> &'p str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn is_true(value: Option<&Value>) -> bool {
    value.and_then(Value::as_bool) == Some(true)
}

fn texts(value: Option<&Value>) -> impl Iterator<Item = &str> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

impl<'p> View<'p> {
    fn spec(&self, key: &str) -> Option<&'p Value> {
        self.pod.get("spec")?.get(key).filter(|value| !value.is_null())
    }

    fn holders(&self) -> Vec<(Subject, &'p Value)> {
        let of_pod = self.pod.get("spec").map(|spec| (Subject::Pod, spec));
        of_pod.into_iter().chain(self.containers.iter().map(|it| (named(it), *it))).collect()
    }

    fn tell(&mut self, check: &'static str, subject: Subject, field: &'static str, found: Option<String>) {
        self.found.push(Finding { check, subject, field, found });
    }

    fn has_user_namespace(&self) -> bool {
        self.spec("hostUsers").and_then(Value::as_bool) == Some(false)
    }

    fn is_for_windows(&self) -> bool {
        self.minor >= 25 && self.spec("os").is_some_and(|os| text(os, "name") == "windows")
    }

    fn app_armor(&mut self) {
        const CHECK: &str = "appArmorProfile";
        for (subject, holder) in self.holders() {
            if let Some(profile) = context(holder, &["appArmorProfile"])
                && !PROFILES.contains(&text(profile, "type"))
            {
                let found = text(profile, "type").to_owned();
                self.tell(CHECK, subject, "securityContext.appArmorProfile.type", Some(found));
            }
        }
        for (key, value) in pod::annotations(self.pod) {
            let is_allowed =
                value.is_empty() || value == "runtime/default" || value.starts_with("localhost/");
            if let Some(container) = key.strip_prefix(APP_ARMOR_ANNOTATIONS)
                && !is_allowed
            {
                let subject = Subject::Container(container.to_owned());
                self.tell(CHECK, subject, "annotation for AppArmor", Some(value.to_owned()));
            }
        }
    }

    fn capabilities(&mut self) {
        for container in self.containers.clone() {
            for added in texts(context(container, &["capabilities", "add"])) {
                if !CAPABILITIES.contains(&added) {
                    let found = Some(added.to_owned());
                    self.tell("capabilities_baseline", named(container), CAPABILITIES_ADD, found);
                }
            }
        }
    }

    fn host_namespaces(&mut self) {
        for field in ["hostNetwork", "hostPID", "hostIPC"] {
            if is_true(self.spec(field)) {
                self.tell("hostNamespaces", Subject::Pod, field, Some("true".to_owned()));
            }
        }
    }

    fn host_paths(&mut self) {
        for volume in pod::spec_list(self.pod, "volumes") {
            if volume.get("hostPath").is_some_and(|source| !source.is_null()) {
                let subject = Subject::Volume(pod::name(volume).to_owned());
                self.tell("hostPathVolumes", subject, "hostPath", Some(String::new()));
            }
        }
    }

    fn host_ports(&mut self) {
        for container in self.containers.clone() {
            for port in container.get("ports").and_then(Value::as_array).into_iter().flatten() {
                if let Some(port) = port.get("hostPort").and_then(Value::as_i64).filter(|port| *port != 0) {
                    self.tell("hostPorts", named(container), "ports.hostPort", Some(port.to_string()));
                }
            }
        }
    }

    fn hosts_of_handlers(&mut self) {
        const HANDLERS: [(&[&str], &str); 5] = [
            (&["livenessProbe"], "livenessProbe host"),
            (&["readinessProbe"], "readinessProbe host"),
            (&["startupProbe"], "startupProbe host"),
            (&["lifecycle", "postStart"], "lifecycle.postStart host"),
            (&["lifecycle", "preStop"], "lifecycle.preStop host"),
        ];
        for container in self.containers.clone() {
            for (path, field) in HANDLERS {
                let Some(handler) = pod::at(container, path) else { continue };
                for action in ["httpGet", "tcpSocket"] {
                    let host = handler.get(action).map(|action| text(action, "host")).unwrap_or_default();
                    if !host.is_empty() {
                        let found = Some(host.to_owned());
                        self.tell("hostProbesAndHostLifecycle", named(container), field, found);
                    }
                }
            }
        }
    }

    fn privileged(&mut self) {
        for container in self.containers.clone() {
            if is_true(context(container, &["privileged"])) {
                let found = Some("true".to_owned());
                self.tell("privileged", named(container), "securityContext.privileged", found);
            }
        }
    }

    fn proc_mount(&mut self) {
        for container in self.containers.clone() {
            let mount = context(container, &["procMount"]).and_then(Value::as_str);
            if let Some(mount) = mount.filter(|mount| *mount != "Default") {
                self.tell("procMount", named(container), "securityContext.procMount", Some(mount.to_owned()));
            }
        }
    }

    fn selinux(&mut self) {
        const FIELDS: [(&str, &str); 2] = [
            ("user", "securityContext.seLinuxOptions.user"),
            ("role", "securityContext.seLinuxOptions.role"),
        ];
        for (subject, holder) in self.holders() {
            let Some(options) = context(holder, &["seLinuxOptions"]) else { continue };
            let found = text(options, "type");
            if !SELINUX_TYPES.iter().any(|(allowed, since)| *allowed == found && self.minor >= *since) {
                let field = "securityContext.seLinuxOptions.type";
                self.tell("seLinuxOptions", subject.clone(), field, Some(found.to_owned()));
            }
            for (key, field) in FIELDS {
                if !text(options, key).is_empty() {
                    self.tell("seLinuxOptions", subject.clone(), field, Some(text(options, key).to_owned()));
                }
            }
        }
    }

    fn seccomp_annotations(&mut self) {
        let is_allowed = |value: &str| {
            matches!(value, "runtime/default" | "docker/default") || value.starts_with("localhost/")
        };
        let keys = std::iter::once((SECCOMP_ANNOTATION.to_owned(), Subject::Pod)).chain(
            self.containers.iter().map(|it| (format!("{SECCOMP_ANNOTATIONS}{}", pod::name(it)), named(it))),
        );
        for (key, subject) in keys.collect::<Vec<_>>() {
            if let Some(value) = pod::annotation(self.pod, &key).filter(|value| !is_allowed(value)) {
                let found = Some(value.to_owned());
                self.tell("seccompProfile_baseline", subject, "annotation for seccomp", found);
            }
        }
    }

    /// Forbidden profiles, and with `is_required` also containers without any.
    fn seccomp(&mut self, check: &'static str, is_required: bool) {
        let mut is_set = false;
        for (subject, holder) in self.holders() {
            let profile = context(holder, &["seccompProfile"]).map(|profile| text(profile, "type"));
            match profile {
                Some(profile) if PROFILES.contains(&profile) => is_set |= subject == Subject::Pod,
                Some(profile) => self.tell(check, subject, SECCOMP_TYPE, Some(profile.to_owned())),
                None if is_required && subject != Subject::Pod && !is_set => {
                    self.tell(check, subject, SECCOMP_TYPE, None);
                }
                None => {}
            }
        }
    }

    fn sysctls(&mut self) {
        let spec = self.pod.get("spec");
        let sysctls = spec.and_then(|spec| context(spec, &["sysctls"])).and_then(Value::as_array);
        for sysctl in sysctls.into_iter().flatten() {
            let name = text(sysctl, "name");
            if !SYSCTLS.iter().any(|(allowed, since)| *allowed == name && self.minor >= *since) {
                self.tell("sysctls", Subject::Pod, "securityContext.sysctls", Some(name.to_owned()));
            }
        }
    }

    fn host_process(&mut self) {
        for (subject, holder) in self.holders() {
            if is_true(context(holder, &["windowsOptions", "hostProcess"])) {
                let field = "securityContext.windowsOptions.hostProcess";
                self.tell("windowsHostProcess", subject, field, Some("true".to_owned()));
            }
        }
    }

    fn restricted(&mut self) {
        let is_for_windows = self.is_for_windows();
        let is_relaxed = self.minor >= 35 && self.has_user_namespace();
        if self.minor >= 8 && !is_for_windows {
            self.privilege_escalation();
        }
        if self.minor >= 22 && !is_for_windows {
            self.all_capabilities();
        }
        self.volumes();
        if !is_relaxed {
            self.run_as_non_root();
            if self.minor >= 23 {
                self.run_as_user();
            }
        }
        if self.minor >= 19 && !is_for_windows {
            self.seccomp("seccompProfile_restricted", true);
        }
    }

    fn privilege_escalation(&mut self) {
        for container in self.containers.clone() {
            let found = context(container, &["allowPrivilegeEscalation"]);
            if found.and_then(Value::as_bool) != Some(false) {
                let found = found.map(|_| "true".to_owned());
                let field = "securityContext.allowPrivilegeEscalation";
                self.tell("allowPrivilegeEscalation", named(container), field, found);
            }
        }
    }

    fn all_capabilities(&mut self) {
        const CHECK: &str = "capabilities_restricted";
        for container in self.containers.clone() {
            if !texts(context(container, &["capabilities", "drop"])).any(|name| name == "ALL") {
                self.tell(CHECK, named(container), "securityContext.capabilities.drop: [ALL]", None);
            }
            for added in texts(context(container, &["capabilities", "add"])) {
                if added != "NET_BIND_SERVICE" {
                    self.tell(CHECK, named(container), CAPABILITIES_ADD, Some(added.to_owned()));
                }
            }
        }
    }

    fn volumes(&mut self) {
        let is_given = |volume: &Value, source: &str| volume.get(source).is_some_and(|it| !it.is_null());
        for volume in pod::spec_list(self.pod, "volumes") {
            // API servers make an emptyDir of a volume without a source (`SetDefaults_Volume`) before they judge it.
            let is_empty = volume
                .as_object()
                .is_some_and(|volume| volume.iter().all(|(key, value)| key == "name" || value.is_null()));
            if is_empty || VOLUMES.iter().any(|source| is_given(volume, source)) {
                continue;
            }
            let field = OTHER_VOLUMES.into_iter().find(|source| is_given(volume, source)).unwrap_or("source");
            let subject = Subject::Volume(pod::name(volume).to_owned());
            self.tell("restrictedVolumes", subject, field, Some(String::new()));
        }
    }

    fn run_as_non_root(&mut self) {
        const CHECK: &str = "runAsNonRoot";
        let mut is_set = false;
        for (subject, holder) in self.holders() {
            match context(holder, &["runAsNonRoot"]).and_then(Value::as_bool) {
                Some(true) => is_set |= subject == Subject::Pod,
                Some(false) => self.tell(CHECK, subject, RUN_AS_NON_ROOT, Some("false".to_owned())),
                None if subject != Subject::Pod && !is_set => {
                    self.tell(CHECK, subject, RUN_AS_NON_ROOT, None)
                }
                None => {}
            }
        }
    }

    fn run_as_user(&mut self) {
        for (subject, holder) in self.holders() {
            if context(holder, &["runAsUser"]).and_then(Value::as_i64) == Some(0) {
                self.tell("runAsUser", subject, "securityContext.runAsUser", Some("0".to_owned()));
            }
        }
    }
}

fn named(container: &Value) -> Subject {
    Subject::Container(pod::name(container).to_owned())
}
