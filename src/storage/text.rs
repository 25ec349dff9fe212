//! Numbers, times and tables for people.

use jiff::Timestamp;

/// A time in UTC, to the second; a dash where there is none.
pub fn time(unix_ns: u64) -> String {
    if unix_ns == 0 {
        return "-".to_owned();
    }
    Timestamp::from_nanosecond(unix_ns.into())
        .map_or_else(|_| "-".to_owned(), |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// Bytes, to three digits.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    let digits = if size < 10.0 { 2 } else { usize::from(size < 100.0) };
    format!("{size:.digits$} {}", UNITS[unit])
}

/// Rows under their heads, in columns. Numbers are to the right.
pub fn table<const N: usize>(heads: [&str; N], rows: &[[String; N]]) -> String {
    let mut columns = Columns::of(heads);
    rows.iter().for_each(|row| columns.fit(row));
    let mut out = columns.line(heads);
    for row in rows {
        out.push_str(&columns.line(row.each_ref().map(String::as_str)));
    }
    out
}

/// How a table is laid out. Whoever does not have all rows at once goes through them twice.
pub struct Columns<const N: usize> {
    widths: [usize; N],
    /// Which of them have numbers only.
    numbers: [bool; N],
    is_empty: bool,
}

impl<const N: usize> Columns<N> {
    pub fn of(heads: [&str; N]) -> Self {
        Self { widths: heads.map(str::len), numbers: [true; N], is_empty: true }
    }

    /// There will be such a row.
    pub fn fit(&mut self, row: &[String; N]) {
        self.is_empty = false;
        for (column, cell) in row.iter().enumerate() {
            self.widths[column] = self.widths[column].max(cell.chars().count());
            self.numbers[column] &= cell.starts_with(|c: char| c.is_ascii_digit() || c == '-');
        }
    }

    /// Whether there will be none.
    pub fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// One row, or the heads.
    pub fn line(&self, cells: [&str; N]) -> String {
        let mut text = String::new();
        for (column, cell) in cells.into_iter().enumerate() {
            let width = self.widths[column];
            text.push_str(&match self.numbers[column] && !self.is_empty {
                true => format!("{cell:>width$}  "),
                false => format!("{cell:width$}  "),
            });
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
        text
    }
}

/// Without what would move the cursor or colour the terminal: it comes from elsewhere.
pub fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_short() {
        assert_eq!(
            (bytes(1023), bytes(1536), bytes(64 << 20)),
            ("1023 B".into(), "1.50 KiB".into(), "64.0 MiB".into())
        );
        assert_eq!((bytes(999 << 10), bytes(u64::MAX)), ("999 KiB".into(), "16384 PiB".into()));
        assert_eq!((time(0), time(1_790_000_000_000_000_000)), ("-".into(), "2026-09-21T14:13:20Z".into()));
    }

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let rows = [["a".to_owned(), "10".to_owned()], ["long name".to_owned(), "9".to_owned()]];
        assert_eq!(table(["NAME", "N"], &rows), "NAME        N\na          10\nlong name   9\n");
    }

    #[test]
    fn what_comes_from_elsewhere_cannot_write_on_the_terminal() {
        assert_eq!(one_line("a\u{1b}[31m\nb"), "a [31m b");
    }
}
