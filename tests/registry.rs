//! Stories of the registry: agents that change while turns are served, wherever they are written down.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use coordinator::store;
use sandbox::stub::{Reply, Seen, Stub};
use serde_json::{Value, json};

use crate::audit::entries;
use crate::discovery::Sayer;
use crate::world::{Answer, Plan, World, plan, says, user};

/// A document with GPA, UMS and such further agents, all of them answered by GPA's stand-in.
fn document(more: &[&str]) -> String {
    let mut text = "default: GPA\nagents:\n- {name: GPA, endpoint: '${GPA_AGENT_ENDPOINT}', key: '${GPA_API_KEY:-}', \
                    description: Anything, effect: none}\n"
        .to_owned();
    for name in more {
        text += &format!(
            "- {{name: {name}, endpoint: '${{AGENT_HERE}}/{name}', description: About {name}}}\n"
        );
    }
    text
}

/// A world whose document is a file.
struct Filed {
    world: World,
    file: std::path::PathBuf,
}

impl Drop for Filed {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

impl Filed {
    async fn start(plan: Plan, text: &str) -> Self {
        static FILES: AtomicUsize = AtomicUsize::new(0);
        let number = FILES.fetch_add(1, Ordering::Relaxed);
        let file = std::env::temp_dir().join(format!("mas-agents-{}-{number}", std::process::id()));
        std::fs::write(&file, text).unwrap();
        let plan = plan
            .set("MAS_AGENTS", &file.to_string_lossy())
            .set("MAS_AGENTS_REFRESH", "1ms")
            .set("AGENT_HERE", "{gpa}");
        let world = plan.start().await;
        Self { world, file }
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.file, text).unwrap();
    }
}

pub async fn health(world: &World) -> Value {
    let response = world.get("/health").send().await.unwrap();
    response.json().await.unwrap()
}

/// Takes turns until one of them is answered as expected.
async fn until(world: &World, text: &str, path: &str) {
    let patience = Instant::now() + Duration::from_secs(20);
    loop {
        world.well(&[user(text)]).await;
        if world.gpa.seen().last().unwrap().path.starts_with(path) {
            return;
        }
        assert!(Instant::now() < patience, "nothing came to {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_added_to_the_file_answers_without_a_restart() {
    let filed = Filed::start(plan("GPA"), &document(&[])).await;
    let world = &filed.world;
    world.well(&[user("@HR my leave")]).await;
    assert!(
        world.gpa.seen()[0].path.starts_with("/gpa"),
        "nobody knows HR"
    );
    filed.write(&document(&["HR"]));
    until(world, "@HR my leave", "/HR").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_document_is_refused_and_the_old_one_serves() {
    let filed = Filed::start(plan("HR"), &document(&["HR"])).await;
    let (world, before) = (&filed.world, health(&filed.world).await);
    assert_eq!(before["registry"]["problem"], Value::Null);
    for broken in [
        "agents: [",
        "agents:\n- {name: HR}\n",
        &document(&["HR", "HR"]),
    ] {
        filed.write(broken);
        world.app.live.refresh(true).await;
        let now = health(world).await;
        assert_eq!(now["registry"]["version"], before["registry"]["version"]);
        let problem = now["registry"]["problem"].as_str().unwrap();
        assert!(problem.contains("is refused"), "{problem}");
        let ready: Value = world
            .get("/health/ready")
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        assert_eq!(ready["checks"][0]["name"], "registry", "{ready}");
    }
    world.well(&[user("my leave")]).await;
    assert!(world.gpa.seen().last().unwrap().path.starts_with("/HR"));
    filed.write(&document(&["HR"]));
    world.app.live.refresh(true).await;
    assert_eq!(health(world).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_under_way_ends_with_the_agents_it_began_with() {
    let (asked, waiting) = (Arc::new(AtomicUsize::new(0)), Duration::from_millis(300));
    let seen = Arc::clone(&asked);
    let slow = plan("HR").gpa(move |_| {
        seen.fetch_add(1, Ordering::SeqCst);
        says("Done: all good.").delay(waiting)
    });
    let filed = Filed::start(slow, &document(&["HR"])).await;
    let world = &filed.world;
    let change = async {
        while asked.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        filed.write(&document(&[]));
        world.app.live.refresh(true).await;
    };
    let question = [user("my leave")];
    let (answer, ()) = tokio::join!(world.well(&question), change);
    assert!(answer.stage("Call HR").is_object());
    assert!(world.app.coordinator().registry.get("HR").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_counted_and_learned_outlives_a_change_of_agents() {
    let plan = plan("GPA").set("MAS_ROUTING", "guess=off,check=off");
    let filed = Filed::start(plan, &document(&["HR"])).await;
    let world = &filed.world;
    world.well(&[user("words")]).await;
    let before = world.app.coordinator();
    let rewritten = format!("# a remark\n{}", document(&["HR", "IT"]));
    filed.write(&rewritten);
    world.app.live.refresh(true).await;
    let after = world.app.coordinator();
    assert!(!Arc::ptr_eq(&before, &after));
    assert!(Arc::ptr_eq(&before.guard, &after.guard));
    assert!(Arc::ptr_eq(&before.metrics, &after.metrics));
    world.well(&[user("words")]).await;
    assert!(
        world
            .metrics()
            .await
            .contains("mas_turns_total{outcome=\"answered\"} 2")
    );
    // What was decided for other agents is not used: the model was asked again, and once for each answer.
    assert_eq!(world.model.seen().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_hundred_agents_the_router_is_told_of_those_that_the_request_is_about() {
    let mut text = document(&[]);
    for number in 0..198 {
        text += &format!(
            "- {{name: Desk{number}, endpoint: '${{AGENT_HERE}}/desk', description: Looks after room {number} of the house.}}\n"
        );
    }
    text += "- {name: HR, endpoint: '${AGENT_HERE}/HR', effect: reversible, capabilities: \
             [{name: payroll, description: pays salaries, effect: none, examples: [Where is my payslip?]}]}\n";
    let world = plan("HR")
        .set("MAS_AGENTS", &text)
        .set("AGENT_HERE", "{gpa}")
        .start()
        .await;
    world
        .well(&[user("I cannot find the payslips of May")])
        .await;
    assert!(world.gpa.seen()[0].path.starts_with("/HR"));
    let asked = &World::asked(&world.model)[0];
    let schema = &asked["response_format"]["json_schema"]["schema"];
    let names = schema["properties"]["agent_name"]["enum"]
        .as_array()
        .unwrap();
    assert!(names.len() < 36, "{}", names.len());
    assert!(names.contains(&json!("HR")) && names.contains(&json!("GPA")));
    // What a capability may change is told where it is less than what its agent may.
    let prompt = asked["messages"][0]["content"].as_str().unwrap();
    assert!(
        prompt.contains("payroll (only reads; pays salaries"),
        "{prompt}"
    );
    let told = prompt.len() + asked["response_format"].to_string().len();
    assert!(told < 8 * 1024, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_decision_names_the_version_it_was_made_with() {
    let filed = Filed::start(plan("GPA"), &document(&[])).await;
    let world = &filed.world;
    let version = health(world).await["registry"]["version"].clone();
    world.well(&[user("one")]).await;
    filed.write(&document(&["HR"]));
    world.app.live.refresh(true).await;
    world.well(&[user("two")]).await;
    let later = health(world).await["registry"]["version"].clone();
    let entries = entries(&world.table).await;
    let versions: Vec<&Value> = entries.iter().map(|entry| &entry["registry"]).collect();
    assert_eq!(versions, [&version, &later]);
    assert!(version != later && version.as_str().unwrap().starts_with("0-"));
}

/// An S3 or a Systems Manager with one document, which can be changed or taken down.
#[derive(Clone, Default)]
struct Shelf {
    text: Arc<Mutex<Option<String>>>,
}

impl Shelf {
    fn put(&self, text: Option<&str>) {
        *self.text.lock().unwrap() = text.map(str::to_owned);
    }

    fn signed(seen: &Seen, service: &str) {
        let signature = seen.header("authorization").unwrap();
        assert!(
            signature.contains(&format!("/{service}/aws4_request")),
            "{signature}"
        );
    }

    fn object(&self, seen: &Seen) -> Reply {
        Self::signed(seen, "s3");
        assert_eq!(
            (seen.method.as_str(), seen.path.as_str()),
            ("GET", "/bucket/mas/agents.yaml")
        );
        let Some(text) = self.text.lock().unwrap().clone() else {
            return Reply::text(500, "<Error/>");
        };
        let tag = format!("\"{}\"", text.len());
        if seen.header("if-none-match") == Some(&tag) {
            return Reply::text(304, "");
        }
        Reply::raw(200, "application/yaml", text).header("etag", &tag)
    }

    fn parameter(&self, seen: &Seen) -> Reply {
        Self::signed(seen, "ssm");
        assert_eq!(seen.header("x-amz-target"), Some("AmazonSSM.GetParameter"));
        assert_eq!(
            seen.json(),
            json!({"Name": "/mas/agents", "WithDecryption": true})
        );
        match self.text.lock().unwrap().clone() {
            Some(text) => Reply::json(
                200,
                json!({"Parameter": {"Name": "/mas/agents", "Value": text, "Version": text.len()}}),
            ),
            None => Reply::json(500, json!({"__type": "InternalServerError"})),
        }
    }
}

fn far(place: &str, stub: &Stub) -> Plan {
    plan("HR")
        .set("MAS_AGENTS", place)
        .set("MAS_AGENTS_REFRESH", "1ms")
        .set("AWS_ENDPOINT_URL_S3", &stub.url())
        .set("AWS_ENDPOINT_URL_SSM", &stub.url())
        .set("AGENT_HERE", "{gpa}")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_may_be_an_object_or_a_parameter_of_aws() {
    for place in ["s3://bucket/mas/agents.yaml", "ssm:/mas/agents"] {
        let shelf = Shelf::default();
        shelf.put(Some(&document(&[])));
        let there = shelf.clone();
        let stub = Stub::start(move |seen| match seen.method.as_str() {
            "GET" => there.object(seen),
            _ => there.parameter(seen),
        });
        let stub = stub.await.unwrap();
        let world = far(place, &stub).start().await;
        let version = health(&world).await["registry"].clone();
        assert_eq!(version["problem"], Value::Null);
        assert!(world.app.coordinator().registry.get("UMS").is_none());
        // Nothing is new: nothing changes.
        world.app.live.refresh(true).await;
        assert_eq!(health(&world).await["registry"], version);
        shelf.put(Some(&document(&["HR"])));
        until(&world, "@HR my leave", "/HR").await;
        // What cannot be read any more stays in force.
        shelf.put(None);
        world.app.live.refresh(true).await;
        let problem = health(&world).await["registry"]["problem"].to_string();
        assert!(problem.contains(place), "{problem}");
        world.well(&[user("my leave")]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_while_the_place_is_down_takes_the_last_copy_or_what_is_built_in() {
    let shelf = Shelf::default();
    let there = shelf.clone();
    let stub = Stub::start(move |seen| there.object(seen)).await.unwrap();
    let place = "s3://bucket/mas/agents.yaml";
    // Nothing was ever read from there.
    let first = far(place, &stub).start().await;
    let problem = health(&first).await["registry"]["problem"].to_string();
    assert!(problem.contains("cannot be read"), "{problem}");
    assert!(first.app.coordinator().registry.get("UMS").is_some());
    shelf.put(Some(&document(&["HR"])));
    first.app.live.refresh(true).await;
    assert!(first.app.coordinator().registry.get("HR").is_some());
    assert_eq!(health(&first).await["registry"]["problem"], Value::Null);
    shelf.put(None);
    let second = far(place, &stub)
        .set("AWS_ENDPOINT_URL_DYNAMODB", &first.table)
        .start()
        .await;
    assert!(second.app.coordinator().registry.get("HR").is_some());
    let problem = health(&second).await["registry"]["problem"].to_string();
    assert!(problem.contains("cannot be read"), "{problem}");
    let copy = store::Entries::of(&store::connect("mas", Some(&first.table)).await);
    assert_eq!(copy.copy().await.unwrap().unwrap().from, place);
}

pub const ALICE: &str = "alice-0123456789-0123456789-0123456789";
pub const OPS: &str = "ops-0123456789-0123456789-0123456789ab";
pub const BOSS: &str = "boss-0123456789-0123456789-0123456789a";

/// A world of a user, an operator and an admin, whose model routes to what is in `agent`.
pub async fn staffed(agent: &'static str) -> World {
    let plan = plan(agent).set("MAS_AUTH", "secret").set(
        "MAS_AUTH_SECRETS",
        &format!("alice:{ALICE},ops/operator:{OPS},boss/admin:{BOSS}"),
    );
    let plan = plan
        .set("AGENT_HERE", "{gpa}")
        .set("AGENT_HR_KEY", "hr-secret");
    plan.start().await
}

/// One request to the registry: status, tag, body.
pub async fn call(
    world: &World,
    who: &str,
    method: &str,
    path: &str,
    tag: Option<&str>,
    body: Option<&Value>,
) -> (u16, String, Value) {
    let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
    let mut request = (world.client())
        .request(method, format!("{}/v1/agents{path}", world.url))
        .header("x-mas-secret", who);
    if let Some(tag) = tag {
        request = request.header("if-match", tag);
    }
    if let Some(body) = body {
        request = request.body(body.to_string());
    }
    let response = request.send().await.unwrap();
    let tag = response.headers().get("etag").cloned();
    let tag = tag.map_or_else(String::new, |tag| tag.to_str().unwrap().to_owned());
    (
        response.status().as_u16(),
        tag,
        response.json().await.unwrap(),
    )
}

fn hr(world: &World, description: &str) -> Value {
    json!({"endpoint": format!("{}/hr?token=t", world.gpa.url()), "key": "${AGENT_HR_KEY}",
           "description": description, "effect": "none"})
}

pub async fn turn_of(world: &World, text: &str) -> Answer {
    let body = json!({"messages": [user(text)], "stream": true});
    World::answer(world.post(&body).header("x-mas-secret", ALICE)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_added_by_the_api_answers_the_very_next_turn() {
    let world = staffed("HR").await;
    let (status, tag, agent) =
        call(&world, BOSS, "PUT", "/HR", None, Some(&hr(&world, "Leave"))).await;
    assert_eq!((status, tag.as_str()), (200, "\"1\""), "{agent}");
    turn_of(&world, "How many days of leave do I have?").await;
    let seen = world.gpa.seen();
    assert!(seen[0].path.starts_with("/hr?token=t"), "{}", seen[0].path);
    assert_eq!(seen[0].header("api-key"), Some("hr-secret"));
    // The model was told of it, and may name it.
    let asked = &World::asked(&world.model)[0];
    assert!(
        asked["messages"][0]["content"]
            .as_str()
            .unwrap()
            .contains("- HR (priority 1")
    );
    assert!(asked["response_format"].to_string().contains("\"HR\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registry_is_seen_by_those_who_look_after_it_and_changed_by_admins() {
    let world = staffed("GPA").await;
    let entry = hr(&world, "Leave");
    for (who, method, body, expected) in [
        (ALICE, "GET", None, 403),
        (ALICE, "PUT", Some(&entry), 403),
        (OPS, "GET", None, 404),
        (OPS, "PUT", Some(&entry), 403),
        (OPS, "DELETE", None, 403),
        (BOSS, "DELETE", None, 404),
        (BOSS, "PUT", Some(&entry), 200),
        (OPS, "GET", None, 200),
    ] {
        let (status, _, answer) = call(&world, who, method, "/HR", None, body).await;
        assert_eq!(status, expected, "{method} {answer}");
    }
    let (_, _, all) = call(&world, OPS, "GET", "", None, None).await;
    let names: Vec<&str> = all["agents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|agent| agent["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["GPA", "UMS", "HR"]);
    // Neither the credential nor what an address may hold of one is told to those who only look.
    let (_, _, one) = call(&world, OPS, "GET", "/HR", None, None).await;
    let (_, _, history) = call(&world, OPS, "GET", "/HR/history", None, None).await;
    for told in [&all, &one, &history] {
        let told = told.to_string();
        assert!(
            !told.contains("hr-secret") && !told.contains("token=t"),
            "{told}"
        );
    }
    assert_eq!(one["has_key"], true);
    let (_, _, own) = call(&world, BOSS, "GET", "/HR", None, None).await;
    assert_eq!(own["entry"]["key"], "${AGENT_HR_KEY}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_changes_of_one_version_the_second_is_refused() {
    let world = staffed("GPA").await;
    let put = async |tag, text: &str| {
        let entry = hr(&world, text);
        call(&world, BOSS, "PUT", "/HR", tag, Some(&entry)).await
    };
    assert_eq!(put(Some("\"0\""), "one").await.0, 200);
    assert_eq!(put(Some("\"0\""), "two").await.0, 412);
    let (status, tag, _) = put(Some("\"1\""), "three").await;
    assert_eq!((status, tag.as_str()), (200, "\"2\""));
    assert_eq!(
        call(&world, BOSS, "DELETE", "/HR", Some("\"1\""), None)
            .await
            .0,
        412
    );
    assert_eq!(
        call(&world, BOSS, "DELETE", "/HR", Some("\"2\""), None)
            .await
            .0,
        200
    );
    assert_eq!(call(&world, BOSS, "GET", "/HR", None, None).await.0, 404);
    let (_, _, history) = call(&world, OPS, "GET", "/HR/history", None, None).await;
    let changes = history["changes"].as_array().unwrap();
    let what: Vec<&str> = changes
        .iter()
        .map(|change| change["what"].as_str().unwrap())
        .collect();
    assert_eq!(what, ["removed", "changed", "added"]);
    assert_eq!(
        changes[1]["diff"],
        json!({"description": {"before": "one", "after": "three"}})
    );
    assert!(changes[0]["at"].as_u64().unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_a_line_of_the_audit_log_that_verifies() {
    let world = staffed("GPA").await;
    let entry = hr(&world, "Leave");
    call(&world, BOSS, "PUT", "/HR", None, Some(&entry)).await;
    call(&world, BOSS, "PUT", "/HR", Some("\"9\""), Some(&entry)).await;
    call(&world, BOSS, "DELETE", "/HR", None, None).await;
    // Reading the entries checks them, too.
    let lines = entries(&world.table).await;
    let told: Vec<String> = lines
        .iter()
        .map(|line| {
            format!(
                "{} {} {} {}",
                line["kind"], line["agent"], line["what"], line["version"]
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            "\"registry\" \"HR\" \"put\" 1",
            "\"registry\" \"HR\" \"removed\" 2"
        ]
    );
    let (_, _, history) = call(&world, OPS, "GET", "/HR/history", None, None).await;
    assert_eq!(history["changes"][1]["by"], lines[0]["by"]["person"]);
    assert!(!lines[0].to_string().contains("Leave"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_used_is_not_taken() {
    let world = staffed("GPA").await;
    let url = world.gpa.url();
    for (name, entry, said) in [
        ("HR", json!([]), "no JSON object"),
        ("HR", json!({"name": "IT", "endpoint": url}), "names"),
        ("HR", json!({}), "endpoint"),
        ("HR", json!({"endpoint": url, "colour": "red"}), "colour"),
        (
            "HR",
            json!({"endpoint": url, "key": "hunter2"}),
            "a credential is not kept here",
        ),
        (
            "HR",
            json!({"endpoint": url, "key": "${AGENT_NONE}"}),
            "AGENT_NONE is not set",
        ),
        (
            "HR",
            json!({"endpoint": url, "description": "${MAS_STATE_KEYS}"}),
            "is not set",
        ),
        (
            "HR",
            json!({"endpoint": url, "fallback": "Nobody"}),
            "Nobody",
        ),
        (
            "HR",
            json!({"endpoint": "a-deployment"}),
            "DIAL_URL must be set",
        ),
    ] {
        let (status, _, answer) =
            call(&world, BOSS, "PUT", &format!("/{name}"), None, Some(&entry)).await;
        let problem = answer["error"]["message"].as_str().unwrap();
        assert_eq!(status, 400, "{entry}");
        assert!(
            problem.contains(said) && !problem.contains("AAECAwQFBg"),
            "{problem}"
        );
    }
    // The default agent is needed.
    assert_eq!(
        call(&world, BOSS, "DELETE", "/GPA", None, None).await.0,
        400
    );
    assert_eq!(health(&world).await["registry"]["problem"], Value::Null);
    assert!(entries(&world.table).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_of_the_document_can_be_changed_and_removed_and_other_processes_see_it() {
    let world = staffed("GPA").await;
    let other = plan("GPA")
        .set("AWS_ENDPOINT_URL_DYNAMODB", &world.table)
        .set("MAS_AGENTS_REFRESH", "1ms")
        .start()
        .await;
    assert!(other.app.coordinator().registry.get("UMS").is_some());
    assert_eq!(
        call(&world, BOSS, "DELETE", "/UMS", None, None).await.0,
        200
    );
    let patience = Instant::now() + Duration::from_secs(20);
    // Its own turns find out, beside their work.
    while other.app.coordinator().registry.get("UMS").is_some() {
        assert!(Instant::now() < patience);
        other.well(&[user("hi")]).await;
    }
    // A later start sees it at once, also while nothing else changes.
    let later = plan("GPA")
        .set("AWS_ENDPOINT_URL_DYNAMODB", &world.table)
        .start()
        .await;
    assert!(later.app.coordinator().registry.get("UMS").is_none());
    let entry =
        json!({"protocol": "conversation", "endpoint": world.ums.url(), "description": "Mine"});
    assert_eq!(
        call(&world, BOSS, "PUT", "/UMS", None, Some(&entry))
            .await
            .0,
        200
    );
    later.app.live.refresh(true).await;
    let coordinator = later.app.coordinator();
    assert_eq!(coordinator.registry.get("UMS").unwrap().description, "Mine");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_at_once_all_find_their_place() {
    let world = staffed("GPA").await;
    let names: Vec<String> = (0..6).map(|n| format!("/A{n}")).collect();
    let puts = names.iter().map(|name| {
        let entry = json!({"endpoint": world.gpa.url()});
        let world = &world;
        async move { call(world, BOSS, "PUT", name, None, Some(&entry)).await.0 }
    });
    let statuses = futures_util::future::join_all(puts).await;
    assert_eq!(statuses, [200; 6]);
    let (_, _, all) = call(&world, OPS, "GET", "", None, None).await;
    assert_eq!(all["agents"].as_array().unwrap().len(), 8);
    assert!(all["version"].as_str().unwrap().starts_with("6-"));
    assert_eq!(entries(&world.table).await.len(), 6);
}

/// The blocks of a language that docs/registry.md shows, in order.
fn shown(language: &str) -> Vec<String> {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/registry.md");
    let page = std::fs::read_to_string(page).unwrap();
    let begins = format!("```{language}\n");
    let blocks = page.split(&begins).skip(1);
    blocks
        .map(|block| block.split("```").next().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_the_documentation_work() {
    let (yaml, json) = (shown("yaml"), shown("json"));
    let sayer = Sayer::default();
    sayer.says(Some(serde_json::from_str(&json[1]).unwrap()));
    let stub = sayer.start().await;
    let world = plan("Travel")
        .set("MAS_AGENTS", &yaml[0])
        .set("HR_ENDPOINT", &format!("{}/chat", stub.url()))
        .set("AGENT_TRAVEL_KEY", "travel-key")
        .start()
        .await;
    world.app.discover_all().await;
    let coordinator = world.app.coordinator();
    let hr = coordinator.registry.get("HR").unwrap();
    let names: Vec<&str> = hr
        .capabilities
        .iter()
        .map(|known| known.name.as_str())
        .collect();
    assert_eq!(names, ["payroll", "leave"]);
    let entry: Value = serde_json::from_str(&json[0]).unwrap();
    let (status, _, agent) = call(&world, "anybody", "PUT", "/Travel", None, Some(&entry)).await;
    assert_eq!(status, 200, "{agent}");
    let answer = world
        .well(&[user("Find me a train to Lviv on Friday")])
        .await;
    // It books, so its user is asked first.
    assert!(answer.text().contains("approve"), "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_hooks_and_credentials_change_with_their_document() {
    let secrets = Stub::start(crate::secrets::manager).await.unwrap();
    let plan = plan("GPA").set("AWS_ENDPOINT_URL_SECRETS_MANAGER", &secrets.url());
    let filed = Filed::start(plan, &document(&[])).await;
    let world = &filed.world;
    world.well(&[user("about leave")]).await;

    let hr = |key: &str| {
        let rest = format!(
            "- {{name: HR, endpoint: '${{AGENT_HERE}}/HR', key: 'secretsmanager:{key}', effect: none}}\n\
             routing:\n  rules:\n  - {{if: 'contains(query, \"leave\")', then: HR}}\n\
             hooks:\n- {{name: no-pay, refuse: [salary], say: 'Not here.'}}\n"
        );
        document(&[]) + &rest
    };
    filed.write(&hr("mas/agents#gpa"));
    until(world, "about leave", "/HR").await;
    let asked = world.gpa.seen();
    assert_eq!(asked.last().unwrap().header("api-key"), Some("hunter2"));
    let refused = world.well(&[user("my salary")]).await;
    assert_eq!(refused.text(), "Not here.");

    // What cannot be had does not take the agents away.
    let version = health(world).await["registry"]["version"].clone();
    filed.write(&hr("mas/other"));
    let patience = Instant::now() + Duration::from_secs(20);
    loop {
        world.well(&[user("about leave")]).await;
        let registry = health(world).await["registry"].clone();
        assert_eq!(registry["version"], version);
        let problem = registry["problem"].as_str().unwrap_or_default();
        if problem.contains("the secret secretsmanager:mas/other was not fetched") {
            break;
        }
        assert!(Instant::now() < patience, "{registry}");
    }
}
