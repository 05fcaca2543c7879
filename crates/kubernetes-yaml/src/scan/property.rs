//! Anchors, aliases, tags and directives.

use super::{Kind, Scanner};
use crate::{Error, Mark};

impl Scanner<'_> {
    /// `&name` or `*name`
    pub(super) fn anchor(&mut self) -> Result<(), Error> {
        let start = self.at.mark();
        let is_alias = self.at.byte(0) == b'*';
        self.at.skip(1);
        let name = self.word();
        let ends = self.at.is_blank_or_end(0)
            || matches!(self.at.byte(0), b'?' | b':' | b',' | b']' | b'}' | b'%' | b'@' | b'`');
        if name.is_empty() || !ends {
            return Err(self
                .at
                .error("a name of letters, digits, - and _ after & or *; otherwise use quotes"));
        }
        self.put(if is_alias { Kind::Alias(name) } else { Kind::Anchor(name) }, start);
        Ok(())
    }

    /// `!`, `!name`, `!!name`, `!handle!name` or `!<name>`
    pub(super) fn tag(&mut self) -> Result<(), Error> {
        let start = self.at.mark();
        let (handle, suffix) = if self.at.byte(1) == b'<' {
            self.at.skip(2);
            let tag = self.uri()?;
            if self.at.byte(0) != b'>' || tag.is_empty() {
                return Err(self.at.error("a tag such as !<tag:yaml.org,2002:str>"));
            }
            self.at.skip(1);
            (String::new(), tag)
        } else {
            self.at.skip(1);
            let word = self.word();
            if self.at.byte(0) == b'!' {
                self.at.skip(1);
                let suffix = self.uri()?;
                if suffix.is_empty() {
                    return Err(self.at.error("the name of a tag"));
                }
                (format!("!{word}!"), suffix)
            } else {
                let suffix = word + &self.uri()?;
                if suffix.is_empty() { (String::new(), "!".to_owned()) } else { ("!".to_owned(), suffix) }
            }
        };
        if !self.at.is_blank_or_end(0) {
            return Err(self.at.error("a blank after the tag"));
        }
        self.put(Kind::Tag(handle, suffix), start);
        Ok(())
    }

    /// `%YAML`, whose version is ignored, or `%TAG`.
    pub(super) fn directive(&mut self) -> Result<(), Error> {
        let start = self.at.mark();
        self.at.skip(1);
        let name = self.word();
        if name == "YAML" {
            self.blanks_in_line();
            let version = self.number() && self.at.byte(0) == b'.';
            self.at.skip(1);
            if !(version && self.number()) {
                return Err(self.at.error("a version such as 1.1"));
            }
            return self.end_of_directive(None, start);
        }
        if name != "TAG" {
            return Err(self.at.error_at(start, "%YAML or %TAG; otherwise use quotes"));
        }
        self.blanks_in_line();
        let accepted = "%TAG, a handle such as !x!, and its prefix";
        if self.at.byte(0) != b'!' {
            return Err(self.at.error(accepted));
        }
        self.at.skip(1);
        let word = self.word();
        let mut handle = format!("!{word}");
        if self.at.byte(0) == b'!' {
            self.at.skip(1);
            handle.push('!');
        } else if !word.is_empty() {
            return Err(self.at.error(accepted));
        }
        if !self.at.is_blank(0) {
            return Err(self.at.error(accepted));
        }
        self.blanks_in_line();
        let prefix = self.uri()?;
        if prefix.is_empty() || !self.at.is_blank_or_end(0) {
            return Err(self.at.error(accepted));
        }
        self.end_of_directive(Some((handle, prefix)), start)
    }

    fn end_of_directive(&mut self, tag: Option<(String, String)>, start: Mark) -> Result<(), Error> {
        self.blanks_in_line();
        if self.at.byte(0) == b'#' {
            self.at.skip_line();
        }
        if !self.at.is_break_or_end(0) {
            return Err(self.at.error("the end of the line"));
        }
        self.put(Kind::Directive(tag), start);
        Ok(())
    }

    /// Skips digits, and returns whether there were any.
    fn number(&mut self) -> bool {
        let is_number = self.at.byte(0).is_ascii_digit();
        while self.at.byte(0).is_ascii_digit() {
            self.at.skip(1);
        }
        is_number
    }

    fn blanks_in_line(&mut self) {
        while self.at.is_blank(0) {
            self.at.skip(1);
        }
    }

    fn word(&mut self) -> String {
        let mut word = String::new();
        while self.at.byte(0).is_ascii_alphanumeric() || matches!(self.at.byte(0), b'-' | b'_') {
            word.extend(self.at.take());
        }
        word
    }

    fn uri(&mut self) -> Result<String, Error> {
        let mut bytes = Vec::new();
        loop {
            match self.at.byte(0) {
                b'%' => {
                    let code =
                        self.at.rest().get(1..3).filter(|code| code.bytes().all(|b| b.is_ascii_hexdigit()));
                    let Some(byte) = code.and_then(|code| u8::from_str_radix(code, 16).ok()) else {
                        return Err(self.at.error("two hexadecimal digits after %"));
                    };
                    bytes.push(byte);
                    self.at.skip(3);
                }
                byte if byte.is_ascii_alphanumeric() || b"-_;/?:@&=+$,.!~*'()[]".contains(&byte) => {
                    bytes.push(byte);
                    self.at.skip(1);
                }
                _ => break,
            }
        }
        String::from_utf8(bytes).map_err(|_| self.at.error("UTF-8 in a tag"))
    }
}
