//! Exit codes and the one line that explains a failure.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done; also when the reader of our output went away |
//! | 1 | Laminar itself failed: the engine stopped, a task panicked |
//! | 2 | the input was at fault: an argument, a file, a key in a file, a port |

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use laminar_engine::EngineError;

/// Marks an error as Laminar's own fault (exit code 1).
///
/// Everything else that reaches [`report`] came from what the user gave us.
#[derive(Debug)]
pub struct Internal(pub &'static str);

impl fmt::Display for Internal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Internal {}

/// Prints the error, if it is one, and chooses the exit code.
pub fn report(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    let code = code_of(&error);
    if code != 0 {
        // Nothing is left to do when stderr is closed too.
        let _ = writeln!(io::stderr(), "error: {}", one_line(&error));
    }
    ExitCode::from(code)
}

/// The only place that maps an error to an exit code.
fn code_of(error: &anyhow::Error) -> u8 {
    let broken_pipe = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe);
    if broken_pipe {
        0
    } else if error.downcast_ref::<Internal>().is_some() || engine_failed(error) {
        1
    } else {
        2
    }
}

/// Whether the engine broke, as opposed to refusing what it was given.
fn engine_failed(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(EngineError::StepFailed { .. } | EngineError::ShuttingDown))
}

/// The error and its causes on one line, joined by `: `.
///
/// Some error types already repeat their cause in their own message; such a
/// cause is left out.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if text.is_empty() || line.contains(&text) {
            continue;
        }
        if !line.is_empty() {
            line.push_str(": ");
        }
        line.push_str(&text);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context, anyhow};

    #[test]
    fn causes_are_joined_on_one_line() {
        let error = anyhow!("bad\nmagic").context("model.gguf");
        assert_eq!(one_line(&error), "model.gguf: bad magic");
    }

    #[test]
    fn a_cause_that_the_message_repeats_is_left_out() {
        let error = anyhow!("bad magic").context("model.gguf: bad magic");
        assert_eq!(one_line(&error), "model.gguf: bad magic");
    }

    #[test]
    fn codes() {
        assert_eq!(code_of(&anyhow!("no such file")), 2);
        let closed = io::Error::from(io::ErrorKind::BrokenPipe);
        let closed = Err::<(), _>(closed).context("write the answer");
        assert_eq!(code_of(&closed.unwrap_err()), 0);
        let ours = anyhow!("gone").context(Internal("the engine stopped"));
        assert_eq!(code_of(&ours), 1);
    }
}
