//! One A2A task followed from the message that begins or continues it to its end.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::Error;
use super::a2a::A2aGateway;
use crate::a2a::card::Offer;
use crate::a2a::event::{Event, RpcError, Said, State, Status};
use crate::a2a::fold::Fold;
use crate::a2a::part::Part;
use crate::a2a::{
    INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, Method, TASK_NOT_FOUND,
    UNSUPPORTED_OPERATION, VERSION_NOT_SUPPORTED,
};
use crate::dial::delta::WireError;
use crate::domain::event::AgentEvent;
use crate::domain::turn::AgentTask;
use crate::upstream::{self, Events};

/// How long an agent may take to hear that it is given up.
const CANCEL_WITHIN: Duration = Duration::from_secs(2);
/// The pause before a task is asked for, at first and at last.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_CAP: Duration = Duration::from_secs(2);
/// Longer ids are not kept.
const ID_CAP: usize = 256;
/// Of what an agent says to a task that it gave up, people see so many characters.
const SAID_CAP: usize = 500;

/// What is kept of an agent between turns, and within one: its own name of the conversation, and a task of it. Written
/// `context`, `context ?task` for one that waits for the user, `context !task` for one that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    pub context: Option<String>,
    pub open: Option<String>,
    pub running: Option<String>,
}

/// A task at work.
pub struct Work {
    gateway: A2aGateway,
    offer: Arc<Offer>,
    task: AgentTask,
    session: Session,
    /// The session was made by this call.
    created: bool,
    /// Something of an answer has come.
    answered: bool,
    fold: Fold,
    queue: VecDeque<AgentEvent>,
    source: Source,
    end: Option<Result<(), Error>>,
}

enum Source {
    Stream(Box<Events>),
    /// One whole answer.
    Whole(String),
    /// It is asked for, after a pause.
    Asked(Duration),
    Over,
}

impl Session {
    /// Anything that is not of this form is no session of ours.
    pub fn read(text: &str) -> Self {
        let mut words = text.split(' ');
        let context = words.next().filter(|id| is_id(id)).map(str::to_owned);
        let task = words.next().filter(|_| context.is_some()).unwrap_or("");
        let of = |mark| {
            task.strip_prefix(mark)
                .filter(|id| is_id(id))
                .map(str::to_owned)
        };
        Self {
            open: of('?'),
            running: of('!'),
            context,
        }
    }

    fn written(&self) -> Option<String> {
        let context = self.context.as_deref()?;
        Some(match (&self.open, &self.running) {
            (Some(task), _) => format!("{context} ?{task}"),
            (None, Some(task)) => format!("{context} !{task}"),
            (None, None) => context.to_owned(),
        })
    }
}

impl Work {
    /// Sends the message. Nothing of an answer is read yet.
    pub async fn begin(gateway: A2aGateway, task: AgentTask) -> Result<Self, Error> {
        let offer = gateway.offer(gateway.reach.limits(task.deadline)).await?;
        let mut session = Session::read(task.session.as_deref().unwrap_or_default());
        // What ran in an earlier turn was given up with it.
        session.running = None;
        let source = send(&gateway, &offer, &task, &session).await?;
        Ok(Self {
            created: session.context.is_none(),
            gateway,
            offer,
            task,
            session,
            answered: false,
            fold: Fold::default(),
            queue: VecDeque::new(),
            source,
            end: None,
        })
    }

    /// The next event; `None` after the end.
    pub async fn next(&mut self) -> Result<Option<AgentEvent>, Error> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Ok(Some(event));
            }
            if let Some(end) = self.end.take() {
                self.source = Source::Over;
                return end.map(|()| Some(AgentEvent::Finished));
            }
            let read = match self.read().await {
                Ok(Some(text)) => self.take(&text).await,
                Ok(None) => return Ok(None),
                Err(error) => Err(error),
            };
            if let Err(error) = read {
                self.give_up().await;
                return Err(error);
            }
        }
    }

    /// The next answer of the agent. A stream that ends before its task does is no end: the task is asked for.
    async fn read(&mut self) -> Result<Option<String>, Error> {
        loop {
            match &mut self.source {
                Source::Over => return Ok(None),
                Source::Whole(text) => {
                    let text = std::mem::take(text);
                    self.source = Source::Asked(PAUSE);
                    return Ok(Some(text));
                }
                Source::Stream(events) => match events.next().await {
                    Ok(Some(text)) => return Ok(Some(text)),
                    Ok(None) | Err(upstream::Error::Truncated | upstream::Error::BrokeOff(_))
                        if self.session.running.is_some() =>
                    {
                        self.source = Source::Asked(PAUSE);
                    }
                    Ok(None) => return Err(Error::Unfinished),
                    Err(error) => return Err(error.into()),
                },
                Source::Asked(pause) => {
                    let Some(id) = self.session.running.clone() else {
                        return Err(Error::Unfinished);
                    };
                    let wait = *pause;
                    *pause = (wait * 3 / 2).min(PAUSE_CAP);
                    sleep_until((Instant::now() + wait).min(self.task.deadline)).await;
                    let limits = self.gateway.reach.limits(self.task.deadline);
                    let ask = json!({"id": id});
                    let call =
                        (self.gateway).rpc(&self.offer, Method::Get, ask, limits, Some(&self.task));
                    let body = self.gateway.reach.client.body(call).await?;
                    return Ok(Some(String::from_utf8_lossy(&body).into_owned()));
                }
            }
        }
    }

    async fn take(&mut self, text: &str) -> Result<(), Error> {
        let event = Event::read(text)
            .map_err(|error| Error::Call(upstream::Error::Unreadable(Box::new(error))))?;
        let event = match event {
            Ok(event) => event,
            Err(error) if self.has_lost_its_task(&error) => {
                tracing::info!(agent.id = %self.gateway.name, "the agent lost its task");
                self.session.open = None;
                self.source = send(&self.gateway, &self.offer, &self.task, &self.session).await?;
                return Ok(());
            }
            Err(error) => {
                if matches!(error.code, METHOD_NOT_FOUND | VERSION_NOT_SUPPORTED) {
                    self.gateway.unlearn();
                }
                return Err(announced(error));
            }
        };
        self.answered = true;
        self.note(event.context, event.task)?;
        match event.said {
            Said::Message(parts) => {
                self.fold.answer(parts, &mut self.queue);
                self.finish(Ok(()), None);
            }
            Said::Task(artifacts, status) => {
                self.fold.snapshot(artifacts, &mut self.queue);
                self.stand(status);
            }
            Said::Status(status) => self.stand(status),
            Said::Artifact {
                artifact,
                append,
                last,
            } => self.fold.artifact(artifact, append, last, &mut self.queue),
        }
        Ok(())
    }

    /// A task that had waited for the user may be over at the agent's: nothing of the message was done then.
    fn has_lost_its_task(&self, error: &RpcError) -> bool {
        let lost = [TASK_NOT_FOUND, UNSUPPORTED_OPERATION, INVALID_PARAMS];
        !self.answered && self.session.open.is_some() && lost.contains(&error.code)
    }

    /// Where the task stands, and what that means for the answer.
    fn stand(&mut self, status: Status) {
        let Status { state, parts } = status;
        match state {
            State::Working => self.fold.progress(parts, &mut self.queue),
            State::Completed => {
                self.fold.end(&mut self.queue);
                if self.fold.has_spoken() {
                    self.fold.progress(parts, &mut self.queue);
                } else {
                    self.fold.answer(parts, &mut self.queue);
                }
                self.finish(Ok(()), None);
            }
            State::InputRequired => {
                self.fold.end(&mut self.queue);
                self.fold.answer(parts, &mut self.queue);
                self.queue.push_back(AgentEvent::Asks);
                let open = self.session.running.take();
                self.finish(Ok(()), open);
            }
            State::AuthRequired | State::Failed | State::Rejected | State::Canceled => {
                self.fold.end(&mut self.queue);
                let said = words(&parts);
                self.finish(Err(Error::Ended { state, said }), None);
            }
        }
    }

    fn finish(&mut self, end: Result<(), Error>, open: Option<String>) {
        self.session.running = None;
        self.session.open = open;
        self.tell();
        self.end = Some(end);
    }

    /// Remembers which conversation and which task this is, and tells it once they are known: whoever stops waiting knows
    /// what to give up.
    fn note(&mut self, context: Option<String>, task: Option<String>) -> Result<(), Error> {
        let named = |id: Option<String>| match id.filter(|id| !id.is_empty()) {
            Some(id) if !is_id(&id) => Err(Error::Call(upstream::Error::Unreadable(
                "an id in it cannot be one".into(),
            ))),
            id => Ok(id),
        };
        let before = self.session.clone();
        if let Some(context) = named(context)? {
            self.session.context = Some(context);
        }
        if let Some(task) = named(task)? {
            self.session.running = Some(task);
            self.session.open = None;
        }
        if self.session != before {
            self.tell();
        }
        Ok(())
    }

    fn tell(&mut self) {
        let told = self.session.written().map(|id| AgentEvent::Session {
            id,
            created: std::mem::take(&mut self.created),
        });
        self.queue.extend(told);
    }

    /// Nobody will read on: the agent may stop. That it cannot be told is no further failure.
    async fn give_up(&mut self) {
        self.source = Source::Over;
        let Some(id) = self.session.running.take() else {
            return;
        };
        let told = (self.gateway).cancel(&id, Some(&self.task), CANCEL_WITHIN);
        if let Err(error) = told.await {
            tracing::info!(
                agent.id = %self.gateway.name, error = &error as &dyn std::error::Error,
                "the agent could not be told that its task is given up"
            );
        }
    }
}

async fn send(
    gateway: &A2aGateway,
    offer: &Offer,
    task: &AgentTask,
    session: &Session,
) -> Result<Source, Error> {
    let (method, call) = gateway.message(offer, task, session);
    Ok(if method == Method::Stream {
        Source::Stream(Box::new(gateway.reach.client.events(call).await?))
    } else {
        let body = gateway.reach.client.body(call).await?;
        Source::Whole(String::from_utf8_lossy(&body).into_owned())
    })
}

/// An error of the agent's own. One that says that the request was wrong says nothing of the agent's health.
fn announced(error: RpcError) -> Error {
    let ours = matches!(
        error.code,
        INVALID_REQUEST | INVALID_PARAMS | TASK_NOT_FOUND
    );
    upstream::Error::Announced(WireError {
        message: Some(error.message),
        code: Some(error.code.to_string()),
        kind: ours.then(|| "invalid_request_error".to_owned()),
        display_message: None,
    })
    .into()
}

/// What an agent says to the end of its task, for people.
fn words(parts: &[Part]) -> Option<String> {
    let text: String = (parts.iter())
        .filter_map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            Part::File(_) => None,
        })
        .collect();
    let text: String = text.trim().chars().take(SAID_CAP).collect();
    (!text.is_empty()).then_some(text)
}

/// Ids are given back as they came, in JSON; a blank would end one in what is kept.
fn is_id(id: &str) -> bool {
    (1..=ID_CAP).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_read_as_it_was_written() {
        let session = |open: Option<&str>, running: Option<&str>| Session {
            context: Some("ctx-1".into()),
            open: open.map(str::to_owned),
            running: running.map(str::to_owned),
        };
        for (written, read) in [
            ("ctx-1", session(None, None)),
            ("ctx-1 ?t-1", session(Some("t-1"), None)),
            ("ctx-1 !t-1", session(None, Some("t-1"))),
        ] {
            assert_eq!(Session::read(written), read);
            assert_eq!(read.written().as_deref(), Some(written));
        }
        assert_eq!(Session::read(""), Session::default());
        assert_eq!(Session::read("c\u{e9} ?t"), Session::default());
    }
}
