//! What routing gains from decisions used again and from agents begun on a guess, as pairs of rounds with and without.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::Failed;
use crate::law::Law;
use crate::scene::Options;
use crate::script::{Mind, Script, Tokens};
use crate::section::{Section, joined};
use crate::{guesses, repeats};

#[derive(Args)]
#[group(skip)]
pub struct How {
    /// What to measure
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "cache,guesses"
    )]
    pub parts: Vec<Part>,
    /// What every delay of the law is multiplied by
    #[arg(long, default_value_t = 0.1)]
    pub delay_scale: f64,
    /// What questions and decisions depend on
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Cache: turns of each trace
    #[arg(long, default_value_t = 300)]
    pub turns: usize,
    /// Cache: different questions that a trace is drawn from
    #[arg(long, default_value_t = 100)]
    pub questions: u32,
    /// Cache: Zipf exponents, how much likelier some questions are than others; 0 makes all as likely
    #[arg(long, value_delimiter = ',', default_value = "0,0.5,0.8,1,1.2")]
    pub exponents: Vec<f64>,
    /// Cache: callers at once
    #[arg(long, default_value_t = 4)]
    pub callers: usize,
    /// Cache: write the curve as a picture
    #[arg(long, value_name = "FILE.svg")]
    pub picture: Option<PathBuf>,
    /// Guesses: turns for each precision
    #[arg(long, default_value_t = 200)]
    pub guess_turns: u64,
    /// Guesses: shares of questions that are for the guessed agent
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "0.5,0.6,0.7,0.8,0.9,0.95"
    )]
    pub precisions: Vec<f64>,
    /// Guesses: callers at once
    #[arg(long, default_value_t = 12)]
    pub guess_callers: usize,
    /// Guesses: tokens that an agent uses before its first event
    #[arg(long, default_value_t = 1000)]
    pub prompt_tokens: u64,
    /// Guesses: tokens that an agent uses for each event
    #[arg(long, default_value_t = 10)]
    pub event_tokens: u64,
    /// Guesses: how many tokens a saved second is worth, for the table of break-evens
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "300,1000,3000,10000,30000"
    )]
    pub tokens_per_second: Vec<f64>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum Part {
    Cache,
    Guesses,
}

pub async fn run(options: &Options, how: &How) -> Result<Section, Failed> {
    let mut sections = Vec::new();
    if how.parts.contains(&Part::Cache) {
        sections.push(repeats::run(options, how).await?);
    }
    if how.parts.contains(&Part::Guesses) {
        sections.push(guesses::run(options, how).await?);
    }
    let mut whole = joined(sections);
    whole.put("delay_scale", how.delay_scale.into());
    Ok(whole)
}

impl How {
    /// What the upstreams do: this share of the questions is for the first agent.
    pub fn script(&self, precision: f64, paced: bool) -> Script {
        let mind = Mind {
            precision,
            seed: self.seed,
        };
        let law = Law {
            scale: self.delay_scale,
        };
        let tokens = Tokens {
            prompt: self.prompt_tokens,
            event: self.event_tokens,
        };
        Script::new(mind, law, paced, tokens)
    }
}
