//! Words, numbers and attribute writers that the three corpora share.

use crate::ids;
use millrace_wire::writer::{begin_message, end_message, put_len_field, put_varint_field};

/// 2026-03-01, so that every build of the corpus is the same.
pub(super) const EPOCH_NS: u64 = 1_772_323_200_000_000_000;

pub(super) const SERVICES: &[&str] =
    &["checkout", "cart", "payments", "catalog", "search-frontend", "shipping", "recommendation", "identity"];
pub(super) const ROUTES: &[&str] = &[
    "/api/v2/orders/{orderId}",
    "/api/v2/orders/{orderId}/items",
    "/api/v1/customers/{customerId}/addresses",
    "/api/v1/catalog/search",
    "/internal/inventory/reserve",
    "/healthz",
    "/api/v3/payments/authorise",
];
pub(super) const METHODS: &[&str] = &["GET", "POST", "PUT", "DELETE", "PATCH"];
pub(super) const STATUS_CODES: &[u64] = &[200, 200, 200, 201, 204, 304, 400, 404, 500, 503];
pub(super) const TABLES: &[&str] = &["orders", "order_items", "customers", "inventory", "payments"];
pub(super) const AGENTS: &[&str] = &[
    "Mozilla/5.0 (X11; Linux x86_64) Firefox/139.0",
    "okhttp/5.1.0",
    "python-requests/2.32.4",
    "Go-http-client/2.0",
];
pub(super) const SENTENCES: &[&str] = &[
    "order accepted and handed to the fulfilment queue",
    "cache miss, reading through to the primary",
    "retrying after a timeout from the payment provider",
    "customer profile refreshed from the directory",
    "inventory reservation expired before the checkout was confirmed",
    "request completed",
];

/// A small seeded generator (xorshift-multiply); the corpus needs variety, not quality.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(ids::scramble(seed.wrapping_add(0x9e37_79b9)) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 33) % limit
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    pub(super) fn hex(&mut self) -> String {
        format!("{:016x}", self.next())
    }
}

/// Appends a string attribute as field `field`.
pub(super) fn string_attribute(out: &mut Vec<u8>, field: u32, key: &str, value: &str) {
    let attribute = begin_message(out, field);
    put_len_field(out, 1, key.as_bytes());
    let any = begin_message(out, 2);
    put_len_field(out, 1, value.as_bytes());
    end_message(out, any);
    end_message(out, attribute);
}

/// Appends an integer attribute as field `field`.
pub(super) fn int_attribute(out: &mut Vec<u8>, field: u32, key: &str, value: u64) {
    let attribute = begin_message(out, field);
    put_len_field(out, 1, key.as_bytes());
    let any = begin_message(out, 2);
    put_varint_field(out, 3, value);
    end_message(out, any);
    end_message(out, attribute);
}

/// Appends a boolean attribute as field `field`.
pub(super) fn bool_attribute(out: &mut Vec<u8>, field: u32, key: &str, value: bool) {
    let attribute = begin_message(out, field);
    put_len_field(out, 1, key.as_bytes());
    let any = begin_message(out, 2);
    put_varint_field(out, 2, u64::from(value));
    end_message(out, any);
    end_message(out, attribute);
}

/// Appends the identity attribute with a placeholder value.
pub(super) fn identity_attribute(out: &mut Vec<u8>, field: u32) {
    string_attribute(out, field, ids::ATTRIBUTE, &"0".repeat(ids::HEX_LEN));
}

/// Appends the resource (field 1 of `ResourceSpans`, `ResourceLogs` and `ResourceMetrics`): eight attributes.
pub(super) fn resource(out: &mut Vec<u8>, random: &mut Random) {
    let service = random.pick(SERVICES);
    let resource = begin_message(out, 1);
    string_attribute(out, 1, "service.name", service);
    string_attribute(out, 1, "service.version", "4.18.2");
    string_attribute(out, 1, "service.instance.id", &format!("{}-{}", random.hex(), random.below(100)));
    string_attribute(out, 1, "deployment.environment.name", "production");
    string_attribute(out, 1, "k8s.namespace.name", "shop");
    string_attribute(out, 1, "k8s.pod.name", &format!("{service}-{}", &random.hex()[..10]));
    string_attribute(out, 1, "host.name", &format!("ip-10-0-{}-{}", random.below(256), random.below(256)));
    int_attribute(out, 1, "process.pid", 1 + random.below(60_000));
    end_message(out, resource);
}

/// Appends an instrumentation scope (field 1 of the scope messages).
pub(super) fn scope(out: &mut Vec<u8>, index: usize) {
    let (name, version) = [
        ("io.opentelemetry.instrumentation.http", "2.14.0"),
        ("io.opentelemetry.instrumentation.database", "1.3.1"),
    ][index % 2];
    let scope = begin_message(out, 1);
    put_len_field(out, 1, name.as_bytes());
    put_len_field(out, 2, version.as_bytes());
    end_message(out, scope);
}

/// How many of `items` go into the first and second scope.
pub(super) fn halves(items: usize) -> [usize; 2] {
    [items - items / 2, items / 2]
}
