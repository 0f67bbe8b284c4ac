//! The head of an ELF program: for which processor it is, and what loads it (gABI, chapters 4 and 5).

use std::io::{Read, Seek, SeekFrom};

/// `e_machine`.
pub(super) type Machine = u16;
pub(super) const I386: Machine = 3;
pub(super) const ARM: Machine = 40;
pub(super) const X86_64: Machine = 62;
pub(super) const AARCH64: Machine = 183;

/// Program header that names the interpreter.
const PT_INTERP: u32 = 3;
/// Most program headers looked at, and longest name of an interpreter.
const MOST_HEADERS: u16 = 64;
const LONGEST_NAME: u64 = 4096;

/// What the head of a program tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Program {
    /// Its processor.
    pub machine: Machine,
    /// Path of the loader of its libraries; none: it is static.
    pub loader: Option<String>,
}

/// Reads the head of a program; none when this is no ELF file that can be understood.
pub(super) fn read(mut file: impl Read + Seek) -> Option<Program> {
    let mut head = [0; 64];
    file.read_exact(&mut head[..52]).ok()?;
    if head[..4] != *b"\x7fELF" {
        return None;
    }
    let wide = match head[4] {
        1 => false,
        2 => {
            file.read_exact(&mut head[52..]).ok()?;
            true
        }
        _ => return None,
    };
    let little = head[5] == 1;
    let half = |bytes: &[u8]| {
        let bytes = [bytes[0], bytes[1]];
        if little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) }
    };
    let word = |bytes: &[u8]| u64::from(half(bytes)) | u64::from(half(&bytes[2..])) << 16;
    // Big-endian machines are no nodes: their 32-bit words are not needed.
    let machine = half(&head[18..]);
    if !little {
        return Some(Program { machine, loader: None });
    }
    let long = |bytes: &[u8]| word(bytes) | word(&bytes[4..]) << 32;
    let (start, size, count) = if wide {
        (long(&head[32..]), half(&head[54..]), half(&head[56..]))
    } else {
        (word(&head[28..]), half(&head[42..]), half(&head[44..]))
    };
    let needed = if wide { 56 } else { 32 };
    if usize::from(size) < needed {
        return Some(Program { machine, loader: None });
    }
    let mut loader = None;
    for index in 0..count.min(MOST_HEADERS) {
        let mut header = [0; 56];
        let place = start.checked_add(u64::from(index) * u64::from(size))?;
        file.seek(SeekFrom::Start(place)).ok()?;
        file.read_exact(&mut header[..needed]).ok()?;
        if word(&header) == u64::from(PT_INTERP) {
            let (place, length) = if wide {
                (long(&header[8..]), long(&header[32..]))
            } else {
                (word(&header[4..]), word(&header[16..]))
            };
            let mut name = Vec::new();
            file.seek(SeekFrom::Start(place)).ok()?;
            Read::by_ref(&mut file).take(length.min(LONGEST_NAME)).read_to_end(&mut name).ok()?;
            name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
            loader = String::from_utf8(name).ok();
            break;
        }
    }
    Some(Program { machine, loader })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::io::Cursor;

    /// The head of a 64-bit little-endian program.
    pub fn program(machine: Machine, loader: Option<&str>) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes[32..40].copy_from_slice(&64_u64.to_le_bytes());
        bytes[54..56].copy_from_slice(&56_u16.to_le_bytes());
        bytes[56..58].copy_from_slice(&u16::from(loader.is_some()).to_le_bytes());
        if let Some(name) = loader {
            let mut header = vec![0; 56];
            header[..4].copy_from_slice(&PT_INTERP.to_le_bytes());
            header[8..16].copy_from_slice(&120_u64.to_le_bytes());
            header[32..40].copy_from_slice(&(name.len() as u64 + 1).to_le_bytes());
            bytes.extend(header);
            bytes.extend(name.as_bytes());
            bytes.push(0);
        }
        bytes
    }

    #[test]
    fn heads() {
        let told = |bytes: Vec<u8>| read(Cursor::new(bytes));
        let loader = "/lib64/ld-linux-x86-64.so.2";
        assert_eq!(
            told(program(X86_64, Some(loader))),
            Some(Program { machine: X86_64, loader: Some(loader.into()) })
        );
        assert_eq!(told(program(AARCH64, None)), Some(Program { machine: AARCH64, loader: None }));
        assert_eq!(told(b"#!/bin/busybox sh\n".repeat(9)), None);
        assert_eq!(told(Vec::new()), None);
        let mut cut = program(X86_64, Some(loader));
        cut.truncate(70);
        assert_eq!(told(cut), None);
    }

    #[test]
    fn this_program() {
        let file = std::fs::File::open("/proc/self/exe").ok();
        let program = file.and_then(read);
        assert!(program.is_some_and(|program| program.machine != 0));
    }
}
