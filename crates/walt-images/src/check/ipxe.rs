//! What an iPXE script loads, as far as that can be told without running it.

/// Something a script cannot do without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Load {
    /// Paths below the folder of the model; one of them is enough.
    pub paths: Vec<String>,
    /// Whether it is another script.
    pub chained: bool,
    /// Whether the script surely comes to this line.
    pub sure: bool,
}

/// Longest script looked at, in bytes.
pub(super) const LONGEST: usize = 64 << 10;

/// The loads of a script that stands in `folder` (empty: the folder of the model). Lines with conditions, variables in
/// names and other servers are left out, and so are loads whose failure the script ignores.
pub(super) fn loads(script: &str, folder: &str) -> Vec<Load> {
    let joined = script.replace("\\\n", " ");
    let lines: Vec<&str> = joined.lines().map(str::trim).collect();
    let jumps =
        |line: &&str| line.starts_with(':') || line.split_whitespace().any(|word| word == "goto");
    let sure = !lines.iter().any(jumps);
    lines.iter().filter_map(|line| needed(line, folder, sure)).collect()
}

fn needed(line: &str, folder: &str, sure: bool) -> Option<Load> {
    if line.starts_with('#') || line.contains("&&") {
        return None;
    }
    let mut load = Load { paths: Vec::new(), chained: false, sure };
    for alternative in line.split("||").map(str::trim) {
        let mut words = alternative.split_whitespace();
        match words.next() {
            // Nothing after `||`: a failure does not matter.
            None => return None,
            Some(command @ ("kernel" | "initrd" | "imgfetch" | "module" | "chain")) => {
                load.chained |= command == "chain";
                load.paths.push(path(first_operand(words)?, folder)?);
            }
            // What is done when all before failed.
            Some(
                "reboot" | "exit" | "shell" | "poweroff" | "prompt" | "goto" | "echo" | "sleep",
            ) => {}
            Some(_) => return None,
        }
    }
    (!load.paths.is_empty()).then_some(load)
}

fn first_operand<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    loop {
        match words.next()? {
            "-n" | "--name" | "-t" | "--timeout" => drop(words.next()?),
            option if option.starts_with('-') => {}
            operand => return Some(operand),
        }
    }
}

/// Path below the folder of the model of a name in a script; none when it cannot be told.
fn path(name: &str, folder: &str) -> Option<String> {
    let ours = ["http://${next-server}/boot/", "tftp://${next-server}/", "/"];
    let path = match ours.iter().find_map(|start| name.strip_prefix(start)) {
        Some(path) => path.to_owned(),
        None if folder.is_empty() => name.to_owned(),
        None => format!("{folder}/{name}"),
    };
    let plain = !path.is_empty() && !path.contains(['$', ':', '\\', '?']);
    plain.then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(script: &str) -> Vec<(Vec<String>, bool, bool)> {
        loads(script, "").into_iter().map(|load| (load.paths, load.chained, load.sure)).collect()
    }

    fn load(paths: &[&str], chained: bool, sure: bool) -> (Vec<String>, bool, bool) {
        (paths.iter().map(|path| (*path).to_owned()).collect(), chained, sure)
    }

    #[test]
    fn what_is_needed() {
        let script = "#!ipxe\nset a b\n# kernel old\n\
            chain http://${next-server}/boot/g.ipxe || chain tftp://${next-server}/g.ipxe || reboot\n\
            chain ${manufacturer}/p.ipxe ||\nchain maker/p.ipxe ||\ninitrd --name x initrd || reboot\n\
            kernel kernel initrd=initrd \\\n a=b quiet || reboot\nboot || reboot\n";
        assert_eq!(
            paths(script),
            [
                load(&["g.ipxe", "g.ipxe"], true, true),
                load(&["initrd"], false, true),
                load(&["kernel"], false, true)
            ]
        );
    }

    #[test]
    fn what_cannot_be_told() {
        assert_eq!(
            paths("iseq ${a} b && kernel c || reboot\nkernel http://elsewhere/x\nset k kernel\n"),
            []
        );
        assert_eq!(paths(":retry\nkernel k || goto retry"), [load(&["k"], false, false)]);
    }

    #[test]
    fn names_are_relative_to_their_script() {
        assert_eq!(loads("kernel k", "sub")[0].paths, ["sub/k"]);
        assert_eq!(loads("kernel /k", "sub")[0].paths, ["k"]);
    }
}
