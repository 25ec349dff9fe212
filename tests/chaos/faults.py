#!/usr/bin/env python3
"""Disks and directories that fail under a durable collector: what it says, that it goes on, and that nothing is lost.

    tests/chaos/faults.py --millrace target/release/millrace              all of them
    tests/chaos/faults.py --millrace target/release/millrace full clock   these

Each case breaks something real under the real binary, by the means of the kernel: a file system without room, a device
that answers EIO, a directory that cannot be written to, files that are gone. What a case asserts is written at its head.
In every one of them all that was answered with 200 arrives, unless the case says what is lost and how that is counted,
and the accounts balance. What this machine lacks the means for is said, and not run.
"""

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import chaos

CASES = {}


def case(function):
    CASES[function.__name__.replace("_", "-")] = function
    return function


class Lacking(Exception):
    """This machine has not what the case needs."""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millrace", required=True)
    parser.add_argument("cases", nargs="*", metavar="case", help=", ".join(CASES))
    options = parser.parse_args()
    failed = lacking = 0
    for name in options.cases or CASES:
        with tempfile.TemporaryDirectory() as folder:
            trial = Trial(Path(options.millrace).resolve(), Path(folder))
            try:
                CASES[name](trial)
                print(f"ok       {name}", flush=True)
            except Lacking as why:
                lacking += 1
                print(f"NOT RUN  {name}: {why}", flush=True)
            except AssertionError as problem:
                failed += 1
                print(f"FAILED   {name}: {problem}\n{trial.log()}", flush=True)
            finally:
                trial.close()
    sys.exit(1 if failed else chaos.NOT_RUN if lacking else 0)


class Trial:
    """A destination, what was sent, and the collectors between them."""

    def __init__(self, millrace, folder):
        self.millrace, self.folder = millrace, folder
        self.destination = chaos.Destination()
        self.destination.mood = "busy"
        self.load = None
        self.collector = None
        self.ends = []

    def set_up(self, directory, **options):
        to = self.destination.server_address[1]
        self.collector = chaos.Collector(self.millrace, directory, to, self.folder, **options)
        self.load = chaos.Load(self.collector.port, 4, 400)

    def start(self, directory, **options):
        self.set_up(directory, **options)
        self.collector.start()

    def again(self):
        """The same collector, started once more."""
        self.collector.start()

    def refused_to_start(self, directory):
        collector = chaos.Collector(self.millrace, directory, 1, self.folder)
        done = subprocess.run(
            [self.millrace, f"--config={collector.config}"], capture_output=True, text=True, timeout=30
        )
        assert done.returncode == 1, f"it started, or ended with {done.returncode}"
        return done.stderr + done.stdout

    def send(self, seconds=0.5):
        """Sends for a while; how many requests were taken."""
        before = len(self.load.acknowledged)
        for thread in self.load.run(seconds):
            thread.join()
        return len(self.load.acknowledged) - before

    def refusal(self, records=20):
        """The answer to one request that is not taken."""
        text = "x" * 1000
        body = {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": text}}] * records}]}]}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.collector.port}/v1/logs",
            json.dumps(body).encode(),
            {"content-type": "application/json"},
        )
        try:
            urllib.request.urlopen(request, timeout=10).read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers.get("retry-after"), error.read().decode()
        raise AssertionError("it was taken")

    def refuses_for_a_while(self):
        status, retry_after, text = self.refusal()
        assert status == 503 and retry_after, f"a sender is told {status}, to come back after {retry_after}: {text}"
        return text

    def deliver(self):
        """Everything that was acknowledged arrives."""
        self.destination.mood = "up"
        chaos.wait_until_empty(self.collector, time.monotonic() + 60)
        lost = list(self.destination.lacks(self.load.acknowledged))
        assert not lost, f"{len(lost)} acknowledged records are lost, for example {lost[:5]}"
        self.balances()

    def balances(self):
        sums, deadline = None, time.monotonic() + 10
        while sums is None or any(sums.values()):
            assert time.monotonic() < deadline, f"accounts do not balance: {sums}"
            sums = {}
            for line in self.collector.page().splitlines():
                found = re.match(r"otelcol_millrace_ledger_(items|held_items|opening_items)\{(.*)\} (\S+)", line)
                if not found:
                    continue
                name, labels, value = found.groups()
                adds = name == "opening_items" or 'term="in"' in labels or 'term="created"' in labels
                key = re.sub(r',?(term|reason)="[^"]*"', "", labels).strip(",")
                sums[key] = sums.get(key, 0) + float(value) * (1 if adds else -1)
            assert sums, "the ledger is among the metrics"

    def says(self, *texts):
        log = self.log()
        for text in texts:
            assert text in log, f"it does not say {text!r}"

    def stop(self):
        status = self.collector.stop()
        assert status == 0, f"it ended with {status}"
        self.says("Shutdown complete: ")
        assert "does not balance" not in self.log()

    def log(self):
        path = self.folder / "millrace.log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-60:]) if path.exists() else ""

    def mounted(self, size):
        """A file system in memory, as small as that."""
        place = self.folder / "small"
        place.mkdir()
        if chaos.run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place, check=False) is None:
            raise Lacking("mounting needs root")
        self.ends.append(lambda: chaos.run("umount", "-l", place, check=False))
        return place

    def close(self):
        if self.collector and self.collector.process and self.collector.process.poll() is None:
            self.collector.kill()
        for end in reversed(self.ends):
            end()
        self.destination.shutdown()


def fill(path):
    """Takes all the room that there is."""
    try:
        with path.open("wb", buffering=0) as file:
            for size in [1 << 16, 1 << 12, 1]:
                with contextlib.suppress(OSError):
                    while file.write(bytes(size)):
                        pass
    except OSError:
        pass


@case
def full(trial):
    """A file system that gets full: senders are told to try again before its last part is used, the process goes on, and
    what is there is delivered. The same where others have filled it to the last byte."""
    place = trial.mounted("24m")
    trial.start(place / "queue", storage=", millrace_segment_size: 1048576")
    trial.load.pause = 0
    for _ in range(20):
        trial.send(1)
        if trial.load.refused[503]:
            break
    assert "nearly full" in trial.refuses_for_a_while()
    trial.says("the disk does not take what it should", str(place))
    free = os.statvfs(place)
    assert free.f_bavail > 0, "the last part is left to others"
    fill(place / "others")
    trial.refuses_for_a_while()
    trial.deliver()
    (place / "others").unlink(missing_ok=True)
    chaos.wait_for(lambda: trial.send(0.2) > 0, "it takes again")
    trial.deliver()
    trial.says("the disk takes what it should again")
    trial.stop()


@case
def filled_by_others(trial):
    """Others fill the file system at once, between two looks at how much is left (ENOSPC): the same."""
    place = trial.mounted("24m")
    trial.start(place / "queue", storage=", millrace_segment_size: 1048576")
    assert trial.send() > 0
    for round in range(3):
        fill(place / "others")
        trial.send(0.7)
        trial.refuses_for_a_while()
        (place / "others").unlink()
        chaos.wait_for(lambda: trial.send(0.2) > 0, "it takes again")
    trial.deliver()
    trial.collector.kill()
    trial.again()
    trial.deliver()
    trial.stop()


@case
def failing_sync(trial):
    """fdatasync fails (EIO): what it did not cover is not acknowledged, the file is given up and never synced again, and
    with a disk that works again the next one is begun."""
    if chaos.run("sh", "-c", "command -v fiu-run && command -v fiu-ctrl", check=False) is None:
        raise Lacking("needs fiu-run: apt-get install fiu-utils")
    pipe = trial.folder / "fiu"
    trial.set_up(trial.folder / "queue")
    trial.collector.command = ["fiu-run", "-x", "-f", str(pipe), str(trial.millrace)]
    trial.again()

    def tell(command):
        done = chaos.run("fiu-ctrl", "-f", pipe, "-c", command, trial.collector.process.pid, check=False)
        assert done is not None, f"fiu-ctrl {command} fails"

    assert trial.send() > 0
    for name in ["posix/io/sync/fdatasync", "posix/io/sync/fsync"]:
        tell(f"enable name={name},failinfo=5")
    trial.send(0.5)
    text = trial.refuses_for_a_while()
    assert "error" in text.lower(), text
    trial.says("the disk does not take what it should")
    assert trial.collector.metric("otelcol_millrace_storage_failures") > 0
    for name in ["posix/io/sync/fdatasync", "posix/io/sync/fsync"]:
        tell(f"disable name={name}")
    chaos.wait_for(lambda: trial.send(0.2) > 0, "it takes again")
    trial.deliver()
    trial.destination.mood = "busy"
    assert trial.send() > 0
    trial.collector.kill()
    trial.collector.command = [str(trial.millrace)]
    trial.again()
    trial.deliver()
    trial.stop()


class FailingDisk(chaos.LosingDisk):
    """A real file system on a disk that answers EIO to writes while a file is there."""

    # It tells each of them.
    stderr = subprocess.DEVNULL

    def plugin(self):
        self.broken = self.folder / "broken"
        return ["--filter=error", "file", self.image, "error-pwrite=EIO", "error-pwrite-rate=100%",
                f"error-pwrite-file={self.broken}"]


@case
def failing_device(trial):
    """The device fails to write (EIO), and its file system becomes read-only: senders are told to try again, what is
    there is still delivered, and after a repair and a start so is the rest."""
    try:
        disk = FailingDisk(trial.folder)
    except SystemExit as why:
        raise Lacking("see above") from why
    trial.ends.append(disk.close)
    trial.start(disk.path)
    assert trial.send() > 0
    disk.broken.touch()
    trial.send(0.5)
    trial.refuses_for_a_while()
    trial.says("the disk does not take what it should")
    trial.deliver()
    trial.destination.mood = "busy"
    trial.refuses_for_a_while()
    trial.collector.kill()
    disk.broken.unlink()
    disk.detach()
    chaos.run("e2fsck", "-fy", disk.image, check=False)
    disk.nbdkit.terminate()
    disk.nbdkit.wait(20)
    disk.open()
    trial.again()
    assert trial.send() > 0
    trial.deliver()
    trial.stop()


@case
def read_only(trial):
    """A directory that cannot be written to: it does not start, and says which and why."""
    place = trial.mounted("8m")
    assert chaos.run("mount", "-o", "remount,ro", place, check=False) is not None
    text = trial.refused_to_start(place)
    assert f"cannot write to {place}" in text, text


@case
def missing_and_foreign(trial):
    """A segment is gone and others' files are there: it starts, says what is missing and counts it as `damaged`,
    delivers the rest, and leaves the files alone."""
    directory = trial.folder / "queue"
    # Small files, so that there are several.
    small = ", millrace_segment_size: 65536"
    trial.start(directory, storage=small)
    trial.load.pause = 0
    trial.send(1.5)
    trial.stop()
    folder = directory / "exporter-otlp_http-logs.queue"
    segments = sorted(folder.glob("*.seg"))
    assert len(segments) > 4, f"{len(segments)} segments are few"
    gone = segments[len(segments) // 2]
    gone.unlink()
    foreign = [folder / "notes.txt", folder / "1.seg", directory / "elsewhere"]
    for file in foreign:
        file.write_text("not yours")
    trial.again()
    trial.destination.mood = "up"
    chaos.wait_until_empty(trial.collector, time.monotonic() + 60)
    lost = len(list(trial.destination.lacks(trial.load.acknowledged)))
    damaged = trial.collector.metric("otelcol_millrace_ledger_items", 'reason="damaged"')
    assert 0 < lost < len(trial.load.acknowledged) * chaos.RECORDS / 4, f"{lost} are lost"
    assert damaged == lost, f"{lost} are lost, {damaged} are counted"
    trial.says("requests that were on disk are lost", str(folder))
    trial.balances()
    assert trial.send() > 0
    chaos.wait_until_empty(trial.collector, time.monotonic() + 60)
    trial.stop()
    for file in foreign:
        assert file.read_text() == "not yours", f"{file} has been touched"


@case
def clock(trial):
    """The clock jumps by days, to and fro, while it runs and while it is stopped: nothing is lost or held up, and
    nothing is taken for older than its limit because of a jump back."""
    preload = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if preload is None:
        raise Lacking("needs libfaketime: apt-get install libfaketime")
    now = trial.folder / "now"
    now.write_text("+0d")
    trial.set_up(trial.folder / "queue", storage=", millrace_max_age: 240h")
    trial.collector.environment = dict(
        os.environ, LD_PRELOAD=str(preload), FAKETIME_TIMESTAMP_FILE=str(now), FAKETIME_NO_CACHE="1",
        FAKETIME_DONT_FAKE_MONOTONIC="1",
    )
    for days in ["+0d", "-3d", "+2d", "-30d"]:
        now.write_text(days)
        trial.again()
        assert trial.send(0.3) > 0
        for jump in ["+1d", "-5d", days]:
            now.write_text(jump)
            assert trial.send(0.2) > 0, f"nothing is taken after a jump to {jump}"
        trial.collector.kill()
    now.write_text("+0d")
    trial.again()
    trial.deliver()
    age = trial.collector.metric("otelcol_millrace_queue_oldest_age")
    assert age < 60, f"nothing waits, and the oldest is {age} s old"
    trial.stop()


if __name__ == "__main__":
    main()
