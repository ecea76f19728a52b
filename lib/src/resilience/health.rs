//! What single checks add up to.

use std::time::Duration;

use serde::Serialize;

/// What a dependency is for, which decides how much its absence matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// DIAL Core, where callers cannot be verified without it.
    Gatekeeper,
    /// A source of models, or the table: turns go on without.
    Helper,
    Agent,
}

/// One dependency, just checked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Checked {
    pub name: String,
    #[serde(skip)]
    pub part: Part,
    #[serde(rename = "state", serialize_with = "state")]
    pub up: bool,
    #[serde(rename = "latency_ms", serialize_with = "millis")]
    pub latency: Duration,
    /// What was wrong, without addresses or content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn state<S: serde::Serializer>(up: &bool, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(if *up { "up" } else { "down" })
}

fn millis<S: serde::Serializer>(latency: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64((latency.as_secs_f64() * 1e4).round() / 10.0)
}

/// The whole service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Ready,
    /// Something is missing, turns are answered all the same.
    Degraded,
    /// Nothing can work.
    Down,
}

/// Down when nobody can be verified or no agent is left; degraded when anything else is missing.
pub fn roll_up(checks: &[Checked]) -> Status {
    let of = |part| checks.iter().filter(move |check| check.part == part);
    let gate_shut = of(Part::Gatekeeper).any(|check| !check.up);
    let agents_gone = of(Part::Agent).count() > 0 && of(Part::Agent).all(|check| !check.up);
    if gate_shut || agents_gone {
        Status::Down
    } else if checks.iter().all(|check| check.up) {
        Status::Ready
    } else {
        Status::Degraded
    }
}

#[cfg(test)]
mod tests {
    use super::Part::{Agent, Gatekeeper, Helper};
    use super::*;

    #[test]
    fn one_missing_part_degrades_and_only_a_missing_whole_is_down() {
        let check = |parts: &[(Part, bool)], expected| {
            let checks: Vec<_> = parts
                .iter()
                .map(|(part, up)| Checked {
                    name: "x".into(),
                    part: *part,
                    up: *up,
                    latency: Duration::ZERO,
                    problem: None,
                })
                .collect();
            assert_eq!(roll_up(&checks), expected, "{parts:?}");
        };
        check(
            &[(Gatekeeper, true), (Helper, true), (Agent, true)],
            Status::Ready,
        );
        check(
            &[(Gatekeeper, true), (Helper, false), (Agent, true)],
            Status::Degraded,
        );
        check(
            &[(Gatekeeper, true), (Agent, false), (Agent, true)],
            Status::Degraded,
        );
        check(
            &[(Gatekeeper, true), (Agent, false), (Agent, false)],
            Status::Down,
        );
        check(&[(Gatekeeper, false), (Agent, true)], Status::Down);
        check(&[(Helper, true)], Status::Ready);
    }

    #[test]
    fn a_check_is_told_in_words_and_in_tenths_of_a_millisecond() {
        let check = Checked {
            name: "table".into(),
            part: Helper,
            up: false,
            latency: Duration::from_micros(12_345),
            problem: None,
        };
        assert_eq!(
            serde_json::to_value(&check).unwrap(),
            serde_json::json!({"name": "table", "state": "down", "latency_ms": 12.3})
        );
    }
}
