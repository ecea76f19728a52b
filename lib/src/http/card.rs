//! Our own agent card: what the coordinator can do, which is what its agents can do together.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, HOST, VARY};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::App;
use crate::a2a::Version;
use crate::domain::agent::Registry;

/// `/.well-known/agent-card.json`, for both versions at once, as the reference SDK writes it.
pub async fn show(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let url = address(&headers);
    let interfaces = Version::ALL.map(|version| {
        json!({"url": url, "protocolBinding": "JSONRPC", "protocolVersion": version.as_str()})
    });
    let (schemes, new, old) = security(app.auth.ways());
    let card = json!({
        "name": "MAS Coordinator",
        "description": "One assistant in front of many agents: it asks the one that fits and answers once.",
        "version": env!("CARGO_PKG_VERSION"),
        "supportedInterfaces": interfaces,
        "url": url, "preferredTransport": "JSONRPC", "protocolVersion": "0.3.0",
        "capabilities": {"streaming": true, "pushNotifications": false},
        "defaultInputModes": ["text/plain", "*/*"],
        "defaultOutputModes": ["text/markdown", "*/*"],
        "skills": skills(&app.coordinator().registry.listed()),
        "securitySchemes": schemes, "securityRequirements": new, "security": old,
    });
    // What it says of its address is what the caller called it.
    let heads = [(CACHE_CONTROL, "private, max-age=60"), (VARY, "Host")];
    (heads, Json(card)).into_response()
}

/// Where the caller has reached us: no setting knows it better.
fn address(headers: &HeaderMap) -> String {
    let text = |value: Option<&HeaderValue>| value?.to_str().ok().map(str::to_owned);
    let host = text(headers.get(HOST)).filter(|host| is_host(host));
    let scheme = text(headers.get("x-forwarded-proto")).filter(|scheme| scheme == "https");
    format!(
        "{}://{}/a2a",
        scheme.as_deref().unwrap_or("http"),
        host.as_deref().unwrap_or("localhost")
    )
}

fn is_host(host: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    !host.is_empty() && host.bytes().all(plain)
}

/// One skill for each capability, whoever has it; an agent that lists none is a skill itself.
fn skills(registry: &Registry) -> Vec<Value> {
    let mut skills: BTreeMap<&str, (Vec<&str>, Vec<&str>)> = BTreeMap::new();
    for card in registry.iter() {
        let agent = card.id.as_str();
        let names: Vec<&str> = match card.capabilities.as_slice() {
            [] => vec![agent],
            some => some.iter().map(|one| one.name.as_str()).collect(),
        };
        for name in names {
            let (agents, described) = skills.entry(name).or_default();
            agents.push(agent);
            described.push(card.description.trim());
        }
    }
    let skill = |(name, (agents, described)): (&str, (Vec<&str>, Vec<&str>))| {
        let shown = name.replace('_', " ");
        json!({"id": name, "name": shown, "description": described.join(" "), "tags": agents})
    };
    skills.into_iter().map(skill).collect()
}

/// How callers prove themselves, in the words of both versions: any one of the ways will do.
fn security(ways: impl Iterator<Item = &'static str>) -> (Value, Vec<Value>, Vec<Value>) {
    let (mut schemes, mut new, mut old) = (Map::new(), Vec::new(), Vec::new());
    for way in ways {
        let header = |name: &str| {
            json!({"apiKeySecurityScheme": {"location": "header", "name": name},
                   "type": "apiKey", "in": "header", "name": name})
        };
        let scheme = match way {
            "dial" => header("api-key"),
            "secret" => header("x-mas-secret"),
            "jwt" => json!({"httpAuthSecurityScheme": {"scheme": "Bearer", "bearerFormat": "JWT"},
                            "type": "http", "scheme": "bearer", "bearerFormat": "JWT"}),
            _ => continue,
        };
        schemes.insert(way.into(), scheme);
        new.push(json!({"schemes": {way: {"list": []}}}));
        old.push(json!({way: []}));
    }
    (schemes.into(), new, old)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::agent::{AgentCard, Endpoint, Protocol};
    use crate::domain::capability::Capability;

    #[test]
    fn skills_are_what_the_agents_can_do_together() {
        let card = |name: &str, can: &[&str]| AgentCard {
            description: format!("{name} does it."),
            capabilities: can.iter().map(|one| Capability::named(one)).collect(),
            ..AgentCard::new(name, Protocol::Dial, Endpoint::Deployment(name.into()))
        };
        let agents = vec![
            card("A", &["web_search"]),
            card("B", &["web_search", "rag"]),
            card("C", &[]),
        ];
        let skills = skills(&Registry::new(agents, None).unwrap());
        let told: Vec<_> = skills
            .iter()
            .map(|skill| (&skill["id"], &skill["tags"]))
            .collect();
        assert_eq!(
            told,
            [
                (&json!("C"), &json!(["C"])),
                (&json!("rag"), &json!(["B"])),
                (&json!("web_search"), &json!(["A", "B"])),
            ]
        );
        assert_eq!(skills[2]["description"], "A does it. B does it.");
    }

    #[test]
    fn the_address_is_the_one_that_was_called() {
        let check = |pairs: &[(&'static str, &str)], expected: &str| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, HeaderValue::from_str(value).unwrap());
            }
            assert_eq!(address(&headers), expected);
        };
        check(&[("host", "mas:8055")], "http://mas:8055/a2a");
        check(
            &[("host", "mas.example.com"), ("x-forwarded-proto", "https")],
            "https://mas.example.com/a2a",
        );
        check(&[("host", "a/b?c")], "http://localhost/a2a");
    }
}
