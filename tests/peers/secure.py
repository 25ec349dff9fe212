"""The suites about TLS and authentication: who may send gets through item by item, who may not leaves nothing but a count.

The SDKs are told as everybody tells them, by OTEL_EXPORTER_OTLP_CERTIFICATE, _HEADERS and so on.
"""

import base64
import hashlib
import json
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from support import accounts, certificates, installed, raw
from support.outputs import SIGNALS, await_files, require_in_files
from support.process import Failure, wait_until

SECURE, PLAIN = "https://localhost", "http://localhost"
SDKS = [("python", "grpc"), ("python", "http/protobuf"), ("node", "grpc"), ("node", "http/json")]
COUNT_REFUSED = 5  # items of those who are refused
COUNTED_S = 10
TIMEOUT = {"python": 1, "node": 1000}  # a second, as each SDK has it: how long one tries that is refused
MUTUAL = ("tls.yaml", "tls-clients.yaml")
TOKEN, FORMER_TOKEN = "token-of-now", "token-of-yesterday"
USER, PASSWORD = "alice", "s3cret"
CONNECTIONS = "otelcol_millrace_connections_refused"
EMPTY_REQUEST = (
    "POST /v1/traces HTTP/1.1\r\nHost: collector.test\r\nContent-Type: application/x-protobuf\r\n"
    "Content-Length: 0\r\nAuthorization: Bearer %s\r\n\r\n"
)
AUTHENTICATIONS = "otelcol_millrace_authentications"


class Secure:
    """The cases; `bench` has the programs and runs the clients."""

    def __init__(self, bench):
        self.bench, self._authority = bench, None

    def tls_cases(self):
        for name, overlays, client in (("TLS", ["tls.yaml"], None), ("mutual TLS", MUTUAL, "client")):
            for sdk, protocol in SDKS:
                case = partial(self.taken, sdk, protocol, overlays, SECURE, self.trusting(client=client))
                yield f"tls    {sdk} {protocol}, {name}", case
        # A client that does not like what it is shown may say so, or hang up without a word.
        reason = (CONNECTIONS, "reason", "refused_by_client", "broken_handshake")
        yield self.refusal("unknown authority", ["tls.yaml"], SECURE, self.trusting("stranger"), reason)
        yield self.refusal("certificate for another host", ["tls.yaml"], SECURE, self.trusting(), reason, "elsewhere")
        reason = (CONNECTIONS, "reason", "client_certificate")
        yield self.refusal("no certificate of its own", MUTUAL, SECURE, self.trusting(), reason)
        yield self.refusal("a stranger's certificate", MUTUAL, SECURE, self.trusting(client="stranger-client"), reason)
        yield self.refusal("without TLS", ["tls.yaml"], PLAIN, {}, (CONNECTIONS, "reason", "not_tls"))
        yield self.refusal("TLS to a plain port", [], SECURE, self.trusting(), (CONNECTIONS, "reason", "tls_to_plain_port"))

    def auth_cases(self):
        bearer, former = header(f"Bearer {TOKEN}"), header(f"Bearer {FORMER_TOKEN}")
        basic, wrong = header(basic_credentials(PASSWORD)), header(basic_credentials("guess"))
        for sdk, protocol in SDKS:
            for overlay, credentials in (("bearer", bearer), ("basic", basic)):
                case = partial(self.taken, sdk, protocol, [f"auth-{overlay}.yaml"], PLAIN, credentials)
                yield f"auth   {sdk} {protocol}, {overlay}", case
        secured = ["tls.yaml", "auth-bearer.yaml"]
        yield "auth   python grpc, bearer over TLS", partial(self.taken, *SDKS[0], secured, SECURE, self.trusting() | bearer)
        for overlay, worthless in (("bearer", header("Bearer guess")), ("basic", wrong)):
            for what, variables, outcome in (("no", {}, "missing"), ("wrong", worthless, "wrong")):
                counted = (AUTHENTICATIONS, "outcome", outcome)
                name = f"{what} {overlay} credentials"
                yield self.refusal(name, [f"auth-{overlay}.yaml"], PLAIN, variables, counted, suite="auth")
        yield "auth   bearer token expired: refused", partial(self.expired, former)

    def sandwich_cases(self):
        for (sdk, protocol), hop in ((SDKS[0], "grpc"), (SDKS[3], "http")):
            name = f"sandwich {sdk} {protocol}, Go collector, {hop}, tested, {hop}, Go collector, all with mutual TLS and tokens"
            yield name, partial(self.sandwich, sdk, protocol, hop)

    def taken(self, sdk, protocol, overlays, site, variables):
        """Everything arrives once, and the counters say so."""
        run = f"{sdk}-{protocol}-{'-'.join(overlays)}".replace("/", "-").replace(".yaml", "")
        with self.collector(run, overlays) as collector:
            sent = self.bench.send(sdk, protocol, "gzip", collector.endpoint(protocol, site), run, **variables)
            await_files(collector.output, sent)
            items = {signal: len(ids) for signal, ids in sent.items()}
            accounts.check(collector, items, {(f"file/{signal}", signal): count for signal, count in items.items()})
            collector.stop()
            require_in_files(collector.output, sent)

    def refusal(self, name, overlays, site, variables, counted, server="server", suite="tls"):
        """The case that nobody gets through like this, with any SDK."""
        return f"{suite:6} {name}: refused", partial(self.refused, name, overlays, site, variables, counted, server)

    def refused(self, name, overlays, site, variables, counted, server):
        with self.collector(name.replace(" ", "-"), overlays, server) as collector:
            self.nobody_gets_through(collector, name, site, variables)
            self.require_counted(collector, *counted)
            collector.stop()
            require_in_files(collector.output, {signal: [] for signal in SIGNALS})

    def expired(self, variables):
        """A token that is taken off the list lets nobody in any more, and what it let in is there."""
        with self.collector("expired", ["auth-bearer.yaml"]) as collector:
            sent = self.bench.send(*SDKS[0], "none", collector.endpoint("grpc"), "before", **variables)
            await_files(collector.output, sent)
            self.tokens("expired").write_text(f"{TOKEN}\n")
            empty = EMPTY_REQUEST % FORMER_TOKEN

            def is_refused():
                with raw.connected(collector.http_port) as connection:
                    return raw.http_exchange(connection, empty.encode())[0] == 401

            wait_until("the former token to be refused", is_refused, COUNTED_S)
            self.nobody_gets_through(collector, "after", PLAIN, variables)
            self.require_counted(collector, AUTHENTICATIONS, "outcome", "wrong")
            collector.stop()
            require_in_files(collector.output, sent)

    def sandwich(self, sdk, protocol, hop):
        """Three collectors in a row, the one under test between two Go collectors: everything once, and three true accounts."""
        run = f"sandwich-{hop}"
        reference, secured = self.bench.options.reference, [*MUTUAL, "auth-bearer.yaml"]
        front = ["chain-front.yaml", *secured, "next-secure.yaml"] + (["next-secure-http.yaml"] if hop == "http" else [])
        exporter = "otlp_http" if hop == "http" else "otlp"
        with (
            self.collector(f"{run}-back", secured, program=reference) as back,
            self.collector(f"{run}-middle", front, next_to=back) as middle,
            self.collector(f"{run}-front", front, program=reference, next_to=middle) as first,
        ):
            variables = self.trusting(client="client") | header(f"Bearer {TOKEN}")
            sent = self.bench.send(sdk, protocol, "gzip", first.endpoint(protocol, SECURE), run, **variables)
            await_files(back.output, sent)
            items = {signal: len(ids) for signal, ids in sent.items()}
            for collector in (first, middle):
                accounts.check(collector, items, {(exporter, signal): count for signal, count in items.items()})
            accounts.check(back, items, {(f"file/{signal}", signal): count for signal, count in items.items()})
            for collector in (first, middle, back):
                collector.stop()
            require_in_files(back.output, sent)

    def nobody_gets_through(self, collector, run, site, variables):
        """Every SDK at once: they spend their time on waiting."""
        with ThreadPoolExecutor(len(SDKS)) as pool:
            done = list(pool.map(lambda sdk: self.send_refused(*sdk, collector, run, site, variables), SDKS))
        for sdk, each in zip(SDKS, done):
            if each.returncode == 0 or not json.loads(each.stdout)["errors"]:
                raise Failure(f"{' '.join(sdk)} noticed nothing\n{each.stdout[-1500:]}\n{each.stderr[-1500:]}")

    def send_refused(self, sdk, protocol, collector, run, site, variables):
        patience = {"OTEL_EXPORTER_OTLP_TIMEOUT": TIMEOUT[sdk]}
        endpoint = collector.endpoint(protocol, site)
        return self.bench.run_client(sdk, protocol, "none", endpoint, run, COUNT_REFUSED, **variables, **patience)

    def require_counted(self, collector, metric, label, *values):
        """Millrace has counted at least one refusal for each SDK, under one of these values of the label."""
        if not installed.is_millrace(collector.program):
            return

        def count():
            samples = accounts.parse(collector.metrics_text())
            return sum(number for name, labels, number in samples if name == metric and labels.get(label) in values)

        wait_until(lambda: f"{metric} of {values} is {count()}", lambda: count() >= len(SDKS), COUNTED_S)

    def collector(self, run, overlays, server="server", program=None, next_to=None):
        first = [] if overlays and overlays[0].startswith("chain-") else ["chain-back.yaml"]
        self.tokens(run).write_text(f"{TOKEN}\n{FORMER_TOKEN}\n")
        certificate, key = self.identity(server)
        environment = {"CERTIFICATE": certificate, "KEY": key, "CLIENT_AUTHORITY": self.authority().certificate}
        environment |= {"TOKENS": self.tokens(run), "HTPASSWD": self.users()}
        if next_to:
            environment |= {"NEXT_GRPC_PORT": next_to.grpc_port, "NEXT_HTTP_PORT": next_to.http_port}
        return self.bench.collector([*first, *overlays], run, program, **environment)

    def tokens(self, run):
        """The file of tokens that the collector of this run takes."""
        return self.authority().directory / f"{run}-tokens"

    def users(self):
        users = self.authority().directory / "users"
        digest = base64.b64encode(hashlib.sha1(PASSWORD.encode()).digest()).decode()
        users.write_text(f"{USER}:{{SHA}}{digest}\n")
        return users

    def trusting(self, authority="authority", client=None):
        """The SDK's variables for trusting an authority, and for showing a certificate."""
        variables = {"OTEL_EXPORTER_OTLP_CERTIFICATE": self.authority().directory / f"{authority}.pem"}
        if client:
            certificate, key = self.identity(client)
            variables |= {"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": certificate, "OTEL_EXPORTER_OTLP_CLIENT_KEY": key}
        return variables

    def authority(self):
        """The one that everybody trusts, and beside it what it has issued, and what a stranger has."""
        if not self._authority:
            self._authority = ours = certificates.Authority(self.bench.scratch / "certificates")
            for name in ("server", "client"):
                ours.issue(name)
            ours.issue("elsewhere", ["DNS:elsewhere.test"])
            certificates.Authority(ours.directory, "stranger").issue("stranger-client")
        return self._authority

    def identity(self, name):
        """`(certificate, key)`."""
        directory = self.authority().directory
        return directory / f"{name}.pem", directory / f"{name}.key"


def header(value):
    return {"OTEL_EXPORTER_OTLP_HEADERS": f"Authorization={urllib.parse.quote(value)}"}


def basic_credentials(password):
    return "Basic " + base64.b64encode(f"{USER}:{password}".encode()).decode()
