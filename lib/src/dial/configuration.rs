//! What a request may set of its own: `custom_fields.configuration`.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::explain::explain_at;
use super::request::Object;
use crate::domain::budget::Budget;
use crate::domain::failure::Failure;
use crate::domain::preference::Stages;
use crate::domain::rules::Synthesis;
use crate::domain::tongue::Tongue;

/// What a request sets. Its schema is the `configuration` endpoint's answer.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// The agent that is to answer.
    #[serde(default)]
    pub agent: Option<String>,
    /// No other agents are asked.
    #[serde(default)]
    pub agents: Option<Vec<String>>,
    /// When a second model writes the answer.
    #[serde(default)]
    pub synthesis: Option<Synthesis>,
    /// How much of the agents' work is shown.
    #[serde(default)]
    pub stages: Option<Stages>,
    /// The answer's.
    #[serde(default)]
    pub language: Option<Tongue>,
    /// What the turn may use.
    #[serde(default)]
    pub budget: Option<Budget>,
    /// Nothing is done or kept: it only asks what would happen.
    #[serde(default)]
    pub what_if: Option<bool>,
}

#[derive(Deserialize)]
struct CustomFields<'a> {
    #[serde(borrow, default)]
    configuration: Option<&'a RawValue>,
}

impl Configuration {
    /// Other custom fields are nothing to us, whatever their shape.
    pub(super) fn read(custom_fields: Option<&RawValue>) -> Result<Self, Failure> {
        let fields =
            custom_fields.and_then(|raw| serde_json::from_str::<CustomFields>(raw.get()).ok());
        let configuration = fields.and_then(|fields| fields.configuration);
        let Some(configuration) = configuration.filter(|raw| raw.get() != "null") else {
            return Ok(Self::default());
        };
        match serde_json::from_str::<Object<Configuration>>(configuration.get()) {
            Ok(Object(configuration)) => Ok(configuration),
            Err(_) => Err(explain_at::<Object<Configuration>>(
                configuration.get(),
                "custom_fields.configuration",
            )),
        }
    }
}
