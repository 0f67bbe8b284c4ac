# The services, line by line.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.walt;
  tools = import ../../nix/tools.nix { inherit pkgs; };
  server = lib.getExe cfg.package;

  # What both services may not do.
  confined = {
    LockPersonality = true;
    NoNewPrivileges = true;
    ProtectClock = true;
    ProtectHostname = true;
    ProtectKernelLogs = true;
    RestrictRealtime = true;
    SystemCallArchitectures = "native";
    UMask = "0077";
  };
in
{
  config = lib.mkIf cfg.enable {
    systemd.services.walt-server = {
      description = "Server of the WalT platform";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      after = [ "network-online.target" ];
      restartTriggers = [ config.environment.etc."walt/server.conf".source ];
      path = tools;
      environment = {
        WALT_OVMF_CODE = pkgs.OVMF.firmware;
        WALT_OVMF_VARS = pkgs.OVMF.variables;
      };
      serviceConfig = confined // {
        Type = "notify";
        ExecStartPre = "${server} check-config";
        ExecStart = "${server} run --pxe-dir ${cfg.pxePackage}";
        Restart = "always";
        RestartSec = 1;
        WatchdogSec = 60;
        TimeoutStopSec = 60;
        # The virtual nodes and the program that holds the swap space of nodes go on while the server is replaced.
        KillMode = "process";
        StateDirectory = "walt";
        RuntimeDirectory = "walt";
        # Virtual nodes keep their sockets there.
        RuntimeDirectoryPreserve = true;
        # Users reach the socket of the API.
        RuntimeDirectoryMode = "0755";
        StateDirectoryMode = "0711";
        LimitNOFILE = 262144;
        # Containers have control groups of their own.
        Delegate = true;
        CapabilityBoundingSet = [
          # Bridges, taps, addresses; DHCP on raw sockets; ports below 1024.
          "CAP_NET_ADMIN"
          "CAP_NET_RAW"
          "CAP_NET_BIND_SERVICE"
          # Images are mounted, changed with their owners and modes, entered.
          "CAP_SYS_ADMIN"
          "CAP_SYS_CHROOT"
          "CAP_CHOWN"
          "CAP_DAC_OVERRIDE"
          "CAP_DAC_READ_SEARCH"
          "CAP_FOWNER"
          "CAP_FSETID"
          "CAP_MKNOD"
          "CAP_SETFCAP"
          # Containers start as root and give rights up.
          "CAP_SETUID"
          "CAP_SETGID"
          "CAP_SETPCAP"
          "CAP_KILL"
          "CAP_SYS_PTRACE"
          "CAP_SYS_RESOURCE"
        ];
        # runc and fusermount are started by podman; nothing gains rights through set-user-id programs.
        RestrictAddressFamilies = [
          "AF_UNIX"
          "AF_INET"
          "AF_INET6"
          "AF_NETLINK"
          "AF_PACKET"
          "AF_VSOCK"
        ];
      };
    };

    systemd.services.walt-standby = lib.mkIf cfg.standby {
      description = "WalT: addresses and firmware of known devices while the server is stopped";
      conflicts = [ "walt-server.service" ];
      unitConfig.ConditionPathExists = "/var/lib/walt/platform.db";
      serviceConfig = confined // {
        ExecStart = "${server} standby";
        Restart = "on-failure";
        ProtectHome = true;
        ProtectSystem = "strict";
        PrivateTmp = true;
        PrivateDevices = true;
        ProtectControlGroups = true;
        ProtectKernelModules = true;
        ProtectKernelTunables = true;
        MemoryDenyWriteExecute = true;
        RestrictNamespaces = true;
        RestrictSUIDSGID = true;
        CapabilityBoundingSet = [
          "CAP_NET_ADMIN"
          "CAP_NET_RAW"
          "CAP_NET_BIND_SERVICE"
          # Files of the state belong to root only.
          "CAP_DAC_READ_SEARCH"
        ];
        RestrictAddressFamilies = [
          "AF_UNIX"
          "AF_INET"
          "AF_NETLINK"
          "AF_PACKET"
        ];
      };
    };
  };
}
