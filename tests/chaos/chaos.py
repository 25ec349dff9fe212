#!/usr/bin/env python3
"""Kills a durable collector at random moments under load, and looks whether anything that it acknowledged is lost.

    tests/chaos/chaos.py kill  --millrace target/release/millrace --rounds 200
    tests/chaos/chaos.py power --millrace target/release/millrace --rounds 200     (as root: mounts a disk of its own)

`kill` ends the process with SIGKILL. `power` ends the disk as well: everything that was not flushed to it is gone, or a
random part of it is there in random order. In both the destination comes and goes. After the last round everything
that was answered with 200 has to arrive; what arrives twice has to be what was under way within a second before a
kill, which is the time in which cursors are persisted and then some. The exit code says whether that is so; 77 says that this
machine lacks something, and that nothing was run.
"""

import argparse
import array
import bisect
import collections
import contextlib
import http.client
import http.server
import itertools
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import losing_disk  # noqa: E402

RECORDS = 20
# Senders keep to their rate until just before a kill, so that there is not more to be delivered than the test can count,
# and then send as fast as they are answered, so that the kill comes in the middle of something.
RUSH = 0.03
ID = re.compile(rb"#(\d+)#")
# Cursors are persisted every quarter of a second; a busy machine adds to that.
CURSOR_WINDOW = 1.0
DISK = 256 << 20
# As an exit code.
NOT_RUN = 77


def free_port():
    """One that the system gives to no connection that goes out meanwhile, as it would those above 32,768."""
    for port in random.SystemRandom().sample(range(10_000, 20_000), 1_000):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise OSError("no port is free")


class Destination(http.server.ThreadingHTTPServer):
    """Counts how often each record arrived, and remembers when one of its request first did. Down, it answers 503 or
    nothing."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self):
        self.arrived = bytearray()
        self.records = 0
        self.moments = array.array("d")
        self.again = []
        self.lock = threading.Lock()
        self.asked = 0
        self.mood = "up"
        super().__init__(("127.0.0.1", 0), Answer)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def take(self, body):
        now = time.monotonic()
        with self.lock:
            for number in map(int, ID.findall(body)):
                request = number // RECORDS
                if request >= len(self.moments):
                    more = request + 1024 - len(self.moments)
                    self.moments.extend([0.0] * more)
                    self.arrived.extend(bytes(more * RECORDS))
                if self.arrived[number]:
                    self.again.append(request)
                else:
                    self.arrived[number] = 1
                    self.records += 1
                    self.moments[request] = self.moments[request] or now

    def lacks(self, requests):
        """The records of these requests that have not arrived."""
        with self.lock:
            arrived = bytes(self.arrived)
        whole = bytes([1]) * RECORDS
        for request in requests:
            base = request * RECORDS
            if arrived[base : base + RECORDS] != whole:
                yield from (base + n for n in range(RECORDS) if arrived[base + n : base + n + 1] != b"\1")

    def handle_error(self, request, client_address):
        pass


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # An answer is one packet, and nobody waits for another.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.asked += 1
        mood = self.server.mood
        if mood == "hangs up":
            self.connection.close()
            return
        if mood == "up":
            self.server.take(body)
        self.send_response({"up": 200, "refuses": 400}.get(mood, 503))
        self.send_header("content-type", "application/json")
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


class Load:
    """Senders that post requests of records with unique numbers, and know which were acknowledged."""

    def __init__(self, port, senders, rate):
        self.port = port
        self.senders = senders
        self.pause = senders / rate
        self.requests = itertools.count()
        self.lock = threading.Lock()
        self.acknowledged = []
        self.refused = collections.Counter()

    def run(self, seconds):
        """Until `seconds` from now, and a moment longer: whoever is in the middle of something is not to end before."""
        kill = time.monotonic() + seconds
        threads = [threading.Thread(target=self.send_until, args=(kill,)) for _ in range(self.senders)]
        for thread in threads:
            thread.start()
        return threads

    def send_until(self, kill):
        connection = None
        while (now := time.monotonic()) < kill + 0.05:
            if now < kill - RUSH:
                time.sleep(min(self.pause * random.uniform(0.5, 1.5), kill - RUSH - now))
            request = next(self.requests)
            base = request * RECORDS
            records = [{"body": {"stringValue": f"#{base + n}#"}} for n in range(RECORDS)]
            body = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]})
            try:
                if connection is None:
                    connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
                connection.request("POST", "/v1/logs", body, {"content-type": "application/json"})
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):
                connection = None
                time.sleep(0.005)
                continue
            with self.lock:
                if answer.status == 200:
                    self.acknowledged.append(request)
                else:
                    self.refused[answer.status] += 1


class Collector:
    def __init__(self, program, directory, destination, folder, storage="", queue="queue_size: 1000000"):
        self.command = [program]
        self.environment = None
        self.port, self.metrics_port = free_port(), free_port()
        self.log = folder / "millrace.log"
        self.config = folder / "config.yaml"
        self.config.write_text(
            f"""
extensions:
  file_storage: {{directory: {directory}, create_directory: true{storage}}}
receivers:
  otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{self.port}"}}}}}}
exporters:
  otlp_http:
    endpoint: http://127.0.0.1:{destination}
    encoding: json
    compression: none
    sending_queue: {{storage: file_storage, {queue}}}
    retry_on_failure: {{initial_interval: 50ms, max_interval: 300ms}}
service:
  extensions: [file_storage]
  telemetry: {{metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {self.metrics_port}}}}}}}}}]}}}}
  pipelines:
    logs: {{receivers: [otlp], exporters: [otlp_http]}}
"""
        )
        self.process = None

    def start(self):
        with self.log.open("ab") as log:
            command = [*self.command, f"--config={self.config}"]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=self.environment)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                sys.exit(f"the collector does not start:\n{self.tail()}")
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.01)
        sys.exit(f"the collector does not get ready:\n{self.tail()}")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def page(self):
        url = f"http://127.0.0.1:{self.metrics_port}/metrics"
        return urllib.request.urlopen(url, timeout=10).read().decode()

    def metric(self, name, label=""):
        lines = [line for line in self.page().splitlines() if re.match(rf"{name}[{{ ]", line) and label in line]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    def tail(self):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-40:])


class Directory:
    """Where the queue is: an ordinary folder."""

    def __init__(self, folder):
        self.path = folder / "queue"

    def cut(self):
        pass

    def settle(self, rng):
        pass

    def close(self):
        pass


class LosingDisk:
    """Where the queue is: a file system on a disk that forgets what was not flushed."""

    stderr = None

    def __init__(self, folder):
        for program in ["nbdkit", "nbdfuse", "losetup", "mkfs.ext4", "mount"]:
            if not shutil.which(program):
                cannot(f"needs {program}: apt-get install nbdkit nbdkit-plugin-python libnbd-bin e2fsprogs mount")
        if os.geteuid() != 0:
            cannot("mounting a disk needs root")
        for device in ["/dev/fuse", "/dev/loop-control"]:
            if not os.path.exists(device):
                cannot(f"there is no {device} here")
        self.folder = folder
        self.image, self.journal = folder / "image", folder / "journal"
        self.mounted, self.fuse = folder / "mounted", folder / "fuse"
        self.path = self.mounted / "queue"
        self.mounted.mkdir()
        self.fuse.mkdir()
        with self.image.open("wb") as image:
            image.truncate(DISK)
        run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", self.image)
        self.kept = collections.Counter()
        self.open()

    def plugin(self):
        """What is behind the disk."""
        return ["python", HERE / "losing_disk.py", f"image={self.image}", f"journal={self.journal}"]

    def open(self):
        sock = self.folder / "nbd.sock"
        sock.unlink(missing_ok=True)
        self.nbdkit = subprocess.Popen(["nbdkit", "--foreground", "--unix", sock, *self.plugin()], stderr=self.stderr)
        wait_for(sock.exists, "nbdkit")
        device = self.fuse / "disk"
        device.touch()
        # It complains when the disk goes away, which is what happens here.
        self.nbdfuse = subprocess.Popen(["nbdfuse", device, "--unix", sock], stderr=subprocess.DEVNULL)
        wait_for(lambda: device.stat().st_size == DISK, "nbdfuse")
        self.loop = run("losetup", "--find", "--show", device).strip()
        # Replays the journal of the file system, as after any loss of power.
        run("mount", "-o", "errors=remount-ro", self.loop, self.mounted)

    def cut(self):
        """In the middle of whatever is being written."""
        self.nbdkit.kill()
        self.nbdkit.wait()

    def settle(self, rng):
        self.detach()
        keep = rng.choice([0.0, 0.0, 0.5, 0.95])
        kept, written = losing_disk.settle(self.image, self.journal, rng, keep)
        self.kept["sectors not flushed"] += written
        self.kept["of them on the disk all the same"] += kept
        self.open()

    def detach(self):
        wait_for(lambda: run("umount", self.mounted, check=False) is not None, "umount")
        run("losetup", "--detach", self.loop, check=False)
        run("umount", "-l", self.fuse / "disk", check=False)
        self.nbdfuse.terminate()
        self.nbdfuse.wait(20)

    def close(self):
        self.nbdkit.terminate()
        self.detach()
        self.nbdkit.wait(20)


def cannot(why):
    """This machine has not what it takes, which says nothing about the collector."""
    print(f"NOT RUN: {why}", file=sys.stderr)
    sys.exit(NOT_RUN)


def run(*command, check=True):
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode == 0:
        return done.stdout
    if check:
        sys.exit(f"{command[0]} failed: {done.stderr}")
    return None


def wait_for(is_so, what):
    deadline = time.monotonic() + 20
    while not is_so():
        if time.monotonic() > deadline:
            sys.exit(f"{what}: not within 20 s")
        time.sleep(0.02)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("how", choices=["kill", "power"])
    parser.add_argument("--millrace", required=True)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--senders", type=int, default=4)
    parser.add_argument("--rate", type=float, default=400, help="requests a second, of all senders, but just before kills")
    parser.add_argument("--seed", type=int, default=None, help="of the moments; printed, so that it can be given again")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.randrange(1 << 32)
    rng = random.Random(seed)
    print(f"{options.how}: {options.rounds} rounds, seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        place = LosingDisk(folder) if options.how == "power" else Directory(folder)
        try:
            is_well = rounds(options, rng, folder, place)
        finally:
            place.close()
    sys.exit(0 if is_well else 1)


def rounds(options, rng, folder, place):
    destination = Destination()
    collector = Collector(options.millrace, place.path, destination.server_address[1], folder)
    load = Load(collector.port, options.senders, options.rate)
    kills, began = [], time.monotonic()
    for number in range(options.rounds):
        destination.mood = rng.choice(["up", "up", "busy", "hangs up"])
        collector.start()
        length = rng.uniform(0.02, 0.8)
        threads = load.run(length)
        time.sleep(length)
        if rng.random() < 0.3:
            destination.mood = rng.choice(["up", "busy"])
        kills.append(time.monotonic())
        place.cut()
        collector.kill()
        place.settle(rng)
        for thread in threads:
            thread.join()
        if (number + 1) % 20 == 0:
            counts = f"{len(load.acknowledged) * RECORDS} acknowledged, {destination.records} delivered"
            print(f"  {number + 1} rounds, {time.monotonic() - began:.0f} s: {counts}", flush=True)
    destination.mood = "up"
    collector.start()
    deadline = time.monotonic() + 300
    wait_until_empty(collector, deadline)
    lost = list(destination.lacks(load.acknowledged))
    damaged = collector.metric("otelcol_millrace_storage_lost_requests")
    status = collector.stop()
    early = [request for request in destination.again if not is_near(destination.moments[request], kills)]
    acknowledged = len(load.acknowledged) * RECORDS
    print(f"  {acknowledged} acknowledged in {options.rounds} rounds, requests refused {dict(load.refused)}")
    print(f"  {len(lost)} of them lost; {len(destination.again)} delivered again, {len(early)} of these too early")
    for what, much in getattr(place, "kept", {}).items():
        print(f"  {much} {what}")
    print(collector.tail().splitlines()[-1])
    if lost:
        print(f"lost, for example: {lost[:10]}")
    return not lost and not early and not damaged and status == 0 and bool(load.acknowledged)


def wait_until_empty(collector, deadline):
    while collector.metric("otelcol_exporter_queue_size") > 0 and time.monotonic() < deadline:
        time.sleep(0.2)


def is_near(moment, kills):
    """Whether there was a kill soon after that moment. They are in order."""
    at = bisect.bisect_left(kills, moment - 0.05)
    return at < len(kills) and kills[at] <= moment + CURSOR_WINDOW


if __name__ == "__main__":
    main()
