#!/usr/bin/env python3
"""Faults under load: certificates replaced, a destination that moves in DNS, one of three destinations frozen.

    tests/peers/faults.py                      all of them, about four minutes
    tests/peers/faults.py --only frozen        those whose name contains a text
    tests/peers/faults.py --programs DIR       with millrace, millrace-loadgen and millrace-sink of that directory

Every span has an identity of its own, so that loss and duplicates are exact. Names are moved in a mount namespace with
an /etc/hosts of its own, which takes root. Ends with a table and a line `N passed, N failed`.
"""

import argparse
import os
import shutil
import socket
import ssl
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from support import installed

installed.continue_in_venv()

from support import accounts, certificates, load
from support.process import Collector, Failure, free_ports, wait_until

PROGRAMS = ("millrace", "millrace-loadgen", "millrace-sink")
NAME = "destination.test"
SETTLE_S = 60  # from the end of the load until everything has been delivered
CALM_S = 5  # of load before and after a fault
RELOADED_S = 5  # `reload_interval` is a second
MOVED_S = 35  # a name is asked for every 30 seconds
SILENT_S = 15  # its `timeout` of 5 s, a ping that gets 5 s, and the name
# What senders may wait: with a queue only for room in it; without one for an attempt of 5 s that nobody answers, for
# up to 7.5 s until the next, and for that.
P99_MS = {"queue": 1000, "no queue": 15000}
THAWED_S = 65  # a silent destination is left alone for at most a minute


def main():
    options = parse_arguments()
    for program in PROGRAMS:
        installed.require(options.programs / program, "cargo build --release -p millrace -p millrace-bench")
    scratch = Path(tempfile.mkdtemp(prefix="millrace-faults-"))
    outcomes = [run(name, case, options, scratch) for name, case in CASES if options.only in name]
    print(table(outcomes))
    failed = sum(1 for outcome in outcomes if outcome.failure)
    if failed:
        print(f"\noutputs in {scratch}")
    else:
        shutil.rmtree(scratch)
    print(f"\n{len(outcomes) - failed} passed, {failed} failed")
    sys.exit(1 if failed or not outcomes else 0)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=Path, default=installed.ROOT / "target/release", help="where they are built")
    parser.add_argument("--rate", type=int, default=10000, help="spans a second (default 10000)")
    parser.add_argument("--only", default="", help="run only the cases whose name contains this")
    return parser.parse_args()


@dataclass
class Outcome:
    """A row of the table."""

    name: str
    recovered_s: float | None = None
    report: dict | None = None
    lost: int | None = None
    duplicates: int | None = None
    failure: str = ""

    def refused(self):
        return sum(each["count"] for each in self.report["failed"].values()) + self.report["abandoned"]["requests"]

    def retried(self):
        return sum(each["count"] for each in self.report["retried"].values())

    def why_repeated(self):
        return "".join(f"\n        {each['count']} × {each['example']}" for each in self.report["retried"].values())


def run(name, case, options, scratch):
    directory = scratch / name.replace(" ", "-")
    directory.mkdir()
    outcome = Outcome(name)
    try:
        with ExitStack() as stack:
            case(Scene(options, directory, stack), outcome)
    except Failure as failure:
        outcome.failure = str(failure)
        print(f"FAILED  {name}\n{failure}", flush=True)
    else:
        print(f"passed  {name}{outcome.why_repeated()}", flush=True)
    return outcome


def table(outcomes):
    rows = [("fault", "spans", "lost", "duplicates", "refused", "repeated by the sender", "p50, p99 ms", "recovered after")]
    for outcome in outcomes:
        report = outcome.report
        if report is None or outcome.recovered_s is None:
            rows.append((outcome.name, *["?"] * 7))
            continue
        latency = f"{report['latency_ms']['p50']:.1f}, {report['latency_ms']['p99']:.1f}"
        counts = (report["acked"]["items"], outcome.lost, outcome.duplicates, outcome.refused(), outcome.retried())
        rows.append((outcome.name, *counts, latency, f"{outcome.recovered_s:.1f} s"))
    rows.insert(1, ["---"] * len(rows[0]))
    return "\n" + "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)


class Scene:
    """The programs of one case; `stack` stops them."""

    def __init__(self, options, directory, stack):
        self.options, self.directory, self.stack = options, directory, stack
        self.hosts = directory / "hosts"

    def destinations(self, *addresses):
        """A sink at each of the addresses, all on one port; returns them and the port."""
        (port,) = free_ports(1)
        started = [
            load.Destination(self.options.programs, self.directory, f"sink-{address}", address, port) for address in addresses
        ]
        return [self.stack.enter_context(each) for each in started], port

    def collector(self, config, name, prefix=(), **environment):
        directory = self.directory / name
        collector = Collector(self.options.programs / "millrace", config, directory, prefix, **environment)
        return self.stack.enter_context(collector)

    def collector_sending_to(self, *addresses, port, queue=True):
        """A collector whose destination is a name that has these addresses, and only for it."""
        if os.geteuid() != 0:
            sys.exit("run as root: names are moved in a mount namespace (unshare --mount)")
        self.resolve_to(*addresses)
        # The shell ends by becoming the collector, so that signals reach it.
        prefix = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', self.hosts]
        destination = f"{NAME}:{port}"
        return self.collector("faults.yaml", "collector", prefix, DESTINATION=destination, QUEUE=str(queue).lower())

    def resolve_to(self, *addresses):
        """Changes the name's addresses. The file is mounted, so it is written in place."""
        lines = ["127.0.0.1 localhost", *(f"{address} {NAME}" for address in addresses)]
        self.hosts.write_text("\n".join(lines) + "\n")

    def load(self, port, seconds, authority=None):
        options = self.options
        started = load.Load(options.programs, self.directory, port, options.rate, seconds, authority)
        return self.stack.enter_context(started)


def conclude(outcome, running, destinations, collectors):
    """Waits for the end and requires that nothing was lost, and nothing refused for good."""
    done = running.wait()
    outcome.report = report = done.report
    acked = report["acked"]["items"]
    for collector in collectors:
        wait_until(lambda: f"everything delivered\n{collector.log_tail()}", lambda: is_empty(collector, acked), SETTLE_S)
    spans = settled(destinations, acked)
    outcome.lost = load.lost(done.acked, destinations)
    outcome.duplicates = spans - (acked - outcome.lost)
    if report["offered"]["items"] < 1000 or outcome.lost or outcome.refused() or report["skipped"]["requests"]:
        raise Failure(f"{outcome.lost} of {acked} lost, {outcome.refused()} refused, skipped {report['skipped']}: {report}")
    for collector in collectors:
        collector.stop()


def is_empty(collector, acked):
    """Whether the collector has sent everything on, and says that it has lost nothing."""
    terms = {"in": 0, "out": 0, "held": 0, "lost": 0}
    for name, labels, value in accounts.parse(collector.metrics_text()):
        if name in accounts.LEDGER and labels.get("kind") == "exporter":
            term = accounts.LEDGER[name] or labels["term"]
            terms[term] = terms.get(term, 0) + int(value)
    if terms["lost"]:
        raise Failure(f"the ledger says that spans are lost: {terms}")
    return terms["held"] == 0 and terms["out"] >= acked


def settled(destinations, acked):
    """How many spans arrived in all, once there are enough of them."""
    total = lambda: sum(each.spans() for each in destinations)
    wait_until(lambda: f"{acked} acknowledged, {total()} arrived", lambda: total() >= acked, SETTLE_S)
    time.sleep(10 * load.SAMPLE_INTERVAL_S)  # what comes twice may come late; there is no event for its end
    return total()


def grows(destination, by=load.ITEMS_PER_REQUEST):
    """A probe: whether the destination has got more than it had."""
    before = destination.spans()
    return lambda: destination.spans() >= before + by


def rotation(scene, outcome):
    """Every certificate and both authorities are replaced, twice, while two collectors relay over mutual TLS."""
    files = Path(scene.directory / "certificates")
    old = certificates.Authority(scene.directory / "authority-0")
    trusted = files / "trusted.pem"
    files.mkdir()
    certificates.replace(trusted, old.certificate)
    install(old, files)
    everybody = scene.directory / "every-authority.pem"
    generations = [certificates.Authority(scene.directory / f"authority-{number}") for number in (1, 2)]
    certificates.replace(everybody, *(authority.certificate for authority in (old, *generations)))

    destinations, port = scene.destinations("127.0.0.1")
    back = scene.collector("faults-rotation-back.yaml", "back", CERTIFICATES=files, DESTINATION=f"127.0.0.1:{port}")
    next_hop = f"localhost:{back.grpc_port}"
    front = scene.collector("faults-rotation-front.yaml", "front", CERTIFICATES=files, DESTINATION=next_hop)
    running = scene.load(front.grpc_port, 40, everybody)
    wait_until("spans to arrive", grows(destinations[0]), CALM_S)
    slowest = 0
    for new in generations:
        time.sleep(CALM_S)
        certificates.replace(trusted, old.certificate, new.certificate)
        time.sleep(RELOADED_S)  # both are trusted before anybody shows the new one
        replaced = time.monotonic()
        install(new, files)
        for collector in (front, back):
            shows_new = lambda: shown_by(collector.grpc_port, everybody, files / "client.pem", new)
            wait_until(f"port {collector.grpc_port} to show the new certificate", shows_new, RELOADED_S)
        slowest = max(slowest, time.monotonic() - replaced)
        time.sleep(RELOADED_S)  # until the client has read its own, too
        certificates.replace(trusted, new.certificate)  # whoever still had the old one would be refused from now on
        old = new
    if running.process.poll() is not None:
        raise Failure("the load ended before the rotation had")
    outcome.recovered_s = slowest
    conclude(outcome, running, destinations, [front, back])


def install(authority, files):
    """New certificates for everybody, each before its key, so that for a moment they do not belong together."""
    for name in ("front", "back", "client"):
        certificate, key = authority.issue(name)
        certificates.replace(files / f"{name}.pem", certificate)
        certificates.replace(files / f"{name}.key", key)


def shown_by(port, trusted, client, authority):
    """Whether a new connection is shown the certificate that `authority` has issued last."""
    context = ssl.create_default_context(cafile=trusted)
    context.load_cert_chain(client, client.with_suffix(".key"))
    with socket.create_connection(("127.0.0.1", port), 5) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as connection:
            shown = ssl.DER_cert_to_PEM_cert(connection.getpeercert(binary_form=True))
    return any(path.read_text().strip() == shown.strip() for path in authority.directory.glob("*.pem"))


def moved(scene, outcome):
    """The name gets another address while the old one still takes what it is sent."""
    (old, new), port = scene.destinations("127.0.0.2", "127.0.0.3")
    collector = scene.collector_sending_to("127.0.0.2", port=port)
    running = scene.load(collector.grpc_port, 2 * CALM_S + MOVED_S)
    wait_until("spans to arrive", grows(old), CALM_S)
    time.sleep(CALM_S)
    scene.resolve_to("127.0.0.3")
    at = time.monotonic()
    wait_until("spans at the new address", grows(new), MOVED_S)
    outcome.recovered_s = time.monotonic() - at
    time.sleep(2)  # what was on its way to the old one
    before = old.spans()
    wait_until("more spans at the new address", grows(new, 10 * load.ITEMS_PER_REQUEST), CALM_S)
    if old.spans() != before:
        raise Failure(f"the old address still got {old.spans() - before} spans")
    conclude(outcome, running, [old, new], [collector])


def moved_from_silence(scene, outcome):
    """The name gets another address because the old one has fallen silent."""
    (old, new), port = scene.destinations("127.0.0.2", "127.0.0.3")
    collector = scene.collector_sending_to("127.0.0.2", port=port)
    running = scene.load(collector.grpc_port, 2 * CALM_S + SILENT_S)
    wait_until("spans to arrive", grows(old), CALM_S)
    time.sleep(CALM_S)
    old.freeze()
    scene.resolve_to("127.0.0.3")
    at = time.monotonic()
    wait_until("spans at the new address", grows(new), SILENT_S)
    outcome.recovered_s = time.monotonic() - at
    old.thaw()
    conclude(outcome, running, [old, new], [collector])


def frozen(scene, outcome, queue=True):
    """One of three addresses of a name takes connections and says nothing, and later does again."""
    destinations, port = scene.destinations("127.0.0.2", "127.0.0.3", "127.0.0.4")
    collector = scene.collector_sending_to("127.0.0.2", "127.0.0.3", "127.0.0.4", port=port, queue=queue)
    running = scene.load(collector.grpc_port, 60)
    for each in destinations:
        wait_until("spans to arrive everywhere", grows(each), CALM_S)
    time.sleep(CALM_S)
    victim, *others = destinations
    victim.freeze()
    for _ in range(3):  # the others carry on for as long as it is frozen
        time.sleep(CALM_S)
        for each in others:
            wait_until("more spans at the others", grows(each, 10 * load.ITEMS_PER_REQUEST), CALM_S)
    victim.thaw()
    at = time.monotonic()
    time.sleep(1)  # for what lay in its sockets
    wait_until("spans at the one that thawed", grows(victim, 10 * load.ITEMS_PER_REQUEST), THAWED_S)
    outcome.recovered_s = time.monotonic() - at
    conclude(outcome, running, destinations, [collector])
    p99, bound = outcome.report["latency_ms"]["p99"], P99_MS["queue" if queue else "no queue"]
    if p99 > bound:
        raise Failure(f"a hundredth of the senders waited for more than {p99:.0f} ms; the bound is {bound} ms")


def frozen_without_queue(scene, outcome):
    """The same, with senders that wait for the destination: how long they wait is bounded."""
    frozen(scene, outcome, queue=False)


CASES = [
    ("certificates replaced", rotation),
    ("destination moved in DNS", moved),
    ("silent destination moved in DNS", moved_from_silence),
    ("one of three frozen", frozen),
    ("one of three frozen, no queue", frozen_without_queue),
]

if __name__ == "__main__":
    main()
