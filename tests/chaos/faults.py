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
import fcntl
import json
import os
import re
import resource
import shutil
import signal
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

    def traces(self):
        """The answer to one span, or what there was instead."""
        span = {"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "x"}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.collector.port}/v1/traces",
            json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode(),
            {"content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=8) as answer:
                return answer.status
        except OSError as error:
            return error

    def reload(self, config):
        self.collector.config.write_text(config)
        self.collector.process.send_signal(signal.SIGHUP)

    def times_said(self, text):
        """In all of its log."""
        return (self.folder / "millrace.log").read_text(errors="replace").count(text)

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

    def is_held_by_the_system_alone(self):
        """The process has ended, but for threads that the system does not let go of (D)."""

        def states():
            tasks = Path(f"/proc/{self.collector.process.pid}/task").glob("*/stat")
            return {task.read_text().rsplit(")", 1)[1].split()[0] for task in tasks}

        chaos.wait_for(lambda: states() == {"Z", "D"}, "only calls to the disk keep the process")

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

    def disk(self):
        """A real file system of its own."""
        if chaos.run("sh", "-c", "command -v mkfs.ext4", check=False) is None:
            raise Lacking("needs mkfs.ext4: apt-get install e2fsprogs")
        place, image = self.folder / "disk", self.folder / "image"
        place.mkdir()
        with image.open("wb") as file:
            file.truncate(64 << 20)
        chaos.run("mkfs.ext4", "-q", image)
        if chaos.run("mount", "-o", "loop", image, place, check=False) is None:
            raise Lacking("mounting needs root, and /dev/loop-control")
        self.ends.append(lambda: chaos.run("umount", "-l", place, check=False))
        return place

    @contextlib.contextmanager
    def frozen(self, place):
        """Meanwhile whatever wants to write there waits, and lets itself not be killed."""
        if chaos.run("fsfreeze", "--freeze", place, check=False) is None:
            raise Lacking("needs fsfreeze: apt-get install util-linux")
        try:
            yield
        finally:
            chaos.run("fsfreeze", "--unfreeze", place)

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
    over = time.monotonic() + 120
    while not trial.load.refused[503]:
        assert time.monotonic() < over, "it does not get full"
        trial.send(1)
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
def moved_when_nearly_full(trial):
    """A reload has what waits in memory put on a disk that is nearly full, and the process is told to stop: what was
    acknowledged is tried again until somebody makes room, or put aside in the part that is left."""
    place = trial.mounted("24m")
    trial.set_up(place / "queue", storage=", millrace_segment_size: 1048576")
    on_disk = trial.collector.config.read_text()
    trial.collector.config.write_text(on_disk.replace("storage: file_storage, ", ""))
    trial.again()
    assert trial.send() > 0
    others = place / "others"
    free = os.statvfs(place)
    others.write_bytes(bytes(free.f_bavail * free.f_frsize - (1 << 20)))
    trial.collector.config.write_text(on_disk)
    trial.collector.process.send_signal(signal.SIGHUP)
    chaos.wait_for(lambda: "Not all that waits in memory" in trial.log(), "there is no room")
    trial.collector.process.send_signal(signal.SIGTERM)
    time.sleep(2)
    others.unlink()
    assert trial.collector.process.wait(60) == 0
    trial.says("Shutdown complete: ", " 0 lost")
    replay = [trial.millrace, "dead-letters", "replay", "--config", trial.collector.config]
    done = subprocess.run(replay, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done
    trial.again()
    trial.deliver()
    trial.stop()


@case
def replayed_when_nearly_full(trial):
    """What is given back to the queue of a stopped collector leaves the last part of the disk to others, as what arrives
    does: it stays among the dead letters, and comes back when there is room."""
    place = trial.mounted("24m")
    trial.destination.mood = "refuses"
    trial.start(place / "queue", storage=", millrace_segment_size: 1048576")
    assert trial.send() > 0
    letters = lambda: trial.collector.metric("otelcol_millrace_dead_letters")
    chaos.wait_for(lambda: letters() > 0 and trial.collector.metric("otelcol_exporter_queue_size") == 0,
                   "all is put aside")
    there = letters()
    trial.stop()
    others = place / "others"
    free = os.statvfs(place)
    others.write_bytes(bytes(free.f_bavail * free.f_frsize - (1 << 20)))
    replay = [trial.millrace, "dead-letters", "replay", "--config", trial.collector.config]
    done = subprocess.run(replay, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "nearly full" in done.stdout and " 0 requests" in done.stdout, done
    others.unlink()
    done = subprocess.run(replay, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and f" {there:.0f} requests" in done.stdout, done
    # Before it starts, or some of them are refused once more.
    trial.destination.mood = "up"
    trial.again()
    trial.deliver()
    trial.stop()


@case
def full_at_start(trial):
    """A file system that others have filled to the last block while it was not running, of which root has had a part
    that it has not: it starts, sends what waits, and takes again when there is room."""
    place = trial.disk()
    if chaos.run("setpriv", "--version", check=False) is None:
        raise Lacking("needs setpriv: apt-get install util-linux")
    queue = place / "queue"
    queue.mkdir()
    os.chown(queue, 65534, 65534)
    # Where that user finds it.
    trial.folder.chmod(0o755)
    millrace = Path(shutil.copy(trial.millrace, trial.folder / "millrace"))
    trial.set_up(queue, storage=", millrace_segment_size: 1048576")
    trial.collector.command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", str(millrace)]
    trial.again()
    assert trial.send() > 0
    trial.collector.kill()
    fill(place / "others")
    assert os.statvfs(place).f_bavail == 0, "not even root has any room"
    trial.again()
    trial.refuses_for_a_while()
    trial.deliver()
    (place / "others").unlink()
    chaos.wait_for(lambda: trial.send(0.2) > 0, "it takes again")
    trial.deliver()
    trial.stop()


@case
def frozen(trial):
    """The file system hangs (fsfreeze) and it is told to stop: it does so in its time, says what is kept and that the
    disk does not answer, and is gone when the disk lets it. Nothing that was acknowledged is lost."""
    place = trial.disk()
    trial.set_up(place / "queue", storage=", millrace_segment_size: 1048576")
    trial.collector.command = [str(trial.millrace), "--shutdown-timeout=2s"]
    trial.again()
    assert trial.send() > 0
    process = trial.collector.process
    with trial.frozen(place):
        senders = trial.load.run(0.3)
        chaos.wait_for(lambda: trial.collector.metric("otelcol_exporter_queue_size") > 0, "it answers")
        process.send_signal(signal.SIGTERM)
        chaos.wait_for(lambda: "the disk does not answer: not waiting" in trial.log(), "it says that the disk hangs")
        trial.says("Shutdown complete: ", "kept on disk")
        trial.is_held_by_the_system_alone()
    assert process.wait(20) == 1, "not all was in order"
    for thread in senders:
        thread.join()
    trial.again()
    trial.deliver()
    trial.stop()


@case
def frozen_reload(trial):
    """The file system hangs (fsfreeze), and a new configuration no longer has the exporter that keeps its queue there:
    what has nothing to do with that disk goes on, with one core, too. Once the disk answers, the exporter can come back
    and send what it had left."""
    place = trial.disk()
    trial.set_up(place / "queue", storage=", millrace_segment_size: 1048576")
    config = trial.collector.config
    durable = config.read_text().replace("exporters:\n", "exporters:\n  nop: {}\n", 1)
    durable += "    traces: {receivers: [otlp], exporters: [nop]}\n"
    config.write_text(durable)
    trial.collector.command = ["taskset", "-c", "0", str(trial.millrace), "--shutdown-timeout=2s"]
    trial.again()
    assert trial.send() > 0

    with trial.frozen(place):
        senders = trial.load.run(0.3)
        assert trial.traces() == 200, "before the reload"
        # Nobody takes the senders' records then, so that those that are acknowledged are all in the queue.
        logs = "logs: {receivers: [otlp], exporters: [otlp_http]}"
        assert logs in durable
        trial.reload(durable.replace(logs, ""))

        # Also when the senders that wait for that disk have given up, who have the queue until then.
        over = time.monotonic() + 13
        while time.monotonic() < over:
            answer = trial.traces()
            assert answer == 200, f"while the disk hangs: {answer}"
            time.sleep(0.1)
        # One that brings it back waits for the disk, and nothing else does.
        trial.reload(durable)
        chaos.wait_for(lambda: trial.log().count("Reading the configuration again") == 2, "it is asked for")
        for _ in range(20):
            assert trial.traces() == 200
            time.sleep(0.1)
    for thread in senders:
        thread.join()

    def is_back():
        trial.reload(durable)
        time.sleep(0.5)
        return trial.log().count("The new configuration is at work") >= 2

    chaos.wait_for(is_back, "the exporter comes back")
    trial.destination.mood = "up"
    chaos.wait_until_empty(trial.collector, time.monotonic() + 60)
    trial.deliver()
    trial.stop()


@case
def frozen_reload_that_opens(trial):
    """The file system hangs (fsfreeze), and a new configuration has an exporter whose queue is there: with one core, too,
    it is refused after half a minute and the `timeout` of its storage, by the name of the folder, what runs goes on, and a
    configuration with another directory is taken. What has hung meanwhile keeps nobody out afterwards. SIGTERM ends such a
    wait, here for a `file` exporter's file, without any loss."""
    place = trial.disk()
    trial.set_up(place / "queue", storage=", millrace_segment_size: 1048576")
    config = trial.collector.config
    durable = config.read_text().replace("exporters:\n", "exporters:\n  nop: {}\n", 1)
    durable += "    traces: {receivers: [otlp], exporters: [nop]}\n"
    logs = "logs: {receivers: [otlp], exporters: [otlp_http]}"
    assert logs in durable
    without = durable.replace(logs, "")
    elsewhere = durable.replace(str(place / "queue"), str(trial.folder / "elsewhere"))
    config.write_text(durable)
    trial.collector.command = ["taskset", "-c", "0", str(trial.millrace), "--shutdown-timeout=5s"]
    trial.again()
    assert trial.send() > 0
    accepted = "The new configuration is at work"

    def accepts(text, times):
        trial.reload(text)
        chaos.wait_for(lambda: trial.times_said(accepted) == times, f"configuration {times} is at work")

    accepts(without, 1)
    folder = place / "queue/exporter-otlp_http-logs.queue"

    def is_closed():
        with (folder / "lock").open() as lock, contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return True

    chaos.wait_for(is_closed, "the queue is closed")
    refused = "could not be opened within 31s: its disk does not answer"
    with trial.frozen(place):
        trial.reload(durable)
        over = time.monotonic() + 60
        while trial.times_said(refused) == 0:
            assert time.monotonic() < over, "it is not refused"
            answer = trial.traces()
            assert answer == 200, f"while the disk hangs: {answer}"
            time.sleep(0.1)
        named = [line for line in trial.log().splitlines() if refused in line and str(place / "queue") in line]
        assert len(named) == 1, "it names the folder"
        trial.says("what ran before goes on")
        accepts(elsewhere, 2)
        assert trial.send() > 0
    accepts(without, 3)

    def is_back():
        trial.reload(durable)
        time.sleep(0.5)
        return trial.times_said(accepted) >= 4

    chaos.wait_for(is_back, "what was left there is sent")
    trial.destination.mood = "up"
    chaos.wait_until_empty(trial.collector, time.monotonic() + 60)
    accepts(elsewhere, trial.times_said(accepted) + 1)
    trial.deliver()
    process = trial.collector.process
    with trial.frozen(place):
        before = trial.times_said("Reading the configuration again")
        file = elsewhere.replace("exporters:\n", f"exporters:\n  file: {{path: {place}/file.json}}\n", 1)
        trial.reload(file.replace("exporters: [nop]", "exporters: [nop, file]"))
        chaos.wait_for(lambda: trial.times_said("Reading the configuration again") > before, "it is asked for")

        def hangs():
            tasks = Path(f"/proc/{process.pid}/task").glob("*/stat")
            return any("(opening) D" in task.read_text() for task in tasks)

        chaos.wait_for(hangs, "it waits for the disk")
        process.send_signal(signal.SIGTERM)
        trial.is_held_by_the_system_alone()
    assert process.wait(20) == 0, "all was in order"
    trial.says("Shutdown complete: ", " 0 lost")


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
def unopened(trial):
    """A process that may not open any more files while it hands out what is on disk: an error says so once, nothing is
    lost, and everything is sent when it may again."""
    trial.set_up(trial.folder / "queue", storage=", millrace_segment_size: 65536")
    trial.again()
    trial.load.pause = 0
    trial.send(2)
    trial.collector.kill()
    # What it finds on disk is not in its memory. It goes on while there is a connection, which it could not make later.
    trial.destination.asked = 0
    trial.again()
    chaos.wait_for(lambda: trial.destination.asked > 0, "it is connected")
    pid = trial.collector.process.pid
    allowed = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, allowed[1]))
    trial.destination.mood = "up"
    chaos.wait_for(lambda: "cannot be opened" in trial.log(), "it says that it cannot go on")
    # More than the attempts that a disk has which fails.
    time.sleep(6)
    assert trial.log().count("cannot be opened") == 1, "it is said again and again"
    resource.prlimit(pid, resource.RLIMIT_NOFILE, allowed)
    trial.deliver()
    trial.says("Too many open files", "LimitNOFILE", "is no longer waited for")
    assert not re.search(r'storage_lost_requests\{.*\} [1-9]', trial.collector.page()), "something is lost"
    trial.stop()


@case
def unreadable(trial):
    """A file that cannot be read when it starts: an error names it, what is in it is in the account as kept and not as
    lost, the rest is delivered, and so is that at a later start that can read it."""
    directory = trial.folder / "queue"
    trial.set_up(directory, storage=", millrace_segment_size: 65536")
    if os.geteuid() == 0:
        if chaos.run("setpriv", "--version", check=False) is None:
            raise Lacking("needs setpriv, as root may read everything: apt-get install util-linux")
        # Root as anybody, where files are concerned.
        trial.collector.command = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", str(trial.millrace)]
    trial.again()
    trial.load.pause = 0
    segments, rounds = [], 0
    while len(segments) < 6:
        assert rounds < 60, f"{len(segments)} segments are few"
        trial.send()
        segments, rounds = sorted((directory / "exporter-otlp_http-logs.queue").glob("*.seg")), rounds + 1
    trial.stop()
    closed = segments[len(segments) // 2]
    closed.chmod(0)
    trial.again()
    trial.destination.mood = "up"
    chaos.wait_for(lambda: trial.collector.metric("otelcol_exporter_queue_size") == 0, "the rest is sent")
    kept = len(list(trial.destination.lacks(trial.load.acknowledged)))
    assert 0 < kept < len(trial.load.acknowledged) * chaos.RECORDS / 4, f"{kept} have not arrived"
    trial.balances()
    trial.stop()
    trial.says(f"{closed.name} cannot be read", f"{kept} kept on disk, 0 lost")
    closed.chmod(0o600)
    trial.again()
    trial.deliver()
    trial.stop()
    trial.says("0 kept on disk, 0 lost")


@case
def first_process(trial):
    """In a container it is process 1, which is not sent what it does not listen for: asked to end while it starts, it does
    when it can."""
    directory = trial.folder / "queue"
    directory.mkdir()
    trial.set_up(directory, storage=", timeout: 60s")
    command = ["unshare", "--pid", "--fork", "--kill-child", trial.millrace, f"--config={trial.collector.config}"]
    if chaos.run("unshare", "--pid", "--fork", "true", check=False) is None:
        raise Lacking("making a space of processes needs root")
    with (directory / ".millrace.lock").open("w") as lock, trial.collector.log.open("wb") as log:
        fcntl.flock(lock, fcntl.LOCK_EX)
        around = subprocess.Popen(command, stdout=log, stderr=log)
        trial.ends.append(around.kill)
        chaos.wait_for(lambda: "waiting for another process" in trial.log(), "it starts")
        (first,) = Path(f"/proc/{around.pid}/task/{around.pid}/children").read_text().split()
        os.kill(int(first), signal.SIGTERM)
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert around.wait(30) == 0
    trial.says("Received signal from OS", "Shutdown complete: ")


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
