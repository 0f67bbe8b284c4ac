# Contradictions, told before anything is built.
{ config, lib, ... }:
let
  cfg = config.services.walt;
  networks = {
    walt-net = cfg.network;
  }
  // cfg.otherNetworks;
  withDevice = lib.filterAttrs (_: net: net.device != null) networks;
  places = lib.mapAttrsToList (
    _: net: "${net.device}${lib.optionalString (net.vlan != null) ".${toString net.vlan}"}"
  ) withDevice;
  labels = map (entry: entry.label) cfg.registries;
  unique = list: lib.length list == lib.length (lib.unique list);
in
{
  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = unique places;
        message = "services.walt: two networks are on the same interface and VLAN (${lib.concatStringsSep ", " places}): give one of them a `vlan` of its own.";
      }
      {
        assertion = unique labels;
        message = "services.walt.registries: two entries have the same label.";
      }
      {
        assertion = !(lib.any (label: label == "walt" || label == "docker") labels);
        message = "services.walt.registries: `walt` and `docker` are names of other places, choose another label.";
      }
      {
        assertion = lib.all (entry: entry.api == "docker-hub" || entry.host != null) cfg.registries;
        message = "services.walt.registries: an entry that is not the hub needs a `host`.";
      }
      {
        assertion = lib.all (
          entry: (entry.api == "jfrog-artifactory") == (entry.repository != null)
        ) cfg.registries;
        message = "services.walt.registries: `repository` goes with `api = \"jfrog-artifactory\"`, and that needs it.";
      }
      {
        assertion =
          !(
            config.networking.useDHCP
            && lib.elem cfg.network.device (lib.attrNames config.networking.interfaces)
            && config.networking.interfaces.${cfg.network.device}.useDHCP == true
          );
        message = "services.walt.network.device: ${toString cfg.network.device} asks for an address by DHCP, but becomes a port of walt-net: set networking.interfaces.${toString cfg.network.device}.useDHCP = false.";
      }
      {
        assertion = !config.services.dnsmasq.enable && !config.services.kea.dhcp4.enable;
        message = "services.walt: another DHCP server is enabled on this machine (dnsmasq or kea); the WalT server answers DHCP and DNS on walt-net itself.";
      }
    ];
  };
}
