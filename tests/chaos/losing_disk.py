"""A block device that forgets what was not flushed: an nbdkit plugin.

Writes go into a journal beside the image, and from there into the image when the device is flushed. Killing the plugin
with SIGKILL is a power loss; `settle` then decides what the disk had written on its own: nothing, or a random part of
the journal in any order, as real disks do.

    nbdkit --foreground python losing_disk.py image=DISK journal=JOURNAL
"""

import os
import random
import struct

HEADER = struct.Struct("<QI")
API_VERSION = 2
_image = _journal = None
_pending = []


def config(key, value):
    global _image, _journal
    if key == "image":
        _image = os.open(value, os.O_RDWR)
    elif key == "journal":
        _journal = os.open(value, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    else:
        raise RuntimeError(f"unknown parameter {key}")


def config_complete():
    if _image is None or _journal is None:
        raise RuntimeError("image= and journal= are needed")


def open(readonly):
    return 1


def get_size(handle):
    return os.fstat(_image).st_size


def can_write(handle):
    return True


def can_flush(handle):
    return True


def pread(handle, buf, offset, flags):
    length = len(buf)
    data = bytearray(os.pread(_image, length, offset))
    data.extend(bytes(length - len(data)))
    for at, written in _pending:
        start, end = max(at, offset), min(at + len(written), offset + length)
        if start < end:
            data[start - offset : end - offset] = written[start - at : end - at]
    buf[:] = data


def pwrite(handle, buf, offset, flags):
    data = bytes(buf)
    _pending.append((offset, data))
    os.write(_journal, HEADER.pack(offset, len(data)) + data)


def flush(handle, flags):
    for at, data in _pending:
        os.pwrite(_image, data, at)
    _pending.clear()
    os.ftruncate(_journal, 0)
    os.lseek(_journal, 0, os.SEEK_SET)


def settle(image, journal, rng, keep):
    """After the loss: writes a random part of the journal (`keep` of it, on average) in random order. How much that is."""
    with io_open(journal, "rb") as file:
        rest = file.read()
    writes = []
    while len(rest) >= HEADER.size:
        offset, length = HEADER.unpack_from(rest)
        data = rest[HEADER.size : HEADER.size + length]
        # Sectors are written as a whole or not at all; the last record may be cut short.
        writes += [(offset + at, data[at : at + 512]) for at in range(0, len(data), 512) if len(data[at : at + 512]) == 512]
        rest = rest[HEADER.size + length :]
    chosen = [write for write in writes if rng.random() < keep]
    rng.shuffle(chosen)
    fd = os.open(image, os.O_RDWR)
    for at, data in chosen:
        os.pwrite(fd, data, at)
    os.close(fd)
    return len(chosen), len(writes)


# `open` is a callback of the plugin here.
from builtins import open as io_open  # noqa: E402

assert random  # used by those who import `settle`
