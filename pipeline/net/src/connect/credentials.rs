//! Saying to a destination who sends.

use http::HeaderMap;
use millrace_engine::{Batch, ClientAuth, Failure, Fault, Identity, Metadata, Origin, Reason};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// What proves on each request who sends it: an extension, or nothing.
#[derive(Clone, Default)]
pub struct Credentials(Option<Arc<dyn ClientAuth>>);

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Credentials").field(&self.0.is_some()).finish()
    }
}

impl Credentials {
    /// Those that an extension has.
    #[must_use]
    pub fn new(auth: Option<Arc<dyn ClientAuth>>) -> Self {
        Self(auth)
    }

    /// The names of what clients send that the extension reads.
    #[must_use]
    pub fn metadata(&self) -> Vec<String> {
        self.0.as_ref().map(|auth| auth.metadata()).unwrap_or_default()
    }

    /// `headers`, and what the extension adds for what is in `batch`.
    ///
    /// # Errors
    /// When the extension has nothing to say now, or ever.
    pub async fn authorize<'h>(
        &self,
        headers: &'h HeaderMap,
        batch: &Batch,
    ) -> Result<Cow<'h, HeaderMap>, Failure> {
        let Some(auth) = &self.0 else { return Ok(Cow::Borrowed(headers)) };
        let mut headers = headers.clone();
        auth.authorize(&mut headers, common(batch).as_deref()).await?;
        Ok(Cow::Owned(headers))
    }

    /// The destination does not believe who sends. The extension hears of it, and what was sent is worth another
    /// attempt with what it then has to say; without an extension it is not, because nothing would be different.
    #[must_use]
    pub fn disbelieved(&self, failure: Failure) -> Failure {
        let Some(auth) = &self.0 else { return failure };
        auth.disbelieved();
        let transient = Failure::transient(Fault::Destination, Reason::Rejected, failure.message);
        Failure { grpc_code: failure.grpc_code, ..transient }
    }
}

/// Where everything in a batch came from, as far as that is the same for all of it: nobody's headers may vouch for
/// what came from somebody else.
fn common(batch: &Batch) -> Option<Cow<'_, Origin>> {
    let (first, rest) = batch.pieces().split_first()?;
    let alike = |origin: &Arc<Origin>| {
        Arc::ptr_eq(origin, &first.origin)
            || origin.metadata == first.origin.metadata && same(&origin.identity, &first.origin.identity)
    };
    if rest.iter().all(|piece| alike(&piece.origin)) {
        return Some(Cow::Borrowed(&first.origin));
    }
    let mut common = (*first.origin).clone();
    for piece in rest {
        let name = |pair: &(Box<str>, Box<str>)| pair.0.clone();
        let names: Vec<_> = common.metadata.iter().map(name).collect();
        let values = |metadata: &Metadata, name: &str| -> Vec<Box<str>> {
            let own = metadata.iter().filter(|(own, _)| **own == *name);
            own.map(|(_, value)| value.clone()).collect()
        };
        let differs = |name: &str| values(&common.metadata, name) != values(&piece.origin.metadata, name);
        let differing: Vec<_> = names.into_iter().filter(|name| differs(name)).collect();
        common.metadata.retain(|(name, _)| !differing.contains(name));
        if !same(&common.identity, &piece.origin.identity) {
            common.identity = None;
        }
        if common.peer != piece.origin.peer {
            common.peer = None;
        }
    }
    Some(Cow::Owned(common))
}

fn same(one: &Option<Arc<Identity>>, other: &Option<Arc<Identity>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other) || one == other,
        (None, None) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use millrace_engine::{BoxFuture, Charge, Piece};
    use millrace_wire::write::{LogRecord, Logs};

    /// Repeats the tenant of what is sent.
    struct Tenant;

    impl ClientAuth for Tenant {
        fn authorize<'a>(
            &'a self,
            headers: &'a mut HeaderMap,
            origin: Option<&'a Origin>,
        ) -> BoxFuture<'a, Result<(), Failure>> {
            Box::pin(async move {
                let metadata = origin.map(|origin| origin.metadata.as_slice()).unwrap_or_default();
                for (_, value) in metadata.iter().filter(|(name, _)| **name == *"tenant") {
                    headers.append("x-tenant", HeaderValue::from_str(value).expect("text"));
                }
                Ok(())
            })
        }
    }

    fn piece(metadata: &[(&str, &str)], user: Option<&str>) -> Piece {
        let pair = |(name, value): &(&str, &str)| ((*name).into(), (*value).into());
        let identity = user.map(|user| Arc::new(vec![("username".into(), user.into())]));
        let origin =
            Origin { metadata: metadata.iter().map(pair).collect(), identity, ..(*Origin::local()).clone() };
        let payload = Logs::build(|logs| {
            logs.record(LogRecord::default(), |_| {});
        });
        Piece { payload, origin: Arc::new(origin), charge: Charge::none() }
    }

    fn batch(pieces: Vec<Piece>) -> Batch {
        let mut pieces = pieces.into_iter();
        let first = Batch::of(pieces.next().expect("a piece"));
        pieces.fold(first, |mut batch, piece| {
            batch.push(piece);
            batch
        })
    }

    async fn said(pieces: Vec<Piece>) -> Vec<String> {
        let headers = HeaderMap::new();
        let batch = batch(pieces);
        let authorized = Credentials::new(Some(Arc::new(Tenant))).authorize(&headers, &batch).await;
        let authorized = authorized.expect("it has something to say");
        authorized.get_all("x-tenant").iter().map(|value| value.to_str().expect("text").to_owned()).collect()
    }

    #[tokio::test]
    async fn what_was_merged_is_vouched_for_only_where_all_of_it_agrees() {
        let a = || piece(&[("tenant", "a"), ("user-agent", "one")], None);
        let also_a = || piece(&[("user-agent", "two"), ("tenant", "a")], None);
        let b = || piece(&[("tenant", "b")], None);
        assert_eq!(said(vec![a()]).await, ["a"]);
        assert_eq!(said(vec![a(), also_a(), a()]).await, ["a"]);
        assert!(said(vec![a(), b()]).await.is_empty());
        assert!(said(vec![a(), piece(&[("tenant", "a"), ("tenant", "b")], None)]).await.is_empty());
        let users = batch(vec![piece(&[], Some("me")), piece(&[], Some("you"))]);
        assert_eq!(common(&users).expect("an origin").identity, None);
        let user = batch(vec![piece(&[], Some("me")), piece(&[], Some("me"))]);
        assert!(common(&user).expect("an origin").identity.is_some());
    }

    #[tokio::test]
    async fn disbelief_is_worth_another_attempt_only_where_there_is_somebody_to_ask() {
        let refused = || Failure::permanent(Fault::Destination, Reason::Rejected, "401").with_grpc_code(16);
        assert!(!Credentials::default().disbelieved(refused()).is_transient());
        let again = Credentials::new(Some(Arc::new(Tenant))).disbelieved(refused());
        assert_eq!((again.is_transient(), again.grpc_code, &again.message[..]), (true, Some(16), "401"));
    }
}
