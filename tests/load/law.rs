//! The delay law: how long models and agents take where a measurement asks for realistic ones.
//!
//! | call | first byte after | then |
//! |---|---|---|
//! | routing | 300 to 800 ms | whole |
//! | agent | 300 ms | 20 to 40 events, evenly over 1 to 2 s |
//! | synthesis | 200 ms | 24 events, one every 15 to 30 ms |
//!
//! Each range is drawn from evenly, once for each turn. A draw depends on the turn's number alone, so that a run can be
//! repeated. A turn waits 3.1 s in the mean, and every delay is multiplied by one scale.

use std::time::Duration;

/// The law, with its scale.
#[derive(Clone, Copy, Debug)]
pub struct Law {
    pub scale: f64,
}

/// The delays of one streamed answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    pub first: Duration,
    /// Between two events.
    pub each: Duration,
}

const ROUTING: (u64, u64) = (300, 800);
const AGENT_FIRST: u64 = 300;
const AGENT_WHOLE: (u64, u64) = (1000, 2000);
const AGENT_EVENTS: (u32, u32) = (20, 40);
const SYNTHESIS_FIRST: u64 = 200;
const SYNTHESIS_EACH: (u64, u64) = (15, 30);

impl Law {
    pub fn routing(self, turn: u64) -> Duration {
        self.between(ROUTING, draw(turn, 1))
    }

    /// How many events an agent's answer has, and when they come.
    pub fn agent(self, turn: u64) -> (usize, Pace) {
        let (least, most) = AGENT_EVENTS;
        let choices = u64::from(most - least + 1);
        let more = (u64::from(bits(turn, 2)) * choices) >> 32;
        let events = least + u32::try_from(more).unwrap_or_default();
        let whole = self.between(AGENT_WHOLE, draw(turn, 3));
        let pace = Pace {
            first: Duration::from_millis(AGENT_FIRST).mul_f64(self.scale),
            each: whole / (events - 1),
        };
        (usize::try_from(events).unwrap_or_default(), pace)
    }

    pub fn synthesis(self, turn: u64) -> Pace {
        Pace {
            first: Duration::from_millis(SYNTHESIS_FIRST).mul_f64(self.scale),
            each: self.between(SYNTHESIS_EACH, draw(turn, 4)),
        }
    }

    fn between(self, (least, most): (u64, u64), share: f64) -> Duration {
        let (least, span) = (
            Duration::from_millis(least),
            Duration::from_millis(most - least),
        );
        (least + span.mul_f64(share)).mul_f64(self.scale)
    }
}

/// When requests are sent, counted from the beginning: so many a second for so long, evenly or at random as the calls of
/// many people who know nothing of each other come.
pub fn arrivals(rate: f64, long: Duration, seed: u64, even: bool) -> Vec<Duration> {
    let mut at = 0.0;
    let mut times = Vec::new();
    for number in 0.. {
        let gap = if even {
            1.0
        } else {
            -(1.0 - draw(seed, number)).ln()
        };
        at += gap / rate;
        if at >= long.as_secs_f64() {
            break;
        }
        times.push(Duration::from_secs_f64(at));
    }
    times
}

/// A number from 0 up to but not including 1.
pub fn draw(seed: u64, what: u64) -> f64 {
    f64::from(bits(seed, what)) / (f64::from(u32::MAX) + 1.0)
}

/// Bits that look random and are the same for the same two numbers (SplitMix64).
fn bits(seed: u64, what: u64) -> u32 {
    let mut bits = seed
        .wrapping_mul(0xd134_2543_de82_ef95)
        .wrapping_add(what.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        .wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    u32::try_from((bits ^ (bits >> 31)) >> 32).unwrap_or_default()
}
