//! How many instructions the inner kernels take: a number that no other load on the machine changes, so that CI can hold
//! it against a limit.
//!
//! `cargo bench -p laminar-kernels --bench instructions [-- --check | --write]`
//!
//! Each case runs under callgrind, on one thread, once on the portable path and once on the AVX2 path; callgrind knows no
//! AVX-512. What is compared are instructions for 32 products (or conversions), so the numbers say what a kernel costs
//! whatever the sizes. A case fails when it takes more than its path's [`MARGINS`] times what `limits.rs` says was measured.
//!
//! `--check` is for CI: without valgrind it fails instead of doing nothing. `--write` measures and writes `limits.rs`: do
//! that when a kernel has become faster, or was made slower for a reason, and say so in the commit.

#[path = "../cases/mod.rs"]
mod cases;
mod limits;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, thread};

use cases::{Attending, Case, Failure, attention_case, expert_cases, linear_cases, quantise_case};
use laminar_kernels::roof::Form;
use laminar_kernels::{Pool, WeightType};
use limits::{COMPILER, MEASURED};

/// The paths that callgrind can run, by their names in `LAMINAR_ISA`.
const PATHS: [&str; 2] = ["portable", "avx2"];
/// How many times what was measured each path may take. Other versions of the compiler and of libc move a few
/// instructions; of the portable path, which is plain loops, the compiler vectorises more or less whenever code in other
/// files changes (1.5 to 1.8 times as many were seen), so only what goes beyond that is somebody's doing.
const MARGINS: [f64; PATHS.len()] = [2.0, 1.05];

/// Small matrices: what is counted does not depend on where the weights lie.
const LINEAR: [usize; 2] = [128, 1024];
const LINEAR_ROWS: [usize; 3] = [1, 4, 64];
const EXPERT: [usize; 2] = [256, 256];
const EXPERT_ROWS: [usize; 2] = [2, 32];
/// A type of every way to store codes and scales.
const LINEAR_TYPES: [WeightType; 6] =
    [WeightType::Q8_0, WeightType::Q4_0, WeightType::Q4K, WeightType::Q5K, WeightType::Q6K, WeightType::F16];
const EXPERT_TYPES: [WeightType; 3] = [WeightType::Q8_0, WeightType::Q4_0, WeightType::Q4K];

const USAGE: &str = "usage: cargo bench -p laminar-kernels --bench instructions [-- --check | --write]";
const WRITE: &str = "cargo bench -p laminar-kernels --bench instructions -- --write";

/// What a case took for 32 products, by path.
struct Count {
    case: String,
    paths: [f64; PATHS.len()],
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match &words[..] {
        ["--child", number] => child(number).map(|()| true),
        [] => compare(false),
        ["--check"] => compare(true),
        ["--write"] => write().map(|()| true),
        _ => Err(USAGE.into()),
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

/// Makes a case; each child needs only its own.
type Maker = Box<dyn Fn(&Pool) -> Result<Option<Case>, Failure>>;

/// What is counted.
fn makers() -> Vec<Maker> {
    let mut makers: Vec<Maker> = Vec::new();
    for ty in LINEAR_TYPES {
        for rows in LINEAR_ROWS {
            makers.push(Box::new(move |pool| Ok(linear_cases(pool, ty, LINEAR, 1, &[rows])?.pop())));
        }
    }
    for ty in EXPERT_TYPES {
        for rows in EXPERT_ROWS {
            makers.push(Box::new(move |pool| Ok(expert_cases(pool, ty, EXPERT, 1, &[rows])?.pop())));
        }
    }
    let prefill = Attending { heads: [8, 2], rows: 32, context: 256, sequences: 1, together: true };
    makers.push(Box::new(move |_| Ok(Some(attention_case(prefill)))));
    makers.push(Box::new(move |_| Ok(Some(attention_case(Attending { rows: 1, context: 1024, ..prefill })))));
    makers.push(Box::new(|_| Ok(Some(quantise_case(1, LINEAR[1])))));
    makers
}

/// Runs a case so that callgrind sees it, and says how much work it was.
fn child(number: &str) -> Result<(), Failure> {
    let pool = Pool::new(1);
    let makers = makers();
    let maker = makers.get(number.parse::<usize>()?).ok_or("no such case")?;
    let mut case = maker(&pool)?.ok_or("no such case")?;
    // Buffers reach their size, and what is found out once is found out.
    case.run(&pool);
    counted(&mut case, &pool);
    println!("{}\t{}\t{}", case.name, case.work.blocks, Form::of(WeightType::Q8_0).name());
    Ok(())
}

/// The one function that callgrind counts.
#[inline(never)]
fn counted(case: &mut Case, pool: &Pool) {
    case.run(pool);
}

/// Counts one case on one path, in a process of its own: the case's name, and instructions for 32 products.
fn count(valgrind: &Path, path: &str, number: usize) -> Result<(String, f64), Failure> {
    let output = Command::new(valgrind)
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*counted*"])
        .arg(env::current_exe()?)
        .args(["--child", &number.to_string()])
        .env("LAMINAR_ISA", path)
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("case {number} on the {path} path: {}: {said}", output.status).into());
    }
    let told = String::from_utf8(output.stdout)?;
    let mut told = told.trim_end().split('\t');
    let mut next = || told.next().ok_or("a case told too little");
    let (name, blocks, form) = (next()?.to_owned(), next()?.parse::<f64>()?, next()?);
    if (path == "portable") != form.ends_with("portable") {
        return Err(format!("{name}: the {path} path was asked for, and {form} was used").into());
    }
    let collected = said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse::<u64>().ok());
    let instructions = collected.filter(|count| *count > 0).ok_or("callgrind reports no count")?;
    Ok((name, instructions as f64 / blocks))
}

/// Counts all cases on all paths, as many at once as there are processors.
fn count_all(valgrind: &Path) -> Result<Vec<Count>, Failure> {
    let numbers = 0..makers().len();
    let tasks: Vec<_> = (0..PATHS.len()).flat_map(|path| numbers.clone().map(move |number| (path, number))).collect();
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some((path, number)) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
            let result = count(valgrind, PATHS[*path], *number).map_err(|error| error.to_string());
            results.lock().unwrap_or_else(|error| error.into_inner()).push((*path, *number, result));
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, |processors| processors.get()) {
            scope.spawn(work);
        }
    });
    let mut counts: Vec<Count> = numbers.map(|_| Count { case: String::new(), paths: [0.0; PATHS.len()] }).collect();
    for (path, number, result) in results.into_inner()? {
        let (name, instructions) = result?;
        counts[number].case = name;
        counts[number].paths[path] = instructions;
    }
    Ok(counts)
}

/// Counts, prints, and says whether all limits hold.
fn compare(must: bool) -> Result<bool, Failure> {
    let valgrind = match valgrind() {
        Err(reason) if !must => {
            println!("instructions: not counted: {reason}");
            return Ok(true);
        }
        found => found?,
    };
    let counts = count_all(&valgrind)?;
    println!("instructions for 32 products; in brackets how much more than was measured before");
    println!("{:<40}{:>20}{:>20}", "", PATHS[0], PATHS[1]);
    let mut broken = Vec::new();
    let mut faster = false;
    for Count { case, paths } in &counts {
        print!("{case:<40}");
        match MEASURED.iter().find(|(name, _)| name == case) {
            None => {
                paths.iter().for_each(|found| print!("{found:>20.2}"));
                broken.push(format!("{case}: nothing was measured before"));
            }
            Some((_, measured)) => {
                for (((path, margin), found), before) in PATHS.iter().zip(MARGINS).zip(paths).zip(measured) {
                    // Rounded here, so that nothing is shown as minus zero.
                    let more = (1000.0 * (found / before - 1.0)).round() / 10.0 + 0.0;
                    print!("{:>20}", format!("{found:.2} ({more:+.1} %)"));
                    faster |= found * margin < *before;
                    let limit = before * margin;
                    if *found > limit {
                        broken.push(format!("{case}, {path}: {found:.2}, more than the limit of {limit:.2}"));
                    }
                }
            }
        }
        println!();
    }
    let gone = MEASURED.iter().filter(|(name, _)| counts.iter().all(|count| count.case != *name));
    broken.extend(gone.map(|(name, _)| format!("{name}: is no case any more")));
    if faster {
        println!("some cases take fewer instructions by more than the margin; to keep that, run {WRITE}");
    }
    if broken.is_empty() {
        return Ok(true);
    }
    eprintln!("\nthe kernels do not keep to what limits.rs says:");
    broken.iter().for_each(|line| eprintln!("  {line}"));
    eprintln!(
        "\nThe numbers depend on the code and the compiler alone (measured with {COMPILER}; this is {}).\n\
         Find the change that did it, and what the loops do now that they did not do before. If it is meant, or if\n\
         the compiler did it and nothing can be done, run\n  {WRITE}\nand say in the commit why it is worth it.",
        compiler()
    );
    Ok(false)
}

/// Counts, and writes the table.
fn write() -> Result<(), Failure> {
    let counts = count_all(&valgrind()?)?;
    let mut table = format!(
        "//! What was measured. Written by `{WRITE}`.\n\n\
         /// The compiler it was measured with.\n\
         pub const COMPILER: &str = {:?};\n\n\
         /// Cases, and their instructions for 32 products: portable, AVX2.\n\
         pub const MEASURED: &[(&str, [f64; 2])] = &[\n",
        compiler()
    );
    for Count { case, paths: [portable, avx2] } in counts {
        writeln!(table, "    ({case:?}, [{portable:.3}, {avx2:.3}]),")?;
    }
    table.push_str("];\n");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions/limits.rs");
    fs::write(&file, table)?;
    println!("wrote {}", file.display());
    Ok(())
}

/// The version of the compiler in use, which is also the one that has built this.
fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let told = output.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    told.map_or_else(|| "an unknown compiler".to_owned(), |text| text.trim().to_owned())
}

/// Where valgrind is, on a machine whose instructions the limits count: callgrind has those that the machine has.
fn valgrind() -> Result<PathBuf, Failure> {
    #[cfg(target_arch = "x86_64")]
    let has_avx2 =
        is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
    #[cfg(not(target_arch = "x86_64"))]
    let has_avx2 = false;
    if !has_avx2 {
        return Err("the limits are those of x86-64 with AVX2, FMA and F16C".into());
    }
    let folders = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&folders).map(|folder| folder.join("valgrind")).find(|path| path.is_file());
    found.ok_or_else(|| "valgrind is not installed".into())
}
