//! Whatever names and labels a sender makes up, what is served stays in form.

use millrace_formats::prometheus::names::{Names, Strategy, Suffix};
use millrace_formats::prometheus::{
    Escaping, Exposition, Family, Format, Kind, Offer, OpenMetrics, Syntax, Value, escape, is_plain,
    negotiate,
};
use proptest::prelude::*;

const ESCAPED: [Strategy; 2] =
    [Strategy::UnderscoreEscapingWithSuffixes, Strategy::UnderscoreEscapingWithoutSuffixes];

proptest! {
    #[test]
    fn escaped_names_can_be_read_by_any_scraper(name in ".*", unit in ".*", namespace in "[a-z]{0,3}") {
        for strategy in ESCAPED {
            let names = Names::new(strategy, &namespace);
            for suffix in [Suffix::Total, Suffix::Ratio, Suffix::None] {
                if let Ok(name) = names.metric(&name, &unit, suffix) {
                    prop_assert!(is_plain(&name), "{name}");
                }
            }
            if let Ok(label) = names.label(&name) {
                prop_assert!(is_plain(&label) && !label.contains(':'), "{label}");
            }
        }
        for escaping in [Escaping::Underscores, Escaping::Dots, Escaping::Values] {
            prop_assert!(name.is_empty() || is_plain(&escape(&name, escaping)));
        }
    }

    #[test]
    fn a_sample_stays_on_its_line(name in ".+", label in ".+", value in ".*", help in ".*", accept in ".*") {
        let offer = Offer { open_metrics: OpenMetrics::IfPreferred, protobuf: false };
        for escaping in [Escaping::AllowUtf8, negotiate(Some(&accept), offer).escaping] {
            let mut out = Exposition::new(Format { syntax: Syntax::Plain, escaping });
            out.family(Family { name: &name, help: &help, kind: Kind::Gauge });
            out.sample([(label.as_str(), value.as_str())], None, &Value::Number(1.0));
            let text = String::from_utf8(out.finish()).expect("text is UTF-8");
            let lines: Vec<_> = text.split_terminator('\n').collect();
            prop_assert_eq!(lines.len(), 3, "{}", text);
            let in_form = lines[0].starts_with("# HELP ") && lines[1].ends_with(" gauge") && lines[2].ends_with("} 1");
            prop_assert!(in_form, "{text}");
        }
    }
}
