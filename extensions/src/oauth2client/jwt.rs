//! Assertions that this client signs itself (RFC 7523): a JSON Web Token, by RSA.

use super::Config;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RsaEncoding, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

/// How long an assertion is good for, in seconds; as in Go.
const LASTS_S: u64 = 30 * 60;

/// The signatures there are, by their names in the header of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
}

impl Algorithm {
    /// The one of that name; RS256 if it is empty.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        match name {
            "" | "RS256" => Some(Self::Rs256),
            "RS384" => Some(Self::Rs384),
            "RS512" => Some(Self::Rs512),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
        }
    }

    fn encoding(self) -> &'static dyn RsaEncoding {
        match self {
            Self::Rs256 => &RSA_PKCS1_SHA256,
            Self::Rs384 => &RSA_PKCS1_SHA384,
            Self::Rs512 => &RSA_PKCS1_SHA512,
        }
    }
}

/// A private key in PEM.
///
/// # Errors
/// It is none, in words that have nothing of it.
pub(super) fn key(pem: &str) -> Result<KeyPair, String> {
    let wrong =
        || "the client certificate's key is not an RSA private key in PEM, without a passphrase".to_owned();
    let begin = pem.find("-----BEGIN ").ok_or_else(wrong)?;
    let (label, rest) = pem[begin + 11..].split_once("-----").ok_or_else(wrong)?;
    let (body, _) = rest.split_once("-----END ").ok_or_else(wrong)?;
    let body: String = body.split_whitespace().collect();
    let der = STANDARD.decode(body).map_err(|_| wrong())?;
    match label {
        "RSA PRIVATE KEY" => RsaKeyPair::from_der(&der).map_err(|_| wrong()),
        "PRIVATE KEY" => RsaKeyPair::from_pkcs8(&der).map_err(|_| wrong()),
        _ => Err(wrong()),
    }
}

/// An assertion of who `client_id` is, made at `now` (seconds since 1970).
///
/// # Errors
/// It cannot be signed.
pub(super) fn assertion(config: &Config, client_id: &str, pem: &str, now: u64) -> Result<String, String> {
    let key = key(pem)?;
    let algorithm = Algorithm::from_name(&config.signature_algorithm).unwrap_or(Algorithm::Rs256);
    let mut header = json!({"alg": algorithm.name(), "typ": "JWT"});
    if !config.client_certificate_key_id.is_empty() {
        header["kid"] = Value::from(config.client_certificate_key_id.as_str());
    }
    let or = |given: &str, otherwise: &str| Value::from(if given.is_empty() { otherwise } else { given });
    let mut claims = Map::new();
    claims.insert("iss".to_owned(), or(&config.iss, client_id));
    claims.insert("sub".to_owned(), Value::from(config.client_id.as_str()));
    claims.insert("jti".to_owned(), Value::from(unique()?));
    claims.insert("aud".to_owned(), or(&config.audience, &config.token_url));
    claims.insert("iat".to_owned(), Value::from(now));
    claims.insert("exp".to_owned(), Value::from(now + LASTS_S));
    if !config.scopes.is_empty() {
        claims.insert("scope".to_owned(), Value::from(config.scopes.join(" ")));
    }
    claims.extend(config.claims.iter().map(|(name, value)| (name.clone(), value.clone())));
    let encoded = |value: String| URL_SAFE_NO_PAD.encode(value);
    let signed = format!("{}.{}", encoded(header.to_string()), encoded(Value::Object(claims).to_string()));
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(algorithm.encoding(), &SystemRandom::new(), signed.as_bytes(), &mut signature)
        .map_err(|_| "the assertion cannot be signed".to_owned())?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// A random UUID.
fn unique() -> Result<String, String> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| "there is no randomness".to_owned())?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::encoding::AsDer as _;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{
        KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey,
    };

    fn pem(label: &str, der: &[u8]) -> String {
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
    }

    #[test]
    fn an_assertion_says_who_and_is_signed() {
        let pair = KeyPair::generate(KeySize::Rsa2048).expect("a key");
        let pkcs8 = pair.as_der().expect("it encodes");
        let pem = pem("PRIVATE KEY", pkcs8.as_ref());
        let mut config = Config {
            client_id: "me".to_owned(),
            token_url: "https://login.test/token".to_owned(),
            scopes: vec!["a".to_owned(), "b".to_owned()],
            client_certificate_key_id: "k1".to_owned(),
            claims: [("tenant".to_owned(), json!(7)), ("iat".to_owned(), json!(5))].into(),
            ..Config::default()
        };
        for (name, verifying) in [("", &RSA_PKCS1_2048_8192_SHA256), ("RS512", &RSA_PKCS1_2048_8192_SHA512)] {
            config.signature_algorithm = name.to_owned();
            let token = assertion(&config, "me", &pem, 1_700_000_000).expect("signed");
            let (signed, signature) = token.rsplit_once('.').expect("a signature");
            let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64");
            let public = UnparsedPublicKey::new(verifying, pair.public_key().as_ref());
            public.verify(signed.as_bytes(), &signature).expect("it is signed by this key");
            let parts: Vec<Value> = signed
                .split('.')
                .map(|part| {
                    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON")
                })
                .collect();
            let alg = if name.is_empty() { "RS256" } else { name };
            assert_eq!(parts[0], json!({"alg": alg, "typ": "JWT", "kid": "k1"}));
            let mut claims = parts[1].clone();
            let jti = claims["jti"].take();
            assert_eq!(jti.as_str().map(str::len), Some(36));
            assert_eq!(
                claims,
                json!({"iss": "me", "sub": "me", "jti": null, "aud": "https://login.test/token", "iat": 5,
                       "exp": 1_700_001_800, "scope": "a b", "tenant": 7})
            );
        }
    }

    #[test]
    fn what_is_no_key_is_named_without_repeating_it() {
        for wrong in [
            "",
            "s3cret",
            "-----BEGIN PRIVATE KEY-----\ns3cret\n-----END PRIVATE KEY-----",
            &pem("EC PRIVATE KEY", b"x"),
        ] {
            let error = key(wrong).expect_err("no key");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
