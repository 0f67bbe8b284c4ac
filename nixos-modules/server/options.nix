# What an administrator chooses. All of it ends in server.conf, or in the unit.
{ self }:
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  packages = self.packages.${pkgs.stdenv.hostPlatform.system};
  yaml = pkgs.formats.yaml { };

  device = mkOption {
    type = types.nullOr types.str;
    default = null;
    example = "enp3s0";
    description = "Interface of this machine on which the network runs.";
  };
  vlan = mkOption {
    type = types.nullOr (types.ints.between 1 4094);
    default = null;
    example = 169;
    description = "VLAN of the network on that interface; `null`: untagged.";
  };

  otherNetwork = types.submodule {
    options = {
      inherit device vlan;
      address = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "dhcp";
        description = "Address of the server there with its prefix length, or `dhcp`; `null` leaves it to the system.";
      };
    };
  };

  registry = types.submodule {
    options = {
      label = mkOption {
        type = types.strMatching "[a-z0-9-]+";
        example = "hub";
        description = "Name of the registry in clone links. `walt` and `docker` mean other places.";
      };
      api = mkOption {
        type = types.enum [
          "docker-hub"
          "docker-registry-v2"
          "jfrog-artifactory"
        ];
        description = "What it speaks.";
      };
      description = mkOption {
        type = types.strMatching ".{1,35}";
        example = "Registry of the laboratory";
        description = "One line for users.";
      };
      host = mkOption {
        type = types.nullOr types.str;
        default = null;
        description = "Where it is. The hub needs none.";
      };
      port = mkOption {
        type = types.port;
        default = 443;
        description = "Its port.";
      };
      protocol = mkOption {
        type = types.enum [
          "https"
          "http"
          "https-no-verify"
        ];
        default = "https";
        description = "How it is reached.";
      };
      auth = mkOption {
        type = types.enum [
          "basic"
          "none"
        ];
        default = "basic";
        description = "Whether users log in. Credentials are theirs: the server keeps none.";
      };
      repository = mkOption {
        type = types.nullOr types.str;
        default = null;
        description = "Repository, for JFrog Artifactory.";
      };
    };
  };
in
{
  options.services.walt = {
    enable = lib.mkEnableOption "the server of a WalT platform on this machine";

    package = mkOption {
      type = types.package;
      default = packages.walt-server;
      defaultText = lib.literalExpression "the `walt-server` of this flake";
      description = "The package that has `walt-server`.";
    };

    pxePackage = mkOption {
      type = types.package;
      default = packages.walt-pxe;
      defaultText = lib.literalExpression "the boot loaders of this flake";
      description = "Boot loaders given to PCs.";
    };

    network = {
      inherit device vlan;
      address = mkOption {
        type = types.strMatching "[0-9.]+/[0-9]+";
        default = "192.168.152.1/24";
        description = ''
          Address of the server in the platform network `walt-net`, and the size of that network. The server gives all
          other addresses to nodes: nothing else may answer DHCP there.
        '';
      };
    };

    otherNetworks = mkOption {
      type = types.attrsOf otherNetwork;
      default = { };
      example = {
        walt-adm = {
          device = "enp3s0";
          vlan = 170;
          address = "dhcp";
        };
      };
      description = "Other networks in which the server gets an address: that of the switches, `walt-adm`, for one.";
    };

    registries = mkOption {
      type = types.listOf registry;
      default = [ ];
      description = "Where images can be taken from and published to; the Docker Hub when the list is empty.";
    };

    settings = mkOption {
      inherit (yaml) type;
      default = { };
      description = "Further sections of server.conf, merged over those of the other options.";
    };

    openFirewall = mkOption {
      type = types.bool;
      default = true;
      description = "Whether nodes reach the services of the server, on `walt-net` only.";
    };

    foreignArchitectures = mkOption {
      type = types.listOf types.str;
      default = lib.optionals pkgs.stdenv.hostPlatform.isx86_64 [
        "aarch64-linux"
        "armv7l-linux"
      ];
      defaultText = lib.literalExpression ''[ "aarch64-linux" "armv7l-linux" ] on x86_64'';
      description = "Processors whose programs run in shells and builds of images, by emulation.";
    };

    standby = mkOption {
      type = types.bool;
      default = true;
      description = "Whether known devices still get an address, and Raspberry Pis their firmware, while the server is stopped.";
    };
  };

  config = lib.mkIf config.services.walt.enable {
    environment.etc."walt/server.conf".source =
      let
        cfg = config.services.walt;
        given = lib.filterAttrs (_: value: value != null);
        network =
          net:
          {
            raw-device = net.device;
            ip = net.address;
          }
          // lib.optionalAttrs (net.vlan != null) { inherit (net) vlan; };
        options = {
          network = {
            walt-net = network cfg.network;
          }
          // lib.mapAttrs (_: net: given (network net)) cfg.otherNetworks;
        }
        // lib.optionalAttrs (cfg.registries != [ ]) {
          registries = map (
            entry:
            # The hub is known.
            if entry.api == "docker-hub" then { inherit (entry) label api description; } else given entry
          ) cfg.registries;
        };
      in
      yaml.generate "server.conf" (lib.recursiveUpdate options cfg.settings);
  };
}
