//! The three parts of a server that are read from files: the configuration, the serving certificate, and the
//! credentials of client authentication.

use std::{path::PathBuf, sync::Arc};

use crate::server::client_auth::ClientAuth;
use crate::server::configuration::active::{Configuration, Unread};
use crate::server::configuration::source::Source;
use crate::server::reload::{Files, Part};
use crate::server::tls::{self, CertificateStore};

/// The configuration. One from the cluster has no files and is not reloaded.
pub(crate) struct ConfigurationFiles {
    source: Option<Arc<dyn Source>>,
    configuration: Arc<Configuration>,
    files: Arc<Files>,
}

/// The serving certificate. One that was created here has no files and is not reloaded.
pub(crate) struct CertificateFiles {
    origin: Option<tls::Origin>,
    certificate: Arc<CertificateStore>,
    files: Arc<Files>,
}

/// The client CA and tokens; a CA in a ConfigMap is watched instead.
pub(crate) struct ClientAuthFiles {
    auth: Option<Arc<ClientAuth>>,
    files: Arc<Files>,
}

fn seen(paths: Vec<PathBuf>) -> Arc<Files> {
    Arc::new(Files::new(paths))
}

impl ConfigurationFiles {
    /// Loads the configuration for the first time, if it is in files.
    ///
    /// # Errors
    /// When it is rejected.
    pub(crate) fn start(
        source: Option<Arc<dyn Source>>,
        configuration: Arc<Configuration>,
    ) -> Result<Arc<ConfigurationFiles>, Unread> {
        let files = seen(source.as_ref().map(|source| source.files()).unwrap_or_default());
        if let Some(source) = &source {
            // Writers are unknown until files are watched.
            configuration.read(source.as_ref(), || None)?;
        }
        Ok(Arc::new(ConfigurationFiles { source, configuration, files }))
    }
}

impl CertificateFiles {
    /// Loads or creates the certificate for the first time, if it does not come from the cluster.
    ///
    /// # Errors
    /// When it is rejected.
    pub(crate) fn start(
        origin: Option<tls::Origin>,
        certificate: Arc<CertificateStore>,
    ) -> Result<Arc<CertificateFiles>, tls::Error> {
        let files = seen(match &origin {
            Some(tls::Origin::Files { chain, key }) => vec![chain.clone(), key.clone()],
            _ => Vec::new(),
        });
        if let Some(origin) = &origin {
            certificate.read(origin, || None)?;
        }
        Ok(Arc::new(CertificateFiles { origin, certificate, files }))
    }
}

impl ClientAuthFiles {
    /// `auth` has read these files after their state was recorded.
    pub(crate) fn new(files: Arc<Files>, auth: Option<Arc<ClientAuth>>) -> Arc<ClientAuthFiles> {
        Arc::new(ClientAuthFiles { auth, files })
    }
}

impl Part for ConfigurationFiles {
    /// The generation.
    type Read = u64;

    fn name(&self) -> &'static str {
        "configuration"
    }

    fn files(&self) -> &Arc<Files> {
        &self.files
    }

    fn read(&self) -> Result<u64, String> {
        let Some(source) = &self.source else {
            return Ok(self.configuration.current().map_or(0, |active| active.generation));
        };
        let read = self.configuration.read(source.as_ref(), || self.files.being_written());
        self.files.taken(read.is_ok());
        if let Err(Unread::Busy(_)) = &read {
            self.files.forget();
        }
        read.map_err(|unread| unread.to_string())
    }

    fn cut_off(&self, error: &str) {
        self.configuration.refused(error);
    }
}

impl Part for CertificateFiles {
    type Read = ();

    fn name(&self) -> &'static str {
        "certificate"
    }

    fn files(&self) -> &Arc<Files> {
        &self.files
    }

    fn read(&self) -> Result<(), String> {
        let Some(origin @ tls::Origin::Files { .. }) = &self.origin else { return Ok(()) };
        let read = self.certificate.read(origin, || self.files.being_written());
        self.files.taken(read.is_ok());
        if let Err(tls::Error::Busy(_)) = &read {
            self.files.forget();
        }
        read.map_err(|error| error.to_string())
    }

    fn cut_off(&self, error: &str) {
        self.certificate.refused(error);
    }

    /// A certificate that was not valid yet is read again when it becomes valid.
    fn is_due(&self, now: i64) -> bool {
        self.certificate.is_due(now)
    }
}

impl Part for ClientAuthFiles {
    type Read = ();

    fn name(&self) -> &'static str {
        "client auth"
    }

    fn files(&self) -> &Arc<Files> {
        &self.files
    }

    fn read(&self) -> Result<(), String> {
        let Some(auth) = &self.auth else { return Ok(()) };
        let read = auth.read();
        self.files.taken(read.is_ok());
        read.map_err(|error| error.to_string())
    }

    fn cut_off(&self, error: &str) {
        if let Some(auth) = &self.auth {
            auth.refused_ca(error);
        }
    }
}
