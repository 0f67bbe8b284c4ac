//! Embeds every topic of `docs/`: adding a file there is all it takes.

use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").canonicalize()?;
    println!("cargo::rerun-if-changed={}", docs.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(&docs)? {
        let path = entry?.path();
        let is_topic = path.extension().is_some_and(|extension| extension == "md");
        let name = path.file_stem().and_then(|name| name.to_str());
        if let Some(name) = name.filter(|name| is_topic && *name != "README") {
            names.push(name.to_owned());
        }
    }
    names.sort();
    let mut code = String::from("&[\n");
    for name in names {
        let path = docs.join(format!("{name}.md"));
        println!("cargo::rerun-if-changed={}", path.display());
        code.push_str(&format!("    ({name:?}, include_str!({path:?})),\n"));
    }
    code.push_str("]\n");
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("OUT_DIR is not set"))?;
    fs::write(Path::new(&out).join("topics.rs"), code)
}
