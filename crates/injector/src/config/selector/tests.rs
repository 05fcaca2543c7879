use serde::Deserialize;

use super::super::decode::{At, Decoder};
use super::*;

/// The answers of Kubernetes' own code; `hack/oracle/selector` writes the file.
const FIXTURE: &str = include_str!("../../../tests/fixtures/selector.json");

#[derive(Deserialize)]
struct Fixture {
    labels: Vec<Map<String, Value>>,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    selector: String,
    decodes: bool,
    valid: bool,
    empty: bool,
    matches: String,
}

fn read_text(text: &str) -> (Read, Decoder<'_>) {
    let node = yaml::parse(text, &Limits::default()).unwrap();
    let mut decoder = Decoder::new(Source { name: "s", text });
    let read = read(&mut decoder, &At::root(&node));
    (read, decoder)
}

#[test]
fn agrees_with_kubernetes() {
    let fixture: Fixture = serde_json::from_str(FIXTURE).unwrap();
    assert!(fixture.rows.len() > 900, "{}", fixture.rows.len());
    for row in fixture.rows {
        let (read, decoder) = read_text(&row.selector);
        match read {
            Read::Valid(selector) => {
                assert!(row.decodes && row.valid, "valid here only: {}", row.selector);
                assert_eq!(selector.is_empty(), row.empty, "{}", row.selector);
                let matches: String =
                    fixture.labels.iter().map(|set| if selector.matches(set) { 'y' } else { 'n' }).collect();
                assert_eq!(matches, row.matches, "{}", row.selector);
                assert_eq!(decoder.problems, [], "{}", row.selector);
            }
            Read::Invalid(problems) => {
                assert!(row.decodes && !row.valid, "invalid here only: {}", row.selector);
                assert!(!problems.is_empty());
                assert_eq!(decoder.problems, [], "{}", row.selector);
            }
            Read::Undecodable => {
                assert!(!row.decodes, "undecodable here only: {}", row.selector);
                assert!(!decoder.problems.is_empty(), "{}", row.selector);
            }
        }
    }
}

#[test]
fn a_label_that_is_no_string_is_absent() {
    let (Read::Valid(selector), _) = read_text("matchExpressions: [{key: app, operator: Exists}]") else {
        panic!()
    };
    assert!(!selector.matches(json!({"app": 5}).as_object().unwrap()));
}

#[test]
fn writes_itself_so_that_it_reads_the_same() {
    let fixture: Fixture = serde_json::from_str(FIXTURE).unwrap();
    for row in fixture.rows.iter().filter(|row| row.valid) {
        let (Read::Valid(selector), _) = read_text(&row.selector) else { panic!("{}", row.selector) };
        let text = selector.to_value().to_string();
        let (Read::Valid(again), decoder) = read_text(&text) else { panic!() };
        assert_eq!(again, selector);
        assert_eq!(decoder.warnings, []);
    }
}

#[test]
fn selectors_of_a_cluster_are_read_as_those_of_a_file() {
    let value = json!({"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "NotIn", "values": ["d"]}]});
    let selector = Selector::from_value(&value).unwrap();
    assert_eq!(selector.to_value(), value);
    assert!(Selector::from_value(&json!({})).unwrap().is_empty());
    assert_eq!(Selector::from_value(&json!({"matchExpressions": [{"key": "c", "operator": "Like"}]})), None);
}
