//! What the binary has been built with, as far as the configuration needs to know.

use std::fmt;

use millrace_wire::Signal;

/// What a component is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Takes telemetry in.
    Receiver,
    /// Works on it on its way.
    Processor,
    /// Sends it out.
    Exporter,
    /// Ends one pipeline and begins another.
    Connector,
    /// Serves other components or people.
    Extension,
}

impl Kind {
    /// All kinds, in the order in which they are started last.
    pub const ALL: [Self; 5] =
        [Self::Receiver, Self::Processor, Self::Exporter, Self::Connector, Self::Extension];

    /// The section of the configuration that lists them.
    #[must_use]
    pub const fn section(self) -> &'static str {
        match self {
            Self::Receiver => "receivers",
            Self::Processor => "processors",
            Self::Exporter => "exporters",
            Self::Connector => "connectors",
            Self::Extension => "extensions",
        }
    }

    /// The word for one of them.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Receiver => "receiver",
            Self::Processor => "processor",
            Self::Exporter => "exporter",
            Self::Connector => "connector",
            Self::Extension => "extension",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of signals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Signals(u8);

impl Signals {
    /// No signal.
    pub const NONE: Self = Self(0);
    /// Traces, metrics and logs.
    pub const TELEMETRY: Self = Self::NONE.and(Signal::Traces).and(Signal::Metrics).and(Signal::Logs);
    /// Every signal.
    pub const ALL: Self = Self::TELEMETRY.and(Signal::Profiles);

    /// One signal.
    #[must_use]
    pub const fn only(signal: Signal) -> Self {
        Self::NONE.and(signal)
    }

    /// These and one more.
    #[must_use]
    pub const fn and(self, signal: Signal) -> Self {
        Self(self.0 | 1 << signal as u8)
    }

    /// Whether `signal` is one of them.
    #[must_use]
    pub const fn contains(self, signal: Signal) -> bool {
        self.0 & 1 << signal as u8 != 0
    }

    /// The signals in their usual order.
    pub fn iter(self) -> impl Iterator<Item = Signal> {
        Signal::ALL.into_iter().filter(move |signal| self.contains(*signal))
    }
}

impl fmt::Display for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(Signal::name).collect();
        f.write_str(&names.join(", "))
    }
}

/// What an extension can do for another component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Deciding whether a server takes a request (`auth::authenticator`).
    ServerAuth,
    /// Saying to a destination who sends (`auth::authenticator`).
    ClientAuth,
    /// Turning requests away before a server reads them (`middlewares`).
    ServerMiddleware,
    /// Standing between a client and its destination (`middlewares`).
    ClientMiddleware,
    /// Keeping things on disk (`sending_queue::storage`).
    Storage,
}

impl Role {
    /// What it is called where it is referred to.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::ServerAuth | Self::ClientAuth => "authenticator",
            Self::ServerMiddleware | Self::ClientMiddleware => "middleware",
            Self::Storage => "storage",
        }
    }

    /// What an extension is that can do it, with the Go collector's words.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::ServerAuth => "a server authenticator",
            Self::ClientAuth => "a client authenticator",
            Self::ServerMiddleware => "a server middleware",
            Self::ClientMiddleware => "a client middleware",
            Self::Storage => "a storage extension",
        }
    }
}

/// What a type name in the configuration stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// The component's own name.
    pub canonical: &'static str,
    /// Whether the name in the configuration is an old one that draws a warning.
    pub deprecated: bool,
}

/// The components that can be configured.
pub trait Catalog {
    /// The component that a type name, old or new, stands for.
    fn canonical(&self, kind: Kind, type_name: &str) -> Option<Known>;

    /// The canonical names of a kind, for suggestions.
    fn names(&self, kind: Kind) -> Vec<&'static str>;

    /// The signals that a receiver, processor or exporter can handle.
    fn signals(&self, kind: Kind, canonical: &str) -> Signals;

    /// Whether a connector can take `from` and give `to`.
    fn connects(&self, canonical: &str, from: Signal, to: Signal) -> bool;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signal_sets_hold_what_was_put_in() {
        let set = Signals::only(Signal::Logs).and(Signal::Traces);
        assert_eq!(set.to_string(), "traces, logs");
        assert!(!set.contains(Signal::Metrics));
        assert_eq!(Signals::ALL.iter().count(), 4);
        assert_eq!(Signals::NONE.iter().count(), 0);
    }
}
