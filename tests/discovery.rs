//! Stories of agents that say what they can: heard, kept, missed, and asked again.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use coordinator::store;
use sandbox::a2a::A2aAgent;
use sandbox::stub::{Reply, Seen, Stub};
use serde_json::{Value, json};

use crate::audit::entries;
use crate::logs::{end, listen};
use crate::registry::{ALICE, BOSS, OPS, call, staffed, turn_of};
use crate::world::{World, items, plan, says, ums};

/// An agent that says what it can, by a tag, and can be taken down.
#[derive(Clone, Default)]
pub struct Sayer {
    said: Arc<Mutex<Option<Value>>>,
}

impl Sayer {
    pub fn says(&self, said: Option<Value>) {
        *self.said.lock().unwrap() = said;
    }

    pub async fn start(&self) -> Stub {
        let said = Arc::clone(&self.said);
        let stub = Stub::start(move |seen| {
            let Some(told) = said.lock().unwrap().clone() else {
                return Reply::text(500, "down");
            };
            if seen.method == "POST" {
                return says("Done: all good.");
            }
            let tag = format!("\"{}\"", told.to_string().len());
            if seen.header("if-none-match") == Some(&tag) {
                return Reply::text(304, "");
            }
            Reply::json(200, told).header("etag", &tag)
        });
        stub.await.unwrap()
    }
}

fn skills(names: &[&str]) -> Value {
    let skills = names.iter().map(|name| {
        json!({"id": name, "name": name, "description": format!("Does {name}."), "tags": ["t"],
               "examples": [format!("Please {name}!")]})
    });
    json!({"name": "Cook", "description": "Knows food.", "skills": skills.collect::<Vec<_>>()})
}

fn capabilities(agent: &Value) -> Vec<&str> {
    let names = agent["capabilities"].as_array().unwrap().iter();
    names
        .map(|capability| capability["name"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agents_card_says_is_what_the_router_is_told() {
    let (world, sayer) = (staffed("Cook").await, Sayer::default());
    sayer.says(Some(skills(&["recipes", "menus"])));
    let stub = sayer.start().await;
    let entry =
        json!({"endpoint": format!("{}/chat", stub.url()), "discover": "card", "effect": "none"});
    // Adding it asks nobody.
    assert_eq!(
        call(&world, BOSS, "PUT", "/Cook", None, Some(&entry))
            .await
            .0,
        200
    );
    assert_eq!(stub.seen().len(), 0);
    assert_eq!(
        call(&world, OPS, "POST", "/Cook/discover", None, None)
            .await
            .0,
        403
    );
    let (status, _, found) = call(&world, BOSS, "POST", "/Cook/discover", None, None).await;
    assert_eq!(
        (status, &found["added"]),
        (200, &json!(["recipes", "menus"])),
        "{found}"
    );
    assert_eq!(stub.seen()[0].path, "/.well-known/agent-card.json");
    turn_of(&world, "something to eat").await;
    let prompt = World::asked(&world.model)[0]["messages"][0]["content"].to_string();
    assert!(
        prompt.contains("Knows food.") && prompt.contains("recipes"),
        "{prompt}"
    );
    // Nothing new is not fetched again, and is no change.
    let (_, _, again) = call(&world, BOSS, "POST", "/Cook/discover", None, None).await;
    assert_eq!(again["changed"], false);
    let last = stub.seen().pop().unwrap();
    assert!(last.header("if-none-match").is_some());
    let (_, _, history) = call(&world, OPS, "GET", "/Cook/history", None, None).await;
    let what: Vec<&Value> = history["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| &change["what"])
        .collect();
    assert_eq!(what, ["found", "added"]);
}

/// On one thread, whose log is read.
#[tokio::test]
async fn a_dropped_capability_raises_an_alarm_and_reroutes_nothing() {
    let (world, sayer) = (staffed("Cook").await, Sayer::default());
    sayer.says(Some(skills(&["recipes", "menus"])));
    let stub = sayer.start().await;
    let entry =
        json!({"endpoint": format!("{}/chat", stub.url()), "discover": "card", "effect": "none"});
    call(&world, BOSS, "PUT", "/Cook", None, Some(&entry)).await;
    world.app.discover_all().await;
    let counted = "mas_capabilities_dropped_total{agent=\"Cook\"} 1";
    assert!(!world.metrics().await.contains(counted));
    sayer.says(Some(skills(&["menus"])));
    let (log, _listening) = listen();
    world.app.discover_all().await;
    world.app.discover_all().await;
    let warned = log.text();
    let lines = warned
        .lines()
        .filter(|line| line.contains("does not name capabilities any more"));
    let lines: Vec<&str> = lines.collect();
    assert!(lines.len() == 1 && lines[0].contains("recipes"), "{warned}");
    // The router goes on being told of it: nothing goes elsewhere before somebody says so.
    turn_of(&world, "something to eat").await;
    let asked = World::asked(&world.model);
    let routed = asked
        .iter()
        .find(|body| body["response_format"].is_object());
    let prompt = routed.unwrap()["messages"][0]["content"].to_string();
    assert!(
        prompt.contains("recipes") && prompt.contains("menus"),
        "{prompt}"
    );
    // Once, however often it is asked.
    assert!(world.metrics().await.contains(counted));
    let (_, _, agent) = call(&world, OPS, "GET", "/Cook", None, None).await;
    assert_eq!(capabilities(&agent), ["menus", "recipes"]);
    assert_eq!(agent["missing"][0]["name"], "recipes");
    assert_eq!(agent["discover"], "card");
    let accept = json!({"accept_dropped": true});
    let (status, _, found) =
        call(&world, BOSS, "POST", "/Cook/discover", None, Some(&accept)).await;
    assert_eq!((status, &found["missing"]), (200, &json!([])), "{found}");
    let (_, _, agent) = call(&world, OPS, "GET", "/Cook", None, None).await;
    assert_eq!(capabilities(&agent), ["menus"]);
    assert_eq!(agent["missing"], json!([]));
    // Who was it? The log of audits knows.
    let lines = entries(&world.table).await;
    let found: Vec<&Value> = lines
        .iter()
        .filter(|line| line["what"] == "found")
        .collect();
    assert_eq!(found.len(), 3);
    assert_eq!(found[1]["by"], "command");
    assert!(found[2]["by"]["person"].is_string(), "{}", found[2]);
    end(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_not_at_its_address_is_asked_again_what_it_can_but_not_again_and_again() {
    let (world, said) = (staffed("Cook").await, Arc::new(Mutex::new("recipes")));
    let there = Arc::clone(&said);
    let stub = Stub::start(move |seen| match seen.method.as_str() {
        "GET" => Reply::json(200, json!({"capabilities": [*there.lock().unwrap()]})),
        // What is asked beside a turn has the turn's own time.
        _ => Reply::json(404, json!({"error": {"message": "gone"}}))
            .delay(Duration::from_millis(500)),
    });
    let stub = stub.await.unwrap();
    let entry = json!({"endpoint": format!("{}/chat", stub.url()), "discover": "capabilities",
                       "effect": "none"});
    call(&world, BOSS, "PUT", "/Cook", None, Some(&entry)).await;
    let asked = || {
        stub.seen()
            .iter()
            .filter(|seen| seen.method == "GET")
            .count()
    };
    let known = || {
        let coordinator = world.app.coordinator();
        let cook = coordinator.registry.get("Cook").unwrap();
        cook.capabilities.first().map(|known| known.name.clone())
    };
    assert_eq!((asked(), known()), (0, None));
    let patience = Instant::now() + Duration::from_secs(20);
    while known().is_none() {
        assert!(Instant::now() < patience, "nobody asked");
        turn_of(&world, "something to eat").await;
    }
    *said.lock().unwrap() = "menus";
    for _ in 0..3 {
        turn_of(&world, "something to eat").await;
    }
    assert_eq!((asked(), known().as_deref()), (1, Some("recipes")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_did_not_change_is_known_as_before_when_others_do() {
    let (world, booker) = (staffed("GPA").await, A2aAgent::new("1.0", true));
    let stub = Stub::start(move |seen| booker.answer(seen)).await.unwrap();
    let entry = json!({"protocol": "a2a", "endpoint": stub.url(), "effect": "none"});
    call(&world, BOSS, "PUT", "/Booker", None, Some(&entry)).await;
    let cards = || {
        stub.seen()
            .iter()
            .filter(|seen| seen.method == "GET")
            .count()
    };
    turn_of(&world, "@Booker versions").await;
    assert_eq!(cards(), 1);
    let other = json!({"endpoint": world.gpa.url(), "effect": "none"});
    call(&world, BOSS, "PUT", "/Other", None, Some(&other)).await;
    let described = json!({"protocol": "a2a", "endpoint": stub.url(), "effect": "none",
                           "description": "Books rooms."});
    call(&world, BOSS, "PUT", "/Booker", None, Some(&described)).await;
    turn_of(&world, "@Booker versions").await;
    assert_eq!(cards(), 1, "its card is known");
    let deadline = json!({"protocol": "a2a", "endpoint": stub.url(), "effect": "none",
                          "deadline": "9s"});
    call(&world, BOSS, "PUT", "/Booker", None, Some(&deadline)).await;
    turn_of(&world, "@Booker versions").await;
    assert_eq!(cards(), 2, "it is called in another way");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_of_each_protocol_is_added_by_the_api_alone_and_answers() {
    let world = staffed("GPA").await;
    let booker = A2aAgent::new("1.0", true);
    let dial = Stub::start(|_: &Seen| says("By dial.")).await.unwrap();
    let service = Stub::start(ums).await.unwrap();
    let server = Stub::start(|_: &Seen| says("By openai.")).await.unwrap();
    let a2a = Stub::start(move |seen| booker.answer(seen)).await.unwrap();
    for (protocol, stub, path) in [
        ("dial", &dial, "/chat"),
        ("conversation", &service, ""),
        ("openai", &server, "/v1"),
        ("a2a", &a2a, ""),
    ] {
        let mut entry = json!({"protocol": protocol, "endpoint": format!("{}{path}", stub.url()),
                               "effect": "none"});
        if protocol == "openai" {
            entry["model"] = "llama".into();
        }
        let name = format!("Agent-{protocol}");
        let (status, _, said) =
            call(&world, BOSS, "PUT", &format!("/{name}"), None, Some(&entry)).await;
        assert_eq!(status, 200, "{said}");
        let answer = turn_of(&world, &format!("@{name} versions")).await;
        assert_eq!(answer.checked.error, None, "{protocol}");
        let stage = answer.stage(&format!("Call {name}"));
        assert_eq!(stage["status"], "completed", "{protocol}: {stage}");
        assert!(!stub.seen().is_empty(), "{protocol}");
    }
    let sent = World::asked(&server).pop().unwrap();
    assert_eq!(sent["model"], "llama");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_of_an_agent_is_told_by_pages_and_kept_as_long_as_the_audit_log() {
    let world = staffed("GPA").await;
    let put = async |name: &str, text: &str| {
        let entry = json!({"endpoint": world.gpa.url(), "description": text});
        call(&world, BOSS, "PUT", name, None, Some(&entry)).await;
    };
    for text in ["one", "two", "three", "four"] {
        put("/HR", text).await;
        put("/IT", text).await;
    }
    let table = store::connect("mas", Some(&world.table)).await;
    let (log, now) = (
        store::Entries::of(&table),
        coordinator::http::clock().seconds(),
    );
    let page = async |before, most, now| {
        let (changes, next) = log.history("HR", before, most, now).await.unwrap();
        let versions: Vec<u64> = changes.iter().map(|change| change.version).collect();
        (versions, next)
    };
    assert_eq!(page(None, 3, now).await, (vec![7, 5, 3], Some(3)));
    assert_eq!(page(Some(3), 3, now).await, (vec![1], None));
    let expired = now.plus(Duration::from_hours(367 * 24));
    assert_eq!(page(None, 3, expired).await, (Vec::new(), None));
    let (_, _, told) = call(&world, OPS, "GET", "/HR/history?before=5", None, None).await;
    let diff = |version: usize| &told["changes"][version]["diff"]["description"]["after"];
    assert_eq!(
        (diff(0), diff(1), &told["next"]),
        (&json!("two"), &json!("one"), &Value::Null)
    );
    let (status, ..) = call(&world, OPS, "GET", "/HR/history?before=x", None, None).await;
    assert_eq!(status, 400);
    for item in items(&world.table).await {
        let (pk, sk) = (
            item["pk"]["S"].as_str().unwrap(),
            item["sk"]["S"].as_str().unwrap(),
        );
        if pk == "REGISTRY" {
            assert_eq!(
                item["expires_at"].is_object(),
                sk.starts_with("CHANGE#"),
                "{sk}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_last_counts_while_an_agent_is_down_also_after_a_start() {
    let (world, sayer) = (staffed("Cook").await, Sayer::default());
    sayer.says(Some(skills(&["recipes"])));
    let stub = sayer.start().await;
    let entry =
        json!({"endpoint": format!("{}/chat", stub.url()), "discover": "card", "effect": "none"});
    call(&world, BOSS, "PUT", "/Cook", None, Some(&entry)).await;
    world.app.discover_all().await;
    sayer.says(None);
    world.app.discover_all().await;
    let (status, _, answer) = call(&world, BOSS, "POST", "/Cook/discover", None, None).await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (424, &json!("agent_unavailable"))
    );
    drop(stub);
    let later = plan("GPA")
        .set("AWS_ENDPOINT_URL_DYNAMODB", &world.table)
        .start()
        .await;
    let coordinator = later.app.coordinator();
    let cook = coordinator.registry.get("Cook").unwrap();
    assert_eq!(cook.capabilities[0].name, "recipes");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_coordinator_tells_another_what_its_agents_can() {
    let (world, there) = (staffed("GPA").await, plan("GPA").start().await);
    let entry = json!({"endpoint": format!("{}/openai/v1/chat/completions", there.url), "discover": "capabilities"});
    call(&world, BOSS, "PUT", "/Others", None, Some(&entry)).await;
    let (status, _, found) = call(&world, BOSS, "POST", "/Others/discover", None, None).await;
    assert_eq!(status, 200, "{found}");
    assert!(capabilities(&found).contains(&"user_management"), "{found}");
    // Ours is told to those who prove who they are.
    let ours = async |who: Option<&str>| {
        let mut request = world.get("/capabilities");
        if let Some(who) = who {
            request = request.header("x-mas-secret", who);
        }
        let response = request.send().await.unwrap();
        (
            response.status().as_u16(),
            response.json::<Value>().await.unwrap(),
        )
    };
    assert_eq!(ours(None).await.0, 401);
    let (status, ours) = ours(Some(ALICE)).await;
    assert_eq!((status, &ours["name"]), (200, &json!("MAS Coordinator")));
    let names: Vec<&Value> = ours["agents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|agent| &agent["name"])
        .collect();
    assert_eq!(names, ["GPA", "UMS", "Others"]);
    assert!(!ours.to_string().contains("127.0.0.1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn dial_cores_listing_says_what_a_deployment_can() {
    let core = Stub::start(|seen: &Seen| match seen.path.as_str() {
        "/openai/applications/hr-app" => Reply::json(
            200,
            json!({"id": "hr-app", "description": "Leave and pay.", "description_keywords": ["leave", "pay"]}),
        ),
        _ => Reply::json(404, json!({"error": {"message": "no"}})),
    });
    let core = core.await.unwrap();
    let world = plan("GPA")
        .set("DIAL_URL", &core.url())
        .set("MAS_AUTH", "none")
        .set(
            "MAS_AGENTS",
            "agents:\n- {name: HR, endpoint: hr-app, discover: core}\n",
        )
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
    assert_eq!(
        (hr.description.as_str(), names),
        ("Leave and pay.", vec!["leave", "pay"])
    );
}
