//! Flow collections on one line: `[a, "b"]`, `{a: b}`, JSON.

use super::{Reader, Scalar, Tree, is_merge, scalar::starts_plain};

impl<'t> Reader<'t> {
    pub(super) fn flow<T: Tree>(&mut self) -> Option<T> {
        match self.peek() {
            b'[' => self.flow_sequence(),
            b'{' => self.flow_mapping(),
            b'"' | b'\'' => T::scalar(self.quoted()?),
            _ => T::scalar(self.flow_plain()?),
        }
    }

    fn flow_sequence<T: Tree>(&mut self) -> Option<T> {
        let mark = self.mark();
        self.enter()?;
        self.at += 1;
        self.spaces();
        let mut items = T::Items::default();
        let mut is_first = true;
        while !(is_first && self.peek() == b']') {
            is_first = false;
            let item = self.flow()?;
            T::item(&mut items, item);
            if !self.flow_goes_on(b']')? {
                break;
            }
        }
        self.at += 1;
        self.depth += 1;
        self.count()?;
        Some(T::sequence(mark, items))
    }

    fn flow_mapping<T: Tree>(&mut self) -> Option<T> {
        let mark = self.mark();
        self.enter()?;
        self.at += 1;
        self.spaces();
        let mut entries = T::Entries::default();
        let mut is_first = true;
        while !(is_first && self.peek() == b'}') {
            is_first = false;
            let (key, adjacent) = match self.peek() {
                b'"' | b'\'' => (self.quoted()?, true),
                _ => (self.flow_plain()?, false),
            };
            if self.peek() != b':' || !(adjacent || self.byte(self.at + 1) == b' ') || is_merge(&key) {
                return None;
            }
            self.at += 1;
            self.spaces();
            let value = self.flow()?;
            T::entry(&mut entries, key, value)?;
            if !self.flow_goes_on(b'}')? {
                break;
            }
        }
        self.at += 1;
        self.depth += 1;
        self.count()?;
        Some(T::mapping(mark, entries))
    }

    /// After an item: consumes a comma, or reaches the end.
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

    fn flow_plain(&mut self) -> Option<Scalar<'t>> {
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
