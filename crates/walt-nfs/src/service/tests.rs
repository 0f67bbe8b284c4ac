#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use nfs3_types::rpc::{call_body, msg_body, opaque_auth, rpc_msg};
use nfs3_types::xdr_codec::Pack;

use super::*;
use crate::{MountDenied, MountTarget, RootId};

/// An owner of the server that fails whatever it is asked.
struct Broken;

impl Exports for Broken {
    fn mount(&self, _: IpAddr, _: &str) -> Result<MountTarget, MountDenied> {
        panic!("mount")
    }

    fn image_root(&self, _: &RootId) -> Option<Arc<ImageRoot>> {
        panic!("image_root")
    }

    fn persist(&self, _: &PersistId) -> Option<PathBuf> {
        panic!("persist")
    }

    fn observe(&self, _: NfsObservation) {
        panic!("observe")
    }
}

fn answer(program: u32, procedure: u32, argument: &[u8]) -> Vec<u8> {
    let service = Arc::new(Service {
        exports: Arc::new(Broken),
        key: HandleKey::new(&[0; 32]),
        ports: Ports { tcp: 1, udp: None },
        persist: PersistTrees::default(),
        first_steps: FirstSteps::default(),
        replay: ReplayCache::default(),
        write_verifier: [0; 8],
        nfs4: nfs4::Clients::new([0; 8]),
    });
    let mut record = Vec::new();
    rpc_msg {
        xid: 7,
        body: msg_body::CALL(call_body {
            rpcvers: 2,
            prog: program,
            vers: 3,
            proc: procedure,
            cred: opaque_auth::default(),
            verf: opaque_auth::default(),
        }),
    }
    .pack(&mut record)
    .unwrap();
    crate::xdr::put_opaque(&mut record, argument);
    let mut out = b"before".to_vec();
    let (client, mut told) = (IpAddr::from([10, 0, 0, 1]), ToldSteps::default());
    let record = record.into();
    match service.call(client, Transport::Tcp, &mut told, &record, &mut out) {
        Outcome::Answered => out.split_off(6),
        Outcome::Later(job) => job().unwrap(),
        Outcome::Garbage => panic!("garbage"),
    }
}

fn word(reply: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(reply[at..at + 4].try_into().unwrap())
}

#[test]
fn a_panic_is_a_fault_of_one_call() {
    let key = HandleKey::new(&[0; 32]);
    let image = key.image(&RootId::derive("i"), 0);
    let persist = key.persist(&PersistId::derive("p"), true, &PersistObject::Root);
    for handle in [&image[..], &persist] {
        let reply = answer(nfs3_types::nfs3::PROGRAM, 1, handle);
        assert_eq!(word(&reply, 4), 7, "xid");
        assert_eq!(word(&reply, 24), accept_stat::SUCCESS as u32);
        assert_eq!(word(&reply, 28), nfsstat3::NFS3ERR_SERVERFAULT as u32);
    }
    let reply = answer(mount::PROGRAM, 1, b"/x");
    assert_eq!(word(&reply, 24), accept_stat::SYSTEM_ERR as u32);
    assert_eq!(reply.len(), 28);
}
