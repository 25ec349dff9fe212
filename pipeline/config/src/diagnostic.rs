//! What is wrong, where, and what to do about it.

use std::fmt::Write as _;

use crate::load::Wanted;
use crate::source::{Sources, Span};

/// The longest piece of a line that an excerpt shows, in characters.
const EXCERPT_COLUMNS: usize = 120;

/// How many errors, and how many warnings, are kept.
pub const MAX_FINDINGS: usize = 500;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// The configuration can be used but probably does not say what was meant.
    Warning,
}

/// One finding about a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong: one line, lower case.
    pub message: String,
    /// Where, if anywhere.
    pub span: Option<Span>,
    /// Where in the configuration's own terms: `exporters::otlp_http::tls::insecur`. May be empty.
    pub path: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Other places that matter, each with what it is.
    pub related: Vec<(Span, String)>,
    /// Whether the text under `span` must not be shown.
    pub masked: bool,
    /// The paths of what it says is missing or unused, where that is not `path`: with several sources, one may have
    /// replaced it.
    pub lacks: Vec<String>,
}

impl Diagnostic {
    /// An error at a place.
    #[must_use]
    pub fn error(span: impl Into<Option<Span>>, path: &str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into().replace(char::is_control, " "),
            span: span.into(),
            path: path.to_owned(),
            help: None,
            related: Vec::new(),
            masked: false,
            lacks: Vec::new(),
        }
    }

    /// A warning at a place.
    #[must_use]
    pub fn warning(span: impl Into<Option<Span>>, path: &str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(span, path, message) }
    }

    /// The same with advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<Option<String>>) -> Self {
        self.help = help.into();
        self
    }

    /// The same with another place that matters.
    #[must_use]
    pub fn related(mut self, span: Span, label: impl Into<String>) -> Self {
        self.related.push((span, label.into()));
        self
    }

    /// The same with the path of something that is missing or unused.
    #[must_use]
    pub fn lacks(mut self, path: impl Into<String>) -> Self {
        self.lacks.push(path.into());
        self
    }

    /// Plain text: message, place, excerpt with the text underlined, path and advice; ends with a line break.
    #[must_use]
    pub fn render(&self, sources: &Sources) -> String {
        self.render_with(sources, &Palette::PLAIN)
    }

    /// The same with terminal colours.
    #[must_use]
    pub fn render_coloured(&self, sources: &Sources) -> String {
        self.render_with(sources, &Palette::COLOURED)
    }

    fn render_with(&self, sources: &Sources, palette: &Palette) -> String {
        let (word, colour) = match self.severity {
            Severity::Error => ("error", palette.error),
            Severity::Warning => ("warning", palette.warning),
        };
        let Palette { bold, dim, reset, .. } = palette;
        let mut out = String::new();
        let message = printable(&self.message);
        let _ = writeln!(out, "{colour}{word}{reset}{bold}: {message}{reset}");
        let margin = self.margin();
        let mut excerpts = Vec::new();
        excerpts.extend(self.span.map(|span| (span, None, self.masked)));
        excerpts.extend(self.related.iter().map(|(span, label)| (*span, Some(label), false)));
        for (span, label, masked) in excerpts {
            let Some(name) = sources.name(span.source) else { continue };
            let arrow = if label.is_some() { ":::" } else { "-->" };
            let (line, column) = (span.start.line, span.start.column);
            let _ = writeln!(out, "{:margin$}{dim}{arrow}{reset} {name}:{line}:{column}", "");
            if let Some(excerpt) = Excerpt::of(sources, span, masked) {
                let _ = writeln!(out, "{:margin$} {dim}|{reset}", "");
                let _ = writeln!(out, "{dim}{line:>margin$} |{reset} {}", excerpt.text);
                let _ = write!(out, "{:margin$} {dim}|{reset} {:indent$}", "", "", indent = excerpt.before);
                let _ = write!(out, "{colour}{}{reset}", "^".repeat(excerpt.under));
                let _ = match label {
                    Some(label) => writeln!(out, " {label}"),
                    None => writeln!(out),
                };
            }
        }
        if !self.path.is_empty() {
            let _ = writeln!(out, "{:margin$} {dim}={reset} at {}", "", printable(&self.path));
        }
        if let Some(help) = &self.help {
            let _ = writeln!(out, "{:margin$} {dim}={reset} help: {}", "", printable(help));
        }
        out
    }

    /// The width of the widest line number shown.
    fn margin(&self) -> usize {
        let spans = self.span.iter().chain(self.related.iter().map(|(span, _)| span));
        spans.map(|span| span.start.line.to_string().len()).max().unwrap_or(1)
    }
}

/// The findings about one configuration, in the order found; and what is still to be checked when all of it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostics {
    findings: Vec<Diagnostic>,
    wanted: Vec<Wanted>,
}

impl Diagnostics {
    /// No findings.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a finding, unless the very same one is already there or [`MAX_FINDINGS`] of its severity are.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        let severity = diagnostic.severity;
        let alike = self.findings.iter().filter(|one| one.severity == severity).count();
        if alike > MAX_FINDINGS || self.findings.contains(&diagnostic) {
            return;
        }
        if alike < MAX_FINDINGS {
            self.findings.push(diagnostic);
        } else {
            let word = if severity == Severity::Error { "errors" } else { "warnings" };
            let message = format!("there are more {word} than are shown");
            self.findings.push(Diagnostic { severity, ..Diagnostic::error(None, "", message) });
        }
    }

    /// Notes an extension that a section refers to; whether it can serve is known when everything has been read.
    pub(crate) fn want(&mut self, wanted: Wanted) {
        self.wanted.push(wanted);
    }

    /// The extensions that the sections decoded so far refer to, each time once.
    pub fn take_wanted(&mut self) -> Vec<Wanted> {
        std::mem::take(&mut self.wanted)
    }

    /// Whether any of them is an error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.errors() > 0
    }

    /// How many of them are errors.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.findings.iter().filter(|one| one.severity == Severity::Error).count()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.findings.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.findings.is_empty()
    }

    /// The findings in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.findings.iter()
    }

    /// Puts the findings in the order in which a reader meets them: by source and position, those without a place last.
    pub fn sort(&mut self) {
        self.findings.sort_by_key(|one| {
            one.span.map_or((true, None), |span| (false, Some((span.source, span.start))))
        });
    }

    /// All findings as plain text, one blank line between two.
    #[must_use]
    pub fn render(&self, sources: &Sources) -> String {
        let texts: Vec<_> = self.findings.iter().map(|one| one.render(sources)).collect();
        texts.join("\n")
    }

    /// The same with terminal colours.
    #[must_use]
    pub fn render_coloured(&self, sources: &Sources) -> String {
        let texts: Vec<_> = self.findings.iter().map(|one| one.render_coloured(sources)).collect();
        texts.join("\n")
    }
}

impl Extend<Diagnostic> for Diagnostics {
    fn extend<I: IntoIterator<Item = Diagnostic>>(&mut self, findings: I) {
        for finding in findings {
            self.push(finding);
        }
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.findings.into_iter()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.findings.iter()
    }
}

/// A line of source made fit for a terminal, and where in it to underline.
struct Excerpt {
    text: String,
    before: usize,
    under: usize,
}

impl Excerpt {
    fn of(sources: &Sources, span: Span, masked: bool) -> Option<Self> {
        let (line_start, line) = sources.line_at(span.source, span.start.byte)?;
        let from = (span.start.byte as usize).checked_sub(line_start)?;
        let to = (span.end.byte as usize).saturating_sub(line_start).clamp(from, line.len().max(from));
        let head = line.get(..from.min(line.len()))?;
        let marked = line.get(from.min(line.len())..to.min(line.len()))?.trim_end();
        let tail = line.get(from.min(line.len()) + marked.len()..)?;
        // A long line is shown around the marked place only.
        let whole = line.chars().count() <= EXCERPT_COLUMNS;
        let lead_columns = if whole { EXCERPT_COLUMNS } else { EXCERPT_COLUMNS / 2 };
        let lead: String = last_chars(head, lead_columns).chars().map(visible).collect();
        let lead = if lead.chars().count() < head.chars().count() { format!("…{lead}") } else { lead };
        let hide = |c: char| if masked { '*' } else { visible(c) };
        let shown: String = marked.chars().take(EXCERPT_COLUMNS).map(hide).collect();
        let room = EXCERPT_COLUMNS.saturating_sub(lead.chars().count() + shown.chars().count());
        let mut trail: String = tail.chars().take(room).map(visible).collect();
        if tail.chars().nth(room).is_some() || marked.chars().nth(EXCERPT_COLUMNS).is_some() {
            trail.push('…');
        }
        let (before, under) = (lead.chars().count(), shown.chars().count().max(1));
        Some(Self { text: format!("{lead}{shown}{trail}").trim_end().to_owned(), before, under })
    }
}

fn last_chars(text: &str, count: usize) -> &str {
    let skip = text.chars().count().saturating_sub(count);
    text.char_indices().nth(skip).map_or("", |(at, _)| &text[at..])
}

/// One column for every character: control characters must not reach the terminal.
fn visible(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

fn printable(text: &str) -> String {
    text.chars().map(visible).collect()
}

/// The escape sequences of one style.
struct Palette {
    error: &'static str,
    warning: &'static str,
    bold: &'static str,
    dim: &'static str,
    reset: &'static str,
}

impl Palette {
    const PLAIN: Self = Self { error: "", warning: "", bold: "", dim: "", reset: "" };
    const COLOURED: Self = Self {
        error: "\u{1b}[1;31m",
        warning: "\u{1b}[1;33m",
        bold: "\u{1b}[1m",
        dim: "\u{1b}[34m",
        reset: "\u{1b}[0m",
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_findings_is_cut_off_without_losing_an_error() {
        let mut diags = Diagnostics::new();
        for index in 0..2 * MAX_FINDINGS {
            diags.push(Diagnostic::warning(None, "", format!("warning {index}")));
        }
        assert_eq!(diags.len(), MAX_FINDINGS + 1);
        assert!(!diags.has_errors());
        diags.push(Diagnostic::error(None, "", "error"));
        diags.push(Diagnostic::error(None, "", "error"));
        assert_eq!(diags.errors(), 1);
    }

    #[test]
    fn colours_surround_the_same_text() {
        let mut sources = Sources::new();
        let id = sources.add("c.yaml", "key: value\n");
        let start = crate::source::Position { byte: 5, line: 1, column: 6 };
        let end = crate::source::Position { byte: 10, line: 1, column: 11 };
        let diagnostic = Diagnostic::error(Span { source: id, start, end }, "key", "bad \u{1b}[31m value");
        let coloured = diagnostic.render_coloured(&sources);
        let mut plain = coloured.clone();
        for code in ["\u{1b}[1;31m", "\u{1b}[1m", "\u{1b}[34m", "\u{1b}[0m"] {
            plain = plain.replace(code, "");
        }
        assert_ne!(coloured, plain);
        assert_eq!(plain, diagnostic.render(&sources));
        assert!(!plain.contains('\u{1b}'), "control characters never reach the terminal");
    }
}
