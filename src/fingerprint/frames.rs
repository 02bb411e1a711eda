//! Where an error came up, from a stack as the runtimes write it: V8, CPython, the JVM, Rust, Go, Perl.

use std::fmt;

/// A stack taken apart.
#[derive(Default)]
pub(super) struct Trace<'t> {
    /// Innermost first.
    frames: Vec<Frame<'t>>,
    /// What it says of errors behind this one.
    pub(super) causes: Vec<&'t str>,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Frame<'t> {
    function: &'t str,
    place: &'t str,
}

/// Takes a stack apart. Lines that are no frames are passed over.
pub(super) fn parse(stack: &str) -> Trace<'_> {
    let mut trace = Trace::default();
    let mut outermost_first = false;
    let mut before = "";
    for line in stack.lines().map(|line| line.trim().trim_start_matches(['|', '+', ' '])) {
        if line.starts_with("Traceback (most recent call last)") {
            // The last one is that of the error itself; those before it led to it.
            trace.frames.clear();
            outermost_first = true;
        } else if let Some(cause) = line.strip_prefix("Caused by: ") {
            trace.causes.push(cause);
        } else if let Some(frame) = python(line).or_else(|| perl(line)) {
            trace.frames.push(frame);
        } else if let Some(function) = numbered(line) {
            trace.frames.push(Frame { function, place: "" });
        } else if let Some(place) = line.strip_prefix("at ") {
            match trace.frames.last_mut() {
                Some(last) if numbered(before).is_some() => last.place = place,
                _ if trace.causes.is_empty() => trace.frames.push(call(place)),
                _ => {}
            }
        } else if line.contains(".go:") && line.starts_with('/') {
            let function = before.strip_prefix("created by ").unwrap_or(before);
            let function = function.rsplit_once('(').map_or(function, |(name, _)| name);
            trace.frames.push(Frame { function, place: line });
        }
        before = line;
    }
    if outermost_first {
        trace.frames.reverse();
    }
    trace
}

/// `File "/srv/a.py", line 7, in run`
fn python(line: &str) -> Option<Frame<'_>> {
    let (place, rest) = line.strip_prefix("File \"")?.split_once('"')?;
    let function = rest.split_once(", in ").map_or("", |(_, function)| function);
    Some(Frame { function, place })
}

/// `main::deliver("a") called at /srv/a.pl line 15`
fn perl(line: &str) -> Option<Frame<'_>> {
    let (call, place) = line.split_once(" called at ")?;
    let function = call.split('(').next()?;
    Some(Frame { function, place: place.split(" line ").next()? })
}

/// `4: agent::load`, as Rust numbers its frames.
fn numbered(line: &str) -> Option<&str> {
    let (number, function) = line.split_once(": ")?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| function.split_once(" - ").map_or(function, |(_, name)| name).trim())
}

/// What stands after `at`: `f (/srv/a.js:1:2)`, `/srv/a.js:1:2`, `Agent.step(Agent.java:38)`.
fn call(text: &str) -> Frame<'_> {
    let text = text.split_once(' ').filter(|(first, _)| *first == "async").map_or(text, |(_, rest)| rest);
    // A path, also one with a bracket in it.
    let is_place = text.starts_with('/') || text.starts_with("file:") || text.get(1..3) == Some(":\\");
    match text.split_once('(') {
        Some((function, place)) if !is_place => {
            let function = function.trim().split(" [as ").next().unwrap_or_default();
            Frame { function, place: place.trim_end_matches(')') }
        }
        _ => Frame { function: "", place: text },
    }
}

impl Trace<'_> {
    /// The innermost frames of the program's own code; of any code, if it has none. A function that calls itself counts
    /// once.
    pub(super) fn innermost(&self, count: usize) -> Vec<String> {
        let of = |only_own: bool| {
            let mut texts: Vec<String> = Vec::with_capacity(count);
            for frame in self.frames.iter().filter(|frame| !only_own || frame.is_own()) {
                let text = frame.to_string();
                if texts.last() != Some(&text) {
                    if texts.len() == count {
                        break;
                    }
                    texts.push(text);
                }
            }
            texts
        };
        let own = of(true);
        if own.is_empty() { of(false) } else { own }
    }
}

impl Frame<'_> {
    /// Whether it is code of the program, not of the runtime or a package.
    fn is_own(&self) -> bool {
        const FUNCTIONS: [&str; 14] = [
            "java.",
            "javax.",
            "jdk.",
            "sun.",
            "com.sun.",
            "core::",
            "std::",
            "alloc::",
            "__rustc::",
            "rust_begin_unwind",
            "<alloc::",
            "<core::",
            "<std::",
            "runtime.",
        ];
        const PLACES: [&str; 6] = ["node:", "internal/", "<frozen ", "<anonymous>", "Native Method", "/rustc/"];
        const WITHIN: [&str; 6] =
            ["/node_modules/", "/site-packages/", "/dist-packages/", "/lib/python", "/go/src/", "/.cargo/registry/"];
        // The JVM names the module first: java.base/java.util.ArrayList.get
        let function = self.function.rsplit_once('/').map_or(self.function, |(_, name)| name);
        !(FUNCTIONS.iter().any(|start| function.starts_with(start))
            || PLACES.iter().any(|start| self.place.starts_with(start))
            || WITHIN.iter().any(|part| self.place.contains(part)))
    }

    /// The file's name, without directories, line and column.
    fn file(&self) -> &str {
        let file = self.place.rsplit(['/', '\\']).next().unwrap_or_default();
        file.split([':', '?', ' ', ')']).next().unwrap_or_default()
    }
}

/// Function and file, numbers taken out.
impl fmt::Display for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Rust adds a hash to names: agent::load::h0123456789abcdef
        let function = match self.function.rsplit_once("::h") {
            Some((name, hash)) if hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => name,
            _ => self.function,
        };
        write!(f, "{} {}", unnumbered(function), unnumbered(self.file()))
    }
}

/// A name in which every part with a digit is the same: `app.3f9a2b.js`, `lambda$main$0`.
fn unnumbered(name: &str) -> String {
    let between = |c: char| !c.is_alphanumeric();
    let part = |part: &str| if part.contains(|c: char| c.is_ascii_digit()) { "#".to_owned() } else { part.to_owned() };
    let mut text = String::with_capacity(name.len());
    let mut start = 0;
    for (at, separator) in name.match_indices(between) {
        text.push_str(&part(&name[start..at]));
        text.push_str(separator);
        start = at + separator.len();
    }
    text.push_str(&part(&name[start..]));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn innermost_own_frames() {
        let table: [(&str, &[&str]); 8] = [
            (
                "TypeError: x\n    at Session.title (/srv/a/agent.js:42:30)\n    at async /srv/a/agent.js:71:36\n    \
                 at Object.<anonymous> (C:\\b\\app.3f9a2b.js:1:1)\n    at f (/srv/a/node_modules/p/i.js:1:1)",
                &["Session.title agent.js", " agent.js", "Object.<anonymous> app.#.js"],
            ),
            (
                "Error: x\n    at TCPConnectWrap.afterConnect [as oncomplete] (node:net:1611:16)",
                &["TCPConnectWrap.afterConnect node"],
            ),
            (
                "Traceback (most recent call last):\n  File \"a.py\", line 1, in old\nKeyError: 1\n\nTraceback (most recent call \
                 last):\n  File \"/x/a.py\", line 90, in <module>\n    b()\n  File \"/x/a.py\", line 60, in claim\n    raise X\n  \
                 File \"/usr/lib/python3.11/json/__init__.py\", line 1, in loads",
                &["claim a.py", "<module> a.py"],
            ),
            (
                "java.lang.X: y\n\tat java.base/java.util.List.get(List.java:1)\n\tat Agent.lambda$main$0(Agent.java:48)\n\tat \
                 Agent.main(Agent.java:48)\nCaused by: java.io.Y: z\n\tat Other.open(Other.java:32)\n\t... 1 more",
                &["Agent.lambda$main$# Agent.java", "Agent.main Agent.java"],
            ),
            (
                "thread 'main' panicked at /a/b.rs:1:1:\nx\nstack backtrace:\n   0: core::panicking::panic_fmt\n             at \
                 /rustc/0/library/core/src/panicking.rs:80:14\n   4: agent::load::h0123456789abcdef\n             at /a/b.rs:18:35\n",
                &["agent::load b.rs"],
            ),
            (
                "panic: x\n\ngoroutine 1 [running]:\nmain.work(0xc000012345)\n\t/srv/a/main.go:12 +0x1d\nmain.main()\n\t/srv/a/main.go:7 +0x25",
                &["main.work main.go", "main.main main.go"],
            ),
            ("E: x\n    at /srv/a (b)/c.js:7:2\n    at f (/srv/a (b)/c.js:1:2)", &[" c.js", "f c.js"]),
            ("x at a.pl line 1.\n\tmain::deliver(\"run-9\") called at /srv/a.pl line 15", &["main::deliver a.pl"]),
        ];
        for (stack, expected) in table {
            assert_eq!(parse(stack).innermost(3), expected, "{stack}");
        }
        let deep = "    at f (a.js:1:1)\n".repeat(50) + "    at g (a.js:2:2)";
        assert_eq!(parse(&deep).innermost(3), ["f a.js", "g a.js"]);
        assert!(parse("nothing\nof the kind").innermost(3).is_empty());
        assert_eq!(parse("X: y\n\tat A.b(A.java:1)\nCaused by: java.io.Y: z").causes, ["java.io.Y: z"]);
    }
}
