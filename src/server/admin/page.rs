//! The page of a running server (`/ui`): the content of `/readyz?verbose` and `/debug/decisions`, for people. Only
//! clients on loopback can reach it, such as through `kubectl port-forward`, and only if it is turned on.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use hyper::{
    HeaderMap, StatusCode,
    header::{HOST, HeaderName, HeaderValue},
};
use serde_json::Value;

use super::{Admin, Check, View, typed};
use crate::pages::{
    HEADERS, ICON, STYLE,
    running::{self, Running},
};
use crate::server::clock::unix_now;
use crate::server::configuration::active::Configuration;
use crate::server::http::host::is_loopback;
use crate::server::tls::chain::{Validity, date, span};

/// The path of the page.
pub(super) const PATH: &str = "/ui";

/// What the page shows besides the state that the port has anyway.
pub(crate) struct Page {
    pub(crate) configuration: Arc<Configuration>,
    /// Whether the certificate is renewed by an elected replica.
    pub(crate) renews: bool,
}

/// The page, or 404 if it is turned off.
pub(super) async fn show(State(view): State<View>) -> Response {
    match &view.admin.page {
        Some(page) => {
            typed(StatusCode::OK, "text/html; charset=utf-8", running::page(&running_of(&view.admin, page)))
        }
        None => {
            typed(StatusCode::NOT_FOUND, "text/plain", "the page is turned off; start with --admin-page\n")
        }
    }
}

/// Its style sheet.
pub(super) async fn show_style() -> Response {
    typed(StatusCode::OK, STYLE.content_type, STYLE.content)
}

/// Its icon.
pub(super) async fn show_icon() -> Response {
    typed(StatusCode::OK, ICON.content_type, ICON.content)
}

/// Refuses requests for other hosts: a website whose name resolves to 127.0.0.1 could otherwise read the page of a forwarded
/// port (DNS rebinding). Adds the headers of all pages.
pub(super) async fn guard(request: Request, next: Next) -> Response {
    let mut response = if names_loopback(request.headers()) {
        next.run(request).await
    } else {
        let told = "expected localhost, 127.0.0.1 or [::1] as the host\n";
        typed(StatusCode::MISDIRECTED_REQUEST, "text/plain", told)
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

/// Whether the request names this machine as its host. Any port is accepted: it belongs to whatever forwards the
/// request.
fn names_loopback(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next().and_then(|host| host.to_str().ok()), hosts.next()) else {
        return false;
    };
    is_loopback(match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    })
}

fn running_of<'a>(admin: &Admin, page: &Page) -> Running<'a> {
    let now = unix_now();
    let configuration = page.configuration.current().map(|active| running::Configuration {
        source: page.configuration.source(),
        revision: active.engine.revision().to_owned(),
        hash: active.engine.hash().to_owned(),
        generation: active.generation,
        applied: format!("{}, {} ago", date(active.since), span(now - active.since)),
    });
    let problems = admin.certificate.objections(now);
    let certificate =
        admin.certificate.validity().map(|validity| certificate(validity, now, page.renews, problems));
    let decisions =
        admin.decisions.as_ref().map(|decisions| match decisions.to_value(None).get_mut("items") {
            Some(Value::Array(items)) => std::mem::take(items),
            _ => Vec::new(),
        });
    let checks = admin.checks().into_iter().map(checked).collect();
    Running { version: env!("CARGO_PKG_VERSION"), configuration, certificate, checks, decisions }
}

fn checked(check: Check) -> running::Check {
    let Check { name, problem, detail, remark } = check;
    let is_failed = problem.is_some();
    let texts = [problem, remark, Some(detail)].into_iter().flatten().filter(|text| !text.is_empty());
    running::Check { name, is_failed, texts: texts.collect() }
}

fn certificate(validity: Validity, now: i64, renews: bool, problems: Vec<String>) -> running::Certificate {
    let Validity { not_before, not_after } = validity;
    let lifetime = (not_after - not_before).max(1);
    let elapsed = ((now - not_before).clamp(0, lifetime) * 100) / lifetime;
    // As `certs::plan` decides.
    let renewal = not_before + lifetime * 2 / 3;
    let away = |time: i64| match time - now {
        left if left >= 0 => format!("{}, in {}", date(time), span(left)),
        left => format!("{}, {} ago", date(time), span(-left)),
    };
    let mut timeline = vec![("Valid from", away(not_before)), ("Now", date(now))];
    if renews {
        timeline.push(("Renewal due, about", away(renewal)));
    }
    timeline.push(("Valid until", away(not_after)));
    timeline.sort_by_key(|(name, _)| match *name {
        "Valid from" => not_before,
        "Now" => now,
        "Renewal due, about" => renewal,
        _ => not_after,
    });
    running::Certificate { elapsed: u8::try_from(elapsed).unwrap_or(100), timeline, problems }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_hosts_are_not_loopback() {
        let host = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_str(text).unwrap());
            names_loopback(&headers)
        };
        for own in ["localhost", "localhost:8080", "127.0.0.1:1", "[::1]", "[::1]:8080", "LOCALHOST:1"] {
            assert!(host(own), "{own}");
        }
        for other in ["", "rebound.example:8080", "localhost.example", "10.0.0.1:8080", "127.0.0.1:x", "::1"]
        {
            assert!(!host(other), "{other}");
        }
        assert!(!names_loopback(&HeaderMap::new()));
    }

    #[test]
    fn the_timeline_of_a_certificate_is_in_order() {
        let names = |now: i64, renews: bool| {
            let shown = certificate(Validity { not_before: 0, not_after: 900 }, now, renews, Vec::new());
            (shown.elapsed, shown.timeline.into_iter().map(|(name, _)| name).collect::<Vec<_>>())
        };
        assert_eq!(names(300, true), (33, vec!["Valid from", "Now", "Renewal due, about", "Valid until"]));
        assert_eq!(names(700, true), (77, vec!["Valid from", "Renewal due, about", "Now", "Valid until"]));
        assert_eq!(names(2000, false), (100, vec!["Valid from", "Valid until", "Now"]));
    }
}
