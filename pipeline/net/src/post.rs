//! A server at an address, at work for one graph after the other.
//!
//! A reload that leaves an address and everything that concerns connections as they are leaves the server as it is as
//! well: its connections stay open, and their next requests reach the new graph. Where anything of that has changed
//! (TLS, limits on connections, another protocol at the address), a new server takes over the address, and the old one
//! has its connections finish.

use crate::connections::Running;
use millrace_engine::{Gone, Lasting};
use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::time::timeout_at;

/// A server that runs.
#[derive(Debug)]
pub struct Post<S> {
    /// The server.
    pub server: S,
    /// What its connections depend on.
    print: u64,
    /// The graph that it works for.
    generation: AtomicU64,
    running: Mutex<Option<Running>>,
}

/// What one graph has of a post.
#[derive(Debug)]
pub struct Watch<S> {
    post: Arc<Post<S>>,
    generation: u64,
    /// When its requests are over that came while the post worked for this graph.
    gone: Gone,
}

impl<S: Any + Send + Sync> Post<S> {
    /// The server that runs under a key, if what its connections depend on is the same.
    #[must_use]
    pub fn find(lasting: &Lasting, key: &str, print: u64) -> Option<Arc<Self>> {
        lasting.find::<Self>(key).filter(|post| post.print == print)
    }

    /// Makes a server that has just been started known under a key.
    #[must_use]
    pub fn open(lasting: &Lasting, key: &str, print: u64, server: S, running: Running) -> Arc<Self> {
        let running = Mutex::new(Some(running));
        let post = Arc::new(Self { server, print, generation: AtomicU64::new(0), running });
        lasting.put(key, &post);
        post
    }

    /// Has it work for a graph from now on. `gone` tells when the last of that graph's requests is over.
    #[must_use]
    pub fn watch(self: Arc<Self>, generation: u64, gone: Gone) -> Watch<S> {
        self.generation.store(generation, SeqCst);
        Watch { post: self, generation, gone }
    }
}

impl<S> Watch<S> {
    /// Returns when every request of this graph has been answered, or at `deadline`. If the post works for no later
    /// graph, it takes nothing new and its connections are closed.
    pub async fn end(mut self, deadline: Instant) {
        if self.post.generation.load(SeqCst) == self.generation {
            let running = self.post.running.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(running) = running {
                running.stop(deadline).await;
            }
        } else {
            // What is not over by then holds the old graph's entry, which refuses what comes too late.
            let _ = timeout_at(deadline.into(), self.gone.wait()).await;
        }
    }
}
