//! From how each component is to how pipelines and the collector are, by the Go collector's rules.

use super::config::ComponentHealth;
use millrace_engine::Health;
use millrace_engine::health::State;
use millrace_engine::status::{Condition, Event, Group, Instance};
use std::collections::{BTreeMap, HashSet};
use std::time::{Instant, SystemTime};

/// How something is, and what it consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Aggregate {
    /// `None` where there is nothing to be in any condition.
    pub(super) event: Option<Event>,
    pub(super) parts: BTreeMap<String, Self>,
}

/// The collector, its parts being the pipelines and the extensions, and theirs the components.
pub(super) fn collector(health: &Health, priority: &ComponentHealth) -> Aggregate {
    let components = health.components();
    // As in Go, what has started already is not told before everything has.
    let is_starting = health.state() == State::Starting;
    let event = |instance: &Instance| {
        let event = components.status(instance).event();
        if is_starting { Event { condition: Condition::Starting, error: None, ..event } } else { event }
    };
    let group = |group: &Group| {
        let parts = group.members.iter().map(|member| {
            let part = Aggregate { event: Some(event(member)), parts: BTreeMap::new() };
            (format!("{}:{}", member.kind, member.id), part)
        });
        let name = match &group.pipeline {
            Some(pipeline) => format!("pipeline:{pipeline}"),
            None => "extensions".to_owned(),
        };
        (name, whole(parts.collect(), priority))
    };
    let groups = components.groups();
    let groups = groups.iter().filter(|group| !group.members.is_empty()).map(group).collect();
    let mut collector = whole(groups, priority);
    if health.state() == State::Failed {
        let event = collector.event.get_or_insert_with(|| of(Condition::FatalError));
        event.condition = Condition::FatalError;
    }
    collector
}

fn of(condition: Condition) -> Event {
    Event { condition, since: Instant::now(), since_at: SystemTime::now(), error: None }
}

/// What its parts make of a whole.
fn whole(parts: BTreeMap<String, Aggregate>, priority: &ComponentHealth) -> Aggregate {
    let events: Vec<_> = parts.values().filter_map(|part| part.event.as_ref()).collect();
    let event = sum(&events, priority);
    Aggregate { event, parts }
}

fn sum(events: &[&Event], priority: &ComponentHealth) -> Option<Event> {
    let seen: HashSet<_> = events.iter().map(|event| event.condition).collect();
    let last = *events.iter().max_by_key(|event| event.since)?;
    let condition = match seen.len() {
        1 => last.condition,
        _ => mixed(&seen, priority),
    };
    let matching = || events.iter().copied().filter(|event| event.condition == condition);
    match condition {
        // The earliest says since when it fails.
        Condition::RecoverableError | Condition::PermanentError | Condition::FatalError => {
            matching().min_by_key(|event| event.since).cloned()
        }
        _ => Some(Event { condition, error: None, ..last.clone() }),
    }
}

fn mixed(seen: &HashSet<Condition>, priority: &ComponentHealth) -> Condition {
    let errors = match priority.puts_recoverable_first() {
        false => [Condition::PermanentError, Condition::RecoverableError],
        true => [Condition::RecoverableError, Condition::PermanentError],
    };
    let order = [Condition::FatalError, Condition::Starting, Condition::Stopping].into_iter();
    if let Some(condition) = order.clone().find(|condition| seen.contains(condition)) {
        return condition;
    }
    if seen.contains(&Condition::Stopped) {
        return Condition::Stopping;
    }
    errors.into_iter().find(|condition| seen.contains(condition)).unwrap_or(Condition::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn sum_of(conditions: &[Condition], priority: &ComponentHealth) -> Event {
        let begun = Instant::now();
        let events: Vec<_> = (0..)
            .zip(conditions)
            .map(|(second, condition)| Event { since: begun + Duration::from_secs(second), ..of(*condition) })
            .collect();
        sum(&events.iter().collect::<Vec<_>>(), priority).expect("there is something")
    }

    #[test]
    fn the_whole_is_as_its_parts_are() {
        use Condition::{FatalError, Ok, PermanentError, RecoverableError, Starting, Stopped, Stopping};
        let default = ComponentHealth::default();
        for (parts, expected) in [
            (&[Ok, Ok][..], Ok),
            (&[Stopped, Stopped], Stopped),
            (&[Ok, Starting], Starting),
            (&[Ok, RecoverableError, PermanentError], PermanentError),
            (&[Ok, RecoverableError], RecoverableError),
            (&[Stopped, Ok], Stopping),
            (&[Stopping, RecoverableError], Stopping),
            (&[FatalError, Starting, Ok], FatalError),
        ] {
            assert_eq!(sum_of(parts, &default).condition, expected, "{parts:?}");
        }
        let recoverable = ComponentHealth { include_recoverable_errors: true, ..ComponentHealth::default() };
        assert_eq!(sum_of(&[RecoverableError, PermanentError], &recoverable).condition, RecoverableError);
        assert_eq!(sum(&[], &default), None);
    }

    #[test]
    fn the_first_failure_and_the_last_success_say_since_when() {
        use Condition::{Ok, RecoverableError};
        let default = ComponentHealth::default();
        let failing = sum_of(&[RecoverableError, Ok, RecoverableError], &default);
        let working = sum_of(&[Ok, Ok, Ok], &default);
        assert!(working.since - failing.since >= Duration::from_millis(1900));
    }
}
