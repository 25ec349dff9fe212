//! Editing every text in a value, however deep: what scrubbing and truncating need.

use crate::place::{Place, Places};
use crate::view::Text;
use crate::write::{Encoded, put_valid_text};
use crate::writer::{begin_message, end_message};

/// Edits the texts of a value, in order: its own, those of list entries, those of map values (not map keys).
///
/// `edit` gets a text and an empty buffer; if it puts a replacement into that, it returns true. Returns the body of
/// the new value, or `None` if no text was replaced.
pub(super) fn edit_texts(value: Encoded<'_>, edit: &mut TextEdit<'_>) -> Option<Vec<u8>> {
    let holds_text = |place: Place| place.is_len(1) || place.is_len(5) || place.is_len(6);
    if !Places::of(value.bytes()).any(holds_text) {
        return None;
    }
    let mut texts = Texts { edit, replacement: Vec::new(), changed: false, out: Vec::new() };
    texts.any(value.bytes());
    texts.changed.then_some(texts.out)
}

pub(super) type TextEdit<'f> = dyn FnMut(Text<'_>, &mut Vec<u8>) -> bool + 'f;

struct Texts<'e, 'f> {
    edit: &'e mut TextEdit<'f>,
    replacement: Vec<u8>,
    changed: bool,
    out: Vec<u8>,
}

/// As deep as values are nested, which a payload bounds.
impl Texts<'_, '_> {
    fn any(&mut self, body: &[u8]) {
        for place in Places::of(body) {
            match place.number {
                1 if place.is_len(1) => self.text(&place, body),
                5 if place.is_len(5) => self.message(&place, body, Self::list),
                6 if place.is_len(6) => self.message(&place, body, Self::map),
                _ => self.out.extend_from_slice(place.raw(body)),
            }
        }
    }

    fn text(&mut self, place: &Place, body: &[u8]) {
        self.replacement.clear();
        if (self.edit)(Text(place.value(body)), &mut self.replacement) {
            self.changed = true;
            put_valid_text(&mut self.out, place.number, &self.replacement);
        } else {
            self.out.extend_from_slice(place.raw(body));
        }
    }

    fn message(&mut self, place: &Place, body: &[u8], inside: fn(&mut Self, &[u8])) {
        let open = begin_message(&mut self.out, place.number);
        inside(self, place.value(body));
        end_message(&mut self.out, open);
    }

    fn list(&mut self, body: &[u8]) {
        self.each(body, 1, Self::any);
    }

    fn map(&mut self, body: &[u8]) {
        self.each(body, 1, Self::entry);
    }

    fn entry(&mut self, body: &[u8]) {
        self.each(body, 2, Self::any);
    }

    /// Goes into the messages of that number and copies the rest.
    fn each(&mut self, body: &[u8], number: u32, inside: fn(&mut Self, &[u8])) {
        for place in Places::of(body) {
            if place.is_len(number) {
                self.message(&place, body, inside);
            } else {
                self.out.extend_from_slice(place.raw(body));
            }
        }
    }
}
