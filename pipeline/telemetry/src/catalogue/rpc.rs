//! What HTTP and gRPC servers and clients count, as the semantic conventions define it. All at level detailed.
//!
//! Labels of HTTP: `http.request.method`, `network.protocol.name`, `network.protocol.version`, `server.address`,
//! `server.port`, `url.scheme`; of servers also `http.route` and `http.response.status_code`; of clients the status
//! code or, without an answer, `error.type`. Labels of gRPC: `rpc.method` (`package.Service/Method`),
//! `rpc.response.status_code` (`OK`, `UNAVAILABLE`, …), `rpc.system.name` (`grpc`).

use crate::metrics::{Def, Level, Scope, Stability};

/// The release of the libraries that the scopes name.
pub const VERSION: &str = "0.70.0";

const HTTP: Scope = Scope {
    name: "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp",
    version: VERSION,
    schema_url: "",
};
const GRPC: Scope = Scope {
    name: "go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc",
    version: VERSION,
    schema_url: "https://opentelemetry.io/schemas/1.43.0",
};

/// Buckets for durations, as the semantic conventions advise.
const SECOND_BOUNDS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

const fn convention(def: Def, scope: Scope) -> Def {
    def.stability(Stability::Unmarked).at(Level::Detailed).of(scope)
}

/// Seconds that a request took, seen by the server.
pub static HTTP_SERVER_REQUEST_DURATION: Def = convention(
    Def::histogram("http.server.request.duration", "Duration of HTTP server requests.", "s")
        .with_bounds(SECOND_BOUNDS),
    HTTP,
)
.labelled(&[
    "http.request.method",
    "network.protocol.name",
    "network.protocol.version",
    "server.address",
    "server.port",
    "url.scheme",
    "http.route",
    "http.response.status_code",
]);

/// Bytes of a request's body as received, seen by the server.
pub static HTTP_SERVER_REQUEST_BODY_SIZE: Def = convention(
    Def::histogram("http.server.request.body.size", "Size of HTTP server request bodies.", "By"),
    HTTP,
)
.labelled(&[
    "http.request.method",
    "network.protocol.name",
    "network.protocol.version",
    "server.address",
    "server.port",
    "url.scheme",
    "http.route",
    "http.response.status_code",
]);

/// Bytes of a response's body as sent, seen by the server.
pub static HTTP_SERVER_RESPONSE_BODY_SIZE: Def = convention(
    Def::histogram("http.server.response.body.size", "Size of HTTP server response bodies.", "By"),
    HTTP,
)
.labelled(&[
    "http.request.method",
    "network.protocol.name",
    "network.protocol.version",
    "server.address",
    "server.port",
    "url.scheme",
    "http.route",
    "http.response.status_code",
]);

/// Seconds that a request took, seen by the client.
pub static HTTP_CLIENT_REQUEST_DURATION: Def = convention(
    Def::histogram("http.client.request.duration", "Duration of HTTP client requests.", "s")
        .with_bounds(SECOND_BOUNDS),
    HTTP,
)
.labelled(&[
    "http.request.method",
    "network.protocol.name",
    "network.protocol.version",
    "server.address",
    "server.port",
    "url.scheme",
    "http.response.status_code",
    "error.type",
]);

/// Bytes of a request's body as sent, seen by the client.
pub static HTTP_CLIENT_REQUEST_BODY_SIZE: Def = convention(
    Def::histogram("http.client.request.body.size", "Size of HTTP client request bodies.", "By"),
    HTTP,
)
.labelled(&[
    "http.request.method",
    "network.protocol.name",
    "network.protocol.version",
    "server.address",
    "server.port",
    "url.scheme",
    "http.response.status_code",
    "error.type",
]);

/// Seconds that a call took, seen by the server.
pub static RPC_SERVER_CALL_DURATION: Def = convention(
    Def::histogram(
        "rpc.server.call.duration",
        "Measures the duration of an incoming Remote Procedure Call (RPC).",
        "s",
    )
    .with_bounds(SECOND_BOUNDS),
    GRPC,
)
.labelled(&["rpc.method", "rpc.response.status_code", "rpc.system.name"]);

/// Seconds that a call took, seen by the client.
pub static RPC_CLIENT_CALL_DURATION: Def = convention(
    Def::histogram(
        "rpc.client.call.duration",
        "Measures the duration of an outgoing Remote Procedure Call (RPC).",
        "s",
    )
    .with_bounds(SECOND_BOUNDS),
    GRPC,
)
.labelled(&["rpc.method", "rpc.response.status_code", "rpc.system.name", "server.address", "server.port"]);

pub(super) const ALL: &[&Def] = &[
    &HTTP_SERVER_REQUEST_DURATION,
    &HTTP_SERVER_REQUEST_BODY_SIZE,
    &HTTP_SERVER_RESPONSE_BODY_SIZE,
    &HTTP_CLIENT_REQUEST_DURATION,
    &HTTP_CLIENT_REQUEST_BODY_SIZE,
    &RPC_SERVER_CALL_DURATION,
    &RPC_CLIENT_CALL_DURATION,
];
