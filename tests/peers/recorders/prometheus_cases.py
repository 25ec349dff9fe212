#!/usr/bin/env python3
"""Writes the cases of exporters/src/prometheus/testdata/cases.json: configurations of the prometheus exporter, and the
requests that it gets, as OTLP/JSON. Those that name something of the Go collector's that we do differently on purpose
are not here but in the exporter's own tests.

    tests/peers/recorders/prometheus_cases.py        write the cases
    tests/peers/recorders/prometheus_exporter.py     then record what the Go collector serves for them
"""

import json
from pathlib import Path

TESTDATA = Path(__file__).resolve().parents[3] / "exporters/src/prometheus/testdata"
SECOND = 1_000_000_000
T0 = 1_700_000_000


def value(v):
    if isinstance(v, bool):
        return {"boolValue": v}
    if isinstance(v, int):
        return {"intValue": str(v)}
    if isinstance(v, float):
        return {"doubleValue": v}
    if isinstance(v, bytes):
        return {"bytesValue": __import__("base64").b64encode(v).decode()}
    if isinstance(v, list):
        return {"arrayValue": {"values": [value(x) for x in v]}}
    if isinstance(v, dict):
        return {"kvlistValue": {"values": attributes(v)}}
    return {"stringValue": v}


def attributes(d):
    return [{"key": k, "value": value(v)} for k, v in d.items()]


def at(second, start=None):
    times = {"timeUnixNano": str((T0 + second) * SECOND + 123_000_000)}
    if start is not None:
        times["startTimeUnixNano"] = str((T0 + start) * SECOND + 123_000_000)
    return times


def point(v, second=60, start=None, flags=0, exemplars=(), **attrs):
    number = {"asInt": str(v)} if isinstance(v, int) else {"asDouble": v}
    return dict(at(second, start), **number, attributes=attributes(attrs.pop("attrs", attrs)),
                exemplars=list(exemplars), flags=flags)


def exemplar(v, second, trace=None, span=None):
    result = {"timeUnixNano": str((T0 + second) * SECOND), "asDouble": v}
    if trace:
        result["traceId"] = trace
    if span:
        result["spanId"] = span
    return result


# The Go client library writes several labels of an exemplar in random order, so each has one.
TRACE, SPAN = "0102030405060708090a0b0c0d0e0f10", "a1a2a3a4a5a6a7a8"


def gauge(name, *points, unit="", description=""):
    return {"name": name, "unit": unit, "description": description, "gauge": {"dataPoints": list(points)}}


def total(name, *points, unit="", description="", temporality=2, monotonic=True):
    return {"name": name, "unit": unit, "description": description,
            "sum": {"dataPoints": list(points), "aggregationTemporality": temporality, "isMonotonic": monotonic}}


def histogram(name, *points, unit="", description="", temporality=2):
    return {"name": name, "unit": unit, "description": description,
            "histogram": {"dataPoints": list(points), "aggregationTemporality": temporality}}


def buckets(count, total, bounds, counts, second=60, start=None, exemplars=(), flags=0, **attrs):
    result = dict(at(second, start), count=str(count), explicitBounds=bounds, bucketCounts=[str(c) for c in counts],
                  attributes=attributes(attrs), exemplars=list(exemplars), flags=flags)
    return result if total is None else dict(result, sum=total)


def exponential(name, *points, unit="", description="", temporality=2):
    return {"name": name, "unit": unit, "description": description,
            "exponentialHistogram": {"dataPoints": list(points), "aggregationTemporality": temporality}}


def native(count, total, scale, positive, negative=(0, []), zero=0, second=60, start=None, exemplars=(),
           threshold=0.0, **attrs):
    side = lambda s: {"offset": s[0], "bucketCounts": [str(c) for c in s[1]]}
    return dict(at(second, start), count=str(count), sum=total, scale=scale, positive=side(positive),
                negative=side(negative), zeroCount=str(zero), zeroThreshold=threshold,
                attributes=attributes(attrs), exemplars=list(exemplars))


def summary(name, *points, unit="", description=""):
    return {"name": name, "unit": unit, "description": description, "summary": {"dataPoints": list(points)}}


def quantiles(count, total, values, second=60, start=None, flags=0, **attrs):
    return dict(at(second, start), count=str(count), sum=total, attributes=attributes(attrs), flags=flags,
                quantileValues=[{"quantile": q, "value": v} for q, v in values])


def scope(*metrics, name="", version="", schema="", attrs=None):
    return {"scope": {"name": name, "version": version, "attributes": attributes(attrs or {})}, "schemaUrl": schema,
            "metrics": list(metrics)}


def resource(*scopes, **attrs):
    return {"resource": {"attributes": attributes(attrs.pop("attrs", attrs))}, "scopeMetrics": list(scopes)}


def request(*resources):
    return {"resourceMetrics": list(resources)}


def one(*metrics, **attrs):
    return request(resource(scope(*metrics), **attrs))


SHOP = {"attrs": {"service.name": "shop", "service.namespace": "web", "service.instance.id": "i-1",
                  "host.name": "h\"1", "deployment.environment": "prod", "n": 4}}

VARIED = request(
    resource(
        scope(
            gauge("process.memory.usage", point(12, host="a"), point(1.5, host="b"), unit="By", description="In use."),
            gauge("cpu.utilization", point(0.25, cpu="0"), point(1e-9, cpu="1"), unit="1"),
            gauge("no.attributes", point(3)),
            gauge("types", point(1, attrs={"b": True, "i": -7, "d": 2.5, "l": [1, "x", None and 0 or 2.0],
                                           "m": {"k": "v", "a": 1}, "y": b"\x00\xff"})),
            gauge("escapes", point(1, attrs={"q": "a\"b\\c\nd", "über": "é", "1st": "x", "a-b": "y", "d..d": "z"}),
                  description="A \"quoted\"\nline \\ slash"),
            gauge("2xx.responses", point(17.25)),
            gauge("infinite", point(1e300, k="big"), point(123456789.0, k="medium"), point(1e21, k="large")),
            total("http.requests", point(1027, start=0, method="post", code=200), point(3, start=0, method="post", code=400),
                  unit="{request}", description="Requests."),
            total("io", point(1.0e7, start=0), unit="By/s"),
            total("queue.size", point(-5), monotonic=False, unit="1"),
            total("bytes_total", point(5, start=0), unit="By"),
            histogram("http.server.duration", buckets(10, 123.5, [5.0, 10.0, 25.5], [1, 2, 3, 4], start=0, route="/"),
                      buckets(3, None, [5.0, 10.0, 25.5], [0, 1, 2, 0], start=0, route="/x"), unit="ms"),
            histogram("no.buckets", buckets(4, 8.0, [], [4], start=0)),
            summary("rpc.latency", quantiles(20, 99.5, [(0.5, 1.25), (0.9, 3.0), (0.99, 1e-5)], start=0, service="a"), unit="s"),
            exponential("payload.size", native(10, 100.0, 1, (-2, [1, 2, 0, 3]), (0, [1]), zero=3, start=0), unit="By"),
            name="my.lib", version="1.2.3", schema="https://example.com/1", attrs={"scope.attr": "s", "name": "hidden"},
        ),
        scope(gauge("from.another.scope", point(1))),
        **SHOP,
    ),
    resource(scope(gauge("no.attributes", point(4))), **{"service.name": "other"}),
    resource(scope(gauge("without.resource", point(5)))),
    resource(scope(gauge("x", point(6))), attrs={"service.name": "third", "service.instance.id": "i-3", "a.b": "1", "z": ""}),
)

CASES = {
    "varied": {"requests": [VARIED]},
    "without_scope": {"config": {"without_scope_info": True, "namespace": "my-ns",
                                 "const_labels": {"cluster": "c1", "a": "first"}}, "requests": [VARIED]},
    "without_suffixes": {"config": {"add_metric_suffixes": False, "without_scope_info": True}, "requests": [VARIED]},
    "escaped": {"config": {"translation_strategy": "UnderscoreEscapingWithoutSuffixes", "namespace": "my-ns"},
                "requests": [VARIED]},
    "timestamps": {"config": {"send_timestamps": True, "without_scope_info": True}, "requests": [VARIED]},
    "untranslated": {"config": {"translation_strategy": "NoTranslation", "without_scope_info": True},
                     "requests": [VARIED]},
    "utf8_suffixes": {"config": {"translation_strategy": "NoUTF8EscapingWithSuffixes", "namespace": "n.s"},
                      "requests": [VARIED]},
    "resource_labels": {"config": {"resource_to_telemetry_conversion": {"enabled": True}, "without_scope_info": True},
                        "requests": [VARIED]},
    "colliding_resource": {"requests": [request(resource(scope(gauge("x", point(6))), attrs={
        "service.name": "third", "service.instance.id": "i-3", "a.b": "1", "a_b": "2", "job": "mine"}))]},
    "open_metrics": {
        "config": {"enable_open_metrics": True, "without_scope_info": True},
        "requests": [
            VARIED,
            one(
                total("with.exemplar", point(5, start=0, exemplars=[exemplar(1.0, 30, TRACE), exemplar(2.5, 31, TRACE)])),
                total("with.anonymous.exemplar", point(5, start=0, exemplars=[exemplar(1.0, 30)])),
                total("falls", point(5, start=0, exemplars=[exemplar(1.0, 30, TRACE)]), monotonic=False),
                histogram("h.exemplars", buckets(6, 60.0, [1.0, 10.0], [1, 2, 3], start=0, exemplars=[
                    exemplar(0.5, 30, TRACE), exemplar(0.75, 31, TRACE), exemplar(10.0, 32, TRACE),
                    exemplar(99.0, 33, None, SPAN)])),
                exponential("n.exemplars", native(3, 3.0, 0, (0, [3]), start=0, exemplars=[exemplar(1.5, 30, TRACE)])),
            ),
        ],
    },
    "last_value": {
        "config": {"without_scope_info": True},
        "requests": [
            one(gauge("g", point(1, 10, k="a"), point(2, 10, k="b")),
                total("c", point(10, 10, start=0)), total("ups", point(10, 10), monotonic=False),
                histogram("h", buckets(3, 3.0, [1.0], [1, 2], 10, start=0)),
                summary("s", quantiles(1, 1.0, [(0.5, 1.0)], 10, start=0)),
                exponential("e", native(3, 3.0, 0, (0, [3]), second=10, start=0)), **{"service.name": "a"}),
            # Older than what is there: ignored.
            one(gauge("g", point(100, 5, k="a"), point(20, 11, k="b")),
                total("c", point(5, 9, start=0)), total("ups", point(5, 9), monotonic=False),
                histogram("h", buckets(1, 1.0, [1.0], [1, 0], 9, start=0)),
                summary("s", quantiles(9, 9.0, [(0.5, 9.0)], 9, start=0)),
                exponential("e", native(1, 1.0, 0, (0, [1]), second=9, start=0)), **{"service.name": "a"}),
            # The same moment: taken.
            one(gauge("g", point(7, 10, k="a")), **{"service.name": "a"}),
            # A restart.
            one(total("c", point(2, 20, start=15)), histogram("h", buckets(1, 1.5, [1.0], [0, 1], 20, start=15)),
                **{"service.name": "a"}),
            # Other values of the same thing: another series.
            one(gauge("g", point(8, 10, k="a")), **{"service.name": "b"}),
        ],
    },
    "deltas": {
        "config": {"without_scope_info": True},
        "requests": [
            one(total("c", point(10, 10, start=0), temporality=1), total("d", point(0.5, 10, start=0), temporality=1),
                total("gap", point(10, 10, start=0), temporality=1),
                histogram("h", buckets(3, 3.0, [1.0, 2.0], [1, 1, 1], 10, start=0), temporality=1),
                histogram("h.gap", buckets(3, 3.0, [1.0], [1, 2], 10, start=0), temporality=1),
                histogram("h.overlap", buckets(3, 3.0, [1.0], [1, 2], 10, start=0), temporality=1),
                histogram("h.bounds", buckets(3, 3.0, [1.0], [1, 2], 10, start=0), temporality=1),
                exponential("e", native(6, 3.0, 2, (-1, [1, 2, 3]), second=10, start=0), temporality=1),
                exponential("e.gap", native(6, 3.0, 2, (-1, [1, 2, 3]), second=10, start=0), temporality=1)),
            one(total("c", point(5, 20, start=10), temporality=1), total("d", point(0.25, 20, start=10), temporality=1),
                total("gap", point(1, 20, start=15), temporality=1),
                histogram("h", buckets(4, 5.0, [1.0, 2.0], [0, 1, 3], 20, start=10), temporality=1),
                histogram("h.gap", buckets(5, 4.0, [1.0], [2, 3], 20, start=15), temporality=1),
                histogram("h.overlap", buckets(5, 4.0, [1.0], [2, 3], 20, start=5), temporality=1),
                histogram("h.bounds", buckets(5, 4.0, [2.0], [2, 3], 20, start=10), temporality=1),
                exponential("e", native(7, 1.5, 2, (4, [4, 3]), second=20, start=10), temporality=1),
                exponential("e.gap", native(1, 1.5, 0, (0, [1]), second=20, start=12), temporality=1)),
            one(total("c", point(1, 30, start=20), temporality=1)),
            # Neither has a meaning that Prometheus could be told.
            one(total("falls", point(1, 30, start=20), temporality=1, monotonic=False),
                total("unspecified", point(1, 30, start=20), temporality=0)),
        ],
    },
    "ended": {
        "config": {"without_scope_info": True},
        "requests": [
            one(gauge("g", point(1, 10, k="a"), point(2, 10, k="b")), total("c", point(1, 10, start=0)),
                summary("s", quantiles(1, 1.0, [(0.5, 1.0)], 10))),
            one(gauge("g", point(0, 11, flags=1, k="a")), total("c", point(0, 11, flags=1)),
                summary("s", quantiles(0, 0.0, [], 11, flags=1)), gauge("never", point(0, 11, flags=1))),
        ],
    },
    "native_scales": {
        "config": {"without_scope_info": True},
        "requests": [one(
            exponential("fine", native(10, 1.0, 12, (-3, [1, 2, 3, 4]), start=0)),
            exponential("coarse", native(10, 1.0, -4, (-3, [1, 2, 3, 4]), start=0)),
            exponential("too.coarse", native(10, 1.0, -5, (-3, [1, 2, 3, 4]), start=0)),
            exponential("empty", native(0, 0.0, 0, (0, []), start=0)),
            exponential("threshold", native(3, 0.0, 0, (0, [1]), zero=2, start=0, threshold=0.5)),
            exponential("wrong", native(99, 0.0, 0, (0, [1]), start=0)),
        )],
    },
}


def main():
    TESTDATA.mkdir(parents=True, exist_ok=True)
    text = json.dumps(CASES, indent=1, ensure_ascii=False)
    (TESTDATA / "cases.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
