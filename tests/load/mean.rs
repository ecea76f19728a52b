//! Means with how sure they are, and what they say about guesses.

/// Sum and count, for means.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mean {
    sum: f64,
    squares: f64,
    count: u32,
}

impl Mean {
    pub fn add(&mut self, value: f64) {
        self.sum += value;
        self.squares += value * value;
        self.count += 1;
    }

    pub fn count(&self) -> u32 {
        self.count
    }

    /// Not a number where nothing was added.
    pub fn value(&self) -> f64 {
        self.sum / f64::from(self.count)
    }

    /// Half the width of the interval that holds the true mean in 95 of 100 cases.
    pub fn give_or_take(&self) -> f64 {
        let (count, mean) = (f64::from(self.count), self.value());
        let variance = (self.squares / count - mean * mean).max(0.0);
        1.96 * (variance / (count - 1.0)).sqrt()
    }

    pub fn merged(self, other: Self) -> Self {
        Self {
            sum: self.sum + other.sum,
            squares: self.squares + other.squares,
            count: self.count + other.count,
        }
    }
}

/// For JSON: as many digits as mean something.
pub fn short(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// How often guesses must be right to be worth it: a right one saves so many seconds, a wrong one costs so many tokens, and a
/// second is worth so many tokens. At this share neither gains: `share * seconds * rate = (1 - share) * tokens`.
pub fn break_even(tokens: f64, seconds: f64, rate: f64) -> f64 {
    tokens / (tokens + seconds * rate)
}
