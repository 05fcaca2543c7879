//! Forms as browsers send them (`application/x-www-form-urlencoded`).

use std::collections::BTreeMap;

/// The longest form that is evaluated, in bytes of its texts: an API server accepts no larger request.
pub const MOST_BYTES: usize = 3 << 20;

/// A form that cannot be evaluated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidForm {
    /// A field that the form does not have.
    #[error("found no field {0:?} in the form; expected the fields of this page")]
    Missing(&'static str),
    /// Texts that are too long.
    #[error("found {found} bytes; expected at most 3 MiB, because an API server accepts no larger request")]
    TooLarge {
        /// The length of all texts.
        found: usize,
    },
}

/// The fields of a form.
#[derive(Debug)]
pub struct Fields(BTreeMap<String, String>);

impl Fields {
    /// Reads a form. If a field occurs twice, the last one counts.
    ///
    /// # Errors
    /// If the texts are too long.
    pub fn read(form: &[u8]) -> Result<Fields, InvalidForm> {
        // Browsers send line breaks of a text area as CR LF (HTML, "constructing the entry list").
        let fields: BTreeMap<String, String> = form_urlencoded::parse(form)
            .map(|(key, value)| (key.into_owned(), value.replace("\r\n", "\n")))
            .collect();
        match fields.values().map(String::len).sum() {
            found if found > MOST_BYTES => Err(InvalidForm::TooLarge { found }),
            _ => Ok(Fields(fields)),
        }
    }

    /// The text of a field.
    ///
    /// # Errors
    /// If the form does not have it.
    pub fn take(&mut self, name: &'static str) -> Result<String, InvalidForm> {
        self.0.remove(name).ok_or(InvalidForm::Missing(name))
    }
}
