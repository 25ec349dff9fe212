#!/usr/bin/env python3
"""The shipped alerts and dashboard, and the queries of public dashboards, on a real Prometheus that scrapes the collector.

    tests/peers/monitoring.py [--collector PATH]

The collector is in trouble (configs/monitoring.yaml), so that there is something to see. Every alert's expression must
evaluate, those about the trouble must fire, and every query of the dashboards must find what it asks for, unless it asks
about something that did not happen. Rules are unit-tested with promtool first. Ends with `N passed, N failed`.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from support import installed

installed.continue_in_venv()

from support.process import Collector, Failure, Server, free_ports, get, wait_until

CONFIGS = installed.ROOT / "configs"
RULES = CONFIGS / "alerts" / "millrace.rules.yaml"
PROMETHEUS = installed.CACHE / "debian/usr/bin/prometheus"
PROMTOOL = installed.CACHE / "debian/usr/bin/promtool"
# Alerts that the trouble must raise at once or start to wait for.
EXPECTED = {"MillraceLosingData", "MillraceSendingFails", "MillraceRefusingSenders", "MillraceQueueFull",
            "MillraceMalformedRequests"}
# What dashboard panels may ask about without an answer here.
QUIET = ("tls_certificate_expiry", "send_failed_metric_points", "send_failed_log_records", "batch_size_trigger_send",
         "connections_refused", "retry_held_back")
SETTLE_S = 60


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--collector", help="the program under test; also MILLRACE_COLLECTOR")
    options = parser.parse_args()
    installed.require_peers()
    for program in (PROMETHEUS, PROMTOOL):
        installed.require(program, "tests/peers/install")
    program = installed.collector(options.collector)
    scratch = Path(tempfile.mkdtemp(prefix="millrace-monitoring-"))
    results = [run("promtool: every alert fires and is quiet as tested", unit_tests)]
    (down,) = free_ports(1)
    with Collector(program, "monitoring.yaml", scratch / "collector", DOWN_PORT=down) as collector:
        with Prometheus(scratch, collector.metrics_port) as prometheus:
            load = lambda: send(collector)
            wait_until(lambda: f"alerts {EXPECTED - prometheus.alerts(load)}", lambda: EXPECTED <= prometheus.alerts(load), SETTLE_S)
            results.append(run("alerts: every expression evaluates", prometheus.rules_are_healthy))
            results.append(run("alerts: the trouble is seen", lambda: f"{', '.join(sorted(EXPECTED))}"))
            results.append(run("dashboard: servers of extensions are told from receivers",
                               lambda: servers_have_names(prometheus, load)))
            for name, query, may_be_empty in queries():
                results.append(run(name, lambda: prometheus.answers(query, may_be_empty, load)))
    failed = results.count(False)
    if not failed:
        shutil.rmtree(scratch)
    else:
        print(f"outputs in {scratch}")
    print(f"\n{len(results) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


def run(name, case):
    try:
        note = case()
    except Failure as failure:
        print(f"FAILED  {name}\n        {failure}")
        return False
    print(f"passed  {name}" + (f": {note}" if note else ""))
    return True


def unit_tests():
    done = subprocess.run([PROMTOOL, "test", "rules", CONFIGS / "alerts" / "tests.yaml"], capture_output=True, text=True)
    if done.returncode:
        raise Failure(done.stdout + done.stderr)
    rules, tests = RULES.read_text(), (CONFIGS / "alerts" / "tests.yaml").read_text()
    page = (CONFIGS / "alerts" / "README.md").read_text()
    names = [line.split("alert: ")[1].strip() for line in rules.splitlines() if "- alert: " in line]
    for name in names:
        for what in (f"name: {name} fires", f"name: {name} is quiet"):
            if what not in tests:
                raise Failure(f"tests.yaml lacks `{what}`")
        if f"### {name}\n" not in page:
            raise Failure(f"README.md does not say what to do about {name}")
    return f"{len(names)} alerts"


def queries():
    """`(name, query, may be empty)` of every panel and every public query."""
    dashboard = json.loads((CONFIGS / "dashboards" / "millrace.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"].replace("$__rate_interval", "1m").replace("$job", ".*").replace("$instance", ".*")
            yield f"dashboard: {panel['title']} {target['refId']}", query, any(part in query for part in QUIET)
    for line in (installed.HERE / "monitoring" / "public-queries.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            query = line.removeprefix("?")
            yield f"public: {query}", query, line.startswith("?")


def servers_have_names(prometheus, load):
    """The panel of connections shows each server by the component that it belongs to."""
    (query,) = [query for name, query, _ in queries() if name.startswith("dashboard: Connections ")]
    def found():
        load()
        series = [answer["metric"] for answer in prometheus.api("query", query=query)["result"]]
        return {kind for labels in series for kind in labels} >= {"receiver", "extension"} and series
    series = wait_until("connections of receivers and extensions", found, 15)
    nameless = [labels for labels in series if not {"receiver", "extension", "exporter"} & set(labels)]
    if nameless:
        raise Failure(f"nobody knows whose these are: {nameless}")
    return f"{len(series)} servers"


class Prometheus(Server):
    def __init__(self, scratch, metrics_port):
        (self.port,) = free_ports(1)
        config = scratch / "prometheus.yml"
        config.write_text(
            "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n"
            f"rule_files: [{json.dumps(str(RULES))}]\n"
            f"scrape_configs: [{{job_name: millrace, static_configs: [{{targets: ['127.0.0.1:{metrics_port}']}}]}}]\n"
        )
        super().__init__(
            [PROMETHEUS, f"--config.file={config}", f"--storage.tsdb.path={scratch}/prometheus",
             f"--web.listen-address=127.0.0.1:{self.port}"],
            scratch / "prometheus.log",
            f"http://127.0.0.1:{self.port}/-/ready",
        )

    def api(self, path, **arguments):
        body = get(f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(arguments)}")
        if body is None:
            raise Failure(f"Prometheus does not answer {path} {arguments}: is the expression sound?")
        return json.loads(body)["data"]

    def alerts(self, load):
        """The alerts that fire or wait to, after some more load."""
        load()
        return {alert["labels"]["alertname"] for alert in self.api("alerts")["alerts"]}

    def rules_are_healthy(self):
        rules = [rule for group in self.api("rules")["groups"] for rule in group["rules"]]
        for rule in rules:
            if rule["health"] != "ok":
                raise Failure(f"{rule['name']}: {rule.get('lastError') or rule['health']}")
        return f"{len(rules)} rules"

    def answers(self, query, may_be_empty, load):
        def found():
            load()
            return self.api("query", query=query)["result"] or may_be_empty
        wait_until(f"an answer to {query}", found, 15)


def send(collector):
    """A few good requests of every signal, more traces than the tiny queue takes, and one that is not OTLP."""
    base = f"http://127.0.0.1:{collector.http_port}/v1"
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "monitoring"}}]}
    span = {"traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331", "name": "work"}
    point = {"asInt": "1", "timeUnixNano": "1700000000000000000"}
    bodies = {
        "metrics": {"resourceMetrics": [{"resource": resource, "scopeMetrics": [
            {"metrics": [{"name": "load", "gauge": {"dataPoints": [point]}}]}]}]},
        "logs": {"resourceLogs": [{"resource": resource, "scopeLogs": [
            {"logRecords": [{"body": {"stringValue": "hello"}}]}]}]},
        "traces": {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span]}]}]},
    }
    for signal, body in bodies.items():
        for _ in range(6 if signal == "traces" else 1):
            post(f"{base}/{signal}", json.dumps(body).encode())
    post(f"{base}/traces", b'{"resourceSpans": 7}')


def post(url, body):
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        urllib.request.urlopen(request, timeout=10).close()
    except urllib.error.HTTPError as refusal:
        refusal.close()  # some are meant to be


if __name__ == "__main__":
    main()
