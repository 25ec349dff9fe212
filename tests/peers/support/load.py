"""Load from millrace-loadgen, destinations that are millrace-sink, and the exact account of what got where."""

import http.client
import json
import signal
import subprocess
import threading
import time
from contextlib import contextmanager

from .process import Failure, Server, free_ports

ITEMS_PER_REQUEST = 100
SAMPLE_INTERVAL_S = 0.05
SAMPLE_DEADLINE_S = 1
END_DEADLINE_S = 60


class Destination(Server):
    """A sink that remembers the identity of every span, and a record of how many it had when."""

    def __init__(self, programs, directory, name, address, port):
        http_port, self.stats_port = free_ports(2)
        self.samples = []  # (time, spans so far)
        self._done = threading.Event()
        super().__init__(
            [programs / "millrace-sink", "--check-ids", "--grpc", f"{address}:{port}", "--http", f"127.0.0.1:{http_port}",
             "--stats", f"127.0.0.1:{self.stats_port}"],
            directory / f"{name}.log",
            f"http://127.0.0.1:{self.stats_port}/stats",
        )

    def __enter__(self):
        super().__enter__()
        threading.Thread(target=self._sample, daemon=True).start()
        return self

    def __exit__(self, *arguments):
        self._done.set()
        super().__exit__(*arguments)

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def spans(self):
        """How many spans have arrived, those that came twice included."""
        return self.samples[-1][1] if self.samples else 0

    @contextmanager
    def questions(self):
        """Yields `missing(run, first, last)`: how many of these the sink has not got."""
        connection = http.client.HTTPConnection("127.0.0.1", self.stats_port, timeout=10)

        def missing(run, first, last):
            connection.request("POST", "/acked", f"{run} {first} {last}\n")
            return json.loads(connection.getresponse().read())["missing"]

        yield missing
        connection.close()

    def _sample(self):
        while not self._done.wait(SAMPLE_INTERVAL_S):
            connection = http.client.HTTPConnection("127.0.0.1", self.stats_port, timeout=SAMPLE_DEADLINE_S)
            try:
                connection.request("GET", "/stats")
                totals = json.loads(connection.getresponse().read())
                self.samples.append((time.monotonic(), totals["traces"]["items"]))
            except (OSError, http.client.HTTPException):
                pass  # frozen, or ended: there is nothing to record
            finally:
                connection.close()


class Load:
    """Spans at a fixed rate for some seconds; `report` and `acked` are there when `wait` has returned."""

    def __init__(self, programs, directory, port, rate, seconds, authority=None):
        self._report, self._acked = directory / "load.json", directory / "acked.txt"
        command = [programs / "millrace-loadgen", "--endpoint", f"127.0.0.1:{port}", "--rate", rate, "--duration", seconds]
        command += ["--items-per-request", ITEMS_PER_REQUEST, "--connections", 8, "--in-flight", 32, "--grace", 30]
        command += ["--json", self._report, "--acked-file", self._acked]
        command += ["--tls-ca", authority] if authority else []
        self._log = open(directory / "load.log", "wb")
        self.started = time.monotonic()
        self.process = subprocess.Popen(list(map(str, command)), stdout=self._log, stderr=subprocess.STDOUT)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._log.close()

    def wait(self):
        self.process.wait(END_DEADLINE_S)
        if not self._report.exists():
            raise Failure(f"the load ended without a report\n{open(self._log.name).read()[-1500:]}")
        self.report = json.loads(self._report.read_text())
        lines = [line.split() for line in self._acked.read_text().splitlines() if not line.startswith("#")]
        self.acked = [(run, int(first), int(last)) for run, first, last in lines]
        return self


def lost(acked, destinations):
    """How many of the acknowledged spans are at none of the destinations. Exact: asks down to single spans."""
    open_questions = [destination.questions() for destination in destinations]
    missing = [question.__enter__() for question in open_questions]

    def of(run, first, last):
        count = last - first + 1
        missed = [ask(run, first, last) for ask in missing]
        if min(missed) == 0:
            return 0
        if sum(count - each for each in missed) == 0 or count == 1:
            return count
        middle = (first + last) // 2
        return of(run, first, middle) + of(run, middle + 1, last)

    try:
        return sum(of(run, start, end) for run, first, last in acked for start, end in pieces(first, last))
    finally:
        for question in open_questions:
            question.__exit__(None, None, None)


def pieces(first, last):
    """The range cut where requests begin: a request arrives as a whole somewhere."""
    while first <= last:
        end = min(last, first + ITEMS_PER_REQUEST - 1 - (first - 1) % ITEMS_PER_REQUEST)
        yield first, end
        first = end + 1
