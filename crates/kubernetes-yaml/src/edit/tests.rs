use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::json;

use super::*;
use crate::{load, parse_outlined, to_string};

/// The text after an edit to a value, and the pointers of what was written anew.
fn edited(text: &str, change: impl Fn(&mut Value)) -> (String, Vec<String>) {
    let json = text.trim_start().starts_with('{') && serde_json::from_str::<Value>(text).is_ok();
    let (node, outline) = parse_outlined(text, &Limits::default()).unwrap();
    let old = node.into_value().unwrap();
    let mut new = old.clone();
    change(&mut new);
    let edits = edits(text, &outline, &old, &new, json).unwrap_or_else(|| panic!("no edits for {text}"));
    let written = apply(text, &edits.list);
    assert_eq!(load(&written, &Limits::default()).unwrap(), new, "{written}");
    if json {
        assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), new, "{written}");
    }
    assert_eq!(apply(&written, &inverse(text, &edits.list)), text);
    (written, edits.rewrites.into_iter().map(|rewrite| rewrite.pointer).collect())
}

/// The edits that undo others.
fn inverse(text: &str, edits: &[Edit]) -> Vec<Edit> {
    let mut shift = 0_isize;
    edits
        .iter()
        .map(|edit| {
            let start = edit.start.checked_add_signed(shift).unwrap();
            shift += edit.text.len() as isize - (edit.end - edit.start) as isize;
            Edit { start, end: start + edit.text.len(), text: text[edit.start..edit.end].to_owned() }
        })
        .collect()
}

fn becomes(text: &str, wanted: &str, change: impl Fn(&mut Value)) {
    assert_eq!(edited(text, change), (wanted.to_owned(), Vec::new()));
}

#[test]
fn adds_keys_behind_the_last_one_in_the_layout_of_the_document() {
    let add = |value: &mut Value| value["m"]["b"] = json!({"x": ["w", {"name": "v", "a": 1}], "e": {}});
    becomes(
        "m:\n  a: 1 # one\n# end\nz: 2\n",
        "m:\n  a: 1 # one\n  b:\n    e: {}\n    x:\n    - w\n    - name: v\n      a: 1\n# end\nz: 2\n",
        add,
    );
    becomes(
        "m:\n    a: 1\n    l:\n      - x\nz: 2",
        "m:\n    a: 1\n    l:\n      - x\n    b:\n        e: {}\n        x:\n          - w\n          - name: v\n            a: 1\nz: 2",
        add,
    );
    // CRLF, and no line break at the end.
    becomes("m:\r\n  a: 1", "m:\r\n  a: 1\r\n  c: d", |value| value["m"]["c"] = json!("d"));
    becomes("m: {a: 1}\n", "m: {a: 1, c: \"d e\"}\n", |value| value["m"]["c"] = json!("d e"));
    becomes("m: {} # none\n", "m: # none\n  c: d\n", |value| value["m"]["c"] = json!("d"));
    becomes("m:\n", "m: x\n", |value| value["m"] = json!("x"));
    becomes("m: # none\nz: 1\n", "m: # none\n  c: d\nz: 1\n", |value| value["m"] = json!({"c": "d"}));
    becomes("a: |\n  x\n\n# c\n", "a: |\n  x\nb: 1\n\n# c\n", |value| value["b"] = json!(1));
    becomes("a: |+\n  x\n\n", "a: |+\n  x\n\nb: 1\n", |value| value["b"] = json!(1));
    becomes("a: 1\n", "a: 1\nb: |-\n  x\n\n  y\n", |value| value["b"] = json!("x\n\ny"));
}

#[test]
fn replaces_scalars_in_their_own_quotes() {
    becomes("a: \"1\" # c\nb: 'x'\nc: y\n", "a: \"2\" # c\nb: 'it''s'\nc: \"3\"\n", |value| {
        *value = json!({"a": "2", "b": "it's", "c": "3"});
    });
    becomes("a: x\n  y\nb: 1\n", "a: z\nb: 1\n", |value| value["a"] = json!("z"));
    becomes("a: &x 1\nb: 2\n", "a: &x 3\nb: 2\n", |value| value["a"] = json!(3));
    becomes("a: !!str 1\n", "a: 3\n", |value| value["a"] = json!(3));
    becomes("a: |\n  x\nb: 2\n", "a: w\nb: 2\n", |value| value["a"] = json!("w"));
    becomes("a: {b: 1}\n", "a: 1\n", |value| value["a"] = json!(1));
}

#[test]
fn items_come_and_go_as_lines() {
    let text = "l:\n# first\n- name: a # A\n  x: 1\n# second\n- name: b\n";
    becomes(
        text,
        "l:\n- name: v\n  w:\n  - 1\n# first\n- name: a # A\n  x: 1\n# second\n- name: b\n- name: z\n",
        |value| {
            let list = value["l"].as_array_mut().unwrap();
            list.insert(0, json!({"w": [1], "name": "v"}));
            list.push(json!({"name": "z"}));
        },
    );
    becomes(text, "l:\n# first\n# second\n- name: b\n", |value| {
        value["l"].as_array_mut().unwrap().remove(0);
    });
    // An item that moves keeps its text.
    becomes(text, "l:\n# first\n# second\n- name: b\n- name: a # A\n  x: 1\n", |value| {
        value["l"].as_array_mut().unwrap().reverse();
    });
    becomes(
        "l:\n  -   name: a\n      x: 1",
        "l:\n  -   name: a\n      x: 1\n  -   name: b\n      w: 2",
        |value| {
            value["l"].as_array_mut().unwrap().push(json!({"name": "b", "w": 2}));
        },
    );
    becomes("l:\n- a\n- b\n", "l: []\n", |value| value["l"] = json!([]));
    becomes("l: [] # none\n", "l: # none\n- a\n", |value| value["l"] = json!(["a"]));
    becomes("l: [a, b]\n", "l: [c, b, d]\n", |value| value["l"] = json!(["c", "b", "d"]));
    becomes("- a\n- - b\n", "- x\n- a\n- - b\n  - c\n", |value| *value = json!(["x", "a", ["b", "c"]]));
}

#[test]
fn keys_go_and_change_their_name_in_place() {
    becomes("a: 1 # c\n# d\nb: 2\n", "# d\nb: 2\n", |value| *value = json!({"b": 2}));
    becomes("a: 1\nb: 2\nc: 3", "a: 1", |value| *value = json!({"a": 1}));
    becomes("l:\n- a: 1\n  b: 2\n", "l:\n- b: 2\n", |value| value["l"] = json!([{"b": 2}]));
    becomes("m: {a: 1, b: 2, c: 3}\n", "m: {b: 2}\n", |value| value["m"] = json!({"b": 2}));
    becomes("m: {a: 1, b: 2, c: 3}\n", "m: {a: 1, c: 3}\n", |value| value["m"] = json!({"a": 1, "c": 3}));
    becomes("m:\n  a: 1\nz: 1\n", "m: {}\nz: 1\n", |value| value["m"] = json!({}));
    becomes("RestartPolicy: Never # c\nb: 1\n", "restartPolicy: Never # c\nb: 1\n", |value| {
        *value = json!({"restartPolicy": "Never", "b": 1});
    });
    becomes(
        "p:\n  tcpSocket: # c\n    port: http # d\n  x: 1\n",
        "p:\n  httpGet: # c\n    port: 15020 # d\n    path: /x\n  x: 1\n",
        |value| value["p"] = json!({"httpGet": {"port": 15020, "path": "/x"}, "x": 1}),
    );
}

#[test]
fn json_stays_json_in_its_own_layout() {
    becomes("{\"a\":{\"b\":[1]}}", "{\"a\":{\"b\":[1,{\"x\":\"y\"}],\"c\":\"d\"}}", |value| {
        value["a"] = json!({"b": [1, {"x": "y"}], "c": "d"});
    });
    becomes(
        "{\n    \"a\": {\n        \"b\": 1\n    }\n}\n",
        "{\n    \"a\": {\n        \"b\": 1,\n        \"c\": [\n            \"x\"\n        ]\n    }\n}\n",
        |value| value["a"]["c"] = json!(["x"]),
    );
    becomes("{\n\t\"a\": [],\n\t\"b\": \"\\/\"\n}", "{\n\t\"a\": [\"x\"],\n\t\"b\": \"\\/\"\n}", |value| {
        value["a"] = json!(["x"]);
    });
}

#[test]
fn aliases_do_not_change_with_their_anchor() {
    let text = "a: &x {k: 1}\nb: *x # c\n";
    let written = edited(text, |value| value["a"]["k"] = json!(2));
    assert_eq!(written, ("a: &x {k: 2}\nb: # c\n  k: 1\n".to_owned(), vec!["/b".to_owned()]));
    let written = edited(text, |value| value["b"]["l"] = json!(2));
    assert_eq!(written.0, "a: &x {k: 1}\nb: # c\n  k: 1\n  l: 2\n");
    becomes(text, "a: &x {k: 2}\nb: *x # c\n", |value| *value = json!({"a": {"k": 2}, "b": {"k": 2}}));
    let written = edited("a: &x {k: 1}\nb: *x\n", |value| *value = json!({"b": {"k": 1}}));
    assert_eq!(written.0, "b:\n  k: 1\n");
}

#[test]
fn merged_keys_are_overridden_or_written_out() {
    let text = "a: &x {k: 1, l: 2}\nb:\n  <<: *x # c\n  m: 3\n";
    becomes(text, "a: &x {k: 1, l: 2}\nb:\n  <<: *x # c\n  m: 3\n  k: 4\n", |value| {
        value["b"]["k"] = json!(4)
    });
    let written = edited(text, |value| value["b"] = json!({"k": 1, "m": 3}));
    assert_eq!(written, ("a: &x {k: 1, l: 2}\nb:\n  k: 1\n  m: 3\n".to_owned(), vec!["/b".to_owned()]));
    let written = edited(text, |value| value["a"]["k"] = json!(0));
    assert_eq!(written.1, ["/b"]);
}

#[test]
fn the_last_of_duplicate_keys_counts() {
    becomes("a: 1\nb: 2\na: 3\n", "a: 1\nb: 2\na: 4\n", |value| value["a"] = json!(4));
    becomes("a: 1\nb: 2\na: 3\n", "b: 2\n", |value| *value = json!({"b": 2}));
}

/// Values with few keys and texts, so that two of them have much in common.
fn value() -> impl Strategy<Value = Value> {
    let text = prop_oneof!["[a-c]", "[a-c :#'\"\\n-]{0,4}", Just("true".to_owned()), Just("1".to_owned())];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..3_i64).prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 4, |inner| {
        let named =
            (prop_oneof!["[a-c]"], inner.clone()).prop_map(|(name, value)| json!({"name": name, "v": value}));
        prop_oneof![
            prop::collection::vec(prop_oneof![inner.clone(), named], 0..4).prop_map(Value::Array),
            prop::collection::btree_map(prop_oneof!["[a-d]", "[a-b :#-]{1,3}"], inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Texts of a value, as programs write it.
fn texts(value: &Value) -> Vec<(bool, String)> {
    let yaml = to_string(value);
    let wide = yaml.lines().all(|line| !line.contains(['|', '"', '\'']));
    let wide = wide.then(|| {
        let line = |line: &str| format!("{}{line}\n", " ".repeat(line.len() - line.trim_start().len()));
        yaml.lines().map(line).collect::<String>()
    });
    let mut texts = vec![
        (false, yaml.replace('\n', "\r\n")),
        (false, yaml.trim_end_matches('\n').to_owned()),
        (false, yaml),
        (false, value.to_string()),
    ];
    texts.extend(wide.map(|text| (false, text)));
    if value.is_object() {
        texts.extend([(true, value.to_string()), (true, format!("{value:#}\n"))]);
    }
    texts
}

/// Edits of strange texts may give a different value: the caller compares, and writes the document anew. That has to be
/// rare.
#[test]
fn edits_can_be_undone_and_give_the_new_value() {
    use std::cell::Cell;
    let (all, wrong) = (Cell::new(0_usize), Cell::new(0_usize));
    let mut runner = TestRunner::default();
    let checked = runner.run(&(value(), value()), |(old, new)| {
        for (json, text) in texts(&old) {
            // A block at the end of the text needs its line break.
            let Ok((node, outline)) = parse_outlined(&text, &Limits::default()) else { continue };
            if node.to_value().as_ref() != Ok(&old) {
                continue;
            }
            let Some(edits) = edits(&text, &outline, &old, &new, json) else { continue };
            let written = apply(&text, &edits.list);
            prop_assert_eq!(&apply(&written, &inverse(&text, &edits.list)), &text);
            all.set(all.get() + 1);
            let is_right = load(&written, &Limits::default()).as_ref() == Ok(&new);
            wrong.set(wrong.get() + usize::from(!is_right));
            // JSON has no strange texts.
            if json {
                prop_assert!(is_right, "{text:?} became {written:?}");
                prop_assert!(serde_json::from_str::<Value>(&written).is_ok(), "{written}");
            }
        }
        Ok(())
    });
    checked.unwrap_or_else(|error| panic!("{error}"));
    assert!(all.get() >= 100, "{} texts are edited", all.get());
    assert!(wrong.get() * 50 <= all.get(), "{} of {} edits give another value", wrong.get(), all.get());
}

proptest! {
    #[test]
    fn no_text_makes_edits_panic(text in "((- |  |a: |&a |\\*a |<<: |\\? |: |!!str |\\||>|'|\"|\\[|\\]|\\{|\\}|, |#|\n|\r\n|\t|é|x|b: ){0,30})", new in value()) {
        if let Ok((node, outline)) = parse_outlined(&text, &Limits::default())
            && let Ok(old) = node.to_value()
            && let Some(edits) = edits(&text, &outline, &old, &new, false)
        {
            let written = apply(&text, &edits.list);
            prop_assert_eq!(apply(&written, &inverse(&text, &edits.list)), text);
        }
    }
}
