//! Stories of several agents in one turn: side by side, one after the other, and when one of them fails.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sandbox::stub::{Reply, Seen};
use serde_json::{Value, json};

use crate::world::{Plan, World, decides, delta, echoed, finish, model, plan, says, ums, user};

/// A model that plans these steps, finds no contradictions and answers with the reports it was given.
pub fn planner(steps: Value) -> impl Fn(&Seen) -> Reply + Send + Sync + 'static {
    planner_that_compares(steps, json!([]))
}

fn planner_that_compares(
    steps: Value,
    conflicts: Value,
) -> impl Fn(&Seen) -> Reply + Send + Sync + 'static {
    move |seen| {
        let body = seen.json();
        match body["response_format"]["json_schema"]["name"].as_str() {
            Some("contradictions") => decides(&json!({"conflicts": conflicts}).to_string()),
            Some(_) => decides(
                &json!({"agent_name": steps[0]["agent_name"], "additional_instructions": null,
                        "confidence": 0.9, "alternative": null, "reason": "both", "steps": steps})
                .to_string(),
            ),
            None => model(seen, "GPA"),
        }
    }
}

pub fn step(name: &str, agent: &str, task: &str, after: &[&str]) -> Value {
    json!({"name": name, "agent_name": agent, "task": task, "after": after})
}

fn both() -> Plan {
    plan("GPA").model(planner(json!([
        step("weather", "GPA", "Weather in Paris", &[]),
        step("users", "UMS", "List the users", &[])
    ])))
}

/// What the synthesis was shown.
fn reported(world: &World) -> String {
    let asked = World::asked(&world.model);
    let mut written = asked.iter().rev().filter(|body| body["stream"] == true);
    let messages = written.next().expect("nobody wrote an answer")["messages"].clone();
    let last = messages.as_array().and_then(|all| all.last()).unwrap();
    last["content"].as_str().unwrap().to_owned()
}

/// The words that an agent was sent last.
fn told(asked: &[Value]) -> String {
    let last = asked.last().expect("it was not asked");
    let message = match last["messages"].as_array() {
        Some(messages) => messages.last().unwrap(),
        None => &last["message"],
    };
    message["content"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_agents_work_side_by_side_and_one_answer_is_written() {
    let asked: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let (of_gpa, of_ums) = (Arc::clone(&asked), Arc::clone(&asked));
    const WORK: Duration = Duration::from_secs(4);
    let world = both()
        .gpa(move |_| {
            of_gpa.lock().unwrap().push(Instant::now());
            says("Paris: sunny.").delay(WORK)
        })
        .ums(move |seen| {
            if seen.path.ends_with("/chat") {
                of_ums.lock().unwrap().push(Instant::now());
                return ums(seen).delay(WORK);
            }
            ums(seen)
        })
        .start()
        .await;
    let answer = world.well(&[user("Weather in Paris and list users")]).await;
    assert_eq!(answer.text(), "Final answer.");
    let times = asked.lock().unwrap().clone();
    let apart = times[1].duration_since(times[0]);
    assert!(apart < WORK, "one waited for the other: {apart:?}");
    assert_eq!(
        answer.stage("Coordination Request")["name"],
        "Coordination Request \u{2192} GPA, UMS"
    );
    for agent in ["Call GPA Agent", "Call UMS Agent", "Plan"] {
        assert_eq!(answer.stage(agent)["status"], "completed", "{agent}");
    }
    let report = reported(&world);
    assert!(
        report.contains("BEGIN GPA") && report.contains("BEGIN UMS"),
        "{report}"
    );
    assert!(told(&World::asked(&world.ums)).starts_with("Weather in Paris and list users"));
    assert!(told(&World::asked(&world.ums)).ends_with("Do only this part of it: List the users"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_says_is_shown_while_the_other_one_still_works() {
    let world = both()
        .gpa(|_| {
            Reply::sse()
                .data(delta(json!({"role": "assistant"})))
                .data(delta(json!({"content": "Paris: sunny"})))
                .hang()
        })
        .ums(|seen| {
            if seen.path.ends_with("/chat") {
                return Reply::sse().hang();
            }
            ums(seen)
        })
        .start()
        .await;
    let body = json!({"messages": [user("Weather in Paris and list users")], "stream": true});
    let mut response = world.post(&body).send().await.unwrap();
    let mut shown = String::new();
    while !shown.contains("Paris: sunny") {
        let piece = response.chunk().await.unwrap();
        shown += &String::from_utf8_lossy(&piece.expect("it was not shown"));
    }
    assert!(shown.contains("Call GPA Agent"), "{shown}");
    assert!(
        !shown.contains("failed") && !shown.contains("[DONE]"),
        "{shown}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_agent_remembers_its_own_part_alone() {
    let world = both().gpa(|_| says("SECRET-OF-GPA")).start().await;
    let first = world.well(&[user("Weather in Paris and list users")]).await;
    let history = [
        user("Weather in Paris and list users"),
        echoed(&first),
        user("Again, please"),
    ];
    world.well(&history).await;
    let asked = World::asked(&world.gpa);
    let messages = asked.last().unwrap()["messages"]
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(messages.len(), 3, "{messages:#?}");
    assert_eq!(messages[1]["content"], "SECRET-OF-GPA");
    let ums = json!(World::asked(&world.ums)).to_string();
    assert!(!ums.contains("SECRET-OF-GPA"), "{ums}");
    let created = (world.ums.seen().iter())
        .filter(|seen| seen.path == "/conversations")
        .count();
    assert_eq!(created, 1, "the UMS's conversation goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_agent_costs_nothing_of_what_another_did() {
    let world = both()
        .gpa(|_| Reply::json(500, json!({"error": {"message": "SECRET-INTERNAL"}})))
        .start()
        .await;
    let answer = world.well(&[user("Weather in Paris and list users")]).await;
    assert!(
        answer
            .text()
            .starts_with("Final answer.\n\n_GPA is missing here: GPA could not answer"),
        "{}",
        answer.text()
    );
    assert_eq!(answer.stage("Plan")["status"], "failed");
    assert_eq!(answer.stage("Call UMS Agent")["status"], "completed");
    let report = reported(&world);
    assert!(
        report.contains("BEGIN UMS") && !report.contains("BEGIN GPA"),
        "{report}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_late_is_named_and_the_others_are_heard() {
    let world = both()
        .gpa(|_| {
            Reply::sse()
                .data(delta(json!({"role": "assistant"})))
                .hang()
        })
        .set("MAS_TURN_TIMEOUT", "8s")
        .start()
        .await;
    let answer = world.well(&[user("Weather in Paris and list users")]).await;
    assert!(
        answer
            .text()
            .contains("GPA is missing here: GPA did not answer in time."),
        "{}",
        answer.text()
    );
    assert!(answer.text().starts_with("Final answer."));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_writes_answers_the_reports_stand_one_below_the_other() {
    let world = both().set("MAS_SYNTHESIS", "never").start().await;
    let answer = world.well(&[user("Weather in Paris and list users")]).await;
    let text = answer.text();
    assert!(
        text.starts_with("**GPA**\n\nDone: all good.\n\n**UMS**\n\n"),
        "{text}"
    );
    let asked = World::asked(&world.model);
    assert!(asked.iter().all(|body| body["stream"] != true));
}

#[tokio::test(flavor = "multi_thread")]
async fn when_every_agent_fails_the_turn_fails() {
    let broken = |_: &Seen| Reply::json(500, json!({"error": {"message": "no"}}));
    let world = both().gpa(broken).ums(broken).start().await;
    let answer = world.ask(&[user("Weather in Paris and list users")]).await;
    assert_eq!(answer.error_code(), "agent_unavailable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_is_told_the_results_that_it_needs_and_no_others() {
    let world = plan("GPA")
        .model(planner(json!([
            step("create", "UMS", "Create user Bob in that city", &["city"]),
            step("city", "GPA", "Which city is it?", &[]),
        ])))
        .gpa(|_| says("The city is Paris."))
        .start()
        .await;
    let answer = world
        .well(&[user("Find the city, then create Bob there")])
        .await;
    let told = told(&World::asked(&world.ums));
    assert!(
        told.contains("BEGIN city (GPA)-----\nThe city is Paris.\n-----"),
        "{told}"
    );
    let plan = answer.stage("Plan")["content"].as_str().unwrap().to_owned();
    assert!(
        plan.contains("2. **create** \u{2192} UMS") && plan.contains("(with the result of city)"),
        "{plan}"
    );
    let asked = World::asked(&world.gpa);
    assert!(!json!(asked).to_string().contains("BEGIN"), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_whose_result_is_missing_stops_those_that_need_it() {
    let world = plan("GPA")
        .model(planner(json!([
            step("city", "GPA", "Which city is it?", &[]),
            step("create", "UMS", "Create user Bob in that city", &["city"]),
            step("sum", "GPA", "What is 2+2?", &[]),
        ])))
        .gpa(|seen| {
            if seen.json().to_string().contains("Which city") {
                return Reply::json(500, json!({"error": {"message": "no"}}));
            }
            says("4")
        })
        .start()
        .await;
    let answer = world
        .well(&[user("Find the city, create Bob there, and add 2 and 2")])
        .await;
    assert!(
        answer
            .text()
            .contains("UMS is missing here: it needs the result of city"),
        "{}",
        answer.text()
    );
    assert_eq!(world.ums.seen().len(), 0);
    assert!(reported(&world).contains("BEGIN GPA-----\n4\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_goes_in_circles_is_put_right_or_left_to_the_default() {
    let world = plan("GPA")
        .model(planner(json!([
            step("a", "GPA", "x", &["b"]),
            step("b", "UMS", "y", &["a"])
        ])))
        .start()
        .await;
    let answer = world.well(&[user("Do both")]).await;
    let repaired = World::asked(&world.model)[1]["messages"].to_string();
    assert!(
        repaired.contains("the steps a, b wait for each other"),
        "{repaired}"
    );
    assert!(
        answer.stage("Coordination Request")["name"]
            .to_string()
            .contains("GPA")
    );
    assert_eq!(world.ums.seen().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_agents_say_differently_is_shown_before_the_answer() {
    let claims = json!([{"about": "employees", "claims": [
        {"agent": "GPA", "passage": "120 employees"}, {"agent": "HR", "passage": "98 employees"}]}]);
    let agents = "agents:\n- {name: GPA, endpoint: '${GPA_AGENT_ENDPOINT}', key: '${GPA_API_KEY}', effect: none}\n\
                  - {name: HR, endpoint: '{ums}/hr', effect: none}\n";
    let world = plan("GPA")
        .model(planner_that_compares(
            json!([
                step("web", "GPA", "Search", &[]),
                step("hr", "HR", "Ask HR", &[])
            ]),
            claims,
        ))
        .gpa(|_| says("Acme has 120 employees."))
        .ums(|_| says("Acme has 98 employees."))
        .set("MAS_AGENTS", agents)
        .start()
        .await;
    let answer = world.well(&[user("How many employees has Acme?")]).await;
    assert_eq!(
        answer.stage("Contradictions")["content"],
        "**employees**\n\n- GPA: 120 employees\n- HR: 98 employees\n\n"
    );
    let report = reported(&world);
    assert!(report.contains("CONTRADICTIONS (data)") && report.contains("HR: \"98 employees\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_forms_the_first_is_shown() {
    let form = |says: &str| {
        let schema = json!({"type": "object", "properties": {"answer": {"type": "string", "oneOf": [
            {"const": says, "title": says}]}}});
        Reply::sse()
            .data(delta(
                json!({"content": "Which one?", "custom_content": {"form_schema": schema}}),
            ))
            .data(finish())
            .done()
    };
    let agents = "agents:\n- {name: GPA, endpoint: '${GPA_AGENT_ENDPOINT}', key: '${GPA_API_KEY}', effect: none}\n\
                  - {name: HR, endpoint: '{ums}/hr', effect: none}\n";
    let world = plan("GPA")
        .model(planner(json!([
            step("web", "GPA", "Search", &[]),
            step("hr", "HR", "Ask HR", &["web"])
        ])))
        .gpa(move |_| form("of GPA"))
        .ums(move |_| form("of HR"))
        .set("MAS_AGENTS", agents)
        .start()
        .await;
    let answer = world.well(&[user("Ask both")]).await;
    let schema = answer.message["custom_content"]["form_schema"].to_string();
    assert!(
        schema.contains("of GPA") && !schema.contains("of HR"),
        "{schema}"
    );
    let history = [user("Ask both"), echoed(&answer), user("of GPA")];
    world.well(&history).await;
    assert_eq!(
        World::asked(&world.gpa).len(),
        2,
        "who asked first in the form gets the reply"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_keeps_to_itself_is_told_to_no_later_step() {
    let agents = "agents:\n- {name: GPA, endpoint: '${GPA_AGENT_ENDPOINT}', key: '${GPA_API_KEY}', effect: none, facts: {gives: false}}\n\
                  - {name: UMS, protocol: conversation, endpoint: '${UMS_AGENT_ENDPOINT}'}\n";
    let world = plan("GPA")
        .model(planner(json!([
            step("city", "GPA", "Which city is it?", &[]),
            step("create", "UMS", "Create user Bob in that city", &["city"])
        ])))
        .gpa(|_| says("The city is Paris."))
        .set("MAS_AGENTS", agents)
        .start()
        .await;
    let answer = world
        .well(&[user("Find the city, then create Bob there")])
        .await;
    assert_eq!(world.ums.seen().len(), 0);
    let text = answer.text();
    assert!(
        text.contains("UMS is missing here: what GPA finds is told to no other agent."),
        "{text}"
    );
}

/// Two agents that only look, asked by a rule, of which one answer is enough.
const ONE_IS_ENOUGH: &str = "agents:\n\
    - {name: GPA, endpoint: '${GPA_AGENT_ENDPOINT}', key: '${GPA_API_KEY}', effect: none}\n\
    - {name: UMS, protocol: conversation, endpoint: '${UMS_AGENT_ENDPOINT}', effect: EFFECT}\n\
    routing: {rules: [{if: 'true', then: {fan_out: [GPA, UMS], quorum: 1}}]}\n";

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_more_answers_than_a_rule_wants() {
    let world = plan("GPA")
        .set("MAS_AGENTS", &ONE_IS_ENOUGH.replace("EFFECT", "none"))
        .ums(|seen| match seen.path.ends_with("/chat") {
            true => Reply::sse().hang(),
            false => ums(seen),
        })
        .start()
        .await;
    let answer = world.well(&[user("Where is Bob?")]).await;
    let text = answer.text();
    assert!(
        text.ends_with("UMS is missing here: enough others had answered before it._"),
        "{text}"
    );
    assert_eq!(answer.stage("Plan")["status"], "completed");
    assert_eq!(world.running(), 0, "the other one is not left at work");
    // It is done: the same request is a new one.
    world.well(&[user("Where is Bob?")]).await;
    assert_eq!(world.gpa.seen().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_changes_something_is_waited_for_all_the_same() {
    let world = plan("GPA")
        .set("MAS_AGENTS", &ONE_IS_ENOUGH.replace("EFFECT", "reversible"))
        .ums(|seen| ums(seen).delay(Duration::from_millis(700)))
        .start()
        .await;
    let answer = world.well(&[user("Where is Bob?")]).await;
    assert_eq!(answer.text(), "Final answer.");
    assert_eq!(answer.stage("Call UMS Agent")["status"], "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_says_how_much_of_the_work_is_shown() {
    let document = "agents:\n\
        - {name: GPA, endpoint: '${GPA_AGENT_ENDPOINT}', key: '${GPA_API_KEY}', effect: none}\n\
        routing: {rules: [{if: 'contains(query, \"quietly\")', then: {set: {stages: none}}}]}\n\
        tests: [{say: quietly, expect: {stages: none}}]\n";
    let world = plan("GPA").set("MAS_AGENTS", document).start().await;
    let shown = world.well(&[user("Look")]).await;
    shown.stage("Call GPA Agent");
    let hidden = world.well(&[user("Look quietly")]).await;
    let names = json!(hidden.stages()).to_string();
    assert!(!names.contains("Call GPA Agent"), "{names}");
}
