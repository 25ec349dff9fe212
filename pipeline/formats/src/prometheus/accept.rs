//! What a scraper accepts: the format, and how names are escaped.

use super::Escaping;

/// How the answer to a scrape is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// The format.
    pub syntax: Syntax,
    /// What becomes of names that the older of them cannot have.
    pub escaping: Escaping,
}

/// The formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syntax {
    /// Prometheus text 0.0.4.
    Plain,
    /// OpenMetrics 0.0.1.
    OpenMetrics001,
    /// OpenMetrics 1.0.0.
    OpenMetrics100,
    /// Messages `io.prometheus.client.MetricFamily`, each after its length: the only one with native histograms.
    Protobuf,
}

/// What a server can write beside plain text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// OpenMetrics.
    pub open_metrics: OpenMetrics,
    /// Protobuf.
    pub protobuf: bool,
}

/// When a scraper is given OpenMetrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMetrics {
    /// Never.
    Never,
    /// If it accepts nothing else.
    IfNothingElse,
    /// If it prefers that.
    IfPreferred,
}

/// Clauses of an `Accept` header beyond this many are not looked at.
const MAX_CLAUSES: usize = 64;

impl Format {
    /// The value of `Content-Type`.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        use Escaping::{AllowUtf8, Dots, Underscores, Values};
        macro_rules! by_escaping {
            ($base:literal) => {
                match self.escaping {
                    AllowUtf8 => concat!($base, "; escaping=allow-utf-8"),
                    Underscores => concat!($base, "; escaping=underscores"),
                    Dots => concat!($base, "; escaping=dots"),
                    Values => concat!($base, "; escaping=values"),
                }
            };
        }
        match self.syntax {
            Syntax::Plain => by_escaping!("text/plain; version=0.0.4; charset=utf-8"),
            Syntax::OpenMetrics001 => {
                by_escaping!("application/openmetrics-text; version=0.0.1; charset=utf-8")
            }
            Syntax::OpenMetrics100 => {
                by_escaping!("application/openmetrics-text; version=1.0.0; charset=utf-8")
            }
            Syntax::Protobuf => by_escaping!(
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            ),
        }
    }
}

struct Clause<'a> {
    media: &'a str,
    quality: f32,
    version: &'a str,
    /// `proto` and `encoding`, of protobuf.
    message: (&'a str, &'a str),
    escaping: Option<Escaping>,
}

impl<'a> Clause<'a> {
    fn parse(clause: &'a str) -> Self {
        let mut parts = clause.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let mut parsed = Self { media, quality: 1.0, version: "", message: ("", ""), escaping: None };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim();
            match name.trim() {
                "q" => parsed.quality = value.parse().unwrap_or(0.0),
                "version" => parsed.version = value,
                "proto" => parsed.message.0 = value,
                "encoding" => parsed.message.1 = value,
                "escaping" => parsed.escaping = Escaping::from_name(value),
                _ => {}
            }
        }
        parsed
    }

    /// Whether plain text is good enough, by this clause.
    fn takes_plain(&self) -> bool {
        self.quality > 0.0 && matches!(self.media, "text/plain" | "text/*" | "*/*" | "*")
    }

    fn is_protobuf(&self) -> bool {
        self.media == "application/vnd.google.protobuf"
            && self.quality > 0.0
            && self.message == ("io.prometheus.client.MetricFamily", "delimited")
    }

    fn open_metrics(&self) -> Option<Syntax> {
        if self.media != "application/openmetrics-text" || self.quality <= 0.0 {
            return None;
        }
        match self.version {
            "1.0.0" => Some(Syntax::OpenMetrics100),
            "0.0.1" | "" => Some(Syntax::OpenMetrics001),
            _ => None,
        }
    }
}

impl Escaping {
    fn from_name(name: &str) -> Option<Self> {
        match name {
            "allow-utf-8" => Some(Self::AllowUtf8),
            "underscores" => Some(Self::Underscores),
            "dots" => Some(Self::Dots),
            "values" => Some(Self::Values),
            _ => None,
        }
    }
}

/// The format for an `Accept` header. Anything that is not understood is answered with plain text.
///
/// As in the Go collector, the escaping asked for in a better clause holds for a worse one that names none.
#[must_use]
pub fn negotiate(accept: Option<&str>, offer: Offer) -> Format {
    let mut clauses: Vec<Clause<'_>> =
        accept.unwrap_or_default().split(',').take(MAX_CLAUSES).map(Clause::parse).collect();
    clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality));

    let offers_open_metrics = match offer.open_metrics {
        OpenMetrics::Never => false,
        OpenMetrics::IfNothingElse => !clauses.iter().any(Clause::takes_plain),
        OpenMetrics::IfPreferred => true,
    };
    let mut escaping = Escaping::Underscores;
    for clause in &clauses {
        escaping = clause.escaping.unwrap_or(escaping);
        if offer.protobuf && clause.is_protobuf() {
            return Format { syntax: Syntax::Protobuf, escaping };
        }
        if clause.media == "text/plain" && matches!(clause.version, "0.0.4" | "") {
            break;
        }
        if offers_open_metrics && let Some(syntax) = clause.open_metrics() {
            return Format { syntax, escaping };
        }
    }
    Format { syntax: Syntax::Plain, escaping }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Offer = Offer { open_metrics: OpenMetrics::IfNothingElse, protobuf: false };
    const ALL: Offer = Offer { open_metrics: OpenMetrics::IfPreferred, protobuf: true };

    /// What release 0.159.0 of the Go collector answers, read from a running one.
    const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=";

    #[test]
    fn plain_text_is_answered_as_the_go_collector_does() {
        let cases = [
            (None, "underscores"),
            (Some("text/html"), "underscores"),
            (Some("*/*"), "underscores"),
            (Some("text/plain;escaping=values"), "values"),
            (Some("text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4"), "allow-utf-8"),
            (Some("text/plain;version=0.0.4;escaping=nonsense"), "underscores"),
            // Prometheus 2.
            (
                Some(
                    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                     text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                ),
                "underscores",
            ),
            // Prometheus 3.
            (
                Some(
                    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                     application/openmetrics-text;version=0.0.1;q=0.5,\
                     text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                ),
                "allow-utf-8",
            ),
        ];
        for (accept, escaping) in cases {
            assert_eq!(negotiate(accept, OWN).content_type(), format!("{PLAIN}{escaping}"), "{accept:?}");
        }
    }

    #[test]
    fn the_worse_clause_does_not_decide_the_escaping() {
        let accept = "text/plain;version=0.0.4;q=0.5,application/x;escaping=dots;q=0.2";
        assert_eq!(negotiate(Some(accept), OWN).escaping, Escaping::Underscores);
    }

    #[test]
    fn open_metrics_is_for_those_who_accept_nothing_else() {
        let only = negotiate(Some("application/openmetrics-text;version=1.0.0"), OWN);
        assert_eq!(
            only.content_type(),
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"
        );
        let refused = negotiate(Some("application/openmetrics-text, text/plain;q=0"), OWN);
        assert_eq!(refused.syntax, Syntax::OpenMetrics001);
        let unknown = negotiate(Some("application/openmetrics-text;version=2.0.0"), OWN);
        assert_eq!(unknown.syntax, Syntax::Plain);
    }

    #[test]
    fn a_hostile_header_is_answered_with_plain_text() {
        for accept in ["", ";;;", ",,,,", "q=;=;==", "text/plain;q=NaN", &"a,".repeat(10_000)] {
            assert_eq!(negotiate(Some(accept), OWN).syntax, Syntax::Plain, "{accept:.20}");
        }
    }

    #[test]
    fn prometheus_gets_what_it_prefers_of_what_there_is() {
        // Prometheus 2.53 with native histograms.
        let accept = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,\
                      application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        let syntax = |offer| negotiate(Some(accept), offer).syntax;
        assert_eq!(syntax(ALL), Syntax::Protobuf);
        assert_eq!(
            negotiate(Some(accept), ALL).content_type(),
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; \
             escaping=underscores"
        );
        assert_eq!(syntax(Offer { protobuf: false, ..ALL }), Syntax::OpenMetrics100);
        assert_eq!(syntax(Offer { protobuf: false, open_metrics: OpenMetrics::Never }), Syntax::Plain);
        assert_eq!(syntax(OWN), Syntax::Plain);
    }
}
