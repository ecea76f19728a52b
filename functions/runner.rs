//! A function's events, one after the other, each with its spans sent before the freeze.

use axum::Router;
use coordinator::telemetry::Exporter;
use lambda_http::lambda_runtime::layers::{
    OpenTelemetryFaasTrigger, OpenTelemetryLayer, TracingLayer,
};

/// Answers events until there are no more.
pub async fn run(routes: Router, exporter: Option<Exporter>) -> Result<(), lambda_http::Error> {
    let Some(exporter) = exporter else {
        return lambda_http::run_with_streaming_response(routes).await;
    };
    let flush = OpenTelemetryLayer::new(move || exporter.flush());
    lambda_http::streaming_runtime(routes)
        // What the plain runner has, too: the log names the event.
        .layer(TracingLayer::new())
        .layer(flush.with_trigger(OpenTelemetryFaasTrigger::Http))
        .run()
        .await
}
