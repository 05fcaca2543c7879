use std::collections::BTreeSet;

use serde::Deserialize;

use super::*;

/// The answers of an API server's own code; `hack/oracle/cel` writes the file.
const FIXTURE: &str = include_str!("../../tests/fixtures/cel.json");

#[derive(Deserialize)]
struct Fixture {
    pods: Vec<Value>,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    expression: String,
    /// `true`, `false` or `error` for each pod; empty if it does not compile.
    #[serde(default)]
    results: Vec<String>,
}

/// Expressions that API servers refuse to compile, because they check types and compute constants: a configuration with one is
/// refused by the API server that gets it as a match condition, and works where only outrigger evaluates it.
const UNCHECKED: [&str; 30] = [
    "has(request.uid)",
    "1 == 1.0",
    "1 == 1u",
    "1u == 1.0",
    "[1] == [1.0]",
    "{'a': 1} == {'a': 1.0}",
    "{1: 'a'}[1u] == 'a'",
    "{1: 'a'}[1.0] == 'a'",
    "1 in {1.0: true}",
    "'1' == 1",
    "null == false",
    "int('0x10') == 16",
    "int(' 1') == 1",
    "int(1e19) > 0",
    "uint(-1) > 0u",
    "double(' 1') == 1.0",
    "bool('yes')",
    "[1, 'a'].exists(x, x == 'a')",
    "1 ? true : false",
    "'a' ? true : false",
    "1 && true",
    "!1",
    "!null",
    "-'a' == 'a'",
    "[1] < [2]",
    "'a' * 2 == 'aa'",
    "'a' in 'abc'",
    "1 in ['1']",
    "[1, 2, 3][1u] == 2",
    "[1, 2, 3][1.0] == 2",
];

/// Expressions with a different value here, and why that is left as it is.
const DIFFERENT: [(&str, &str); 5] = [
    (
        "string(1e21) == '1e+21'",
        "the crate writes numbers as Rust does; `string` is no function of match conditions here",
    ),
    ("string(0.000001) == '1e-06'", "as before"),
    ("'abc'.reverse() == 'cba'", "API servers only reverse lists"),
    ("[1, 2].indexOf(2) == 1", "Kubernetes' function of lists is not in the crate, that of texts is"),
    (
        "{'a': 1, 'a': 2}.a == 1",
        "the crate refuses a key that occurs twice, an API server takes the last one",
    ),
];

fn results(expression: &Expression, pods: &[Value]) -> Vec<String> {
    let groups = vec!["devs".to_owned(), "system:authenticated".to_owned()];
    let alice = User { name: "alice".to_owned(), groups };
    let result = |pod: &Value| {
        let whole = expression.evaluate(&Variables::of(pod, "shop", Some(&alice), None));
        let parts = Variables::of_parts(expression.parts(), pod, "shop", Some(&alice), None);
        assert_eq!(expression.evaluate(&parts), whole, "{}, of what it reads", expression.text());
        match whole {
            Ok(holds) => holds.to_string(),
            Err(_) => "error".to_owned(),
        }
    };
    pods.iter().map(result).collect()
}

#[test]
fn what_compiles_has_the_value_that_it_has_for_api_servers() {
    let Fixture { pods, rows } = serde_json::from_str(FIXTURE).unwrap();
    let mut known: BTreeSet<&str> = UNCHECKED.into_iter().chain(DIFFERENT.map(|(text, _)| text)).collect();
    let (mut equal, mut wrong) = (0, Vec::new());
    for Row { expression: text, results: expected } in &rows {
        // An expression refused here is refused when the configuration is loaded, so it never decides about a pod.
        let Ok(expression) = Expression::compile(text) else { continue };
        let found = results(&expression, &pods);
        if found == *expected {
            equal += 1;
        } else if !known.remove(text.as_str()) {
            wrong.push(format!("{text}: here {found:?}, there {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(known.is_empty(), "these agree by now, or are not asked any more: {known:?}");
    assert!(equal >= 230, "{equal} of {} agree", rows.len());
}

#[test]
fn only_what_api_servers_have_is_refused_here() {
    let Fixture { rows, .. } = serde_json::from_str(FIXTURE).unwrap();
    let refused = |Row { expression, results }: &Row| {
        Expression::compile(expression)
            .err()
            .filter(|_| !results.is_empty())
            .map(|error| (expression.clone(), error))
    };
    let refused: Vec<(String, String)> = rows.iter().filter_map(refused).collect();
    let is_said = |(_, error): &&(String, String)| {
        ["function ", "unknown variable ", "the value may be", "unsupported syntax"]
            .iter()
            .any(|text| error.contains(text))
    };
    assert_eq!(refused.iter().filter(is_said).count(), refused.len(), "{refused:#?}");
    assert!(refused.len() <= 45, "{} are refused: {refused:#?}", refused.len());
}

#[test]
fn functions_that_are_not_evaluated_are_refused_when_they_are_loaded() {
    for (text, name) in [
        ("quantity(object.spec.containers[0].resources.limits.cpu).isLessThan(quantity('1'))", "quantity"),
        ("timestamp(object.metadata.creationTimestamp) > timestamp('2026-01-01T00:00:00Z')", "timestamp"),
        ("object.metadata.name.find('[0-9]+') != ''", "find"),
        ("authorizer_(object)", "authorizer_"),
    ] {
        let error = Expression::compile(text).unwrap_err();
        assert!(error.starts_with("function ") && error.ends_with(" is not known here"), "{text}: {error}");
        let named = [name, "isLessThan"].iter().any(|name| error.contains(name));
        assert!(named, "{text}: {error}");
    }
}

#[test]
fn an_expression_is_a_boolean_by_its_form() {
    for text in
        ["object.spec.hostNetwork", "object.metadata.labels.app", "1", "object.spec.a ? true : object.spec.b"]
    {
        let error = Expression::compile(text).unwrap_err();
        assert!(error.contains("something other than a boolean"), "{text}: {error}");
    }
    for text in [
        "object.spec.hostNetwork == true",
        "has(object.spec.a)",
        "object.spec.a ? true : object.spec.b == 1",
        "object.spec.containers.exists_one(c, c.name == 'a')",
        "object.spec.containers.all(c, c.name.matches('^a'))",
    ] {
        assert!(Expression::compile(text).is_ok(), "{text}");
    }
}

#[test]
fn patterns_are_those_of_go() {
    let pod = json!({"metadata": {"labels": {"app": "größe", "pattern": "^\\w+$"}}});
    let variables = Variables::of(&pod, "shop", None, None);
    let holds = |text: &str| Expression::compile(text).unwrap().evaluate(&variables);
    assert_eq!(holds(r"object.metadata.labels.app.matches('^\\w+$')"), Ok(false));
    // A pattern that comes from the pod is compiled when it is used.
    assert_eq!(holds("object.metadata.labels.app.matches(object.metadata.labels.pattern)"), Ok(false));
    assert_eq!(holds("'x'.matches(object.metadata.labels.pattern)"), Ok(true));
    assert!(
        holds("'x'.matches(object.metadata.labels.app + '(')").unwrap_err().contains("regular expression")
    );
    let error = Expression::compile("object.metadata.name.matches('(')").unwrap_err();
    assert!(error.contains("regular expression \"(\""), "{error}");
}

#[test]
fn only_what_expressions_read_is_converted() {
    let parts = |texts: &[&str]| {
        let mut all = Reads::default();
        texts.iter().for_each(|text| all.extend(Expression::compile(text).unwrap().parts()));
        let pod = json!({
            "metadata": {"name": "a", "labels": {"app": "a"}, "managedFields": [1]},
            "spec": {"priority": 7, "containers": [{"name": "c"}], "volumes": [{"name": "v"}], "hostNetwork": "odd"},
        });
        let object = all.object.of(&pod);
        (object, all.request, all.namespace_object, all.has_loops)
    };
    for (texts, object, others) in [
        (&["true"][..], json!({}), (false, false, false)),
        (
            &["has(object.spec.priority) && object.spec.priority == 7"],
            json!({"spec": {"priority": 7}}),
            (false, false, false),
        ),
        (&["has(object.spec.tolerations)"], json!({"spec": {}}), (false, false, false)),
        (
            &["object.metadata.labels['app'] == 'a'"],
            json!({"metadata": {"labels": {"app": "a"}}}),
            (false, false, false),
        ),
        (
            &[
                "object.spec.containers.all(c, c.name != request.namespace)",
                "'team' in namespaceObject.metadata.labels",
            ],
            json!({"spec": {"containers": [{"name": "c"}]}}),
            (true, true, true),
        ),
        // A value that is not an object is kept as it is.
        (
            &["object.spec.hostNetwork.a == true"],
            json!({"spec": {"hostNetwork": "odd"}}),
            (false, false, false),
        ),
        // If a whole and a part of it are read, the whole is kept.
        (
            &["object.spec.priority == 7", "size(object.metadata) > 0", "object.metadata.name == 'a'"],
            json!({"metadata": {"name": "a", "labels": {"app": "a"}, "managedFields": [1]}, "spec": {"priority": 7}}),
            (false, false, false),
        ),
    ] {
        let (found, request, namespace_object, has_loops) = parts(texts);
        assert_eq!((found, (request, namespace_object, has_loops)), (object, others), "{texts:?}");
    }
    let (whole, ..) = parts(&["[object].exists(o, o.spec.priority == 7)"]);
    assert!(whole.get("spec").and_then(|spec| spec.get("volumes")).is_some(), "{whole}");
    let (shadowed, ..) = parts(&["[{'a': 1}].exists(object, object.a == 1)"]);
    assert!(shadowed.get("spec").is_some(), "a loop over the name of a variable: {shadowed}");
}

/// Defaults and the names of API servers, for which the whole pod is not needed.
#[test]
fn parts_have_the_defaults_of_the_whole() {
    let pods = [
        json!({}),
        json!({"metadata": {"managedFields": [1]}, "spec": {"serviceAccountName": "a", "containers": [{"image": "a"}]}}),
        json!({"metadata": 7, "spec": "odd", "status": null}),
    ];
    for text in [
        "has(object.metadata.managedFields)",
        "object.metadata.namespace == 'shop'",
        "object.spec.serviceAccount == 'a'",
        "object.spec.serviceAccountName == 'default'",
        "object.spec.containers.all(c, c.imagePullPolicy == 'Always')",
        "object.apiVersion == 'v1' && object.kind == 'Pod'",
        "has(object.status)",
        "size(object.spec.containers) == 1",
    ] {
        results(&Expression::compile(text).unwrap(), &pods);
    }
}

#[test]
fn the_cost_is_that_of_the_whole_pod() {
    let many =
        |count: usize| Value::Object((0..count).map(|index| (format!("k{index}"), json!(1))).collect());
    let with = |mut map: Value, key: &str, value: Value| {
        map[key] = value;
        map
    };
    for pod in [
        json!({}),
        json!(7),
        many(9),
        json!({"metadata": many(12), "spec": {}}),
        json!({"metadata": {"managedFields": many(40), "labels": many(11)}, "spec": {"containers": [{}]}}),
        json!({"spec": many(20)}),
        json!({"spec": with(many(10), "serviceAccountName", json!("a"))}),
        json!({"spec": {"containers": [many(20)]}}),
        json!({"spec": {"initContainers": [with(many(20), "image", json!("a"))], "containers": [7]}}),
        json!({"spec": {"containers": [{"ports": [many(20)]}]}}),
        json!({"spec": {"containers": [{"ports": [with(many(20), "protocol", json!("UDP"))]}]}}),
        json!({"spec": {"containers": (0..30).collect::<Vec<_>>(), "volumes": [{"name": "a".repeat(50_000)}]}}),
        json!({"spec": "odd", "metadata": 7}),
    ] {
        let mut whole = pod.clone();
        set_defaults(&mut whole, &pod, "shop", &Part::Whole);
        assert_eq!(longest(&pod), defaults::of(&whole), "{pod}");
    }
}

#[test]
fn parts_are_contained_if_nothing_is_missing() {
    let of = |text: &str| Expression::compile(text).unwrap().parts().clone();
    let spec = of("has(object.spec.priority) && object.spec.priority == 7");
    let whole_spec = of("object.spec == object.spec");
    let labels = of("has(object.metadata.labels.app)");
    let loops = of("object.spec.containers.exists(c, c.image == 'a')");
    assert!(spec.contains(&spec) && whole_spec.contains(&spec) && Reads::all().contains(&loops));
    for (own, other) in [(&spec, &whole_spec), (&spec, &labels), (&labels, &spec), (&whole_spec, &loops)] {
        assert!(!own.contains(other), "{own:?} {other:?}");
    }
    assert!(!spec.contains(&of("request.namespace == 'a'")));
    assert!(!spec.contains(&of("namespaceObject.metadata.name == 'a'")));
    let mut union = spec.clone();
    union.extend(&labels);
    assert!(union.contains(&spec) && union.contains(&labels));
}
