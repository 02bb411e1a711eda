//! Storage I/O held against known amounts. The kernel counts whole pages as they are made dirty or fetched, and a few
//! more for what the file system notes about a file: at most a hundredth here.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::harness::{Daemon, Place, Way};
use crate::tree::{Tree, shell};

/// How much each tree reads or writes: whole pages, and enough that a page is nothing.
const AMOUNT: u64 = 16 << 20;

/// Passes from one reading of these counters to the next.
const PERIOD: usize = 10;

/// A daemon that finds children in this way, and what it showed of each tree before.
type Watch = (Way, Place, Daemon, [(u64, u64); 4]);

/// A child that nobody waits for and that lives until its counters were read, which is every ten seconds.
const AUTO_REAPING: &str = r#"
    $SIG{CHLD} = "IGNORE";
    $| = 1;
    while (<STDIN>) {
        if (!fork) {
            open my $file, ">", $ARGV[0] or die;
            print $file "\0" x (1 << 20) for 1 .. 16;
            close $file;
            sleep 11;
            exit;
        }
        wait;
        print "done\n";
    }"#;

#[test]
fn what_was_read_and_written_is_what_is_shown() {
    // Not where files are kept in memory: nothing of that is storage.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let write = |name: &str| format!("dd if=/dev/zero of={} bs=64k count={} 2>/dev/null", path(name), AMOUNT >> 16);
    fs::write(path("source"), vec![7; usize::try_from(AMOUNT).unwrap()]).unwrap();
    forget(Path::new(&path("source")));
    let mut reaping = Command::new("perl");
    reaping.args(["-e", AUTO_REAPING, &path("reaped")]);
    let mut trees = [
        ("waited-for", Tree::of(&mut shell()), format!("{}; echo done", write("waited")), (0, AMOUNT)),
        ("reader", Tree::of(&mut shell()), format!("cat {} >/dev/null; echo done", path("source")), (AMOUNT, 0)),
        // A shell that is nobody's child any more waits for the one that writes.
        (
            "daemonised",
            Tree::of(&mut shell()),
            format!("(sh -c '{}; echo done; sleep 1000' &)", write("lone")),
            (0, AMOUNT),
        ),
        ("auto-reaped", Tree::of(&mut reaping), "go".to_owned(), (0, AMOUNT)),
    ];
    let mut watches: Vec<Watch> = Vec::new();
    for way in Way::all() {
        let place = Place::of(*way);
        place.register(&trees.iter().map(|(id, tree, ..)| json!({ "id": id, "pid": tree.pid() })).collect());
        let daemon = place.start_with_registry();
        let before = trees.each_ref().map(|(id, ..)| {
            daemon.until_known(id);
            bytes(&daemon, id)
        });
        watches.push((*way, place, daemon, before));
    }
    for (_, tree, work, _) in &mut trees {
        tree.tell(work);
    }
    for (id, tree, ..) in &trees {
        assert_eq!(tree.hear(), "done", "{id}");
    }
    let shown = |(_, _, daemon, before): &Watch| -> Vec<(u64, u64)> {
        let now = trees.iter().map(|(id, ..)| bytes(daemon, id));
        now.zip(before).map(|(now, before)| (now.0 - before.0, now.1 - before.1)).collect()
    };
    let truth = |at: usize| trees[at].3;
    let reached = |watch: &Watch| {
        let is_all = |(at, shown): (usize, (u64, u64))| shown.0 >= truth(at).0 && shown.1 >= truth(at).1;
        shown(watch).into_iter().enumerate().all(is_all)
    };
    // Counters of storage are read every ten seconds; what ended may come up one reading later.
    let readings = |count: usize| {
        (0..count).for_each(|_| watches.iter().for_each(|(_, _, daemon, _)| drop(daemon.readings("reader", 1))));
    };
    for _ in 0..PERIOD * 5 / 2 {
        if watches.iter().all(reached) {
            break;
        }
        readings(1);
    }
    // Nothing comes twice.
    readings(PERIOD + 1);
    let mut wrong = Vec::new();
    for watch in &watches {
        let way = watch.0;
        for ((id, _, _, (read, written)), shown) in trees.iter().zip(shown(watch)) {
            println!("{way:?}: {id:12} {read:9} read, {:9} shown; {written:9} written, {:9} shown", shown.0, shown.1);
            let fits = |shown: u64, truth: u64| shown >= truth && shown <= truth + AMOUNT / 100;
            if !fits(shown.0, *read) || !fits(shown.1, *written) {
                wrong.push(format!("{way:?}, {id}: {read} read, {written} written, shown: {shown:?}"));
            }
        }
    }
    assert_eq!(wrong, [] as [String; 0]);
}

/// Puts a file on the disk and its pages out of memory, so that reading it reads the disk.
fn forget(file: &Path) {
    let out = format!("of={}", file.display());
    let done =
        Command::new("dd").args(["if=/dev/null", &out, "oflag=nocache", "conv=notrunc,fdatasync", "count=0"]).output();
    assert!(done.unwrap().status.success());
}

fn bytes(daemon: &Daemon, id: &str) -> (u64, u64) {
    let metrics = &daemon.agent(id)["metrics"];
    (metrics["readBytes"].as_u64().unwrap(), metrics["writtenBytes"].as_u64().unwrap())
}
