//! Scalars under a verb with its flags, width and precision (`fmt`'s `printArg` for basic types).

use super::Writer;
use super::number;
use super::quote::{can_backquote, is_printable, push_escaped, quote_character};
use crate::value::{Taint, Text, Value};

/// The flags of a verb.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    pub(super) minus: bool,
    pub(super) plus: bool,
    pub(super) sharp: bool,
    pub(super) space: bool,
    pub(super) zero: bool,
    pub(super) width: Option<usize>,
    pub(super) precision: Option<usize>,
    /// `%#v`.
    pub(super) sharp_v: bool,
    /// `%+v`.
    pub(super) plus_v: bool,
}

impl Flags {
    /// Pads text to the width.
    pub(super) fn pad(&self, text: &str) -> String {
        self.pad_with(text, if self.zero && !self.minus { "0" } else { " " })
    }

    /// Pads text to the width, always with spaces.
    fn pad_spaces(&self, text: &str) -> String {
        self.pad_with(text, " ")
    }

    fn pad_with(&self, text: &str, fill: &str) -> String {
        let missing = self.width.unwrap_or_default().saturating_sub(text.chars().count());
        let padding = fill.repeat(missing);
        if self.minus { format!("{text}{padding}") } else { format!("{padding}{text}") }
    }

    /// Truncates text to the precision, counted in characters.
    pub(super) fn truncate<'t>(&self, text: &'t str) -> &'t str {
        let Some(precision) = self.precision else { return text };
        text.char_indices().nth(precision).and_then(|(end, _)| text.get(..end)).unwrap_or(text)
    }

    pub(super) fn separator(&self) -> &'static str {
        if self.sharp_v { ", " } else { " " }
    }

    fn is_plain(&self) -> bool {
        !(self.minus || self.plus || self.sharp || self.space || self.zero || self.sharp_v)
            && self.width.is_none()
            && self.precision.is_none()
    }
}

impl<'a> Writer<'_, 'a> {
    pub(super) fn scalar(&mut self, value: &Value<'a>, verb: char, flags: &Flags) {
        let text = match (value, verb) {
            (Value::String(text), _) => return self.string(value, text, verb, flags),
            (Value::Bool(value), 't' | 'v') => flags.pad(if *value { "true" } else { "false" }),
            (Value::Int(number, _), _) => match integer(number.unsigned_abs(), *number < 0, verb, flags) {
                Some(text) => text,
                None => return self.bad_verb(value, verb, flags),
            },
            (Value::Uint(number, _), 'v') if flags.sharp_v => {
                let hex = Flags { sharp: true, ..flags.clone() };
                integer(*number, false, 'x', &hex).unwrap_or_default()
            }
            (Value::Uint(number, _), _) => match integer(*number, false, verb, flags) {
                Some(text) => text,
                None => return self.bad_verb(value, verb, flags),
            },
            (Value::Float(number), 'v' | 'b' | 'g' | 'G' | 'x' | 'X' | 'f' | 'F' | 'e' | 'E') => {
                float(*number, verb, flags)
            }
            _ => return self.bad_verb(value, verb, flags),
        };
        self.text.push_str(&text);
    }

    fn string(&mut self, value: &Value<'a>, text: &Text<'a>, verb: char, flags: &Flags) {
        let computed = match verb {
            's' | 'v' if flags.is_plain() => return self.move_text(text),
            's' | 'v' if !flags.sharp_v => flags.pad(flags.truncate(&self.real(text))),
            'q' if flags.is_plain() && !self.real => return self.quoted(text),
            's' | 'v' | 'q' => {
                let real = self.real(text);
                let real = flags.truncate(&real);
                if flags.sharp && can_backquote(real) {
                    flags.pad(&format!("`{real}`"))
                } else {
                    let mut quoted = String::from("\"");
                    push_escaped(&mut quoted, real, flags.plus);
                    quoted.push('"');
                    flags.pad(&quoted)
                }
            }
            'x' | 'X' => {
                let text = bytes(self.real(text).as_bytes(), flags);
                if verb == 'X' { text.to_ascii_uppercase() } else { text }
            }
            _ => return self.bad_verb(value, verb, flags),
        };
        self.push(&computed, text.is_tainted());
    }

    /// `%q`: quotes and clean text are structure, text from the pod is between quotes.
    fn quoted(&mut self, text: &Text<'a>) {
        self.text.push('"');
        match text.taint() {
            Taint::Clean => push_escaped(&mut self.text, text.stored(), false),
            Taint::Whole => self.runtime.push_placeholder(&mut self.text, text.stored(), true),
            Taint::Mixed => {
                for segment in self.runtime.segments(text.stored()) {
                    match segment {
                        crate::value::Segment::Clean(clean) => {
                            push_escaped(&mut self.text, clean, false);
                        }
                        crate::value::Segment::Tainted(raw) => {
                            self.runtime.push_placeholder(&mut self.text, &raw, true);
                        }
                    }
                }
            }
        }
        self.text.push('"');
    }

    /// `%!d(string=x)`.
    pub(super) fn bad_verb(&mut self, value: &Value<'a>, verb: char, flags: &Flags) {
        self.text.push_str("%!");
        self.text.push(verb);
        self.text.push('(');
        self.text.push_str(&value.type_name());
        self.text.push('=');
        self.scalar(value, 'v', flags);
        self.text.push(')');
    }
}

/// `fmtInteger`; `None` if the verb does not apply to integers.
fn integer(magnitude: u64, negative: bool, verb: char, flags: &Flags) -> Option<String> {
    let base = match verb {
        'v' | 'd' => 10,
        'b' => 2,
        'o' | 'O' => 8,
        'x' | 'X' => 16,
        'c' => return Some(flags.pad(&character(magnitude, negative).to_string())),
        'q' => return Some(flags.pad(&quote_character(character(magnitude, negative), flags.plus))),
        'U' => return Some(unicode(magnitude, negative, flags)),
        _ => return None,
    };
    let sign = match (negative, flags.plus, flags.space) {
        (true, ..) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        (false, false, false) => "",
    };
    let digits = number::integer(magnitude, base);
    let wanted = match flags.precision {
        Some(0) if magnitude == 0 => return Some(flags.pad_spaces("")),
        Some(precision) => precision,
        None if flags.zero && !flags.minus => flags.width.unwrap_or_default().saturating_sub(sign.len()),
        None => 0,
    };
    let mut digits = format!("{}{digits}", "0".repeat(wanted.saturating_sub(digits.len())));
    if flags.sharp {
        digits = match base {
            2 => format!("0b{digits}"),
            8 if !digits.starts_with('0') => format!("0{digits}"),
            16 => format!("0x{digits}"),
            _ => digits,
        };
    }
    if verb == 'O' {
        digits = format!("0o{digits}");
    }
    let text = format!("{sign}{digits}");
    Some(flags.pad_spaces(&if verb == 'X' { text.to_ascii_uppercase() } else { text }))
}

fn character(magnitude: u64, negative: bool) -> char {
    let code = if negative { None } else { u32::try_from(magnitude).ok() };
    code.and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn unicode(magnitude: u64, negative: bool, flags: &Flags) -> String {
    let code = if negative { magnitude.wrapping_neg() } else { magnitude };
    let digits = number::integer(code, 16).to_ascii_uppercase();
    let precision = flags.precision.unwrap_or_default().max(4);
    let mut text = format!("U+{}{digits}", "0".repeat(precision.saturating_sub(digits.len())));
    let shown = u32::try_from(code).ok().and_then(char::from_u32).filter(|c| flags.sharp && is_printable(*c));
    if let Some(character) = shown {
        text.push_str(&format!(" '{character}'"));
    }
    flags.pad_spaces(&text)
}

/// `%x` of a string: its bytes.
fn bytes(bytes: &[u8], flags: &Flags) -> String {
    let length = flags.precision.map_or(bytes.len(), |precision| precision.min(bytes.len()));
    let prefix = if flags.sharp { "0x" } else { "" };
    let mut text = String::new();
    for (index, byte) in bytes.iter().take(length).enumerate() {
        if index == 0 {
            text.push_str(prefix);
        } else if flags.space {
            text.push(' ');
            text.push_str(prefix);
        }
        text.push_str(&format!("{byte:02x}"));
    }
    flags.pad(&text)
}

/// `fmtFloat`.
fn float(value: f64, verb: char, flags: &Flags) -> String {
    let (verb, default) = match verb {
        'v' => ('g', None),
        'F' => ('f', Some(6)),
        'f' | 'e' | 'E' => (verb, Some(6)),
        _ => (verb, None),
    };
    let precision = flags.precision.or(default);
    let text = number::float_as(value, verb, precision);
    let (sign, mut digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits.to_owned()),
        None => ("+", text.trim_start_matches('+').to_owned()),
    };
    let shown = match sign {
        "+" if flags.plus => "+",
        "+" if flags.space => " ",
        "+" => "",
        _ => sign,
    };
    if !value.is_finite() {
        let is_infinity_with_sign = value.is_infinite() && (flags.plus || sign == "-");
        let sign = if is_infinity_with_sign || flags.space || flags.plus { shown } else { "" };
        // Go prints a positive infinity with its sign.
        let sign = if value.is_infinite() && sign.is_empty() { "+" } else { sign };
        return flags.pad_spaces(&format!("{sign}{digits}"));
    }
    if flags.sharp && verb != 'b' {
        digits = with_point(&digits, verb, precision);
    }
    let text = format!("{shown}{digits}");
    let missing = flags.width.unwrap_or_default().saturating_sub(text.chars().count());
    if flags.zero && !flags.minus && missing > 0 {
        return format!("{shown}{}{digits}", "0".repeat(missing));
    }
    flags.pad_spaces(&text)
}

/// The `#` flag: always a decimal point, and for `%g` the trailing zeros.
fn with_point(text: &str, verb: char, precision: Option<usize>) -> String {
    let is_hex = matches!(verb, 'x' | 'X');
    let exponent = text.find(|c| matches!(c, 'p' | 'P') || !is_hex && matches!(c, 'e' | 'E'));
    let (number, tail) = text.split_at(exponent.unwrap_or(text.len()));
    let wanted = if matches!(verb, 'g' | 'G' | 'x') { precision.unwrap_or(6) } else { 0 };
    let significant = number.chars().filter(|c| *c != '.').skip_while(|c| *c == '0').count();
    let mut shown = significant;
    let mut result = number.to_owned();
    if !number.contains('.') {
        if number == "0" {
            shown += 1;
        }
        result.push('.');
    }
    result.push_str(&"0".repeat(wanted.saturating_sub(shown)));
    result.push_str(tail);
    result
}
