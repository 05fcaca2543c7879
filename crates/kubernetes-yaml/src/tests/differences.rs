//! Texts with results that differ from `sigs.k8s.io/yaml`, with the reasons. An entry that starts to agree fails the
//! test.

/// The result of a text here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Rejected here, accepted there.
    Refused,
    /// Accepted here, rejected there.
    Taken,
    /// Accepted by both, with different values.
    Different,
}

/// Texts that differ for the same reason.
pub(super) struct Group {
    pub(super) outcome: Outcome,
    pub(super) reason: &'static str,
    pub(super) texts: &'static [&'static str],
}

pub(super) const LOADS: &[Group] = &[
    Group {
        outcome: Outcome::Taken,
        reason: "any version of YAML may be declared, as YAML 1.2 says",
        texts: &["%YAML 1.2\n---\na: 1", "%YAML 2.0\n---\na: 1", "%YAML 1.1\n%YAML 1.1\n---\na: 1"],
    },
    Group {
        outcome: Outcome::Taken,
        reason: "tabs may stand on blank lines, before comments, and behind the indentation of a block",
        texts: &[
            "\t",
            "\t# c\na: b\n",
            "\t\na: b\n",
            "a: b\n\t# c\n",
            "a: b\n\t\nc: d\n",
            "a: |\n  \tb\n",
            "a:\n\t# c\n  b: c\n",
        ],
    },
    Group {
        outcome: Outcome::Taken,
        reason: "a question mark inside a plain scalar means nothing; go-yaml refuses it in brackets, URLs included",
        texts: &["[a ? b]", "[a? b]", "[a?]", "[a?b]", "[http://a.b/c?d=e&f]", "{a?b: 1}"],
    },
    Group { outcome: Outcome::Taken, reason: "an escaped slash is JSON", texts: &["\"\\/\""] },
    Group { outcome: Outcome::Taken, reason: "an empty document may have its end marker", texts: &["..."] },
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
            "--- |\na\n",
            ">\na\nb\n",
            "|\na\n",
        ],
    },
    Group {
        outcome: Outcome::Different,
        reason: "an alias of << is a merge key too",
        texts: &["a: &m <<\n*m : {b: 1}\n"],
    },
];

/// Why a generated layout may have a different result than in `sigs.k8s.io/yaml`.
pub(super) fn excuse(text: &str, outcome: Outcome, refusal: Option<&str>) -> Option<&'static str> {
    match outcome {
        Outcome::Refused
            if refusal.is_some_and(|refusal| refusal.contains("YAML (the end of the document, or")) =>
        {
            Some("what follows the first document's value is read, not dropped")
        }
        // What begins after it may be quoted, and not end.
        _ if text.contains('\u{feff}') => Some("a byte order mark at the start of a line is passed over"),
        Outcome::Taken if text.contains('?') => Some("a question mark in brackets is text"),
        Outcome::Taken if text.contains("\\/") => Some("an escaped slash is JSON"),
        Outcome::Taken if text.contains('\t') => Some("tabs on blank lines, before comments and in blocks"),
        _ => None,
    }
}
