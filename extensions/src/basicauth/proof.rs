//! Remembering that a password was right without remembering the password.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use aws_lc_rs::rand::SystemRandom;

/// A keyed hash of a password. Worth nothing outside of this process.
#[derive(Clone, Copy, Default)]
pub(super) struct Proof([u8; 32]);

/// The key, made anew at each start.
pub(super) struct Prover(Key);

impl Prover {
    /// # Errors
    /// When the system has no randomness.
    pub(super) fn new() -> Result<Self, String> {
        let key = Key::generate(HMAC_SHA256, &SystemRandom::new());
        key.map(Self).map_err(|_| "the system gives no random bytes".to_owned())
    }

    pub(super) fn prove(&self, password: &[u8]) -> Proof {
        let mut proof = [0; 32];
        proof.copy_from_slice(sign(&self.0, password).as_ref());
        Proof(proof)
    }
}

impl Proof {
    pub(super) fn is(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}
