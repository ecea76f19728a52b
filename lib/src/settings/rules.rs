//! The numbers that bound a turn, from the environment.

use std::time::Duration;

use super::parse::{Group, duration, list, parse_price, parsed};
use super::{Env, Error};
use crate::domain::day::Day;
use crate::domain::fact::FactTimes;
use crate::domain::network::Networks;
use crate::domain::rules::{BreakerRules, Caps, Quotas, Routing, Synthesis, Times};
use crate::domain::usage::{Price, Prices};

/// How often agents are asked what they can.
pub fn discovery(env: &Env) -> Result<Option<Duration>, Error> {
    match env.get("MAS_DISCOVERY") {
        Some("off") => Ok(None),
        _ => duration(env, "MAS_DISCOVERY", Duration::from_mins(10)).map(Some),
    }
}

pub fn times(env: &Env) -> Result<Times, Error> {
    let times = Times::default();
    Ok(Times {
        turn: duration(env, "MAS_TURN_TIMEOUT", times.turn)?,
        turn_reserve: duration(env, "MAS_TURN_RESERVE", times.turn_reserve)?,
        save: duration(env, "MAS_SAVE_TIMEOUT", times.save)?,
        store: duration(env, "MAS_STORE_TIMEOUT", times.store)?,
        retry_reserve: duration(env, "MAS_RETRY_RESERVE", times.retry_reserve)?,
        pool_idle: duration(env, "MAS_POOL_IDLE", times.pool_idle)?,
        connect: duration(env, "MAS_CONNECT_TIMEOUT", times.connect)?,
        agent_first_byte: duration(env, "MAS_AGENT_FIRST_BYTE", times.agent_first_byte)?,
        model_first_byte: duration(env, "MAS_MODEL_FIRST_BYTE", times.model_first_byte)?,
        stream_idle: duration(env, "MAS_STREAM_IDLE", times.stream_idle)?,
        heartbeat: match env.get("MAS_HEARTBEAT") {
            Some("off" | "0") => None,
            _ => Some(duration(env, "MAS_HEARTBEAT", Duration::from_secs(15))?),
        },
        failover_dwell: duration(env, "MAS_FAILOVER_DWELL", times.failover_dwell)?,
        approval: duration(env, "MAS_APPROVAL_TTL", times.approval)?,
        retry_after: duration(env, "MAS_RETRY_AFTER", times.retry_after)?,
    })
}

pub fn breaker(env: &Env) -> Result<BreakerRules, Error> {
    let known = [
        "failures",
        "ratio",
        "calls",
        "steps",
        "given",
        "window",
        "open",
        "open_cap",
        "retry_after",
        "fresh",
        "lease",
        "silence",
    ];
    let group = Group::read(env, "MAS_BREAKER", &known)?;
    let rules = BreakerRules::default();
    let rules = BreakerRules {
        failures: group.count("failures", rules.failures)?,
        ratio: group.percent("ratio", rules.ratio)?,
        calls: group.count("calls", rules.calls)?,
        window: group.duration("window", rules.window)?,
        open: group.duration("open", rules.open)?,
        open_cap: group.duration("open_cap", rules.open_cap)?,
        retry_after: group.duration("retry_after", rules.retry_after)?,
        fresh: group.duration("fresh", rules.fresh)?,
        lease: group.duration("lease", rules.lease)?,
        silence: group.percent("silence", rules.silence)?,
    };
    if rules.open > rules.open_cap {
        return Err(Error::Refused {
            name: "MAS_BREAKER",
            problem: "open is longer than open_cap, expected open_cap to be the longer one".into(),
        });
    }
    Ok(rules)
}

pub fn caps(env: &Env) -> Result<Caps, Error> {
    let known = [
        "body",
        "messages",
        "line",
        "event",
        "answer",
        "error",
        "headers",
        "text",
        "stages",
        "stage_text",
        "attachments",
        "attachment",
        "instructions",
        "calls",
        "steps",
        "given",
        "buffer",
        "state",
        "stored",
        "routing_history",
        "agent_history",
        "synthesis_history",
    ];
    let group = Group::read(env, "MAS_CAPS", &known)?;
    let caps = Caps::default();
    Ok(Caps {
        body: group.size("body", caps.body)?,
        messages: group.size("messages", caps.messages)?,
        line: group.size("line", caps.line)?,
        event: group.size("event", caps.event)?,
        answer: group.size("answer", caps.answer)?,
        error: group.size("error", caps.error)?,
        headers: group.size("headers", caps.headers)?,
        text: group.size("text", caps.text)?,
        stages: group.size("stages", caps.stages)?,
        stage_text: group.size("stage_text", caps.stage_text)?,
        attachments: group.size("attachments", caps.attachments)?,
        attachment: group.size("attachment", caps.attachment)?,
        instructions: group.size("instructions", caps.instructions)?,
        calls: group.size("calls", caps.calls)?,
        steps: group.size("steps", caps.steps)?,
        given: group.size("given", caps.given)?,
        buffer: group.size("buffer", caps.buffer)?,
        state: group.size("state", caps.state)?,
        stored: group.size("stored", caps.stored)?,
        routing_history: group.size("routing_history", caps.routing_history)?,
        agent_history: group.size("agent_history", caps.agent_history)?,
        synthesis_history: group.size("synthesis_history", caps.synthesis_history)?,
    })
}

pub fn quotas(env: &Env) -> Result<Quotas, Error> {
    let known = [
        "requests",
        "concurrent",
        "tokens",
        "spend",
        "turn",
        "duplicate",
        "depth",
        "trace",
    ];
    let group = Group::read(env, "MAS_LIMITS", &known)?;
    let quotas = Quotas::default();
    let small = |name, default: Option<u32>| {
        let quota = group.quota(name, default.map(u64::from))?;
        Ok(quota.map(|quota| u32::try_from(quota).unwrap_or(u32::MAX)))
    };
    Ok(Quotas {
        requests: small("requests", quotas.requests)?,
        concurrent: small("concurrent", quotas.concurrent)?,
        tokens: group.quota("tokens", quotas.tokens)?,
        spend: group.money("spend", quotas.spend)?,
        turn: group.money("turn", quotas.turn)?,
        duplicate: group.duration("duplicate", quotas.duplicate)?,
        depth: group.count("depth", quotas.depth)?,
        trace: group.count("trace", quotas.trace)?,
    })
}

/// How it is decided who answers.
pub fn routing(env: &Env) -> Result<Routing, Error> {
    let known = ["floor", "sticky", "cache", "check", "guess"];
    let group = Group::read(env, "MAS_ROUTING", &known)?;
    let rules = Routing::default();
    Ok(Routing {
        floor: group.off_or("floor", rules.floor, Group::percent)?,
        sticky: group.off_or("sticky", rules.sticky, Group::count)?,
        cache: group.off_or("cache", rules.cache, Group::duration)?,
        check: group.off_or("check", rules.check, Group::percent)?,
        guess: group.off_or("guess", rules.guess, Group::percent)?,
    })
}

/// How long facts are kept for other agents; `None` where none are looked for.
pub fn facts(env: &Env) -> Result<Option<FactTimes>, Error> {
    const NAME: &str = "MAS_FACTS";
    if env.get(NAME) == Some("off") {
        return Ok(None);
    }
    let group = Group::read(env, NAME, &["keep", "personal", "within"])?;
    let times = FactTimes::default();
    Ok(Some(FactTimes {
        keep: group.duration("keep", times.keep)?,
        personal: group.duration("personal", times.personal)?,
        within: group.duration("within", times.within)?,
    }))
}

/// When a second model writes the answer.
pub fn synthesis(env: &Env) -> Result<Synthesis, Error> {
    let default = Synthesis::default();
    parsed(
        env,
        "MAS_SYNTHESIS",
        default,
        "always, auto or never",
        |text| match text {
            "always" => Some(Synthesis::Always),
            "auto" => Some(Synthesis::Auto),
            "never" => Some(Synthesis::Never),
            _ => None,
        },
    )
}

/// `model=in/out` pairs, in dollars for a million tokens; `model@2026-12-01=in/out` holds from that day on.
pub fn prices(env: &Env) -> Result<Prices, Error> {
    let mut prices = Prices::default();
    for pair in list(env.get("MAS_PRICES").unwrap_or_default()) {
        let price = pair.split_once('=').and_then(|(model, price)| {
            let (model, from) = match model.trim().rsplit_once('@') {
                Some((model, day)) => (model, Some(day.parse::<Day>().ok()?)),
                None => (model.trim(), None),
            };
            let (input, output) = parse_price(price)?;
            Some((
                model,
                Price {
                    from,
                    input,
                    output,
                },
            ))
        });
        let (model, price) = price.ok_or_else(|| Error::Refused {
            name: "MAS_PRICES",
            problem: format!(
                "{pair:?} is no price, expected model=in/out in dollars for a million tokens, such as gpt-4o=2.5/10, or \
                 gpt-4o@2026-12-01=2/8 from a day on"
            ),
        })?;
        prices.set(model, price);
    }
    Ok(prices)
}

/// Where agents may be beside public addresses.
pub fn networks(env: &Env) -> Result<Networks, Error> {
    const NAME: &str = "MAS_PRIVATE_NETWORKS";
    Networks::parse(list(env.get(NAME).unwrap_or_default())).map_err(|entry| Error::Refused {
        name: NAME,
        problem: format!(
            "{entry:?} is no network and no host, expected loopback, private, a network such as 10.0.0.0/8 or \
             fd00::/8, or a host such as ums.internal or .svc.cluster.local"
        ),
    })
}

/// The first of two statuses is the default.
pub fn status(
    env: &Env,
    name: &'static str,
    [default, other]: [u16; 2],
    expected: &'static str,
) -> Result<u16, Error> {
    parsed(env, name, default, expected, |text| {
        text.parse()
            .ok()
            .filter(|status| [default, other].contains(status))
    })
}
