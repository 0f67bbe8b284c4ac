use super::super::*;

fn problems(text: &str) -> String {
    ServerConf::parse(text).unwrap_err().to_string()
}

const FULL: &str = "\
# comment
network:
    # platform network
    walt-net:
        raw-device: eno1
        vlan: 12
        ip: 192.168.12.1/24
    walt-adm:
        raw-device: eno1
        vlan: 13
        ip: dhcp
registries:
  - label: hub
    api: docker-hub
    description: Public registry
  - label: lab
    api: docker-registry-v2
    description: Our lab
    host: registry.lab.example
    port: 5000
    protocol: http
    auth: none
services:
    nfsd:
        service-name: nfs-kernel-server.service
vpn:
    enabled: true
    ssh-entrypoint: walt.example.org
    http-entrypoint: walt.example.org
    boot-mode: enforced
";

#[test]
fn whole_file() {
    let conf = ServerConf::parse(FULL).unwrap();
    assert_eq!(conf.walt_net.raw_device.as_deref(), Some("eno1"));
    assert_eq!(conf.walt_net.vlan, Some(12));
    assert_eq!(conf.walt_net.ip.to_string(), "192.168.12.1/24");
    assert_eq!(conf.other_networks.len(), 1);
    assert_eq!(conf.other_networks[0].ip, Some(NetworkIp::Dhcp));
    assert_eq!(conf.registries.len(), 2);
    assert_eq!(conf.registries[1].port, 5000);
    assert_eq!(conf.vpn.boot_mode, VpnBootMode::Enforced);
}

#[test]
fn json_with_comments() {
    let text = "# made by hand\n{ \"network\": { \"walt-net\":\n  # virtual only\n  { \"raw-device\": null, \"ip\": \"192.168.7.1/24\" } } }\n";
    let conf = ServerConf::parse(text).unwrap();
    assert_eq!(conf, ServerConf::virtual_only("192.168.7.1/24".parse().unwrap()));
}

#[test]
fn wrong_prefix() {
    let said = problems("network:\n  walt-net:\n    ip: 192.168.12.1/33\n");
    assert!(
        said.starts_with("line 3: network.walt-net.ip: '192.168.12.1/33' is not an address"),
        "{said}"
    );
    let said = problems("network:\n  walt-net:\n    ip: 192.168.12.1/32\n");
    assert!(said.starts_with("line 3: network.walt-net.ip: /32 leaves no address"), "{said}");
}

#[test]
fn unknown_keys() {
    let said = problems(
        "network:\n  walt-net:\n    raw_device: eth0\n    ip: 192.168.12.1/24\nregistry: []\nfoo: 1\n",
    );
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines[0],
        "line 3: network.walt-net.raw_device: unknown key; did you mean 'raw-device'?"
    );
    assert_eq!(
        lines[1],
        "line 5: registry: unknown section; known ones: network, registries, services, vpn, logs, web, otlp"
    );
    assert_eq!(
        lines[2],
        "line 6: foo: unknown section; known ones: network, registries, services, vpn, logs, web, otlp"
    );
    let said = problems("network:\n  waltnet:\n    ip: 192.168.12.1/24\n");
    assert!(
        said.contains("line 2: network.waltnet: unknown network; did you mean 'walt-net'?"),
        "{said}"
    );
}

#[test]
fn vlan_rules() {
    let said = problems("network:\n  walt-net:\n    vlan: 12\n    ip: 192.168.12.1/24\n");
    assert_eq!(
        said,
        "line 3: network.walt-net.vlan: needs 'raw-device': the interface that carries this VLAN"
    );
    let said = problems(
        "network:\n  walt-net:\n    raw-device: e0\n    vlan: 4095\n    ip: 192.168.12.1/24\n",
    );
    assert_eq!(
        said,
        "line 4: network.walt-net.vlan: expected a VLAN number from 1 to 4094, found 4095"
    );
    let zero = "network:\n  walt-net:\n    vlan: 0\n    ip: 192.168.12.1/24\n";
    assert_eq!(ServerConf::parse(zero).unwrap().walt_net.vlan, None);
}

#[test]
fn missing_things() {
    for text in [
        "",
        "# nothing\n",
        "vpn:\n",
        "network:\n",
        "network:\n  walt-adm:\n    ip: dhcp\n",
        "network:\n  walt-net:\n",
    ] {
        let said = problems(text);
        assert!(said.contains("network.walt-net.ip: is missing"), "{text:?}: {said}");
    }
    let said = problems("network:\n  walt-net:\n    ip: dhcp\n");
    assert!(said.starts_with("line 3: network.walt-net.ip: must be a static address"), "{said}");
}

#[test]
fn shared_interfaces() {
    let two = |vlans: [&str; 2]| {
        format!(
            "network:\n  walt-net:\n    raw-device: e0\n    vlan: {}\n    ip: 10.1.0.1/24\n  walt-adm:\n    raw-device: e0\n    vlan: {}\n    ip: dhcp\n",
            vlans[0], vlans[1]
        )
    };
    assert!(ServerConf::parse(&two(["1", "2"])).is_ok());
    for vlans in [["1", "1"], ["0", "1"], ["null", "null"]] {
        assert!(
            problems(&two(vlans))
                .starts_with("line 7: network.walt-adm.raw-device: 'e0' is already used")
        );
    }
}

#[test]
fn registries() {
    let with = |registry: &str| {
        format!("network: {{walt-net: {{ip: 10.1.0.1/24}}}}\nregistries:\n{registry}")
    };
    let said = problems(&with("  - label: walt\n    api: docker-registry-v2\n    host: h\n"));
    assert!(said.contains("registries[0].label: must be lower-case"), "{said}");
    let said = problems(&with("  - label: lab\n    api: docker-registry-v3\n"));
    assert_eq!(
        said,
        "line 4: registries[0].api: unknown value 'docker-registry-v3'; did you mean 'docker-registry-v2'?"
    );
    let jfrog = |repository: &str| {
        let place = "label: lab\n    api: jfrog-artifactory\n    host: h\n    repository";
        ServerConf::parse(&with(&format!("  - {place}: {repository}\n")))
    };
    assert_eq!(jfrog("walt-1.x").unwrap().registries[0].repository.as_deref(), Some("walt-1.x"));
    for bad in ["''", "a/b", "-a", "Walt"] {
        let said = jfrog(bad).unwrap_err().to_string();
        assert!(said.contains("registries[0].repository: must be lower-case"), "{bad}: {said}");
    }
    let said = problems(&with("  - label: lab\n    api: docker-registry-v2\n"));
    assert_eq!(said, "line 3: registries[0].host: is missing");
    assert!(problems(&with("  x: 1\n")).contains("expected a list"));
}

#[test]
fn syntax_and_shape() {
    let said = problems("network:\n  walt-net: [\n");
    assert!(said.starts_with("line ") && said.contains("cannot be read as YAML"), "{said}");
    let said = problems("- a\n- b\n");
    assert!(said.contains("expected a group of 'key: value' lines, found a list"), "{said}");
    let said = problems("network: 12\n");
    assert!(said.starts_with("line 1: network: expected a group"), "{said}");
    let said = problems("network:\n  walt-net:\n    ip: 10.1.0.1/24\n    ip: 10.1.0.2/24\n");
    assert!(said.contains("line 4"), "{said}");
    assert!(ServerConf::parse("a: &a [1]\nb: *a\n").is_err());
}

#[test]
fn web_and_otlp() {
    let with = |text: &str| format!("network: {{walt-net: {{ip: 10.1.0.1/24}}}}\n{text}");
    let conf = ServerConf::parse(&with("")).unwrap();
    assert_eq!(conf.web, Web::default());
    assert_eq!(conf.web.listen[0].to_string(), "127.0.0.1:80");
    let conf = ServerConf::parse(&with(
        "web:\n  listen: ['10.0.0.1:8080', '[::1]:80']\n  walt-net: true\notlp:\n  url: http://c:4318/v1/logs\n",
    ))
    .unwrap();
    assert!(conf.web.on_walt_net && conf.web.listen.len() == 2);
    let otlp = conf.otlp.unwrap();
    assert_eq!((otlp.url.as_str(), otlp.from_beginning), ("http://c:4318/v1/logs", false));
    assert!(ServerConf::parse(&with("web:\n  listen: []\n")).unwrap().web.listen.is_empty());
    for (text, said) in [
        ("web:\n  listen: [80]\n", "line 3: web.listen: 80 is not an address and a port"),
        ("web:\n  listen: '0.0.0.0'\n", "line 3: web.listen: '0.0.0.0' is not an address"),
        ("web:\n  walt-net: perhaps\n", "line 3: web.walt-net: expected true or false"),
        ("otlp:\n  url: collector:4318\n", "otlp.url: 'collector:4318' is not the address of a"),
        ("otlp:\n  from: start\n  url: http://c/\n", "line 3: otlp.from: unknown value 'start'"),
        ("otlp: {}\n", "otlp.url: is missing"),
    ] {
        let found = problems(&with(text));
        assert!(found.contains(said), "{text}: {found}");
    }
}
