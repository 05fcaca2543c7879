//! `fmt.Sprintf` (`doPrintf`).

use super::Writer;
use super::verb::Flags;
use crate::render::Runtime;
use crate::value::{Text, Value};

/// Formats operands. The format's own text is clean unless the format came from the pod, in which case the whole result
/// is tainted.
pub(crate) fn printf<'a>(runtime: &mut Runtime<'a>, format: &Text<'a>, args: &[Value<'a>]) -> Text<'a> {
    let tainted = format.is_tainted();
    let real = if tainted { runtime.expand(format.stored()) } else { format.stored().to_owned() };
    let writer = Writer::new(runtime, tainted);
    let mut printer = Printer { writer, format: &real, at: 0, args, arg: 0, good: true, reordered: false };
    printer.run();
    let text = printer.writer.text;
    if tainted { Text::whole(text) } else { Text::moved(text) }
}

/// Go's limit for widths and precisions.
const LARGEST: usize = 1_000_000;

struct Printer<'p, 'w, 'a> {
    writer: Writer<'w, 'a>,
    format: &'p str,
    at: usize,
    args: &'p [Value<'a>],
    /// The next operand.
    arg: usize,
    /// Whether the operand's explicit index was valid.
    good: bool,
    reordered: bool,
}

impl<'a> Printer<'_, '_, 'a> {
    fn run(&mut self) {
        while !self.writer.is_full() {
            let rest = self.format.get(self.at..).unwrap_or_default();
            let Some((text, _)) = rest.split_once('%') else {
                self.writer.text.push_str(rest);
                break;
            };
            self.writer.text.push_str(text);
            self.at += text.len() + 1;
            if !self.verb() {
                break;
            }
        }
        self.extra();
    }

    fn next_byte(&self) -> Option<u8> {
        self.format.as_bytes().get(self.at).copied()
    }

    /// Processes everything after a percent sign; returns false if the format ends there.
    fn verb(&mut self) -> bool {
        self.good = true;
        let mut flags = self.flags();
        let mut after_index = self.index();
        if self.next_byte() == Some(b'*') {
            self.at += 1;
            match self.size() {
                Some(width) => {
                    flags.width = Some(usize::try_from(width.unsigned_abs()).unwrap_or_default());
                    if width < 0 {
                        flags.minus = true;
                        flags.zero = false;
                    }
                }
                None => self.writer.text.push_str("%!(BADWIDTH)"),
            }
            after_index = false;
        } else {
            flags.width = self.number();
            if after_index && flags.width.is_some() {
                self.good = false;
            }
        }
        if self.next_byte() == Some(b'.') && self.at + 1 < self.format.len() {
            self.at += 1;
            if after_index {
                self.good = false;
            }
            after_index = self.index();
            if self.next_byte() == Some(b'*') {
                self.at += 1;
                // A negative precision is invalid, as in Go.
                flags.precision = self.size().and_then(|size| usize::try_from(size).ok());
                if flags.precision.is_none() {
                    self.writer.text.push_str("%!(BADPREC)");
                }
                after_index = false;
            } else {
                flags.precision = Some(self.number().unwrap_or_default());
            }
        }
        if !after_index {
            self.index();
        }
        let Some(verb) = self.format.get(self.at..).and_then(|rest| rest.chars().next()) else {
            self.writer.text.push_str("%!(NOVERB)");
            return false;
        };
        self.at += verb.len_utf8();
        if verb == '%' {
            self.writer.text.push('%');
        } else if !self.good {
            self.problem(verb, "(BADINDEX)");
        } else {
            let args = self.args;
            match args.get(self.arg) {
                Some(arg) => {
                    self.arg += 1;
                    self.operand(arg, verb, flags);
                }
                None => self.problem(verb, "(MISSING)"),
            }
        }
        true
    }

    fn problem(&mut self, verb: char, what: &str) {
        self.writer.text.push_str("%!");
        self.writer.text.push(verb);
        self.writer.text.push_str(what);
    }

    fn flags(&mut self) -> Flags {
        let mut flags = Flags::default();
        loop {
            match self.next_byte() {
                Some(b'#') => flags.sharp = true,
                Some(b'0') => flags.zero = true,
                Some(b'+') => flags.plus = true,
                Some(b'-') => flags.minus = true,
                Some(b' ') => flags.space = true,
                _ => return flags,
            }
            self.at += 1;
        }
    }

    /// Parses digits; zero digits, or too many, are not a number. A number that is too large also consumes the rest of
    /// the format.
    fn number(&mut self) -> Option<usize> {
        let mut number = None;
        while let Some(digit) = self.next_byte().filter(u8::is_ascii_digit) {
            if number.unwrap_or_default() > LARGEST {
                self.at = self.format.len();
                return None;
            }
            number = Some(number.unwrap_or_default() * 10 + usize::from(digit - b'0'));
            self.at += 1;
        }
        number
    }

    /// An operand used as width or precision.
    fn size(&mut self) -> Option<i64> {
        let arg = self.args.get(self.arg)?;
        self.arg += 1;
        let size = match arg {
            Value::Int(number, _) => *number,
            Value::Uint(number, _) => i64::try_from(*number).ok()?,
            _ => return None,
        };
        usize::try_from(size.unsigned_abs()).ok().filter(|size| *size <= LARGEST)?;
        Some(size)
    }

    /// An explicit operand index such as `[2]` (`argNumber`).
    fn index(&mut self) -> bool {
        if self.next_byte() != Some(b'[') {
            return false;
        }
        self.reordered = true;
        let rest = self.format.get(self.at + 1..).unwrap_or_default();
        let Some(close) = rest.find(']') else {
            self.at += 1;
            self.good = false;
            return false;
        };
        self.at += close + 2;
        let digits = rest.get(..close).unwrap_or_default();
        let index = if digits.len() < 8 && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            digits.parse::<usize>().ok()
        } else {
            None
        };
        match index {
            Some(index) if (1..=self.args.len()).contains(&index) => {
                self.arg = index - 1;
                true
            }
            _ => {
                self.good = false;
                index.is_some()
            }
        }
    }

    fn operand(&mut self, arg: &Value<'a>, verb: char, mut flags: Flags) {
        match verb {
            'T' => {
                let name = arg.type_name();
                let name = flags.truncate(&name);
                self.writer.text.push_str(&flags.pad(name));
                return;
            }
            'v' => {
                flags.sharp_v = std::mem::take(&mut flags.sharp);
                flags.plus_v = std::mem::take(&mut flags.plus);
            }
            _ => {}
        }
        self.writer.value(arg, verb, &flags, 0);
    }

    /// Operands that no verb uses.
    fn extra(&mut self) {
        let args = self.args.get(self.arg..).unwrap_or_default();
        if self.reordered || args.is_empty() {
            return;
        }
        self.writer.text.push_str("%!(EXTRA ");
        for (index, arg) in args.iter().enumerate() {
            if index > 0 {
                self.writer.text.push_str(", ");
            }
            if !matches!(arg, Value::Nil | Value::Missing) {
                let name = arg.type_name();
                self.writer.text.push_str(&name);
                self.writer.text.push('=');
            }
            self.writer.value(arg, 'v', &Flags::default(), 0);
        }
        self.writer.text.push(')');
    }
}
