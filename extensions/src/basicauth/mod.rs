//! The `basicauth` extension: users with passwords.

mod client;
mod config;
#[cfg(fuzzing)]
pub mod fuzzing;
mod hash;
mod htpasswd;
mod proof;
mod server;

pub use config::{ClientCredentials, Config, Htpasswd};

use millrace_config::Role;
use millrace_engine::component::{BuildError, Context, Extension, ExtensionConfig, Factory, Stability};
use std::sync::Arc;

/// The `basicauth` extension.
pub const FACTORY: Factory<dyn ExtensionConfig> = Factory {
    name: "basicauth",
    aliases: &[],
    signals: &[],
    stability: Stability::Beta,
    schema: millrace_config::Shape::of::<Config>(),
    plan: |node, path, diags| Some(Box::new(millrace_config::decode::<Config>(node, path, diags)?)),
};

impl ExtensionConfig for Config {
    fn build(&self, context: Context) -> Result<Arc<dyn Extension>, BuildError> {
        match (self.htpasswd.as_option(), self.client_auth.as_option()) {
            (Some(htpasswd), _) => Ok(Arc::new(server::Server::new(htpasswd, context)?)),
            (None, Some(credentials)) => Ok(Arc::new(client::Client::new(credentials, context)?)),
            (None, None) => Err(context.error("no credential source provided")),
        }
    }

    fn offers(&self) -> &'static [Role] {
        if self.htpasswd.is_on() { &[Role::ServerAuth] } else { &[Role::ClientAuth] }
    }
}

#[cfg(test)]
mod tests;
