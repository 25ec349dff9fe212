"""VictoriaMetrics as the metrics backend: started on a free port, read back through its export API."""

import json
import urllib.parse

from .installed import VICTORIA_METRICS
from .process import Server, free_ports, get


class VictoriaMetrics(Server):
    def __init__(self, directory):
        (self.port,) = free_ports(1)
        super().__init__(
            [VICTORIA_METRICS, f"-storageDataPath={directory}/data", f"-httpListenAddr=127.0.0.1:{self.port}"],
            f"{directory}/victoria-metrics.log",
            f"http://127.0.0.1:{self.port}/health",
        )

    def series(self, run):
        """`{(metric name, test.id): [values]}` of a test run, histogram buckets left out."""
        get(f"http://127.0.0.1:{self.port}/internal/force_flush")
        match = urllib.parse.quote(f'{{test\\.run="{run}",__name__!~".+_bucket"}}')
        lines = get(f"http://127.0.0.1:{self.port}/api/v1/export?match[]={match}") or ""
        found = {}
        for line in map(json.loads, lines.splitlines()):
            key = (line["metric"]["__name__"], line["metric"]["test.id"])
            found.setdefault(key, []).extend(line["values"])
        return found
