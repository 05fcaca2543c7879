//! Copies from a pod's text the parts that determine whether the pod is injected.
//!
//! A pod that is too large to be injected may not need injection at all. The decision depends on few fields, so it can
//! be made on this outline.

use crate::inject::scan::Scan;

/// The parts of a value that are kept.
enum Keep {
    All,
    /// These fields of an object.
    Fields(&'static [(&'static str, Keep)]),
    /// This part of each element of a list.
    Each(&'static Keep),
}

/// The input of [`decide`](crate::inject::decision::decide), and what identifies the pod for people.
static POD: Keep = Keep::Fields(&[
    ("apiVersion", Keep::All),
    ("kind", Keep::All),
    (
        "metadata",
        Keep::Fields(&[
            ("annotations", Keep::All),
            ("generateName", Keep::All),
            ("labels", Keep::All),
            ("name", Keep::All),
            ("namespace", Keep::All),
            ("ownerReferences", Keep::All),
        ]),
    ),
    (
        "spec",
        Keep::Fields(&[
            ("affinity", Keep::All),
            ("containers", Keep::Each(&CONTAINER)),
            ("ephemeralContainers", Keep::Each(&CONTAINER)),
            ("hostNetwork", Keep::All),
            ("initContainers", Keep::Each(&CONTAINER)),
            ("nodeSelector", Keep::All),
            ("os", Keep::All),
            ("securityContext", Keep::All),
        ]),
    ),
]);
static CONTAINER: Keep = Keep::Fields(&[("name", Keep::All), ("securityContext", Keep::All)]);

/// The pod reduced to the input of a decision; `None` if the text is not JSON or is written in an unusual way.
pub fn outline(text: &str) -> Option<String> {
    let mut out = String::new();
    copy(text, &POD, &mut out)?;
    Some(out)
}

fn copy(text: &str, keep: &Keep, out: &mut String) -> Option<()> {
    match (keep, text.as_bytes().first()?) {
        (Keep::Fields(fields), b'{') => {
            out.push('{');
            let mut is_first = true;
            Scan::new(text).entries(|scan, key| {
                let range = scan.value()?;
                let Some((_, keep)) = fields.iter().find(|(field, _)| *field == key) else { return Some(()) };
                if !std::mem::take(&mut is_first) {
                    out.push(',');
                }
                // Keys of the table need no escaping.
                out.push('"');
                out.push_str(key);
                out.push_str("\":");
                copy(text.get(range)?, keep, out)
            })?;
            out.push('}');
        }
        (Keep::Each(keep), b'[') => {
            out.push('[');
            let mut is_first = true;
            Scan::new(text).elements(|scan| {
                let range = scan.value()?;
                if !std::mem::take(&mut is_first) {
                    out.push(',');
                }
                copy(text.get(range)?, keep, out)
            })?;
            out.push(']');
        }
        _ => out.push_str(text),
    }
    Some(())
}
