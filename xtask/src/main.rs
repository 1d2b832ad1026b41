//! `cargo xtask TASK`: the commands people repeat while working on Laminar.
//!
//! One table holds every task, so the list that `cargo xtask` prints can not
//! differ from what runs. Each task is a list of command lines run from the
//! workspace root; the first one that fails ends the task.

use std::path::Path;
use std::process::{Command, ExitCode};

/// A named list of command lines.
struct Task {
    name: &'static str,
    about: &'static str,
    steps: &'static [Step],
}

/// One command line and the variables it needs.
struct Step {
    program: &'static str,
    arguments: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
}

const fn step(program: &'static str, arguments: &'static [&'static str]) -> Step {
    Step { program, arguments, environment: &[] }
}

const FORMAT: Step = step("cargo", &["fmt", "--all", "--check"]);
const CLIPPY: Step = step("cargo", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]);
const DOC: Step = Step {
    program: "cargo",
    arguments: &["doc", "--workspace", "--no-deps"],
    environment: &[("RUSTDOCFLAGS", "-D warnings")],
};
const FUZZ: Step = step("cargo", &["check", "--manifest-path", "fuzz/Cargo.toml"]);

const TASKS: &[Task] = &[
    Task {
        name: "lint",
        about: "formatting, clippy, documentation and the fuzz targets, as CI checks them",
        steps: &[FORMAT, CLIPPY, DOC, FUZZ],
    },
    Task {
        name: "test",
        about: "every test of the workspace (the README's test command)",
        steps: &[step("cargo", &["test", "--release", "--workspace"])],
    },
    Task {
        name: "models",
        about: "fetch the small real models that some tests use when they are present",
        steps: &[step("python3", &["tools/models/fetch.py", "--all"])],
    },
    Task { name: "ci", about: "everything CI runs, in its order", steps: &[step("bash", &[".ci/run"])] },
];

fn main() -> ExitCode {
    let name = std::env::args().nth(1).unwrap_or_default();
    let Some(task) = TASKS.iter().find(|task| task.name == name) else {
        eprintln!("usage: cargo xtask TASK\n\ntasks:");
        for task in TASKS {
            eprintln!("  {:8} {}", task.name, task.about);
        }
        let asked_for_help = matches!(name.as_str(), "" | "help" | "-h" | "--help");
        return ExitCode::from(if asked_for_help { 0 } else { 2 });
    };
    for step in task.steps {
        eprintln!("+ {} {}", step.program, step.arguments.join(" "));
        let status = Command::new(step.program)
            .args(step.arguments)
            .envs(step.environment.iter().copied())
            .current_dir(workspace_root())
            .status();
        match status {
            Ok(status) if status.success() => {}
            Ok(status) => {
                eprintln!("error: `{}` ended with {status}", step.program);
                return ExitCode::FAILURE;
            }
            Err(error) => {
                eprintln!("error: can not run `{}`: {error}", step.program);
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

/// The folder above this crate's own.
fn workspace_root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}
