//! Every metric there is: `docs/metrics.md` has the same table, and a test compares them.

/// One metric.
#[derive(Debug, PartialEq)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Counter,
    Gauge,
    /// With the upper bounds of its buckets.
    Histogram(&'static [f64]),
}

/// In seconds.
const TIMES: &[f64] = &[
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0,
];
const AGES: &[f64] = &[1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0];

macro_rules! catalogue {
    ($($constant:ident $name:literal $kind:expr, [$($label:literal),*], $help:literal;)*) => {
        $(pub const $constant: &Metric = &Metric {
            name: $name,
            kind: $kind,
            labels: &[$($label),*],
            help: $help,
        };)*
        /// All of them.
        pub const CATALOGUE: &[&Metric] = &[$($constant),*];
    };
}

catalogue! {
    TURNS "mas_turns_total" Kind::Counter, ["outcome"], "Turns that have ended.";
    IN_FLIGHT "mas_turns_in_flight" Kind::Gauge, [], "Turns under way in this process.";
    TURN "mas_turn_seconds" Kind::Histogram(TIMES), [], "From the request to the end of the answer.";
    FIRST_BYTE "mas_first_byte_seconds" Kind::Histogram(TIMES), [], "To the first byte.";
    FIRST_STAGE "mas_first_stage_seconds" Kind::Histogram(TIMES), [], "To the first stage of an agent.";
    FIRST_TOKEN "mas_first_token_seconds" Kind::Histogram(TIMES), [], "To the first token of the answer.";
    STAGE "mas_stage_seconds" Kind::Histogram(TIMES), ["stage"], "Time in each part of a turn.";
    DECISIONS "mas_decisions_total" Kind::Counter, ["source", "agent"], "Who decided, and for whom.";
    VERDICTS "mas_rung_verdicts_total" Kind::Counter, ["rung", "verdict"], "What each rung of the ladder said.";
    RUNG "mas_rung_seconds" Kind::Histogram(TIMES), ["rung"], "Time of each rung.";
    AGREEMENT "mas_rung_agreement_total" Kind::Counter, ["rung", "agrees"], "Whether the model says what a rung said, of those compared.";
    DEFAULT_AGENT "mas_default_agent_total" Kind::Counter, [], "Turns that the default agent got.";
    CALLS "mas_agent_calls_total" Kind::Counter, ["agent", "outcome"], "Calls to agents, and what came of them.";
    AGENT "mas_agent_seconds" Kind::Histogram(TIMES), ["agent"], "Time of calls to agents.";
    CHECKS "mas_checks_failed_total" Kind::Counter, ["agent", "check", "again"], "Checks that answers failed, and whether the agent was asked once more.";
    REWORKS "mas_reworks_total" Kind::Counter, ["agent", "result"], "Agents that were asked once more, and whether that helped.";
    JUDGEMENTS "mas_judgements_total" Kind::Counter, ["agent", "result"], "Answers that a second model looked at.";
    BREAKER "mas_breaker_state" Kind::Gauge, ["peer"], "0 closed, 1 half-open, 2 open.";
    LOOKUPS "mas_cache_lookups_total" Kind::Counter, ["result"], "Lookups of earlier decisions.";
    AGE "mas_cache_age_seconds" Kind::Histogram(AGES), [], "Age of a decision that is used again.";
    SPECULATION "mas_speculation_total" Kind::Counter, ["result"], "Agents that were begun on a guess, or were not.";
    SAVED "mas_speculation_saved_seconds" Kind::Histogram(TIMES), [], "How long an adopted agent had been at work.";
    WASTED "mas_speculation_wasted_tokens_total" Kind::Counter, [], "Tokens that dropped agents said they used.";
    TOKENS "mas_tokens_total" Kind::Counter, ["step", "model", "kind"], "Tokens, where they are known.";
    COST "mas_cost_dollars_total" Kind::Counter, ["tenant", "step", "agent"], "Their price, where it is known.";
    UNKNOWN_USAGE "mas_unknown_usage_total" Kind::Counter, ["step"], "Calls that did not say what they used.";
    UNKNOWN_PRICE "mas_unknown_price_total" Kind::Counter, ["model"], "Calls of models without a price.";
    HOOKS "mas_hook_calls_total" Kind::Counter, ["hook", "point", "result"], "Hooks that were asked, and what came of it.";
    HOOK "mas_hook_seconds" Kind::Histogram(TIMES), ["hook", "point"], "Time of hooks.";
    EXPERIMENT "mas_experiment_turns_total" Kind::Counter, ["experiment", "arm", "result"], "Turns of the arms of experiments.";
    ARMS_STOPPED "mas_experiment_arms_stopped_total" Kind::Counter, ["experiment", "arm"], "Arms that their guards stopped.";
    DROPPED "mas_capabilities_dropped_total" Kind::Counter, ["agent"], "Capabilities that an agent does not name any more.";
    PRUNED "mas_pruned_total" Kind::Counter, ["step"], "Histories that were cut to their budget.";
}
