//! The services of the shop.

use millrace_wire::write::Attributes;

/// A service: what has a resource of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Service {
    /// What browsers talk to.
    Storefront,
    /// Takes orders.
    Checkout,
    /// Charges cards.
    Payment,
    /// Knows what there is.
    Inventory,
}

/// How a service sends its telemetry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// OTLP/gRPC.
    Grpc,
    /// OTLP/HTTP with protobuf bodies.
    Http,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Storefront, Self::Checkout, Self::Payment, Self::Inventory];

    /// `service.name`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Storefront => "storefront",
            Self::Checkout => "checkout",
            Self::Payment => "payment",
            Self::Inventory => "inventory",
        }
    }

    /// How it would rather send.
    pub const fn transport(self) -> Transport {
        match self {
            Self::Storefront | Self::Payment => Transport::Http,
            Self::Checkout | Self::Inventory => Transport::Grpc,
        }
    }

    /// Writes what all its telemetry has in common.
    pub fn describe(self, resource: &mut Attributes<'_>) {
        let (version, instance) = match self {
            Self::Storefront => ("3.1.0", "storefront-7c9d"),
            Self::Checkout => ("1.14.2", "checkout-5f6b"),
            Self::Payment => ("2.0.1", "payment-8b44"),
            Self::Inventory => ("0.9.7", "inventory-66c8"),
        };
        resource
            .attr("service.name", self.name())
            .attr("service.namespace", "shop")
            .attr("service.version", version)
            .attr("service.instance.id", instance)
            .attr("deployment.environment.name", "demo");
    }
}
