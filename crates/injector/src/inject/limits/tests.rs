use serde_json::{Value, json};

use super::*;

fn object(list: &str, elements: &str, times: usize) -> String {
    format!("{{\"spec\":{{\"{list}\":[{}]}}}}", vec![elements; times].join(","))
}

// I-08
#[test]
fn each_limit_is_accepted_and_one_more_is_refused_with_its_place() {
    let elements = |times| check(&object("tolerations", "{}", times), TREE);
    assert!(elements(ELEMENTS).is_ok());
    let refused = elements(ELEMENTS + 1).unwrap_err();
    assert_eq!(refused.to_string(), "spec.tolerations has 20001 elements; the limit is 20000");
    let containers = |times| check(&object("containers", "{\"name\":\"a\"}", times), TREE);
    assert!(containers(CONTAINERS).is_ok());
    assert_eq!(
        containers(CONTAINERS + 1).unwrap_err().to_string(),
        "the pod has 401 containers; the limit is 400"
    );
    let deep = |levels: usize| check(&format!("{}{}", "[".repeat(levels), "]".repeat(levels)), TREE);
    assert!(deep(DEPTH).is_ok());
    assert_eq!(deep(DEPTH + 1), Err(Excess::Depth));
}

#[test]
fn containers_of_all_lists_count_together() {
    let list = vec!["{\"name\":\"a\"}"; 400].join(",");
    let text = format!(
        "{{\"spec\":{{\"containers\":[{list}],\"initContainers\":[{list}],\"ephemeralContainers\":[{list}]}}}}"
    );
    assert_eq!(check(&text, TREE), Err(Excess::Containers { found: 1200 }));
}

#[test]
fn a_tree_that_is_too_large_is_refused_with_the_longest_list() {
    let env = vec!["{\"name\":\"a\",\"value\":\"b\"}"; 100].join(",");
    let text =
        format!("{{\"spec\":{{\"containers\":[{{\"name\":\"x\"}},{{\"env\":[{env}],\"args\":[\"a\"]}}]}}}}");
    let weight = check(&text, TREE).unwrap();
    assert_eq!(weight.values, 1 + 1 + 1 + 2 + 1 + 2 + 100 + 200 + 1);
    assert_eq!(check(&text, weight.bytes), Ok(weight));
    let refused = check(&text, weight.bytes - 1).unwrap_err().to_string();
    assert!(
        refused.starts_with("the 309 values of the pod (100 elements in spec.containers[1].env alone) take "),
        "{refused}"
    );
    let document = format!("{{\"metadata\":{{\"annotations\":{{\"a\":\"{}\"}}}}}}", "{".repeat(1000));
    let refused = check(&document, 100_000).unwrap_err().to_string();
    assert!(refused.starts_with("the documents in metadata.annotations take 7"), "{refused}");
    assert!(refused.ends_with(" KiB of memory to read; the limit is 98 KiB"), "{refused}");
}

#[test]
fn places_are_those_of_the_text_and_long_keys_are_cut() {
    let long = "x".repeat(500);
    let text = format!(
        "{{ \"metadata\" : {{\"annotations\":{{}},\"labels\" : {{\"a.b/{long}\": [ 1, [ 2 , 3 ] ]}}}}}}"
    );
    let at = |what: &str| place(&text, text.find(what).unwrap()).unwrap();
    assert_eq!(at("{ \"meta"), "");
    assert_eq!(at("{\"ann"), "metadata");
    assert_eq!(at("{}"), "metadata.annotations");
    let key = format!("metadata.labels[\"a.b/{}…\"]", "x".repeat(28));
    assert_eq!(at("[ 1"), key);
    assert_eq!(at("[ 2"), format!("{key}[1]"));
}

#[test]
fn what_nobody_reads_weighs_nothing_and_what_is_read_twice_weighs_twice() {
    let metadata = |key: &str, value: &Value| Weight::of(&json!({"metadata": {key: value}}).to_string());
    let fields = json!([{"fieldsV1": {"f:spec": {"f:a": {}, "f:b": {}}}}]);
    assert_eq!(metadata("managedFields", &fields).bytes, metadata("managedFields", &json!([])).bytes);
    assert!(metadata("labels", &fields).bytes > metadata("labels", &json!([])).bytes + 2000);
    let text = json!([{"a": {"b": {}}}]).to_string();
    let plain = metadata("labels", &json!({"a": text})).bytes;
    assert!(metadata("annotations", &json!({"a": text})).bytes > plain + 3 * 640);
    // A key in a different notation.
    let spelled = "{\"metadata\":{\"\\u0061nnotations\":{\"a\":\"{{{\"}}}";
    assert!(Weight::of(spelled).bytes > Weight::of(&spelled.replace("{{{", "xxx")).bytes + 3 * 640);
}

#[test]
fn the_outline_of_a_pod_has_what_a_decision_looks_at() {
    let pod = json!({
        "kind": "Pod",
        "metadata": {"name": "p", "labels": {"a": "b"}, "annotations": {"c": "d"}, "managedFields": [{}], "x": 1},
        "spec": {
            "hostNetwork": true, "volumes": [{"name": "v"}], "os": {"name": "linux"},
            "containers": [{"name": "a", "env": [{"name": "E"}], "securityContext": {"windowsOptions": {}}}, {}, 7],
            "initContainers": null, "nodeSelector": {"a": "b"},
        },
    });
    let found: Value = serde_json::from_str(&outline(&pod.to_string()).unwrap()).unwrap();
    let wanted = json!({
        "kind": "Pod",
        "metadata": {"name": "p", "labels": {"a": "b"}, "annotations": {"c": "d"}},
        "spec": {
            "hostNetwork": true, "os": {"name": "linux"},
            "containers": [{"name": "a", "securityContext": {"windowsOptions": {}}}, {}, 7],
            "initContainers": null, "nodeSelector": {"a": "b"},
        },
    });
    assert_eq!(found, wanted);
    assert_eq!(outline("{\"metadata\":"), None);
    assert_eq!(outline(r#"{"meta\u0064ata":{}}"#), None);
}

proptest::proptest! {
    #[test]
    fn any_text_is_weighed_without_a_panic(text in "[\\[\\]{}\",:\\\\an \u{e000}]{0,60}") {
        let _ = check(&text, 1000);
        let _ = outline(&text);
    }
}
