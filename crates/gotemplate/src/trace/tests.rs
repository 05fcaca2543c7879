use crate::funcs::sprig::FUNCTIONS;
use crate::{Limits, Scope, Template, Value};

/// The origins of the part of the output that contains a text: line, what is read, what the conditions read.
fn origins(source: &str, data: &serde_json::Value, text: &str) -> Vec<(u32, Vec<String>, Vec<String>)> {
    let template = Template::parse("x", source, &FUNCTIONS).unwrap();
    let (scope, limits) = (Scope::default(), Limits::default());
    let traced = template.render_traced(&Value::json(data, false), &scope, &limits).unwrap();
    let plain = template.render(&Value::json(data, false), &scope, &limits).unwrap();
    assert_eq!(traced.rendered, plain, "tracing changes nothing");
    let start = plain.text.find(text).unwrap_or_else(|| panic!("{text} is not in {}", plain.text));
    let joined = |reads: &[Vec<String>]| reads.iter().map(|path| path.join(".")).collect::<Vec<_>>();
    traced
        .sources(start..start + text.len())
        .iter()
        .map(|source| {
            let conditions = source.conditions.iter().flat_map(|(_, reads)| joined(reads)).collect();
            (source.line, joined(&source.reads), conditions)
        })
        .collect()
}

#[test]
fn parts_have_the_line_that_wrote_them() {
    let data = serde_json::json!({"a": {"b": "value", "list": ["x", "y"]}, "on": true, "m": {"k/1": "key"}});
    for (source, text, wanted) in [
        ("one\ntwo: {{ .a.b }}\n", "value", vec![(2, vec!["a.b"], vec![])]),
        ("one\ntwo\nthree", "three", vec![(3, vec![], vec![])]),
        ("{{ $v := .a }}\n{{ $v.b | upper }}", "VALUE", vec![(2, vec!["a.b"], vec![])]),
        ("{{ if .on }}\nyes\n{{ end }}", "yes", vec![(2, vec![], vec!["on"])]),
        ("{{ if .off }}a{{ else }}\nb{{ end }}", "b", vec![(2, vec![], vec!["off"])]),
        ("{{ with .a }}{{ .b }}{{ end }}", "value", vec![(1, vec!["a.b"], vec!["a"])]),
        ("{{ range .a.list }}{{ . }},{{ end }}", "y", vec![(1, vec!["a.list"], vec!["a.list"])]),
        ("{{ range $i, $x := .a.list }}{{ $x }}{{ end }}", "x", vec![(1, vec!["a.list"], vec!["a.list"])]),
        ("{{ index .m \"k/1\" }}", "key", vec![(1, vec!["m.k/1"], vec![])]),
        (
            "{{ define \"t\" }}{{ .b }}{{ end }}\n{{ template \"t\" .a }}",
            "value",
            vec![(1, vec!["a.b"], vec![])],
        ),
        (
            "{{ $x := .on }}{{ if .off }}{{ $x = .a.b }}{{ end }}{{ $x }}",
            "true",
            vec![(1, vec!["a.b", "on"], vec![])],
        ),
        (
            "k: \"{{ .a.b }}-{{ .on }}\"",
            "\"value-true\"",
            vec![(1, vec!["a.b"], vec![]), (1, vec!["on"], vec![])],
        ),
        ("{{ .none | default .a.b }}", "value", vec![(1, vec!["a.b", "none"], vec![])]),
    ] {
        let wanted: Vec<(u32, Vec<String>, Vec<String>)> = wanted
            .into_iter()
            .map(|(line, reads, conditions): (u32, Vec<&str>, Vec<&str>)| {
                let owned = |all: Vec<&str>| all.into_iter().map(str::to_owned).collect();
                (line, owned(reads), owned(conditions))
            })
            .collect();
        assert_eq!(origins(source, &data, text), wanted, "{source}");
    }
}

#[test]
fn templates_that_invoke_themselves_end() {
    let source = "{{ define \"t\" }}{{ if .a }}{{ template \"t\" .a }}{{ end }}{{ .b }}{{ end }}{{ template \"t\" . }}";
    let data = serde_json::json!({"a": {"b": "inner"}, "b": "outer"});
    let found = origins(source, &data, "inner");
    assert!(found[0].1.contains(&"a.b".to_owned()), "{found:?}");
}

#[test]
fn lines_read_what_their_actions_and_conditions_read() {
    let source = "a\n{{ if .Values.on }}\n  {{ .Spec.x }} {{ .Values.y }}\n{{ end }}\n{{ define \"n\" }}{{ .Never }}{{ end }}";
    let template = Template::parse("x", source, &FUNCTIONS).unwrap();
    let found: Vec<(u32, Vec<String>)> = template
        .line_reads()
        .into_iter()
        .map(|(line, reads)| (line, reads.into_iter().map(|read| read.join(".")).collect()))
        .collect();
    let wanted = [(2, vec!["Values.on"]), (3, vec!["Spec.x", "Values.y"])];
    assert_eq!(found, wanted.map(|(line, reads)| (line, reads.into_iter().map(str::to_owned).collect())));
}
