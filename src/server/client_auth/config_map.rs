//! The ConfigMap with the client CA, watched by name. A rejected CA keeps the last good one in effect.

use std::sync::Arc;

use kube::Client;

use crate::server::client_auth::{ClientAuth, ConfigMapKey};
use crate::server::configuration::cluster::config_maps;
use crate::server::configuration::cluster::config_maps::ConfigMap;
use crate::server::kube::Timings;
use crate::server::kube::metrics::Watches;
use crate::server::kube::watch::{Keeper, Watcher};
use crate::server::readiness::Readiness;
use crate::server::shutdown::{Phase, Watch};
use crate::server::supervise::Supervisor;

/// Key of the watch, and name of its gate.
const KEY: &str = "configmap-client-ca";

/// Follows the client CA.
struct ClientCaKeeper {
    auth: Arc<ClientAuth>,
    of: ConfigMapKey,
    /// The resource version and the text of the key, if the object exists.
    found: Option<(String, Option<String>)>,
    /// Whether the list being read contains it.
    listed: bool,
    /// The state that was reported last.
    told: Option<Option<String>>,
}

/// Starts the watch, which runs until the server stops. Its gate exists when this returns.
pub(crate) fn follow(
    client: Client,
    of: &ConfigMapKey,
    auth: &Arc<ClientAuth>,
    readiness: &Readiness,
    watches: &Watches,
    supervisor: Supervisor,
    phase: Watch,
) {
    let watched = config_maps::watched(&of.namespace, &of.name);
    let gate = readiness.gate(KEY, &format!("{} not listed yet", watched.target));
    if !auth.refuses() {
        // A failing watch is only a note then, because no client is rejected for it.
        gate.open_with("", gate.state().problem);
    }
    watches.started(KEY);
    let timings = Timings::default();
    let watcher = Watcher { client, watched, timings, key: KEY, metrics: watches.clone(), gate };
    let (auth, of) = (auth.clone(), of.clone());
    tokio::spawn(async move {
        let begin = || watcher.clone().run(ClientCaKeeper::new(auth.clone(), of.clone()));
        tokio::select! {
            () = supervisor.keep("client CA watch", begin) => {}
            () = phase.reached(Phase::Stopped) => {}
        }
    });
}

impl ClientCaKeeper {
    fn new(auth: Arc<ClientAuth>, of: ConfigMapKey) -> ClientCaKeeper {
        ClientCaKeeper { auth, of, found: None, listed: false, told: None }
    }
}

impl Keeper for ClientCaKeeper {
    type Object = ConfigMap;

    fn begin(&mut self) {
        self.listed = false;
    }

    fn put(&mut self, object: ConfigMap) {
        let (version, text) = object.take(&self.of.key);
        self.found = Some((version, text));
        self.listed = true;
    }

    fn remove(&mut self, _: ConfigMap) {
        self.found = None;
    }

    fn complete(&mut self) {
        if !self.listed {
            self.found = None;
        }
        self.settle();
    }

    fn settle(&mut self) {
        let text = self.found.as_ref().and_then(|(_, text)| text.clone());
        if self.told.as_ref() == Some(&text) {
            return;
        }
        let place = self.of.to_string();
        match &text {
            // A rejected CA is logged and counted there.
            Some(text) => drop(self.auth.install_ca(text.as_bytes(), &place)),
            None if self.found.is_some() => {
                self.auth.refused_ca(&format!("{place}: the ConfigMap has no such key"));
            }
            None => self.auth.refused_ca(&format!("{place}: the ConfigMap does not exist")),
        }
        self.told = Some(text);
    }

    fn detail(&self) -> String {
        let version = self.found.as_ref().map(|(version, _)| version);
        version.map_or_else(String::new, |version| format!("resource version {version}"))
    }

    fn remark(&self) -> Option<String> {
        self.found.is_none().then(|| "the ConfigMap does not exist".to_owned())
    }
}
