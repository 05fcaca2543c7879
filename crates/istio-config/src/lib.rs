//! Istio's MeshConfig and ProxyConfig: decoding as Istio does, defaults, precedence, canonical JSON.
//!
//! Both stay JSON; the tables of [`gotypes`] describe their fields. Both templates and the configuration use this
//! crate, which depends on neither.
//!
//! ```
//! use istio_config::{defaults, mesh};
//! use serde_json::json;
//!
//! let document = json!({"defaultConfig": {"drainDuration": "1m", "concurrency": 2}});
//! let mesh = mesh::apply(&document).strict("mesh")?;
//! assert_eq!(mesh["defaultConfig"]["drainDuration"], "60s");
//! assert_eq!(mesh["trustDomain"], defaults::mesh_config()["trustDomain"]);
//!
//! let typo = mesh::apply(&json!({"enableTracing": "maybe"})).strict("mesh").unwrap_err();
//! assert!(typo.to_string().contains("enableTracing"));
//! # Ok::<(), istio_config::proto::ProtoError>(())
//! ```

pub mod defaults;
pub mod duration;
pub mod gotypes;
pub mod mesh;
pub mod proto;
pub mod proxy;
