//! The answer being written: it keeps the stream's grammar, whatever the turn does.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use bytes::{Bytes, BytesMut};
use serde::Serialize;
use tokio::time::Instant;

use crate::dial::chunk::{
    ChunkWriter, CustomContent, Delta, FinishReason, IndexedAttachment, StageDelta,
};
use crate::domain::event::StageStatus;
use crate::domain::failure::Failure;
use crate::domain::language::Language;
use crate::domain::message::Attachment;
use crate::domain::phrase::Phrase;
use crate::domain::rules::Caps;
use crate::domain::usage::Tally;

/// Longer texts are written in pieces, so that no event grows beyond what readers of events take.
const PIECE: usize = 32 * 1024;

/// The writing end of one answer. Clones write the same answer; the reading end is [`super::TurnBody`].
///
/// Everything is written into one buffer that the body hands out, so a chunk costs no allocation of its own and
/// a slow reader stops the turn at its next [`AnswerSink::ready`].
#[derive(Clone, Debug)]
pub struct AnswerSink {
    shared: Arc<Mutex<Shared>>,
    /// Unread bytes from which on [`AnswerSink::ready`] waits for the reader.
    high_water: usize,
}

#[expect(clippy::struct_excessive_bools, reason = "each is said once")]
#[derive(Debug)]
struct Shared {
    writer: ChunkWriter,
    out: BytesMut,
    /// What is written must leave without waiting for more.
    urgent: bool,
    reader: Reader,
    /// One entry per stage opened: its open attachments' count while it is open.
    stages: Vec<StageEntry>,
    attachments: u32,
    state: bool,
    form: bool,
    /// In which our own words are.
    language: Language,
    /// When the answer's text began.
    spoke_at: Option<Instant>,
    ended: bool,
}

/// Who reads, as far as the turn needs to know.
#[derive(Debug, Default)]
struct Reader {
    /// Nobody reads any more.
    left: bool,
    /// The turn, waiting for the reader to catch up, or to leave.
    behind: Option<Waker>,
    leaving: Option<Waker>,
}

#[derive(Debug)]
struct StageEntry {
    attachments: u32,
    open: bool,
}

impl AnswerSink {
    /// `created` is in seconds since 1970.
    pub fn new(id: &str, created: u64, model: &str) -> Self {
        Self {
            shared: Arc::new(Mutex::new(Shared {
                writer: ChunkWriter::new(id, created, model),
                out: BytesMut::with_capacity(4096),
                urgent: false,
                reader: Reader::default(),
                stages: Vec::new(),
                attachments: 0,
                state: false,
                form: false,
                language: Language::default(),
                spoke_at: None,
                ended: false,
            })),
            high_water: Caps::default().buffer,
        }
    }

    /// Waits for the reader from so many unread bytes on.
    #[must_use]
    pub fn buffered(mut self, bytes: usize) -> Self {
        self.high_water = bytes;
        self
    }

    /// The role chunk. Called once, first.
    pub fn begin(&self) {
        self.lock().write::<()>(&Delta::Role("assistant"));
    }

    /// Appends to the answer's text.
    pub fn text(&self, text: &str) {
        for piece in pieces(text) {
            let mut shared = self.lock();
            shared.spoke_at.get_or_insert_with(Instant::now);
            shared.write::<()>(&Delta::Content(piece));
        }
    }

    /// From now on our own words are in this language.
    pub fn speak(&self, language: Language) {
        self.lock().language = language;
    }

    /// The language of our own words.
    pub fn language(&self) -> Language {
        self.lock().language
    }

    /// When the answer's text began.
    pub fn spoke_at(&self) -> Option<Instant> {
        self.lock().spoke_at
    }

    /// Appends like [`AnswerSink::text`], as fast as the reader takes it.
    pub async fn stream(&self, text: &str) {
        for piece in pieces(text) {
            self.ready().await;
            self.text(piece);
        }
    }

    /// Opens a stage, below another one if `parent` is given. It closes once: by [`Stage::close`], or as failed when dropped.
    pub fn open_stage(&self, name: Option<&str>, parent: Option<u32>) -> Stage {
        let mut shared = self.lock();
        let index = u32::try_from(shared.stages.len()).unwrap_or(u32::MAX);
        shared.stages.push(StageEntry {
            attachments: 0,
            open: true,
        });
        shared.stage(StageDelta {
            index,
            name: Some(name),
            parent_stage_index: parent,
            ..StageDelta::default()
        });
        drop(shared);
        Stage {
            sink: self.clone(),
            index,
        }
    }

    /// A stage that nobody sees: whatever is written to it is nothing on the wire.
    pub fn hidden_stage(&self) -> Stage {
        Stage {
            sink: self.clone(),
            index: u32::MAX,
        }
    }

    /// Adds an attachment to the answer.
    pub fn attach(&self, attachment: &Attachment) {
        let mut shared = self.lock();
        let index = shared.attachments;
        shared.attachments += 1;
        shared.write::<()>(&Delta::CustomContent(CustomContent::Attachments([
            IndexedAttachment { index, attachment },
        ])));
    }

    /// The state of the message, whole. Later calls change nothing: clients would merge two states into garbage.
    pub fn state<S: Serialize>(&self, state: &S) {
        let mut shared = self.lock();
        if !shared.state {
            shared.state = true;
            shared.write(&Delta::CustomContent(CustomContent::State(state)));
        }
    }

    /// Buttons below the answer. There is one form at most: false, and nothing else, for a second one, since clients would
    /// merge two into garbage.
    pub fn form<S: Serialize>(&self, schema: &S) -> bool {
        let mut shared = self.lock();
        let first = !std::mem::replace(&mut shared.form, true);
        if first {
            shared.write(&Delta::CustomContent(CustomContent::FormSchema(schema)));
        }
        first
    }

    /// Ends the answer well: finish reason and usage, then the end mark.
    pub fn finish(&self, reason: FinishReason, tally: &Tally) {
        let mut shared = self.lock();
        let Shared {
            writer, out, ended, ..
        } = &mut *shared;
        if !*ended {
            writer.finish(out, reason, tally.sum(), &tally.per_model());
            ChunkWriter::done(out);
            *ended = true;
        }
    }

    /// Ends the answer badly: the error event, then the end mark. Open stages are closed as failed first.
    pub fn fail(&self, failure: &Failure) {
        let mut shared = self.lock();
        for index in 0..shared.stages.len() {
            shared.close(index, StageStatus::Failed);
        }
        if !shared.ended {
            let language = shared.language;
            ChunkWriter::error(&mut shared.out, failure, language);
            ChunkWriter::done(&mut shared.out);
            shared.ended = true;
        }
    }

    /// Waits while the reader is far behind.
    pub async fn ready(&self) {
        std::future::poll_fn(|context| {
            let mut shared = self.lock();
            if shared.reader.left || shared.out.len() < self.high_water {
                return Poll::Ready(());
            }
            shared.reader.behind = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Says that nobody reads any more.
    pub(super) fn leave(&self) {
        let reader = &mut self.lock().reader;
        reader.left = true;
        for waker in [reader.behind.take(), reader.leaving.take()] {
            waker.into_iter().for_each(Waker::wake);
        }
    }

    /// Waits until nobody reads any more.
    pub async fn left(&self) {
        std::future::poll_fn(|context| {
            let reader = &mut self.lock().reader;
            if reader.left {
                return Poll::Ready(());
            }
            reader.leaving = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Lets everything written so far leave before the turn goes on: one turn of the task to hand it out, one to send it.
    pub async fn flush(&self) {
        self.lock().urgent = true;
        for _ in 0..2 {
            tokio::task::yield_now().await;
        }
    }

    /// How much is unread, unless there is nothing or it must leave now.
    pub(super) fn can_wait(&self) -> Option<usize> {
        let shared = self.lock();
        (!shared.urgent && !shared.out.is_empty()).then_some(shared.out.len())
    }

    /// Everything written since the last call.
    pub fn take(&self) -> Bytes {
        let mut shared = self.lock();
        shared.urgent = false;
        let bytes = shared.out.split().freeze();
        if let Some(waker) = shared.reader.behind.take() {
            waker.wake();
        }
        bytes
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // A panic while writing leaves the buffer as it is; the grammar's flags are set before anything is written.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn write<S: Serialize>(&mut self, delta: &Delta<'_, S>) {
        if !self.ended {
            self.writer.delta(&mut self.out, delta);
        }
    }

    fn stage(&mut self, change: StageDelta<'_>) {
        self.write::<()>(&Delta::CustomContent(CustomContent::Stages([change])));
    }

    fn close(&mut self, index: usize, status: StageStatus) {
        let Some(entry) = self.stages.get_mut(index) else {
            return;
        };
        if std::mem::replace(&mut entry.open, false) {
            self.stage(StageDelta {
                index: u32::try_from(index).unwrap_or(u32::MAX),
                status: Some(status.as_str()),
                ..StageDelta::default()
            });
        }
    }
}

/// A text in pieces cut between characters; nothing for an empty one.
fn pieces(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let (piece, rest) = text.split_at(text.floor_char_boundary(PIECE));
        text = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

/// An open stage of the answer.
#[derive(Debug)]
pub struct Stage {
    sink: AnswerSink,
    index: u32,
}

impl Stage {
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Appends to the stage's name: names grow on the wire, they are never replaced.
    pub fn name(&self, more: &str) {
        self.change(StageDelta {
            name: Some(Some(more)),
            ..StageDelta::default()
        });
    }

    /// Appends to the stage's Markdown.
    pub fn text(&self, more: &str) {
        for piece in pieces(more) {
            self.change(StageDelta {
                content: Some(piece),
                ..StageDelta::default()
            });
        }
    }

    /// Appends words of our own.
    pub fn say(&self, words: impl Into<Phrase>) {
        self.text(&words.into().told(self.sink.language()));
    }

    /// Appends like [`Stage::text`], as fast as the reader takes it.
    pub async fn stream(&self, more: &str) {
        for piece in pieces(more) {
            self.sink.ready().await;
            self.text(piece);
        }
    }

    pub fn attach(&self, attachment: &Attachment) {
        let mut shared = self.sink.lock();
        let Some(entry) = shared.entry(self.index) else {
            return;
        };
        let index = entry.attachments;
        entry.attachments += 1;
        shared.stage(StageDelta {
            index: self.index,
            attachments: Some([IndexedAttachment { index, attachment }]),
            ..StageDelta::default()
        });
    }

    /// Closes the stage; a second close changes nothing.
    pub fn close(&self, status: StageStatus) {
        self.sink.lock().close(self.index as usize, status);
    }

    fn change(&self, change: StageDelta<'_>) {
        let mut shared = self.sink.lock();
        if shared.entry(self.index).is_some() {
            shared.stage(StageDelta {
                index: self.index,
                ..change
            });
        }
    }
}

impl Shared {
    /// The stage, if it is still open. What comes for a closed one has no place on the wire.
    fn entry(&mut self, index: u32) -> Option<&mut StageEntry> {
        self.stages
            .get_mut(index as usize)
            .filter(|entry| entry.open)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.close(StageStatus::Failed);
    }
}
