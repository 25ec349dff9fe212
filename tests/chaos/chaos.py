#!/usr/bin/env python3
"""Kills a durable collector at random moments under load, and looks whether anything that it acknowledged is lost.

    tests/chaos/chaos.py kill  --millrace target/release/millrace --rounds 200
    tests/chaos/chaos.py power --millrace target/release/millrace --rounds 200     (as root: mounts a disk of its own)

`kill` ends the process with SIGKILL. `power` ends the disk as well: everything that was not flushed to it is gone, or a
random part of it is there in random order. In both the destination comes and goes. After the last round everything
that was answered with 200 has to arrive; what arrives twice has to be what was under way within a second before a
kill, which is the time in which cursors are persisted and then some. The exit code says whether that is so.
"""

import argparse
import collections
import http.client
import http.server
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
ID = re.compile(rb"#(\d+)#")
# Cursors are persisted every quarter of a second; a busy machine adds to that.
CURSOR_WINDOW = 1.0
DISK = 256 << 20


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Destination(http.server.ThreadingHTTPServer):
    """Remembers which records arrived, and when each arrived first. Down, it answers 503 or nothing."""

    daemon_threads = True

    def __init__(self):
        self.first = {}
        self.again = []
        self.lock = threading.Lock()
        self.mood = "up"
        super().__init__(("127.0.0.1", 0), Answer)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def take(self, body):
        now = time.monotonic()
        with self.lock:
            for found in ID.findall(body):
                number = int(found)
                if number in self.first:
                    self.again.append((number, now))
                else:
                    self.first[number] = now

    def handle_error(self, request, client_address):
        pass


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        mood = self.server.mood
        if mood == "hangs up":
            self.connection.close()
            return
        if mood == "up":
            self.server.take(body)
        self.send_response(200 if mood == "up" else 503)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


class Load:
    """Senders that post records with unique numbers until they are told to stop, and know what was acknowledged."""

    def __init__(self, port, senders):
        self.port = port
        self.senders = senders
        self.numbers = iter(range(0, 1 << 60, RECORDS))
        self.lock = threading.Lock()
        self.acknowledged = set()
        self.refused = collections.Counter()

    def run(self, seconds):
        stop = time.monotonic() + seconds
        threads = [threading.Thread(target=self.send_until, args=(stop,)) for _ in range(self.senders)]
        for thread in threads:
            thread.start()
        return threads

    def send_until(self, stop):
        connection = None
        while time.monotonic() < stop:
            with self.lock:
                base = next(self.numbers)
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
                    self.acknowledged.update(range(base, base + RECORDS))
                else:
                    self.refused[answer.status] += 1


class Collector:
    def __init__(self, program, directory, destination, folder):
        self.program = program
        self.port, self.metrics_port = free_port(), free_port()
        self.log = folder / "millrace.log"
        self.config = folder / "config.yaml"
        self.config.write_text(
            f"""
extensions:
  file_storage: {{directory: {directory}, create_directory: true}}
receivers:
  otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{self.port}"}}}}}}
exporters:
  otlp_http:
    endpoint: http://127.0.0.1:{destination}
    encoding: json
    compression: none
    sending_queue: {{storage: file_storage, queue_size: 1000000}}
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
            self.process = subprocess.Popen([self.program, f"--config={self.config}"], stdout=log, stderr=log)
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

    def metric(self, name):
        page = urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10).read().decode()
        lines = [line for line in page.splitlines() if re.match(rf"{name}[{{ ]", line)]
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

    def __init__(self, folder):
        for program in ["nbdkit", "nbdfuse", "losetup", "mkfs.ext4", "mount"]:
            if not shutil.which(program):
                sys.exit(f"needs {program}: apt-get install nbdkit nbdkit-plugin-python nbdfuse e2fsprogs mount")
        if os.geteuid() != 0:
            sys.exit("mounting a disk needs root")
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

    def open(self):
        sock = self.folder / "nbd.sock"
        sock.unlink(missing_ok=True)
        self.nbdkit = subprocess.Popen(
            ["nbdkit", "--foreground", "--unix", sock, "python", HERE / "losing_disk.py",
             f"image={self.image}", f"journal={self.journal}"]
        )
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
    parser.add_argument("--senders", type=int, default=8)
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
    load = Load(collector.port, options.senders)
    kills = []
    for number in range(options.rounds):
        destination.mood = rng.choice(["up", "up", "busy", "hangs up"])
        collector.start()
        length = rng.uniform(0.02, 0.8)
        threads = load.run(length + 0.05)
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
            print(f"  {number + 1} rounds: {len(load.acknowledged)} acknowledged, {len(destination.first)} delivered", flush=True)
    destination.mood = "up"
    collector.start()
    deadline = time.monotonic() + 300
    while not load.acknowledged <= destination.first.keys() and time.monotonic() < deadline:
        time.sleep(0.2)
    wait_until_empty(collector, deadline)
    lost = load.acknowledged - destination.first.keys()
    damaged = collector.metric("otelcol_millrace_storage_lost_requests")
    status = collector.stop()
    early = [number for number, _ in destination.again if not is_near(destination.first[number], kills)]
    print(f"  {len(load.acknowledged)} acknowledged in {options.rounds} rounds, refused {dict(load.refused)}")
    print(f"  {len(lost)} of them lost; {len(destination.again)} delivered again, {len(early)} of these too early")
    for what, much in getattr(place, "kept", {}).items():
        print(f"  {much} {what}")
    print(collector.tail().splitlines()[-1])
    if lost:
        print(f"lost, for example: {sorted(lost)[:10]}")
    return not lost and not early and not damaged and status == 0 and bool(load.acknowledged)


def wait_until_empty(collector, deadline):
    while collector.metric("otelcol_exporter_queue_size") > 0 and time.monotonic() < deadline:
        time.sleep(0.2)


def is_near(moment, kills):
    return any(0 <= kill - moment + 0.05 <= CURSOR_WINDOW + 0.05 for kill in kills)


if __name__ == "__main__":
    main()
