//! The two text formats of metrics: content negotiation, and conversion from OpenMetrics to the classic format. Pure.
//!
//! The library writes only OpenMetrics. The classic format (text 0.0.4) differs in the metadata, not in the series: a
//! counter family's name also ends in `_total` there, and there are no units, no types for information and state
//! sets, no exemplars, no creation timestamps, and no end marker.

use std::fmt::Write;

/// The format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exposition {
    /// The classic text format, which every scraper can read.
    Classic,
    /// OpenMetrics, in the requested version.
    OpenMetrics(Version),
}

/// A version of OpenMetrics. The output is the same for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// The draft that old scrapers request.
    V0,
    V1,
}

impl Exposition {
    /// The format that the `Accept` headers of a request select: the known format with the highest weight, the first
    /// one among equals, and the classic one if none is known (`expfmt.NegotiateIncludingOpenMetrics`).
    pub(crate) fn asked<'a>(accept: impl Iterator<Item = &'a str>) -> Exposition {
        let mut best: Option<(f32, Exposition)> = None;
        for range in accept.flat_map(|header| header.split(',')) {
            let Some((weight, exposition)) = read(range) else { continue };
            if weight > 0.0 && best.is_none_or(|(heaviest, _)| weight > heaviest) {
                best = Some((weight, exposition));
            }
        }
        best.map_or(Exposition::Classic, |(_, exposition)| exposition)
    }

    /// Its content type.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Exposition::Classic => "text/plain; version=0.0.4; charset=utf-8",
            Exposition::OpenMetrics(Version::V0) => {
                "application/openmetrics-text; version=0.0.1; charset=utf-8"
            }
            Exposition::OpenMetrics(Version::V1) => {
                "application/openmetrics-text; version=1.0.0; charset=utf-8"
            }
        }
    }
}

/// One media range: its weight and its format; `None` if it is not supported.
fn read(range: &str) -> Option<(f32, Exposition)> {
    let mut parts = range.split(';').map(str::trim);
    let essence = parts.next()?;
    let (mut weight, mut version) = (1.0, None);
    for (key, value) in parts.filter_map(|part| part.split_once('=')) {
        let value = value.trim().trim_matches('"');
        match key.trim() {
            key if key.eq_ignore_ascii_case("q") => weight = value.parse().ok()?,
            key if key.eq_ignore_ascii_case("version") => version = Some(value),
            _ => {}
        }
    }
    let exposition = if essence.eq_ignore_ascii_case("application/openmetrics-text") {
        Exposition::OpenMetrics(match version {
            None | Some("1.0.0") => Version::V1,
            Some("0.0.1") => Version::V0,
            Some(_) => return None,
        })
    } else if essence.eq_ignore_ascii_case("text/plain") {
        // 1.0.0 only adds names that we do not have.
        matches!(version, None | Some("0.0.4" | "1.0.0")).then_some(Exposition::Classic)?
    } else if matches!(essence, "*/*" | "text/*") {
        Exposition::Classic
    } else {
        return None;
    };
    Some((weight, exposition))
}

/// Converts OpenMetrics to the classic format.
pub(in crate::server) fn classic(open_metrics: &str) -> String {
    let mut out = String::with_capacity(open_metrics.len());
    let mut family = Family::default();
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            // HELP comes first, but the family's name depends on the type.
            let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
            family = Family { name, help, counter: false };
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, ""));
            if name != family.name {
                family = Family { name, ..Family::default() };
            }
            family.begin(kind, &mut out);
        } else if !line.starts_with('#') && !family.is_made_up(line) {
            let sample = without_exemplar(line);
            out.push_str(sample);
            out.push('\n');
        }
    }
    out
}

#[derive(Default)]
struct Family<'a> {
    name: &'a str,
    help: &'a str,
    /// Whether its samples may have a creation timestamp.
    counter: bool,
}

impl Family<'_> {
    fn begin(&mut self, kind: &str, out: &mut String) {
        let (suffix, kind) = match kind {
            "counter" => ("_total", "counter"),
            "info" => ("_info", "gauge"),
            "stateset" => ("", "gauge"),
            "gaugehistogram" => ("", "histogram"),
            "unknown" => ("", "untyped"),
            other => ("", other),
        };
        self.counter = matches!(kind, "counter" | "histogram" | "summary");
        let name = self.name;
        // Writing to a String cannot fail. Only OpenMetrics escapes quotes.
        let help = self.help.replace("\\\"", "\"");
        let _ = writeln!(out, "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}");
    }

    /// Whether a sample is the creation timestamp of its series.
    fn is_made_up(&self, line: &str) -> bool {
        let rest = line.strip_prefix(self.name).and_then(|rest| rest.strip_prefix("_created"));
        self.counter && rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
    }
}

/// A sample without the part after a `#` that follows the value. Labels may contain a `#` too.
fn without_exemplar(line: &str) -> &str {
    let (mut quoted, mut escaped) = (false, false);
    for (at, character) in line.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '#' if !quoted => return line.get(..at).unwrap_or(line).trim_end(),
            _ => {}
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(accept: &str) -> Exposition {
        Exposition::asked([accept].into_iter())
    }

    #[test]
    fn the_classic_format_unless_open_metrics_is_wanted_more() {
        const OPEN: Exposition = Exposition::OpenMetrics(Version::V1);
        // The headers of Prometheus 3 and Prometheus 2.
        for accept in [
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.7,application/openmetrics-text;\
             version=0.0.1;q=0.6,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.4,\
             */*;q=0.3",
            "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;\
             version=0.0.4;q=0.3,*/*;q=0.2",
            "application/openmetrics-text",
            "text/plain;q=0.5, Application/OpenMetrics-Text; Version=\"1.0.0\"",
        ] {
            assert_eq!(asked(accept), OPEN, "{accept}");
        }
        assert_eq!(asked("application/openmetrics-text;version=0.0.1"), Exposition::OpenMetrics(Version::V0));
        for accept in [
            "",
            "*/*",
            "text/html, */*;q=0.8",
            "text/plain;version=0.0.4;q=0.9, application/openmetrics-text;q=0.8",
            "text/plain, application/openmetrics-text",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;version=2.0.0",
            "application/openmetrics-text;q=x",
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily",
        ] {
            assert_eq!(asked(accept), Exposition::Classic, "{accept}");
        }
        assert_eq!(Exposition::asked(std::iter::empty()), Exposition::Classic);
        let several = ["text/plain;q=0.2", "application/openmetrics-text;q=0.3"];
        assert_eq!(Exposition::asked(several.into_iter()), OPEN);
    }

    #[test]
    fn what_is_said_of_series_is_said_in_the_classic_way() {
        let open_metrics = concat!(
            "# HELP a A \\\"counter\\\" of \\\\.\n# TYPE a counter\n# UNIT a seconds\n",
            "a_total{l=\"x # {\\\"}\"} 1 # {trace=\"t\"} 1.0 2.0\na_created{l=\"x\"} 3\n",
            "# HELP b Build.\n# TYPE b info\nb_info{v=\"1\"} 1\n",
            "# HELP h Times.\n# TYPE h histogram\nh_sum 0.5\nh_count 1\nh_bucket{le=\"+Inf\"} 1 # {t=\"#\"} 0.5\nh_created 4\n",
            "# HELP s State.\n# TYPE s stateset\ns{s=\"on\"} 1\n",
            "# TYPE u unknown\nu 1\n",
            "# HELP g_created Not made up.\n# TYPE g_created gauge\ng_created 5\n",
            "# EOF\n",
        );
        let wanted = concat!(
            "# HELP a_total A \"counter\" of \\\\.\n# TYPE a_total counter\na_total{l=\"x # {\\\"}\"} 1\n",
            "# HELP b_info Build.\n# TYPE b_info gauge\nb_info{v=\"1\"} 1\n",
            "# HELP h Times.\n# TYPE h histogram\nh_sum 0.5\nh_count 1\nh_bucket{le=\"+Inf\"} 1\n",
            "# HELP s State.\n# TYPE s gauge\ns{s=\"on\"} 1\n",
            "# HELP u \n# TYPE u untyped\nu 1\n",
            "# HELP g_created Not made up.\n# TYPE g_created gauge\ng_created 5\n",
        );
        assert_eq!(classic(open_metrics), wanted);
    }
}
