//! Asks the API server whether the ServiceAccounts of our Deployments have the permissions that the flags require.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::{Api, api::PostParams};
use serde_json::Value;

use crate::{
    cli::{
        cluster::{ApiError, Session, Target},
        serve,
    },
    server::permissions::{Permission, permissions},
};
use injector::diagnose::Access;

/// Reviews that are under way at once.
const AT_ONCE: usize = 8;

/// A ServiceAccount: namespace and name.
type Account = (String, String);

/// The rights that Deployments of outrigger need, and whether they have them; and what could not be determined.
///
/// # Errors
/// If the API server refuses a review or does not answer.
pub(super) async fn read(
    session: &Session,
    deployments: &[Value],
) -> Result<(Vec<Access>, Vec<String>), ApiError> {
    let (mut needed, mut left_out) = (BTreeSet::new(), Vec::new());
    for deployment in deployments.iter().filter(|deployment| is_ours(deployment)) {
        let namespace = text(deployment, "/metadata/namespace");
        let account = deployment.pointer("/spec/template/spec/serviceAccountName").and_then(Value::as_str);
        let account = (namespace.to_owned(), account.unwrap_or("default").to_owned());
        match needed_by(deployment) {
            Ok(permissions) => {
                needed.extend(permissions.into_iter().map(|permission| (account.clone(), permission)));
            }
            Err(problem) => left_out.push(format!(
                "the rights of Deployment {namespace}/{} are not checked: {problem}",
                text(deployment, "/metadata/name")
            )),
        }
    }
    let each = needed.iter().flat_map(|(account, permission)| {
        permission.verbs.iter().map(move |verb| (account, permission, *verb))
    });
    let reviews: Vec<_> =
        each.map(|(account, permission, verb)| review(session, account, permission, verb)).collect();
    let access = stream::iter(reviews).buffered(AT_ONCE).try_collect().await?;
    Ok((access, left_out))
}

fn is_ours(deployment: &Value) -> bool {
    text(deployment, "/metadata/labels/app.kubernetes.io~1name") == "outrigger"
}

/// The permissions that the flags of a Deployment require.
fn needed_by(deployment: &Value) -> Result<Vec<Permission>, String> {
    let containers = deployment.pointer("/spec/template/spec/containers").and_then(Value::as_array);
    let arguments = |container: &Value| -> Vec<String> {
        let all = ["command", "args"].iter().filter_map(|key| container.get(key)?.as_array()).flatten();
        all.filter_map(|argument| Some(argument.as_str()?.to_owned())).collect()
    };
    let serving = containers.into_iter().flatten().find_map(|container| {
        let mut arguments = arguments(container);
        let at = arguments.iter().position(|argument| argument == "serve")?;
        Some((container, arguments.split_off(at + 1)))
    });
    let (container, arguments) = serving.ok_or("no container runs outrigger serve")?;
    let variables = variables(container, text(deployment, "/metadata/namespace"));
    Ok(permissions(&serve::options_of(arguments, &variables)?))
}

/// The variables of a container whose values are known without its pod.
fn variables(container: &Value, namespace: &str) -> BTreeMap<String, String> {
    let all = container.get("env").and_then(Value::as_array).into_iter().flatten();
    let known = all.filter_map(|variable| {
        let value = match text(variable, "/valueFrom/fieldRef/fieldPath") {
            "metadata.namespace" => namespace,
            _ => variable.get("value")?.as_str()?,
        };
        Some((text(variable, "/name").to_owned(), value.to_owned()))
    });
    known.collect()
}

async fn review(
    session: &Session,
    (namespace, name): &Account,
    permission: &Permission,
    verb: &'static str,
) -> Result<Access, ApiError> {
    let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let groups =
        ["system:serviceaccounts", &format!("system:serviceaccounts:{namespace}"), "system:authenticated"];
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(format!("system:serviceaccount:{namespace}:{name}")),
            groups: Some(groups.map(str::to_owned).to_vec()),
            resource_attributes: Some(ResourceAttributes {
                verb: Some(verb.to_owned()),
                group: given(permission.group),
                resource: Some(permission.resource.to_owned()),
                namespace: given(&permission.namespace),
                name: given(&permission.name),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let reviews: Api<SubjectAccessReview> = Api::all(session.client.clone());
    let parameters = PostParams::default();
    let asked = reviews.create(&parameters, &review);
    let answer = session.call("create", &Target::all("subjectaccessreviews"), asked).await?;
    Ok(Access {
        namespace: namespace.clone(),
        service_account: name.clone(),
        purpose: permission.purpose,
        is_essential: permission.is_essential,
        action: action(permission, verb),
        is_allowed: answer.status.is_some_and(|status| status.allowed),
    })
}

/// A permission as `kubectl auth can-i` takes it.
fn action(permission: &Permission, verb: &str) -> String {
    let Permission { group, resource, namespace, name, .. } = permission;
    let mut action = format!("{verb} {resource}");
    if !group.is_empty() {
        action.push_str(&format!(".{group}"));
    }
    if !name.is_empty() {
        action.push_str(&format!("/{name}"));
    }
    if !namespace.is_empty() {
        action.push_str(&format!(" -n {namespace}"));
    }
    action
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The rights of a container, as `purpose: action`.
    fn rights(container: &Value) -> Result<Vec<String>, String> {
        let deployment = json!({
            "metadata": {"name": "outrigger", "namespace": "mesh"},
            "spec": {"template": {"spec": {"containers": [{"name": "other", "args": ["run"]}, container]}}},
        });
        let each = |permission: Permission| {
            let verbs = permission.verbs.join(",");
            format!("{}: {}", permission.purpose, action(&permission, &verbs))
        };
        Ok(needed_by(&deployment)?.into_iter().map(each).collect())
    }

    #[test]
    fn flags_and_variables_say_what_is_needed() {
        let container = json!({
            "args": [
                "serve", "--bundle-config-map=own", "--workload-events=false", "--watch-proxy-configs=false",
                "--webhook-configurations=a,b", "--canary-namespace=shop",
            ],
            "env": [
                {"name": "OUTRIGGER_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
                {"name": "OUTRIGGER_NAMESPACE_AUDIT", "value": "true"},
                {"name": "OUTRIGGER_WATCH_NODES", "value": "false"},
                {"name": "OUTRIGGER_CANARY_NAMESPACE", "value": "flags come first"},
                {"name": "RUST_LOG", "value": "info"},
            ],
        });
        assert_eq!(
            rights(&container).unwrap(),
            [
                "the configuration: list,watch configmaps/own -n mesh",
                "Events on the configuration: create,patch events.events.k8s.io -n mesh",
                "the labels of namespaces: list,watch namespaces",
                "certificates: get,list,watch,update secrets/outrigger-certificate -n mesh",
                "certificates: create secrets -n mesh",
                "certificates: get,update leases.coordination.k8s.io/outrigger-leader -n mesh",
                "certificates: create leases.coordination.k8s.io -n mesh",
                "Events on certificates: create,patch events.events.k8s.io -n mesh",
                "webhooks: get,list,watch,patch mutatingwebhookconfigurations.admissionregistration.k8s.io/a",
                "webhooks: get,list,watch,patch mutatingwebhookconfigurations.admissionregistration.k8s.io/b",
                "the canary: create pods -n shop",
                "the namespace audit: list namespaces",
                "the namespace audit: list mutatingwebhookconfigurations.admissionregistration.k8s.io",
                "the namespace audit: create,patch events.events.k8s.io -n default",
            ]
        );
    }

    #[test]
    fn a_server_without_a_cluster_needs_nothing() {
        let container = json!({"command": ["/outrigger"], "args": ["serve", "--standalone"]});
        assert_eq!(rights(&container).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn flags_of_another_version_are_not_guessed() {
        let problem = rights(&json!({"args": ["serve", "--no-such-flag"]})).unwrap_err();
        assert!(problem.contains("--no-such-flag") && !problem.contains('\n'), "{problem}");
        assert!(rights(&json!({"args": ["version"]})).unwrap_err().contains("outrigger serve"));
    }
}
