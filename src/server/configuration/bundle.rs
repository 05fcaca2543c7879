//! A configuration in one file: a bundle.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::config::{self, InjectorConfig};
use crate::server::configuration::build::{Cluster, loaded};
use crate::server::configuration::earlier::{Earlier, Text};
use crate::server::configuration::source::{Loaded, Source};
use crate::server::reading::{self, Whole};

/// A bundle in a file, or the embedded defaults.
#[derive(Clone, Debug, Default)]
pub struct Bundle {
    file: Option<PathBuf>,
    earlier: Earlier,
}

/// Maximum size of a configuration file (C-07).
pub(crate) const FILE_BYTES: u64 = 8 << 20;

impl Bundle {
    /// The bundle in a file.
    pub fn of(file: PathBuf) -> Bundle {
        Bundle { file: Some(file), earlier: Earlier::default() }
    }
}

impl Source for Bundle {
    fn load(&self) -> Result<Loaded, String> {
        let Some(file) = &self.file else {
            let mesh = InjectorConfig::embedded().map_err(|error| error.to_string())?;
            return loaded(mesh, &[], Cluster::InConfiguration);
        };
        let text = reading::read(file, FILE_BYTES).and_then(|whole| text(file, file, whole));
        let text = text.map_err(|error| error.to_string())?;
        let name = file.display().to_string();
        let source = config::Source { name: &name, text: &text.text };
        let (mesh, warnings) = InjectorConfig::from_bundle(source).map_err(|error| error.to_string())?;
        let mut loaded = loaded(mesh, &warnings, Cluster::InConfiguration)?;
        loaded.warnings.extend(self.earlier.compare(vec![text])?);
        Ok(loaded)
    }

    fn accepted(&self) {
        self.earlier.accept();
    }

    fn files(&self) -> Vec<PathBuf> {
        self.file.iter().cloned().collect()
    }
}

/// Decodes the text of a file; `path` is the name that the administrator knows.
pub(in crate::server) fn text(file: &Path, path: &Path, whole: Whole) -> Result<Text, reading::Error> {
    let text = std::str::from_utf8(&whole.bytes).map_err(|error| {
        let found =
            format!("found bytes that are not UTF-8 at offset {}; expected UTF-8", error.valid_up_to());
        let error = io::Error::new(io::ErrorKind::InvalidData, found);
        reading::Error::Io { file: file.to_owned(), error }
    })?;
    Ok(Text { path: path.to_owned(), stamp: whole.stamp, text: text.to_owned() })
}
