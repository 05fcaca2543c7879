//! Requests beyond the configuration are detected in the result, regardless of the method.

use serde_json::json;

use super::*;
use crate::{
    config::Source,
    inject::{self, Facts, Outcome, PodRequest},
};

const HEAD: &str = "apiVersion: outrigger.dev/v1alpha1\nkind: Bundle\nnativeSidecars: disabled";
const REFUSE: &str = "values: {sidecarInjectorWebhook: {privilegedProxies: refuse}}";

fn mesh(more: &str) -> InjectorConfig {
    let text = format!("{HEAD}\n{more}");
    InjectorConfig::from_bundle(Source { name: "bundle", text: &text }).unwrap().0
}

fn run(mesh: &InjectorConfig, pod: &Value) -> Result<Outcome, Refusal> {
    inject::run(mesh, &PodRequest::new("shop", pod.clone()), &Facts::of(mesh, "shop"))
}

/// The privileges for which the pod is denied under `refuse`; under `allow` it gets as many warnings, and is injected.
fn refused(allow: &InjectorConfig, refuse: &InjectorConfig, pod: &Value) -> Vec<String> {
    let asked = match run(refuse, pod) {
        Ok(_) => Vec::new(),
        Err(Refusal::Privileged(asked)) => {
            let refusal = Refusal::Privileged(asked.clone());
            assert_eq!((refusal.code(), refusal.reason()), (403, "PRIVILEGED_PROXY"));
            assert!(refusal.to_string().contains(&asked[0].to_string()), "{refusal}");
            asked
        }
        Err(other) => panic!("{other} {:?}", other.diagnosis()),
    };
    let Ok(Outcome::Injected(injection)) = run(allow, pod) else { panic!("{pod}") };
    let told = injection.warnings.iter().filter(|warning| warning.code == "PRIVILEGED_PROXY");
    let told: Vec<_> = told.map(ToString::to_string).collect();
    let wanted: Vec<_> = warnings(&asked).map(|warning| warning.to_string()).collect();
    assert_eq!(told, wanted);
    asked.iter().map(ToString::to_string).collect()
}

fn pod(annotations: Value, own: Value) -> Value {
    let mut pod = json!({"metadata": {"name": "a", "annotations": annotations}, "spec": {"containers": [{"name": "app", "image": "a"}]}});
    if !own.is_null() {
        pod["spec"]["containers"].as_array_mut().unwrap().push(own);
    }
    pod
}

fn own(more: Value) -> Value {
    let mut own = json!({"name": "istio-proxy", "image": "auto"});
    own.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    own
}

fn context(context: Value) -> Value {
    pod(json!({}), own(json!({"securityContext": context})))
}

fn proxy(fields: &[&str]) -> Vec<String> {
    fields.iter().map(|field| format!("container \"istio-proxy\": {field}")).collect()
}

// TM-10
#[test]
fn every_privilege_that_a_pod_asks_for_is_named() {
    let (allow, refuse) = (mesh(""), mesh(REFUSE));
    let root = "securityContext.runAsUser 0";
    let add = |name: &str| format!("securityContext.capabilities.add \"{name}\"");
    for (what, pod, fields) in [
        ("nothing", pod(json!({}), Value::Null), vec![]),
        ("harmless", context(json!({"runAsUser": 5, "readOnlyRootFilesystem": false})), vec![]),
        (
            "by annotation",
            pod(json!({"sidecar.istio.io/interceptionMode": "TPROXY"}), Value::Null),
            vec![add("NET_ADMIN"), root.to_owned()],
        ),
        (
            "by annotation",
            pod(json!({"sidecar.istio.io/capNetBindService": "true"}), Value::Null),
            vec![add("NET_BIND_SERVICE"), root.to_owned()],
        ),
        (
            "by ProxyConfig",
            pod(
                json!({"proxy.istio.io/config": "proxyMetadata: {IPTABLES_TRACE_LOGGING: 'true'}"}),
                Value::Null,
            ),
            vec![
                "securityContext.privileged true".to_owned(),
                "securityContext.allowPrivilegeEscalation true".to_owned(),
                add("NET_ADMIN"),
                root.to_owned(),
            ],
        ),
        (
            "privileged",
            context(json!({"privileged": true})),
            vec!["securityContext.privileged true".to_owned()],
        ),
        (
            "escalation",
            context(json!({"allowPrivilegeEscalation": true})),
            vec!["securityContext.allowPrivilegeEscalation true".to_owned()],
        ),
        ("capability", context(json!({"capabilities": {"add": ["cap_sys_admin"]}})), vec![add("sys_admin")]),
        (
            "capabilities kept",
            context(json!({"capabilities": {"drop": ["NET_RAW"]}})),
            vec!["securityContext.capabilities.drop without \"ALL\"".to_owned()],
        ),
        ("root", context(json!({"runAsUser": 0})), vec![root.to_owned()]),
        (
            "perhaps root",
            context(json!({"runAsNonRoot": false})),
            vec!["securityContext.runAsNonRoot false".to_owned()],
        ),
        (
            "unconfined",
            context(
                json!({"seccompProfile": {"type": "Unconfined"}, "appArmorProfile": {"type": "Unconfined"}}),
            ),
            vec![
                "securityContext.seccompProfile.type Unconfined".to_owned(),
                "securityContext.appArmorProfile.type Unconfined".to_owned(),
            ],
        ),
        (
            "unconfined by annotation",
            pod(
                json!({format!("{APP_ARMOR}istio-proxy"): "unconfined", format!("{APP_ARMOR}app"): "unconfined"}),
                Value::Null,
            ),
            vec!["annotation for AppArmor unconfined".to_owned()],
        ),
        (
            "proc",
            context(json!({"procMount": "Unmasked"})),
            vec!["securityContext.procMount \"Unmasked\"".to_owned()],
        ),
        (
            "SELinux",
            context(json!({"seLinuxOptions": {"type": "spc_t", "user": "u", "role": "", "level": "s0"}})),
            vec![
                "securityContext.seLinuxOptions.type \"spc_t\"".to_owned(),
                "securityContext.seLinuxOptions.user \"u\"".to_owned(),
            ],
        ),
        (
            "host process",
            {
                let mut pod = context(json!({"windowsOptions": {"hostProcess": true}}));
                pod["spec"]["os"] = json!({"name": "linux"});
                pod
            },
            vec!["securityContext.windowsOptions.hostProcess true".to_owned()],
        ),
        (
            "port of the node",
            pod(
                json!({}),
                own(json!({"ports": [{"containerPort": 80, "hostPort": 80}, {"containerPort": 81}]})),
            ),
            vec!["ports.hostPort 80".to_owned()],
        ),
    ] {
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        assert_eq!(refused(&allow, &refuse, &pod), proxy(&fields), "{what}: {pod}");
    }
}

/// The configuration grants privileges to the init container that writes the rules; additional ones are the pod's.
#[test]
fn what_the_configuration_gives_is_not_asked_for() {
    let (allow, refuse) = (mesh(""), mesh(REFUSE));
    let mut init = pod(json!({}), Value::Null);
    init["spec"]["initContainers"] = json!([{"name": "istio-init", "image": "auto", "securityContext": {"capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]}}}]);
    assert_eq!(refused(&allow, &refuse, &init), [""; 0]);
    init["spec"]["initContainers"][0]["securityContext"] = json!({"privileged": true});
    assert_eq!(
        refused(&allow, &refuse, &init),
        ["container \"istio-init\": securityContext.privileged true"]
    );
    let privileged = "global: {proxy: {privileged: true, capNetBindService: 'true'}}";
    let refuse =
        mesh(&format!("values: {{sidecarInjectorWebhook: {{privilegedProxies: refuse}}, {privileged}}}"));
    let allow = mesh(&format!("values: {{{privileged}}}"));
    let own = context(json!({"privileged": true, "runAsUser": 0, "allowPrivilegeEscalation": true}));
    assert_eq!(refused(&allow, &refuse, &own), [""; 0]);
    // Containers that the template creates only at the pod's request are not granted by the configuration.
    let none = "mesh: {defaultConfig: {interceptionMode: NONE}}";
    let (allow, refuse) = (mesh(none), mesh(&format!("{none}\n{REFUSE}")));
    let redirected = pod(json!({"sidecar.istio.io/interceptionMode": "REDIRECT"}), Value::Null);
    assert_eq!(
        refused(&allow, &refuse, &redirected),
        ["NET_ADMIN", "NET_RAW"]
            .map(|name| format!("container \"istio-init\": securityContext.capabilities.add \"{name}\""))
            .into_iter()
            .chain(["container \"istio-init\": securityContext.runAsUser 0".to_owned()])
            .collect::<Vec<_>>()
    );
}

/// A status that attributes the container to an injector hides nothing: fields that no template sets stay in it.
#[test]
fn a_forged_record_hides_no_privilege() {
    let (allow, refuse) = (mesh(""), mesh(REFUSE));
    let status = json!({"containers": ["istio-proxy"]}).to_string();
    let forged = json!({"name": "istio-proxy", "image": "mine", "securityContext": {"procMount": "Unmasked", "privileged": true}});
    let mut pod = pod(json!({"sidecar.istio.io/status": status}), forged.clone());
    let unmasked = proxy(&["securityContext.procMount \"Unmasked\""]);
    assert_eq!(refused(&allow, &refuse, &pod), unmasked, "privileged is the template's to say");
    let overrides = json!({"containers": [forged]}).to_string();
    pod["metadata"]["annotations"]["proxy.istio.io/overrides"] = json!(overrides);
    assert_eq!(
        refused(&allow, &refuse, &pod),
        proxy(&["securityContext.privileged true", "securityContext.procMount \"Unmasked\""])
    );
}

/// For templates requested by name, and for ProxyConfig resources, the baseline is rendered for the pod.
#[test]
fn other_templates_are_compared_with_themselves() {
    let own_template = r#"
injector:
  templates:
    root: |
      spec:
        containers:
        - name: helper
          image: helper
          securityContext: {runAsUser: 0, capabilities: {add: [SYS_TIME]}}
    wants: |
      {{- if not (index .ObjectMeta.Labels "image") }}{{ fail "a label image" }}{{ end }}
      spec:
        containers:
        - name: helper
          image: {{ index .ObjectMeta.Labels "image" }}
          securityContext: {privileged: {{ index .ObjectMeta.Labels "root" | default "false" }}}
"#;
    let (allow, refuse) = (mesh(own_template), mesh(&format!("{own_template}\n{REFUSE}")));
    let asking = |template: &str| pod(json!({"inject.istio.io/templates": template}), Value::Null);
    assert_eq!(refused(&allow, &refuse, &asking("root")), [""; 0]);
    for template in ["gateway", "grpc-agent", "grpc-simple", "sidecar,root"] {
        assert_eq!(refused(&allow, &refuse, &asking(template)), [""; 0], "{template}");
    }
    let mut more = asking("root");
    more["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "helper", "image": "auto", "securityContext": {"capabilities": {"add": ["SYS_TIME", "SYS_ADMIN"]}}}));
    assert_eq!(
        refused(&allow, &refuse, &more),
        ["container \"helper\": securityContext.capabilities.add \"SYS_ADMIN\""]
    );
    // A template that requires a label cannot be rendered without it: this is the result where it matters.
    let mut labeled = asking("wants");
    labeled["metadata"]["labels"] = json!({"image": "i", "root": "true"});
    let refusal = run(&refuse, &labeled).unwrap_err();
    assert_eq!(refusal.reason(), "RENDER_FAILED");
    assert!(matches!(run(&allow, &labeled), Ok(Outcome::Injected(_))));
}

#[test]
fn istios_rules_do_not_lift_what_is_refused_and_kube_inject_refuses_nothing() {
    let istio = mesh(&format!("compat: istio\n{REFUSE}"));
    let tproxy = pod(json!({"sidecar.istio.io/interceptionMode": "TPROXY"}), Value::Null);
    assert_eq!(run(&istio, &tproxy).unwrap_err().reason(), "PRIVILEGED_PROXY");
    let request = PodRequest::new("shop", tproxy);
    let by_hand = inject::run_by(Rules::TemplatesOnly, &istio, &request, &Facts::default());
    assert!(matches!(by_hand, Ok(Outcome::Injected(_))));
}

#[test]
fn the_value_is_one_of_two() {
    let text = format!("{HEAD}\nvalues: {{sidecarInjectorWebhook: {{privilegedProxies: deny}}}}");
    let error = InjectorConfig::from_bundle(Source { name: "bundle", text: &text }).unwrap_err().to_string();
    assert!(error.contains("privilegedProxies") && error.contains("allow, refuse"), "{error}");
}
