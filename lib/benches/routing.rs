//! How long it takes to decide without a model, rung by rung: `cargo bench -p coordinator --bench routing`.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark that goes wrong should stop right there, and it is read from the terminal"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use coordinator::domain::agent::{AgentCard, Endpoint, Protocol, Registry};
use coordinator::domain::condition::Condition;
use coordinator::domain::conversation::Last;
use coordinator::domain::ids::{AgentId, Clock, Millis, Timestamp};
use coordinator::domain::message::Message;
use coordinator::domain::plan::{Assignment, DecisionSource, Plan, RoutingDecision};
use coordinator::domain::preference::Preferences;
use coordinator::domain::rulebook::{Rule, Rulebook, Then};
use coordinator::domain::rules::Routing;
use coordinator::domain::turn::Caller;
use coordinator::route::{
    AboutRouter, CacheRouter, Chain, DecisionCache, ExplicitRouter, RouteQuery, Router, RuleRouter,
    StickyRouter,
};
use coordinator::store::keyring::{Keyring, fresh_key};
use coordinator::store::{self, Decisions};

const ROUNDS: usize = 20_000;
/// As many rules as a large company might have.
const RULES: usize = 50;

fn registry() -> Registry {
    let card = |name: &str| AgentCard::new(name, Protocol::Dial, Endpoint::Deployment(name.into()));
    Registry::new(["GPA", "UMS", "HR", "IT"].map(card).into(), None).unwrap()
}

fn rules() -> Rulebook {
    let rule = |at: usize| {
        let written = format!("contains(query, \"topic {at} \") && !contains(query, \"not {at}\")");
        Rule {
            condition: Condition::parse(&written).unwrap(),
            line: at,
            then: Then {
                choice: Some(Plan::Single(Assignment::plain(&AgentId::new("HR")))),
                ..Then::default()
            },
        }
    };
    Rulebook {
        rules: (0..RULES).map(rule).collect(),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let registry = registry();
    let table = store::connect("mas", Some("http://127.0.0.1:9")).await;
    let keys = Keyring::parse(&fresh_key("bench").unwrap()).unwrap();
    let cache = Arc::new(DecisionCache::new(
        Decisions::of(&table, keys),
        Clock::new(|| Millis(1_700_000_000_000)),
        &Routing::default(),
        Duration::from_millis(100),
        &registry,
        &"v1".repeat(2000),
    ));
    let quick: Vec<Box<dyn Router>> = vec![
        Box::new(ExplicitRouter::new(&registry)),
        Box::new(RuleRouter),
        Box::new(AboutRouter),
        Box::new(StickyRouter::new(&registry, 12)),
        Box::new(CacheRouter(Arc::clone(&cache))),
    ];
    let chain = Chain::new(rules(), quick, Vec::new(), &registry);
    let caller = Arc::new(Caller::default());
    let asked = Last {
        agent: Some(AgentId::new("UMS")),
        asks: true,
    };
    let cases = [
        ("explicit", "@UMS show all users", None),
        (
            "rule",
            "Something on topic 49 please, in a sentence of some length",
            None,
        ),
        ("about", "What can you do?", None),
        ("sticky", "the one in Kyiv", Some(&asked)),
        (
            "cache",
            "What is the weather in Kyiv, and what will it be tomorrow?",
            None,
        ),
    ];
    println!(
        "{:<9} {:>9} {:>9} {:>9}",
        "rung", "p50 us", "p99 us", "max us"
    );
    let preferences = Preferences::default();
    for (rung, text, last) in cases {
        let messages = [Message::user(text)];
        let query = RouteQuery {
            messages: &messages,
            caller: &caller,
            deadline: tokio::time::Instant::now() + Duration::from_mins(1),
            tenant: "acme",
            roles: &[],
            at: Timestamp(1_700_000_000),
            choice: None,
            last,
            facts: &[],
            judged: None,
            preferences: &preferences,
            allowance: None,
            placed: None,
        };
        if rung == "cache" {
            let mut decision =
                RoutingDecision::plain(&AgentId::new("GPA"), DecisionSource::Model, "");
            decision.confidence = Some(1.0);
            // The front keeps it, though there is no table.
            let _ = cache.keep(&query, &decision).await;
        }
        let mut took = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            let verdict = chain.decide(&query).await;
            took.push(begun.elapsed());
            assert_eq!(verdict.decision.source.as_str(), rung);
        }
        took.sort_unstable();
        let micros = |at: usize| took.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e6);
        println!(
            "{rung:<9} {:>9.1} {:>9.1} {:>9.1}",
            micros(ROUNDS / 2),
            micros(ROUNDS * 99 / 100),
            micros(ROUNDS - 1)
        );
    }
}
