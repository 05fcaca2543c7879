//! Pods of a wanted size, and hostile ones.

use super::json::{Object, list, managed_fields, review as wrap, text};
use crate::prng::Prng;

/// Bytes of a variable, including its `managedFields`.
const VARIABLE: usize = 120;
/// Variables in one container.
const VARIABLES: usize = 60;

/// A review of about `bytes`, grown as real ones grow: by variables in more and more containers, each of which
/// `managedFields` names once more. Each number gives a shape of its own.
pub fn review(number: Option<usize>, bytes: usize, prng: &mut Prng) -> String {
    // 2600 bytes are there without any variable.
    let variables = bytes.saturating_sub(2600) / VARIABLE;
    let mark = number.map(|number| format!("-{number}")).unwrap_or_default();
    let containers: Vec<String> = (0..variables.div_ceil(VARIABLES).max(1))
        .map(|index| {
            let here = VARIABLES.min(variables - VARIABLES * index.min(variables / VARIABLES));
            // Replicas have the same variables.
            let mut own = if number.is_some() { Prng::new(prng.next()) } else { Prng::new(index as u64) };
            container(&format!("main-{index}{mark}"), here, &mut own)
        })
        .collect();
    let spec = Object::new()
        .with("containers", list(&containers))
        .with("restartPolicy", r#""Always""#)
        .with("terminationGracePeriodSeconds", 30)
        .with("dnsPolicy", r#""ClusterFirst""#)
        .with("securityContext", "{}")
        .with("schedulerName", r#""default-scheduler""#)
        .end();
    wrap(&pod(&spec, bytes >= 2000, prng), prng)
}

fn container(name: &str, variables: usize, prng: &mut Prng) -> String {
    let environment: Vec<String> = (0..variables)
        .map(|index| format!(r#"{{"name":"VARIABLE_{index:03}","value":"{:016x}"}}"#, prng.next()))
        .collect();
    Object::new()
        .with("name", text(name))
        .with("image", text(&format!("registry.example.com/{name}:1")))
        .with_list("env", &environment)
        .with("resources", "{}")
        .with("terminationMessagePath", r#""/dev/termination-log""#)
        .with("terminationMessagePolicy", r#""File""#)
        .with("imagePullPolicy", r#""IfNotPresent""#)
        .end()
}

fn pod(spec: &str, managed: bool, prng: &mut Prng) -> String {
    let hash = prng.suffix(10);
    let metadata = Object::new()
        .with("generateName", text(&format!("sized-{hash}-")))
        .with("namespace", r#""default""#)
        .with("labels", format!(r#"{{"app":"sized","pod-template-hash":"{hash}"}}"#))
        .with("ownerReferences", format!(
            r#"[{{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"sized-{hash}","uid":"{}","controller":true,"blockOwnerDeletion":true}}]"#,
            prng.uuid()
        ));
    let metadata = if managed {
        let fields = managed_fields(&Object::new().with("spec", spec).end(), prng);
        metadata.with("managedFields", fields)
    } else {
        metadata
    };
    Object::new()
        .with("kind", r#""Pod""#)
        .with("apiVersion", r#""v1""#)
        .with("metadata", metadata.end())
        .with("spec", spec)
        .with("status", "{}")
        .end()
}

/// As little JSON structure as possible in `bytes`.
pub fn one_string(bytes: usize, prng: &mut Prng) -> String {
    padded(bytes, prng, |room| format!(r#","args":["{}"]"#, "x".repeat(room)))
}

/// As much JSON structure as possible in `bytes` and in the accepted number of values.
pub fn many_values(bytes: usize, prng: &mut Prng) -> String {
    // Leaves a share of the accepted values for the rest of the pod.
    const VALUES: usize = 450_000;
    padded(bytes, prng, |room| {
        let value = format!(r#""{}""#, "x".repeat((room / VALUES).saturating_sub(3)));
        let count = (room / (value.len() + 1)).min(VALUES);
        format!(r#","args":[{}]"#, vec![value; count].join(","))
    })
}

fn padded(bytes: usize, prng: &mut Prng, padding: impl Fn(usize) -> String) -> String {
    let spec = |padding: &str| {
        format!(
            r#"{{"containers":[{{"name":"main","image":"main"{padding},"resources":{{}}}}],"restartPolicy":"Always"}}"#
        )
    };
    let rest = wrap(&pod(&spec(""), false, prng), prng).len();
    wrap(&pod(&spec(&padding(bytes.saturating_sub(rest))), false, prng), prng)
}
