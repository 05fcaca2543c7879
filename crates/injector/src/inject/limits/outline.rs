//! The parts of a pod that say whether it is injected, copied out of its text.
//!
//! A pod that is too large to be injected may be one that never asked for it: whether it is, a decision says, which looks at
//! little.

use crate::inject::scan::Scan;

/// What is kept of a value.
enum Keep {
    All,
    /// Of an object, these fields.
    Fields(&'static [(&'static str, Keep)]),
    /// Of each element of a list, this.
    Each(&'static Keep),
}

/// What [`decide`](crate::inject::decision::decide) looks at, and what tells people which pod it is.
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

/// The pod with nothing but what a decision looks at; nothing if the text is no JSON or is written in an unusual way.
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
                // A key of the table needs no escape.
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
