//! Flow collections in one line: `[a, "b"]`, `{a: b}`, JSON.

use super::{Kind, Node, Reader, is_merge, scalar::starts_plain};

impl Reader<'_> {
    pub(super) fn flow(&mut self) -> Option<Node> {
        match self.peek() {
            b'[' => self.flow_sequence(),
            b'{' => self.flow_mapping(),
            b'"' | b'\'' => self.quoted(),
            _ => self.flow_plain(),
        }
    }

    fn flow_sequence(&mut self) -> Option<Node> {
        let mark = self.mark();
        self.enter()?;
        self.at += 1;
        self.spaces();
        let mut items = Vec::new();
        while !(items.is_empty() && self.peek() == b']') {
            items.push(self.flow()?);
            if !self.flow_goes_on(b']')? {
                break;
            }
        }
        self.at += 1;
        self.depth += 1;
        self.node(mark, Kind::Sequence(items))
    }

    fn flow_mapping(&mut self) -> Option<Node> {
        let mark = self.mark();
        self.enter()?;
        self.at += 1;
        self.spaces();
        let mut entries = Vec::new();
        while !(entries.is_empty() && self.peek() == b'}') {
            let (key, adjacent) = match self.peek() {
                b'"' | b'\'' => (self.quoted()?, true),
                _ => (self.flow_plain()?, false),
            };
            if self.peek() != b':' || !(adjacent || self.byte(self.at + 1) == b' ') || is_merge(&key) {
                return None;
            }
            self.at += 1;
            self.spaces();
            entries.push((key, self.flow()?));
            if !self.flow_goes_on(b'}')? {
                break;
            }
        }
        self.at += 1;
        self.depth += 1;
        self.node(mark, Kind::Mapping(entries))
    }

    /// Behind an item: over a comma, or to the end.
    fn flow_goes_on(&mut self, end: u8) -> Option<bool> {
        self.spaces();
        match self.peek() {
            b',' => {
                self.at += 1;
                self.spaces();
                Some(true)
            }
            byte => (byte == end).then_some(false),
        }
    }

    fn flow_plain(&mut self) -> Option<Node> {
        let is_flow = |byte: u8| matches!(byte, b',' | b'[' | b']' | b'{' | b'}');
        if !starts_plain(self.peek()) || self.is_entry() {
            return None;
        }
        let (mut at, mut end) = (self.at, self.at);
        loop {
            let byte = self.byte(at);
            match byte {
                b'\n' | b'\t' | 0 => return None,
                b' ' => at += 1,
                b'#' if at > end => return None,
                b':' if matches!(self.byte(at + 1), b' ' | b'\n' | b'\t' | 0) => break,
                b':' if is_flow(self.byte(at + 1)) => break,
                b'-' if (at > end || at == self.at) && is_flow(self.byte(at + 1)) => return None,
                _ if is_flow(byte) => break,
                _ => {
                    at += 1;
                    end = at;
                }
            }
        }
        self.plain_to(end)
    }
}
