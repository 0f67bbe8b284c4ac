//! What `fuzz/` drives: the service as the connections of one client do, without their sockets.

use std::net::IpAddr;
use std::sync::Arc;

use crate::clients::{FirstSteps, ToldSteps};
use crate::persist::PersistTrees;
use crate::portmap::Ports;
use crate::replay::ReplayCache;
use crate::service::{Outcome, Service, Transport};
use crate::{Exports, HandleKey, RootId, nfs4};

/// One client of a service.
pub struct FuzzedService {
    service: Arc<Service>,
    told: ToldSteps,
    key: HandleKey,
}

impl FuzzedService {
    /// A new service.
    pub fn new(exports: Arc<dyn Exports>) -> Self {
        let start = [7; 8];
        let service = Arc::new(Service {
            exports,
            key: HandleKey::new(&[0; 32]),
            ports: Ports { tcp: 2049, udp: None },
            persist: PersistTrees::default(),
            first_steps: FirstSteps::default(),
            replay: ReplayCache::default(),
            write_verifier: start,
            nfs4: nfs4::Clients::new(start),
        });
        Self { service, told: ToldSteps::default(), key: HandleKey::new(&[0; 32]) }
    }

    /// A handle that the service takes: that of an object of an image root.
    pub fn image_handle(&self, root: &RootId, index: u32) -> Vec<u8> {
        self.key.image(root, index).to_vec()
    }

    /// The reply to a record, if it has one.
    pub fn call(&mut self, record: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let client = IpAddr::from([192, 168, 152, 9]);
        let record = record.to_vec().into();
        match self.service.call(client, Transport::Tcp, &mut self.told, &record, &mut out) {
            Outcome::Answered => Some(out),
            Outcome::Later(job) => job(),
            Outcome::Garbage => None,
        }
    }
}
