//! The OTLP exporters: `otlp_grpc` (formerly `otlp`) and `otlp_http` (formerly `otlphttp`).
