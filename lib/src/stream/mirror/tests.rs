use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::dial::chunk::FinishReason;
use crate::dial::fold::{Folded, fold};
use crate::domain::language::Language;
use crate::domain::message::Attachment;
use crate::domain::usage::Tally;

/// The merged stages of what was written.
fn stages(sink: &AnswerSink) -> Vec<Value> {
    sink.finish(FinishReason::Stop, &Tally::default());
    let Folded::Answer(answer) = fold(&sink.take()) else {
        panic!("an error event was written")
    };
    let stages = &answer["choices"][0]["message"]["custom_content"]["stages"];
    stages.as_array().cloned().unwrap_or_default()
}

fn sink() -> AnswerSink {
    let sink = AnswerSink::new("x", 1, "m");
    sink.begin();
    sink
}

fn named(name: &str) -> StageChange {
    StageChange {
        name: Some(name.into()),
        ..StageChange::default()
    }
}

#[test]
fn every_field_of_the_opening_delta_is_applied() {
    let sink = sink();
    let top = sink.open_stage(Some("Call"), None);
    let mut mirror = Mirror::new(
        &sink,
        &AgentId::new("GPA"),
        &top,
        Nesting::Nested,
        Caps::default(),
    );
    let attachment = Attachment {
        title: Some("t".into()),
        data: Some("d".into()),
        ..Attachment::default()
    };
    mirror.apply(
        7,
        &StageChange {
            content: Some("c".into()),
            attachments: vec![attachment],
            status: Some(StageStatus::Failed),
            ..named("Tool")
        },
    );
    mirror.close(StageStatus::Completed);
    top.close(StageStatus::Completed);
    assert_eq!(
        stages(&sink),
        vec![
            json!({"name":"Call","status":"completed"}),
            json!({"name":"Tool","status":"failed","parent_stage_index":0,"content":"c",
                   "attachments":[{"title":"t","data":"d"}]}),
        ]
    );
}

#[test]
fn flat_stages_carry_the_agents_name() {
    let sink = sink();
    let top = sink.open_stage(Some("Call"), None);
    let mut mirror = Mirror::new(
        &sink,
        &AgentId::new("GPA"),
        &top,
        Nesting::Flat,
        Caps::default(),
    );
    mirror.apply(0, &named("Tool"));
    mirror.close(StageStatus::Completed);
    top.close(StageStatus::Completed);
    assert_eq!(
        stages(&sink)[1],
        json!({"name":"[GPA] Tool","status":"completed"})
    );
}

#[test]
fn an_unnamed_stage_and_a_later_name_are_kept() {
    let sink = sink();
    let top = sink.open_stage(Some("Call"), None);
    let mut mirror = Mirror::new(
        &sink,
        &AgentId::new("GPA"),
        &top,
        Nesting::Nested,
        Caps::default(),
    );
    mirror.apply(0, &StageChange::default());
    mirror.apply(0, &named("late"));
    mirror.apply(0, &named(" name"));
    mirror.close(StageStatus::Completed);
    drop((mirror, top));
    assert_eq!(stages(&sink)[1]["name"], "late name");
}

fn capped(caps: Caps, changes: &[(u32, StageChange)]) -> Vec<Value> {
    let sink = sink();
    let top = sink.open_stage(Some("Call"), None);
    let agent = AgentId::new("GPA");
    let mut mirror = Mirror::new(&sink, &agent, &top, Nesting::Nested, caps);
    for (index, change) in changes {
        mirror.apply(*index, change);
    }
    mirror.close(StageStatus::Completed);
    top.close(StageStatus::Completed);
    drop((mirror, top));
    stages(&sink)
}

#[test]
fn stages_over_the_cap_are_left_out_with_one_note() {
    let caps = Caps {
        stages: 2,
        ..Caps::default()
    };
    let names = ["a", "b", "c", "d"];
    let changes: Vec<_> = (0..).zip(names.map(named)).collect();
    let shown = capped(caps, &changes);
    let names: Vec<_> = shown[1..].iter().map(|stage| &stage["name"]).collect();
    assert_eq!(names, ["a", "b", "More stages"]);
    assert_eq!(
        shown[3]["content"],
        "_GPA opened more stages than the 2 that are shown._"
    );
}

#[test]
fn a_stage_over_its_cap_is_cut_once_between_characters() {
    let caps = Caps {
        stage_text: 6,
        ..Caps::default()
    };
    let text = |content: &str| StageChange {
        content: Some(content.into()),
        ..StageChange::default()
    };
    let shown = capped(
        caps,
        &[
            (0, named("na")),
            (0, text("a\u{44f}\u{44f}")),
            (0, text("more")),
            (1, named("a longer name")),
        ],
    );
    assert_eq!(
        shown[1]["content"],
        format!("a\u{44f}{}", labels::stage_cut(6).told(Language::English))
    );
    assert_eq!(shown[2]["name"], "a long");
}

#[test]
fn attachments_of_stages_count_like_all_others() {
    let caps = Caps {
        attachments: 2,
        ..Caps::default()
    };
    let file = |title: &str| Attachment {
        title: Some(title.into()),
        url: Some("files/b/x".into()),
        ..Attachment::default()
    };
    let change = StageChange {
        attachments: ["a", "b", "c", "d"].map(file).to_vec(),
        ..named("Tool")
    };
    let shown = capped(caps, &[(0, change)]);
    assert_eq!(shown[1]["attachments"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        shown[1]["content"],
        labels::attachments_left_out(&file("c"), 2).told(Language::English),
        "one note for all of them"
    );
}

/// One agent's stage as it merges on the agent's own side.
#[derive(Clone, Debug, Default)]
struct Own {
    name: String,
    content: String,
    attachments: Vec<Attachment>,
    status: Option<StageStatus>,
    parent: Option<u32>,
}

#[derive(Clone, Debug)]
struct Step {
    stage: u32,
    change: StageChange,
}

/// Any valid stage stream of an agent: stages with gaps in their numbers, nesting, parts in any order, closed once.
fn agent() -> impl Strategy<Value = Vec<Step>> {
    let change = (
        0_u32..5,
        proptest::option::of("[a-z]{0,3}"),
        proptest::option::of("[a-z]{0,3}"),
        proptest::collection::vec("[a-z]{1,2}", 0..2),
        proptest::option::weighted(
            0.2,
            prop_oneof![Just(StageStatus::Completed), Just(StageStatus::Failed)],
        ),
        proptest::option::of(0_u32..5),
    );
    proptest::collection::vec(change, 0..20).prop_map(|raw| {
        let mut closed = [false; 5];
        let mut opened = [false; 5];
        raw.into_iter()
            .filter_map(|(stage, name, content, titles, status, parent)| {
                let at = stage as usize;
                if closed[at] {
                    return None;
                }
                let first = !std::mem::replace(&mut opened[at], true);
                closed[at] = status.is_some();
                let attachments = titles
                    .into_iter()
                    .map(|title| Attachment {
                        title: Some(title),
                        data: Some("d".into()),
                        ..Attachment::default()
                    })
                    .collect();
                Some(Step {
                    stage: stage * 3,
                    change: StageChange {
                        name: if first {
                            Some(name.unwrap_or_default())
                        } else {
                            name
                        },
                        content,
                        attachments,
                        status,
                        parent: parent
                            .filter(|_| first)
                            .filter(|parent| *parent != stage)
                            .map(|parent| parent * 3),
                    },
                })
            })
            .collect()
    })
}

/// The agent's own merge, in opening order, parents as positions in that order.
fn own_merge(steps: &[Step]) -> Vec<Own> {
    let mut order: Vec<u32> = Vec::new();
    let mut merged: Vec<Own> = Vec::new();
    for step in steps {
        let at = match order.iter().position(|seen| *seen == step.stage) {
            Some(at) => at,
            None => {
                let parent = step
                    .change
                    .parent
                    .and_then(|parent| order.iter().position(|seen| *seen == parent));
                order.push(step.stage);
                merged.push(Own {
                    parent: parent.map(|at| u32::try_from(at).unwrap()),
                    ..Own::default()
                });
                merged.len() - 1
            }
        };
        let own = &mut merged[at];
        own.name
            .push_str(step.change.name.as_deref().unwrap_or_default());
        own.content
            .push_str(step.change.content.as_deref().unwrap_or_default());
        own.attachments.extend(step.change.attachments.clone());
        own.status = own.status.or(step.change.status);
    }
    merged
}

proptest! {
    #[test]
    fn any_interleaving_merges_to_each_agents_own_merge(
        one in agent(),
        two in agent(),
        picks in proptest::collection::vec(any::<bool>(), 40),
    ) {
        let sink = sink();
        let tops = [sink.open_stage(Some("One"), None), sink.open_stage(Some("Two"), None)];
        let mut mirrors: Vec<Mirror> = tops
            .iter()
            .map(|top| Mirror::new(&sink, &AgentId::new("A"), top, Nesting::Nested, Caps::default()))
            .collect();
        // Where each agent's stages end up in our numbering.
        let mut places: [Vec<u32>; 2] = [Vec::new(), Vec::new()];
        let mut next = 2;
        let mut queues = [one.iter(), two.iter()];
        let mut seen: [Vec<u32>; 2] = [Vec::new(), Vec::new()];
        for pick in picks.into_iter().chain(std::iter::repeat_n(false, 20)).chain(std::iter::repeat_n(true, 20)) {
            let who = usize::from(pick);
            if let Some(step) = queues[who].next() {
                if !seen[who].contains(&step.stage) {
                    seen[who].push(step.stage);
                    places[who].push(next);
                    next += 1;
                }
                mirrors[who].apply(step.stage, &step.change);
            }
        }
        for mirror in &mut mirrors {
            mirror.close(StageStatus::Completed);
        }
        for top in &tops {
            top.close(StageStatus::Completed);
        }
        let written = stages(&sink);
        for (who, steps) in [&one, &two].into_iter().enumerate() {
            for (at, own) in own_merge(steps).into_iter().enumerate() {
                let shown = &written[places[who][at] as usize];
                let text = |key: &str| shown[key].as_str().unwrap_or_default().to_owned();
                prop_assert_eq!(text("name"), own.name);
                prop_assert_eq!(text("content"), own.content);
                prop_assert_eq!(text("status"), own.status.unwrap_or(StageStatus::Completed).as_str());
                let parent = own.parent.map_or(u32::try_from(who).unwrap(), |at| places[who][at as usize]);
                prop_assert_eq!(&shown["parent_stage_index"], &json!(parent));
                let attachments = shown["attachments"].as_array().cloned().unwrap_or_default();
                prop_assert_eq!(attachments, own.attachments.iter().map(|one| json!(one)).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn every_opened_stage_closes_once(steps in agent(), stop in 0_usize..20, fails in any::<bool>()) {
        let sink = sink();
        let top = sink.open_stage(Some("Call"), None);
        let mut mirror = Mirror::new(&sink, &AgentId::new("A"), &top, Nesting::Nested, Caps::default());
        for step in steps.iter().take(stop) {
            mirror.apply(step.stage, &step.change);
        }
        if !fails {
            mirror.close(StageStatus::Completed);
            top.close(StageStatus::Completed);
        }
        drop((mirror, top));
        let text = String::from_utf8(sink.take().to_vec()).unwrap();
        let opened = text.matches("\"name\":").count();
        let closings = text.matches("\"status\":\"").count();
        let distinct = steps.iter().take(stop).map(|step| step.stage).collect::<std::collections::HashSet<_>>().len() + 1;
        prop_assert!(opened >= distinct);
        prop_assert_eq!(closings, distinct);
    }
}
