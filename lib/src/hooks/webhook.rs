//! A hook by HTTP: the event signed as the Standard Webhooks say, and the answer read strictly.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;
use tokio::time::{Instant, timeout_at};

use super::{Answer, Error, Event, Hook};
use crate::domain::hook::{HookKey, WebhookCard};
use crate::domain::ids::AgentId;
use crate::guard::{Calling, Guard};
use crate::resilience::breaker::Outcome;
use crate::resilience::retry::Repeat;
use crate::upstream::{self, Call, Client, Limits};

/// A longer answer is none.
const ANSWER_CAP: usize = 16 * 1024;
/// A longer sentence for the user, or word for the record, is cut.
const SENTENCE_CAP: usize = 2000;
const NOTE_CAP: usize = 500;

/// Somebody who is asked by HTTP.
#[derive(Debug)]
pub struct Webhook {
    card: WebhookCard,
    name: Arc<str>,
    /// Its breaker's name.
    peer: Arc<str>,
    client: Client,
    guard: Arc<Guard>,
    /// Tells events of one turn apart.
    events: AtomicU64,
}

impl Webhook {
    pub fn new(name: &Arc<str>, card: &WebhookCard, client: &Client, guard: &Arc<Guard>) -> Self {
        Self {
            card: card.clone(),
            name: Arc::clone(name),
            peer: format!("hook:{name}").into(),
            client: client.clone(),
            guard: Arc::clone(guard),
            events: AtomicU64::new(0),
        }
    }

    /// The event as a call that is made once: whoever waits for it has not the time for another one, and the receiver
    /// never gets an event twice.
    fn call(&self, event: &Event<'_>, by: Instant) -> Call {
        let body = event.json(self.card.content);
        let number = self.events.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}-{}-{number}", event.turn, self.name);
        let time = event.time.seconds().0.to_string();
        let limits = Limits {
            first_byte: self.card.timeout,
            idle: self.card.timeout,
            until: by,
        };
        let signature = signature(&self.card.keys, &id, &time, &body);
        Call::post(self.card.url.to_string(), body, limits)
            .repeated(Repeat::Never)
            .guarded()
            .traced(event.caller)
            .header("webhook-id", &id)
            .header("webhook-timestamp", &time)
            .header("webhook-signature", &signature)
    }
}

#[async_trait]
impl Hook for Webhook {
    async fn ask(&self, event: &Event<'_>, by: Instant) -> Result<Answer, Error> {
        let calling = Calling {
            mark: Arc::clone(&event.caller.mark),
            own_key: false,
        };
        let permit = (self.guard).permit(&self.peer, calling, self.card.timeout, by);
        let permit = timeout_at(by, permit).await.map_err(|_| Error::Late)?;
        let permit = permit.map_err(Error::Resting)?;
        let called = match self.client.body(self.call(event, by)).await {
            // Many receivers have nothing to say.
            Err(upstream::Error::Status { status: 204, .. }) => Ok(Answer::default()),
            Err(error) => Err(Error::Call(error)),
            Ok(body) => read(&body),
        };
        let outcome = match &called {
            Ok(_) => Outcome::Success,
            Err(Error::Call(error)) => error.outcome(permit.out_of_time()),
            Err(_) => Outcome::Failure { after: None },
        };
        // The other instances are told in what is left of the time, or not at all.
        let _ = timeout_at(by, permit.settle(outcome)).await;
        called
    }
}

/// What the receiver says. A word that is not known may be meant to refuse, so it is a mistake.
fn read(body: &[u8]) -> Result<Answer, Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Said {
        refuse: Option<String>,
        agent: Option<AgentId>,
        note: Option<String>,
    }
    if body.len() > ANSWER_CAP {
        return Err(Error::Answer("is too long"));
    }
    if body.trim_ascii().is_empty() {
        return Ok(Answer::default());
    }
    // The reader's own error would repeat what it read.
    let said: Said =
        serde_json::from_slice(body).map_err(|_| Error::Answer("is none of those it may give"))?;
    if said
        .refuse
        .as_deref()
        .is_some_and(|text| text.trim().is_empty())
    {
        return Err(Error::Answer("refuses without a sentence for the user"));
    }
    let cut = |text: String, cap| text.chars().take(cap).collect();
    Ok(Answer {
        refuse: said.refuse.map(|text| cut(text, SENTENCE_CAP)),
        agent: said.agent,
        note: said.note.map(|text| cut(text, NOTE_CAP)),
    })
}

/// The signatures by all keys, separated by spaces.
fn signature(keys: &[HookKey], id: &str, time: &str, body: &[u8]) -> String {
    let sign = |key: &HookKey| {
        // HMAC takes keys of any length.
        let mut mac = Hmac::<Sha256>::new_from_slice(key.expose())
            .unwrap_or_else(|_| Hmac::new(&[0; 64].into()));
        for part in [id.as_bytes(), b".", time.as_bytes(), b".", body] {
            mac.update(part);
        }
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    };
    keys.iter().map(sign).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_signed_as_the_standard_says() {
        // The example of the Standard Webhooks.
        let key = HookKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        let sign =
            |keys: &[HookKey]| signature(keys, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body);
        let signed = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(sign(std::slice::from_ref(&key)), signed);
        assert_eq!(sign(&[key.clone(), key]), format!("{signed} {signed}"));
    }

    #[test]
    fn an_answer_is_one_of_those_a_hook_may_give_or_a_failure() {
        let check = |body: &str| read(body.as_bytes()).ok();
        assert_eq!(check(""), Some(Answer::default()));
        assert_eq!(check(" {} \n"), Some(Answer::default()));
        let refused = check(r#"{"refuse": "No.", "note": "n"}"#).unwrap();
        assert_eq!(
            (refused.refuse, refused.note),
            (Some("No.".into()), Some("n".into()))
        );
        let long = format!("{{\"note\": \"{}\"}}", "n".repeat(600));
        assert_eq!(check(&long).unwrap().note.unwrap().len(), NOTE_CAP);
        for wrong in [
            "yes",
            "[]",
            r#"{"approve": true}"#,
            r#"{"refuse": " "}"#,
            r#"{"refuse": true}"#,
            &format!("{}{{}}", " ".repeat(ANSWER_CAP)),
        ] {
            assert_eq!(check(wrong), None, "{wrong}");
        }
    }
}
