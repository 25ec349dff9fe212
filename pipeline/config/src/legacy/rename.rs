//! Components under old names: the edits that rename them. The tree keeps the name, which metrics and logs show; the
//! warning is the loader's.

use std::collections::HashSet;

use super::{Change, Edit, gone, known, text};
use crate::catalog::{Catalog, Kind};
use crate::id::ComponentId;
use crate::node::{Entry, Node, Value};
use crate::source::Span;

/// The edits that give every component its present name, where all places that name it are written out.
pub(super) fn old_names(node: &Node, catalog: &dyn Catalog) -> Vec<Edit> {
    let mut edits = Vec::new();
    for kind in Kind::ALL {
        let Some(section) = node.get(&[kind.section()]).and_then(Node::as_map) else { continue };
        let mut taken: HashSet<String> = section.iter().map(|entry| entry.key.trim().to_owned()).collect();
        for entry in section {
            let Ok(id) = entry.key.parse::<ComponentId>() else { continue };
            let Some(known) = known(catalog, kind, id.type_name()).filter(|known| known.deprecated) else {
                continue;
            };
            let new = free_id(&id, known.canonical, &taken);
            // It is found under either name of the type, and not under another name of the component.
            let is_found = id.of_type(known.canonical).is_some_and(|id| id.to_string() == new);
            if keeps_on_disk(&entry.value) && !is_found {
                continue;
            }
            let mut places = vec![entry.key_span];
            if kind == Kind::Extension {
                find_by_key(node, &id, &mut places);
            }
            if references(node, kind, &id, &mut places) && places.iter().all(|place| place.is_written()) {
                taken.insert(new.clone());
                edits.extend(places.into_iter().enumerate().map(|(index, span)| {
                    let change =
                        if index == 0 { Change::Name(new.clone()) } else { Change::Value(text(&new)) };
                    Edit { span, change }
                }));
            }
        }
    }
    edits
}

/// Whether a component has a queue on disk, which is found by the component's name, old or new.
pub(crate) fn keeps_on_disk(section: &Node) -> bool {
    let storage = section.get(&["sending_queue", "storage"]).or_else(|| section.get(&["storage"]));
    storage.is_some_and(|storage| !matches!(storage.value, Value::Null))
}

/// The present name, or one like it if that is taken.
fn free_id(id: &ComponentId, canonical: &str, taken: &HashSet<String>) -> String {
    let plain = id.name().map_or_else(|| canonical.to_owned(), |name| format!("{canonical}/{name}"));
    if !taken.contains(&plain) {
        return plain;
    }
    let name = id.name().map_or_else(String::new, |name| format!("_{name}"));
    let other = format!("{canonical}/{}{name}", id.type_name());
    let numbered = (2..).map(|number| format!("{other}_{number}"));
    std::iter::once(other.clone()).chain(numbered).find(|id| !taken.contains(id)).unwrap_or(other)
}

/// Adds where `service` names a component. False if one of the places is not written out.
fn references(node: &Node, kind: Kind, id: &ComponentId, places: &mut Vec<Span>) -> bool {
    let mut lists = Vec::new();
    if kind == Kind::Extension {
        lists.extend(node.get(&["service", "extensions"]));
    }
    let pipelines = node.get(&["service", "pipelines"]).and_then(Node::as_map);
    for pipeline in pipelines.into_iter().flatten() {
        let keys: &[&str] = match kind {
            Kind::Receiver => &["receivers"],
            Kind::Processor => &["processors"],
            Kind::Exporter => &["exporters"],
            Kind::Connector => &["receivers", "exporters"],
            Kind::Extension => &[],
        };
        lists.extend(keys.iter().filter_map(|key| pipeline.value.get(&[key])));
    }
    for list in lists {
        let Value::Seq(items) = &list.value else { continue };
        for item in items.iter().filter(|item| names(item, id)) {
            if item.is_expanded() {
                return false;
            }
            places.push(item.span);
        }
    }
    true
}

/// Adds where a component names an extension.
fn find_by_key(node: &Node, id: &ComponentId, places: &mut Vec<Span>) {
    match &node.value {
        Value::Seq(items) => items.iter().for_each(|item| find_by_key(item, id, places)),
        Value::Map(map) => {
            for Entry { key, value, .. } in map {
                if ["authenticator", "storage"].contains(&key.as_str()) && names(value, id) {
                    places.push(if value.is_expanded() { Span::NONE } else { value.span });
                } else {
                    find_by_key(value, id, places);
                }
            }
        }
        _ => {}
    }
}

fn names(node: &Node, id: &ComponentId) -> bool {
    matches!(&node.value, Value::String(text) if text.parse::<ComponentId>().as_ref() == Ok(id))
}

/// Whether a component does nothing any more and has to be taken out.
pub(super) fn does_nothing(kind: Kind, key: &str) -> bool {
    let id = key.parse::<ComponentId>();
    id.is_ok_and(|id| gone(kind, id.type_name()).is_some_and(|gone| gone.successor.is_none()))
}
