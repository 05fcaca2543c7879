//! Takes a list apart while it arrives, so that a page of it is never in memory as text: 500 nodes can be 10 MB.
//!
//! A list of the API is an object with one array, `items`. What stands in it is handed out piece by piece; the rest is kept
//! as an object with an empty array. It is split and not checked: each part is decoded by somebody else.

/// Where in a list it is.
#[derive(Debug, Default)]
pub(in crate::server) struct Splitter {
    depth: u32,
    in_string: bool,
    escaped: bool,
    in_items: bool,
    item: Vec<u8>,
    rest: Vec<u8>,
}

/// An item, or what is around the items, with more bytes than this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) struct TooLong(pub(in crate::server) usize);

impl Splitter {
    /// Takes a piece of the text, and hands out every item that is complete. Neither an item nor the rest may have more
    /// than `most` bytes.
    pub(in crate::server) fn feed<E: From<TooLong>>(
        &mut self,
        text: &[u8],
        most: usize,
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        // Where the bytes begin that belong to the same part.
        let mut begin = 0;
        for (at, byte) in text.iter().enumerate() {
            if self.is_in_string(*byte) {
                continue;
            }
            match byte {
                b'{' | b'[' => {
                    if self.in_items && self.depth == 2 {
                        // Only commas and blanks stand before an item.
                        begin = at;
                    }
                    self.depth = self.depth.saturating_add(1);
                    if self.depth == 2 && *byte == b'[' {
                        self.rest.extend(text.get(begin..=at).unwrap_or_default());
                        (self.in_items, begin) = (true, at + 1);
                    }
                }
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.in_items && self.depth == 2 {
                        self.item.extend(text.get(begin..=at).unwrap_or_default());
                        if self.item.len() > most {
                            return Err(TooLong(most).into());
                        }
                        each(&self.item)?;
                        self.item.clear();
                        begin = at + 1;
                    } else if self.in_items && self.depth == 1 {
                        (self.in_items, begin) = (false, at);
                    }
                }
                _ => {}
            }
        }
        let unfinished = text.get(begin..).unwrap_or_default();
        match (self.in_items, self.depth) {
            (false, _) => self.rest.extend(unfinished),
            (true, 3..) => self.item.extend(unfinished),
            (true, _) => {}
        }
        if self.rest.len().max(self.item.len()) > most {
            return Err(TooLong(most).into());
        }
        Ok(())
    }

    /// The list without its items.
    pub(in crate::server) fn rest(&self) -> &[u8] {
        &self.rest
    }

    /// Whether a byte belongs to a string; quotes do.
    fn is_in_string(&mut self, byte: u8) -> bool {
        if !self.in_string {
            self.in_string = byte == b'"';
            return self.in_string;
        }
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' => self.escaped = true,
            b'"' => self.in_string = false,
            _ => {}
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The items and the rest of a text that comes in pieces of a size.
    fn split(text: &str, size: usize) -> (Vec<Value>, Value) {
        let (mut splitter, mut items) = (Splitter::default(), Vec::new());
        for piece in text.as_bytes().chunks(size) {
            let each = |item: &[u8]| -> Result<(), TooLong> {
                items.push(serde_json::from_slice(item).unwrap());
                Ok(())
            };
            splitter.feed(piece, 1 << 20, each).unwrap();
        }
        (items, serde_json::from_slice(splitter.rest()).unwrap())
    }

    #[test]
    fn lists_are_split_however_they_arrive() {
        let tricky = json!({"a": "}]\"\\", "b": [[{}], {"c": "[{"}], "\"": "\\\\"});
        for items in [json!([]), json!([{}]), json!([tricky, {"x": 1}, tricky])] {
            let head = json!({"kind": "List", "metadata": {"resourceVersion": "7", "odd": [[1], {}]}, "apiVersion": "v1"});
            let mut list = head.clone();
            list["items"] = items.clone();
            for text in [list.to_string(), format!("{list:#}\n")] {
                for size in [1, 2, 3, 11, 4096] {
                    let (found, rest) = split(&text, size);
                    assert_eq!(Value::from(found), items, "{text} by {size}");
                    assert_eq!((&rest["metadata"], &rest["items"]), (&head["metadata"], &json!([])));
                }
            }
        }
    }

    #[test]
    fn no_items_are_no_items() {
        for text in [r#"{"items":null,"metadata":{}}"#, r#"{"metadata":{}}"#] {
            assert!(split(text, 5).0.is_empty());
        }
    }

    #[test]
    fn nothing_grows_without_an_end() {
        let feed = |text: &str| {
            let mut splitter = Splitter::default();
            let mut pieces = text.as_bytes().chunks(10);
            pieces.try_for_each(|piece| splitter.feed(piece, 100, |_| Ok::<_, TooLong>(())))
        };
        let long = "x".repeat(200);
        assert_eq!(feed(&format!(r#"{{"items":[{{"a":"{long}"#)), Err(TooLong(100)));
        assert_eq!(feed(&format!(r#"{{"metadata":{{"a":"{long}"#)), Err(TooLong(100)));
        let many = r#"{"a":"b"},"#.repeat(100);
        assert_eq!(feed(&format!(r#"{{"items":[{many}{{}}]}}"#)), Ok(()));
    }
}
