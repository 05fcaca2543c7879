//! Tests what Go does not guarantee: taint, limits, places of errors, and the absence of panics.

use proptest::prelude::*;

use super::*;
use crate::funcs::{Call, FuncError, Param, Row};
use crate::value::{Elem, Key, Text};

/// Functions that the tests need and Go lacks.
static TABLE: &[Row] = &[
    Row::variadic("list", &[], Param::Any, |_: &mut Call<'_, '_>, args| Ok(Value::list(args.to_vec()))),
    Row::variadic("dict", &[], Param::Any, |_, _| Ok(Value::map(BTreeMap::new()))),
    Row::new("set", &[Param::AnyMap, Param::String, Param::Any], set),
    Row::new("repeat", &[Param::Int, Param::String], repeat),
    Row::new("fail", &[Param::String], |call, args| match args {
        [Value::String(text)] => Err(FuncError::Message(call.real(text).into_owned())),
        _ => Ok(Value::Nil),
    }),
    Row::refused("now", "templates have no clock"),
    Row::new("strings", &[], |_, _| Ok(Value::list_of(Elem::String, vec![Value::string("s")]))),
];

static FUNCTIONS: FunctionTable = FunctionTable { tables: &[TABLE] };

fn set<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Result<Value<'a>, FuncError> {
    let [Value::Map(map), Value::String(key), value] = args else { return Err("arguments".into()) };
    map.insert(Key { text: call.real(key).into_owned().into(), tainted: key.is_tainted() }, value.clone())?;
    Ok(Value::Map(map.clone()))
}

fn repeat<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Result<Value<'a>, FuncError> {
    let [Value::Int(count, _), Value::String(text)] = args else { return Err("arguments".into()) };
    let count = usize::try_from(*count).unwrap_or_default();
    Ok(call.computed(call.real(text).repeat(count), args))
}

static POD: Type = Type {
    name: "v1.Pod",
    proto: false,
    fields: &[
        Field { go: "Args", json: "args", kind: Kind::List(&Kind::String) },
        Field { go: "Labels", json: "labels", kind: Kind::Map(&Kind::String) },
        Field { go: "Name", json: "name", kind: Kind::String },
        Field { go: "Port", json: "port", kind: Kind::Int },
    ],
};

/// Renders with data from the pod under `.Pod` and the administrator's under `.Values`.
fn render(source: &str) -> Result<Rendered, RenderError> {
    render_within(source, &Limits::default())
}

fn render_within(source: &str, limits: &Limits) -> Result<Rendered, RenderError> {
    let pod = json!({"name": "p\"o\nd", "labels": {"app": "web"}, "args": ["a", "b"], "port": 80});
    let values = json!({"image": "proxy", "list": [1, 2], "inner": {"a": "b"}});
    let scope = Scope::default();
    let template = Template::parse("sidecar", source, &FUNCTIONS).unwrap();
    let dot = Value::record(
        "inject.Data",
        vec![("Pod", Value::of_type(&POD, Some(&pod), true)), ("Values", Value::json(&values, false))],
    );
    template.render(&dot, &scope, limits)
}

fn raws(rendered: &Rendered) -> Vec<(&str, bool)> {
    rendered.placeholders.iter().map(|placeholder| (placeholder.raw.as_str(), placeholder.escaped)).collect()
}

#[test]
fn prints_text_from_the_pod_as_a_placeholder() {
    let rendered = render("name: {{ .Pod.Name }} {{ .Values.image }}").unwrap();
    assert_eq!(rendered.text, "name: \u{E000}0\u{E001} proxy");
    assert_eq!(raws(&rendered), [("p\"o\nd", false)]);
}

#[test]
fn prints_numbers_from_the_pod_plainly() {
    let rendered = render("{{ .Pod.Port }}{{ len .Pod.Args }}").unwrap();
    assert_eq!((rendered.text.as_str(), rendered.placeholders.len()), ("802", 0));
}

#[test]
fn keeps_structure_clean_when_it_prints_lists_and_maps() {
    let rendered = render("{{ .Pod.Labels }}{{ .Pod.Args }}").unwrap();
    let expected = "map[\u{E000}0\u{E001}:\u{E000}1\u{E001}][\u{E000}2\u{E001} \u{E000}3\u{E001}]";
    assert_eq!(rendered.text, expected);
    assert_eq!(raws(&rendered), [("app", false), ("web", false), ("a", false), ("b", false)]);
}

#[test]
fn moves_text_from_the_pod_through_print_and_printf() {
    let rendered = render(r#"{{ printf "%s-%d" .Pod.Name 1 }}{{ print "x" .Pod.Name }}"#).unwrap();
    assert_eq!(rendered.text, "\u{E000}0\u{E001}-1x\u{E000}1\u{E001}");
}

#[test]
fn marks_text_between_quotes_as_escaped() {
    let rendered = render(r#"{{ printf "%q" .Pod.Name }}{{ printf "%q" (print "a\"" .Pod.Name) }}"#).unwrap();
    assert_eq!(rendered.text, "\"\u{E000}0\u{E001}\"\"a\\\"\u{E000}2\u{E001}\"");
    assert_eq!(raws(&rendered), [("p\"o\nd", true), ("p\"o\nd", false), ("p\"o\nd", true)]);
}

#[test]
fn computes_with_the_real_text() {
    for (source, expected) in [
        (r#"{{ eq .Pod.Name "p\"o\nd" }}"#, "true"),
        (r#"{{ eq (print "x" .Pod.Name) "xp\"o\nd" }}"#, "true"),
        ("{{ len .Pod.Name }}", "5"),
        ("{{ len (print .Pod.Name .Pod.Name) }}", "10"),
        ("{{ index .Pod.Name 0 }}", "112"),
        (r#"{{ lt .Pod.Name "q" }}"#, "true"),
        ("{{ range $k, $v := .Pod.Labels }}{{ eq $k \"app\" }}{{ eq $v \"web\" }}{{ end }}", "truetrue"),
        (r#"{{ index .Pod.Labels (print "a" "pp") | eq "web" }}"#, "true"),
    ] {
        let rendered = render(source).unwrap();
        assert_eq!(rendered.text, expected, "{source}");
    }
}

#[test]
fn taints_what_is_computed_from_text_of_the_pod() {
    for source in [
        "{{ slice .Pod.Name 0 1 }}",
        "{{ html .Pod.Name }}",
        "{{ urlquery .Values.image .Pod.Name }}",
        "{{ printf \"%5s\" .Pod.Name }}",
        "{{ printf \"%x\" .Pod.Name }}",
        "{{ printf .Pod.Name }}",
        "{{ printf (print .Pod.Name \"%s\") \"x\" }}",
        "{{ slice (print \"ab\" .Pod.Name) 0 2 }}",
        "{{ repeat 2 .Pod.Name }}",
    ] {
        let rendered = render(source).unwrap();
        let only_placeholder = rendered.text.starts_with('\u{E000}') && rendered.text.ends_with('\u{E001}');
        assert!(only_placeholder, "{source} gave {:?}", rendered.text);
    }
}

#[test]
fn treats_clean_text_with_placeholder_characters_as_tainted() {
    let rendered = render(r#"{{ print "a" "\ue0000\ue001" }}"#).unwrap();
    assert_eq!(rendered.text, "a\u{E000}0\u{E001}");
    assert_eq!(raws(&rendered), [("\u{E000}0\u{E001}", false)]);
    assert_eq!(Text::clean("\u{E001}").taint(), crate::value::Taint::Whole);
}

#[test]
fn refuses_placeholder_characters_in_the_source() {
    let error = Template::parse("t", "a\n \u{E000}", &FUNCTIONS).unwrap_err();
    assert_eq!((error.at.line, error.at.column), (2, 2));
}

#[test]
fn keeps_text_of_the_pod_out_of_messages() {
    for source in ["{{ range .Pod.Name }}{{ end }}", "{{ eq .Pod.Labels .Pod.Labels }}"] {
        let message = render(source).unwrap_err().to_string();
        assert!(message.contains("from the pod") && !message.contains("web"), "{message}");
    }
}

#[test]
fn errors_name_the_place() {
    let error = render("a: 1\nb:\t{{ .Values.image }} {{ .Pod.Nmae }}\n").unwrap_err();
    let expected = "template sidecar, line 2, column 27: can't evaluate field Nmae in type v1.Pod\n  \
                    b:\t{{ .Values.image }} {{ .Pod.Nmae }}\n    \t                       ^";
    assert_eq!(error.to_string(), expected);
    let error = Template::parse("sidecar", "x\n{{ if }}", &FUNCTIONS).unwrap_err();
    assert_eq!((error.at.line, error.message.as_str()), (2, "missing value for if"));
}

#[test]
fn refused_functions_say_why_when_a_template_is_parsed() {
    let error = Template::parse("t", "{{ now }}", &FUNCTIONS).unwrap_err();
    assert_eq!(error.message, "function \"now\" is refused: templates have no clock");
}

#[test]
fn templates_are_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Template>();
    shared::<RenderError>();
}

#[test]
fn numbers_that_may_be_names_print_plainly() {
    let ports = json!({"ports": [80, "http"]});
    static PORTS: Type = Type {
        name: "v1.Ports",
        proto: false,
        fields: &[Field { go: "Ports", json: "ports", kind: Kind::List(&Kind::IntOrString) }],
    };
    let (scope, limits) = (Scope::default(), Limits::default());
    let template = Template::parse("t", "{{ range .Ports }}{{ . }};{{ end }}", &FUNCTIONS).unwrap();
    let dot = Value::of_type(&PORTS, Some(&ports), true);
    assert_eq!(template.render(&dot, &scope, &limits).unwrap().text, "80;\u{E000}0\u{E001};");
}

#[test]
fn functions_fail_with_their_name() {
    let problem = render(r#"{{ fail "no" }}"#).unwrap_err().problem;
    assert_eq!(problem, Problem::Function { name: "fail", message: "no".to_owned() });
}

// C-09
#[test]
fn limits_stop_a_render() {
    let limits = Limits { steps: 5_000, bytes: 10_000, recursion: 8, ..Limits::default() };
    for (source, limit) in [
        ("{{ range 100000000 }}{{ end }}", Limit::Steps(5_000)),
        ("{{ range 100 }}{{ range 100 }}{{ print }}{{ end }}{{ end }}", Limit::Steps(5_000)),
        ("{{ $l := list 1 }}{{ range 60 }}{{ $l = list $l $l }}{{ end }}{{ $l }}", Limit::Bytes(10_000)),
        ("{{ $s := \"x\" }}{{ range 60 }}{{ $s = print $s $s }}{{ end }}", Limit::Bytes(10_000)),
        ("{{ range 1000 }}{{ print \"0123456789abcdef\" }}{{ end }}", Limit::Bytes(10_000)),
        ("{{ repeat 20000 \"x\" }}", Limit::Bytes(10_000)),
        ("{{ printf \"%99999d\" 1 }}", Limit::Bytes(10_000)),
        ("{{ define \"r\" }}{{ template \"r\" }}{{ end }}{{ template \"r\" }}", Limit::Recursion(8)),
    ] {
        let problem = render_within(source, &limits).unwrap_err().problem;
        assert_eq!(problem, Problem::Limit(limit), "{source}");
    }
}

#[test]
fn maps_cannot_contain_themselves_and_the_input_cannot_change() {
    for (source, message) in [
        (r#"{{ $d := dict }}{{ set $d "a" $d }}"#, "contain itself"),
        (r#"{{ $d := dict }}{{ set $d "a" (list (list $d)) }}"#, "contain itself"),
        (r#"{{ $d := dict }}{{ $e := dict }}{{ $x := set $d "e" $e }}{{ set $e "d" $d }}"#, "contain itself"),
        (r#"{{ set .Values "a" 1 }}"#, "input cannot be changed"),
    ] {
        let message_found = render(source).unwrap_err().to_string();
        assert!(message_found.contains(message), "{source}: {message_found}");
    }
    let rendered = render(r#"{{ $d := dict }}{{ $e := $d }}{{ $x := set $d "a" 1 }}{{ $e }}"#).unwrap();
    assert_eq!(rendered.text, "map[a:1]");
}

#[test]
fn maps_that_contain_each_other_often_are_refused() {
    // Two entries that are the same map double the work of every walk.
    let doubling = "{{ $n := dict }}{{ $x := set $n \"a\" $m }}{{ $x := set $n \"b\" $m }}{{ $m = $n }}";
    let source = format!("{{{{ $m := dict }}}}{{{{ range 60 }}}}{doubling}{{{{ end }}}}");
    let message = render(&source).unwrap_err().to_string();
    assert!(message.contains("nor more than 100 levels"), "{message}");
}

#[test]
fn checks_arguments_as_go_does() {
    for (source, message) in [
        ("{{ repeat 1 2 }}", "expected string; found 2"),
        ("{{ repeat \"a\" \"b\" }}", "expected integer; found \"a\""),
        ("{{ repeat 1.5 \"b\" }}", "expected integer; found 1.5"),
        ("{{ repeat .Values.image \"b\" }}", "wrong type for value; expected int; got string"),
        ("{{ repeat 1 .Values.list }}", "wrong type for value; expected string; got []interface {}"),
        ("{{ repeat 1 .Values.missing }}", "invalid value; expected string"),
        ("{{ repeat 1 nil }}", "cannot assign nil to string"),
        ("{{ repeat 1 }}", "wrong number of args for repeat: want 2 got 1"),
        ("{{ set 1 \"a\" 1 }}", "can't handle 1 for arg of type map[string]interface {}"),
        (
            "{{ set .Pod.Labels \"a\" 1 }}",
            "wrong type for value; expected map[string]interface {}; got map[string]string",
        ),
    ] {
        let problem = render(source).unwrap_err().problem;
        assert_eq!(problem.to_string(), message, "{source}");
    }
    assert_eq!(render("{{ repeat 2.0 \"b\" }}{{ strings }}").unwrap().text, "bb[s]");
}

/// Runs on a stack as small as that of any of our threads.
fn on_small_stack(run: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap().join().unwrap();
}

#[test]
fn deep_nesting_ends_in_an_error_not_in_a_crash() {
    on_small_stack(|| {
        let parentheses = format!("{{{{ {}1{} }}}}", "(".repeat(1000), ")".repeat(1000));
        let branches = format!("{}{}", "{{ if true }}".repeat(1000), "{{ end }}".repeat(1000));
        for source in [&parentheses, &branches] {
            assert!(Template::parse("t", source, &FUNCTIONS).is_err());
        }
        // The deepest nesting that parses, in templates that invoke each other to the maximum depth.
        let depth = 90;
        let body = format!(
            "{{{{ define \"r\" }}}}{}{{{{ template \"r\" }}}}{}{{{{ end }}}}{{{{ template \"r\" }}}}",
            "{{ if true }}".repeat(depth),
            "{{ end }}".repeat(depth)
        );
        assert!(matches!(render(&body).unwrap_err().problem, Problem::Limit(Limit::Nesting(_))));
        let arguments = format!(
            "{{{{ define \"r\" }}}}{{{{ template \"r\" {}1{} }}}}{{{{ end }}}}{{{{ template \"r\" }}}}",
            "(print ".repeat(depth),
            ")".repeat(depth)
        );
        assert!(matches!(render(&arguments).unwrap_err().problem, Problem::Limit(Limit::Recursion(_))));
        let chain = format!("{{{{ if false }}}}{}{{{{ end }}}}ok", "{{ else if false }}".repeat(5000));
        assert_eq!(render(&chain).unwrap().text, "ok");
    });
}

#[test]
fn values_nested_deeper_than_the_stack_are_dropped() {
    on_small_stack(|| {
        let rendered = render("{{ $l := list }}{{ range 30000 }}{{ $l = list $l }}{{ end }}ok").unwrap();
        assert_eq!(rendered.text, "ok");
        let rendered =
            render("{{ $l := list }}{{ range 30000 }}{{ $l = list $l }}{{ end }}{{ printf \"%.9s\" $l }}");
        assert!(rendered.unwrap().text.starts_with("[["));
    });
}

fn piece() -> impl Strategy<Value = String> {
    let pieces = [
        "{{",
        "}}",
        "{{-",
        "-}}",
        " ",
        "if",
        "else",
        "end",
        "range",
        "with",
        "define",
        "template",
        "block",
        "break",
        "continue",
        "nil",
        "true",
        ".",
        ".Values",
        ".Pod",
        ".Pod.Labels",
        ".Values.list",
        "$",
        "$x",
        ":=",
        "=",
        "|",
        "(",
        ")",
        ",",
        "\"a\"",
        "\"%5.2v\"",
        "`r`",
        "'c'",
        "1",
        "-1",
        "0x1p-2",
        "1e9",
        "9999999999999999999",
        "print",
        "printf",
        "index",
        "slice",
        "len",
        "eq",
        "lt",
        "and",
        "or",
        "not",
        "html",
        "js",
        "urlquery",
        "call",
        "list",
        "dict",
        "set",
        "repeat",
        "\"r\"",
        "/*",
        "*/",
        "\n",
        "é",
        "text",
        "\\",
        "\"",
        "%",
        "\u{E000}",
    ];
    prop_oneof![
        6 => prop::sample::select(pieces.to_vec()).prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

/// Arbitrary text between braces.
fn action() -> impl Strategy<Value = String> {
    prop::collection::vec(piece(), 1..8).prop_map(|pieces| format!("{{{{ {} }}}}", pieces.join(" ")))
}

/// Calls that parse, mostly on text from the pod.
fn call() -> impl Strategy<Value = String> {
    let values = [
        ".",
        ".Pod",
        ".Pod.Name",
        ".Pod.Labels",
        ".Pod.Args",
        ".Pod.Port",
        ".Values.list",
        ".Values.n",
        "nil",
        "true",
        "0",
        "1",
        "1.5",
        "\"a\"",
        "\"%s %v\"",
        "\"%q%8.3x\"",
        "\"%[2]*d\"",
    ];
    let functions = [
        "print", "printf", "println", "index", "slice", "len", "eq", "ne", "lt", "ge", "and", "or", "not",
        "html", "js", "urlquery", "list", "repeat 2", "set dict",
    ];
    let value = prop::sample::select(values.to_vec()).prop_map(str::to_owned);
    let expression = value.prop_recursive(4, 16, 3, move |inner| {
        let function = prop::sample::select(functions.to_vec());
        (function, prop::collection::vec(inner, 1..4))
            .prop_map(|(function, args)| format!("({function} {})", args.join(" ")))
    });
    prop_oneof![
        4 => expression.clone().prop_map(|expression| format!("{{{{ {expression} }}}}")),
        1 => expression.clone().prop_map(|over| format!("{{{{ range $k, $v := {over} }}}}{{{{ $k }}}}{{{{ . }}}}{{{{ end }}}}")),
        1 => expression.prop_map(|over| format!("{{{{ with {over} }}}}{{{{ printf \"%v\" . }}}}{{{{ else }}}}-{{{{ end }}}}")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_template_panics_or_shows_text_of_the_pod(parts in prop::collection::vec(prop_oneof![4 => call(), 2 => action(), 1 => piece()], 1..6)) {
        let source = parts.concat();
        if let Ok(template) = Template::parse("t", &source, &FUNCTIONS) {
            let pod = json!({"name": "SECRET", "labels": {"SECRET": "éSECRET\u{E000}"}, "args": ["SECRET"], "port": -1});
            let values = json!({"list": [1, null, "s", {"k": [2]}], "n": 1e300});
            let scope = Scope::default();
            let limits = Limits { steps: 2_000, bytes: 50_000, ..Limits::default() };
            let dot = Value::record("Data", vec![
                ("Pod", Value::of_type(&POD, Some(&pod), true)),
                ("Values", Value::json(&values, false)),
            ]);
            let shown = match template.render(&dot, &scope, &limits) {
                Ok(rendered) => rendered.text,
                Err(error) => error.to_string(),
            };
            prop_assert!(!shown.contains("SECRET"), "{shown}");
        }
    }

    #[test]
    fn no_format_panics(format in "(%[-+# 0]{0,3}([0-9]{0,3}|\\*)(\\.([0-9]{0,3}|\\*)?)?(\\[[0-9x]{0,2}\\])?[a-zA-Z%]?.?){0,4}") {
        let limits = Limits::default();
        let scope = Scope::default();
        let data = json!({"f": format, "list": [1, 2.5, "x", null]});
        let template =
            Template::parse("t", "{{ printf .f 1 2.5 \"é\" .list nil true 'x' }}", &FUNCTIONS).unwrap();
        let dot = Value::json(&data, false);
        prop_assert!(template.render(&dot, &scope, &limits).is_ok());
    }
}

/// Go's strings are bytes: Go 1.26 prints the byte of this constant, and sigs.k8s.io/yaml refuses to read it.
#[test]
fn constants_that_are_not_utf8_are_errors() {
    for source in [r#"{{"\x82"}}"#, r#"{{"\xff\xfe"}}"#, r#"{{"\377"}}"#] {
        let error = Template::parse("t", source, &FUNCTIONS).unwrap_err();
        assert!(error.message.contains(r"is not UTF-8: write a character as \u00e9"), "{}", error.message);
    }
    let text = Template::parse("t", r#"{{"\xc3\xa9"}}"#, &FUNCTIONS).map(|_| ());
    assert!(text.is_ok(), "bytes that make a character are one");
}
