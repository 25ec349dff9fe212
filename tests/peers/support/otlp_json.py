"""Reads what the file exporter writes (one OTLP JSON request per line) and compares two such outputs by meaning."""

import json
from collections import Counter
from pathlib import Path

SIGNALS = ("traces", "metrics", "logs")
LEVELS = {
    "traces": ("resourceSpans", "scopeSpans", "spans"),
    "metrics": ("resourceMetrics", "scopeMetrics", "metrics"),
    "logs": ("resourceLogs", "scopeLogs", "logRecords"),
}
METRIC_KINDS = ("gauge", "sum", "histogram", "exponentialHistogram", "summary")
# Messages that mean the same empty as absent.
OPTIONAL_WHEN_EMPTY = ("resource", "scope", "status", "positive", "negative", "body", "value", "partialSuccess")


def read(directory, signal):
    """The requests in `<signal>.jsonl`. A last line still being written is left for the next look."""
    path = Path(directory) / f"{signal}.jsonl"
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1]]


def flatten(signal, requests):
    """Every span, data point or log record, as one dictionary with all that encloses it."""
    resources, scopes, items = LEVELS[signal]
    for request in requests:
        for resource in request.get(resources, []):
            for scope in resource.get(scopes, []):
                outer = {"resource": without(resource, scopes), "scope": without(scope, items)}
                for item in scope.get(items, []):
                    if signal == "metrics":
                        yield from data_points(outer, item)
                    else:
                        yield dict(outer, item=item)


def data_points(outer, metric):
    for kind in METRIC_KINDS:
        if kind in metric:
            about = dict(without(metric, kind), kind=kind, data=without(metric[kind], "dataPoints"))
            for point in metric[kind].get("dataPoints", []):
                yield dict(outer, metric=about, item=point)


def attributes(item):
    """The attributes of a flattened item: plain for the scalar kinds, as written for the others."""
    result = {}
    for pair in item["item"].get("attributes", []):
        ((kind, value),) = pair.get("value", {}).items() or [("none", None)]
        result[pair["key"]] = int(value) if kind == "intValue" else value
    return result


def compare(signal, left, right, limit=5):
    """Differences between two lists of requests, as text; requests may be cut and merged differently."""
    left, right = (Counter(map(canonical, flatten(signal, each))) for each in (left, right))
    only_left, only_right = sorted((left - right).elements()), sorted((right - left).elements())
    report = []
    for text in only_left[:limit]:
        closest = max(only_right, key=lambda other: common_prefix(text, other), default=None)
        if closest is None:
            report.append(f"{signal}: only in the first: {text[:300]}")
        else:
            only_right.remove(closest)
            report += [f"{signal}: {line}" for line in differences(json.loads(text), json.loads(closest))[:3]]
    report += [f"{signal}: only in the second: {text[:300]}" for text in only_right[: limit - len(report)]]
    if len(report) >= limit:
        report.append(f"{signal}: {sum((left - right).values())} and {sum((right - left).values())} items differ in all")
    return report


def differences(left, right, path=""):
    """The places where two JSON values differ, as `path: left | right`."""
    if isinstance(left, dict) and isinstance(right, dict):
        keys = sorted(left.keys() | right.keys())
        pairs = [(f"{path}.{key}", left.get(key, "(absent)"), right.get(key, "(absent)")) for key in keys]
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        pairs = [(f"{path}[{index}]", *pair) for index, pair in enumerate(zip(left, right))]
    elif left == right and type(left) is type(right):
        return []
    else:
        return [f"{path.lstrip('.')}: {json.dumps(left)[:150]} | {json.dumps(right)[:150]}"]
    return [line for each in pairs for line in differences(each[1], each[2], each[0])]


def canonical(value):
    """One text for all spellings of the same item: keys in order, whole floats as integers, empty messages left out."""
    return json.dumps(tidy(value), sort_keys=True, ensure_ascii=False)


def tidy(value):
    if isinstance(value, dict):
        tidied = {key: tidy(each) for key, each in value.items()}
        return {k: v for k, v in tidied.items() if not (v == {} and k in OPTIONAL_WHEN_EMPTY)}
    if isinstance(value, list):
        return [tidy(each) for each in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


def without(mapping, key):
    return {k: v for k, v in mapping.items() if k != key}


def common_prefix(left, right):
    return next((i for i, (a, b) in enumerate(zip(left, right)) if a != b), min(len(left), len(right)))
