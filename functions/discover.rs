//! Lambda, by a schedule: asks agents what they can, and keeps what they say.

mod compose;

use coordinator::metrics::Metrics;
use coordinator::settings::Env;
use coordinator::telemetry::{self, Style};
use lambda_http::lambda_runtime;
use lambda_http::{LambdaEvent, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    let settings = compose::settings(Env::process()).await?;
    telemetry::start(Style::new(&settings.log, settings.log_json), None)?;
    let app = compose::app(&settings, Metrics::Written).await?;
    let asked = |_: LambdaEvent<serde_json::Value>| {
        let app = &app;
        async move {
            // The process may have been frozen since the last time.
            app.live.refresh(true).await;
            app.discover_all().await;
            Ok::<_, lambda_http::Error>(())
        }
    };
    lambda_runtime::run(service_fn(asked)).await
}
