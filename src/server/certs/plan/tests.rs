use super::*;

const DAY: i64 = 86_400;
const NOW: i64 = 1_800_000_000;
const TERMS: CertificatePolicy =
    CertificatePolicy { ca_lifetime: 365 * DAY, leaf_lifetime: 30 * DAY, overlap: 600 };

/// A certificate issued at a time for a lifetime, as `issue` does it.
fn made(at: i64, lifetime: i64) -> Validity {
    Validity { not_before: at - BACKDATED, not_after: at + lifetime }
}

fn leaf(at: i64, issuer: usize) -> Option<Leaf> {
    Some(Leaf { validity: made(at, TERMS.leaf_lifetime), issuer: Some(issuer), named: true })
}

/// A CA and a certificate issued by it, both created now.
fn fresh() -> State {
    State {
        trusted: vec![made(NOW, TERMS.ca_lifetime)],
        signer: Some(0),
        leaf: leaf(NOW, 0),
        ..State::default()
    }
}

/// A rotation whose next CA was just added.
fn introducing(since: Option<i64>) -> State {
    State {
        trusted: vec![made(NOW - 250 * DAY, TERMS.ca_lifetime), made(NOW, TERMS.ca_lifetime)],
        signer: Some(0),
        next: Some(1),
        leaf: leaf(NOW, 0),
        rotation: Some(Rotation { phase: Phase::Introducing, since }),
        demand: None,
    }
}

fn retiring(since: Option<i64>) -> State {
    State {
        trusted: vec![made(NOW - 250 * DAY, TERMS.ca_lifetime), made(NOW, TERMS.ca_lifetime)],
        signer: Some(1),
        leaf: leaf(NOW, 1),
        rotation: Some(Rotation { phase: Phase::Retiring, since }),
        ..State::default()
    }
}

fn at(now: i64) -> Observed {
    Observed { now, jitter: 0.0, carried: Propagation { now: true, lost: None } }
}

fn action(state: &State, moment: &Observed) -> Action {
    plan(state, &TERMS, moment).action
}

#[test]
fn nothing_is_done_while_all_is_well() {
    let plan = plan(&fresh(), &TERMS, &at(NOW));
    assert_eq!((plan.action, plan.again), (Action::Nothing, LONGEST));
}

#[test]
fn a_leaf_is_renewed_after_two_thirds_of_its_life() {
    assert_eq!(action(&fresh(), &at(NOW + 20 * DAY - 1)), Action::Nothing);
    assert_eq!(action(&fresh(), &at(NOW + 20 * DAY)), Action::IssueLeaf(StepReason::Due));
    // The jitter makes a renewal earlier, never later.
    let early = Observed { jitter: 1.0, ..at(NOW + 18 * DAY + DAY / 2) };
    assert_eq!(action(&fresh(), &early), Action::IssueLeaf(StepReason::Due));
    assert_eq!(plan(&fresh(), &TERMS, &at(NOW + 20 * DAY - 7)).again, 7);
}

#[test]
fn short_lives_are_counted_without_the_backdating() {
    let leaf = made(NOW, 12);
    assert_eq!(due(leaf, 0.0), NOW + 8);
    assert_eq!(warn_from(leaf), NOW + 10);
    // A foreign certificate may be valid for less time than ours are backdated.
    assert_eq!(due(Validity { not_before: NOW, not_after: NOW + 60 }, 0.0), NOW + 40);
}

#[test]
fn a_certificate_that_lives_as_long_as_ours_are_backdated_is_counted_from_its_start() {
    let brief = Validity { not_before: NOW, not_after: NOW + BACKDATED };
    assert_eq!((due(brief, 0.0), warn_from(brief)), (NOW + 200, NOW + 250));
}

#[test]
fn the_last_second_of_a_validity_counts() {
    let end = NOW + TERMS.leaf_lifetime;
    assert_eq!(action(&fresh(), &at(end)), Action::IssueLeaf(StepReason::Due));
    assert_eq!(action(&fresh(), &at(end + 1)), Action::IssueLeaf(StepReason::Expired));
    let mut last = fresh();
    last.leaf.as_mut().unwrap().validity.not_after = last.trusted[0].not_after;
    assert_eq!(action(&last, &at(NOW + TERMS.ca_lifetime)), Action::BeginRotation(StepReason::Due));
    assert_eq!(action(&last, &at(NOW + TERMS.ca_lifetime + 1)), Action::StartOver(StepReason::Expired));
}

#[test]
fn a_leaf_that_cannot_be_served_is_replaced() {
    let with = |leaf| State { leaf, ..fresh() };
    assert_eq!(action(&with(None), &at(NOW)), Action::IssueLeaf(StepReason::Unusable));
    let mut other = fresh();
    other.leaf.as_mut().unwrap().named = false;
    assert_eq!(action(&other, &at(NOW)), Action::IssueLeaf(StepReason::Names));
    other.leaf.as_mut().unwrap().issuer = None;
    assert_eq!(action(&other, &at(NOW)), Action::IssueLeaf(StepReason::Issuer));
    assert_eq!(action(&fresh(), &at(NOW + 31 * DAY)), Action::IssueLeaf(StepReason::Expired));
}

#[test]
fn a_ca_is_rotated_after_two_thirds_of_its_life() {
    let mut old = fresh();
    let now = NOW + TERMS.ca_lifetime * 2 / 3;
    old.leaf = leaf(now, 0);
    assert_eq!(action(&old, &at(now - 1)), Action::Nothing);
    assert_eq!(action(&old, &at(now + 1)), Action::BeginRotation(StepReason::Due));
}

// T-06
#[test]
fn leaves_move_only_after_every_configuration_had_the_new_ca_for_the_overlap() {
    let lacking = Observed { carried: Propagation { now: false, lost: Some(NOW) }, ..at(NOW) };
    let waiting = plan(&introducing(None), &TERMS, &lacking);
    assert_eq!((waiting.action, waiting.waits), (Action::Nothing, true));
    assert_eq!(action(&introducing(None), &at(NOW)), Action::Confirm);
    assert_eq!(action(&introducing(Some(NOW)), &at(NOW + 599)), Action::Nothing);
    assert_eq!(plan(&introducing(Some(NOW)), &TERMS, &at(NOW + 590)).again, 10);
    assert_eq!(action(&introducing(Some(NOW)), &at(NOW + 600)), Action::MoveLeaves);
}

// T-06, T-07
#[test]
fn a_configuration_that_was_seen_without_the_new_ca_starts_the_overlap_again() {
    let lost = |lost, now| Observed { carried: Propagation { now: true, lost: Some(lost) }, ..at(now) };
    assert_eq!(action(&introducing(Some(NOW)), &lost(NOW + 300, NOW + 700)), Action::Confirm);
    assert_eq!(action(&introducing(Some(NOW)), &lost(NOW - 1, NOW + 700)), Action::MoveLeaves);
    let gone = Observed { carried: Propagation { now: false, lost: Some(NOW + 700) }, ..at(NOW + 700) };
    assert_eq!(action(&introducing(Some(NOW)), &gone), Action::Nothing);
}

#[test]
fn an_old_ca_that_is_about_to_end_is_not_waited_for() {
    let mut state = introducing(None);
    state.trusted[0] = made(NOW - TERMS.ca_lifetime + 500, TERMS.ca_lifetime);
    state.leaf.as_mut().unwrap().validity.not_after = state.trusted[0].not_after;
    let lacking = Observed { carried: Propagation { now: false, lost: Some(NOW) }, ..at(NOW) };
    assert_eq!(action(&state, &lacking), Action::MoveLeaves);
}

#[test]
fn a_ca_with_a_short_life_is_waited_for_until_its_last_twentieth() {
    let mut state = introducing(None);
    state.trusted[0] = made(NOW - 1000, 2000);
    state.leaf.as_mut().unwrap().validity = state.trusted[0];
    let lacking = |now| Observed { carried: Propagation { now: false, lost: Some(NOW) }, ..at(now) };
    assert_eq!(action(&state, &lacking(NOW + 899)), Action::Nothing);
    assert_eq!(action(&state, &lacking(NOW + 900)), Action::MoveLeaves);
}

#[test]
fn the_plan_is_made_again_when_the_next_thing_can_happen() {
    // Every deadline has passed, except the expiry of CA and leaf.
    let mut state = fresh();
    state.trusted[0] = made(NOW - TERMS.ca_lifetime, TERMS.ca_lifetime + 50);
    state.leaf.as_mut().unwrap().validity = state.trusted[0];
    assert_eq!(plan(&state, &TERMS, &at(NOW)).again, 51);
    assert_eq!(plan(&state, &TERMS, &at(NOW + 50)).again, 1);
    // In 40 seconds, the CA enters the part of its life in which nothing waits for the next CA.
    state.trusted[0] = made(NOW - TERMS.ca_lifetime, TERMS.ca_lifetime + TERMS.overlap + 40);
    state.leaf.as_mut().unwrap().validity = state.trusted[0];
    assert_eq!(plan(&state, &TERMS, &at(NOW)).again, 40);
}

#[test]
fn the_old_ca_leaves_after_the_overlap() {
    assert_eq!(action(&retiring(Some(NOW)), &at(NOW + 599)), Action::Nothing);
    assert_eq!(action(&retiring(Some(NOW)), &at(NOW + 600)), Action::DropOldCas);
}

#[test]
fn a_leaf_of_the_old_ca_is_replaced_before_that_ca_leaves() {
    let mut state = retiring(Some(NOW));
    state.leaf = leaf(NOW, 0);
    assert_eq!(action(&state, &at(NOW + 600)), Action::IssueLeaf(StepReason::Issuer));
}

#[test]
fn leaves_are_renewed_during_a_rotation_too() {
    let now = NOW + 21 * DAY;
    let lacking = Observed { carried: Propagation { now: false, lost: Some(now) }, ..at(now) };
    assert_eq!(action(&introducing(None), &lacking), Action::IssueLeaf(StepReason::Due));
}

#[test]
fn a_ca_that_does_not_sign_is_retired_in_an_orderly_way() {
    let mut state = retiring(None);
    state.rotation = None;
    assert_eq!(action(&state, &at(NOW)), Action::Retire);
    assert_eq!(action(&retiring(None), &at(NOW)), Action::Retire);
}

#[test]
fn a_rotation_without_its_next_ca_is_given_up() {
    let mut state = introducing(Some(NOW));
    state.next = None;
    assert_eq!(action(&state, &at(NOW + 601)), Action::Abandon);
    // The same applies if the next CA has expired.
    let mut state = introducing(Some(NOW));
    state.trusted[1] = made(NOW - 10 * DAY, DAY);
    assert_eq!(action(&state, &at(NOW + 601)), Action::Abandon);
}

#[test]
fn what_is_asked_for_is_done_once_there_is_time() {
    let with = |state: State, demand| State { demand: Some(demand), ..state };
    assert_eq!(action(&with(fresh(), Demand::Leaf), &at(NOW)), Action::IssueLeaf(StepReason::Asked));
    assert_eq!(action(&with(fresh(), Demand::Ca), &at(NOW)), Action::BeginRotation(StepReason::Asked));
    assert_eq!(
        action(&with(introducing(None), Demand::Leaf), &at(NOW)),
        Action::IssueLeaf(StepReason::Asked)
    );
    assert_eq!(action(&with(introducing(None), Demand::Ca), &at(NOW)), Action::Dismiss(StepReason::UnderWay));
    assert_eq!(
        action(&with(retiring(Some(NOW)), Demand::Ca), &at(NOW)),
        Action::Dismiss(StepReason::UnderWay)
    );
    assert_eq!(action(&with(fresh(), Demand::Unknown), &at(NOW)), Action::Dismiss(StepReason::Unknown));
}

#[test]
fn an_empty_secret_starts_over() {
    assert_eq!(action(&State::default(), &at(NOW)), Action::StartOver(StepReason::Unusable));
}

#[test]
fn a_lost_key_of_the_ca_costs_no_trust_while_the_leaf_works() {
    let mut state = fresh();
    state.signer = None;
    assert_eq!(action(&state, &at(NOW)), Action::BeginRotation(StepReason::Unusable));
    // A leaf for other names does not work, even if its CA is trusted.
    state.leaf.as_mut().unwrap().named = false;
    assert_eq!(action(&state, &at(NOW)), Action::StartOver(StepReason::Unusable));
    // The rotation continues without the old key.
    let mut state = introducing(None);
    state.signer = None;
    assert_eq!(action(&state, &at(NOW)), Action::Confirm);
    let lacking = Observed { carried: Propagation { now: false, lost: Some(NOW) }, ..at(NOW) };
    assert_eq!(action(&state, &lacking), Action::Nothing);
    state.rotation = Some(Rotation { phase: Phase::Introducing, since: Some(NOW) });
    assert_eq!(action(&state, &at(NOW + 600)), Action::MoveLeaves);
    // Nothing waits for a certificate that does not work.
    state.leaf = None;
    assert_eq!(action(&state, &lacking), Action::MoveLeaves);
    state.next = None;
    assert_eq!(action(&state, &lacking), Action::StartOver(StepReason::Unusable));
}

#[test]
fn reasons_are_words_for_the_log() {
    assert_eq!(StepReason::Due.to_string(), "two thirds of its lifetime have passed");
    assert_eq!(StepReason::Names.to_string(), "it is for other names");
}

// T-01
#[test]
fn when_everything_has_expired_everything_is_made_anew() {
    assert_eq!(action(&fresh(), &at(NOW + 366 * DAY)), Action::StartOver(StepReason::Expired));
    assert_eq!(action(&retiring(Some(NOW)), &at(NOW + 366 * DAY)), Action::StartOver(StepReason::Expired));
}

// L-10
#[test]
fn a_clock_that_was_far_ahead_leaves_nothing_that_is_not_valid_yet() {
    let before = NOW - 3600;
    assert_eq!(action(&fresh(), &at(before)), Action::StartOver(StepReason::NotYet));
    let mut state = fresh();
    state.trusted[0].not_before = before - DAY;
    assert_eq!(action(&state, &at(before)), Action::IssueLeaf(StepReason::NotYet));
    // Nothing happens within the backdating.
    assert_eq!(action(&fresh(), &at(NOW - BACKDATED)), Action::Nothing);
}

// L-10
#[test]
fn times_of_a_rotation_that_lie_ahead_are_set_again() {
    assert_eq!(action(&introducing(Some(NOW + 3600)), &at(NOW)), Action::Confirm);
    assert_eq!(action(&retiring(Some(NOW + 3600)), &at(NOW)), Action::Retire);
    assert_eq!(action(&retiring(Some(NOW + 3)), &at(NOW)), Action::Nothing);
}

#[test]
fn a_leaf_that_ends_with_its_ca_is_not_renewed_again_and_again() {
    let mut state = fresh();
    let now = state.trusted[0].not_after - DAY;
    state.rotation = Some(Rotation { phase: Phase::Introducing, since: None });
    state.trusted.push(made(now, TERMS.ca_lifetime));
    state.next = Some(1);
    state.leaf = Some(Leaf {
        validity: Validity { not_before: now - 20 * DAY, not_after: state.trusted[0].not_after },
        issuer: Some(0),
        named: true,
    });
    let lacking = Observed { carried: Propagation { now: false, lost: Some(now) }, ..at(now) };
    assert_eq!(action(&state, &lacking), Action::Nothing);
}

/// For any content of the Secret and any time, following the plan terminates, with a working certificate. Indices out
/// of range represent half-written Secrets.
#[test]
fn every_state_comes_to_rest_with_a_leaf_that_works() {
    let mut cases = 0;
    let cas = [
        made(NOW, TERMS.ca_lifetime),
        made(NOW - 400 * DAY, TERMS.ca_lifetime),
        made(NOW + DAY, DAY),
        made(NOW, 60),
    ];
    let places = [None, Some(0), Some(1), Some(7)];
    for first in cas {
        for second in [None, Some(cas[0]), Some(cas[1])] {
            for (signer, next, issuer) in triples(&places) {
                for phase in [None, Some(Phase::Introducing), Some(Phase::Retiring)] {
                    for since in [None, Some(NOW - DAY), Some(NOW + DAY)] {
                        let trusted: Vec<_> = [Some(first), second].into_iter().flatten().collect();
                        let state = State {
                            trusted,
                            signer,
                            next,
                            leaf: Some(Leaf { validity: made(NOW, DAY), issuer, named: true }),
                            rotation: phase.map(|phase| Rotation { phase, since }),
                            demand: Some(Demand::Leaf),
                        };
                        comes_to_rest(state);
                        cases += 1;
                    }
                }
            }
        }
    }
    assert_eq!(cases, 4 * 3 * 64 * 9);
}

fn triples<T: Copy>(of: &[T]) -> impl Iterator<Item = (T, T, T)> {
    of.iter().flat_map(move |a| of.iter().flat_map(move |b| of.iter().map(move |c| (*a, *b, *c))))
}

fn comes_to_rest(mut state: State) {
    let begun = state.clone();
    let mut now = NOW;
    let mut steps = 0;
    for _ in 0..40 {
        let plan = plan(&state, &TERMS, &at(now));
        assert!((1..=LONGEST).contains(&plan.again), "{begun:?}: {plan:?}");
        if plan.action == Action::Nothing {
            if state.rotation.is_none() && state.trusted.len() == 1 {
                let leaf = state.leaf.unwrap();
                assert_eq!(leaf.issuer, state.signer, "{begun:?}");
                assert_eq!(leaf.validity.problem(now), None, "{begun:?}");
                return;
            }
            now += TERMS.overlap;
            continue;
        }
        steps += 1;
        state = carried_out(state, plan.action, now);
    }
    panic!("{begun:?} does not come to rest: {state:?} after {steps} steps");
}

/// The effect of `change::carry_out`, without keys.
fn carried_out(mut state: State, action: Action, now: i64) -> State {
    state.demand = None;
    let issue = |state: &mut State| {
        let signer = state.signer.unwrap();
        let not_after = (now + TERMS.leaf_lifetime).min(state.trusted[signer].not_after);
        let validity = Validity { not_before: now - BACKDATED, not_after };
        state.leaf = Some(Leaf { validity, issuer: Some(signer), named: true });
    };
    let rotation = |phase, since| Some(Rotation { phase, since });
    match action {
        Action::Nothing | Action::Dismiss(_) => {}
        Action::IssueLeaf(_) => issue(&mut state),
        Action::BeginRotation(_) => {
            state.trusted.push(made(now, TERMS.ca_lifetime));
            state.next = Some(state.trusted.len() - 1);
            state.rotation = rotation(Phase::Introducing, None);
        }
        Action::Confirm => state.rotation = rotation(Phase::Introducing, Some(now)),
        Action::MoveLeaves => {
            state.signer = state.next.take();
            issue(&mut state);
            state.rotation = rotation(Phase::Retiring, Some(now));
        }
        Action::Retire => state.rotation = rotation(Phase::Retiring, Some(now)),
        Action::DropOldCas => {
            let signer = state.trusted[state.signer.unwrap()];
            state.trusted = vec![signer];
            (state.signer, state.next, state.rotation) = (Some(0), None, None);
            state.leaf.as_mut().unwrap().issuer = Some(0);
        }
        Action::Abandon => (state.next, state.rotation) = (None, None),
        Action::StartOver(_) => {
            state.trusted.retain(|ca| ca.not_after > now);
            state.trusted.push(made(now, TERMS.ca_lifetime));
            (state.signer, state.next) = (Some(state.trusted.len() - 1), None);
            issue(&mut state);
            let others = state.trusted.len() > 1;
            state.rotation = others.then_some(Rotation { phase: Phase::Retiring, since: Some(now) });
        }
    }
    state
}
