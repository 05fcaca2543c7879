//! Compares specialized templates with their originals: the same text, the same placeholders, the same errors.

use serde_json::{Value as Json, json};

use super::*;
use crate::absent_keys::{AbsentKeys, Lookup, MapId};
use crate::funcs::{Call, FuncError, FunctionTable, Param, Row, sprig};
use crate::gotypes::{Field, Kind, Type};

const ABSENT_KEYS: AbsentKeys = AbsentKeys {
    maps: &[["ObjectMeta", "Annotations"], ["ObjectMeta", "Labels"]],
    lookups: &[
        Lookup { function: "annotation", map: Some(MapId(0)) },
        Lookup { function: "isset", map: None },
    ],
};

static OBJECT_META: Type = Type {
    name: "v1.ObjectMeta",
    proto: false,
    fields: &[
        Field { go: "Annotations", json: "annotations", kind: Kind::Map(&Kind::String) },
        Field { go: "Labels", json: "labels", kind: Kind::Map(&Kind::String) },
        Field { go: "Name", json: "name", kind: Kind::String },
    ],
};

/// sprig's functions and some that look up a key in the pod's metadata.
static FUNCTIONS: FunctionTable = FunctionTable { tables: &TABLES };
const LOOKUPS: &[Row] = &[
    Row::new("annotation", &[Param::Named("v1.ObjectMeta"), Param::String, Param::Any], annotation),
    Row::new("isset", &[Param::StringMap, Param::String], isset),
];
const TABLES: [&[Row]; sprig::GROUPS.len() + 1] = {
    let mut tables = [LOOKUPS; sprig::GROUPS.len() + 1];
    let mut at = 0;
    while at < sprig::GROUPS.len() {
        tables[at] = sprig::GROUPS[at];
        at += 1;
    }
    tables
};

fn annotation<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Result<Value<'a>, FuncError> {
    let [Value::Struct(of), Value::String(key), default] = args else { return Err("arguments".into()) };
    let annotations = of.field("Annotations");
    let found = annotations.as_ref().and_then(Value::as_map).and_then(|map| map.at(&call.real(key)));
    Ok(found.unwrap_or_else(|| Value::String(call.printed(default))))
}

fn isset<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Result<Value<'a>, FuncError> {
    let [Value::Map(map), Value::String(key)] = args else { return Err("arguments".into()) };
    Ok(Value::Bool(map.at(&call.real(key)).is_some()))
}

fn data<'a>(values: &'a Json, metadata: Option<&'a Json>) -> Vec<(&'static str, Value<'a>)> {
    vec![("Values", Value::json(values, false)), ("ObjectMeta", Value::of_type(&OBJECT_META, metadata, true))]
}

/// Renders a template for a configuration and some pods, plain and specialized; returns the number of remaining
/// actions.
fn rendered(source: &str) -> usize {
    let template = Template::parse("t", source, &FUNCTIONS).unwrap();
    let values = json!({
        "yes": true, "no": false, "null": null, "text": "a\"b", "number": 7, "forged": "\u{e000}0\u{e001}",
        "list": ["x", "y"], "map": {"k": "v", "l": {"m": "n"}}, "none": [],
    });
    let keys = template.keys(ABSENT_KEYS);
    let (scope, limits) = (Scope::default(), Limits::default());
    let mut left = 0;
    for annotations in
        [json!({}), json!({"a": "1"}), json!({"b": "x: y\n"}), json!({"a": "", "b": "\"", "c": "c"})]
    {
        let metadata = json!({"name": "pod", "annotations": annotations, "labels": {"b": "label"}});
        let annotations = metadata["annotations"].as_object().unwrap();
        let places = annotations.keys().map(|key| (MapId(0), key.as_str()));
        let present = keys.present(places.chain([(MapId(1), "b")]));
        let known = Value::record("inject.Data", data(&values, None));
        let fast = template.specialize(&known, (&keys, present), &scope, &limits).expect(source);
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
        "{{ if or .Values.yes .Native }}x{{ end }}{{ .Values.missing }}{{ .Values.null }}{{ toJson .Values.map }}",
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
        "{{ (and .Values.null .Native).k }}{{ and .Values.null .Native | default 3 }}{{ eq (and .Values.null .Native) nil }}",
        "{{ $x := 1 }}{{ if .Native }}{{ $x = 2 }}{{ end }}{{ $x }}{{ if .Values.yes }}{{ $x = 3 }}{{ end }}{{ $x }}",
        "{{ $x := \"a\" }}{{ if .Values.yes }}{{ $x := .Native }}{{ $x }}{{ end }}{{ $x }}",
        "{{ $d := dict \"a\" 1 }}{{ if .Native }}{{ $_ := set $d \"a\" 2 }}{{ end }}{{ $d.a }}{{ get $d \"a\" }}",
        "{{ with dict \"a\" 1 }}{{ if $.Native }}{{ $_ := set . \"a\" 2 }}{{ end }}{{ .a }}{{ end }}",
        "{{ with .Values.map }}{{ if $.Native }}{{ .k }}{{ end }}{{ range $.ObjectMeta.Annotations }}{{ . }}{{ end }}{{ toJson . }}{{ end }}",
        "{{ range .Values.list }}{{ if $.Native }}{{ break }}{{ end }}{{ . }}{{ end }}{{ range .Values.list }}{{ continue }}{{ end }}",
        "{{ range $i, $x := .Values.list }}{{ if $.Native }}{{ $x }}{{ end }}{{ else }}{{ $i }}{{ end }}",
        "{{ define \"t2\" }}{{ $a := .ObjectMeta.Name }}{{ $a }}{{ $.Native }}{{ end }}{{ $a := 5 }}{{ template \"t2\" . }}{{ $a }}{{ with 1 }}{{ template \"t2\" $ }}{{ end }}",
        "{{ define \"t2\" }}{{ if .k }}{{ .l }}{{ end }}{{ end }}{{ template \"t2\" .Values.map }}{{ template \"t2\" .ObjectMeta.Annotations }}",
        "{{ define \"t2\" }}{{ if .Native }}x{{ end }}{{ template \"t3\" . }}{{ end }}{{ define \"t3\" }}{{ .Native }}{{ end }}{{ template \"t2\" . }}",
        "{{ if $x := .Values.no }}{{ $x }}{{ else if $y := .Values.text }}{{ $x }}{{ $y }}{{ .Native }}{{ end }}",
        "{{ with $x := .Values.map }}{{ $x.k }}{{ .k }}{{ $.Native }}{{ end }}{{ template \"t4\" $z := 1 }}{{ define \"t4\" }}{{ . }}{{ end }}",
        "{{ and .Native .Values.text }}{{ and .Values.text .Native }}{{ or .Native .Values.no .Values.text }}{{ and .Values.text }}",
        "{{ .Native | printf \"%v %v\" .Values.text }}{{ .Values.text | printf \"%v %v\" .Native }}",
        "{{ with $ := .Values.map }}{{ $.k }}{{ if $.Native }}{{ $.k }}{{ end }}{{ end }}{{ $.Native }}",
        "{{ define \"t2\" }}{{ .Native }}{{ $.Values.text }}{{ end }}{{ $ := .Values }}{{ template \"t2\" $ }}",
        "{{ define \"t2\" }}{{ $.Native }}{{ end }}{{ $ := .Values }}{{ template \"t2\" . }}{{ $.text }}",
        "{{ define \"t2\" }}{{ $x := 2 }}{{ $.Native }}{{ $x }}{{ end }}{{ $x := .Native }}{{ template \"t2\" . }}{{ $x }}",
        "{{ range $i, $x := .Values.list }}{{ $x := $.Native }}{{ $x }}{{ $i }}{{ end }}",
        "{{ range .Values.list }}{{ range $.Values.list }}{{ if $.Native }}{{ break }}{{ end }}{{ . }}{{ end }}{{ . }}{{ continue }}{{ end }}",
        "{{ $d := dict }}{{ range .Values.list }}{{ $_ := set $d . $.Native }}{{ end }}{{ $d }}{{ $e := $d }}{{ $_ := unset $e \"x\" }}{{ $d }}",
        "{{ $l := list (dict \"a\" 1) }}{{ with first $l }}{{ $_ := set . \"a\" $.Native }}{{ end }}{{ $l }}{{ range $l }}{{ .a }}{{ end }}",
        "{{ $m := dict \"in\" (dict \"a\" 1) }}{{ $in := $m.in }}{{ $_ := set $in \"a\" 2 }}{{ $m.in.a }}{{ $in.a }}{{ get $m.in \"a\" }}",
        "{{ $m := merge (dict) .Values.map }}{{ $_ := set $m \"k\" .Native }}{{ $m.k }}{{ .Values.map.k }}",
        "{{ if and .Values.yes (index .ObjectMeta.Annotations \"a\") .Native }}x{{ end }}{{ or (index .ObjectMeta.Annotations \"a\") .Values.text | quote }}",
        "{{ .ObjectMeta.Annotations.a }}{{ with .ObjectMeta }}{{ index .Annotations \"a\" }}{{ index $.ObjectMeta.Labels \"a\" }}{{ end }}",
        "{{ .Values.none | default .Native }}{{ if .Values.none }}x{{ else if .Values.text }}{{ .Native }}{{ end }}",
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
        "{{ range .Values.text | upper }}{{ end }}",
        "{{ range (.Values.text | upper) }}{{ end }}",
        "{{ range or .Values.no .Values.text }}{{ end }}",
        "{{ range index .Values \"text\" }}{{ end }}",
        "{{ range $i, $x := (.Values.number | int) }}{{ end }}",
        "{{ upper (index .Values \"number\") }}",
        "{{ upper (.Values.number | int) }}",
        "{{ upper (or .Values.no .Values.number) }}",
        "{{ upper (and .Values.yes (.Values.number | int)) }}",
        "{{ .ObjectMeta.Name | replace (.Values.number | int) \"a\" }}",
        "{{ range or .Native .Values.text }}{{ end }}",
        "{{ range and .Values.yes (.Values.text | upper) }}{{ end }}",
        "{{ with $x := .Values.text | upper }}{{ range $x }}{{ end }}{{ end }}",
        "{{ range or .Native .Values.no (.Values.text | upper) }}{{ end }}",
        "{{ range annotation .ObjectMeta \"z\" .Values.text }}{{ end }}",
        "{{ range index .ObjectMeta.Annotations \"z\" }}{{ end }}",
        "{{ range print .Values.number (index .ObjectMeta.Annotations \"z\") }}{{ end }}",
        "{{ (.Values.number | int).x }}{{ .Native }}",
        "{{ template \"t2\" .Values.text | upper }}{{ define \"t2\" }}{{ range . }}{{ end }}{{ end }}",
        "{{ range \"k\" | index .Values.map }}{{ end }}",
        "{{ (index .Values.list 0).x }}",
        "{{ ((index .Values.list 0) | upper).x | print }}",
        "{{ range .Values.text }}{{ else }}{{ end }}",
        "{{ .Values.null.x.y }}{{ .Values.missing.x.y }}{{ (index .Values.map \"none\").x }}",
    ] {
        rendered(source);
    }
}

#[test]
fn a_template_too_large_to_specialize_stays_as_it_is() {
    let parse = |source: &str| Template::parse("t", source, &FUNCTIONS).unwrap();
    let small = "{{ range .Values.list }}".repeat(20) + "{{ .x }}" + &"{{ end }}".repeat(20);
    // Dot is rebound, so only the outermost loop of the small one has the list.
    let large = parse(&small.replace(".Values", "$.Values"));
    let small = parse(&small);
    let declares = parse("{{ if true }}{{ print ($x := 1) }}{{ end }}");
    let (scope, limits, keys) = (Scope::default(), Limits::default(), Keys::default());
    let values = json!({"list": [1, 2, 3, 4, 5]});
    let known = Value::record("inject.Data", vec![("Values", Value::json(&values, false))]);
    let is_specialized =
        |template| Template::specialize(template, &known, (&keys, Present::ANY), &scope, &limits).is_some();
    assert!(is_specialized(&small));
    assert!(!is_specialized(&large));
    assert!(!is_specialized(&declares));
}

#[test]
fn a_template_that_changes_what_the_dollar_is_stays_as_it_is() {
    let (scope, limits) = (Scope::default(), Limits::default());
    let values = json!({"text": "a"});
    for source in [
        "{{ if .Native }}{{ $ = .Values.map }}{{ end }}{{ $.Values.text }}{{ $.k }}",
        "{{ define \"t2\" }}{{ if .Native }}{{ $ = .Values }}{{ end }}{{ $.Values.text }}{{ end }}{{ template \"t2\" . }}{{ $.Values.text }}",
        "{{ define \"t2\" }}{{ range $ = .list }}{{ end }}{{ $ }}{{ end }}{{ template \"t2\" .Values }}",
        "{{ range $ = .Values.list }}{{ $ }}{{ end }}{{ $ }}",
    ] {
        let template = Template::parse("t", source, &FUNCTIONS).unwrap();
        let keys = Keys::default();
        let known = Value::record("inject.Data", data(&values, None));
        let fast = template.specialize(&known, (&keys, Present::ANY), &scope, &limits);
        assert!(fast.is_none(), "{source}");
    }
}
