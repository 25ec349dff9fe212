//! Views: what becomes of a metric before anybody reads it.

use std::borrow::Cow;
use std::sync::Arc;

use super::exponential::Shape;
use super::{Def, Kind};
use crate::config::IncludeExclude;
use crate::config::views::{InstrumentType, Selector, View};
use crate::expose::Selection;

/// The buckets that an exponential histogram has unless its view says otherwise.
const MAX_SIZE: u32 = 160;
/// How fine they are at most.
const MAX_SCALE: i32 = 20;

/// One of the ways in which a metric is shown; most have one, some views make several or none.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stream {
    pub(super) name: Cow<'static, str>,
    pub(super) help: Cow<'static, str>,
    pub(super) kind: Kind,
    /// Which labels stay; all if absent.
    pub(super) keys: Option<Selection>,
    /// Of histograms: how their values are kept.
    pub(super) buckets: Option<Buckets>,
    /// Whether the least and the greatest value are told.
    pub(super) with_min_max: bool,
}

/// How the values of a histogram are kept.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Buckets {
    Explicit(Arc<[f64]>),
    Exponential(Shape),
}

/// The ways in which `def` is shown. `is_observed` says that its values are read when somebody asks for them.
pub(super) fn streams(views: &[View], def: &'static Def, is_observed: bool) -> Vec<Stream> {
    let matching = views
        .iter()
        .filter(|view| view.selector.as_ref().is_some_and(|selector| selects(selector, def, is_observed)));
    let mut matching = matching.peekable();
    if matching.peek().is_none() {
        return vec![plain(def)];
    }
    let mut streams: Vec<Stream> = Vec::new();
    for view in matching {
        let Some(stream) = shown(view, def) else { continue };
        // Two views that say the same make one stream.
        if !streams.iter().any(|known| known.name == stream.name) {
            streams.push(stream);
        }
    }
    streams
}

/// As it is without a view.
fn plain(def: &'static Def) -> Stream {
    Stream {
        name: Cow::Borrowed(def.name),
        help: Cow::Borrowed(def.help),
        kind: def.kind,
        keys: None,
        buckets: (def.kind == Kind::Histogram).then(|| Buckets::Explicit(def.bounds.into())),
        with_min_max: true,
    }
}

/// What a view makes of a metric; nothing if it drops it.
fn shown(view: &View, def: &'static Def) -> Option<Stream> {
    let mut stream = plain(def);
    let Some(config) = &view.stream else { return Some(stream) };
    if let Some(name) = config.name.clone().filter(|name| !name.is_empty()) {
        stream.name = Cow::Owned(name);
    }
    if let Some(help) = config.description.clone().filter(|help| !help.is_empty()) {
        stream.help = Cow::Owned(help);
    }
    stream.keys = config.attribute_keys.as_ref().map(IncludeExclude::selection);
    let Some(aggregation) = &config.aggregation else { return Some(stream) };
    let is_histogram = def.kind == Kind::Histogram;
    if let Some(exponential) = &aggregation.base2_exponential_bucket_histogram {
        if is_histogram {
            stream.buckets = Some(Buckets::Exponential(Shape {
                max_scale: exponential.max_scale.unwrap_or(MAX_SCALE),
                max_size: exponential.max_size.filter(|size| *size > 0).unwrap_or(MAX_SIZE) as usize,
            }));
            stream.with_min_max = exponential.record_min_max;
        }
    } else if aggregation.default.is_some() {
        // As it is.
    } else if aggregation.drop.is_some() {
        return None;
    } else if let Some(explicit) = &aggregation.explicit_bucket_histogram {
        if is_histogram {
            stream.buckets = Some(Buckets::Explicit(explicit.boundaries.as_slice().into()));
            stream.with_min_max = explicit.record_min_max;
        }
    } else if aggregation.last_value.is_some() {
        if def.kind.is_monotonic() || def.kind == Kind::UpDown {
            stream.kind = Kind::Gauge;
        }
    } else if aggregation.sum.is_some() && is_histogram {
        stream.kind = Kind::CounterF64;
    }
    Some(stream)
}

fn selects(selector: &Selector, def: &Def, is_observed: bool) -> bool {
    let Selector { instrument_name, instrument_type, unit, meter_name, meter_version, meter_schema_url } =
        selector;
    let same = |wanted: &Option<String>, have: &str| {
        wanted.as_deref().is_none_or(|wanted| wanted.is_empty() || wanted == have)
    };
    instrument_name.as_deref().is_none_or(|pattern| pattern.is_empty() || fits(pattern, def.name))
        && instrument_type.is_none_or(|wanted| wanted == instrument(def.kind, is_observed))
        && same(unit, def.unit)
        && same(meter_name, def.scope.name)
        && same(meter_version, def.scope.version)
        && same(meter_schema_url, def.scope.schema_url)
}

fn instrument(kind: Kind, is_observed: bool) -> InstrumentType {
    match kind {
        Kind::Counter | Kind::CounterF64 if is_observed => InstrumentType::ObservableCounter,
        Kind::Counter | Kind::CounterF64 => InstrumentType::Counter,
        Kind::UpDown => InstrumentType::UpDownCounter,
        Kind::Gauge => InstrumentType::ObservableGauge,
        Kind::Histogram => InstrumentType::Histogram,
    }
}

/// Whether a name fits a pattern: `*` is any text, `?` any character. Case does not matter, as in the SDKs.
fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.to_ascii_lowercase(), name.to_ascii_lowercase());
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut at, mut position) = (0, 0);
    // Where the latest star was, and how far it has reached.
    let mut star: Option<(usize, usize)> = None;
    while position < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, position));
                at += 1;
            }
            Some(b'?') => (at, position) = (at + 1, position + 1),
            Some(byte) if *byte == name[position] => (at, position) = (at + 1, position + 1),
            _ => match &mut star {
                Some((after, reached)) => {
                    *reached += 1;
                    (at, position) = (*after + 1, *reached);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_in_the_sdks() {
        for (pattern, name, expected) in [
            ("otelcol_*", "otelcol_receiver", true),
            ("*", "", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*_b*_d", "a_b_c_b_d", true),
            ("*_b", "a_b_c", false),
            ("A.b", "a.B", true),
            ("", "a", false),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }
}
