//! Plans the next step for the CA and the certificate, and when to plan again. Pure: the clock is an argument.
//!
//! One rule governs all of it: a certificate is served only after every webhook configuration has trusted its CA for
//! the overlap, and a CA stays trusted until no certificate of it has been served for the overlap.

use std::fmt;

use super::super::tls::chain::Validity;

#[cfg(test)]
mod tests;

/// T-02: how far certificates are backdated, for API servers whose clocks are behind.
pub(crate) const BACKDATED: i64 = 300;
/// Maximum time between two plans, so that a clock jump is noticed (L-10).
pub(crate) const LONGEST: i64 = 60;
/// How far in the future a timestamp may lie before it counts as the result of a wrong clock.
const CLOCKS_DIFFER: i64 = 5;
/// Renewals are spread over this fraction of the lifetime before its two-thirds point.
const SPREAD: f64 = 0.05;

/// Lifetimes in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CertificatePolicy {
    pub(crate) ca_lifetime: i64,
    pub(crate) leaf_lifetime: i64,
    /// How long a new CA is trusted before it signs serving certificates, and how long an old CA stays trusted
    /// afterward.
    pub(crate) overlap: i64,
}

/// The content of the Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// The trusted CAs.
    pub(crate) trusted: Vec<Validity>,
    /// Index of the signing CA: the one whose key is present.
    pub(crate) signer: Option<usize>,
    /// Index of the CA that signs next, if its key is present.
    pub(crate) next: Option<usize>,
    /// The certificate, if it can be served.
    pub(crate) leaf: Option<Leaf>,
    /// The state of a CA rotation.
    pub(crate) rotation: Option<Rotation>,
    /// The pending request.
    pub(crate) demand: Option<Demand>,
}

/// A certificate with its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leaf {
    pub(crate) validity: Validity,
    /// Index of the trusted CA that issued it.
    pub(crate) issuer: Option<usize>,
    /// Whether it is for the desired names.
    pub(crate) named: bool,
}

/// A CA rotation: its phase and when the phase started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rotation {
    pub(crate) phase: Phase,
    pub(crate) since: Option<i64>,
}

/// A phase of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// A new CA is trusted, and the old CA signs. The overlap starts when all webhook configurations have the new
    /// one.
    Introducing,
    /// The new CA signs, and the old one is still trusted.
    Retiring,
}

/// A request made with an annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    /// A new serving certificate.
    Leaf,
    /// A new CA.
    Ca,
    /// An unknown value.
    Unknown,
}

/// Whether the webhook configurations contain the next CA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Propagation {
    /// All of them do.
    pub(crate) now: bool,
    /// When one of them last lacked it.
    pub(crate) lost: Option<i64>,
}

/// What the plan depends on besides the Secret.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Observed {
    /// Seconds since 1970.
    pub(crate) now: i64,
    /// From 0 to 1: how early in the spread a renewal happens.
    pub(crate) jitter: f64,
    pub(crate) carried: Propagation,
}

/// The next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Nothing to do, or nothing can be done yet.
    Nothing,
    /// Issue a new certificate from the signing CA.
    IssueLeaf(StepReason),
    /// Add a next CA to the trusted ones.
    BeginRotation(StepReason),
    /// All webhook configurations contain the next CA: start the overlap.
    Confirm,
    /// Let the next CA sign from now on, starting with a new certificate.
    MoveLeaves,
    /// A CA that does not sign is still trusted: start its last overlap.
    Retire,
    /// Remove every CA but the signing one.
    DropOldCas,
    /// Forget a rotation whose next CA is missing.
    Abandon,
    /// Create a new CA and a certificate at once, because no existing one can be served or can sign.
    StartOver(StepReason),
    /// Reject a request that cannot be fulfilled.
    Dismiss(StepReason),
}

/// The reason for a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StepReason {
    /// Two thirds of the lifetime have passed.
    Due,
    /// It was requested.
    Asked,
    /// It is missing or unusable.
    Unusable,
    /// It has expired.
    Expired,
    /// It is not valid yet: a clock was wrong.
    NotYet,
    /// It is for other names.
    Names,
    /// It is not from the signing CA.
    Issuer,
    /// A rotation is in progress.
    UnderWay,
    /// The requested value is unknown.
    Unknown,
}

/// What to do now, and when to plan again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) action: Action,
    /// Seconds from now, at least one.
    pub(crate) again: i64,
    /// What a rotation is waiting for.
    pub(crate) waits: bool,
}

/// The next step for a Secret that is ours.
pub(crate) fn plan(state: &State, terms: &CertificatePolicy, moment: &Observed) -> Plan {
    let planner = Planner { state, terms, moment };
    let mut waits = false;
    let action = planner.action(&mut waits);
    Plan { action, again: planner.again(), waits }
}

/// When to renew a certificate of ours.
pub(crate) fn due(validity: Validity, jitter: f64) -> i64 {
    let (issued, life) = life(validity);
    issued + (life * (2.0 / 3.0 - SPREAD * jitter.clamp(0.0, 1.0))) as i64
}

/// T-01: when to warn about a certificate that was not renewed, between its renewal time and its expiry.
pub(crate) fn warn_from(validity: Validity) -> i64 {
    let (issued, life) = life(validity);
    issued + (life * 5.0 / 6.0) as i64
}

/// When a certificate was issued and its lifetime in seconds, without the backdating.
fn life(validity: Validity) -> (i64, f64) {
    let made = validity.not_before.saturating_add(BACKDATED);
    let issued = if made < validity.not_after { made } else { validity.not_before };
    // Far below 2^52.
    (issued, validity.not_after.saturating_sub(issued).max(0) as f64)
}

struct Planner<'a> {
    state: &'a State,
    terms: &'a CertificatePolicy,
    moment: &'a Observed,
}

impl Planner<'_> {
    fn action(&self, waits: &mut bool) -> Action {
        let Some(signer) = self.state.signer.and_then(|at| self.state.trusted.get(at)).copied() else {
            return self.without_signer(StepReason::Unusable, waits);
        };
        if self.moment.now > signer.not_after {
            return self.without_signer(StepReason::Expired, waits);
        }
        if self.moment.now < signer.not_before {
            return self.without_signer(StepReason::NotYet, waits);
        }
        if let Some(why) = self.leaf_problem(signer) {
            return Action::IssueLeaf(why);
        }
        match &self.state.demand {
            Some(Demand::Leaf) => return Action::IssueLeaf(StepReason::Asked),
            Some(Demand::Unknown) => return Action::Dismiss(StepReason::Unknown),
            Some(Demand::Ca) if self.state.rotation.is_some() => {
                return Action::Dismiss(StepReason::UnderWay);
            }
            Some(Demand::Ca) | None => {}
        }
        match self.state.rotation {
            Some(Rotation { phase: Phase::Introducing, since }) => {
                self.introducing(since, Some(signer), waits)
            }
            Some(Rotation { phase: Phase::Retiring, since }) => self.retiring(since),
            None if self.state.trusted.len() > 1 => Action::Retire,
            None if self.state.demand == Some(Demand::Ca) => Action::BeginRotation(StepReason::Asked),
            None if self.moment.now >= due(signer, self.moment.jitter) => {
                Action::BeginRotation(StepReason::Due)
            }
            None => Action::Nothing,
        }
    }

    /// The signing CA is lost: its key is missing or it has expired.
    fn without_signer(&self, why: StepReason, waits: &mut bool) -> Action {
        let introducing = match self.state.rotation {
            Some(Rotation { phase: Phase::Introducing, since }) if self.next().is_some() => Some(since),
            _ => None,
        };
        match (self.leaf_works(), introducing) {
            // The current certificate can be served while a new CA is introduced with the usual overlap.
            (true, Some(since)) => self.introducing(since, None, waits),
            (true, None) => Action::BeginRotation(why),
            (false, Some(_)) => Action::MoveLeaves,
            (false, None) => Action::StartOver(why),
        }
    }

    fn introducing(&self, since: Option<i64>, signer: Option<Validity>, waits: &mut bool) -> Action {
        if self.next().is_none() {
            return Action::Abandon;
        }
        let Observed { now, carried, .. } = *self.moment;
        // Waiting longer than the old CA lives helps nobody.
        if signer.is_some_and(|signer| now >= signer.not_after - self.margin(signer)) {
            return Action::MoveLeaves;
        }
        let counted = since
            .filter(|since| *since <= now + CLOCKS_DIFFER && carried.lost.is_none_or(|lost| lost <= *since));
        match counted {
            _ if !carried.now => {
                *waits = true;
                Action::Nothing
            }
            None => Action::Confirm,
            Some(since) if now >= since + self.terms.overlap => Action::MoveLeaves,
            Some(_) => Action::Nothing,
        }
    }

    fn retiring(&self, since: Option<i64>) -> Action {
        match since.filter(|since| *since <= self.moment.now + CLOCKS_DIFFER) {
            None => Action::Retire,
            Some(since) if self.moment.now >= since + self.terms.overlap => Action::DropOldCas,
            Some(_) => Action::Nothing,
        }
    }

    /// The next CA, if it is valid.
    fn next(&self) -> Option<Validity> {
        let next = self.state.next.and_then(|at| self.state.trusted.get(at)).copied();
        next.filter(|next| next.problem(self.moment.now).is_none())
    }

    /// Whether an API server accepts the current certificate.
    fn leaf_works(&self) -> bool {
        self.state.leaf.is_some_and(|leaf| {
            leaf.named
                && leaf.validity.problem(self.moment.now).is_none()
                && leaf
                    .issuer
                    .and_then(|at| self.state.trusted.get(at))
                    .is_some_and(|issuer| issuer.problem(self.moment.now).is_none())
        })
    }

    fn leaf_problem(&self, signer: Validity) -> Option<StepReason> {
        let Some(leaf) = self.state.leaf else { return Some(StepReason::Unusable) };
        let now = self.moment.now;
        if leaf.issuer.is_none() || leaf.issuer != self.state.signer {
            return Some(StepReason::Issuer);
        }
        if !leaf.named {
            return Some(StepReason::Names);
        }
        if now > leaf.validity.not_after {
            return Some(StepReason::Expired);
        }
        if now < leaf.validity.not_before {
            return Some(StepReason::NotYet);
        }
        // A certificate does not outlive its CA. If it already ends with the CA, a new one would not end later.
        let longer = leaf.validity.not_after < signer.not_after;
        (longer && now >= due(leaf.validity, self.moment.jitter)).then_some(StepReason::Due)
    }

    /// The last part of a CA's lifetime, in which its certificates are replaced even if the next CA is not trusted
    /// everywhere.
    fn margin(&self, ca: Validity) -> i64 {
        let (_, life) = life(ca);
        self.terms.overlap.min((life / 20.0) as i64)
    }

    fn again(&self) -> i64 {
        let Observed { now, jitter, .. } = *self.moment;
        let mut times = vec![now + LONGEST];
        if let Some(leaf) = self.state.leaf {
            times.extend([due(leaf.validity, jitter), leaf.validity.not_after + 1]);
        }
        if let Some(signer) = self.state.signer.and_then(|at| self.state.trusted.get(at)) {
            times.extend([due(*signer, jitter), signer.not_after - self.margin(*signer)]);
        }
        if let Some(since) = self.state.rotation.and_then(|rotation| rotation.since) {
            times.push(since + self.terms.overlap);
        }
        times.into_iter().filter(|time| *time > now).min().map_or(LONGEST, |time| time - now)
    }
}

impl fmt::Display for StepReason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            StepReason::Due => "two thirds of its lifetime have passed",
            StepReason::Asked => "it was requested",
            StepReason::Unusable => "it is missing or unusable",
            StepReason::Expired => "it has expired",
            StepReason::NotYet => "it is not valid yet: a clock was wrong",
            StepReason::Names => "it is for other names",
            StepReason::Issuer => "it was not issued by the signing CA",
            StepReason::UnderWay => "a rotation is already in progress",
            StepReason::Unknown => "expected leaf or ca",
        })
    }
}
