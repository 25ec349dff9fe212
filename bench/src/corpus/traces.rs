//! Spans of about 700 bytes.

use super::SPANS_PER_TRACE;
use super::text::{
    self, AGENTS, EPOCH_NS, METHODS, ROUTES, Random, STATUS_CODES, TABLES, bool_attribute, int_attribute,
    string_attribute,
};
use millrace_wire::writer::{
    begin_message, end_message, put_fixed32_field, put_fixed64_field, put_len_field, put_varint_field,
};

/// Appends an `ExportTraceServiceRequest`.
pub(super) fn request(out: &mut Vec<u8>, items: usize, random: &mut Random) {
    let resource_spans = begin_message(out, 1);
    text::resource(out, random);
    let mut index = 0;
    for (scope, count) in text::halves(items).into_iter().enumerate().filter(|(_, count)| *count > 0) {
        let scope_spans = begin_message(out, 2);
        text::scope(out, scope);
        for _ in 0..count {
            span(out, index, scope, random);
            index += 1;
        }
        end_message(out, scope_spans);
    }
    end_message(out, resource_spans);
}

fn span(out: &mut Vec<u8>, index: usize, scope: usize, random: &mut Random) {
    let start = EPOCH_NS + random.below(3_600_000_000_000);
    let duration = 50_000 + random.below(400_000_000);
    let status = random.pick(STATUS_CODES);
    let span = begin_message(out, 2);
    put_len_field(out, 1, &[1; 16]);
    put_len_field(out, 2, &[1; 8]);
    if !index.is_multiple_of(SPANS_PER_TRACE) {
        put_len_field(out, 4, &[1; 8]);
    }
    let method = random.pick(METHODS);
    let route = random.pick(ROUTES);
    let table = random.pick(TABLES);
    let name = if scope == 0 { format!("{method} {route}") } else { format!("SELECT shop.{table}") };
    put_len_field(out, 5, name.as_bytes());
    put_varint_field(out, 6, if scope == 0 { 2 } else { 3 });
    put_fixed64_field(out, 7, start);
    put_fixed64_field(out, 8, start + duration);
    if scope == 0 {
        server_attributes(out, method, route, status, random);
    } else {
        database_attributes(out, table, random);
    }
    for event in 0..1 + index % 2 {
        span_event(out, start + duration / (2 + event as u64), event, random);
    }
    let outcome = begin_message(out, 15);
    if status >= 500 {
        put_len_field(out, 2, b"upstream answered with a server error");
        put_varint_field(out, 3, 2);
    } else {
        put_varint_field(out, 3, 1);
    }
    end_message(out, outcome);
    put_fixed32_field(out, 16, 0x101);
    end_message(out, span);
}

fn server_attributes(out: &mut Vec<u8>, method: &str, route: &str, status: u64, random: &mut Random) {
    string_attribute(out, 9, "http.request.method", method);
    string_attribute(out, 9, "http.route", route);
    string_attribute(out, 9, "url.path", &route.replace("{orderId}", &random.below(10_000_000).to_string()));
    string_attribute(out, 9, "url.scheme", "https");
    int_attribute(out, 9, "http.response.status_code", status);
    string_attribute(out, 9, "server.address", "shop.example.com");
    int_attribute(out, 9, "server.port", 443);
    string_attribute(out, 9, "client.address", &format!("203.0.113.{}", random.below(256)));
    string_attribute(out, 9, "user_agent.original", random.pick(AGENTS));
    string_attribute(out, 9, "network.protocol.version", "1.1");
    string_attribute(out, 9, "user.id", &random.hex());
    string_attribute(out, 9, "user.email", &format!("customer{}@example.org", random.below(100_000)));
    bool_attribute(out, 9, "feature.express_checkout", random.below(2) == 0);
}

fn database_attributes(out: &mut Vec<u8>, table: &str, random: &mut Random) {
    string_attribute(out, 9, "db.system.name", "postgresql");
    string_attribute(out, 9, "db.namespace", "shop");
    string_attribute(out, 9, "db.collection.name", table);
    string_attribute(out, 9, "db.operation.name", "SELECT");
    let query =
        format!("SELECT id, state, total FROM {table} WHERE customer_id = $1 AND state <> $2 LIMIT 50");
    string_attribute(out, 9, "db.query.text", &query);
    int_attribute(out, 9, "db.response.returned_rows", random.below(50));
    string_attribute(out, 9, "server.address", "orders-primary.db.internal");
    int_attribute(out, 9, "server.port", 5432);
    string_attribute(
        out,
        9,
        "network.peer.address",
        &format!("10.2.{}.{}", random.below(16), random.below(256)),
    );
    string_attribute(out, 9, "thread.name", &format!("worker-{}", random.below(64)));
    int_attribute(out, 9, "thread.id", random.below(64));
    string_attribute(out, 9, "request.id", &random.hex());
}

fn span_event(out: &mut Vec<u8>, time: u64, kind: usize, random: &mut Random) {
    let event = begin_message(out, 11);
    put_fixed64_field(out, 1, time);
    if kind == 0 {
        put_len_field(out, 2, b"message");
        string_attribute(out, 3, "message.type", "RECEIVED");
        int_attribute(out, 3, "message.id", random.below(100_000));
        int_attribute(out, 3, "message.uncompressed_size", random.below(20_000));
    } else {
        put_len_field(out, 2, b"cache.lookup");
        bool_attribute(out, 3, "cache.hit", random.below(3) > 0);
        string_attribute(out, 3, "cache.backend", "redis-02");
        string_attribute(out, 3, "cache.key", &random.hex());
    }
    end_message(out, event);
}
