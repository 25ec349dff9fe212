"""A real Prometheus that scrapes a collector's page: started on a free port, asked through its query API."""

import json
import urllib.parse
from pathlib import Path

from .installed import PROMETHEUS
from .process import Server, free_ports, get


class Prometheus(Server):
    def __init__(self, directory, target):
        directory = Path(directory)
        directory.mkdir(parents=True)
        (self.port,) = free_ports(1)
        scrape = {"job_name": "collector", "honor_labels": True, "static_configs": [{"targets": [target]}]}
        config = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": [scrape]}
        (directory / "prometheus.json").write_text(json.dumps(config))
        super().__init__(
            [
                PROMETHEUS,
                f"--config.file={directory}/prometheus.json",
                f"--storage.tsdb.path={directory}/data",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--enable-feature=native-histograms,exemplar-storage",
            ],
            directory / "prometheus.log",
            f"http://127.0.0.1:{self.port}/-/ready",
        )

    def query(self, expression):
        """`{frozenset of labels: value}` of an instant query."""
        answer = get(f"http://127.0.0.1:{self.port}/api/v1/query?query={urllib.parse.quote(expression)}")
        result = json.loads(answer)["data"]["result"] if answer else []
        return {frozenset(one["metric"].items()): float(one["value"][1]) for one in result if "value" in one}

    def exemplars(self, expression):
        """The exemplars of series, as Prometheus stores them."""
        query = urllib.parse.quote(expression)
        answer = get(f"http://127.0.0.1:{self.port}/api/v1/query_exemplars?query={query}&start=1600000000&end=4000000000")
        return [one for series in json.loads(answer or '{"data": []}')["data"] for one in series["exemplars"]]
