//! Money in dollars, kept in millionths.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Nobody sets a limit above this, in dollars.
const MOST: f64 = 1_000_000.0;

/// An amount of money, in millionths of a dollar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Money(pub u64);

impl Money {
    /// `None` for what is no amount.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is between 0 and a million dollars"
    )]
    pub fn dollars(dollars: f64) -> Option<Self> {
        let fits = dollars.is_finite() && (0.0..=MOST).contains(&dollars);
        fits.then(|| Self((dollars * 1e6).round() as u64))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a float holds a million dollars to the millionth"
    )]
    fn as_dollars(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${}", self.as_dollars())
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.as_dollars())
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let dollars = f64::deserialize(deserializer)?;
        Self::dollars(dollars)
            .ok_or_else(|| D::Error::custom("expected dollars, from 0 to a million"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_the_same_in_and_out() {
        for (text, money) in [
            ("0.05", Money(50_000)),
            ("2", Money(2_000_000)),
            ("0", Money(0)),
        ] {
            assert_eq!(serde_json::from_str::<Money>(text).unwrap(), money);
        }
        assert_eq!(Money(50_000).to_string(), "$0.05");
        assert_eq!(serde_json::to_string(&Money(50_000)).unwrap(), "0.05");
        for text in ["-1", "1e9", "\"1\""] {
            assert!(serde_json::from_str::<Money>(text).is_err(), "{text}");
        }
    }
}
