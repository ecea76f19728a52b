//! Lambda: liveness, and readiness with every dependency checked.

mod compose;

use coordinator::http;
use coordinator::metrics::Metrics;
use coordinator::settings::Env;
use coordinator::telemetry::{self, Style};

// One turn at a time runs here: a second thread would only be woken for nothing.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    let settings = compose::settings(Env::process()).await?;
    telemetry::start(Style::new(&settings.log, settings.log_json), None)?;
    let app = compose::app(&settings, Metrics::Off).await?;
    lambda_http::run_with_streaming_response(http::health_routes(app)).await
}
