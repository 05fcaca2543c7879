//! Go's `fmt`: the printed form of values.

use std::borrow::Cow;

use super::render::Runtime;
use super::value::{DEPTH, List, Map, Taint, Text, Value};

mod number;
mod printf;
mod quote;
mod verb;

pub use number::float;
pub(super) use printf::printf;
pub use quote::{is_printable, quote};
pub use verb::Flags;

/// The output of `fmt.Sprint` and `%v`; see [`super::funcs::Call::printed`].
pub(super) fn printed<'a>(runtime: &mut Runtime<'a>, value: &Value<'a>) -> Text<'a> {
    match value {
        Value::String(text) => text.clone(),
        Value::Missing => Text::clean("<no value>"),
        _ => {
            let mut writer = Writer::new(runtime, false);
            writer.value(value, 'v', &Flags::default(), 0);
            Text::moved(writer.text)
        }
    }
}

/// The real content only; see [`super::funcs::Call::printed_real`].
pub(super) fn printed_real<'a>(runtime: &mut Runtime<'a>, value: &Value<'a>) -> String {
    let mut writer = Writer::new(runtime, true);
    match value {
        Value::Missing => writer.text.push_str("<no value>"),
        _ => writer.value(value, 'v', &Flags::default(), 0),
    }
    writer.text
}

/// `fmt.Sprint`: a space between operands when neither is a string.
pub(super) fn print<'a>(runtime: &mut Runtime<'a>, args: &[Value<'a>]) -> Text<'a> {
    if let [Value::String(text)] = args {
        return text.clone();
    }
    let mut writer = Writer::new(runtime, false);
    let mut after_string = true;
    for (index, arg) in args.iter().enumerate() {
        let is_string = matches!(arg, Value::String(_));
        if index > 0 && !is_string && !after_string {
            writer.text.push(' ');
        }
        writer.value(arg, 'v', &Flags::default(), 0);
        after_string = is_string;
    }
    Text::moved(writer.text)
}

/// `fmt.Sprintln`: a space between all operands and a newline.
pub(super) fn println<'a>(runtime: &mut Runtime<'a>, args: &[Value<'a>]) -> Text<'a> {
    let mut writer = Writer::new(runtime, false);
    for (index, arg) in args.iter().enumerate() {
        if index > 0 {
            writer.text.push(' ');
        }
        writer.value(arg, 'v', &Flags::default(), 0);
    }
    writer.text.push('\n');
    Text::moved(writer.text)
}

/// The destination of printed text: with placeholders for text from the pod, or with its real content.
pub(super) struct Writer<'w, 'a> {
    pub(super) text: String,
    runtime: &'w mut Runtime<'a>,
    real: bool,
}

impl<'w, 'a> Writer<'w, 'a> {
    pub(super) fn new(runtime: &'w mut Runtime<'a>, real: bool) -> Writer<'w, 'a> {
        Writer { text: String::new(), runtime, real }
    }

    /// Whether the output already exceeds its limit, so that printing can stop.
    fn is_full(&self) -> bool {
        self.text.len() > self.runtime.limits.bytes
    }

    /// Writes computed text, tainted or not.
    fn push(&mut self, text: &str, tainted: bool) {
        if tainted && !self.real {
            self.runtime.push_placeholder(&mut self.text, text, false);
        } else {
            if tainted {
                self.runtime.look_at(text);
            }
            self.text.push_str(text);
        }
    }

    /// Writes a text unchanged.
    fn move_text(&mut self, text: &Text<'a>) {
        match text.taint() {
            Taint::Mixed if self.real => self.text.push_str(&self.runtime.expand(text.stored())),
            Taint::Whole => self.push(text.stored(), true),
            Taint::Clean | Taint::Mixed => self.text.push_str(text.stored()),
        }
    }

    fn real<'t>(&self, text: &'t Text<'a>) -> Cow<'t, str> {
        match text.taint() {
            Taint::Mixed => Cow::Owned(self.runtime.expand(text.stored())),
            Taint::Whole => {
                self.runtime.look_at(text.stored());
                Cow::Borrowed(text.stored())
            }
            Taint::Clean => Cow::Borrowed(text.stored()),
        }
    }

    /// Prints one operand (`printValue`); `depth` is the number of enclosing lists and maps.
    pub(super) fn value(&mut self, value: &Value<'a>, verb: char, flags: &Flags, depth: usize) {
        if self.is_full() {
            return;
        }
        if depth > DEPTH {
            self.text.push_str("...");
            return;
        }
        match value {
            Value::Missing | Value::Nil if depth > 0 && !flags.sharp_v => self.text.push_str("<nil>"),
            Value::Missing | Value::Nil if depth > 0 => self.text.push_str("interface {}(nil)"),
            Value::Missing | Value::Nil if verb == 'v' => self.text.push_str(&flags.pad("<nil>")),
            Value::Missing | Value::Nil => {
                self.text.push_str("%!");
                self.text.push(verb);
                self.text.push_str("(<nil>)");
            }
            Value::Bool(_) | Value::Int(..) | Value::Uint(..) | Value::Float(_) | Value::String(_) => {
                self.scalar(value, verb, flags);
            }
            Value::List(list) => self.list(value, list, verb, flags, depth),
            Value::Map(map) => self.map(value, map, verb, flags, depth),
            Value::Enum(of, number) => {
                let takes_string = verb_takes_string(verb) && !flags.sharp_v;
                if takes_string {
                    let name = of.value_name(*number).map_or_else(|| number.to_string(), str::to_owned);
                    self.scalar(&Value::string(name), verb, flags);
                } else if "bcdoOqxXUv".contains(verb) {
                    self.scalar(&Value::int(i64::from(*number)), verb, flags);
                } else {
                    let text = format!("%!{verb}({}={number})", of.name);
                    self.text.push_str(&text);
                }
            }
            Value::Struct(structure) if structure.is_nil() => self.nil_pointer(value, verb, flags),
            Value::Struct(structure) => {
                let fields = structure.ty.fields.iter();
                let fields: Vec<_> =
                    fields.filter_map(|field| Some((field.go, structure.field(field.go)?))).collect();
                if structure.pointer && depth == 0 {
                    self.text.push('&');
                }
                self.fields(value, &fields, verb, flags, depth);
            }
            Value::Pointer(pointer) => match pointer.target() {
                // Go prints an address, which would differ between renders.
                Some(target) => self.value(&target, verb, flags, depth),
                None => self.nil_pointer(value, verb, flags),
            },
            Value::Special(special) if special.is_nil() => self.nil_pointer(value, verb, flags),
            Value::Special(special) => {
                let text = Value::String(Text::new(special.printed(), special.tainted));
                self.scalar(&text, verb, flags);
            }
            Value::Record(record) => match &record.printed {
                Some(text) if verb_takes_string(verb) && !flags.sharp_v => {
                    self.scalar(&Value::String(text.clone()), verb, flags);
                }
                _ => self.fields(value, &record.fields, verb, flags, depth),
            },
        }
    }

    fn list(&mut self, value: &Value<'a>, list: &List<'a>, verb: char, flags: &Flags, depth: usize) {
        if flags.sharp_v {
            self.text.push_str(&value.type_name());
            if list.is_nil() {
                return self.text.push_str("(nil)");
            }
        }
        self.text.push(if flags.sharp_v { '{' } else { '[' });
        for (index, item) in list.iter().enumerate() {
            if index > 0 {
                self.text.push_str(flags.separator());
            }
            self.value(&item, verb, flags, depth + 1);
        }
        self.text.push(if flags.sharp_v { '}' } else { ']' });
    }

    fn map(&mut self, value: &Value<'a>, map: &Map<'a>, verb: char, flags: &Flags, depth: usize) {
        if flags.sharp_v {
            self.text.push_str(&value.type_name());
            if map.is_nil() {
                return self.text.push_str("(nil)");
            }
        }
        self.text.push_str(if flags.sharp_v { "{" } else { "map[" });
        for (index, (key, item)) in map.entries().iter().enumerate() {
            if index > 0 {
                self.text.push_str(flags.separator());
            }
            self.value(&key.to_value(), verb, flags, depth + 1);
            self.text.push(':');
            self.value(item, verb, flags, depth + 1);
        }
        self.text.push(if flags.sharp_v { '}' } else { ']' });
    }

    fn fields(
        &mut self,
        value: &Value<'a>,
        fields: &[(&'static str, Value<'a>)],
        verb: char,
        flags: &Flags,
        depth: usize,
    ) {
        if flags.sharp_v {
            self.text.push_str(value.type_name().trim_start_matches('*'));
        }
        self.text.push('{');
        for (index, (name, field)) in fields.iter().enumerate() {
            if index > 0 {
                self.text.push_str(flags.separator());
            }
            if flags.plus_v || flags.sharp_v {
                self.text.push_str(name);
                self.text.push(':');
            }
            self.value(field, verb, flags, depth + 1);
        }
        self.text.push('}');
    }

    fn nil_pointer(&mut self, value: &Value<'a>, verb: char, flags: &Flags) {
        match verb {
            'v' => self.text.push_str(&flags.pad("<nil>")),
            'b' | 'o' | 'd' | 'x' | 'X' => self.scalar(&Value::int(0), verb, flags),
            _ => {
                let text = format!("%!{verb}({}=<nil>)", value.type_name());
                self.text.push_str(&text);
            }
        }
    }
}

/// Whether a verb prints a type by its `String` method (`handleMethods`).
fn verb_takes_string(verb: char) -> bool {
    matches!(verb, 'v' | 's' | 'x' | 'X' | 'q')
}
