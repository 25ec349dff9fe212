"""Reads a collector's own metrics and checks its bookkeeping against what was really sent and received."""

import re
from collections import defaultdict

from . import installed
from .process import wait_until

UNITS = {"traces": "spans", "metrics": "metric_points", "logs": "log_records"}
SETTLE_DEADLINE_S = 10  # between data arriving somewhere and the counters saying so
TROUBLE = re.compile(
    r"otelcol_(receiver_(refused|failed)|exporter_(send_failed|enqueue_failed)|processor\w*_refused"
    r"|receiver_failed_or_refused|exporter_queue_size)_?.*"
)
SAMPLE = re.compile(r"^([A-Za-z_:][\w:]*)(?:\{(.*)\})? (\S+)", re.MULTILINE)
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

LEDGER = "otelcol_millrace_ledger_items"
LEDGER_IN = {"opening", "in", "created"}
LEDGER_OUT = {"out", "merged", "filtered", "sampled_out", "dead_lettered", "refused", "lost", "held"}


def parse(text):
    """`[(name, labels, value)]` of an exposition in Prometheus' text format."""
    return [(name, dict(LABEL.findall(labels)), float(value)) for name, labels, value in SAMPLE.findall(text)]


def check(collector, accepted, delivered):
    """Waits until the collector's counters say exactly this, and that nothing was refused, failed or left queued.

    `accepted` is `{signal: items}`; `delivered` is `{(exporter id, signal): items}`.
    """
    problems = None

    def settled():
        nonlocal problems
        samples = parse(collector.metrics_text())
        problems = count_problems(samples, accepted, delivered)
        if installed.is_millrace(collector.program):
            problems += ledger_problems(samples)
        return not problems

    wait_until(lambda: "the collector's metrics to agree\n" + "\n".join(problems), settled, SETTLE_DEADLINE_S)


def count_problems(samples, accepted, delivered):
    totals = defaultdict(float)
    for name, labels, value in samples:
        totals[name] += value
        if "exporter" in labels:
            totals[name, labels["exporter"]] += value
    wanted = {f"otelcol_receiver_accepted_{UNITS[signal]}": items for signal, items in accepted.items()}
    for (exporter, signal), items in delivered.items():
        wanted[f"otelcol_exporter_sent_{UNITS[signal]}", exporter] = items
    problems = [f"{key}: {totals[key]:.0f}, not {items}" for key, items in wanted.items() if totals[key] != items]
    problems += [f"{name} {labels}: {value}" for name, labels, value in samples if TROUBLE.fullmatch(name) and value]
    return problems


def ledger_problems(samples):
    """Every account must balance, and whatever is lost or held at rest is trouble here."""
    accounts = defaultdict(lambda: defaultdict(float))
    for name, labels, value in samples:
        if name == LEDGER:
            holder = tuple(sorted((k, v) for k, v in labels.items() if k not in ("term", "reason")))
            accounts[holder][labels["term"]] += value
    if not accounts:
        return [f"no {LEDGER} in the metrics"]
    problems = []
    for holder, terms in accounts.items():
        unknown = terms.keys() - LEDGER_IN - LEDGER_OUT
        balance = sum(terms[term] for term in LEDGER_IN) - sum(terms[term] for term in LEDGER_OUT)
        if unknown or balance or terms["lost"] or terms["held"]:
            problems.append(f"ledger of {dict(holder)} does not balance: {dict(terms)}")
    return problems
