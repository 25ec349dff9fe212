//! The walk that calls an edit and collects what it changes.

use super::level::{Data, Event, Exemplar, Link, LogRecord, Metric, Point, Resource, Scope, Span};
use super::message::Message;
use super::patches::{Opened, Patches};
use crate::place::{Place, Places};
use crate::split::MetricKind;
use crate::split::tree::{DATA, METRIC, REQUEST, RESOURCE, SCOPE, count, is_child, leaf_level};
use crate::{Payload, Signal};
use bytes::Bytes;
use std::ops::BitOr;

/// What becomes of a message that was visited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It stays, as changed; what is in it is visited next.
    Keep,
    /// It stays, as changed; what is in it stays as it is and is not visited.
    Skip,
    /// It goes, with all that is in it.
    Drop,
}

/// The levels that an edit wants to visit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reach(u16);

impl Reach {
    /// [`Edit::resource`].
    pub const RESOURCE: Self = Self(1);
    /// [`Edit::scope`].
    pub const SCOPE: Self = Self(1 << 1);
    /// [`Edit::span`].
    pub const SPAN: Self = Self(1 << 2);
    /// [`Edit::event`].
    pub const EVENT: Self = Self(1 << 3);
    /// [`Edit::link`].
    pub const LINK: Self = Self(1 << 4);
    /// [`Edit::record`].
    pub const RECORD: Self = Self(1 << 5);
    /// [`Edit::metric`].
    pub const METRIC: Self = Self(1 << 6);
    /// [`Edit::point`].
    pub const POINT: Self = Self(1 << 7);
    /// [`Edit::exemplar`].
    pub const EXEMPLAR: Self = Self(1 << 8);
    /// Everything.
    pub const ALL: Self = Self((1 << 9) - 1);

    /// Whether any of the levels in `other` is among these.
    #[must_use]
    pub const fn touches(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The levels below the scopes of that signal.
    const fn in_scope(signal: Signal) -> Self {
        Self(match signal {
            Signal::Traces => Self::SPAN.0 | Self::EVENT.0 | Self::LINK.0,
            Signal::Logs => Self::RECORD.0,
            Signal::Metrics => Self::METRIC.0 | Self::IN_METRIC.0,
            Signal::Profiles => 0,
        })
    }

    const IN_METRIC: Self = Self(Self::POINT.0 | Self::EXEMPLAR.0);
}

impl BitOr for Reach {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What encloses everything in a scope.
#[derive(Debug)]
pub struct Above<'m, 'a> {
    /// The `Resource`; empty if there is none, and made if it is changed.
    pub resource: &'m mut Message<'a, Resource>,
    /// The `InstrumentationScope`; empty if there is none, and made if it is changed.
    pub scope: &'m mut Message<'a, Scope>,
}

/// A change of payloads, told message by message.
///
/// What is not in [`Edit::reach`] is never called; the default bodies change nothing.
pub trait Edit {
    /// The levels to visit; asked for each payload anew.
    fn reach(&self) -> Reach;

    /// A resource, before its scopes.
    fn resource(&mut self, _resource: &mut Message<'_, Resource>) -> Verdict {
        Verdict::Keep
    }

    /// A scope, before its items.
    fn scope(&mut self, _above: &mut Above<'_, '_>) -> Verdict {
        Verdict::Keep
    }

    /// A span, before its events and links.
    fn span(&mut self, _span: &mut Message<'_, Span>, _above: &mut Above<'_, '_>) -> Verdict {
        Verdict::Keep
    }

    /// An event of a span.
    fn event(
        &mut self,
        _event: &mut Message<'_, Event>,
        _span: &mut Message<'_, Span>,
        _above: &mut Above<'_, '_>,
    ) -> Verdict {
        Verdict::Keep
    }

    /// A link of a span.
    fn link(
        &mut self,
        _link: &mut Message<'_, Link>,
        _span: &mut Message<'_, Span>,
        _above: &mut Above<'_, '_>,
    ) -> Verdict {
        Verdict::Keep
    }

    /// A log record.
    fn record(&mut self, _record: &mut Message<'_, LogRecord>, _above: &mut Above<'_, '_>) -> Verdict {
        Verdict::Keep
    }

    /// A metric, before its points; one without data is given as an empty gauge's.
    fn metric(&mut self, _metric: &mut OfMetric<'_, '_>, _above: &mut Above<'_, '_>) -> Verdict {
        Verdict::Keep
    }

    /// A data point of any kind, before its exemplars.
    fn point(
        &mut self,
        _point: &mut Message<'_, Point>,
        _metric: &mut OfMetric<'_, '_>,
        _above: &mut Above<'_, '_>,
    ) -> Verdict {
        Verdict::Keep
    }

    /// An exemplar of a data point.
    fn exemplar(
        &mut self,
        _exemplar: &mut Message<'_, Exemplar>,
        _point: &mut Message<'_, Point>,
        _metric: &mut OfMetric<'_, '_>,
        _above: &mut Above<'_, '_>,
    ) -> Verdict {
        Verdict::Keep
    }
}

/// A metric without its points.
#[derive(Debug)]
pub struct OfMetric<'m, 'a> {
    /// The `Metric`.
    pub metric: &'m mut Message<'a, Metric>,
    /// What the metric's kind has besides points: temporality, monotonicity.
    pub data: &'m mut Message<'a, Data>,
}

/// What [`rewrite`] made of a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    /// The payload as edited; the very same bytes if nothing changed.
    pub payload: Payload,
    /// How many of its items were dropped.
    pub dropped_items: u32,
}

/// Rewrites a payload once, as `edit` says.
pub fn rewrite<E: Edit + ?Sized>(payload: &Payload, edit: &mut E) -> Edited {
    let untouched = || Edited { payload: payload.clone(), dropped_items: 0 };
    let Some(leaf) = leaf_level(payload.signal()) else {
        return untouched();
    };
    let visited = Reach::RESOURCE | Reach::SCOPE | Reach::in_scope(payload.signal());
    if !edit.reach().touches(visited) {
        return untouched();
    }
    let mut walk = Walk::new(payload, leaf, edit);
    for place in walk.children(REQUEST, 0, payload.len()) {
        walk.resource(&place);
    }
    let Walk { patches, dropped, .. } = walk;
    if patches.is_empty() {
        return untouched();
    }
    let bytes = Bytes::from(patches.apply(payload.bytes()));
    let items = payload.items().saturating_sub(dropped);
    Edited { payload: Payload::vouched(payload.signal(), items, bytes), dropped_items: dropped }
}

struct Walk<'a, 'e, E: ?Sized> {
    input: &'a [u8],
    signal: Signal,
    leaf: usize,
    reach: Reach,
    edit: &'e mut E,
    patches: Patches,
    dropped: u32,
    resource: Message<'a, Resource>,
    scope: Message<'a, Scope>,
    span: Message<'a, Span>,
    event: Message<'a, Event>,
    link: Message<'a, Link>,
    record: Message<'a, LogRecord>,
    metric: Message<'a, Metric>,
    data: Message<'a, Data>,
    point: Message<'a, Point>,
    exemplar: Message<'a, Exemplar>,
}

/// Whether a message is still there after it was visited.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stays {
    Yes,
    No,
}

/// The field number of `Resource` and `InstrumentationScope` in what they are the subject of.
const SUBJECT: u32 = 1;
/// Points are never indexed with what surrounds them.
const POINTS: u32 = 1;
/// A field number that no message has.
const NO_FIELD: u32 = u32::MAX;
/// The kind of what is not part of a metric.
const NO_KIND: MetricKind = MetricKind::Gauge;

/// Borrows what encloses an item; a macro, because the borrow must be of these two fields only.
macro_rules! above {
    ($walk:ident) => {
        &mut Above { resource: &mut $walk.resource, scope: &mut $walk.scope }
    };
}

macro_rules! of_metric {
    ($walk:ident) => {
        &mut OfMetric { metric: &mut $walk.metric, data: &mut $walk.data }
    };
}

impl<'a, 'e, E: Edit + ?Sized> Walk<'a, 'e, E> {
    fn new(payload: &'a Payload, leaf: usize, edit: &'e mut E) -> Self {
        let input: &'a [u8] = payload.bytes();
        Self {
            input,
            signal: payload.signal(),
            leaf,
            reach: edit.reach(),
            edit,
            patches: Patches::default(),
            dropped: 0,
            resource: Message::new(input),
            scope: Message::new(input),
            span: Message::new(input),
            event: Message::new(input),
            link: Message::new(input),
            record: Message::new(input),
            metric: Message::new(input),
            data: Message::new(input),
            point: Message::new(input),
            exemplar: Message::new(input),
        }
    }

    fn children(&self, level: usize, start: usize, end: usize) -> impl Iterator<Item = Place> + use<'a, E> {
        Places::within(self.input, start, end).filter(move |place| is_child(level, place))
    }

    fn subject(&self, place: &Place) -> Option<Place> {
        Places::within(self.input, place.body, place.end).find(|field| field.is_len(SUBJECT))
    }

    fn resource(&mut self, place: &Place) -> Stays {
        let opened = self.patches.open(place);
        self.resource.turn_to(self.subject(place), NO_KIND, NO_FIELD);
        let verdict = match self.reach.touches(Reach::RESOURCE) {
            true => self.edit.resource(&mut self.resource),
            false => Verdict::Keep,
        };
        let inside = self.reach.touches(Reach::SCOPE | Reach::in_scope(self.signal));
        let stays = match verdict {
            Verdict::Drop => self.drop_items(RESOURCE, place),
            Verdict::Keep if inside => self.visit(RESOURCE, place, Self::scope),
            _ => Stays::Yes,
        };
        if stays == Stays::Yes {
            self.patches.add_nested(opened, &self.resource, SUBJECT, place);
        }
        self.settle(opened, place, stays)
    }

    fn scope(&mut self, place: &Place) -> Stays {
        let opened = self.patches.open(place);
        self.scope.turn_to(self.subject(place), NO_KIND, NO_FIELD);
        let verdict = match self.reach.touches(Reach::SCOPE) {
            true => self.edit.scope(above!(self)),
            false => Verdict::Keep,
        };
        let inside = self.reach.touches(Reach::in_scope(self.signal));
        let stays = match (verdict, self.signal) {
            (Verdict::Drop, _) => self.drop_items(SCOPE, place),
            (Verdict::Keep, Signal::Traces) if inside => self.visit(SCOPE, place, Self::span),
            (Verdict::Keep, Signal::Logs) if inside => self.visit(SCOPE, place, Self::record),
            (Verdict::Keep, Signal::Metrics) if inside => self.visit(SCOPE, place, Self::metric),
            _ => Stays::Yes,
        };
        if stays == Stays::Yes {
            self.patches.add_nested(opened, &self.scope, SUBJECT, place);
        }
        self.settle(opened, place, stays)
    }

    fn span(&mut self, place: &Place) -> Stays {
        let opened = self.patches.open(place);
        self.span.turn_to(Some(*place), NO_KIND, NO_FIELD);
        let verdict = match self.reach.touches(Reach::SPAN) {
            true => self.edit.span(&mut self.span, above!(self)),
            false => Verdict::Keep,
        };
        if verdict == Verdict::Drop {
            self.dropped += 1;
            return self.settle(opened, place, Stays::No);
        }
        if verdict == Verdict::Keep && self.reach.touches(Reach::EVENT | Reach::LINK) {
            for at in 0..self.span.slots().len() {
                match self.span.slots()[at].number {
                    11 if self.reach.touches(Reach::EVENT) => self.event(at),
                    13 if self.reach.touches(Reach::LINK) => self.link(at),
                    _ => {}
                }
            }
        }
        self.patches.add(opened, &self.span);
        self.settle(opened, place, Stays::Yes)
    }

    fn event(&mut self, slot: usize) {
        let Some(place) = self.span.kept_place(slot) else { return };
        self.event.turn_to(Some(place), NO_KIND, NO_FIELD);
        let verdict = self.edit.event(&mut self.event, &mut self.span, above!(self));
        self.patches.add_leaf(&self.event, &place, verdict == Verdict::Drop);
    }

    fn link(&mut self, slot: usize) {
        let Some(place) = self.span.kept_place(slot) else { return };
        self.link.turn_to(Some(place), NO_KIND, NO_FIELD);
        let verdict = self.edit.link(&mut self.link, &mut self.span, above!(self));
        self.patches.add_leaf(&self.link, &place, verdict == Verdict::Drop);
    }

    fn record(&mut self, place: &Place) -> Stays {
        self.record.turn_to(Some(*place), NO_KIND, NO_FIELD);
        let verdict = self.edit.record(&mut self.record, above!(self));
        self.patches.add_leaf(&self.record, place, verdict == Verdict::Drop);
        match verdict {
            Verdict::Drop => {
                self.dropped += 1;
                Stays::No
            }
            _ => Stays::Yes,
        }
    }

    fn metric(&mut self, place: &Place) -> Stays {
        let opened = self.patches.open(place);
        let data = self.children(METRIC, place.body, place.end).next();
        let kind = data.and_then(|data| MetricKind::of_field(data.number)).unwrap_or(NO_KIND);
        self.metric.turn_to(Some(*place), kind, NO_FIELD);
        self.data.turn_to(data, kind, POINTS);
        let verdict = match self.reach.touches(Reach::METRIC) {
            true => self.edit.metric(of_metric!(self), above!(self)),
            false => Verdict::Keep,
        };
        let stays = match (verdict, data) {
            (Verdict::Drop, _) => self.drop_items(METRIC, place),
            (_, Some(data)) => self.data(&data, verdict),
            _ => Stays::Yes,
        };
        if stays == Stays::Yes {
            self.patches.add(opened, &self.metric);
        }
        self.settle(opened, place, stays)
    }

    fn data(&mut self, place: &Place, verdict: Verdict) -> Stays {
        let opened = self.patches.open(place);
        let stays = match verdict {
            Verdict::Keep if self.reach.touches(Reach::IN_METRIC) => self.visit(DATA, place, Self::point),
            _ => Stays::Yes,
        };
        if stays == Stays::Yes {
            self.patches.add(opened, &self.data);
        }
        self.settle(opened, place, stays)
    }

    fn point(&mut self, place: &Place) -> Stays {
        let opened = self.patches.open(place);
        self.point.turn_to(Some(*place), self.data.kind(), NO_FIELD);
        let verdict = match self.reach.touches(Reach::POINT) {
            true => self.edit.point(&mut self.point, of_metric!(self), above!(self)),
            false => Verdict::Keep,
        };
        if verdict == Verdict::Drop {
            self.dropped += 1;
            return self.settle(opened, place, Stays::No);
        }
        let exemplars = match self.point.kind() {
            MetricKind::Gauge | MetricKind::Sum => 5,
            MetricKind::Histogram => 8,
            MetricKind::ExponentialHistogram => 11,
            MetricKind::Summary => NO_FIELD,
        };
        if verdict == Verdict::Keep && self.reach.touches(Reach::EXEMPLAR) {
            for at in 0..self.point.slots().len() {
                if self.point.slots()[at].number == exemplars {
                    self.exemplar(at);
                }
            }
        }
        self.patches.add(opened, &self.point);
        self.settle(opened, place, Stays::Yes)
    }

    fn exemplar(&mut self, slot: usize) {
        let Some(place) = self.point.kept_place(slot) else { return };
        self.exemplar.turn_to(Some(place), NO_KIND, NO_FIELD);
        let verdict = self.edit.exemplar(&mut self.exemplar, &mut self.point, of_metric!(self), above!(self));
        self.patches.add_leaf(&self.exemplar, &place, verdict == Verdict::Drop);
    }

    /// Visits the children of a container; it stays unless that removes all of them.
    fn visit(&mut self, level: usize, place: &Place, child: fn(&mut Self, &Place) -> Stays) -> Stays {
        let (mut any, mut left) = (false, false);
        for place in self.children(level, place.body, place.end) {
            any = true;
            left |= child(self, &place) == Stays::Yes;
        }
        if any && !left { Stays::No } else { Stays::Yes }
    }

    fn drop_items(&mut self, level: usize, place: &Place) -> Stays {
        self.dropped += count(self.input, level, place.body, place.end, self.leaf);
        Stays::No
    }

    fn settle(&mut self, opened: Opened, place: &Place, stays: Stays) -> Stays {
        match stays {
            Stays::Yes => self.patches.close(opened, place),
            Stays::No => self.patches.remove(opened, place),
        }
        stays
    }
}
