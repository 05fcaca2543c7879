#![allow(clippy::disallowed_methods)]

mod differences;

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use differences::{LOADS, Outcome};

#[derive(serde::Deserialize)]
struct Fixture {
    loads: Vec<LoadRow>,
    writes: Vec<WriteRow>,
}

#[derive(serde::Deserialize)]
struct LoadRow {
    text: String,
    json: Option<String>,
    #[serde(default)]
    unstable: bool,
}

#[derive(serde::Deserialize)]
struct WriteRow {
    json: String,
    yaml: Option<String>,
    #[serde(default)]
    unstable: bool,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("../tests/fixtures/yaml.json")).unwrap()
}

/// The valid texts of the fixture.
pub(super) fn fixture_texts() -> Vec<String> {
    fixture().loads.into_iter().map(|row| row.text).collect()
}

fn full(text: &str) -> Value {
    load(text, &Limits::default()).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

fn refusal(text: &str) -> String {
    load(text, &Limits::default()).unwrap_err().to_string()
}

fn tree(text: &str) -> Node {
    parse(text, &Limits::default()).unwrap()
}

#[test]
fn agrees_with_sigs_yaml() {
    let rows = fixture().loads;
    assert!(rows.len() > 1200, "only {} rows", rows.len());
    let mut listed: BTreeSet<&str> = LOADS.iter().flat_map(|group| group.texts).copied().collect();
    let mut surprises = Vec::new();
    for row in rows.iter().filter(|row| !row.unstable) {
        let ours = load(&row.text, &Limits::default());
        let theirs = row.json.as_deref().map(|json| serde_json::from_str::<Value>(json).unwrap());
        let outcome = match (&ours, &theirs) {
            (Ok(ours), Some(theirs)) if ours == theirs => None,
            (Err(_), None) => None,
            (Ok(_), Some(_)) => Some(Outcome::Different),
            (Err(_), Some(_)) => Some(Outcome::Refused),
            (Ok(_), None) => Some(Outcome::Taken),
        };
        let wanted = LOADS.iter().find(|group| group.texts.contains(&row.text.as_str()));
        listed.remove(row.text.as_str());
        if outcome != wanted.map(|group| group.outcome) {
            let reason = wanted.map_or("not listed", |group| group.reason);
            surprises
                .push(format!("{outcome:?} {:?} ({reason}): ours {ours:?}, theirs {theirs:?}", row.text));
        }
    }
    assert!(listed.is_empty(), "listed, but not in the fixture: {listed:?}");
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
}

#[test]
fn layouts_are_read_as_sigs_yaml_reads_them() {
    let rows: Vec<(String, Option<String>)> =
        serde_json::from_str(include_str!("../tests/fixtures/layouts.json")).unwrap();
    let (mut read, mut excused, mut surprises) = (0, 0, Vec::new());
    for (text, json) in &rows {
        let ours = load(text, &Limits::default());
        let theirs = json.as_deref().map(|json| serde_json::from_str::<Value>(json).unwrap());
        let outcome = match (&ours, &theirs) {
            (Ok(ours), Some(theirs)) if ours == theirs => {
                read += 1;
                continue;
            }
            (Err(_), None) => continue,
            (Ok(_), Some(_)) => Outcome::Different,
            (Err(_), Some(_)) => Outcome::Refused,
            (Ok(_), None) => Outcome::Taken,
        };
        match differences::excuse(text, outcome, ours.as_ref().err().map(Error::to_string).as_deref()) {
            Some(_) => excused += 1,
            None => surprises.push(format!("{outcome:?} {text:?}: ours {ours:?}, theirs {theirs:?}")),
        }
    }
    assert!(surprises.is_empty(), "{} of {}\n{}", surprises.len(), rows.len(), surprises.join("\n"));
    assert!(read > 3000 && excused < 300, "{read} read alike, {excused} excused");
}

/// Values whose text intentionally differs from `Marshal`'s.
fn is_written_differently(json: &Value, theirs: Option<&String>) -> Option<&'static str> {
    fn any(value: &Value, test: &dyn Fn(&str, bool) -> bool) -> bool {
        match value {
            Value::String(text) => test(text, false),
            Value::Array(items) => items.iter().any(|item| any(item, test)),
            Value::Object(map) => map.iter().any(|(key, value)| test(key, true) || any(value, test)),
            _ => false,
        }
    }
    if any(json, &|text, key| key && text == "<<") {
        return Some("a key << is quoted: bare it would be read as a merge");
    }
    if any(json, &|text, _| text.contains(['\u{85}', '\u{2028}', '\u{2029}'])) {
        return Some(
            "line breaks of YAML 1.1 are escaped: YAML 1.2 parsers take them for text, and go-yaml mangles them",
        );
    }
    if theirs.is_none()
        && any(json, &|text, _| {
            text.contains(|c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}'))
        })
    {
        return Some("control characters are escaped: Marshal fails");
    }
    if theirs.is_none() && any(json, &|text, key| key && text.len() > 1024) {
        return Some("keys above 1024 bytes are written: Marshal fails");
    }
    None
}

#[test]
fn writes_what_marshal_writes() {
    let rows = fixture().writes;
    assert!(rows.len() > 1500, "only {} rows", rows.len());
    for row in rows {
        let value: Value = serde_json::from_str(&row.json).unwrap();
        let ours = to_string(&value);
        match is_written_differently(&value, row.yaml.as_ref()) {
            _ if row.unstable => {}
            None => assert_eq!(Some(&ours), row.yaml.as_ref(), "{}", row.json),
            Some(reason) => {
                assert_ne!(Some(&ours), row.yaml.as_ref(), "{} is written alike now: {reason}", row.json)
            }
        }
        // go-yaml reads minus zero as a whole number.
        if !row.json.contains("-0") {
            assert_eq!(full(&ours), value, "{ours:?}");
        }
    }
}

#[test]
fn resolves_unquoted_scalars() {
    for (text, value) in [
        ("yes", json!(true)),
        ("Off", json!(false)),
        ("y", json!(true)),
        ("yEs", json!("yEs")),
        ("", json!(null)),
        ("~", json!(null)),
        ("017", json!(15)),
        ("0o17", json!(15)),
        ("0b11", json!(3)),
        ("0b-11", json!(-3)),
        ("0b+1_1", json!(3)),
        ("-0b-1", json!("-0b-1")),
        ("0b-", json!("0b-")),
        ("0B-1", json!("0B-1")),
        ("0o-7", json!("0o-7")),
        ("-0x10", json!(-16)),
        ("08", json!(8)),
        ("1_000", json!(1000)),
        ("1.0", json!(1)),
        ("1e3", json!(1000)),
        (".5", json!(0.5)),
        ("18446744073709551615", json!(u64::MAX)),
        ("2001-01-01", json!("2001-01-01")),
        ("12:30", json!("12:30")),
        ("500m", json!("500m")),
        ("<<", json!("<<")),
        (".inf", json!(".inf")),
        (".nan", json!(".nan")),
    ] {
        assert_eq!(resolve_plain(text), value, "{text}");
    }
}

#[test]
fn marks_count_lines_and_characters_and_bytes() {
    let node = tree("# ä\na: 1\nb:\n- é: {日本: x}\n");
    let mark = |path: &[&str]| node.at(path).map(|node| (node.mark.line, node.mark.column, node.mark.offset));
    assert_eq!(mark(&[]), Some((2, 1, 5)));
    assert_eq!(mark(&["a"]), Some((2, 4, 8)));
    assert_eq!(mark(&["b", "0"]), Some((4, 3, 15)));
    assert_eq!(mark(&["b", "0", "é"]), Some((4, 6, 19)));
    assert_eq!(mark(&["b", "0", "é", "日本"]), Some((4, 11, 28)));
    assert_eq!(mark(&["b", "1"]), None);
    assert_eq!(mark(&["a", "x"]), None);
}

#[test]
fn the_tree_keeps_styles_tags_and_duplicates() {
    let node = tree("a: x\nb: 'x'\nc: \"x\"\nd: |\n  x\ne: >\n  x\nf: !!str 1\na: z\n");
    let Kind::Mapping(entries) = &node.kind else { panic!() };
    let styles: Vec<_> = entries
        .iter()
        .map(|(_, value)| match &value.kind {
            Kind::Scalar { style, tag, .. } => (*style, tag.as_deref()),
            _ => panic!(),
        })
        .collect();
    let plain = (Style::Plain, None);
    let block = [(Style::Literal, None), (Style::Folded, None), (Style::Plain, Some("!!str"))];
    assert_eq!(
        styles,
        [&[plain, (Style::SingleQuoted, None), (Style::DoubleQuoted, None)], &block[..], &[plain]].concat()
    );
    assert_eq!(node.to_value().unwrap()["a"], "z");
    assert_eq!(node.at(&["a"]).unwrap().to_value().unwrap(), "z");
}

#[test]
fn names_the_kind_of_a_node() {
    for (text, kind) in [
        ("[]", "a list"),
        ("{}", "a mapping"),
        ("a", "a string"),
        ("'1'", "a string"),
        ("1", "a number"),
        (".inf", "a number"),
        ("no", "true or false"),
        ("~", "null"),
        ("", "null"),
        ("!!str 1", "a string"),
    ] {
        assert_eq!(tree(text).kind_name(), kind, "{text}");
    }
}

#[test]
fn errors_say_where_what_and_what_else() {
    assert_eq!(
        refusal("a: 1\nb: [1, {c: .inf}]\n"),
        "line 2, column 12: found \".inf\", which JSON cannot represent; expected a finite number"
    );
    assert_eq!(
        refusal("a: !!int x\n"),
        "line 1, column 4: found \"x\" (!!str) under the tag !!int; expected an integer"
    );
    assert_eq!(
        refusal("a: 1\n? [b]\n: c\n"),
        "line 2, column 3: found a list as a key; expected a string, a number, true or false"
    );
    assert_eq!(
        refusal("a: 1\n~: b\n"),
        "line 2, column 1: found null as a key; expected a string, a number, true or false"
    );
    assert_eq!(
        refusal("a: 1\n<<: [b]\n"),
        "line 2, column 6: found a string under <<; expected a mapping or a list of mappings"
    );
    assert_eq!(
        refusal("a: é\u{1}\n"),
        "line 1, column 5: found '\\u{1}', a control character; expected printable text; in double quotes it can be escaped"
    );
    assert!(refusal("a: b\n c: d\n").starts_with("line 2, column 3: found ':'; expected YAML ("));
    assert!(refusal("a: [b\n").contains("the end of the text"), "{}", refusal("a: [b\n"));
}

#[test]
fn merges_stand_in_the_order_of_the_text() {
    let node = tree("x: &x {a: 1, b: 1}\nw: {b: 2, <<: *x, a: 3}\nz: {<<: [{a: 1}, {a: 2, c: 2}]}\n");
    assert_eq!(node.to_value().unwrap()["w"], json!({"a": 3, "b": 1}));
    assert_eq!(node.to_value().unwrap()["z"], json!({"a": 1, "c": 2}));
    let Kind::Mapping(entries) = &node.at(&["w"]).unwrap().kind else { panic!() };
    assert_eq!(entries.len(), 2, "an overridden key of a merge is not a duplicate");
    for (text, value, entries) in [
        ("{<<: {a: 1}, a: 2, <<: {a: 3}}", json!({"a": 3}), 1),
        ("{<<: {a: 1}, a: 2, a: 3}", json!({"a": 3}), 2),
        ("{a: 1, a: 2, <<: {a: 3}, a: 4}", json!({"a": 4}), 3),
        ("{b: 1, <<: {a: 1, c: 1}, a: 2, <<: {c: 2, b: 2}}", json!({"a": 2, "b": 2, "c": 2}), 3),
    ] {
        let node = tree(text);
        assert_eq!(node.to_value().unwrap(), value, "{text}");
        assert!(matches!(&node.kind, Kind::Mapping(list) if list.len() == entries), "{text}: {node:?}");
    }
}

#[test]
fn one_document_or_the_first() {
    assert_eq!(full("a: 1\n---\nb: 2\n"), json!({"a": 1}));
    let error = parse("a: 1\n---\nb: 2\n", &Limits::default()).unwrap_err();
    assert_eq!(error.to_string(), "line 3, column 1: found a second document; expected one document");
    assert!(load("a: 1\n---\nb: 2\n", &Limits::rendered()).is_err());
    for text in ["a: 1\n---\n", "a: 1\n...\n", "---\na: 1\n---\n---\n# c\n", "---\na: 1\n...\n# c\n"] {
        assert_eq!(parse(text, &Limits::default()).unwrap().to_value().unwrap(), json!({"a": 1}), "{text:?}");
    }
    for text in ["", "# a\n", "---\n"] {
        assert_eq!(parse(text, &Limits::default()).unwrap().kind_name(), "null");
    }
}

// C-12
#[test]
fn rendered_text_has_no_anchors_aliases_or_tags() {
    for text in [
        "a: &x 1",
        "a: &x {b: 1}",
        "a: &x [b]",
        "a: *x",
        "a: !!str 1",
        "a: !x [b]",
        "a: !x {b: 1}",
        "a: ! b",
        "&x a: 1",
    ] {
        assert!(load(text, &Limits::rendered()).is_err(), "{text}");
    }
    assert_eq!(
        load("a: '*x & !y'\nb: |\n  &x\n", &Limits::rendered()).unwrap(),
        json!({"a": "*x & !y", "b": "&x\n"})
    );
}

#[test]
fn limits_are_exact() {
    let limits = Limits { depth: 3, nodes: 5, alias_nodes: 2, bytes: 40, syntax: Syntax::Full };
    let refusal = |text: &str| load(text, &limits).unwrap_err().to_string();
    assert!(load("[[[1]]]", &limits).is_ok());
    assert_eq!(
        refusal("[[[[1]]]]"),
        "line 1, column 4: found nesting that is too deep; expected at most 3 levels"
    );
    assert!(load("[1, 2, 3, 4]", &limits).is_ok());
    assert_eq!(refusal("[1, 2, 3, 4, 5]"), "line 1, column 14: found too many values; expected at most 5");
    assert!(load("[&a 1, *a, *a]", &limits).is_ok());
    assert!(
        refusal("[&a 1, *a, *a, *a]")
            .contains("found aliases that expand to too much; expected at most 2 values")
    );
    assert!(refusal(&" ".repeat(41)).contains("found a text of 41 bytes; expected at most 40 bytes"));
    // An alias may add its own depth.
    let limits = Limits { depth: 3, ..Limits::default() };
    assert!(load("[&a [1], *a]", &limits).is_ok());
    assert!(load("[&a [[1]], [*a]]", &limits).is_err());
}

// C-12
#[test]
fn alias_bombs_are_cheap() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..30 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    assert!(refusal(&bomb).contains("aliases that expand to too much"));
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), vec!["*a"; 9000].join(", "));
    assert!(refusal(&long).contains("aliases that expand to too much"));
    assert!(refusal("a: &a [*a]").contains("an alias inside its own anchor"));
    assert!(refusal("a: &a {b: &b [*a]}").contains("an alias inside its own anchor"));
}

#[test]
fn splits_documents_to_the_byte() {
    for (text, wanted) in [
        ("", &[][..]),
        ("a: 1\n", &[("", "a: 1\n")]),
        ("a: 1\n---\nb: 2", &[("", "a: 1\n"), ("---\n", "b: 2")]),
        ("---\na: 1\n---\nb: 2\n", &[("---\n", "a: 1\n"), ("---\n", "b: 2\n")]),
        (
            "# c\n---\na: 1\n# d\n---\n# e\nb: 2\n",
            &[("", "# c\n"), ("---\n", "a: 1\n# d\n"), ("---\n", "# e\nb: 2\n")],
        ),
        ("--- # c\na: 1\n---   \nb: 2\n", &[("--- # c\n", "a: 1\n"), ("---   \n", "b: 2\n")]),
        (
            "--- |\n  a\n--- {b: 1}\n--- \"c\"\n",
            &[("--- ", "|\n  a\n"), ("--- ", "{b: 1}\n"), ("--- ", "\"c\"\n")],
        ),
        ("a: |\n  ---\n  b\n", &[("", "a: |\n  ---\n  b\n")]),
        ("a: '\n  --- b'\n---b: c\n", &[("", "a: '\n  --- b'\n---b: c\n")]),
        ("a: 1\r\n---\r\nb: 2\r\n", &[("", "a: 1\r\n"), ("---\r\n", "b: 2\r\n")]),
        ("a: 1\r---\rb: 2\r", &[("", "a: 1\r"), ("---\r", "b: 2\r")]),
        ("a: 1\n...\n---\nb: 2\n", &[("", "a: 1\n...\n"), ("---\n", "b: 2\n")]),
        ("a: 1\n...\n# c\n\nb: 2\n", &[("", "a: 1\n...\n# c\n\n"), ("", "b: 2\n")]),
        ("---\n---\n\n---", &[("---\n", ""), ("---\n", "\n"), ("---", "")]),
        (
            "# c\n%YAML 1.1\n---\na: 1\n...\n%TAG !x! y\n---\nb: 2\n",
            &[("# c\n%YAML 1.1\n---\n", "a: 1\n...\n"), ("%TAG !x! y\n---\n", "b: 2\n")],
        ),
        ("\u{feff}---\na: 1\n", &[("\u{feff}---\n", "a: 1\n")]),
        ("a: 1\n\u{feff}---\nb: 2\n", &[("", "a: 1\n"), ("\u{feff}---\n", "b: 2\n")]),
    ] {
        let documents = split_documents(text);
        let parts: Vec<_> = documents.iter().map(|document| (document.separator, document.text)).collect();
        assert_eq!(parts, wanted, "{text:?}");
        assert!(documents.iter().all(|document| text[document.start..].starts_with(document.text)));
    }
    let first = &split_documents("--- |\n  a\n")[0];
    assert_eq!(full(first.text), json!("a\n"));
}

fn arbitrary_value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        "[a-zA-Z0-9:#&*!|>'\"%@`,?{}\\[\\]<=.+~_/ \\\\\\n\\t-]{0,12}",
        "\\PC{0,8}",
        "(yes|no|null|~|0x1f|1_000|1e3|\\.inf|<<|2001-01-01|1:30|---|\\.\\.\\.|- |\\? |: )[ \\na]{0,2}",
        "([a-z]{1,9} {1,2}){15,30}[\\tx]?",
        any::<String>(),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter_map("finite, not minus zero", |n| {
            (n.is_finite() && n != 0.0).then(|| number::float_value(n)).flatten()
        }),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::hash_map(text.clone(), inner, 0..5).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_reads_back(value in arbitrary_value()) {
        let text = to_string(&value);
        let back = load(&text, &Limits::rendered());
        prop_assert_eq!(back.as_ref(), Ok(&value), "{:?}", text);
    }

    #[test]
    fn no_text_panics(text in prop_oneof![
        any::<String>(),
        "[a-c \\n\\t:#&*!|>'\"%@,?{}\\[\\]<.-]{0,40}",
        "((- |  |a: |&a |\\*a |<<: |\\? |: |!!str |\\||>|'|\"|\\[|\\]|\\{|\\}|, |#|---|\\.\\.\\.|%YAML 1\\.1|\\n|\\r\\n|\\t|é|\u{feff}|\u{85}|x){0,30})",
    ]) {
        for limits in [Limits::default(), Limits::rendered()] {
            let _ = load(&text, &limits);
            let _ = parse(&text, &limits).map(|node| node.at(&["a", "0"]).map(Node::kind_name));
        }
        let documents = split_documents(&text);
        let joined: String = documents.iter().flat_map(|document| [document.separator, document.text]).collect();
        prop_assert_eq!(joined, text.clone());
        let _ = resolve_plain(&text);
    }

    #[test]
    fn json_reads_as_json(value in arbitrary_value()) {
        let text = value.to_string();
        // Not part of YAML 1.1: keys above 1024 characters, control characters, and U+2028 and U+2029 in a key, where
        // they end a line although a key must be on one line. sigs.k8s.io/yaml rejects them with the same words.
        if let Ok(loaded) = load(&text, &Limits::default()) {
            prop_assert_eq!(loaded, value);
        } else {
            prop_assert!(text.contains(|c: char| c.is_control() || matches!(c, '\u{feff}' | '\u{fffe}' | '\u{ffff}' | '\u{2028}' | '\u{2029}')), "{}", text);
        }
    }
}
