"""Requests as written by hand: whatever bytes and frames a case wants, and everything that comes back."""

import http.client
import socket

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

TIMEOUT_S = 5  # without a byte; some cases are rightly never answered, so it is not long
READ_BYTES = 65536


def http_exchange(port, request, half_close=False):
    """Writes the bytes of one HTTP/1 request; returns `(status, headers, body)`, or a text that says why there is none.

    A server may answer and hang up before it has read everything; that answer counts.
    """
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as connection:
        try:
            connection.sendall(request)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass
        response = http.client.HTTPResponse(connection, method=request.split(b" ", 1)[0].decode())
        try:
            response.begin()
            return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        except TimeoutError:
            return "NO_ANSWER"
        except (ConnectionResetError, http.client.HTTPException):
            return "CONNECTION_CLOSED"


def grpc_exchange(port, headers, body):
    """Sends one HTTP/2 request and returns `(headers and trailers, data, reset)`; `reset` names an error code or is None.

    With `body` None the stream ends with the headers. A server that resets the stream, hangs up (CONNECTION_CLOSED) or
    says nothing (NO_ANSWER) is no error here.
    """
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as connection:
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
            for event in self.h2.receive_data(data):
                self.handle(event)
            self.flush()

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
