//! The document's part `hooks`: who looks on at turns, checked.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde::de::IntoDeserializer as _;
use serde::de::value::{Error as Unknown, StrDeserializer};
use url::Url;

use super::parse::{list, parse_duration, shown};
use super::place::{At, Problem};
use crate::domain::agent::AgentCard;
use crate::domain::hook::{Fail, HookCard, HookKey, HookKind, Pattern, Point, WebhookCard};
use crate::domain::ids::AgentId;

/// What signs where a webhook names no key of its own.
const KEY: &str = "${MAS_HOOK_KEY}";
const TIMEOUT: Duration = Duration::from_secs(1);
/// Nobody waits longer for somebody who only looks on.
const LONGEST: Duration = Duration::from_secs(10);
/// What is said where a hook in this process names no sentence.
const SAY: &str = "This request is not answered here.";

/// One hook as it is written.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Written {
    name: String,
    #[serde(default)]
    at: Option<OneOrMore>,
    #[serde(default)]
    url: Option<String>,
    /// A variable, never the key itself.
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    timeout: Option<String>,
    #[serde(default)]
    fail: Option<Fail>,
    #[serde(default)]
    content: bool,
    #[serde(default)]
    agents: Vec<String>,
    #[serde(default)]
    refuse: Vec<String>,
    #[serde(default)]
    say: Option<String>,
    #[serde(default)]
    redact: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

/// Puts variables into a value: into an address, and into a key.
pub type Fill<'a> = [&'a dyn Fn(&str) -> Result<String, String>; 2];

/// The hooks in their order, and what is wrong with them.
pub fn read(
    written: &[At<Written>],
    agents: &[AgentCard],
    fill: Fill<'_>,
    problems: &mut Vec<Problem>,
) -> Vec<HookCard> {
    let mut cards: Vec<HookCard> = Vec::new();
    for At { value: hook, place } in written {
        let name = &hook.name;
        // It stands in a header.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
            problems.push(place.problem(format!(
                "hook {name:?}: a name has 1 to 64 of the letters a to z, digits, dashes or underscores"
            )));
        } else if cards.iter().any(|card| *card.name == **name) {
            problems.push(place.problem(format!("hook {name} is listed twice")));
        } else {
            match card(hook, agents, fill) {
                Ok(card) => cards.push(card),
                Err(problem) => problems.push(place.problem(format!("hook {name}: {problem}"))),
            }
        }
    }
    cards
}

fn card(hook: &Written, agents: &[AgentCard], fill: Fill<'_>) -> Result<HookCard, String> {
    let kinds = [
        hook.url.is_some(),
        !hook.refuse.is_empty(),
        !hook.redact.is_empty(),
    ];
    if kinds.iter().filter(|is| **is).count() != 1 {
        return Err("expected one of url, refuse and redact".into());
    }
    let at = points(hook)?;
    let kind = match &hook.url {
        Some(url) => HookKind::Webhook(webhook(hook, url, &at, agents, fill)?),
        None => patterns(hook, &at)?,
    };
    Ok(HookCard {
        name: hook.name.as_str().into(),
        at,
        kind,
    })
}

fn points(hook: &Written) -> Result<Vec<Point>, String> {
    let written: &[String] = match &hook.at {
        None if hook.url.is_some() => &[],
        None => return Ok(vec![Point::BeforeRoute]),
        Some(OneOrMore::One(one)) => std::slice::from_ref(one),
        Some(OneOrMore::More(more)) => more,
    };
    let points = written.iter().map(|text| {
        let word: StrDeserializer<'_, Unknown> = text.as_str().into_deserializer();
        Point::deserialize(word).map_err(|problem| format!("at: {problem}"))
    });
    let points = points.collect::<Result<Vec<_>, _>>()?;
    if points.is_empty() {
        return Err("at: expected where in a turn it is asked, such as before_route".into());
    }
    Ok(points)
}

fn webhook(
    hook: &Written,
    url: &str,
    at: &[Point],
    agents: &[AgentCard],
    fill: Fill<'_>,
) -> Result<WebhookCard, String> {
    if hook.say.is_some() {
        return Err("say: a webhook says its own sentence".into());
    }
    let fail = match hook.fail {
        Some(fail) => fail,
        None if at == [Point::AfterTurn] => Fail::Open,
        None => {
            return Err(
                "fail: expected open or closed: what happens to a turn when it does not answer"
                    .into(),
            );
        }
    };
    let timeout = hook.timeout.as_deref().map(|text| {
        let timeout = parse_duration(text).filter(|timeout| *timeout <= LONGEST);
        timeout.ok_or_else(|| format!("timeout is {text:?}, expected 1ms to 10s"))
    });
    let known = |name: &String| {
        let known = agents.iter().any(|card| card.id.as_str() == name);
        known
            .then(|| AgentId::new(name))
            .ok_or_else(|| format!("agents: there is no agent {name}"))
    };
    let [fill, fill_key] = fill;
    Ok(WebhookCard {
        url: address(&fill(url)?)?,
        keys: keys(hook.key.as_deref().unwrap_or(KEY), fill_key)?,
        timeout: timeout.transpose()?.unwrap_or(TIMEOUT),
        fail,
        content: hook.content,
        agents: hook.agents.iter().map(known).collect::<Result<_, _>>()?,
    })
}

fn address(value: &str) -> Result<Url, String> {
    let url = Url::parse(value).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.username().is_empty()
            && url.password().is_none()
    });
    url.ok_or_else(|| {
        let value = shown(value);
        format!("url is {value:?}, expected an address such as https://hooks.example.com/mas")
    })
}

fn keys(
    written: &str,
    fill: &dyn Fn(&str) -> Result<String, String>,
) -> Result<Vec<HookKey>, String> {
    let inside = written
        .strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'));
    if inside.is_none_or(|name| name.contains(['$', '{', '}', ':'])) {
        return Err("key: expected a variable such as ${MAS_HOOK_KEY}, not the key itself".into());
    }
    let filled = fill(written)?;
    let keys = list(&filled).map(HookKey::parse);
    let keys = keys
        .collect::<Option<Vec<_>>>()
        .filter(|keys| !keys.is_empty());
    keys.ok_or_else(|| {
        format!("key: {written} is not whsec_ and 24 to 64 bytes in base64; several have commas between them")
    })
}

/// A hook in this process.
fn patterns(hook: &Written, at: &[Point]) -> Result<HookKind, String> {
    let of_webhooks = [
        ("key", hook.key.is_some()),
        ("timeout", hook.timeout.is_some()),
        ("fail", hook.fail.is_some()),
        ("content", hook.content),
        ("agents", !hook.agents.is_empty()),
    ];
    if let Some((field, _)) = of_webhooks.iter().find(|(_, is)| *is) {
        return Err(format!("{field}: only a webhook has one"));
    }
    if hook.redact.is_empty() {
        if at.contains(&Point::AfterTurn) {
            return Err("at: after_turn is too late to refuse anything".into());
        }
        return Ok(HookKind::Refuse {
            patterns: (hook.refuse.iter())
                .map(|text| Pattern::parse(text))
                .collect::<Result<_, _>>()?,
            say: hook.say.as_deref().unwrap_or(SAY).to_owned(),
        });
    }
    if at != [Point::BeforeRoute] {
        return Err("at: what is redacted is so from the beginning, before_route".into());
    }
    if hook.say.is_some() {
        return Err("say: what is redacted is not refused".into());
    }
    let labelled = hook.redact.iter().map(|(label, text)| {
        let plain = |letter: char| letter.is_alphanumeric() || matches!(letter, '-' | '_' | ' ');
        if label.is_empty() || label.len() > 32 || !label.chars().all(plain) {
            return Err(format!(
                "redact: the label {label:?} is not 1 to 32 letters, digits, spaces, dashes or underscores"
            ));
        }
        Ok((label.clone(), Pattern::parse(text)?))
    });
    Ok(HookKind::Redact(labelled.collect::<Result<_, _>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::agent::{Endpoint, Protocol};

    const SIGNED: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn check(yaml: &str) -> Result<Vec<HookCard>, String> {
        let written: Vec<At<Written>> = serde_saphyr::from_str(yaml)
            .map_err(|error: serde_saphyr::Error| error.without_snippet().to_string())?;
        let agents = [AgentCard::new(
            "HR",
            Protocol::Dial,
            Endpoint::Deployment("hr".into()),
        )];
        let fill = |text: &str| match text {
            "${MAS_HOOK_KEY}" => Ok(SIGNED.to_owned()),
            "${TWO}" => Ok(format!("{SIGNED}, {SIGNED}")),
            "${WRONG}" => Ok("secret".to_owned()),
            "${NONE}" => Err("the variable NONE is not set".to_owned()),
            other => Ok(other.to_owned()),
        };
        let mut problems = Vec::new();
        let cards = read(&written, &agents, [&fill, &fill], &mut problems);
        match problems.pop() {
            Some(problem) => Err(problem.problem),
            None => Ok(cards),
        }
    }

    #[test]
    fn a_hook_is_a_webhook_or_patterns_that_refuse_or_redact() {
        let cards = check(
            "- {name: desk, at: [before_route, after_turn], url: 'https://h.example.com', key: '${TWO}', \
             timeout: 500ms, fail: closed, content: true, agents: [HR]}\n\
             - {name: told, at: after_turn, url: 'https://h.example.com/told'}\n\
             - {name: no-salaries, refuse: [salary], say: 'No.'}\n\
             - {name: private, redact: {mail: '\\S+@\\S+'}}\n",
        )
        .unwrap();
        assert_eq!(cards.len(), 4);
        let HookKind::Webhook(desk) = &cards[0].kind else {
            panic!("{cards:?}")
        };
        assert_eq!(
            (desk.keys.len(), desk.fail, desk.content),
            (2, Fail::Closed, true)
        );
        assert_eq!(desk.timeout, Duration::from_millis(500));
        assert_eq!(cards[0].at, [Point::BeforeRoute, Point::AfterTurn]);
        let HookKind::Webhook(told) = &cards[1].kind else {
            panic!("{cards:?}")
        };
        assert_eq!((told.fail, told.timeout), (Fail::Open, TIMEOUT));
        assert!(matches!(&cards[2].kind, HookKind::Refuse { say, .. } if say == "No."));
        assert!(matches!(&cards[3].kind, HookKind::Redact(labelled) if labelled[0].0 == "mail"));
    }

    #[test]
    fn mistakes_are_named_with_their_hook() {
        let web = |rest: &str| format!("- {{name: a, at: before_route, url: 'https://h', {rest}}}");
        for (yaml, part) in [
            ("- {name: a}", "one of url, refuse and redact"),
            ("- {name: a, refuse: [x], redact: {y: z}}", "one of"),
            ("- {name: 'ä.b', refuse: [x]}", "hook \"ä.b\""),
            ("- {name: 'a b', refuse: [x]}", "hook \"a b\""),
            (
                "- {name: a, refuse: [x]}\n- {name: a, refuse: [x]}",
                "twice",
            ),
            ("- {name: a, refuse: [x], colour: red}", "colour"),
            ("- {name: a, refuse: ['(']}", "pattern"),
            ("- {name: a, refuse: [x], fail: open}", "only a webhook"),
            ("- {name: a, refuse: [x], at: after_turn}", "too late"),
            ("- {name: a, refuse: [x], at: sometimes}", "sometimes"),
            (
                "- {name: a, redact: {x: y}, at: after_agent}",
                "from the beginning",
            ),
            ("- {name: a, redact: {'[x]': y}}", "label"),
            ("- {name: a, url: 'https://h', fail: open}", "at: expected"),
            (
                "- {name: a, at: [], url: 'https://h', fail: open}",
                "at: expected",
            ),
            (&web("content: true"), "fail: expected"),
            (&web("fail: open, timeout: 1m"), "1ms to 10s"),
            (&web("fail: open, agents: [CEO]"), "no agent CEO"),
            (&web("fail: open, key: whsec_x"), "not the key itself"),
            (
                &web("fail: open, key: '${X:-whsec_x}'"),
                "not the key itself",
            ),
            (
                &web("fail: open, key: '${WRONG}'"),
                "${WRONG} is not whsec_",
            ),
            (&web("fail: open, key: '${NONE}'"), "NONE is not set"),
            (&web("fail: open, say: x"), "its own sentence"),
            (
                "- {name: a, at: before_route, url: 'ftp://h', fail: open}",
                "url is",
            ),
            (
                "- {name: a, at: before_route, url: 'https://u:p@h', fail: open}",
                "[hidden]@h",
            ),
        ] {
            let problem = check(yaml).unwrap_err();
            assert!(problem.contains(part), "{yaml}: {problem}");
            assert!(!problem.contains("whsec_x"), "{problem}");
        }
    }
}
