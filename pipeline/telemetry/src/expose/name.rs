//! Names: suffixes for unit and type, and escaping.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::accept::Escaping;
use crate::metrics::{Def, Kind};

/// The name with the suffixes that Prometheus users expect: the unit in plural, then `_total` for counters or `_ratio`
/// for gauges without dimension.
pub(super) fn with_suffixes(def: &Def) -> String {
    let last = match def.kind {
        kind if kind.is_monotonic() => Some("total"),
        Kind::Gauge | Kind::UpDown if def.unit == "1" => Some("ratio"),
        _ => None,
    };
    let mut name = def.name.to_owned();
    if let Some(last) = last {
        trim_suffix(&mut name, last);
    }
    let (main, per) = unit_words(def.unit);
    if let Some(per) = &per {
        trim_suffix(&mut name, per);
    }
    if let Some(main) = main
        && !name.ends_with(main)
    {
        name.push('_');
        name.push_str(main);
    }
    for suffix in per.as_deref().into_iter().chain(last) {
        name.push('_');
        name.push_str(suffix);
    }
    name
}

fn trim_suffix(name: &mut String, suffix: &str) {
    if name.ends_with(suffix) && name.len() > suffix.len() + 1 {
        name.truncate(name.len() - suffix.len() - 1);
    }
}

/// A UCUM unit such as `By/s` in words: (`bytes`, `per_second`). Annotations in braces are no unit.
fn unit_words(unit: &str) -> (Option<&str>, Option<String>) {
    let (main, per) = unit.split_once('/').map_or((unit, ""), |(main, per)| (main.trim(), per.trim()));
    let is_unit = |part: &&str| !part.is_empty() && !part.contains(['{', '}']);
    let main = Some(main.trim()).filter(is_unit).map(main_unit_word).filter(|word| !word.is_empty());
    let per = Some(per).filter(is_unit).map(|per| format!("per_{}", per_unit_word(per)));
    (main, per)
}

fn main_unit_word(unit: &str) -> &str {
    match unit {
        "d" => "days",
        "h" => "hours",
        "min" => "minutes",
        "s" => "seconds",
        "ms" => "milliseconds",
        "us" => "microseconds",
        "ns" => "nanoseconds",
        "By" => "bytes",
        "KiBy" => "kibibytes",
        "MiBy" => "mebibytes",
        "GiBy" => "gibibytes",
        "1" => "",
        "%" => "percent",
        other => other,
    }
}

fn per_unit_word(unit: &str) -> &str {
    match unit {
        "s" => "second",
        "m" => "minute",
        "h" => "hour",
        "d" => "day",
        "w" => "week",
        "mo" => "month",
        "y" => "year",
        other => other,
    }
}

/// Whether a name can stand without quotes.
pub(super) fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().enumerate().all(|(at, c)| belongs(c, at))
}

fn belongs(c: char, at: usize) -> bool {
    c.is_ascii_alphabetic() || c == '_' || c == ':' || (c.is_ascii_digit() && at > 0)
}

/// The name as the reader wants it. Names that are plain are left alone under every scheme.
pub(super) fn escape(name: &str, escaping: Escaping) -> Cow<'_, str> {
    if escaping == Escaping::AllowUtf8 || is_plain(name) || name.is_empty() {
        return Cow::Borrowed(name);
    }
    let mut out = String::with_capacity(name.len() + 16);
    if escaping == Escaping::Values {
        out.push_str("U__");
    }
    // A digit belongs anywhere but at the first byte.
    for (at, c) in name.char_indices() {
        match (escaping, c) {
            (Escaping::Dots | Escaping::Values, '_') => out.push_str("__"),
            (Escaping::Dots, '.') => out.push_str("_dot_"),
            (_, c) if belongs(c, at) => out.push(c),
            (Escaping::Dots, _) => out.push_str("__"),
            (Escaping::Values, c) => {
                // Writing to a string cannot fail.
                let _ = write!(out, "_{:x}_", u32::from(c));
            }
            _ => out.push('_'),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Def;

    #[test]
    fn suffixes_follow_unit_and_type() {
        let cases = [
            (Def::counter("a_accepted_spans", "", "{span}"), "a_accepted_spans_total"),
            (Def::counter("a_bytes", "", "By"), "a_bytes_total"),
            (Def::counter("a_total", "", "By"), "a_bytes_total"),
            (Def::counter_f64("a_seconds", "", "s"), "a_seconds_total"),
            (Def::gauge("memory_rss", "", "By"), "memory_rss_bytes"),
            (Def::gauge("use", "", "1"), "use_ratio"),
            (Def::gauge("speed", "", "By/s"), "speed_bytes_per_second"),
            (Def::gauge("speed", "", "{item}/s"), "speed_per_second"),
            (Def::gauge("speed_per_second", "", "By/s"), "speed_bytes_per_second"),
            (Def::histogram("http.server.request.duration", "", "s"), "http.server.request.duration_seconds"),
            (Def::updown("queue", "", ""), "queue"),
        ];
        for (def, expected) in cases {
            assert_eq!(with_suffixes(&def), expected);
        }
    }

    #[test]
    fn names_are_escaped_as_asked() {
        let cases = [
            (Escaping::AllowUtf8, "a_b.c", "a_b.c"),
            (Escaping::Underscores, "a_b.c", "a_b_c"),
            (Escaping::Underscores, "0é.1", "___1"),
            (Escaping::Dots, "a_b.c-d", "a__b_dot_c__d"),
            (Escaping::Dots, "a_b", "a_b"),
            (Escaping::Values, "a_b.c", "U__a__b_2e_c"),
            (Escaping::Values, "é", "U___e9_"),
        ];
        for (escaping, name, expected) in cases {
            assert_eq!(escape(name, escaping), expected);
        }
    }
}
