//! The status annotation: the names of everything the templates created, so that the pod can be injected again.

use serde::Serialize;
use serde_json::{Value, json};

use super::{Error, PostContext, pre_stop};
use crate::{names, pod, warning::Warning};

/// Writes the status annotation (Istio's `getInjectionStatus`).
pub(super) fn record<'a>(
    pod: &mut Value,
    context: &PostContext<'a>,
    _: &mut Vec<Warning>,
) -> Result<(), Error> {
    // Go writes an empty slice as null, and readers of the annotation expect it.
    let names = |names: &'a [String]| (!names.is_empty()).then_some(names);
    let made = context.made;
    let status = Status {
        init_containers: names(&made.init_containers),
        containers: names(&made.containers),
        volumes: names(&made.volumes),
        image_pull_secrets: names(&made.image_pull_secrets),
        pre_stop: pre_stop::added(pod, context),
        revision: if context.revision.is_empty() { "default" } else { context.revision },
    };
    let text = serde_json::to_string(&status).unwrap_or_else(|_| "{}".to_owned());
    pod::annotations_mut(pod).insert(names::ANNOTATION_STATUS.to_owned(), json!(text));
    Ok(())
}

/// Fields in the order in which Istio writes them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    init_containers: Option<&'a [String]>,
    containers: Option<&'a [String]>,
    volumes: Option<&'a [String]>,
    image_pull_secrets: Option<&'a [String]>,
    /// Ours: containers whose hook the `pre_stop` pass added.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pre_stop: Vec<&'a str>,
    revision: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inject::post::tests::Fixture;
    use crate::inject::template_containers::TemplateContainers;

    fn recorded(template_pod: Value, revision: &str) -> String {
        let fixture = Fixture {
            made: TemplateContainers::of(&template_pod),
            revision: revision.to_owned(),
            ..Fixture::default()
        };
        let mut pod = json!({"spec": {"containers": [{"name": "app"}]}});
        record(&mut pod, &fixture.context(), &mut Vec::new()).unwrap();
        pod.pointer("/metadata/annotations").unwrap()[names::ANNOTATION_STATUS].as_str().unwrap().to_owned()
    }

    #[test]
    fn lists_what_the_templates_made_in_order() {
        let template_pod = json!({"spec": {
            "initContainers": [{"name": "b"}, {"name": "a"}],
            "containers": [{"name": "istio-proxy"}, {"image": "nameless"}],
            "volumes": [{"name": "v"}],
            "imagePullSecrets": [{"name": "s"}],
        }});
        assert_eq!(
            recorded(template_pod, "canary"),
            r#"{"initContainers":["b","a"],"containers":["istio-proxy",""],"volumes":["v"],"imagePullSecrets":["s"],"revision":"canary"}"#
        );
    }

    #[test]
    fn nothing_is_null_and_no_revision_is_default() {
        let empty = r#"{"initContainers":null,"containers":null,"volumes":null,"imagePullSecrets":null,"revision":"default"}"#;
        assert_eq!(recorded(json!({"spec": {"containers": []}}), ""), empty);
        assert_eq!(recorded(json!(7), ""), empty);
    }
}
