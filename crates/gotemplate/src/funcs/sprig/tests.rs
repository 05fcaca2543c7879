//! Compares sprig's functions with Go's answers, and tests their taint.

use serde_json::{Value as Json, json};

use super::*;
use crate::tests::oracle::compare;
use crate::{Limits, Placeholder, Problem, Rendered, Scope, Template, Value};

/// Rows with intended differences, and the reasons.
const OTHER_BEHAVIOUR: &[(&str, &str)] = &[
    (
        r#"sprig_dicts: {{ $_ := set .d "z" 1 }}{{ .d }}{{ $_ := set .d "a" "new" }}{{ .d.a }}"#,
        "the input is shared by all requests and never changed",
    ),
    (
        r#"sprig_semver: {{ (semver "1.2.3").Compare (semver "1.3.0") }}"#,
        "methods with arguments are not supported; semverCompare does the same",
    ),
    (
        r#"sprig_semver: {{ (semver "2.0.0").GreaterThan (semver "1.3.0") }}"#,
        "methods with arguments are not supported; semverCompare does the same",
    ),
    (
        r#"sprig_semver: {{ (semver "2.0.0").LessThan (semver "1.3.0") }}"#,
        "methods with arguments are not supported; semverCompare does the same",
    ),
    (
        r#"sprig_semver: {{ (semver "2.0.0").Equal (semver "2.0.0+x") }}"#,
        "methods with arguments are not supported; semverCompare does the same",
    ),
];

/// Rows in which both fail and our message has different words, and the reasons.
const OTHER_WORDS: &[(&str, &str)] = &[
    (r#"sprig_defaults: {{ mustFromJson "{bad" }}"#, "JSON errors have a line and column"),
    (r#"sprig_defaults: {{ mustFromJson "" }}"#, "JSON errors have a line and column"),
    (r#"sprig_defaults: {{ mustFromJson "[1,]" }}"#, "JSON errors have a line and column"),
    (r#"sprig_defaults: {{ mustFromJson "{\"a\":1} x" }}"#, "JSON errors have a line and column"),
    ("sprig_dicts: {{ deepCopy nil }}", "says what was expected where"),
    (r#"sprig_dicts: {{ dig "a" "b" "def" (dict "a" 1) }}"#, "says what was expected where"),
    (r#"sprig_dicts: {{ dig 1 "def" (dict) }}"#, "says what was expected where"),
    (r#"sprig_dicts: {{ dig "a" "def" "notdict" }}"#, "says what was expected where"),
    ("sprig_lists: {{ chunk 0 (list 1 2) }}", "names the function instead of reporting a panic"),
    ("sprig_lists: {{ first nil }}", "names the function instead of reporting a panic"),
    ("sprig_lists: {{ append nil 1 }}", "names the function instead of reporting a panic"),
    ("sprig_lists: {{ concat (list 1) nil }}", "names the function instead of reporting a panic"),
    (r#"sprig_numbers: {{ addf (float64 "inf") 1 }}"#, "lower case"),
    (r#"sprig_paths: {{ urlParse "http://[::1" }}"#, "says what is wrong with the URL"),
    (r#"sprig_paths: {{ urlParse "http://a b/" }}"#, "says what is wrong with the URL"),
    (r#"sprig_paths: {{ urlParse ":foo" }}"#, "says what is wrong with the URL"),
    (r#"sprig_paths: {{ urlParse "http://h:port/" }}"#, "says what is wrong with the URL"),
    (r#"sprig_paths: {{ urlParse "http://h/%zz" }}"#, "says what is wrong with the URL"),
    (r#"sprig_paths: {{ urlParse "1http://h" }}"#, "says what is wrong with the URL"),
    (r#"sprig_paths: {{ urlParse "cache_object:foo/bar" }}"#, "says what is wrong with the URL"),
    (r#"sprig_paths: {{ urlParse "http://h/\x7f" }}"#, "says what is wrong with the URL"),
    (r#"sprig_paths: {{ urlParse "http://ho%73t/" }}"#, "says what is wrong with the URL"),
    (r#"sprig_paths: {{ urlJoin (dict "scheme" "s" "userinfo" "a b") }}"#, "says what is wrong with the URL"),
    (r#"sprig_paths: {{ urlJoin (dict "scheme" 5) }}"#, "says what is wrong with the URL"),
    (r#"sprig_paths: {{ urlJoin (dict "host" nil) }}"#, "says what is wrong with the URL"),
    (r#"sprig_regex: {{ mustRegexMatch "(" "abc" }}"#, "quotes the whole pattern"),
    (r#"sprig_regex: {{ regexFind "(" "abc" }}"#, "quotes the whole pattern"),
    (r#"sprig_regex: {{ mustRegexFind "[z-a]" "abc" }}"#, "quotes the whole pattern"),
    (r#"sprig_regex: {{ mustRegexFindAll "*" "abc" -1 }}"#, "quotes the whole pattern"),
    (r#"sprig_regex: {{ mustRegexReplaceAll "a**" "abc" "" }}"#, "quotes the whole pattern"),
    (r#"sprig_regex: {{ mustRegexReplaceAllLiteral "\\8" "abc" "" }}"#, "quotes the whole pattern"),
    (r#"sprig_regex: {{ mustRegexSplit "(?<" "abc" -1 }}"#, "quotes the whole pattern"),
    (r#"sprig_semver: {{ semver "bad" }}"#, "quotes what was found"),
    (r#"sprig_semver: {{ semver "" }}"#, "quotes what was found"),
    (r#"sprig_semver: {{ semver "1.2.3.4" }}"#, "quotes what was found"),
    (r#"sprig_semver: {{ semver "1.2.3-01" }}"#, "quotes what was found"),
    (r#"sprig_semver: {{ semver "1.2.3-" }}"#, "quotes what was found"),
    (r#"sprig_semver: {{ semver "99999999999999999999.1.1" }}"#, "quotes what was found"),
    (r#"sprig_semver: {{ semverCompare "bad" "1.0.0" }}"#, "quotes what was found"),
    (r#"sprig_semver: {{ semverCompare "1.0.0" "bad" }}"#, "quotes what was found"),
    (r#"sprig_semver: {{ semverCompare ">>1" "1.0.0" }}"#, "quotes what was found"),
    (r#"sprig_semver: {{ semverCompare "1.0.0 |" "1.0.0" }}"#, "quotes what was found"),
    (r#"sprig_semver: {{ semverCompare ">=1.0.0,," "1.0.0" }}"#, "quotes what was found"),
    (r#"sprig_semver: {{ semverCompare "|| 1" "1.0.0" }}"#, "quotes what was found"),
    (r#"sprig_semver: {{ semverCompare "1|2" "1.0.0" }}"#, "quotes what was found"),
    (r#"sprig_semver: {{ semverCompare "" "1.0.0" }}"#, "quotes what was found"),
];

#[test]
fn answers_as_sprig_does() {
    let differences: Vec<_> = OTHER_BEHAVIOUR.iter().chain(OTHER_WORDS).copied().collect();
    compare("sprig_", &FUNCTIONS, &differences);
}

#[test]
fn fails_where_sprig_fails() {
    for (row, _) in OTHER_WORDS {
        let (_, template) = row.split_once(": ").unwrap();
        let error = render(template, &json!({})).unwrap_err();
        assert!(matches!(error, Problem::Function { .. }), "{row}: {error:?}");
    }
}

#[test]
fn no_name_repeats() {
    let mut names: Vec<_> = GROUPS.iter().flat_map(|group| group.iter()).map(Row::name).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[test]
fn refuses_what_needs_a_clock_randomness_or_keys() {
    for name in ["now", "randAlphaNum", "uuidv4", "genCA", "htpasswd", "getHostByName", "expandenv", "date"] {
        let error = Template::parse("t", &format!("{{{{ {name} }}}}"), &FUNCTIONS).unwrap_err();
        assert!(
            error.message.contains(name) && error.message.contains("refused"),
            "{name}: {}",
            error.message
        );
    }
}

/// Tainted `.t` and clean `.c` with the same content.
fn data(content: &Json) -> (Json, Json) {
    (content.clone(), content.clone())
}

fn render(template: &str, content: &Json) -> Result<String, Problem> {
    let (tainted, clean) = data(content);
    let scope = Scope::default();
    let limits = Limits::default();
    let template = Template::parse("t", template, &FUNCTIONS).unwrap();
    let dot = Value::record(
        "test.Data",
        vec![("t", Value::json(&tainted, true)), ("c", Value::json(&clean, false))],
    );
    template.render(&dot, &scope, &limits).map(|rendered| shown(&rendered)).map_err(|error| error.problem)
}

/// The text with `<raw>` for a placeholder and `<"raw>` for one between our quotes.
fn shown(rendered: &Rendered) -> String {
    let mut text = rendered.text.clone();
    for (index, Placeholder { raw, escaped }) in rendered.placeholders.iter().enumerate() {
        let mark = if *escaped { "\"" } else { "" };
        text = text.replace(&format!("\u{E000}{index}\u{E001}"), &format!("<{mark}{raw}>"));
    }
    text
}

#[track_caller]
fn renders(content: &Json, rows: &[(&str, &str)]) {
    for (template, wanted) in rows {
        assert_eq!(render(template, content).as_deref(), Ok(*wanted), "{template}");
    }
}

#[test]
fn moving_text_keeps_its_taint_piece_by_piece() {
    let content = json!({"a": "x", "b": "y z", "two": "1\n2"});
    renders(
        &content,
        &[
            (r#"{{ cat "a" .t.a .c.a 1 }}"#, "a <x> x 1"),
            ("{{ quote .t.a .c.a }}", r#""<"x>" "x""#),
            ("{{ quote (cat .t.a \"q\\\"\") }}", r#""<"x> q\"""#),
            ("{{ squote .t.a .c.a }}", "'<x>' 'x'"),
            ("{{ indent 2 .t.two }}", "  <1\n2>"),
            (r#"{{ nindent 2 (cat "k:" .t.a "\nl") }}"#, "\n  k: <x> \n  l"),
            (r#"{{ join "," (list .t.a .c.a (cat .t.b "!")) }}"#, "<x>,x,<y z> !"),
            (r#"{{ join .t.a (list 1 2) }}"#, "1<x>2"),
            ("{{ toString .t.a }}", "<x>"),
            ("{{ toStrings (list .t.a 1) | last }}", "1"),
            ("{{ sortAlpha (list .t.b .c.a) | join \" \" }}", "x <y z>"),
            ("{{ plural .t.a .c.a 1 }}{{ plural .t.a .c.a 2 }}", "<x>x"),
        ],
    );
}

#[test]
fn trimming_clean_ends_keeps_structure() {
    let content = json!({"a": " x ", "m": {"k": "v"}});
    renders(
        &content,
        &[
            (r#"{{ printf " (%s) " .t.a | trim }}"#, "(< x >)"),
            (r#"{{ printf "{%s}\n" .t.a | trimSuffix "\n" | trimPrefix "{" }}"#, "< x >}"),
            (r#"{{ printf "-%s-" .t.a | trimAll "-" }}"#, "< x >"),
            // The text from the pod itself is cut.
            (r#"{{ printf "%s " .t.a | trim }}"#, "<x>"),
            (r#"{{ trim .t.a }}"#, "<x>"),
            (r#"{{ trimSuffix .t.a "y x " }}"#, "<y>"),
        ],
    );
}

#[test]
fn computed_texts_are_tainted_as_a_whole() {
    let content = json!({"a": "aB c", "n": "2", "p": "(b)", "v": "v1.2.3-x", "u": "http://h/p"});
    renders(
        &content,
        &[
            ("{{ upper .t.a }}{{ upper .c.a }}", "<AB C>AB C"),
            ("{{ title .t.a }}{{ snakecase .t.a }}{{ nospace .t.a }}", "<AB C><a_b_c><aBc>"),
            ("{{ trunc 2 .t.a }}{{ substr 1 2 .t.a }}{{ abbrev 5 (repeat 2 .t.a) }}", "<aB><B><aB...>"),
            (r#"{{ replace "a" "-" .t.a }}{{ replace .t.n "x" "1" }}"#, "<-B c><1>"),
            (r#"{{ wrap 2 .t.a }}{{ b64enc .t.a }}{{ sha1sum .t.a | trunc 4 }}"#, "<aB\nc><YUIgYw==><4ed4>"),
            (r#"{{ splitList " " .t.a | first }}{{ (split " " .t.a)._1 }}"#, "<aB><c>"),
            (r#"{{ regexFind .t.p "abc" }}{{ regexReplaceAll "B" .t.a "<$0>" }}"#, "<b><a<B> c>"),
            (
                r#"{{ semver .t.v }} {{ (semver .t.v).Prerelease }} {{ (semver .t.v).Major }}"#,
                "<1.2.3-x> <x> 1",
            ),
            (r#"{{ (urlParse .t.u).host }}{{ base .t.u }}"#, "<h><p>"),
            ("{{ duration .t.n }}", "<2s>"),
        ],
    );
}

#[test]
fn numbers_and_truths_from_the_pod_print_plainly() {
    let content = json!({"n": "2", "l": ["a"]});
    renders(
        &content,
        &[
            ("{{ int .t.n }}{{ add .t.n 1 }}{{ mulf .t.n 1.5 }}{{ atoi .t.n }}", "2332"),
            (r#"{{ contains "2" .t.n }} {{ has "a" .t.l }} {{ empty .t.l }}"#, "true true false"),
            ("{{ kindOf .t.n }} {{ typeOf .t.l }} {{ until (int .t.n) }}", "string []interface {} [0 1]"),
        ],
    );
}

#[test]
fn lists_and_maps_keep_the_taint_of_every_leaf() {
    let content = json!({"l": ["b", "a"], "m": {"k": "v", "e": ""}});
    renders(
        &content,
        &[
            (r#"{{ append .t.l "c" | join "" }}{{ prepend .t.l "c" | first }}"#, "<b><a>cc"),
            (r#"{{ concat .c.l .t.l | uniq | join "" }}{{ concat .t.l .c.l | uniq | join "" }}"#, "ba<b><a>"),
            ("{{ reverse .t.l | first }}{{ last .t.l }}{{ slice .t.l 0 1 | first }}", "<a><a><b>"),
            (r#"{{ without .t.l "a" | first }}{{ index (chunk 1 .t.l | last) 0 }}"#, "<b><a>"),
            (r#"{{ get .t.m "k" }}{{ dig "x" .c.l .t.m | first }}{{ values .t.m | join "" }}"#, "<v>b<v>"),
            (r#"{{ keys .t.m | join "," }}{{ keys (dict "z" .t.m) | first }}"#, "<e>,<k>z"),
            (r#"{{ range $k, $v := dict "z" .t.m.k }}{{ $k }}={{ $v }}{{ end }}"#, "z=<v>"),
            (r#"{{ range $k, $v := dict .t.m.k 1 }}{{ $k }}={{ $v }}{{ end }}"#, "<v>=1"),
            (
                r#"{{ (merge (dict "k" "mine") .t.m).k }}{{ (mergeOverwrite (dict "k" "mine") .t.m).k }}"#,
                "mine<v>",
            ),
            (
                r#"{{ (deepCopy .t.m).k }}{{ (pick .t.m "k").k }}{{ pluck "k" .t.m .c.m | join "" }}"#,
                "<v><v><v>v",
            ),
            (
                r#"{{ default "d" .t.m.e }}{{ coalesce .t.m.e .t.m.k }}{{ ternary .t.m.k "n" true }}"#,
                "d<v><v>",
            ),
        ],
    );
}

#[test]
fn json_is_clean_structure_around_opaque_leaves() {
    let content = json!({"m": {"k\"": ["v", 1, null], "o": {}}, "s": "{\"a\": \"b\"}"});
    renders(
        &content,
        &[
            ("{{ toJson .t.m }}", r#"{"<"k">":["<"v>",1,null],"<"o>":{}}"#),
            ("{{ toJson (dict \"c\" .t.s) }}", r#"{"c":"<"{"a": "b"}>"}"#),
            ("{{ toPrettyJson (list .t.s) }}", "[\n  \"<\"{\"a\": \"b\"}>\"\n]"),
            ("{{ toRawJson .t.s }}", r#""<"{"a": "b"}>""#),
            ("{{ (fromJson .t.s).a }}{{ keys (fromJson .t.s) | first }}{{ (fromJson .c.s).a }}", "<b><a>b"),
            // JSON inside of JSON: the inner quotes are ours, the inner text is escaped twice.
            ("{{ toJson (toJson (list .t.s)) }}", r#""[\"<"{\"a\": \"b\"}>\"]""#),
            ("{{ (fromJson (toJson (list .t.s)) | first | fromJson).a }}", "<b>"),
        ],
    );
}

#[test]
fn an_input_map_is_merged_as_a_copy_and_never_changed() {
    let content = json!({"m": {"k": "v", "n": {"x": 1}}});
    renders(
        &content,
        &[
            (r#"{{ $m := merge .c.m (dict "z" 1) }}{{ $m.z }}{{ hasKey .c.m "z" }}"#, "1false"),
            (
                r#"{{ $m := mergeOverwrite (dict "n" .c.m.n) (dict "n" (dict "x" 2)) }}{{ $m.n.x }}{{ .c.m.n.x }}"#,
                "21",
            ),
            (r#"{{ unset .c.m "absent" | len }}"#, "2"),
            (r#"{{ $d := deepCopy .c.m }}{{ $_ := set $d "k" "w" }}{{ $d.k }}{{ .c.m.k }}"#, "wv"),
        ],
    );
    for template in [r#"{{ set .c.m "z" 1 }}"#, r#"{{ unset .c.m "k" }}"#] {
        assert!(matches!(render(template, &content), Err(Problem::Function { .. })), "{template}");
    }
}

// C-09
#[test]
fn stops_at_limits() {
    let long = "x".repeat(60_000);
    let content = json!({"s": long, "p": "a".repeat(1_025)});
    let limited = [
        "{{ repeat 65537 \"x\" }}",
        "{{ repeat 2 .c.s }}",
        "{{ repeat 9223372036854775807 .c.s }}",
        "{{ until 10001 }}",
        "{{ untilStep 0 -10001 -1 }}",
        "{{ seq 1000000000 }}",
        "{{ untilStep 0 9223372036854775807 1 }}",
        "{{ replace \"x\" .c.s .c.s }}",
        "{{ indent 1000000 \"a\\nb\\nc\" }}",
        "{{ regexMatch .c.p \"a\" }}",
        "{{ regexReplaceAll \"x\" .c.s \"1234567890123456789012345\" }}",
        "{{ join .c.s (until 100) }}",
        "{{ wrapWith 1 \"12345678901234567890\" .c.s }}",
        // The size doubles with every step, although only the last one is used.
        "{{ $l := list 1 }}{{ range until 40 }}{{ $l = list $l $l }}{{ end }}{{ toJson $l }}",
        "{{ $l := list 1 }}{{ range until 40 }}{{ $l = list $l $l }}{{ end }}{{ deepCopy $l }}",
        "{{ $l := list 1 }}{{ range until 40 }}{{ $l = list $l $l }}{{ end }}{{ deepEqual $l (deepCopy (list 1)) }}{{ uniq (list $l $l) }}",
        "{{ uniq (until 5000) }}",
    ];
    for template in limited {
        let result = render(template, &content);
        assert!(matches!(result, Err(Problem::Limit(_))), "{template}: {:?}", result.map(|text| text.len()));
    }
    let nested = "{{ $l := list 1 }}{{ range until 200 }}{{ $l = list $l }}{{ end }}{{ mustToJson $l }}";
    assert!(matches!(render(nested, &content), Err(Problem::Function { .. })));
}

#[test]
fn cuts_characters_like_bytes_and_shows_the_halves() {
    renders(&json!({}), &[(r#"{{ trunc 1 "é" }}|{{ substr 1 2 "é" }}"#, "\u{fffd}|\u{fffd}")]);
}

#[test]
fn keeps_a_version_usable_as_text() {
    let template = r#"{{ semver "v1.2" | toString }} {{ semver "1.2.3" | toJson }}"#;
    renders(&json!({}), &[(template, r#"1.2.0 "1.2.3""#)]);
}
