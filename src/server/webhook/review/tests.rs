use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::inject::AdmissionRequest;

fn review(request: Value) -> Vec<u8> {
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request})
        .to_string()
        .into_bytes()
}

fn pod_request() -> Value {
    json!({
        "uid": "u-1", "operation": "CREATE", "namespace": "default", "dryRun": true,
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "userInfo": {"username": "x", "extra": [1, 2, {"a": null}]},
        "object": {"kind": "Pod", "apiVersion": "v1", "metadata": {"generateName": "web-"}},
    })
}

fn with(path: &str, value: Value) -> Vec<u8> {
    let mut request = pod_request();
    request[path] = value;
    review(request)
}

fn outside(path: &str, value: Value, reason: &'static str) {
    let body = with(path, value.clone());
    let review = parse(&body).unwrap();
    assert_eq!(review.asked, Asked::Outside(reason), "{path}: {value}");
    assert_eq!(review.uid, "u-1");
}

fn object(body: &[u8], text: &str) -> Result<Map<String, Value>, Malformed> {
    let request = AdmissionRequest::new(text, "", &BTreeMap::new()).into_object();
    request.map_err(|error| unreadable(body, text, error))
}

/// The parts of a review's object that are parsed.
fn pod_of(body: &[u8]) -> Result<Map<String, Value>, Malformed> {
    match parse(body)?.asked {
        Asked::Pod(text) => object(body, text),
        Asked::Outside(_) | Asked::Workload(_) => panic!("not a pod"),
    }
}

#[test]
fn reads_a_pod() {
    let body = review(pod_request());
    let review = parse(&body).unwrap();
    assert_eq!(review.version, Version::V1);
    assert_eq!((review.uid.as_str(), review.namespace.as_str(), review.dry_run), ("u-1", "default", true));
    let pod = pod_of(&body).unwrap();
    assert_eq!(pod["kind"], "Pod");
    assert_eq!(pod["metadata"]["generateName"], "web-");
}

// DA-09, DA-10, I-04
#[test]
fn has_no_opinion_outside_the_rule() {
    outside("subResource", json!("ephemeralcontainers"), SUBRESOURCE);
    outside("operation", json!("UPDATE"), OTHER_OPERATION);
    outside("operation", json!("DELETE"), OTHER_OPERATION);
    outside("resource", json!({"group": "apps", "version": "v1", "resource": "deployments"}), OTHER_RESOURCE);
    let mut delete = pod_request();
    delete["operation"] = json!("DELETE");
    delete["object"] = Value::Null;
    assert_eq!(parse(&review(delete)).unwrap().asked, Asked::Outside(OTHER_OPERATION));
}

#[test]
fn hand_written_reviews_may_leave_the_kind_out() {
    let body = review(json!({"uid": "u", "object": {"spec": {}}}));
    assert!(pod_of(&body).unwrap().contains_key("spec"));
}

// I-01, I-02, I-03, I-04
#[test]
fn refuses_what_is_no_review() {
    let reason = |body: &[u8]| parse(body).unwrap_err().reason();
    assert_eq!(reason(b""), "EMPTY_BODY");
    assert_eq!(reason(b" \n"), "EMPTY_BODY");
    assert_eq!(reason(b"{"), "NOT_JSON");
    assert_eq!(reason(b"{} {}"), "NOT_JSON");
    assert_eq!(reason(b"nope"), "NOT_JSON");
    assert_eq!(reason(b"\xff"), "NOT_JSON");
    for json in ["{}", "[]", "null", "true", "1", "-1", "1.5", "\"AdmissionReview\"", "[1,[2]]"] {
        assert_eq!(reason(json.as_bytes()), "NOT_AN_ADMISSION_REVIEW", "{json}");
    }
    assert_eq!(reason(br#"{"apiVersion":"v1","kind":"Pod"}"#), "NOT_AN_ADMISSION_REVIEW");
    assert_eq!(
        reason(br#"{"apiVersion":"admission.k8s.io/v2","kind":"AdmissionReview"}"#),
        "NOT_AN_ADMISSION_REVIEW"
    );
    for request in [json!(null), json!([]), json!("x"), json!(7)] {
        assert_eq!(parse(&review(request)).unwrap_err(), Malformed::Request);
    }
    assert_eq!(reason(&review(json!({}))), "MALFORMED_REVIEW");
    for (field, value) in [
        ("uid", json!(7)),
        ("uid", json!("")),
        ("uid", json!(null)),
        ("namespace", json!({})),
        ("dryRun", json!("true")),
        ("operation", json!(1)),
        ("subResource", json!(false)),
        ("object", json!(null)),
        ("object", json!("pod")),
        ("object", json!([])),
    ] {
        assert_eq!(reason(&with(field, value.clone())), "MALFORMED_REVIEW", "{field}: {value}");
    }
    let broken = String::from_utf8(with("uid", json!("HERE"))).unwrap().replace("HERE", "\\ud800");
    assert_eq!(reason(broken.as_bytes()), "MALFORMED_REVIEW");
    let escaped = String::from_utf8(with("uid", json!("HERE"))).unwrap().replace("HERE", "\\u0061\\\"");
    assert_eq!(parse(escaped.as_bytes()).unwrap().uid, "a\"");
}

// I-07
#[test]
fn the_last_of_duplicate_keys_wins() {
    let body =
        br#"{"apiVersion":"v0","kind":"x","request":{"uid":"lost"},"apiVersion":"admission.k8s.io/v1beta1",
        "kind":"AdmissionReview","request":{"uid":"a","uid":"b","object":{"a":1},"object":{"a":2,"a":3}}}"#;
    let review = parse(body).unwrap();
    assert_eq!((review.version, review.uid.as_str()), (Version::V1Beta1, "b"));
    assert_eq!(pod_of(body).unwrap()["a"], 3);
}

// I-07
#[test]
fn odd_json_is_read_or_refused_but_never_changed() {
    let object = |text: &str| {
        let body = format!(
            r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{{"uid":"u","object":{{"x":{text}}}}}}}"#
        );
        match pod_of(body.as_bytes()) {
            Ok(pod) => pod["x"].to_string(),
            Err(error) => error.reason().to_owned(),
        }
    };
    assert_eq!(object("9007199254740993"), "9007199254740993");
    assert_eq!(object("1.0"), "1.0");
    assert_eq!(object(r#""\u0000""#), r#""\u0000""#);
    for refused in ["NaN", "1e400", r#""\ud800""#, "\"\u{1}\"", "01", "1."] {
        assert_eq!(object(refused), "NOT_JSON", "{refused}");
    }
}

// I-06
#[test]
fn accepts_two_hundred_levels_and_refuses_three_hundred() {
    let deep = |levels: usize| {
        let nested = format!("{}0{}", "[".repeat(levels), "]".repeat(levels));
        let body = String::from_utf8(with("object", json!({"deep": "HERE"}))).unwrap();
        pod_of(body.replace("\"HERE\"", &nested).as_bytes())
    };
    assert!(deep(200).is_ok());
    assert_eq!(deep(300).unwrap_err(), Malformed::Depth(shape::TooDeep));
}

#[test]
fn error_texts_carry_nothing_of_the_body() {
    let canary = "s3cr3t-canary";
    for body in [
        format!("\"{canary}"),
        format!("{{\"{canary}\": {canary}}}"),
        format!("{{\"kind\": \"{canary}\"}}"),
        format!("{{\"apiVersion\":\"admission.k8s.io/{canary}\",\"kind\":\"AdmissionReview\"}}"),
        String::from_utf8(with("dryRun", json!(canary))).unwrap(),
        String::from_utf8(with("object", json!(canary))).unwrap(),
    ] {
        let error = parse(body.as_bytes()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(canary), "{error}");
    }
}

#[test]
fn what_only_shows_when_the_object_is_read_is_placed_in_the_body() {
    let body = "{\"kind\":\"AdmissionReview\",\"apiVersion\":\"admission.k8s.io/v1\",\n \"request\":{\"uid\":\"u\",\"object\":{\"x\":1e400}}}";
    let place = |text: &str| match pod_of(text.as_bytes()) {
        Err(Malformed::Json { line, column }) => (line, column),
        other => panic!("{other:?}"),
    };
    let whole = |text: &str| {
        let error = serde_json::from_str::<Value>(text).unwrap_err();
        (error.line(), error.column())
    };
    assert_eq!(place(body), whole(body));
    let on_its_own_line = body.replace("{\"x\"", "{\n\n  \"x\"");
    assert_eq!(place(&on_its_own_line), whole(&on_its_own_line));
}

proptest! {
    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn never_panics_on_damaged_reviews(at in 0_usize..500, byte in any::<u8>(), cut in 0_usize..600) {
        let mut body = review(pod_request());
        if let Some(target) = body.get_mut(at) {
            *target = byte;
        }
        body.truncate(cut);
        if let Ok(Review { asked: Asked::Pod(text), .. }) = parse(&body) {
            let _ = object(&body, text);
        }
    }
}
