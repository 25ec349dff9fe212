//! The differences between two texts, as `diff -u` shows them.

use std::fmt::Write as _;

/// Unchanged lines around a change.
const CONTEXT: usize = 3;
/// How far apart two texts may be, in lines; beyond that everything counts as changed.
const MAX_CHANGES: usize = 2_000;

/// What becomes of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line<'a> {
    Same(&'a str),
    Gone(&'a str),
    New(&'a str),
}

/// The differences as a patch; empty if there are none.
pub(super) fn unified(path: &str, before: &str, after: &str) -> String {
    let lines = compare(
        &before.split_inclusive('\n').collect::<Vec<_>>(),
        &after.split_inclusive('\n').collect::<Vec<_>>(),
    );
    let changed: Vec<_> = (0..lines.len()).filter(|&at| !matches!(lines[at], Line::Same(_))).collect();
    let Some(&first) = changed.first() else { return String::new() };
    let mut out = format!("--- {path}\n+++ {path}\n");
    let mut hunk = first..first + 1;
    for &at in &changed {
        if at > hunk.end + 2 * CONTEXT {
            write_hunk(&mut out, &lines, hunk.start, hunk.end);
            hunk.start = at;
        }
        hunk.end = at + 1;
    }
    write_hunk(&mut out, &lines, hunk.start, hunk.end);
    out
}

fn write_hunk(out: &mut String, lines: &[Line<'_>], start: usize, end: usize) {
    let (start, end) = (start.saturating_sub(CONTEXT), (end + CONTEXT).min(lines.len()));
    let count = |lines: &[Line<'_>]| {
        let old = lines.iter().filter(|line| !matches!(line, Line::New(_))).count();
        let new = lines.iter().filter(|line| !matches!(line, Line::Gone(_))).count();
        (old, new)
    };
    let (old_before, new_before) = count(&lines[..start]);
    let (old, new) = count(&lines[start..end]);
    let _ = writeln!(out, "@@ -{},{old} +{},{new} @@", old_before + 1, new_before + 1);
    for line in &lines[start..end] {
        let (sign, text) = match line {
            Line::Same(text) => (' ', text),
            Line::Gone(text) => ('-', text),
            Line::New(text) => ('+', text),
        };
        let _ = writeln!(out, "{sign}{}", text.trim_end_matches(['\r', '\n']));
    }
}

/// The shortest way from one text to the other (Myers, "An O(ND) Difference Algorithm").
fn compare<'a>(before: &[&'a str], after: &[&'a str]) -> Vec<Line<'a>> {
    let alike = before.iter().zip(after).take_while(|(old, new)| old == new).count();
    let (old, new) = (&before[alike..], &after[alike..]);
    let mut lines: Vec<_> = before[..alike].iter().map(|line| Line::Same(line)).collect();
    lines.extend(shortest(old, new).unwrap_or_else(|| {
        old.iter().map(|line| Line::Gone(line)).chain(new.iter().map(|line| Line::New(line))).collect()
    }));
    lines
}

/// `None` if the texts are too far apart.
fn shortest<'a>(old: &[&'a str], new: &[&'a str]) -> Option<Vec<Line<'a>>> {
    // `reached[d][k]` is how far into `old` one comes with `d` changes on the diagonal `k` (shifted by `d`).
    let mut reached: Vec<Vec<usize>> = Vec::new();
    let (n, m) = (old.len() as isize, new.len() as isize);
    for changes in 0..=(old.len() + new.len()).min(MAX_CHANGES) {
        let d = changes as isize;
        let mut row = vec![0; 2 * changes + 1];
        for k in (-d..=d).step_by(2) {
            let mut x = start(&reached, d, k);
            while (x as usize) < old.len()
                && x - k >= 0
                && ((x - k) as usize) < new.len()
                && old[x as usize] == new[(x - k) as usize]
            {
                x += 1;
            }
            row[(k + d) as usize] = x.max(0) as usize;
            if x >= n && x - k >= m {
                reached.push(row);
                return Some(walk_back(&reached, old, new));
            }
        }
        reached.push(row);
    }
    None
}

/// Where the `d`th change leads to on diagonal `k`.
fn start(reached: &[Vec<usize>], d: isize, k: isize) -> isize {
    if d == 0 {
        return 0;
    }
    let last = |k: isize| reached[(d - 1) as usize].get((k + d - 1) as usize).map_or(-1, |&x| x as isize);
    let from_above = if k < d { last(k + 1) } else { -1 };
    let from_left = if k > -d { last(k - 1) } else { -1 };
    if k == -d || (k != d && from_left < from_above) { from_above } else { from_left + 1 }
}

fn walk_back<'a>(reached: &[Vec<usize>], old: &[&'a str], new: &[&'a str]) -> Vec<Line<'a>> {
    let mut lines = Vec::new();
    let (mut x, mut y) = (old.len() as isize, new.len() as isize);
    for d in (0..reached.len() as isize).rev() {
        let k = x - y;
        let begin = start(reached, d, k);
        while x > begin && y > begin - k && x > 0 && y > 0 {
            x -= 1;
            y -= 1;
            lines.push(Line::Same(old[x as usize]));
        }
        if d == 0 {
            break;
        }
        let last = |k: isize| reached[(d - 1) as usize].get((k + d - 1) as usize).map_or(-1, |&x| x as isize);
        let from_above = if k < d { last(k + 1) } else { -1 };
        let from_left = if k > -d { last(k - 1) } else { -1 };
        if k == -d || (k != d && from_left < from_above) {
            y -= 1;
            lines.push(Line::New(new[y as usize]));
        } else {
            x -= 1;
            lines.push(Line::Gone(old[x as usize]));
        }
    }
    lines.reverse();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sides(before: &str, after: &str) -> (String, String, usize) {
        let split = |text: &'static str| text.split_inclusive('\n').collect::<Vec<_>>();
        let lines = compare(&split(before.to_owned().leak()), &split(after.to_owned().leak()));
        let mut old = String::new();
        let mut new = String::new();
        let mut changes = 0;
        for line in lines {
            match line {
                Line::Same(text) => {
                    old.push_str(text);
                    new.push_str(text);
                }
                Line::Gone(text) => {
                    old.push_str(text);
                    changes += 1;
                }
                Line::New(text) => {
                    new.push_str(text);
                    changes += 1;
                }
            }
        }
        (old, new, changes)
    }

    #[test]
    fn the_way_leads_from_one_text_to_the_other_and_is_short() {
        for (before, after, expected) in [
            ("", "", 0),
            ("a\n", "a\n", 0),
            ("a\nb\nc\n", "a\nx\nc\n", 2),
            ("a\nb\nc\n", "b\nc\n", 1),
            ("b\nc\n", "a\nb\nc\n", 1),
            ("a\nb\nc\na\nb\nb\na\n", "c\nb\na\nb\na\nc\n", 5),
            ("a\n", "", 1),
            ("", "a\nb\n", 2),
        ] {
            assert_eq!(
                sides(before, after),
                (before.to_owned(), after.to_owned(), expected),
                "{before:?} {after:?}"
            );
        }
    }

    #[test]
    fn a_patch_shows_changes_with_some_lines_around_them() {
        let before: String = (0..20).map(|line| format!("{line}\n")).collect();
        let after = before.replace("\n2\n", "\ntwo\n").replace("\n17\n", "\n");
        let expected = "--- p\n+++ p\n@@ -1,6 +1,6 @@\n 0\n 1\n-2\n+two\n 3\n 4\n 5\n@@ -15,6 +15,5 @@\n 14\n 15\n 16\n-17\n 18\n 19\n";
        assert_eq!(unified("p", &before, &after), expected);
        assert_eq!(unified("p", &before, &before), "");
    }
}
