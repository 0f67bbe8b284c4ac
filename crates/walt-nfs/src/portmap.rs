//! Portmap version 2 (RFC 1833 section 3): where programs are.

use bytes::BufMut;
use nfs3_types::portmap::{IPPROTO_TCP, IPPROTO_UDP, PMAP_PROG, PROGRAM, VERSION};

use crate::xdr::{Malformed, Reader};
use crate::{acl, mount, nfs4};

/// Where this server answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    /// NFS, NFSACL and mount over TCP.
    pub(crate) tcp: u16,
    /// Mount and portmap over UDP, when there is a UDP address.
    pub(crate) udp: Option<u16>,
}

impl Ports {
    /// All that is registered: program, version, protocol, port.
    fn mappings(self) -> impl Iterator<Item = [u32; 4]> {
        let tcp = [
            (PROGRAM, VERSION),
            (nfs3_types::nfs3::PROGRAM, nfs3_types::nfs3::VERSION),
            (nfs3_types::nfs3::PROGRAM, nfs4::VERSION),
            (acl::PROGRAM, acl::VERSION),
            (mount::PROGRAM, 1),
            (mount::PROGRAM, 2),
            (mount::PROGRAM, 3),
        ];
        let udp =
            [(PROGRAM, VERSION), (mount::PROGRAM, 1), (mount::PROGRAM, 2), (mount::PROGRAM, 3)];
        let over_tcp = tcp
            .into_iter()
            .map(move |(program, version)| [program, version, IPPROTO_TCP, self.tcp.into()]);
        let over_udp = self.udp.into_iter().flat_map(move |port| {
            udp.into_iter()
                .map(move |(program, version)| [program, version, IPPROTO_UDP, port.into()])
        });
        over_tcp.chain(over_udp)
    }

    /// The port of a program, 0 when it is not here. As rpcbind does, an unknown version gets the
    /// port of the program: the answer to the call itself then tells which versions there are.
    fn find(self, program: u32, protocol: u32) -> u32 {
        self.mappings().find(|m| m[0] == program && m[2] == protocol).map_or(0, |m| m[3])
    }
}

/// Carries out a call; `Ok(false)` when there is no such procedure. Registrations by others are
/// answered "no".
pub(crate) fn call(
    ports: Ports,
    procedure: u32,
    args: &mut Reader<'_>,
    out: &mut Vec<u8>,
) -> Result<bool, Malformed> {
    match PMAP_PROG::try_from(procedure) {
        Ok(PMAP_PROG::PMAPPROC_NULL) => {}
        Ok(PMAP_PROG::PMAPPROC_SET | PMAP_PROG::PMAPPROC_UNSET) => out.put_u32(0),
        Ok(PMAP_PROG::PMAPPROC_GETPORT) => {
            let (program, _version) = (args.u32()?, args.u32()?);
            let (protocol, _port) = (args.u32()?, args.u32()?);
            out.put_u32(ports.find(program, protocol));
        }
        Ok(PMAP_PROG::PMAPPROC_DUMP) => {
            for mapping in ports.mappings() {
                out.put_u32(1);
                for word in mapping {
                    out.put_u32(word);
                }
            }
            out.put_u32(0);
        }
        Ok(PMAP_PROG::PMAPPROC_CALLIT) | Err(_) => return Ok(false),
    }
    Ok(true)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn getport(udp: Option<u16>, program: u32, version: u32, protocol: u32) -> u32 {
        let mut args = Vec::new();
        for word in [program, version, protocol, 0] {
            args.put_u32(word);
        }
        let mut out = Vec::new();
        let ports = Ports { tcp: 2049, udp };
        assert!(call(ports, 3, &mut Reader::new(&args), &mut out).unwrap());
        Reader::new(&out).u32().unwrap()
    }

    #[test]
    fn ports_by_program_and_protocol() {
        assert_eq!(getport(Some(111), 100_003, 3, IPPROTO_TCP), 2049);
        assert_eq!(getport(Some(111), 100_003, 3, IPPROTO_UDP), 0);
        assert_eq!(getport(Some(111), 100_005, 3, IPPROTO_UDP), 111);
        assert_eq!(getport(None, 100_005, 3, IPPROTO_UDP), 0);
        assert_eq!(getport(None, 100_227, 3, IPPROTO_TCP), 2049);
        assert_eq!(getport(None, 100_021, 4, IPPROTO_TCP), 0, "no lock manager");
    }

    #[test]
    fn calls_are_not_forwarded() {
        let ports = Ports { tcp: 1, udp: None };
        assert!(!call(ports, 5, &mut Reader::new(&[]), &mut Vec::new()).unwrap());
        assert!(call(ports, 3, &mut Reader::new(&[0; 15]), &mut Vec::new()).is_err());
    }
}
