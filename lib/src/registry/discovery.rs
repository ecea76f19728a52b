//! Agents asked what they can: each where its entry says, as itself wants to be asked.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use super::found::{Found, read};
use super::remote::said;
use super::{Directory, Discovered, Refused};
use crate::domain::agent::{AgentCard, Discover, Endpoint, Protocol};
use crate::gateway;
use crate::upstream::{Call, Fetched, Limits, segment};

/// How long an agent may take to say what it can.
const WITHIN: Duration = Duration::from_secs(5);

impl Directory {
    /// Asks an agent what it can. With `accepting`, what it does not say any more is forgotten.
    pub async fn ask(&self, card: &AgentCard, accepting: bool) -> Result<Discovered, Refused> {
        let Some(way) = card.discover else {
            let problem = format!("the entry of {} says nothing of discover", card.id);
            return Err(Refused::Invalid(problem));
        };
        let known = self.entries.found(card.id.as_str()).await?;
        let written = known.as_ref().and_then(|entry| entry.written.as_deref());
        let before = Found::read(written);
        let now = self.said_now(card, way, before.tag.as_deref()).await;
        let now = now.map_err(Refused::Silent)?.unwrap_or_else(|| Found {
            missing: Vec::new(),
            ..before.clone()
        });
        Ok(Discovered {
            seen: known.map_or(0, |entry| entry.version),
            after: before.followed(now, accepting),
            before,
        })
    }

    /// What an agent says at the first of its endpoints that says anything; `None` where it is still what the tag names.
    async fn said_now(
        &self,
        card: &AgentCard,
        way: Discover,
        tag: Option<&str>,
    ) -> Result<Option<Found>, String> {
        let mut problem = "it has no endpoint".to_owned();
        for endpoint in &card.endpoints {
            match self.said_at(card, endpoint, way, tag).await {
                Ok(found) => return Ok(found),
                Err(error) => problem = error,
            }
        }
        Err(problem)
    }

    async fn said_at(
        &self,
        card: &AgentCard,
        endpoint: &Endpoint,
        way: Discover,
        tag: Option<&str>,
    ) -> Result<Option<Found>, String> {
        if way == Discover::Core {
            let core = self.source.core.as_deref().ok_or("DIAL_URL is not set")?;
            let Endpoint::Deployment(name) = endpoint else {
                return Err("only a deployment is listed by DIAL Core".into());
            };
            return self.listed(card, core, name).await.map(Some);
        }
        let Endpoint::Url(url) = endpoint else {
            return Err("it is a deployment of DIAL Core, which `discover: core` is for".into());
        };
        let mut problem = String::new();
        for place in places(way, card.protocol, url) {
            let call = Call::get(place, limits()).guarded();
            let call = gateway::introduced(call, card, url, self.source.signer.as_ref());
            match self.fetched(call, tag).await {
                Ok(Some(Fetched { body, tag })) => {
                    let found = read(way, &json(&body)?)?;
                    return Ok(Some(Found { tag, ..found }));
                }
                Ok(None) => return Ok(None),
                Err(error) => problem = error,
            }
        }
        Err(problem)
    }

    /// What DIAL Core lists of a deployment: among all, among applications, or among models.
    async fn listed(&self, card: &AgentCard, core: &str, name: &str) -> Result<Found, String> {
        let mut problem = String::new();
        for kind in ["deployments", "applications", "models"] {
            let url = format!("{core}/openai/{kind}/{}", segment(name));
            let call = Call::get(url, limits());
            let call = match &card.key {
                Some(key) => call.secret("api-key", "", key),
                None => call,
            };
            match self.fetched(call, None).await {
                Ok(Some(Fetched { body, .. })) => return read(Discover::Core, &json(&body)?),
                Ok(None) => {}
                Err(error) => problem = error,
            }
        }
        Err(problem)
    }

    async fn fetched(&self, call: Call, tag: Option<&str>) -> Result<Option<Fetched>, String> {
        let fetched = self.source.remote.client.fetch(call, tag).await;
        fetched.map_err(|error| said(&error))
    }
}

fn json(body: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(body).map_err(|_| "it is no JSON".to_owned())
}

fn limits() -> Limits {
    Limits {
        first_byte: WITHIN,
        idle: WITHIN,
        until: Instant::now() + WITHIN,
    }
}

/// Where an agent says it: below the address of a service or an A2A agent, at the origin of anything else. A card may be
/// where it was in older versions.
fn places(way: Discover, protocol: Protocol, url: &Url) -> Vec<String> {
    let paths: &[&str] = match way {
        Discover::Card => &gateway::CARDS,
        Discover::Core | Discover::Capabilities => &["/capabilities"],
    };
    let mut base = url.clone();
    base.set_query(None);
    if !matches!(protocol, Protocol::Conversation | Protocol::A2a) {
        base.set_path("");
    }
    let base = base.as_str().trim_end_matches('/');
    paths.iter().map(|path| format!("{base}{path}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_at_the_origin_or_below_a_service() {
        let check = |way, protocol, endpoint, expected| {
            let places = places(way, protocol, &Url::parse(endpoint).unwrap());
            assert_eq!(places[0], expected);
        };
        let chat = "https://a.example/openai/deployments/a/chat/completions?x=1";
        check(
            Discover::Card,
            Protocol::Dial,
            chat,
            "https://a.example/.well-known/agent-card.json",
        );
        check(
            Discover::Capabilities,
            Protocol::Dial,
            chat,
            "https://a.example/capabilities",
        );
        check(
            Discover::Card,
            Protocol::A2a,
            "https://a.example/booker",
            "https://a.example/booker/.well-known/agent-card.json",
        );
        let service = "https://a.example/ums/";
        check(
            Discover::Capabilities,
            Protocol::Conversation,
            service,
            "https://a.example/ums/capabilities",
        );
    }
}
