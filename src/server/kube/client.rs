//! The API server client, from a kubeconfig or the pod's ServiceAccount.
//!
//! A token file is read again at least once a minute (`kube::client::auth::TokenFile`), so that a rotated token is
//! used long before the old one expires (K-11). A CA file, of a pod's ServiceAccount or a kubeconfig, is read again
//! for each new connection (K-12).

mod http_proxy;

use std::{
    path::PathBuf,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use hyper::{Method, Request, Response};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder},
    config::{KubeConfigOptions, Kubeconfig},
};
use tower::Service;

use crate::server::kube::metrics::KubeApi;

/// The cluster and user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// A kubeconfig; by default `KUBECONFIG`, `~/.kube/config` or the pod's ServiceAccount.
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig; by default the current one.
    pub context: Option<String>,
}

/// Why no client can be created.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kubeconfig is invalid.
    #[error("kubeconfig: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// There is neither a kubeconfig nor a pod's ServiceAccount.
    #[error("found neither a kubeconfig nor a pod's ServiceAccount: {0}")]
    Neither(#[from] kube::config::InferConfigError),
    /// The client cannot be created.
    #[error("cannot create a client for the API server: {0}")]
    Client(#[from] kube::Error),
}

/// Creates a client for a command. It does not connect yet.
///
/// # Errors
/// When there is no usable kubeconfig or ServiceAccount.
pub async fn connect(access: &Access) -> Result<Client, Error> {
    Ok(Client::try_from(config(access).await?)?)
}

/// Creates a client for the server. Its requests are counted and not retried, because the server's loops have their
/// own backoff and report what they wait for. It does not connect yet.
///
/// # Errors
/// When there is no usable kubeconfig or ServiceAccount.
pub(crate) async fn connect_counted(access: &Access, requests: KubeApi) -> Result<Client, Error> {
    counted(config(access).await?, requests)
}

/// [`connect_counted`] for a configuration that was already loaded. The client belongs to the runtime it is created
/// in.
///
/// # Errors
/// When no client can be created from it.
pub(crate) fn counted(mut config: Config, requests: KubeApi) -> Result<Client, Error> {
    config.default_retry = false;
    let count = tower::layer::layer_fn(|inner| Counted { inner, requests: requests.clone() });
    Ok(ClientBuilder::try_from(config)?.with_layer(&count).build())
}

pub(crate) async fn config(access: &Access) -> Result<Config, Error> {
    let choice = KubeConfigOptions { context: access.context.clone(), ..KubeConfigOptions::default() };
    let kubeconfig = match &access.kubeconfig {
        Some(file) => Some(Kubeconfig::read_from(file)?),
        None => Kubeconfig::read().ok(),
    };
    let mut config = match &kubeconfig {
        Some(kubeconfig) if access.kubeconfig.is_some() => {
            Config::from_custom_kubeconfig(kubeconfig.clone(), &choice).await?
        }
        _ if access.context.is_some() => Config::from_kubeconfig(&choice).await?,
        _ => Config::infer().await?,
    };
    // Without a kubeconfig this is a pod, which connects to its API server directly.
    config.proxy_url = kubeconfig.as_ref().and_then(|kubeconfig| {
        let named = http_proxy::named(kubeconfig, access.context.as_deref());
        http_proxy::choose(&config.cluster_url, named, &http_proxy::Environment::read())
    });
    // The library reloads a pod's CA itself, but reads the CA file of a kubeconfig only once.
    if config.root_cert_file.is_none() {
        config.root_cert_file =
            kubeconfig.and_then(|kubeconfig| ca_file(&kubeconfig, access.context.as_deref()));
    }
    Ok(config)
}

/// The CA file of the API server, unless the kubeconfig contains the CA inline, which takes precedence.
fn ca_file(kubeconfig: &Kubeconfig, context: Option<&str>) -> Option<PathBuf> {
    let chosen = context.or(kubeconfig.current_context.as_deref())?;
    let context = kubeconfig.contexts.iter().find(|context| context.name == chosen)?.context.as_ref()?;
    let cluster =
        kubeconfig.clusters.iter().find(|cluster| cluster.name == context.cluster)?.cluster.as_ref()?;
    let file =
        cluster.certificate_authority.as_ref().filter(|_| cluster.certificate_authority_data.is_none())?;
    Some(PathBuf::from(file))
}

/// Counts the requests that pass through.
struct Counted<S> {
    inner: S,
    requests: KubeApi,
}

/// Counts one request when it is answered, fails or is dropped.
struct Count {
    requests: KubeApi,
    verb: &'static str,
    resource: &'static str,
    code: Option<String>,
}

impl Drop for Count {
    fn drop(&mut self) {
        let code = self.code.take().unwrap_or_else(|| "unanswered".to_owned());
        self.requests.asked(self.verb, self.resource, code);
    }
}

impl<S, B> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (verb, resource) =
            asked_for(request.method(), request.uri().path(), request.uri().query().unwrap_or_default());
        let count = Count { requests: self.requests.clone(), verb, resource, code: None };
        let answer = self.inner.call(request);
        Box::pin(async move {
            // Moved as a whole: if the request is dropped, it counts that.
            let mut count = count;
            let answer = answer.await;
            count.code = Some(match &answer {
                Ok(response) => response.status().as_u16().to_string(),
                Err(_) => "error".to_owned(),
            });
            drop(count);
            answer
        })
    }
}

/// Resources that a server like ours uses; all others are `other`.
const RESOURCES: [&str; 10] = [
    "configmaps",
    "events",
    "leases",
    "mutatingwebhookconfigurations",
    "namespaces",
    "nodes",
    "proxyconfigs",
    "secrets",
    "subjectaccessreviews",
    "tokenreviews",
];

/// Verb and resource of a request, as RBAC names them.
fn asked_for(method: &Method, path: &str, query: &str) -> (&'static str, &'static str) {
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    let rest: Vec<&str> = match segments.next() {
        Some("api") => segments.skip(1).collect(),
        Some("apis") => segments.skip(2).collect(),
        _ => Vec::new(),
    };
    let (resource, name) = match rest.as_slice() {
        ["namespaces", _, resource, name @ ..] => (*resource, name.first()),
        [resource, name @ ..] => (*resource, name.first()),
        [] => ("", None),
    };
    let resource = RESOURCES.into_iter().find(|known| *known == resource).unwrap_or("other");
    let watch = query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1"));
    let verb = match *method {
        Method::GET if watch => "watch",
        Method::GET if name.is_none() => "list",
        Method::GET => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "other",
    };
    (verb, resource)
}

#[cfg(test)]
mod tests {
    use super::*;

    // K-12
    #[tokio::test]
    async fn the_ca_of_a_kubeconfig_is_read_again_if_it_is_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let ca = rcgen::KeyPair::generate().unwrap();
        let ca = rcgen::CertificateParams::default().self_signed(&ca).unwrap().pem();
        std::fs::write(folder.path().join("ca.crt"), &ca).unwrap();
        let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &ca);
        let cluster = |name: &str, ca: serde_json::Value| {
            let mut cluster = serde_json::json!({"server": "https://localhost:6443"});
            cluster.as_object_mut().unwrap().extend(ca.as_object().unwrap().clone());
            serde_json::json!({"name": name, "cluster": cluster})
        };
        let context =
            |name: &str| serde_json::json!({"name": name, "context": {"cluster": name, "user": "somebody"}});
        let file = folder.path().join("config");
        let contexts = ["file", "inside", "both"].map(context);
        let kubeconfig = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "file",
            "clusters": [
                cluster("file", serde_json::json!({"certificate-authority": "ca.crt"})),
                cluster("inside", serde_json::json!({"certificate-authority-data": encoded})),
                cluster("both", serde_json::json!({
                    "certificate-authority": "ca.crt", "certificate-authority-data": encoded,
                })),
            ],
            "contexts": contexts,
            "users": [{"name": "somebody", "user": {"token": "t"}}],
        });
        std::fs::write(&file, kubeconfig.to_string()).unwrap();
        let found = async |context: Option<&str>| {
            let access = Access { kubeconfig: Some(file.clone()), context: context.map(ToOwned::to_owned) };
            config(&access).await.unwrap().root_cert_file
        };
        assert_eq!(found(None).await, Some(folder.path().join("ca.crt")));
        assert_eq!(found(Some("file")).await, Some(folder.path().join("ca.crt")));
        assert_eq!(found(Some("inside")).await, None);
        assert_eq!(found(Some("both")).await, None);
    }

    #[test]
    fn requests_are_named_as_rbac_names_them() {
        for (method, target, wanted) in [
            (Method::GET, "/api/v1/nodes?limit=500", ("list", "nodes")),
            (Method::GET, "/api/v1/nodes?watch=true&resourceVersion=1", ("watch", "nodes")),
            (Method::GET, "/api/v1/namespaces", ("list", "namespaces")),
            (Method::GET, "/api/v1/namespaces/shop", ("get", "namespaces")),
            (Method::GET, "/api/v1/namespaces/a/configmaps?fieldSelector=x", ("list", "configmaps")),
            (Method::GET, "/api/v1/namespaces/a/secrets/b", ("get", "secrets")),
            (Method::POST, "/api/v1/namespaces/a/events", ("create", "events")),
            (Method::PATCH, "/apis/coordination.k8s.io/v1/namespaces/a/leases/b", ("patch", "leases")),
            (
                Method::GET,
                "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/x",
                ("get", "mutatingwebhookconfigurations"),
            ),
            (Method::GET, "/apis/networking.istio.io/v1beta1/proxyconfigs", ("list", "proxyconfigs")),
            (Method::GET, "/version", ("list", "other")),
        ] {
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            assert_eq!(asked_for(&method, path, query), wanted, "{target}");
        }
    }
}
