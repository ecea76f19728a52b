use super::*;

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
    assert_eq!(settings.auth, AuthMode::Dial);
    assert_eq!(settings.turn_timeout, Duration::from_mins(2));
    assert_eq!(settings.connect_timeout, Duration::from_secs(2));
    assert_eq!(settings.agent_first_byte, Duration::from_secs(30));
    assert_eq!(settings.model_first_byte, Duration::from_secs(15));
    assert_eq!(settings.stream_idle, Duration::from_mins(1));
    assert_eq!(settings.heartbeat, Some(Duration::from_secs(15)));
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
        ("MAS_AUTH", "maybe", "dial or none"),
        ("MAS_TURN_TIMEOUT", "soon", "seconds"),
        ("MAS_NESTED_STAGES", "perhaps", "on or off"),
        ("DIAL_URL", "core:8080", "https://"),
        ("DIAL_URL", "http://u:p@core", "https://"),
        ("OPENAI_BASE_URL", "ftp://x", "https://"),
        ("MAS_TABLE", "a b", "a table name"),
        ("MAS_AGENTS", "/nowhere.yaml", "/nowhere.yaml"),
        ("MAS_DEFAULT_AGENT", "HR", "GPA, UMS"),
        ("UMS_AGENT_ENDPOINT", "ums:8000", "a full URL"),
        ("GPA_AGENT_ENDPOINT", "ftp://x", "a deployment id or a URL"),
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
    assert_eq!((settings.port, settings.heartbeat), (8055, None));
    assert_eq!(settings.deployments, ["a", "b"]);
}

#[test]
fn the_sandbox_is_wanted_only_when_nothing_real_is_set() {
    assert!(Env::from([("DIAL_URL", " ")]).wants_sandbox());
    assert!(!Env::from([("OPENAI_BASE_URL", "http://x")]).wants_sandbox());
}
