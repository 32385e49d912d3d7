//! Runs `mutants`: finds planted faults that no test notices.
//!
//! All faults go into one build, each behind a switch that is read from the environment, in child
//! processes too. So a fault costs the time of the tests that reach it, but no build. Each fault is
//! run against the tests of its own crate, the fastest first, until one fails. The README says when
//! to run this and how to judge surviving faults.

mod built;
mod plant;
mod suite;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use self::{
    built::{Built, built, folder, git},
    plant::Fault,
    suite::{Ended, Test, Workdir, measure_coverage},
};
use crate::Result;

/// Command line options.
struct Options {
    /// Only faults on lines that changed since this commit.
    since: Option<String>,
    /// Only faults of these crates; all crates if empty.
    packages: Vec<String>,
    /// Only faults in files whose path contains this text.
    file: String,
    /// Exactly these faults, without sampling.
    numbers: Vec<u32>,
    sample: usize,
    seed: u64,
    /// Runs the tests of all crates, not only those of the fault's crate.
    wide: bool,
    /// Skips tests that take longer, in seconds.
    longest: f64,
    minutes: u64,
    jobs: usize,
}

/// The outcome of a fault.
enum FaultOutcome {
    Unreached,
    Survived,
    Noticed { by: String, ended: Ended },
}

pub(crate) fn run(args: &[&str]) -> Result<()> {
    let options = Options::parse(args)?;
    let built = built()?;
    let tests = measure_coverage(&built.binaries, &folder().join(format!("cover-{}.json", built.commit)))?;
    let chosen = sample_faults(&options, &built)?;
    println!("{} of {} faults, seed {}", chosen.len(), built.faults.len(), options.seed);
    let outcomes = run_faults(&options, &built, &tests, &chosen)?;
    report(&outcomes);
    Ok(())
}

impl Options {
    fn parse(args: &[&str]) -> Result<Self> {
        let jobs = thread::available_parallelism().map_or(1, usize::from);
        let mut options = Self {
            since: None,
            packages: Vec::new(),
            file: String::new(),
            numbers: Vec::new(),
            sample: 200,
            seed: 1,
            wide: false,
            longest: 12.0,
            minutes: 60,
            jobs,
        };
        let mut args = args.iter();
        while let Some(option) = args.next() {
            if *option == "--wide" {
                options.wide = true;
                continue;
            }
            let value = args.next().ok_or_else(|| format!("`{option}` is no option, or lacks a value"))?;
            match *option {
                "--since" => options.since = Some((*value).to_owned()),
                "--crate" => {
                    options.packages = value.split(',').map(|name| format!("stronghold-{name}")).collect();
                }
                "--file" => (*value).clone_into(&mut options.file),
                "--faults" => {
                    options.numbers =
                        value.split(',').map(str::parse).collect::<std::result::Result<_, _>>()?;
                }
                "--sample" => options.sample = value.parse()?,
                "--seed" => options.seed = value.parse()?,
                "--longest" => options.longest = value.parse()?,
                "--minutes" => options.minutes = value.parse()?,
                "--jobs" => options.jobs = value.parse::<usize>()?.max(1),
                _ => return Err(format!("there is no option `{option}`").into()),
            }
        }
        Ok(options)
    }
}

/// Draws a sample of faults, spread over the files: in proportion to n^0.7 for a file with n
/// faults.
fn sample_faults<'a>(options: &Options, built: &'a Built) -> Result<Vec<&'a Fault>> {
    if !options.numbers.is_empty() {
        return Ok(built.faults.iter().filter(|fault| options.numbers.contains(&fault.number)).collect());
    }
    let changed = options.since.as_deref().map(|since| changed_since(since, &built.commit)).transpose()?;
    let mut files: BTreeMap<&str, Vec<&Fault>> = BTreeMap::new();
    for fault in &built.faults {
        let is_asked = (options.packages.is_empty() || options.packages.contains(&fault.package))
            && fault.file.contains(&options.file)
            && changed.as_ref().is_none_or(|lines| lines.contains(&(fault.file.clone(), fault.line)));
        if is_asked {
            files.entry(&fault.file).or_default().push(fault);
        }
    }
    let weight = |faults: &Vec<&Fault>| (faults.len() as f64).powf(0.7);
    let total: f64 = files.values().map(weight).sum();
    let mut dice = Dice(options.seed);
    let mut drawn = Vec::new();
    for faults in files.values_mut() {
        let share = (options.sample as f64 * weight(faults) / total).round() as usize;
        dice.shuffle(faults);
        drawn.extend(faults.iter().take(share.max(1)));
    }
    dice.shuffle(&mut drawn);
    Ok(drawn)
}

/// Returns the lines that changed since `commit`, as they are numbered now.
fn changed_since(commit: &str, of: &str) -> Result<BTreeSet<(String, usize)>> {
    let mut lines = BTreeSet::new();
    let mut file = String::new();
    for line in git(&["diff", "--unified=0", "--no-color", commit, of])?.lines() {
        if let Some(name) = line.strip_prefix("+++ b/") {
            name.clone_into(&mut file);
        } else if let Some(rest) = line.strip_prefix("@@ -") {
            let new = rest.split('+').nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
            let (first, count) = new.split_once(',').unwrap_or((new, "1"));
            let first: usize = first.parse()?;
            lines.extend((first..first + count.parse::<usize>()?).map(|line| (file.clone(), line)));
        }
    }
    Ok(lines)
}

/// Random numbers from a seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, (self.roll() % (last as u64 + 1)) as usize);
        }
    }
}

/// Runs each fault against the tests that reach it; several at once, each with a folder of its own.
fn run_faults<'a>(
    options: &Options,
    built: &Built,
    tests: &[Test],
    chosen: &[&'a Fault],
) -> Result<Vec<(&'a Fault, FaultOutcome)>> {
    let ends = Instant::now() + Duration::from_secs(options.minutes * 60);
    let (queue, outcomes) = (Mutex::new(chosen.iter()), Mutex::new(Vec::new()));
    let work = |job: usize| -> std::result::Result<(), String> {
        let told = |error: Box<dyn std::error::Error>| error.to_string();
        let place = Workdir::new(&job.to_string()).map_err(told)?;
        loop {
            let next = queue.lock().map_err(|error| error.to_string())?.next();
            let Some(fault) = next.filter(|_| Instant::now() < ends) else { return Ok(()) };
            let outcome = run_fault(options, built, tests, fault, &place).map_err(told)?;
            println!("{}", line(fault, &outcome));
            outcomes.lock().map_err(|error| error.to_string())?.push((*fault, outcome));
        }
    };
    thread::scope(|scope| {
        let work = &work;
        let running: Vec<_> = (0..options.jobs).map(|job| scope.spawn(move || work(job))).collect();
        running.into_iter().try_for_each(|job| job.join().unwrap_or_else(|_| Err("a job panicked".into())))
    })?;
    let outcomes = outcomes.into_inner().map_err(|error| error.to_string())?;
    if outcomes.len() < chosen.len() {
        println!("time is up: {} were not tried", chosen.len() - outcomes.len());
    }
    Ok(outcomes)
}

fn run_fault(
    options: &Options,
    built: &Built,
    tests: &[Test],
    fault: &Fault,
    place: &Workdir,
) -> Result<FaultOutcome> {
    let meets = |test: &&Test| {
        test.reached.contains(&fault.number)
            && test.seconds <= options.longest
            && (options.wide || test.package == fault.package)
    };
    let mut meeting: Vec<&Test> = tests.iter().filter(meets).collect();
    meeting.sort_by(|one, other| one.seconds.total_cmp(&other.seconds));
    if meeting.is_empty() {
        return Ok(FaultOutcome::Unreached);
    }
    for test in meeting {
        let ended = test.notices(&built.binaries, fault.number, place)?;
        place.clear();
        if ended != Ended::Passed {
            return Ok(FaultOutcome::Noticed { by: test.path(), ended });
        }
    }
    Ok(FaultOutcome::Survived)
}

fn line(fault: &Fault, outcome: &FaultOutcome) -> String {
    let Fault { number, file, line, function, kind, what, .. } = fault;
    let what: String = what.chars().take(120).collect();
    let place = format!("{number} {file}:{line} {function} [{kind}] {what}");
    match outcome {
        FaultOutcome::Unreached => format!("unreached {place}"),
        FaultOutcome::Survived => format!("survived  {place}"),
        FaultOutcome::Noticed { by, ended: Ended::TimedOut } => format!("timed out {place} <- {by}"),
        FaultOutcome::Noticed { by, .. } => format!("noticed   {place} <- {by}"),
    }
}

fn report(outcomes: &[(&Fault, FaultOutcome)]) {
    let mut packages: BTreeMap<&str, [usize; 4]> = BTreeMap::new();
    for (fault, outcome) in outcomes {
        let column = match outcome {
            FaultOutcome::Noticed { ended: Ended::TimedOut, .. } => 1,
            FaultOutcome::Noticed { .. } => 0,
            FaultOutcome::Unreached => 2,
            FaultOutcome::Survived => 3,
        };
        packages.entry(&fault.package).or_default()[column] += 1;
        packages.entry("all").or_default()[column] += 1;
    }
    println!("\n{:22} tried noticed timed-out unreached survived   rate", "");
    for (package, [noticed, timed_out, unreached, survived]) in packages {
        let tried = noticed + timed_out + unreached + survived;
        let rate = 100.0 * (noticed + timed_out) as f64 / tried.max(1) as f64;
        println!("{package:22} {tried:5} {noticed:7} {timed_out:9} {unreached:9} {survived:8} {rate:5.1} %");
    }
    let mut left: Vec<_> =
        outcomes.iter().filter(|(_, outcome)| !matches!(outcome, FaultOutcome::Noticed { .. })).collect();
    left.sort_by_key(|(fault, _)| fault.number);
    println!("\nnot noticed:");
    left.iter().for_each(|(fault, outcome)| println!("{}", line(fault, outcome)));
}
