//! Specialised templates against what they are made of: the same text, the same placeholders, the same errors.

use serde_json::{Value as Json, json};

use super::*;
use crate::gotypes;
use crate::template::{funcs, specialised::Place};

fn data<'a>(values: &'a Json, metadata: Option<&'a Json>) -> Vec<(&'static str, Value<'a>)> {
    vec![
        ("Values", Value::json(values, false)),
        ("ObjectMeta", Value::of_type(&gotypes::OBJECT_META, metadata, true)),
    ]
}

/// What a configuration and some pods make of a template, plain and specialised; how many actions are left is given.
fn rendered(source: &str) -> usize {
    let template = Template::parse("t", source, &funcs::istio::FUNCTIONS).unwrap();
    let values = json!({
        "yes": true, "no": false, "null": null, "text": "a\"b", "number": 7, "forged": "\u{e000}0\u{e001}",
        "list": ["x", "y"], "map": {"k": "v", "l": {"m": "n"}}, "none": [],
    });
    let keys = template.keys();
    let (scope, limits) = (Scope::default(), Limits::default());
    let mut left = 0;
    for annotations in
        [json!({}), json!({"a": "1"}), json!({"b": "x: y\n"}), json!({"a": "", "b": "\"", "c": "c"})]
    {
        let metadata = json!({"name": "pod", "annotations": annotations, "labels": {"b": "label"}});
        let annotations = metadata["annotations"].as_object().unwrap();
        let places = annotations.keys().map(|key| (Place::Annotations, key.as_str()));
        let present = keys.present(places.chain([(Place::Labels, "b")]));
        let known = Value::record("inject.Data", data(&values, None));
        let fast = template.specialise(&known, (&keys, present), &scope, &limits).expect(source);
        let mut all = data(&values, Some(&metadata));
        all.push(("Native", Value::Bool(annotations.len().is_multiple_of(2))));
        let dot = Value::record("inject.Data", all);
        let plain = template.render(&dot, &scope, &limits);
        assert_eq!(fast.render(&dot, &scope, &limits), plain, "{source}");
        let body = &fast.parsed.trees[fast.parsed.main].body;
        left = body.iter().filter(|node| !matches!(node, Node::Text(_))).count();
    }
    left
}

#[test]
fn what_the_configuration_decides_becomes_text() {
    for source in [
        "a{{ .Values.text | quote }}b",
        "{{ $x := .Values.map.l }}{{ $x.m }}{{ with $x }}{{ .m }}{{ $.Values.number }}{{ end }}",
        "{{ if .Values.no }}{{ .ObjectMeta.Name }}{{ else if .Values.yes }}yes{{ else }}{{ fail \"no\" }}{{ end }}",
        "{{ range $i, $x := .Values.list }}{{ $i }}={{ $x }}{{ . }},{{ end }}{{ range .Values.none }}{{ else }}none{{ end }}",
        "{{ range $k, $x := .Values.map }}{{ $k }}{{ end }}{{ range list \"p\" \"q\" }}{{ . }}{{ end }}",
        "{{ define \"t2\" }}{{ . }}{{ end }}{{ template \"t2\" .Values.map.k }}{{ template \"t2\" 3 }}",
        "{{ define \"t2\" }}{{ .Values.text }}{{ end }}{{ with .Values.map }}{{ template \"t2\" $ }}{{ end }}",
        "{{ or .Values.no .Values.text }}{{ and .Values.no .Native }}{{ or .Values.text .Native }}",
        "{{ if or .Values.yes .Native }}x{{ end }}{{ .Values.missing }}{{ .Values.null }}{{ toYaml .Values.map }}",
    ] {
        assert_eq!(rendered(source), 0, "{source}");
    }
}

#[test]
fn what_a_pod_decides_stays() {
    for source in [
        "{{ .Native }}{{ .ObjectMeta.Name }}{{ .Values.forged }}{{ quote .Values.forged }}",
        "{{ annotation .ObjectMeta \"a\" .Values.text }}{{ $a := .ObjectMeta.Annotations }}{{ index $a \"b\" | quote }}",
        "{{ isset .ObjectMeta.Annotations \"a\" }}{{ index .ObjectMeta.Labels \"b\" }}{{ index .ObjectMeta.Labels \"a\" }}",
        "{{ $a := .ObjectMeta.Annotations }}{{ range list \"a\" \"b\" \"c\" }}{{ $k := . }}{{ with index $a $k }}{{ $k }}={{ . }};{{ end }}{{ end }}",
        "{{ range $k, $v := .ObjectMeta.Annotations }}{{ $k }}{{ $v }}{{ end }}{{ len .ObjectMeta.Annotations }}",
        "{{ annotation .ObjectMeta \"a\" .Native }}{{ index .ObjectMeta.Annotations \"a\" | default \"d\" | quote }}",
        "{{ $x := 1 }}{{ if .Native }}{{ $x = 2 }}{{ end }}{{ $x }}{{ if .Values.yes }}{{ $x = 3 }}{{ end }}{{ $x }}",
        "{{ $x := \"a\" }}{{ if .Values.yes }}{{ $x := .Native }}{{ $x }}{{ end }}{{ $x }}",
        "{{ $d := dict \"a\" 1 }}{{ if .Native }}{{ $_ := set $d \"a\" 2 }}{{ end }}{{ $d.a }}{{ get $d \"a\" }}",
        "{{ with dict \"a\" 1 }}{{ if $.Native }}{{ $_ := set . \"a\" 2 }}{{ end }}{{ .a }}{{ end }}",
        "{{ with .Values.map }}{{ if $.Native }}{{ .k }}{{ end }}{{ range $.ObjectMeta.Annotations }}{{ . }}{{ end }}{{ toYaml . }}{{ end }}",
        "{{ range .Values.list }}{{ if $.Native }}{{ break }}{{ end }}{{ . }}{{ end }}{{ range .Values.list }}{{ continue }}{{ end }}",
        "{{ range $i, $x := .Values.list }}{{ if $.Native }}{{ $x }}{{ end }}{{ else }}{{ $i }}{{ end }}",
        "{{ define \"t2\" }}{{ $a := .ObjectMeta.Name }}{{ $a }}{{ $.Native }}{{ end }}{{ $a := 5 }}{{ template \"t2\" . }}{{ $a }}{{ with 1 }}{{ template \"t2\" $ }}{{ end }}",
        "{{ define \"t2\" }}{{ if .k }}{{ .l }}{{ end }}{{ end }}{{ template \"t2\" .Values.map }}{{ template \"t2\" .ObjectMeta.Annotations }}",
        "{{ define \"t2\" }}{{ if .Native }}x{{ end }}{{ template \"t3\" . }}{{ end }}{{ define \"t3\" }}{{ .Native }}{{ end }}{{ template \"t2\" . }}",
        "{{ if $x := .Values.no }}{{ $x }}{{ else if $y := .Values.text }}{{ $x }}{{ $y }}{{ .Native }}{{ end }}",
        "{{ with $x := .Values.map }}{{ $x.k }}{{ .k }}{{ $.Native }}{{ end }}{{ template \"t4\" $z := 1 }}{{ define \"t4\" }}{{ . }}{{ end }}",
        "{{ and .Native .Values.text }}{{ and .Values.text .Native }}{{ or .Native .Values.no .Values.text }}{{ and .Values.text }}",
        "{{ .Native | printf \"%v %v\" .Values.text }}{{ .Values.text | printf \"%v %v\" .Native }}",
    ] {
        rendered(source);
    }
}

#[test]
fn errors_stay_where_they_are() {
    for source in [
        "a\n{{ if .Native }}{{ .Values.text.nothing }}{{ end }}",
        "a\n{{ .Values.text.nothing }}",
        "{{ $x := .Values.text }}\n{{ $x.nothing }}",
        "{{ index .Values.list 5 }}",
        "{{ fail .Values.text }}",
        "{{ range .Values.number }}{{ . }}{{ end }}{{ range .Values.yes }}{{ end }}",
        "{{ template \"nothing\" . }}",
        "{{ define \"t2\" }}{{ template \"t2\" . }}{{ end }}{{ template \"t2\" . }}",
        "{{ .Values.text 1 }}",
        "{{ annotation .Values \"a\" 1 }}",
        "{{ index .ObjectMeta.Annotations 1 }}",
        "{{ .Nothing }}",
    ] {
        rendered(source);
    }
}

#[test]
fn a_template_too_large_to_specialise_stays_as_it_is() {
    let parse = |source: &str| Template::parse("t", source, &funcs::istio::FUNCTIONS).unwrap();
    let small = "{{ range .Values.list }}".repeat(20) + "{{ .x }}" + &"{{ end }}".repeat(20);
    // The dot is rebound, so only the outermost loop of the small one has the list.
    let large = parse(&small.replace(".Values", "$.Values"));
    let small = parse(&small);
    let declares = parse("{{ if true }}{{ print ($x := 1) }}{{ end }}");
    let (scope, limits, keys) = (Scope::default(), Limits::default(), Keys::default());
    let values = json!({"list": [1, 2, 3, 4, 5]});
    let known = Value::record("inject.Data", vec![("Values", Value::json(&values, false))]);
    let is_specialised =
        |template| Template::specialise(template, &known, (&keys, Present::ANY), &scope, &limits).is_some();
    assert!(is_specialised(&small));
    assert!(!is_specialised(&large));
    assert!(!is_specialised(&declares));
}
