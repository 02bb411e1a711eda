//! One world from its beginning to its end.

mod calm;
mod check;
mod people;
mod power;
mod trouble;

use std::any::Any;
use std::collections::BTreeMap;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agent_monitor::clock::{Clock, ManualClock};
use agent_monitor::config::{Config, Directories, Source};
use agent_monitor::model::{Mono, Snapshot, Timestamp};
use agent_monitor::monitor::Input;

use super::broker::{Arrival, Broker, Said};
use super::chance::Chance;
use super::control::Control;
use super::daemon::Daemon;
use super::faults::{Fault, Faults, Strikes};
use super::mistakes::{Mistake, Onlooker, Sight};
use super::oracle::{Files, Sums};
use super::reporter::Reporter;
use super::world::World;

/// How many moments a world has in which things may go wrong.
const MOMENTS: u64 = 70;

/// How many agents there may be.
const AGENTS: usize = 5;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// What a database may take that may hardly grow, bytes: with less its log would be too large a part of it.
const BOUND: u64 = 4 << 20;

/// As often old rows are deleted.
const PRUNE_NS: u64 = 600_000_000_000;

/// 2026-01-01T00:00:00Z
const NEW_YEAR: Timestamp = Timestamp::from_unix_ms(1_767_225_600_000);

/// How a world ended.
pub(crate) struct Ending {
    pub(crate) wrong: Option<String>,
    /// What the database holds.
    pub(crate) rows: Vec<String>,
    pub(crate) strikes: Strikes,
}

impl Ending {
    /// Of a world in which something panicked.
    pub(crate) fn of_panic(payload: &(dyn Any + Send)) -> Ending {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("?");
        Ending { wrong: Some(format!("P8: it panicked: {text}")), rows: Vec::new(), strikes: Strikes::new() }
    }
}

/// What lasts for a while, and up to which moment.
#[derive(Default)]
struct Until {
    disk: Option<(Fault, u64)>,
    blind: u64,
    hidden: u64,
}

struct Story<'c> {
    clock: Arc<ManualClock>,
    world: Arc<Mutex<World>>,
    sight: Arc<Mutex<Sight>>,
    chance: Chance,
    faults: Faults,
    control: &'c Control,
    place: &'c Path,
    /// Each daemon that comes after a killed one has a directory of its own: what that one left.
    directory: PathBuf,
    deaths: u32,
    /// How long ago the machine was started first, when its monotonic clock began this time: nanoseconds.
    booted_at: u64,
    config: Arc<Config>,
    /// None only while one is replaced by the next.
    daemon: Option<Daemon>,
    broker: Broker,
    reporter: Reporter,
    clans: BTreeMap<String, usize>,
    /// What the heart has from its source; none before the first good reading.
    said: Option<Vec<Said>>,
    sums: Sums,
    kept: Kept,
    last_pass: Option<Mono>,
    /// When something was deleted last, or that was asked for.
    pruned_at: u64,
    /// When it was done first.
    believes_since: Option<u64>,
    /// Entries of daemons' own that are on disk, with their ids, and when that was told.
    ids: Vec<(i64, u64)>,
    moment: u64,
    until: Until,
    read_again: Mono,
    quiet: bool,
}

/// How things were when all was on disk, last.
#[derive(Default)]
struct Kept {
    sums: Sums,
    /// Of the world, as the monitor has passed over it.
    passes: u64,
    tick: u64,
}

/// Goes through a world, in a directory that is empty afterwards. Prints its story, if it is to be told.
pub(crate) fn go(seed: u64, place: &Path, control: &Control, tells: bool) -> Ending {
    // Where one before panicked, it left something.
    let _ = std::fs::remove_dir_all(place);
    control.disarm();
    std::fs::create_dir_all(place).unwrap();
    let mut story = Story::begin(seed, place, control, tells);
    let outcome = catch_unwind(AssertUnwindSafe(|| story.go()));
    story.control.disarm();
    let world = story.world.lock().unwrap_or_else(PoisonError::into_inner).story.take();
    print(&world.unwrap_or_default());
    let wrong = outcome.unwrap_or_else(|panicked| resume_unwind(panicked)).err();
    control.keep(false);
    let strikes = story.faults.struck().clone();
    let directory = story.directory.clone();
    story.daemon.take().expect("it lives").stop();
    let rows = Files { directory: &directory, kept_since_ns: 0, bounded: false }.dump();
    if tells {
        print(&rows);
    }
    std::fs::remove_dir_all(place).unwrap();
    Ending { wrong, rows, strikes }
}

fn print(lines: &[String]) {
    let mut out = std::io::stdout().lock();
    lines.iter().for_each(|line| writeln!(out, "{line}").unwrap());
}

/// Everything that goes wrong comes soon: rules hold for short, history is kept for an hour.
fn config(chance: &mut Chance, bounded: bool) -> Config {
    let directories = Directories { state: "/state".into(), runtime: "/run".into() };
    let mut config = Config::defaults(&directories);
    config.registry.sources = vec![Source::File { path: "/agents.json".into() }];
    config.registry.stale_after = 60 * SECOND;
    config.sampling.interval = [SECOND, 10 * SECOND, 60 * SECOND][usize::try_from(chance.below(3)).unwrap()];
    config.storage.retention = HOUR;
    config.storage.rollup_retention = 2 * HOUR;
    config.storage.max_size_bytes = if bounded { BOUND } else { 16 << 20 };
    for rule in &mut config.alerts.rules {
        rule.hold = rule.hold.min(20 * SECOND);
        rule.repeat = rule.repeat.min(120 * SECOND);
    }
    config
}

impl Story<'_> {
    fn begin<'c>(seed: u64, place: &'c Path, control: &'c Control, tells: bool) -> Story<'c> {
        let clock = Arc::new(ManualClock::new(NEW_YEAR));
        let mut world = World::new(seed, Arc::clone(&clock));
        world.story = tells.then(Vec::new);
        let world = Arc::new(Mutex::new(world));
        let sight = Arc::default();
        clock.advance(SECOND);
        let mut chance = Chance::new(seed ^ 0x5704);
        let faults = Faults::of(seed);
        let config = Arc::new(config(&mut chance, faults.has(Fault::Bounded)));
        let directory = place.join("state-0");
        control.keep(faults.has(Fault::PowerLost));
        let daemon = Daemon::start(&directory, &config, Onlooker::of(&world, &sight, Mistake::None), &clock);
        let reporter = Reporter::of(seed, faults.has(Fault::Bounded), config.storage.retention, Arc::clone(&clock));
        Story {
            read_again: clock.now().mono,
            clock,
            world,
            sight,
            chance,
            control,
            place,
            directory,
            deaths: 0,
            booted_at: 0,
            config,
            daemon: Some(daemon),
            broker: Broker::of(seed, faults.has(Fault::Rebooted) || faults.has(Fault::PowerLost)),
            reporter,
            faults,
            clans: BTreeMap::new(),
            said: None,
            sums: Sums::new(),
            kept: Kept::default(),
            last_pass: None,
            pruned_at: 0,
            believes_since: None,
            ids: Vec::new(),
            moment: 0,
            until: Until::default(),
            quiet: false,
        }
    }

    /// For how long the machine has been there, over all its starts: nanoseconds.
    fn now(&self) -> u64 {
        self.booted_at + self.clock.now().mono.0
    }

    fn daemon(&mut self) -> &mut Daemon {
        self.daemon.as_mut().expect("it lives")
    }

    fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.daemon.as_ref().and_then(|daemon| daemon.snapshot.clone())
    }

    fn is_well(&self) -> bool {
        self.daemon.as_ref().is_some_and(Daemon::is_well)
    }

    fn go(&mut self) -> Result<(), String> {
        self.world().tell(|world| format!("{:?}", world.kind));
        for _ in 0..3 {
            self.world().start();
        }
        self.new_agent();
        for moment in 1..=MOMENTS {
            self.moment = moment;
            self.live();
            self.begin_faults()?;
            let (agents, now) = (self.broker.entries.len(), self.now());
            let daemon = self.daemon.as_mut().expect("it lives");
            self.reporter.tell(agents, daemon, &mut self.faults, now);
            self.read_registry(false)?;
            let tenths = [1, 3, 5, 10, 15, 25][usize::try_from(self.chance.below(6)).unwrap()];
            self.pass(self.config.sampling.interval * tenths / 10)?;
            self.end_faults()?;
            self.perhaps_die()?;
            if moment % 8 == 0 {
                self.look_at_files()?;
            }
        }
        self.calm_down()
    }

    /// Lets time pass, calling the monitor whenever something is due, as the engine does; at most until the machine starts
    /// again, and its clock with it.
    fn pass(&mut self, span: Duration) -> Result<(), String> {
        let (end, boot) = (self.clock.now().mono + span, self.booted_at);
        while self.booted_at == boot && self.clock.now().mono < end {
            let due = self.daemon().monitor.next_due().min(end);
            self.clock.advance(due.since(self.clock.now().mono));
            self.read_registry(false)?;
            // Now and then nothing happens while the monitor reads, so that all it says must be so.
            let awake = !self.quiet && !self.chance.one_in(3);
            self.step(awake)?;
        }
        Ok(())
    }

    fn step(&mut self, awake: bool) -> Result<(), String> {
        self.world().awake = awake;
        let refused = self.sight.lock().unwrap().scans_refused;
        let now = self.clock.now();
        let effects = self.daemon().monitor.step(now);
        self.world().awake = false;
        let blind = self.sight.lock().unwrap().scans_refused > refused;
        if self.faults.now(Fault::KilledBeforeStoring, 80) {
            drop(effects);
            self.faults.strike(Fault::KilledBeforeStoring, 1);
            return self.die();
        }
        if self.until.disk.is_none() && self.faults.now(Fault::KilledWriting, 60) {
            return self.die_writing(effects);
        }
        self.daemon().perform(effects);
        self.reporter.hear(self.now(), false);
        if self.daemon().pruned {
            self.pruned_at = self.now();
        }
        let last_pass = self.snapshot().and_then(|snapshot| snapshot.own.last_tick_mono);
        let passed = last_pass != self.last_pass;
        self.last_pass = last_pass;
        // What began since the last good look began since then.
        if passed && !blind {
            self.world().passes += 1;
        }
        self.check(passed && !awake && !blind)
    }

    /// The source is read again every ten seconds, and whenever its file changed.
    fn read_registry(&mut self, changed: bool) -> Result<(), String> {
        let now = self.clock.now().mono;
        if !changed && now < self.read_again {
            return Ok(());
        }
        self.read_again = now + self.config.registry.refresh;
        let Some(Arrival { reading, said }) = self.broker.read(self.moment, &mut self.faults) else { return Ok(()) };
        self.tell(|| match &reading {
            Ok(_) => format!("the registry says {said:?}"),
            Err(error) => format!("the registry cannot be read: {error}"),
        });
        if reading.is_ok() {
            self.said = Some(said);
        }
        self.daemon().tell(Input::Source { index: 0, reading });
        self.step(false)
    }

    fn tell(&self, line: impl FnOnce() -> String) {
        self.world().tell(|_| line());
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }
}
