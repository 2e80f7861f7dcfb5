use std::os::fd::OwnedFd;
use std::thread;

use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};

use super::authentication::{Refusal, accept, connect};
use super::*;

fn site() -> Site {
    Site::new("test", 0)
}

fn sockets() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap()
}

/// Two ends without a ring, as two strangers have them.
fn strangers() -> (Connection, Connection) {
    let (one, other) = sockets();
    (Connection::new(one, None), Connection::new(other, None))
}

fn receive(connection: &Connection) -> Result<Vec<u8>, Failure> {
    connection.receive(None, site(), |message| message.bytes.to_vec())
}

fn send_bytes(connection: &Connection, bytes: &[u8]) {
    connection.send(Content::Bytes, bytes, &[], site()).unwrap();
}

fn message(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 7 % 251) as u8).collect()
}

const LENGTHS: [usize; 12] = [0, 1, 7, 63, 64, 65, 1000, 8191, 8193, 70_000, 1 << 20, 5 << 20];

#[test]
fn messages_of_any_length_arrive_whole() {
    for (one, other) in [Connection::pair().unwrap(), strangers()] {
        thread::scope(|scope| {
            scope.spawn(|| LENGTHS.iter().for_each(|length| send_bytes(&one, &message(*length))));
            for length in LENGTHS {
                assert!(receive(&other).unwrap() == message(length), "{length}");
            }
        });
        thread::scope(|scope| {
            scope.spawn(|| LENGTHS.iter().for_each(|length| send_bytes(&other, &message(*length))));
            LENGTHS.iter().for_each(|length| assert!(receive(&one).unwrap() == message(*length)));
        });
        drop(one);
        assert!(matches!(receive(&other), Err(Failure::End)));
    }
}

#[test]
fn the_framing_is_cpythons() {
    let (raw, socket) = sockets();
    let connection = Connection::new(socket, None);
    let put = |bytes: &[u8]| assert_eq!(send(&raw, bytes, SendFlags::empty()).unwrap(), bytes.len());
    put(b"\0\0\0\x02hi");
    assert_eq!(receive(&connection).unwrap(), b"hi");
    put(b"\xff\xff\xff\xff\0\0\0\0\0\0\0\x03abc\0\0\0\0");
    assert_eq!(receive(&connection).unwrap(), b"abc");
    assert_eq!(receive(&connection).unwrap(), b"");
    // Byte by byte, with somebody who waits.
    thread::scope(|scope| {
        let receiver = scope.spawn(|| receive(&connection));
        for byte in b"\0\0\0\x05hello" {
            put(&[*byte]);
            thread::yield_now();
        }
        assert_eq!(receiver.join().unwrap().unwrap(), b"hello");
    });
    put(b"\0\0\0\x64abc");
    drop(raw);
    assert!(matches!(receive(&connection), Err(Failure::Torn)));

    let (raw, socket) = sockets();
    send_bytes(&Connection::new(socket, None), b"xyz");
    let mut bytes = [0; 16];
    assert_eq!(rustix::io::read(&raw, &mut bytes).unwrap(), 7);
    assert_eq!(&bytes[..7], b"\0\0\0\x03xyz");
}

#[test]
fn a_length_alone_costs_no_memory() {
    let (raw, socket) = sockets();
    let connection = Connection::new(socket, None);
    send(&raw, b"\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xff\xff..", SendFlags::empty()).unwrap();
    drop(raw);
    assert!(matches!(receive(&connection), Err(Failure::Torn)));
}

#[test]
fn a_message_may_be_too_long() {
    for (one, other) in [Connection::pair().unwrap(), strangers()] {
        send_bytes(&one, &[1, 2, 3]);
        let received = other.receive(Some(2), site(), |_| ());
        assert!(matches!(received, Err(Failure::TooLong)));
    }
}

#[test]
fn closing_ends_the_waits_of_other_threads() {
    for (one, other) in [Connection::pair().unwrap(), strangers()] {
        thread::scope(|scope| {
            let waiting = scope.spawn(|| receive(&one));
            while one.uses() == 0 {
                thread::yield_now();
            }
            drop(other);
            assert!(matches!(waiting.join().unwrap(), Err(Failure::End)));
        });
        one.close();
        assert!(matches!(receive(&one), Err(Failure::Closed)));
    }
}

#[test]
fn descriptors_come_with_their_message() {
    let (one, other) = Connection::pair().unwrap();
    let mut readers = Vec::new();
    for number in 0..20_u8 {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        readers.push(reader);
        let fds: Vec<_> = (0..number % 4).map(|_| Arc::new(writer.try_clone().unwrap())).collect();
        one.send(Content::Value, &[number], &fds, site()).unwrap();
    }
    for (number, reader) in readers.into_iter().enumerate() {
        let (bytes, fds) = other.receive(None, site(), |m| (m.bytes.to_vec(), m.fds)).unwrap();
        assert_eq!((bytes, fds.len()), (vec![number as u8], number % 4));
        for fd in &fds {
            rustix::io::write(fd, &[number as u8]).unwrap();
        }
        let mut got = [0; 8];
        assert_eq!(rustix::io::read(&reader, &mut got).unwrap(), number % 4);
    }
}

/// Sends until there is no room, and once more in a thread, which waits then.
fn blocked_sender<'a>(
    scope: &'a thread::Scope<'a, '_>,
    one: &'a Connection,
) -> thread::ScopedJoinHandle<'a, Result<(), Failure>> {
    let ring = one.ring().unwrap();
    let at_once = Wait { deadline: None, try_only: true, site: site() };
    while ring.outgoing().send(&message(100_000), &at_once).unwrap() {}
    scope.spawn(|| one.send(Content::Bytes, &message(100_000), &[], site()))
}

#[test]
fn what_is_under_way_has_a_bound() {
    let (one, other) = Connection::pair().unwrap();
    thread::scope(|scope| {
        let sender = blocked_sender(scope, &one);
        let incoming = other.ring().unwrap().incoming();
        assert_eq!(incoming.len(), 10);
        assert_eq!(receive(&other).unwrap().len(), 99_999);
        sender.join().unwrap().unwrap();
        assert_eq!(incoming.len(), 10);
    });
}

#[test]
fn a_sender_that_waits_for_room_sees_that_the_other_end_is_closed() {
    for by_whom in [0, 1] {
        let (one, other) = Connection::pair().unwrap();
        thread::scope(|scope| {
            let sender = blocked_sender(scope, &one);
            match by_whom {
                0 => other.close(),
                _ => one.close(),
            }
            let failure = sender.join().unwrap().unwrap_err();
            match failure {
                Failure::System(error) => {
                    assert_eq!((by_whom, error.kind()), (0, io::ErrorKind::BrokenPipe));
                }
                failure => assert!(by_whom == 1 && matches!(failure, Failure::Closed), "{failure:?}"),
            }
        });
    }
}

fn meet(server: &'static [u8], client: &'static [u8]) -> [Result<Connection, Refusal>; 2] {
    let (one, other) = strangers();
    let server = thread::spawn(move || accept(one, server, site()));
    let client = connect(other, client, site());
    [server.join().unwrap(), client]
}

#[test]
fn those_who_know_the_key_speak_through_a_ring() {
    let [server, client] = meet(b"key", b"key").map(|end| end.unwrap());
    assert!(server.ring().is_some() && client.ring().is_some());
    send_bytes(&client, b"hello");
    assert_eq!(receive(&server).unwrap(), b"hello");
    send_bytes(&server, &message(100_000));
    assert!(receive(&client).unwrap() == message(100_000));
}

#[test]
fn those_who_do_not_are_refused() {
    let [server, client] = meet(b"key", b"other");
    assert!(matches!(server, Err(Refusal::WrongAnswer)));
    assert!(matches!(client, Err(Refusal::Rejected)));
}

/// An end as CPython 3.11 has it: 20 random bytes and no more.
#[test]
fn strangers_with_the_key_speak_through_the_socket() {
    let (one, other) = strangers();
    let server = thread::spawn(move || accept(one, b"key", site()));
    let challenge = receive(&other).unwrap();
    assert!(challenge.starts_with(b"#CHALLENGE#") && challenge.len() <= 256);
    // hmac.new(b"key", b"x" * 20, "md5").hexdigest()
    let known = authentication::answer(b"key", &[b'x'; 20]);
    assert_eq!(
        known.iter().map(|b| format!("{b:02x}")).collect::<String>(),
        "f7cf386fd0210f026ed379ad7b9eb97c"
    );
    send_bytes(&other, &authentication::answer(b"key", &challenge[11..]));
    assert_eq!(receive(&other).unwrap(), b"#WELCOME#");
    send_bytes(&other, &[&b"#CHALLENGE#"[..], &[7; 20]].concat());
    assert_eq!(receive(&other).unwrap(), authentication::answer(b"key", &[7; 20]));
    send_bytes(&other, b"#WELCOME#");
    let server = server.join().unwrap().unwrap();
    assert!(server.ring().is_none());
    send_bytes(&other, b"hi");
    assert_eq!(receive(&server).unwrap(), b"hi");
}
