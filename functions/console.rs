//! Words for people, on standard error.

use std::io::Write as _;

/// Writes a line. Nobody listening is no reason to stop.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Text from outside without what would steer a terminal: control characters other than line ends and tabs.
pub fn harmless(text: &str) -> String {
    let steers = |letter: &char| {
        (letter.is_control() && !matches!(letter, '\n' | '\t'))
            || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().filter(|letter| !steers(letter)).collect()
}
