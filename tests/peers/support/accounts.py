"""Reads a collector's own metrics and checks its bookkeeping against what was really sent and received."""

import re
from collections import defaultdict

from . import installed
from .process import wait_until

UNITS = {"traces": "spans", "metrics": "metric_points", "logs": "log_records"}
SETTLE_DEADLINE_S = 10  # between data arriving somewhere and the counters saying so
TROUBLE = re.compile(
    r"otelcol_(receiver_(refused|failed)_.*|exporter_(send_failed|enqueue_failed)_.*|processor_.*refused_.*"
    r"|exporter_queue_size)"
)
SAMPLE = re.compile(r"^([A-Za-z_:][\w:]*)(?:\{(.*)\})? (\S+)", re.MULTILINE)
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

# Millrace's ledger: the counters have the term as a label, what was and is held are metrics of their own.
LEDGER = {
    "otelcol_millrace_ledger_items": None,
    "otelcol_millrace_ledger_opening_items": "opening",
    "otelcol_millrace_ledger_held_items": "held",
}
HOLDER = ("kind", "component", "signal", "pipeline")
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
            problems += ledger_problems(samples, accepted, delivered)
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


def ledger_problems(samples, accepted, delivered):
    """Every account must balance with nothing lost or held, and its ends must be what was sent and received."""
    accounts = defaultdict(lambda: defaultdict(int))
    for name, labels, value in samples:
        if name in LEDGER:
            holder = tuple(labels.get(label, "") for label in HOLDER)
            accounts[holder][LEDGER[name] or labels["term"]] += int(value)
    problems = []
    passed_in, passed_out = defaultdict(int), defaultdict(int)
    for (kind, component, signal, pipeline), terms in accounts.items():
        unknown = terms.keys() - LEDGER_IN - LEDGER_OUT
        balance = sum(terms[term] for term in LEDGER_IN) - sum(terms[term] for term in LEDGER_OUT)
        if unknown or balance or terms["lost"] or terms["held"]:
            problems.append(f"ledger of {kind} {component}, {signal} {pipeline}: off by {balance}: {dict(terms)}")
        if kind == "receiver":
            passed_in[signal] += terms["in"]
        if kind == "exporter":
            passed_out[component, signal] += terms["out"]
    if passed_in != accepted:
        problems.append(f"ledger of the receivers: in {dict(passed_in)}, not {accepted}")
    if passed_out != delivered:
        problems.append(f"ledger of the exporters: out {dict(passed_out)}, not {delivered}")
    return problems
