"""An OTLP/HTTP server on a free port that keeps what it is sent and answers as it is told to."""

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

JSON, PROTOBUF = "application/json", "application/x-protobuf"


class Sink:
    """Use it in a `with` block. `requests` holds `(path, content type, body)` of each, decompressed.

    `answer` is what every request gets: `(status, headers, body)`; None stands for an empty success.
    """

    def __enter__(self):
        self.requests = []
        self.answer = None
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                content_type = self.headers["Content-Type"]
                sink.requests.append((self.path, content_type, self.body()))
                success = (200, {"Content-Type": content_type}, b"{}" if content_type == JSON else b"")
                status, headers, body = sink.answer or success
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def body(self):
                if self.headers.get("Transfer-Encoding") == "chunked":
                    body = b"".join(iter(self.chunk, b""))
                else:
                    body = self.rfile.read(int(self.headers["Content-Length"]))
                return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

            def chunk(self):
                chunk = self.rfile.read(int(self.rfile.readline(), 16))
                self.rfile.readline()
                return chunk

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
