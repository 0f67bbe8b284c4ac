//! What a client said over DHCP, as types.

use std::net::Ipv4Addr;

use walt_model::Mac;

/// The kind of a client's message (RFC 2131 section 3, option 53).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DhcpKind {
    /// The client looks for servers; answered by an OFFER.
    Discover,
    /// The client wants one address, or more time for it; answered by an ACK or a NAK.
    Request,
    /// Somebody else uses the address the client got; never answered.
    Decline,
    /// The client does not need its address any more; never answered.
    Release,
    /// The client has an address and asks for the other parameters; answered by an ACK.
    Inform,
}

/// A DHCP message of a client, with everything the decision may depend on.
///
/// Text fields come from the network: they are valid UTF-8 (replaced where needed) without
/// NUL bytes, at most 255 x number of fragments long, and otherwise unchecked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DhcpRequest {
    /// Kind of the message.
    pub kind: DhcpKind,
    /// Transaction id, echoed in the answer.
    pub xid: u32,
    /// Hardware address of the client (only Ethernet clients are parsed).
    pub mac: Mac,
    /// Seconds since the client started, as it says.
    pub seconds: u16,
    /// The client cannot receive unicast before it has an address.
    pub broadcast: bool,
    /// Address the client already uses (`ciaddr`): renewing, rebinding, INFORM, RELEASE.
    pub client_ip: Option<Ipv4Addr>,
    /// Address of the relay agent the message went through (`giaddr`).
    pub relay_ip: Option<Ipv4Addr>,
    /// Address asked for (option 50).
    pub requested_ip: Option<Ipv4Addr>,
    /// Server chosen by the client (option 54).
    pub server_id: Option<Ipv4Addr>,
    /// Host name the client gives itself (option 12); empty when absent.
    pub hostname: String,
    /// Vendor class identifier (option 60); empty when absent. `walt.node.<model>` for u-boot.
    pub vendor_class: String,
    /// User class (option 77) as one raw text, which is how iPXE sends it; empty when absent.
    pub user_class: String,
    /// User classes: the raw text, then the parts when the option is a list as RFC 3004 says.
    pub user_classes: Vec<String>,
    /// Client system architectures (option 93, RFC 4578): 0 BIOS, 7 and 9 UEFI x86-64, 16 its HTTP boot.
    pub architectures: Vec<u16>,
    /// Client machine identifier (option 97): type byte and UUID.
    pub machine_id: Option<Vec<u8>>,
    /// Client identifier (option 61), echoed (RFC 6842).
    pub client_id: Option<Vec<u8>>,
    /// Relay agent information (option 82), echoed last (RFC 3046).
    pub relay_info: Option<Vec<u8>>,
    /// Largest DHCP message the client takes, in bytes with IP and UDP headers (option 57).
    pub max_size: Option<u16>,
    /// Options the client asks for (option 55).
    pub parameters: Vec<u8>,
    /// iPXE's encapsulated options (option 175) are there: the client is an iPXE.
    pub ipxe_options: Option<Vec<u8>>,
}

impl DhcpRequest {
    /// A request of `kind` from `mac` with nothing else in it; for tests and for building by hand.
    pub fn bare(kind: DhcpKind, mac: Mac) -> Self {
        Self {
            kind,
            xid: 0,
            mac,
            seconds: 0,
            broadcast: false,
            client_ip: None,
            relay_ip: None,
            requested_ip: None,
            server_id: None,
            hostname: String::new(),
            vendor_class: String::new(),
            user_class: String::new(),
            user_classes: Vec::new(),
            architectures: Vec::new(),
            machine_id: None,
            client_id: None,
            relay_info: None,
            max_size: None,
            parameters: Vec::new(),
            ipxe_options: None,
        }
    }

    /// The model of a client that declares itself a WalT node (`walt.node.<model>` in the user class,
    /// else in the vendor class), verbatim.
    /// The user class takes precedence.
    pub fn walt_model(&self) -> Option<&str> {
        let declared = if self.user_class.starts_with(WALT_CLASS) {
            &self.user_class
        } else {
            &self.vendor_class
        };
        let model = declared.strip_prefix(WALT_CLASS)?.strip_prefix('.')?;
        (!model.is_empty()).then_some(model)
    }

    /// The client is an iPXE: it has no user class of WalT and says `iPXE` in its user class.
    pub fn is_plain_ipxe(&self) -> bool {
        !self.user_class.starts_with(WALT_CLASS)
            && self.user_classes.iter().any(|class| class.contains("iPXE"))
    }

    /// The address this message is about: the requested one, else the one in use.
    pub fn wanted_ip(&self) -> Option<Ipv4Addr> {
        self.requested_ip.or(self.client_ip)
    }
}

/// What a boot client that is a WalT node puts at the start of its class (then a dot and its model).
pub(crate) const WALT_CLASS: &str = "walt.node";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models() {
        let model = |user: &str, vendor: &str| {
            let mut request = DhcpRequest::bare(DhcpKind::Discover, Mac([0; 6]));
            (request.user_class, request.vendor_class) = (user.to_owned(), vendor.to_owned());
            request.walt_model().map(str::to_owned)
        };
        assert_eq!(model("", "walt.node.rpi-3-b").as_deref(), Some("rpi-3-b"));
        assert_eq!(model("walt.node.a", "walt.node.b").as_deref(), Some("a"));
        assert_eq!(model("iPXE", "walt.node.b").as_deref(), Some("b"));
        assert_eq!(model("", "walt.node"), None);
        assert_eq!(model("", "walt.nodes.x"), None);
        assert_eq!(model("", "PXEClient"), None);
    }
}
