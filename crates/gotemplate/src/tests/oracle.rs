//! Checks the rows of `tests/fixtures/template.json`, which `hack/oracle/template` generated with Go's text/template.

use super::*;

static SAMPLE: Type = Type {
    name: "main.Sample",
    proto: false,
    fields: &[
        Field { go: "Any", json: "any", kind: Kind::Any },
        Field { go: "Args", json: "args", kind: Kind::List(&Kind::String) },
        Field { go: "Config", json: "config", kind: Kind::Pointer(&Kind::Struct(&CONFIG)) },
        Field { go: "Count", json: "count", kind: Kind::Int },
        Field { go: "Labels", json: "labels", kind: Kind::Map(&Kind::String) },
        Field { go: "Limit", json: "limit", kind: Kind::Pointer(&Kind::Int) },
        Field { go: "Name", json: "name", kind: Kind::String },
        Field { go: "Note", json: "note", kind: Kind::Pointer(&Kind::String) },
        Field { go: "Numbers", json: "numbers", kind: Kind::List(&Kind::Int) },
        Field { go: "On", json: "on", kind: Kind::Bool },
        Field { go: "Ratio", json: "ratio", kind: Kind::Float },
        Field { go: "Ref", json: "ref", kind: Kind::Pointer(&Kind::Struct(&SPEC)) },
        Field { go: "Small", json: "small", kind: Kind::Uint },
        Field { go: "Spec", json: "spec", kind: Kind::Struct(&SPEC) },
        Field { go: "Specs", json: "specs", kind: Kind::List(&Kind::Struct(&SPEC)) },
    ],
};

static SPEC: Type = Type {
    name: "main.Spec",
    proto: false,
    fields: &[
        Field { go: "Image", json: "image", kind: Kind::String },
        Field { go: "Inner", json: "inner", kind: Kind::Pointer(&Kind::Struct(&SPEC)) },
        Field { go: "Port", json: "port", kind: Kind::Int },
    ],
};

static CONFIG: Type = Type {
    name: "main.Config",
    proto: true,
    fields: &[
        Field { go: "Address", json: "address", kind: Kind::String },
        Field { go: "Hold", json: "hold", kind: Kind::BoolValue },
        Field { go: "Mode", json: "mode", kind: Kind::Enum(&MODE) },
        Field { go: "Next", json: "next", kind: Kind::Pointer(&Kind::Struct(&CONFIG)) },
    ],
};

static MODE: Enum = Enum { name: "main.Mode", values: &[("REDIRECT", 0), ("TPROXY", 1), ("NONE", 2)] };

/// Rows with intended differences, and the reasons.
const DIFFERENCES: &[(&str, &str)] = &[
    ("core_builtins: {{call .name}}", CALL),
    ("core_builtins: {{call .port 1}}", CALL),
    ("core_list_root: {{range .}}{{.a}}{{end}}", "we name an item's own type where Go says interface {}"),
    ("core_numbers: {{1i}}", "complex numbers are rejected: no template computes with them"),
    ("core_numbers: {{1+2i}}", "likewise"),
    ("core_templates: {{template \"t\"}}", "we allow 32 templates to invoke each other, Go 100000"),
    ("core_templates: {{define \"x\"}}a{{end}}{{define \"x\"}}b{{end}}{{template \"x\"}}", PREFIX),
    ("core_templates: {{define \"t\"}}inner{{end}}outer", PREFIX),
    ("core_typed: {{.Config.Next.Hold.Value}}", "the sample's wrapped bool has another type name in Go"),
    ("core_typed: {{eq .Spec .Spec.Inner}}", FIELDS),
    ("core_typed: {{eq .Specs .Specs}}", FIELDS),
];
const FIELDS: &str = "the message prints a struct, and our tables have its fields in another order";
const CALL: &str = "our message does not repeat the template: the caret under it shows the place";
const PREFIX: &str = "Go says `template: ` twice";

#[derive(serde::Deserialize)]
struct Fixture {
    files: Vec<File>,
    rows: Vec<Row>,
}

#[derive(serde::Deserialize)]
struct File {
    file: String,
    #[serde(rename = "type")]
    kind: String,
    data: Json,
}

#[derive(serde::Deserialize)]
struct Row {
    file: String,
    #[serde(default)]
    name: String,
    template: String,
    data: Option<Json>,
    output: Option<String>,
    error: Option<Failure>,
}

#[derive(Debug, PartialEq, serde::Deserialize)]
struct Failure {
    phase: String,
    line: u32,
    message: String,
}

/// Compares every row of the files whose names start with `prefix`.
pub(crate) fn compare(prefix: &str, functions: &FunctionTable, differences: &[(&str, &str)]) {
    let text = include_str!("../../tests/fixtures/template.json");
    let fixture: Fixture = serde_json::from_str(text).unwrap();
    let files: BTreeMap<&str, &File> = fixture.files.iter().map(|file| (file.file.as_str(), file)).collect();
    let mut wrong = Vec::new();
    let mut unused: Vec<&str> = differences.iter().map(|(name, _)| *name).collect();
    let mut count = 0;
    for row in fixture.rows.iter().filter(|row| row.file.starts_with(prefix)) {
        count += 1;
        let name = if row.name.is_empty() { &row.template } else { &row.name };
        let name = format!("{}: {name}", row.file);
        let file = files[row.file.as_str()];
        let ours = run(row, file, functions);
        let theirs = match (&row.output, &row.error) {
            (Some(output), _) => Ok(output.clone()),
            (None, Some(failure)) => Err(failure),
            (None, None) => panic!("{name}: neither output nor error"),
        };
        let same = match (&ours, &theirs) {
            (Ok(ours), Ok(theirs)) => ours == theirs,
            (Err(ours), Err(theirs)) => ours == *theirs,
            _ => false,
        };
        let known = unused.iter().position(|known| *known == name);
        match (same, known) {
            (true, Some(_)) => wrong.push(format!("{name}\n  no longer differs")),
            (false, None) => wrong.push(format!("{name}\n  ours {ours:?}\n  Go's {theirs:?}")),
            (false, Some(at)) => {
                unused.remove(at);
            }
            (true, None) => {}
        }
    }
    assert!(count > 0, "no rows for {prefix}");
    assert!(unused.is_empty(), "no such rows: {unused:?}");
    assert!(wrong.is_empty(), "{} of {count} rows differ:\n{}", wrong.len(), wrong.join("\n"));
}

fn run(row: &Row, file: &File, functions: &FunctionTable) -> Result<String, Failure> {
    let scope = Scope::default();
    let limits = Limits::default();
    let template = Template::parse("t", &row.template, functions).map_err(|error| Failure {
        phase: "parse".to_owned(),
        line: error.at.line,
        message: error.message,
    })?;
    let data = row.data.as_ref().unwrap_or(&file.data);
    let dot = match file.kind.as_str() {
        "sample" if data.is_null() => Value::pointer_to(&SAMPLE, Some(&Json::Bool(true)), false),
        "sample" => Value::pointer_to(&SAMPLE, Some(data), false),
        _ if data.is_null() => Value::Missing,
        _ => Value::json(data, false),
    };
    match template.render(&dot, &scope, &limits) {
        Ok(rendered) => Ok(rendered.text),
        Err(error) => {
            Err(Failure { phase: "exec".to_owned(), line: error.at.line, message: error.problem.to_string() })
        }
    }
}

#[test]
fn core_rows_match_go() {
    compare("core_", &FunctionTable { tables: &[] }, DIFFERENCES);
}
