//! The texts that do not come out as in `sigs.k8s.io/yaml`, and why that is so. Most are texts where the parser's
//! grammar, YAML 1.2, parts from go-yaml's, YAML 1.1. An entry that begins to agree fails the test.

/// How a text comes out here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Refused here, taken there.
    Refused,
    /// Taken here, refused there.
    Taken,
    /// Taken by both, with different values.
    Different,
}

/// Texts that differ for one reason.
pub(super) struct Group {
    pub(super) outcome: Outcome,
    pub(super) reason: &'static str,
    pub(super) texts: &'static [&'static str],
}

pub(super) const LOADS: &[Group] = &[
    Group {
        outcome: Outcome::Taken,
        reason: "directives other than %YAML 1.1 are ignored, as YAML 1.2 says",
        texts: &["%FOO bar\n---\na: 1", "%YAML 1.2\n---\na: 1", "%YAML 2.0\n---\na: 1"],
    },
    Group {
        outcome: Outcome::Taken,
        reason: "YAML 1.2 allows tabs as separation, on blank lines and before comments",
        texts: &[
            "- \ta\n",
            "-\ta\n",
            "\t",
            "\t# c\na: b\n",
            "\t\na: b\n",
            "\ta: b\n",
            "a: b\n\t# c\n",
            "a: b\n\t\nc: d\n",
            "a: |\n  \tb\n",
            "a:\n\t# c\n  b: c\n",
        ],
    },
    Group {
        outcome: Outcome::Taken,
        reason: "anchor names may have any printable character in YAML 1.2",
        texts: &["&a.b x", "&\u{e9} x", "[&a.b x, *a.b ]"],
    },
    Group {
        outcome: Outcome::Taken,
        reason: "a question mark inside a plain scalar means nothing; go-yaml refuses it in brackets, URLs included",
        texts: &["[?]", "[a ? b]", "[a? b]", "[a?]", "[a?b]", "[http://a.b/c?d=e&f]", "{a?b: 1}"],
    },
    Group {
        outcome: Outcome::Taken,
        reason: "a colon that begins a plain scalar in brackets is text",
        texts: &["[::a]", "{a: :b}"],
    },
    Group {
        outcome: Outcome::Taken,
        reason: "keys in brackets may be above 1024 characters where they are unquoted",
        texts: &[LONG_KEY],
    },
    Group {
        outcome: Outcome::Taken,
        reason: "a key in brackets may be on another line than its colon; go-yaml wants both on one line",
        texts: &["{\"a\"\n: b}", "{a\n: b}", "{a\nb: c}"],
    },
    Group { outcome: Outcome::Taken, reason: "an escaped slash is JSON", texts: &["\"\\/\""] },
    Group {
        outcome: Outcome::Taken,
        reason: "an empty scalar with a tag, or an empty document with its end marker",
        texts: &["...", "[!!str]"],
    },
    Group {
        outcome: Outcome::Refused,
        reason: "what follows the first document's value is read, not dropped",
        texts: &[
            "  a: 1\n b: 2\n",
            " a: 1\nb: 2\n",
            "'a' 'b'\n",
            "'a':1\n",
            "'a'\n'b'\n",
            "'a'b'",
            "[]: c\n",
            "[a, b]c",
            "[a] b",
            "[a]]",
            "\"a\" \"b\"",
            "\"a\":1\n",
            "\"a\"\"b\"",
            "{a: b} c",
            "|\n a\nb: c\n",
        ],
    },
    Group {
        outcome: Outcome::Refused,
        reason: "a comment needs a blank before it",
        texts: &["[#b\n]", "a: '1'# c\n", "a: [1]# c\n", "a: \"1\"#c\n", "a: |# c\n  b\n", "a: |#c\n  b\n"],
    },
    Group {
        outcome: Outcome::Refused,
        reason: "lines that continue a quoted scalar must be indented",
        texts: &["a: 'b\nc'\n", "a: \"b\nc\"\n", "a:\n  b: 'c\n  d'\n", "a:\n  b: 'c\nd'\n"],
    },
    Group {
        outcome: Outcome::Refused,
        reason: "lines inside brackets must be indented, but for the last bracket of more than one line",
        texts: &["a: [\nb,\nc\n]\n", "a: {\n}\n", "a:\n  [b,\nc]\n"],
    },
    Group {
        outcome: Outcome::Refused,
        reason: "a tab between a colon and an unquoted value is refused by the parser, though YAML 1.2 allows it",
        texts: &["a:\tb\n", "{a:\tb}"],
    },
    Group {
        outcome: Outcome::Refused,
        reason: "the line breaks of YAML 1.1 are ordinary characters in YAML 1.2",
        texts: &["a: b\u{85}c: d", "a: b\u{2028}c: d"],
    },
    Group { outcome: Outcome::Refused, reason: "a byte order mark is not text", texts: &["a: \u{feff}b"] },
    Group { outcome: Outcome::Refused, reason: "a lone dash is not text in brackets", texts: &["[-]"] },
    Group {
        outcome: Outcome::Refused,
        reason: "YAML 1.2 has no escape for a single quote",
        texts: &["\"\\'\""],
    },
    Group {
        outcome: Outcome::Refused,
        reason: "a colon right behind an alias belongs to its name",
        texts: &["a: &x b\n*x: c\n"],
    },
    Group {
        outcome: Outcome::Different,
        reason: "a block scalar that is the whole document need not be indented",
        texts: &["--- |\na\n", ">\na\nb\n", "|\na\n"],
    },
    Group {
        outcome: Outcome::Different,
        reason: "a colon at the end of a word in brackets is a key's colon; a question mark at its start is text",
        texts: &["[?a]", "[a::]", "[a:]", "{?a: b}", "{a:}"],
    },
    Group {
        outcome: Outcome::Different,
        reason: "the line breaks of YAML 1.1 are ordinary characters in YAML 1.2",
        texts: &["\"a\u{85}b\"", "\"\u{85}\"", "a\u{85}b"],
    },
    Group {
        outcome: Outcome::Different,
        reason: "an alias of << is a merge key too",
        texts: &["a: &m <<\n*m : {b: 1}\n"],
    },
];

/// 1030 characters.
const LONG_KEY: &str = "{kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk\
    kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk\
    kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk\
    kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk\
    kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk\
    kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk\
    kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk\
    kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk\
    kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk\
    kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk: v}\n";
