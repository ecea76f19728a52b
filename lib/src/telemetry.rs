//! What operators see of the work: the log, always to standard error, and spans for whoever collects traces.

mod export;
mod ids;
mod json;
mod lines;
mod sampling;
mod sender;
mod spans;

use std::io::{self, Write};

use tracing::Dispatch;
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::fmt::time::SystemTime;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::{EnvFilter, Registry, fmt};

pub use export::Exporter;
use json::Flat;
use lines::Lines;
use sampling::{Sample, Sampling};
pub use sender::Post;
pub use spans::{
    ENDED, agent, ended, failed, hook, point, route, rung, store, synthesis, turn, within,
};

/// Which spans the log knows: turns, whatever else it is to hold, so that every line of a turn names it; none of their
/// steps, which so cost next to nothing where nobody collects traces; and not what the function runtime says of itself
/// to collectors.
const SPANS: [&str; 3] = [
    "coordinator::turn=info",
    "coordinator::trace=off",
    "lambda_runtime::layers::otel=off",
];

/// What the log holds, and how.
#[derive(Clone, Copy, Debug)]
pub struct Style<'a> {
    /// A level or a filter, as in `MAS_LOG`.
    pub filter: &'a str,
    /// JSON lines instead of text.
    pub json: bool,
    pub colour: bool,
    /// The share of the turns without any trouble that is written down.
    pub share: f64,
}

impl<'a> Style<'a> {
    /// Everything the filter lets through, without colours.
    pub fn new(filter: &'a str, json: bool) -> Self {
        Self {
            filter,
            json,
            colour: false,
            share: 1.0,
        }
    }
}

/// Starts the log, and spans where they are exported. Called once, first thing; a second call changes nothing. Fails with
/// a sentence on a wrong filter.
pub fn start(style: Style<'_>, exporter: Option<&Exporter>) -> Result<(), String> {
    let dispatch = dispatch(style, exporter, io::stderr)?;
    drop(tracing::dispatcher::set_global_default(dispatch));
    Ok(())
}

/// The log as it would be started, into any writer.
pub fn log<W: Write + 'static>(
    filter: &str,
    json: bool,
    colour: bool,
    writer: impl Fn() -> W + Send + Sync + 'static,
) -> Result<Dispatch, String> {
    let style = Style {
        colour,
        ..Style::new(filter, json)
    };
    dispatch(style, None, writer)
}

/// Log and spans as they would be started, the log into any writer.
pub fn dispatch<W: Write + 'static>(
    style: Style<'_>,
    exporter: Option<&Exporter>,
    writer: impl Fn() -> W + Send + Sync + 'static,
) -> Result<Dispatch, String> {
    let colour = style.colour;
    let lines = fmt::layer()
        .with_writer(move || Lines {
            out: writer(),
            colour,
        })
        .with_timer(SystemTime);
    let lines = if style.json {
        let lines = lines.fmt_fields(JsonFields::new()).event_format(Flat);
        filtered(style, lines)?
    } else {
        filtered(style, lines.with_ansi(colour).with_target(false))?
    };
    let log = Registry::default().with(lines);
    // Not one optional layer: one that is not there would still be asked about everything.
    Ok(match exporter {
        None => Dispatch::new(log),
        Some(exporter) => Dispatch::new(log.with(exporter.layer())),
    })
}

type Lined = Box<dyn Layer<Registry> + Send + Sync>;

/// The log with what it leaves out.
fn filtered(style: Style<'_>, lines: impl Layer<Registry> + Send + Sync) -> Result<Lined, String> {
    let wrong = |error: &dyn std::error::Error| {
        format!(
            "MAS_LOG is {:?}, expected a level or a filter: {error}",
            style.filter
        )
    };
    let mut filter = EnvFilter::try_new(style.filter).map_err(|error| wrong(&error))?;
    for directive in SPANS {
        filter = filter.add_directive(directive.parse().map_err(|error| wrong(&error))?);
    }
    Ok(match Sample::of(style.share) {
        None => lines.with_filter(filter).boxed(),
        Some(sample) => lines
            .with_filter(filter)
            .with_filter(Sampling(sample))
            .boxed(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    pub struct Page(Arc<Mutex<Vec<u8>>>);

    impl Page {
        pub fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[derive(Debug, thiserror::Error)]
    #[error("bad\r\nWARN forged {0}")]
    struct Bad(char);

    #[test]
    fn an_event_is_one_line_that_hides_nothing_whatever_it_holds() {
        for json in [false, true] {
            let page = Page::default();
            let writer = page.clone();
            let log = log("info", json, false, move || writer.clone()).unwrap();
            let evil = "a\r\nINFO forged \u{202e}\u{1b}[2J\u{85}\u{2028}";
            tracing::dispatcher::with_default(&log, || {
                let error = Bad('\u{2066}');
                tracing::info!(plain = evil, shown = %evil, debug = ?evil, error = &error as &dyn std::error::Error, "{evil}");
            });
            let text = page.text();
            let line = text.strip_suffix('\n').unwrap();
            assert!(line.contains("forged"), "{line}");
            assert!(!line.chars().any(char::is_control), "{line:?}");
            for turning in ['\u{202e}', '\u{2028}', '\u{2066}'] {
                assert!(!line.contains(turning), "{line:?}");
            }
        }
    }

    #[test]
    fn without_a_collector_a_turn_is_a_span_and_its_steps_are_none_whatever_is_logged() {
        use crate::domain::ids::TurnId;
        use crate::domain::trace::Trace;
        for filter in ["trace", "coordinator=trace", "info", "error", "off"] {
            let log = log(filter, true, false, io::sink).unwrap();
            tracing::dispatcher::with_default(&log, || {
                let turn = turn(TurnId::now(), &Trace::begun(1, 1));
                assert!(!turn.is_disabled(), "{filter}");
                let _inside = turn.enter();
                for step in [route(), rung("model"), synthesis(), store("save")] {
                    assert!(step.is_disabled(), "{filter}");
                }
                assert_eq!(point(), None);
            });
        }
    }

    #[test]
    fn a_line_in_json_has_what_its_spans_say_beside_what_it_says() {
        let page = Page::default();
        let writer = page.clone();
        let log = log("info", true, false, move || writer.clone()).unwrap();
        tracing::dispatcher::with_default(&log, || {
            let outer = tracing::info_span!("outer", requestId = "a\"b");
            let _outer = outer.enter();
            let bare = tracing::info_span!("bare");
            let _bare = bare.enter();
            tracing::info!(n = 7, yes = true, "said {}", "\u{7}\"this\"");
            tracing::warn!("plain");
        });
        let text = page.text();
        let lines: Vec<serde_json::Value> = (text.lines())
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let said = &lines[0];
        assert_eq!(
            (&said["requestId"], &said["n"], &said["yes"], &said["level"]),
            (&"a\"b".into(), &7.into(), &true.into(), &"INFO".into())
        );
        assert_eq!(said["message"], "said \u{7}\"this\"");
        assert_eq!(said["target"], "coordinator::telemetry::tests");
        assert!(said["timestamp"].is_string());
        assert_eq!(
            (&lines[1]["message"], &lines[1]["requestId"]),
            (&"plain".into(), &"a\"b".into())
        );
    }

    #[test]
    fn a_wrong_filter_is_named() {
        let problem = log("coordinator=loud", false, false, io::sink).unwrap_err();
        assert!(
            problem.starts_with("MAS_LOG is \"coordinator=loud\""),
            "{problem}"
        );
    }
}
