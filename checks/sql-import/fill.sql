INSERT INTO devices VALUES
  ('02:00:00:00:00:01', '192.168.152.1', 'walt-server', 'server', false, '{}'),
  ('02:00:00:00:01:00', '192.168.152.40', 'sw1', 'switch', false, '{"lldp.explore": true, "snmp.version": 2}'),
  ('02:00:00:00:02:00', NULL, 'unknown-000200', 'unknown', false, '{}');
INSERT INTO devices SELECT '02:00:00:01:' || lpad(to_hex(n / 256), 2, '0') || ':' || lpad(to_hex(n % 256), 2, '0'),
    '192.168.152.' || (100 + n), 'old' || n, 'node', false,
    jsonb_build_object('boot.timeout', NULL, 'boot.retries', n, 'netsetup', 0, 'expose', 'none')
  FROM generate_series(1, 50) n;
INSERT INTO images VALUES ('waltplatform/pc-x86-64-default:latest'), ('bob/exp:v2');
INSERT INTO nodes SELECT mac, CASE WHEN name = 'old7' THEN 'bob/exp:v2' ELSE 'waltplatform/pc-x86-64-default:latest' END,
  'pc-x86-64' FROM devices WHERE type = 'node';
INSERT INTO switches VALUES ('02:00:00:00:01:00', 'some model');
INSERT INTO switchports VALUES ('02:00:00:00:01:00', 3, E'tab\there');
INSERT INTO topology SELECT '02:00:00:00:01:00', n, '02:00:00:01:00:' || lpad(to_hex(n), 2, '0'), NULL, true, now()
  FROM generate_series(1, 20) n;
INSERT INTO poeoff VALUES ('02:00:00:00:01:00', 5, 'powersave');
INSERT INTO vpnauth VALUES ('52:54:00:00:00:09', 'ssh-cert', 'vpn_525400000009', 'forgotten device "x"', false);
INSERT INTO checkpoints VALUES ('bob', '2024-03-04 05:06:07.5', 'begin-1'), ('root', '2024-07-01 12:00:00', 'summer');
INSERT INTO logstreams (issuer_mac, name) SELECT mac, 'app.' || s FROM devices, generate_series(1, 3) s WHERE type = 'node';
INSERT INTO logstreams (issuer_mac, name, mode) VALUES
  ('02:00:00:00:00:01', 'platform.nodes', 'line'), ('02:00:00:01:00:01', 'virtualconsole', 'chunk');
INSERT INTO logs SELECT 1 + n % 150, '2024-03-04 05:00:00+00'::timestamptz + n * interval '250 microseconds',
  'value ' || n || ' of ' || md5(n::text) FROM generate_series(1, 200000) n;
INSERT INTO logs SELECT id, '2024-03-05 00:00:00+00', line FROM logstreams,
  (VALUES (E'tab\there'), (E'back\\slash \\N \\. \\t'), (E'two\nlines\r'), ('é € 😀'), (''), ('it''s "quoted"'), (E'\\.'),
    (E'\x01\x1b[31m')) AS hard(line)
  WHERE name = 'app.1' AND issuer_mac = '02:00:00:01:00:02';
INSERT INTO logs SELECT id, '2024-03-05 01:00:00+00', 'node old1 is booted' FROM logstreams WHERE name = 'platform.nodes';
INSERT INTO logs SELECT id, '2024-03-05 02:00:00+00', 'b''abc\r\n''' FROM logstreams WHERE name = 'virtualconsole';
