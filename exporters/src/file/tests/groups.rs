//! A file for each value of an attribute.

use super::*;

/// A request whose resources have these values of `service.name`, and none where there is no value.
fn of_services(services: &[Option<&str>]) -> millrace_wire::Payload {
    let resources: Vec<_> = services
        .iter()
        .enumerate()
        .map(|(at, service)| {
            let attribute = service.map(|service| {
                format!(r#"{{"key":"service.name","value":{{"stringValue":"{service}"}}}}"#)
            });
            format!(
                r#"{{"resource":{{"attributes":[{}]}},"scopeLogs":[{{"scope":{{}},"logRecords":[{{"body":{{"stringValue":"{at}"}}}}]}}]}}"#,
                attribute.unwrap_or_default()
            )
        })
        .collect();
    payload(Signal::Logs, &format!(r#"{{"resourceLogs":[{}]}}"#, resources.join(",")))
}

fn grouped(folder: &Path, yaml: &str) -> (Context, Arc<dyn Stage>) {
    let yaml = format!("group_by: {{enabled: true, resource_attribute: service.name, {yaml}}}");
    build(&yaml, &folder.join("*.json"), Signal::Logs).expect("nothing is opened yet")
}

#[tokio::test]
async fn each_value_of_the_attribute_has_a_file_of_its_own() {
    let (folder, _) = folder();
    let (context, stage) = grouped(folder.path(), "");
    let services = [Some("shop"), Some("a/b"), None, Some("shop"), Some("../../etc/cron")];
    commit(&*stage, batch([of_services(&services), of_services(&[Some("shop")])])).await.expect("written");
    let file = |name: &str| folder.path().join(name);
    assert_eq!(read(&file("shop.json")).lines().count(), 1, "one request for each group");
    assert_eq!(bodies(&file("shop.json")), ["0", "3", "0"]);
    assert_eq!(bodies(&file("a/b.json")), ["1"]);
    assert_eq!(bodies(&file("etc/cron.json")), ["4"], "below the folder, wherever the value points");
    let account = context.shared.ledger.accounts().pop().expect("one account");
    assert_eq!(account.lost().items, 1, "the one without the attribute");
    assert_eq!(outcome(&context), (5, 0));
}

#[tokio::test]
async fn a_group_whose_value_is_no_path_is_counted_as_lost_and_the_others_are_written() {
    let (folder, _) = folder();
    let (context, stage) = grouped(folder.path(), "");
    let long = "x".repeat(5000);
    let services = [Some("good"), Some(&long[..]), Some("good.json/below")];
    commit(&*stage, batch([of_services(&services)])).await.expect("written");
    assert_eq!(bodies(&folder.path().join("good.json")), ["0"]);
    assert_eq!(context.shared.ledger.accounts()[0].lost().items, 2);
    assert_eq!(outcome(&context), (1, 0));
}

#[tokio::test]
async fn files_that_had_to_be_closed_are_added_to() {
    let (folder, _) = folder();
    fs::write(folder.path().join("a.json"), "from before\n").expect("a file");
    let (_, stage) = grouped(folder.path(), "max_open_files: 2");
    for service in ["a", "b", "c", "a", "b", "c"] {
        commit(&*stage, batch([of_services(&[Some(service)])])).await.expect("written");
    }
    for service in ["a", "b", "c"] {
        let path = folder.path().join(format!("{service}.json"));
        assert_eq!(bodies(&path), ["0", "0"], "emptied once, at the start");
        assert_eq!(read(&path).lines().count(), 2);
    }
}

#[tokio::test]
async fn files_are_not_emptied_because_the_exporter_is_replaced() {
    let (folder, _) = folder();
    let context = context("file");
    let build = |max_open: u32| {
        let yaml = format!(
            "{{path: '{}/*', group_by: {{enabled: true, resource_attribute: service.name, max_open_files: {max_open}}}}}",
            folder.path().display()
        );
        config(&FACTORY, &yaml).build(context.clone(), Signal::Logs).expect("it builds")
    };
    let old = build(1);
    for service in ["a", "b"] {
        commit(&*old, batch([of_services(&[Some(service)])])).await.expect("written");
    }
    let new = build(2);
    drop(old);
    for service in ["a", "b"] {
        commit(&*new, batch([of_services(&[Some(service)])])).await.expect("written");
        assert_eq!(bodies(&folder.path().join(service)), ["0", "0"]);
    }
}

#[tokio::test]
async fn groups_of_all_signals_share_their_files() {
    let (folder, _) = folder();
    let context = context("file");
    let yaml = format!(
        "{{path: '{}/*', group_by: {{enabled: true, resource_attribute: service.name}}}}",
        folder.path().display()
    );
    let config = config(&FACTORY, &yaml);
    let logs = config.build(context.clone(), Signal::Logs).expect("it builds");
    let traces = config.build(context.clone(), Signal::Traces).expect("it builds");
    commit(&*logs, batch([of_services(&[Some("shop")])])).await.expect("written");
    let span = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},"scopeSpans":[{"spans":[{"name":"x"}]}]}]}"#;
    commit(&*traces, batch([payload(Signal::Traces, span)])).await.expect("written");
    let text = read(&folder.path().join("shop"));
    assert!(text.contains("resourceLogs") && text.contains("resourceSpans"), "{text}");
    assert_eq!(outcome(&context), (2, 0));
}

#[tokio::test]
#[cfg(unix)]
async fn when_one_group_cannot_be_written_now_the_others_are_taken_back() {
    let (folder, _) = folder();
    let (context, stage) = grouped(folder.path(), "");
    commit(&*stage, batch([of_services(&[Some("good")])])).await.expect("written");
    std::os::unix::fs::symlink("/dev/full", folder.path().join("full.json")).expect("a link");
    let services = [Some("good"), Some("full")];
    let failure =
        commit(&*stage, batch([of_services(&services)])).await.expect_err("no room for one of them");
    assert_eq!((failure.reason, failure.is_transient()), (Reason::Storage, true));
    assert_eq!(bodies(&folder.path().join("good.json")), ["0"], "all of it will come again");
    assert_eq!(outcome(&context), (1, 2));
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_batch_of_many_groups_does_not_keep_all_of_their_files_open() {
    let (folder, _) = folder();
    let (context, stage) = grouped(folder.path(), "max_open_files: 2");
    std::os::unix::fs::symlink("/dev/full", folder.path().join("full.json")).expect("a link");
    let names: Vec<_> = (0..40).map(|number| format!("service{number}")).collect();
    let mut services: Vec<_> = names.iter().map(|name| Some(name.as_str())).collect();
    commit(&*stage, batch([of_services(&services)])).await.expect("written");

    services.push(Some("full"));
    let (stop, stopped) = std::sync::mpsc::sync_channel::<()>(1);
    let place = folder.path().to_owned();
    let watch = std::thread::spawn(move || {
        let mut most = 0;
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            most = most.max(open_below(&place));
        }
        most
    });
    for _ in 0..20 {
        let failure = commit(&*stage, batch([of_services(&services)])).await.expect_err("one has no room");
        assert!(failure.is_transient(), "{failure}");
    }
    drop(stop);
    let most = watch.join().expect("no panic");
    assert!((1..=4).contains(&most), "{most} files were open at once");
    for (number, name) in names.iter().enumerate() {
        let path = folder.path().join(format!("{name}.json"));
        assert_eq!(bodies(&path), [number.to_string()], "taken back, though it had been closed");
    }
    assert_eq!(outcome(&context), (40, 20 * 41));
}

/// How many files of a folder this process has open.
#[cfg(target_os = "linux")]
fn open_below(folder: &Path) -> usize {
    let descriptors = fs::read_dir("/proc/self/fd").expect("Linux").flatten();
    descriptors.filter(|entry| fs::read_link(entry.path()).is_ok_and(|path| path.starts_with(folder))).count()
}
