//! Agents begun on a guess: what they save and cost where guesses are right more and less often.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::Failed;
use crate::mean::{Mean, break_even, short};
use crate::round::{Round, Taken};
use crate::routing::How;
use crate::scene::Options;
use crate::script::{AGENTS, Call};
use crate::section::Section;
use crate::spread::{MEDIAN, P95, Spread};

/// The same turns without guesses, with a guess in every turn, and as it is by default.
const OFF: &str = "cache=off,guess=off";
const ALWAYS: &str = "cache=off,guess=1%";
const DEFAULT: &str = "cache=off,guess=80%";
/// In the first stage of an agent that people see.
const AT_WORK: &[u8] = b"web_search";
/// Turns before anything is measured: each of the program's threads learns for itself. Their first number.
const WARM_UP: u64 = 80;
const OTHERS: u64 = 1_000_000;

/// Turns of one precision under one setting, beside the same without guesses.
#[derive(Default)]
struct Pair {
    precision: f64,
    off: Spread,
    on: Spread,
    off_mean: Mean,
    on_mean: Mean,
    /// Milliseconds off less on, turn by turn, and the same of turns with a right and with a wrong guess.
    saved: Mean,
    right: Mean,
    wrong: Mean,
    /// Tokens of agents that answered, of those that were dropped until they were, and what these would have used.
    used: Mean,
    wasted: Mean,
    wasted_whole: Mean,
    /// By the program's own count.
    adopted: f64,
    dropped: f64,
    withheld: f64,
    wasted_known: f64,
    wasted_unknown: f64,
    errors: Vec<String>,
    said: Vec<String>,
}

pub async fn run(options: &Options, how: &How) -> Result<Section, Failed> {
    let mut section = Section::default();
    let (mut always, mut default) = (Vec::new(), Vec::new());
    for precision in &how.precisions {
        let off = round(options, how, OFF, *precision).await?;
        for (routing, pairs) in [(ALWAYS, &mut always), (DEFAULT, &mut default)] {
            let on = round(options, how, routing, *precision).await?;
            let mut pair = on.pair(&off.taken, *precision);
            section.errors.append(&mut pair.errors);
            section.said.append(&mut pair.said);
            pairs.push(pair);
        }
        section.said.extend(off.said);
    }
    for (label, pairs) in [("in every turn", &always), ("as by default", &default)] {
        section.say(&format!(
            "agents begun on a guess, {label}: {} turns, {} at once, delays times {} (milliseconds until the agent's first stage)\n\
             {:>9}{:>8}{:>8}{:>8}{:>8}{:>16}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}\n",
            how.guess_turns, how.guess_callers, how.delay_scale,
            "precision", "median", "with", "mean", "with", "saved a turn", "adopted", "dropped", "withheld",
            "wasted", "of", "a second"
        ));
        for pair in pairs {
            section.text += &pair.row(how.delay_scale);
        }
    }
    let json = |pairs: &[Pair]| -> Value {
        let rows = pairs.iter().map(|pair| pair.json(how.delay_scale));
        rows.collect()
    };
    section.put("guesses_in_every_turn", json(&always));
    section.put("guesses_by_default", json(&default));
    worth(how, &always, &mut section);
    Ok(section)
}

/// A round, and what was counted in it.
struct Half {
    taken: Vec<Result<Taken, String>>,
    counted: [f64; 5],
    said: Vec<String>,
}

async fn round(
    options: &Options,
    how: &How,
    routing: &str,
    precision: f64,
) -> Result<Half, Failed> {
    let round = Round::start(options, routing, how.script(precision, true)).await?;
    let others: Vec<u64> = (OTHERS..OTHERS + WARM_UP).collect();
    for warm in round.ask(&others, OTHERS, how.guess_callers, AT_WORK).await {
        warm?;
    }
    let before = round.counts().await?;
    let questions: Vec<u64> = (1..=how.guess_turns).collect();
    let taken = round.ask(&questions, 1, how.guess_callers, AT_WORK).await;
    let after = round.counts().await?;
    let names = [
        r#"mas_speculation_total{result="adopted"}"#,
        r#"mas_speculation_total{result="dropped"}"#,
        r#"mas_speculation_total{result="withheld"}"#,
        "mas_speculation_wasted_tokens_total",
        r#"mas_unknown_usage_total{step="speculation"}"#,
    ];
    Ok(Half {
        taken,
        counted: names.map(|name| after.since(&before, name)),
        said: round.said(),
    })
}

impl Half {
    fn pair(self, off: &[Result<Taken, String>], precision: f64) -> Pair {
        let [adopted, dropped, withheld, wasted_known, wasted_unknown] = self.counted;
        let mut pair = Pair {
            precision,
            adopted,
            dropped,
            withheld,
            wasted_known,
            wasted_unknown,
            said: self.said,
            ..Pair::default()
        };
        for halves in off.iter().zip(&self.taken) {
            match halves {
                (Ok(off), Ok(on)) => pair.add(off, on),
                (off, on) => {
                    let errors = [off, on].into_iter().filter_map(|half| half.as_ref().err());
                    pair.errors.extend(errors.cloned());
                }
            }
        }
        pair
    }
}

impl Pair {
    fn add(&mut self, off: &Taken, on: &Taken) {
        // Without a guess, who is called is who was decided for.
        let mut agents = off.calls.iter().filter_map(|call| call.agent);
        let (Some(decided), None) = (agents.next(), agents.next()) else {
            self.errors
                .push("a turn without guesses made other calls".into());
            return;
        };
        let ms = |taken: &Taken| taken.until_word.as_secs_f64() * 1e3;
        let saved = ms(off) - ms(on);
        self.off.add(off.until_word);
        self.on.add(on.until_word);
        self.off_mean.add(ms(off));
        self.on_mean.add(ms(on));
        self.saved.add(saved);
        let of_agents = on.calls.iter().filter(|call| call.agent.is_some());
        let (right, wrong): (Vec<_>, Vec<_>) =
            of_agents.partition(|call| call.agent == Some(decided));
        let sum = |calls: &[&Arc<Call>]| {
            let tokens: u64 = calls.iter().map(|call| call.tokens()).sum();
            f64::from(u32::try_from(tokens).unwrap_or(u32::MAX))
        };
        if right.len() != 1 {
            let problem = format!("{decided} was called {} times", right.len());
            self.errors.push(problem);
        }
        self.used.add(sum(&right));
        if let [wrong] = wrong.as_slice() {
            self.wrong.add(saved);
            self.wasted.add(sum(&[wrong]));
            let whole = f64::from(u32::try_from(wrong.whole).unwrap_or(u32::MAX));
            self.wasted_whole.add(whole);
        } else if Some(&decided) == AGENTS.first() {
            self.right.add(saved);
        }
    }

    fn turns(&self) -> f64 {
        f64::from(self.saved.count())
    }

    /// Tokens of dropped agents for each turn, whether one was dropped in it or not.
    fn wasted_a_turn(&self) -> f64 {
        if self.wasted.count() == 0 {
            return 0.0;
        }
        self.wasted.value() * f64::from(self.wasted.count()) / self.turns()
    }

    /// Tokens wasted for each second that the law without a scale would have saved.
    fn wasted_a_second(&self, scale: f64) -> f64 {
        self.wasted_a_turn() / (self.saved.value() / 1e3 / scale)
    }

    fn row(&self, scale: f64) -> String {
        let percent = |count: f64| count / self.turns() * 100.0;
        format!(
            "{:>9}{:>8.0}{:>8.0}{:>8.0}{:>8.0}{:>9.1} ± {:>4.1}{:>7.1} %{:>7.1} %{:>7.1} %{:>9.0}{:>9.0}{:>9.0}\n",
            self.precision,
            self.off.at(MEDIAN) / 1e3,
            self.on.at(MEDIAN) / 1e3,
            self.off_mean.value(),
            self.on_mean.value(),
            self.saved.value(),
            self.saved.give_or_take(),
            percent(self.adopted),
            percent(self.dropped),
            percent(self.withheld),
            self.wasted_a_turn(),
            self.used.value(),
            self.wasted_a_second(scale),
        )
    }

    fn json(&self, scale: f64) -> Value {
        json!({
            "precision": self.precision,
            "turns": self.turns(),
            "off_us": self.off.json(&[MEDIAN, P95]),
            "on_us": self.on.json(&[MEDIAN, P95]),
            "off_mean_ms": short(self.off_mean.value()),
            "on_mean_ms": short(self.on_mean.value()),
            "saved_ms_per_turn": short(self.saved.value()),
            "saved_ms_give_or_take": short(self.saved.give_or_take()),
            "saved_ms_per_right_guess": short(self.right.value()),
            "saved_ms_per_wrong_guess": short(self.wrong.value()),
            "adopted": self.adopted,
            "dropped": self.dropped,
            "withheld": self.withheld,
            "agent_tokens_per_turn": short(self.used.value()),
            "wasted_tokens_per_turn": short(self.wasted_a_turn()),
            "wasted_tokens_known_to_the_program": self.wasted_known,
            "dropped_calls_of_unknown_usage": self.wasted_unknown,
            "wasted_tokens_per_unscaled_second_saved": short(self.wasted_a_second(scale)),
        })
    }
}

/// How often guesses must be right to be worth it, by what a saved second is worth.
fn worth(how: &How, pairs: &[Pair], section: &mut Section) {
    let all = |part: fn(&Pair) -> Mean| {
        let parts = pairs.iter().map(part);
        parts.fold(Mean::default(), Mean::merged)
    };
    let (right, wrong) = (all(|pair| pair.right), all(|pair| pair.wrong));
    let (wasted, whole) = (all(|pair| pair.wasted), all(|pair| pair.wasted_whole));
    let known: f64 = pairs.iter().map(|pair| pair.wasted_known).sum();
    let unknown: f64 = pairs.iter().map(|pair| pair.wasted_unknown).sum();
    let seconds = right.value() / 1e3 / how.delay_scale;
    let (tokens, whole_tokens) = (wasted.value(), whole.value());
    // The rate at which the default of 80 % is the break-even.
    let rate_of_default = tokens / (4.0 * seconds);
    section.say(&format!(
        "a right guess saves {:.1} ± {:.1} ms, {seconds:.3} s without the scale; a wrong one {:.1} ± {:.1} ms, and costs {tokens:.0} tokens until it is \
         dropped, {whole_tokens:.0} if its agent works to its end\n\
         of the tokens of {} dropped calls the program knows {known:.0}; of {unknown:.0} calls it says that it does not know\n\
         break-even, by the tokens that a second is worth:\n{:>9}{:>14}{:>14}\n",
        right.value(), right.give_or_take(), wrong.value(), wrong.give_or_take(), wasted.count(),
        "tokens", "dropped", "to its end"
    ));
    let mut rows = Vec::new();
    for rate in &how.tokens_per_second {
        let (until_dropped, to_its_end) = (
            break_even(tokens, seconds, *rate),
            break_even(whole_tokens, seconds, *rate),
        );
        section.say(&format!(
            "{rate:>9}{:>12.1} %{:>12.1} %\n",
            until_dropped * 100.0,
            to_its_end * 100.0
        ));
        rows.push(json!({
            "tokens_per_second": rate,
            "break_even": short(until_dropped),
            "break_even_if_agents_work_to_their_end": short(to_its_end),
        }));
    }
    section.say(&format!(
        "80 % is the break-even where a second is worth {rate_of_default:.0} tokens\n"
    ));
    section.put(
        "break_even",
        json!({
            "saved_ms_per_right_guess": short(right.value()),
            "saved_ms_per_wrong_guess": short(wrong.value()),
            "unscaled_seconds_saved_per_right_guess": short(seconds),
            "tokens_per_wrong_guess": short(tokens),
            "tokens_per_wrong_guess_to_its_end": short(whole_tokens),
            "tokens_per_second_of_the_default": short(rate_of_default),
            "by_rate": rows,
        }),
    );
}
