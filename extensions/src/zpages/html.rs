//! Writing a page. Everything that is put into it is text.

use std::fmt::Write as _;

/// A page that is being written.
pub(super) struct Page(String);

impl Page {
    pub(super) fn new(title: &str) -> Self {
        let title = escaped(title);
        Self(format!(
            "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"><title>{title}</title></head><body>\n<h1>{title}</h1>\n"
        ))
    }

    pub(super) fn text(&mut self, text: &str) {
        self.add(format_args!("<p>{}</p>\n", escaped(text)));
    }

    /// Links to pages beside this one.
    pub(super) fn links(&mut self, links: &[(&str, &str)]) {
        for (page, title) in links {
            self.add(format_args!("<p><a href=\"{page}\">{}</a></p>\n", escaped(title)));
        }
    }

    pub(super) fn table<const N: usize>(
        &mut self,
        title: &str,
        columns: &[&str; N],
        rows: impl IntoIterator<Item = [String; N]>,
    ) {
        self.add(format_args!("<h2>{}</h2>\n<table>\n", escaped(title)));
        self.row("th", columns.iter().copied());
        for row in rows {
            self.row("td", row.iter().map(String::as_str));
        }
        self.0.push_str("</table>\n");
    }

    pub(super) fn finish(mut self) -> String {
        self.0.push_str("</body></html>\n");
        self.0
    }

    fn row<'c>(&mut self, cell: &str, texts: impl Iterator<Item = &'c str>) {
        self.0.push_str("<tr>");
        for text in texts {
            self.add(format_args!("<{cell}>{}</{cell}>", escaped(text)));
        }
        self.0.push_str("</tr>\n");
    }

    fn add(&mut self, text: std::fmt::Arguments<'_>) {
        self.0.write_fmt(text).expect("memory can be written to");
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        let mut page = Page::new("a<b>");
        page.table("t", &["c"], [["<script>alert('x')</script>".to_owned()]]);
        let page = page.finish();
        assert!(!page.contains("<script>") && page.contains("&lt;script&gt;alert(&#39;x&#39;)"), "{page}");
    }
}
