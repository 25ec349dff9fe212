"""What a collector has written to its files, against what was sent."""

from collections import Counter

from . import otlp_json
from .process import Failure, wait_until

ARRIVAL_DEADLINE_S = 20
SIGNALS = otlp_json.SIGNALS


def await_files(output, sent):
    """Waits until the files hold as many items as were sent, then requires that they are exactly those."""
    found = {}

    def arrived():
        for signal in SIGNALS:
            found[signal] = sum(1 for _ in otlp_json.flatten(signal, otlp_json.read(output, signal)))
        return all(found[signal] >= len(sent[signal]) for signal in SIGNALS)

    wanted = {signal: len(ids) for signal, ids in sent.items()}
    wait_until(lambda: f"the files hold {found}, sent were {wanted}", arrived, ARRIVAL_DEADLINE_S)
    require_in_files(output, sent)


def require_in_files(output, sent):
    """Requires that every id sent is in the files exactly once, nothing else is, and the items are intact."""
    for signal in SIGNALS:
        items = list(map(otlp_json.attributes, otlp_json.flatten(signal, otlp_json.read(output, signal))))
        times_found = Counter(item.get("test.id") for item in items)
        lost = [id for id in sent[signal] if id not in times_found]
        repeated = [id for id, times in times_found.items() if times > 1]
        foreign = times_found.keys() - set(sent[signal])
        damaged = [item for item in items if "test.index" in item and not item["test.id"].endswith(f"-{item['test.index']}")]
        for what, found in (("lost", lost), ("repeated", repeated), ("foreign", foreign), ("damaged", damaged)):
            if found:
                raise Failure(f"{signal}: {len(found)} {what}, such as {sorted(map(str, found))[:3]}")
