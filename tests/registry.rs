//! Stories of the registry: agents that change while turns are served, wherever they are written down.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use coordinator::store;
use sandbox::stub::{Reply, Seen, Stub};
use serde_json::{Value, json};

use crate::audit::entries;
use crate::world::{Plan, World, plan, says, user};

/// A document with GPA, UMS and such further agents, all of them answered by GPA's stand-in.
fn document(more: &[&str]) -> String {
    let mut text = "default: GPA\nagents:\n- {name: GPA, endpoint: '${GPA_AGENT_ENDPOINT}', key: '${GPA_API_KEY:-}', \
                    description: Anything, effect: none}\n"
        .to_owned();
    for name in more {
        text += &format!(
            "- {{name: {name}, endpoint: '${{HERE}}/{name}', description: About {name}}}\n"
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
            .set("HERE", "{gpa}");
        let world = plan.start().await;
        Self { world, file }
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.file, text).unwrap();
    }
}

async fn health(world: &World) -> Value {
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
        .set("HERE", "{gpa}")
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
