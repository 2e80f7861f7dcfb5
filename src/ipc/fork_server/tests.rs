//! Requests, spares and ends of children and servers.

use super::*;
use crate::ipc::own_process;
use crate::runtime::Site;
use std::fs::File;
use std::io::Read;

/// What a test's children do: a letter and what it is about.
fn act(order: Order) -> i32 {
    let request = order.receive();
    match request.bytes.split_first() {
        Some((b'l', rest)) => (rest.len() % 251) as i32,
        Some((b'p', parent)) => {
            let parent = u32::from_ne_bytes(parent.try_into().unwrap_or_default());
            i32::from(std::os::unix::process::parent_id() == parent)
        }
        Some((b'w', text)) => i32::from(rustix::io::write(&request.descriptors[0], text).is_ok()),
        _ => loop {
            std::thread::park();
        },
    }
}

fn launch(server: &ForkServer, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Child {
    server.launch(bytes, descriptors).unwrap()
}

fn exit_code(child: &Child) -> i32 {
    assert!(child.wait(None, Site::default()).unwrap());
    child.exit_code().unwrap()
}

#[test]
fn children_get_their_bytes_and_are_the_callers() {
    if !own_process::is_own() {
        return;
    }
    let server = ForkServer::start(|| act, 0).unwrap();
    for length in [0_usize, 1, 1000, 3_000_000] {
        let bytes = [b"l".to_vec(), vec![7; length]].concat();
        assert_eq!(exit_code(&launch(&server, &bytes, &[])), (length % 251) as i32);
    }
    let parent = [b"p".to_vec(), std::process::id().to_ne_bytes().to_vec()].concat();
    assert_eq!(exit_code(&launch(&server, &parent, &[])), 1);
}

#[test]
fn children_get_descriptors() {
    if !own_process::is_own() {
        return;
    }
    let server = ForkServer::start(|| act, 0).unwrap();
    let (read, write) = rustix::pipe::pipe().unwrap();
    assert_eq!(exit_code(&launch(&server, b"whello", &[write.as_fd()])), 1);
    drop(write);
    let mut text = String::new();
    File::from(read).read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
}

#[test]
fn a_killed_child_tells_by_which_signal() {
    if !own_process::is_own() {
        return;
    }
    let server = ForkServer::start(|| act, 0).unwrap();
    let child = launch(&server, b"-", &[]);
    assert_eq!(child.exit_code(), None);
    assert!(!child.wait(Some(std::time::Instant::now()), Site::default()).unwrap());
    child.signal(rustix::process::Signal::KILL).unwrap();
    assert_eq!(exit_code(&child), -9);
}

/// The children of this process that are called like the server.
fn hidden() -> Vec<Pid> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    let all: Vec<Pid> = lists
        .flat_map(|list| list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<i32>>())
        .filter_map(Pid::from_raw)
        .collect();
    let name = |pid: &Pid| std::fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    all.into_iter().filter(|pid| name(pid).trim_ascii_end() == NAME.to_bytes()).collect()
}

fn is_child(pid: Pid) -> bool {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    waitid(WaitId::Pid(pid), options).is_ok()
}

/// The server's spares, once there are so many that sleep. There may be more of them after a start that found none.
fn asleep(server: &ForkServer, count: usize) -> Vec<Pid> {
    let limit = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let asleep = server.spares.asleep();
        if asleep.len() >= count {
            return asleep;
        }
        assert!(std::time::Instant::now() < limit, "{} spares instead of {count}", asleep.len());
        std::thread::yield_now();
    }
}

fn with_spares() -> (ForkServer, Vec<Pid>) {
    let server = ForkServer::start(|| act, 2).unwrap();
    let spares = asleep(&server, 2);
    (server, spares)
}

#[test]
fn spares_take_what_brings_no_descriptor_and_are_replaced() {
    if !own_process::is_own() {
        return;
    }
    let (server, mut spares) = with_spares();
    for length in 0..40 {
        let child = launch(&server, &[b"l".to_vec(), vec![7; length]].concat(), &[]);
        assert!(spares.contains(&child.pid()), "a spare");
        assert_eq!(exit_code(&child), length as i32);
        spares = asleep(&server, 2);
        assert!(!spares.contains(&child.pid()));
    }
    let (_read, write) = rustix::pipe::pipe().unwrap();
    let child = launch(&server, b"whello", &[write.as_fd()]);
    assert!(!spares.contains(&child.pid()), "descriptors come through the server");
    assert_eq!(exit_code(&child), 1);
}

#[test]
fn spares_end_with_their_server() {
    if !own_process::is_own() {
        return;
    }
    let (server, spares) = with_spares();
    let pid = server.pid();
    assert!(spares.iter().chain([&pid]).all(|pid| hidden().contains(pid)));
    drop(server);
    assert!(spares.iter().chain([&pid]).all(|pid| !is_child(*pid)), "neither a process nor a zombie");
}

#[test]
fn spares_end_with_a_killed_server() {
    if !own_process::is_own() {
        return;
    }
    for round in 0..30 {
        let server = ForkServer::start(|| act, 2).unwrap();
        // At any moment of a spare's making.
        (0..round * 20).for_each(|_| std::thread::yield_now());
        let spares = server.spares.asleep();
        kill_process(server.pid(), Signal::KILL).unwrap();
        let limit = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !spares.iter().all(|pid| super::super::family::is_over(pid.as_raw_nonzero().get() as u32)) {
            assert!(std::time::Instant::now() < limit, "a spare lives on");
        }
        let error = loop {
            match server.launch(b"l", &[]) {
                // It got its order before the server was over.
                Ok(child) => assert_eq!(exit_code(&child), 0),
                Err(error) => break error,
            }
        };
        assert!(matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset));
    }
}

#[test]
fn a_killed_spare_is_passed_over() {
    if !own_process::is_own() {
        return;
    }
    let (server, _) = with_spares();
    for count in [1, 2] {
        let spares = asleep(&server, 2);
        let killed = &spares[..count];
        killed.iter().for_each(|pid| kill_process(*pid, Signal::KILL).unwrap());
        killed
            .iter()
            .for_each(|pid| while !super::super::family::is_over(pid.as_raw_nonzero().get() as u32) {});
        for length in 0..2 * spares::MOST {
            let child = launch(&server, &[b"l".to_vec(), vec![7; length]].concat(), &[]);
            assert!(!killed.contains(&child.pid()));
            assert_eq!(exit_code(&child), length as i32);
        }
        assert!(killed.iter().all(|pid| !is_child(*pid)), "no zombie");
    }
}

#[test]
fn a_spare_makes_room_for_a_process() {
    if !own_process::is_own() {
        return;
    }
    let (server, spares) = with_spares();
    assert!(server.spares.retire());
    assert_eq!(spares.iter().filter(|pid| is_child(**pid)).count(), 1);
    assert!(server.spares.retire());
    assert!(!server.spares.retire(), "there is none left");
    assert!(spares.iter().all(|pid| !is_child(*pid)));
    assert_eq!(exit_code(&launch(&server, b"l", &[])), 0);
}

#[test]
fn starts_by_several_threads_at_once() {
    if !own_process::is_own() {
        return;
    }
    let (server, _) = with_spares();
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let server = &server;
            scope.spawn(move || {
                for length in thread..thread + 60 {
                    let bytes = [b"l".to_vec(), vec![7; length]].concat();
                    assert_eq!(exit_code(&launch(server, &bytes, &[])), length as i32);
                }
            });
        }
    });
}

/// The server has no other way to learn of its parent's end than its socket.
#[test]
fn the_server_ends_with_its_parent() {
    if !own_process::is_own() {
        return;
    }
    let server = ForkServer::start(|| act, 0).unwrap();
    let child = Child::new(server.pid()).unwrap();
    assert_eq!(child.exit_code(), None);
    // As the kernel does when a process ends.
    drop(server.socket.lock().take());
    assert_eq!(exit_code(&child), 0);
    // Reaped already.
    std::mem::forget(server);
}
