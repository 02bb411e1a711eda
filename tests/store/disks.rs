//! P7 on disks of their own, mounted for the test: full, beyond a quota, failing.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;

use crate::diary::{Diary, await_recovery, told_from_outside};
use crate::support::{Store, agent, until};
use crate::trouble::{outage, prune};

/// The place of a child that has a mount namespace of its own.
const PLACE: &str = "STORE_TEST_MOUNT";

/// Runs another test of this program where it may mount what it likes: all of that goes with it. Returns what it says of how
/// often the fault struck.
fn where_disks_can_be_mounted(test: &str) -> String {
    let isolate: &[&str] =
        if nix::unistd::Uid::effective().is_root() { &["--mount"] } else { &["--user", "--map-root-user", "--mount"] };
    let possible = Command::new("unshare").args(isolate).arg("true").status().is_ok_and(|status| status.success());
    if !possible {
        return "NOT TESTED: this machine allows no mount namespace".to_owned();
    }
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new("unshare")
        .args(isolate)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(PLACE, directory.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let struck = said.lines().find(|line| line.contains("struck"));
    struck.expect("the child did its work").to_owned()
}

fn sh(script: &str) {
    let done = Command::new("sh").args(["-euc", script]).status().unwrap();
    assert!(done.success(), "{script}");
}

#[test]
fn a_full_disk() {
    println!("{}", where_disks_can_be_mounted("disks::on_a_small_disk"));
}

/// As ext4 does it after an error of the disk below it, which is made to happen.
#[test]
fn a_file_system_that_becomes_read_only() {
    println!("{}", where_disks_can_be_mounted("disks::on_a_disk_that_fails"));
}

/// Of btrfs, since that has quotas wherever it is. With a log there, whose index is mapped, the kernel ended the writer.
#[test]
fn a_quota() {
    println!("{}", where_disks_can_be_mounted("disks::beyond_a_quota"));
}

#[test]
#[ignore = "the child of the other test"]
fn on_a_small_disk() {
    let Some(place) = std::env::var_os(PLACE) else { return };
    let mount = Path::new(&place);
    sh(&format!("mount -t tmpfs -o size=8m,mode=700 none {}", mount.display()));
    let ballast = mount.join("ballast");
    let fill = || {
        let mut file = std::fs::File::options().append(true).create(true).open(&ballast).unwrap();
        let copied = std::io::copy(&mut std::io::repeat(0), &mut file);
        assert_eq!(copied.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    };
    let store = Store::start(mount);
    let mut diary = Diary::new();
    diary.go_on(&store);
    prune(&store, 16 << 20);
    let reserve = || store.stats.reserve_bytes.load(Ordering::Relaxed);
    assert_eq!(reserve(), 8 << 20 >> 4, "space is held in reserve");
    // Somebody fills the disk: at the first refusal the reserve is given up, and storing goes on by itself.
    fill();
    for _ in 0..20 {
        diary.go_on(&store);
    }
    let first = diary.refused();
    assert!(first > 0 && diary.full == first, "{first} refused, {} of them for want of room", diary.full);
    until(&store, "storing goes on in the reserve", || {
        reserve() == 0 && store.stats.waiting_entries.load(Ordering::Relaxed) == 0
    });
    let trouble = store.stats.trouble().expect("it is said that the disk is full");
    assert!(trouble.contains("reserve"), "{trouble}");
    diary.go_on(&store);
    assert_eq!(diary.refused(), first, "in the reserve");
    // Somebody takes that as well.
    fill();
    for _ in 0..200 {
        diary.go_on(&store);
    }
    let struck = diary.refused();
    assert!(struck > first, "the fault never struck");
    assert!(store.reader.agent(&agent(1).id).unwrap().is_some(), "what is on disk can be read");
    std::fs::remove_file(&ballast).unwrap();
    await_recovery(&store);
    assert_eq!(reserve(), 8 << 20 >> 4, "and is held again");
    diary.go_on(&store);
    diary.check(mount, &store);
    store.stop();
    // A daemon that starts on a full disk takes the reserve to open the database.
    fill();
    let store = Store::start(mount);
    store.store(told_from_outside(1_000)).unwrap();
    assert!(!mount.join("agent-monitor.reserve").exists());
    store.stop();
    println!("full disk struck {struck} times");
}

/// Whether a file can be mounted as a disk, which only root can do.
fn can_mount_files() -> bool {
    Command::new("losetup").arg("--find").output().is_ok_and(|found| found.status.success())
}

#[test]
#[ignore = "the child of the other test"]
fn beyond_a_quota() {
    let Some(place) = std::env::var_os(PLACE) else { return };
    if !can_mount_files() {
        println!("NOT TESTED, so it never struck: this machine has no loop devices");
        return;
    }
    let has_btrfs = std::fs::read_to_string("/proc/filesystems").is_ok_and(|known| known.contains("\tbtrfs\n"));
    if !has_btrfs || Command::new("btrfs").arg("version").output().is_err() {
        println!("NOT TESTED, so it never struck: this machine has no btrfs");
        return;
    }
    let state = Path::new(&place).join("state");
    sh(&format!(
        "cd {}; mkdir state; truncate -s 256M disk; mkfs.btrfs -q disk; mount -o loop disk state; chmod 700 state
         btrfs quota enable state; btrfs qgroup limit 4M state",
        Path::new(&place).display()
    ));
    let ballast = state.join("ballast");
    let fill = || {
        let mut file = std::fs::File::options().append(true).create(true).open(&ballast).unwrap();
        // What is not on disk yet is not counted yet.
        let written = std::iter::repeat_with(|| file.write_all(&[1; 4096]).and_then(|()| file.sync_all()));
        let refused = written.take(4_096).find_map(Result::err).expect("there is a quota");
        assert_eq!(refused.raw_os_error(), Some(libc::EDQUOT), "{refused}");
    };
    let room = || sh(&format!("btrfs qgroup limit none {}", state.display()));
    let struck = outage(&state, fill, room);
    println!("a quota struck {struck} times");
    assert!(struck > 1, "the fault never struck");
}

#[test]
#[ignore = "the child of the other test"]
fn on_a_disk_that_fails() {
    let Some(place) = std::env::var_os(PLACE) else { return };
    if !can_mount_files() {
        println!("NOT TESTED, so it never struck: this machine has no loop devices");
        return;
    }
    let place = Path::new(&place).display();
    sh(&format!(
        "cd {place}; mkdir state below; truncate -s 32M disk; mkfs.ext4 -q -F disk
         mount -o loop,errors=remount-ro disk state; chmod 700 state; mount --bind state below"
    ));
    let fail = || {
        sh(&format!(
            "echo 1 >/sys/fs/ext4/$(basename $(findmnt -no SOURCE --mountpoint {place}/state))/trigger_fs_error"
        ));
    };
    // What can be read of it is put on another disk, and that in its place.
    let replace = || sh(&format!("cd {place}; mount -t tmpfs -o mode=700 none state; cp -a below/agent-* state"));
    let struck = outage(&Path::new(&std::env::var_os(PLACE).unwrap()).join("state"), fail, replace);
    println!("a disk that became read-only struck {struck} times");
    assert!(struck > 1, "the fault never struck");
}
