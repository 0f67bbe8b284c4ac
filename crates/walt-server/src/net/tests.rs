//! Plans, and real kernel state in private network namespaces (these need root and are skipped, saying so, without).

use std::process::Command;

use nix::sched::{CloneFlags, unshare};

use super::plan::{Plan, Step};
use super::*;

fn conf(text: &str) -> ServerConf {
    ServerConf::parse(text).unwrap()
}

fn virtual_only() -> ServerConf {
    conf("network:\n  walt-net:\n    raw-device: null\n    ip: 192.168.234.1/24\n")
}

const MAC: Mac = Mac([0x52, 0x54, 0, 1, 2, 3]);

fn plan_of(conf: &ServerConf, kernel: &KernelState, made: Vec<Made>) -> Result<Plan, NetError> {
    plan(&Wanted::from_conf(conf, MAC)?, kernel, &Record::of(made))
}

fn kernel(links: &[(&str, Link)]) -> KernelState {
    KernelState { links: links.iter().map(|(n, l)| ((*n).to_owned(), l.clone())).collect() }
}

fn hardware(index: u32) -> Link {
    Link { index, up: true, ..Link::default() }
}

#[test]
fn a_platform_of_virtual_nodes_from_nothing() {
    let plan = plan_of(&virtual_only(), &KernelState::default(), vec![]).unwrap();
    let steps: Vec<String> = plan.steps.iter().map(Step::to_string).collect();
    assert_eq!(
        steps,
        [
            "make interface walt-net-dummy",
            "make bridge walt-net with MAC 52:54:00:01:02:03",
            "make walt-net-dummy a port of bridge walt-net",
            "add 192.168.234.1/24 to walt-net",
        ]
    );
    assert!(plan.obsolete.is_empty());
}

#[test]
fn a_vlan_and_another_network() {
    let conf = conf(
        "network:\n  walt-net: {raw-device: eth0, vlan: 7, ip: 10.1.0.1/16}\n  \
         walt-adm: {raw-device: eth1, ip: 10.2.0.5/24}\n",
    );
    let eth0 = Link { up: false, ..hardware(2) };
    let plan = plan_of(&conf, &kernel(&[("eth0", eth0), ("eth1", hardware(3))]), vec![]).unwrap();
    let steps: Vec<String> = plan.steps.iter().map(Step::to_string).collect();
    assert_eq!(
        steps,
        [
            "make eth0 up",
            "make eth0.7, VLAN 7 of eth0",
            "make bridge walt-net with MAC 52:54:00:01:02:03",
            "make eth0.7 a port of bridge walt-net",
            "add 10.1.0.1/16 to walt-net",
            "add the name walt-adm to eth1",
            "add 10.2.0.5/24 to eth1",
        ]
    );
}

#[test]
fn what_cannot_be_used_is_told() {
    let eth0 = conf("network: {walt-net: {raw-device: eth0, ip: 10.1.0.1/16}}");
    let missing = plan_of(&eth0, &kernel(&[("lo", hardware(1)), ("eth9", hardware(2))]), vec![]);
    let text = missing.unwrap_err().to_string();
    assert!(text.contains("'eth0'") && text.contains("lo") && text.contains("eth9"), "{text}");

    let taken = Link { master: Some(5), ..hardware(2) };
    let bridge = Link { kind: Some("bridge".into()), ..hardware(5) };
    let text = plan_of(&eth0, &kernel(&[("eth0", taken), ("br0", bridge.clone())]), vec![])
        .unwrap_err()
        .to_string();
    assert!(text.contains("already a port of bridge 'br0'"), "{text}");

    let text = plan_of(&eth0, &kernel(&[("eth0", bridge)]), vec![]).unwrap_err().to_string();
    assert!(text.contains("is a bridge"), "{text}");

    let text = plan_of(&virtual_only(), &kernel(&[("walt-net", hardware(5))]), vec![])
        .unwrap_err()
        .to_string();
    assert!(text.contains("exists but is not a bridge"), "{text}");

    let other = Link { addresses: vec![([192, 168, 234, 1].into(), 24)], ..hardware(2) };
    let text =
        plan_of(&virtual_only(), &kernel(&[("eth3", other)]), vec![]).unwrap_err().to_string();
    assert!(text.contains("'eth3' already has the address 192.168.234.1/24"), "{text}");

    let dhcp =
        conf("network:\n  walt-net: {ip: 10.1.0.1/16}\n  walt-adm: {raw-device: eth1, ip: dhcp}\n");
    let text = plan_of(&dhcp, &KernelState::default(), vec![]).unwrap_err().to_string();
    assert!(text.contains("not supported yet"), "{text}");
}

#[test]
fn what_is_no_longer_wanted_is_undone() {
    let made = vec![
        Made::Link { name: "walt-net-dummy".into() },
        Made::Link { name: "walt-net".into() },
        Made::Port { name: "walt-net-dummy".into(), bridge: "walt-net".into() },
        Made::Address { name: "walt-net".into(), ip: [192, 168, 234, 1].into(), prefix: 24 },
    ];
    let bridge = Link {
        kind: Some("bridge".into()),
        mac: Some(MAC),
        addresses: vec![([192, 168, 234, 1].into(), 24)],
        ..hardware(5)
    };
    let port = Link { master: Some(5), kind: Some("veth".into()), ..hardware(4) };
    let state = kernel(&[("eth0", hardware(2)), ("walt-net-dummy", port), ("walt-net", bridge)]);
    assert_eq!(plan_of(&virtual_only(), &state, made.clone()).unwrap(), Plan::default());

    let moved = conf("network: {walt-net: {raw-device: eth0, ip: 192.168.234.1/25}}");
    let plan = plan_of(&moved, &state, made).unwrap();
    let undone: Vec<String> = plan.obsolete.iter().map(|(_, step)| step.to_string()).collect();
    assert_eq!(
        undone,
        [
            "remove 192.168.234.1/24 from walt-net",
            "take walt-net-dummy out of its bridge",
            "delete walt-net-dummy",
        ]
    );
    let steps: Vec<String> = plan.steps.iter().map(Step::to_string).collect();
    assert_eq!(steps, ["make eth0 a port of bridge walt-net", "add 192.168.234.1/25 to walt-net"]);
}

/// Run a test in a network namespace of its own, which is gone with its thread.
fn in_namespace<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: network namespaces need root");
        return;
    }
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test());
    });
    thread.join().unwrap();
}

fn ip(args: &str) -> String {
    let output = Command::new("ip").args(args.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {args}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn links() -> Vec<String> {
    let json: serde_json::Value = serde_json::from_str(&ip("-json link")).unwrap();
    let mut names: Vec<String> = json
        .as_array()
        .unwrap()
        .iter()
        .map(|link| link["ifname"].as_str().unwrap().to_owned())
        .filter(|name| name != "lo" && !name.ends_with("dummyp"))
        .collect();
    names.sort();
    names
}

async fn bring_up(conf: &ServerConf, dir: &Path) -> Networks {
    up(conf, dir, &CancellationToken::new()).await.unwrap()
}

#[test]
fn up_again_and_down_in_the_kernel() {
    in_namespace(|| async {
        let dir = tempfile::tempdir().unwrap();
        let networks = bring_up(&virtual_only(), dir.path()).await;
        assert_eq!(networks.done().len(), 4);
        assert_eq!(links(), ["walt-net", "walt-net-dummy"]);

        let json: serde_json::Value =
            serde_json::from_str(&ip("-json -details addr show walt-net")).unwrap();
        let bridge = &json[0];
        assert_eq!(bridge["address"], networks.mac().to_string());
        assert_eq!(bridge["addr_info"][0]["local"], "192.168.234.1");
        assert_eq!(bridge["addr_info"][0]["prefixlen"], 24);
        let data = &bridge["linkinfo"]["info_data"];
        assert_eq!((&data["stp_state"], &data["forward_delay"]), (&0.into(), &0.into()));
        // Carrier: the port is really up, whatever its kind.
        for _ in 0..50 {
            if ip("-json link show walt-net").contains("\"LOWER_UP\"") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(ip("-json link show walt-net").contains("\"LOWER_UP\""));
        assert!(ip("-6 addr show dev walt-net").contains("fe80::"), "IPv6 link-local is left on");

        // As after kill -9: the process is gone, a node's tap is not.
        let mac = networks.mac();
        drop(networks);
        ip("link add tap7 type veth peer name guest7");
        ip("link set tap7 master walt-net up");
        ip("link set guest7 up");
        let networks = bring_up(&virtual_only(), dir.path()).await;
        assert!(networks.done().is_empty(), "{:?}", networks.done());
        assert_eq!(networks.mac(), mac);
        assert!(ip("link show tap7").contains("master walt-net"));

        let undone = networks.down(Stop::KeepIfBusy).await.unwrap();
        assert_eq!(undone, Undone { done: vec![], busy_ports: vec!["tap7".into()] });
        assert!(ip("link show tap7").contains("master walt-net"));
        let networks = bring_up(&virtual_only(), dir.path()).await;
        ip("link delete tap7");
        let undone = networks.down(Stop::KeepIfBusy).await.unwrap();
        assert!(undone.busy_ports.is_empty());
        assert!(links().is_empty(), "{:?}", links());
        assert!(!ip("link").contains("walt-net"));
        // Nothing on record: nothing to do.
        assert_eq!(down(dir.path(), Stop::Everything).await.unwrap(), Undone::default());
    });
}

#[test]
fn everything_goes_even_with_running_nodes_if_asked() {
    in_namespace(|| async {
        let dir = tempfile::tempdir().unwrap();
        let networks = bring_up(&virtual_only(), dir.path()).await;
        ip("link add tap7 type veth peer name guest7");
        ip("link set tap7 master walt-net");
        networks.down(Stop::Everything).await.unwrap();
        assert_eq!(links(), ["guest7", "tap7"]);
    });
}

#[test]
fn a_half_made_network_is_completed_and_a_changed_one_moved() {
    in_namespace(|| async {
        let dir = tempfile::tempdir().unwrap();
        drop(bring_up(&virtual_only(), dir.path()).await);
        // As if killed in the middle, or disturbed.
        ip("addr del 192.168.234.1/24 dev walt-net");
        ip("link set walt-net-dummy nomaster down");
        let networks = bring_up(&virtual_only(), dir.path()).await;
        assert_eq!(networks.done().len(), 3, "{:?}", networks.done());
        drop(networks);

        ip("link add eth0 type veth peer name cable");
        let moved = conf("network: {walt-net: {raw-device: eth0, ip: 10.9.0.1/16}}");
        let networks = bring_up(&moved, dir.path()).await;
        assert_eq!(links(), ["cable", "eth0", "walt-net"]);
        assert!(ip("link show eth0").contains("master walt-net"));
        let addresses = ip("-4 addr show dev walt-net");
        assert!(addresses.contains("10.9.0.1/16") && !addresses.contains("192.168.234.1"));
        networks.down(Stop::Everything).await.unwrap();
        assert_eq!(links(), ["cable", "eth0"]);
        assert!(!ip("link show eth0").contains("master"));
        assert!(!ip("link show eth0").contains(",UP"), "made down again, as it was");
    });
}

#[test]
fn other_networks_get_a_name_and_an_address() {
    in_namespace(|| async {
        let dir = tempfile::tempdir().unwrap();
        ip("link add eth1 type veth peer name cable");
        ip("link set eth1 up");
        ip("addr add 10.3.0.9/24 dev eth1");
        let conf = conf(
            "network:\n  walt-net: {ip: 192.168.234.1/24}\n  \
             walt-adm: {raw-device: eth1, ip: 10.2.0.5/24}\n",
        );
        let networks = bring_up(&conf, dir.path()).await;
        let shown = ip("addr show dev walt-adm");
        assert!(shown.contains("10.2.0.5/24") && shown.contains("altname walt-adm"), "{shown}");
        drop(networks);
        let networks = bring_up(&conf, dir.path()).await;
        assert!(networks.done().is_empty(), "{:?}", networks.done());
        networks.down(Stop::Everything).await.unwrap();
        let shown = ip("addr show dev eth1");
        assert!(!shown.contains("altname") && !shown.contains("10.2.0.5"), "{shown}");
        assert!(shown.contains("10.3.0.9/24"), "what was there stays");
    });
}

#[test]
fn a_missing_device_is_waited_for_then_told() {
    in_namespace(|| async {
        let dir = tempfile::tempdir().unwrap();
        let eth0 = conf("network: {walt-net: {raw-device: eth0, ip: 10.9.0.1/16}}");
        let cancel = CancellationToken::new();
        let wait = Duration::from_millis(300);
        let text = up_within(&eth0, dir.path(), &cancel, wait).await.unwrap_err().to_string();
        assert!(text.contains("'eth0'") && text.contains("lo"), "{text}");
        assert!(links().is_empty());

        let late = async {
            tokio::time::sleep(Duration::from_millis(250)).await;
            ip("link add eth0 type veth peer name cable");
        };
        let (result, ()) =
            tokio::join!(up_within(&eth0, dir.path(), &cancel, Duration::from_secs(10)), late);
        result.unwrap().down(Stop::Everything).await.unwrap();

        ip("link delete eth0");
        let cancelling = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            cancel.cancel();
        };
        let (result, ()) = tokio::join!(
            up_within(&eth0, dir.path(), &cancel, Duration::from_secs(10)),
            cancelling
        );
        assert!(matches!(result, Err(NetError::Cancelled)));
    });
}

#[test]
fn what_fails_half_way_leaves_nothing() {
    in_namespace(|| async {
        let dir = tempfile::tempdir().unwrap();
        ip("link add eth0 type veth peer name cable");
        // The name is taken as an alternate name, which the plan does not see as an interface to make.
        ip("link add other type veth peer name other2");
        ip("link property add dev other altname eth0.7");
        let conf = conf("network: {walt-net: {raw-device: eth0, vlan: 7, ip: 10.9.0.1/16}}");
        let error = up(&conf, dir.path(), &CancellationToken::new()).await.unwrap_err();
        assert!(matches!(error, NetError::Refused { .. }), "{error}");
        assert!(error.to_string().contains("VLAN 7 of eth0"), "{error}");
        assert_eq!(links(), ["cable", "eth0", "other", "other2"]);
        assert!(!ip("link show eth0").contains(",UP"));
        assert!(!dir.path().join("networks.json").exists());
    });
}
