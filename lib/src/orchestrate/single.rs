//! One agent, called once, its events mirrored below its own stage.

use std::time::Duration;

use futures_util::StreamExt;

use super::form;
use crate::domain::agent::AgentCard;
use crate::domain::check::is_blank;
use crate::domain::event::{AgentEvent, StageStatus};
use crate::domain::ids::AgentId;
use crate::domain::language::Language;
use crate::domain::message::{Attachment, OpaqueState};
use crate::domain::preference::Stages;
use crate::domain::rules::Caps;
use crate::domain::turn::AgentTask;
use crate::domain::usage::ModelUsage;
pub use crate::gateway::Error;
use crate::gateway::{EventStream, Gateways};
use crate::stream::{AnswerSink, Mirror, Nesting, Stage, checks, labels};

/// What an agent gave, complete or not.
#[derive(Debug, Default)]
pub struct Report {
    pub text: String,
    pub attachments: Vec<Attachment>,
    pub state: Option<OpaqueState>,
    /// The session the agent now keeps, and whether it was made in this call.
    pub session: Option<(String, bool)>,
    /// It asks the user something with a form.
    pub form: bool,
    /// It says that its answer is a question, whatever that looks like.
    pub asks: bool,
    /// What it said that it used.
    pub used: Vec<ModelUsage>,
    /// The text is over its cap, and says so.
    cut: bool,
}

impl Report {
    /// Nothing yet, in a session that the agent keeps already.
    pub fn in_session(session: Option<(String, bool)>) -> Self {
        Self {
            session,
            ..Self::default()
        }
    }

    /// Nobody could read or press anything of it.
    pub fn is_nothing(&self) -> bool {
        is_blank(&self.text) && self.attachments.is_empty() && !self.form
    }

    /// Takes text up to the cap, and returns what it took. Over it the text is cut and says so, but reading goes on to the
    /// agent's end: its attachments and its state are worth as much as ever. An agent that goes on for longer than a
    /// whole answer may be fails there.
    fn add(&mut self, text: &str, cap: usize, language: Language) -> &str {
        let before = self.text.len();
        if !self.cut {
            let room = cap.saturating_sub(before);
            let fitting = text.get(..text.floor_char_boundary(room)).unwrap_or(text);
            self.text.push_str(fitting);
            if fitting.len() < text.len() {
                self.text.push_str(&labels::text_cut(cap).told(language));
                self.cut = true;
            }
        }
        self.text.get(before..).unwrap_or_default()
    }

    /// What comes now is in place of what was said. Where that was the answer, it was read and cannot be taken back.
    fn begin_anew(&mut self, answers: bool, cap: usize, language: Language) {
        if answers {
            self.add(labels::ANEW, cap, language);
        } else {
            self.text.clear();
            self.cut = false;
        }
    }

    /// The agent's session, which may be told again as it is now.
    fn keep(&mut self, id: String, created: bool) {
        let before = matches!(self.session, Some((_, true)));
        self.session = Some((id, created || before));
    }
}

/// Where an agent's work is shown.
#[derive(Clone, Copy, Debug)]
pub struct Out<'a> {
    pub sink: &'a AnswerSink,
    /// Its text is the answer itself; else it is shown in its stage, and somebody else writes the answer.
    pub answers: bool,
    /// How much of its work is shown.
    pub stages: Stages,
    /// What of its files is in the answer already.
    pub attached: &'a [Attachment],
}

/// Why an agent is asked.
#[derive(Clone, Copy, Debug)]
pub enum Asked<'a> {
    First,
    /// Another one could not answer.
    Instead(&'a AgentId),
    /// Its own answer before this one cannot be used, as these words say.
    Again(&'a str),
}

/// The agents at work: their gateways, and how their stages are shown.
#[derive(Clone, Debug)]
pub struct Agents {
    pub gateways: Gateways,
    pub nesting: Nesting,
    pub caps: Caps,
}

impl Agents {
    /// An agent's answer to come. Nothing is sent before it is polled.
    pub fn begin(&self, agent: &AgentId, task: AgentTask) -> Result<EventStream, Error> {
        let gateway = self.gateways.get(agent).ok_or(Error::Unknown)?;
        Ok(gateway.call(task))
    }

    /// Shows what an agent does while it does it, in a stage that says why it is asked. The report grows as events come, so that
    /// it holds what there is when the call fails or is given up.
    pub async fn show(
        &self,
        card: &AgentCard,
        events: EventStream,
        asked: Asked<'_>,
        out: Out<'_>,
        report: &mut Report,
    ) -> Result<(), Error> {
        let agent = &card.id;
        let name = match asked {
            Asked::Again(why) => checks::once_more(agent, why).told(out.sink.language()),
            Asked::First | Asked::Instead(_) => labels::agent_stage(agent),
        };
        let stage = match out.stages {
            Stages::None => out.sink.hidden_stage(),
            Stages::Summary | Stages::Full => out.sink.open_stage(Some(&name), None),
        };
        if let Asked::Instead(other) = asked {
            stage.say(labels::stands_in(other, agent));
        }
        self.work(events, agent, &stage, out, report).await
    }

    /// Whether every endpoint of an agent is left alone at the moment.
    pub fn is_resting(&self, agent: &AgentId) -> bool {
        (self.gateways.get(agent)).is_some_and(|gateway| gateway.is_resting())
    }

    /// Has an agent forget one of its conversations.
    pub async fn forget(
        &self,
        agent: &AgentId,
        session: &str,
        within: Duration,
    ) -> Result<(), Error> {
        let gateway = self.gateways.get(agent).ok_or(Error::Unknown)?;
        gateway.forget(session, within).await
    }

    /// Lets an agent stop what it still does under a session.
    pub async fn abandon(
        &self,
        agent: &AgentId,
        session: &str,
        within: Duration,
    ) -> Result<(), Error> {
        let gateway = self.gateways.get(agent).ok_or(Error::Unknown)?;
        gateway.abandon(session, within).await
    }

    /// Whether an agent can be reached.
    pub async fn check(&self, agent: &AgentId, within: Duration) -> Result<(), Error> {
        let gateway = self.gateways.get(agent).ok_or(Error::Unknown)?;
        gateway.check(within).await
    }

    /// Shows an agent's form, unless it would speak for the user, or another one is shown.
    fn show_form(&self, schema: &OpaqueState, agent: &AgentId, sink: &AnswerSink) -> bool {
        let (cap, names) = (self.caps.attachment, self.gateways.names());
        let shown = form::is_harmless(schema, cap, &names) && sink.form(schema);
        if !shown {
            tracing::warn!(agent.id = %agent, security = "form_left_out", "a form of an agent is left out");
        }
        shown
    }

    /// Mirrors an agent's events to their end.
    async fn work(
        &self,
        mut events: EventStream,
        agent: &AgentId,
        stage: &Stage,
        Out {
            sink,
            answers,
            stages,
            attached,
        }: Out<'_>,
        report: &mut Report,
    ) -> Result<(), Error> {
        let write = async |text: &str| {
            if answers {
                sink.stream(text).await;
            } else if stages == Stages::Full {
                stage.stream(text).await;
            }
        };
        let language = sink.language();
        let mut mirror = Mirror::new(sink, agent, stage, self.nesting, self.caps);
        loop {
            // The last place to wait for a slow reader: what is not read is not asked for.
            sink.ready().await;
            match events.next().await {
                Some(Ok(AgentEvent::Text(text))) => {
                    write(report.add(&text, self.caps.text, language)).await;
                }
                Some(Ok(AgentEvent::Stage { index, change })) => {
                    if stages == Stages::Full {
                        mirror.apply(index, &change);
                    }
                }
                Some(Ok(AgentEvent::Anew(text))) => {
                    write(labels::ANEW).await;
                    report.begin_anew(answers, self.caps.text, language);
                    write(report.add(&text, self.caps.text, language)).await;
                }
                Some(Ok(AgentEvent::Asks)) => report.asks = true,
                Some(Ok(AgentEvent::Attachment(attachment))) => match mirror.take(&attachment) {
                    Ok(()) => {
                        if !attached.contains(&attachment) {
                            sink.attach(&attachment);
                        }
                        report.attachments.push(attachment);
                    }
                    // It is a part of the answer that is missing, so the answer says so.
                    Err(note) => write(report.add(&note, self.caps.text, language)).await,
                },
                Some(Ok(AgentEvent::State(state))) => report.state = Some(state),
                Some(Ok(AgentEvent::Usage(lines))) => report.used.extend(lines),
                Some(Ok(AgentEvent::Form(schema))) => {
                    report.form |= self.show_form(&schema, agent, sink);
                }
                Some(Ok(AgentEvent::Session { id, created })) => {
                    if created && stages == Stages::Full {
                        stage.say(labels::session_created(agent, &id));
                    }
                    report.keep(id, created);
                }
                Some(Ok(AgentEvent::Cut)) => {
                    if !report.text.is_empty() {
                        let note = labels::agent_cut().told(language);
                        write(report.add(&note, self.caps.text, language)).await;
                    }
                }
                // A complete answer of nothing helps nobody: it is never a success.
                Some(Ok(AgentEvent::Finished)) if report.is_nothing() => {
                    return Err(Error::Empty);
                }
                Some(Ok(AgentEvent::Finished)) => {
                    mirror.close(StageStatus::Completed);
                    stage.close(StageStatus::Completed);
                    return Ok(());
                }
                Some(Err(error)) => {
                    if !report.text.is_empty() {
                        write(&labels::partial().told(language)).await;
                    }
                    return Err(error);
                }
                // Every gateway ends with Finished or an error; an end without either is no success.
                None => return Err(Error::Unfinished),
            }
        }
    }
}
