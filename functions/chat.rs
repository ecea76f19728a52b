//! Lambda: stream one chat turn (Function URL, RESPONSE_STREAM).

mod collector;
mod compose;
mod nodelay;
mod runner;

use std::time::{Duration, Instant};

use axum::extract::Request;
use coordinator::http::{self, FunctionTime};
use coordinator::metrics::Metrics;
use coordinator::settings::Env;
use coordinator::telemetry::{self, Style};
use lambda_http::RequestExt;

// One turn at a time runs here: a second thread would only be woken for nothing.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    let begun_at = Instant::now();
    let settings = compose::settings(Env::process()).await?;
    let exporter = collector::exporter(&settings)?;
    let style = Style {
        share: settings.log_sample,
        ..Style::new(&settings.log, settings.log_json)
    };
    telemetry::start(style, exporter.as_ref())?;
    let read_at = Instant::now();
    let app = compose::app(&settings, Metrics::Written).await?;
    tracing::debug!(
        start.settings_ms = milliseconds(read_at - begun_at),
        start.app_ms = milliseconds(read_at.elapsed()),
        "the function is composed"
    );
    let routes = http::chat_routes(app).layer(axum::middleware::map_request(function_time));
    runner::run(routes, exporter).await
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Tells the turn how long the function may still run.
async fn function_time(mut request: Request) -> Request {
    // The connection that brought the event takes the answer; the runtime may open another one at any time.
    nodelay::on_all_sockets();
    let left = request
        .lambda_context_ref()
        .and_then(|context| FunctionTime::until(context.deadline));
    if let Some(left) = left {
        request.extensions_mut().insert(left);
    }
    request
}
