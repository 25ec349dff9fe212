#!/usr/bin/env python3
"""End-to-end tests: real SDKs through the real collector to real backends, checked item by item.

    tests/peers/run.py                      SDK matrix, drain, chain, TLS and authentication with the collector cargo built last
    tests/peers/run.py --collector PATH     … of another collector (the Go collector passes too)
    tests/peers/run.py both                 same requests, same YAML: Millrace's output against the Go collector's
    tests/peers/run.py sandwich             the Go collector, Millrace and the Go collector in a row, over TLS
    tests/peers/run.py --only node          only the cases whose name contains a text

Ends with a line `N passed, N failed`; the exit code says the same.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

from support import installed

installed.continue_in_venv()

import secure
from support import accounts, otlp_json, replay
from support.outputs import ARRIVAL_DEADLINE_S, await_files, require_in_files
from support.process import Collector, Failure, wait_until
from support.sink import Sink
from support.victoria_metrics import VictoriaMetrics

CLIENT_DEADLINE_S = 60
SIGNALS = otlp_json.SIGNALS
SUITES = ("sdk", "drain", "chain", "tls", "auth")  # and those beside the Go collector:
SUITES_WITH_GO = ("both", "sandwich")
SDKS = [("python", "grpc"), ("python", "http/protobuf"), ("node", "grpc"), ("node", "http/protobuf"), ("node", "http/json")]
VICTORIA_EXPORTER = "otlp_http/victoria_metrics"
# What each instrument of the clients must read as in VictoriaMetrics: name suffix and value.
INSTRUMENTS = {
    "counter": {"": 3},
    "updown": {"": -1.5},
    "gauge": {"": 3},
    "histogram": {"_count": 3, "_sum": 20031.5},
    "exponential": {"_count": 4, "_sum": 1010.1},
}


def main():
    options = parse_arguments()
    installed.require_peers()
    options.collector = installed.collector(options.collector)
    if set(options.suites) & set(SUITES_WITH_GO):
        installed.require(options.reference, "tests/peers/install-otelcol")
    scratch = Path(tempfile.mkdtemp(prefix="millrace-peers-"))
    print(f"collector {options.collector}\noutput    {scratch}\n")
    with VictoriaMetrics(scratch) as victoria:
        bench = Bench(options, scratch, victoria)
        results = [run_case(*case) for case in bench.cases() if options.only in case[0]]
    failed = results.count(False)
    if not failed and not options.keep:
        shutil.rmtree(scratch)
    print(f"\n{len(results) - failed} passed, {failed} failed")
    sys.exit(1 if failed or not results else 0)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="*", metavar="|".join(SUITES + SUITES_WITH_GO), default=SUITES)
    parser.add_argument("--collector", help="the program under test; also MILLRACE_COLLECTOR")
    parser.add_argument("--reference", default=installed.GO_COLLECTOR, help="the Go collector")
    parser.add_argument("--count", type=int, default=250, help="items per signal and instrument (default 250)")
    parser.add_argument("--only", default="", help="run only the cases whose name contains this")
    parser.add_argument("--keep", action="store_true", help="keep the outputs of a green run")
    options = parser.parse_args()
    unknown = set(options.suites) - set(SUITES + SUITES_WITH_GO)
    if unknown:
        parser.error(f"no such suite: {', '.join(unknown)}")
    return options


def run_case(name, test):
    started = time.monotonic()
    try:
        test()
        verdict, detail = "passed", ""
    except Failure as failure:
        verdict, detail = "FAILED", f"\n{failure}"
    except Exception:  # a case that trips over something unforeseen has failed; the others still run
        verdict, detail = "FAILED", f"\n{traceback.format_exc()}"
    print(f"{verdict}  {time.monotonic() - started:5.1f} s  {name}{detail}", flush=True)
    return verdict == "passed"


class Bench:
    """The tests, and what they share: the programs, the backend, and a directory for each case."""

    def __init__(self, options, scratch, victoria):
        self.options, self.scratch, self.victoria = options, scratch, victoria

    def cases(self):
        """`(name, test)` of every case of the chosen suites."""
        guarded = secure.Secure(self)
        for suite in self.options.suites:
            yield from getattr(guarded if hasattr(guarded, f"{suite}_cases") else self, f"{suite}_cases")()

    def sdk_cases(self):
        for sdk, protocol in SDKS:
            for compression in ("none", "gzip"):
                arguments = (sdk, protocol, compression)
                yield f"sdk    {' '.join(arguments)}", lambda arguments=arguments: self.sdk(*arguments)

    def drain_cases(self):
        yield "drain  python grpc gzip, SIGTERM before the batch is due", self.drain

    def chain_cases(self):
        for arguments in (("python", "grpc", "gzip"), ("node", "http/json", "none")):
            yield f"chain  {' '.join(arguments)}, then grpc gzip", lambda arguments=arguments: self.chain(*arguments)

    def both_cases(self):
        yield "both   recorded SDK requests and the corpus of every field", self.both

    def sdk(self, sdk, protocol, compression):
        """Everything an SDK sends arrives once, in the files and in VictoriaMetrics, and the counters say so."""
        run = f"sdk-{sdk}-{protocol.replace('/', '-')}-{compression}"
        with self.collector("sdk.yaml", run) as collector:
            sent = self.send(sdk, protocol, compression, collector.endpoint(protocol), run)
            await_files(collector.output, sent)
            self.await_victoria(run, sent)
            items = {signal: len(ids) for signal, ids in sent.items()}
            delivered = {(f"file/{signal}", signal): count for signal, count in items.items()}
            delivered[VICTORIA_EXPORTER, "metrics"] = items["metrics"]
            accounts.check(collector, items, delivered)
            collector.stop()
            require_in_files(collector.output, sent)

    def drain(self):
        """What was accepted and not yet sent on is delivered before the process ends."""
        with self.collector("sdk.yaml", "drain", BATCH_TIMEOUT="600s") as collector:
            sent = self.send("python", "grpc", "gzip", collector.endpoint("grpc"), "drain")
            collector.stop()
            require_in_files(collector.output, sent)
            self.await_victoria("drain", sent)

    def chain(self, sdk, protocol, compression):
        """Two collectors in a row deliver everything once, and both keep true accounts."""
        run = f"chain-{sdk}"
        with self.collector("chain-back.yaml", run + "-back") as back:
            with self.collector("chain-front.yaml", run + "-front", NEXT_GRPC_PORT=back.grpc_port) as front:
                sent = self.send(sdk, protocol, compression, front.endpoint(protocol), run)
                await_files(back.output, sent)
                items = {signal: len(ids) for signal, ids in sent.items()}
                accounts.check(front, items, {("otlp", signal): count for signal, count in items.items()})
                accounts.check(back, items, {(f"file/{signal}", signal): count for signal, count in items.items()})
                front.stop()
            back.stop()
            require_in_files(back.output, sent)

    def both(self):
        """The collector under test writes what the Go collector writes, given the very same bytes."""
        requests = replay.corpus()
        with Sink() as recorder:
            for sdk, protocol in SDKS:
                if protocol != "grpc":
                    endpoint = f"http://127.0.0.1:{recorder.port}"
                    self.send(sdk, protocol, "gzip", endpoint, f"both-{sdk}-{protocol.replace('/', '-')}")
            requests += [replay.Request(path.rsplit("/", 1)[1], *rest) for path, *rest in recorder.requests]
        outputs = []
        for name, program in (("tested", self.options.collector), ("reference", self.options.reference)):
            with self.collector("sdk.yaml", f"both-{name}", program) as collector:
                replay.send(requests, collector)
                collector.stop()
                outputs.append(collector.output)
        report = []
        for signal in SIGNALS:
            tested, reference = (otlp_json.read(output, signal) for output in outputs)
            if not any(otlp_json.flatten(signal, reference)):
                report.append(f"{signal}: the reference wrote nothing; there is nothing to compare")
            report += otlp_json.compare(signal, tested, reference)
        if report:
            raise Failure("tested | reference\n" + "\n".join(report))

    def collector(self, config, directory, program=None, **environment):
        environment["VICTORIA_METRICS_PORT"] = self.victoria.port
        return Collector(program or self.options.collector, config, self.scratch / directory, **environment)

    def send(self, sdk, protocol, compression, endpoint, run, **environment):
        """Runs a client to its end; returns `{signal: [test.id]}` of what it sent."""
        done = self.run_client(sdk, protocol, compression, endpoint, run, **environment)
        if done.returncode != 0:
            raise Failure(f"the client failed\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}")
        return json.loads(done.stdout)["sent"]

    def run_client(self, sdk, protocol, compression, endpoint, run, count=None, **environment):
        program = {"python": [installed.PYTHON, "python_send.py"], "node": ["node", "node_send.mjs"]}[sdk]
        command = [program[0], installed.HERE / "clients" / program[1], "--protocol", protocol, "--run", run]
        command += ["--compression", compression, "--endpoint", endpoint, "--count", count or self.options.count]
        # Nothing else of the environment: OTEL_* variables would change what the SDK does.
        environment |= {"PATH": os.environ["PATH"], "NODE_PEERS": installed.NODE_DIRECTORY}
        return subprocess.run(
            list(map(str, command)),
            capture_output=True,
            text=True,
            timeout=CLIENT_DEADLINE_S,
            env={name: str(value) for name, value in environment.items()},
        )

    def await_victoria(self, run, sent):
        """Waits until VictoriaMetrics has each data point, once and with its value."""
        wanted = {}
        for id in sent["metrics"]:
            kind = id.split("-")[-2]
            for suffix, value in INSTRUMENTS[kind].items():
                wanted[f"test.{kind}{suffix}", id] = [value]
        found = {}

        def arrived():
            nonlocal found
            found = self.victoria.series(run)
            return found.keys() >= wanted.keys()

        def missing():
            return f"VictoriaMetrics misses {sorted(wanted.keys() - found.keys())[:3]}, has {sorted(found)[:3]}"

        wait_until(missing, arrived, ARRIVAL_DEADLINE_S)
        wrong = [f"{key}: {found[key]}, not {wanted[key]}" for key in wanted if found[key] != wanted[key]]
        if wrong:
            raise Failure("wrong in VictoriaMetrics: " + "; ".join(wrong[:3]))


if __name__ == "__main__":
    main()
