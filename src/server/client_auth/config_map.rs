//! The ConfigMap with the CA of callers: watched by its name, and what is refused keeps the last good one.

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

/// Keeps the CA of callers.
struct ClientCaKeeper {
    auth: Arc<ClientAuth>,
    of: ConfigMapKey,
    /// The version and the text of the key, if the object is there.
    found: Option<(String, Option<String>)>,
    /// Whether the list that is being read has it.
    listed: bool,
    /// What was told last.
    told: Option<Option<String>>,
}

/// Starts the watch; it runs until the server stops. Its gate is there when this returns.
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
    let gate = readiness.gate(KEY, &format!("{} were not listed yet", watched.target));
    if !auth.refuses() {
        // A watch that cannot be had is a remark then: nobody is refused for it.
        gate.open_with("", gate.state().problem);
    }
    watches.started(KEY);
    let timings = Timings::default();
    let watcher = Watcher { client, watched, timings, key: KEY, metrics: watches.clone(), gate };
    let (auth, of) = (auth.clone(), of.clone());
    tokio::spawn(async move {
        let begin = || watcher.clone().run(ClientCaKeeper::new(auth.clone(), of.clone()));
        tokio::select! {
            () = supervisor.keep("the CA of callers is watched", begin) => {}
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
            // What is refused is logged and counted there.
            Some(text) => drop(self.auth.install_ca(text.as_bytes(), &place)),
            None if self.found.is_some() => {
                self.auth.refused_ca(&format!("{place}: the ConfigMap has no such key"));
            }
            None => self.auth.refused_ca(&format!("{place}: there is no such ConfigMap")),
        }
        self.told = Some(text);
    }

    fn detail(&self) -> String {
        let version = self.found.as_ref().map(|(version, _)| version);
        version.map_or_else(String::new, |version| format!("resource version {version}"))
    }

    fn remark(&self) -> Option<String> {
        self.found.is_none().then(|| "there is no such ConfigMap".to_owned())
    }
}
