//! Finds pod templates in manifests: in a Deployment, a CronJob, a List or an unknown kind; and writes injected pods
//! back to their place.
//!
//! Objects are recognized by their shape as far as possible, because the set of kinds that run pods is open. Nothing
//! here decides whether a pod is injected, and only `metadata` and `spec` of a template are ever changed.

mod decode;
mod path;
mod shape;

#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};

use crate::pod::Workload;
use kubernetes_yaml::Node;

pub use decode::{Changes, Corrections, Misfit};
pub use path::{PathError, TemplatePath, dotted};

/// What to search for, and how to read CronJobs.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Paths of pod templates besides the known ones, tried on every object.
    pub template_paths: Vec<TemplatePath>,
    /// Whether to find pod templates by their shape at any depth of any kind.
    pub by_shape: bool,
    /// Which metadata of a CronJob belongs to the pod.
    pub cron_job_metadata: CronJobMetadata,
    /// Which objects are decoded as Kubernetes' types.
    pub kinds: Kinds,
}

/// Which objects are decoded as Kubernetes' types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kinds {
    /// Those of a kind that runs pods, in its own API group.
    #[default]
    OfTheirGroups,
    /// Those of such a kind in any group, as in Istio's `injectScheme`.
    OfAnyGroup,
}

/// Which metadata of a CronJob is read and written together with the pod's spec.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CronJobMetadata {
    /// The pod's own, `spec.jobTemplate.spec.template.metadata`.
    #[default]
    Pod,
    /// The job's, `spec.jobTemplate.metadata`, as in Istio's `IntoObject`; labels and annotations there never reach a
    /// pod.
    Job,
}

/// A pod, or a pod template, in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The JSON pointer in the document of the pod or template (the holder of its `spec`).
    pub pointer: String,
    /// The JSON pointer of the object it belongs to; not empty inside a List.
    pub object: String,
    /// The object's kind.
    pub kind: String,
    /// The object's API version.
    pub api_version: String,
    /// The object's name, or its `generateName`; empty if it has neither.
    pub name: String,
    /// The namespace of the template, or else of the object, if any.
    pub namespace: Option<String>,
    /// The owner of the future pods: the object; `None` for a pod, which may have another owner.
    pub owner: Option<Workload>,
    /// Whether pods can be created from it, and by whom.
    pub standing: Standing,
    metadata: Place,
    spec: Place,
}

/// Whether pods can be created from a template, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is complete.
    Whole,
    /// It has no containers: a patch for a template, or a part of one.
    NoContainers,
    /// No container has an image, or one is marked for deletion: a patch for a template.
    Patch,
    /// Knative creates the pods, and rejects templates with fields that a proxy needs.
    Knative,
}

/// An object in a document, whatever its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The JSON pointer of the object in the document; not empty inside a List.
    pub object: String,
    /// The object's kind; empty if it has none.
    pub kind: String,
    /// The object's API version.
    pub api_version: String,
    /// The object's name, or its `generateName`; empty if it has neither.
    pub name: String,
    /// The object's namespace, if any.
    pub namespace: Option<String>,
}

/// A key and the JSON pointer of its holder.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    holder: String,
    key: &'static str,
}

/// Finds the pods and pod templates of a document, in document order.
///
/// Known places are pods, `spec.template` of Deployments, StatefulSets, DaemonSets, ReplicaSets,
/// ReplicationControllers, Jobs and DeploymentConfigs, `spec.jobTemplate.spec.template` of CronJobs, `template` of
/// PodTemplates, the items of Lists (including typed ones), and any kind with a spec with containers in one of these
/// places or under one of the given paths. By their shape, templates are also found elsewhere.
pub fn objects(document: &Value, options: &Options) -> Vec<Found> {
    let mut found = Vec::new();
    each_object(document, Object::root(document), &mut |value, object| {
        let given: Vec<String> = options
            .template_paths
            .iter()
            .flat_map(|path| path.pointers(value))
            .filter(|steps| has_containers(value.pointer(steps)))
            .collect();
        let known = known_place(value, &object).map(|(steps, shape)| (steps.to_owned(), shape));
        let shaped = if options.by_shape && !object.runs_pods() {
            shape::templates(value, &object)
        } else {
            Vec::new()
        };
        let shaped = shaped.into_iter().filter(|shaped| shaped.is_own).map(|shaped| shaped.pointer);
        let before = found.len();
        let others = given.iter().cloned().chain(shaped).map(|steps| (steps, Shape::Template));
        for (steps, shape) in known.into_iter().chain(others) {
            let pointer = format!("{}{steps}", object.pointer);
            let is_new = found.iter().skip(before).all(|earlier: &Found| earlier.pointer != pointer);
            if is_new {
                let standing = standing(value.pointer(&steps), &object, given.contains(&steps));
                found.push(object.found(document, pointer, shape, standing, options));
            }
        }
    });
    found
}

/// Places that look like a pod template but from which no pods are created as they stand: parts of templates, and
/// templates in manifests that an object carries. Each with the pointer of its object and its own, relative to it.
pub fn likely_templates(document: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    each_object(document, Object::root(document), &mut |value, object| {
        if !object.runs_pods() {
            let shaped = shape::templates(value, &object).into_iter().filter(|shaped| !shaped.is_own);
            found.extend(shaped.map(|shaped| (object.pointer.clone(), shaped.pointer)));
        }
    });
    found
}

/// Whether a path leads to a pod template in any object of a document.
pub fn has_template_at(document: &Value, path: &TemplatePath) -> bool {
    let mut found = false;
    each_object(document, Object::root(document), &mut |value, _| {
        found |= path.pointers(value).iter().any(|steps| has_containers(value.pointer(steps)));
    });
    found
}

/// The objects of a document, including those in Lists, in document order.
pub fn identities(document: &Value) -> Vec<Identity> {
    let mut found = Vec::new();
    each_object(document, Object::root(document), &mut |value, object| {
        let own = value.get("metadata").unwrap_or(&Value::Null);
        let namespace = text(own, "namespace");
        found.push(Identity {
            object: object.pointer,
            kind: object.kind,
            api_version: object.api_version,
            name: name(own),
            namespace: (!namespace.is_empty()).then_some(namespace),
        });
    });
    found
}

/// Decodes the objects of a document like Istio, each as the type of its kind; in unknown kinds, only pod templates are
/// decoded. Returns the corrections by JSON pointer of the object.
///
/// # Errors
/// The first value that does not fit its field.
pub fn decode(
    node: &mut Node,
    document: &Value,
    options: &Options,
) -> Result<Vec<(String, Corrections)>, Misfit> {
    let mut corrected = Vec::new();
    let known = |object: &Identity| match options.kinds {
        Kinds::OfTheirGroups => {
            runs_pods(&object.api_version, &object.kind) || is_pod(&object.api_version, &object.kind)
        }
        Kinds::OfAnyGroup => true,
    };
    let templates = objects(document, options);
    let mut templates = templates.iter().peekable();
    for object in identities(document) {
        let steps = steps(&object.object);
        let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
        let mut corrections = Corrections::default();
        let ty = decode::type_of(&object.kind).filter(|_| known(&object));
        while let Some(template) = templates.next_if(|template| template.object == object.object) {
            if ty.is_none() && options.kinds == Kinds::OfTheirGroups {
                let below = self::steps(template.pointer.strip_prefix(&object.object).unwrap_or_default());
                let below: Vec<&str> = below.iter().map(String::as_str).collect();
                let whole = [steps.as_slice(), &below].concat();
                let Some(node) = node.at_mut(&whole) else { continue };
                corrections.add(decode::foreign_template(node, &below)?);
            }
        }
        if let (Some(ty), Some(node)) = (ty, node.at_mut(&steps)) {
            corrections.add(decode::object(node, ty)?);
            if options.kinds == Kinds::OfAnyGroup && lacks_template(node, &object.kind) {
                return Err(Misfit {
                    mark: node.mark,
                    path: "spec.template".to_owned(),
                    found: "nothing".to_owned(),
                    accepted: "a pod template",
                });
            }
        }
        if corrections.any() {
            corrected.push((object.object, corrections));
        }
    }
    Ok(corrected)
}

/// Whether the template is missing where Go has a pointer to it, which Istio rejects.
fn lacks_template(node: &Node, kind: &str) -> bool {
    matches!(kind, "ReplicationController" | "DeploymentConfig")
        && node.at(&["spec", "template"]).is_none_or(Node::is_null)
}

/// The steps of a JSON pointer.
fn steps(pointer: &str) -> Vec<String> {
    pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).collect()
}

/// The pod that a template describes: its metadata and spec, as a `v1` Pod. For a pod, the same parts.
pub fn extract_pod(document: &Value, found: &Found) -> Value {
    let mut pod = Map::from_iter([("apiVersion".to_owned(), json!("v1")), ("kind".to_owned(), json!("Pod"))]);
    for place in [&found.metadata, &found.spec] {
        if let Some(part) = document.pointer(&place.holder).and_then(|holder| holder.get(place.key)) {
            pod.insert(place.key.to_owned(), part.clone());
        }
    }
    Value::Object(pod)
}

impl Found {
    /// The JSON pointer of the holder of the pod's metadata.
    pub fn metadata_holder(&self) -> &str {
        &self.metadata.holder
    }
}

/// Writes the metadata and spec of a pod back to where [`extract_pod`] took them; parts that the pod lacks are removed.
/// Everything else is unchanged. A document without the place is not changed. Returns whether the document changed.
pub fn put_back(document: &mut Value, found: &Found, injected_pod: &Value) -> bool {
    let mut changed = false;
    for place in [&found.metadata, &found.spec] {
        let Some(holder) = document.pointer_mut(&place.holder).and_then(Value::as_object_mut) else {
            continue;
        };
        let part = injected_pod.get(place.key);
        if holder.get(place.key) == part {
            continue;
        }
        changed = true;
        match part {
            Some(part) => holder.insert(place.key.to_owned(), part.clone()),
            None => holder.remove(place.key),
        };
    }
    changed
}

/// Where a pod or template keeps its parts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Pod,
    Template,
    /// The template of a CronJob.
    CronJob,
}

/// An object of the document that is not a List, with its identity.
struct Object {
    pointer: String,
    api_version: String,
    kind: String,
}

impl Object {
    fn root(document: &Value) -> Object {
        Object {
            pointer: String::new(),
            api_version: text(document, "apiVersion"),
            kind: text(document, "kind"),
        }
    }

    /// Whether the kind is a built-in one with a pod template.
    fn runs_pods(&self) -> bool {
        self.kind == "Pod" && self.api_version == "v1" || runs_pods(&self.api_version, &self.kind)
    }

    fn found(
        &self,
        document: &Value,
        pointer: String,
        shape: Shape,
        standing: Standing,
        options: &Options,
    ) -> Found {
        let object = document.pointer(&self.pointer).unwrap_or(&Value::Null);
        let own = object.get("metadata").unwrap_or(&Value::Null);
        let metadata_holder = match (shape, options.cron_job_metadata) {
            (Shape::CronJob, CronJobMetadata::Job) => format!("{}/spec/jobTemplate", self.pointer),
            _ => pointer.clone(),
        };
        let template_namespace = document
            .pointer(&metadata_holder)
            .and_then(|holder| holder.get("metadata"))
            .map(|metadata| text(metadata, "namespace"))
            .unwrap_or_default();
        let object_namespace = text(own, "namespace");
        Found {
            object: self.pointer.clone(),
            kind: self.kind.clone(),
            api_version: self.api_version.clone(),
            name: name(own),
            namespace: [template_namespace, object_namespace.clone()]
                .into_iter()
                .find(|name| !name.is_empty()),
            owner: (shape != Shape::Pod).then(|| Workload {
                api_version: self.api_version.clone(),
                kind: self.kind.clone(),
                name: text(own, "name"),
                namespace: object_namespace,
            }),
            standing,
            metadata: Place { holder: metadata_holder, key: "metadata" },
            spec: Place { holder: pointer.clone(), key: "spec" },
            pointer,
        }
    }
}

/// Calls the function for every object that is not a List. Items of a typed List without a kind have the List's item
/// kind.
fn each_object<'d>(value: &'d Value, object: Object, visit: &mut impl FnMut(&'d Value, Object)) {
    let items = object.kind.strip_suffix("List").zip(value.get("items").and_then(Value::as_array));
    let Some((item_kind, items)) = items else { return visit(value, object) };
    for (index, item) in items.iter().enumerate() {
        let own_kind = text(item, "kind");
        let (api_version, kind) = if own_kind.is_empty() {
            (object.api_version.clone(), item_kind.to_owned())
        } else {
            (text(item, "apiVersion"), own_kind)
        };
        each_object(
            item,
            Object { pointer: format!("{}/items/{index}", object.pointer), api_version, kind },
            visit,
        );
    }
}

/// The pointer, relative to the object, of the pod or template in a known place.
fn known_place(value: &Value, object: &Object) -> Option<(&'static str, Shape)> {
    const CRON_JOB: &str = "/spec/jobTemplate/spec/template";
    const TEMPLATE: &str = "/spec/template";
    const POD_TEMPLATE: &str = "/template";
    let is_known = runs_pods(&object.api_version, &object.kind);
    let is_template = |pointer: &str| {
        let template = value.pointer(pointer);
        has_containers(template)
            || is_known && template.and_then(|template| template.get("spec")).is_some_and(Value::is_object)
    };
    if is_pod(&object.api_version, &object.kind) {
        value.get("spec").is_some_and(Value::is_object).then_some(("", Shape::Pod))
    } else if object.kind == "PodTemplate" && object.api_version == "v1" {
        is_template(POD_TEMPLATE).then_some((POD_TEMPLATE, Shape::Template))
    } else if shape::only_describes_pods(&object.api_version, &object.kind) {
        None
    } else if is_template(CRON_JOB) {
        Some((CRON_JOB, Shape::CronJob))
    } else {
        is_template(TEMPLATE).then_some((TEMPLATE, Shape::Template))
    }
}

/// Whether a kind is one of Kubernetes' own that has a pod template or is a pod.
pub(crate) fn is_of_kubernetes(api_version: &str, kind: &str) -> bool {
    is_pod(api_version, kind) || kind != "DeploymentConfig" && runs_pods(api_version, kind)
}

fn is_pod(api_version: &str, kind: &str) -> bool {
    kind == "Pod" && api_version == "v1"
}

/// Whether a kind has a pod template, whatever the template looks like.
fn runs_pods(api_version: &str, kind: &str) -> bool {
    matches!(
        (group(api_version), kind),
        ("apps" | "extensions", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
            | ("", "ReplicationController")
            | ("batch", "Job" | "CronJob")
            | ("" | "apps.openshift.io", "DeploymentConfig")
            | ("", "PodTemplate")
    )
}

/// Whether pods can be created from the value in a place. A place that the user names is taken at face value.
fn standing(template: Option<&Value>, object: &Object, is_given: bool) -> Standing {
    let containers = template.and_then(|template| template.get("spec")?.get("containers"));
    let containers = match containers {
        None | Some(Value::Null) => return Standing::NoContainers,
        Some(Value::Array(containers)) if containers.is_empty() => return Standing::NoContainers,
        Some(Value::Array(containers)) => containers.as_slice(),
        // The decoder of the pod will report the actual type.
        Some(_) => return Standing::Whole,
    };
    // Directives of a strategic merge.
    let is_patch =
        |value: &Value| value.as_object().is_some_and(|map| map.keys().any(|key| key.starts_with('$')));
    let parts = [template, template.and_then(|template| template.get("spec"))];
    if is_given {
        Standing::Whole
    } else if matches!(group(&object.api_version), "serving.knative.dev" | "run.googleapis.com") {
        Standing::Knative
    } else if parts.into_iter().flatten().chain(containers).any(is_patch)
        || !containers.iter().any(shape::has_image)
    {
        Standing::Patch
    } else {
        Standing::Whole
    }
}

/// The group of an API version; empty for the core one.
fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

fn has_containers(template: Option<&Value>) -> bool {
    template.and_then(|template| template.get("spec")?.get("containers")).is_some_and(Value::is_array)
}

/// The name in an object's metadata, or its `generateName`.
fn name(metadata: &Value) -> String {
    let names = [text(metadata, "name"), text(metadata, "generateName")];
    names.into_iter().find(|name| !name.is_empty()).unwrap_or_default()
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}
