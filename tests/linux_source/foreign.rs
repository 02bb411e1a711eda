//! The Linux process source as it serves a user to whom the processes do not belong. Needs root, to become one.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use agent_monitor::model::{Pid, ProcessEvent, PssCounts, PssReading};
use agent_monitor::process::{ProcessSource, ReadError, Scan, Watch};
use rustix::process::{WaitId, WaitIdOptions, geteuid, waitid};

use crate::children::{PATIENCE, source_and_wakes, until};

#[test]
fn an_end_is_told_without_its_status_until_it_is_reaped() {
    let Some(mut reader) = Reader::start("exec") else { return eprintln!("not root: cannot become another user") };
    for (script, second) in [("exit 0", "Code(0)"), ("exit 7", "Code(7)"), ("kill -KILL $$", "Signal(9)")] {
        let mut child = waiting(script);
        reader.ask(&format!("keep {}", child.id()), "kept, io Denied");
        drop(child.stdin.take());
        let zombie = rustix::process::Pid::from_child(&child);
        waitid(WaitId::Pid(zombie), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).unwrap();
        // A status that is not zero would be true, but the kernel shows none.
        reader.ask("end", &format!("{} None", child.id()));
        child.wait().unwrap();
        let second = if tells_exits() { format!("Some({second})") } else { "None".to_owned() };
        reader.ask("end", &format!("{} {second}", child.id()));
    }
}

/// A pidfd of a zombie stays readable, which must not keep the thread awake.
#[test]
fn a_zombie_that_is_not_reaped_costs_nothing() {
    let Some(mut reader) = Reader::start("exec") else { return eprintln!("not root: cannot become another user") };
    let mut child = waiting("exit 0");
    reader.ask(&format!("keep {}", child.id()), "kept, io Denied");
    drop(child.stdin.take());
    reader.ask("end", &format!("{} None", child.id()));
    Command::new("sleep").arg("0.5").status().unwrap();
    let ticks: u64 = reader.answer("ticks of the thread").parse().unwrap();
    assert!(ticks <= 2, "{ticks} ticks of 50");
    child.wait().unwrap();
}

/// Shared pages are shown to whoever may trace a process: ptrace(2), "Ptrace access mode checking".
#[test]
fn a_size_that_may_not_be_measured() {
    let Some(mut reader) = Reader::start("exec") else { return eprintln!("not root: cannot become another user") };
    let mut child = waiting("exit 0");
    reader.ask(&format!("keep {}", child.id()), "kept, io Denied");
    reader.ask("pss", "Denied");
    drop(child.stdin.take());
    child.wait().unwrap();
}

/// Others' executables and scripts are not to be seen, their command lines are.
#[test]
fn a_program_without_its_executable() {
    let Some(mut reader) = Reader::start("exec") else { return eprintln!("not root: cannot become another user") };
    let mut child = Command::new("sh")
        .args(["-c", "echo ready; read line"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
    reader.ask(&format!("image {}", child.id()), "None, [\"sh\", \"-c\", \"echo ready; read line\"], None");
    drop(child.stdin.take());
    child.wait().unwrap();
}

/// hidepid=noaccess: others are listed, but not to be read.
#[test]
fn the_denied_are_counted() {
    let Some(mut reader) = Reader::start("mount -t proc -o hidepid=noaccess proc /proc && exec") else {
        return eprintln!("not root: cannot become another user");
    };
    let mut child = waiting("exit 0");
    reader.ask(&format!("look {}", child.id()), "Denied");
    let scans: Vec<String> = ["scan all", "scan new", "scan new"].map(|scan| reader.answer(scan)).into();
    for scan in &scans {
        let denied: u64 = scan.split(' ').next().unwrap().parse().unwrap();
        assert!(denied > 0 && scan.ends_with("denied, 0 failed"), "{scan}");
    }
    drop(child.stdin.take());
    child.wait().unwrap();
    reader.ask(&format!("look {}", child.id()), "Gone");
}

/// hidepid=invisible: others seem not to be there.
#[test]
fn the_invisible_are_denied_and_not_gone() {
    let Some(mut reader) = Reader::start("mount -t proc -o hidepid=invisible proc /proc && exec") else {
        return eprintln!("not root: cannot become another user");
    };
    let mut child = waiting("exit 0");
    reader.ask(&format!("look {}", child.id()), "Denied");
    reader.ask("scan all", "0 denied, 0 failed");
    drop(child.stdin.take());
    child.wait().unwrap();
    reader.ask(&format!("look {}", child.id()), "Gone");
}

/// Does what its standard input asks for, and answers on its standard output, a line each.
#[test]
#[ignore = "the part of the other tests that runs as another user"]
fn reader() {
    let (mut source, woken) = source_and_wakes(1024);
    let mut events = Vec::new();
    let mut kept = None;
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let answer = match word {
            "keep" => {
                let key = source.look(Pid::new(rest.parse().unwrap()).unwrap()).unwrap().key;
                source.keep(key, Watch::Exit).unwrap();
                kept = Some(key);
                let readings = [true, true].map(|io| source.read(key, io).unwrap().io);
                assert_eq!(readings[0], readings[1]);
                format!("kept, io {:?}", readings[0])
            }
            "pss" => {
                source.measure_pss(Some(Duration::from_secs(3600)));
                let pss = until("it is tried", || {
                    let pss = source.read(kept.unwrap(), false).unwrap().pss;
                    (pss != PssReading::Unknown).then_some(pss)
                });
                assert_eq!(source.pss_counts(), PssCounts { denied: 1, ..PssCounts::default() });
                format!("{pss:?}")
            }
            "image" => {
                let key = source.look(Pid::new(rest.parse().unwrap()).unwrap()).unwrap().key;
                let image = source.image(key).unwrap();
                format!("{:?}, {:?}, {:?}", image.exe, image.words, image.script)
            }
            "look" => match source.look(Pid::new(rest.parse().unwrap()).unwrap()) {
                Ok(row) => format!("{row:?}"),
                Err(ReadError::Denied { .. }) => "Denied".to_owned(),
                Err(ReadError::Gone) => "Gone".to_owned(),
                Err(error) => format!("{error:?}"),
            },
            "scan" => {
                let scope = if rest == "all" { Scan::All } else { Scan::New };
                let count = source.scan(scope, &mut Vec::new()).unwrap();
                format!("{} denied, {} failed", count.denied, count.failed)
            }
            "end" => {
                while events.is_empty() {
                    woken.recv_timeout(PATIENCE).unwrap();
                    source.drain(&mut events);
                }
                match events.remove(0) {
                    ProcessEvent::Exited { process, status } => format!("{} {status:?}", process.pid),
                    other => panic!("{other:?}"),
                }
            }
            "ticks" => ticks_of_the_thread().to_string(),
            _ => panic!("{line}"),
        };
        println!("\n= {answer}");
    }
}

/// Processor time of the source's thread.
fn ticks_of_the_thread() -> u64 {
    let stats = fs::read_dir("/proc/self/task").expect("our own").flatten();
    let stat = stats
        .filter_map(|task| fs::read_to_string(task.path().join("stat")).ok())
        .find(|stat| stat.contains("(process-exits)"))
        .expect("the thread has this name");
    let fields: Vec<&str> = stat.split(' ').collect();
    [13, 14].map(|index| fields[index].parse::<u64>().expect("a number")).iter().sum()
}

/// The test above, running as nobody.
struct Reader {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Holds the program: the build's directory may be closed to others.
    _directory: tempfile::TempDir,
}

impl Reader {
    /// `first` is what the shell does, in a mount namespace of its own, before it becomes the reader. `None`: we are
    /// not root and can become nobody else.
    fn start(first: &str) -> Option<Reader> {
        if !geteuid().is_root() {
            return None;
        }
        let directory = tempfile::tempdir().expect("a temporary directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("our own");
        let program = directory.path().join("reader");
        // Copied by another program: a file that this one wrote could not be run while any child of it, forked at that
        // moment, still has it open.
        let script = format!(
            "cp \"$0\" \"$1\" && {first} setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all \
             \"$1\" --ignored --exact foreign::reader --nocapture"
        );
        let mut child = Command::new("unshare")
            .args(["--mount", "sh", "-c", &script])
            .args([std::env::current_exe().expect("known"), program])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare is there");
        let (questions, answers) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        Some(Reader { child, questions, answers: BufReader::new(answers), _directory: directory })
    }

    fn answer(&mut self, question: &str) -> String {
        writeln!(self.questions, "{question}").expect("the reader lives");
        let mut lines = (&mut self.answers).lines().map(|line| line.expect("text"));
        let answer = lines.find_map(|line| line.strip_prefix("= ").map(str::to_owned));
        answer.expect("the reader answers")
    }

    fn ask(&mut self, question: &str, expected: &str) {
        assert_eq!(self.answer(question), expected, "{question}");
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A shell that does this once its standard input ends.
fn waiting(script: &str) -> Child {
    let script = format!("read line; {script}");
    Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).spawn().expect("sh is there")
}

/// Whether the kernel tells anyone how a reaped process ended: since Linux 6.15.
fn tells_exits() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(6), Some(15))
}
