//! Istio's MeshConfig and ProxyConfig: decoding as Istio does, defaults, precedence, canonical JSON.
//!
//! Both stay JSON; the tables of [`gotypes`] say what their fields are. Templates print them and the configuration
//! holds them, so this module stands below both and knows neither.

pub mod duration;
pub mod gotypes;
pub mod mesh;
pub mod proto;
pub mod proxy;
