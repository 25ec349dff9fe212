"""Starts servers on free loopback ports, waits for events with a deadline, and stops what it started."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from . import installed

os.environ["no_proxy"] = os.environ["NO_PROXY"] = "127.0.0.1"  # all traffic here is local, whatever proxy is set

START_DEADLINE_S = 20
STOP_DEADLINE_S = 20
POLL_INTERVAL_S = 0.05


class Failure(Exception):
    """A test's expectation that did not hold; the text is for the reader of the table."""


def wait_until(describe, probe, deadline_s):
    """Polls `probe` until it returns something true. `describe` (text or callable) tells what was awaited."""
    end = time.monotonic() + deadline_s
    while True:
        result = probe()
        if result:
            return result
        if time.monotonic() > end:
            text = describe() if callable(describe) else describe
            raise Failure(f"not within {deadline_s} s: {text}")
        time.sleep(POLL_INTERVAL_S)


def free_ports(count):
    """Ports nobody listens on just now, all different. The system gives them to no connection that goes out meanwhile, as
    it would those above 32,768."""
    ports = []
    for port in random.sample(range(10_000, 20_000), 2_000):
        if len(ports) == count:
            return ports
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            ports.append(port)
    raise OSError("no port is free")


def get(url, data=None):
    """The body of a 200 answer as text, or None if there is no such answer (yet)."""
    try:
        with urllib.request.urlopen(url, data=data, timeout=10) as response:
            return response.read().decode() if response.status == 200 else None
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return None


class Server:
    """A child process with a log file. Use it in a `with` block: it is stopped at the end whatever happens."""

    def __init__(self, command, log, ready_url, environment=None):
        self.log = Path(log)
        self._file = open(self.log, "wb")
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=self._file,
            stderr=subprocess.STDOUT,
            env=dict(os.environ, **(environment or {})),
        )
        self._ready_url = ready_url

    def __enter__(self):
        try:
            wait_until(lambda: f"ready: {self._ready_url}\n{self.log_tail()}", self._is_ready, START_DEADLINE_S)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._file.close()

    def _is_ready(self):
        if self.process.poll() is not None:
            raise Failure(f"ended with code {self.process.returncode} while starting\n{self.log_tail()}")
        return get(self._ready_url) is not None

    def stop(self):
        """Asks for an orderly end and requires exit code 0."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            raise Failure(f"still running {STOP_DEADLINE_S} s after SIGTERM\n{self.log_tail()}") from None
        if code != 0:
            raise Failure(f"exit code {code} after SIGTERM\n{self.log_tail()}")

    def log_tail(self):
        lines = self.log.read_text(errors="replace").splitlines()[-15:]
        return "\n".join(["  | " + line for line in lines])


class Collector(Server):
    """A collector running one or several of the files in configs/, with its outputs in a directory of its own.

    `prefix` is a command that runs another one, such as `unshare`, and must end by becoming that. `more_ports` are names
    of variables that the configuration has for further ports.
    """

    def __init__(self, program, config, directory, prefix=(), more_ports=(), **environment):
        configs = [config] if isinstance(config, str) else config
        self.output = Path(directory)
        self.output.mkdir(parents=True)
        self.program = program
        self.grpc_port, self.http_port, self.metrics_port, health_port, *more = free_ports(4 + len(more_ports))
        self.more_ports = dict(zip(more_ports, more))
        variables = dict(
            environment,
            **self.more_ports,
            OUTPUT=self.output,
            GRPC_PORT=self.grpc_port,
            HTTP_PORT=self.http_port,
            METRICS_PORT=self.metrics_port,
            HEALTH_PORT=health_port,
        )
        super().__init__(
            [*prefix, program, *(f"--config={installed.HERE / 'configs' / each}" for each in configs)],
            self.output / "collector.log",
            f"http://127.0.0.1:{health_port}/",
            {name: str(value) for name, value in variables.items()},
        )

    def endpoint(self, protocol, site="http://127.0.0.1"):
        return f"{site}:{self.grpc_port if protocol == 'grpc' else self.http_port}"

    def metrics_text(self):
        return get(f"http://127.0.0.1:{self.metrics_port}/metrics") or ""
