//! Re-injection: removes what an earlier injection added before templates see the pod, so that injecting twice gives
//! the same result as injecting once (Istio's `stripPod` and `reinsertOverrides`).
//!
//! Anybody who can create pods can forge the two annotations read here: they are parsed by type, and anything else
//! counts as absent.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use serde_json::{Map, Value};

use super::scraping;
use crate::{
    names, pod,
    quirks::{Quirk, Quirks},
    warning::{Warning, shown},
};

/// What an earlier injection added, according to the status annotation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Names in `spec.containers`.
    pub containers: Vec<String>,
    /// Names in `spec.initContainers`.
    pub init_containers: Vec<String>,
    /// Names in `spec.volumes`.
    pub volumes: Vec<String>,
    /// Names in `spec.containers` of containers that got a `preStop` hook; Istio adds none.
    pub pre_stop: Vec<String>,
}

/// The user's own versions of containers and volumes that the templates also define, in their original form.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// From `spec.containers`.
    pub containers: Vec<Value>,
    /// From `spec.initContainers`.
    pub init_containers: Vec<Value>,
    /// From `spec.volumes`, if the source differs from the template's; Istio records none.
    pub volumes: Vec<Value>,
}

/// Everything that an earlier injection left in a pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PreviousInjection {
    /// What it added; `None` if the pod was not injected.
    pub status: Option<Status>,
    /// The user's own parts that it recorded.
    pub overrides: Overrides,
}

/// The status annotation exists but is not what an injector writes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("annotation {annotation:?} is not a JSON {expected}")]
pub struct Malformed {
    /// The annotation's key.
    pub annotation: &'static str,
    /// The expected content.
    pub expected: &'static str,
}

impl Status {
    /// The status of a pod; `None` if the pod was not injected.
    ///
    /// # Errors
    /// If the annotation exists but is not a JSON object of lists of names.
    pub fn of(pod: &Value) -> Result<Option<Status>, Malformed> {
        let Some(text) = pod::annotation(pod, names::ANNOTATION_STATUS) else { return Ok(None) };
        let malformed = || Malformed {
            annotation: names::ANNOTATION_STATUS,
            expected: "object with lists of names: `initContainers`, `containers`, `volumes`, `imagePullSecrets`",
        };
        let Ok(Value::Object(status)) = serde_json::from_str(text) else { return Err(malformed()) };
        let list = |key: &str| names_in(&status, key).ok_or_else(malformed);
        Ok(Some(Status {
            containers: list("containers")?,
            init_containers: list("initContainers")?,
            volumes: list("volumes")?,
            pre_stop: list("preStop")?,
        }))
    }
}

impl Overrides {
    /// The overrides that an earlier injection recorded; empty if there are none.
    ///
    /// # Errors
    /// If the annotation exists but is not a JSON object of lists of containers.
    pub fn recorded(pod: &Value) -> Result<Overrides, Malformed> {
        let Some(text) = pod::annotation(pod, names::ANNOTATION_OVERRIDES) else {
            return Ok(Overrides::default());
        };
        let malformed = || Malformed {
            annotation: names::ANNOTATION_OVERRIDES,
            expected: "object with lists of containers: `containers`, `initContainers`",
        };
        let mut recorded = match serde_json::from_str(text) {
            Ok(Value::Object(recorded)) => recorded,
            // Go's decoder reads null as an object without fields.
            Ok(Value::Null) => return Ok(Overrides::default()),
            _ => return Err(malformed()),
        };
        let mut list = |key: &str| match recorded.remove(key) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(items)) if items.iter().all(is_container) => Ok(items),
            Some(_) => Err(malformed()),
        };
        Ok(Overrides {
            containers: list("containers")?,
            init_containers: list("initContainers")?,
            volumes: list("volumes").unwrap_or_default(),
        })
    }

    /// The recorded container with that name, from either list.
    pub fn find(&self, name: &str) -> Option<&Value> {
        pod::find(&self.containers, name).or_else(|| pod::find(&self.init_containers, name))
    }

    /// The recorded volume with that name.
    pub fn find_volume(&self, name: &str) -> Option<&Value> {
        pod::find(&self.volumes, name)
    }

    /// The number of containers and volumes.
    pub fn len(&self) -> usize {
        self.containers.len() + self.init_containers.len() + self.volumes.len()
    }

    /// Whether there are no containers and volumes.
    pub fn is_empty(&self) -> bool {
        self.containers.is_empty() && self.init_containers.is_empty() && self.volumes.is_empty()
    }

    /// Whether the other has the same containers and volumes, in any order and list.
    pub fn is_same(&self, other: &Overrides) -> bool {
        let all = |of: &Overrides| {
            let mut all: Vec<(bool, String, String)> = Vec::new();
            for (is_volume, list) in
                [(false, &of.containers), (false, &of.init_containers), (true, &of.volumes)]
            {
                let rows = list.iter().map(|item| (is_volume, pod::name(item).to_owned(), item.to_string()));
                all.extend(rows);
            }
            all.sort();
            all
        };
        // Usually one side is empty.
        self.is_empty() && other.is_empty() || self.count() == other.count() && all(self) == all(other)
    }

    fn count(&self) -> usize {
        self.containers.len() + self.init_containers.len() + self.volumes.len()
    }

    /// Serializes to the annotation's JSON.
    pub fn to_json(&self) -> String {
        // Sorted, as the keys of a map are.
        let lists = [
            ("containers", &self.containers),
            ("initContainers", &self.init_containers),
            ("volumes", &self.volumes),
        ];
        let lists: BTreeMap<_, _> = lists.into_iter().filter(|(_, list)| !list.is_empty()).collect();
        // It may be long: allocating once takes half the memory of a growing buffer. Serializing strings and JSON
        // values cannot fail.
        let mut length = Length(0);
        let counted = serde_json::to_writer(&mut length, &lists);
        let mut json = Vec::with_capacity(length.0);
        match counted.and_then(|()| serde_json::to_writer(&mut json, &lists)) {
            Ok(()) => String::from_utf8(json).unwrap_or_default(),
            Err(_) => String::new(),
        }
    }
}

/// Counts the bytes written.
struct Length(usize);

impl std::io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl PreviousInjection {
    /// What an earlier injection left in this pod. A status that no injector wrote counts as absent, with a warning.
    ///
    /// Except under Istio's rules, only recorded parts that the status names count: no injector wrote the others, and
    /// they would take effect when the pod is injected again.
    ///
    /// # Errors
    /// When the recorded overrides cannot be read: without them the user's own container would be lost.
    pub fn of(
        pod: &Value,
        quirks: Quirks,
        warnings: &mut Vec<Warning>,
    ) -> Result<PreviousInjection, Malformed> {
        let is_empty = |key: &str| {
            pod::annotation(pod, key) == Some("") && !quirks.contains(Quirk::RejectEmptyOverrides)
        };
        let status = Status::of(pod).unwrap_or_else(|malformed| {
            if !is_empty(names::ANNOTATION_STATUS) {
                warnings.push(Warning::new("MALFORMED_STATUS", format!("{malformed}; it is ignored")));
            }
            None
        });
        let overrides = match is_empty(names::ANNOTATION_OVERRIDES) {
            true => Overrides::default(),
            false => Overrides::recorded(pod)?,
        };
        let mut earlier = PreviousInjection { status, overrides };
        if !quirks.contains(Quirk::HideContainersOfStatus) {
            warnings.extend(earlier.missing(pod));
            earlier.follow_lists(pod);
        }
        if !quirks.contains(Quirk::TrustOverrides) {
            let recorded = earlier.overrides.len();
            earlier.drop_strange_records();
            if earlier.overrides.len() < recorded {
                let message = format!(
                    "annotation {}: entries that {} does not name are ignored",
                    names::ANNOTATION_OVERRIDES,
                    names::ANNOTATION_STATUS
                );
                warnings.push(Warning::new("FORGED_RECORD", message));
            }
        }
        Ok(earlier)
    }

    /// A container that the status names and the pod does not have: a manifest that was edited after injection, or a
    /// status that no injector wrote.
    fn missing(&self, pod: &Value) -> Option<Warning> {
        let status = self.status.as_ref()?;
        let mut named = status.containers.iter().chain(&status.init_containers);
        let name = named.find(|name| pod::find_container(pod, name).is_none())?;
        let status = names::ANNOTATION_STATUS;
        let message =
            format!("annotation {status} names container {}, which the pod does not have", shown(name));
        Some(Warning::new("FORGED_RECORD", message))
    }

    /// Makes the status name containers in the lists where they are, and only existing ones: the others could not be
    /// attributed in the resulting pod.
    fn follow_lists(&mut self, pod: &Value) {
        let Some(Status { containers, init_containers, .. }) = &mut self.status else { return };
        let [in_ordinary, in_init] =
            ["containers", "initContainers"].map(|list| names_of(pod::spec_list(pod, list)));
        let is_in = |list: &str, name: &str| match list {
            "containers" => in_ordinary.contains(name),
            _ => in_init.contains(name),
        };
        let is_only_in = |list: &str, other: &str, name: &String| is_in(list, name) && !is_in(other, name);
        let (ordinary, init) = ("containers", "initContainers");
        let to_init: Vec<_> = containers.extract_if(.., |name| is_only_in(init, ordinary, name)).collect();
        let to_ordinary: Vec<_> =
            init_containers.extract_if(.., |name| is_only_in(ordinary, init, name)).collect();
        containers.extend(to_ordinary);
        init_containers.extend(to_init);
        containers.retain(|name| is_in(ordinary, name));
        init_containers.retain(|name| is_in(init, name));
    }

    fn drop_strange_records(&mut self) {
        let PreviousInjection { status, overrides } = self;
        let nobody = Status::default();
        let status = status.as_ref().unwrap_or(&nobody);
        if overrides.is_empty() {
            return;
        }
        // Both lists may be long: the user may have written them.
        let containers: BTreeSet<&str> =
            status.containers.iter().chain(&status.init_containers).map(String::as_str).collect();
        let volumes: BTreeSet<&str> = status.volumes.iter().map(String::as_str).collect();
        overrides.containers.retain(|item| containers.contains(pod::name(item)));
        overrides.init_containers.retain(|item| containers.contains(pod::name(item)));
        overrides.volumes.retain(|item| volumes.contains(pod::name(item)));
    }

    /// Removes from the record what the templates no longer create; returns whether templates would see a different pod
    /// because of it: it stays in the pod, and next time it counts as the user's.
    ///
    /// `makes` returns whether the templates create a container with that name in that list.
    pub fn forget_others(&mut self, makes: impl Fn(&str, &str) -> bool) -> bool {
        let Some(status) = &mut self.status else { return false };
        let is_made = |name: &str| makes("containers", name) || makes("initContainers", name);
        // These are removed from the pod: see `make_room`.
        let goes = [names::CONTAINER_INIT, names::CONTAINER_VALIDATION, names::CONTAINER_CORE_DUMP];
        let before = status.containers.len() + status.init_containers.len();
        status.containers.retain(|name| is_made(name));
        status.init_containers.retain(|name| is_made(name) || goes.contains(&name.as_str()));
        let is_other = before > status.containers.len() + status.init_containers.len();
        self.drop_strange_records();
        is_other
    }

    /// Whether the earlier injection created a container with that name.
    pub fn has_injected(&self, name: &str) -> bool {
        self.status.as_ref().is_some_and(|status| {
            status.containers.iter().chain(&status.init_containers).any(|injected| injected == name)
        })
    }

    /// Whether the earlier injection created a volume with that name.
    pub fn has_injected_volume(&self, name: &str) -> bool {
        self.status.as_ref().is_some_and(|status| status.volumes.iter().any(|injected| injected == name))
    }

    /// The pod without the injected parts, with the user's own containers restored. `status_port` is the mesh's:
    /// Prometheus annotations that point to it were written by an injection.
    ///
    /// Unless Istio's order is wanted, the user's own proxy is the last of the containers: injection moves it, and
    /// templates are to see the same pod when it is injected again.
    pub fn strip<'a>(&self, pod: &'a Value, status_port: i64, quirks: Quirks) -> Cow<'a, Value> {
        let ordered = quirks.contains(Quirk::ShowProxyInItsPlace) || has_proxy_last(pod);
        if self.status.is_none() && self.overrides.is_empty() && ordered {
            return Cow::Borrowed(pod);
        }
        let mut pod = pod.clone();
        if let Some(status) = &self.status {
            let recorded = |name: &str| match quirks.contains(Quirk::MoveExtendedContainers) {
                true => None,
                false => self.overrides.find(name),
            };
            replace(pod::containers_mut(&mut pod), &status.containers, recorded);
            replace(pod::init_containers_mut(&mut pod), &status.init_containers, recorded);
            let annotations = pod::annotations_mut(&mut pod);
            annotations.remove(names::ANNOTATION_STATUS);
            if scraping::port_annotation(annotations) == Some(&status_port.to_string()) {
                scraping::clear_annotations(annotations);
            }
        }
        put_back(&mut pod, "containers", &self.overrides.containers, quirks);
        put_back(&mut pod, "initContainers", &self.overrides.init_containers, quirks);
        if !quirks.contains(Quirk::ShowProxyInItsPlace) {
            put_proxy_last(&mut pod);
        }
        Cow::Owned(pod)
    }

    /// Prepares the pod for templates that place our containers elsewhere than the earlier injection did: the proxy
    /// changes its list (it holds the table of probes, which exists nowhere else), and init containers that are no
    /// longer created are removed. In Istio they stay, and the pod ends up with two proxies or with one of the earlier
    /// version.
    ///
    /// `makes` returns whether the templates create a container with that name in that list.
    pub fn make_room(&self, pod: &mut Value, makes: impl Fn(&str, &str) -> bool) {
        let Some(status) = &self.status else { return };
        let has = |list: &[String], name: &str| list.iter().any(|injected| injected == name);
        let (classic, native) = ("containers", "initContainers");
        for name in [names::CONTAINER_INIT, names::CONTAINER_VALIDATION, names::CONTAINER_CORE_DUMP] {
            if has(&status.init_containers, name) && !makes(native, name) {
                take(pod, native, name);
            }
        }
        let proxy = names::CONTAINER_PROXY;
        for (injected, from, to) in
            [(&status.containers, classic, native), (&status.init_containers, native, classic)]
        {
            if has(injected, proxy)
                && makes(to, proxy)
                && !makes(from, proxy)
                && let Some(mut moved) = take(pod, from, proxy)
            {
                if let Some(moved) = moved.as_object_mut() {
                    moved.retain(|field, _| !OF_A_PLACE.contains(&field.as_str()));
                }
                pod::spec_list_mut(pod, to).push(moved);
            }
        }
    }
}

/// Fields that templates do not set on our containers, so that a merge would leave them.
const OF_A_PLACE: [&str; 2] = ["restartPolicy", "lifecycle"];

/// Replaces an injected container by the recorded one, or removes it.
fn replace<'r>(
    containers: &mut Vec<Value>,
    injected: &[String],
    recorded: impl Fn(&str) -> Option<&'r Value>,
) {
    let injected: BTreeSet<&str> = injected.iter().map(String::as_str).collect();
    containers.retain_mut(|container| {
        if !injected.contains(pod::name(container)) {
            return true;
        }
        let Some(own) = recorded(pod::name(container)) else { return false };
        *container = own.clone();
        true
    });
}

fn put_back(pod: &mut Value, list: &str, recorded: &[Value], quirks: Quirks) {
    if recorded.is_empty() {
        return;
    }
    let lists: &[&str] = match quirks.contains(Quirk::MoveExtendedContainers) {
        true => &[list],
        // Recorded in one list, it may have been restored to the other.
        false => &["containers", "initContainers"],
    };
    let mut there: BTreeSet<String> = BTreeSet::new();
    for list in lists {
        there.extend(pod::spec_list(pod, list).iter().map(|item| pod::name(item).to_owned()));
    }
    let list = pod::spec_list_mut(pod, list);
    list.extend(recorded.iter().filter(|container| there.insert(pod::name(container).to_owned())).cloned());
}

fn names_of(list: &[Value]) -> BTreeSet<&str> {
    list.iter().map(pod::name).collect()
}

/// Whether the proxy, if present, is already where [`put_proxy_last`] puts it.
fn has_proxy_last(pod: &Value) -> bool {
    let is_proxy = |container: &Value| pod::name(container) == names::CONTAINER_PROXY;
    let others = pod::containers(pod).split_last().map_or(&[][..], |(_, others)| others);
    !others.iter().chain(pod::init_containers(pod)).any(is_proxy)
}

/// Moves the proxy to the end of the containers. This includes a native one, because a user's proxy among the
/// containers was recorded among the init containers.
fn put_proxy_last(pod: &mut Value) {
    let lists = ["containers", "initContainers"];
    if let Some(proxy) = lists.iter().find_map(|list| take(pod, list, names::CONTAINER_PROXY)) {
        pod::containers_mut(pod).push(proxy);
    }
}

/// Removes the first container with that name from a list.
fn take(pod: &mut Value, list: &str, name: &str) -> Option<Value> {
    let place = pod::spec_list(pod, list).iter().position(|container| pod::name(container) == name)?;
    Some(pod::spec_list_mut(pod, list).remove(place))
}

fn names_in(status: &Map<String, Value>, key: &str) -> Option<Vec<String>> {
    match status.get(key) {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(items)) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        Some(_) => None,
    }
}

fn is_container(value: &Value) -> bool {
    !pod::name(value).is_empty()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(annotations: Value) -> Value {
        json!({
            "metadata": {"annotations": annotations},
            "spec": {
                "containers": [{"name": "app"}, {"name": "istio-proxy"}],
                "initContainers": [{"name": "istio-init"}, {"name": "setup"}],
            },
        })
    }

    fn earlier(pod: &Value) -> (PreviousInjection, Vec<Warning>) {
        let mut warnings = Vec::new();
        (PreviousInjection::of(pod, Quirks::NONE, &mut warnings).unwrap(), warnings)
    }

    #[test]
    fn takes_out_what_was_injected_and_nothing_else() {
        let status = json!({"containers": ["istio-proxy"], "initContainers": ["istio-init"]}).to_string();
        let pod = pod(json!({"sidecar.istio.io/status": status, "mine": "1", "prometheus.io/port": "15020"}));
        let stripped = earlier(&pod).0.strip(&pod, 15020, Quirks::NONE).into_owned();
        assert_eq!(stripped["spec"]["containers"], json!([{"name": "app"}]));
        assert_eq!(stripped["spec"]["initContainers"], json!([{"name": "setup"}]));
        assert_eq!(stripped["metadata"]["annotations"], json!({"mine": "1"}));
    }

    #[test]
    fn keeps_prometheus_annotations_that_point_at_the_application() {
        let pod = pod(json!({"sidecar.istio.io/status": "{}", "prometheus.io/port": "9090"}));
        let stripped = earlier(&pod).0.strip(&pod, 15020, Quirks::NONE).into_owned();
        assert_eq!(stripped["metadata"]["annotations"], json!({"prometheus.io/port": "9090"}));
    }

    #[test]
    fn puts_the_users_own_container_back() {
        let status = json!({"containers": ["istio-proxy"]}).to_string();
        let overrides = json!({"containers": [{"name": "istio-proxy", "image": "mine"}]}).to_string();
        let pod = pod(json!({"sidecar.istio.io/status": status, "proxy.istio.io/overrides": overrides}));
        let stripped = earlier(&pod).0.strip(&pod, 15020, Quirks::NONE).into_owned();
        assert_eq!(
            stripped["spec"]["containers"],
            json!([{"name": "app"}, {"name": "istio-proxy", "image": "mine"}])
        );
    }

    // I-10
    #[test]
    fn a_forged_status_counts_as_none_with_a_warning() {
        for forged in ["1", "[]", "\"x\"", "{\"containers\": 1}", "{\"containers\": [1]}", "{"] {
            let pod = pod(json!({"sidecar.istio.io/status": forged}));
            let (earlier, warnings) = earlier(&pod);
            assert_eq!(earlier, PreviousInjection::default(), "{forged}");
            assert_eq!(warnings.len(), 1, "{forged}");
            assert_eq!(*earlier.strip(&pod, 15020, Quirks::NONE), pod, "{forged}");
        }
    }

    #[test]
    fn empty_records_count_as_none() {
        let pod = pod(json!({"sidecar.istio.io/status": "", "proxy.istio.io/overrides": ""}));
        assert_eq!(earlier(&pod), (PreviousInjection::default(), Vec::new()));
    }

    #[test]
    fn only_what_the_status_names_counts_as_recorded() {
        let own = |name: &str| json!({"name": name, "image": "mine"});
        let overrides = json!({
            "containers": [own("istio-proxy"), own("app")], "volumes": [own("istio-data"), own("cache")],
        });
        let annotations = |status: Value| json!({"sidecar.istio.io/status": status.to_string(), "proxy.istio.io/overrides": overrides.to_string()});
        // It is in the other list.
        let status = json!({"initContainers": ["istio-proxy"], "volumes": ["istio-data"]});
        let found = earlier(&pod(annotations(status))).0.overrides;
        assert_eq!((found.containers, found.volumes), (vec![own("istio-proxy")], vec![own("istio-data")]));
        assert!(earlier(&pod(annotations(json!({})))).0.overrides.is_empty());
    }

    #[test]
    fn what_templates_do_not_make_any_more_is_the_users() {
        let status = json!({"containers": ["istio-proxy", "app", "gone"], "initContainers": ["istio-init"]});
        let pod = pod(json!({"sidecar.istio.io/status": status.to_string()}));
        let makes = |_: &str, name: &str| name == "istio-proxy";
        let mut earlier = earlier(&pod).0;
        assert!(earlier.forget_others(makes), "templates are to see the container");
        assert!(earlier.has_injected("istio-proxy") && !earlier.has_injected("app"));
        assert!(earlier.has_injected("istio-init"), "it is taken out of the pod");
        assert!(!earlier.forget_others(makes));
    }

    // I-10
    #[test]
    fn forged_overrides_are_refused() {
        for forged in
            ["1", "[]", "{\"containers\": {}}", "{\"initContainers\": [{}]}", "{\"containers\": [\"x\"]}"]
        {
            let pod = pod(json!({"proxy.istio.io/overrides": forged}));
            assert!(PreviousInjection::of(&pod, Quirks::NONE, &mut Vec::new()).is_err(), "{forged}");
        }
    }

    #[test]
    fn what_was_recorded_takes_the_place_of_what_was_injected() {
        let status = json!({"containers": ["app", "istio-proxy"]}).to_string();
        let overrides =
            json!({"containers": [{"name": "istio-proxy"}, {"name": "app", "image": "mine"}]}).to_string();
        let pod = pod(json!({"sidecar.istio.io/status": status, "proxy.istio.io/overrides": overrides}));
        let order = |quirks| earlier(&pod).0.strip(&pod, 15020, quirks)["spec"]["containers"].clone();
        assert_eq!(order(Quirks::NONE), json!([{"name": "app", "image": "mine"}, {"name": "istio-proxy"}]));
        assert_eq!(order(Quirks::ALL), json!([{"name": "istio-proxy"}, {"name": "app", "image": "mine"}]));
    }

    #[test]
    fn templates_see_the_users_own_proxy_last() {
        let first = json!({"spec": {"containers": [{"name": "istio-proxy"}, {"name": "app"}]}});
        let native =
            json!({"spec": {"containers": [{"name": "app"}], "initContainers": [{"name": "istio-proxy"}]}});
        let last = json!([{"name": "app"}, {"name": "istio-proxy"}]);
        for pod in [first, native] {
            assert_eq!(
                PreviousInjection::default().strip(&pod, 15020, Quirks::NONE)["spec"]["containers"],
                last
            );
            assert_eq!(*PreviousInjection::default().strip(&pod, 15020, Quirks::ALL), pod);
        }
    }

    #[test]
    fn the_injected_proxy_follows_the_templates_from_list_to_list() {
        let status = json!({"containers": ["istio-proxy"], "initContainers": ["istio-init"]}).to_string();
        let before = pod(json!({"sidecar.istio.io/status": status}));
        let mut moved = before.clone();
        let native = |list: &str, name: &str| list == "initContainers" && name == "istio-proxy";
        earlier(&before).0.make_room(&mut moved, native);
        assert_eq!(moved["spec"]["containers"], json!([{"name": "app"}]));
        assert_eq!(moved["spec"]["initContainers"], json!([{"name": "setup"}, {"name": "istio-proxy"}]));
    }

    #[test]
    fn a_container_the_user_has_under_our_name_stays() {
        let before = pod(json!({}));
        let mut same = before.clone();
        earlier(&before).0.make_room(&mut same, |_, _| false);
        assert_eq!(same, before);
    }
}
