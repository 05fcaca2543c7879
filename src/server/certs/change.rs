//! Carries out a planned action on a copy of the Secret's content. Creates keys; the clock is an argument.

use super::{
    content::{Content, Private},
    issue,
    plan::{Action, CertificatePolicy, Phase, Rotation},
};

/// The content of the Secret after an action.
///
/// # Errors
/// When a CA or a certificate cannot be created.
pub(crate) fn carry_out(
    content: &Content,
    action: Action,
    names: &[String],
    terms: &CertificatePolicy,
    now: i64,
) -> Result<Content, String> {
    let mut content = content.clone();
    // Any action fulfills the pending request.
    content.demand = None;
    match action {
        Action::Nothing | Action::Dismiss(_) => {}
        Action::IssueLeaf(_) => issue_leaf(&mut content, names, terms, now)?,
        Action::BeginRotation(_) => {
            let made = issue::authority(now, terms.ca_lifetime).map_err(|error| error.to_string())?;
            let at = content.trust(&made)?;
            content.next = Some((at, Private::new(made.key)));
            content.rotation = Some(Rotation { phase: Phase::Introducing, since: None });
        }
        Action::Confirm => {
            content.rotation = Some(Rotation { phase: Phase::Introducing, since: Some(now) });
        }
        Action::MoveLeaves => {
            content.signer = content.next.take();
            issue_leaf(&mut content, names, terms, now)?;
            content.rotation = Some(Rotation { phase: Phase::Retiring, since: Some(now) });
        }
        Action::Retire => content.rotation = Some(Rotation { phase: Phase::Retiring, since: Some(now) }),
        Action::DropOldCas => {
            let signer = content.signer.as_ref().map(|(at, _)| *at);
            content.distrust(|at, _| Some(at) == signer);
            (content.next, content.rotation) = (None, None);
        }
        Action::Abandon => (content.next, content.rotation) = (None, None),
        Action::StartOver(_) => {
            (content.signer, content.next, content.leaf) = (None, None, None);
            // Replicas that still serve a certificate of a trusted CA stay trusted for a while.
            content.distrust(|_, ca| ca.validity.not_after > now);
            let made = issue::authority(now, terms.ca_lifetime).map_err(|error| error.to_string())?;
            let at = content.trust(&made)?;
            content.signer = Some((at, Private::new(made.key)));
            issue_leaf(&mut content, names, terms, now)?;
            let others = content.trusted.len() > 1;
            content.rotation = others.then_some(Rotation { phase: Phase::Retiring, since: Some(now) });
        }
    }
    Ok(content)
}

fn issue_leaf(
    content: &mut Content,
    names: &[String],
    terms: &CertificatePolicy,
    now: i64,
) -> Result<(), String> {
    let signer = content.signer.as_ref().and_then(|(at, key)| Some((content.trusted.get(*at)?, key)));
    let Some((ca, key)) = signer else { return Err("no CA key to sign with".to_owned()) };
    let made = issue::leaf((&ca.der, key.pem()), ca.validity, names, now, terms.leaf_lifetime)
        .map_err(|error| error.to_string())?;
    content.serve(&made)
}
