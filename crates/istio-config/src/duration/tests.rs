use super::*;

#[derive(serde::Deserialize)]
struct Row {
    text: String,
    nanos: Option<i64>,
    #[serde(default)]
    go: String,
    #[serde(default)]
    proto: String,
}

fn rows() -> Vec<Row> {
    let fixture: serde_json::Value =
        serde_json::from_str(include_str!("../../tests/fixtures/meshconfig.json")).unwrap();
    serde_json::from_value(fixture["durations"].clone()).unwrap()
}

#[test]
fn parses_and_prints_as_go_does() {
    let rows = rows();
    assert!(rows.len() >= 80 && rows.iter().any(|row| row.nanos.is_none()));
    for row in rows {
        let parsed = Duration::parse(&row.text).ok();
        assert_eq!(parsed.map(Duration::nanos), row.nanos, "{:?}", row.text);
        if let Some(duration) = parsed {
            assert_eq!(duration.to_string(), row.go, "{:?}", row.text);
            assert_eq!(duration.to_proto(), row.proto, "{:?}", row.text);
        }
    }
}

#[test]
fn reads_its_own_output() {
    for row in rows() {
        let Some(nanos) = row.nanos else { continue };
        assert_eq!(Duration::parse(&row.go).unwrap().nanos(), nanos, "{}", row.go);
        assert_eq!(Duration::parse(&row.proto).unwrap().nanos(), nanos, "{}", row.proto);
    }
}

#[test]
fn an_error_says_what_is_missing() {
    let error = Duration::parse("10").unwrap_err();
    assert_eq!(error.fault, DurationFault::MissingUnit);
    assert!(error.to_string().starts_with("found \"10\", expected a duration with a unit"), "{error}");
    assert_eq!(Duration::parse("soon").unwrap_err().fault, DurationFault::Syntax);
    assert_eq!(Duration::parse("9999999h").unwrap_err().fault, DurationFault::Overflow);
}
