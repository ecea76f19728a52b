//! One event is one line, whatever it holds.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

/// Writes each event, which comes whole, as one line that shows what it holds: nothing from outside can begin a line of its
/// own, steer a terminal, or turn the reading direction.
pub struct Lines<W> {
    pub out: W,
    /// Colours are escape sequences of ours.
    pub colour: bool,
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
    use super::*;

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
}
