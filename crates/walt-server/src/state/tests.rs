//! The state over restarts, kills, format changes and conflicts.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use rusqlite::Connection;
use serde_json::json;
use walt_model::DeviceType;

use super::schema::{self, STEPS, copy_path};
use super::*;

fn mac(n: u8) -> Mac {
    Mac([0x52, 0x54, 0, 0, 1, n])
}

fn device(n: u8) -> Device {
    Device {
        mac: mac(n),
        ip: Some([192, 168, 7, n].into()),
        name: format!("node-{n}").parse().unwrap(),
        device_type: DeviceType::Node,
        is_virtual: true,
        created: 1_700_000_000_000_000,
        settings: Settings::from([("boot.timeout".to_owned(), json!(null))]),
    }
}

fn node(n: u8) -> Node {
    Node {
        mac: mac(n),
        model: "pc-x86-64".parse().unwrap(),
        image: "alice/debian:latest".parse().unwrap(),
        firmware: Firmware::Uefi,
        booted: false,
    }
}

fn boot(n: u8, id: i64) -> Boot {
    Boot { id: format!("{n}-{id}"), mac: mac(n), started: id, stages: json!([]), outcome: None }
}

#[tokio::test]
async fn what_was_written_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("platform.db");
    {
        let state = State::open(&path).unwrap();
        assert_eq!(state.load().await.unwrap(), Snapshot::default());
        state.put_device_and_node(device(1), node(1)).await.unwrap();
        state
            .put_device(Device { ip: None, settings: Settings::new(), ..device(2) })
            .await
            .unwrap();
        state
            .merge_settings(vec![mac(1)], Settings::from([("ram".into(), json!("1G"))]))
            .await
            .unwrap();
        state.set_booted(mac(1), true).await.unwrap();
        state.set_image(vec![mac(1)], "bob/other:v2".parse().unwrap()).await.unwrap();
        state.rename_device(mac(1), "renamed".parse().unwrap()).await.unwrap();
        state.use_root(mac(1), "old".into()).await.unwrap();
        state.use_root(mac(1), "new".into()).await.unwrap();
        state.release_root(mac(1), "old".into()).await.unwrap();
        // Not awaited: written all the same when the state is dropped.
        state.put_value("greeting", "hello".into()).detach();
    }
    let state = State::open(&path).unwrap();
    let snapshot = state.load().await.unwrap();
    assert_eq!(snapshot.devices.len(), 2);
    let first = snapshot.devices.iter().find(|d| d.mac == mac(1)).unwrap();
    assert_eq!(first.name.as_str(), "renamed");
    assert_eq!(
        first.settings,
        Settings::from(
            [("boot.timeout".to_owned(), json!(null)), ("ram".to_owned(), json!("1G")),]
        )
    );
    let expected = Node { image: "bob/other:v2".parse().unwrap(), booted: true, ..node(1) };
    assert_eq!(snapshot.nodes, [expected]);
    assert_eq!(snapshot.nodes[0].owner().as_str(), "bob");
    assert_eq!(snapshot.roots, [RootInUse { mac: mac(1), root: "new".into() }]);
    assert_eq!(state.value("greeting").await.unwrap().as_deref(), Some("hello"));

    state.use_only_root(mac(1), "newest".into()).await.unwrap();
    assert_eq!(state.load().await.unwrap().roots.len(), 1);
    state.put_boot(boot(1, 1)).await.unwrap();
    state.remove_device(mac(1)).await.unwrap();
    let snapshot = state.load().await.unwrap();
    assert!(snapshot.nodes.is_empty() && snapshot.roots.is_empty());
    assert!(state.boots(mac(1)).await.unwrap().is_empty());
}

#[tokio::test]
async fn conflicts_are_told_and_leave_the_others_alone() {
    let dir = tempfile::tempdir().unwrap();
    let state = State::open(&dir.path().join("platform.db")).unwrap();
    // All in one group.
    let good = state.put_device(device(1));
    let same_name = state.put_device(Device { name: device(1).name, ..device(2) });
    let same_ip = state.put_device(Device { ip: device(1).ip, ..device(3) });
    let half = state
        .put_device_and_node(Device { mac: mac(9), ..device(4) }, Node { mac: mac(8), ..node(4) });
    let other = state.put_device(device(5));
    good.await.unwrap();
    assert_eq!(
        same_name.await.unwrap_err().to_string(),
        "another device already has the name node-1"
    );
    assert_eq!(
        same_ip.await.unwrap_err().to_string(),
        "another device already has the address 192.168.7.1"
    );
    assert!(matches!(half.await, Err(StateError::NoSuchDevice(m)) if m == mac(8)));
    other.await.unwrap();
    let names: Vec<String> =
        state.load().await.unwrap().devices.iter().map(|d| d.name.to_string()).collect();
    assert_eq!(names, ["node-1", "node-5"]);

    assert!(matches!(
        state.rename_device(mac(5), "node-1".parse().unwrap()).await,
        Err(StateError::Taken { what: "name", .. })
    ));
    assert!(matches!(state.put_boot(boot(7, 1)).await, Err(StateError::NoSuchDevice(_))));
    let both = state.merge_settings(vec![mac(1), mac(7)], Settings::from([("a".into(), json!(1))]));
    assert!(both.await.is_err());
    let devices = state.load().await.unwrap().devices;
    assert!(!devices[0].settings.contains_key("a"), "all devices or none");
}

#[tokio::test]
async fn only_the_last_boots_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let state = State::open(&dir.path().join("platform.db")).unwrap();
    state.put_device_and_node(device(1), node(1)).await.unwrap();
    for id in 0..KEPT_BOOTS as i64 + 5 {
        state.put_boot(boot(1, id)).await.unwrap();
    }
    let finished =
        Boot { stages: json!([{"stage": "dhcp"}]), outcome: Some("ready".into()), ..boot(1, 24) };
    state.put_boot(finished.clone()).await.unwrap();
    let boots = state.boots(mac(1)).await.unwrap();
    assert_eq!(boots.len(), KEPT_BOOTS);
    assert_eq!(boots[0], finished);
    assert_eq!(boots.last().unwrap().id, "1-5");
}

#[tokio::test]
async fn a_copy_is_kept_before_a_change_of_format() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("platform.db");
    let state = State::open(&path).unwrap();
    state.put_device(device(1)).await.unwrap();
    drop(state);

    let next = "ALTER TABLE devices ADD COLUMN colour TEXT NOT NULL DEFAULT 'red'";
    let failing: Vec<&str> = STEPS.iter().copied().chain([next, "NOT SQL"]).collect();
    let error = schema::open_with(&path, &failing).unwrap_err();
    assert!(error.to_string().contains("step to format 4 failed"), "{error}");
    let steps: Vec<&str> = STEPS.iter().copied().chain([next]).collect();
    let conn = schema::open_with(&path, &steps).unwrap();
    let colour: String =
        conn.query_row("SELECT colour FROM devices", [], |row| row.get(0)).unwrap();
    assert_eq!(colour, "red");
    drop(conn);

    // This program is now too old for the file, and says so; the copy is whole.
    let error = State::open(&path).err().unwrap();
    assert!(matches!(error, StateError::Newer { found: 3, known: 2, .. }), "{error}");
    let copy = State::open(&copy_path(&path, 2)).unwrap();
    assert_eq!(copy.load().await.unwrap().devices, [device(1)]);
}

#[tokio::test]
async fn a_file_of_the_first_format_is_brought_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("platform.db");
    let conn = schema::open_with(&path, &STEPS[..1]).unwrap();
    let insert = "INSERT INTO devices(mac, name, type, created) VALUES ('52:54:00:00:01:01', 'old', 'node', 1)";
    conn.execute(insert, []).unwrap();
    drop(conn);
    let state = State::open(&path).unwrap();
    assert_eq!(state.load().await.unwrap().devices[0].name.as_str(), "old");
    assert_eq!(state.all_image_versions().await.unwrap(), []);
    assert!(copy_path(&path, 1).exists());
}

fn content(n: u8) -> Content {
    Content {
        id: format!("{n:02x}").repeat(32).parse().unwrap(),
        since_ms: 1_700_000_000_000 + i64::from(n),
        task: "build".into(),
        by: "alice".into(),
        detail: "from a directory".into(),
        created_ms: 1_600_000_000_000,
        size: 1 << 40,
    }
}

#[tokio::test]
async fn the_last_versions_of_an_image_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("platform.db");
    let (a, b): (ImageFullName, ImageFullName) =
        ("alice/a".parse().unwrap(), "alice/b".parse().unwrap());
    let numbers = |versions: Vec<Version>| -> Vec<(u32, u8)> {
        let first = |id: &walt_images::ImageId| u8::from_str_radix(&id.as_str()[..2], 16).unwrap();
        versions.iter().map(|version| (version.number, first(&version.content.id))).collect()
    };
    {
        let state = State::open(&path).unwrap();
        for n in 1..=4 {
            let put = Change::Put { content: content(n) };
            state.begin_image_change(a.clone(), put.clone()).await.unwrap();
            state.end_image_change(a.clone(), put, 3).await.unwrap();
        }
        assert_eq!(state.add_image_version(b.clone(), content(9)).await.unwrap(), 1);
        // One that is cut by the end of the process is found again; the other one was given up.
        let rename = Change::Rename { to: "alice/c".parse().unwrap() };
        state.begin_image_change(a.clone(), rename.clone()).await.unwrap();
        state.begin_image_change(b.clone(), Change::Remove).await.unwrap();
        state.undo_image_change(b.clone()).await.unwrap();
    }
    let state = State::open(&path).unwrap();
    assert_eq!(numbers(state.image_versions(&a).await.unwrap()), [(2, 2), (3, 3), (4, 4)]);
    assert_eq!(state.image_versions(&a).await.unwrap()[2].content, content(4));
    let changes = state.image_changes().await.unwrap();
    let [(name, rename)] = changes.as_slice() else { panic!("{changes:?}") };
    assert_eq!(*name, a);
    state.end_image_change(a.clone(), rename.clone(), 3).await.unwrap();
    let c = "alice/c".parse().unwrap();
    assert_eq!(numbers(state.image_versions(&c).await.unwrap()), [(2, 2), (3, 3), (4, 4)]);
    state.forget_image_version(c, 3).await.unwrap();
    state.end_image_change(b, Change::Remove, 3).await.unwrap();
    assert_eq!(numbers(state.all_image_versions().await.unwrap()), [(2, 2), (4, 4)]);
    assert_eq!(state.image_changes().await.unwrap(), []);
}

#[test]
fn a_file_that_is_no_database_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("platform.db");
    std::fs::write(&path, "not a database, ".repeat(100)).unwrap();
    let error = State::open(&path).err().unwrap().to_string();
    assert!(error.contains("platform.db"), "{error}");
}

#[test]
fn many_changes_cost_few_commits() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("platform.db");
    let state = State::open(&path).unwrap();
    let pending: Vec<Pending<()>> = (0..200).map(|n| state.put_device(device(n))).collect();
    for change in pending {
        change.blocking().unwrap();
    }
    drop(state);
    let conn = Connection::open(&path).unwrap();
    let count: i64 = conn.query_row("SELECT count(*) FROM devices", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 200);
}

const CHILD: &str = "WALT_STATE_TEST_CHILD";

/// Not a test by itself: the process that gets killed.
#[test]
fn child_writer() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let state = State::open(Path::new(&path)).unwrap();
    state.put_device_and_node(device(1), node(1)).blocking().unwrap();
    for id in 0.. {
        state.put_value("count", id.to_string()).blocking().unwrap();
        println!("acknowledged {id}");
        std::io::stdout().flush().unwrap();
    }
}

#[tokio::test]
async fn nothing_answered_is_lost_by_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("platform.db");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "state::tests::child_writer", "--nocapture"])
        .env(CHILD, &path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut acknowledged = 0u64;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        if let Some((_, id)) = line.unwrap().split_once("acknowledged ") {
            acknowledged = id.parse().unwrap();
        }
        if acknowledged >= 50 {
            child.kill().unwrap();
            break;
        }
    }
    child.wait().unwrap();
    let state = State::open(&path).unwrap();
    let count: u64 = state.value("count").await.unwrap().unwrap().parse().unwrap();
    assert!(acknowledged >= 50 && count >= acknowledged, "{count} < {acknowledged}");
    assert_eq!(state.load().await.unwrap().nodes, [node(1)]);
}
