//! What several agents say differently of one thing.

use super::ids::AgentId;

/// A contradiction between reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub about: String,
    /// Each agent's own words.
    pub claims: Vec<(AgentId, String)>,
}
