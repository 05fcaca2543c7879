//! Istio's built-in defaults, which everything else is laid over.

use std::sync::LazyLock;

use serde_json::{Value, json};

/// Istio's `mesh.DefaultProxyConfig`, canonical.
pub fn proxy_config() -> &'static Value {
    &DEFAULT_PROXY_CONFIG
}

/// Istio's `mesh.DefaultMeshConfig`, canonical.
pub fn mesh_config() -> &'static Value {
    &DEFAULT_MESH_CONFIG
}

static DEFAULT_PROXY_CONFIG: LazyLock<Value> = LazyLock::new(|| {
    json!({
        "binaryPath": "/usr/local/bin/envoy",
        "configPath": "./etc/istio/proxy",
        "controlPlaneAuthPolicy": "MUTUAL_TLS",
        "discoveryAddress": "istiod.istio-system.svc:15012",
        "drainDuration": "45s",
        "proxyAdminPort": 15000,
        "serviceCluster": "istio-proxy",
        "statNameLength": 189,
        "statusPort": 15020,
        "terminationDrainDuration": "5s",
    })
});

static DEFAULT_MESH_CONFIG: LazyLock<Value> = LazyLock::new(|| {
    json!({
        "connectTimeout": "10s",
        "defaultConfig": *DEFAULT_PROXY_CONFIG,
        "defaultDestinationRuleExportTo": ["*"],
        "defaultProviders": {},
        "defaultServiceExportTo": ["*"],
        "defaultVirtualServiceExportTo": ["*"],
        "dnsRefreshRate": "60s",
        "enableAutoMtls": true,
        "enablePrometheusMerge": true,
        "enableTracing": true,
        "extensionProviders": [
            {"name": "prometheus", "prometheus": {}},
            {"name": "stackdriver", "stackdriver": {}},
            {"name": "envoy", "envoyFileAccessLog": {"path": "/dev/stdout"}},
        ],
        "inboundTrafficPolicy": {},
        "ingressClass": "istio",
        "ingressControllerMode": "STRICT",
        "ingressService": "istio-ingressgateway",
        "localityLbSetting": {"enabled": true},
        "outboundTrafficPolicy": {"mode": "ALLOW_ANY"},
        "protocolDetectionTimeout": "0s",
        "proxyInboundListenPort": 15006,
        "proxyListenPort": 15001,
        "rootNamespace": "istio-system",
        "trustDomain": "cluster.local",
    })
});
