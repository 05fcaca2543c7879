//! A configuration in directories, as kubelets mount ConfigMaps: our own bundle, or Istio's three texts.
//!
//! A kubelet changes all files of a volume at once by repointing the symlink `..data` to another directory. All files
//! are read from one such directory, so that a configuration never mixes old and new files.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use crate::config;
use crate::config::{Absent, InjectorConfig};
use crate::server::configuration::build::{Cluster, loaded};
use crate::server::configuration::bundle::{FILE_BYTES, text};
use crate::server::configuration::cluster::Installation;
use crate::server::configuration::earlier::{Earlier, Text};
use crate::server::configuration::source::{Loaded, Source};
use crate::server::reading;

/// Directories with the configuration.
#[derive(Clone, Debug)]
pub struct Folders {
    folders: Vec<PathBuf>,
    installation: Installation,
    earlier: Earlier,
}

/// Files that hold a bundle.
const BUNDLE: [&str; 2] = ["bundle", "bundle.yaml"];
/// Istio's: keys of its injector ConfigMap, and the key of its mesh ConfigMap.
const ISTIO: [&str; 3] = ["config", "values", "mesh"];
/// How often a volume may change while it is read.
const ATTEMPTS: usize = 5;

/// A file that was found.
struct Found {
    name: &'static str,
    /// Its path, as the administrator knows it.
    path: String,
    text: Text,
}

impl Source for Folders {
    fn load(&self) -> Result<Loaded, String> {
        let mut found = BTreeMap::new();
        let files = self.read()?;
        let texts = files.iter().map(|file| file.text.clone()).collect();
        for file in files {
            let role = if BUNDLE.contains(&file.name) { "bundle" } else { file.name };
            if let Some(other) = found.insert(role, file) {
                let again = found.get(role).map_or("", |file: &Found| &file.path);
                return Err(format!("{} and {again} both exist; expected only one of them", other.path));
            }
        }
        let mut loaded = match (found.remove("bundle"), found.values().next()) {
            (Some(bundle), None) => self.bundle(&bundle)?,
            (Some(bundle), Some(other)) => {
                return Err(format!(
                    "{} and {} both exist; expected either a bundle or Istio's config, values and mesh",
                    bundle.path, other.path
                ));
            }
            (None, _) => self.istio(&found)?,
        };
        loaded.warnings.extend(self.earlier.compare(texts)?);
        Ok(loaded)
    }

    fn accepted(&self) {
        self.earlier.accept();
    }

    fn files(&self) -> Vec<PathBuf> {
        self.folders.iter().flat_map(|folder| names().map(|name| folder.join(name))).collect()
    }
}

impl Folders {
    /// Files in `folders`; each file may be in any of them. `installation` supplies the settings that Istio's
    /// texts lack; with a bundle, only the revision is compared, unless it is the default one.
    pub fn new(folders: Vec<PathBuf>, installation: Installation) -> Folders {
        Folders { folders, installation, earlier: Earlier::default() }
    }

    fn bundle(&self, found: &Found) -> Result<Loaded, String> {
        let (mesh, warnings) = InjectorConfig::from_bundle(found.source())
            .map_err(|error: config::ConfigError| error.to_string())?;
        let wanted = self.installation.revision.as_str();
        if !["", "default"].contains(&wanted) && mesh.revision() != wanted {
            return Err(format!(
                "{}: found revision {:?}; expected {wanted:?}, the value of --revision",
                found.path,
                mesh.revision()
            ));
        }
        loaded(mesh, &warnings, Cluster::InConfiguration)
    }

    fn istio(&self, found: &BTreeMap<&str, Found>) -> Result<Loaded, String> {
        let [config, values, mesh] = ISTIO.map(|name| {
            // A missing text is more often lost than intentionally empty, and pods injected without it differ.
            let found = found.get(name).ok_or_else(|| self.missing(name, found.is_empty()))?;
            // So is an empty one: a file is empty between its truncation and its first byte.
            found.source().given().map_err(|error| error.to_string())
        });
        let (mesh, warnings) = InjectorConfig::from_config_map(config?, values?, mesh?, self.of_istio())
            .map_err(|error| error.to_string())?;
        loaded(mesh, &warnings, Cluster::Unknown)
    }

    fn missing(&self, name: &str, nothing: bool) -> String {
        let folders: Vec<_> = self.folders.iter().map(|folder| folder.display().to_string()).collect();
        let folders = folders.join(", ");
        if nothing {
            return format!(
                "{folders}: found none of the files bundle, config, values and mesh; expected a bundle, or Istio's \
                 config, values and mesh"
            );
        }
        format!(
            "{folders}: found no file {name}; expected Istio's config, values and mesh, with {{}} for an empty one"
        )
    }

    fn of_istio(&self) -> config::Installation {
        let Installation { revision, compat, platform, native_sidecars, compliance_policy, env } =
            self.installation.clone();
        config::Installation {
            revision,
            compat,
            platform,
            native_sidecars,
            compliance_policy,
            env,
            absent: Absent::AsInIstio,
            ..config::Installation::default()
        }
    }

    /// The existing files, with each volume as it was at one moment.
    fn read(&self) -> Result<Vec<Found>, String> {
        let mut found = Vec::new();
        for folder in &self.folders {
            let within = folder.clone();
            let read = reading::within_deadline(folder, move || read_folder(&within));
            found.extend(read.map_err(|error| error.to_string())??);
        }
        Ok(found)
    }
}

impl Found {
    fn source(&self) -> config::Source<'_> {
        config::Source { name: &self.path, text: &self.text.text }
    }
}

fn names() -> impl Iterator<Item = &'static str> {
    BUNDLE.into_iter().chain(ISTIO)
}

fn read_folder(folder: &Path) -> Result<Vec<Found>, String> {
    let describe = |error: io::Error| format!("{}: {error}", folder.display());
    if !fs::metadata(folder).map_err(describe)?.is_dir() {
        return Err(format!("{}: found a file; expected a directory", folder.display()));
    }
    for _ in 0..ATTEMPTS {
        let inner = behind(folder);
        let found = read_files(folder, &inner);
        // The kubelet removes the old directory after it has replaced it.
        if behind(folder) == inner {
            return found.map_err(|error| error.to_string());
        }
    }
    Err(format!("{}: the files change faster than they can be read", folder.display()))
}

/// The directory that currently contains the files of a volume, with symlinks resolved.
fn behind(folder: &Path) -> PathBuf {
    fs::canonicalize(folder.join("..data")).unwrap_or_else(|_| folder.to_owned())
}

fn read_files(folder: &Path, inner: &Path) -> Result<Vec<Found>, reading::Error> {
    let mut found = Vec::new();
    for name in names() {
        let (file, path) = (inner.join(name), folder.join(name));
        match reading::read_here(&file, FILE_BYTES).and_then(|whole| text(&file, &path, whole)) {
            Ok(text) => found.push(Found { name, path: path.display().to_string(), text }),
            Err(reading::Error::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::headed::headed;

    fn folders(files: &[&[(&str, &str)]]) -> (tempfile::TempDir, Folders) {
        let root = tempfile::tempdir().unwrap();
        let mut folders = Vec::new();
        for (index, files) in files.iter().enumerate() {
            let folder = root.path().join(format!("dir-{index}"));
            fs::create_dir(&folder).unwrap();
            for (name, text) in *files {
                fs::write(folder.join(name), text).unwrap();
            }
            folders.push(folder);
        }
        let installation = Installation { revision: "default".to_owned(), ..Installation::default() };
        (root, Folders::new(folders, installation))
    }

    fn refused(files: &[&[(&str, &str)]]) -> String {
        let (_root, folders) = folders(files);
        folders.load().err().expect("a refusal")
    }

    const CONFIG: (&str, &str) =
        ("config", "policy: enabled\ntemplates: {sidecar: 'spec: {hostname: {{ .Values.host }}}'}\n");
    const VALUES: (&str, &str) = ("values", "{\"host\": \"h\"}");
    const MESH: (&str, &str) = ("mesh", "{}");

    #[test]
    fn istios_texts_may_stand_in_one_folder_or_two() {
        for files in [&[&[CONFIG, VALUES, MESH][..]][..], &[&[CONFIG, VALUES], &[MESH]]] {
            let (_root, folders) = folders(files);
            assert_eq!(folders.load().unwrap().engine.revision(), "default");
            assert_eq!(folders.files().len(), 5 * files.len());
        }
    }

    // C-11
    #[test]
    fn a_bundle_stands_under_either_name() {
        for name in BUNDLE {
            let (_root, mut folders) = folders(&[&[(name, &headed("revision: canary\n")), ("README", "x")]]);
            assert_eq!(folders.load().unwrap().engine.revision(), "canary");
            folders.installation.revision = "canary".to_owned();
            assert!(folders.load().is_ok());
            folders.installation.revision = "other".to_owned();
            let error = folders.load().err().unwrap();
            assert!(error.contains("found revision \"canary\"; expected \"other\""), "{error}");
        }
    }

    // C-02, C-03
    #[test]
    fn a_text_that_is_missing_is_not_taken_for_empty() {
        for (files, missing) in
            [([CONFIG, VALUES], "mesh"), ([CONFIG, MESH], "values"), ([VALUES, MESH], "config")]
        {
            let text = refused(&[&files]);
            assert!(text.contains(&format!("found no file {missing};")), "{text}");
        }
        assert!(refused(&[&[]]).contains("found none of the files bundle, config, values and mesh"));
    }

    #[test]
    fn a_text_that_is_empty_is_not_taken_for_one_that_says_nothing() {
        for empty in ["", "\n", "# a comment\n---\n", "\u{feff}"] {
            for name in ISTIO {
                let files = [CONFIG, VALUES, MESH]
                    .map(|(file, text)| (file, if file == name { empty } else { text }));
                let text = refused(&[&files]);
                assert!(text.contains(&format!("/{name}: found nothing; expected ")), "{empty:?}: {text}");
            }
            let text = refused(&[&[("bundle", empty)]]);
            assert!(text.contains("/bundle:") && text.contains("found nothing; expected a bundle"), "{text}");
        }
    }

    #[test]
    fn two_configurations_at_once_are_refused() {
        let text = refused(&[&[CONFIG, VALUES, MESH, ("bundle", "")]]);
        assert!(text.contains("bundle and ") && text.contains("both exist"), "{text}");
        assert!(refused(&[&[("bundle", ""), ("bundle.yaml", "")]]).contains("both exist"));
        assert!(refused(&[&[CONFIG, VALUES, MESH], &[MESH]]).contains("dir-1/mesh both exist"));
    }

    // C-07
    #[test]
    fn errors_name_the_file_or_the_folder() {
        let text = refused(&[&[("config", "{"), VALUES, MESH]]);
        assert!(text.contains("dir-0/config:1:2: "), "{text}");
        let large = "x".repeat((8 << 20) + 1);
        let text = refused(&[&[("config", &large), VALUES, MESH]]);
        assert!(text.contains("dir-0/config: found 8388609 bytes"), "{text}");
        let nowhere = Folders::new(vec!["/nonexistent/dir".into()], Installation::default());
        let text = nowhere.load().err().unwrap();
        assert!(text.starts_with("/nonexistent/dir: "), "{text}");
    }

    // T-05: the links in the folder itself are not followed one by one.
    #[test]
    fn all_files_come_from_one_state_of_the_volume() {
        let (root, _) = folders(&[&[]]);
        let volume = root.path().join("dir-0");
        for (state, host) in [("..1", "one"), ("..2", "two")] {
            fs::create_dir(volume.join(state)).unwrap();
            fs::write(volume.join(state).join("config"), format!("# {host}\n{}", CONFIG.1)).unwrap();
            fs::write(volume.join(state).join("values"), VALUES.1).unwrap();
            fs::write(volume.join(state).join("mesh"), MESH.1).unwrap();
        }
        std::os::unix::fs::symlink("..2", volume.join("..data")).unwrap();
        // Stale links in the directory, as between two steps of the kubelet.
        for name in ISTIO {
            std::os::unix::fs::symlink(format!("..1/{name}"), volume.join(name)).unwrap();
        }
        let found = read_folder(&volume).unwrap();
        assert_eq!(found.len(), 3);
        let config = fs::read_to_string(volume.join("..2/config")).unwrap();
        assert!(found.iter().any(|file| file.text.text == config && file.path.ends_with("dir-0/config")));
    }
}
