//! Kubernetes' strategic merge for pods, and the smallest JSON patch between two documents.
//!
//! ```
//! use serde_json::json;
//! use strategic_merge::{merge::{self, Directives}, patch};
//!
//! let pod = json!({"spec": {"containers": [{"name": "app", "image": "app:1"}]}});
//! let overlay = json!({"spec": {"containers": [{"name": "proxy", "image": "proxy:1"}, {"name": "app", "tty": true}]}});
//!
//! // Containers are merged by name.
//! let merged = merge::pod(pod.clone(), &overlay, Directives::Honor)?;
//! assert_eq!(merged["spec"]["containers"].as_array().map(Vec::len), Some(2));
//!
//! // The patch contains only the additions, and is verified to result in the merged pod.
//! let operations = patch::diff(&pod, &merged);
//! patch::verify(&pod, &operations, &merged)?;
//! assert!(patch::to_json(&operations).contains(r#""proxy:1""#));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod merge;
pub mod patch;
pub mod place;
