//! Every capture of `tests/samples` replayed as an agent's answer, byte for byte.

use std::collections::BTreeMap;
use std::path::Path;

use sandbox::stub::{Reply, Seen};

use crate::world::{Answer, plan, user};

/// What becomes of a turn whose agent answers like this.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Answered,
    Failed,
}

use End::{Answered, Failed};

/// Every file, and what must come of it. Refusals, cut streams and answers without any text are failures; a stage or a
/// choice that the agent forgot to close is not.
const EXPECTED: [(&str, End); 116] = include!("samples/expected.in");

fn files(folder: &Path, found: &mut Vec<String>, root: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found, root);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "http")
        {
            found.push(
                path.strip_prefix(root)
                    .unwrap()
                    .to_string_lossy()
                    .into_owned(),
            );
        }
    }
}

/// A capture of a connection that broke has to break here as well.
fn reply(file: &str) -> Reply {
    let reply = Reply::sample(file);
    if file.ends_with("failmid.stream.http") {
        reply.cut()
    } else {
        reply
    }
}

async fn replayed(file: &'static str) -> Answer {
    let answer = move |seen: &Seen| {
        let create = seen.path == "/conversations";
        let probe = seen.method == "GET";
        match file.starts_with("ums/") {
            true if create && !file.starts_with("ums/create") => Reply::sample("ums/create.http"),
            true if probe && file != "ums/get-unknown.http" => Reply::sample("ums/get.http"),
            _ => reply(file),
        }
    };
    let agent = if file.starts_with("ums/") {
        "UMS"
    } else {
        "GPA"
    };
    let world = plan(agent).gpa(answer).ums(answer).start().await;
    world.ask(&[user("Draw a cat")]).await
}

#[test]
fn every_capture_is_in_the_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples");
    let mut found = Vec::new();
    files(&root, &mut found, &root);
    found.sort_unstable();
    let listed: Vec<String> = EXPECTED
        .iter()
        .map(|(file, _)| (*file).to_owned())
        .collect();
    assert_eq!(found, listed);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_capture_ends_as_it_should_and_leaves_a_good_stream() {
    let mut wrong = BTreeMap::new();
    for (file, expected) in EXPECTED {
        let answer = replayed(file).await;
        let end = if answer.checked.error.is_none() {
            Answered
        } else {
            Failed
        };
        if end != expected {
            wrong.insert(file, end);
        }
    }
    assert_eq!(wrong, BTreeMap::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_chunk_type_of_the_sdk_arrives() {
    let answer = replayed("sdk-0.46.0/full.stream.http").await;
    let stages = answer.stages();
    let names: Vec<_> = stages
        .iter()
        .map(|stage| stage["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names[1..],
        [
            "Call GPA Agent",
            "Search (2 results)",
            "Parent",
            "Child",
            "Broken step",
            "late name"
        ]
    );
    let parents: Vec<_> = stages
        .iter()
        .map(|stage| stage["parent_stage_index"].as_u64())
        .collect();
    assert_eq!(parents[2..], [Some(1), Some(1), Some(3), Some(1), Some(1)]);
    assert_eq!(stages[5]["status"], "failed");
    assert_eq!(
        stages[2]["attachments"][0]["reference_url"],
        "https://example.com/a"
    );
    assert_eq!(
        answer.message["custom_content"]["attachments"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    assert_eq!(
        answer.stage("Call GPA")["content"],
        "Hello, \u{421}\u{432}\u{456}\u{442} \u{1f600}!"
    );
    let models = &answer.whole["statistics"]["usage_per_model"];
    assert_eq!(
        models[0]["prompt_tokens"], 27,
        "routing 7, synthesis 10, and 10 of the agent's own gpt-4o"
    );
    assert_eq!(models[1]["model"], "gpt-4o-mini");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_answer_of_an_agent_is_as_good_as_a_stream() {
    let block = replayed("gpa/tools.block.http").await;
    let stream = replayed("gpa/tools.stream.http").await;
    assert_eq!(block.stages(), stream.stages());
    assert_eq!(block.text(), stream.text());
    assert_eq!(
        block.message["custom_content"]["attachments"],
        stream.message["custom_content"]["attachments"]
    );
}
