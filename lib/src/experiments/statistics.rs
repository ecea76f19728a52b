//! Intervals of rates and of means, and of differences of two of them.

use crate::domain::trial::Sum;

/// Of a hundred such intervals 95 hold what they are about.
pub const USUAL: f64 = 1.959_964;
/// 99 of a hundred: for what is looked at again and again, and then acted on.
pub const SURE: f64 = 2.575_829;
/// Of fewer values no interval of a mean is told.
pub const FEWEST: u64 = 6;

/// A figure, and between which bounds it surely is.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Interval {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

/// Values of which there are so many, with their mean and how they vary.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    count: f64,
    mean: f64,
    variance: f64,
}

impl Sample {
    /// Of sums; a value of one is told as `unit`. `None` of too few.
    pub fn of(count: u64, sum: Sum, unit: f64) -> Option<Self> {
        if count < FEWEST {
            return None;
        }
        let [count, all, squares] = [count, sum.all, sum.squares].map(real);
        let mean = all / count;
        // What is lost by rounding may not make it negative.
        let variance = ((squares - all * mean) / (count - 1.0)).max(0.0);
        Some(Self {
            count,
            mean: mean * unit,
            variance: variance * unit * unit,
        })
    }

    /// What the square of the mean's error is, and how certain that is.
    fn error(&self) -> (f64, f64) {
        (self.variance / self.count, self.count - 1.0)
    }

    /// The mean: Student's interval, as far as it is not below zero, where nothing is that is counted.
    pub fn mean(&self, z: f64) -> Interval {
        let (error, freedom) = self.error();
        let found = around(self.mean, student(z, freedom) * error.sqrt());
        Interval {
            low: found.low.max(0.0),
            ..found
        }
    }

    /// How much more the mean of this is than another's: Welch's interval, for which the two need not vary alike.
    pub fn more_than(&self, other: &Self, z: f64) -> Interval {
        let ((own, own_freedom), (others, others_freedom)) = (self.error(), other.error());
        let error = own + others;
        let parts = own * own / own_freedom + others * others / others_freedom;
        let freedom = if parts > 0.0 {
            error * error / parts
        } else {
            own_freedom.min(others_freedom)
        };
        around(self.mean - other.mean, student(z, freedom) * error.sqrt())
    }
}

/// The rate of `of` among `all`: Wilson's interval, which holds for rates near 0 and 1 and for few. `None` of nothing.
pub fn rate(of: u64, all: u64, z: f64) -> Option<Interval> {
    if all == 0 {
        return None;
    }
    let (none, every) = (of == 0, of >= all);
    let [of, all] = [of.min(all), all].map(real);
    let value = of / all;
    let square = z * z;
    let middle = of + square / 2.0;
    let half = z * (of * (1.0 - value) + square / 4.0).sqrt();
    let bound = |bound: f64| (bound / (all + square)).clamp(0.0, 1.0);
    Some(Interval {
        value,
        low: if none { 0.0 } else { bound(middle - half) },
        high: if every { 1.0 } else { bound(middle + half) },
    })
}

/// How much more one rate is than another: Newcombe's interval, made of Wilson's.
pub fn more_than(one: (u64, u64), other: (u64, u64), z: f64) -> Option<Interval> {
    let (one, other) = (rate(one.0, one.1, z)?, rate(other.0, other.1, z)?);
    let difference = one.value - other.value;
    let down = (one.value - one.low).hypot(other.high - other.value);
    let up = (one.high - one.value).hypot(other.value - other.low);
    Some(Interval {
        value: difference,
        low: difference - down,
        high: difference + up,
    })
}

fn around(value: f64, far: f64) -> Interval {
    Interval {
        value,
        low: value - far,
        high: value + far,
    }
}

/// Student's quantile for that of the normal distribution: Abramowitz and Stegun, 26.7.5. From five degrees of freedom on it
/// is right to the second digit after the point, and soon to the fourth.
fn student(z: f64, freedom: f64) -> f64 {
    let of = |powers: [f64; 5]| powers.iter().rev().fold(0.0, |sum, one| sum * z * z + one) * z;
    let terms = [
        of([1.0, 1.0, 0.0, 0.0, 0.0]) / 4.0,
        of([3.0, 16.0, 5.0, 0.0, 0.0]) / 96.0,
        of([-15.0, 17.0, 19.0, 3.0, 0.0]) / 384.0,
        of([-945.0, -1920.0, 1482.0, 776.0, 79.0]) / 92_160.0,
    ];
    let series = terms
        .iter()
        .rev()
        .fold(0.0, |sum, term| (sum + term) / freedom);
    z + series
}

#[expect(
    clippy::cast_precision_loss,
    reason = "of sums so large the last digits do not matter"
)]
fn real(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Equal as far as it is printed.
    fn printed(found: f64, expected: f64, digits: i32) {
        let far = 0.5 * 10_f64.powi(-digits) * 1.02;
        assert!((found - expected).abs() <= far, "{found} is not {expected}");
    }

    fn bounds(found: Interval, low: f64, high: f64, digits: i32) {
        printed(found.low, low, digits);
        printed(found.high, high, digits);
    }

    fn sample(values: &[u64], unit: f64) -> Sample {
        let mut sum = Sum::default();
        for value in values {
            sum.all += value;
            sum.squares += value * value;
        }
        Sample::of(values.len() as u64, sum, unit).unwrap()
    }

    #[test]
    fn a_rates_interval_is_wilsons() {
        // R. G. Newcombe, Two-sided confidence intervals for the single proportion, Statistics in Medicine 17 (1998), 857-872,
        // table I, method 3.
        let check = |of, all, low, high| bounds(rate(of, all, USUAL).unwrap(), low, high, 4);
        check(81, 263, 0.2553, 0.3662);
        check(15, 148, 0.0624, 0.1605);
        check(0, 20, 0.0000, 0.1611);
        check(1, 29, 0.0061, 0.1718);
        check(29, 29, 0.8830, 1.0);
        assert_eq!(rate(0, 0, USUAL), None);
    }

    #[test]
    fn a_difference_of_rates_has_newcombes_interval() {
        // R. G. Newcombe, Interval estimation for the difference between independent proportions, Statistics in Medicine 17
        // (1998), 873-890, table II, method 10.
        let check = |one, other, low, high| {
            bounds(more_than(one, other, USUAL).unwrap(), low, high, 4);
        };
        check((56, 70), (48, 80), 0.0524, 0.3339);
        check((9, 10), (3, 10), 0.1705, 0.8090);
        check((6, 7), (2, 7), 0.0582, 0.8062);
        check((5, 56), (0, 29), -0.0381, 0.1926);
        check((0, 10), (0, 20), -0.1611, 0.2775);
        check((0, 10), (0, 10), -0.2775, 0.2775);
        check((10, 10), (0, 20), 0.6791, 1.0);
        assert_eq!(more_than((0, 0), (1, 2), USUAL), None);
    }

    /// Hours of sleep gained by ten patients with each of two drugs, with 5 added and in tenths: A. R. Cushny and A. R. Peebles
    /// (1905), from which Student (1908) made his test.
    const ONE: [u64; 10] = [57, 34, 48, 38, 49, 84, 87, 58, 50, 70];
    const OTHER: [u64; 10] = [69, 58, 61, 51, 49, 94, 105, 66, 96, 84];

    #[test]
    fn a_means_interval_is_students() {
        // What `t.test(extra[group == 1])` of R says of its data set `sleep`: 0.75, from -0.5297804 to 2.0297804; of the other
        // group 2.33, from 0.8976775 to 3.7623225.
        let one = sample(&ONE, 0.1).mean(USUAL);
        printed(one.value, 5.75, 6);
        bounds(one, 4.470_219_6, 7.029_780_4, 3);
        bounds(sample(&OTHER, 0.1).mean(USUAL), 5.897_677_5, 8.762_322_5, 3);
    }

    #[test]
    fn a_difference_of_means_has_welchs_interval() {
        // What `t.test(extra ~ group, data = sleep)` of R says: from -3.3654832 to 0.2054832, with 17.776 degrees of freedom.
        let found = sample(&ONE, 0.1).more_than(&sample(&OTHER, 0.1), USUAL);
        printed(found.value, -1.58, 6);
        bounds(found, -3.365_483_2, 0.205_483_2, 3);
    }

    #[test]
    fn students_quantile_is_that_of_the_tables() {
        // Table 26.10 of Abramowitz and Stegun, Handbook of Mathematical Functions.
        for (freedom, usual, sure) in [
            (5.0, 2.571, 4.032),
            (9.0, 2.262, 3.250),
            (20.0, 2.086, 2.845),
            (60.0, 2.000, 2.660),
            (120.0, 1.980, 2.617),
        ] {
            let far = if freedom < 9.0 { 0.02 } else { 0.002 };
            assert!((student(USUAL, freedom) - usual).abs() < far, "{freedom}");
            assert!((student(SURE, freedom) - sure).abs() < far, "{freedom}");
        }
    }

    #[test]
    fn values_that_do_not_vary_leave_no_doubt_and_too_few_say_nothing() {
        let same = sample(&[4; 8], 1.0);
        let mean = same.mean(USUAL);
        assert_eq!((mean.low, mean.value, mean.high), (4.0, 4.0, 4.0));
        let difference = sample(&[5; 8], 1.0).more_than(&same, USUAL);
        assert_eq!((difference.low, difference.high), (1.0, 1.0));
        assert_eq!(Sample::of(FEWEST - 1, Sum::of(4), 1.0), None);
    }
}
