//! A whole coordinator in the test process: the real routes over real HTTP, an embedded table, upstreams as told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use coordinator::dial::fold::{Folded, fold};
use coordinator::domain::ids::Clock;
use coordinator::guard::Guard;
use coordinator::http::{self, App};
use coordinator::metrics::Metrics;
use coordinator::settings::Env;
use coordinator::store;
use dynoxide::Database;
use sandbox::faults::{Fault, Faulty};
use sandbox::stub::{Reply, Seen, Stub};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::checker::{self, Checked};
use crate::compose;

pub const KEYS: &str = "k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

type Answering = Box<dyn Fn(&Seen) -> Reply + Send + Sync>;

/// What the upstreams answer, and what the settings are.
pub struct Plan {
    model: Answering,
    gpa: Answering,
    ums: Answering,
    env: Vec<(String, String)>,
    faulty: Option<(Place, Fault)>,
}

/// Where a faulty server can stand: before one of the upstreams, or before the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Model,
    Gpa,
    Ums,
    Table,
}

/// A coordinator and everything around it.
pub struct World {
    pub url: String,
    pub app: Arc<App>,
    /// Where the table is.
    pub table: String,
    pub model: Stub,
    pub gpa: Stub,
    pub ums: Stub,
    pub faulty: Option<Faulty>,
    client: reqwest::Client,
    servers: Vec<JoinHandle<()>>,
}

impl Drop for World {
    fn drop(&mut self) {
        for server in &self.servers {
            server.abort();
        }
        if std::thread::panicking() {
            return;
        }
        // The servers run on other threads and notice closed connections soon.
        let patience = Instant::now() + Duration::from_secs(5);
        while self.running() > 0 {
            assert!(
                Instant::now() < patience,
                "{} upstream calls are still running",
                self.running()
            );
            std::thread::yield_now();
        }
    }
}

/// Upstreams that do their work: the model routes to `agent` and answers with three words.
pub fn plan(agent: &str) -> Plan {
    let agent = agent.to_owned();
    Plan {
        model: Box::new(move |seen| model(seen, &agent)),
        gpa: Box::new(|_| says("Done: all good.")),
        ums: Box::new(ums),
        env: Vec::new(),
        faulty: None,
    }
}

impl Plan {
    pub fn model(mut self, answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        self.model = Box::new(answer);
        self
    }

    pub fn gpa(mut self, answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        self.gpa = Box::new(answer);
        self
    }

    pub fn ums(mut self, answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        self.ums = Box::new(answer);
        self
    }

    /// Sets a variable; `{gpa}`, `{ums}`, `{model}` stand for the upstreams' addresses.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Puts a server there that can be armed with this fault, at the address where the fault is met.
    pub fn faulty(mut self, place: Place, fault: Fault) -> Self {
        self.faulty = Some((place, fault));
        self
    }

    pub async fn start(self) -> World {
        // The test's own client wants a provider; the second world finds it there.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let model = Stub::start(self.model).await.unwrap();
        let gpa = Stub::start(self.gpa).await.unwrap();
        let ums = Stub::start(self.ums).await.unwrap();
        let mut env = Env::default();
        for (name, value) in &self.env {
            let value = (value.replace("{gpa}", &gpa.url()))
                .replace("{ums}", &ums.url())
                .replace("{model}", &model.url());
            env.or(name, &value);
        }
        let mut servers = Vec::new();
        let mut faulty = None;
        let mut before = async |place, healthy: String| match self.faulty {
            Some((there, fault)) if there == place => {
                let faulty = faulty.insert(Faulty::before(&healthy).await.unwrap());
                faulty.url_of(fault)
            }
            _ => healthy,
        };
        if env.get("AWS_ENDPOINT_URL_DYNAMODB").is_none() {
            let (endpoint, server) = table().await;
            let endpoint = before(Place::Table, endpoint).await;
            env.or("AWS_ENDPOINT_URL_DYNAMODB", &endpoint);
            servers.push(server);
        }
        if env.get("DIAL_URL").is_none() {
            env.or("OPENAI_BASE_URL", &before(Place::Model, model.url()).await);
            let gpa = before(Place::Gpa, gpa.url()).await;
            env.or("GPA_AGENT_ENDPOINT", &format!("{gpa}/gpa"));
            env.or("GPA_API_KEY", "gpa-key");
            env.or("MAS_AUTH", "none");
        }
        env.or("UMS_AGENT_ENDPOINT", &before(Place::Ums, ums.url()).await);
        env.or("MAS_STATE_KEYS", KEYS);
        // Each turn of a test asks the model, unless the test is about not asking it.
        env.or("MAS_ROUTING", "cache=off,guess=off");
        env.or("MAS_PRIVATE_NETWORKS", "loopback");
        // The machine that runs the tests may be busy.
        env.or("MAS_STORE_TIMEOUT", "5s");
        env.or("MAS_SAVE_TIMEOUT", "10s");
        let settings = compose::settings(env).await.unwrap();
        let app = compose::app(&settings, Metrics::kept()).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let routed = Arc::clone(&app);
        servers.push(tokio::spawn(async move {
            axum::serve(listener, http::routes(routed)).await.unwrap();
        }));
        World {
            url,
            app,
            table: settings.dynamodb_endpoint.unwrap_or_default(),
            model,
            gpa,
            ums,
            faulty,
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            servers,
        }
    }
}

/// An embedded table, created.
pub async fn table() -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let database = Database::memory().unwrap();
    let server = tokio::spawn(async move {
        let _ =
            dynoxide::server::serve_with_shutdown(listener, database, std::future::pending()).await;
    });
    store::create(&store::connect("mas", Some(&endpoint)).await)
        .await
        .unwrap();
    (endpoint, server)
}

/// Our name of a conversation that a client names so.
pub fn conversation_of(client: &str) -> String {
    coordinator::context::client_conversation(client)
        .as_str()
        .to_owned()
}

/// Asks the emulator something, in its own words.
pub async fn raw(endpoint: &str, operation: &str, body: Value) -> Value {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let credential = "AWS4-HMAC-SHA256 Credential=local/20260101/local/dynamodb/aws4_request, \
                      SignedHeaders=host, Signature=0";
    let request = client
        .post(endpoint)
        .header("x-amz-target", format!("DynamoDB_20120810.{operation}"))
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amz-date", "20260101T000000Z")
        .header("authorization", credential)
        .body(body.to_string());
    let response = request.send().await.unwrap();
    let status = response.status();
    let text = response.text().await.unwrap();
    assert!(status.is_success(), "{operation}: {status} {text}");
    serde_json::from_str(&text).unwrap()
}

/// Every item of the table.
pub async fn items(endpoint: &str) -> Vec<Value> {
    let mut found = Vec::new();
    let mut body = json!({"TableName": "mas"});
    loop {
        let page = raw(endpoint, "Scan", body.clone()).await;
        found.extend(page["Items"].as_array().cloned().unwrap_or_default());
        if page["LastEvaluatedKey"].is_null() {
            return found;
        }
        body["ExclusiveStartKey"] = page["LastEvaluatedKey"].clone();
    }
}

/// Breakers of one instance that reaches no table.
pub async fn guard() -> Arc<Guard> {
    let table = store::connect("mas", Some("http://127.0.0.1:9")).await;
    let shared = store::Breakers::of(&table);
    Arc::new(Guard::new(
        Default::default(),
        shared,
        Clock::new(http::clock),
        1,
    ))
}

/// One answer, checked against the grammar.
#[derive(Debug)]
pub struct Answer {
    pub checked: Checked,
    /// The merged message, or null after an error event.
    pub message: Value,
    pub whole: Value,
    pub raw: Vec<u8>,
}

impl Answer {
    pub fn of(raw: Vec<u8>) -> Self {
        let checked = checker::check(&raw)
            .unwrap_or_else(|breach| panic!("{breach}\n\n{}", String::from_utf8_lossy(&raw)));
        let whole = match fold(&raw) {
            Folded::Answer(answer) => answer,
            Folded::Error(_) => Value::Null,
            Folded::Broken => panic!("the stream cannot be folded"),
        };
        Self {
            checked,
            message: whole["choices"][0]["message"].clone(),
            whole,
            raw,
        }
    }

    pub fn text(&self) -> &str {
        self.message["content"].as_str().unwrap_or_default()
    }

    /// The merged stages, also of an answer that ended in an error event.
    pub fn stages(&self) -> Vec<Value> {
        let mut stream: String = self
            .checked
            .chunks
            .iter()
            .map(|chunk| format!("data: {chunk}\n\n"))
            .collect();
        stream.push_str("data: [DONE]\n\n");
        let Folded::Answer(answer) = fold(stream.as_bytes()) else {
            panic!("a chunk is an error")
        };
        let stages = &answer["choices"][0]["message"]["custom_content"]["stages"];
        stages.as_array().cloned().unwrap_or_default()
    }

    /// The stage of this name or beginning.
    pub fn stage(&self, name: &str) -> Value {
        let stages = self.stages();
        let found = stages.iter().find(|stage| {
            stage["name"]
                .as_str()
                .is_some_and(|full| full.starts_with(name))
        });
        found
            .unwrap_or_else(|| panic!("no stage {name} in {stages:#?}"))
            .clone()
    }

    /// The state as the client keeps it, also after an error event.
    pub fn state(&self) -> Value {
        let mut states = self
            .checked
            .chunks
            .iter()
            .map(|chunk| &chunk["choices"][0]["delta"]["custom_content"]["state"]);
        states
            .rfind(|state| state.is_object())
            .cloned()
            .unwrap_or_default()
    }

    pub fn error_code(&self) -> &str {
        self.checked
            .error
            .as_ref()
            .map_or("", |error| error["code"].as_str().unwrap_or_default())
    }
}

/// A message of the user.
pub fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

/// An answer as DIAL Chat sends it back: text and state, nothing else.
pub fn echoed(answer: &Answer) -> Value {
    json!({"role": "assistant", "content": answer.text(), "custom_content": {"state": answer.state()}})
}

impl World {
    pub fn running(&self) -> usize {
        let faulty = self.faulty.as_ref().map_or(0, Faulty::in_flight);
        self.model.in_flight() + self.gpa.in_flight() + self.ums.in_flight() + faulty
    }

    /// A request, to be changed before it is sent.
    pub fn post(&self, body: &Value) -> reqwest::RequestBuilder {
        self.post_in("conv-1", body)
    }

    /// A request of another conversation of the client's.
    pub fn post_in(&self, conversation: &str, body: &Value) -> reqwest::RequestBuilder {
        self.client
            .post(format!(
                "{}/openai/deployments/mas-coordinator/chat/completions",
                self.url
            ))
            .header("api-key", "key-1")
            .header("x-conversation-id", conversation)
            .header("content-type", "application/json")
            .body(body.to_string())
    }

    pub fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.get(format!("{}{path}", self.url))
    }

    /// What was counted so far.
    pub async fn metrics(&self) -> String {
        let response = self.get("/metrics").send().await.unwrap();
        response.text().await.unwrap()
    }

    pub fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// A streamed turn.
    pub async fn ask(&self, messages: &[Value]) -> Answer {
        let request = self.post(&json!({"messages": messages, "stream": true}));
        Self::answer(request).await
    }

    pub async fn answer(request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(
            response.headers()["content-type"],
            "text/event-stream; charset=utf-8"
        );
        Answer::of(response.bytes().await.unwrap().to_vec())
    }

    /// A streamed turn that must have gone well.
    pub async fn well(&self, messages: &[Value]) -> Answer {
        let answer = self.ask(messages).await;
        assert_eq!(answer.checked.error, None);
        answer
    }

    /// A block turn: status and body.
    pub async fn block(&self, messages: &[Value]) -> (u16, Value) {
        let response = self
            .post(&json!({"messages": messages}))
            .send()
            .await
            .unwrap();
        let status = response.status().as_u16();
        assert!(
            !matches!(status, 429 | 502 | 504),
            "{status} would shut the application in DIAL Core"
        );
        let body = response.json().await.unwrap();
        if let Err(breach) = checker::check_block(status, &body) {
            panic!("{breach}\n\n{body:#}");
        }
        (status, body)
    }

    /// What an upstream was asked in its chat calls, bodies parsed.
    pub fn asked(stub: &Stub) -> Vec<Value> {
        stub.seen()
            .iter()
            .filter(|seen| seen.method == "POST")
            .map(Seen::json)
            .collect()
    }
}

/// A model that routes to one agent, and answers `Final answer.` otherwise.
pub fn model(seen: &Seen, agent: &str) -> Reply {
    if seen.json()["response_format"].is_object() {
        return routes(agent, Value::Null);
    }
    let piece = |text: &str| json!({"choices": [{"index": 0, "delta": {"content": text}}]});
    Reply::sse()
        .data(piece("Final"))
        .data(piece(" answer"))
        .data(piece("."))
        .data(json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
        .data(json!({"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13}}))
        .done()
}

/// A routing answer.
pub fn routes(agent: &str, instructions: Value) -> Reply {
    let decision = json!({"agent_name": agent, "additional_instructions": instructions, "confidence": 0.9,
                          "reason": "it fits"});
    decides(&decision.to_string())
}

/// A routing answer with this very text.
pub fn decides(text: &str) -> Reply {
    Reply::json(
        200,
        json!({"choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
               "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}}),
    )
}

/// A chunk of a DIAL application.
pub fn delta(delta: Value) -> Value {
    json!({"choices": [{"index": 0, "finish_reason": null, "delta": delta}], "usage": null, "id": "a",
           "created": 1, "object": "chat.completion.chunk"})
}

pub fn finish() -> Value {
    json!({"choices": [{"index": 0, "finish_reason": "stop", "delta": {}}], "usage": null, "id": "a",
           "created": 1, "object": "chat.completion.chunk"})
}

/// A DIAL application that says one thing.
pub fn says(text: &str) -> Reply {
    Reply::sse()
        .data(delta(json!({"role": "assistant"})))
        .data(delta(json!({"content": text})))
        .data(finish())
        .done()
}

/// The UMS with one conversation after another, answering with the captured words.
pub fn ums(seen: &Seen) -> Reply {
    match (seen.method.as_str(), seen.path.as_str()) {
        ("GET", "/health") => Reply::sample("ums/health.http"),
        ("POST", "/conversations") => Reply::sample("ums/create.http"),
        ("POST", path) if path.ends_with("/chat") => Reply::sample("ums/chat.stream.http"),
        _ => Reply::sample("ums/get-unknown.http"),
    }
}
