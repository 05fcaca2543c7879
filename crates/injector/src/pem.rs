//! PEM as API servers read it, and the blocks that they skip silently.
//!
//! Go's `pem.Decode` accepts a block only if its BEGIN line is at the start of a line, the next END line is the block's
//! own with nothing after it, and the content is base64; `x509.AppendCertsFromPEM` then accepts blocks named
//! CERTIFICATE without headers. Blocks that are indented, joined to another line or truncated are skipped silently, and
//! if none remains, every call of a webhook fails. Other parsers are more lenient, so all PEM in this project goes
//! through this one. It reads each line once.

use std::fmt;

use base64::{
    Engine as _, alphabet,
    engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD},
};
use zeroize::{Zeroize, Zeroizing};

/// The label of certificate blocks.
pub const CERTIFICATE: &str = "CERTIFICATE";
/// The expected input where only certificates are allowed.
pub const ACCEPTED: &str = "CERTIFICATE blocks in PEM, every BEGIN and END on a line of its own";

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// Like Go's `base64.StdEncoding`: padding is required, bits after the last byte are ignored.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// A block that an API server reads. Its content is zeroed on drop: it may be a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Block {
    /// Its label, such as `CERTIFICATE`.
    pub label: String,
    /// The content.
    pub der: Vec<u8>,
    /// Whether it starts with header lines; certificates with headers are skipped.
    pub has_headers: bool,
    /// The line on which it starts, from 1.
    pub line: usize,
}

/// Something that looks like a block and is skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// The line on which it starts, from 1.
    pub line: usize,
    /// Its label.
    pub label: String,
    /// The problem.
    pub problem: Problem,
}

/// Why a block is skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// BEGIN or END is not at the start of its line.
    Place,
    /// The BEGIN line does not end with five dashes.
    Begin,
    /// No END line before the next block or the end of the text.
    NoEnd,
    /// The END line has a different label, or is followed by something.
    End,
    /// An END line without a BEGIN line.
    NoBegin,
    /// It is not base64.
    Base64,
}

/// The blocks of a text, valid and broken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pem {
    /// Valid blocks, in order.
    pub blocks: Vec<Block>,
    /// Skipped blocks, in order.
    pub flaws: Vec<Flaw>,
}

/// A block that is being read.
struct Open {
    label: String,
    line: usize,
    in_headers: bool,
    has_headers: bool,
    /// Allocated once at full size, so that growing leaves no partial copy of a key behind.
    body: Zeroizing<Vec<u8>>,
}

impl Pem {
    /// Reads a text.
    pub fn parse(text: &[u8]) -> Pem {
        let mut pem = Pem::default();
        let mut open: Option<Open> = None;
        for (at, whole) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
            pem.line(at + 1, whole, &mut open, text.len());
        }
        if let Some(open) = open {
            pem.flaw(open.line, open.label, Problem::NoEnd);
        }
        // Problems of a block are reported when it ends.
        pem.flaws.sort_by_key(|flaw| flaw.line);
        pem
    }

    fn line(&mut self, number: usize, whole: &[u8], open: &mut Option<Open>, longest: usize) {
        let line = trimmed(whole);
        if let Some(rest) = line.strip_prefix(BEGIN.as_bytes()) {
            if let Some(open) = open.take() {
                self.flaw(open.line, open.label, Problem::NoEnd);
            }
            match rest.strip_suffix(DASHES.as_bytes()) {
                Some(label) if find(label, BEGIN).is_none() => {
                    let label = text_of(label);
                    let room = if label.contains("PRIVATE KEY") { longest } else { 0 };
                    let body = Zeroizing::new(Vec::with_capacity(room));
                    *open = Some(Open { label, line: number, in_headers: true, has_headers: false, body });
                }
                _ => self.flaw(number, label_of(rest), Problem::Begin),
            }
        } else if let Some(rest) = line.strip_prefix(END.as_bytes()) {
            match open.take() {
                None => self.flaw(number, label_of(rest), Problem::NoBegin),
                Some(open) if rest.strip_suffix(DASHES.as_bytes()) != Some(open.label.as_bytes()) => {
                    self.flaw(open.line, open.label, Problem::End);
                }
                // Headers alone are not a block.
                Some(open) if open.has_headers && open.in_headers => {
                    self.flaw(open.line, open.label, Problem::Base64);
                }
                Some(open) => self.close(open),
            }
            if let Some(place) = find(rest, BEGIN) {
                let rest = rest.get(place + BEGIN.len()..).unwrap_or_default();
                self.flaw(number, label_of(rest), Problem::Place);
            }
        } else if let Some((place, mark)) =
            [BEGIN, END].iter().find_map(|mark| Some((find(line, mark)?, mark)))
        {
            let rest = line.get(place + mark.len()..).unwrap_or_default();
            self.flaw(number, label_of(rest), Problem::Place);
            match open {
                Some(open) if *mark == END && open.in_headers && line.contains(&b':') => {
                    open.has_headers = true
                }
                // It breaks the surrounding block.
                Some(open) => open.body.push(b'-'),
                None => {}
            }
        } else if let Some(open) = open {
            if open.in_headers && line.contains(&b':') {
                open.has_headers = true;
            } else {
                open.in_headers = false;
                open.body.extend(whole.iter().filter(|byte| !b" \t\r\n".contains(byte)));
            }
        }
    }

    fn close(&mut self, open: Open) {
        let Open { label, line, has_headers, body, .. } = open;
        match BASE64.decode(body.as_slice()) {
            Ok(der) => self.blocks.push(Block { label, der, has_headers, line }),
            Err(_) => self.flaw(line, label, Problem::Base64),
        }
    }

    fn flaw(&mut self, line: usize, label: String, problem: Problem) {
        self.flaws.push(Flaw { line, label, problem });
    }

    /// The certificates that an API server finds, if they are X.509.
    pub fn certificates(&self) -> impl Iterator<Item = &Block> {
        self.blocks.iter().filter(|block| block.label == CERTIFICATE && !block.has_headers)
    }

    /// The certificates, provided that there is nothing else: in particular no private key, which anybody who can read
    /// webhook configurations could read, and no skipped block.
    ///
    /// # Errors
    /// A sentence about the first thing that does not belong there, with its line.
    pub fn only_certificates(&self) -> Result<Vec<&Block>, String> {
        if let Some((line, label)) = self.private_key() {
            return Err(format!(
                "line {line}: found a private key ({}), which must not be published",
                shown(label)
            ));
        }
        self.whole()?;
        for block in &self.blocks {
            let Block { label, line, has_headers, .. } = block;
            if label != CERTIFICATE {
                return Err(format!("line {line}: found a block named {}", shown(label)));
            }
            if *has_headers {
                return Err(format!("line {line}: found a CERTIFICATE with header lines"));
            }
        }
        if self.blocks.is_empty() {
            return Err("found no certificate".to_owned());
        }
        Ok(self.blocks.iter().collect())
    }

    /// Checks that everything that looks like a block is one.
    ///
    /// # Errors
    /// A sentence about the first thing that is not.
    pub fn whole(&self) -> Result<(), String> {
        self.flaws.first().map_or(Ok(()), |flaw| Err(flaw.to_string()))
    }

    /// The line and the label of the first private key, valid or broken.
    pub fn private_key(&self) -> Option<(usize, &str)> {
        let blocks = self.blocks.iter().map(|block| (block.line, block.label.as_str()));
        let flaws = self.flaws.iter().map(|flaw| (flaw.line, flaw.label.as_str()));
        blocks.chain(flaws).filter(|(_, label)| label.contains("PRIVATE KEY")).min()
    }
}

/// Encodes a block, like Kubernetes' own tools.
pub fn encode(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = String::with_capacity(text.len() + text.len() / 64 + 2 * label.len() + 40);
    let mut line = |parts: &[&str]| {
        parts.iter().for_each(|part| pem.push_str(part));
        pem.push('\n');
    };
    line(&[BEGIN, label, DASHES]);
    let mut rest = text.as_str();
    while !rest.is_empty() {
        // Base64 is ASCII.
        let (head, tail) = rest.split_at(rest.len().min(64));
        line(&[head]);
        rest = tail;
    }
    line(&[END, label, DASHES]);
    pem
}

/// A line without its end and the blanks before it, as Go's reader sees it: a carriage return belongs to the line's end
/// only together with a line feed.
fn trimmed(whole: &[u8]) -> &[u8] {
    let mut line = whole;
    if let Some(rest) = line.strip_suffix(b"\n") {
        line = rest.strip_suffix(b"\r").unwrap_or(rest);
    }
    while let Some(rest) = line.strip_suffix(b" ").or_else(|| line.strip_suffix(b"\t")) {
        line = rest;
    }
    line
}

fn find(line: &[u8], mark: &str) -> Option<usize> {
    line.windows(mark.len()).position(|window| window == mark.as_bytes())
}

/// The label in the text after BEGIN or END.
fn label_of(rest: &[u8]) -> String {
    text_of(rest.get(..find(rest, DASHES).unwrap_or(rest.len())).unwrap_or_default())
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An untrusted label, made safe for a one-line message.
pub fn shown(label: &str) -> String {
    // If a whole block is on one line, its content follows the label.
    let name = label.split(DASHES).next().unwrap_or_default();
    name.chars().filter(|character| !character.is_control()).take(64).collect()
}

impl fmt::Display for Flaw {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Flaw { line, label, problem } = self;
        let label = shown(label);
        let what = match problem {
            Problem::Place => {
                "its BEGIN or END is not at the start of a line: indented, joined to something, or after a byte order mark"
            }
            Problem::Begin => "its BEGIN line does not end with -----",
            Problem::NoEnd => "it has no END line of its own",
            Problem::End => "its END line has another label, or something follows it",
            Problem::NoBegin => "it has an END line but no BEGIN line",
            Problem::Base64 => "it is not base64",
        };
        write!(out, "line {line}: found a broken block {label}: {what}")
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.der.zeroize();
    }
}

impl fmt::Debug for Block {
    /// Without the content, which may be secret.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Block")
            .field("label", &self.label)
            .field("line", &self.line)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
