//! Keys by name: they sign what the table keeps and what leaves it, so that a change is found.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// The first key signs; every one of them verifies, so keys can be rotated.
#[derive(Clone)]
pub struct Keyring {
    /// Wiped when they are dropped.
    keys: Vec<(String, Zeroizing<Vec<u8>>)>,
}

/// A new random key in the form [`Keyring::parse`] reads. Fails where the operating system has no randomness.
pub fn fresh_key(kid: &str) -> std::io::Result<String> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(std::io::Error::other)?;
    Ok(format!("{kid}:{}", STANDARD.encode(key)))
}

impl Keyring {
    /// Reads `kid:base64` pairs separated by commas; keys have at least 32 bytes. Fails with a sentence.
    pub fn parse(pairs: &str) -> Result<Self, String> {
        let keys = pairs
            .split(',')
            .map(str::trim)
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (kid, key) = pair
                    .split_once(':')
                    .ok_or("each key must look like kid:base64")?;
                let key = STANDARD
                    .decode(key)
                    .map_err(|_| format!("key {kid} is not base64"))?;
                if key.len() < 32 {
                    return Err(format!(
                        "key {kid} has {} bytes, at least 32 are needed",
                        key.len()
                    ));
                }
                Ok((kid.to_owned(), Zeroizing::new(key)))
            })
            .collect::<Result<Vec<_>, String>>()?;
        if keys.is_empty() {
            return Err("at least one kid:base64 pair is needed".into());
        }
        Ok(Self { keys })
    }

    /// Keys of their own, derived from these: what is signed for one purpose is worth nothing for another.
    #[must_use]
    pub fn derived(&self, purpose: &str) -> Self {
        let derive = |key: &[u8]| {
            let derived = mac(key, &["mas-derive-v1", purpose]).finalize();
            Zeroizing::new(derived.into_bytes().to_vec())
        };
        Self {
            keys: (self.keys.iter())
                .map(|(kid, key)| (kid.clone(), derive(key)))
                .collect(),
        }
    }

    /// The name of the key that signs.
    pub fn kid(&self) -> &str {
        self.keys.first().map_or("", |(kid, _)| kid)
    }

    pub fn sign(&self, parts: &[&str]) -> String {
        let key = self.keys.first().map_or(&[][..], |(_, key)| key);
        URL_SAFE_NO_PAD.encode(mac(key, parts).finalize().into_bytes())
    }

    /// Whether a signature is good; `None` when its key is not known.
    pub fn verify(&self, kid: &str, parts: &[&str], claimed: &str) -> Option<bool> {
        let (_, key) = self.keys.iter().find(|(known, _)| known == kid)?;
        let claimed = URL_SAFE_NO_PAD.decode(claimed).unwrap_or_default();
        // Constant time.
        Some(mac(key, parts).verify_slice(&claimed).is_ok())
    }
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.keys.iter().map(|(kid, _)| kid))
            .finish()
    }
}

/// Each part with its length before it, so that no part can reach into its neighbour.
fn mac(key: &[u8], parts: &[&str]) -> Hmac<Sha256> {
    // HMAC takes keys of any length.
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| Hmac::new(&[0; 64].into()));
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part.as_bytes());
    }
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(names: &[&str]) -> Keyring {
        let key = |name: &&str| format!("{name}:{}", STANDARD.encode(name.repeat(32)));
        let pairs: Vec<_> = names.iter().map(key).collect();
        Keyring::parse(&pairs.join(",")).unwrap()
    }

    #[test]
    fn what_a_known_key_signed_is_good_and_nothing_else() {
        let old = keys(&["a"]).derived("audit");
        let new = keys(&["b", "a"]).derived("audit");
        let signed = old.sign(&["x", "y"]);
        assert_eq!((old.kid(), new.kid()), ("a", "b"));
        assert_eq!(new.verify("a", &["x", "y"], &signed), Some(true));
        assert_eq!(new.verify("a", &["xy", ""], &signed), Some(false));
        assert_eq!(new.verify("b", &["x", "y"], &signed), Some(false));
        assert_eq!(new.verify("c", &["x", "y"], &signed), None);
        assert_eq!(new.verify("a", &["x", "y"], ""), Some(false));
        let other = keys(&["a"]).derived("export");
        assert_eq!(other.verify("a", &["x", "y"], &signed), Some(false));
        assert_eq!(format!("{new:?}"), r#"["b", "a"]"#);
    }

    #[test]
    fn wrong_keys_are_refused_with_the_reason() {
        for (pairs, part) in [
            ("", "at least one"),
            ("nokid", "kid:base64"),
            ("k1:***", "not base64"),
            ("k1:AAEC", "3 bytes"),
        ] {
            let problem = Keyring::parse(pairs).unwrap_err();
            assert!(problem.contains(part), "{pairs}: {problem}");
        }
    }
}
