//! Which traces are recorded.

use super::SpanContext;
use crate::config::traces::{ParentBased, PlainSampler, Ratio, Sampler as Config};

/// A sampler, worked out of its configuration.
#[derive(Debug, Clone)]
pub(super) enum Sampler {
    All,
    None,
    /// Traces whose ids, read as numbers, are below this.
    Below(u64),
    ByParent(Box<ByParent>),
}

#[derive(Debug, Clone)]
pub(super) struct ByParent {
    root: Sampler,
    remote: [Sampler; 2],
    local: [Sampler; 2],
}

impl Sampler {
    /// Without a configuration every trace is recorded that does not belong to one that is not.
    pub(super) fn new(config: Option<&Config>) -> Self {
        match config {
            None => Self::by_parent(&ParentBased::default()),
            Some(Config { parent_based: Some(parent_based), .. }) => Self::by_parent(parent_based),
            Some(Config { always_off, trace_id_ratio_based, .. }) => {
                Self::plain(always_off.is_some(), trace_id_ratio_based.as_ref())
            }
        }
    }

    fn plain(always_off: bool, ratio: Option<&Ratio>) -> Self {
        match ratio.and_then(|ratio| ratio.ratio) {
            _ if always_off => Self::None,
            Some(ratio) if ratio < 1.0 => Self::Below(bound(ratio)),
            _ => Self::All,
        }
    }

    fn by_parent(config: &ParentBased) -> Self {
        let or = |config: &Option<PlainSampler>, default: Self| {
            config.as_ref().map_or(default, |PlainSampler { always_off, trace_id_ratio_based, .. }| {
                Self::plain(always_off.is_some(), trace_id_ratio_based.as_ref())
            })
        };
        Self::ByParent(Box::new(ByParent {
            root: or(&config.root, Self::All),
            remote: [
                or(&config.remote_parent_not_sampled, Self::None),
                or(&config.remote_parent_sampled, Self::All),
            ],
            local: [
                or(&config.local_parent_not_sampled, Self::None),
                or(&config.local_parent_sampled, Self::All),
            ],
        }))
    }

    /// Whether a span of that trace within that parent is recorded.
    pub(super) fn takes(&self, trace_id: &[u8; 16], parent: Option<&SpanContext>) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Below(bound) => {
                let [.., a, b, c, d, e, f, g, h] = *trace_id;
                u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 1 < *bound
            }
            Self::ByParent(samplers) => {
                let sampler = match parent {
                    None => &samplers.root,
                    Some(parent) if parent.is_remote => &samplers.remote[usize::from(parent.is_sampled)],
                    Some(parent) => &samplers.local[usize::from(parent.is_sampled)],
                };
                sampler.takes(trace_id, parent)
            }
        }
    }
}

/// The share of 63 bits, as in Go's SDK.
fn bound(ratio: f64) -> u64 {
    (ratio.clamp(0.0, 1.0) * (1_u64 << 63) as f64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(json: &str) -> Sampler {
        Sampler::new(Some(&serde_json::from_str(json).expect("a sampler")))
    }

    #[test]
    fn the_parent_decides_unless_it_is_said_otherwise() {
        let parent = |is_sampled, is_remote| {
            Some(SpanContext { trace_id: [1; 16], span_id: [1; 8], is_sampled, is_remote })
        };
        let takes = |sampler: &Sampler, parent: Option<SpanContext>| sampler.takes(&[1; 16], parent.as_ref());
        let default = Sampler::new(None);
        assert!(takes(&default, None) && takes(&default, parent(true, true)));
        assert!(!takes(&default, parent(false, true)) && !takes(&default, parent(false, false)));
        let off = sampler(
            r#"{"parent_based": {"root": {"always_off": {}}, "remote_parent_not_sampled": {"always_on": {}}}}"#,
        );
        assert!(!takes(&off, None) && takes(&off, parent(false, true)));
        assert!(takes(&sampler(r#"{"always_on": {}}"#), parent(false, true)));
        assert!(!takes(&sampler(r#"{"always_off": {}}"#), parent(true, true)));
    }

    #[test]
    fn a_share_of_traces_is_taken_by_their_ids() {
        let tenth = sampler(r#"{"trace_id_ratio_based": {"ratio": 0.1}}"#);
        let taken = (0..10_000_u64).filter(|number| {
            let mut id = [7; 16];
            // Spread over all numbers, whatever their order.
            id[8..].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
            tenth.takes(&id, None)
        });
        assert!((950..1_050).contains(&taken.count()));
        assert!(sampler(r#"{"trace_id_ratio_based": {"ratio": 1}}"#).takes(&[255; 16], None));
        assert!(!sampler(r#"{"trace_id_ratio_based": {"ratio": 0}}"#).takes(&[0; 16], None));
    }
}
