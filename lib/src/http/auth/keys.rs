//! The public keys of an identity provider, and what they have signed.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use serde::Deserialize;
use serde_json::Value;

use crate::domain::access::Algorithm;

/// A set holds a few keys; more are not looked at.
const KEYS_CAP: usize = 100;
/// Shorter RSA keys can be broken.
const RSA_MIN_BITS: usize = 2048;

/// The keys that are valid now.
#[derive(Debug, Default, PartialEq)]
pub struct KeySet(Vec<Key>);

/// One public key. Its type alone says which algorithm it verifies: what a token says must agree.
#[derive(Debug, PartialEq)]
pub struct Key {
    id: String,
    material: Material,
}

#[derive(Debug, PartialEq)]
enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// A key as the provider publishes it; certificates and addresses in it mean nothing here.
#[derive(Deserialize)]
struct Published {
    kty: String,
    kid: String,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default, rename = "use")]
    purpose: Option<String>,
    #[serde(default)]
    crv: Option<String>,
    #[serde(default)]
    n: Option<String>,
    #[serde(default)]
    e: Option<String>,
    #[serde(default)]
    x: Option<String>,
    #[serde(default)]
    y: Option<String>,
}

impl KeySet {
    /// `None` for what is no set of keys. Keys that are of no use here, whatever is wrong with them, are left out.
    pub fn read(body: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        let set: Set = serde_json::from_slice(body).ok()?;
        let keys = set.keys.into_iter().take(KEYS_CAP);
        Some(Self(keys.filter_map(Key::read).collect()))
    }

    pub fn find(&self, id: &str, algorithm: Algorithm) -> Option<&Key> {
        let fits = |key: &&Key| key.id == id && key.algorithm() == algorithm;
        self.0.iter().find(fits)
    }
}

impl Key {
    fn read(key: Value) -> Option<Self> {
        let key: Published = serde_json::from_value(key).ok()?;
        if key.purpose.as_deref().is_some_and(|it| it != "sig") {
            return None;
        }
        let material = match (key.kty.as_str(), key.crv.as_deref()) {
            ("RSA", _) => Material::Rsa {
                n: number(key.n.as_deref()?).filter(|n| bits(n) >= RSA_MIN_BITS)?,
                e: number(key.e.as_deref()?)?,
            },
            ("EC", Some("P-256")) => {
                // An uncompressed point, as it is written since ever.
                let mut point = vec![4];
                point.extend(coordinate(key.x.as_deref()?)?);
                point.extend(coordinate(key.y.as_deref()?)?);
                Material::P256(point)
            }
            ("OKP", Some("Ed25519")) => Material::Ed25519(coordinate(key.x.as_deref()?)?),
            _ => return None,
        };
        let read = Self {
            id: key.kid,
            material,
        };
        let meant = key.alg.is_none_or(|alg| alg == read.algorithm().as_str());
        meant.then_some(read)
    }

    fn algorithm(&self) -> Algorithm {
        match self.material {
            Material::Rsa { .. } => Algorithm::Rs256,
            Material::P256(_) => Algorithm::Es256,
            Material::Ed25519(_) => Algorithm::EdDsa,
        }
    }

    /// Whether this key's owner has signed exactly these bytes.
    pub fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Rsa { n, e } => RsaPublicKeyComponents { n, e }.verify(
                &RSA_PKCS1_2048_8192_SHA256,
                message,
                signature,
            ),
            Material::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            Material::Ed25519(point) => {
                UnparsedPublicKey::new(&ED25519, point).verify(message, signature)
            }
        }
        .is_ok()
    }
}

/// A number without the leading zeros that some providers write.
fn number(text: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let number: Vec<u8> = bytes.into_iter().skip_while(|byte| *byte == 0).collect();
    (!number.is_empty()).then_some(number)
}

fn bits(number: &[u8]) -> usize {
    let unused = number.first().map_or(0, |byte| byte.leading_zeros());
    (number.len() * 8).saturating_sub(unused as usize)
}

fn coordinate(text: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    (bytes.len() == 32).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// RFC 7515, appendix A.2: the published key, what was signed, and the signature.
    const N: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
    const SIGNED: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    const SIGNATURE: &str = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";

    fn set(keys: &Value) -> KeySet {
        KeySet::read(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
    }

    #[test]
    fn the_example_of_the_standard_verifies() {
        let set = set(&json!([{"kty": "RSA", "kid": "1", "n": N, "e": "AQAB"}]));
        let key = set.find("1", Algorithm::Rs256).unwrap();
        let signature = URL_SAFE_NO_PAD.decode(SIGNATURE).unwrap();
        assert!(key.has_signed(SIGNED.as_bytes(), &signature));
        assert!(!key.has_signed(SIGNED.as_bytes(), &signature[1..]));
        assert!(!key.has_signed(b"something else", &signature));
        assert_eq!(set.find("1", Algorithm::Es256), None);
        assert_eq!(set.find("2", Algorithm::Rs256), None);
    }

    #[test]
    fn keys_of_no_use_are_left_out() {
        let coordinate = URL_SAFE_NO_PAD.encode([7; 32]);
        let long = URL_SAFE_NO_PAD.encode([7; 33]);
        let short = URL_SAFE_NO_PAD.encode([255; 255]);
        let almost = URL_SAFE_NO_PAD.encode([[127].as_slice(), &[255; 255]].concat());
        let useless = json!([
            {"kty": "RSA", "kid": "short", "n": short, "e": "AQAB"},
            {"kty": "RSA", "kid": "2047 bits", "n": almost, "e": "AQAB"},
            {"kty": "RSA", "kid": "no exponent", "n": N},
            {"kty": "RSA", "kid": "other padding", "n": N, "e": "AQAB", "alg": "PS256"},
            {"kty": "RSA", "kid": "for encryption", "n": N, "e": "AQAB", "use": "enc"},
            {"kty": "RSA", "n": N, "e": "AQAB"},
            {"kty": "RSA", "kid": 5, "n": N, "e": "AQAB"},
            {"kty": "oct", "kid": "shared", "k": "c2VjcmV0"},
            {"kty": "EC", "kid": "other curve", "crv": "P-384", "x": coordinate, "y": coordinate},
            {"kty": "EC", "kid": "long", "crv": "P-256", "x": long, "y": coordinate},
            {"kty": "OKP", "kid": "other curve", "crv": "X25519", "x": coordinate},
            "nonsense", null, {}
        ]);
        assert_eq!(set(&useless), KeySet::default());
        for no_set in ["", "[]", "{}", r#"{"keys":{}}"#, "<html>"] {
            assert_eq!(KeySet::read(no_set.as_bytes()), None, "{no_set}");
        }
    }

    #[test]
    fn leading_zeros_count_for_nothing() {
        let zeros = [&[0; 8], URL_SAFE_NO_PAD.decode(N).unwrap().as_slice()].concat();
        let zeros = URL_SAFE_NO_PAD.encode(zeros);
        assert_eq!(
            set(
                &json!([{"kty": "RSA", "kid": "1", "n": zeros, "e": "AQAB", "use": "sig", "alg": "RS256"}])
            ),
            set(&json!([{"kty": "RSA", "kid": "1", "n": N, "e": "AQAB"}]))
        );
    }
}
