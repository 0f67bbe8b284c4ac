# The module gives a machine whose server is healthy, answers its users, and survives its own restart.
{ self }:
{
  name = "walt-server-starts";

  nodes.server = {
    imports = [ self.nixosModules.default ];
    services.walt.enable = true;
    virtualisation.memorySize = 2048;
    users.users.alice.isNormalUser = true;
  };

  testScript = ''
    server.wait_for_unit("walt-server.service")
    server.succeed("su - alice -c 'walt node show --all --json'")
    server.succeed("systemctl restart walt-server")
    server.wait_for_unit("walt-server.service")
    server.succeed("su - alice -c 'walt image show --all'")
  '';
}
