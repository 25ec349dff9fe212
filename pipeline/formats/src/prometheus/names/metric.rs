//! Names of metrics.

use super::{Names, NoName, Suffix, only_underscores, unit};

pub(super) fn build(names: &Names, name: &str, unit: &str, suffix: Suffix) -> Result<String, NoName> {
    let Names { strategy, namespace } = names;
    if !strategy.escapes() {
        let prefixed = if namespace.is_empty() { name.to_owned() } else { format!("{namespace}_{name}") };
        return Ok(if strategy.has_suffixes() { with_suffixes(prefixed, unit, suffix) } else { prefixed });
    }
    let built = if strategy.has_suffixes() {
        escaped_with_suffixes(name, unit, suffix, namespace)
    } else {
        escaped(name, namespace)
    };
    // What is nothing but underscores says nothing, unless it was called so.
    let is_name = !built.is_empty() && (built == name || !only_underscores(&built));
    is_name.then_some(built).ok_or(NoName)
}

/// The name as it is, with its suffixes.
fn with_suffixes(mut name: String, unit: &str, suffix: Suffix) -> String {
    let last = word(suffix, unit);
    if let Some(last) = last {
        trim_suffix(&mut name, last);
    }
    let (main, per) = unit::words(unit);
    if !per.is_empty() {
        trim_suffix(&mut name, &per);
    }
    if !main.is_empty() && !name.ends_with(main) {
        name.push('_');
        name.push_str(main);
    }
    for suffix in [per.as_str(), last.unwrap_or_default()] {
        if !suffix.is_empty() {
            name.push('_');
            name.push_str(suffix);
        }
    }
    name
}

fn word(suffix: Suffix, unit: &str) -> Option<&'static str> {
    match suffix {
        Suffix::Total => Some("total"),
        Suffix::Ratio if unit == "1" => Some("ratio"),
        _ => None,
    }
}

/// Takes a suffix away, and the character before it (the Go library the byte, of whatever it is a part), unless nothing
/// would be left.
fn trim_suffix(name: &mut String, suffix: &str) {
    if name.len() > suffix.len() + 1
        && let Some(rest) = name.strip_suffix(suffix)
    {
        let end = rest.char_indices().next_back().map_or(0, |(at, _)| at);
        name.truncate(end);
    }
}

/// Runs of what does not belong, underscores included, become one underscore; words that are to be suffixes do not
/// occur twice.
fn escaped_with_suffixes(name: &str, unit: &str, suffix: Suffix, namespace: &str) -> String {
    let (main, per) = unit::words(unit);
    let (main, per) = (unit::cleaned(main), unit::cleaned(&per));
    let mut words: Vec<&str> = name.split(|c: char| !belongs(c)).filter(|word| !word.is_empty()).collect();

    let per = if per == "per_" { "" } else { per.strip_suffix('_').unwrap_or(&per) };
    let per = if words.contains(&per) { "" } else { per };
    let main = if words.contains(&&*main) { "" } else { &*main };
    let main = if per.is_empty() { main } else { main.strip_suffix('_').unwrap_or(main) };
    words.extend([main, per].into_iter().filter(|word| !word.is_empty()));
    if let Some(last) = word(suffix, unit) {
        words.retain(|word| *word != last);
        words.push(last);
    }
    if !namespace.is_empty() {
        words.insert(0, namespace);
    }
    led(words.join("_"))
}

/// Runs of what does not belong become one underscore, and are dropped at the ends; underscores stay.
fn escaped(name: &str, namespace: &str) -> String {
    let clean = |name: &str| {
        let words = name.split(|c: char| !belongs(c) && c != '_').filter(|word| !word.is_empty());
        words.collect::<Vec<_>>().join("_")
    };
    if namespace.is_empty() { led(clean(name)) } else { format!("{}_{}", clean(namespace), clean(name)) }
}

/// No name begins with a digit.
fn led(name: String) -> String {
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}

fn belongs(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == ':'
}
