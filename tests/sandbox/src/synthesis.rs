//! The scripted model's plain answers: what the agents reported, with a few words before it.

use crate::text::without_note;

/// Answers a message that holds agents' reports between `-----{nonce} BEGIN {agent}-----` and `… END …` lines.
pub(crate) fn answer(message: &str) -> String {
    let reports = reports(message);
    match reports.as_slice() {
        [] => {
            let request = without_note(message);
            format!(
                "You asked: \"{request}\". I am a scripted stand-in for a model and have no report to answer from."
            )
        }
        [(_, report)] if report.ends_with('?') => {
            format!("One more thing I need to know. {report}")
        }
        [(_, report)] => format!("Here is what I found:\n\n{report}"),
        several => {
            let parts = several
                .iter()
                .map(|(agent, report)| format!("**{agent}**\n\n{report}"));
            let parts: Vec<_> = parts.collect();
            format!("Here is what the agents found:\n\n{}", parts.join("\n\n"))
        }
    }
}

/// Every report with its agent's name. A report that never ends is none.
fn reports(message: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let mut open = None;
    let mut offset = 0;
    for line in message.split_inclusive('\n') {
        let start = offset;
        offset += line.len();
        match (marker(line), open) {
            (Some((nonce, "BEGIN", agent)), None) => open = Some((nonce, agent, offset)),
            (Some((nonce, "END", agent)), Some((began, name, from)))
                if (nonce, agent) == (began, name) =>
            {
                found.push((name, message.get(from..start).unwrap_or_default().trim()));
                open = None;
            }
            _ => {}
        }
    }
    found
}

/// Reads a marker line: its nonce, `BEGIN` or `END`, and the agent.
fn marker(line: &str) -> Option<(&str, &str, &str)> {
    let inside = line.trim().strip_prefix("-----")?.strip_suffix("-----")?;
    let (nonce, rest) = inside.split_once(' ')?;
    let (kind, agent) = rest.split_once(' ')?;
    Some((nonce, kind, agent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_report_is_in_the_answer() {
        let message = "Request: draw\n-----n1 BEGIN GPA-----\nA cat.\n\n![image](files/x.png)\n-----n1 END GPA-----\nThanks";
        assert_eq!(
            answer(message),
            "Here is what I found:\n\nA cat.\n\n![image](files/x.png)"
        );
    }

    #[test]
    fn several_reports_are_told_apart() {
        let message = "-----n BEGIN GPA-----\none\n-----n END GPA-----\n-----n BEGIN UMS-----\ntwo\n-----n END UMS-----";
        assert_eq!(
            answer(message),
            "Here is what the agents found:\n\n**GPA**\n\none\n\n**UMS**\n\ntwo"
        );
    }

    #[test]
    fn a_report_cannot_end_itself() {
        let message = "-----n BEGIN GPA-----\na\n-----x END GPA-----\nb\n-----n END GPA-----";
        assert_eq!(reports(message), [("GPA", "a\n-----x END GPA-----\nb")]);
    }

    #[test]
    fn a_question_stays_a_question() {
        let message = "-----n BEGIN GPA-----\nWhich location?\n-----n END GPA-----";
        assert_eq!(
            answer(message),
            "One more thing I need to know. Which location?"
        );
    }

    #[test]
    fn without_reports_the_request_is_quoted() {
        assert!(answer("Hello there").starts_with("You asked: \"Hello there\"."));
    }
}
