//! Which pods a rule or a policy is about.

use std::cell::OnceCell;

use serde_json::{Map, Value};

use super::glob::{Glob, GlobMatch};
use crate::cel::{Expression, Reads, User, Variables};
use crate::config::decode::{At, Decoder, Unknown};
use crate::config::error::{Fault, quoted};
use crate::config::selector::{self, Selector};
use crate::pod::{self, Workload};

/// Conditions that all have to hold; in each list, at least one pattern has to match.
#[derive(Debug, Default)]
pub struct Match {
    /// Patterns for kind and name of an owner.
    pub(super) owners: Vec<(Glob, Glob)>,
    /// Patterns for the ServiceAccount.
    pub(super) service_accounts: Vec<Glob>,
    /// Patterns for the image of any container of the application.
    pub(super) images: Vec<Glob>,
    /// Patterns for the user who creates the pod.
    pub(super) users: Vec<Glob>,
    /// Patterns for the namespace.
    pub(super) namespaces: Vec<Glob>,
    /// A selector on the pod's labels.
    pub(super) labels: Option<Selector>,
    /// A selector on the labels of the namespace.
    pub(super) namespace_labels: Option<Selector>,
    /// A CEL expression.
    pub(super) cel: Option<Expression>,
}

/// A pod and its request, as far as conditions look at them.
#[derive(Debug)]
pub struct Candidate<'a> {
    pod: &'a Value,
    /// Inferred from the pod if it is not given.
    workload: OnceCell<Workload>,
    namespace: &'a str,
    namespace_labels: Option<&'a Map<String, Value>>,
    user: Option<&'a User>,
    /// Whether strings of the pod stand for those of other pods.
    stand_ins: bool,
    /// The parts of the variables that expressions read; all if that is not known.
    reads: Option<&'a Reads>,
    /// The variables for the first expression, with the parts that it reads. Most pods meet only one.
    first_variables: OnceCell<(Reads, Variables)>,
    /// Those for all expressions.
    variables: OnceCell<Variables>,
    owners: OnceCell<Vec<(String, String)>>,
    service_account: &'a str,
    images: OnceCell<Vec<&'a str>>,
}

/// Why it is not known whether a pod matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MatchError {
    /// The expression cannot be evaluated for the pod; the reason may quote it.
    Cel(String),
    /// The answer depends on a name that differs between the pods that it is for.
    StandIn,
}

const KEYS: [&str; 8] =
    ["owner", "serviceAccount", "image", "user", "namespace", "labels", "namespaceLabels", "cel"];
/// The maximum number of patterns in one list.
const MOST: usize = 256;

impl<'a> Candidate<'a> {
    /// Whether the user who creates the pod may be a member of a group: only commands do not know the user.
    pub(crate) fn may_be_of_group(&self, group: &str) -> bool {
        self.user.is_none_or(|user| user.groups.iter().any(|of| of == group))
    }

    /// A pod in a namespace (its own, else the request's).
    pub fn new(
        pod: &'a Value,
        workload: Option<&'a Workload>,
        namespace: &'a str,
        namespace_labels: Option<&'a Map<String, Value>>,
        user: Option<&'a User>,
        stand_ins: bool,
    ) -> Candidate<'a> {
        let workload = workload.cloned().map_or_else(OnceCell::new, OnceCell::from);
        Candidate {
            pod,
            workload,
            namespace,
            namespace_labels,
            user,
            stand_ins,
            reads: None,
            first_variables: OnceCell::new(),
            variables: OnceCell::new(),
            owners: OnceCell::new(),
            service_account: service_account(pod),
            images: OnceCell::new(),
        }
    }

    /// The same for conditions whose expressions read no more than these parts.
    pub(crate) fn reading(self, parts: &'a Reads) -> Candidate<'a> {
        Candidate { reads: Some(parts), ..self }
    }

    /// The variables for an expression: at most twice, parts of the pod are converted.
    fn variables(&self, expression: &Expression) -> &Variables {
        let (pod, namespace, user, labels) = (self.pod, self.namespace, self.user, self.namespace_labels);
        let of_parts = |parts: &Reads| Variables::of_parts(parts, pod, namespace, user, labels);
        let wanted = expression.parts();
        if self.variables.get().is_none() {
            let (parts, first) = self.first_variables.get_or_init(|| (wanted.clone(), of_parts(wanted)));
            if parts.contains(wanted) {
                return first;
            }
        }
        self.variables.get_or_init(|| match self.reads {
            Some(parts) => of_parts(parts),
            None => Variables::of(pod, namespace, user, labels),
        })
    }

    /// Kind and name of every owner, and of the workload behind the controller.
    fn owners(&self) -> &[(String, String)] {
        self.owners.get_or_init(|| {
            let references = pod::at(self.pod, &["metadata", "ownerReferences"]).and_then(Value::as_array);
            let references = references.into_iter().flatten().filter_map(|owner| {
                Some((owner.get("kind")?.as_str()?.to_owned(), owner.get("name")?.as_str()?.to_owned()))
            });
            // A bare pod is its own workload, and no owner.
            let workload = Some(self.workload.get_or_init(|| pod::owner(self.pod)));
            let workload = workload.filter(|workload| workload.kind != "Pod");
            references
                .chain(workload.map(|workload| (workload.kind.clone(), workload.name.clone())))
                .collect()
        })
    }

    /// The images of the application's containers.
    fn images(&self) -> &[&'a str] {
        self.images.get_or_init(|| {
            let containers = pod::containers(self.pod).iter().chain(pod::init_containers(self.pod));
            containers.filter_map(|container| container.get("image")?.as_str()).collect()
        })
    }
}

fn service_account(pod: &Value) -> &str {
    let name = |key: &str| pod::at(pod, &["spec", key]).and_then(Value::as_str);
    let name = name("serviceAccountName").or_else(|| name("serviceAccount"));
    // The name that the ServiceAccount admission plugin fills in.
    name.filter(|name| !name.is_empty()).unwrap_or("default")
}

impl Match {
    /// Whether it has no condition, so that every pod matches.
    pub fn is_empty(&self) -> bool {
        self.owners.is_empty()
            && [&self.service_accounts, &self.images, &self.users, &self.namespaces]
                .iter()
                .all(|globs| globs.is_empty())
            && self.labels.is_none()
            && self.namespace_labels.is_none()
            && self.cel.is_none()
    }

    pub(super) fn reads_more_than_an_outline(&self) -> bool {
        !self.service_accounts.is_empty() || !self.images.is_empty() || self.cel.is_some()
    }

    pub(super) fn reads_user(&self) -> bool {
        !self.users.is_empty() || self.cel.as_ref().is_some_and(Expression::reads_user)
    }

    pub(super) fn reads_namespace_labels(&self) -> bool {
        self.namespace_labels.is_some() || self.cel.as_ref().is_some_and(|cel| cel.reads("namespaceObject"))
    }

    /// Whether a pod matches. The conditions are evaluated from the cheapest to the most expensive one.
    ///
    /// A user or namespace that is not known matches no pattern, and has no labels.
    ///
    /// # Errors
    /// If that is not known.
    pub fn matches(&self, pod: &Candidate<'_>) -> Result<bool, MatchError> {
        let nothing = Map::new();
        let one_of =
            |globs: &[Glob], text: &str| globs.is_empty() || globs.iter().any(|glob| glob.matches(text));
        if !one_of(&self.namespaces, pod.namespace) || !one_of(&self.service_accounts, pod.service_account) {
            return Ok(false);
        }
        if !self.users.is_empty() && !pod.user.is_some_and(|user| one_of(&self.users, &user.name)) {
            return Ok(false);
        }
        if !self.owners.is_empty() && !self.has_owner(pod)? {
            return Ok(false);
        }
        if let Some(selector) = &self.labels {
            let labels = pod::at(pod.pod, &["metadata", "labels"]).and_then(Value::as_object);
            if !selector.matches(labels.unwrap_or(&nothing)) {
                return Ok(false);
            }
        }
        if let Some(selector) = &self.namespace_labels
            && !selector.matches(pod.namespace_labels.unwrap_or(&nothing))
        {
            return Ok(false);
        }
        if !self.images.is_empty() && !pod.images().iter().any(|image| one_of(&self.images, image)) {
            return Ok(false);
        }
        let Some(cel) = &self.cel else { return Ok(true) };
        if cel.needs_user() && pod.user.is_none() {
            return Ok(false);
        }
        if pod.stand_ins && cel.may_read_names() {
            return Err(MatchError::StandIn);
        }
        cel.evaluate(pod.variables(cel)).map_err(MatchError::Cel)
    }

    fn has_owner(&self, pod: &Candidate<'_>) -> Result<bool, MatchError> {
        let mut depends = false;
        for (kind, name) in pod.owners() {
            for (kinds, names) in &self.owners {
                match (kinds.matches(kind), names.match_with(name)) {
                    (true, GlobMatch::Known(true)) => return Ok(true),
                    (true, GlobMatch::Depends) => depends = true,
                    _ => {}
                }
            }
        }
        if depends { Err(MatchError::StandIn) } else { Ok(false) }
    }
}

/// Reads the conditions.
pub(super) fn read(decoder: &mut Decoder<'_>, at: &At<'_>) -> Match {
    if !matches!(at.node.kind, kubernetes_yaml::Kind::Mapping(_)) {
        decoder.refuse(at, "a map of conditions, {} for every pod");
        return Match::default();
    }
    let mut fields = decoder.fields(at, &KEYS, Unknown::Refuse);
    let mut globs = |decoder: &mut Decoder<'_>, key: &str, accepted: &str| {
        fields.take(key).map(|at| read_globs(decoder, &at, accepted)).unwrap_or_default()
    };
    let owners = globs(decoder, "owner", OWNER);
    let service_accounts = globs(decoder, "serviceAccount", "a pattern for a name, such as batch-*");
    let images = globs(decoder, "image", "a pattern for an image, such as registry.example.com/*");
    let users = globs(decoder, "user", "a pattern for a user, such as system:serviceaccount:ci:*");
    let namespaces = globs(decoder, "namespace", "a pattern for a name, such as team-a-*");
    let owners_at = at;
    let owners = owners.into_iter().filter_map(|owner| match owner.as_str().split_once('/') {
        Some((kind, name)) if !kind.is_empty() && !name.is_empty() => {
            Some((Glob::new(kind), Glob::new(name)))
        }
        _ => {
            let path = super::super::decode::join(&owners_at.path, "owner");
            decoder.problem_on(owners_at.node, path, Fault::not_accepted(quoted(owner.as_str()), OWNER));
            None
        }
    });
    let owners = owners.collect();
    let labels = fields.take("labels").and_then(|at| read_selector(decoder, &at));
    let namespace_labels = fields.take("namespaceLabels").and_then(|at| read_selector(decoder, &at));
    let cel = fields.take("cel").and_then(|at| {
        let text = decoder.string(&at, "a CEL expression")?;
        match Expression::compile(&text) {
            Ok(expression) => Some(expression),
            Err(reason) => {
                let accepted =
                    format!("a boolean CEL expression over object, request and namespaceObject: {reason}");
                decoder.problem(&at, Fault::not_accepted(quoted(&text), accepted));
                None
            }
        }
    });
    Match { owners, service_accounts, images, users, namespaces, labels, namespace_labels, cel }
}

const OWNER: &str = "KIND/NAME with * for any text, such as Job/nightly-*";

/// Reads a pattern, or a list of them.
pub(super) fn read_globs(decoder: &mut Decoder<'_>, at: &At<'_>, accepted: &str) -> Vec<Glob> {
    let items = match at.node.kind {
        kubernetes_yaml::Kind::Sequence(_) => decoder.list(at, accepted),
        _ => vec![at.clone()],
    };
    if items.len() > MOST || items.is_empty() {
        let found = format!("{} patterns", items.len());
        decoder.problem(at, Fault::not_accepted(found, format!("1 to {MOST} patterns")));
    }
    let mut globs = Vec::new();
    for at in items {
        let Some(text) = decoder.string(&at, accepted) else { continue };
        let is_refused = |letter: char| letter.is_control() || Glob::REFUSED.contains(&letter);
        if text.is_empty() || text.chars().any(is_refused) {
            decoder.refuse(&at, accepted);
        } else {
            globs.push(Glob::new(text));
        }
    }
    globs
}

fn read_selector(decoder: &mut Decoder<'_>, at: &At<'_>) -> Option<Selector> {
    match selector::read(decoder, at) {
        selector::Read::Valid(selector) if selector.is_empty() => {
            decoder.refuse(at, "a label selector with matchLabels or matchExpressions");
            None
        }
        selector::Read::Valid(selector) => Some(selector),
        selector::Read::Undecodable => None,
        selector::Read::Invalid(problems) => {
            decoder.problems.extend(problems);
            None
        }
    }
}
