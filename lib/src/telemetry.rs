//! The log: text on a terminal, JSON lines on Lambda, always to standard error, and always one line for an event.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

use tracing::Dispatch;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

/// Starts logging. Called once, first thing; a second call changes nothing. Fails with a sentence on a wrong filter.
pub fn start(filter: &str, json: bool, colour: bool) -> Result<(), String> {
    let log = log(filter, json, colour, io::stderr)?;
    drop(tracing::dispatcher::set_global_default(log));
    Ok(())
}

/// The log as it would be started, into any writer.
pub fn log<W: Write + 'static>(
    filter: &str,
    json: bool,
    colour: bool,
    writer: impl Fn() -> W + Send + Sync + 'static,
) -> Result<Dispatch, String> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| format!("MAS_LOG is {filter:?}, expected a level or a filter: {error}"))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || Lines {
            out: writer(),
            colour,
        })
        .with_timer(SystemTime);
    Ok(if json {
        let json = log.json().flatten_event(true).with_current_span(false);
        Dispatch::new(json.finish())
    } else {
        Dispatch::new(log.with_ansi(colour).with_target(false).finish())
    })
}

/// Writes each event, which comes whole, as one line that shows what it holds: nothing from outside can begin a line of its
/// own, steer a terminal, or turn the reading direction.
struct Lines<W> {
    out: W,
    /// Colours are escape sequences of ours.
    colour: bool,
}

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let (line, end) = match text.strip_suffix('\n') {
            Some(line) => (line, "\n"),
            None => (&*text, ""),
        };
        let line = encoded(line, self.colour);
        self.out.write_all(line.as_bytes())?;
        self.out.write_all(end.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A line with what does not show written out, in the way of JSON, so that lines of JSON stay what they are.
fn encoded(line: &str, colour: bool) -> Cow<'_, str> {
    let hides = |letter: char| {
        (letter.is_control() && letter != '\t' && !(colour && letter == '\u{1b}'))
            || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !line.contains(hides) {
        return Cow::Borrowed(line);
    }
    let mut shown = String::with_capacity(line.len() + 64);
    for letter in line.chars() {
        if hides(letter) {
            let _ = write!(shown, "\\u{:04x}", u32::from(letter));
        } else {
            shown.push(letter);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

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
            let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
            let line = text.strip_suffix('\n').unwrap();
            assert!(line.contains("forged"), "{line}");
            assert!(!line.chars().any(char::is_control), "{line:?}");
            for turning in ['\u{202e}', '\u{2028}', '\u{2066}'] {
                assert!(!line.contains(turning), "{line:?}");
            }
        }
    }

    #[test]
    fn colours_stay_where_they_are_ours() {
        assert_eq!(
            encoded("\u{1b}[32mINFO\u{1b}[0m a\r", true),
            "\u{1b}[32mINFO\u{1b}[0m a\\u000d"
        );
        assert_eq!(
            encoded("tab\tand \u{441}\u{1f600}", false),
            "tab\tand \u{441}\u{1f600}"
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
