# What the machine needs around the server: kernel, containers, firewall.
{ config, lib, ... }:
let
  cfg = config.services.walt;
in
{
  config = lib.mkIf cfg.enable {
    boot.kernelModules = [
      "bridge"
      "8021q"
      "dummy"
      "tun"
      "overlay"
      "loop"
    ];
    boot.binfmt.emulatedSystems = cfg.foreignArchitectures;
    # Programs of images run in containers and in roots of their own: the interpreter must be open already.
    boot.binfmt.preferStaticEmulators = lib.mkDefault true;

    boot.kernel.sysctl = {
      # Set by NixOS's container support only when containers have networks of their own.
      "net.ipv4.ip_forward" = lib.mkDefault 1;
      # A thousand nodes and their switches are neighbours.
      "net.ipv4.neigh.default.gc_thresh1" = lib.mkDefault 4096;
      "net.ipv4.neigh.default.gc_thresh2" = lib.mkDefault 8192;
      "net.ipv4.neigh.default.gc_thresh3" = lib.mkDefault 16384;
      # A storm of boots must not be lost in the sockets.
      "net.core.rmem_max" = lib.mkDefault 8388608;
    };

    # Policy and registries of podman, buildah and skopeo.
    virtualisation.containers.enable = true;

    # The bridge and its ports are the server's.
    networking.dhcpcd.denyInterfaces = [
      "walt-net"
      "walt-*"
      "tap*"
    ];
    networking.networkmanager.unmanaged = [ "walt-net" ];

    networking.firewall.interfaces.walt-net = lib.mkIf cfg.openFirewall {
      allowedTCPPorts = [
        53
        80
        111
        2049
        10809
        12345
        12347
      ];
      allowedUDPPorts = [
        53
        67
        69
        111
        12342
      ];
    };
    # The data connections of TFTP leave from other ports.
    networking.firewall.trustedInterfaces = [ ];

    programs.walt.enable = lib.mkDefault true;
  };
}
