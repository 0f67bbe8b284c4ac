//! Setting `networks`: `walt-net,home[lat=10ms,bw=100Mbps]`.

use super::value::number;

/// A network a virtual node is plugged into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualNetwork {
    /// Its name.
    pub name: String,
    /// Latency added, in microseconds.
    pub latency_us: Option<u64>,
    /// Bandwidth, in megabits per second.
    pub bandwidth_mbps: Option<u64>,
}

/// Reads a value of the setting.
///
/// # Errors
/// What is wrong, with an example.
pub fn networks(text: &str) -> Result<Vec<VirtualNetwork>, String> {
    const FORM: &str = "it is a list of names in lower case with optional restrictions \
        (e.g. walt-net,home[lat=10ms,bw=100Mbps]).";
    let mut networks: Vec<VirtualNetwork> = Vec::new();
    let mut rest = text;
    loop {
        let end = rest.find([',', '[']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let legal = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        if !legal {
            return Err(FORM.into());
        }
        if networks.iter().any(|network| network.name == name) {
            return Err(format!("network {name} is there twice."));
        }
        let mut network =
            VirtualNetwork { name: name.to_owned(), latency_us: None, bandwidth_mbps: None };
        let after = match after.strip_prefix('[') {
            None => after,
            Some(inside) => {
                let (restrictions, after) = inside.split_once(']').ok_or(FORM)?;
                for restriction in restrictions.split(',') {
                    restrict(&mut network, restriction).ok_or(FORM)?;
                }
                after
            }
        };
        networks.push(network);
        if after.is_empty() {
            break;
        }
        rest = after.strip_prefix(',').ok_or(FORM)?;
    }
    if networks.iter().all(|network| network.name != "walt-net") {
        return Err("walt-net must be one of them.".into());
    }
    Ok(networks)
}

/// `lat=10ms`, `bw=1Gbps`; each at most once.
fn restrict(network: &mut VirtualNetwork, text: &str) -> Option<()> {
    let (slot, digits, factor) = match text.split_once('=')? {
        ("lat", value) => match value.strip_suffix("ms") {
            Some(digits) => (&mut network.latency_us, digits, 1000),
            None => (&mut network.latency_us, value.strip_suffix("us")?, 1),
        },
        ("bw", value) => match value.strip_suffix("Gbps") {
            Some(digits) => (&mut network.bandwidth_mbps, digits, 1000),
            None => (&mut network.bandwidth_mbps, value.strip_suffix("Mbps")?, 1),
        },
        _ => return None,
    };
    let value = u64::from(number(digits)?) * factor;
    slot.replace(value).is_none().then_some(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        let found = networks("home[lat=10ms,bw=1Gbps],walt-net,x[bw=5Mbps,lat=7us]").unwrap();
        let facts: Vec<_> =
            found.iter().map(|n| (n.name.as_str(), n.latency_us, n.bandwidth_mbps)).collect();
        assert_eq!(
            facts,
            [("home", Some(10_000), Some(1000)), ("walt-net", None, None), ("x", Some(7), Some(5))]
        );
    }

    #[test]
    fn not_lists() {
        for bad in [
            "",
            "home",
            "walt-net,",
            "walt-net,walt-net",
            "Walt-net",
            "walt-net,9x",
            "walt-net[",
            "walt-net[]",
            "walt-net[lat=1]",
            "walt-net[lat=1ms,lat=1ms]",
            "walt-net[x=1ms]",
            "walt-net[bw=1Mbps]x",
            "walt-net[bw=-1Mbps]",
            "walt-net, home",
            "-a,walt-net",
        ] {
            assert!(networks(bad).is_err(), "{bad}");
        }
    }
}
