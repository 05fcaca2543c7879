//! Compares the fast path with the event parser: the same tree, or none. Rendered templates are compared where they can
//! be rendered, in `inject::render`.
#![allow(clippy::disallowed_methods)]

use proptest::prelude::*;

use super::super::{build, parse, tests::fixture_texts};
use super::*;

const LIMITS: Limits = Limits::rendered();

/// Whether the fast path accepts the text; asserts that its tree equals the event parser's.
fn takes(text: &str, limits: &Limits) -> bool {
    let Some(fast) = read::<Node>(text, limits) else { return false };
    assert_eq!(Ok(fast), build::node(text, limits, parse::Documents::One), "{text:?}");
    true
}

#[test]
fn takes_what_templates_use() {
    for text in [
        "a: b",
        "a: b\n",
        "# c\n\na: b # c\n # c\n",
        "a:\n",
        "a:\nb: # c\nc: ~\n",
        "a:\n  b: c\n  d:\n    e: f\ng: h\n",
        "a:\n- b\n- c: d\n  e: f\n-\n- # c\ng: h\n",
        "a:\n  - b\n  -\n    c: d\n",
        "- - a\n  - b\n- c\n",
        "- a:\n  - b\n  c:\n    - d\n",
        "-   a: b\n    c: d\n",
        "a: [b, \"c\", 'd', e:f, g h ]\nb: { a: b, \"c\":d, 'e': [ ] }\nc: []\nd: {}\n",
        "a: {\"b\":{\"c\":[1,2,{\"d\":null}]}}",
        "\"a\": 'it''s'\n'b': \"\\u00e9\\n\\\\\"\n",
        "a: |\n  b\n   c\n\n  d # d\nb: |-\n\n  c\n\nc: |+\n  d\n\n",
        "- |\n a\n- a: |-\n    b\n    \n     \n  c: d\n",
        "a: \u{e000}0\u{e001}\n\u{e000}1\u{e001}/b: {c: \"\u{e000}2\u{e001}\", d: e}\n",
        "  a: b\n  c: d\n",
        "a: http://b:80/#c\n\"b\": -c\nd: -- e - f\n",
        "é: {ü: ö, ä: [x]} # ß\n",
    ] {
        assert!(takes(text, &LIMITS), "{text:?}");
    }
}

#[test]
fn leaves_the_rest_to_the_event_parser() {
    for text in [
        "",
        "\n",
        "a",
        "- a\nb: c",
        "---\na: b",
        "a: b\n...\n",
        "%A\na: b",
        "\u{feff}a: b",
        "a: &b c",
        "a: *b",
        "a: !b c",
        "? a\n: b",
        "a: b\n  c",
        "a:\n  b",
        "a: \"b\n  c\"",
        "a: [b,\n  c]",
        "a: [b,]",
        "a: [b: c]",
        "a: {b}",
        "a: {b: }",
        "a:\tb",
        "\ta: b",
        "a: b\tc",
        "a: >\n  b\n",
        "a: |2\n  b\n",
        "a: | # b\n  c\n",
        "a: |\n",
        "a: |\n  b",
        "a: |\n   \n  b\n",
        "a: b: c",
        "a: - b",
        "a: 'b'c",
        "a: 'b'# c",
        "a: [b]# c",
        "a: @b",
        "a: `b",
        "a: |\n  b\n c: d\n",
        "a:\n  b: c\n d: e\n",
        "a: b\r\nc: d\n",
        "a: \u{85}b",
        "a: \"\\ud800\"",
        "a: \"\\q\"",
        "<<: {a: b}",
        "a: {<<: {b: c}}",
        "a : b",
        "\"a\" : b",
        "[a]: b",
        "- [a]: b",
        "a: [b -]",
        "a: [-]",
        "a: {b:{c: d}}",
        "a: \"b",
        "a: 'b",
        "a: [b",
        "a: {b: c",
        "a: \"\\",
        "a: \"\\u12",
        "a: |\n  b\n  ",
        "a: |+\n  b\n ",
        "a: [b:]",
        "a: [b:,c]",
        "a: {b:,c: d}",
        "- - a\n b",
        "a: |\n  b\n c",
    ] {
        assert!(!takes(text, &LIMITS), "{text:?}");
    }
}

#[test]
fn agrees_on_the_fixture() {
    let texts = fixture_texts();
    let taken = texts.iter().filter(|text| takes(text, &LIMITS)).count();
    assert!(taken > 400, "{taken} of {} taken", texts.len());
}

#[test]
fn keeps_the_limits() {
    let nested = |depth: usize| format!("a: {}{}", "[".repeat(depth - 1), "]".repeat(depth - 1));
    let blocks =
        |depth: usize| (0..depth).map(|level| format!("{}a:\n", " ".repeat(level))).collect::<String>();
    let entries = |depth: usize| "- ".repeat(depth) + "a";
    for (within, beyond) in
        [(nested(100), nested(101)), (blocks(100), blocks(101)), (entries(100), entries(101))]
    {
        assert!(takes(&within, &LIMITS), "{within}");
        assert!(!takes(&beyond, &LIMITS), "{beyond}");
        assert!(build::node(&beyond, &LIMITS, parse::Documents::One).is_err());
    }
    for hostile in ["[", "{a: ", "- ", "a:\n", "\"", "a: |\n"] {
        takes(&hostile.repeat(100_000), &LIMITS);
    }
    let text = "a: [b, c]\nd: {}\n";
    for (nodes, taken) in [(7, true), (6, false), (0, false)] {
        let limits = Limits { nodes, ..LIMITS };
        assert_eq!(takes(text, &limits), taken);
        assert_eq!(build::node(text, &limits, parse::Documents::One).is_ok(), taken);
    }
    assert!(takes(text, &Limits { bytes: text.len(), ..LIMITS }));
    assert!(!takes(text, &Limits { bytes: text.len() - 1, ..LIMITS }));
    let key = |length: usize| format!("- {}: b", "k".repeat(length));
    for length in [999, 1000, 1001, 1024, 1025, 2000] {
        takes(&key(length), &LIMITS);
    }
}

/// Lines of pieces that are each harmless or tricky in some context, at all indentations.
fn lines() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a",
        "b",
        "a: ",
        "b: ",
        "\"c\": ",
        "'d': ",
        "a:",
        ": ",
        ":",
        "- ",
        "-",
        "# c",
        " # c",
        "#",
        "[",
        "]",
        "{",
        "}",
        ", ",
        ",",
        "'",
        "''",
        "\"",
        "'x'",
        "\"y\"",
        "\\n",
        "\\\"",
        "|",
        "|-",
        "|+",
        "|2",
        ">",
        ">-",
        "é",
        "\u{e000}1\u{e001}",
        "\t",
        "?",
        "? ",
        "&a ",
        "*a",
        "!b ",
        "<<: ",
        "<<",
        "~",
        "1",
        "--- ",
        "...",
        "%",
        "@",
        "`",
        "\r",
        "\u{85}",
        "\u{feff}",
        " ",
        "  ",
        "[]",
        "{}",
        "[a, b]",
        "{a: b}",
        "{\"a\":1}",
        "\u{2028}",
    ]);
    let line = (0_usize..6, prop::collection::vec(piece, 0..5))
        .prop_map(|(indent, pieces)| " ".repeat(indent) + &pieces.concat());
    (prop::collection::vec(line, 0..8), prop::sample::select(vec!["\n", "", "\n\n", "\n "]))
        .prop_map(|(lines, end)| lines.join("\n") + end)
}

/// Lines that mostly fit together.
fn likely_lines() -> impl Strategy<Value = String> {
    let start = prop::sample::select(vec!["", "", "", "- ", "- ", "- - ", "-   "]);
    let key = prop::sample::select(vec!["", "a: ", "b: ", "\"c\": ", "a:", "é: ", "x/y:  ", "'d':"]);
    let value = prop::sample::select(vec![
        "",
        "",
        "",
        "v",
        "v w",
        "v:w",
        "v#w",
        "-1",
        "'q'",
        "\"q \\\" é\"",
        "|",
        "|-",
        "|+",
        "[]",
        "{}",
        "[a, 'b']",
        "{a: [b], \"c\":d}",
        "\u{e000}7\u{e001}",
        "\"\u{e000}7\u{e001}\"",
        "{\"\u{e000}1\u{e001}\":[x,\"y\"]}",
        "# c",
        "-",
    ]);
    let end = prop::sample::select(vec!["", "", "", "", " ", " # c"]);
    let line = (0_usize..4, start, key, value, end).prop_map(|(indent, start, key, value, end)| {
        format!("{}{start}{key}{value}{end}", "  ".repeat(indent))
    });
    (prop::collection::vec(line, 0..7), prop::sample::select(vec!["\n", "\n", "", "\n\n", "\n  \n"]))
        .prop_map(|(lines, end)| lines.join("\n") + end)
}

/// Trees of the subset, with random layout.
fn documents() -> impl Strategy<Value = String> {
    #[derive(Clone, Debug)]
    enum Tree {
        Inline(&'static str),
        Literal(&'static str, Vec<&'static str>),
        List(Vec<Tree>, bool),
        Map(Vec<(&'static str, Tree)>),
    }

    fn write(tree: &Tree, indent: usize, out: &mut String) {
        let pad = " ".repeat(indent);
        match tree {
            Tree::Inline(text) => out.push_str(text),
            Tree::Literal(header, lines) => {
                out.push_str(header);
                for line in lines {
                    out.push_str(&format!("\n{pad} {line}"));
                }
            }
            Tree::List(items, _) => {
                for (position, item) in items.iter().enumerate() {
                    if position > 0 {
                        out.push_str(&format!("\n{pad}"));
                    }
                    out.push_str("- ");
                    write(item, indent + 2, out);
                }
            }
            Tree::Map(entries) => {
                for (position, (key, value)) in entries.iter().enumerate() {
                    if position > 0 {
                        out.push_str(&format!("\n{pad}"));
                    }
                    out.push_str(key);
                    let below = match value {
                        Tree::Inline(_) | Tree::Literal(..) => {
                            out.push(' ');
                            indent
                        }
                        Tree::List(_, indentless) => indent + if *indentless { 0 } else { 3 },
                        Tree::Map(_) => indent + 2,
                    };
                    if matches!(value, Tree::List(..) | Tree::Map(_)) {
                        out.push_str(&format!("\n{}", " ".repeat(below)));
                    }
                    write(value, below, out);
                }
            }
        }
    }

    let inline = prop::sample::select(vec![
        "",
        "v",
        "v w # c",
        "'q'",
        "\"é\\t\"",
        "[]",
        "{}",
        "[a, [b, {c: d}]]",
        "{\"a\":\"b\", c: 'd'} # e",
        "\u{e000}7\u{e001}",
        "# only a comment",
        "http://v:80",
    ]);
    let text = prop::collection::vec(prop::sample::select(vec!["x", " y", "# z", "", "é: {", "  "]), 1..5);
    let leaf = prop_oneof![
        4 => inline.prop_map(Tree::Inline),
        1 => (prop::sample::select(vec!["|", "|-", "|+"]), text).prop_map(|(header, lines)| Tree::Literal(header, lines)),
    ];
    let key =
        prop::sample::select(vec!["a:", "b.c/d:", "\"e\":", "'f g':", "ü:", "\u{e000}0\u{e001}:", "-h:"]);
    let tree = leaf.prop_recursive(5, 60, 5, move |inner| {
        prop_oneof![
            (prop::collection::vec(inner.clone(), 1..5), any::<bool>())
                .prop_map(|(items, flat)| Tree::List(items, flat)),
            prop::collection::vec((key.clone(), inner), 1..5).prop_map(Tree::Map),
        ]
    });
    (0_usize..3, tree).prop_map(|(indent, tree)| {
        let mut out = " ".repeat(indent);
        write(&tree, indent, &mut out);
        out + "\n"
    })
}

proptest! {
    #[test]
    fn any_lines_read_alike_or_not_at_all(text in lines()) {
        takes(&text, &LIMITS);
    }

    #[test]
    fn likely_lines_read_alike_or_not_at_all(text in likely_lines()) {
        takes(&text, &LIMITS);
    }

    #[test]
    fn documents_read_alike_or_not_at_all(text in documents()) {
        takes(&text, &LIMITS);
    }

    #[test]
    fn no_text_panics(text in any::<String>()) {
        takes(&text, &LIMITS);
    }
}
