//! Instructions that the hot paths take, counted by valgrind: a change can be judged by them on a machine that is busy.
//!
//! ```text
//! cargo bench --bench counts --features rustix/use-libc-auxv -- [--json FILE] [PIECE…]
//! ```
//!
//! The feature hides the kernel's vDSO, which is not mapped under valgrind.
//!
//! Each piece runs twice under callgrind, with few and with many repetitions; the difference is what the repetitions
//! took, to a few in a thousand. What the kernel does is not counted. The figures hold for one build on one kind of
//! processor.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a bench has nobody to tell")]

mod pieces;

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use pieces::{PIECES, Piece};

fn main() -> ExitCode {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --all-targets` runs this too, and wants to know only that it can be built.
    if args.first().is_some_and(|first| first == "repeat") {
        let piece = PIECES.iter().find(|piece| piece.name == args[1]).expect("a piece");
        (piece.run)(args[2].parse().unwrap());
        return ExitCode::SUCCESS;
    }
    let Some(place) = args.iter().position(|arg| arg == "--bench") else { return ExitCode::SUCCESS };
    args.remove(place);
    let mut json: Option<PathBuf> = None;
    if let Some(place) = args.iter().position(|arg| arg == "--json") {
        json = Some(args.remove(place + 1).into());
        args.remove(place);
    }
    let mut figures = serde_json::Map::new();
    for piece in PIECES.iter().filter(|piece| args.is_empty() || args.iter().any(|arg| arg == piece.name)) {
        let each = count(piece);
        let line = format!("{:12} {each:10}  {}\n", piece.name, piece.what);
        stdout().write_all(line.as_bytes()).unwrap();
        figures.insert(piece.name.to_owned(), each.into());
    }
    if let Some(path) = json {
        std::fs::write(path, serde_json::Value::Object(figures).to_string()).unwrap();
    }
    ExitCode::SUCCESS
}

/// Instructions for one of what the piece does.
fn count(piece: &Piece) -> u64 {
    let [few, many] = piece.repetitions;
    (instructions(piece, many) - instructions(piece, few)) / u64::from((many - few) * piece.each)
}

fn instructions(piece: &Piece, repetitions: u32) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().unwrap())
        .args(["repeat", piece.name, &repetitions.to_string()])
        .output()
        .expect("valgrind: install it");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {}: {text}", piece.name, output.status);
    let collected = text.lines().find_map(|line| line.split_once("Collected :"));
    collected.expect("callgrind says what it collected").1.trim().parse().unwrap()
}
