//! What is wrong, where, and what to do about it.

use std::fmt::Write as _;
use std::ops::Range;

use crate::load::{Claim, Files, Wanted};
use crate::mask::{Hidden, MASK};
use crate::source::{SourceId, Sources, Span};

/// The longest piece of a line that an excerpt shows, in characters.
const EXCERPT_COLUMNS: usize = 120;

/// How much of a line is looked at on each side of a marked place, in bytes: a configuration may be one line of
/// megabytes, and have hundreds of mistakes on it.
const EXCERPT_REACH: usize = 4096;

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

    /// Whether `other` adds nothing to this.
    fn says_what(&self, other: &Self) -> bool {
        let is_alias = |place: Span| self.severity == Severity::Warning && place.is_written();
        self == other
            || self.span.is_some_and(is_alias) && *self == Self { path: self.path.clone(), ..other.clone() }
    }

    /// The same with the path of something that is missing or unused.
    #[must_use]
    pub fn lacks(mut self, path: impl Into<String>) -> Self {
        self.lacks.push(path.into());
        self
    }

    /// Message, place, excerpt with the text underlined, path and advice; ends with a line break. Nothing of it is
    /// `hidden`.
    fn render(&self, sources: &Sources, line: &mut HiddenInLine<'_>, palette: &Palette) -> String {
        let (word, colour) = match self.severity {
            Severity::Error => ("error", palette.error),
            Severity::Warning => ("warning", palette.warning),
        };
        let Palette { bold, dim, reset, .. } = palette;
        let mut out = String::new();
        let hidden = line.hidden;
        let told = |text: &str| printable(&hidden.without_secrets(text));
        let message = told(&self.message);
        let _ = writeln!(out, "{colour}{word}{reset}{bold}: {message}{reset}");
        let margin = self.margin();
        let mut excerpts = Vec::new();
        excerpts.extend(self.span.map(|span| (span, None, self.masked)));
        excerpts.extend(self.related.iter().map(|(span, label)| (*span, Some(label), false)));
        for (span, label, masked) in excerpts {
            let Some(name) = sources.name(span.source) else { continue };
            let arrow = if label.is_some() { ":::" } else { "-->" };
            let (number, column) = (span.start.line, span.start.column);
            let _ = writeln!(out, "{:margin$}{dim}{arrow}{reset} {name}:{number}:{column}", "");
            if let Some(excerpt) = Excerpt::of(sources, span, masked, line) {
                let _ = writeln!(out, "{:margin$} {dim}|{reset}", "");
                let _ = writeln!(out, "{dim}{number:>margin$} |{reset} {}", excerpt.text);
                let _ = write!(out, "{:margin$} {dim}|{reset} {:indent$}", "", "", indent = excerpt.before);
                let _ = write!(out, "{colour}{}{reset}", "^".repeat(excerpt.under));
                let _ = match label {
                    Some(label) => writeln!(out, " {label}"),
                    None => writeln!(out),
                };
            }
        }
        if !self.path.is_empty() {
            let _ = writeln!(out, "{:margin$} {dim}={reset} at {}", "", told(&self.path));
        }
        if let Some(help) = &self.help {
            let _ = writeln!(out, "{:margin$} {dim}={reset} help: {}", "", told(help));
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
    claims: Vec<Claim>,
    files: Vec<Files>,
    /// What no text of them shows.
    pub(crate) hidden: Hidden,
}

impl Diagnostics {
    /// No findings.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a finding, unless the same one is already there or [`MAX_FINDINGS`] of its severity are. Of a warning, it is
    /// the same that is said of the same place, however many aliases lead there.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        let severity = diagnostic.severity;
        let alike = self.findings.iter().filter(|one| one.severity == severity).count();
        if alike > MAX_FINDINGS || self.findings.iter().any(|there| there.says_what(&diagnostic)) {
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

    /// Notes what a section takes for itself; whether others do, too, is known when everything has been read.
    pub(crate) fn claim(&mut self, claim: Claim) {
        self.claims.push(claim);
    }

    /// What the sections decoded so far take for themselves, each time once.
    pub fn take_claims(&mut self) -> Vec<Claim> {
        std::mem::take(&mut self.claims)
    }

    /// Notes files that a section names.
    pub(crate) fn name_files(&mut self, files: Files) {
        self.files.push(files);
    }

    /// The files that the sections decoded so far name, each time once.
    pub fn take_files(&mut self) -> Vec<Files> {
        std::mem::take(&mut self.files)
    }

    /// Takes over all findings of another one, and what they must not show.
    pub(crate) fn append(&mut self, other: Self) {
        self.hidden.append(other.hidden);
        self.extend(other.findings);
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
        self.render_with(sources, &Palette::PLAIN)
    }

    /// The same with terminal colours.
    #[must_use]
    pub fn render_coloured(&self, sources: &Sources) -> String {
        self.render_with(sources, &Palette::COLOURED)
    }

    fn render_with(&self, sources: &Sources, palette: &Palette) -> String {
        let mut line = HiddenInLine { hidden: &self.hidden, at: None, ranges: Vec::new() };
        let texts = self.findings.iter().map(|one| one.render(sources, &mut line, palette));
        texts.collect::<Vec<_>>().join("\n")
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

/// What is hidden of the line that was looked at last. The next finding is often about the same one.
struct HiddenInLine<'a> {
    hidden: &'a Hidden,
    at: Option<(SourceId, usize)>,
    ranges: Vec<Range<usize>>,
}

impl HiddenInLine<'_> {
    fn ranges(&mut self, sources: &Sources, id: SourceId, start: usize, line: &str) -> &[Range<usize>] {
        if self.at != Some((id, start)) {
            self.ranges = self.hidden.in_line(sources, id, start, line);
            self.at = Some((id, start));
        }
        &self.ranges
    }
}

/// A line of source made fit for a terminal, and where in it to underline.
struct Excerpt {
    text: String,
    before: usize,
    under: usize,
}

impl Excerpt {
    fn of(sources: &Sources, span: Span, masked: bool, hidden: &mut HiddenInLine<'_>) -> Option<Self> {
        let (line_start, line) = sources.line_at(span.source, span.start.byte)?;
        let from = (span.start.byte as usize).checked_sub(line_start)?.min(line.len());
        let to = (span.end.byte as usize).saturating_sub(line_start).clamp(from, line.len());
        let to = from + line.get(from..to)?.trim_end().len();
        let ranges = hidden.ranges(sources, span.source, line_start, line);
        let start = line.floor_char_boundary(from.saturating_sub(EXCERPT_REACH));
        let end = line.floor_char_boundary(from.saturating_add(2 * EXCERPT_REACH));
        let (line, is_cut) = (&line[start..end], (start > 0, end < line.len()));
        let within =
            |range: &Range<usize>| range.start.clamp(start, end) - start..range.end.clamp(start, end) - start;
        let (from, to) = (from - start, to.min(end) - start);
        let mut ranges: Vec<_> = ranges.iter().map(within).filter(|range| !range.is_empty()).collect();
        if masked {
            ranges.retain(|range| range.end <= from || range.start >= to);
            let at = ranges.partition_point(|range| range.start < from);
            ranges.insert(at, from..to);
        }
        let (shown, marked) = without(line, &ranges, from..to);
        let (head, rest) = shown.split_at(marked.start);
        let (marked, tail) = rest.split_at(marked.len());
        // A long line is shown around the marked place only.
        let whole = shown.len() <= EXCERPT_COLUMNS && is_cut == (false, false);
        let lead_columns = if whole { EXCERPT_COLUMNS } else { EXCERPT_COLUMNS / 2 };
        let mut lead: String = head[head.len().saturating_sub(lead_columns)..].iter().collect();
        if head.len() > lead_columns || is_cut.0 {
            lead.insert(0, '…');
        }
        let before = lead.chars().count();
        let shown: String = marked.iter().take(EXCERPT_COLUMNS).collect();
        let under = marked.len().clamp(1, EXCERPT_COLUMNS);
        let room = EXCERPT_COLUMNS.saturating_sub(before + marked.len().min(EXCERPT_COLUMNS));
        let mut trail: String = tail.iter().take(room).collect();
        if tail.len() > room || marked.len() > EXCERPT_COLUMNS || is_cut.1 {
            trail.push('…');
        }
        Some(Self { text: format!("{lead}{shown}{trail}").trim_end().to_owned(), before, under })
    }
}

/// The characters of a line as they are shown, each range in `hidden` as one mask; and where among them `marked` is.
fn without(line: &str, hidden: &[Range<usize>], marked: Range<usize>) -> (Vec<char>, Range<usize>) {
    let mut shown = Vec::new();
    // Where in `shown` each end of the mark falls; one within a mask is moved to the mask's own end.
    let (mut start, mut end) = (None, None);
    let mut hidden = hidden.iter().peekable();
    let mut at = 0;
    while at < line.len() {
        if start.is_none() && at >= marked.start {
            start = Some(shown.len());
        }
        let next = match hidden.next_if(|range| range.start <= at) {
            Some(range) => {
                if start.is_none() && marked.start < range.end {
                    start = Some(shown.len());
                }
                shown.extend(MASK.chars());
                range.end.max(at)
            }
            None => {
                let Some(c) = line[at..].chars().next() else { break };
                shown.push(visible(c));
                at + c.len_utf8()
            }
        };
        at = next;
        if end.is_none() && at >= marked.end {
            end = Some(if marked.is_empty() { start.unwrap_or(shown.len()) } else { shown.len() });
        }
    }
    let start = start.unwrap_or(shown.len());
    (shown, start..end.unwrap_or(start).max(start))
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
    fn a_line_of_megabytes_with_a_flood_of_findings_is_judged_once() {
        // Given more keys on one line than could be judged again for each finding
        let key = |index: usize| format!("k{index:05}: 'é', ");
        let line: String = (0..5_000).map(key).collect::<String>() + "password: hunter2, last: 1";
        let mut sources = Sources::new();
        let id = sources.add("c.yaml", &line);
        let mut diags = Diagnostics::new();
        let mut find = |at: usize, message: String| {
            let place = |byte| crate::source::Position { byte, line: 1, column: 1 };
            let span = Span { source: id, start: place(at as u32), end: place(at as u32 + 4) };
            diags.push(Diagnostic::error(span, "", message));
        };
        for index in 0..MAX_FINDINGS - 1 {
            find(index * key(0).len(), format!("finding {index}"));
        }
        find(line.len() - "last: 1".len(), "the last".to_owned());

        let started = std::time::Instant::now();
        let shown = diags.render(&sources);

        assert!(started.elapsed() < std::time::Duration::from_secs(10), "{:?}", started.elapsed());
        assert!(!shown.contains("hunter2") && shown.contains("password: ***"), "{}", &shown[..500]);
        assert!(shown.starts_with("error: finding 0\n --> c.yaml:1:1\n  |\n1 | k00000: 'é', k00001"));
        assert!(shown.lines().all(|line| line.chars().count() < EXCERPT_COLUMNS + 20));
    }

    #[test]
    fn colours_surround_the_same_text() {
        let mut sources = Sources::new();
        let id = sources.add("c.yaml", "key: value\n");
        let start = crate::source::Position { byte: 5, line: 1, column: 6 };
        let end = crate::source::Position { byte: 10, line: 1, column: 11 };
        let diagnostic = Diagnostic::error(Span { source: id, start, end }, "key", "bad \u{1b}[31m value");
        let mut diags = Diagnostics::new();
        diags.push(diagnostic);
        let coloured = diags.render_coloured(&sources);
        let mut plain = coloured.clone();
        for code in ["\u{1b}[1;31m", "\u{1b}[1m", "\u{1b}[34m", "\u{1b}[0m"] {
            plain = plain.replace(code, "");
        }
        assert_ne!(coloured, plain);
        assert_eq!(plain, diags.render(&sources));
        assert!(!plain.contains('\u{1b}'), "control characters never reach the terminal");
    }
}
