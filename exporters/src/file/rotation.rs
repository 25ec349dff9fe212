//! Moving a file aside when it is full, and removing those that are too old or too many.
//!
//! Names and rules are those of the Go collector: `data.json` becomes `data-2026-11-25T20-15-00.123-size.json`. What its
//! older releases wrote, without `-size`, counts as well.

use super::config::Rotation;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use millrace_telemetry::warn_sparingly;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const MEGABYTE: u64 = 1 << 20;
/// What 0 megabytes stands for.
const DEFAULT_MEGABYTES: u64 = 100;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// The length of `2026-11-25T20-15-00.123`.
const STAMP: usize = 23;
/// Why a file was moved aside; Go's library knows others.
const REASON: &str = "size";

/// The rules for one file.
#[derive(Debug)]
pub(super) struct Rotator {
    folder: PathBuf,
    /// The file's name up to its last dot, and a hyphen.
    prefix: String,
    /// The rest of its name, from the dot.
    extension: String,
    max_bytes: u64,
    max_age: Option<Duration>,
    max_backups: Option<usize>,
    zone: TimeZone,
    /// Whether anything has been written since it was opened.
    begun: bool,
}

/// A file that was moved aside.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Backup {
    at: Timestamp,
    name: String,
}

impl Rotator {
    pub(super) fn new(path: &Path, rotation: &Rotation) -> Self {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let (stem, extension) = name.split_at(name.rfind('.').unwrap_or(name.len()));
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let positive = |number: i64| u64::try_from(number).ok().filter(|number| *number > 0);
        Self {
            folder: folder.unwrap_or(Path::new(".")).to_owned(),
            prefix: format!("{stem}-"),
            extension: extension.to_owned(),
            max_bytes: positive(rotation.max_megabytes).unwrap_or(DEFAULT_MEGABYTES).saturating_mul(MEGABYTE),
            max_age: positive(rotation.max_days).map(|days| DAY * u32::try_from(days).unwrap_or(u32::MAX)),
            max_backups: positive(rotation.max_backups)
                .map(|most| usize::try_from(most).unwrap_or(usize::MAX)),
            zone: if rotation.localtime { TimeZone::system() } else { TimeZone::UTC },
            begun: false,
        }
    }

    /// The most that one file holds.
    pub(super) fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// Whether a message of `len` bytes begins a new file, where the old one has `size`. A file that was there before is
    /// full a byte earlier, as in Go.
    pub(super) fn is_due(&mut self, size: u64, len: u64) -> bool {
        let begun = std::mem::replace(&mut self.begun, true);
        let after = size.saturating_add(len);
        size > 0 && if begun { after > self.max_bytes } else { after >= self.max_bytes }
    }

    /// A name for a file that is moved aside, which no other has.
    pub(super) fn aside(&self, now: Timestamp) -> PathBuf {
        let name = |at: Timestamp| self.folder.join(self.name(at));
        // Go takes the first of these, and overwrites what was moved aside within the same millisecond.
        (0..10_000)
            .filter_map(|millis| now.checked_add(jiff::Span::new().milliseconds(millis)).ok().map(name))
            .find(|path| !path.exists())
            .unwrap_or_else(|| name(now))
    }

    fn name(&self, at: Timestamp) -> String {
        let Self { prefix, extension, zone, .. } = self;
        format!("{prefix}{}-{REASON}{extension}", stamp(&at.to_zoned(zone.clone())))
    }

    /// Gives names of today to what older releases of the Go collector moved aside, so that it is removed in its turn.
    pub(super) fn adopt(&self) {
        for name in self.names() {
            let middle = name.strip_prefix(&self.prefix).and_then(|rest| rest.strip_suffix(&self.extension));
            let Some(at) = middle.and_then(|stamp| self.parse(stamp)) else { continue };
            let new = self.folder.join(self.name(at));
            if !new.exists()
                && let Err(error) = fs::rename(self.folder.join(&name), &new)
            {
                tracing::warn!(file = name, %error, "cannot rename a file that was rotated by an older collector");
            }
        }
    }

    /// Removes what is too old or too much.
    pub(super) fn clean(&self, now: Timestamp) {
        for name in self.superfluous(now) {
            if let Err(error) = fs::remove_file(self.folder.join(&name))
                && error.kind() != std::io::ErrorKind::NotFound
            {
                warn_sparingly!(file = name, error = %error, "cannot remove a rotated file");
            }
        }
    }

    fn superfluous(&self, now: Timestamp) -> Vec<String> {
        if self.max_backups.is_none() && self.max_age.is_none() {
            return Vec::new();
        }
        let mut backups: Vec<_> = self.names().into_iter().filter_map(|name| self.backup(name)).collect();
        backups.sort_unstable();
        let times: BTreeSet<_> = backups.iter().map(|backup| backup.at).collect();
        let most = self.max_backups.unwrap_or(usize::MAX);
        let first_kept = times.iter().rev().take(most).next_back().copied();
        let cutoff = self.max_age.and_then(|age| now.checked_sub(age).ok());
        let too_many = |at: Timestamp| first_kept.is_some_and(|first| at < first);
        let too_old = |at: Timestamp| cutoff.is_some_and(|cutoff| at < cutoff);
        let superfluous = backups.into_iter().filter(|backup| too_many(backup.at) || too_old(backup.at));
        superfluous.map(|backup| backup.name).collect()
    }

    fn backup(&self, name: String) -> Option<Backup> {
        let rest = name.strip_prefix(&self.prefix)?;
        let middle = ["", ".gz", ".zst"].iter().find_map(|suffix| {
            rest.strip_suffix(suffix).and_then(|rest| rest.strip_suffix(&self.extension))
        })?;
        let (stamp, _reason) = middle.rsplit_once('-')?;
        let at = self.parse(stamp)?;
        Some(Backup { at, name })
    }

    fn parse(&self, text: &str) -> Option<Timestamp> {
        let parsed = parse_stamp(text)?.to_zoned(self.zone.clone()).ok()?;
        Some(parsed.timestamp())
    }

    /// The files of the folder, if it can be read.
    fn names(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(&self.folder) else { return Vec::new() };
        let files = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_dir()));
        files.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }
}

/// A path that nothing takes for a file that was moved aside: with a small `t` in whatever looks like the time of one.
///
/// For names that senders choose: `app-2026-11-25T20-15-00.123-size.json` may be one, and would be removed with the
/// backups of `app.json`.
pub(super) fn apart(path: String) -> String {
    // As in `2026-11-25T`.
    const T: usize = 10;
    let base = path.rfind('/').map_or(0, |slash| slash + 1);
    let begins: Vec<usize> =
        (base..path.len()).filter(|&at| path.get(at..at + STAMP).is_some_and(is_stamp)).collect();
    let mut path = path;
    for at in begins {
        path.replace_range(at + T..=at + T, "t");
    }
    path
}

/// `2026-11-25T20-15-00.123`.
fn stamp(at: &Zoned) -> String {
    let (year, month, day) = (at.year(), at.month(), at.day());
    let (hour, minute, second, millis) = (at.hour(), at.minute(), at.second(), at.millisecond());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}-{minute:02}-{second:02}.{millis:03}")
}

/// Whether a text has the form of such a time.
fn is_stamp(text: &str) -> bool {
    let is_in_form = |(byte, form): (&u8, &u8)| match form {
        b'0' => byte.is_ascii_digit(),
        form => byte == form,
    };
    text.len() == STAMP && text.as_bytes().iter().zip(b"0000-00-00T00-00-00.000").all(is_in_form)
}

fn parse_stamp(text: &str) -> Option<DateTime> {
    if !is_stamp(text) {
        return None;
    }
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i16>().ok();
    let small = |range| i8::try_from(number(range)?).ok();
    let nanos = i32::from(number(20..23)?) * 1_000_000;
    DateTime::new(
        number(0..4)?,
        small(5..7)?,
        small(8..10)?,
        small(11..13)?,
        small(14..16)?,
        small(17..19)?,
        nanos,
    )
    .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a timestamp")
    }

    fn rotator(folder: &Path, name: &str, rotation: &Rotation) -> Rotator {
        Rotator::new(&folder.join(name), rotation)
    }

    fn files(folder: &Path, names: &[&str]) {
        for name in names {
            fs::write(folder.join(name), "").expect("a file");
        }
    }

    fn left(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn names_are_those_of_the_go_collector() {
        let folder = tempfile::tempdir().expect("a folder");
        let now = at("2026-11-25T20:15:00.123456Z");
        for (name, aside) in [
            ("data.json", "data-2026-11-25T20-15-00.123-size.json"),
            ("data", "data-2026-11-25T20-15-00.123-size"),
            ("a.b.c", "a.b-2026-11-25T20-15-00.123-size.c"),
            (".hidden", "-2026-11-25T20-15-00.123-size.hidden"),
        ] {
            let path = rotator(folder.path(), name, &Rotation::default()).aside(now);
            assert_eq!(path, folder.path().join(aside));
        }
    }

    #[test]
    fn two_files_that_are_moved_aside_at_once_get_names_of_their_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let rotator = rotator(folder.path(), "data.json", &Rotation::default());
        files(folder.path(), &["data-2026-11-25T20-15-00.123-size.json"]);
        let path = rotator.aside(at("2026-11-25T20:15:00.123Z"));
        assert_eq!(path, folder.path().join("data-2026-11-25T20-15-00.124-size.json"));
    }

    #[test]
    fn local_time_is_the_systems() {
        let folder = tempfile::tempdir().expect("a folder");
        let local = Rotation { localtime: true, ..Rotation::default() };
        let mut rotator = rotator(folder.path(), "data.json", &local);
        rotator.zone = TimeZone::get("Asia/Kolkata").unwrap_or(TimeZone::fixed(jiff::tz::offset(5)));
        let now = at("2026-11-25T20:15:00.123Z");
        let path = rotator.aside(now);
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        assert!(name.starts_with("data-2026-11-26T01-"), "{name}");
        assert_eq!(rotator.backup(name).map(|backup| backup.at), Some(at("2026-11-25T20:15:00.123Z")));
    }

    #[test]
    fn the_newest_are_kept_and_other_files_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let rotation = Rotation { max_backups: 2, max_days: 10, ..Rotation::default() };
        let rotator = rotator(folder.path(), "data.json", &rotation);
        let others = [
            "data.json",
            "data-2020-01-01T00-00-00.000.json",
            "data-2020-01-01T00-00-00.000-size.txt",
            "data-2020-13-01T00-00-00.000-size.json",
            "data-notes-size.json",
            "other-2020-01-01T00-00-00.000-size.json",
        ];
        files(folder.path(), &others);
        files(
            folder.path(),
            &[
                "data-2026-11-01T00-00-00.000-size.json",
                "data-2026-11-20T00-00-00.000-size.json",
                "data-2026-11-21T00-00-00.000-time.json.zst",
                "data-2026-11-22T00-00-00.000-size.json",
            ],
        );
        rotator.clean(at("2026-11-23T00:00:00Z"));
        let mut expected = others.map(str::to_owned).to_vec();
        expected.push("data-2026-11-21T00-00-00.000-time.json.zst".into());
        expected.push("data-2026-11-22T00-00-00.000-size.json".into());
        expected.sort_unstable();
        assert_eq!(left(folder.path()), expected);

        rotator.clean(at("2026-12-01T12:00:00Z"));
        assert_eq!(left(folder.path()).len(), others.len() + 1, "one is older than ten days");
        fs::create_dir(folder.path().join("data-2020-01-01T00-00-00.000-size.json")).expect("a folder");
        rotator.clean(at("2027-12-01T12:00:00Z"));
        assert_eq!(left(folder.path()).len(), others.len() + 1, "folders are left alone");
    }

    #[test]
    fn without_limits_nothing_is_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let rotation = Rotation { max_backups: 0, ..Rotation::default() };
        files(folder.path(), &["data-2020-11-20T00-00-00.000-size.json"]);
        rotator(folder.path(), "data.json", &rotation).clean(at("2026-12-01T12:00:00Z"));
        assert_eq!(left(folder.path()).len(), 1);
    }

    #[test]
    fn what_older_collectors_moved_aside_is_adopted() {
        let folder = tempfile::tempdir().expect("a folder");
        files(folder.path(), &["data-2026-11-20T00-00-00.000.json", "data-x.json"]);
        rotator(folder.path(), "data.json", &Rotation::default()).adopt();
        assert_eq!(left(folder.path()), ["data-2026-11-20T00-00-00.000-size.json", "data-x.json"]);
    }

    #[test]
    fn names_that_senders_choose_are_told_from_those_of_what_was_moved_aside() {
        let stamp = "2026-11-25T20-15-00.123";
        for name in
            ["app.json", "app-2026-11-25.json", "ä-2026-11-25T20-15-00.12ü", "x", stamp.trim_end_matches('3')]
        {
            assert_eq!(apart(format!("/data/{stamp}/{name}")), format!("/data/{stamp}/{name}"));
        }
        let folder = tempfile::tempdir().expect("a folder");
        let rotator = rotator(folder.path(), "app", &Rotation::default());
        let dotted = Rotator::new(&folder.path().join("app.json"), &Rotation::default());
        for tail in ["", "-size", "-x", "-size.gz", "-size.zst", ".json", "-size.json", "-size.json.gz"] {
            let name = format!("app-{stamp}{tail}");
            let safe = apart(name.clone());
            for rotator in [&rotator, &dotted] {
                assert_eq!(rotator.backup(safe.clone()), None, "{safe}");
                files(folder.path(), &[&safe]);
                rotator.adopt();
            }
            assert_eq!(left(folder.path()), std::slice::from_ref(&safe), "it keeps its name");
            fs::remove_file(folder.path().join(safe)).expect("it is there");
        }
        // The last of two is what counts.
        let twice = apart(format!("app-{stamp}-{stamp}-size"));
        assert!(!twice.contains('T'), "{twice}");
    }

    #[test]
    fn a_file_is_full_when_the_next_message_would_be_too_much() {
        let rotation = Rotation { max_megabytes: 1, ..Rotation::default() };
        let mut rotator = Rotator::new(Path::new("data.json"), &rotation);
        assert!(rotator.is_due(MEGABYTE - 10, 10), "a file from before, which is exactly full");
        assert!(!rotator.is_due(MEGABYTE - 10, 10), "one of ours may be exactly full");
        assert!(rotator.is_due(MEGABYTE - 10, 11));
        assert!(!rotator.is_due(0, 2 * MEGABYTE), "an empty file is not moved aside");
    }
}
