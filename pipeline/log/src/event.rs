//! Waiting for something to happen, awaited or blocking, without a runtime.

use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// A lock whose holder cannot have left half a change behind: those here do not panic midway.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Something that happens again and again.
#[derive(Debug, Clone, Default)]
pub(crate) struct Event(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    happened: Condvar,
}

#[derive(Debug, Default)]
struct State {
    times: u64,
    wakers: Vec<(u64, Waker)>,
    next_id: u64,
    /// How many threads are blocked: to wake none costs a system call, too.
    blocked: usize,
}

impl Event {
    /// Hears of everything that happens from now on.
    pub(crate) fn listen(&self) -> Listener {
        let seen = lock(&self.0.state).times;
        Listener { shared: Arc::clone(&self.0), seen, id: None }
    }

    pub(crate) fn happen(&self) {
        let (wakers, is_blocking) = {
            let mut state = lock(&self.0.state);
            state.times += 1;
            (std::mem::take(&mut state.wakers), state.blocked > 0)
        };
        if is_blocking {
            self.0.happened.notify_all();
        }
        for (_, waker) in wakers {
            waker.wake();
        }
    }
}

/// Completes when something has happened since it was made. Make it before looking, and wait after having found
/// nothing: then nothing is missed in between.
#[derive(Debug)]
#[must_use = "does nothing unless awaited or waited for"]
pub struct Listener {
    shared: Arc<Shared>,
    seen: u64,
    id: Option<u64>,
}

impl Listener {
    /// Blocks for up to `timeout`. `true` if something has happened.
    pub fn wait(self, timeout: Duration) -> bool {
        let until = Instant::now() + timeout.min(Duration::from_secs(1 << 30));
        let mut state = lock(&self.shared.state);
        while state.times == self.seen {
            let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
            else {
                return false;
            };
            state.blocked += 1;
            let waited = self.shared.happened.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.blocked -= 1;
        }
        true
    }

    /// Whether something has happened.
    #[must_use]
    pub fn has_happened(&self) -> bool {
        lock(&self.shared.state).times != self.seen
    }
}

impl Future for Listener {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let shared = Arc::clone(&self.shared);
        let mut state = lock(&shared.state);
        if state.times != self.seen {
            return Poll::Ready(());
        }
        let id = *self.id.get_or_insert_with(|| {
            state.next_id += 1;
            state.next_id
        });
        match state.wakers.iter_mut().find(|(of, _)| *of == id) {
            Some((_, waker)) => waker.clone_from(context.waker()),
            None => state.wakers.push((id, context.waker().clone())),
        }
        Poll::Pending
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            lock(&self.shared.state).wakers.retain(|(of, _)| *of != id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn what_happens_between_looking_and_waiting_is_not_missed() {
        let event = Event::default();
        let listener = event.listen();
        event.happen();
        assert!(listener.has_happened());
        assert!(listener.wait(Duration::ZERO));
        assert!(!event.listen().wait(Duration::from_millis(1)));
    }

    #[test]
    fn awaiting_is_woken_once_and_leaves_nothing_behind() {
        let event = Event::default();
        let count = Arc::new(Count::default());
        let waker = Arc::clone(&count).into();
        let mut context = Context::from_waker(&waker);
        let (mut one, mut two) = (event.listen(), event.listen());
        assert!(Pin::new(&mut one).poll(&mut context).is_pending());
        assert!(Pin::new(&mut one).poll(&mut context).is_pending());
        assert!(Pin::new(&mut two).poll(&mut context).is_pending());
        drop(two);
        event.happen();
        assert_eq!(count.0.load(SeqCst), 1);
        assert!(Pin::new(&mut one).poll(&mut context).is_ready());
        assert!(lock(&event.0.state).wakers.is_empty());
    }

    #[test]
    fn waiting_ends_when_it_happens_on_another_thread() {
        let event = Event::default();
        let listener = event.listen();
        std::thread::scope(|scope| {
            scope.spawn(|| event.happen());
            assert!(listener.wait(Duration::from_secs(60)));
        });
    }
}
