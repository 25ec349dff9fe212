//! What a client accepts: the format and how names are escaped.

/// How a text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) syntax: Syntax,
    pub(super) escaping: Escaping,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Syntax {
    /// Prometheus text 0.0.4.
    Plain,
    /// OpenMetrics 0.0.1.
    OpenMetrics001,
    /// OpenMetrics 1.0.0.
    OpenMetrics100,
}

/// What becomes of names that are more than letters, digits, `_` and `:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Escaping {
    /// They are quoted.
    AllowUtf8,
    /// What does not belong becomes `_`.
    Underscores,
    /// Dots become `_dot_`, underscores are doubled.
    Dots,
    /// What does not belong becomes its code point in hexadecimal, after `U__`.
    Values,
}

/// Clauses of an `Accept` header beyond this many are not looked at.
const MAX_CLAUSES: usize = 64;

impl Format {
    pub(super) const fn content_type(self) -> &'static str {
        use Escaping::{AllowUtf8, Dots, Underscores, Values};
        macro_rules! by_escaping {
            ($base:literal) => {
                match self.escaping {
                    AllowUtf8 => concat!($base, "; charset=utf-8; escaping=allow-utf-8"),
                    Underscores => concat!($base, "; charset=utf-8; escaping=underscores"),
                    Dots => concat!($base, "; charset=utf-8; escaping=dots"),
                    Values => concat!($base, "; charset=utf-8; escaping=values"),
                }
            };
        }
        match self.syntax {
            Syntax::Plain => by_escaping!("text/plain; version=0.0.4"),
            Syntax::OpenMetrics001 => by_escaping!("application/openmetrics-text; version=0.0.1"),
            Syntax::OpenMetrics100 => by_escaping!("application/openmetrics-text; version=1.0.0"),
        }
    }
}

struct Clause<'a> {
    media: &'a str,
    quality: f32,
    version: &'a str,
    escaping: Option<Escaping>,
}

impl<'a> Clause<'a> {
    fn parse(clause: &'a str) -> Self {
        let mut parts = clause.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let mut parsed = Self { media, quality: 1.0, version: "", escaping: None };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim();
            match name.trim() {
                "q" => parsed.quality = value.parse().unwrap_or(0.0),
                "version" => parsed.version = value,
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
pub(super) fn negotiate(accept: Option<&str>) -> Format {
    let mut clauses: Vec<Clause<'_>> =
        accept.unwrap_or_default().split(',').take(MAX_CLAUSES).map(Clause::parse).collect();
    clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality));

    let needs_open_metrics = !clauses.iter().any(Clause::takes_plain);
    let mut escaping = Escaping::Underscores;
    for clause in &clauses {
        escaping = clause.escaping.unwrap_or(escaping);
        if clause.media == "text/plain" && matches!(clause.version, "0.0.4" | "") {
            break;
        }
        if needs_open_metrics && let Some(syntax) = clause.open_metrics() {
            return Format { syntax, escaping };
        }
    }
    Format { syntax: Syntax::Plain, escaping }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(negotiate(accept).content_type(), format!("{PLAIN}{escaping}"), "{accept:?}");
        }
    }

    #[test]
    fn the_worse_clause_does_not_decide_the_escaping() {
        let accept = "text/plain;version=0.0.4;q=0.5,application/x;escaping=dots;q=0.2";
        assert_eq!(negotiate(Some(accept)).escaping, Escaping::Underscores);
    }

    #[test]
    fn open_metrics_is_for_those_who_accept_nothing_else() {
        let only = negotiate(Some("application/openmetrics-text;version=1.0.0"));
        assert_eq!(
            only.content_type(),
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"
        );
        let refused = negotiate(Some("application/openmetrics-text, text/plain;q=0"));
        assert_eq!(refused.syntax, Syntax::OpenMetrics001);
        let unknown = negotiate(Some("application/openmetrics-text;version=2.0.0"));
        assert_eq!(unknown.syntax, Syntax::Plain);
    }

    #[test]
    fn a_hostile_header_is_answered_with_plain_text() {
        for accept in ["", ";;;", ",,,,", "q=;=;==", "text/plain;q=NaN", &"a,".repeat(10_000)] {
            assert_eq!(negotiate(Some(accept)).syntax, Syntax::Plain, "{accept:.20}");
        }
    }
}
