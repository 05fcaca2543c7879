//! `outrigger ui`: the playground in a browser, served on loopback.

mod router;
mod session;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use clap::Args;

use self::{router::Site, session::Session};
use super::{
    failure::Failure,
    files,
    source::{Purpose, Source},
};
use crate::{pages::playground::Input, server::loopback};

/// Show in a browser what happens to a pod and why: the playground.
///
/// Prints a link that works for one browser, and serves that browser on loopback until the command is interrupted. The
/// page evaluates pods and workloads with the engine of the webhook: the decision rule by rule, the resulting pod with
/// what wrote each line, warnings, the JSON patch. Nothing is stored, and nothing is sent anywhere but to this process.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  outrigger ui
  outrigger ui --bundle bundle.yaml
  outrigger ui --from-cluster --port 7070")]
pub(super) struct Ui {
    /// Port on loopback [default: a free one]
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    port: u16,
    #[command(flatten)]
    source: Source,
}

/// The stack size of an evaluation, equal to that of the server's threads.
const STACK: usize = 8 << 20;

impl Ui {
    pub(super) fn run(self) -> Result<(), Failure> {
        let bundle = self.bundle()?;
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), self.port);
        let socket = loopback::bind(address).map_err(|error| Failure::error(error.to_string()))?;
        let address = socket.local_addr().map_err(|error| Failure::io(error, "cannot listen"))?;
        let session = Session::new(address.port()).map_err(|error| Failure::error(error.to_string()))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .thread_stack_size(STACK)
            .build()
            .map_err(|error| Failure::io(error, "cannot start"))?;
        files::print(&format!("http://{address}{}\n", session.link()))?;
        let site = Site::new(session, Input::start(bundle));
        runtime
            .block_on(loopback::serve(socket, router::router(site)))
            .map_err(|error| Failure::io(error, "cannot listen"))
    }

    /// The configuration that the page starts with; `None` for the embedded defaults.
    fn bundle(&self) -> Result<Option<String>, Failure> {
        if let Some(file) = self.source.bundle_file() {
            // As it was written, with its comments; the page says what is wrong with it.
            return files::read(&file).map(|input| Some(input.text)).map_err(Failure::of_configuration);
        }
        if !self.source.is_cluster() {
            return Ok(None);
        }
        let configured = self.source.load(Purpose::Decide)?;
        Ok(Some(crate::yaml::to_string(&configured.mesh.effective_bundle())))
    }
}
