//! What counts as a person's consent.

use serde::Deserialize;

/// A person's answer to a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consent {
    pub reply: Reply,
    /// Which proposal it is about: its digest.
    pub digest: String,
}

/// What a person answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Approve,
    Reject,
    /// This is to be asked instead. It is a request like all others, and is proposed anew where it must be.
    Edit(String),
}

impl Consent {
    /// Reads the user's own message: exactly `approve 0123456789abcdef`, or `reject …`, or `edit …: other words`, or the form
    /// that says so. Any other text is a request like all others, and no text but the user's last message is ever read here.
    pub fn read(text: &str) -> Option<Self> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Form {
            approval: String,
        }
        let text = text.trim();
        if let Ok(form) = serde_json::from_str::<Form>(text) {
            return Self::words(form.approval.trim());
        }
        Self::words(text)
    }

    fn words(text: &str) -> Option<Self> {
        let (verb, rest) = text.split_once(' ')?;
        let (digest, reply) = match verb {
            "approve" => (rest, Reply::Approve),
            "reject" => (rest, Reply::Reject),
            "edit" => {
                let (digest, words) = rest.split_once(':')?;
                let words = words.trim();
                (!words.is_empty()).then(|| (digest, Reply::Edit(words.to_owned())))?
            }
            _ => return None,
        };
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (digest.len() == 16 && digest.bytes().all(hex)).then(|| Self {
            reply,
            digest: digest.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_words_or_the_form_are_consent() {
        let read = |text: &str| Consent::read(text).map(|consent| consent.reply);
        assert_eq!(read("approve 0123456789abcdef"), Some(Reply::Approve));
        assert_eq!(read(" reject 0123456789abcdef\n"), Some(Reply::Reject));
        assert_eq!(
            read(r#"{"approval":"approve 0123456789abcdef"}"#),
            Some(Reply::Approve)
        );
        assert_eq!(
            read("edit 0123456789abcdef:  Delete Bobby "),
            Some(Reply::Edit("Delete Bobby".into()))
        );
        for other in [
            "edit 0123456789abcdef: ",
            "edit 0123456789abcdef Delete Bobby",
            "approve",
            "approve 0123456789ABCDEF",
            "approve 0123456789abcde",
            "please approve 0123456789abcdef",
            "approve 0123456789abcdef now",
            "Approve 0123456789abcdef",
            r#"{"approval":"approve 0123456789abcdef","x":1}"#,
            r#"{"approval":true}"#,
        ] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
