#!/usr/bin/env python3
"""The `prometheus` exporter before a real Prometheus, and the `resource_detection` processor beside the Go collector's.

    tests/peers/prometheus.py                      of the collector that cargo built last
    tests/peers/prometheus.py --collector PATH     of another one (the Go collector passes too)

Needs tests/peers/install; what is compared with the Go collector needs tests/peers/install-otelcol, and is left out
where that is missing. Ends with a line `N passed, N failed`; the exit code says the same.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
import traceback
import urllib.request
from pathlib import Path

from support import installed
from support.process import Collector, Failure, free_ports, wait_until
from support.prometheus import Prometheus

DEADLINE_S = 20
JOB = {"job": "web/shop", "instance": "i-1"}
TRACE = "0102030405060708090a0b0c0d0e0f10"
ATTRIBUTES = "service.name=env%2Dshop,k = v w,empty="


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--collector", help="the program under test; also MILLRACE_COLLECTOR")
    options = parser.parse_args()
    installed.require(installed.PROMETHEUS, "tests/peers/install")
    collector = installed.collector(options.collector)
    scratch = Path(tempfile.mkdtemp(prefix="millrace-prometheus-"))
    print(f"collector {collector}\noutput    {scratch}\n")
    cases = [("Prometheus reads what was sent", lambda: scraped(collector, scratch / "scraped"))]
    if installed.GO_COLLECTOR.exists():
        for override in ("true", "false"):
            name = f"resources are described as by the Go collector, override {override}"
            cases.append((name, lambda override=override: described(collector, scratch / override, override)))
    results = [run(*case) for case in cases]
    failed = results.count(False)
    if not failed:
        shutil.rmtree(scratch)
    print(f"\n{len(results) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


def run(name, test):
    started = time.monotonic()
    try:
        test()
        verdict, detail = "passed", ""
    except Failure as failure:
        verdict, detail = "FAILED", f"\n{failure}"
    except Exception:  # whatever trips over something unforeseen has failed; the others still run
        verdict, detail = "FAILED", f"\n{traceback.format_exc()}"
    print(f"{verdict}  {time.monotonic() - started:5.1f} s  {name}{detail}", flush=True)
    return verdict == "passed"


def scraped(program, directory):
    """Every kind of metric, native histograms included, reads in Prometheus as it was sent."""
    (port,) = free_ports(1)
    with Collector(program, "prometheus.yaml", directory, SCRAPE_PORT=port) as collector:
        post(f"{collector.endpoint('http')}/v1/metrics", request(time.time_ns()))
        with Prometheus(directory / "prometheus", f"127.0.0.1:{port}") as prometheus:
            wanted = {
                "sample_temperature_celsius": {("k", "a"): -1.5, ("k", "b"): 2.0},
                "sample_requests_total": {(): 1027.0},
                "sample_queue": {(): 3.0},
                "sample_summary{quantile='0.9'}": {("quantile", "0.9"): 2.5},
                "sample_summary_count": {(): 20.0},
                "sample_duration_seconds_bucket{le=~'1(.0)?'}": {("le", "1"): 3.0},
                "sample_duration_seconds_sum": {(): 12.5},
                "histogram_count(sample_size_bytes)": {(): 10.0},
                "histogram_sum(sample_size_bytes)": {(): 100.0},
                # Of buckets (0.5, 1], (1, 2], (2, 4] with 2, 3 and 5, all within the last.
                "histogram_fraction(2, 4, sample_size_bytes)": {(): 0.5},
                "target_info": {("host_name", "box"): 1.0},
            }
            for expression, values in wanted.items():
                wait_until(lambda: mismatch(prometheus, expression, values), lambda: not mismatch(prometheus, expression, values), DEADLINE_S)
            found = prometheus.exemplars("sample_requests_total")
            if [(one["labels"], float(one["value"])) for one in found[:1]] != [({"trace_id": TRACE}, 2.5)]:
                raise Failure(f"exemplars: {found}")
        collector.stop()


def mismatch(prometheus, expression, values):
    """What is wrong with the answer to a query; nothing if it is right."""
    expected = {frozenset({**JOB, **dict([labels] if labels else [])}.items()): value for labels, value in values.items()}
    found = {
        frozenset((name, "1" if name == "le" else value) for name, value in labels if name != "__name__"): value
        for labels, value in prometheus.query(expression).items()
    }
    return "" if found == expected else f"{expression} is {found}, not {expected}"


def request(now_ns):
    """One metric of each kind."""
    times = {"startTimeUnixNano": str(now_ns - 60_000_000_000), "timeUnixNano": str(now_ns)}
    text = lambda key, value: {"key": key, "value": {"stringValue": value}}
    exemplar = {"timeUnixNano": str(now_ns), "asDouble": 2.5, "traceId": TRACE}
    metrics = [
        {"name": "sample.temperature", "unit": "Cel", "gauge": {"dataPoints": [
            dict(times, asDouble=-1.5, attributes=[text("k", "a")]), dict(times, asDouble=2.0, attributes=[text("k", "b")])]}},
        {"name": "sample.requests", "unit": "{request}", "sum": {"aggregationTemporality": 2, "isMonotonic": True,
            "dataPoints": [dict(times, asInt="1027", exemplars=[exemplar])]}},
        {"name": "sample.queue", "sum": {"aggregationTemporality": 2, "dataPoints": [dict(times, asInt="3")]}},
        {"name": "sample.summary", "summary": {"dataPoints": [
            dict(times, count="20", sum=30.0, quantileValues=[{"quantile": 0.9, "value": 2.5}])]}},
        {"name": "sample.duration", "unit": "s", "histogram": {"aggregationTemporality": 2, "dataPoints": [
            dict(times, count="5", sum=12.5, explicitBounds=[1.0, 2.0], bucketCounts=["3", "1", "1"])]}},
        {"name": "sample.size", "unit": "By", "exponentialHistogram": {"aggregationTemporality": 2, "dataPoints": [
            dict(times, count="10", sum=100.0, scale=0, positive={"offset": -1, "bucketCounts": ["2", "3", "5"]})]}},
    ]
    resource = {"attributes": [text("service.name", "shop"), text("service.namespace", "web"),
                               text("service.instance.id", "i-1"), text("host.name", "box")]}
    return {"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": metrics}]}]}


def described(program, directory, override):
    """Both collectors find the same attributes, and put them onto the same resources."""
    tested, reference = (
        attributes(each, directory / name, override)
        for name, each in (("tested", program), ("reference", installed.GO_COLLECTOR))
    )
    if len(reference) < 10:
        raise Failure(f"the reference found nothing to compare: {reference}")
    # In which order addresses are listed is each system's own business.
    for found in (tested, reference):
        found["host.ip"] = sorted(json.dumps(one) for one in found.get("host.ip", {}).get("arrayValue", {}).get("values", []))
    different = {key for key in tested.keys() | reference.keys() if tested.get(key) != reference.get(key)}
    if different:
        lines = [f"{key}: {tested.get(key)} | {reference.get(key)}" for key in sorted(different)]
        raise Failure("tested | reference\n" + "\n".join(lines))


def attributes(program, directory, override):
    """The attributes of a resource that has a `host.name` of its own, after it went through a collector."""
    sent = {"resource": {"attributes": [{"key": "host.name", "value": {"stringValue": "sent"}}]},
            "scopeLogs": [{"logRecords": [{"body": {"stringValue": "x"}}]}]}
    environment = {"OTEL_RESOURCE_ATTRIBUTES": ATTRIBUTES, "OVERRIDE": override}
    with Collector(program, "detection.yaml", directory, **environment) as collector:
        post(f"{collector.endpoint('http')}/v1/logs", {"resourceLogs": [sent]})
        collector.stop()
    (line,) = (directory / "logs.jsonl").read_text().splitlines()
    (resource,) = json.loads(line)["resourceLogs"]
    return {one["key"]: one["value"] for one in resource["resource"]["attributes"]}


def post(url, body):
    headers = {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers), timeout=10) as answer:
        if answer.status != 200:
            raise Failure(f"{url} answered {answer.status}")


if __name__ == "__main__":
    main()
