//! What agents and scripts tell a real daemon, with real clients.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::Receiver;

use rusqlite::Connection;
use rustix::process::{Signal, geteuid};
use serde_json::{Value, json};

use crate::harness::*;

/// A daemon that knows no agent.
fn daemon() -> Daemon {
    Place::new(&config("[[registry.source]]\nkind = \"match\"\nagent = \"none\"\nprogram = \"no-such-program\"\n"))
        .start()
}

fn socket(place: &Place) -> PathBuf {
    place.path("run/agent-monitor.sock")
}

fn database(place: &Place) -> Connection {
    Connection::open(place.path("state/agent-monitor.db")).unwrap()
}

fn count(place: &Place, sql: &str) -> i64 {
    database(place).query_row(sql, [], |row| row.get(0)).unwrap()
}

/// Tells reports one after the other until it is killed; says `ack NAME ID` for each that was taken.
const NODE_WRITER: &str = r"
const http = require('http');
const agent = new http.Agent({ keepAlive: true });
function tell(socketPath, path, body) {
  return new Promise((resolve) => {
    const request = http.request({ socketPath, agent, path, method: 'POST' }, (answer) => {
      let text = '';
      answer.on('data', (part) => { text += part; });
      answer.on('end', () => resolve(answer.statusCode === 201 && JSON.parse(text)));
      answer.on('error', () => resolve(false));
    });
    request.on('error', () => resolve(false));
    request.end(JSON.stringify(body));
  });
}
(async () => {
  for (let n = 1; ; n += 1) {
    const id = `node-${n}`;
    const what = n % 2 ? 'events' : 'errors';
    const body = n % 2 ? { id, eventType: 'note', message: id } : { id, fingerprint: id, error: { name: 'E', message: `try ${n}` } };
    let told = false;
    while (!told) {
      told = await tell(process.argv[1], `/api/monitoring/agents/node/${what}`, body);
      if (!told) await new Promise((resolve) => setTimeout(resolve, 20));
    }
    console.log(`ack ${id} ${told.id}`);
  }
})();
";

const CURL_WRITER: &str = r#"
n=1
while :; do
    answer=$(curl --silent --fail --unix-socket "$1" --json "{\"id\":\"curl-$n\",\"eventType\":\"note\",\"message\":\"curl-$n\"}" \
        http://localhost/api/monitoring/agents/curl/events) &&
        { echo "ack curl-$n $(echo "$answer" | tr -dc 0-9)"; n=$((n + 1)); } || sleep 0.02
done
"#;

struct Teller {
    child: Killed,
    acks: Receiver<(String, i64)>,
}

impl Teller {
    fn start(program: &[&str], socket: &Path) -> Teller {
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).arg(socket).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.process_group(0).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (tell, acks) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut words = line.split(' ').skip(1);
                let (Some(name), Some(id)) = (words.next(), words.next()) else { continue };
                let _ = tell.send((name.to_owned(), id.parse().unwrap()));
            }
        });
        Teller { child: Killed(child), acks }
    }

    /// The next so many that were acknowledged.
    fn take(&self, count: usize) -> Vec<(String, i64)> {
        (0..count).map(|_| self.acks.recv_timeout(PATIENCE).expect("it goes on telling")).collect()
    }
}

/// P1: whatever was answered 201 is in the database, and once, however often the daemon is killed.
#[test]
fn every_201_outlives_a_kill() {
    let mut daemon = daemon();
    let path = socket(&daemon.place);
    let tellers = [
        Teller::start(&["node", "-e", NODE_WRITER], &path),
        Teller::start(&["bash", "-c", CURL_WRITER, "curl"], &path),
    ];
    let mut acknowledged = Vec::new();
    for round in 0..6 {
        for teller in &tellers {
            acknowledged.extend(teller.take(3 + round * 2));
        }
        daemon.signal(Signal::KILL);
        daemon.wait();
        let place = std::mem::replace(&mut daemon.place, Place::new(""));
        daemon = place.start();
    }
    for teller in tellers {
        acknowledged.extend(teller.take(1));
        drop(teller.child);
        acknowledged.extend(teller.acks.iter());
    }
    let place = daemon.stop();
    let found = database(&place);
    let mut named = found.prepare("select client_id from journal where id = ?1").unwrap();
    for (name, id) in &acknowledged {
        let stored: String =
            named.query_row([id], |row| row.get(0)).unwrap_or_else(|_| panic!("{name} ({id}) is lost"));
        assert_eq!(stored, *name);
    }
    println!("{} were acknowledged", acknowledged.len());
    assert_eq!(
        count(
            &place,
            "select count(*) - count(distinct agent_number || kind || client_id) from journal where client_id is not null"
        ),
        0
    );
    assert_eq!(count(&place, "select sum(count) from error_group"), count(&place, "select count(*) from error_logs"));
    assert_eq!(count(&place, "select count(*) from journal where client_id is not null and writer_uid is null"), 0);
}

/// One bug of one program, run from fifty places with fifty ids, on moved lines.
#[test]
fn fifty_variants_of_one_trace_are_one_problem() {
    let daemon = daemon();
    let program = r"
const http = require('http');
class Ticket { title() { return this.meta[process.env.ID].trim(); } }
function open(ticket) { return ticket.title(); }
try { open(new Ticket()); } catch ({ name, message, stack }) {
  message = `${message} of ticket ${process.env.ID} on port ${process.env.PORT}`;
  const path = '/api/monitoring/agents/node/errors';
  http.request({ socketPath: process.env.SOCKET, path, method: 'POST' }, (answer) => {
    answer.resume();
    if (answer.statusCode !== 201) process.exitCode = 1;
  }).end(JSON.stringify({ error: { name, message, stack } }));
}
";
    let mut runs = String::new();
    for n in 0..50 {
        let directory = daemon.place.path(&format!("work-{n}/{}", "deep/".repeat(n % 4)));
        fs::create_dir_all(&directory).unwrap();
        let file = directory.join("ticket.js");
        fs::write(&file, format!("{}{program}", "// moved\n".repeat(n))).unwrap();
        let id = if n % 2 == 0 { format!("{n:08x}-12ab-4cde-8f00-0123456789ab") } else { format!("t-{n}") };
        runs += &format!("process.env.ID = {id:?}; process.env.PORT = {}; require({file:?});\n", 20_000 + n);
    }
    daemon.place.write("runs.js", &runs);
    let mut node = Command::new("node");
    let node = node.arg(daemon.place.path("runs.js")).env("SOCKET", socket(&daemon.place)).status();
    assert!(node.unwrap().success());
    let groups = daemon.get("/api/monitoring/error-groups?agent=node");
    let items = groups["items"].as_array().unwrap();
    assert_eq!(items.len(), 1, "{groups:#}");
    assert_eq!(
        (&items[0]["count"], &items[0]["unresolved"], &items[0]["state"]),
        (&json!(50), &json!(50), &json!("open"))
    );
    let errors = daemon.get("/api/monitoring/errors?agent=node&limit=100");
    assert!(errors["items"].as_array().unwrap().iter().all(|error| error["fingerprint"] == items[0]["fingerprint"]));
    eventually("the agent's count follows", || {
        let agent = daemon.get("/api/monitoring/dashboard")["agents"][0].clone();
        (agent["metrics"]["errorCount"] == 50 && agent["source"] == "unregistered").then_some(())
    });
    daemon.stop();
}

#[test]
fn the_commands_tell_and_resolve() {
    let daemon = daemon();
    let place = &daemon.place;
    assert_eq!(place.told(&["event", "a/1", "note", "-it- begins", "--metadata", r#"{"k":1}"#, "--id", "e1"]), "");
    let again =
        place.told(&["event", "a/1", "note", "-it- begins", "--metadata", r#"{"k":1}"#, "--id", "e1", "--json"]);
    let again: Value = serde_json::from_str(&again).unwrap();
    assert_eq!((&again["success"], &again["duplicate"]), (&json!(true), &json!(true)));
    let events = daemon.get("/api/monitoring/events?agent=a%2F1");
    assert_eq!(
        (&events["items"][0]["message"], &events["items"][0]["metadata"]),
        (&json!("-it- begins"), &json!({"k": 1}))
    );
    assert_eq!(count(place, "select writer_uid from journal where client_id = 'e1'"), i64::from(geteuid().as_raw()));

    let mut command = place.command(&["error", "a/1", "TypeError", "password=hunter2 is bad", "--stack", "-"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"TypeError: x\n    at f (/srv/a.js:1:2)\n").unwrap();
    assert!(child.wait().unwrap().success());
    place.write("stack", &"x\n".repeat(1 << 20));
    let stack = place.path("stack");
    place.told(&["error", "a/1", "Long", "m", "--stack", stack.to_str().unwrap(), "--fingerprint", "77"]);
    let listed = place.told(&["errors"]);
    assert!(
        listed.contains("password=[redacted] is bad") && listed.contains("open") && !listed.contains("hunter2"),
        "{listed}"
    );
    assert!(place.told(&["agent", "a/1"]).contains("Problems\n"), "{}", place.told(&["agent", "a/1"]));
    let groups: Value = serde_json::from_str(&place.told(&["errors", "--groups", "--json"])).unwrap();
    assert_eq!(groups, daemon.get("/api/monitoring/error-groups?resolved=false"));
    let ours = groups["items"].as_array().unwrap().iter().find(|group| group["error_type"] == "TypeError").unwrap();
    place.told(&["resolve", ours["fingerprint"].as_str().unwrap(), "--agent", "a/1"]);
    let long = daemon.get("/api/monitoring/errors?type=Long")["items"][0]["id"].to_string();
    place.told(&["resolve", &long]);
    place.told(&["resolve", "77", "--group"]);
    assert_eq!(place.told(&["errors"]), "No unresolved errors.\n");

    for (arguments, code, words) in [
        (&["resolve", "77"][..], 1, "404"),
        (&["event", "", "note", "m"], 1, "400"),
        (&["event", "a", "", "m"], 1, "422"),
        (&["event", "a/1", "note", "another", "--id", "e1"], 1, "409"),
        (&["event", "a", "note", "m", "--metadata", "[]"], 2, "JSON object"),
        (&["event", "a", "note", "m", "--metadata", "[]", "--best-effort"], 2, "JSON object"),
        (&["event", "a", "", "m", "--best-effort"], 1, "422"),
    ] {
        let output = place.output(arguments);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
        assert!(told.contains(words) && output.stdout.is_empty(), "{arguments:?}: {told}");
    }
    let place = daemon.stop();
    // Named, since this host may have a daemon of which the test knows nothing.
    let gone = socket(&place);
    let gone = ["event", "a", "note", "m", "--socket", gone.to_str().unwrap()];
    let nobody = place.output(&gone);
    let told = String::from_utf8(nobody.stderr).unwrap();
    assert!(nobody.status.code() == Some(69) && told.contains("no daemon takes it"), "{told}");
    let silent = place.output(&[&gone[..], &["--best-effort"]].concat());
    assert!(silent.status.success() && silent.stdout.is_empty() && silent.stderr.is_empty());
}

/// A socket that is not for everybody says for whom it is.
#[test]
fn who_may_not_write_is_told_what_to_do() {
    if !geteuid().is_root() {
        println!("only root can be somebody else");
        return;
    }
    let daemon = daemon();
    let place = &daemon.place;
    fs::set_permissions(place.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let as_nobody = |more: &[&str]| {
        let mut command = place.command(&[&["event", "a", "note", "m"], more].concat());
        command.uid(65_534).gid(65_534).output().unwrap()
    };
    let refused = as_nobody(&[]);
    let told = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(69), "{told}");
    assert!(told.contains("only the group root may write to it") && told.contains("usermod -aG root nobody"), "{told}");
    let silent = as_nobody(&["--best-effort"]);
    assert!(silent.status.success() && silent.stderr.is_empty());
    fs::set_permissions(socket(place), fs::Permissions::from_mode(0o666)).unwrap();
    assert!(as_nobody(&[]).status.success());
    assert_eq!(
        count(place, "select writer_uid from journal where type = 'note'"),
        65_534,
        "the kernel's word, not the writer's"
    );
    daemon.stop();
}
