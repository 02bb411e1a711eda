//! Which program a process runs: its executable or, under an interpreter, the script or module.

use crate::model::Image;

/// What a command line and an executable together say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Program<'a> {
    /// The executable itself.
    Native {
        /// The file name of `argv[0]`: one file can play several parts.
        name: &'a str,
        /// Where it is; none where that may not be read.
        exe: Option<&'a str>,
        /// What follows it.
        arguments: &'a [Box<str>],
    },
    /// A file that an interpreter runs.
    Script {
        /// Who runs it.
        interpreter: Interpreter,
        /// Its word in the command line.
        word: &'a str,
        /// What follows it.
        arguments: &'a [Box<str>],
    },
    /// A module that Python runs: `-m NAME`.
    Module {
        /// Its name.
        name: &'a str,
        /// What follows it.
        arguments: &'a [Box<str>],
    },
    /// A process under an interpreter that wrote a title over its command line.
    Title {
        /// Who runs it.
        interpreter: Interpreter,
        /// What it wrote.
        title: &'a str,
    },
    /// An interpreter that runs no file: code from the command line or a terminal.
    Nothing,
}

/// A program that runs other programs' text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Interpreter {
    Node,
    Bun,
    Deno,
    Python,
}

impl Interpreter {
    /// By the file name of an executable.
    fn named(name: &str) -> Option<Interpreter> {
        match name {
            "node" | "nodejs" => Some(Interpreter::Node),
            "bun" => Some(Interpreter::Bun),
            "deno" => Some(Interpreter::Deno),
            "python" | "python3" => Some(Interpreter::Python),
            _ => {
                let minor = name.strip_prefix("python3.")?;
                let digits = !minor.is_empty() && minor.bytes().all(|byte| byte.is_ascii_digit());
                digits.then_some(Interpreter::Python)
            }
        }
    }

    /// Whether it runs JavaScript.
    pub(super) fn is_javascript(self) -> bool {
        self != Interpreter::Python
    }
}

impl<'a> Program<'a> {
    /// Which program this is the image of.
    pub(super) fn of(image: &'a Image) -> Program<'a> {
        Program::from(image.exe.as_deref(), &image.words)
    }

    fn from(exe: Option<&'a str>, words: &'a [Box<str>]) -> Program<'a> {
        let Some((first, rest)) = words.split_first() else { return Program::Nothing };
        let name = file_name(first);
        let Some(interpreter) = Interpreter::named(exe.map_or(name, file_name)) else {
            return Program::Native { name, exe, arguments: rest };
        };
        if rest.is_empty() {
            // An interpreter alone waits for somebody to type.
            let alone = Interpreter::named(name).is_some();
            return if alone { Program::Nothing } else { Program::Title { interpreter, title: first } };
        }
        match interpreter {
            Interpreter::Python => python(rest),
            _ => javascript(interpreter, rest),
        }
    }
}

/// The word of a command line that is the path of a script, if an interpreter runs one.
pub fn script<'a>(exe: Option<&'a str>, words: &'a [Box<str>]) -> Option<&'a str> {
    match Program::from(exe, words) {
        Program::Script { word, .. } => Some(word),
        _ => None,
    }
}

/// The last part of a path, without the `.exe` that some programs have everywhere.
pub(super) fn file_name(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.strip_suffix(".exe").unwrap_or(name)
}

/// Options whose value is a word of its own: node(1), `bun --help`, `deno run --help`.
fn takes_value(interpreter: Interpreter, option: &str) -> bool {
    match interpreter {
        Interpreter::Node => matches!(
            option,
            "-r" | "--require" | "--import" | "--loader" | "--experimental-loader" | "-C" | "--conditions"
        ),
        Interpreter::Bun => matches!(option, "-r" | "--require" | "--import" | "--preload" | "--cwd"),
        Interpreter::Deno => matches!(option, "--config" | "--import-map" | "-L" | "--log-level"),
        Interpreter::Python => false,
    }
}

/// Options after which there is code, or none, instead of a file.
fn is_inline(option: &str) -> bool {
    let name = option.split_once('=').map_or(option, |(name, _)| name);
    matches!(name, "-e" | "-c" | "-p" | "-pe" | "--eval" | "--print" | "--check" | "-")
}

fn javascript(interpreter: Interpreter, words: &[Box<str>]) -> Program<'_> {
    let mut run = matches!(interpreter, Interpreter::Bun | Interpreter::Deno);
    let mut place = 0;
    while let Some(word) = words.get(place) {
        place += 1;
        if is_inline(word) {
            return Program::Nothing;
        }
        if &**word == "--" {
            return script_at(interpreter, words, place);
        }
        if word.starts_with('-') {
            place += usize::from(takes_value(interpreter, word));
        } else if run && &**word == "run" {
            run = false;
        } else {
            return script_at(interpreter, words, place - 1);
        }
    }
    Program::Nothing
}

/// Whatever the word at this place looks like, it is the script.
fn script_at(interpreter: Interpreter, words: &[Box<str>], place: usize) -> Program<'_> {
    match words.get(place) {
        Some(word) => Program::Script { interpreter, word, arguments: &words[place + 1..] },
        None => Program::Nothing,
    }
}

/// Python's options are getopt's: single letters, which may stand together, the value of the last one in the same word
/// or the next: python(1).
fn python(words: &[Box<str>]) -> Program<'_> {
    let mut place = 0;
    'words: while let Some(word) = words.get(place) {
        place += 1;
        if &**word == "--check-hash-based-pycs" {
            place += 1;
        } else if word.starts_with("--") && word.len() > 2 {
            continue;
        } else if let Some(letters) = word.strip_prefix('-').filter(|letters| *letters != "-") {
            if letters.is_empty() {
                return Program::Nothing; // standard input
            }
            for (at, letter) in letters.char_indices() {
                let joined = Some(&letters[at + letter.len_utf8()..]).filter(|rest| !rest.is_empty());
                match letter {
                    'c' => return Program::Nothing,
                    'm' => {
                        let (name, after) = joined.map_or_else(
                            || (words.get(place).map(|word| &**word), place + 1),
                            |name| (Some(name), place),
                        );
                        let Some(name) = name else { return Program::Nothing };
                        return Program::Module { name, arguments: words.get(after..).unwrap_or_default() };
                    }
                    'W' | 'X' => {
                        place += usize::from(joined.is_none());
                        continue 'words;
                    }
                    _ => {}
                }
            }
        } else {
            return script_at(Interpreter::Python, words, place - usize::from(&**word != "--"));
        }
    }
    Program::Nothing
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(line: &str) -> Vec<Box<str>> {
        line.split(' ').map(Into::into).collect()
    }

    /// The kind, the name and the number of arguments.
    fn said(exe: Option<&str>, words: &[Box<str>]) -> String {
        match Program::from(exe, words) {
            Program::Native { name, arguments, .. } => format!("native {name} {}", arguments.len()),
            Program::Script { word, arguments, .. } => format!("script {word} {}", arguments.len()),
            Program::Module { name, arguments } => format!("module {name} {}", arguments.len()),
            Program::Title { title, .. } => format!("title {title}"),
            Program::Nothing => "nothing".to_owned(),
        }
    }

    #[test]
    fn programs() {
        for (exe, line, expected) in [
            ("/opt/claude.exe", "claude", "native claude 0"),
            ("/opt/versions/2.1.197", "/home/me/.local/bin/claude -p x", "native claude 2"),
            ("/usr/bin/vim", "vim claude.md", "native vim 1"),
            ("/usr/bin/node", "node /usr/bin/codex exec", "script /usr/bin/codex 1"),
            ("/usr/bin/node", "/usr/bin/node --max-old-space-size=8 /usr/bin/gemini", "script /usr/bin/gemini 0"),
            ("/usr/bin/nodejs", "node -r x --require y --import z --loader l -C c s a b", "script s 2"),
            ("/usr/bin/node", "node -- s", "script s 0"),
            ("/usr/bin/node", "node run s", "script run 1"),
            ("/opt/bun/bin/bun.exe", "bun /usr/bin/gemini", "script /usr/bin/gemini 0"),
            ("/opt/bun/bin/bun", "bun run --smol s", "script s 0"),
            ("/opt/bun/bin/bun", "bun run run", "script run 0"),
            ("/usr/bin/deno", "deno run -A --v8-flags=x /g.js", "script /g.js 0"),
            ("/usr/bin/deno", "deno run --config c s", "script s 0"),
            ("/usr/bin/node", "node -e 1", "nothing"),
            ("/usr/bin/node", "node --eval=1 x", "nothing"),
            ("/usr/bin/node", "node -p 1", "nothing"),
            ("/usr/bin/node", "node -r", "nothing"),
            ("/usr/bin/node", "node", "nothing"),
            ("/usr/bin/node", "node --inspect", "nothing"),
            ("/usr/bin/node", "pi", "title pi"),
            ("/usr/bin/node", "/usr/bin/node", "nothing"),
            ("/usr/bin/python3.11", "/v/bin/python3 /v/bin/aider", "script /v/bin/aider 0"),
            ("/usr/bin/python3.11", "python3 -m aider --message x", "module aider 2"),
            ("/usr/bin/python3", "python3 -maider", "module aider 0"),
            ("/usr/bin/python3", "python3 -Im aider x", "module aider 1"),
            ("/usr/bin/python3", "python3 -m", "nothing"),
            ("/usr/bin/python3", "python3 -W ignore -X dev -Wx -u s", "script s 0"),
            ("/usr/bin/python3", "python3 -BW ignore s", "script s 0"),
            ("/usr/bin/python3", "python3 -c x s", "nothing"),
            ("/usr/bin/python3", "python3 -Ic x", "nothing"),
            ("/usr/bin/python3", "python3 - x", "nothing"),
            ("/usr/bin/python3", "python3 --check-hash-based-pycs never s", "script s 0"),
            ("/usr/bin/python3", "python3 -- -s", "script -s 0"),
            ("/usr/bin/python3x", "python3x s", "native python3x 1"),
            ("/usr/bin/python3.", "python3. s", "native python3. 1"),
            ("/usr/bin/bash", "bash claude", "native bash 1"),
        ] {
            assert_eq!(said(Some(exe), &words(line)), expected, "{line}");
        }
    }

    #[test]
    fn without_a_readable_executable_the_first_word_speaks() {
        for (line, expected) in [
            ("claude -p", "native claude 1"),
            ("/usr/bin/node /usr/bin/codex", "script /usr/bin/codex 0"),
            ("pi", "native pi 0"),
        ] {
            assert_eq!(said(None, &words(line)), expected, "{line}");
        }
        assert_eq!(said(Some("/usr/bin/node"), &[]), "nothing");
    }

    proptest! {
        #[test]
        fn no_words_panic(exe in "(/bin/(node|bun|deno|python3|x))?", line in proptest::collection::vec("(-{0,2}[cmWXrée-]{0,3}|run|[a-zé/]{0,3})", 0..6)) {
            let words: Vec<Box<str>> = line.iter().map(|word| word.as_str().into()).collect();
            let _ = said(Some(&exe), &words);
            let _ = said(None, &words);
        }
    }
}
