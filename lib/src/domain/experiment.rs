//! Experiments: who is in which arm, and what is done otherwise there.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::condition::Condition;
use super::day::Day;
use super::ids::{AgentId, Owner};
use super::plan::{Assignment, Plan};
use super::rulebook::Rulebook;

/// Whoever is in no other arm.
pub const CONTROL: &str = "control";
/// A share is so many of these: a hundredth of a percent each.
pub const SLOTS: u16 = 10_000;
/// More arms than these would run into each other when one grows; see [`slots`].
pub const ARMS: usize = 4;

/// A comparison of what is done now with something else.
#[derive(Clone, Debug, PartialEq)]
pub struct Experiment {
    pub name: Arc<str>,
    pub by: By,
    /// The requests that it is about; all where there is none.
    pub condition: Option<Condition>,
    /// The first and the last day, both included.
    pub start: Option<Day>,
    pub end: Option<Day>,
    pub arms: Vec<Arm>,
    /// The arm of each slot, counted from 1; 0 is the control.
    pub slots: Arc<[u8]>,
}

/// What a share of the users or conversations gets.
#[derive(Clone, Debug, PartialEq)]
pub struct Arm {
    pub name: Arc<str>,
    /// Of [`SLOTS`].
    pub share: u16,
    pub variant: Variant,
    pub guard: Option<Guard>,
}

/// What stays together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    #[default]
    User,
    Conversation,
}

/// What is done otherwise.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Variant {
    /// Who is asked in whose place: the one that is decided for comes first.
    pub agents: BTreeMap<AgentId, AgentId>,
    /// In place of the document's. What those forbid or want approved is in it, too.
    pub rules: Option<Arc<Rulebook>>,
    pub routing: Told,
    pub synthesis: Told,
}

/// Which model is asked, and what it is told beside the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub model: Option<Arc<str>>,
    pub prompt: Option<Arc<str>>,
}

/// When an arm is stopped: its figure is surely worse than one of these.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Guard {
    /// Nothing is judged before so many turns.
    pub least: u64,
    pub limits: Limits,
    /// So much worse than the control's.
    pub over_control: Limits,
}

/// Figures that are too bad.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// A share, from 0 to 1.
    pub failures: Option<f64>,
    /// The mean, in seconds.
    pub time: Option<f64>,
    /// The mean, in dollars.
    pub spend: Option<f64>,
}

/// An arm of an experiment, in records and logs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArmId {
    pub experiment: Arc<str>,
    pub arm: Arc<str>,
}

/// Where a turn is, in all experiments.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Placed {
    pub places: Vec<Place>,
    /// What all its arms do otherwise.
    pub variant: Variant,
    /// Who stands in whose place in its arms, those included that were stopped: the other one comes first.
    pub stands: Vec<(AgentId, AgentId)>,
    /// Names the arms on which a decision of the routing depends; empty where none is.
    pub routing: String,
}

/// Where a turn is in one experiment.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    pub id: ArmId,
    /// Where the experiment changes nothing but agents, only decisions for one of these belong to it.
    pub agents: Option<Arc<[AgentId]>>,
}

impl Experiment {
    /// Whether it runs on this day.
    pub fn is_on(&self, day: Day) -> bool {
        self.start.is_none_or(|start| start <= day) && self.end.is_none_or(|end| day <= end)
    }

    /// The arm of a turn: the same for the same user or conversation for as long as the shares stay. A conversation that
    /// its client does not name is its user's.
    pub fn arm(&self, owner: &Owner, conversation: Option<&str>) -> Option<&Arm> {
        let conversation = conversation.filter(|_| self.by == By::Conversation);
        let slot = slot(&self.name, owner, conversation);
        let arm = self.slots.get(usize::from(slot)).copied().unwrap_or(0);
        self.arms.get(usize::from(arm.checked_sub(1)?))
    }

    pub fn id(&self, arm: Option<&Arm>) -> ArmId {
        ArmId {
            experiment: Arc::clone(&self.name),
            arm: arm.map_or_else(|| CONTROL.into(), |arm| Arc::clone(&arm.name)),
        }
    }

    /// The agents that it is about, where it changes nothing else.
    pub fn agents(&self) -> Option<Arc<[AgentId]>> {
        let variants = || self.arms.iter().map(|arm| &arm.variant);
        let alone = variants().all(|variant| {
            *variant
                == Variant {
                    agents: variant.agents.clone(),
                    ..Variant::default()
                }
        });
        let agents = variants().flat_map(|variant| &variant.agents);
        alone.then(|| {
            agents
                .flat_map(|(of, other)| [of, other])
                .cloned()
                .collect()
        })
    }
}

impl Variant {
    /// Whether somebody else may be decided for than without it.
    pub fn routes(&self) -> bool {
        self.rules.is_some() || self.routing != Told::default()
    }

    /// The same and another one. Of two that change the same thing, which no document has at once, the first counts.
    pub fn and(&mut self, other: &Self) {
        for (of, by) in &other.agents {
            let of = self.agents.entry(of.clone());
            of.or_insert_with(|| by.clone());
        }
        self.rules = self.rules.take().or_else(|| other.rules.clone());
        self.routing.and(&other.routing);
        self.synthesis.and(&other.synthesis);
    }

    /// Puts agents into a plan in place of others, where they may be.
    pub fn swap(&self, plan: &mut Plan, mut may: impl FnMut(&Assignment, &AgentId) -> bool) {
        if self.agents.is_empty() {
            return;
        }
        let there: Vec<AgentId> = plan.agents().cloned().collect();
        for assignment in plan.assignments_mut() {
            if let Some(other) = self.agents.get(&assignment.agent)
                && !there.contains(other)
                && may(assignment, other)
            {
                assignment.agent = other.clone();
            }
        }
    }
}

impl Told {
    fn and(&mut self, other: &Self) {
        self.model = self.model.take().or_else(|| other.model.clone());
        self.prompt = self.prompt.take().or_else(|| other.prompt.clone());
    }
}

impl Placed {
    /// The arms that a decision belongs to; before there is one, those that it makes no difference to.
    pub fn arms(&self, plan: Option<&Plan>) -> Vec<ArmId> {
        let concerned = |place: &&Place| match (&place.agents, plan) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(agents), Some(plan)) => plan.agents().any(|agent| agents.contains(agent)),
        };
        let places = self.places.iter().filter(concerned);
        places.map(|place| place.id.clone()).collect()
    }

    /// Whether what is decided here says what is decided elsewhere.
    pub fn routes_as_ever(&self) -> bool {
        self.routing.is_empty()
    }
}

impl fmt::Display for ArmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.experiment, self.arm)
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::Conversation => "conversation",
        })
    }
}

/// Where a user or a conversation stands among the slots of an experiment. The experiment's name is in the hash, so that
/// one experiment says nothing of another one.
fn slot(experiment: &str, owner: &Owner, conversation: Option<&str>) -> u16 {
    let mut hash = Sha256::new();
    let parts = [
        experiment,
        owner.tenant(),
        owner.id(),
        conversation.unwrap_or_default(),
    ];
    for part in parts {
        // No part can reach into its neighbour.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let first = hash
        .finalize()
        .into_iter()
        .take(8)
        .fold(0_u64, |number, byte| (number << 8) | u64::from(byte));
    u16::try_from(first % u64::from(SLOTS)).unwrap_or_default()
}

/// The arm of every slot, for these shares.
///
/// The slots are a circle. The first arm grows from its top to the right, the second to the left, the third and the fourth
/// likewise from its bottom. So an arm that grows takes from the control alone, and one that shrinks gives to it alone, as
/// long as no two arms meet: two never do, and of three or four none does that has at most a quarter. One that meets
/// another goes on behind it.
pub fn slots(shares: &[u16]) -> Arc<[u8]> {
    let mut slots = vec![0; usize::from(SLOTS)];
    let length = slots.len();
    for ((at, share), number) in shares.iter().enumerate().zip(1_u8..) {
        let from = if at % 4 < 2 { 0 } else { length / 2 };
        let mut left = *share;
        for step in 0..length {
            let place = match at % 2 {
                0 => from + step,
                _ => from + length - 1 - step,
            };
            if let Some(slot @ 0) = slots.get_mut(place % length).filter(|_| left > 0) {
                *slot = number;
                left -= 1;
            }
        }
    }
    slots.into()
}

#[cfg(test)]
mod tests;
