use super::*;
use kubernetes_yaml as yaml;

fn document(text: &str) -> Value {
    yaml::load(text, &yaml::Limits::default()).unwrap()
}

fn pointers(text: &str) -> Vec<String> {
    objects(&document(text), &Options::default()).into_iter().map(|found| found.pointer).collect()
}

fn only(document: &Value, options: &Options) -> Found {
    let mut found = objects(document, options);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

fn with_paths(paths: &[&str]) -> Options {
    Options { template_paths: paths.iter().map(|path| path.parse().unwrap()).collect(), ..Options::default() }
}

/// A workload whose template lies under `path`, in flow style.
fn workload(api_version: &str, kind: &str, path: &[&str]) -> String {
    let template =
        "{metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: web:1}]}}".to_owned();
    let body = path.iter().rev().fold(template, |inner, key| format!("{{{key}: {inner}, kept: 1}}"));
    format!(
        "{{apiVersion: {api_version}, kind: {kind}, metadata: {{name: web, namespace: shop}}, spec: {body}}}"
    )
}

#[test]
fn finds_the_template_of_every_kind() {
    for (api_version, kind) in [
        ("apps/v1", "Deployment"),
        ("extensions/v1beta1", "Deployment"),
        ("apps/v1", "StatefulSet"),
        ("apps/v1", "DaemonSet"),
        ("apps/v1", "ReplicaSet"),
        ("v1", "ReplicationController"),
        ("batch/v1", "Job"),
        ("apps.openshift.io/v1", "DeploymentConfig"),
        ("v1", "DeploymentConfig"),
        ("argoproj.io/v1alpha1", "Rollout"),
        ("serving.knative.dev/v1", "Service"),
        ("example.com/v1", "Anything"),
    ] {
        let document = document(&workload(api_version, kind, &["template"]));
        let found = only(&document, &Options::default());
        assert_eq!(found.pointer, "/spec/template");
        assert_eq!((found.api_version.as_str(), found.kind.as_str()), (api_version, kind));
        assert_eq!((found.name.as_str(), found.namespace.as_deref()), ("web", Some("shop")));
        let owner = found.owner.clone().unwrap();
        assert_eq!((owner.api_version.as_str(), owner.kind.as_str()), (api_version, kind));
        assert_eq!((owner.name.as_str(), owner.namespace.as_str()), ("web", "shop"));
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": "web:1"}]},
        });
        assert_eq!(extract_pod(&document, &found), pod);
    }
}

#[test]
fn finds_a_pod_and_leaves_its_owner_open() {
    let document = document(
        "{apiVersion: v1, kind: Pod, metadata: {generateName: web-, namespace: shop}, spec: {containers: []}, status: {phase: Running}}",
    );
    let found = only(&document, &Options::default());
    assert_eq!(
        (found.pointer.as_str(), found.name.as_str(), found.namespace.as_deref()),
        ("", "web-", Some("shop"))
    );
    assert_eq!(found.owner, None);
    let mut wanted = document.clone();
    wanted.as_object_mut().unwrap().remove("status");
    assert_eq!(extract_pod(&document, &found), wanted);
}

#[test]
fn a_cron_job_has_its_template_in_the_job_template() {
    for api_version in ["batch/v1", "batch/v1beta1", "example.com/v1"] {
        let text = workload(api_version, "CronJob", &["jobTemplate", "spec", "template"]);
        assert_eq!(pointers(&text), ["/spec/jobTemplate/spec/template"]);
    }
}

#[test]
fn istio_takes_the_metadata_of_the_job_template() {
    let mut document = document(
        "apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly, namespace: shop}
spec:
  schedule: '@daily'
  jobTemplate:
    metadata: {annotations: {job: a}, namespace: other}
    spec:
      backoffLimit: 1
      template:
        metadata: {annotations: {pod: b}}
        spec: {containers: [{name: c}], restartPolicy: Never}
",
    );
    let mut own = document.clone();
    let options = Options { cron_job_metadata: CronJobMetadata::Job, ..Options::default() };
    let found = only(&document, &options);
    assert_eq!(found.pointer, "/spec/jobTemplate/spec/template");
    assert_eq!(found.namespace.as_deref(), Some("other"));
    assert_eq!(found.owner.as_ref().unwrap().namespace, "shop");
    assert_eq!(
        extract_pod(&document, &found)["metadata"],
        json!({"annotations": {"job": "a"}, "namespace": "other"})
    );
    let injected = json!({"metadata": {"labels": {"x": "y"}}, "spec": {"containers": []}});
    put_back(&mut document, &found, &injected);
    assert_eq!(
        document["spec"],
        json!({"schedule": "@daily", "jobTemplate": {"metadata": {"labels": {"x": "y"}}, "spec": {
            "backoffLimit": 1, "template": {"metadata": {"annotations": {"pod": "b"}}, "spec": {"containers": []}}}}})
    );

    let found = only(&own, &Options::default());
    assert_eq!(found.namespace.as_deref(), Some("shop"));
    put_back(&mut own, &found, &injected);
    assert_eq!(own["spec"]["jobTemplate"]["metadata"]["annotations"]["job"], "a");
    assert_eq!(own["spec"]["jobTemplate"]["spec"]["template"]["metadata"], json!({"labels": {"x": "y"}}));
}

#[test]
fn looks_into_lists() {
    let deployment = workload("apps/v1", "Deployment", &["template"]);
    let list = |kind: &str, items: &str| format!("{{apiVersion: v1, kind: {kind}, items: [{items}]}}");
    let service = "{apiVersion: v1, kind: Service, spec: {ports: []}}";
    let text = list("List", &format!("{service}, {deployment}, 7, {}", list("List", &deployment)));
    assert_eq!(pointers(&text), ["/items/1/spec/template", "/items/3/items/0/spec/template"]);
    let found = &objects(&document(&text), &Options::default())[1];
    assert_eq!((found.object.as_str(), found.name.as_str()), ("/items/3/items/0", "web"));
    assert_eq!(found.owner.as_ref().unwrap().kind, "Deployment");
    assert_eq!(extract_pod(&document(&text), found)["spec"]["containers"][0]["name"], "web");
}

#[test]
fn items_of_a_typed_list_have_its_kind() {
    let list = document(
        "{apiVersion: v1, kind: PodList, items: [{metadata: {name: a}, spec: {containers: []}}, {kind: Service, apiVersion: v1, spec: {}}]}",
    );
    let found = only(&list, &Options::default());
    assert_eq!(
        (found.kind.as_str(), found.api_version.as_str(), found.pointer.as_str()),
        ("Pod", "v1", "/items/0")
    );
    assert_eq!(found.owner, None);
    let list =
        document("{apiVersion: apps/v1, kind: DeploymentList, items: [{spec: {template: {spec: {}}}}]}");
    assert_eq!(only(&list, &Options::default()).owner.unwrap().kind, "Deployment");
    // A plain List says nothing of its items.
    assert!(pointers("{apiVersion: v1, kind: List, items: [{spec: {containers: []}}]}").is_empty());
}

#[test]
fn passes_over_what_has_no_pod_template() {
    for text in [
        "null",
        "[]",
        "a",
        "{}",
        "{apiVersion: v1, kind: Service, spec: {ports: []}}",
        "{apiVersion: v1, kind: ConfigMap, data: {spec: x}}",
        "{apiVersion: example.com/v1, kind: Pod, spec: {containers: []}}",
        "{apiVersion: v1, kind: Pod}",
        "{apiVersion: v1, kind: Pod, spec: x}",
        "{apiVersion: v1, kind: ReplicationController, spec: {replicas: 1}}",
        "{apiVersion: apps/v1, kind: Deployment, spec: {template: {metadata: {}}}}",
        "{apiVersion: kubevirt.io/v1, kind: VirtualMachine, spec: {template: {spec: {domain: {}}}}}",
        "{apiVersion: example.com/v1, kind: Anything, spec: {template: {spec: {containers: many}}}}",
        "{apiVersion: v1, kind: List, items: none}",
        "{apiVersion: example.com/v1, kind: Anything, items: [{apiVersion: v1, kind: Pod, spec: {}}]}",
    ] {
        assert!(pointers(text).is_empty(), "{text}");
    }
}

#[test]
fn known_kinds_need_no_containers() {
    assert_eq!(
        pointers("{apiVersion: apps/v1, kind: Deployment, spec: {template: {spec: {}}}}"),
        ["/spec/template"]
    );
    assert_eq!(
        pointers(
            "{apiVersion: batch/v1, kind: CronJob, spec: {jobTemplate: {spec: {template: {spec: {}}}}}}"
        ),
        ["/spec/jobTemplate/spec/template"]
    );
}

#[test]
fn the_user_may_say_where_templates_are() {
    let text = workload("example.com/v1", "Train", &["worker", "a.b/c~d"]);
    assert!(pointers(&text).is_empty());
    let train = document(&text);
    let found = only(&train, &with_paths(&["spec.worker.a\\.b/c~d", "spec.other"]));
    assert_eq!(found.pointer, "/spec/worker/a.b~1c~0d");
    assert_eq!(found.owner.as_ref().unwrap().kind, "Train");
    assert_eq!(extract_pod(&train, &found)["spec"]["containers"][0]["name"], "web");

    let set = document(
        "{apiVersion: jobset.x-k8s.io/v1, kind: JobSet, spec: {jobs: [{t: {spec: {containers: []}}}, {t: {}}, {t: {spec: {containers: []}}}]}}",
    );
    let found = objects(&set, &with_paths(&["spec.jobs.*.t", "spec.jobs.2.t"]));
    let pointers: Vec<_> = found.iter().map(|found| found.pointer.as_str()).collect();
    assert_eq!(pointers, ["/spec/jobs/0/t", "/spec/jobs/2/t"]);

    // A place that is known is found once, and a pod template without a spec around it too.
    let deployment = document(&workload("apps/v1", "Deployment", &["template"]));
    assert_eq!(objects(&deployment, &with_paths(&["spec.template"])).len(), 1);
    let template = document("{apiVersion: v1, kind: PodTemplate, template: {spec: {containers: []}}}");
    assert_eq!(only(&template, &with_paths(&["template"])).pointer, "/template");
}

#[test]
fn paths_with_empty_keys_are_refused() {
    for path in ["", ".", "spec.", ".spec", "spec..template"] {
        let error = path.parse::<TemplatePath>().unwrap_err();
        assert!(
            error.to_string().starts_with(&format!("empty key in pod template path {path:?}; expected "))
        );
    }
}

#[test]
fn puts_back_metadata_and_spec_and_nothing_else() {
    let text = workload("apps/v1", "Deployment", &["template"]);
    let before = document(&text);
    let found = only(&before, &Options::default());
    let mut after = before.clone();
    put_back(&mut after, &found, &extract_pod(&before, &found));
    assert_eq!(after, before, "what was taken and not changed comes back the same");

    let injected = json!({
        "apiVersion": "v1", "kind": "Pod", "status": {"phase": "x"},
        "metadata": {"labels": {"app": "web", "more": "1"}},
        "spec": {"containers": [{"name": "web"}, {"name": "istio-proxy"}]},
    });
    put_back(&mut after, &found, &injected);
    let mut wanted = before.clone();
    wanted["spec"]["template"]["metadata"] = injected["metadata"].clone();
    wanted["spec"]["template"]["spec"] = injected["spec"].clone();
    assert_eq!(after, wanted);
}

#[test]
fn metadata_appears_and_disappears_with_the_pods() {
    let bare =
        document("{apiVersion: apps/v1, kind: Deployment, spec: {template: {spec: {containers: []}}}}");
    let found = only(&bare, &Options::default());
    assert_eq!((found.name.as_str(), &found.namespace), ("", &None));
    assert!(extract_pod(&bare, &found).get("metadata").is_none());
    let mut document = bare.clone();
    put_back(&mut document, &found, &json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}}));
    assert_eq!(document["spec"]["template"]["metadata"], json!({"labels": {"a": "b"}}));
    put_back(&mut document, &found, &extract_pod(&bare, &found));
    assert_eq!(document, bare);
}

#[test]
fn the_templates_namespace_goes_before_the_objects() {
    let document = document(
        "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, namespace: b}, spec: {template: {metadata: {namespace: c}, spec: {}}}}",
    );
    let found = only(&document, &Options::default());
    assert_eq!(found.namespace.as_deref(), Some("c"));
    assert_eq!(found.owner.unwrap().namespace, "b");
}

#[test]
fn does_nothing_to_another_document() {
    let found = only(&document(&workload("apps/v1", "Deployment", &["template"])), &Options::default());
    let mut other = json!({"a": 1});
    put_back(&mut other, &found, &json!({"metadata": {}, "spec": {}}));
    assert_eq!(other, json!({"a": 1}));
    assert_eq!(extract_pod(&other, &found), json!({"apiVersion": "v1", "kind": "Pod"}));
}

#[test]
fn identities_name_every_object_and_look_into_lists() {
    let document = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"}},
        {"apiVersion": "apps/v1", "kind": "DeploymentList", "items": [{"metadata": {"generateName": "a-"}}]},
        7,
    ]});
    let found: Vec<_> = identities(&document)
        .into_iter()
        .map(|identity| {
            (identity.object, identity.api_version, identity.kind, identity.name, identity.namespace)
        })
        .collect();
    let row = |object: &str, api_version: &str, kind: &str, name: &str, namespace: Option<&str>| {
        (
            object.to_owned(),
            api_version.to_owned(),
            kind.to_owned(),
            name.to_owned(),
            namespace.map(str::to_owned),
        )
    };
    assert_eq!(
        found,
        [
            row("/items/0", "v1", "Service", "web", Some("shop")),
            row("/items/1/items/0", "apps/v1", "Deployment", "a-", None),
            row("/items/2", "v1", "", "", None),
        ]
    );
}

fn shaped() -> Options {
    Options { by_shape: true, ..Options::default() }
}

fn shapes(text: &str) -> Vec<(String, Standing)> {
    let found = objects(&document(text), &shaped());
    found.into_iter().map(|found| (found.pointer, found.standing)).collect()
}

const TEMPLATE: &str = "{spec: {containers: [{name: a, image: a}]}}";

#[test]
fn templates_are_found_by_their_shape_under_keys_that_say_so() {
    for (body, wanted) in [
        ("{a: {template: <>}}", "/spec/a/template"),
        ("{podTemplate: <>}", "/spec/podTemplate"),
        ("{groups: [{workerTemplate: <>}]}", "/spec/groups/0/workerTemplate"),
        ("{templates: [<>]}", "/spec/templates/0"),
        ("{templates: {x: <>}}", "/spec/templates/x"),
        ("{podTemplateSpec: <>}", "/spec/podTemplateSpec"),
        ("{a/b: {template: <>}}", "/spec/a~1b/template"),
        ("{template: {spec: {template: <>}}}", "/spec/template/spec/template"),
        (
            "{podTemplate: {apiVersion: v1, kind: Pod, spec: {containers: [{name: a, image: a}]}}}",
            "/spec/podTemplate",
        ),
    ] {
        let text =
            format!("{{apiVersion: example.com/v1, kind: Farm, spec: {}}}", body.replace("<>", TEMPLATE));
        assert_eq!(shapes(&text), [(wanted.to_owned(), Standing::Whole)], "{text}");
        assert_eq!(objects(&document(&text), &Options::default()), [], "only if it is asked for: {text}");
    }
}

#[test]
fn what_is_no_template_of_the_object_is_not_found() {
    for text in [
        "{apiVersion: example.com/v1, kind: Farm, spec: {pod: T}}",
        "{apiVersion: example.com/v1, kind: Farm, status: {template: T}}",
        "{apiVersion: example.com/v1, kind: Farm, metadata: {template: T}}",
        "{apiVersion: example.com/v1, kind: Farm, spec: {values: {template: T}}}",
        "{apiVersion: example.com/v1, kind: Farm, spec: {a: {template: {spec: {containers: [{image: a}]}}}}}",
        "{apiVersion: example.com/v1, kind: Farm, spec: {a: {template: {spec: {containers: [{name: '*', image: a}]}}}}}",
        "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, spec: {template: T}}",
        "{apiVersion: constraints.gatekeeper.sh/v1, kind: Required, spec: {template: T}}",
        "{apiVersion: apps/v1, kind: ControllerRevision, data: {spec: {template: T}}}",
        "{controller: {podTemplate: T}}",
    ] {
        let text = text.replace(" T}", &format!(" {TEMPLATE}}}"));
        assert_eq!(shapes(&text), [], "{text}");
        assert_eq!(likely_templates(&document(&text)), [], "{text}");
    }
}

#[test]
fn parts_of_templates_and_carried_manifests_are_only_likely() {
    for (text, wanted) in [
        (
            "{apiVersion: example.com/v1, kind: Farm, spec: {sets: [{podTemplate: {spec: {containers: [{name: a}]}}}]}}",
            "/spec/sets/0/podTemplate",
        ),
        (
            "{apiVersion: example.com/v1, kind: Work, spec: {manifests: [{apiVersion: apps/v1, kind: Deployment, spec: {template: {spec: {containers: [{name: a, image: a}]}}}}]}}",
            "/spec/manifests/0/spec/template",
        ),
    ] {
        assert_eq!(shapes(text), [], "{text}");
        assert_eq!(likely_templates(&document(text)), [(String::new(), wanted.to_owned())], "{text}");
    }
}

#[test]
fn a_template_stands_as_what_it_has() {
    for (spec, wanted) in [
        ("{}", Standing::NoContainers),
        ("{containers: []}", Standing::NoContainers),
        ("{containers: null}", Standing::NoContainers),
        ("{containers: [{name: a}]}", Standing::Patch),
        ("{containers: [{name: a, image: a, $patch: delete}]}", Standing::Patch),
        ("{$setElementOrder/containers: [], containers: [{name: a, image: a}]}", Standing::Patch),
        ("{containers: [{name: a}, {name: b, image: b}]}", Standing::Whole),
        ("{containers: [{name: istio-proxy}]}", Standing::Whole),
        ("{containers: [{name: n, image: 1}]}", Standing::Whole),
        ("{containers: x}", Standing::Whole),
    ] {
        let text = format!("{{apiVersion: apps/v1, kind: Deployment, spec: {{template: {{spec: {spec}}}}}}}");
        assert_eq!(shapes(&text), [("/spec/template".to_owned(), wanted)], "{spec}");
    }
    let knative =
        format!("{{apiVersion: serving.knative.dev/v1, kind: Service, spec: {{template: {TEMPLATE}}}}}");
    assert_eq!(shapes(&knative), [("/spec/template".to_owned(), Standing::Knative)]);
    let named = objects(&document(&knative), &with_paths(&["spec.template"]));
    assert_eq!(named.len(), 1);
    assert_eq!(named[0].standing, Standing::Whole, "who names it means it");
}

#[test]
fn paths_go_through_maps_and_are_read_as_they_are_written() {
    let text = format!(
        "{{kind: Farm, apiVersion: a/v1, spec: {{sets: {{a.b: {{pod: {TEMPLATE}}}, c/d: {{pod: {TEMPLATE}}}}}}}}}"
    );
    let document = document(&text);
    let found = objects(&document, &with_paths(&["spec.sets.*.pod"]));
    let pointers: Vec<&str> = found.iter().map(|found| found.pointer.as_str()).collect();
    assert_eq!(pointers, ["/spec/sets/a.b/pod", "/spec/sets/c~1d/pod"]);
    assert_eq!(dotted(pointers[0]), "spec.sets.a\\.b.pod");
    for (written, read) in [
        ("spec.groups[0].template", "spec.groups.0.template"),
        ("spec.groups[*].template", "spec.groups.*.template"),
        ("a[1][2]", "a.1.2"),
    ] {
        assert_eq!(written.parse::<TemplatePath>().unwrap().to_string(), read);
    }
    for odd in ["a[b]", "a[0]b", "a[", "a[]"] {
        assert_eq!(odd.parse::<TemplatePath>().unwrap().to_string(), odd);
    }
    for pointer in pointers {
        let found = objects(&document, &with_paths(&[&dotted(pointer)]));
        assert_eq!(found[0].pointer, pointer);
    }
}
