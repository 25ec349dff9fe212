//! What only one component can have: an address to listen on, a file to write.

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::source::Span;

/// What a component takes for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Thing {
    /// A TCP port of a host; an empty host is every interface.
    Address {
        /// The host.
        host: String,
        /// The port; 0 is any free one, and conflicts with none.
        port: u16,
    },
    /// A file to write to.
    File(String),
}

/// A component's claim to something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// What it claims.
    pub thing: Thing,
    /// Where that is written.
    pub span: Span,
    /// Where, in the configuration's own terms.
    pub path: String,
}

/// Warns of claims that contradict each other. It is no error, since the Go collector takes it: the second server to
/// start would find the port in use, and lines of two writers would be mixed.
pub fn check_claims(claims: &[Claim], diags: &mut Diagnostics) {
    for (index, later) in claims.iter().enumerate() {
        let Some(earlier) = claims[..index].iter().find(|earlier| contradict(&earlier.thing, &later.thing))
        else {
            continue;
        };
        let (message, help) = match &later.thing {
            Thing::Address { host, port } => (
                format!("`{host}:{port}` is listened on twice, also by {}", earlier.path),
                "give each a port of its own, or the second one cannot start",
            ),
            Thing::File(path) => (
                format!("`{path}` is written to twice, also by {}", earlier.path),
                "give each a file of its own, or their lines are mixed",
            ),
        };
        let mut warning = Diagnostic::warning(later.span, &later.path, message).help(help.to_owned());
        if earlier.span.is_written() {
            warning = warning.related(earlier.span, "the other one");
        }
        diags.push(warning);
    }
}

fn contradict(one: &Thing, other: &Thing) -> bool {
    match (one, other) {
        (Thing::Address { host: one, port }, Thing::Address { host: other, port: same }) => {
            let (one, other) = (plain_host(one), plain_host(other));
            port == same && *port != 0 && (one == other || one.is_empty() || other.is_empty())
        }
        (Thing::File(one), Thing::File(other)) => one == other && !is_device(one),
        _ => false,
    }
}

/// A host by one name; empty for every interface.
fn plain_host(host: &str) -> &str {
    match host {
        "0.0.0.0" | "::" => "",
        "127.0.0.1" | "::1" => "localhost",
        host => host,
    }
}

/// Whether writing to a path twice mixes nothing that could be read again.
fn is_device(path: &str) -> bool {
    path.is_empty() || path.starts_with("/dev/") || path.starts_with("/proc/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_port_contradicts_on_the_same_interface_only() {
        let address = |host: &str, port| Thing::Address { host: host.to_owned(), port };
        for (one, other, expected) in [
            (("localhost", 1), ("localhost", 1), true),
            (("localhost", 1), ("127.0.0.1", 1), true),
            (("0.0.0.0", 1), ("localhost", 1), true),
            (("", 1), ("10.0.0.1", 1), true),
            (("10.0.0.2", 1), ("10.0.0.1", 1), false),
            (("localhost", 1), ("localhost", 2), false),
            (("localhost", 0), ("localhost", 0), false),
        ] {
            let found = contradict(&address(one.0, one.1), &address(other.0, other.1));
            assert_eq!(found, expected, "{one:?} {other:?}");
        }
        assert!(contradict(&Thing::File("a".to_owned()), &Thing::File("a".to_owned())));
        assert!(!contradict(&Thing::File("/dev/null".to_owned()), &Thing::File("/dev/null".to_owned())));
    }
}
