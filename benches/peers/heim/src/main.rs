//! heim, asked as the others are: see `../src/rounds.rs`.

#[path = "../../src/rounds.rs"]
mod rounds;

use futures::executor::block_on;
use futures::stream::{StreamExt, iter};
use heim::process::{Process, ProcessResult, get, processes};
use heim::units::{information::byte, time::second};

use rounds::{Library, Seen};

struct Heim;

async fn seen(process: &Process) -> ProcessResult<Seen> {
    let cpu = process.cpu_time().await?;
    let rss = process.memory().await?.rss().get::<byte>();
    let cpu = cpu.user().get::<second>() + cpu.system().get::<second>();
    Ok(Seen { pid: process.pid().cast_unsigned(), parent: 0, cpu, rss })
}

async fn with_parent(process: ProcessResult<Process>) -> ProcessResult<Seen> {
    let process = process?;
    let parent = process.parent_pid().await?.cast_unsigned();
    Ok(Seen { parent, ..seen(&process).await? })
}

impl Library for Heim {
    fn some(&mut self, pids: &[u32]) -> Vec<Seen> {
        block_on(async {
            let one = |pid: &u32| {
                let pid = pid.cast_signed();
                async move { seen(&get(pid).await?).await }
            };
            iter(pids).then(one).filter_map(|seen| async { seen.ok() }).collect().await
        })
    }

    fn all(&mut self) -> Vec<Seen> {
        block_on(async {
            let all = processes().await.expect("a /proc");
            all.then(with_parent).filter_map(|seen| async { seen.ok() }).collect().await
        })
    }
}

fn main() {
    rounds::serve(&mut Heim, std::env::args().skip(1));
}
