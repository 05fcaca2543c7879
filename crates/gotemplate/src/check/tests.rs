use serde_json::{Value as Json, json};

use super::*;
use crate::funcs::{Call, FuncError, FunctionTable, Param, Row, sprig};
use crate::gotypes::{Enum, Field, Kind, Type};

static META: Type = Type {
    name: "v1.ObjectMeta",
    proto: false,
    fields: &[
        Field { go: "Annotations", json: "annotations", kind: Kind::Map(&Kind::String) },
        Field { go: "Name", json: "name", kind: Kind::String },
        Field { go: "Owners", json: "owners", kind: Kind::List(&Kind::Struct(&OWNER)) },
        Field { go: "Port", json: "port", kind: Kind::IntOrString },
    ],
};
static OWNER: Type = Type {
    name: "v1.Owner",
    proto: false,
    fields: &[
        Field { go: "Controller", json: "controller", kind: Kind::Pointer(&Kind::Bool) },
        Field { go: "Kind", json: "kind", kind: Kind::String },
    ],
};
static MODE: Enum = Enum { name: "v1.Mode", values: &[("NONE", 0)] };
static CONFIG: Type = Type {
    name: "v1.Config",
    proto: true,
    fields: &[
        Field { go: "Age", json: "age", kind: Kind::Duration },
        Field { go: "Mode", json: "mode", kind: Kind::Enum(&MODE) },
        Field { go: "Tracing", json: "tracing", kind: Kind::Pointer(&Kind::Struct(&TRACING)) },
    ],
};
static TRACING: Type = Type {
    name: "v1.Tracing",
    proto: true,
    fields: &[Field { go: "Address", json: "address", kind: Kind::String }],
};

/// sprig's functions and one with a parameter of a named type.
static FUNCTIONS: FunctionTable = FunctionTable { tables: &TABLES };
const OWN: &[Row] = &[Row::new("annotation", &[Param::Named("v1.ObjectMeta"), Param::String], nothing)];
const TABLES: [&[Row]; sprig::GROUPS.len() + 1] = {
    let mut tables = [OWN; sprig::GROUPS.len() + 1];
    let mut at = 0;
    while at < sprig::GROUPS.len() {
        tables[at] = sprig::GROUPS[at];
        at += 1;
    }
    tables
};

fn nothing<'a>(_: &mut Call<'_, 'a>, _: &[Value<'a>]) -> Result<Value<'a>, FuncError> {
    Ok(Value::string(""))
}

fn values() -> Json {
    json!({"global": {"hub": "h", "proxy": {"cpu": 1}, "off": false, "none": null}, "list": [1]})
}

/// Line, column and text of every finding.
fn findings(source: &str) -> Vec<String> {
    let values = values();
    let data = Value::record(
        "v1.Data",
        vec![
            ("Meta", Value::of_type(&META, None, true)),
            ("Config", Value::pointer_to(&CONFIG, None, false)),
            ("Values", Value::json(&values, false)),
            ("Native", Value::Bool(true)),
        ],
    );
    let template = Template::parse("x", source, &FUNCTIONS).unwrap();
    let text = |found: Finding| format!("{}:{} {}", found.at.line, found.at.column, found.mistake);
    template.mistakes(&data).into_iter().map(text).collect()
}

fn assert_all(cases: Vec<(&str, Vec<&str>)>) {
    for (source, wanted) in cases {
        assert_eq!(findings(source), wanted, "{source}");
    }
}

#[test]
fn fields_that_no_type_has_are_found_at_their_names() {
    assert_all(vec![
        ("{{ .Mta.Name }}", vec!["1:5 can't evaluate field Mta in type v1.Data"]),
        ("\n {{ .Meta.Nmae | quote }}", vec!["2:11 can't evaluate field Nmae in type v1.ObjectMeta"]),
        ("{{ .Meta.Name.Name }}", vec!["1:15 can't evaluate field Name in type string"]),
        ("{{ $m := .Meta }}{{ $m.X }}", vec!["1:24 can't evaluate field X in type v1.ObjectMeta"]),
        (
            "{{ with .Meta }}{{ .X }}{{ else }}{{ .Native }}{{ end }}",
            vec![
                "1:9 the condition is always true, so the branches after this one are never rendered",
                "1:21 can't evaluate field X in type v1.ObjectMeta",
            ],
        ),
        (
            "{{ range .Meta.Owners }}{{ .Kind }}{{ .X }}{{ end }}",
            vec!["1:40 can't evaluate field X in type v1.Owner"],
        ),
        (
            "{{ range $i, $o := .Meta.Owners }}{{ $o.X }}{{ $i.X }}{{ end }}",
            vec!["1:41 can't evaluate field X in type v1.Owner", "1:51 can't evaluate field X in type int"],
        ),
        ("{{ (index .Meta.Owners 0).X }}", vec!["1:27 can't evaluate field X in type v1.Owner"]),
        (
            "{{ .Config.GetTracing.GetAddres }}",
            vec!["1:23 can't evaluate field GetAddres in type *v1.Tracing"],
        ),
        ("{{ .Config.Mode.Name }}", vec!["1:17 can't evaluate field Name in type v1.Mode"]),
        ("{{ .Config.Age.Hours }}", vec!["1:16 can't evaluate field Hours in type *durationpb.Duration"]),
    ]);
}

#[test]
fn a_definition_is_checked_with_every_argument_it_gets() {
    let source = "{{ define \"d\" }}{{ .X }}{{ end }}{{ template \"d\" .Meta }}{{ template \"d\" .Values }}";
    assert_eq!(
        findings(source),
        [
            "1:20 .Values.X is not set: it is rendered as <no value>",
            "1:21 can't evaluate field X in type v1.ObjectMeta",
        ]
    );
    let endless = "{{ define \"d\" }}{{ template \"d\" .Values }}{{ end }}{{ template \"d\" . }}";
    assert_eq!(findings(endless), [""; 0]);
    assert_eq!(findings("{{ template \"nobody\" . }}"), ["1:13 template \"nobody\" not defined"]);
}

#[test]
fn what_fits_is_not_reported() {
    for source in [
        "{{ .Meta.Name }}{{ .Config.Mode.String }}{{ .Config.Age.GetSeconds }}{{ .Config.Age.Seconds }}",
        "{{ .Meta.Annotations.anything }}{{ index .Meta.Annotations `a/b` | quote }}",
        "{{ .Config.Tracing.Address }}{{ .Config.GetTracing.GetAddress }}{{ .Meta.Port.IntValue }}",
        "{{ range .Meta.Owners }}{{ if .Controller }}{{ .Kind }}{{ end }}{{ end }}",
        "{{ range $k, $v := .Meta.Annotations }}{{ $k }}{{ upper $v }}{{ end }}",
        "{{ annotation .Meta `x` | default `y` | quote }}{{ trunc 3 .Meta.Name }}",
        "{{ with dict `a` .Meta }}{{ .a.Name.whatever }}{{ end }}",
        "{{ $x := `` }}{{ if .Native }}{{ $x = .Meta }}{{ end }}{{ $x.Name }}",
        "{{ .Values.global.hub }}{{ .Values.global.proxy.cpu }}{{ .Values.list }}",
        "{{ if .Native }}a{{ else if .Values.global.off }}b{{ end }}",
        "{{ range until 3 }}{{ . }}{{ end }}{{ range .Values.list }}{{ .x }}{{ end }}",
        "{{ printf `%s-%d` .Meta.Name 3 }}{{ eq .Meta.Name `a` }}{{ and .Native (not false) }}",
    ] {
        assert_eq!(findings(source), [""; 0], "{source}");
    }
}

#[test]
fn wrong_arguments_are_found() {
    assert_all(vec![
        ("{{ upper }}", vec!["1:4 wrong number of args for upper: want 1 got 0"]),
        ("{{ .Meta.Name | trunc }}", vec!["1:17 wrong number of args for trunc: want 2 got 1"]),
        ("{{ eq }}", vec!["1:4 wrong number of args for eq: want at least 1 got 0"]),
        ("{{ .Meta.Name 1 }}", vec!["1:10 Name has arguments but cannot be invoked as function"]),
        ("{{ .Config.GetMode 1 }}", vec!["1:12 wrong number of args for GetMode: want 0 got 1"]),
        ("{{ .Values.global.hub 1 }}", vec!["1:19 hub is not a method but has arguments"]),
        ("{{ \"a\" 1 }}", vec!["1:4 can't give argument to non-function \"a\""]),
        ("{{ upper 1 }}", vec!["1:10 wrong argument for upper: expected string; found 1"]),
        ("{{ trunc `a` .Meta.Name }}", vec!["1:10 wrong argument for trunc: expected integer; found `a`"]),
        (
            "{{ upper .Meta }}",
            vec!["1:10 wrong type for argument of upper: expected string; got v1.ObjectMeta"],
        ),
        (
            "{{ .Meta.Owners | upper }}",
            vec!["1:19 wrong type for argument of upper: expected string; got []v1.Owner"],
        ),
        (
            "{{ annotation .Config `x` }}",
            vec!["1:15 wrong type for argument of annotation: expected v1.ObjectMeta; got *v1.Config"],
        ),
        ("{{ range .Meta }}{{ end }}", vec!["1:10 range can't iterate over a value of type v1.ObjectMeta"]),
        ("{{ index .Meta `Name` }}", vec!["1:4 can't index a value of type v1.ObjectMeta"]),
    ]);
}

#[test]
fn branches_that_are_never_rendered_are_found() {
    const FALSE: &str = "the condition is always false, so this branch is never rendered";
    const TRUE: &str = "the condition is always true, so the branches after this one are never rendered";
    for (condition, wanted) in [
        ("false", FALSE),
        ("not true", FALSE),
        ("and .Native false", FALSE),
        ("eq `a` `b`", FALSE),
        ("or .Native `x`", TRUE),
        ("ne 1 2", TRUE),
        (".Meta", TRUE),
    ] {
        let source = format!("{{{{ if {condition} }}}}a{{{{ else }}}}b{{{{ end }}}}");
        assert_eq!(findings(&source), [format!("1:7 {wanted}")], "{source}");
    }
    assert_eq!(findings("{{ if true }}a{{ end }}"), [""; 0], "nothing is dead");
    assert_eq!(
        findings("{{ if .Native }}a{{ else if .Meta.Name }}b{{ else if .Native }}c{{ end }}"),
        ["1:54 an earlier branch has the same condition, so this one is never rendered"]
    );
    assert_eq!(findings("{{ if .Values.global.off }}a{{ else }}b{{ end }}"), [""; 0], "a configured value");
}

#[test]
fn keys_that_are_not_set_are_found_where_some_pod_reaches_them() {
    let unset = |column: u32, path: &str, then: &str| format!("1:{column} {path} is not set: {then}");
    let printed = "it is rendered as <no value>";
    for (source, wanted) in [
        ("{{ .Values.glob.hub }}", vec![unset(4, ".Values.glob.hub", printed)]),
        ("{{ .Values.global.none }}", vec![unset(4, ".Values.global.none", printed)]),
        ("{{ $g := .Values.global }}{{ $g.hbu }}", vec![unset(30, ".Values.global.hbu", printed)]),
        ("{{ with .Values.global }}{{ .hbu }}{{ end }}", vec![unset(29, ".Values.global.hbu", printed)]),
        ("{{ index .Values `x` }}", vec![]),
        ("{{ upper .Values.x }}", vec![unset(10, ".Values.x", "the function upper fails")]),
        ("{{ .Values.x | upper }}", vec![unset(16, ".Values.x", "the function upper fails")]),
        ("{{ .Values.x | quote }}", vec![unset(16, ".Values.x", "nothing is rendered")]),
        ("{{ if .Meta.Name }}{{ .Values.x }}{{ end }}", vec![unset(23, ".Values.x", printed)]),
        ("{{ if .Values.global.hub }}{{ .Values.x }}{{ end }}", vec![unset(31, ".Values.x", printed)]),
        ("{{ if .Values.global.off }}{{ .Values.x }}{{ end }}", vec![]),
        ("{{ if .Values.x }}{{ .Values.x }}{{ end }}", vec![]),
        ("{{ with .Values.x }}{{ .y }}{{ end }}", vec![]),
        ("{{ if eq .Values.global.hub `x` }}{{ .Values.x }}{{ end }}", vec![]),
        ("{{ if .Native }}{{ .Values.x }}{{ end }}", vec![]),
        ("{{ if .Config.Tracing }}{{ .Values.x }}{{ end }}", vec![]),
        ("{{ .Values.x | default `y` }}{{ default `y` .Values.x | upper }}{{ toYaml .Values.x }}", vec![]),
    ] {
        let source = source.replace("toYaml", "toJson");
        assert_eq!(findings(&source), wanted, "{source}");
    }
}

#[test]
fn suggestions_have_the_names_next_to_a_mistake() {
    let values = values();
    let data = Value::record("v1.Data", vec![("Values", Value::json(&values, false))]);
    let of = |source: &str| {
        let template = Template::parse("x", source, &FUNCTIONS).unwrap();
        template.mistakes(&data).remove(0).mistake
    };
    let Mistake::UnsetValue { key, known, .. } = of("{{ .Values.global.hubb }}") else { panic!() };
    assert_eq!(
        (key.as_str(), known),
        ("hubb", vec!["hub".to_owned(), "none".into(), "off".into(), "proxy".into()])
    );
    let Mistake::UnknownField { known, .. } = of("{{ .Value }}") else { panic!() };
    assert_eq!(known, ["Values"]);
}

#[test]
fn keys_that_are_not_set_are_found_wherever_they_are_read() {
    let values = values();
    let data = Value::record(
        "v1.Data",
        vec![("Meta", Value::of_type(&META, None, true)), ("Values", Value::json(&values, false))],
    );
    let reads = |source: &str| {
        let template = Template::parse("x", source, &FUNCTIONS).unwrap();
        let text = |read: UnsetRead| {
            let (column, path, written) = (read.at.column, read.path.join("."), read.written);
            format!("{column} {path} {written}{}", if read.in_condition { " condition" } else { "" })
        };
        template.unset_reads(&data).into_iter().map(text).collect::<Vec<_>>()
    };
    for (source, wanted) in [
        ("{{ if .Values.global.of }}{{ end }}", vec!["7 Values.global.of 3 condition"]),
        ("{{ if false }}{{ if .Values.x }}{{ end }}{{ end }}", vec!["21 Values.x 2 condition"]),
        (
            "{{ if and .Meta.Name (not .Values.x) }}{{ .Values.y | default `z` }}{{ end }}",
            vec!["27 Values.x 2 condition", "43 Values.y 2"],
        ),
        (
            "{{ $g := .Values.glob }}{{ if $g.hub }}{{ end }}",
            vec!["10 Values.glob 2", "31 Values.glob.hub 1 condition"],
        ),
        ("{{ with .Values.x }}{{ .y }}{{ end }}", vec!["9 Values.x 2 condition", "24 Values.x.y 1"]),
        ("{{ range .Values.x }}{{ end }}", vec!["10 Values.x 2 condition"]),
        ("{{ if index .Values `global` `x` }}{{ end }}", vec!["7 Values.global.x 2 condition"]),
        ("{{ if .Values.global.hub }}{{ .Values.global.proxy.cpu }}{{ end }}", vec![]),
        ("{{ range .Meta.Owners }}{{ .Kind }}{{ end }}{{ .Meta.Annotations.x }}", vec![]),
    ] {
        assert_eq!(reads(source), wanted, "{source}");
    }
}
