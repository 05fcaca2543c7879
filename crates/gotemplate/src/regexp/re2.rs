//! Translates Go's regular expression syntax (RE2 with Perl's extensions) for the crate `regex`.
//!
//! The two agree on matching, but read some patterns differently: Go's `\d`, `\w`, `\s` and `\b` are ASCII only, its
//! classes have no set operations, it treats stray braces literally and rejects `a**`, `(?x)` and large counts. Every
//! literal is written escaped, so it cannot acquire a meaning in the translation.

/// The largest count of a repetition.
const MAX_COUNT: u32 = 1_000;

/// Translates a pattern, or returns the reason why Go rejects it.
pub(super) fn translate(pattern: &str) -> Result<String, String> {
    let mut reader = Reader { rest: pattern, out: String::with_capacity(pattern.len() * 2) };
    while !reader.rest.is_empty() {
        reader.item()?;
    }
    Ok(reader.out)
}

struct Reader<'p> {
    rest: &'p str,
    out: String,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next();
        self.rest = chars.as_str();
        c
    }

    fn take(&mut self, prefix: &str) -> bool {
        match self.rest.strip_prefix(prefix) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// An item that can be repeated, or an operator, with its repetition.
    fn item(&mut self) -> Result<(), String> {
        let Some(c) = self.next() else { return Ok(()) };
        match c {
            '(' => return self.group(),
            '|' => {
                self.out.push('|');
                return Ok(());
            }
            '*' | '+' | '?' => {
                return Err(format!("nothing to repeat before {c:?}"));
            }
            ')' | '^' | '$' | '.' => self.out.push(c),
            '[' => self.class()?,
            '\\' => self.escape()?,
            // A brace that does not start a count is literal.
            '{' if self.count(c)?.is_some() => return Err("nothing to repeat before a count".into()),
            c => self.literal(c),
        }
        self.repetition()
    }

    fn group(&mut self) -> Result<(), String> {
        self.out.push('(');
        if !self.take("?") {
            return Ok(());
        }
        if self.take("P<") || self.take("<") {
            let (name, rest) = self.rest.split_once('>').ok_or("unterminated group name")?;
            if name.is_empty() || !name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric()) {
                return Err(format!("{name:?} is not a valid group name"));
            }
            self.out.push_str("?P<");
            self.out.push_str(name);
            self.out.push('>');
            self.rest = rest;
            return Ok(());
        }
        let end = self.rest.find([':', ')']).ok_or("unterminated group")?;
        let (flags, rest) = self.rest.split_at_checked(end).ok_or("unterminated group")?;
        let dashes = flags.matches('-').count();
        if !flags.chars().all(|c| "imsU-".contains(c)) || dashes > 1 || flags.ends_with('-') {
            return Err(format!("(?{flags} is not a known group"));
        }
        let flags_only = rest.starts_with(')');
        if flags.is_empty() && flags_only {
            return Err("(?) is not a known group".into());
        }
        self.out.push('?');
        self.out.push_str(flags);
        self.rest = rest;
        // The colon or parenthesis.
        if let Some(c) = self.next() {
            self.out.push(c);
        }
        Ok(())
    }

    /// A count `{n}`, `{n,}` or `{n,m}` whose brace was consumed; consumes nothing if there is no count.
    fn count(&mut self, brace: char) -> Result<Option<String>, String> {
        debug_assert_eq!(brace, '{');
        let Some((inside, rest)) = self.rest.split_once('}') else { return Ok(None) };
        let number = |text: &str| {
            let well_formed = !text.is_empty()
                && text.bytes().all(|digit| digit.is_ascii_digit())
                && (text.len() == 1 || !text.starts_with('0'));
            well_formed.then(|| text.parse::<u32>().unwrap_or(u32::MAX))
        };
        let (low, high) = match inside.split_once(',') {
            None => (number(inside), number(inside)),
            Some((low, "")) => (number(low), Some(0)),
            Some((low, high)) => (number(low), number(high)),
        };
        let (Some(low), Some(high)) = (low, high) else { return Ok(None) };
        let open = inside.ends_with(',');
        if low > MAX_COUNT || high > MAX_COUNT || (!open && low > high) {
            return Err(format!("{{{inside}}} is not a count from 0 to {MAX_COUNT}"));
        }
        self.rest = rest;
        Ok(Some(format!("{{{inside}}}")))
    }

    /// The repetition after an item, if any.
    fn repetition(&mut self) -> Result<(), String> {
        if !self.one_repetition()? {
            return Ok(());
        }
        if self.take("?") {
            self.out.push('?');
        }
        let before = self.out.len();
        if self.one_repetition()? {
            let second = self.out.get(before..).unwrap_or_default();
            return Err(format!("{second:?} repeats a repetition"));
        }
        Ok(())
    }

    fn one_repetition(&mut self) -> Result<bool, String> {
        for operator in ["*", "+", "?"] {
            if self.take(operator) {
                self.out.push_str(operator);
                return Ok(true);
            }
        }
        if let Some(rest) = self.rest.strip_prefix('{') {
            let whole = std::mem::replace(&mut self.rest, rest);
            match self.count('{')? {
                Some(count) => {
                    self.out.push_str(&count);
                    return Ok(true);
                }
                None => self.rest = whole,
            }
        }
        Ok(false)
    }

    fn literal(&mut self, c: char) {
        push_literal(&mut self.out, c);
    }

    /// An escape outside of a class, after the backslash.
    fn escape(&mut self) -> Result<(), String> {
        if self.take("Q") {
            let (text, rest) = self.rest.split_once("\\E").unwrap_or((self.rest, ""));
            self.rest = rest;
            // An empty quotation can still be repeated.
            self.out.push_str("(?:");
            let mut chars = text.chars().peekable();
            while let Some(c) = chars.next() {
                if chars.peek().is_none() {
                    // A repetition after the quotation applies to its last character.
                    self.out.push(')');
                    push_literal(&mut self.out, c);
                    return Ok(());
                }
                push_literal(&mut self.out, c);
            }
            self.out.push(')');
            return Ok(());
        }
        for (escape, meaning) in [("A", r"\A"), ("z", r"\z"), ("b", r"(?-u:\b)"), ("B", r"(?-u:\B)")] {
            if self.take(escape) {
                self.out.push_str(meaning);
                return Ok(());
            }
        }
        match self.set()? {
            Some(set) => self.out.push_str(&set),
            None => {
                let c = self.character()?;
                self.literal(c);
            }
        }
        Ok(())
    }

    /// `\d`, `\pL` and similar sets, after the backslash; consumes nothing if there is none.
    fn set(&mut self) -> Result<Option<String>, String> {
        let ascii = [
            ("d", "[0-9]"),
            ("D", "[^0-9]"),
            ("s", r"[\t\n\x0c\r ]"),
            ("S", r"[^\t\n\x0c\r ]"),
            ("w", "[0-9A-Za-z_]"),
            ("W", "[^0-9A-Za-z_]"),
        ];
        for (escape, meaning) in ascii {
            if self.take(escape) {
                return Ok(Some(meaning.to_owned()));
            }
        }
        let negated = if self.take("p") {
            false
        } else if self.take("P") {
            true
        } else {
            return Ok(None);
        };
        let (negated, name) = if self.take("{") {
            let (name, rest) = self.rest.split_once('}').ok_or("unterminated class name")?;
            self.rest = rest;
            match name.strip_prefix('^') {
                Some(name) => (!negated, name.to_owned()),
                None => (negated, name.to_owned()),
            }
        } else {
            (negated, self.next().map(String::from).unwrap_or_default())
        };
        if name.is_empty() || !name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric()) {
            return Err(format!("{name:?} is not a character class"));
        }
        Ok(Some(format!("\\{}{{{name}}}", if negated { 'P' } else { 'p' })))
    }

    /// An escaped single character, after the backslash (`parseEscape`).
    fn character(&mut self) -> Result<char, String> {
        let c = self.next().ok_or("a backslash at the end")?;
        let octal = |c: char| c.is_digit(8);
        Ok(match c {
            'a' => '\u{7}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            'x' if self.take("{") => {
                let (digits, rest) = self.rest.split_once('}').ok_or("unterminated \\x{")?;
                self.rest = rest;
                code_point(digits, 16).ok_or_else(|| format!("\\x{{{digits}}} is not a character"))?
            }
            'x' => {
                let digits = self.rest.get(..2).ok_or("\\x needs two digits")?.to_owned();
                self.rest = self.rest.get(2..).unwrap_or_default();
                code_point(&digits, 16).ok_or_else(|| format!("\\x{digits} is not a character"))?
            }
            '0'..='7' if c == '0' || self.rest.starts_with(octal) => {
                let mut digits = String::from(c);
                while digits.len() < 3 && self.rest.starts_with(octal) {
                    digits.extend(self.next());
                }
                code_point(&digits, 8).ok_or_else(|| format!("\\{digits} is not a character"))?
            }
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => c,
            c => return Err(format!("\\{c} is not a known escape")),
        })
    }

    /// A class whose opening bracket was consumed.
    fn class(&mut self) -> Result<(), String> {
        self.out.push('[');
        if self.take("^") {
            self.out.push('^');
        }
        let mut first = true;
        loop {
            if !first && self.take("]") {
                self.out.push(']');
                return Ok(());
            }
            first = false;
            if self.rest.strip_prefix("[:").is_some_and(|rest| rest.contains(":]")) {
                self.named_class()?;
                continue;
            }
            if let Some(rest) = self.rest.strip_prefix('\\') {
                let whole = std::mem::replace(&mut self.rest, rest);
                if let Some(set) = self.set()? {
                    self.out.push_str(&set);
                    continue;
                }
                self.rest = whole;
            }
            let low = self.class_character()?;
            self.literal(low);
            if self.rest.starts_with('-') && !self.rest.starts_with("-]") && self.rest.len() > 1 {
                self.next();
                let high = self.class_character()?;
                if high < low {
                    return Err(format!("the range {low}-{high} is reversed"));
                }
                self.out.push('-');
                self.literal(high);
            }
        }
    }

    fn named_class(&mut self) -> Result<(), String> {
        let known = [
            "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
            "space", "upper", "word", "xdigit",
        ];
        // After the opening `[:`, so that `[:]` is not a name.
        let end = self.rest.get(2..).and_then(|rest| rest.find(":]")).map_or(0, |at| at + 4);
        let (name, rest) = self.rest.split_at_checked(end).ok_or("unterminated named class")?;
        let inner = name.trim_start_matches("[:").trim_start_matches('^').trim_end_matches(":]");
        if !known.contains(&inner) {
            return Err(format!("{name} is not a character class"));
        }
        self.out.push_str(name);
        self.rest = rest;
        Ok(())
    }

    fn class_character(&mut self) -> Result<char, String> {
        match self.next() {
            None => Err("unterminated class".into()),
            Some('\\') => self.character(),
            Some(c) => Ok(c),
        }
    }
}

fn code_point(digits: &str, base: u32) -> Option<char> {
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(base)) {
        return None;
    }
    u32::from_str_radix(digits, base).ok().and_then(char::from_u32)
}

/// Writes a character literally, inside and outside of classes.
fn push_literal(out: &mut String, c: char) {
    if c.is_ascii() && !c.is_ascii_alphanumeric() {
        out.push_str(&format!("\\x{:02x}", c as u32));
    } else {
        out.push(c);
    }
}
