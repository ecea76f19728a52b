//! The tests of a document: requests that its own rules are tried on, with what they must come to.

use super::experiments;
use super::place::{At, Place, Problem};
use super::rulebook::{Names, read_approve};
use super::written::{Approve as WrittenApprove, Case, Expect, Expected};
use crate::domain::access::Role;
use crate::domain::condition::Condition;
use crate::domain::day::Day;
use crate::domain::experiment::Experiment;
use crate::domain::ids::{AgentId, Timestamp};
use crate::domain::plan::Plan;
use crate::domain::preference::Stages;
use crate::domain::rulebook::{Approve, Judgement, Rulebook};
use crate::domain::rules::Synthesis;
use crate::domain::situation::{Asked, File, Files, Situation};

/// As many are run at every start.
const MOST: usize = 1000;
/// When a case is said that does not say when: Monday, 2026-01-05T12:00. A case must not fail on another day.
const NOON: Timestamp = Timestamp(1_767_614_400);
/// Stands for no agent at all.
const NONE: &str = "none";

/// What cases are tried on.
#[derive(Clone, Copy)]
pub struct Tried<'a> {
    pub rules: &'a Rulebook,
    pub experiments: &'a [Experiment],
    pub names: Names<'a>,
}

/// Runs every case; what is wrong is told with its line.
pub fn run(cases: &[Case], tried: Tried<'_>, problems: &mut Vec<Problem>) {
    if let Some(last) = cases.get(MOST) {
        let problem = format!("there are more than {MOST} tests, which are run at every start");
        problems.push(last.expect.place.problem(problem));
        return;
    }
    for (number, case) in (1..).zip(cases) {
        let wrong = case_of(case, tried);
        problems.extend(wrong.err().into_iter().map(|problem| Problem {
            problem: format!("test {number} ({:?}): {}", case.say, problem.problem),
            ..problem
        }));
    }
}

fn case_of(case: &Case, tried: Tried<'_>) -> Result<(), Problem> {
    let names = tried.names;
    let previous = case
        .previous
        .as_ref()
        .map(|name| names.at(name))
        .transpose()?;
    let files: Vec<File> = (case.attachments.iter())
        .map(|file| File {
            kind: file.r#type.clone(),
            name: file.name.clone(),
            size: file.size,
        })
        .collect();
    let asked = Asked {
        text: &case.say,
        files: Files::Named(&files),
        tenant: case.tenant.as_deref().unwrap_or(Asked::default().tenant),
        roles: &roles(case)?,
        previous: previous.as_ref().map(AgentId::as_str),
        depth: case.depth,
        at: case.now.as_ref().map_or(Ok(NOON), moment)?,
        language: case.language.as_deref(),
    };
    let judged = judged(case, &Situation::new(asked), tried)?;
    let place = case.expect.place;
    let failed: Vec<String> = (judged.failed())
        .map(|(number, why)| format!("; rule {number} cannot be tested: {why}"))
        .collect();
    let compared = match &case.expect.value {
        Expect::Agent(name) => chosen(std::slice::from_ref(name), place, &judged, names),
        Expect::Several(agents) => chosen(agents, place, &judged, names),
        Expect::All(expected) => compare(expected, place, &judged, names),
    };
    compared.map_err(|problem| Problem {
        problem: problem.problem + &failed.concat(),
        ..problem
    })
}

/// What the rules come to, in the arm that the case names.
fn judged(case: &Case, situation: &Situation<'_>, tried: Tried<'_>) -> Result<Judgement, Problem> {
    let Some(written) = &case.arm else {
        return Ok(tried.rules.judge(situation));
    };
    let (experiment, arm) = experiments::arm_of(written, tried.experiments)?;
    let concerns = |condition: &Condition| condition.holds(situation) == Ok(true);
    if case.depth > 0 || !experiment.condition.as_ref().is_none_or(concerns) {
        let problem = format!("the experiment {} is not about it", experiment.name);
        return Err(written.place.problem(problem));
    }
    let rules = arm.variant.rules.as_deref().unwrap_or(tried.rules);
    let mut judged = rules.judge(situation);
    let demands = &judged.demands;
    if let Some((_, plan)) = &mut judged.choice {
        arm.variant
            .swap(plan, |_, other| demands.forbids(other).is_none());
    }
    Ok(judged)
}

/// Everybody is a user.
fn roles(case: &Case) -> Result<Vec<Role>, Problem> {
    let mut roles = vec![Role::User];
    for name in case.role.iter().flat_map(|role| &role.value.0) {
        let role = Role::named(name).ok_or_else(|| {
            let known = Role::ALL.map(Role::as_str).join(", ");
            let problem = format!("there is no role {name}, expected one of {known}");
            case.role
                .as_ref()
                .map_or(case.expect.place, |role| role.place)
                .problem(problem)
        })?;
        if !roles.contains(&role) {
            roles.push(role);
        }
    }
    Ok(roles)
}

/// `2026-11-20T22:15`, in UTC.
fn moment(written: &At<String>) -> Result<Timestamp, Problem> {
    let text = written.value.trim().trim_end_matches('Z');
    let read = || {
        let (day, time) = text.split_once(['T', ' '])?;
        let (hour, minute) = time.split_once(':')?;
        let minute = minute
            .get(..2)?
            .parse::<u64>()
            .ok()
            .filter(|minute| *minute < 60)?;
        let hour = hour.parse::<u64>().ok().filter(|hour| *hour < 24)?;
        let end = day.parse::<Day>().ok()?.end();
        Some(Timestamp(end.0 - (24 - hour) * 3600 + minute * 60))
    };
    read().ok_or_else(|| {
        let problem = format!(
            "{:?} is no time, expected one such as 2026-11-20T22:15",
            written.value
        );
        written.place.problem(problem)
    })
}

/// Whom the rules choose, and whether they may.
fn chosen(
    wanted: &[String],
    place: Place,
    judged: &Judgement,
    names: Names<'_>,
) -> Result<(), Problem> {
    let nobody = matches!(wanted, [name] if name == NONE);
    let expected = if nobody {
        Vec::new()
    } else {
        names.all(wanted, place)?
    };
    let found: Vec<&AgentId> = agents(judged).collect();
    let shown = wanted.join(", ");
    let problem = match &judged.choice {
        None if nobody => return Ok(()),
        None => format!("expected {shown}, but no rule chooses an agent"),
        Some((number, _)) if expected.iter().ne(found.iter().copied()) => {
            format!("expected {shown}, found {} by rule {number}", list(found))
        }
        Some((_, plan)) => match judged.demands.forbidden_of(plan) {
            Some((number, _)) => format!("expected {shown}, which rule {number} forbids"),
            None => return Ok(()),
        },
    };
    Err(place.problem(problem))
}

/// The agents that the rules choose.
fn agents(judged: &Judgement) -> impl Iterator<Item = &AgentId> {
    judged.choice.iter().flat_map(|(_, plan)| plan.agents())
}

fn compare(
    expected: &Expected,
    place: Place,
    judged: &Judgement,
    names: Names<'_>,
) -> Result<(), Problem> {
    if let Some(route) = &expected.route {
        chosen(&route.value.0, route.place, judged, names)?;
    }
    if let Some(forbidden) = &expected.forbidden {
        let wanted = names.all(&forbidden.value.0, forbidden.place)?;
        let found: Vec<&AgentId> = judged.demands.forbidden().collect();
        let same = wanted.iter().all(|agent| found.contains(&agent))
            && found.iter().all(|agent| wanted.contains(agent));
        if !same {
            let problem = format!(
                "expected {} to be forbidden, found {}",
                list(&wanted),
                list(found)
            );
            return Err(forbidden.place.problem(problem));
        }
    }
    if let Some(approve) = &expected.approve {
        approval(approve, judged, names)?;
    }
    if let Some(synthesis) = expected.synthesis.map(Synthesis::from) {
        let found = judged.demands.synthesis;
        if found != Some(synthesis) {
            let found = found.map_or("nothing", Synthesis::as_str);
            let problem = format!(
                "expected synthesis to be set to {}, found {found}",
                synthesis.as_str()
            );
            return Err(place.problem(problem));
        }
    }
    if let Some(stages) = expected.stages.map(Stages::from) {
        let found = judged.demands.stages;
        if found != Some(stages) {
            let found = found.map_or("nothing", Stages::as_str);
            let problem = format!(
                "expected stages to be set to {}, found {found}",
                stages.as_str()
            );
            return Err(place.problem(problem));
        }
    }
    let told = judged.choice.as_ref().and_then(|(_, plan)| match plan {
        Plan::Single(assignment) => assignment.instructions.as_deref(),
        Plan::Steps(steps) => steps.first()?.assignment.instructions.as_deref(),
        Plan::About(_)
        | Plan::Clarify(_)
        | Plan::Refused(_)
        | Plan::Preferences(_)
        | Plan::Blocked(_) => None,
    });
    match expected.instructions.as_deref() {
        Some(wanted) if told != Some(wanted.trim()) => {
            let problem = format!(
                "expected the instructions {wanted:?}, found {:?}",
                told.unwrap_or_default()
            );
            Err(place.problem(problem))
        }
        _ => Ok(()),
    }
}

/// Approval of the agents named, or of the one that is chosen; where none is, of anybody.
fn approval(
    expected: &At<WrittenApprove>,
    judged: &Judgement,
    names: Names<'_>,
) -> Result<(), Problem> {
    let wants = |agent: &AgentId| judged.demands.wants_approval(agent);
    let asked: Vec<&AgentId> = names
        .0
        .iter()
        .map(|card| &card.id)
        .filter(|agent| wants(agent))
        .collect();
    let fits = match read_approve(expected, names)? {
        Some(Approve::These(agents)) => agents.iter().all(wants),
        Some(Approve::Anybody) => match judged.choice {
            Some(_) => agents(judged).all(wants),
            None => asked.len() == names.0.len(),
        },
        None => asked.is_empty(),
    };
    if fits {
        return Ok(());
    }
    let problem = format!(
        "approval is needed of {}, which is not what is expected",
        list(asked)
    );
    Err(expected.place.problem(problem))
}

fn list<'a>(agents: impl IntoIterator<Item = &'a AgentId>) -> String {
    let agents: Vec<&str> = agents.into_iter().map(AgentId::as_str).collect();
    if agents.is_empty() {
        return "nobody".into();
    }
    agents.join(", ")
}
