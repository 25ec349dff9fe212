//! Finding out who sends.
//!
//! Hashes of passwords take long on purpose, and an exporter sends its password with every request. So the password
//! that was found to be right is remembered, by a keyed hash, and comparing costs a microsecond. Only the first request
//! of a user, and wrong passwords, are hashed: apart from the workers, few at once, and not for ever, so that guessing
//! does not keep the rest from being served.

use super::Htpasswd;
use super::htpasswd::{BadLine, User, Users};
use super::proof::{Proof, Prover};
use crate::credentials::{Current, Refused, Verdicts, WatchedFile, read_credentials};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use millrace_engine::component::{BuildError, Context, Extension};
use millrace_engine::{BoxFuture, Denied, Failure, Fault, Identity, Reason, ServerAuth};
use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::available_parallelism;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// The longest password that is hashed: some ways of hashing take as long as its square. Nobody types more.
const MAX_PASSWORD: usize = 1024;
/// How many requests may wait for their password to be hashed.
const MAX_WAITING: usize = 256;
/// How long one may wait for that.
const MAX_WAIT: Duration = Duration::from_secs(5);
/// When those are to come back for whom there was no time.
const COME_BACK: Duration = Duration::from_secs(1);

pub(super) struct Server {
    context: Context,
    inline: Arc<str>,
    /// The file and what was in it.
    file: Option<(Box<Path>, Vec<u8>)>,
    watched: WatchedFile,
    users: Arc<Current<Users>>,
    prover: Prover,
    /// A user whom nobody knows takes as long as one with a wrong password.
    nobody: Arc<User>,
    hashing: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    verdicts: Verdicts,
}

impl Server {
    pub(super) fn new(config: &Htpasswd, context: Context) -> Result<Self, BuildError> {
        let inline: Arc<str> = config.inline.expose().as_str().into();
        let file = (!config.file.is_empty()).then(|| Box::from(Path::new(&config.file)));
        let read = file.as_ref().map(|path| read_credentials(path)).transpose();
        let read = read.map_err(|problem| context.error(problem))?;
        let (users, bad) = read_users(read.as_deref().unwrap_or_default(), &inline, None);
        warn_of(&context.id.to_string(), &bad);
        // Half of the cores: the other half goes on serving those that are known.
        let at_once = (available_parallelism().map_or(1, NonZero::get) / 2).max(1);
        Ok(Self {
            inline,
            file: file.zip(read),
            watched: WatchedFile::default(),
            users: Arc::new(Current::from(users)),
            prover: Prover::new().map_err(|problem| context.error(problem))?,
            nobody: nobody(),
            hashing: Arc::new(Semaphore::new(at_once)),
            waiting: Arc::default(),
            verdicts: Verdicts::new(&context),
            context,
        })
    }

    async fn judge(&self, headers: &HeaderMap) -> Result<Arc<Identity>, Refused> {
        let Some(header) = headers.get(AUTHORIZATION).filter(|header| !header.is_empty()) else {
            return Err(Refused::Missing("no basic auth provided".to_owned()));
        };
        let (name, password) = credentials(header.as_bytes())?;
        let user = self.users.read().get(&name).cloned();
        let proof = self.prover.prove(&password);
        let is_known = |user: &Arc<User>| user.proven.get().is_some_and(|proven| proven.is(&proof));
        if let Some(user) = user.as_ref().filter(|user| is_known(user)) {
            return Ok(identity(&user.name));
        }
        let candidate = user.as_ref().unwrap_or(&self.nobody);
        let is_right = self.compare(candidate, password, proof).await?;
        match user {
            Some(user) if is_right => Ok(identity(&user.name)),
            _ => Err(Refused::Wrong("invalid credentials")),
        }
    }

    /// Whether it is the user's password; remembers it if so.
    async fn compare(&self, user: &Arc<User>, password: Vec<u8>, proof: Proof) -> Result<bool, Refused> {
        if user.kept.is_quick() {
            return Ok(user.kept.is(&password));
        }
        if password.len() > MAX_PASSWORD {
            return Ok(false);
        }
        let waiting = Waiting::begin(&self.waiting)?;
        let turn = timeout(MAX_WAIT, Arc::clone(&self.hashing).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(too_many()) };
        let user = Arc::clone(user);
        let compared = spawn_blocking(move || {
            // Hashing goes on when the request is given up, so its turn lasts as long: those who guess and hang up
            // would hash as many at once as they like.
            let _until_done = (waiting, turn);
            let is_right = user.kept.is(&password);
            if is_right {
                // Another request of the same user may have been first.
                let _ = user.proven.set(proof);
            }
            is_right
        });
        // It fails only when the runtime goes away, or by a bug.
        compared.await.map_err(|_| too_many())
    }
}

impl Extension for Server {
    fn start(&self) -> BoxFuture<'_, Result<(), BuildError>> {
        Box::pin(async {
            let Some((path, known)) = &self.file else { return Ok(()) };
            let (users, inline) = (Arc::clone(&self.users), Arc::clone(&self.inline));
            let id = self.context.id.to_string();
            let changed = move |bytes: &[u8]| {
                let before = users.read();
                let (now, bad) = read_users(bytes, &inline, Some(&before));
                warn_of(&id, &bad);
                tracing::info!(otelcol.component.id = id, users = now.len(), "Read the users");
                users.replace(now);
                Ok(())
            };
            self.watched.start(&self.context.shared.tasks, path.clone(), known.clone(), changed);
            Ok(())
        })
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async { self.watched.stop() })
    }

    fn server_auth(self: Arc<Self>) -> Option<Arc<dyn ServerAuth>> {
        Some(self)
    }
}

impl ServerAuth for Server {
    fn authenticate<'a>(&'a self, headers: &'a HeaderMap) -> BoxFuture<'a, Result<Arc<Identity>, Denied>> {
        Box::pin(async { self.verdicts.count(self.judge(headers).await) })
    }
}

/// A request that waits for its password to be hashed.
struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    fn begin(count: &Arc<AtomicUsize>) -> Result<Self, Refused> {
        let this = Self(Arc::clone(count));
        if count.fetch_add(1, Relaxed) < MAX_WAITING { Ok(this) } else { Err(too_many()) }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

fn too_many() -> Refused {
    let message = "too many passwords are being checked; try again";
    Refused::NotNow(Failure::transient(Fault::Us, Reason::QueueFull, message).after(COME_BACK))
}

/// User and password. The messages are the Go collector's.
pub(super) fn credentials(header: &[u8]) -> Result<(String, Vec<u8>), Refused> {
    const SCHEME: &[u8] = b"Basic ";
    let (scheme, encoded) = header
        .split_at_checked(SCHEME.len())
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(SCHEME))
        .map_or((&[][..], &[][..]), |halves| halves);
    if scheme.is_empty() {
        return Err(Refused::Wrong("invalid authorization scheme prefix"));
    }
    let malformed = || Refused::Wrong("invalid authorization format");
    let decoded = STANDARD.decode(encoded).map_err(|_| malformed())?;
    let colon = decoded.iter().position(|byte| *byte == b':').ok_or_else(malformed)?;
    // A name that is not text is the name of nobody.
    let name = String::from_utf8_lossy(&decoded[..colon]).into_owned();
    Ok((name, decoded[colon + 1..].to_vec()))
}

fn identity(name: &str) -> Arc<Identity> {
    Arc::new(vec![("username".into(), name.into())])
}

fn read_users(file: &[u8], inline: &str, before: Option<&Users>) -> (Users, Vec<BadLine>) {
    let file = String::from_utf8_lossy(file);
    Users::read(&[&file, inline], before)
}

fn warn_of(id: &str, bad: &[BadLine]) {
    if let Some(BadLine { number, problem }) = bad.first() {
        tracing::warn!(
            otelcol.component.id = id,
            lines = bad.len(),
            first_line = number,
            problem,
            "lines of the htpasswd file are left out"
        );
    }
}

/// A user that no password is right for, at the price of the usual bcrypt.
fn nobody() -> Arc<User> {
    let (users, _) = Users::read(&["-:$2y$10$abcdefghijklmnopqrstuuAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"], None);
    Arc::clone(users.get("-").expect("the line is in form"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::context;
    use http::HeaderValue;
    use millrace_config::Secret;
    use millrace_engine::Health;
    use std::time::Instant;

    /// At a cost that takes some hundreds of milliseconds.
    const SLOW: &str = "bob:$2b$12$abcdefghijklmnopqrstuuqflPDzB6gcMhKa1rZqKiun2YGL5sa2u";

    #[tokio::test]
    async fn who_hangs_up_keeps_his_turn_until_the_password_is_hashed() {
        let config = Htpasswd { inline: Secret::new(SLOW.to_owned()), ..Htpasswd::default() };
        let server = Server::new(&config, context("basicauth", &Health::starting())).expect("it builds");
        let free = server.hashing.available_permits();
        let guess = HeaderValue::from_static("Basic Ym9iOnh5eg==");
        let headers = HeaderMap::from_iter([(AUTHORIZATION, guess)]);

        assert!(timeout(Duration::ZERO, server.judge(&headers)).await.is_err(), "it takes a while");
        assert_eq!(server.hashing.available_permits(), free - 1, "his password is still being hashed");
        assert_eq!(server.waiting.load(Relaxed), 1);

        let deadline = Instant::now() + Duration::from_secs(30);
        while server.hashing.available_permits() < free || server.waiting.load(Relaxed) > 0 {
            assert!(Instant::now() < deadline, "a turn is lost");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
