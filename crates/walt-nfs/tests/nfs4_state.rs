//! NFSv4 clients, their open files and their sessions, on the wire.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::fs;
use std::sync::Arc;

use common::nfs4::{Ops, Results, StateId, create_session, op};
use common::*;

struct Place {
    dir: tempfile::TempDir,
    server: TestServer,
}

fn shelf(dir: &tempfile::TempDir) -> Arc<Shelf> {
    Arc::new(Shelf::default().with_image("/fs", &dir.path().join("tree"), dir.path()))
}

fn serve() -> Place {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("tree")).unwrap();
    make_tree(&dir.path().join("tree"));
    let server = TestServer::start(shelf(&dir));
    Place { dir, server }
}

fn etc() -> Ops {
    Ops::root().walk("fs/etc")
}

fn release() -> Ops {
    etc().lookup("os-release")
}

fn number_of(stateid: &StateId) -> u32 {
    u32::from_be_bytes(stateid[..4].try_into().unwrap())
}

#[test]
fn a_file_is_opened_and_closed() {
    let place = serve();
    let mut client = Client::connect(place.server.address);
    let id = client.client_id(1);
    let first = client.compound(0, &etc().open(id, 7, "os-release")).walked(2).opened();
    assert_eq!(number_of(&first), 1);
    // Once more by the same owner: the same state, with its next number.
    let mut results = client.compound(0, &etc().open(id, 8, "os-release").handle());
    let second = results.walked(2).opened();
    let file = results.handle();
    assert_eq!(number_of(&second), 2);
    assert_eq!(first[4..], second[4..]);
    let ops = Ops::file(&file).op(op::READ).fixed(&second).u64(0).u32(100);
    assert_eq!(client.compound(0, &ops).walked(0).ok(op::READ).fixed(16)[8..], *b"ID=test\n");

    let file = |ops: Ops| {
        let mut all = Ops::file(&file);
        all.bytes.extend(ops.bytes);
        all.count += ops.count;
        all
    };
    let mut change = |ops: Ops, number| {
        let mut results = client.compound(0, &file(ops));
        match results.walked(0).status_of(number) {
            0 => Ok(results.stateid()),
            status => Err(status),
        }
    };
    let downgrade = |sequence, stateid: &StateId, access| {
        Ops::default().op(op::OPEN_DOWNGRADE).fixed(stateid).u32(sequence).u32(access).u32(0)
    };
    let confirm = |sequence, stateid: &StateId| {
        Ops::default().op(op::OPEN_CONFIRM).fixed(stateid).u32(sequence)
    };
    assert_eq!(change(downgrade(9, &first, 1), op::OPEN_DOWNGRADE), Err(10_024), "an old stateid");
    assert_eq!(change(downgrade(10, &second, 2), op::OPEN_DOWNGRADE), Err(22));
    let third = change(downgrade(11, &second, 1), op::OPEN_DOWNGRADE).unwrap();
    let fourth = change(confirm(12, &third), op::OPEN_CONFIRM).unwrap();
    assert_eq!(number_of(&fourth), 4);
    let close = |sequence, stateid: &StateId| Ops::default().close(sequence, stateid);
    assert_eq!(change(close(14, &fourth), op::CLOSE), Err(10_026), "a call is missing");
    let closed = change(close(13, &fourth), op::CLOSE).unwrap();
    assert_eq!(change(close(13, &fourth), op::CLOSE), Ok(closed), "sent again");
    assert_eq!(change(close(14, &fourth), op::CLOSE), Err(10_025), "there is no such state");
    assert_eq!(change(close(1, &[0; 16]), op::CLOSE), Err(10_025));
    // The owner may open it again: another state.
    let again = client.compound(0, &etc().open(id, 14, "os-release")).walked(2).opened();
    assert_ne!(again[4..], first[4..]);
}

#[test]
fn an_open_that_is_sent_again_is_the_same_one() {
    let place = serve();
    let mut client = Client::connect(place.server.address);
    let id = client.client_id(1);
    let open = etc().open(id, 1, "os-release").handle();
    let (mut first, mut second) = (client.compound(0, &open), client.compound(0, &open));
    assert_eq!(first.walked(2).opened(), second.walked(2).opened());
    assert_eq!(first.handle(), second.handle());
    assert_eq!(client.compound(0, &etc().open(id, 3, "os-release")).status, 10_026);
    // Failures count too.
    assert_eq!(client.compound(0, &etc().open(id, 2, "nothing")).status, 2);
    assert_eq!(client.compound(0, &etc().open(id, 2, "nothing")).status, 2);
    assert_eq!(client.compound(0, &etc().open(id, 3, "os-release")).status, 0);
    // Not a regular file.
    let root = |sequence, name| Ops::root().lookup("fs").open(id, sequence, name);
    assert_eq!(client.compound(0, &root(4, "etc")).status, 21);
    assert_eq!(client.compound(0, &root(5, "bin")).status, 10_029);
    assert_eq!(client.compound(0, &root(6, "fifo")).status, 10_029);
    // What is shared: nothing, something unknown, nobody else to read.
    for (sequence, access, deny, expected) in
        [(7, 0, 0, 22), (8, 5, 0, 22), (9, 1, 1, 10_015), (10, 1, 2, 0), (11, 1, 7, 22)]
    {
        let ops = etc().op(op::OPEN).u32(sequence).u32(access).u32(deny).u64(id).opaque(b"me");
        let ops = ops.u32(0).u32(0).opaque(b"os-release");
        assert_eq!(client.compound(0, &ops).status, expected, "{access} {deny}");
    }
}

#[test]
fn locks_for_reading_are_granted() {
    let place = serve();
    let mut client = Client::connect(place.server.address);
    let id = client.client_id(1);
    let open = client.compound(0, &etc().open(id, 1, "os-release")).walked(2).opened();
    let lock = |kind, open_sequence, lock_sequence, owner: &[u8]| {
        let ops = release().op(op::LOCK).u32(kind).u32(0).u64(0).u64(u64::MAX).u32(1);
        ops.u32(open_sequence).fixed(&open).u32(lock_sequence).u64(id).opaque(owner)
    };
    let first = client.compound(0, &lock(1, 2, 1, b"a")).walked(3).ok(op::LOCK).stateid();
    client.compound(0, &lock(3, 3, 1, b"b")).walked(3).ok(op::LOCK);
    assert_eq!(client.compound(0, &lock(2, 4, 1, b"c")).status, 10_038, "for writing");
    let more = |sequence, stateid: &StateId, length| {
        let ops = release().op(op::LOCK).u32(1).u32(0).u64(10).u64(length).u32(0);
        ops.fixed(stateid).u32(sequence)
    };
    let second = client.compound(0, &more(2, &first, 5)).walked(3).ok(op::LOCK).stateid();
    assert_eq!((&second[4..], number_of(&second)), (&first[4..], 2));
    assert_eq!(client.compound(0, &more(3, &second, 0)).status, 22);
    assert_eq!(client.compound(0, &more(4, &second, u64::MAX - 1)).status, 22);
    let unlock = release().op(op::LOCKU).u32(1).u32(5).fixed(&second).u64(0).u64(u64::MAX);
    let third = client.compound(0, &unlock).walked(3).ok(op::LOCKU).stateid();
    assert_eq!(number_of(&third), 3);
    let test = |kind| release().op(op::LOCKT).u32(kind).u64(0).u64(1).u64(id).opaque(b"d");
    assert_eq!(client.compound(0, &test(1)).status, 0);
    assert_eq!(client.compound(0, &test(9)).status, 22);
    let ops = Ops::default().op(op::RELEASE_LOCKOWNER).u64(id).opaque(b"a");
    assert_eq!(client.compound(0, &ops).status, 0);
    assert_eq!(client.compound(0, &more(6, &third, 5)).status, 10_025);
    // Closing the file ends the locks of the other owner.
    assert_eq!(client.compound(0, &release().close(5, &open)).status, 0);
}

#[test]
fn after_a_restart_clients_of_version_4_0_are_told_and_reclaim() {
    let place = serve();
    let mut client = Client::connect(place.server.address);
    let id = client.client_id(1);
    let mut results = client.compound(0, &etc().open(id, 1, "os-release").handle());
    let stateid = results.walked(2).opened();
    let file = results.handle();
    let address = place.server.stop();
    let server = TestServer::start_at(shelf(&place.dir), address);
    let mut client = Client::connect(server.address);
    // What is read goes on; everything about the client is stale.
    let read = Ops::file(&file).op(op::READ).fixed(&stateid).u64(0).u32(100);
    assert_eq!(client.compound(0, &read).status, 0);
    assert_eq!(client.compound(0, &Ops::default().op(op::RENEW).u64(id)).status, 10_022);
    assert_eq!(client.compound(0, &etc().open(id, 2, "os-release")).status, 10_022);
    assert_eq!(client.compound(0, &Ops::file(&file).close(2, &stateid)).status, 10_023);
    let id = client.client_id(1);
    let reclaim = Ops::file(&file).open_with(id, 1, 1, 0).u32(1).u32(0);
    let stateid = client.compound(0, &reclaim).walked(0).opened();
    assert_eq!(client.compound(0, &Ops::file(&file).close(2, &stateid)).status, 0);
    assert_eq!(client.compound(0, &Ops::default().op(op::RENEW).u64(id)).status, 0);
    drop(server);
}

fn in_session(client: &mut Client, session: &[u8; 16], sequence: u32, ops: Ops) -> Results {
    let mut results = client.compound(1, &ops.in_slot(session, sequence, true));
    results.ok(op::SEQUENCE);
    assert_eq!(results.stateid(), *session);
    assert_eq!((results.u32(), results.u32()), (sequence, 0));
    results.fixed(12);
    results
}

#[test]
fn a_session_carries_calls_out_once() {
    let place = serve();
    let mut client = Client::connect(place.server.address);
    let who = client.exchange_id(1);
    let session = client.session(who);
    let owner = Ops::root().walk("fs/etc").open(0, 0, "os-release").handle();
    let mut first = in_session(&mut client, &session, 1, owner.clone());
    // On another connection, as after a broken one.
    let mut other = Client::connect(place.server.address);
    let again = in_session(&mut other, &session, 1, owner.clone());
    assert_eq!(first.bytes, again.bytes);
    let stateid = first.walked(2).opened();
    let file = first.handle();
    assert_eq!(number_of(&stateid), 1, "opened once");
    let mut status = |sequence, keep, ops: Ops| {
        client.compound(1, &ops.in_slot(&session, sequence, keep)).status
    };
    assert_eq!(status(3, true, Ops::root()), 10_063);
    assert_eq!(status(2, false, Ops::root()), 0);
    assert_eq!(status(2, false, Ops::root()), 10_068, "it was not to be kept");
    // The stateid of the operation before, and "the latest".
    let current = [[0, 0, 0, 1], [0; 4], [0; 4], [0; 4]].concat().try_into().unwrap();
    assert_eq!(status(3, true, Ops::file(&file).close(0, &current)), 10_025, "there is none");
    let ops = Ops::root().walk("fs/etc").open(0, 0, "os-release").close(0, &current);
    assert_eq!(status(4, true, ops), 0);
    assert_eq!(status(5, true, Ops::file(&file).close(0, &stateid)), 10_025, "closed");
    // By handle; wishes for delegations are not heard.
    let ops = Ops::file(&file).open_with(0, 0, 0x1_0401, 0).u32(4);
    let opened = in_session(&mut client, &session, 6, ops).walked(0).opened();
    let mut latest = opened;
    latest[..4].fill(0);
    let ops = Ops::default().op(op::TEST_STATEID).u32(3);
    let ops = ops.fixed(&opened).fixed(&latest).fixed(&stateid);
    let mut results = in_session(&mut client, &session, 7, ops);
    results.ok(op::TEST_STATEID);
    assert_eq!([results.u32(), results.u32(), results.u32(), results.u32()], [3, 0, 0, 10_025]);
    let free = Ops::default().op(op::FREE_STATEID).fixed(&opened);
    assert_eq!(client.compound(1, &free.in_slot(&session, 8, true)).status, 10_037);
    let ops = Ops::root().op(op::SECINFO_NO_NAME).u32(0);
    in_session(&mut client, &session, 9, ops).walked(0).ok(op::SECINFO_NO_NAME);
    let ops = Ops::root().op(op::SECINFO_NO_NAME).u32(0).handle();
    assert_eq!(client.compound(1, &ops.in_slot(&session, 10, true)).status, 10_020, "used up");
    let complete = || Ops::default().op(op::RECLAIM_COMPLETE).u32(0);
    assert_eq!(client.compound(1, &complete().in_slot(&session, 11, true)).status, 0);
    assert_eq!(client.compound(1, &complete().in_slot(&session, 12, true)).status, 10_054);
}

#[test]
fn calls_of_version_4_1_belong_to_a_session() {
    let place = serve();
    let mut client = Client::connect(place.server.address);
    assert_eq!(client.compound(1, &Ops::root()).status, 10_071);
    let who = client.exchange_id(1);
    assert_eq!(client.compound(1, &create_session(who.0, who.1 + 1)).status, 10_063);
    assert_eq!(client.compound(1, &create_session(who.0 ^ 1 << 40, 1)).status, 10_022);
    let session = client.session(who);
    assert_eq!(client.session(who), session, "sent again");
    let twice = Ops::default().in_slot(&session, 1, true).in_slot(&session, 1, true);
    assert_eq!(client.compound(1, &twice).status, 10_064);
    let both = create_session(who.0, 2).op(op::PUTROOTFH);
    assert_eq!(client.compound(1, &both).status, 10_081);
    // Of version 4.0, and of the options of 4.2.
    for (minor, number, sequence) in [(1, op::RENEW, 2), (1, op::SETCLIENTID, 3), (2, 68, 4)] {
        let ops = Ops::default().op(number).fixed(&[0; 64]).in_slot(&session, sequence, true);
        assert_eq!(client.compound(minor, &ops).status, 10_004, "{number}");
    }
    let bind = |direction| {
        Ops::default().op(op::BIND_CONN_TO_SESSION).fixed(&session).u32(direction).u32(0)
    };
    let mut results = client.compound(1, &bind(3));
    results.ok(op::BIND_CONN_TO_SESSION).fixed(16);
    assert_eq!((results.u32(), results.u32()), (1, 0));
    assert_eq!(client.compound(1, &bind(9)).status, 22);
    // An update of a client that is not there, or is another run.
    let update = |verifier: u8, owner: &[u8]| {
        let ops = Ops::default().op(op::EXCHANGE_ID).fixed(&[verifier; 8]).opaque(owner);
        ops.u32(0x4000_0000).u32(0).u32(0)
    };
    assert_eq!(client.compound(1, &update(1, b"a test")).status, 0);
    assert_eq!(client.compound(1, &update(2, b"a test")).status, 10_027);
    assert_eq!(client.compound(1, &update(1, b"nobody")).status, 2);
    for protection in [1, 2] {
        let ops = Ops::default().op(op::EXCHANGE_ID).fixed(&[1; 8]).opaque(b"k").u32(0);
        assert_ne!(client.compound(1, &ops.u32(protection).u32(0)).status, 0);
    }
    let end = Ops::default().op(op::DESTROY_CLIENTID).u64(who.0);
    assert_eq!(client.compound(1, &end).status, 10_074, "busy");
    let ops = Ops::default().op(op::DESTROY_SESSION).fixed(&session);
    assert_eq!(client.compound(1, &ops).status, 0);
    assert_eq!(client.compound(1, &Ops::default().in_slot(&session, 5, true)).status, 10_052);
    assert_eq!(client.compound(1, &end).status, 0);
    assert_eq!(client.compound(1, &end).status, 10_022);
}

#[test]
fn after_a_restart_sessions_are_gone_and_made_again() {
    let place = serve();
    let mut client = Client::connect(place.server.address);
    let who = client.exchange_id(1);
    let session = client.session(who);
    let file = in_session(&mut client, &session, 1, release().handle()).walked(3).handle();
    let address = place.server.stop();
    let server = TestServer::start_at(shelf(&place.dir), address);
    let mut client = Client::connect(server.address);
    assert_eq!(client.compound(1, &Ops::file(&file).in_slot(&session, 2, true)).status, 10_052);
    assert_eq!(client.compound(1, &create_session(who.0, 2)).status, 10_022);
    let who = client.exchange_id(1);
    let session = client.session(who);
    let reclaim = Ops::file(&file).open_with(0, 0, 1, 0).u32(1).u32(0);
    in_session(&mut client, &session, 1, reclaim).walked(0).opened();
    let mut results = in_session(&mut client, &session, 2, Ops::file(&file).read(0, 100));
    assert_eq!(results.walked(0).ok(op::READ).fixed(16)[8..], *b"ID=test\n");
    drop(server);
}

#[test]
fn a_client_that_opens_too_much_is_refused_and_the_others_are_not() {
    let place = serve();
    let mut client = Client::connect(place.server.address);
    let who = client.exchange_id(1);
    let session = client.session(who);
    let file = in_session(&mut client, &session, 1, release().handle()).walked(3).handle();
    let (mut refused, mut sequence) = (0, 1);
    for round in 0..700_u32 {
        let mut ops = Ops::file(&file);
        for n in 0..12_u32 {
            let owner = [round, n].map(u32::to_be_bytes).concat();
            ops = ops.op(op::OPEN).u32(0).u32(1).u32(0).u64(0).opaque(&owner).u32(0).u32(4);
        }
        sequence += 1;
        refused = client.compound(1, &ops.in_slot(&session, sequence, false)).status;
        if refused != 0 {
            break;
        }
    }
    assert_eq!(refused, 10_008, "after {sequence} calls");
    let mut other = Client::connect(place.server.address);
    let id = other.client_id(9);
    assert_eq!(other.compound(0, &etc().open(id, 1, "os-release")).status, 0);
}
