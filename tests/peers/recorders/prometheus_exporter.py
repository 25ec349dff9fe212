#!/usr/bin/env python3
"""Records what the Go collector's prometheus exporter (v0.159.0) serves for each of the cases in
exporters/src/prometheus/testdata/cases.json, in every format. Needs tests/peers/install-otelcol.

    tests/peers/recorders/prometheus_exporter.py
"""

import json
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from support import process  # noqa: E402
from support.installed import GO_COLLECTOR  # noqa: E402

TESTDATA = Path(__file__).resolve().parents[3] / "exporters/src/prometheus/testdata"
PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
SCRAPES = {
    "plain": ("text/plain;version=0.0.4", "txt"),
    "utf8": ("text/plain;version=0.0.4;escaping=allow-utf-8", "txt"),
    "openmetrics": ("application/openmetrics-text;version=1.0.0", "txt"),
    "protobuf": (PROTOBUF, "binpb"),
}


def record(name, case):
    otlp, metrics = process.free_ports(2)
    exporter = dict(case.get("config", {}), endpoint=f"127.0.0.1:{metrics}")
    config = {
        "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{otlp}"}}}},
        "exporters": {"prometheus": exporter},
        "service": {
            "telemetry": {"metrics": {"level": "none"}},
            "pipelines": {"metrics": {"receivers": ["otlp"], "exporters": ["prometheus"]}},
        },
    }
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "config.json"
        path.write_text(json.dumps(config))
        url = f"http://127.0.0.1:{metrics}/metrics"
        with process.Server([GO_COLLECTOR, f"--config={path}"], Path(scratch) / "log", url):
            for request in case["requests"]:
                post(f"http://127.0.0.1:{otlp}/v1/metrics", json.dumps(request).encode())
            for scrape, (accept, suffix) in SCRAPES.items():
                if scrape == "openmetrics" and not exporter.get("enable_open_metrics"):
                    continue
                answer = urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": accept}), timeout=10)
                (TESTDATA / f"{name}.{scrape}.{suffix}").write_bytes(answer.read())
    print(name)


def post(url, body):
    def attempt():
        headers = {"Content-Type": "application/json"}
        try:
            return urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=10).status == 200
        except ConnectionError:
            return False
        except urllib.error.HTTPError as error:
            raise process.Failure(error.read().decode()) from error
        except urllib.error.URLError:
            return False
    process.wait_until(f"taken by {url}", attempt, 10)


if __name__ == "__main__":
    for name, case in json.loads((TESTDATA / "cases.json").read_text()).items():
        record(name, case)
