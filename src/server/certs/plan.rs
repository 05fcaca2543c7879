//! What is to be done about the CA and the certificate, and when to look again. Pure: the clock is an argument.
//!
//! The one rule behind all of it: a certificate is served only after every webhook configuration has trusted its CA for
//! the time of the overlap, and a CA leaves the trust only when no certificate of it has been served for as long.

use std::fmt;

use super::super::tls::chain::Validity;

#[cfg(test)]
mod tests;

/// T-02: how far certificates are backdated, for API servers whose clocks are behind.
pub(crate) const BACKDATED: i64 = 300;
/// The longest time without looking, so that a clock that jumps is noticed (L-10).
pub(crate) const LONGEST: i64 = 60;
/// How far ahead a time may lie before it is the mark of a clock that was wrong.
const CLOCKS_DIFFER: i64 = 5;
/// Renewals are spread over this part of the life before two thirds of it.
const SPREAD: f64 = 0.05;

/// Lifetimes in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CertificatePolicy {
    pub(crate) ca_lifetime: i64,
    pub(crate) leaf_lifetime: i64,
    /// How long a new CA is trusted before leaves move to it, and an old one after they have.
    pub(crate) overlap: i64,
}

/// What the Secret says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// The CAs that are trusted.
    pub(crate) trusted: Vec<Validity>,
    /// Which of them signs: the one whose key is there.
    pub(crate) signer: Option<usize>,
    /// Which of them signs next, if its key is there.
    pub(crate) next: Option<usize>,
    /// The certificate, if it can be served.
    pub(crate) leaf: Option<Leaf>,
    /// Where a rotation of the CA stands.
    pub(crate) rotation: Option<Rotation>,
    /// What somebody asks for.
    pub(crate) demand: Option<Demand>,
}

/// A certificate with its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leaf {
    pub(crate) validity: Validity,
    /// Which of the trusted CAs issued it.
    pub(crate) issuer: Option<usize>,
    /// Whether it is for the names it should be for.
    pub(crate) named: bool,
}

/// A rotation of the CA and since when it is where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rotation {
    pub(crate) phase: Phase,
    pub(crate) since: Option<i64>,
}

/// A phase of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// A new CA is trusted; leaves are the old one's. Its time counts from when all webhook configurations had it.
    Introducing,
    /// Leaves are the new CA's; the old one is still trusted.
    Retiring,
}

/// What somebody asks for with an annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    /// A new leaf.
    Leaf,
    /// A new CA.
    Ca,
    /// Something we do not know.
    Unknown,
}

/// Whether the webhook configurations carry the next CA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Propagation {
    /// All of them do.
    pub(crate) now: bool,
    /// When one of them was last seen without.
    pub(crate) lost: Option<i64>,
}

/// What there is to know besides the Secret.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Observed {
    /// Seconds since 1970.
    pub(crate) now: i64,
    /// From 0 to 1: how early within the spread renewals are.
    pub(crate) jitter: f64,
    pub(crate) carried: Propagation,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// All is well, or nothing can be done yet.
    Nothing,
    /// A new leaf from the CA that signs.
    IssueLeaf(Why),
    /// A next CA joins the trust.
    BeginRotation(Why),
    /// All webhook configurations carry the next CA: its time counts from now.
    Confirm,
    /// The next CA signs from now on, first of all a leaf.
    MoveLeaves,
    /// A CA that does not sign is trusted: its last time counts from now.
    Retire,
    /// Only the CA that signs stays.
    DropOldCas,
    /// A rotation whose next CA is not there is forgotten.
    Abandon,
    /// A new CA and a leaf from it at once, because nothing there can be served or signed with.
    StartOver(Why),
    /// What is asked for cannot be done.
    Dismiss(Why),
}

/// Why something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// Two thirds of its life are over.
    Due,
    /// Somebody asked.
    Asked,
    /// It is missing or unusable.
    Unusable,
    /// It has ended.
    Expired,
    /// It has not begun: a clock was wrong.
    NotYet,
    /// It is for other names.
    Names,
    /// It is not from the CA that signs.
    Issuer,
    /// A rotation is under way.
    UnderWay,
    /// It is not known.
    Unknown,
}

/// What to do now, and when to look again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) action: Action,
    /// Seconds from now, at least one.
    pub(crate) again: i64,
    /// What a rotation waits for.
    pub(crate) waits: bool,
}

/// What to do with a Secret that is ours.
pub(crate) fn plan(state: &State, terms: &CertificatePolicy, moment: &Observed) -> Plan {
    let planner = Planner { state, terms, moment };
    let mut waits = false;
    let action = planner.action(&mut waits);
    Plan { action, again: planner.again(), waits }
}

/// When a certificate of ours is to be renewed.
pub(crate) fn due(validity: Validity, jitter: f64) -> i64 {
    let (issued, life) = life(validity);
    issued + (life * (2.0 / 3.0 - SPREAD * jitter.clamp(0.0, 1.0))) as i64
}

/// T-01: when a certificate that was not renewed becomes a worry, between its renewal and its end.
pub(crate) fn worrying(validity: Validity) -> i64 {
    let (issued, life) = life(validity);
    issued + (life * 5.0 / 6.0) as i64
}

/// When a certificate was made and how many seconds it is for; the backdating does not count.
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
            return self.without_signer(Why::Unusable, waits);
        };
        if self.moment.now > signer.not_after {
            return self.without_signer(Why::Expired, waits);
        }
        if self.moment.now < signer.not_before {
            return self.without_signer(Why::NotYet, waits);
        }
        if let Some(why) = self.leaf_problem(signer) {
            return Action::IssueLeaf(why);
        }
        match &self.state.demand {
            Some(Demand::Leaf) => return Action::IssueLeaf(Why::Asked),
            Some(Demand::Unknown) => return Action::Dismiss(Why::Unknown),
            Some(Demand::Ca) if self.state.rotation.is_some() => return Action::Dismiss(Why::UnderWay),
            Some(Demand::Ca) | None => {}
        }
        match self.state.rotation {
            Some(Rotation { phase: Phase::Introducing, since }) => {
                self.introducing(since, Some(signer), waits)
            }
            Some(Rotation { phase: Phase::Retiring, since }) => self.retiring(since),
            None if self.state.trusted.len() > 1 => Action::Retire,
            None if self.state.demand == Some(Demand::Ca) => Action::BeginRotation(Why::Asked),
            None if self.moment.now >= due(signer, self.moment.jitter) => Action::BeginRotation(Why::Due),
            None => Action::Nothing,
        }
    }

    /// The CA that signs is gone: its key, or its time.
    fn without_signer(&self, why: Why, waits: &mut bool) -> Action {
        let introducing = match self.state.rotation {
            Some(Rotation { phase: Phase::Introducing, since }) if self.next().is_some() => Some(since),
            _ => None,
        };
        match (self.leaf_works(), introducing) {
            // What is served can go on while a new CA is introduced in an orderly way.
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
        // Waiting for longer than the old CA lives helps nobody.
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

    /// Whether an API server accepts the certificate that is there.
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

    fn leaf_problem(&self, signer: Validity) -> Option<Why> {
        let Some(leaf) = self.state.leaf else { return Some(Why::Unusable) };
        let now = self.moment.now;
        if leaf.issuer.is_none() || leaf.issuer != self.state.signer {
            return Some(Why::Issuer);
        }
        if !leaf.named {
            return Some(Why::Names);
        }
        if now > leaf.validity.not_after {
            return Some(Why::Expired);
        }
        if now < leaf.validity.not_before {
            return Some(Why::NotYet);
        }
        // A leaf does not outlive its CA: where it ends with it, another one would not end later.
        let longer = leaf.validity.not_after < signer.not_after;
        (longer && now >= due(leaf.validity, self.moment.jitter)).then_some(Why::Due)
    }

    /// The end of a CA's life in which its leaves are moved whether or not everybody trusts the next one.
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

impl fmt::Display for Why {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Why::Due => "two thirds of its life are over",
            Why::Asked => "it was asked for",
            Why::Unusable => "it is missing or unusable",
            Why::Expired => "it has expired",
            Why::NotYet => "it is not valid yet: a clock was wrong",
            Why::Names => "it is for other names",
            Why::Issuer => "it is not from the CA that signs",
            Why::UnderWay => "a rotation is under way already",
            Why::Unknown => "accepted is leaf or ca",
        })
    }
}
