//! Which machine this is, by its firmware and by what its kernel was told.

use std::net::Ipv4Addr;
use std::path::Path;

/// What the boot scripts and the server have to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// The server this node was booted by.
    pub server: Ipv4Addr,
    /// `pc-x86-64`.
    pub model: String,
    /// In lower case with colons.
    pub mac: String,
    /// Maker, as the firmware tells it; empty where there is no such table.
    pub manufacturer: String,
    /// Product, as the firmware tells it.
    pub product: String,
}

impl Machine {
    /// This machine; `root` is `/` except in tests.
    ///
    /// # Errors
    /// Which word the kernel was not given.
    pub fn here(root: &Path) -> Result<Self, String> {
        let command_line = std::fs::read_to_string(root.join("proc/cmdline"))
            .map_err(|error| format!("cannot read /proc/cmdline: {error}"))?;
        let dmi = |name: &str| {
            let path = root.join("sys/devices/virtual/dmi/id").join(name);
            std::fs::read_to_string(path).unwrap_or_default().trim_end().to_owned()
        };
        Self::told(&command_line, dmi("sys_vendor"), dmi("product_name"))
    }

    fn told(command_line: &str, manufacturer: String, product: String) -> Result<Self, String> {
        let word = |key: &str| {
            let value = |word| str::strip_prefix(word, key)?.strip_prefix('=');
            command_line.split_ascii_whitespace().filter_map(value).next_back()
        };
        let missing = |key: &str| format!("the kernel was not given {key}= (see /proc/cmdline)");
        let key = "walt.server.ip";
        let server = word(key).and_then(|ip| ip.parse().ok()).ok_or_else(|| missing(key))?;
        let key = "walt.node.model";
        let model = word(key).filter(|model| !model.is_empty()).ok_or_else(|| missing(key))?;
        let of_loader = || word("BOOTIF")?.get(3..);
        let mac = word("walt.node.mac")
            .or_else(of_loader)
            .and_then(mac_address)
            .ok_or_else(|| missing("BOOTIF"))?;
        Ok(Self { server, model: model.to_owned(), mac, manufacturer, product })
    }
}

/// `52-54-00-01-02-03` or `52:54:..` in the form the server uses.
fn mac_address(text: &str) -> Option<String> {
    let mac = text.to_ascii_lowercase().replace('-', ":");
    let bytes: Vec<&str> = mac.split(':').collect();
    let is_byte = |byte: &&str| byte.len() == 2 && byte.bytes().all(|c| c.is_ascii_hexdigit());
    (bytes.len() == 6 && bytes.iter().all(is_byte)).then_some(mac)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn told(command_line: &str) -> Result<Machine, String> {
        Machine::told(command_line, "ACME".to_owned(), "Board 7".to_owned())
    }

    #[test]
    fn command_lines() {
        let machine = told(
            "initrd=initrd walt.node.model=pc-x86-64 walt.server.ip=192.168.152.1 BOOTIF=01-52-54-00-AA-02-03 quiet\n",
        )
        .unwrap();
        assert_eq!(machine.server, Ipv4Addr::new(192, 168, 152, 1));
        assert_eq!(
            (machine.model.as_str(), machine.mac.as_str()),
            ("pc-x86-64", "52:54:00:aa:02:03")
        );
        let both = "walt.node.model=x walt.server.ip=10.0.0.1 BOOTIF=01-52-54-00-01-02-03 walt.node.mac=02:00:00:00:00:01";
        assert_eq!(told(both).unwrap().mac, "02:00:00:00:00:01");
        for (bad, key) in [
            ("", "walt.server.ip"),
            ("walt.server.ip=server", "walt.server.ip"),
            ("walt.server.ip=10.0.0.1", "walt.node.model"),
            ("walt.server.ip=10.0.0.1 walt.node.model=x", "BOOTIF"),
            ("walt.server.ip=10.0.0.1 walt.node.model=x BOOTIF=01", "BOOTIF"),
            ("walt.server.ip=10.0.0.1 walt.node.model=x BOOTIF=01-52-54-00-01-02", "BOOTIF"),
            ("walt.server.ip=10.0.0.1 walt.node.model=x BOOTIF=é1-52-54-00-01-02-03", "BOOTIF"),
        ] {
            assert!(told(bad).unwrap_err().contains(key), "{bad}");
        }
    }

    #[test]
    fn files_of_the_machine() {
        let root = tempfile::tempdir().unwrap();
        let write = |at: &str, text: &str| {
            let path = root.path().join(at);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write(
            "proc/cmdline",
            "walt.server.ip=10.0.0.1 walt.node.model=x BOOTIF=01-52-54-00-01-02-03\n",
        );
        // A board without such a table.
        assert_eq!(Machine::here(root.path()).unwrap().manufacturer, "");
        write("sys/devices/virtual/dmi/id/sys_vendor", "ACME Corp.\n");
        write("sys/devices/virtual/dmi/id/product_name", "Board\n");
        let machine = Machine::here(root.path()).unwrap();
        assert_eq!(
            (machine.manufacturer.as_str(), machine.product.as_str()),
            ("ACME Corp.", "Board")
        );
    }
}
