//! The chat function's start under Lambda's Runtime API: until it asks for its first event, and its first turns.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sandbox::runtime_api::{Answer, FunctionUrlEvent, RuntimeApi};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::Failed;
use crate::process::Program;
use crate::scene::{Options, Scene};
use crate::section::Section;
use crate::spread::{MEDIAN, P90, Spread, heading};
use crate::turn::{Question, ROUTE, Turns};

const PERCENTILES: [(&str, usize); 2] = [MEDIAN, P90];
/// No start and no turn takes longer.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a line of the log may take to be heard.
const HEARING: Duration = Duration::from_millis(200);
/// As the template allows.
const TIMEOUT: Duration = Duration::from_mins(15);
const DAY: f64 = 86_400.0;

/// All starts.
#[derive(Default)]
struct Starts {
    /// From the start of the process until its first poll.
    first_poll: Spread,
    /// Its parts, in their order.
    main: Spread,
    settings: Spread,
    app: Spread,
    poll: Spread,
    rss: Spread,
    /// From the event to the first byte of the body, and to its end, for the first event and for the second.
    turns: [(Spread, Spread); 2],
    rss_after: Spread,
}

/// A start, for its parts: when it began by the clock on the wall, and what the function's log says.
struct Log {
    begun: f64,
    composed: Arc<Mutex<Option<Value>>>,
}

/// A function that has just started.
struct Function {
    api: RuntimeApi,
    program: Program,
    first_poll: Duration,
    log: Log,
}

/// So many starts as on Lambda, which are ended at their first poll, and as many with two turns.
pub async fn run(options: &Options, starts: usize) -> Result<Section, Failed> {
    let chat = options.program("chat")?;
    let scene = Scene::start(options).await?;
    let turns = Turns::of(options.owners);
    let mut all = Starts::default();
    for _ in 0..starts {
        let function = Function::start(&chat, on_lambda(&scene)).await?;
        all.rss.add_kib(function.program.memory_kib("VmRSS")?);
        all.first_poll.add(function.first_poll);
        if let Some([main, settings, app, poll]) = function.parts().await {
            all.main.add(main);
            all.settings.add(settings);
            all.app.add(app);
            all.poll.add(poll);
        }
    }
    for _ in 0..starts {
        let function = Function::start(&chat, scene.environment()).await?;
        for (first_byte, whole) in &mut all.turns {
            let answer = function.answer(&turns).await?;
            let begun = answer.chunks.first().ok_or("an answer without a body")?;
            first_byte.add(begun.at - answer.taken_at);
            whole.add(answer.ended_at - answer.taken_at);
        }
        all.rss_after.add_kib(function.program.memory_kib("VmRSS")?);
    }
    Ok(all.section(&options.profile()?))
}

/// What Lambda gives a function whose models and agents are behind DIAL Core. Before the first event the table alone is
/// asked, for the version of the registry, and is near: on AWS the way to it is to be added. Nothing else need exist.
fn on_lambda(scene: &Scene) -> Vec<(&'static str, String)> {
    let elsewhere = ["DIAL_URL", "OPENAI_BASE_URL"];
    let mut environment = scene.environment();
    environment.retain(|(name, _)| !elsewhere.contains(name));
    let more = [
        ("DIAL_URL", "https://dial.example.com"),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_SESSION_TOKEN", "token"),
    ];
    environment.extend(more.map(|(name, value)| (name, value.to_owned())));
    environment
}

impl Function {
    async fn start(
        chat: &Path,
        mut environment: Vec<(&'static str, String)>,
    ) -> Result<Self, Failed> {
        let api = RuntimeApi::start().await?;
        environment.retain(|(name, _)| *name != "MAS_LOG");
        let more = [
            // The function tells the parts of its start at level debug.
            ("MAS_LOG", "warn,chat=debug"),
            ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
            ("AWS_LAMBDA_FUNCTION_NAME", "chat"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
        ];
        environment.extend(more.map(|(name, value)| (name, value.to_owned())));
        environment.push(("AWS_LAMBDA_RUNTIME_API", api.address()));
        let composed = Arc::new(Mutex::new(None));
        let heard = Arc::clone(&composed);
        let begun = time_of_day();
        let program = Program::start(chat, &[], &environment, move |line| {
            let line: Option<Value> = serde_json::from_str(line).ok();
            if let Some(line) = line.filter(|line| line.get("start.app_ms").is_some()) {
                *heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(line);
            }
        })?;
        let polled_at = timeout(PATIENCE, api.first_poll());
        let polled_at: Instant = polled_at.await.map_err(|_| "the function did not start")?;
        Ok(Self {
            api,
            first_poll: polled_at - program.started_at,
            program,
            log: Log { begun, composed },
        })
    }

    async fn answer(&self, turns: &Turns) -> Result<Answer, Failed> {
        let number = turns.number();
        let body = turns.body(Question::Plain).to_owned();
        let mut event = FunctionUrlEvent::post(ROUTE, body);
        for (name, value) in turns.headers(number) {
            event = event.header(name, &value);
        }
        let answer = timeout(PATIENCE, self.api.invoke(event, TIMEOUT).finish()).await??;
        if answer.text().ends_with("data: [DONE]\n\n") {
            Ok(answer)
        } else {
            Err(format!("the function answered {}", answer.text()).into())
        }
    }

    /// Until its main function began, until settings were read and the log started, until the application was
    /// composed, and until the first poll. None of a function that does not tell.
    async fn parts(&self) -> Option<[Duration; 4]> {
        let line = timeout(HEARING, self.log.line()).await.ok()?;
        let seconds = |name: &str| Some(line.get(name)?.as_f64()? / 1e3);
        let settings = seconds("start.settings_ms")?;
        let app = seconds("start.app_ms")?;
        let told = clock(line.get("timestamp")?.as_str()?)?;
        let composed = (told - self.log.begun).rem_euclid(DAY);
        let parts = [
            composed - settings - app,
            settings,
            app,
            self.first_poll.as_secs_f64() - composed,
        ];
        Some(parts.map(|part| Duration::try_from_secs_f64(part).unwrap_or_default()))
    }
}

impl Log {
    /// What the function says when it is composed. That is written before the first poll, but may be heard after it.
    async fn line(&self) -> Value {
        loop {
            let heard = self.composed.lock();
            let heard = heard.unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(line) = heard {
                return line;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Starts {
    fn rows(&self) -> [(&'static str, &'static str, &Spread); 9] {
        let [(first_byte, first), (second_byte, second)] = &self.turns;
        [
            (
                "first_poll_us",
                "process start to first poll",
                &self.first_poll,
            ),
            ("main_us", "  until main", &self.main),
            (
                "settings_us",
                "  settings read, log started",
                &self.settings,
            ),
            ("app_us", "  application composed", &self.app),
            ("poll_us", "  until the poll", &self.poll),
            (
                "first_event_first_byte_us",
                "first event to first byte",
                first_byte,
            ),
            ("first_event_us", "first event to end", first),
            (
                "second_event_first_byte_us",
                "second event to first byte",
                second_byte,
            ),
            ("second_event_us", "second event to end", second),
        ]
    }

    fn section(&self, profile: &str) -> Section {
        let mut section = Section::default();
        section.say(&format!(
            "chat function, {} starts (microseconds)\n{}",
            self.first_poll.count(),
            heading(&PERCENTILES)
        ));
        let mut json = json!({
            "starts": self.first_poll.count(),
            "rss_kib": self.rss.at(MEDIAN),
            "rss_kib_after_two_turns": self.rss_after.at(MEDIAN),
        });
        for (key, label, spread) in self.rows() {
            if spread.count() > 0 {
                section.text += &spread.row(label, &PERCENTILES);
                if let Some(json) = json.as_object_mut() {
                    json.insert(key.into(), spread.json(&PERCENTILES));
                }
            }
        }
        let (before, after) = (self.rss.at(MEDIAN), self.rss_after.at(MEDIAN));
        section.say(&format!(
            "  memory: {:.1} MiB at the first poll, {:.1} MiB after two turns\n",
            before / 1024.0,
            after / 1024.0
        ));
        section.figure(format!("{profile}.chat_rss_kib"), before);
        section.figure(format!("{profile}.chat_rss_kib_after_two_turns"), after);
        section.put("chat_function", json);
        section
    }
}

/// Seconds since midnight, UTC.
#[expect(
    clippy::disallowed_methods,
    reason = "the log of another process tells times of the wall clock alone"
)]
fn time_of_day() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64() % DAY
}

/// The same of a time such as `2026-11-20T17:04:05.123456Z`.
fn clock(timestamp: &str) -> Option<f64> {
    let (_, time) = timestamp.trim_end_matches('Z').split_once('T')?;
    let mut seconds = 0.0;
    for part in time.split(':') {
        seconds = seconds * 60.0 + part.parse::<f64>().ok()?;
    }
    Some(seconds)
}
