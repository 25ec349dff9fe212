//! What the fuzz targets reach of this folder.

use super::htpasswd;

/// User and password of the header `Authorization`.
#[must_use]
pub fn credentials(header: &[u8]) -> Option<(String, Vec<u8>)> {
    super::server::credentials(header).ok()
}

/// The users of an htpasswd file.
pub struct Users(htpasswd::Users);

impl Users {
    /// Reads a file; with the numbers of the lines that cannot be used, and why.
    #[must_use]
    pub fn read(text: &str) -> (Self, Vec<(usize, &'static str)>) {
        let (users, bad) = htpasswd::Users::read(&[text], None);
        (Self(users), bad.into_iter().map(|bad| (bad.number, bad.problem)).collect())
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Whether the password is the user's; nothing where there is no such user, or hashing takes long.
    #[must_use]
    pub fn is(&self, name: &str, password: &[u8]) -> Option<bool> {
        let user = self.0.get(name).filter(|user| user.kept.is_quick())?;
        Some(user.kept.is(password))
    }
}
