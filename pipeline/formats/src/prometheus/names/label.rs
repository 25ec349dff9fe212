//! Names of labels.

use super::{NoName, Strategy, only_underscores};
use std::borrow::Cow;

/// Each character that does not belong becomes `_`, and a name that begins with a digit is led by `key_`. Runs of
/// underscores stay as long as they are: the Go collector drops them only behind a feature gate.
pub(super) fn build(strategy: Strategy, name: &str) -> Result<Cow<'_, str>, NoName> {
    let name = if strategy.escapes() { escaped(name) } else { Cow::Borrowed(name) };
    if only_underscores(&name) { Err(NoName) } else { Ok(name) }
}

fn escaped(name: &str) -> Cow<'_, str> {
    let belongs = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let leads = name.starts_with(|c: char| c.is_ascii_digit());
    if !leads && name.chars().all(belongs) {
        return Cow::Borrowed(name);
    }
    let mut out = String::with_capacity(name.len() + 4);
    if leads {
        out.push_str("key_");
    }
    out.extend(name.chars().map(|c| if belongs(c) { c } else { '_' }));
    Cow::Owned(out)
}
