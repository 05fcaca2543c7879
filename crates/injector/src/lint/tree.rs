//! Parts of documents, made and read.

use kubernetes_yaml::{Kind, Mark, Node, Style};

/// The identification of a bundle.
pub(super) fn head(mark: Mark) -> Vec<(Node, Node)> {
    let entry = |key, value| (scalar(key, mark), scalar(value, mark));
    vec![entry("apiVersion", "outrigger.dev/v1alpha1"), entry("kind", "Bundle")]
}

pub(super) fn scalar(text: &str, mark: Mark) -> Node {
    Node { mark, kind: Kind::Scalar { text: text.to_owned(), style: Style::DoubleQuoted, tag: None } }
}

/// The text of a scalar at a path.
pub(super) fn text(tree: &Node, path: &[&str]) -> Option<String> {
    match &tree.at(path)?.kind {
        Kind::Scalar { text, .. } => Some(text.clone()),
        _ => None,
    }
}
