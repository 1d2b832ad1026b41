//! What deciding costs: one `plan` and one `commit` with 256 running and 1,000 waiting sequences, under each policy.
//!
//! `cargo bench -p laminar-schedule [-- --json] [policy]` prints for each policy and load
//!
//! - the median time of a step, which must stay within [`BOUND`], the 99th percentile and the average: a step at which a
//!   sequence of 8,192 tokens begins or ends moves hundreds of KV blocks and takes longer than the others;
//! - allocations and allocated bytes, and whether the memory in use grows over 100,000 steps, which it must not;
//! - instructions, where valgrind is installed: a number that other load on the machine does not change.
//!
//! The exit code is 1 when the bound or the memory does not hold. Each measurement runs in a process of its own: times one
//! after the other, the others as many at once as there are processors. Times are processor time where the system tells.

mod measure;
mod world;

use serde_json::{Value, json};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, thread};
use world::{LOADS, POLICIES, World};

/// Most microseconds of the median.
const BOUND: f64 = 50.0;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match &words[..] {
        ["--child", task, policy, load, scratch] => child(task, policy, load, Path::new(scratch)).map(|()| true),
        ["--json"] => bench(None, true),
        ["--json", policy] | [policy, "--json"] => bench(Some(policy), true),
        [] => bench(None, false),
        [policy] if !policy.starts_with('-') => bench(Some(policy), false),
        _ => Err("usage: cargo bench -p laminar-schedule [-- --json] [policy]".into()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// One measurement, in this process; writes what it found into the scratch folder.
fn child(task: &str, policy: &str, load: &str, scratch: &Path) -> Result<(), Box<dyn Error>> {
    let policy = *POLICIES.get(policy.parse::<usize>()?).ok_or("no such policy")?;
    let load = *LOADS.get(load.parse::<usize>()?).ok_or("no such load")?;
    let world = World::new(policy, load, measure::WARM_UP)?;
    let found = match task {
        "time" => measure::time(world, scratch)?,
        "memory" => measure::memory(world)?,
        "count" => measure::count(world)?,
        _ => return Err("no such task".into()),
    };
    Ok(fs::write(scratch.join("found.json"), found.to_string())?)
}

/// One measurement of one case.
#[derive(Clone, Copy)]
struct Task {
    name: &'static str,
    policy: usize,
    load: usize,
}

impl Task {
    /// Runs it in a process of its own.
    fn run(self, scratch: &Path, valgrind: Option<&Path>) -> Result<Value, Box<dyn Error>> {
        let Task { name, policy, load } = self;
        let scratch = scratch.join(format!("{name}-{policy}-{load}"));
        fs::create_dir_all(&scratch)?;
        let this = env::current_exe()?;
        let mut command = match (name, valgrind) {
            ("count", Some(valgrind)) => {
                let mut command = Command::new(valgrind);
                command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
                command.args(["--toggle-collect=*counted_plan*", "--toggle-collect=*counted_commit*"]).arg(this);
                command
            }
            _ => Command::new(this),
        };
        command.arg("--child").arg(name).arg(policy.to_string()).arg(load.to_string()).arg(&scratch);
        let output = command.stdout(Stdio::null()).stderr(Stdio::piped()).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            return Err(format!("{name} of {}: {}: {said}", POLICIES[policy].name(), output.status).into());
        }
        let mut found: Value = serde_json::from_slice(&fs::read(scratch.join("found.json"))?)?;
        if name == "count" {
            let collected = said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse::<u64>().ok());
            let instructions = collected.ok_or("callgrind reports no count")? as f64 / measure::COUNTED as f64;
            found["instructions"] = json!(instructions);
        }
        Ok(found)
    }
}

/// Measures everything and prints it; returns whether the bounds hold.
fn bench(only: Option<&str>, as_json: bool) -> Result<bool, Box<dyn Error>> {
    let wanted = |policy: &usize| only.is_none_or(|name| POLICIES[*policy].name() == name);
    let cases: Vec<(usize, usize)> = (0..POLICIES.len())
        .filter(wanted)
        .flat_map(|policy| (0..LOADS.len()).map(move |load| (policy, load)))
        .collect();
    if cases.is_empty() {
        let names = POLICIES.map(|policy| policy.name()).join(", ");
        return Err(format!("no policy has this name; there are {names}").into());
    }
    let scratch = env::temp_dir().join(format!("laminar-decide-{}", std::process::id()));
    let valgrind = on_path("valgrind");
    let found = measure_all(&cases, &scratch, valgrind.as_deref());
    fs::remove_dir_all(&scratch)?;
    let found = found?;

    let holds = |case: &Value| case["median_us"].as_f64() <= Some(BOUND) && case["live_grows"] == false;
    let all_hold = found.iter().all(holds);
    if as_json {
        println!("{:#}", json!({ "bound_us": BOUND, "cases": found, "holds": all_hold }));
        return Ok(all_hold);
    }
    println!(
        "{:17} {:18} {:>9} {:>8} {:>10} {:>7} {:>7} {:>13}  live bytes",
        "policy", "load", "median us", "p99 us", "average us", "allocs", "bytes", "instructions"
    );
    for case in &found {
        let number = |key: &str| case[key].as_f64().unwrap_or(0.0);
        let text = |key: &str| case[key].as_str().unwrap_or("");
        let mebibytes = |key: &str| number(key) / f64::from(1 << 20);
        println!(
            "{:17} {:18} {:9.1} {:8.1} {:10.1} {:7.1} {:7.0} {:>13}  {:.1} -> {:.1} MiB{}{}",
            text("policy"),
            text("load"),
            number("median_us"),
            number("p99_us"),
            number("average_us"),
            number("allocations"),
            number("bytes"),
            case["instructions"].as_f64().map_or("-".to_owned(), |count| format!("{count:.0}")),
            mebibytes("live_bytes_begin"),
            mebibytes("live_bytes_end"),
            if holds(case) { "" } else { "  BROKEN" },
            if case["steady"] == true { "" } else { "  (not steady)" },
        );
    }
    if valgrind.is_none() {
        println!("instructions: not counted: valgrind is not installed");
    }
    println!("median within {BOUND} us, no growth: {}", if all_hold { "holds" } else { "BROKEN" });
    Ok(all_hold)
}

/// All that is known of each case, in one object.
fn measure_all(
    cases: &[(usize, usize)],
    scratch: &Path,
    valgrind: Option<&Path>,
) -> Result<Vec<Value>, Box<dyn Error>> {
    let mut found: Vec<Value> = cases
        .iter()
        .map(|(policy, load)| json!({ "policy": POLICIES[*policy].name(), "load": LOADS[*load].name }))
        .collect();
    let mut add = |place: usize, more: Value| {
        let (Some(Value::Object(case)), Value::Object(more)) = (found.get_mut(place), more) else { return };
        case.extend(more);
    };
    let task = |name, place: usize| Task { name, policy: cases[place].0, load: cases[place].1 };
    for place in 0..cases.len() {
        add(place, task("time", place).run(scratch, None)?);
    }

    let names: &[&str] = if valgrind.is_some() { &["count", "memory"] } else { &["memory"] };
    let tasks: Vec<_> = names.iter().flat_map(|name| (0..cases.len()).map(move |place| (*name, place))).collect();
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some((name, place)) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
            let result = task(name, *place).run(scratch, valgrind).map_err(|error| error.to_string());
            results.lock().unwrap_or_else(|error| error.into_inner()).push((*place, result));
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, |processors| processors.get()) {
            scope.spawn(work);
        }
    });
    for (place, result) in results.into_inner()? {
        add(place, result?);
    }
    Ok(found)
}

/// Where a program is, if it is anywhere.
fn on_path(program: &str) -> Option<PathBuf> {
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.is_file())
}
