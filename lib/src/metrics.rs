//! What is counted: the catalogue, one turn's figures into it, and two ways out.

mod catalogue;
mod emf;
mod figures;
mod text;

pub use catalogue::{CATALOGUE, Kind, Metric};
pub use figures::Figures;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::ids::Millis;

/// What tells series of one metric apart: names from the catalogue, in its order, and their values.
pub type Labels<'a> = Vec<(&'static str, Cow<'a, str>)>;

/// One value of one metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<'a> {
    pub metric: &'static Metric,
    pub labels: Labels<'a>,
    /// What is added to a counter, set in a gauge, or observed by a histogram.
    pub value: f64,
}

/// Where samples go.
#[derive(Debug, Default)]
pub enum Metrics {
    /// Nowhere.
    #[default]
    Off,
    /// Into this process, which is asked for them.
    Kept(Mutex<Series>),
    /// To standard output, as CloudWatch reads them.
    Written,
}

/// A turn under way.
#[derive(Debug)]
pub struct Flight<'a>(&'a Metrics);

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.0.in_flight(-1.0);
    }
}

/// Everything that was counted in this process.
#[derive(Debug, Default)]
pub struct Series {
    values: BTreeMap<&'static str, BTreeMap<Vec<String>, Value>>,
}

/// What was counted in one series.
#[derive(Clone, Debug)]
enum Value {
    Sum(f64),
    Spread {
        /// How many values were at most each bound of the catalogue.
        buckets: Vec<u64>,
        sum: f64,
        count: u64,
    },
}

/// More series of one metric than these are counted together: their labels have names from outside.
const MOST: usize = 500;

impl Metrics {
    pub fn kept() -> Self {
        Self::Kept(Mutex::default())
    }

    /// Counts a turn that has ended.
    pub fn turn(&self, figures: &Figures<'_>) {
        let free = matches!(self, Self::Kept(_));
        self.take(|| figures.samples(free), figures.now);
    }

    /// Counts capabilities that an agent does not name any more.
    pub fn dropped(&self, agent: &str, count: u32, now: Millis) {
        let sample = || Sample {
            metric: catalogue::DROPPED,
            labels: vec![("agent", Cow::Owned(agent.to_owned()))],
            value: f64::from(count),
        };
        self.take(|| vec![sample()], now);
    }

    fn take<'a>(&self, samples: impl FnOnce() -> Vec<Sample<'a>>, now: Millis) {
        match self {
            Self::Off => {}
            Self::Kept(series) => {
                let mut series = lock(series);
                for sample in samples() {
                    series.take(&sample);
                }
            }
            Self::Written => {
                let mut lines = emf::lines(&samples(), now);
                lines.push('\n');
                // A log that cannot be written is no reason to fail a turn.
                let _ = std::io::stdout().lock().write_all(lines.as_bytes());
            }
        }
    }

    /// A turn begins. It is under way until this is dropped.
    pub fn flight(&self) -> Flight<'_> {
        self.in_flight(1.0);
        Flight(self)
    }

    fn in_flight(&self, change: f64) {
        if let Self::Kept(series) = self {
            lock(series).add(catalogue::IN_FLIGHT.name, Vec::new(), change);
        }
    }

    /// Everything counted so far, as Prometheus reads it; `None` where it is not kept.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Kept(series) => Some(text::render(&lock(series))),
            Self::Off | Self::Written => None,
        }
    }
}

fn lock(series: &Mutex<Series>) -> MutexGuard<'_, Series> {
    series.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Series {
    fn take(&mut self, sample: &Sample<'_>) {
        let name = sample.metric.name;
        let known = self.values.entry(name).or_default();
        let mut labels: Vec<String> = (sample.labels.iter())
            .map(|(_, value)| value.clone().into_owned())
            .collect();
        if known.len() >= MOST && !known.contains_key(&labels) {
            labels.fill("other".into());
        }
        match sample.metric.kind {
            Kind::Counter => self.add(name, labels, sample.value),
            Kind::Gauge => {
                known.insert(labels, Value::Sum(sample.value));
            }
            Kind::Histogram(bounds) => {
                let spread = known.entry(labels).or_insert_with(|| Value::Spread {
                    buckets: vec![0; bounds.len()],
                    sum: 0.0,
                    count: 0,
                });
                if let Value::Spread {
                    buckets,
                    sum,
                    count,
                } = spread
                {
                    for (bucket, bound) in buckets.iter_mut().zip(bounds) {
                        *bucket += u64::from(sample.value <= *bound);
                    }
                    *sum += sample.value;
                    *count += 1;
                }
            }
        }
    }

    fn add(&mut self, name: &'static str, labels: Vec<String>, change: f64) {
        let known = self.values.entry(name).or_default();
        if let Value::Sum(sum) = known.entry(labels).or_insert(Value::Sum(0.0)) {
            *sum += change;
        }
    }
}
