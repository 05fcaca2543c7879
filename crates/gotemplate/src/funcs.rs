//! The functions that a template can call: their definition and their tables.
//!
//! A function is one row. The engine checks the number and types of its arguments like Go before calling it, so the
//! arguments match its Go signature. To add a function, write it and add its row.

use std::borrow::Cow;

use super::limits::{Limit, Limits};
use super::render::Runtime;
use super::value::{Segment, Taint, Text, Value};

mod builtin;

pub mod sprig;

pub use builtin::BUILTINS;

/// A function's implementation. `args` were checked against its row: their number and types match.
pub type Run = for<'r, 'a> fn(&mut Call<'r, 'a>, &[Value<'a>]) -> Result<Value<'a>, FuncError>;

/// A row of a table.
#[derive(Debug)]
pub enum Row {
    /// A function.
    Function(Function),
    /// A function that Go's templates have and ours reject at parse time.
    Refused {
        /// Its name.
        name: &'static str,
        /// The reason, for the author of the template; completes "function x is refused: ".
        reason: &'static str,
    },
}

/// A function's Go signature and code.
#[derive(Debug)]
pub struct Function {
    /// The name in templates.
    pub name: &'static str,
    /// The fixed parameters.
    pub params: &'static [Param],
    /// The type of any further arguments.
    pub variadic: Option<Param>,
    /// The implementation.
    pub run: Run,
}

/// The Go type of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Param {
    /// `interface{}`: any value; nil and missing values arrive as [`Value::Nil`].
    Any,
    /// `reflect.Value`: any value; a missing value arrives as [`Value::Missing`].
    Reflect,
    /// `string`: a [`Value::String`].
    String,
    /// `bool`.
    Bool,
    /// `int`: a [`Value::Int`].
    Int,
    /// `int64`: a [`Value::Int`].
    Int64,
    /// `float64`.
    Float,
    /// `[]string`: a list of strings.
    StringList,
    /// `[]interface{}`: a list.
    AnyList,
    /// `map[string]interface{}`; a missing value arrives as a nil map.
    AnyMap,
    /// `map[string]string`; a missing value arrives as a nil map.
    StringMap,
    /// A struct of this Go type, or a pointer to one (`v1.ObjectMeta`, `*durationpb.Duration`), or a slice of them
    /// (`[]v1.Container`); arrives unchanged.
    Named(&'static str),
}

/// Tables of functions; later ones take precedence, and [`BUILTINS`] come last.
#[derive(Clone, Copy, Debug)]
pub struct FunctionTable {
    /// The tables.
    pub tables: &'static [&'static [Row]],
}

/// Why a function failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FuncError {
    /// An error as returned by a Go function: printed after "error calling x: ".
    #[error("{0}")]
    Message(String),
    /// A limit was reached.
    #[error(transparent)]
    Limit(#[from] Limit),
}

/// One call: the facilities available to a function besides its arguments.
#[derive(Debug)]
pub struct Call<'r, 'a> {
    pub(crate) name: &'static str,
    pub(crate) runtime: &'r mut Runtime<'a>,
}

impl Row {
    /// A function with fixed parameters.
    pub const fn new(name: &'static str, params: &'static [Param], run: Run) -> Row {
        Row::Function(Function { name, params, variadic: None, run })
    }

    /// A function that takes any number of further arguments of one type.
    pub const fn variadic(name: &'static str, params: &'static [Param], rest: Param, run: Run) -> Row {
        Row::Function(Function { name, params, variadic: Some(rest), run })
    }

    /// A function that is rejected.
    pub const fn refused(name: &'static str, reason: &'static str) -> Row {
        Row::Refused { name, reason }
    }

    /// The name in templates.
    pub fn name(&self) -> &'static str {
        match self {
            Row::Function(function) => function.name,
            Row::Refused { name, .. } => name,
        }
    }
}

impl Param {
    /// The name of the Go type.
    pub fn type_name(self) -> &'static str {
        match self {
            Param::Any => "interface {}",
            Param::Reflect => "reflect.Value",
            Param::String => "string",
            Param::Bool => "bool",
            Param::Int => "int",
            Param::Int64 => "int64",
            Param::Float => "float64",
            Param::StringList => "[]string",
            Param::AnyList => "[]interface {}",
            Param::AnyMap => "map[string]interface {}",
            Param::StringMap => "map[string]string",
            Param::Named(name) => name,
        }
    }
}

/// Whether a function is one of Go's own.
pub(crate) fn is_builtin(function: &'static Function) -> bool {
    BUILTINS.iter().any(|row| matches!(row, Row::Function(builtin) if std::ptr::eq(builtin, function)))
}

impl FunctionTable {
    /// The row that applies to a name. Slow; used once per name, at parse time.
    pub fn row(&self, name: &str) -> Option<&'static Row> {
        let own = self.tables.iter().rev().flat_map(|table| table.iter());
        own.chain(BUILTINS.iter()).find(|row| row.name() == name)
    }
}

impl From<String> for FuncError {
    fn from(message: String) -> Self {
        FuncError::Message(message)
    }
}

impl From<&str> for FuncError {
    fn from(message: &str) -> Self {
        FuncError::Message(message.to_owned())
    }
}

impl From<super::value::ChangeError> for FuncError {
    fn from(error: super::value::ChangeError) -> Self {
        FuncError::Message(error.to_string())
    }
}

impl<'a> Call<'_, 'a> {
    /// The name under which the function was called.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The limits of this render.
    pub fn limits(&self) -> &Limits {
        self.runtime.limits
    }

    /// A variable of the allow-listed environment.
    pub fn env(&self, name: &str) -> Option<&'a str> {
        self.runtime.scope.env.get(name).map(String::as_str)
    }

    /// Charges steps to the budget of this render, for work that grows with the arguments.
    ///
    /// # Errors
    /// If the budget is exhausted.
    pub fn spend(&mut self, steps: usize) -> Result<(), Limit> {
        self.runtime.spend(steps)
    }

    /// The real content of a text, regardless of its taint.
    pub fn real<'t>(&self, text: &'t Text<'a>) -> Cow<'t, str> {
        match text.taint() {
            Taint::Clean => Cow::Borrowed(text.stored()),
            Taint::Whole => {
                self.runtime.look_at(text.stored());
                Cow::Borrowed(text.stored())
            }
            Taint::Mixed => Cow::Owned(self.runtime.expand(text.stored())),
        }
    }

    /// [`Call::real`] for a result that holds for every text that a stand-in in this one may stand for.
    pub(crate) fn real_of_any<'t>(&self, text: &'t Text<'a>) -> Cow<'t, str> {
        match text.taint() {
            Taint::Clean | Taint::Whole => Cow::Borrowed(text.stored()),
            Taint::Mixed => Cow::Owned(self.runtime.expand_unseen(text.stored())),
        }
    }

    /// The pieces of a text, to be copied unchanged: one for clean and whole texts. Results must not depend on the
    /// content of a tainted one; use [`Call::real`] for that.
    pub fn segments<'t>(&self, text: &'t Text<'a>) -> Vec<Segment<'t>> {
        match text.taint() {
            Taint::Clean => vec![Segment::Clean(text.stored())],
            Taint::Whole => vec![Segment::Tainted(text.stored().to_owned())],
            Taint::Mixed => self.runtime.segments(text.stored()),
        }
    }

    /// Appends a placeholder for a text from the pod. `escaped` means that it is between double quotes that the
    /// function writes. Nothing is appended for an empty text.
    pub fn push_placeholder(&mut self, out: &mut String, raw: &str, escaped: bool) {
        self.runtime.push_placeholder(out, raw, escaped);
    }

    /// A text assembled from clean pieces and placeholders of this render, such as those written by
    /// [`Call::push_placeholder`] and [`Call::printed`].
    pub fn mixed(&self, text: String) -> Text<'a> {
        Text::moved(text)
    }

    /// A string computed from the real content of `from`: whole if any of it is tainted, else clean.
    pub fn computed(&self, text: impl Into<Cow<'a, str>>, from: &[Value<'a>]) -> Value<'a> {
        Value::String(Text::new(text, from.iter().any(Value::is_tainted)))
    }

    /// The output of `{{ }}` and `%v` for a value (`fmt.Sprint`), with placeholders for text from the pod. A string is
    /// returned unchanged, so a whole one stays whole.
    pub fn printed(&mut self, value: &Value<'a>) -> Text<'a> {
        super::format::printed(self.runtime, value)
    }

    /// The real content of the output of `%v` for a value.
    pub fn printed_real(&mut self, value: &Value<'a>) -> String {
        super::format::printed_real(self.runtime, value)
    }
}
