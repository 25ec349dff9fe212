#!/usr/bin/env python3
"""The `resource_detection` processor in clouds, beside the Go collector's.

    tests/peers/clouds.py                      of the collector that cargo built last
    tests/peers/clouds.py --collector PATH     of another one
    tests/peers/clouds.py --only ecs           only the cases whose name contains a text

In a network of its own, where the addresses of metadata services are this machine's, and the services answer what their
documentation says. Needs tests/peers/install-otelcol. Ends with a line `N passed, N failed`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from support import installed
from support.process import Collector, Failure

INSIDE = "MILLRACE_CLOUDS_INSIDE"
ADDRESSES = ("169.254.169.254", "169.254.42.42", "100.100.100.200")
HOSTS = "127.0.0.1 localhost\n169.254.169.254 metadata.tencentyun.com metadata.google.internal\n"
AZURE = "/metadata/instance/compute"
ECS_TASK = {
    "Cluster": "prod", "TaskARN": "arn:aws:ecs:us-west-2:111:task/prod/abc", "Family": "shop", "Revision": "7",
    "AvailabilityZone": "us-west-2a", "LaunchType": "FARGATE",
    "Containers": [
        {"DockerId": id, "Type": "NORMAL", "KnownStatus": "RUNNING", "LogDriver": "awslogs",
         "LogOptions": {"awslogs-group": f"/ecs/{id}", "awslogs-region": "us-west-2", "awslogs-stream": f"s/{id}"}}
        for id in ("own", "app", "other")
    ],
}  # fmt: skip
# What each service answers, by path: text, or something to be sent as JSON.
CASES = {
    "akamai": {
        "/v1/token": ["T"],
        "/v1/instance": {"id": 42, "label": "box", "region": "us-iad", "type": "g6", "account_euuid": "acc", "tags": [],
                         "image": {"id": "linode/debian12", "label": "Debian 12"}},
    },
    "alibaba_ecs": {
        "/latest/api/token": "T",
        **{f"/latest/meta-data/{name}": name for name in ("hostname", "image-id", "instance-id", "instance/instance-type",
                                                          "owner-account-id", "region-id", "zone-id")},
    },
    "azure": {AZURE: {"location": "westeurope", "name": "vm", "vmId": "id", "vmSize": "D2", "subscriptionId": "sub", "zone": "1",
                      "resourceGroupName": "rg", "vmScaleSetName": "set", "osProfile": {"computerName": "pc"}}},
    "aks": {AZURE: {"resourceGroupName": "MC_group_cluster_region"}},
    "consul": {"/v1/agent/self": {"Config": {"NodeName": "box", "Datacenter": "dc1", "NodeID": "id"}, "Meta": {"rack": "r1", "x": "no"}}},
    "digitalocean": {"/metadata/v1.json": {"droplet_id": 3071, "hostname": "box", "region": "nyc3"}},
    "ecs": {"/v4/x": {"DockerId": "own"}, "/v4/x/task": ECS_TASK},
    "hetzner": {f"/hetzner/v1/metadata/{name}": value for name, value in (
        ("hostname", "box\n"), ("instance-id", "42"), ("region", "eu-central"), ("availability-zone", "fsn1-dc14"))},
    "nova": {
        "/openstack/latest/meta_data.json": {"uuid": "u", "hostname": "box.novalocal", "name": "box", "project_id": "p",
                                             "availability_zone": "nova"},
        "/latest/meta-data/instance-type": "m1.small",
    },
    "oraclecloud": {"/opc/v2/instance/": {"id": "ocid", "displayName": "box", "shape": "VM.E4", "availabilityDomain": "AD-1",
                                          "canonicalRegionName": "eu-frankfurt-1",
                                          "metadata": {"oke-cluster-display-name": "c1", "realm": "oc1"}}},
    "scaleway": {"/": "here", "/conf": {"id": "i", "name": "box", "organization": "org", "commercial_type": "DEV1-S",
                           "image": {"id": "im", "name": "Debian"}, "location": {"zone_id": "fr-par-1"}}},
    "tencent_cvm": {f"/latest/meta-data/{name}": name for name in (
        "instance-name", "instance/image-id", "instance-id", "instance/instance-type", "app-id", "placement/region", "placement/zone")},
    "upcloud": {"/metadata/v1.json": {"cloud_name": "upcloud", "instance_id": "00", "hostname": "box", "region": "fi-hel1"}},
    "vultr": {"/v1.json": {"hostname": "box", "instanceid": "7", "instance-v2-id": "a-b", "region": {"regioncode": "EWR"}}},
    "azurecontainerapps": {},
}  # fmt: skip
ENVIRONMENT = {
    "CONSUL_HTTP_ADDR": "169.254.169.254:80",
    "CONTAINER_APP_NAME": "app",
    "CONTAINER_APP_REPLICA_NAME": "app--1",
    "ECS_CONTAINER_METADATA_URI_V4": "http://169.254.169.254/v4/x",
    "KUBERNETES_SERVICE_HOST": "10.0.0.1",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--collector", help="the program under test; also MILLRACE_COLLECTOR")
    parser.add_argument("--only", default="", help="run only the cases whose name contains this")
    options = parser.parse_args()
    reference = installed.require(installed.GO_COLLECTOR, "tests/peers/install-otelcol")
    collector = installed.collector(options.collector)
    if INSIDE not in os.environ:
        os.execvpe("unshare", ["unshare", "--map-root-user", "--net", "--mount", sys.executable, *sys.argv], os.environ | {INSIDE: "1"})
    with tempfile.TemporaryDirectory(prefix="millrace-clouds-") as scratch:
        scratch = Path(scratch)
        make_network(scratch)
        services = [Service(address) for address in ADDRESSES]
        results = []
        for detector in CASES:
            if options.only in detector:
                for service in services:
                    service.answers = CASES[detector]
                results.append(case(detector, collector, reference, scratch / detector))
    failed = results.count(False)
    print(f"\n{len(results) - failed} passed, {failed} failed")
    sys.exit(1 if failed or not results else 0)


def make_network(scratch):
    """The loopback device has the addresses of the clouds, and their names lead there."""
    for address in ADDRESSES:
        subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    (scratch / "hosts").write_text(HOSTS)
    subprocess.run(["mount", "--bind", scratch / "hosts", "/etc/hosts"], check=True)


class Service:
    """Answers by path, and 404 for the rest."""

    def __init__(self, address):
        self.answers = {}
        service = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self):
                answer = service.answers.get(self.path.partition("?")[0])
                body = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
                self.send_response(404 if answer is None else 200)
                self.send_header("Content-Type", "text/plain" if isinstance(answer, str) else "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_HEAD = do_PUT = answer

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer((address, 80), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()


def case(detector, collector, reference, directory):
    try:
        expected = described(reference, detector, directory / "reference")
        found = described(collector, detector, directory / "tested")
        if not expected:
            raise Failure("the Go collector found nothing")
        if found != expected:
            raise Failure(f"Go     {json.dumps(expected, sort_keys=True)}\ntested {json.dumps(found, sort_keys=True)}")
    except Failure as failure:
        print(f"FAILED  {detector}\n{failure}", flush=True)
        return False
    print(f"passed  {detector}: {len(expected)} attributes", flush=True)
    return True


def described(program, detector, directory):
    """The attributes that a collector gives to a resource without any."""
    with Collector(program, "clouds.yaml", directory, DETECTOR=detector, **ENVIRONMENT) as collector:
        body = {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": "x"}}]}]}]}
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{collector.endpoint('http')}/v1/logs", json.dumps(body).encode(), headers)
        urllib.request.urlopen(request, timeout=10).close()
        collector.stop()
    (line,) = (directory / "logs.jsonl").read_text().splitlines()
    (resource,) = json.loads(line)["resourceLogs"]
    return {one["key"]: one["value"] for one in resource["resource"].get("attributes", [])}


if __name__ == "__main__":
    main()
