use super::directory::look_around;
use super::*;
use crate::testing::{assert_refused, context, plan};
use millrace_engine::Health;
use millrace_wire::Signal;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn build(context: &Context, yaml: &str) -> Result<Arc<dyn Extension>, BuildError> {
    let (config, problems) = plan(&FACTORY, yaml);
    config.unwrap_or_else(|| panic!("{problems}")).build(context.clone())
}

fn owner(id: &str) -> Owner {
    Owner {
        kind: "exporter",
        id: id.parse().expect("an id"),
        namesakes: Arc::default(),
        pipeline: None,
        signal: Signal::Logs,
        what: "queue",
    }
}

fn place(extension: &Arc<dyn Extension>, id: &str) -> Place {
    let storage = Arc::clone(extension).storage().expect("it is a storage");
    storage.place(&owner(id)).expect("a place")
}

fn section(directory: &Path, more: &str) -> String {
    format!("{{directory: '{}'{more}}}", directory.display())
}

#[test]
fn the_go_collectors_keys_are_taken_with_its_rules() {
    let there = tempfile::tempdir().expect("a directory");
    let all = ", timeout: 2s, max_size: 268435456, recreate: true, fsync: true, compaction: {directory: ., \
               on_start: true, on_rebound: true, rebound_trigger_threshold_mib: 16, \
               rebound_needed_threshold_mib: 128, max_transaction_size: 2048, cleanup_on_start: true}";
    let (config, problems) = plan(&FACTORY, &section(there.path(), all));
    assert!(config.is_some() && problems.is_empty(), "{problems}");
    let wrong = [
        (", max_size: -1", "max_size"),
        (", max_size: 131072", "must be at least 262144 (256 KiB)"),
        (", max_size: 262143", "must be at least 262144 (256 KiB)"),
        (", compaction: {max_transaction_size: -1}", "cannot be less than 0"),
        (", compaction: {on_rebound: true, check_interval: 0s}", "must be positive"),
        (", max_size: 1048576, compaction: {on_rebound: true}", "cannot be greater than max size"),
        (", create_directory: true, directory_permissions: \"08\"", "valid octal"),
        (", create_directory: true, directory_permissions: \"+7\"", "valid octal"),
        (", create_directory: true, directory_permissions: \"7777\"", "invalid bits"),
        (", millrace_segment_size: 1000", "between"),
        (", millrace_commit_delay: 2s", "at most 1s"),
        (", fsnyc: true", "did you mean `fsync`"),
    ];
    let wrong: Vec<_> = wrong.map(|(more, problem)| (section(there.path(), more), problem)).into();
    let wrong: Vec<_> = wrong.iter().map(|(yaml, problem)| (yaml.as_str(), *problem)).collect();
    assert_refused(&FACTORY, &wrong);
    assert_refused(&FACTORY, &[("{directory: /nowhere/at/all}", "directory must exist")]);
    let file = there.path().join("file");
    fs::write(&file, "").expect("written");
    assert_refused(&FACTORY, &[(&section(&file, ""), "is not a directory")]);
}

#[test]
fn a_directory_that_is_not_there_is_made_where_that_is_wanted() {
    let there = tempfile::tempdir().expect("a directory");
    let new = there.path().join("a/b");
    let more = ", create_directory: true, directory_permissions: \"0700\"";
    build(&context("file_storage", &Health::starting()), &section(&new, more)).expect("it builds");
    let mode = fs::metadata(&new).expect("made").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let lock = fs::metadata(new.join(".millrace.lock")).expect("locked").permissions().mode();
    assert_eq!(lock & 0o777, 0o600);
}

#[test]
fn without_a_timeout_it_waits_until_the_other_process_has_gone() {
    let there = tempfile::tempdir().expect("a directory");
    let lock = fs::File::create(there.path().join(".millrace.lock")).expect("a file");
    lock.lock().expect("nobody else has it");
    let yaml = section(there.path(), ", timeout: 0s");
    let waiting = std::thread::spawn(move || build(&context("file_storage", &Health::starting()), &yaml));
    // Not until somebody waits for it: the system lists those, too.
    let waits = || {
        let locks = fs::read_to_string("/proc/locks").expect("Linux");
        let pid = format!(" {} ", std::process::id());
        locks.lines().any(|line| line.contains("->") && line.contains(&pid))
    };
    while !waits() {
        assert!(!waiting.is_finished(), "it does not wait");
        std::thread::yield_now();
    }
    drop(lock);
    let _built = waiting.join().expect("no panic").expect("it builds");
}

#[test]
fn a_directory_has_one_process_and_its_extensions_share_it() {
    let there = tempfile::tempdir().expect("a directory");
    let yaml = section(there.path(), ", timeout: 10ms");
    let context_of = || context("file_storage", &Health::starting());
    let ours = context_of();
    let first = build(&ours, &yaml).expect("it builds");
    let second = build(&ours, &yaml).expect("the same process");
    let opened = place(&first, "otlp").open(|_| Ok::<_, NoPlace>(1)).expect("open");
    let again = place(&second, "otlp").open(|_| Ok::<_, NoPlace>(2)).expect("open");
    assert_eq!((*opened, *again), (1, 1));

    let others = context_of();
    let problem =
        build(&others, &yaml).err().expect("another process would have no other directories").to_string();
    assert!(problem.contains("in use by another collector"), "{problem}");
    assert!(problem.contains(&format!("process {}", std::process::id())), "{problem}");

    drop((first, second, opened, again));
    build(&others, &yaml).expect("nobody has it any more");
}

#[test]
fn a_lock_that_is_a_link_is_refused_and_what_it_leads_to_is_left_alone() {
    let there = tempfile::tempdir().expect("a directory");
    let elsewhere = tempfile::tempdir().expect("a directory");
    let precious = elsewhere.path().join("precious");
    fs::write(&precious, "precious").expect("written");
    for target in [&precious, &elsewhere.path().join("new")] {
        let link = there.path().join(".millrace.lock");
        std::os::unix::fs::symlink(target, &link).expect("linked");
        let built = build(&context("file_storage", &Health::starting()), &section(there.path(), ""));
        let problem = built.err().expect("refused").to_string();
        assert!(problem.contains(".millrace.lock is a symbolic link"), "{problem}");
        assert!(problem.contains("remove it"), "{problem}");
        fs::remove_file(link).expect("removed");
    }
    assert_eq!(fs::read_to_string(&precious).expect("there"), "precious");
    assert!(!elsewhere.path().join("new").exists());
    build(&context("file_storage", &Health::starting()), &section(there.path(), "")).expect("it builds");
}

#[test]
fn a_lock_that_is_a_pipe_is_refused_and_not_waited_for() {
    let there = tempfile::tempdir().expect("a directory");
    let pipe = there.path().join(".millrace.lock");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("it runs");
    assert!(made.success());
    let built = build(&context("file_storage", &Health::starting()), &section(there.path(), ""));
    let problem = built.err().expect("refused").to_string();
    assert!(problem.contains(".millrace.lock is no regular file: remove it"), "{problem}");
    let problem = control::is_in_use(there.path()).expect_err("refused").to_string();
    assert!(problem.contains(".millrace.lock is no regular file: remove it"), "{problem}");
}

#[test]
fn each_owner_has_a_folder_of_its_own_with_the_same_rules() {
    let there = tempfile::tempdir().expect("a directory");
    let yaml =
        section(there.path(), ", max_size: 33554432, millrace_max_age: 24h, millrace_commit_delay: 5ms");
    let storage = build(&context("file_storage", &Health::starting()), &yaml).expect("it builds");
    let (one, other) = (place(&storage, "otlp/a"), place(&storage, "otlp/b"));
    assert_ne!(one.folder(), other.folder());
    assert_eq!(one.rules, other.rules);
    let expected = Rules {
        max_bytes: Some(32 << 20),
        segment_bytes: 4 << 20,
        max_age: Some(Duration::from_secs(24 * 3600)),
        sync: true,
        commit_delay: Duration::from_millis(5),
        lock_timeout: Duration::from_secs(1),
    };
    assert_eq!(one.rules, expected);
}

#[test]
fn what_is_left_of_others_is_found_and_left_alone() {
    let there = tempfile::tempdir().expect("a directory");
    let mut database = vec![0; 4096];
    database[16..20].copy_from_slice(&[0xED, 0xDA, 0x0C, 0xED]);
    fs::write(there.path().join("exporter_otlp__traces"), &database).expect("written");
    fs::write(there.path().join("notes.txt"), "short").expect("written");
    for (folder, holds) in [("exporter-old-logs.queue", true), ("exporter-empty-logs.queue", false)] {
        let folder = there.path().join(folder);
        fs::create_dir(&folder).expect("made");
        if holds {
            fs::write(folder.join("segment"), "x").expect("written");
        }
    }
    let context = context("file_storage", &Health::starting());
    let storage = build(&context, &section(there.path(), "")).expect("it builds");
    let place = place(&storage, "otlp");
    let _open =
        place.open(|place| fs::create_dir(place.folder()).map_err(|error| NoPlace(error.to_string())));
    let directory = context
        .shared
        .directories
        .get(&there.path().canonicalize().expect("there"), || Err::<(), _>("not claimed"))
        .expect("claimed");

    let found = look_around(&directory);

    assert_eq!(found.of_go, ["exporter_otlp__traces"]);
    assert_eq!(found.orphans, ["exporter-old-logs.queue"]);
    assert_eq!(fs::read(there.path().join("exporter_otlp__traces")).expect("still there"), database);
}

/// Opens the place of `otlp_grpc` anew, where things may have been kept for `otlp`: its folder, by name.
fn folder_of_renamed(directory: &Path, id: &str, other: &str) -> String {
    let context = context("file_storage", &Health::starting());
    let extension = build(&context, &section(directory, "")).expect("it builds");
    let owner = Owner { namesakes: [other.parse().expect("an id")].into(), ..owner(id) };
    let place = extension.storage().expect("it is a storage").place(&owner).expect("a place");
    place.folder().file_name().expect("a name").to_string_lossy().into_owned()
}

#[test]
fn what_is_kept_under_another_name_of_the_type_is_found_under_either() {
    let there = tempfile::tempdir().expect("a directory");
    let (old, new) = ("exporter-otlp-logs.queue", "exporter-otlp_grpc-logs.queue");
    let put = |folder: &str, file: &str| {
        fs::create_dir_all(there.path().join(folder)).expect("made");
        fs::write(there.path().join(folder).join(file), folder).expect("written");
    };
    let holds = |folder: &str| fs::read_to_string(there.path().join(folder).join("1.seg")).ok();
    put(old, "1.seg");
    assert_eq!(folder_of_renamed(there.path(), "otlp_grpc", "otlp"), new);
    assert_eq!((holds(old), holds(new)), (None, Some(old.to_owned())));
    // And back.
    assert_eq!(folder_of_renamed(there.path(), "otlp", "otlp_grpc"), old);
    assert_eq!((holds(old), holds(new)), (Some(old.to_owned()), None));
    // One in which nothing waits gives way; another one does not.
    put(new, "lock");
    put(new, "cursor-default");
    folder_of_renamed(there.path(), "otlp_grpc", "otlp");
    assert_eq!((holds(old), holds(new)), (None, Some(old.to_owned())));
    put(old, "1.seg");
    folder_of_renamed(there.path(), "otlp", "otlp_grpc");
    assert_eq!((holds(old), holds(new)), (Some(old.to_owned()), Some(old.to_owned())));
}

#[test]
fn a_folder_that_could_not_be_renamed_is_used_for_as_long_as_it_is_open() {
    let there = tempfile::tempdir().expect("a directory");
    let context = context("file_storage", &Health::starting());
    let extension = build(&context, &section(there.path(), "")).expect("it builds");
    let (former, present) = (place(&extension, "otlp").folder(), place(&extension, "otlp_grpc").folder());
    fs::create_dir(&former).and_then(|()| fs::write(former.join("1.seg"), "x")).expect("written");
    // No folder, and so in the way of one.
    fs::write(&present, "x").expect("written");
    let owner = Owner { namesakes: ["otlp".parse().expect("an id")].into(), ..owner("otlp_grpc") };
    let storage = Arc::clone(&extension).storage().expect("it is a storage");
    let used = storage.place(&owner).expect("a place");
    assert_eq!(used.folder(), former);
    let opened = used.open(|_| Ok::<_, NoPlace>(1)).expect("open");
    fs::remove_file(&present).expect("removed");
    // The graph after this one, whose storage may be another.
    let rebuilt = build(&context, &section(there.path(), "")).expect("it builds").storage();
    let next = rebuilt.expect("it is a storage").place(&owner).expect("a place");
    assert_eq!(next.folder(), former);
    assert!(Arc::ptr_eq(&opened, &next.open(|_| Ok::<_, NoPlace>(2)).expect("open")));
    drop(opened);
    assert_eq!(storage.place(&owner).expect("a place").folder(), present);
    assert!(present.join("1.seg").exists());
}

#[test]
fn what_another_graph_has_open_is_not_renamed_and_gone_on_with() {
    let there = tempfile::tempdir().expect("a directory");
    let context = context("file_storage", &Health::starting());
    let extension = build(&context, &section(there.path(), "")).expect("it builds");
    let former = place(&extension, "otlp");
    let open = |place: &Place| {
        fs::create_dir_all(place.folder()).and_then(|()| fs::write(place.folder().join("1.seg"), "x"))
    };
    let opened = former.open(|place| open(place).map_err(|error| NoPlace(error.to_string()))).expect("open");
    let owner = Owner { namesakes: ["otlp".parse().expect("an id")].into(), ..owner("otlp_grpc") };
    let storage = Arc::clone(&extension).storage().expect("it is a storage");
    let shared = storage.place(&owner).expect("a place");
    assert_eq!(shared.folder(), former.folder());
    drop(opened);
    assert!(storage.place(&owner).expect("a place").folder().exists() && !former.folder().exists());
}

#[test]
fn what_one_component_goes_on_with_under_a_former_name_is_no_other_ones() {
    let there = tempfile::tempdir().expect("a directory");
    let context = context("file_storage", &Health::starting());
    let extension = build(&context, &section(there.path(), "")).expect("it builds");
    let storage = Arc::clone(&extension).storage().expect("it is a storage");
    let known_as = |id: &str, other: &str| {
        let owner = Owner { namesakes: [other.parse().expect("an id")].into(), ..owner(id) };
        storage.place(&owner).expect("a place")
    };
    let former = place(&extension, "otlp");
    let opened = former.open(|place| Ok::<_, NoPlace>(fs::create_dir_all(place.folder()))).expect("open");
    let renamed = known_as("otlp_grpc", "otlp");
    assert_eq!(renamed.folder(), former.folder());
    drop(former);

    let refused = storage.place(&owner("otlp")).expect_err("refused").to_string();
    assert!(
        refused.contains("exporter otlp_grpc") && refused.contains("give this one another name"),
        "{refused}"
    );
    // Under its first name again, it is the one that it was.
    let back = known_as("otlp", "otlp_grpc");
    assert_eq!(back.folder(), renamed.folder());
    drop(renamed);
    assert_eq!(storage.place(&owner("otlp")).expect("a place").folder(), back.folder());
    drop(opened);
}

#[test]
fn something_that_is_open_under_the_former_name_is_left_there_only_with_a_warning() {
    let there = tempfile::tempdir().expect("a directory");
    let context = context("file_storage", &Health::starting());
    let extension = build(&context, &section(there.path(), "")).expect("it builds");
    let (former, present) = (place(&extension, "otlp"), place(&extension, "otlp_grpc"));
    for place in [&former, &present] {
        fs::create_dir(place.folder())
            .and_then(|()| fs::write(place.folder().join("1.seg"), "x"))
            .expect("written");
    }
    let _opened = former.open(|_| Ok::<_, NoPlace>(1)).expect("open");
    let path = there.path().canonicalize().expect("there");
    let directory = context.shared.directories.get(&path, || Err::<(), _>("not claimed")).expect("claimed");
    let adopted = adopt(&directory, "exporter-otlp-logs.queue", "exporter-otlp_grpc-logs.queue");
    assert!(matches!(adopted, Adoption::Both), "{adopted:?}");
}
