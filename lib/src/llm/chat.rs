//! Chat completions, through DIAL Core with the caller's key or from any OpenAI-compatible server.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Completion, Error, Prompt};
use crate::dial::delta::Chunk;
use crate::dial::request::{OutMessage, Outgoing, StreamOptions};
use crate::domain::ids::Secret;
use crate::domain::usage::Usage;
use crate::guard::{Calling, Guard, Permit};
use crate::resilience::breaker::Outcome;
use crate::resilience::retry::Repeat;
use crate::upstream::{self, Call, Client, Events, Limits, Trust};

/// Where models come from.
#[derive(Clone, Debug)]
pub enum Provider {
    /// DIAL Core at this origin; each model is a deployment, paid by the caller's key.
    Core { url: String },
    /// An OpenAI-compatible server: the address up to `/chat/completions`.
    OpenAi { base: String, key: Option<Secret> },
}

/// All models, behind one provider.
#[derive(Clone, Debug)]
pub struct Models {
    pub client: Client,
    pub provider: Provider,
    pub first_byte: Duration,
    pub idle: Duration,
    pub guard: Arc<Guard>,
}

impl Models {
    /// Asks for a whole answer.
    pub async fn complete(&self, prompt: &Prompt) -> Result<Completion, Error> {
        let permit = self.permit(prompt).await?;
        let answer = self.answer(prompt).await;
        settle(permit, answer.as_ref().map(|_| ())).await;
        answer
    }

    async fn answer(&self, prompt: &Prompt) -> Result<Completion, Error> {
        let body = self.client.body(self.call(prompt, false)).await?;
        let text = String::from_utf8_lossy(&body);
        let chunk = Chunk::read(&text)?;
        check(&chunk)?;
        Ok(Completion {
            text: chunk.text().unwrap_or_default().to_owned(),
            usage: chunk.usage(),
        })
    }

    /// Asks for an answer piece by piece.
    pub async fn stream(&self, prompt: &Prompt) -> Result<TextStream, Error> {
        let permit = self.permit(prompt).await?;
        match self.client.events(self.call(prompt, true)).await {
            Ok(events) => Ok(TextStream {
                events,
                permit: Some(permit),
                usage: None,
                finish_reason: None,
            }),
            Err(error) => {
                let error = error.into();
                settle(permit, Err(&error)).await;
                Err(error)
            }
        }
    }

    async fn permit(&self, prompt: &Prompt) -> Result<Permit, Error> {
        let peer = format!("model:{}", prompt.model).into();
        let caller = Calling {
            mark: Arc::clone(&prompt.caller.mark),
            own_key: matches!(self.provider, Provider::Core { .. }),
        };
        Ok(self
            .guard
            .permit(&peer, caller, self.first_byte, prompt.deadline)
            .await?)
    }

    /// Whether the models' source answers at all.
    pub async fn check(&self, within: Duration) -> Result<(), Error> {
        let url = match &self.provider {
            Provider::Core { url } => format!("{url}/health"),
            Provider::OpenAi { base, .. } => format!("{base}/models"),
        };
        Ok(upstream::probe(
            &self.client,
            Trust::Configured,
            url,
            Instant::now() + within,
        )
        .await?)
    }

    fn call(&self, prompt: &Prompt, stream: bool) -> Call {
        let body = Outgoing {
            model: &prompt.model,
            messages: prompt
                .messages
                .iter()
                .map(|message| OutMessage::plain(message.role.as_str(), message.text.as_str()))
                .collect(),
            stream,
            stream_options: stream.then_some(StreamOptions {
                include_usage: true,
            }),
            response_format: prompt.response_format.as_deref(),
        };
        // Serialising plain strings cannot fail.
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let limits = Limits {
            first_byte: self.first_byte,
            idle: self.idle,
            until: prompt.deadline,
        };
        match &self.provider {
            Provider::Core { url } => {
                Call::deployment(url, &prompt.model, &prompt.caller, body, limits)
            }
            Provider::OpenAi { base, key } => {
                let call = Call::post(format!("{base}/chat/completions"), body, limits)
                    .traced(&prompt.caller);
                match key {
                    Some(key) => call.secret("authorization", "Bearer ", key),
                    None => call,
                }
            }
        }
        // A model only answers.
        .repeated(Repeat::Freely)
    }
}

/// Tells the breaker how a call ended.
async fn settle(permit: Permit, end: Result<(), &Error>) {
    let outcome = match end {
        Ok(()) => Outcome::Success,
        Err(error) => error.outcome(permit.out_of_time()),
    };
    permit.settle(outcome).await;
}

fn check(chunk: &Chunk<'_>) -> Result<(), Error> {
    if let Some(error) = chunk.error() {
        return Err(upstream::Error::Announced(error.clone()).into());
    }
    if chunk.finish_reason() == Some("content_filter") {
        return Err(Error::Filtered);
    }
    Ok(())
}

/// An answer as it comes.
#[derive(Debug)]
pub struct TextStream {
    events: Events,
    /// There until the end.
    permit: Option<Permit>,
    usage: Option<Usage>,
    finish_reason: Option<String>,
}

impl TextStream {
    /// The next piece of text, never empty; `None` at the complete end. A stream that breaks off is an error.
    pub async fn next(&mut self) -> Result<Option<String>, Error> {
        let piece = self.read().await;
        let end = match &piece {
            Ok(Some(_)) => return piece,
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        if let Some(permit) = self.permit.take() {
            settle(permit, end).await;
        }
        piece
    }

    async fn read(&mut self) -> Result<Option<String>, Error> {
        loop {
            let event = match self.events.next().await {
                Ok(Some(event)) => event,
                Ok(None) => return Ok(None),
                // Some servers close after the finish reason without the end mark.
                Err(upstream::Error::Truncated) if self.finish_reason.is_some() => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            let chunk = Chunk::read(&event)?;
            check(&chunk)?;
            if let Some(reason) = chunk.finish_reason() {
                self.finish_reason = Some(reason.to_owned());
            }
            self.usage = chunk.usage().or(self.usage);
            if let Some(text) = chunk.text() {
                return Ok(Some(text.to_owned()));
            }
        }
    }

    /// True when the model stopped because it may not say more.
    pub fn is_cut(&self) -> bool {
        self.finish_reason.as_deref() == Some("length")
    }

    /// What the model said it used, so far.
    pub fn usage(&self) -> Option<Usage> {
        self.usage
    }
}
