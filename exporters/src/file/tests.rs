//! The exporter as it is configured, built and fed, against real files.

mod groups;

use super::*;
use crate::testing::{batch, commit, config, context, log, outcome, payload, plan};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tempfile::TempDir;

const LOG: &str = r#"{"resourceLogs":[{"resource":{},"scopeLogs":[{"scope":{},"logRecords":[{"body":{"stringValue":"BODY"}}]}]}]}"#;

fn line(body: &str) -> String {
    LOG.replace("BODY", body) + "\n"
}

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("out");
    (folder, path)
}

fn build(yaml: &str, path: &Path, signal: Signal) -> Result<(Context, Arc<dyn Stage>), BuildError> {
    let context = context("file");
    let yaml = format!("{{path: '{}', {yaml}}}", path.display());
    let stage = config(&FACTORY, &yaml).build(context.clone(), signal)?;
    Ok((context, stage))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("the file is there")
}

/// The bodies of the log records in a file.
fn bodies(path: &Path) -> Vec<String> {
    let lines = read(path);
    let bodies = lines.lines().flat_map(|line| line.split("\"body\":{\"stringValue\":\"").skip(1));
    bodies.map(|rest| rest.split('"').next().unwrap_or_default().to_owned()).collect()
}

/// The messages of a file whose messages begin with their length.
fn messages(path: &Path) -> Vec<Vec<u8>> {
    let mut rest = &fs::read(path).expect("the file is there")[..];
    let mut messages = Vec::new();
    while let Some((len, after)) = rest.split_first_chunk::<4>() {
        let (message, after) = after.split_at(u32::from_be_bytes(*len) as usize);
        messages.push(message.to_vec());
        rest = after;
    }
    assert!(rest.is_empty());
    messages
}

#[tokio::test]
async fn each_batch_is_a_line_and_its_pieces_are_one_request() {
    let (_folder, path) = folder();
    let (context, stage) = build("", &path, Signal::Logs).expect("a writable file");
    commit(&*stage, batch([log("one")])).await.expect("written");
    assert_eq!(read(&path), line("one"), "it is there as soon as it is answered");

    commit(&*stage, batch([log("two"), log("three")])).await.expect("written");
    let both: Vec<String> = read(&path).lines().map(str::to_owned).collect();
    assert_eq!(both.len(), 2);
    assert_eq!(both[1].matches("resourceLogs").count(), 1, "{}", both[1]);
    assert_eq!(both[1].matches("scopeLogs").count(), 2, "{}", both[1]);
    assert_eq!(outcome(&context), (3, 0));
    stage.drain(Instant::now()).await;
}

#[tokio::test]
async fn all_signals_of_an_exporter_share_one_file_without_interleaving() {
    let (_folder, path) = folder();
    let (_, logs) = build("", &path, Signal::Logs).expect("a writable file");
    let (_, traces) = build("", &path, Signal::Traces).expect("the same file");
    let (_, elsewhere) = build("", &path.with_file_name(".").join("out"), Signal::Logs)
        .expect("the same file by another name");
    let long = "x".repeat(100_000);
    let span = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"name":"{long}"}}]}}]}}]}}"#);
    let span = payload(Signal::Traces, &span);

    let mut sending = tokio::task::JoinSet::new();
    for _ in 0..20 {
        for (stage, batch) in [
            (&logs, batch([log(&long)])),
            (&traces, batch([span.clone()])),
            (&elsewhere, batch([log("short")])),
        ] {
            let stage = Arc::clone(stage);
            sending.spawn(async move { commit(&*stage, batch).await });
        }
    }
    sending.join_all().await.into_iter().for_each(|sent| sent.expect("written"));

    let text = read(&path);
    assert_eq!(text.lines().count(), 60);
    let (of_logs, of_traces): (Vec<_>, Vec<_>) =
        text.lines().partition(|line| line.starts_with("{\"resourceLogs\":"));
    assert_eq!((of_logs.len(), of_traces.len()), (40, 20));
    assert!(of_traces.iter().all(|line| line.starts_with("{\"resourceSpans\":") && line.ends_with("]}]}]}")));
}

#[tokio::test]
async fn protobuf_messages_begin_with_their_length() {
    let (_folder, path) = folder();
    let (_, stage) = build("format: proto", &path, Signal::Logs).expect("a writable file");
    commit(&*stage, batch([log("one"), log("two")])).await.expect("written");
    commit(&*stage, batch([log("three")])).await.expect("written");
    let first = [&log("one").bytes()[..], &log("two").bytes()[..]].concat();
    assert_eq!(messages(&path), [first, log("three").bytes().to_vec()]);
}

#[tokio::test]
async fn compressed_messages_are_frames_of_their_own_behind_their_length() {
    for (format, expected) in
        [("json", line("one").trim_end().as_bytes()), ("proto", &log("one").bytes()[..])]
    {
        let (_folder, path) = folder();
        let yaml = format!("format: {format}, compression: zstd, compression_params: {{level: 6}}");
        let (_, stage) = build(&yaml, &path, Signal::Logs).expect("a writable file");
        commit(&*stage, batch([log("one")])).await.expect("written");
        commit(&*stage, batch([log("one")])).await.expect("written");
        let messages = messages(&path);
        assert_eq!(messages.len(), 2);
        for message in messages {
            assert_eq!(zstd::bulk::decompress(&message, 1 << 20).expect("a frame"), expected);
        }
    }
}

#[tokio::test]
async fn a_file_is_emptied_at_the_start_unless_it_is_to_be_kept() {
    let (_folder, path) = folder();
    fs::write(&path, "old\n").expect("a file");
    let (_, stage) = build("append: true", &path, Signal::Logs).expect("a writable file");
    commit(&*stage, batch([log("one")])).await.expect("written");
    drop(stage);
    assert_eq!(read(&path), format!("old\n{}", line("one")));

    let (_, stage) = build("append: false", &path, Signal::Logs).expect("a writable file");
    commit(&*stage, batch([log("two")])).await.expect("written");
    assert_eq!(read(&path), line("two"));

    let (_, successor) = build("append: false", &path, Signal::Logs).expect("shared");
    commit(&*successor, batch([log("three")])).await.expect("written");
    assert_eq!(read(&path), line("two") + &line("three"), "not emptied while it is in use");
}

#[tokio::test]
async fn a_line_that_was_cut_off_is_ended_before_the_next() {
    let (_folder, path) = folder();
    fs::write(&path, "good\n{\"resour").expect("a file");
    let (_, stage) = build("append: true", &path, Signal::Logs).expect("a writable file");
    commit(&*stage, batch([log("one")])).await.expect("written");
    assert_eq!(read(&path), format!("good\n{{\"resour\n{}", line("one")));
}

#[test]
fn what_cannot_be_written_to_is_an_error_at_the_start() {
    let (folder, path) = folder();
    let missing = folder.path().join("missing/out");
    let error = build("", &missing, Signal::Logs).err().expect("no such folder").to_string();
    assert!(
        error.starts_with(&format!("exporter `file`: cannot open `{}` for writing: ", missing.display())),
        "{error}"
    );
    assert!(error.ends_with("; make the folder, or set `create_directory: true`"), "{error}");
    assert!(build("", folder.path(), Signal::Logs).is_err(), "a folder is no file");
    fs::write(&path, "").expect("a file");
    assert!(build("", &path.join("below"), Signal::Logs).is_err(), "a file is no folder");
}

#[tokio::test]
async fn missing_folders_are_made_if_asked_for() {
    let (folder, _) = folder();
    let path = folder.path().join("a/b/out");
    let yaml = "create_directory: true, directory_permissions: '0700'";
    let (_, stage) = build(yaml, &path, Signal::Logs).expect("the folders can be made");
    commit(&*stage, batch([log("one")])).await.expect("written");
    assert_eq!(read(&path), line("one"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!(mode(&folder.path().join("a")), 0o700);
        assert_eq!(mode(&path) & 0o644 & !0o077, 0o600, "the owner reads and writes");
    }
}

#[tokio::test]
async fn a_deleted_file_is_made_again_and_a_deleted_folder_refuses_until_it_is_back() {
    let (folder, _) = folder();
    let below = folder.path().join("below");
    fs::create_dir(&below).expect("a folder");
    let path = below.join("out");
    let (context, stage) = build("", &path, Signal::Logs).expect("a writable file");
    fs::remove_file(&path).expect("it was there");
    commit(&*stage, batch([log("one")])).await.expect("written");
    assert_eq!(read(&path), line("one"));

    fs::remove_dir_all(&below).expect("it was there");
    let failure = commit(&*stage, batch([log("two")])).await.expect_err("nowhere to write to");
    assert_eq!((failure.reason, failure.is_transient()), (Reason::Storage, true));
    assert!(failure.message.starts_with(&format!("cannot write to `{}`: ", path.display())), "{failure}");

    fs::create_dir(&below).expect("a folder");
    commit(&*stage, batch([log("three")])).await.expect("written");
    assert_eq!(read(&path), line("three"));
    assert_eq!(outcome(&context), (2, 1));
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_full_disk_is_a_failure_that_may_pass() {
    let (context, stage) = build("", Path::new("/dev/full"), Signal::Logs).expect("it can be opened");
    let failure = commit(&*stage, batch([log("one")])).await.expect_err("there is no room");
    assert_eq!((failure.reason, failure.is_transient()), (Reason::Storage, true));
    assert_eq!(outcome(&context), (0, 1));
}

#[test]
fn one_file_cannot_have_two_formats() {
    let (_folder, path) = folder();
    let (_, _stage) = build("", &path, Signal::Logs).expect("a writable file");
    let error = build("format: proto", &path, Signal::Traces).err().expect("another format").to_string();
    assert!(error.contains("is already being written to in another `format`"), "{error}");
}

#[test]
fn what_is_wrong_or_not_supported_yet_is_refused() {
    for (yaml, problem) in [
        ("{}", "` is required"),
        (
            "{path: x, rotation: , append: true}",
            "append and rotation enabled at the same time is not supported",
        ),
        ("{path: x, rotation: {max_megabytes: -1}}", "` must not be negative"),
        ("{path: x, rotation: {max_size: 1}}", "unknown key `max_size`"),
        ("{path: x, group_by: {enabled: true}}", "` must contain exactly one `*`"),
        ("{path: '/a/*/*', group_by: {enabled: true}}", "` must contain exactly one `*`"),
        ("{path: '*.json', group_by: {enabled: true}}", "` must not start with `*`"),
        ("{path: '/a/*', group_by: {enabled: true, resource_attribute: ''}}", "` must not be empty"),
        ("{path: '/a/*', group_by: {enabled: true, max_open_files: 0}}", "` must be at least 1"),
        ("{path: x, encoding: text_encoding}", "not supported yet"),
        ("{path: x, compression: gzip}", "accepted values: none, zstd"),
        ("{path: x, format: yaml}", "accepted values: json, proto"),
        ("{path: x, directory_permissions: '0755'}", "` requires `create_directory: true`"),
        ("{path: x, create_directory: true, directory_permissions: '0999'}", "octal"),
        ("{path: x, create_directory: true, directory_permissions: '7777'}", "octal"),
        ("{path: x, flush_interval: -1s}", "cannot be negative"),
        // As in Go, which has these in most other exporters.
        ("{path: x, sending_queue: {enabled: true}}", "unknown key `sending_queue`"),
        ("{path: x, retry_on_failure: {enabled: true}}", "unknown key `retry_on_failure`"),
        ("{path: x, timeout: 5s}", "unknown key `timeout`"),
    ] {
        let (config, problems) = plan(&FACTORY, yaml);
        assert!(config.is_none() && problems.contains(problem), "{yaml}: {problems}");
    }
    for yaml in [
        "{path: x, group_by: {enabled: false, resource_attribute: a}, compression: '', flush_interval: 0s}",
        "{path: x, compression: zstd, compression_params: {level: -5}, flush_interval: 5s, append: true}",
        "{path: x, rotation: }",
        "{path: x, rotation: {max_megabytes: 10, max_days: 3, max_backups: 3, localtime: true}, format: proto}",
        "{path: '/a/*', group_by: {enabled: true}, append: true}",
    ] {
        let (config, problems) = plan(&FACTORY, yaml);
        assert!(config.is_some() && problems.is_empty(), "{yaml}: {problems}");
    }
}

#[tokio::test]
async fn a_full_file_is_moved_aside_and_the_newest_are_kept() {
    let (folder, path) = folder();
    let path = path.with_extension("json");
    let (context, stage) =
        build("rotation: {max_megabytes: 1, max_backups: 2}", &path, Signal::Logs).expect("a file");
    let long = |letter: &str| log(&letter.repeat(600_000));
    for letter in ["a", "b", "c", "d"] {
        commit(&*stage, batch([long(letter)])).await.expect("written");
    }
    commit(&*stage, batch([log("short")])).await.expect("it fits beside the last");
    let mut names: Vec<_> = fs::read_dir(folder.path())
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
        .collect();
    names.sort_unstable();
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(names[0].starts_with("out-20") && names[0].ends_with("-size.json"), "{names:?}");
    let firsts: Vec<_> =
        names.iter().map(|name| bodies(&folder.path().join(name)).concat().chars().next()).collect();
    assert_eq!(firsts, [Some('b'), Some('c'), Some('d')], "{names:?}");
    assert_eq!(read(&path).lines().count(), 2);
    assert_eq!(outcome(&context), (5, 0));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o644);
    }
}

#[tokio::test]
async fn a_file_from_before_is_rotated_and_not_emptied() {
    let (folder, path) = folder();
    fs::write(&path, "x".repeat((1 << 20) - 3) + "\n").expect("a file");
    let (_, stage) = build("rotation: {max_megabytes: 1}", &path, Signal::Logs).expect("a file");
    commit(&*stage, batch([log("one")])).await.expect("written");
    assert_eq!(read(&path), line("one"));
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 2);
}

#[tokio::test]
async fn what_is_larger_than_a_file_is_sent_in_halves_and_a_single_item_is_lost_by_name() {
    let (_folder, path) = folder();
    let (context, stage) = build("rotation: {max_megabytes: 1}", &path, Signal::Logs).expect("a file");
    let half = || log(&"x".repeat(700_000));
    commit(&*stage, batch([half(), half()])).await.expect("each half fits a file");
    assert_eq!(outcome(&context), (2, 0));
    let failure = commit(&*stage, batch([log(&"x".repeat(2 << 20))])).await.expect_err("it fits none");
    assert_eq!((failure.reason, failure.is_transient()), (Reason::TooLarge, false));
    assert!(failure.message.contains("raise `max_megabytes`"), "{failure}");
}

/// What the Go collector wrote for the same requests; how to record it again is said in `testdata/README.md`.
#[tokio::test]
async fn files_are_byte_for_byte_the_go_collectors() {
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/file/testdata");
    let (folder, _) = folder();
    for signal in [Signal::Traces, Signal::Metrics, Signal::Logs] {
        let golden =
            |extension: &str| fs::read(testdata.join(format!("{signal}.{extension}"))).expect("a golden");
        // The fields of a request keep their order here; the Go collector puts them into its own, and this has been
        // through it.
        let request = millrace_wire::validate::validate(
            signal,
            golden("bin")[4..].to_vec().into(),
            &millrace_wire::validate::Policy::default(),
        );
        let request = request.expect("well-formed").payload;
        for (format, extension) in [("json", "jsonl"), ("proto", "bin")] {
            let path = folder.path().join(format!("{signal}.{extension}"));
            let (_, stage) = build(&format!("format: {format}"), &path, signal).expect("a writable file");
            commit(&*stage, batch([request.clone()])).await.expect("written");
            assert!(fs::read(&path).expect("written") == golden(extension), "{signal} as {format}");
        }
    }
}
