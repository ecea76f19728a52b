use super::parse::parse_duration;
use super::*;
use crate::domain::access::Role;
use crate::domain::rules::{Routing, Synthesis};
use crate::domain::usage::Usage;

fn read<const N: usize>(pairs: [(&str, &str); N]) -> Result<Settings, Error> {
    let mut env = Env::from(pairs);
    env.or("DIAL_URL", "http://core:8080/");
    Settings::read(&env)
}

#[test]
fn the_defaults_are_the_documented_ones() {
    let settings = read([]).unwrap();
    assert_eq!(settings.port, 8055);
    assert_eq!(settings.dial_url.as_deref(), Some("http://core:8080"));
    assert_eq!(settings.routing_model, "gpt-4o");
    assert_eq!(settings.callers.ways, [Way::Dial]);
    assert_eq!(settings.breaker, BreakerRules::default());
    assert_eq!(settings.caps, Caps::default());
    assert_eq!(settings.quotas, Quotas::default());
    assert_eq!(
        (settings.rate_limit_status, settings.failed_agent_status),
        (403, 424)
    );
    assert_eq!(settings.times, Times::default());
    assert!(settings.nested_stages && !settings.legacy_sessions);
}

#[test]
fn durations_are_seconds_or_carry_a_unit() {
    for (text, millis) in [
        ("2", 2000),
        ("0.5", 500),
        ("500ms", 500),
        ("2m", 120_000),
        ("1h", 3_600_000),
        ("1d", 86_400_000),
        ("3 s", 3000),
    ] {
        assert_eq!(
            parse_duration(text),
            Some(Duration::from_millis(millis)),
            "{text}"
        );
    }
    for wrong in [
        "",
        "-1",
        "0",
        "x",
        "5 parsecs",
        "1e400",
        "9999999d",
        "ms",
        "1.2.3",
    ] {
        assert_eq!(parse_duration(wrong), None, "{wrong}");
    }
}

#[test]
fn a_wrong_value_is_named_with_what_was_expected() {
    for (name, value, expected) in [
        ("MAS_PORT", "80555", "a port"),
        ("MAS_AUTH", "maybe", "dial, secret, jwt"),
        ("MAS_AUTH", "dial,none", "dial, secret, jwt"),
        ("MAS_AUTH_SECRETS", "core:short", "at least 32"),
        (
            "MAS_AUTH_SECRETS",
            "core/king:0123456789abcdef0123456789abcdef",
            "operator",
        ),
        ("MAS_JWT", "issuer=x,audience=y", "jwks is missing"),
        (
            "MAS_JWT",
            "issuer=x,audience=y,jwks=https://x,algorithms=HS256",
            "RS256",
        ),
        (
            "MAS_JWT",
            "issuer=x,audience=y,jwks=http://idp/keys",
            "an https address",
        ),
        ("MAS_BREAKER", "failures=0", "whole number"),
        ("MAS_BREAKER", "open=5m,open_cap=30s", "the longer one"),
        ("MAS_BREAKER", "failing=5", "failures, ratio"),
        ("MAS_BREAKER", "ratio=120", "percent"),
        ("MAS_CAPS", "line=1GB", "KB or MB"),
        (
            "MAS_PRIVATE_NETWORKS",
            "loopback,10.0.0.0/33",
            "a network such as",
        ),
        ("MAS_PRIVATE_NETWORKS", "http://ums", "a host such as"),
        ("MAS_LIMITS", "requests=none", "or off"),
        ("MAS_LIMITS", "spend=much", "dollars"),
        ("MAS_PRICES", "gpt-4o=cheap", "model=in/out"),
        ("MAS_RATE_LIMIT_STATUS", "500", "403 or 429"),
        ("MAS_TURN_TIMEOUT", "soon", "seconds"),
        ("MAS_NESTED_STAGES", "perhaps", "on or off"),
        ("DIAL_URL", "core:8080", "https://"),
        ("DIAL_URL", "http://u:p@core", "https://"),
        ("OPENAI_BASE_URL", "ftp://x", "https://"),
        ("MAS_TABLE", "a b", "a table name"),
        ("MAS_AGENTS", "/nowhere.yaml", "/nowhere.yaml"),
        ("MAS_DEFAULT_AGENT", "HR", "GPA, UMS"),
        ("UMS_AGENT_ENDPOINT", "ums:8000", "a full URL"),
        ("UMS_AGENT_ENDPOINT", "http://ums/?a=b", "without a query"),
        ("GPA_AGENT_ENDPOINT", "ftp://x", "a deployment id or a URL"),
        (
            "GPA_AGENT_ENDPOINT",
            "https://:pw@x",
            "a deployment id or a URL",
        ),
    ] {
        let problem = read([(name, value)]).unwrap_err().to_string();
        assert!(
            problem.contains(name) && problem.contains(expected),
            "{problem}"
        );
    }
}

#[test]
fn a_wrong_address_does_not_show_its_password() {
    let problem = read([("DIAL_URL", "http://u:p4ssword@core")])
        .unwrap_err()
        .to_string();
    assert!(
        problem.contains("DIAL_URL") && !problem.contains("p4ssword"),
        "{problem}"
    );
}

#[test]
fn settings_that_cannot_work_together_are_refused() {
    let auth = Settings::read(&Env::from([("OPENAI_BASE_URL", "http://models/v1")])).unwrap_err();
    assert!(auth.to_string().contains("MAS_AUTH"), "{auth}");
    let nothing = Settings::read(&Env::from([("MAS_AUTH", "none")])).unwrap_err();
    assert!(nothing.to_string().contains("DIAL_URL"), "{nothing}");
}

#[test]
fn an_empty_value_is_the_default_and_heartbeats_can_be_off() {
    let settings = read([
        ("MAS_PORT", ""),
        ("MAS_HEARTBEAT", "off"),
        ("MAS_DEPLOYMENT", "a, b,"),
    ])
    .unwrap();
    assert_eq!((settings.port, settings.times.heartbeat), (8055, None));
    assert_eq!(settings.deployments, ["a", "b"]);
}

#[test]
fn the_sandbox_is_wanted_only_when_nothing_real_is_set() {
    assert!(Env::from([("DIAL_URL", " ")]).wants_sandbox());
    assert!(!Env::from([("OPENAI_BASE_URL", "http://x")]).wants_sandbox());
}

#[test]
fn several_values_in_one_variable_change_only_what_they_name() {
    let settings = read([
        ("MAS_BREAKER", "failures=3, open=10s"),
        ("MAS_CAPS", "line=64KB,stages=10"),
        (
            "MAS_LIMITS",
            "requests=off,tokens=1000,spend=2.50,turn=0.05",
        ),
        ("MAS_PRICES", "gpt-4o=2.5/10, gpt-4o@2026-12-01=2/8"),
        ("MAS_ROUTING", "floor=off,sticky=5"),
        ("MAS_SYNTHESIS", "auto"),
    ])
    .unwrap();
    let breaker = BreakerRules {
        failures: 3,
        open: Duration::from_secs(10),
        ..BreakerRules::default()
    };
    assert_eq!(settings.breaker, breaker);
    assert_eq!((settings.caps.line, settings.caps.stages), (65_536, 10));
    assert_eq!(settings.caps.event, Caps::default().event);
    let quotas = Quotas {
        requests: None,
        tokens: Some(1000),
        spend: Some(2_500_000),
        turn: Some(50_000),
        ..Quotas::default()
    };
    assert_eq!(settings.quotas, quotas);
    let million = Usage {
        prompt_tokens: 1_000_000,
        completion_tokens: 1_000_000,
        total_tokens: 2_000_000,
    };
    let price = |day: &str| (settings.prices).of("gpt-4o", million, day.parse().unwrap());
    assert_eq!(price("2026-11-30"), Some(12_500_000));
    assert_eq!(price("2026-12-01"), Some(10_000_000));
    let routing = Routing {
        floor: None,
        sticky: Some(5),
        ..Routing::default()
    };
    assert_eq!(settings.routing, routing);
    assert_eq!(settings.synthesis, Synthesis::Auto);
}

#[test]
fn secrets_prove_names_and_are_never_repeated_in_an_error() {
    let secret = "0123456789abcdef0123456789abcdef";
    let settings = read([
        ("MAS_AUTH", "secret,dial"),
        (
            "MAS_AUTH_SECRETS",
            &format!("core:{secret}, core:x{secret}, ops/operator:y{secret}"),
        ),
    ])
    .unwrap();
    let names: Vec<_> = settings
        .callers
        .secrets
        .iter()
        .map(|it| (it.name.as_str(), it.role))
        .collect();
    assert_eq!(
        names,
        [
            ("core", Role::User),
            ("core", Role::User),
            ("ops", Role::Operator)
        ]
    );
    assert!(!format!("{settings:?}").contains(secret));
    let problem = read([(
        "MAS_AUTH_SECRETS",
        "a b:hunter2hunter2hunter2hunter2hunter2",
    )])
    .unwrap_err();
    assert!(!problem.to_string().contains("hunter2"), "{problem}");
}

#[test]
fn settings_print_no_credential() {
    let secret = "5ecre7-0123456789abcdef0123456789abcdef";
    let shared = format!("core:{secret}");
    let keys = format!("k1:{secret}");
    let settings = read([
        ("OPENAI_API_KEY", secret),
        ("GPA_API_KEY", secret),
        ("MAS_STATE_KEYS", &keys),
        ("MAS_AUTH", "secret"),
        ("MAS_AUTH_SECRETS", &shared),
    ]);
    let printed = format!("{:?}", settings.unwrap());
    assert!(!printed.contains("5ecre7"), "{printed}");
    assert_eq!(printed.matches("[redacted]").count(), 4, "{printed}");
}
