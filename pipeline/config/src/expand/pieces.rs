//! What a text with `$` in it is made of.

use super::MAX_CHAIN;

/// One piece of a text.
pub(super) enum Piece<'a> {
    Text(&'a str),
    Dollar,
    /// What stands between `${` and its `}`.
    Reference(&'a str),
}

/// References that stand in one another deeper than [`MAX_CHAIN`].
pub(super) struct TooDeep;

/// Cuts a text into literal pieces and references. A `${` without its `}` is literal.
pub(super) fn split(text: &str) -> Result<Vec<Piece<'_>>, TooDeep> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (literal, from) = rest.split_at(at);
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        if let Some(after) = from.strip_prefix("$$") {
            pieces.push(Piece::Dollar);
            rest = after;
        } else if let Some(close) = from.strip_prefix("${").map_or(Ok(None), closing_brace)? {
            pieces.push(Piece::Reference(&from[2..2 + close]));
            rest = &from[close + 3..];
        } else {
            pieces.push(Piece::Text(&from[..1]));
            rest = &from[1..];
        }
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(pieces)
}

/// Where the `}` is that closes a `${` opened before `text`; references nest. Their depth has a limit, since each is a
/// call within a call, and so that a text of nothing but `${` is not searched to its end for every one of them.
fn closing_brace(text: &str) -> Result<Option<usize>, TooDeep> {
    let mut open = 0;
    let mut bytes = text.bytes().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'$' if bytes.peek().is_some_and(|&(_, next)| next == b'{') => {
                open += 1;
                if open >= MAX_CHAIN {
                    return Err(TooDeep);
                }
                bytes.next();
            }
            b'}' if open == 0 => return Ok(Some(at)),
            b'}' => open -= 1,
            _ => {}
        }
    }
    Ok(None)
}

/// What the names of variables are made of that are not just patterns.
pub(super) fn is_bare_name_char(c: char) -> bool {
    c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'
}
