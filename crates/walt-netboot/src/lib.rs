//! DHCP, TFTP, HTTP boot and DNS as libraries over one boot policy.
