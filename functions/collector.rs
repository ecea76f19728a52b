//! The way to a collector of traces, where one is set.

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, HeaderValue};
use coordinator::domain::ids::Clock;
use coordinator::domain::trace::Collector;
use coordinator::http;
use coordinator::resilience::retry::Repeat;
use coordinator::settings::Settings;
use coordinator::telemetry::Exporter;
use coordinator::upstream::{Bounds, Call, Client, Limits};
use tokio::time::Instant;

use crate::compose::{self, Failed};

/// Spans on their way to the collector of the settings.
pub fn exporter(settings: &Settings) -> Result<Option<Exporter>, Failed> {
    let Some(collector) = settings.collector.clone() else {
        return Ok(None);
    };
    // Its connections belong to the thread that sends, so it shares none with the calls of turns.
    let client = Client::new(&Bounds {
        connect: settings.times.connect.min(collector.timeout),
        pool_idle: settings.times.pool_idle,
        clock: Clock::new(http::clock),
        certificates: compose::certificates(settings)?.unwrap_or_default(),
        ..Bounds::default()
    })?;
    let address = collector.clone();
    let post = move |batch| {
        let (client, call) = (client.clone(), call(&address, batch));
        let posted = async move { Ok(client.body(call).await.map(drop)?) };
        Box::pin(posted) as _
    };
    let clock = Clock::new(http::clock);
    Ok(Some(Exporter::new(&collector, clock, Box::new(post))?))
}

fn call(collector: &Collector, batch: Vec<u8>) -> Call {
    let limits = Limits {
        first_byte: collector.timeout,
        idle: collector.timeout,
        until: Instant::now() + collector.timeout,
    };
    let mut call = Call::post(collector.url.clone(), batch, limits).repeated(Repeat::Never);
    let protobuf = HeaderValue::from_static("application/x-protobuf");
    call.headers.insert(CONTENT_TYPE, protobuf);
    for (name, value) in &collector.headers {
        let name = HeaderName::try_from(name.as_str());
        if let (Ok(name), Ok(mut value)) = (name, HeaderValue::from_str(value.expose())) {
            value.set_sensitive(true);
            call.headers.insert(name, value);
        }
    }
    call
}
