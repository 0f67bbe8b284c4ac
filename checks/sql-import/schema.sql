-- The database of a platform of WalT 10.0, as its documentation describes it; filled by fill.sql.
CREATE TYPE logmode AS ENUM ('line', 'chunk');
CREATE TABLE devices (mac text PRIMARY KEY, ip text, name text, type text, virtual boolean DEFAULT false,
  conf jsonb DEFAULT '{}'::jsonb);
CREATE TABLE nodes (mac text REFERENCES devices(mac), image text, model text);
CREATE TABLE switches (mac text REFERENCES devices(mac), model text);
CREATE TABLE switchports (mac text REFERENCES devices(mac), port integer, name text, PRIMARY KEY (mac, port));
CREATE TABLE topology (mac1 text REFERENCES devices(mac), port1 integer, mac2 text REFERENCES devices(mac), port2 integer,
  confirmed boolean, last_seen timestamptz);
CREATE TABLE images (fullname text PRIMARY KEY);
CREATE TABLE logstreams (id serial PRIMARY KEY, issuer_mac text REFERENCES devices(mac), name text,
  mode logmode DEFAULT 'line');
CREATE TABLE logs (stream_id integer REFERENCES logstreams(id), "timestamp" timestamptz, line text);
CREATE TABLE checkpoints (username text, "timestamp" timestamp, name text);
CREATE TABLE poeoff (mac text REFERENCES devices(mac), port integer, reason text);
CREATE TABLE vpnauth (vpnmac text PRIMARY KEY, pubkeycert text, certid text, device_label text, revoked boolean DEFAULT false);
CREATE TABLE vpnnodes (mac text REFERENCES devices(mac), vpnmac text REFERENCES vpnauth(vpnmac));
CREATE INDEX logs_timestamp_idx ON logs ("timestamp");
CREATE INDEX logs_stream_id_idx ON logs (stream_id);
CREATE INDEX logstreams_issuer_mac_name_idx ON logstreams (issuer_mac, name);
