//! A log line as JSON, flat: what the event says, and what its spans say, side by side.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields, format};
use tracing_subscriber::registry::LookupSpan;

/// So that a line is found by `turn.id`, by `trace.id` or by the function's `requestId` wherever it was written.
pub struct Flat;

impl<S, N> FormatEvent<S, N> for Flat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: format::Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        write!(writer, "{{\"timestamp\":\"")?;
        SystemTime.format_time(&mut writer)?;
        write!(writer, "\",\"level\":\"{}\"", event.metadata().level())?;
        for span in context.event_scope().into_iter().flatten() {
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>() {
                members(&mut writer, fields)?;
            }
        }
        let mut fields = String::new();
        context.format_fields(format::Writer::new(&mut fields), event)?;
        members(&mut writer, &fields)?;
        // A target is the path of a module, or one of ours: nothing in it has to be escaped.
        writeln!(writer, ",\"target\":\"{}\"}}", event.metadata().target())
    }
}

/// The members of an object, without its braces.
fn members(writer: &mut format::Writer<'_>, object: &str) -> fmt::Result {
    let inner = object.trim().strip_prefix('{');
    match inner.and_then(|inner| inner.strip_suffix('}')) {
        None | Some("") => Ok(()),
        Some(members) => write!(writer, ",{members}"),
    }
}
