//! Verbosity `detailed`: a line per field. Irregularities of the layout are the Go collector's.

use super::metric_points::metric_data;
use super::next;
use super::number::{Id, Time};
use super::value::Typed;
use millrace_wire::view::{
    Attributes, Event, Link, LogRecord, Logs, Metric, MetricData, Metrics, Repeated, Resource, Scope, Span,
    Text, Traces,
};
use std::fmt::{self, Display, Write};

pub(super) fn traces(out: &mut dyn Write, traces: Traces<'_>, resources: &mut usize) -> fmt::Result {
    for group in traces.resource_spans() {
        writeln!(out, "ResourceSpans #{}", next(resources))?;
        resource(out, group.schema_url(), group.resource())?;
        for (index, group) in group.scope_spans().enumerate() {
            writeln!(out, "ScopeSpans #{index}\nScopeSpans SchemaURL: {}", group.schema_url())?;
            scope(out, group.scope())?;
            for (index, item) in group.spans().enumerate() {
                writeln!(out, "Span #{index}")?;
                span(out, item)?;
            }
        }
    }
    Ok(())
}

pub(super) fn metrics(out: &mut dyn Write, metrics: Metrics<'_>, resources: &mut usize) -> fmt::Result {
    for group in metrics.resource_metrics() {
        writeln!(out, "ResourceMetrics #{}", next(resources))?;
        resource(out, group.schema_url(), group.resource())?;
        for (index, group) in group.scope_metrics().enumerate() {
            writeln!(out, "ScopeMetrics #{index}\nScopeMetrics SchemaURL: {}", group.schema_url())?;
            scope(out, group.scope())?;
            for (index, item) in group.metrics().enumerate() {
                writeln!(out, "Metric #{index}")?;
                metric(out, item)?;
            }
        }
    }
    Ok(())
}

pub(super) fn logs(out: &mut dyn Write, logs: Logs<'_>, resources: &mut usize) -> fmt::Result {
    for group in logs.resource_logs() {
        writeln!(out, "ResourceLog #{}", next(resources))?;
        resource(out, group.schema_url(), group.resource())?;
        for (index, group) in group.scope_logs().enumerate() {
            writeln!(out, "ScopeLogs #{index}\nScopeLogs SchemaURL: {}", group.schema_url())?;
            scope(out, group.scope())?;
            for (index, item) in group.log_records().enumerate() {
                writeln!(out, "LogRecord #{index}")?;
                log_record(out, item)?;
            }
        }
    }
    Ok(())
}

/// A heading and the attributes below it; nothing if there are none.
pub(super) fn attributes(
    out: &mut dyn Write,
    heading: &str,
    indent: &str,
    attributes: Attributes<'_>,
) -> fmt::Result {
    for (index, entry) in attributes.iter().enumerate() {
        if index == 0 {
            writeln!(out, "{heading}:")?;
        }
        writeln!(out, "{indent}     -> {}: {}", entry.key(), Typed(entry.value()))?;
    }
    Ok(())
}

fn resource(out: &mut dyn Write, schema_url: Text<'_>, resource: Resource<'_>) -> fmt::Result {
    writeln!(out, "Resource SchemaURL: {schema_url}")?;
    attributes(out, "Resource attributes", "", resource.attributes())?;
    for (index, entity) in resource.entity_refs().enumerate() {
        if index == 0 {
            writeln!(out, "Resource entity refs:")?;
        }
        writeln!(out, "     -> Entity ref #{index}:\n          -> Type: {}", entity.entity_type())?;
        if !entity.schema_url().is_empty() {
            writeln!(out, "          -> Schema URL: {}", entity.schema_url())?;
        }
        keys(out, "ID keys", entity.id_keys())?;
        keys(out, "Description keys", entity.description_keys())?;
    }
    Ok(())
}

fn keys<'a>(out: &mut dyn Write, heading: &str, keys: Repeated<'a, Text<'a>>) -> fmt::Result {
    for (index, key) in keys.enumerate() {
        if index == 0 {
            writeln!(out, "          -> {heading}:")?;
        }
        writeln!(out, "               -> {key}")?;
    }
    Ok(())
}

fn scope(out: &mut dyn Write, scope: Scope<'_>) -> fmt::Result {
    writeln!(out, "InstrumentationScope {} {}", scope.name(), scope.version())?;
    attributes(out, "InstrumentationScope attributes", "", scope.attributes())
}

fn span(out: &mut dyn Write, span: Span<'_>) -> fmt::Result {
    let mut field = |name: &str, value: &dyn Display| writeln!(out, "    {name:<15}: {value}");
    field("Trace ID", &Id(span.trace_id_bytes()))?;
    field("Parent ID", &Id(span.parent_span_id_bytes()))?;
    field("ID", &Id(span.span_id_bytes()))?;
    field("Name", &span.name())?;
    let kind = match span.kind() {
        0 => "Unspecified",
        Span::INTERNAL => "Internal",
        Span::SERVER => "Server",
        Span::CLIENT => "Client",
        Span::PRODUCER => "Producer",
        Span::CONSUMER => "Consumer",
        _ => "",
    };
    field("Kind", &kind)?;
    if !span.trace_state().is_empty() {
        field("TraceState", &span.trace_state())?;
    }
    field("Start time", &Time(span.start_ns()))?;
    field("End time", &Time(span.end_ns()))?;
    let code = match span.status().code() {
        0 => "Unset",
        1 => "Ok",
        2 => "Error",
        _ => "",
    };
    field("Status code", &code)?;
    field("Status message", &span.status().message())?;
    field("DroppedAttributesCount", &span.dropped_attributes_count())?;
    field("DroppedEventsCount", &span.dropped_events_count())?;
    field("DroppedLinksCount", &span.dropped_links_count())?;
    attributes(out, "Attributes", "", span.attributes())?;
    events(out, span.events())?;
    links(out, span.links())
}

fn events<'a>(out: &mut dyn Write, events: Repeated<'a, Event<'a>>) -> fmt::Result {
    for (index, event) in events.enumerate() {
        if index == 0 {
            writeln!(out, "Events:")?;
        }
        writeln!(out, "SpanEvent #{index}\n     -> Name: {}", event.name())?;
        writeln!(out, "     -> Timestamp: {}", Time(event.time_ns()))?;
        writeln!(out, "     -> DroppedAttributesCount: {}", event.dropped_attributes_count())?;
        attributes(out, "     -> Attributes:", "     ", event.attributes())?;
    }
    Ok(())
}

fn links<'a>(out: &mut dyn Write, links: Repeated<'a, Link<'a>>) -> fmt::Result {
    for (index, link) in links.enumerate() {
        if index == 0 {
            writeln!(out, "Links:")?;
        }
        writeln!(out, "SpanLink #{index}\n     -> Trace ID: {}", Id(link.trace_id_bytes()))?;
        writeln!(out, "     -> ID: {}", Id(link.span_id_bytes()))?;
        writeln!(out, "     -> TraceState: {}", link.trace_state())?;
        writeln!(out, "     -> DroppedAttributesCount: {}", link.dropped_attributes_count())?;
        attributes(out, "     -> Attributes:", "     ", link.attributes())?;
    }
    Ok(())
}

fn metric(out: &mut dyn Write, metric: Metric<'_>) -> fmt::Result {
    let data = metric.data();
    let kind = match data {
        None => "Empty",
        Some(MetricData::Gauge(_)) => "Gauge",
        Some(MetricData::Sum(_)) => "Sum",
        Some(MetricData::Histogram(_)) => "Histogram",
        Some(MetricData::ExponentialHistogram(_)) => "ExponentialHistogram",
        Some(MetricData::Summary(_)) => "Summary",
    };
    writeln!(out, "Descriptor:\n     -> Name: {}", metric.name())?;
    writeln!(out, "     -> Description: {}", metric.description())?;
    writeln!(out, "     -> Unit: {}\n     -> DataType: {kind}", metric.unit())?;
    attributes(out, "     -> Metadata", "     ", metric.metadata())?;
    metric_data(out, data)
}

fn log_record(out: &mut dyn Write, record: LogRecord<'_>) -> fmt::Result {
    writeln!(out, "ObservedTimestamp: {}", Time(record.observed_time_ns()))?;
    writeln!(out, "Timestamp: {}", Time(record.time_ns()))?;
    writeln!(out, "SeverityText: {}", record.severity_text())?;
    let number = record.severity_number();
    writeln!(out, "SeverityNumber: {}({number})", Severity(number))?;
    if !record.event_name().is_empty() {
        writeln!(out, "EventName: {}", record.event_name())?;
    }
    writeln!(out, "Body: {}", Typed(record.body()))?;
    attributes(out, "Attributes", "", record.attributes())?;
    writeln!(out, "Trace ID: {}\nSpan ID: {}", Id(record.trace_id_bytes()), Id(record.span_id_bytes()))?;
    writeln!(out, "Flags: {}", record.flags())
}

/// `Info`, `Info2` … `Info4`: six levels of four each, from 1 on.
struct Severity(i32);

impl Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LEVELS: [&str; 6] = ["Trace", "Debug", "Info", "Warn", "Error", "Fatal"];
        match self.0 {
            0 => f.write_str("Unspecified"),
            number @ 1..=24 => {
                let (level, step) = ((number - 1) / 4, (number - 1) % 4 + 1);
                f.write_str(LEVELS[level as usize])?;
                if step > 1 { step.fmt(f) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }
}
