//! Follows the Secret: every replica serves its content, and the leader updates it as `plan` says.
//!
//! The last good content stays in memory. It is served whatever happens to the Secret, and a deleted Secret is
//! restored from it, so that the trusted CAs do not change (T-16).

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt, api::PostParams};
use tokio::{sync::watch, time::Instant};

use crate::server::certs::ca_bundle::{CaBundleStatus, Trust};
use crate::server::certs::change::carry_out;
use crate::server::certs::content::Content;
use crate::server::certs::metrics::CertificateMetrics;
use crate::server::certs::plan::{
    Action, CertificatePolicy, Observed, Plan, Propagation, StepReason, plan, warn_from,
};
use crate::server::certs::repairs::Repairs;
use crate::server::certs::report::{EventType, Reporter};
use crate::server::certs::secret::Reading;
use crate::server::certs::{Options, secret};
use crate::server::jitter;
use crate::server::kube::follow::{Follower, ObjectState};
use crate::server::kube::lease::Clock;
use crate::server::kube::request::{TIMEOUT, Target, call};
use crate::server::tls::CertificateStore;
use crate::server::tls::chain::{date, span};

/// What the reconciler reads and writes besides the Secret.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) certificate: Arc<CertificateStore>,
    pub(crate) metrics: CertificateMetrics,
    pub(crate) clock: Clock,
    pub(crate) leading: watch::Receiver<bool>,
    pub(crate) reporter: Reporter,
    pub(crate) ca_bundles: CaBundleStatus,
    pub(crate) trust: watch::Sender<Option<Arc<Trust>>>,
}

/// Reconciles the Secret.
pub(crate) struct SecretReconciler {
    api: Api<Secret>,
    target: Target,
    options: Options,
    terms: CertificatePolicy,
    jitter: f64,
    around: Context,
    follower: Follower<Secret>,
    /// The last version of the Secret that was read, and its content.
    read: Option<(String, Read)>,
    /// The last content that could be served.
    good: Option<Arc<Content>>,
    /// Since when the Secret has been missing.
    missing: Option<Instant>,
    /// The last error, and when to retry.
    failed: Option<(String, Instant)>,
    failures: u32,
    /// The last action that was written, and when.
    decided: Option<(Action, Instant)>,
    /// How often the content of the Secret was restored.
    restored: Repairs,
    warned: Option<Instant>,
    /// The problem with the watch that was logged last.
    trouble: Option<String>,
    /// Whether a note about failed requests is set.
    troubled: bool,
}

/// The kinds of Secret content.
#[derive(Clone)]
enum Read {
    Foreign,
    Ours(Arc<Content>),
}

/// How long a missing Secret is left to a leader that remembers its content.
const GRACE_KNOWING: Duration = Duration::from_secs(1);
/// How long it is left to any leader.
const GRACE: Duration = Duration::from_secs(3);
/// Pause between failing attempts: doubles from the first to the last.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));
/// Pause between two identical changes, so that repeated changes never become a tight loop.
const SAME: Duration = Duration::from_secs(5);
/// Interval without anything to do.
const IDLE: Duration = Duration::from_secs(60);
/// Interval with a certificate that is about to expire.
const EXPIRY_CHECK: Duration = Duration::from_secs(5);
/// Interval between log lines about a certificate that is about to expire.
const QUIET: Duration = Duration::from_secs(600);
const MANAGER: &str = "outrigger-certificate";

impl SecretReconciler {
    pub(crate) fn new(
        client: Client,
        options: Options,
        terms: CertificatePolicy,
        around: Context,
    ) -> SecretReconciler {
        let api: Api<Secret> = Api::namespaced(client.clone(), &options.namespace);
        let target = Target::namespaced("secrets", &options.namespace, &options.secret);
        let follower = Follower::new(client, target.clone(), Api::namespaced);
        around.certificate.trouble(&format!("waiting for {target}"));
        SecretReconciler {
            api,
            target,
            options,
            terms,
            jitter: jitter::fraction(),
            around,
            follower,
            read: None,
            good: None,
            missing: None,
            failed: None,
            failures: 0,
            decided: None,
            restored: Repairs::default(),
            warned: None,
            trouble: None,
            troubled: false,
        }
    }

    pub(crate) async fn run(mut self) {
        let mut leading = self.around.leading.clone();
        let (_follows, following) = watch::channel(false);
        let mut ca_bundles = self.around.ca_bundles.watch();
        loop {
            let pause = self.turn().await;
            tokio::select! {
                () = self.follower.changed() => {}
                changed = leading.changed() => if changed.is_err() {
                    // The election ends before the server does: keep serving the content of the Secret.
                    self.around.leading = following.clone();
                    leading = following.clone();
                },
                _ = ca_bundles.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Serves the content and takes the next step. Returns the time after which to check again.
    async fn turn(&mut self) -> Duration {
        match self.follower.trouble().map(str::to_owned) {
            Some(trouble) if self.trouble.as_ref() == Some(&trouble) => {}
            Some(trouble) => {
                self.complain(trouble.clone());
                self.trouble = Some(trouble);
            }
            // Applying the content again clears the note.
            None => {
                self.trouble = None;
                if self.failed.is_none() && std::mem::take(&mut self.troubled) {
                    self.read = None;
                }
            }
        }
        let pause = match self.follower.state().clone() {
            ObjectState::Unknown => Duration::from_secs(1),
            ObjectState::Missing => self.make().await,
            ObjectState::Present(secret) => {
                self.missing = None;
                self.take(&secret);
                self.keep(&secret).await
            }
        };
        // A certificate applied in the meantime has cleared the note.
        let failed = self.failed.as_ref().map(|(problem, _)| problem);
        if let Some(problem) = self.trouble.as_ref().or(failed) {
            self.around.certificate.trouble(problem);
        }
        pause.min(self.warn_of_expiry())
    }

    /// Applies the content of the Secret.
    fn take(&mut self, secret: &Secret) {
        let version = secret.resource_version().unwrap_or_default();
        if self.read.as_ref().is_some_and(|(read, _)| *read == version) {
            return;
        }
        let read = match secret::read(secret) {
            Reading::Foreign(why) => {
                let problem = format!("{}: {why}", self.target);
                self.refuse("CertificateSecretForeign", &problem);
                Read::Foreign
            }
            Reading::Ours(content) => {
                let content = Arc::new(*content);
                self.serve(&content);
                Read::Ours(content)
            }
        };
        self.read = Some((version, read));
    }

    fn serve(&mut self, content: &Arc<Content>) {
        let issued = content.leaf.as_ref().and_then(|leaf| Some((leaf, content.trusted.get(leaf.issuer?)?)));
        let Some((leaf, issuer)) = issued else {
            let mut flaws = content.flaws.clone();
            if content.leaf.is_some() {
                flaws.push("tls.crt was not issued by a CA in ca.crt".to_owned());
            }
            let problem = format!("{}: {}", self.target, flaws.join("; "));
            return self.refuse("CertificateSecretBroken", &problem);
        };
        if self.around.certificate.install(leaf.certified.as_ref().clone()).is_err() {
            return;
        }
        self.around.metrics.secret(content.whole());
        if let Some((at, _)) = &content.signer
            && let Some(ca) = content.trusted.get(*at)
        {
            self.around.metrics.ca(ca.validity.not_after);
        }
        let certificates = content.trusted.iter().map(|ca| ca.der.clone()).collect();
        let issuer = issuer.der.clone();
        let trust = Arc::new(Trust { bundle: content.bundle(), certificates, issuer });
        self.around.trust.send_if_modified(|before| {
            let changed = before.as_ref() != Some(&trust);
            *before = Some(trust);
            changed
        });
        if content.whole() {
            self.good = Some(content.clone());
        }
    }

    /// Records that the content of the Secret cannot be served.
    fn refuse(&self, reason: &'static str, problem: &str) {
        self.around.metrics.secret(false);
        self.around.metrics.failed("secret");
        self.around.certificate.refused(problem);
        self.around.reporter.event(EventType::Warning, reason, problem);
    }

    /// Updates an existing Secret, if it is ours and we lead.
    async fn keep(&mut self, secret: &Secret) -> Duration {
        let Some((_, Read::Ours(content))) = self.read.clone() else { return IDLE };
        if !*self.around.leading.borrow() {
            (self.failed, self.failures) = (None, 0);
            return IDLE;
        }
        if let Some(wait) = self.wait() {
            return wait;
        }
        let moment = self.moment(&content);
        let Plan { action, again, waits } = plan(&content.state(&self.options.names), &self.terms, &moment);
        if waits {
            self.say_what_a_rotation_waits_for();
        }
        // Damaged content is restored rather than replaced, so that no client has to trust a new CA.
        let good = self.good.clone().filter(|good| !content.whole() && good.serves(moment.now));
        let (action, wanted) = match (action, good) {
            (Action::Nothing, _) => {
                (self.failed, self.failures) = (None, 0);
                return Duration::from_secs(again.max(1).unsigned_abs());
            }
            (_, Some(good)) => {
                if let Some(delay) = self.restored.delay(Instant::now()) {
                    return delay;
                }
                (Change::Restored, Ok((*good).clone()))
            }
            (action, None) => {
                if let Some(left) = repeated(self.decided, action, Instant::now()) {
                    return left;
                }
                let change = carry_out(&content, action, &self.options.names, &self.terms, moment.now);
                (Change::Planned(action), change)
            }
        };
        let wanted = match wanted {
            Ok(wanted) => wanted,
            Err(problem) => return self.fail(problem),
        };
        let parameters = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let changed = secret::changed(secret, &wanted);
        let request = self.api.replace(&self.options.secret, &parameters, &changed);
        match call("update", &self.target, TIMEOUT, request).await {
            Ok(secret) => self.wrote(action, secret),
            Err(error) if error.is_conflict() || error.is_not_found() => self.look_again().await,
            Err(failure) => self.fail(failure.to_string()),
        }
    }

    /// Creates a missing Secret, from memory if possible. Creating never overwrites, so a replica that waited for a
    /// leader in vain may do it too; all others read back what the first one created (T-18).
    async fn make(&mut self) -> Duration {
        self.read = None;
        self.around.metrics.secret(false);
        let since = *self.missing.get_or_insert_with(Instant::now);
        let grace = if *self.around.leading.borrow() {
            Duration::ZERO
        } else if self.good.is_some() {
            GRACE_KNOWING
        } else {
            GRACE
        };
        let left = jitter::between(1.0, 2.0, grace).saturating_sub(since.elapsed());
        if !left.is_zero() {
            return left;
        }
        if let Some(wait) = self.wait() {
            return wait;
        }
        let now = self.around.clock.now();
        let (action, wanted) = match self.good.clone().filter(|good| good.serves(now)) {
            Some(good) => {
                if let Some(delay) = self.restored.delay(Instant::now()) {
                    return delay;
                }
                (Change::Restored, Ok((*good).clone()))
            }
            None => {
                let empty = Content::default();
                let action = Action::StartOver(StepReason::Unusable);
                (Change::Created, carry_out(&empty, action, &self.options.names, &self.terms, now))
            }
        };
        let wanted = match wanted {
            Ok(wanted) => wanted,
            Err(problem) => return self.fail(problem),
        };
        let secret = secret::fresh(&self.options.namespace, &self.options.secret, &wanted);
        let parameters = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        match call("create", &self.target, TIMEOUT, self.api.create(&parameters, &secret)).await {
            Ok(secret) => self.wrote(action, secret),
            Err(error) if error.is_conflict() => self.look_again().await,
            Err(error) if error.is_not_found() => {
                let namespace = &self.options.namespace;
                self.fail(format!("cannot create {}: namespace {namespace} does not exist", self.target))
            }
            Err(failure) => self.fail(failure.to_string()),
        }
    }

    fn moment(&self, content: &Content) -> Observed {
        let next = content.next.as_ref().and_then(|(at, _)| content.trusted.get(*at));
        let carried = next.map_or_else(Propagation::default, |next| {
            let (now, lost) = self.around.ca_bundles.carried(&next.der);
            Propagation { now, lost }
        });
        Observed { now: self.around.clock.now(), jitter: self.jitter, carried }
    }

    fn wrote(&mut self, change: Change, secret: Secret) -> Duration {
        (self.failed, self.failures) = (None, 0);
        match change {
            Change::Restored => self.restored.note(Instant::now()),
            Change::Planned(action) => self.decided = Some((action, Instant::now())),
            Change::Created => {}
        }
        self.around.metrics.changed(change.key());
        let what = change.to_string();
        tracing::info!(secret = self.options.secret, change = what, "certificate secret written");
        self.around.reporter.happened(change.kind(), change.reason(), &format!("{}: {what}", self.target));
        self.follower.put(Some(secret));
        // There may be more to do.
        Duration::ZERO
    }

    async fn look_again(&mut self) -> Duration {
        match self.follower.look().await {
            Ok(_) => Duration::from_millis(50),
            Err(failure) => self.fail(failure.to_string()),
        }
    }

    fn fail(&mut self, problem: String) -> Duration {
        let pause = jitter::between(0.8, 1.2, (RETRY.0 * 2_u32.pow(self.failures.min(10))).min(RETRY.1));
        self.failures += 1;
        self.failed = Some((problem.clone(), Instant::now() + pause));
        self.complain(problem);
        pause
    }

    /// How long to wait after a failure.
    fn wait(&self) -> Option<Duration> {
        let (_, until) = self.failed.as_ref()?;
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    fn complain(&mut self, problem: String) {
        self.troubled = true;
        self.around.metrics.failed("secret");
        self.around.certificate.trouble(&problem);
        if self.around.reporter.is_new("the secret cannot be maintained", &problem) {
            tracing::warn!(problem, "cannot maintain the certificate secret");
        }
    }

    fn say_what_a_rotation_waits_for(&self) {
        let waits_for = self.around.ca_bundles.problems().join("; ");
        let message = "CA rotation is waiting until all webhook configurations trust the new CA";
        if self.around.reporter.is_new(message, &waits_for) {
            tracing::info!(waits_for, message);
        }
    }

    /// T-01: warns while there is still time if the certificate in use was not renewed. Returns the time after which
    /// to check again.
    fn warn_of_expiry(&mut self) -> Duration {
        let Some(validity) = self.around.certificate.validity() else { return IDLE };
        let (now, warn_from) = (self.around.clock.now(), warn_from(validity));
        if now < warn_from {
            self.warned = None;
            return Duration::from_secs(now.abs_diff(warn_from)).min(IDLE);
        }
        let left = validity.not_after - now;
        let because = self.failed.as_ref().map_or("the leader has not renewed it", |(why, _)| why);
        let on = date(validity.not_after);
        let problem = match left {
            0.. => {
                format!("the certificate expires on {on}, in {}, and was not renewed: {because}", span(left))
            }
            _ => format!(
                "the certificate expired on {on}, {} ago, and was not renewed: {because}",
                span(left.saturating_neg())
            ),
        };
        self.around.certificate.trouble(&problem);
        if self.warned.is_none_or(|when| when.elapsed() >= QUIET) {
            self.warned = Some(Instant::now());
            tracing::error!(seconds_left = left, problem, "certificate is about to expire");
            self.around.reporter.event(EventType::Warning, "CertificateNotRenewed", &problem);
        }
        EXPIRY_CHECK
    }
}

/// How long to delay an action because the same one was just carried out. Explicit requests are not delayed.
fn repeated(decided: Option<(Action, Instant)>, action: Action, now: Instant) -> Option<Duration> {
    let (before, when) = decided?;
    let asked = matches!(
        action,
        Action::IssueLeaf(StepReason::Asked) | Action::BeginRotation(StepReason::Asked) | Action::Dismiss(_)
    );
    let left = (when + SAME).checked_duration_since(now).filter(|left| !left.is_zero());
    left.filter(|_| before == action && !asked)
}

impl Content {
    /// Whether an API server accepts its certificate at a time.
    fn serves(&self, now: i64) -> bool {
        let issuer = |at: Option<usize>| at.and_then(|at| self.trusted.get(at));
        self.leaf.as_ref().is_some_and(|leaf| {
            leaf.validity.problem(now).is_none()
                && issuer(leaf.issuer).is_some_and(|ca| ca.validity.problem(now).is_none())
        })
    }
}

/// A change that was written.
#[derive(Clone, Copy, Debug)]
enum Change {
    Created,
    Restored,
    Planned(Action),
}

impl Change {
    /// The label value in metrics.
    fn key(self) -> &'static str {
        match self {
            Change::Created => "created",
            Change::Restored => "restored",
            Change::Planned(action) => match action {
                Action::IssueLeaf(_) => "leaf",
                Action::BeginRotation(_) => "ca_introduced",
                Action::Confirm => "ca_trusted",
                Action::MoveLeaves => "ca_signs",
                Action::Retire => "ca_retiring",
                Action::DropOldCas => "ca_dropped",
                Action::StartOver(_) => "started_over",
                Action::Abandon | Action::Dismiss(_) | Action::Nothing => "other",
            },
        }
    }

    /// The reason of the Event.
    fn reason(self) -> &'static str {
        match self {
            Change::Created | Change::Planned(Action::IssueLeaf(_)) => "CertificateIssued",
            Change::Restored => "CertificateSecretRestored",
            Change::Planned(Action::StartOver(_)) => "CertificatesStartedOver",
            Change::Planned(Action::Dismiss(_)) => "RotationRefused",
            Change::Planned(_) => "CaRotation",
        }
    }

    fn kind(self) -> EventType {
        match self {
            Change::Restored | Change::Planned(Action::StartOver(_) | Action::Dismiss(_)) => {
                EventType::Warning
            }
            _ => EventType::Normal,
        }
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Change::Created => out.write_str("created a CA and a certificate"),
            Change::Restored => out.write_str("restored its content from memory"),
            Change::Planned(action) => match action {
                Action::Nothing => out.write_str("nothing"),
                Action::IssueLeaf(why) => write!(out, "issued a new certificate: {why}"),
                Action::BeginRotation(why) => write!(out, "added a new CA to the trusted ones: {why}"),
                Action::Confirm => out.write_str("all webhook configurations trust the new CA"),
                Action::MoveLeaves => out.write_str("the new CA now signs and has issued a new certificate"),
                Action::Retire => {
                    out.write_str("the old CA no longer signs and stays trusted for one more overlap")
                }
                Action::DropOldCas => out.write_str("removed the old CA"),
                Action::Abandon => out.write_str("abandoned a rotation whose new CA cannot sign"),
                Action::StartOver(why) => write!(out, "replaced the CA and the certificate at once: {why}"),
                Action::Dismiss(why) => write!(out, "rejected the request: {why}"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_last_is_not_written_again_at_once() {
        let (start, leaf) = (Instant::now(), Action::IssueLeaf(StepReason::Names));
        let decided = Some((leaf, start));
        assert_eq!(repeated(None, leaf, start), None);
        assert_eq!(repeated(decided, leaf, start + SAME / 5), Some(SAME - SAME / 5));
        assert_eq!(repeated(decided, leaf, start + SAME), None);
        assert_eq!(repeated(decided, Action::Confirm, start), None, "something else");
        let asked = Action::IssueLeaf(StepReason::Asked);
        assert_eq!(repeated(Some((asked, start)), asked, start), None, "somebody wants it");
    }
}
