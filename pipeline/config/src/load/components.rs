//! The five sections that list components.

use super::{Component, Components, Loader};
use crate::catalog::Kind;
use crate::contrib;
use crate::diagnostic::Diagnostic;
use crate::id::ComponentId;
use crate::legacy;
use crate::node::{Entry, Map, Value};
use crate::suggest;

/// How the id of a component is written.
const ID_ADVICE: &str = "an id is a type, or a type and a name of your own: `otlp_grpc`, `otlp_grpc/backend`";

/// Keys that stand in components, for those that are not indented far enough.
const INNER_KEYS: [&str; 10] = [
    "protocols",
    "endpoint",
    "tls",
    "grpc",
    "http",
    "headers",
    "sending_queue",
    "retry_on_failure",
    "timeout",
    "auth",
];

impl Loader<'_> {
    /// Reads one section. Components that cannot be used are reported and left out.
    pub(super) fn components(&mut self, kind: Kind, section: Option<&Entry>) -> Components {
        let mut components = Components::new();
        let Some(section) = section else { return components };
        let map = match &section.value.value {
            Value::Map(map) => map,
            Value::Null => return components,
            value => {
                let message = format!("expected a map of {kind}s by id, found {}", value.kind());
                let help = format!("write each {kind} on a line of its own, as a key: `name:`");
                let error = Diagnostic::error(section.value.span, kind.section(), message).help(help);
                self.diags.push(error);
                return components;
            }
        };
        for entry in map {
            let path = format!("{}::{}", kind.section(), entry.key.trim());
            let id: ComponentId = match entry.key.parse() {
                Ok(id) => id,
                Err(error) => {
                    let error = Diagnostic::error(entry.key_span, &path, error.to_string());
                    self.diags.push(error.help(ID_ADVICE.to_owned()));
                    continue;
                }
            };
            if !self.declared.insert((kind, id.clone())) {
                let message = format!("duplicate name \"{}\": it is \"{id}\" again", entry.key);
                self.error(entry.key_span, &path, &message);
                continue;
            }
            if !matches!(entry.value.value, Value::Map(_) | Value::Null) {
                let message =
                    format!("expected a section (keys and values), found {}", entry.value.value.kind());
                self.error(entry.value.span, &path, &message);
            }
            if let Some(component) = self.component(kind, id.clone(), (entry, map), &path) {
                components.insert(id, component);
            }
        }
        components
    }

    fn component(
        &mut self,
        kind: Kind,
        id: ComponentId,
        (entry, section): (&Entry, &Map),
        path: &str,
    ) -> Option<Component> {
        let Some(known) = self.known(kind, &id) else {
            let type_name = id.type_name();
            let message = format!("unknown type: \"{type_name}\" for id: \"{id}\"");
            let help = self.unknown_type_advice(kind, type_name);
            self.diags.hidden.unknown(&entry.value);
            self.diags.push(Diagnostic::error(entry.key_span, path, message).help(help));
            return None;
        };
        if known.deprecated {
            let warning = match legacy::gone(kind, id.type_name()) {
                Some(gone) => {
                    Diagnostic::warning(entry.key_span, path, gone.message).help(gone.help.to_owned())
                }
                None => {
                    let old = id.type_name();
                    let message = format!("`{old}` is an old name of the {kind} `{}`", known.canonical);
                    let new = renamed(&id, known.canonical);
                    let help = match section.get(&new) {
                        None if legacy::keeps_on_disk(&entry.value) => format!(
                            "rename it to `{new}`, here and where it is used; its queue on disk is found under either \
                             name"
                        ),
                        Some(_) if legacy::keeps_on_disk(&entry.value) => format!(
                            "`{new}` is another one here: give this one a name of its own, such as `{}/{old}`, once its \
                             queue on disk is empty (`millrace queue list`); what waits would not be found under it",
                            known.canonical
                        ),
                        Some(_) => format!(
                            "`{new}` is another one here: give this one a name of its own, such as `{}/{old}`, here and \
                             where it is used",
                            known.canonical
                        ),
                        None => format!("rename it to `{new}`, here and where it is used"),
                    };
                    Diagnostic::warning(entry.key_span, path, message).help(help)
                }
            };
            self.diags.push(warning);
        }
        let node = entry.value.clone();
        Some(Component { kind, id, id_span: entry.key_span, canonical: known.canonical, node })
    }

    fn unknown_type_advice(&self, kind: Kind, type_name: &str) -> Option<String> {
        let names = self.catalog.names(kind);
        if let Some(same) = names.iter().find(|name| suggest::same(name, type_name)) {
            return Some(format!("did you mean `{same}`?"));
        }
        // What the Go collector has under this name in several sections, and we only in another, is no mistake of place.
        let missing = contrib::has(kind, type_name);
        let elsewhere = |&other: &Kind| self.catalog.canonical(other, type_name).is_some();
        if let Some(other) = Kind::ALL.into_iter().find(elsewhere).filter(|_| !missing) {
            return Some(format!(
                "`{type_name}` is {} {other}: it belongs under `{}`",
                article(other),
                other.section()
            ));
        }
        if INNER_KEYS.contains(&type_name) {
            return Some(format!(
                "`{type_name}` is a key of a component: indent it below the one it belongs to"
            ));
        }
        if let Some(advice) = legacy::advice(kind, type_name) {
            return Some(advice);
        }
        if missing {
            return Some(format!(
                "the Go collector's distributions have this {kind}; it is not built here yet"
            ));
        }
        suggest::advice(type_name, "types", &names)
    }
}

fn renamed(id: &ComponentId, canonical: &str) -> String {
    id.name().map_or_else(|| canonical.to_owned(), |name| format!("{canonical}/{name}"))
}

pub(super) fn article(kind: Kind) -> &'static str {
    if matches!(kind, Kind::Exporter | Kind::Extension) { "an" } else { "a" }
}
