//! A broker whose HTTP registry is stopped, slowed and broken at will.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use serde_json::Value;

use crate::harness::*;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mood {
    Well,
    /// Takes the request and says nothing.
    Slow,
    /// Answers 500.
    Failing,
    /// Answers with no JSON.
    Broken,
}

/// A registry at an address of its own, which stays its own while it is stopped.
struct Broker {
    address: SocketAddr,
    mood: Arc<Mutex<Mood>>,
    body: String,
    stop: Option<mpsc::Sender<()>>,
}

impl Broker {
    fn start(body: String) -> Broker {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut broker = Broker { address, mood: Arc::new(Mutex::new(Mood::Well)), body, stop: None };
        broker.serve(listener);
        broker
    }

    fn serve(&mut self, listener: TcpListener) {
        let (mood, body) = (Arc::clone(&self.mood), self.body.clone());
        let (stop, stopped) = mpsc::channel();
        self.stop = Some(stop);
        thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming() {
                if stopped.try_recv() == Err(mpsc::TryRecvError::Disconnected) {
                    return;
                }
                let mut stream: TcpStream = stream.unwrap();
                // Closed with the request unread, the connection would be reset.
                let mut request = [0; 4096];
                let _ = stream.read(&mut request);
                let (status, text) = match *mood.lock().unwrap() {
                    Mood::Well => ("200 OK", body.as_str()),
                    Mood::Failing => ("500 Internal Server Error", "oh no"),
                    Mood::Broken => ("200 OK", "[{\"id\": \"a\""),
                    Mood::Slow => {
                        held.push(stream);
                        continue;
                    }
                };
                let head = format!(
                    "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    text.len()
                );
                // Whoever asked may be gone.
                let _ = stream.write_all(format!("{head}{text}").as_bytes());
            }
        });
    }

    fn be(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn stop(&mut self) {
        drop(self.stop.take());
        // Wakes it; it closes its listener.
        let _ = TcpStream::connect(self.address);
        eventually("nobody listens", || TcpStream::connect(self.address).is_err().then_some(()));
    }

    fn start_again(&mut self) {
        let listener = eventually("the address is free", || TcpListener::bind(self.address).ok());
        self.serve(listener);
    }
}

#[test]
fn status_says_what_is_wrong_with_it_and_since_when() {
    let mut broker = Broker::start(us("coder"));
    let source = format!(
        "[[registry.source]]\nkind = \"http\"\nurl = \"http://{}/agents?key=s3cret\"\ntimeout = \"500ms\"\n",
        broker.address
    );
    let daemon = Place::new(&config(&source)).start();
    daemon.until("it is well", |status| status["registry"][0]["status"] == "ok");
    let screen = daemon.place.told(&["status"]);
    assert!(screen.contains("daemon     ready") || screen.contains("daemon     failing"), "{screen}");
    let line = |screen: &str| screen.lines().find(|line| line.starts_with("registry")).unwrap().to_owned();
    assert!(line(&screen).contains(": 1 record, read "), "{screen}");

    let fails = |daemon: &Daemon, word: &str| {
        let tick = daemon.status()["sampling"]["tick"].as_u64().unwrap();
        let failing = |status: &Value| status["registry"][0]["error"].as_str().is_some_and(|text| text.contains(word));
        let status = daemon.until(word, failing);
        let screen = daemon.place.told(&["status"]);
        let line = line(&screen);
        let began = status["registry"][0]["failingSince"].as_str().unwrap().to_owned();
        // What is wrong comes first, why below it.
        let mut lines = screen.lines().skip_while(|line| !line.contains("failing since "));
        assert!(lines.next().is_some_and(|line| line.contains(&began)), "{screen}");
        assert!(lines.next().is_some_and(|line| line.contains(word)), "{screen}");
        assert!(line.contains("failing; last good list: 1 record, read "), "{line}");
        assert!(!screen.contains("s3cret"), "{screen}");
        // Watching goes on, with what it last knew.
        let later = daemon.until("ticks go on", |status| status["sampling"]["tick"].as_u64() > Some(tick + 1));
        assert_eq!(later["counters"]["ticksSkipped"], 0);
        assert_eq!(agents(&daemon.get("/api/monitoring/dashboard")), ["coder \"working\""]);
        assert_eq!(get(&daemon.url, "/readyz", "localhost", "").0, 200);
        began
    };
    broker.stop();
    let stopped = fails(&daemon, "refused");
    broker.start_again();
    broker.be(Mood::Slow);
    assert_eq!(fails(&daemon, "did not answer within 500 ms"), stopped, "one failure after the other is one trouble");
    let mut last = stopped;
    for (mood, word) in [(Mood::Failing, "500 Internal"), (Mood::Broken, "EOF while parsing")] {
        broker.be(Mood::Well);
        daemon.until("it is well again", |status| status["registry"][0]["status"] == "ok");
        assert!(line(&daemon.place.told(&["status"])).contains(": 1 record, read "));
        broker.be(mood);
        let since = fails(&daemon, word);
        assert!(since > last, "a new trouble");
        last = since;
    }
    daemon.stop();
}
