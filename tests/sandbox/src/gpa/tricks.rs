//! Which tricks answer the last message, and what is said when none does.

use super::request::Said;
use super::tool::Tool;
use super::weather::{self, Wish};
use super::{file, picture, sums};
use crate::calc;
use crate::text::{has_any, has_phrase, lower_words, without_note};

/// The tools that were used, and what to say.
#[derive(Default)]
pub(super) struct Performance {
    pub(super) tools: Vec<Tool>,
    pub(super) text: String,
}

const ABILITIES: &str = "I am the sandbox's stand-in for the General Purpose Agent. I can:\n\n\
    - calculate, for example `sin(5000)` or `2 + 2 * 3`;\n\
    - draw a small picture of anything;\n\
    - tell made-up weather, for example \"weather in Kyiv\";\n\
    - count the lines and columns of an attached CSV or text file.";

pub(super) fn perform(said: &[Said]) -> Performance {
    let Some((last, earlier)) = said.split_last() else {
        return Performance::default();
    };
    let text = without_note(&last.text);
    let words = lower_words(text);
    let mut done = Performance::default();

    for attachment in attachments(last, earlier, &words) {
        done.add(file::extract(attachment));
    }
    let sum = calc::find(text);
    if sum.is_some() || has_any(&words, &["calculate", "compute"]) {
        done.add(sums::compute(sum.as_deref(), text));
    }
    let draws = picture::is_wanted(&words);
    let asked_before = earlier.last().filter(|before| !before.by_user);
    let follows = asked_before.filter(|_| done.tools.is_empty() && !draws);
    let weather = weather::wish(text, follows.map(|before| before.text.as_str()));
    match &weather {
        Some(Wish::City(city)) => done.add(weather::search(city)),
        Some(Wish::Unknown) => done.say("Which location?"),
        None => {}
    }
    if draws {
        done.add(picture::generate(&picture_of(text, weather.as_ref())));
    }
    if done.text.is_empty() {
        done.say(&otherwise(text, &words));
    }
    done
}

impl Performance {
    fn add(&mut self, (tool, text): (Tool, String)) {
        self.tools.push(tool);
        self.say(&text);
    }

    fn say(&mut self, text: &str) {
        if !self.text.is_empty() {
            self.text.push_str("\n\n");
        }
        self.text.push_str(text);
    }
}

/// The files of the last message; if it has none but speaks of a file, the latest ones.
fn attachments<'a>(
    last: &'a Said,
    earlier: &'a [Said],
    words: &[String],
) -> &'a [serde_json::Value] {
    let speaks_of_one = has_any(words, &["csv", "file", "document", "attachment", "pdf"]);
    let mut before = earlier
        .iter()
        .rev()
        .filter(|said| speaks_of_one && said.by_user);
    if last.attachments.is_empty() {
        before
            .find(|said| !said.attachments.is_empty())
            .map_or(&[], |said| &said.attachments)
    } else {
        &last.attachments
    }
}

fn picture_of(text: &str, weather: Option<&Wish>) -> String {
    match weather {
        Some(Wish::City(city)) => format!("{city}, {}", weather::of(city)),
        _ => text.to_owned(),
    }
}

fn otherwise(text: &str, words: &[String]) -> String {
    let abilities = ["what can you do", "what do you do", "your abilities"];
    if abilities.iter().any(|phrase| has_phrase(words, phrase)) || words == ["help"] {
        ABILITIES.to_owned()
    } else {
        format!(
            "I am the sandbox's stand-in for the General Purpose Agent and only know a few tricks: \
             calculating, drawing, made-up weather and counting in text files. \
             I have no real answer to: \"{text}\""
        )
    }
}
