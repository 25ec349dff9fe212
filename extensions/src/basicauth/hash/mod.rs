//! The ways in which htpasswd files keep passwords.

mod bcrypt;
mod md5_crypt;
mod sha_crypt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A password, kept so that it can be compared but, except for [`Kept::Plain`], not told.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Kept {
    /// `$2a$`, `$2b$`, `$2x$`, `$2y$`.
    Bcrypt(bcrypt::Hash),
    /// `$apr1$` and `$1$`.
    Md5Crypt(md5_crypt::Hash),
    /// `$5$` and `$6$`.
    ShaCrypt(sha_crypt::Hash),
    /// `{SHA}` and, with a salt, `{SSHA}`.
    Sha1 { digest: [u8; 20], salt: Box<[u8]> },
    /// As it is.
    Plain(Box<[u8]>),
}

impl Kept {
    /// Reads what stands after the colon.
    ///
    /// # Errors
    /// What is wrong, without any of it.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        if let Some(rest) = text.strip_prefix("{SHA}") {
            return sha1(rest, false);
        }
        if let Some(rest) = text.strip_prefix("{SSHA}") {
            return sha1(rest, true);
        }
        let Some(rest) = text.strip_prefix('$') else { return Ok(Self::Plain(text.as_bytes().into())) };
        let Some((id, rest)) = rest.split_once('$') else { return Ok(Self::Plain(text.as_bytes().into())) };
        match id {
            "2a" | "2b" | "2x" | "2y" => bcrypt::Hash::parse(rest).map(Self::Bcrypt),
            "apr1" | "1" => md5_crypt::Hash::parse(id, rest).map(Self::Md5Crypt),
            "5" | "6" => sha_crypt::Hash::parse(id, rest).map(Self::ShaCrypt),
            _ => Err("a kind of hash that is not supported; use htpasswd -B"),
        }
    }

    /// Whether this is the password. Takes the same time for every password of a length.
    pub(super) fn is(&self, password: &[u8]) -> bool {
        match self {
            Self::Bcrypt(hash) => hash.is(password),
            Self::Md5Crypt(hash) => hash.is(password),
            Self::ShaCrypt(hash) => hash.is(password),
            Self::Sha1 { digest: kept, salt } => {
                let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
                context.update(password);
                context.update(salt);
                equal(context.finish().as_ref(), kept)
            }
            Self::Plain(kept) => equal(password, kept),
        }
    }

    /// Whether comparing takes so little that it may be done where requests are served.
    pub(super) fn is_quick(&self) -> bool {
        matches!(self, Self::Sha1 { .. } | Self::Plain(_))
    }
}

fn equal(one: &[u8], other: &[u8]) -> bool {
    verify_slices_are_equal(one, other).is_ok()
}

fn sha1(text: &str, is_salted: bool) -> Result<Kept, &'static str> {
    let bytes = STANDARD.decode(text).map_err(|_| "{SHA} or {SSHA} without base64 behind it")?;
    let (digest, salt) = bytes.split_at_checked(20).ok_or("{SHA} or {SSHA} with too few bytes")?;
    if salt.is_empty() == is_salted {
        return Err("{SHA} with a salt, or {SSHA} without one");
    }
    let digest = digest.try_into().map_err(|_| "{SHA} or {SSHA} with too few bytes")?;
    Ok(Kept::Sha1 { digest, salt: salt.into() })
}

/// The digits of crypt's own base 64.
const DIGITS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Writes three bytes as `digits` digits, the lowest first.
fn crypt_digits(out: &mut Vec<u8>, high: u8, middle: u8, low: u8, digits: usize) {
    let mut bits = u32::from(high) << 16 | u32::from(middle) << 8 | u32::from(low);
    for _ in 0..digits {
        out.push(DIGITS[(bits & 0x3f) as usize]);
        bits >>= 6;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of `password|kept`.
    const KEPT: &str = include_str!("testdata/kept.txt");

    #[test]
    fn what_other_programs_have_kept_is_recognised() {
        let cases = KEPT.lines().filter(|line| !line.starts_with('#'));
        let cases: Vec<_> = cases.map(|line| line.split_once('|').expect("two columns")).collect();
        assert!(cases.len() > 30, "the file is there");
        for (password, text) in cases {
            let kept = Kept::parse(text).unwrap_or_else(|problem| panic!("{text}: {problem}"));
            assert!(kept.is(password.as_bytes()), "{password} in {text}");
            assert!(!kept.is(format!("{password}x").as_bytes()), "another than {password} in {text}");
        }
    }

    #[test]
    fn a_zero_byte_does_not_make_a_password_repeat_itself() {
        let text = KEPT.lines().find_map(|line| line.strip_prefix("secret|$2b$04$")).expect("there is one");
        let kept = Kept::parse(&format!("$2b$04${text}")).expect("in form");
        assert!(kept.is(b"secret") && !kept.is(b"secret\0secret"));
    }

    #[test]
    fn odd_encodings_are_refused_by_kind_and_never_taken_for_plain_text() {
        for text in [
            "$2y$05$short",
            "$2y$99$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyz01234",
            "$2y$04$!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!",
            "$apr1$",
            "$apr1$salt$short",
            "$6$rounds=x$salt$hash",
            "$6$salt$short",
            "$argon2id$v=19$m=65536",
            "$y$j9T$x$y",
            "{SHA}!!!",
            "{SHA}c2hvcnQ=",
            "{SSHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
        ] {
            assert!(Kept::parse(text).is_err(), "{text}");
        }
        assert!(Kept::parse("$no-dollar").is_ok_and(|kept| kept.is(b"$no-dollar")));
        assert!(Kept::parse("").is_ok_and(|kept| kept.is(b"") && !kept.is(b"x")));
    }
}
