"""Where the peers are. Whatever is missing ends the run with the command that installs it."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
ROOT = HERE.parent.parent
CACHE = Path(os.environ.get("MILLRACE_PEERS") or Path.home() / ".cache/millrace-peers")

PYTHON = CACHE / "python/bin/python"
NODE_DIRECTORY = CACHE / "node"
VICTORIA_METRICS = CACHE / "debian/usr/bin/victoria-metrics"
PROMETHEUS = CACHE / "debian/usr/bin/prometheus"
GO_COLLECTOR = CACHE / "otelcol/build/otelcol-contrib"


def require(path, remedy):
    """Returns `path` if it exists; otherwise ends the program and says what to run."""
    if not Path(path).exists():
        sys.exit(f"missing: {path}\nrun: {remedy}")
    return Path(path)


def require_peers():
    """Checks everything that `tests/peers/install` provides."""
    for path in (PYTHON, NODE_DIRECTORY / "node_modules", VICTORIA_METRICS):
        require(path, "tests/peers/install")


def continue_in_venv():
    """Restarts the program under the installed Python, which has the packages that the system's lacks."""
    require(PYTHON, "tests/peers/install")
    if Path(sys.prefix).resolve() != PYTHON.parent.parent.resolve():
        os.execv(PYTHON, [str(PYTHON), *sys.argv])


def collector(given):
    """The collector under test: the one given, else MILLRACE_COLLECTOR, else what cargo built last."""
    given = given or os.environ.get("MILLRACE_COLLECTOR")
    if given:
        return require(given, "cargo build, or give another --collector")
    built = [ROOT / "target" / profile / "millrace" for profile in ("release", "debug")]
    built = [path for path in built if path.exists()]
    if not built:
        sys.exit("missing: the collector under test\nrun: cargo build --release, or give --collector PATH")
    return max(built, key=lambda path: path.stat().st_mtime)


def is_millrace(program):
    """Whether Millrace's own guarantees, such as the ledger, apply to this collector."""
    return Path(program).name.startswith("millrace")
