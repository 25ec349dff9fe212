//! Data points of about 260 bytes: gauges, sums, and a third histograms, ten points to a metric.

use super::text::{
    self, EPOCH_NS, METHODS, ROUTES, Random, STATUS_CODES, identity_attribute, int_attribute,
    string_attribute,
};
use millrace_wire::writer::{
    begin_message, end_message, put_double_field, put_fixed64_field, put_len_field, put_varint_field,
};

const POINTS_PER_METRIC: usize = 10;
const BOUNDS_S: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];

/// Appends an `ExportMetricsServiceRequest`; items are data points.
pub(super) fn request(out: &mut Vec<u8>, items: usize, random: &mut Random) {
    let resource_metrics = begin_message(out, 1);
    text::resource(out, random);
    let mut kind = 0;
    for (scope, count) in text::halves(items).into_iter().enumerate().filter(|(_, count)| *count > 0) {
        let scope_metrics = begin_message(out, 2);
        text::scope(out, scope);
        let mut left = count;
        while left > 0 {
            let points = left.min(POINTS_PER_METRIC);
            metric(out, kind % 3, points, random);
            kind += 1;
            left -= points;
        }
        end_message(out, scope_metrics);
    }
    end_message(out, resource_metrics);
}

fn metric(out: &mut Vec<u8>, kind: usize, points: usize, random: &mut Random) {
    let (name, description, unit) = [
        ("http.server.active_requests", "Requests being served.", "{request}"),
        ("http.server.request.body.size", "Bytes of request bodies.", "By"),
        ("http.server.request.duration", "Duration of HTTP server requests.", "s"),
    ][kind];
    let metric = begin_message(out, 2);
    put_len_field(out, 1, name.as_bytes());
    put_len_field(out, 2, description.as_bytes());
    put_len_field(out, 3, unit.as_bytes());
    let data = begin_message(out, [5, 7, 9][kind]);
    for _ in 0..points {
        if kind == 2 { histogram_point(out, random) } else { number_point(out, kind == 0, random) }
    }
    if kind > 0 {
        put_varint_field(out, 2, 2);
    }
    if kind == 1 {
        put_varint_field(out, 3, 1);
    }
    end_message(out, data);
    end_message(out, metric);
}

fn number_point(out: &mut Vec<u8>, is_double: bool, random: &mut Random) {
    let point = begin_message(out, 1);
    times(out, random);
    if is_double {
        put_double_field(out, 4, random.below(1_000_000) as f64 / 1000.0);
    } else {
        put_fixed64_field(out, 6, random.below(1 << 40));
    }
    attributes(out, 7, random);
    end_message(out, point);
}

fn histogram_point(out: &mut Vec<u8>, random: &mut Random) {
    let point = begin_message(out, 1);
    times(out, random);
    let buckets: Vec<u64> = (0..=BOUNDS_S.len()).map(|_| random.below(5000)).collect();
    put_fixed64_field(out, 4, buckets.iter().sum());
    put_double_field(out, 5, random.below(1_000_000) as f64 / 100.0);
    let packed: Vec<u8> = buckets.iter().flat_map(|count| count.to_le_bytes()).collect();
    put_len_field(out, 6, &packed);
    let packed: Vec<u8> = BOUNDS_S.iter().flat_map(|bound| bound.to_le_bytes()).collect();
    put_len_field(out, 7, &packed);
    attributes(out, 9, random);
    put_double_field(out, 11, 0.0021);
    put_double_field(out, 12, 2.4);
    end_message(out, point);
}

fn times(out: &mut Vec<u8>, random: &mut Random) {
    put_fixed64_field(out, 2, EPOCH_NS);
    put_fixed64_field(out, 3, EPOCH_NS + random.below(3_600) * 1_000_000_000);
}

fn attributes(out: &mut Vec<u8>, field: u32, random: &mut Random) {
    identity_attribute(out, field);
    string_attribute(out, field, "http.request.method", random.pick(METHODS));
    string_attribute(out, field, "http.route", random.pick(ROUTES));
    int_attribute(out, field, "http.response.status_code", random.pick(STATUS_CODES));
}
