//! The rules that an administrator wrote, and what they come to for one request.

use std::fmt;

use super::condition::Condition;
use super::ids::AgentId;
use super::plan::{Plan, Refusal, RoutingDecision};
use super::preference::Stages;
use super::rules::Synthesis;
use super::situation::Situation;

/// One rule: where its condition holds, this is done.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    pub condition: Condition,
    /// Its line in the document.
    pub line: usize,
    pub then: Then,
}

/// What a rule does, at least one of these.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Then {
    /// Who answers. Of several rules that say so, the first.
    pub choice: Option<Plan>,
    pub forbid: Vec<Forbidden>,
    pub approve: Option<Approve>,
    /// As many answers of a choice of several are enough.
    pub quorum: Option<usize>,
    /// When a second model writes the answer of this turn.
    pub synthesis: Option<Synthesis>,
    /// How much of the agents' work is shown.
    pub stages: Option<Stages>,
    /// Kinds of facts that the agents asked are told.
    pub share: Vec<String>,
}

/// An agent that nobody may ask for this request, and what the user is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forbidden {
    pub agent: AgentId,
    pub say: Option<String>,
}

/// For whom the user's approval is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Approve {
    Anybody,
    These(Vec<AgentId>),
}

/// All rules, in the order of the document.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rulebook {
    pub rules: Vec<Rule>,
}

/// What came of a rule's condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    Yes,
    No,
    /// It could not be said, and why.
    Failed(String),
}

/// What the rules demand, whoever chooses the agent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Demands {
    /// With the number of the rule, from 1.
    forbidden: Vec<(usize, Forbidden)>,
    approve: Vec<Approve>,
    /// As many answers are enough, where it is the rules' choice that is carried out.
    pub quorum: Option<usize>,
    pub synthesis: Option<Synthesis>,
    pub stages: Option<Stages>,
    /// Kinds of facts that the agents asked are told, of those that they take.
    pub share: Vec<String>,
}

/// What all rules come to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judgement {
    /// One for each rule.
    pub held: Vec<Held>,
    /// The first choice, and the number of its rule, from 1.
    pub choice: Option<(usize, Plan)>,
    pub demands: Demands,
}

impl Rulebook {
    /// What these rules forbid and want approved, without what they choose.
    pub fn bounds(&self) -> impl Iterator<Item = Rule> {
        let bounds = self.rules.iter().map(|rule| Rule {
            then: Then {
                forbid: rule.then.forbid.clone(),
                approve: rule.then.approve.clone(),
                ..Then::default()
            },
            ..rule.clone()
        });
        bounds.filter(|rule| rule.then != Then::default())
    }

    /// Tests every rule: what one forbids holds also where another one before it has chosen.
    pub fn judge(&self, situation: &Situation<'_>) -> Judgement {
        let mut judgement = Judgement::default();
        for (number, rule) in (1..).zip(&self.rules) {
            let held = match rule.condition.holds(situation) {
                Ok(true) => Held::Yes,
                Ok(false) => Held::No,
                Err(why) => Held::Failed(why),
            };
            if held == Held::Yes {
                judgement.take(number, &rule.then);
            }
            judgement.held.push(held);
        }
        judgement
    }
}

impl Judgement {
    fn take(&mut self, number: usize, then: &Then) {
        if let (None, Some(choice)) = (&self.choice, &then.choice) {
            self.choice = Some((number, choice.clone()));
            self.demands.quorum = then.quorum;
        }
        let forbidden = then.forbid.iter().map(|one| (number, one.clone()));
        self.demands.forbidden.extend(forbidden);
        self.demands.approve.extend(then.approve.clone());
        self.demands.synthesis = self.demands.synthesis.or(then.synthesis);
        self.demands.stages = self.demands.stages.or(then.stages);
        self.demands.share.extend_from_slice(&then.share);
    }

    /// The decision, or that it is refused, where a rule forbids an agent that it is for.
    #[must_use]
    pub fn allowed(&self, decision: RoutingDecision) -> RoutingDecision {
        let Some((number, forbidden)) = self.demands.forbidden_of(&decision.plan) else {
            return decision;
        };
        let agent = &forbidden.agent;
        let plan = Plan::Refused(Refusal {
            agent: agent.clone(),
            say: forbidden.say.clone(),
        });
        let rationale = format!("rule {number} forbids {agent}");
        RoutingDecision {
            plan,
            rationale,
            request: None,
            ..decision
        }
    }

    /// The rules that could not be tested, with their numbers from 1.
    pub fn failed(&self) -> impl Iterator<Item = (usize, &str)> {
        let numbered = (1..).zip(&self.held);
        numbered.filter_map(|(number, held)| match held {
            Held::Failed(why) => Some((number, why.as_str())),
            Held::Yes | Held::No => None,
        })
    }
}

impl Demands {
    /// The rule that forbids this agent, and what it says.
    pub fn forbids(&self, agent: &AgentId) -> Option<(usize, &Forbidden)> {
        let mut forbidden = self.forbidden.iter();
        let found = forbidden.find(|(_, forbidden)| forbidden.agent == *agent);
        found.map(|(number, forbidden)| (*number, forbidden))
    }

    /// What forbids a plan: that its agent may not be asked, or none of its agents. Of several, the others go on.
    pub fn forbidden_of(&self, plan: &Plan) -> Option<(usize, &Forbidden)> {
        let mut forbidden = plan.agents().map(|agent| self.forbids(agent));
        let first = forbidden.next()??;
        forbidden.all(|one| one.is_some()).then_some(first)
    }

    /// The agents that nobody may ask.
    pub fn forbidden(&self) -> impl Iterator<Item = &AgentId> {
        self.forbidden.iter().map(|(_, forbidden)| &forbidden.agent)
    }

    /// What holds for the one agent holds for the other, too.
    pub fn stand_in(&mut self, of: &AgentId, by: &AgentId) {
        if let (Some((number, forbidden)), None) = (self.forbids(of), self.forbids(by)) {
            let also = Forbidden {
                agent: by.clone(),
                ..forbidden.clone()
            };
            self.forbidden.push((number, also));
        }
        if self.wants_approval(of) && !self.wants_approval(by) {
            self.demand_approval(by);
        }
    }

    /// From now on the user must approve what this agent is asked.
    pub fn demand_approval(&mut self, agent: &AgentId) {
        self.approve.push(Approve::These(vec![agent.clone()]));
    }

    /// Whether the user must approve what this agent is asked.
    pub fn wants_approval(&self, agent: &AgentId) -> bool {
        self.approve.iter().any(|approve| match approve {
            Approve::Anybody => true,
            Approve::These(agents) => agents.contains(agent),
        })
    }
}

impl fmt::Display for Then {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        parts.extend(self.choice.as_ref().map(|plan| {
            let agents: Vec<&str> = plan.agents().map(AgentId::as_str).collect();
            format!("route to {}", agents.join(", "))
        }));
        let forbidden = self.forbid.iter();
        parts.extend(forbidden.map(|forbidden| format!("forbid {}", forbidden.agent)));
        match &self.approve {
            Some(Approve::Anybody) => parts.push("ask for approval".into()),
            Some(Approve::These(agents)) => {
                let agents: Vec<&str> = agents.iter().map(AgentId::as_str).collect();
                parts.push(format!("ask for approval of {}", agents.join(", ")));
            }
            None => {}
        }
        if !self.share.is_empty() {
            parts.push(format!("share {}", self.share.join(", ")));
        }
        let synthesis = self.synthesis.map(Synthesis::as_str);
        parts.extend(synthesis.map(|word| format!("set synthesis to {word}")));
        let stages = self.stages.map(Stages::as_str);
        parts.extend(stages.map(|word| format!("set stages to {word}")));
        f.write_str(&parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::plan::Assignment;
    use crate::domain::situation::Asked;

    fn rule(condition: &str, then: Then) -> Rule {
        Rule {
            condition: Condition::parse(condition).unwrap(),
            line: 1,
            then,
        }
    }

    fn route(agent: &str) -> Then {
        Then {
            choice: Some(Plan::Single(Assignment::plain(&AgentId::new(agent)))),
            ..Then::default()
        }
    }

    fn forbid(agent: &str) -> Then {
        Then {
            forbid: vec![Forbidden {
                agent: AgentId::new(agent),
                say: None,
            }],
            ..Then::default()
        }
    }

    #[test]
    fn the_first_rule_chooses_and_what_any_rule_forbids_is_forbidden() {
        let book = Rulebook {
            rules: vec![
                rule("attachments[0].size > 0", route("A")),
                rule("contains(query, 'x')", route("B")),
                rule("true", route("C")),
                rule("words == 1", forbid("B")),
                rule("words > 1", forbid("A")),
            ],
        };
        let situation = Situation::new(Asked {
            text: "X",
            ..Asked::default()
        });
        let judged = book.judge(&situation);
        let failed: Vec<_> = judged.failed().collect();
        assert_eq!(failed, [(1, "the list has no element there")]);
        let (number, plan) = judged.choice.unwrap();
        assert_eq!((number, plan.agents().next().unwrap().as_str()), (2, "B"));
        assert_eq!(judged.demands.forbidden_of(&plan).unwrap().0, 4);
        assert_eq!(judged.demands.forbids(&AgentId::new("A")), None);
    }

    #[test]
    fn approval_is_needed_of_anybody_or_of_those_named() {
        let these = |agents: &[&str]| {
            Approve::These(agents.iter().map(|name| AgentId::new(name)).collect())
        };
        let demands = |approve| Demands {
            approve,
            ..Demands::default()
        };
        let a = AgentId::new("A");
        assert!(demands(vec![these(&["B"]), Approve::Anybody]).wants_approval(&a));
        assert!(demands(vec![these(&["A", "B"])]).wants_approval(&a));
        assert!(!demands(vec![these(&["B"])]).wants_approval(&a));
        assert!(!demands(Vec::new()).wants_approval(&a));
    }
}
