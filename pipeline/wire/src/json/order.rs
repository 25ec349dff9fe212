//! The order in which the Go collector writes the fields of a message, where it is not that of their numbers.

use crate::schema::{self, Message};

/// Indices into the fields of some messages, in Go's order. All other messages go by number.
static ORDERS: [(&Message, &[u8]); 6] = [
    // Flags move up in front of the name.
    (&schema::SPAN, &[0, 1, 2, 3, 15, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]),
    // The time observed follows the time.
    (&schema::LOG_RECORD, &[0, 9, 1, 2, 3, 4, 5, 6, 7, 8, 10]),
    // Attributes first, and the two halves of the value together.
    (&schema::NUMBER_DATA_POINT, &[5, 0, 1, 2, 4, 3, 6]),
    (&schema::HISTOGRAM_DATA_POINT, &[7, 0, 1, 2, 3, 4, 5, 6, 8, 9, 10]),
    (&schema::SUMMARY_DATA_POINT, &[5, 0, 1, 2, 3, 4, 6]),
    (&schema::EXEMPLAR, &[5, 0, 1, 4, 3, 2]),
];

static BY_NUMBER: [u8; super::fields::MAX_FIELDS] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// Indices into the fields of a message, in the order in which they are written.
pub(super) fn order(message: &'static Message) -> &'static [u8] {
    match ORDERS.iter().find(|(ordered, _)| std::ptr::eq(*ordered, message)) {
        Some((_, indices)) => indices,
        None => &BY_NUMBER[..message.fields.len()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_names_every_field_once() {
        for (message, indices) in ORDERS {
            let mut sorted = indices.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, BY_NUMBER[..message.fields.len()], "{}", message.name);
        }
    }

    #[test]
    fn exemplars_and_points_start_with_their_attributes() {
        let first = |message: &'static Message| message.fields[usize::from(order(message)[0])].name;
        assert_eq!(first(&schema::EXEMPLAR), "filtered_attributes");
        assert_eq!(first(&schema::NUMBER_DATA_POINT), "attributes");
        assert_eq!(first(&schema::SUMMARY_DATA_POINT), "attributes");
        assert_eq!(first(&schema::HISTOGRAM_DATA_POINT), "attributes");
        assert_eq!(first(&schema::RESOURCE), "attributes");
    }
}
