//! One problem or warning, with its rule and its place.

use crate::config::Place;
use crate::inject::check;

/// How bad a diagnostic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration is rejected, or fails for pods.
    Error,
    /// It is used, but probably not as intended.
    Warning,
    /// It may be intended; only a person can tell.
    Note,
}

/// The kind of a diagnostic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// The text is not YAML.
    Syntax,
    /// The document is not one that can be checked.
    UnrecognizedDocument,
    /// A value that the configuration may not have.
    InvalidConfiguration,
    /// A value that has no effect, or an effect other than intended.
    DoubtfulConfiguration,
    /// A template that does not parse.
    TemplateSyntax,
    /// A field that its type does not have.
    UnknownField,
    /// A wrong number of arguments.
    WrongArguments,
    /// A value of the wrong type.
    WrongType,
    /// An invocation of a template that is not defined.
    UndefinedTemplate,
    /// A branch that is never rendered.
    DeadBranch,
    /// A key of the values that a template reads and that is not set.
    UnsetValue,
    /// A reference to a template that does not exist.
    MissingTemplate,
    /// A sample pod that cannot be injected.
    SampleFails,
    /// A sample pod that loses something of its own, or that an API server rejects afterward.
    SampleLoses,
    /// A case of template tests that cannot be read.
    InvalidTest,
    /// A case of template tests that fails.
    TestFails,
}

/// Every rule with its stable key and its description.
pub const RULES: [(Rule, &str, &str); 16] = [
    (Rule::Syntax, "SYNTAX", "the text is not YAML or JSON"),
    (Rule::UnrecognizedDocument, "UNRECOGNIZED_DOCUMENT", "the document is not a configuration"),
    (Rule::InvalidConfiguration, "INVALID_CONFIGURATION", "a value that the configuration may not have"),
    (
        Rule::DoubtfulConfiguration,
        "DOUBTFUL_CONFIGURATION",
        "a value without effect, or with an effect other than intended",
    ),
    (Rule::TemplateSyntax, "TEMPLATE_SYNTAX", "a template that does not parse"),
    (Rule::UnknownField, "UNKNOWN_FIELD", "a field or method that its type does not have"),
    (
        Rule::WrongArguments,
        "WRONG_ARGUMENTS",
        "a wrong number of arguments, or arguments to something that takes none",
    ),
    (Rule::WrongType, "WRONG_TYPE", "an argument, an index or a loop over a value of the wrong type"),
    (Rule::UndefinedTemplate, "UNDEFINED_TEMPLATE", "an invocation of a template that is not defined"),
    (Rule::DeadBranch, "DEAD_BRANCH", "a branch of a template that is never rendered"),
    (Rule::UnsetValue, "UNSET_VALUE", "a key of the values that a template reads and that is not set"),
    (Rule::MissingTemplate, "MISSING_TEMPLATE", "a default or an alias names a template that does not exist"),
    (Rule::SampleFails, "SAMPLE_FAILS", "a sample pod cannot be injected"),
    (
        Rule::SampleLoses,
        "SAMPLE_LOSES",
        "a sample pod loses something of its own, or an API server rejects the result",
    ),
    (Rule::InvalidTest, "INVALID_TEST", "a template test that cannot be read"),
    (Rule::TestFails, "TEST_FAILS", "a template test with an outcome other than expected"),
];

/// A place in a template, in its own lines.
pub use check::TemplateLine as TemplatePlace;

/// One problem or warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Its kind.
    pub rule: Rule,
    /// The problem, in one line; it names the field of the configuration, if there is one.
    pub message: String,
    /// The file, or the origin of a configuration that is not in a file.
    pub file: String,
    /// The place in the file, if it is known.
    pub place: Option<Place>,
    /// The line of the file or template at the place.
    pub snippet: Option<String>,
    /// The place in the template.
    pub template: Option<TemplatePlace>,
}

impl Rule {
    /// The stable key, such as `UNKNOWN_FIELD`.
    pub fn key(self) -> &'static str {
        RULES.iter().find(|(rule, ..)| *rule == self).map_or("", |(_, key, _)| key)
    }
}

impl Severity {
    /// `error`, `warning` or `note`.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}
