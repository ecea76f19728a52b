//! Where the document of agents is.

use std::fmt;

use super::{Env, Error};

const BUILT_IN: &str = include_str!("../../../infra/agents.yaml");

/// Where the document of agents comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum Place {
    BuiltIn,
    /// The variable itself.
    Text(String),
    /// A file of this machine.
    File(String),
    /// An object of S3.
    S3 {
        bucket: String,
        object: String,
    },
    /// A parameter of AWS Systems Manager.
    Ssm(String),
    /// What was put into our own table.
    Table,
}

impl Place {
    /// What `MAS_AGENTS` says.
    pub fn read(env: &Env) -> Result<Self, Error> {
        let Some(value) = env.get("MAS_AGENTS") else {
            return Ok(Self::BuiltIn);
        };
        let refused = |expected| {
            Err(Error::Variable {
                name: "MAS_AGENTS",
                value: value.to_owned(),
                expected,
            })
        };
        Ok(if value.contains('\n') || value.contains("agents:") {
            Self::Text(value.to_owned())
        } else if let Some(place) = value.strip_prefix("s3://") {
            match place.split_once('/') {
                Some((bucket, object)) if !bucket.is_empty() && !object.is_empty() => Self::S3 {
                    bucket: bucket.to_owned(),
                    object: object.to_owned(),
                },
                _ => return refused("s3://bucket/key"),
            }
        } else if let Some(name) = value.strip_prefix("ssm:") {
            if name.is_empty() {
                return refused("ssm:/name/of/parameter");
            }
            Self::Ssm(name.to_owned())
        } else if value == "table:" {
            Self::Table
        } else {
            Self::File(value.to_owned())
        })
    }

    /// Somebody has to be asked for it.
    pub fn is_far(&self) -> bool {
        matches!(self, Self::S3 { .. } | Self::Ssm(_) | Self::Table)
    }

    /// The same for whoever starts, or checks a document.
    pub fn text(&self) -> Result<String, Error> {
        self.near().map_err(|problem| Error::Agents {
            file: self.to_string(),
            problem,
        })
    }

    /// What can be read without asking anybody: of a place that is far, what is built in.
    pub fn near(&self) -> Result<String, String> {
        match self {
            Self::File(path) => std::fs::read_to_string(path).map_err(|error| error.to_string()),
            Self::Text(text) => Ok(text.clone()),
            Self::BuiltIn | Self::S3 { .. } | Self::Ssm(_) | Self::Table => Ok(BUILT_IN.to_owned()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("infra/agents.yaml (built in)"),
            Self::Text(_) => f.write_str("in the variable"),
            Self::File(path) => f.write_str(path),
            Self::S3 { bucket, object } => write!(f, "s3://{bucket}/{object}"),
            Self::Ssm(name) => write!(f, "ssm:{name}"),
            Self::Table => f.write_str("table:"),
        }
    }
}

/// A text may hold credentials.
impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_told_by_how_it_is_written() {
        let read = |value| Place::read(&Env::from([("MAS_AGENTS", value)]));
        let s3 = Place::S3 {
            bucket: "b".into(),
            object: "a/b.yaml".into(),
        };
        assert_eq!(read("").unwrap(), Place::BuiltIn);
        assert_eq!(
            read("agents.yaml").unwrap(),
            Place::File("agents.yaml".into())
        );
        assert_eq!(read("s3://b/a/b.yaml").unwrap(), s3);
        assert_eq!(
            read("ssm:/mas/agents").unwrap(),
            Place::Ssm("/mas/agents".into())
        );
        assert_eq!(read("table:").unwrap(), Place::Table);
        assert!(matches!(read("agents: []").unwrap(), Place::Text(_)));
        for wrong in ["s3://b", "s3:///k", "ssm:"] {
            assert!(
                read(wrong).unwrap_err().to_string().contains("MAS_AGENTS"),
                "{wrong}"
            );
        }
        assert_eq!(
            format!("{:?}", read("agents: [secret]").unwrap()),
            "in the variable"
        );
    }
}
