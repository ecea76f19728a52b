//! Spans on their way to a collector: gathered, and sent in batches by a thread of their own.

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{
    Protocol, RetryPolicy, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;

use super::ids::Ids;
use super::sender::{Post, Sender};
use super::spans::{STEP, TURN};
use crate::domain::ids::Clock;
use crate::domain::trace::Collector;

/// Spans, collected and sent.
#[derive(Clone, Debug)]
pub struct Exporter {
    provider: SdkTracerProvider,
}

impl Exporter {
    /// Sends nothing yet. `post` gets one batch in protobuf.
    pub fn new(collector: &Collector, clock: Clock, post: Post) -> Result<Self, String> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Sender::new(clock, post))
            .with_endpoint(&collector.url)
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(collector.timeout)
            // Whoever waits for a flush would wait for the repeats.
            .with_retry_policy(RetryPolicy::default().with_max_retries(0))
            .build()
            .map_err(|error| format!("spans cannot be exported: {error}"))?;
        let service = [
            KeyValue::new("service.name", collector.service.clone()),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        ];
        let sampler = Sampler::TraceIdRatioBased(collector.share);
        Ok(Self {
            provider: SdkTracerProvider::builder()
                .with_batch_exporter(exporter)
                .with_id_generator(Ids::default())
                // Who began a trace has decided whether it is recorded.
                .with_sampler(Sampler::ParentBased(Box::new(sampler)))
                .with_resource(Resource::builder_empty().with_attributes(service).build())
                .build(),
        })
    }

    /// Sends what there is, and waits for it: before a function is frozen.
    pub fn flush(&self) {
        // What went wrong has been said by who sends.
        let _ = self.provider.force_flush();
    }

    /// Sends what there is; nothing is collected any more.
    pub fn shutdown(&self) {
        let _ = self.provider.shutdown();
    }

    /// Makes spans of the turns and their steps.
    pub(super) fn layer<S>(&self) -> impl Layer<S> + Send + Sync
    where
        S: Subscriber + Send + Sync + for<'a> LookupSpan<'a>,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("coordinator"))
            .with_context_activation(false)
            .with_tracked_inactivity(false)
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_level(false)
            .with_filter(
                Targets::new()
                    .with_target(TURN, LevelFilter::INFO)
                    .with_target(STEP, LevelFilter::INFO),
            )
    }
}
