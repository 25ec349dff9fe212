//! What a service tells about visits, as OTLP.

use super::Service;
use super::measures::{BOUNDS, Durations, Found, Measures, Operation};
use super::stories::{PRODUCTS, Warehouse};
use super::tape::{Line, Visit, Work};
use millrace_wire::Payload;
use millrace_wire::view::Number;
use millrace_wire::write::{
    Exemplar, Histogram, LogRecord, Logs, Metric, Metrics, Point, PointBody, Scope, Span, Status, StatusCode,
    Temporality, Traces, Value,
};

/// The instrumentation that all services share.
const SCOPE: Scope<'static> = Scope { name: "shop", version: env!("CARGO_PKG_VERSION"), schema_url: "" };
/// W3C: sampled.
const SAMPLED: u32 = 1;

/// The spans of a service; empty if it had nothing to do.
pub fn traces(service: Service, visits: &[Visit]) -> Payload {
    let works = || visits.iter().flat_map(|visit| visit.spans.iter().map(move |work| (visit, work)));
    let mut works = works().filter(|(_, work)| work.service == service).peekable();
    Traces::build(|traces| {
        if works.peek().is_none() {
            return;
        }
        traces.resource("", |resource| service.describe(resource)).scope(SCOPE, |_| {});
        for (visit, work) in works {
            put_span(traces, visit, work);
        }
    })
}

/// The log records of a service; empty if it had nothing to say.
pub fn logs(service: Service, visits: &[Visit]) -> Payload {
    let lines = visits.iter().flat_map(|visit| visit.lines.iter().map(move |line| (visit, line)));
    let mut lines = lines.filter(|(visit, line)| visit.spans[line.span].service == service).peekable();
    Logs::build(|logs| {
        if lines.peek().is_none() {
            return;
        }
        logs.resource("", |resource| service.describe(resource)).scope(SCOPE, |_| {});
        for (visit, line) in lines {
            put_line(logs, visit, line);
        }
    })
}

/// The metrics of a service since `opened_ns`.
pub fn metrics(
    service: Service,
    measures: &Measures,
    warehouse: &Warehouse,
    opened_ns: u64,
    now_ns: u64,
) -> Payload {
    let point = Point { start_ns: opened_ns, time_ns: now_ns, flags: 0 };
    Metrics::build(|metrics| {
        metrics.resource("", |resource| service.describe(resource)).scope(SCOPE, |_| {});
        put_uptime(metrics, point);
        put_durations(metrics, service, measures, point);
        match service {
            Service::Checkout => put_orders(metrics, measures, point),
            Service::Inventory => put_stock(metrics, warehouse, point),
            Service::Storefront | Service::Payment => {}
        }
    })
}

fn put_span(traces: &mut Traces, visit: &Visit, work: &Work) {
    let status = match work.failure {
        Some(message) => Status { code: StatusCode::Error, message },
        None => Status::default(),
    };
    let span = Span {
        trace_id: visit.trace_id,
        span_id: work.id,
        parent_span_id: work.parent,
        name: work.name,
        kind: work.kind,
        start_ns: work.start_ns,
        end_ns: work.end_ns,
        status,
        flags: SAMPLED,
        ..Span::default()
    };
    traces.span(span, |span| {
        for (key, fact) in &work.attributes {
            span.attr(key, fact.value());
        }
        if let Some(why) = work.failure {
            span.event("exception", work.end_ns, |event| {
                event.attr("exception.type", "shop.Failure").attr("exception.message", why);
            });
        }
    });
}

fn put_line(logs: &mut Logs, visit: &Visit, line: &Line) {
    let (severity_number, severity_text) = line.severity.parts();
    let record = LogRecord {
        time_ns: line.time_ns,
        observed_ns: line.time_ns,
        severity_number,
        severity_text,
        body: Some(Value::Str(&line.text)),
        flags: SAMPLED,
        trace_id: visit.trace_id,
        span_id: visit.spans[line.span].id,
        ..LogRecord::default()
    };
    logs.record(record, |attributes| {
        for (key, fact) in &line.attributes {
            attributes.attr(key, fact.value());
        }
    });
}

fn put_uptime(metrics: &mut Metrics, point: Point) {
    let metric = Metric { name: "process.uptime", description: "Since when the service runs.", unit: "s" };
    let seconds = point.time_ns.saturating_sub(point.start_ns) as f64 / 1e9;
    let now = Point { start_ns: 0, ..point };
    metrics.gauge(metric, |points| {
        points.point(now, Number::Double(seconds), |_| {});
    });
}

fn put_durations(metrics: &mut Metrics, service: Service, measures: &Measures, point: Point) {
    let (name, key) = match service {
        Service::Storefront => ("http.server.request.duration", "http.route"),
        Service::Checkout | Service::Payment | Service::Inventory => {
            ("rpc.server.call.duration", "rpc.method")
        }
    };
    let own = || measures.durations.iter().filter(|(operation, _)| operation.service == service);
    if own().next().is_none() {
        return;
    }
    let metric = Metric { name, description: "How long serving a request took.", unit: "s" };
    metrics.histogram(metric, Temporality::Cumulative, |points| {
        for (operation, durations) in own() {
            points.point(point, histogram(durations), |body| describe(body, key, operation, durations));
        }
    });
}

fn histogram(durations: &Durations) -> Histogram<'_> {
    Histogram {
        count: durations.count(),
        sum: Some(durations.sum),
        min: Some(durations.min),
        max: Some(durations.max),
        bucket_counts: &durations.buckets,
        explicit_bounds: &BOUNDS,
    }
}

fn describe(body: &mut PointBody<'_>, key: &str, operation: &Operation, durations: &Durations) {
    body.attr(key, operation.name);
    if let Some(error) = operation.error {
        body.attr("error.type", error);
    }
    if let Some(Found { seconds, time_ns, trace_id, span_id }) = durations.exemplar {
        body.exemplar(Exemplar { time_ns, value: Number::Double(seconds), trace_id, span_id }, |_| {});
    }
}

fn put_orders(metrics: &mut Metrics, measures: &Measures, point: Point) {
    let orders =
        Metric { name: "shop.orders", description: "Orders by what became of them.", unit: "{order}" };
    if !measures.orders.is_empty() {
        metrics.counter(orders, Temporality::Cumulative, |points| {
            for (outcome, count) in &measures.orders {
                let count = i64::try_from(*count).unwrap_or(i64::MAX);
                points.point(point, Number::Int(count), |body| {
                    body.attr("shop.order.outcome", *outcome);
                });
            }
        });
    }
    let revenue = Metric { name: "shop.revenue", description: "What was paid.", unit: "EUR" };
    metrics.counter(revenue, Temporality::Cumulative, |points| {
        points.point(point, Number::Double(measures.revenue_eur), |_| {});
    });
}

fn put_stock(metrics: &mut Metrics, warehouse: &Warehouse, point: Point) {
    let stock =
        Metric { name: "shop.stock", description: "How many of a product there are.", unit: "{piece}" };
    metrics.up_down_counter(stock, Temporality::Cumulative, |points| {
        for ((product, _), pieces) in PRODUCTS.iter().zip(warehouse.stock) {
            points.point(point, Number::Int(pieces), |body| {
                body.attr("shop.product", *product);
            });
        }
    });
}
