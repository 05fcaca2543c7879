//! The configurations that pods are injected under.

use std::sync::{Arc, LazyLock};

use outrigger::{
    config::{Compat, InjectorConfig, Source},
    inject::{self, Facts, Outcome, PodRequest, Refusal},
};
use serde_json::{Value, json};

pub(crate) struct Configuration {
    pub(crate) name: String,
    pub(crate) mesh: Arc<InjectorConfig>,
    /// Whether its templates are the embedded ones.
    is_embedded: bool,
}

impl Configuration {
    /// Whether the promises apply that `compat: istio` and foreign templates need not keep.
    pub(crate) fn is_ours(&self) -> bool {
        self.is_embedded && self.mesh.compat() == Compat::Outrigger
    }

    pub(crate) fn run(&self, pod: &Value) -> Result<Outcome, Refusal> {
        inject::run(&self.mesh, &PodRequest::new("shop", pod.clone()), &Facts::of(&self.mesh, "shop"))
    }
}

/// Every template, in configurations that make the most of its branches, under both compatibilities.
pub(crate) static ALL: LazyLock<Vec<Configuration>> = LazyLock::new(|| {
    let busy = json!({
        "global": {"network": "net", "logAsJson": true, "imagePullSecrets": ["pull"], "proxy": {"tracer": "datadog"}, "mountMtlsCerts": true},
        "pilot": {"cni": {"enabled": true, "provider": "multus"}},
    });
    let telemetry = json!({"extensionProviders": [{"name": "o", "opentelemetry": {
        "service": "otel.example", "port": 4317, "serviceAttributeEnrichment": "OTEL_SEMANTIC_CONVENTIONS",
    }}]});
    let mut all = Vec::new();
    for compat in ["outrigger", "istio"] {
        for template in ["sidecar", "gateway", "grpc-agent", "grpc-simple", "careless"] {
            for (native, values, mesh) in
                [("disabled", json!({}), json!({})), ("enabled", busy.clone(), telemetry.clone())]
            {
                let bundle = json!({
                    "compat": compat, "nativeSidecars": native, "values": values, "mesh": mesh,
                    "injector": {"defaultTemplates": [template], "templates": {"careless": CARELESS}},
                });
                all.push(configuration(
                    format!("{compat} {template} {native}"),
                    bundle,
                    template != "careless",
                ));
            }
        }
        let openshift = json!({
            "compat": compat, "platform": "openshift",
            "namespaces": [{"name": "shop", "annotations": {
                "openshift.io/sa.scc.uid-range": "1000620000/10000",
                "openshift.io/sa.scc.supplemental-groups": "1000620000/10000",
            }}],
        });
        all.push(configuration(format!("{compat} openshift"), openshift, true));
    }
    all
});

/// The configurations that must keep every promise.
pub(crate) static OURS: LazyLock<Vec<&Configuration>> =
    LazyLock::new(|| ALL.iter().filter(|configuration| configuration.is_ours()).collect());

fn configuration(name: String, mut bundle: Value, is_embedded: bool) -> Configuration {
    bundle["apiVersion"] = json!("outrigger.dev/v1alpha1");
    bundle["kind"] = json!("Bundle");
    let mesh = match InjectorConfig::from_bundle(Source { name: "bundle", text: &bundle.to_string() }) {
        Ok((mesh, _)) => mesh,
        Err(error) => panic!("{name}: {error}"),
    };
    Configuration { name, mesh: Arc::new(mesh), is_embedded }
}

/// A configuration with one custom template; `None` if it is refused.
pub(crate) fn with_template(text: &str) -> Option<InjectorConfig> {
    let config =
        json!({"policy": "enabled", "defaultTemplates": ["t"], "templates": {"t": text}}).to_string();
    let installation = outrigger::config::Installation {
        absent: outrigger::config::Absent::AsInIstio,
        ..outrigger::config::Installation::default()
    };
    let source = |name, text| Source { name, text };
    let values = r#"{"global": {"hub": "example.com/istio", "tag": "1", "proxy": {"image": "proxyv2"}, "list": ["x", "y"], "map": {"k": "v", "l": {"m": "n"}}}}"#;
    let mesh = r#"{"rootNamespace": "istio-system"}"#;
    InjectorConfig::from_config_map(
        source("config", &config),
        source("values", values),
        source("mesh", mesh),
        installation,
    )
    .ok()
    .map(|(mesh, _)| mesh)
}

/// A template that quotes nothing.
const CARELESS: &str = r#"
metadata:
  annotations:
    plain: {{ index .ObjectMeta.Labels "version" }}
    inside: a-{{ .Spec.ServiceAccountName }}-b # {{ .Spec.NodeName }}
    single: '{{ .Spec.ServiceAccountName }}'
    double: "{{ .Spec.ServiceAccountName }}"
    block: |
      {{ .DeploymentMeta.Name }}
      {{ .TypeMeta.Kind | indent 6 }}
    folded: >-
      {{ .TypeMeta.APIVersion }}
    {{- range $key, $value := .ObjectMeta.Labels }}
    copied/{{ $key }}: {{ $value }}
    {{- end }}
spec:
  containers:
  - name: istio-proxy
    image: {{ .ProxyImage }}
    command: [{{ .Spec.ServiceAccountName }}, {{ .Spec.NodeName }}]
    args:
    {{- range .Spec.Containers }}
    - {{ .Name }}
    - {{ .Image | upper }}
    - {{ printf "%s=%s" .Name .Image }}
    - {{ toYaml .Ports | nindent 6 }}
    {{- end }}
"#;
