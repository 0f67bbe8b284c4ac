//! NFSACL version 3: "no extended access list". There is no RFC; the format is that of Solaris and
//! Linux. Without an answer to GETACL, Linux clients whose root is an overlay refuse every access of
//! users other than root.

use bytes::BufMut;

/// Number of the program.
pub(crate) const PROGRAM: u32 = 100_227;
/// The only version.
pub(crate) const VERSION: u32 = 3;
/// Nothing.
pub(crate) const NULL: u32 = 0;
/// Reads the access lists of a file.
pub(crate) const GETACL: u32 = 1;
/// Changes them; refused.
pub(crate) const SETACL: u32 = 2;

/// Appends what follows the attributes in the answer to GETACL: the mask of the request and two
/// empty lists (count, and length of the array), which mean that the mode says all.
pub(crate) fn put_no_lists(out: &mut Vec<u8>, mask: u32) {
    out.put_u32(mask);
    for _ in 0..4 {
        out.put_u32(0);
    }
}
