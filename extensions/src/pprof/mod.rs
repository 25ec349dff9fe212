//! The `pprof` extension: the paths that Go's tools ask for, as far as there is something to answer.
//!
//! There is no profiler in the process; `ARCHITECTURE.md` says why. Configurations that name the extension work, and
//! whoever asks for a profile is told what to use instead.

mod config;

pub use config::{Config, Dialer};

use crate::pages::PageServers;
use axum::Router;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, Uri};
use millrace_engine::BoxFuture;
use millrace_engine::component::{BuildError, Context, Extension, ExtensionConfig, Factory, Stability};
use std::sync::Arc;

/// The `pprof` extension.
pub const FACTORY: Factory<dyn ExtensionConfig> = Factory {
    name: "pprof",
    aliases: &[],
    signals: &[],
    stability: Stability::Alpha,
    schema: millrace_config::Shape::of::<Config>(),
    plan: |node, path, diags| Some(Box::new(millrace_config::decode::<Config>(node, path, diags)?)),
};

/// What Go has under these names.
const PROFILES: [&str; 8] =
    ["allocs", "block", "goroutine", "heap", "mutex", "profile", "threadcreate", "trace"];

impl ExtensionConfig for Config {
    fn build(&self, context: Context) -> Result<Arc<dyn Extension>, BuildError> {
        Ok(Arc::new(Pprof { config: self.clone(), context, pages: PageServers::default() }))
    }
}

struct Pprof {
    config: Config,
    context: Context,
    pages: PageServers,
}

impl Extension for Pprof {
    fn prepare(&self) -> BoxFuture<'_, Result<(), BuildError>> {
        Box::pin(async {
            let router = Router::new().fallback(|uri: Uri| async move { page(uri.path()) });
            self.pages.prepare_plain("pprof", &self.config.endpoint, &self.context, router)
        })
    }

    fn start(&self) -> BoxFuture<'_, Result<(), BuildError>> {
        Box::pin(async {
            self.pages.begin();
            Ok(())
        })
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.pages.stop())
    }
}

fn page(path: &str) -> Response {
    match path.strip_prefix("/debug/pprof/") {
        Some("") => {
            "/debug/pprof/\n\ncmdline\nsymbol\n\nThere are no profiles in this collector.\n".into_response()
        }
        Some("cmdline") => command_line().into_response(),
        // Zero says that addresses are resolved by the tool itself.
        Some("symbol") => "num_symbols: 0\n".into_response(),
        Some(name) if PROFILES.contains(&name) => {
            (StatusCode::NOT_IMPLEMENTED, no_profile(name)).into_response()
        }
        _ => (StatusCode::NOT_FOUND, "404 page not found\n").into_response(),
    }
}

fn no_profile(name: &str) -> String {
    let id = std::process::id();
    format!(
        "there is no profile `{name}` in this collector; use a build with symbols (`--profile profiling`), and \
         `perf record -F 99 --call-graph dwarf -p {id} -- sleep 30`\n"
    )
}

/// The arguments of the process, as Go writes them.
fn command_line() -> String {
    let arguments: Vec<_> =
        std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
    arguments.join("\0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_refused, plan};

    #[test]
    fn the_paths_of_go_s_tools_are_answered() {
        for (path, status) in [
            ("/debug/pprof/", 200),
            ("/debug/pprof/cmdline", 200),
            ("/debug/pprof/symbol", 200),
            ("/debug/pprof/profile", 501),
            ("/debug/pprof/heap", 501),
            ("/debug/pprof/x", 404),
            ("/", 404),
        ] {
            assert_eq!(page(path).status(), status, "{path}");
        }
        assert!(command_line().contains("millrace"), "the test is an executable of this crate");
    }

    #[test]
    fn what_is_not_there_is_refused_and_what_has_no_effect_is_said() {
        let cases = [
            ("save_to_file: x", "no profiler"),
            ("endpoint: x", "has no port"),
            ("{fraction: 1}", "unknown key"),
        ];
        assert_refused(&FACTORY, &cases);
        let (config, problems) = plan(&FACTORY, "{block_profile_fraction: 3, dialer: {timeout: 1s}}");
        assert!(config.is_some() && problems.contains("has no effect"), "{problems}");
    }
}
