"""Requests as written by hand: whatever bytes and frames a case wants, and everything that comes back."""

import contextlib
import http.client
import socket
import ssl
from dataclasses import dataclass

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

TIMEOUT_S = 5  # without a byte; some cases are rightly never answered, so it is not long
READ_BYTES = 65536


@dataclass(frozen=True)
class Tls:
    """How a client speaks TLS. `authority` and `identity` are names of certificates in the directory of this run."""

    authority: str = "authority"
    identity: str | None = None
    host: str | None = "localhost"  # whom it wants to talk to; None sends no name and believes anybody
    versions: tuple = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
    ciphers: str = "DEFAULT"  # of TLS 1.2 and before
    alpn: tuple = ()

    def wrap(self, connection, directory):
        context = ssl.create_default_context(cafile=directory / f"{self.authority}.pem")
        context.check_hostname = self.host is not None
        context.verify_mode = ssl.CERT_REQUIRED if self.host else ssl.CERT_NONE
        context.set_ciphers(f"{self.ciphers}:@SECLEVEL=0")
        context.minimum_version, context.maximum_version = self.versions
        if self.identity:
            context.load_cert_chain(directory / f"{self.identity}.pem", directory / f"{self.identity}.key")
        if self.alpn:
            context.set_alpn_protocols(list(self.alpn))
        return context.wrap_socket(connection, server_hostname=self.host)


@contextlib.contextmanager
def connected(port, tls=None, directory=None):
    """A connection; with `tls`, after the handshake."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as connection:
        yield tls.wrap(connection, directory) if tls else connection


def http_exchange(connection, request, half_close=False, method="POST"):
    """Writes the bytes of one HTTP/1 request; returns `(status, headers, body)`, or a text that says why there is none.

    A server may answer and hang up before it has read everything; that answer counts.
    """
    if isinstance(connection, ssl.SSLSocket):
        await_verdict(connection)
    try:
        connection.sendall(request)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
    except (BrokenPipeError, ConnectionResetError):
        pass
    response = http.client.HTTPResponse(connection, method=method)
    try:
        response.begin()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    except TimeoutError:
        return "NO_ANSWER"
    except (ConnectionResetError, http.client.HTTPException):
        return "CONNECTION_CLOSED"


def await_verdict(connection, patience_s=0.1):
    """What a server sends first, if anything. What it thinks of a client's certificate it says only now, if TLS is 1.3,
    and an SSLError says it here."""
    connection.settimeout(patience_s)
    try:
        return connection.recv(READ_BYTES)
    except TimeoutError:
        return b""
    finally:
        connection.settimeout(TIMEOUT_S)


def interim(connection, head, patience_s=1):
    """Writes the head of a request; returns the status line that comes before its body is sent, if one does."""
    connection.sendall(head)
    connection.settimeout(patience_s)
    try:
        line = connection.recv(READ_BYTES, socket.MSG_PEEK).split(b"\r\n", 1)[0].decode()
    except TimeoutError:
        line = None
    finally:
        connection.settimeout(TIMEOUT_S)
    return line


def grpc_exchange(connection, headers, body):
    """Sends one HTTP/2 request and returns `(headers and trailers, data, reset)`; `reset` names an error code or is None.

    With `body` None the stream ends with the headers. A server that resets the stream, hangs up (CONNECTION_CLOSED) or
    says nothing (NO_ANSWER) is no error here.
    """
    stream = GrpcStream(connection)
    stream.send(headers, body)
    stream.receive(lambda: stream.ended)
    return stream.headers, bytes(stream.data), stream.reset


class GrpcStream:
    """One HTTP/2 connection with one request on it. No header validation on our side: odd ones are the point."""

    ID = 1

    def __init__(self, connection):
        self.connection = connection
        config = h2.config.H2Configuration(
            validate_outbound_headers=False, normalize_outbound_headers=False, header_encoding="utf-8"
        )
        self.h2 = h2.connection.H2Connection(config)
        self.headers, self.data, self.reset, self.ended = {}, bytearray(), None, False
        self.h2.initiate_connection()
        if isinstance(connection, ssl.SSLSocket):
            self.take(await_verdict(connection))

    def send(self, headers, body):
        self.h2.send_headers(self.ID, headers, end_stream=body is None)
        self.flush()
        rest = memoryview(body or b"")
        while rest and not self.ended:
            room = min(self.h2.local_flow_control_window(self.ID), self.h2.max_outbound_frame_size, len(rest))
            if room == 0:
                self.receive(lambda: self.ended or self.h2.local_flow_control_window(self.ID) > 0)
                continue
            self.h2.send_data(self.ID, rest[:room].tobytes())
            rest = rest[room:]
            self.flush()
        if body is not None and not self.ended:
            self.h2.end_stream(self.ID)
            self.flush()

    def receive(self, enough):
        while not enough():
            try:
                data = self.connection.recv(READ_BYTES)
            except TimeoutError:
                self.reset, self.ended = "NO_ANSWER", True
                return
            except ConnectionResetError:
                data = b""
            if not data:
                self.reset, self.ended = self.reset or "CONNECTION_CLOSED", True
                return
            self.take(data)
            self.flush()

    def take(self, data):
        try:
            events = self.h2.receive_data(data)
        except h2.exceptions.ProtocolError:
            self.reset, self.ended = "NOT_HTTP2", True
            return
        for event in events:
            self.handle(event)

    def handle(self, event):
        if isinstance(event, (h2.events.ResponseReceived, h2.events.TrailersReceived)):
            self.headers.update(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            self.data += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, self.ID)
        elif isinstance(event, h2.events.StreamEnded):
            self.ended = True
        elif isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
            # After a complete answer, a reset only says that the rest of the request is not wanted.
            if not self.ended:
                self.reset = h2.errors.ErrorCodes(event.error_code).name
            self.ended = True

    def flush(self):
        try:
            self.connection.sendall(self.h2.data_to_send())
        except (BrokenPipeError, ConnectionResetError):
            pass  # what the server said before it hung up is still to be read
