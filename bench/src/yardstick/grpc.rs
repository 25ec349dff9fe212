//! OTLP/gRPC to OTLP/gRPC with tonic and prost, generated services and generated messages.

use super::{Args, MAX_MESSAGE};
use crate::compression::Compression;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};

const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;

/// Serves on `listener` until a signal.
///
/// # Errors
/// What the server library reports.
pub async fn run(listener: TcpListener, args: &Args) -> Result<(), Box<dyn Error + Send + Sync>> {
    let stop = CancellationToken::new();
    crate::run::cancel_on_signal(stop.clone())?;
    let relay = Relay::new(args)?;

    // Given a listener of our own, tonic would not set TCP_NODELAY: this type does.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    macro_rules! serve {
        ($server:ident) => {
            $server::new(relay.clone())
                .max_decoding_message_size(MAX_MESSAGE)
                .accept_compressed(CompressionEncoding::Gzip)
                .accept_compressed(CompressionEncoding::Zstd)
        };
    }
    Server::builder()
        .max_frame_size(args.frame_size)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .add_service(serve!(TraceServiceServer))
        .add_service(serve!(MetricsServiceServer))
        .add_service(serve!(LogsServiceServer))
        .serve_with_incoming_shutdown(incoming, stop.cancelled_owned())
        .await?;
    Ok(())
}

#[derive(Debug, Clone)]
struct Relay {
    channels: Arc<[Channel]>,
    turn: Arc<AtomicUsize>,
    compression: Option<CompressionEncoding>,
}

impl Relay {
    fn new(args: &Args) -> Result<Self, tonic::transport::Error> {
        let connect = |_| -> Result<Channel, tonic::transport::Error> {
            Ok(Endpoint::from_shared(format!("http://{}", args.forward))?
                .tcp_nodelay(true)
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .connect_lazy())
        };
        Ok(Self {
            channels: (0..args.connections.max(1)).map(connect).collect::<Result<_, _>>()?,
            turn: Arc::default(),
            compression: match args.compression {
                Compression::None => None,
                Compression::Gzip => Some(CompressionEncoding::Gzip),
                Compression::Zstd => Some(CompressionEncoding::Zstd),
            },
        })
    }

    fn channel(&self) -> Channel {
        self.channels[self.turn.fetch_add(1, Ordering::Relaxed) % self.channels.len()].clone()
    }
}

macro_rules! relay {
    ($service:ident, $client:ident, $request:ty, $response:ty) => {
        #[tonic::async_trait]
        impl $service for Relay {
            async fn export(&self, request: Request<$request>) -> Result<Response<$response>, Status> {
                let mut client = $client::new(self.channel()).max_encoding_message_size(MAX_MESSAGE);
                if let Some(compression) = self.compression {
                    client = client.send_compressed(compression);
                }
                client.export(request.into_inner()).await
            }
        }
    };
}

relay!(TraceService, TraceServiceClient, ExportTraceServiceRequest, ExportTraceServiceResponse);
relay!(MetricsService, MetricsServiceClient, ExportMetricsServiceRequest, ExportMetricsServiceResponse);
relay!(LogsService, LogsServiceClient, ExportLogsServiceRequest, ExportLogsServiceResponse);
