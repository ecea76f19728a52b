//! Whatever agents do with their stages: what our answer says of it keeps the grammar.

use std::time::Duration;

use bolero::TypeGenerator;
use serde_json::{Value, json};

use coordinator::dial::chunk::FinishReason;
use coordinator::dial::delta::Chunk;
use coordinator::dial::fold::{Folded, fold};
use coordinator::domain::event::{AgentEvent, StageChange, StageStatus};
use coordinator::domain::failure::Failure;
use coordinator::domain::ids::AgentId;
use coordinator::domain::message::Attachment;
use coordinator::domain::rules::Caps;
use coordinator::domain::usage::Tally;
use coordinator::stream::{AnswerSink, Mirror, Nesting, Stage};

use crate::checker::{check, check_block};

/// One thing that happens while two agents work.
#[derive(Clone, Debug, TypeGenerator)]
struct Step {
    second: bool,
    what: What,
}

#[derive(Clone, Debug, TypeGenerator)]
enum What {
    /// A change as a gateway hands it on: any field, for any stage, open, closed or never opened.
    Change(Change),
    /// A chunk as an agent sends it, with whatever stands where a value should.
    Chunk(Box<OddStage>),
    Text(Text),
    Attachment(File),
    State,
    /// Everything so far is read: what follows is written into an empty buffer.
    Read,
    Close(bool),
}

#[derive(Clone, Debug, TypeGenerator)]
struct Change {
    stage: Index,
    name: Option<Text>,
    content: Option<Text>,
    files: Option<File>,
    status: Option<bool>,
    parent: Option<Index>,
}

#[derive(Clone, Copy, Debug, TypeGenerator)]
enum Index {
    Small(bool),
    Third,
    Last,
    Any(u32),
}

#[derive(Clone, Debug, TypeGenerator)]
enum Text {
    Empty,
    Plain,
    /// Line ends, quotes, characters of every width, what looks like our own events.
    Hostile,
    Any(String),
    /// More than goes into one chunk, in one of sixteen.
    Long(u8),
}

#[derive(Clone, Debug, TypeGenerator)]
struct File {
    data: Option<Text>,
    url: Option<bool>,
    title: Option<Text>,
}

#[derive(Clone, Debug, TypeGenerator)]
struct OddStage {
    index: Odd,
    name: Odd,
    content: Odd,
    status: Odd,
    parent: Odd,
    attachments: Odd,
}

#[derive(Clone, Debug, TypeGenerator)]
enum Odd {
    Absent,
    Null,
    Number(i8),
    Fraction,
    Text(Text),
    Completed,
    Failed,
    List,
    Files(File),
    Object,
}

impl Index {
    fn number(self) -> u32 {
        match self {
            Self::Small(one) => u32::from(one),
            Self::Third => 2,
            Self::Last => u32::MAX,
            Self::Any(number) => number,
        }
    }
}

impl Text {
    fn text(&self) -> String {
        match self {
            Self::Empty => String::new(),
            Self::Plain => "some text".into(),
            Self::Hostile => "\"\r\n\n{\u{2600}\u{1f600}\u{0}\u{2028}\ndata: [DONE]\n\n".into(),
            Self::Any(text) => text.clone(),
            Self::Long(16..) => "x".into(),
            Self::Long(_) => "\u{421}x".repeat(12_000),
        }
    }
}

impl File {
    /// As gateways hand attachments on: tidied, so that one of data and url is there.
    fn attachment(&self) -> Option<Attachment> {
        Attachment {
            data: self.data.as_ref().map(Text::text),
            url: self.url.map(|file| {
                if file {
                    "files/a".into()
                } else {
                    String::new()
                }
            }),
            title: self.title.as_ref().map(Text::text),
            ..Attachment::default()
        }
        .tidied()
    }
}

impl Odd {
    fn value(&self) -> Option<Value> {
        Some(match self {
            Self::Absent => return None,
            Self::Null => Value::Null,
            Self::Number(number) => json!(number),
            Self::Fraction => json!(1.5),
            Self::Text(text) => json!(text.text()),
            Self::Completed => json!("completed"),
            Self::Failed => json!("failed"),
            Self::List => json!([1, null, "x"]),
            Self::Files(file) => json!([{"index": 7, "data": file.data.as_ref().map(Text::text),
                "url": file.url, "title": file.title.as_ref().map(Text::text)}, null]),
            Self::Object => json!({"index": 0}),
        })
    }
}

impl OddStage {
    fn chunk(&self) -> String {
        let fields = [
            ("index", &self.index),
            ("name", &self.name),
            ("content", &self.content),
            ("status", &self.status),
            ("parent_stage_index", &self.parent),
            ("attachments", &self.attachments),
        ];
        let stage: Value = fields
            .into_iter()
            .filter_map(|(name, odd)| Some((name.to_owned(), odd.value()?)))
            .collect::<serde_json::Map<_, _>>()
            .into();
        json!({"choices": [{"index": 0, "delta": {"custom_content": {"stages": [stage]}}}]})
            .to_string()
    }
}

/// Two agents at work on one answer.
struct Work {
    sink: AnswerSink,
    tops: [Stage; 2],
    mirrors: [Mirror; 2],
    written: Vec<u8>,
}

impl Work {
    fn begun(nesting: Nesting) -> Self {
        let sink = AnswerSink::new("x", 1, "m");
        sink.begin();
        let tops = ["One", "Two"].map(|name| sink.open_stage(Some(name), None));
        let mirrors = tops
            .each_ref()
            .map(|top| Mirror::new(&sink, &AgentId::new("A"), top, nesting, Caps::default()));
        Self {
            sink,
            tops,
            mirrors,
            written: Vec::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        let mirror = &mut self.mirrors[usize::from(step.second)];
        match &step.what {
            What::Change(change) => mirror.apply(
                change.stage.number(),
                &StageChange {
                    name: change.name.as_ref().map(Text::text),
                    content: change.content.as_ref().map(Text::text),
                    attachments: change.files.iter().filter_map(File::attachment).collect(),
                    status: change.status.map(status),
                    parent: change.parent.map(Index::number),
                },
            ),
            What::Chunk(stage) => Chunk::read(&stage.chunk()).unwrap().into_events(|event| {
                if let AgentEvent::Stage { index, change } = event {
                    mirror.apply(index, &change);
                }
            }),
            What::Text(text) => self.sink.text(&text.text()),
            What::Attachment(file) => {
                if let Some(attachment) = file.attachment() {
                    self.sink.attach(&attachment);
                }
            }
            What::State => self.sink.state(&json!({"v": 1})),
            What::Read => self.written.extend_from_slice(&self.sink.take()),
            What::Close(well) => mirror.close(status(*well)),
        }
    }

    /// The whole stream, ended well, by a failure, or by a failure after the agents' stages were dropped.
    fn ended(mut self, well: bool, dropped: bool) -> Vec<u8> {
        if well || dropped {
            drop((self.mirrors, self.tops));
        } else {
            self.sink.fail(&Failure::internal("r"));
            drop((self.mirrors, self.tops));
        }
        if well {
            self.sink.finish(FinishReason::Stop, &Tally::default());
        } else {
            self.sink.fail(&Failure::internal("r"));
        }
        self.written.extend_from_slice(&self.sink.take());
        self.written
    }
}

fn status(well: bool) -> StageStatus {
    if well {
        StageStatus::Completed
    } else {
        StageStatus::Failed
    }
}

#[test]
fn any_stages_of_any_agents_make_a_stream_that_keeps_the_grammar() {
    bolero::check!()
        .with_type::<(Vec<Step>, bool, bool, bool)>()
        .with_iterations(1000)
        .with_test_time(Duration::from_secs(1))
        .for_each(|(steps, nested, well, dropped)| {
            let mut work = Work::begun(if *nested {
                Nesting::Nested
            } else {
                Nesting::Flat
            });
            for step in steps {
                work.step(step);
            }
            let stream = work.ended(*well, *dropped);
            let checked = check(&stream).unwrap_or_else(|breach| panic!("{breach}"));
            assert_eq!(checked.error.is_none(), *well);
            match fold(&stream) {
                Folded::Answer(answer) => assert_eq!(check_block(200, &answer), Ok(())),
                Folded::Error(error) => {
                    assert_eq!(check_block(500, &json!({"error": error})), Ok(()))
                }
                Folded::Broken => panic!("the stream cannot be folded"),
            }
        });
}
