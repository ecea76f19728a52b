//! Keys for one purpose: they sign what the table keeps and what leaves it, so that a change is found.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// The first key signs; every one of them verifies, so keys can be rotated.
#[derive(Clone)]
pub struct Keyring {
    keys: Vec<(String, Zeroizing<Vec<u8>>)>,
}

impl Keyring {
    /// Keys of their own, derived from others: what is signed for one purpose is worth nothing for another.
    pub(super) fn derived(keys: &[(String, Zeroizing<Vec<u8>>)], purpose: &str) -> Self {
        let derive = |key: &[u8]| {
            let derived = mac(key, &["mas-derive-v1", purpose]).finalize();
            Zeroizing::new(derived.into_bytes().to_vec())
        };
        Self {
            keys: keys
                .iter()
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

    fn keys(names: &[&str]) -> Vec<(String, Zeroizing<Vec<u8>>)> {
        let key = |name: &&str| {
            let key = Zeroizing::new(name.as_bytes().repeat(32));
            ((*name).to_owned(), key)
        };
        names.iter().map(key).collect()
    }

    #[test]
    fn what_a_known_key_signed_is_good_and_nothing_else() {
        let old = Keyring::derived(&keys(&["a"]), "audit");
        let new = Keyring::derived(&keys(&["b", "a"]), "audit");
        let signed = old.sign(&["x", "y"]);
        assert_eq!((old.kid(), new.kid()), ("a", "b"));
        assert_eq!(new.verify("a", &["x", "y"], &signed), Some(true));
        assert_eq!(new.verify("a", &["xy", ""], &signed), Some(false));
        assert_eq!(new.verify("b", &["x", "y"], &signed), Some(false));
        assert_eq!(new.verify("c", &["x", "y"], &signed), None);
        assert_eq!(new.verify("a", &["x", "y"], ""), Some(false));
        let other = Keyring::derived(&keys(&["a"]), "export");
        assert_eq!(other.verify("a", &["x", "y"], &signed), Some(false));
        assert_eq!(format!("{new:?}"), r#"["b", "a"]"#);
    }
}
