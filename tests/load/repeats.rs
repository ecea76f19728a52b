//! Decisions used again: traces with more and less repetition, each asked with the decision cache off and on.

use std::collections::HashSet;
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::Failed;
use crate::law::draw;
use crate::mean::{Mean, short};
use crate::round::{Counts, Round, Taken};
use crate::routing::How;
use crate::scene::Options;
use crate::script::{AGENTS, Mind};
use crate::section::Section;

/// Nothing but the cache differs. `check` would ask the model beside the agent, which nobody waits for.
const OFF: &str = "guess=off,cache=off";
const ON: &str = "guess=off,check=off";
/// Closes the routing stage, the first one of a turn.
const ROUTED: &[u8] = b"\"status\":\"completed\"";
/// Of four agents each gets a quarter of the questions.
const EVEN: f64 = 0.25;
/// Questions that are asked before anything is measured, and the first of their numbers.
const WARM_UP: u64 = 8;
const OTHERS: u64 = 1_000_000;

/// One trace, without and with the cache.
#[derive(Default)]
struct Pair {
    exponent: f64,
    /// The share of turns whose question had come before.
    repeated: f64,
    off: Mean,
    on: Mean,
    /// Off less on, turn by turn.
    saved: Mean,
    hit: Mean,
    miss: Mean,
    /// By the program's own count: found, and asked for.
    found: f64,
    lookups: f64,
    failed: f64,
    wrong_hits: u32,
    /// The program's own mean of the stage, in milliseconds.
    stage_off: f64,
    stage_on: f64,
    errors: Vec<String>,
    said: Vec<String>,
}

/// One round, with what the program counted.
struct Half {
    taken: Vec<Result<Taken, String>>,
    before: Counts,
    after: Counts,
    said: Vec<String>,
}

pub async fn run(options: &Options, how: &How) -> Result<Section, Failed> {
    let mut section = Section::default();
    section.say(&format!(
        "decisions used again: {} turns of {} questions, {} at once, delays times {} (milliseconds until the routing stage closed)\n\
         {:>9}{:>10}{:>7}{:>8}{:>8}{:>7}{:>7}{:>16}{:>12}{:>9}\n",
        how.turns, how.questions, how.callers, how.delay_scale,
        "exponent", "repeated", "hits", "off", "on", "hit", "miss", "less", "by metrics", "wrong"
    ));
    let (mut rows, mut curve) = (Vec::new(), Vec::new());
    for exponent in &how.exponents {
        let pair = pair(options, how, *exponent).await?;
        section.text += &pair.row();
        rows.push(pair.json());
        curve.push((pair.hit_rate(), pair.less()));
        section.errors.extend(pair.errors);
        section.said.extend(pair.said);
    }
    section.put("cache", rows.into());
    if let Some(file) = &how.picture {
        std::fs::write(file, picture(&curve))?;
    }
    Ok(section)
}

async fn pair(options: &Options, how: &How, exponent: f64) -> Result<Pair, Failed> {
    let trace = trace(how, exponent);
    let off = half(options, how, OFF, &trace).await?;
    let on = half(options, how, ON, &trace).await?;
    let lookups = |result| {
        let name = format!("mas_cache_lookups_total{{result=\"{result}\"}}");
        on.after.since(&on.before, &name)
    };
    let found = lookups("front") + lookups("table");
    let mut pair = Pair {
        exponent,
        found,
        lookups: found + lookups("miss") + lookups("failed"),
        failed: lookups("failed"),
        stage_off: off.stage(),
        stage_on: on.stage(),
        said: [off.said, on.said].concat(),
        ..Pair::default()
    };
    let mind = Mind {
        precision: EVEN,
        seed: how.seed,
    };
    let (mut known, mut repeated) = (HashSet::new(), Mean::default());
    for (question, halves) in trace.iter().zip(off.taken.into_iter().zip(on.taken)) {
        repeated.add(if known.insert(*question) { 0.0 } else { 1.0 });
        match halves {
            (Ok(off), Ok(on)) => pair.add(mind.agent(*question), &off, &on),
            (off, on) => pair.errors.extend(off.err().into_iter().chain(on.err())),
        }
    }
    pair.repeated = repeated.value();
    Ok(pair)
}

async fn half(options: &Options, how: &How, routing: &str, trace: &[u64]) -> Result<Half, Failed> {
    let round = Round::start(options, routing, how.script(EVEN, false)).await?;
    let others: Vec<u64> = (OTHERS..OTHERS + WARM_UP).collect();
    for warm in round.ask(&others, OTHERS, how.callers, ROUTED).await {
        warm?;
    }
    let before = round.counts().await?;
    let taken = round.ask(trace, 1, how.callers, ROUTED).await;
    Ok(Half {
        taken,
        before,
        after: round.counts().await?,
        said: round.said(),
    })
}

/// Questions of which the first is the likeliest, the second 2 to the power of the exponent times less likely, and so on.
fn trace(how: &How, exponent: f64) -> Vec<u64> {
    let mut sum = 0.0;
    let until: Vec<f64> = (1..=how.questions)
        .map(|rank| {
            sum += f64::from(rank).powf(-exponent);
            sum
        })
        .collect();
    (1..)
        .take(how.turns)
        .map(|turn| {
            let at = draw(how.seed.wrapping_add(100), turn) * sum;
            let rank = until.partition_point(|until| *until <= at);
            u64::try_from(rank).unwrap_or_default()
        })
        .collect()
}

impl Half {
    fn stage(&self) -> f64 {
        (self.after).mean_ms(&self.before, "mas_stage_seconds", r#"{stage="route"}"#)
    }
}

impl Pair {
    fn add(&mut self, decided: &'static str, off: &Taken, on: &Taken) {
        let ms = |taken: &Taken| taken.until_word.as_secs_f64() * 1e3;
        self.off.add(ms(off));
        self.on.add(ms(on));
        self.saved.add(ms(off) - ms(on));
        let is_hit = on.calls.iter().all(|call| call.agent.is_some());
        let asked = if is_hit {
            &mut self.hit
        } else {
            &mut self.miss
        };
        asked.add(ms(on));
        let is_wrong = |taken: &Taken| {
            let mut agents = taken.calls.iter().filter_map(|call| call.agent);
            agents.next() != Some(decided) || agents.next().is_some()
        };
        self.wrong_hits += u32::from(is_hit && is_wrong(on));
        if !is_hit && is_wrong(on) || is_wrong(off) {
            let problem = format!("another agent than {decided} of {AGENTS:?} answered");
            self.errors.push(problem);
        }
    }

    fn hit_rate(&self) -> f64 {
        self.found / self.lookups
    }

    /// By how many percent the mean is lower, and give or take how many.
    fn less(&self) -> f64 {
        self.saved.value() / self.off.value() * 100.0
    }

    fn give_or_take(&self) -> f64 {
        self.saved.give_or_take() / self.off.value() * 100.0
    }

    /// The same by the program's own clock.
    fn less_by_metrics(&self) -> f64 {
        (1.0 - self.stage_on / self.stage_off) * 100.0
    }

    fn row(&self) -> String {
        format!(
            "{:>9}{:>8.1} %{:>5.1} %{:>8.1}{:>8.1}{:>7.1}{:>7.1}{:>8.1} ± {:>3.1} %{:>10.1} %{:>9}\n",
            self.exponent,
            self.repeated * 100.0,
            self.hit_rate() * 100.0,
            self.off.value(),
            self.on.value(),
            self.hit.value(),
            self.miss.value(),
            self.less(),
            self.give_or_take(),
            self.less_by_metrics(),
            self.wrong_hits,
        )
    }

    fn json(&self) -> Value {
        json!({
            "exponent": self.exponent,
            "turns": self.off.count(),
            "repeated_share": short(self.repeated),
            "hit_share": short(self.hit_rate()),
            "failed_lookups": self.failed,
            "off_mean_ms": short(self.off.value()),
            "on_mean_ms": short(self.on.value()),
            "hit_mean_ms": short(self.hit.value()),
            "miss_mean_ms": short(self.miss.value()),
            "less_percent": short(self.less()),
            "less_percent_give_or_take": short(self.give_or_take()),
            "off_mean_ms_by_metrics": short(self.stage_off),
            "on_mean_ms_by_metrics": short(self.stage_on),
            "less_percent_by_metrics": short(self.less_by_metrics()),
            "wrong_hits": self.wrong_hits,
        })
    }
}

/// The reduction over the hit rate, each 0 to 100 percent, with a line at the 40 percent that are aimed at.
fn picture(curve: &[(f64, f64)]) -> String {
    let x = |share: f64| 50.0 + 4.0 * share * 100.0;
    let y = |percent: f64| 230.0 - 2.0 * percent;
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 480 290\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"480\" height=\"290\" fill=\"#fff\"/>\n",
    );
    let colours = ["#ddd", "#ddd", "#c33", "#ddd", "#ddd", "#ddd"];
    for (percent, colour) in [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]
        .into_iter()
        .zip(colours)
    {
        let (at, level) = (x(percent / 100.0), y(percent));
        // Writing to a string cannot fail.
        let _ = writeln!(
            svg,
            "<path d=\"M50 {level}H450\" stroke=\"{colour}\"/>\
             <text x=\"44\" y=\"{}\" text-anchor=\"end\">{percent}</text>\
             <text x=\"{at}\" y=\"246\" text-anchor=\"middle\">{percent}</text>",
            level + 4.0
        );
    }
    let points = curve.iter().map(|(share, less)| (x(*share), y(*less)));
    for (index, (x, y)) in points.clone().enumerate() {
        let _ = writeln!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"#247\"/>"
        );
        if let Some((to_x, to_y)) = points.clone().nth(index + 1) {
            let _ = writeln!(
                svg,
                "<path d=\"M{x:.1} {y:.1}L{to_x:.1} {to_y:.1}\" stroke=\"#247\" stroke-width=\"2\"/>"
            );
        }
    }
    svg + "<text x=\"250\" y=\"270\" text-anchor=\"middle\">turns decided from the cache, percent</text>\n\
         <text x=\"50\" y=\"20\">mean time to the decision lower by, percent; red: the aim</text>\n</svg>\n"
}
